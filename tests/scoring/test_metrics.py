import numpy as np
import pytest
import torch
from sklearn.metrics import (
    jaccard_score,
    multilabel_confusion_matrix,
    precision_recall_fscore_support,
)
from torchmetrics.classification import MulticlassConfusionMatrix

from minseg.data.labels import encode_bits, parse_task
from minseg.errors import MinsegError
from minseg.scoring.metrics import (
    CONVENTIONS,
    METRICS,
    counts,
    resampled_means,
    scores,
    task_counts,
)


def random_masks(seed, num_classes, shape=(4, 16, 18), ignored=0.2):
    """Return a prediction that is right about half the time, and a target with ignored pixels."""
    generator = np.random.default_rng(seed)
    target = generator.integers(0, num_classes, shape).astype(np.uint8)
    noise = generator.integers(0, num_classes, shape)
    prediction = np.where(generator.random(shape) < 0.5, target, noise).astype(np.uint8)
    target[generator.random(shape) < ignored] = 255
    return prediction, target


def toy():
    """Return the prediction and target of the three-scene toy that identified the convention."""
    target = np.zeros((3, 20, 20), np.uint8)
    prediction = np.zeros_like(target)
    target[0, 2:10, 2:10] = 1
    prediction[0, 2:10, 4:12] = 1
    target[1, 5:15, 5:15] = 1
    prediction[1, 6:15, 5:14] = 1
    target[2, 1:9, 1:9] = 2
    prediction[2, 1:9, 1:5] = 2
    return prediction, target


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_counts_agree_with_the_torchmetrics_confusion_matrix(dtype):
    prediction, target = random_masks(0, 5)
    result = counts(prediction.astype(dtype), target.astype(dtype), 5)
    assert result.dtype == np.int64
    assert (result.sum(axis=2) == (target != 255).sum(axis=(1, 2))[:, None]).all()
    for scene in range(len(target)):
        matrix = MulticlassConfusionMatrix(5, ignore_index=255)(
            torch.tensor(prediction[scene].astype(np.int64)),
            torch.tensor(target[scene].astype(np.int64)),
        ).numpy()
        assert np.array_equal(result[scene, :, 0], np.diag(matrix))
        assert np.array_equal(result[scene, :, 1], matrix.sum(axis=0) - np.diag(matrix))
        assert np.array_equal(result[scene, :, 2], matrix.sum(axis=1) - np.diag(matrix))


def test_overlapping_classes_are_counted_each_by_itself_as_scikit_learn_does():
    random, task = np.random.default_rng(0), parse_task("excavation+stockpile+dam")
    masks = random.random((2, 3, 2, 9, 8)) < 0.4  # (prediction or target, class, scene, h, w)
    rasters = [encode_bits(dict(zip(task.class_names, one, strict=True))) for one in masks]
    rasters[1][0, :4] = task.ignore
    found = task_counts(*rasters, task)
    for scene in range(2):
        known = rasters[1][scene] != task.ignore
        flags = [one[:, scene][:, known].T for one in masks]  # (pixels, classes)
        flags = [np.column_stack([~one.any(axis=1), one]) for one in flags]
        matrices = multilabel_confusion_matrix(flags[1], flags[0])
        assert np.array_equal(found[scene], matrices[:, [1, 0, 1, 0], [1, 1, 0, 0]])


def test_ignored_pixels_count_nowhere_whatever_marks_them():
    prediction, target = random_masks(2, 3)
    found = counts(prediction, target, 3)
    other = np.where(target == 255, 200, prediction).astype(np.uint8)
    assert np.array_equal(counts(other, target, 3), found)
    marked = np.where(target == 255, -1, target.astype(np.int16))
    assert np.array_equal(counts(prediction, marked, 3, ignore=-1), found)


def test_standard_agrees_with_scikit_learn():
    prediction, target = random_masks(6, 6)
    prediction[prediction == 3] = 0  # class 3 is never predicted: precision 0/0
    result = scores(counts(prediction, target, 6))
    valid = target != 255
    truth, guess, labels = target[valid], prediction[valid], [1, 2, 3, 4, 5]
    precision, recall, _, _ = precision_recall_fscore_support(
        truth, guess, labels=labels, average="macro", zero_division=0
    )
    iou = jaccard_score(truth, guess, labels=labels, average="macro", zero_division=0)
    accuracy = np.mean([((truth == k) == (guess == k)).mean() for k in labels])
    found = [result[metric] for metric in METRICS]
    assert found == pytest.approx([iou, recall, precision, accuracy])


def test_standard_is_the_mean_over_the_classes_of_the_truth():
    target = np.array([[[0, 1, 1, 1]]])
    prediction = np.array([[[0, 1, 1, 2]]])  # class 2 is false, class 3 nowhere
    result = scores(counts(prediction, target, 4))
    table = result["per_class"]
    assert table.index.tolist() == [1, 2, 3]
    assert table.loc[[2, 3], list(METRICS)].isna().all(axis=None)
    found = [result[metric] for metric in METRICS]
    assert found == pytest.approx([2 / 3, 2 / 3, 1, 3 / 4])
    assert table[["tp", "fp", "fn"]].to_numpy().tolist() == [[2, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_paper_agrees_with_scikit_learn_scene_by_scene():
    prediction, target = random_masks(8, 4)
    target[0][target[0] == 2] = prediction[0][prediction[0] == 2] = 1  # absent from scene 0
    rows = []
    for scene in range(len(target)):
        valid = target[scene] != 255
        for label in range(4):
            truth, guess = target[scene][valid] == label, prediction[scene][valid] == label
            precision, recall, _, _ = precision_recall_fscore_support(
                truth, guess, average="binary", zero_division=0
            )
            iou = jaccard_score(truth, guess, zero_division=1)
            rows.append([iou, recall, precision, (truth == guess).mean()])
    result = scores(counts(prediction, target, 4), "paper")
    assert [result[metric] for metric in METRICS] == pytest.approx(np.mean(rows, axis=0))
    expected = np.mean(np.reshape(rows, (4, 4, 4)), axis=0)
    assert result["per_class"][list(METRICS)].to_numpy() == pytest.approx(expected)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_holds_nothing_changes_nothing(convention):
    per_scene = counts(*random_masks(9, 3), 3)
    with_empty = np.concatenate([per_scene, np.zeros((1, 3, 4), np.int64)])
    whole, same = (scores(some, convention) for some in (per_scene, with_empty))
    assert [whole[metric] for metric in METRICS] == [same[metric] for metric in METRICS]
    assert all(type(whole[metric]) is float for metric in METRICS)
    empty = scores(np.zeros((0, 3, 4), np.int64), convention)
    assert all(np.isnan(empty[metric]) for metric in METRICS)
    background = np.zeros((2, 4, 4), np.uint8)
    found = scores(counts(background, background, 3), convention)["iou"]
    assert found == 1 if convention == "paper" else np.isnan(found)


def test_classes_are_named_the_background_first():
    names = ["background", "excavation", "dam"]
    per_scene = counts(*random_masks(11, 3), 3)
    assert scores(per_scene, class_names=names)["per_class"].index.tolist() == names[1:]
    assert scores(per_scene, "paper", names)["per_class"].index.tolist() == names


@pytest.mark.parametrize(
    ("shape", "how", "message"),
    [
        ((3, 4), {}, "TP, FP, FN, TN"),
        ((1, 3, 3), {}, "TP, FP, FN, TN"),
        ((1, 3, 4), {"class_names": ["a", "b"]}, "2 class names for 3 classes"),
        ((1, 2, 4), {"convention": "micro"}, "unknown convention 'micro'.*standard.*paper"),
    ],
)
def test_counts_of_another_shape_and_unknown_words_are_refused(shape, how, message):
    with pytest.raises(MinsegError, match=message):
        scores(np.zeros(shape, np.int64), **how)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int), r"\(1, 2, 2\).*\(1, 2, 3\)"),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), "scene axis"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2), int), "prediction is float64"),
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), bool), "target is bool"),
        (np.full((1, 2, 2), 3), np.zeros((1, 2, 2), int), "prediction holds 3"),
        (np.full((1, 2, 2), -1), np.zeros((1, 2, 2), int), "prediction holds -1"),
        (np.zeros((1, 2, 2), int), np.full((1, 2, 2), 7), "target holds 7"),
        (None, np.zeros((1, 2, 2), int), "num_classes is 0"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(prediction, target, message):
    num_classes, prediction = (0, target) if prediction is None else (3, prediction)
    with pytest.raises(MinsegError, match=message):
        counts(prediction, target, num_classes)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_resamples_score_as_the_scenes_repeated_that_often(convention):
    prediction, target = random_masks(7, 4, shape=(6, 8, 9))
    prediction[0] = target[0] = 0  # no class at all
    target[3] = 255  # nothing counted
    target[5][target[5] == 3] = 1  # one class less
    table = counts(prediction, target, 4)
    draws = np.array([[1] * 6, [2, 0, 1, 0, 3, 0], [3, 0, 0, 4, 0, 0], [0, 0, 0, 2, 0, 0]])
    found = resampled_means(table, draws, convention)
    assert found.shape == (4, 4)
    for draw, row in zip(draws, found, strict=True):
        expected = scores(np.repeat(table, draw, axis=0), convention)
        assert row == pytest.approx([expected[metric] for metric in METRICS], nan_ok=True)
    assert np.isnan(found[3]).all()  # a scene without a counted pixel says nothing
    assert np.isnan(resampled_means(table[3:4], draws[:, 3:4], convention)).all()
