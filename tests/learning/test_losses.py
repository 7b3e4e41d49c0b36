import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch.nn import functional
from torch.nn.functional import one_hot

from minseg.learning.training import FOCAL_GAMMA, TVERSKY_ALPHA, TVERSKY_BETA, build_loss

NUM_CLASSES = 4


def random_batch(seed=0, ignored=0.3):
    """Return logits (2, 4, 8, 10) and a uint8 target (2, 8, 10) with ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, NUM_CLASSES, 8, 10, generator=generator)
    target = torch.randint(0, NUM_CLASSES, (2, 8, 10), generator=generator).to(torch.uint8)
    target[torch.rand(target.shape, generator=generator) < ignored] = 255
    return logits, target


def annotated_pixels(logits, target):
    """Return the annotated pixels as float64 ndarrays: logits and one-hot target (N, 4)."""
    valid = target != 255
    rows = logits.permute(0, 2, 3, 1)[valid].double()
    truth = one_hot(target[valid].long(), NUM_CLASSES)
    return rows.numpy(), truth.numpy().astype(np.float64)


def soft_tversky_loss(logits, truth, alpha, beta):
    """Mean over classes of 1 - TP / (TP + alpha FP + beta FN) of soft counts."""
    probability = softmax(logits, axis=1)
    tp = (probability * truth).sum(axis=0)
    fp = (probability * (1 - truth)).sum(axis=0)
    fn = ((1 - probability) * truth).sum(axis=0)
    present = truth.sum(axis=0) > 0
    return np.mean(np.where(present, 1 - tp / (tp + alpha * fp + beta * fn), 0))


def focal_loss(logits, truth, gamma):
    """Mean of (1 - p)^gamma * -log p, p the sigmoid probability of what is true of each class."""
    probability = expit(logits)
    right = np.where(truth == 1, probability, 1 - probability)
    return np.mean((1 - right) ** gamma * -np.log(right))


def cross_entropy(logits, truth):
    return -np.mean(np.log((softmax(logits, axis=1) * truth).sum(axis=1)))


FORMULAS = {
    "jaccard": lambda logits, truth: soft_tversky_loss(logits, truth, 1, 1),
    "tversky": lambda logits, truth: soft_tversky_loss(logits, truth, TVERSKY_ALPHA, TVERSKY_BETA),
    "focal": lambda logits, truth: focal_loss(logits, truth, FOCAL_GAMMA),
    "crossentropy": cross_entropy,
}


@pytest.mark.parametrize(
    ("ignored", "present"), [(0, [0, 1, 2, 3]), (0.3, [0, 1, 2, 3]), (0.3, [0, 3])]
)
@pytest.mark.parametrize("name", FORMULAS)
def test_value_is_the_formula_over_the_annotated_pixels(name, ignored, present):
    logits, target = random_batch(ignored=ignored)
    target[~torch.isin(target, torch.tensor([*present, 255]))] = 0
    expected = FORMULAS[name](*annotated_pixels(logits, target))
    assert build_loss(name)(logits, target).item() == pytest.approx(expected, rel=1e-5)


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
    loss = build_loss(name)(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_logits_at_ignored_pixels_change_neither_value_nor_gradient(name):
    logits, target = random_batch()
    ignored = (target == 255).unsqueeze(1).expand_as(logits)
    results = []
    for noise in (0.0, 50.0, -50.0):
        changed = torch.where(ignored, logits * noise + noise, logits).requires_grad_()
        loss = build_loss(name)(changed, target)
        loss.backward()
        assert torch.count_nonzero(changed.grad[ignored]) == 0
        assert torch.count_nonzero(changed.grad[~ignored]) > 0
        results.append((loss.detach(), changed.grad))
    (loss, gradient), *others = results
    assert all(torch.equal(loss, one) and torch.equal(gradient, other) for one, other in others)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_batch_without_annotated_pixels_costs_nothing(name):
    logits = random_batch()[0].requires_grad_()
    loss = build_loss(name)(logits, torch.full((2, 8, 10), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


WEIGHTS = torch.tensor([0.5, 2, 1, 3])


def test_weights_are_those_of_the_true_classes():
    logits, target = random_batch()
    expected = functional.cross_entropy(logits, target.long(), WEIGHTS, ignore_index=255)
    assert build_loss("crossentropy", WEIGHTS)(logits, target) == pytest.approx(expected)
    rows, truth = annotated_pixels(logits, target)
    each = [focal_loss(*pair, FOCAL_GAMMA) for pair in zip(rows, truth, strict=True)]
    expected = np.average(each, weights=truth @ WEIGHTS.numpy())
    assert build_loss("focal", WEIGHTS)(logits, target).item() == pytest.approx(expected, rel=1e-5)
    nothing = torch.full_like(target, 255)
    assert [build_loss(n, WEIGHTS)(logits, nothing) for n in ("focal", "crossentropy")] == [0, 0]


@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_logits_are_scored_in_float32(name):
    logits, target = random_batch()
    logits = logits.bfloat16()
    loss = build_loss(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(logits, target)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(logits.float(), target))
