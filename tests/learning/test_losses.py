import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch.nn import functional
from torch.nn.functional import one_hot

from minseg.data.labels import parse_task
from minseg.learning.training import FOCAL_GAMMA, TVERSKY_ALPHA, TVERSKY_BETA, build_loss

EXCLUSIVE = parse_task("excavation,stockpile,dam")
OVERLAPPING = parse_task("excavation+stockpile+settling pond+dam")
BOTH = pytest.mark.parametrize("task", [EXCLUSIVE, OVERLAPPING], ids=["exclusive", "overlapping"])
OUTPUTS = 4
BITS = torch.tensor([OVERLAPPING.value(name) for name in OVERLAPPING.output_names])


def random_batch(task, seed=0, ignored=0.3, present=range(OUTPUTS)):
    """Return logits (2, 4, 8, 10) and a target (2, 8, 10) with some outputs and ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, OUTPUTS, 8, 10, generator=generator)
    if task.overlapping:
        there = torch.rand(2, 8, 10, OUTPUTS, generator=generator) < 0.4
        target = (there * BITS)[..., list(present)].sum(dim=-1).to(torch.int32)
    else:
        target = torch.randint(0, OUTPUTS, (2, 8, 10), generator=generator).to(torch.uint8)
        target[~torch.isin(target, torch.tensor([*present]))] = 0
    target[torch.rand(target.shape, generator=generator) < ignored] = task.ignore
    return logits, target


def annotated_pixels(task, logits, target):
    """Return the annotated pixels as float64 ndarrays: logits, probabilities and truth (N, 4)."""
    valid = target != task.ignore
    rows = logits.permute(0, 2, 3, 1)[valid].double().numpy()
    if task.overlapping:
        return rows, expit(rows), ((target[valid][:, None] & BITS) > 0).numpy().astype(float)
    return rows, softmax(rows, axis=1), one_hot(target[valid].long(), OUTPUTS).numpy().astype(float)


def soft_tversky_loss(probability, truth, alpha, beta):
    """Mean over classes of 1 - TP / (TP + alpha FP + beta FN) of soft counts."""
    tp = (probability * truth).sum(axis=0)
    fp = (probability * (1 - truth)).sum(axis=0)
    fn = ((1 - probability) * truth).sum(axis=0)
    present = truth.sum(axis=0) > 0
    return np.mean(np.where(present, 1 - tp / (tp + alpha * fp + beta * fn), 0))


def region_loss(task, probability, truth, alpha, beta):
    """The soft Tversky loss of all outputs, of overlapping ones with their absences."""
    if task.overlapping:
        probability, truth = (np.hstack([there, 1 - there]) for there in (probability, truth))
    return soft_tversky_loss(probability, truth, alpha, beta)


def focal_loss(logits, truth, gamma):
    """Mean of (1 - p)^gamma * -log p, p the sigmoid probability of what is true of each class."""
    right = np.where(truth == 1, expit(logits), expit(-logits))
    return np.mean((1 - right) ** gamma * -np.log(right))


def cross_entropy(task, probability, truth):
    if task.overlapping:
        return -np.mean(np.log(np.where(truth == 1, probability, 1 - probability)))
    return -np.mean(np.log((probability * truth).sum(axis=1)))


FORMULAS = {
    "jaccard": lambda task, _, *known: region_loss(task, *known, 1, 1),
    "tversky": lambda task, _, *known: region_loss(task, *known, TVERSKY_ALPHA, TVERSKY_BETA),
    "focal": lambda _, logits, __, truth: focal_loss(logits, truth, FOCAL_GAMMA),
    "crossentropy": lambda task, _, p, truth: cross_entropy(task, p, truth),
}


@pytest.mark.parametrize(
    ("ignored", "present"), [(0, [0, 1, 2, 3]), (0.3, [0, 1, 2, 3]), (0.3, [0, 3])]
)
@pytest.mark.parametrize("name", FORMULAS)
@BOTH
def test_value_is_the_formula_over_the_annotated_pixels(task, name, ignored, present):
    logits, target = random_batch(task, ignored=ignored, present=present)
    expected = FORMULAS[name](task, *annotated_pixels(task, logits, target))
    assert build_loss(name, task)(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # One pixel, two classes, both logits 0, so every probability is one half. By hand:
        ("jaccard", (1 - 0.5 / 1.0) / 2),
        ("tversky", (1 - 0.5 / (0.5 + 0.7 * 0.5)) / 2),
        ("focal", 0.25 * np.log(2)),
        ("crossentropy", np.log(2)),
    ],
)
def test_value_of_one_undecided_pixel(name, expected):
    loss = build_loss(name, parse_task("dam"))(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
@BOTH
def test_logits_at_ignored_pixels_change_neither_value_nor_gradient(task, name):
    logits, target = random_batch(task)
    ignored = (target == task.ignore).unsqueeze(1).expand_as(logits)
    results = []
    for noise in (0.0, 50.0, -50.0):
        changed = torch.where(ignored, logits * noise + noise, logits).requires_grad_()
        loss = build_loss(name, task)(changed, target)
        loss.backward()
        assert torch.count_nonzero(changed.grad[ignored]) == 0
        assert torch.count_nonzero(changed.grad[~ignored]) > 0
        results.append((loss.detach(), changed.grad))
    (loss, gradient), *others = results
    assert all(torch.equal(loss, one) and torch.equal(gradient, other) for one, other in others)


@pytest.mark.parametrize("name", FORMULAS)
@BOTH
def test_a_batch_without_annotated_pixels_costs_nothing(task, name):
    logits, target = random_batch(task, ignored=1)
    logits.requires_grad_()
    loss = build_loss(name, task)(logits, target)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", FORMULAS)
@BOTH
def test_a_class_that_the_batch_lacks_is_held_down(task, name):
    logits, target = random_batch(task, ignored=0, present=[0, 3])
    logits.requires_grad_()
    build_loss(name, task)(logits, target).backward()
    assert (logits.grad.sum(dim=(0, 2, 3))[1:3] > 0).all()


WEIGHTS = torch.tensor([0.5, 2, 1, 3])


def test_weights_are_those_of_the_true_classes():
    logits, target = random_batch(EXCLUSIVE)
    expected = functional.cross_entropy(logits, target.long(), WEIGHTS, ignore_index=255)
    weighed = {n: build_loss(n, EXCLUSIVE, WEIGHTS) for n in ("focal", "crossentropy")}
    assert weighed["crossentropy"](logits, target) == pytest.approx(expected)
    rows, _, truth = annotated_pixels(EXCLUSIVE, logits, target)
    each = [focal_loss(*pair, FOCAL_GAMMA) for pair in zip(rows, truth, strict=True)]
    expected = np.average(each, weights=truth @ WEIGHTS.numpy())
    assert weighed["focal"](logits, target).item() == pytest.approx(expected, rel=1e-5)
    nothing = torch.full_like(target, 255)
    assert [loss(logits, nothing) for loss in weighed.values()] == [0, 0]


@pytest.mark.parametrize("name", FORMULAS)
@BOTH
def test_half_precision_logits_are_scored_in_float32(task, name):
    logits, target = random_batch(task)
    logits = logits.bfloat16()
    loss = build_loss(name, task)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(logits, target)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(logits.float(), target))
