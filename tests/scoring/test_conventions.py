from dataclasses import replace

import numpy as np
import pytest
import torch
from segmentation_models_pytorch import metrics as smp_metrics
from segmentation_models_pytorch.losses import JaccardLoss
from sklearn.metrics import jaccard_score, precision_recall_fscore_support
from torchmetrics.classification import (
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)
from torchmetrics.segmentation import MeanIoU

from minseg.errors import MinsegError
from minseg.scoring.conventions import CANDIDATES, NAMED, PAPER, STANDARD, Convention, score
from minseg.scoring.metrics import METRICS, counts, scores
from tests.scoring.test_metrics import random_masks, toy

BY_NAME = {one.name: one for one in CANDIDATES}
IMAGEWISE = Convention("", "macro-imagewise", False, None, None)


def sparse_masks(seed=0, num_classes=6, scenes=7):
    """Masks whose scenes lack some classes, in truth, in prediction or in both."""
    prediction, target = random_masks(seed, num_classes, (scenes, 12, 12), ignored=0)
    random = np.random.default_rng(seed)
    for masks in (prediction, target):
        for scene in masks:
            scene[np.isin(scene, random.integers(1, num_classes, 3))] = 0
    prediction[prediction == 4] = target[target == 4] = 0  # nowhere at all
    return prediction, target


def sparse_counts(seed=0):
    return counts(*sparse_masks(seed), 6)


def values(found):
    return [found[name] for name in METRICS]


@pytest.mark.parametrize("convention", [STANDARD, PAPER], ids=lambda one: one.name)
@pytest.mark.parametrize("seed", range(4))
def test_the_two_conventions_of_the_project_are_candidates(convention, seed):
    per_scene = sparse_counts(seed)
    per_scene[3] = 0  # a scene without a counted pixel
    assert convention in CANDIDATES
    expected = scores(per_scene, convention.name)
    assert values(score(per_scene, convention)) == pytest.approx(values(expected), abs=1e-12)


def test_candidates_differ_and_are_named_differently():
    assert len(BY_NAME) == len(CANDIDATES) > 80
    assert len({replace(one, name="") for one in CANDIDATES}) == len(CANDIDATES)
    assert CANDIDATES[: len(NAMED)] == NAMED


@pytest.mark.parametrize(
    ("iou", "ratio", "expected"),
    [
        (0, 0, [0.212, 0.229, 0.306]),
        (1, 1, [0.879, 0.896, 0.972]),
        (None, None, [0.637, 0.687, 0.917]),
        (1, 0, [0.879, 0.229, 0.306]),
    ],
)
def test_toy_of_three_images(iou, ratio, expected):
    per_scene = counts(*toy(), num_classes=4)
    one = replace(IMAGEWISE, absent_iou=iou, absent_ratio=ratio)
    found = score(per_scene, one)
    assert [round(number, 3) for number in values(found)[:3]] == expected
    if iou is not None:  # an absent class has an accuracy too, unless it is left out
        assert round(found["accuracy"], 3) == 0.977


@pytest.mark.parametrize("reduction", ["micro", "macro", "micro-imagewise", "macro-imagewise"])
@pytest.mark.parametrize("seed", range(3))
def test_smp_metrics_with_their_default(reduction, seed):
    prediction, target = map(torch.tensor, sparse_masks(seed))
    stats = smp_metrics.get_stats(
        prediction.long(), target.long(), mode="multiclass", num_classes=6
    )
    functions = ("iou_score", "recall", "precision", "accuracy")
    expected = [getattr(smp_metrics, name)(*stats, reduction=reduction) for name in functions]
    one = Convention("", reduction, True, 1.0, 1.0, undefined_ratio=1.0)
    found = values(score(sparse_counts(seed), one))
    assert found == pytest.approx([float(number) for number in expected], abs=1e-6)
    named = BY_NAME.get(f"smp.metrics, {reduction}")
    assert named is None or replace(named, name="") == one


def test_torchmetrics_leave_out_what_is_absent_everywhere():
    prediction, target = (torch.tensor(masks).long() for masks in sparse_masks())
    oracles = (MulticlassJaccardIndex, MulticlassRecall, MulticlassPrecision)
    expected = [float(oracle(6, average="macro")(prediction, target)) for oracle in oracles]
    found = score(sparse_counts(), BY_NAME["torchmetrics, macro"])
    assert values(found)[:3] == pytest.approx(expected, abs=1e-6)
    for background in (True, False):
        oracle = MeanIoU(6, include_background=background, input_format="index")
        found = score(sparse_counts(), replace(IMAGEWISE, background=background))
        assert found["iou"] == pytest.approx(float(oracle(prediction, target)), abs=1e-6)


def test_one_minus_the_jaccard_loss_of_each_image():
    prediction, target = (torch.tensor(masks).long() for masks in sparse_masks())
    loss = JaccardLoss("multiclass", from_logits=False)
    certain = torch.nn.functional.one_hot(prediction, 6).movedim(3, 1).float()
    expected = []
    for one, sure, truth in zip(prediction, certain, target, strict=True):
        # Precision and recall beside it are those of scikit-learn with 0 for 0/0.
        precision, recall, *_ = precision_recall_fscore_support(
            truth.ravel(), one.ravel(), labels=range(6), average="macro", zero_division=0
        )
        expected.append([1 - float(loss(sure[None], truth[None])), recall, precision])
    found = score(sparse_counts(), BY_NAME["1 − smp JaccardLoss"])
    assert values(found)[:3] == pytest.approx(np.mean(expected, axis=0), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("micro, foreground", {"average": "micro"}),
        ("macro, foreground, 0 / 0", {"average": "macro", "zero_division": 0}),
        ("macro, foreground, 1 / 1", {"average": "macro", "zero_division": 1}),
    ],
)
def test_scikit_learn_over_the_foreground(name, settings):
    truth, guess = (masks.ravel() for masks in sparse_masks()[::-1])
    settings |= {"labels": range(1, 6)}
    precision, recall, *_ = precision_recall_fscore_support(truth, guess, **settings)
    expected = [jaccard_score(truth, guess, **settings), recall, precision]
    assert values(score(sparse_counts(), BY_NAME[name]))[:3] == pytest.approx(expected)


def test_a_class_that_is_predicted_alone_is_absent_from_the_truth():
    per_scene = np.array([[[5, 0, 0, 5], [0, 0, 0, 10], [0, 5, 0, 5]]])  # background, none, false
    rule = "macro per image, foreground, 1 / 0"
    assert score(per_scene, BY_NAME[rule])["iou"] == 0.5
    assert score(per_scene, BY_NAME[f"{rule} if not in the truth"])["iou"] == 1


@pytest.mark.parametrize("convention", CANDIDATES, ids=lambda one: one.name)
def test_a_convention_that_cannot_break_the_identity_does_not(convention):
    broken = []
    for seed in range(30):
        random = np.random.default_rng(seed)
        some = random.integers(0, 9, (4, 5, 4)) * random.integers(0, 2, (4, 5, 1))
        some[..., 3] += 1
        found = score(some, convention)
        broken.append(found["iou"] > min(found["recall"], found["precision"]) + 1e-12)
    assert np.isnan(values(score(np.zeros((2, 3, 4), int), convention))).all()
    pull = {0.0: -1, None: 0, 1.0: 1}  # of an absent class on a mean
    if pull[convention.absent_iou] <= pull[convention.absent_ratio]:
        assert not any(broken)
    elif convention.reduction == "macro-imagewise":
        assert any(broken)


def test_counts_of_another_shape_and_an_unknown_reduction():
    with pytest.raises(MinsegError, match=r"counts \(3, 4\) must have the shape"):
        score(np.zeros((3, 4), int), STANDARD)
    with pytest.raises(MinsegError, match="unknown reduction 'weighted'"):
        score(np.ones((1, 3, 4), int), replace(STANDARD, reduction="weighted"))
