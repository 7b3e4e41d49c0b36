import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from minseg.errors import MinsegError
from minseg.learning.losses import (
    FOCAL_GAMMA,
    LOSSES,
    TVERSKY_ALPHA,
    TVERSKY_BETA,
    build_loss,
)

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


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def soft_tversky_loss(logits, truth, alpha, beta):
    """Mean over classes of 1 - TP / (TP + alpha FP + beta FN) of soft counts."""
    probability = softmax(logits)
    tp = (probability * truth).sum(axis=0)
    fp = (probability * (1 - truth)).sum(axis=0)
    fn = ((1 - probability) * truth).sum(axis=0)
    present = truth.sum(axis=0) > 0
    return np.mean(np.where(present, 1 - tp / (tp + alpha * fp + beta * fn), 0))


def focal_loss(logits, truth, gamma):
    """Mean of (1 - p)^gamma * -log p, p the sigmoid probability of what is true of each class."""
    probability = 1 / (1 + np.exp(-logits))
    right = np.where(truth == 1, probability, 1 - probability)
    return np.mean((1 - right) ** gamma * -np.log(right))


def cross_entropy(logits, truth):
    return -np.mean(np.log((softmax(logits) * truth).sum(axis=1)))


FORMULAS = {
    "jaccard": lambda logits, truth: soft_tversky_loss(logits, truth, 1, 1),
    "tversky": lambda logits, truth: soft_tversky_loss(logits, truth, TVERSKY_ALPHA, TVERSKY_BETA),
    "focal": lambda logits, truth: focal_loss(logits, truth, FOCAL_GAMMA),
    "crossentropy": cross_entropy,
}


@pytest.mark.parametrize("ignored", [0, 0.3])
@pytest.mark.parametrize("name", LOSSES)
def test_value_is_the_formula_over_the_annotated_pixels(name, ignored):
    logits, target = random_batch(ignored=ignored)
    expected = FORMULAS[name](*annotated_pixels(logits, target))
    assert build_loss(name, NUM_CLASSES)(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["jaccard", "tversky"])
def test_a_class_that_is_not_in_the_batch_contributes_nothing(name):
    logits, target = random_batch()
    target[target == 2] = 0
    expected = FORMULAS[name](*annotated_pixels(logits, target))
    assert build_loss(name, NUM_CLASSES)(logits, target).item() == pytest.approx(expected, rel=1e-5)


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
    loss = build_loss(name, 2)(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_logits_at_ignored_pixels_change_neither_value_nor_gradient(name):
    logits, target = random_batch()
    ignored = (target == 255).unsqueeze(1).expand_as(logits)
    results = []
    for noise in (0.0, 50.0, -50.0):
        changed = torch.where(ignored, logits * noise + noise, logits).requires_grad_()
        loss = build_loss(name, NUM_CLASSES)(changed, target)
        loss.backward()
        assert torch.count_nonzero(changed.grad[ignored]) == 0
        assert torch.count_nonzero(changed.grad[~ignored]) > 0
        results.append((loss.detach(), changed.grad))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_annotated_pixels_costs_nothing(name):
    logits = random_batch()[0].requires_grad_()
    loss = build_loss(name, NUM_CLASSES)(logits, torch.full((2, 8, 10), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", LOSSES)
def test_targets_may_be_uint8_or_int64(name):
    logits, target = random_batch()
    loss = build_loss(name, NUM_CLASSES)
    assert torch.equal(loss(logits, target), loss(logits, target.long()))


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_scored_in_float32(name):
    logits, target = random_batch()
    logits = logits.bfloat16()
    loss = build_loss(name, NUM_CLASSES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(logits, target)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(logits.float(), target))


def test_unknown_loss_is_refused():
    with pytest.raises(MinsegError, match=r"unknown loss 'dice'.*jaccard.*crossentropy"):
        build_loss("dice", 2)


def test_logits_for_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="4 logits per pixel for 3 classes"):
        build_loss("jaccard", 3)(*random_batch())
