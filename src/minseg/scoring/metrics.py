"""Counting agreement once, and scoring the counts under a named convention (section 3).

The paper gives the mean of IoU, recall, precision and accuracy "across all classes" and leaves
open over what the counts are pooled and what a class scores that is not there. Two conventions:

``standard``
    Counts are pooled over the scenes; each class of the foreground is scored; the mean goes over
    the classes of the truth, so that it is over the same ones whatever a model predicts. The
    background is left out.
``paper``
    Each scene and class is scored on its own, the background included; a class that is neither in
    the truth nor in the prediction scores IoU 1 and recall and precision 0; the mean goes over
    scenes and classes.

Why ``paper``: for one class IoU <= min(recall, precision), hence the same holds for their means
under any one averaging. Tables 3 and 4 break this (Model 3, RGB: IoU .720, recall .311, precision
.489). A perfect IoU for an absent class beside zero recall and precision is the simplest rule that
gives such numbers, not the only one: notebook 13 holds those of `minseg.scoring.conventions`
against the print. ``paper`` is to be read beside it; ``standard`` says how good a model is.
"""

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from minseg.data.labels import IGNORE, Task
from minseg.errors import MinsegError, require_word

CONVENTIONS: tuple[str, ...] = ("standard", "paper")
"""Names of the two conventions."""

METRICS: tuple[str, ...] = ("iou", "recall", "precision", "accuracy")
"""The four scores, in the order of Table 3."""

IOU = METRICS.index("iou")
"""Place of IoU among them."""


class Scores(TypedDict):
    """Mean scores, 0 to 1, and the table they are the mean of."""

    iou: float
    """Intersection over union, TP / (TP + FP + FN)."""
    recall: float
    """TP / (TP + FN)."""
    precision: float
    """TP / (TP + FP)."""
    accuracy: float
    """(TP + TN) / all counted pixels, as in Tables 3 and 4 (Tables 6-8 print IoU under it)."""
    per_class: pd.DataFrame
    """One row a class: the four scores, and tp, fp, fn in pixels, summed over the scenes."""


def counts(
    prediction: np.ndarray, target: np.ndarray, num_classes: int, ignore: int = IGNORE
) -> np.ndarray:
    """Count true and false positives and negatives per scene and class.

    Parameters
    ----------
    prediction : integer ndarray (scenes, height, width)
        Predicted class, 0 … num_classes - 1; anything where the target is `ignore`.
    target : integer ndarray (scenes, height, width)
        True class, 0 … num_classes - 1, or `ignore`.
    num_classes : int
        Number of classes, the background (0) included.
    ignore : int
        Target value of pixels that count nowhere.

    Returns
    -------
    int64 ndarray (scenes, num_classes, 4)
        TP, FP, FN, TN in pixels.

    Raises
    ------
    MinsegError
        If the arrays do not match, are no integers, or hold a value that is no class.

    Examples
    --------
    >>> truth = np.array([[[0, 1, 1, 255]]])  # one scene of four pixels, the last not annotated
    >>> counts(np.array([[[0, 0, 1, 1]]]), truth, num_classes=2)[0, 1].tolist()
    [1, 0, 1, 1]
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.shape != target.shape or target.ndim != 3:
        raise MinsegError(
            f"counts: prediction {prediction.shape} and target {target.shape} must have one "
            "shape (scenes, height, width); add the scene axis with array[None]"
        )
    for name, array in (("prediction", prediction), ("target", target)):
        if array.dtype.kind not in "iu":
            raise MinsegError(
                f"counts: {name} is {array.dtype}, not class numbers; use array.astype('uint8')"
            )
    if num_classes < 1:
        raise MinsegError(f"counts: num_classes is {num_classes}; it counts the background too")
    known = target != ignore
    for name, array in (("prediction", prediction[known]), ("target", target[known])):
        if array.size and (array.min() < 0 or array.max() >= num_classes):
            wrong = array.min() if array.min() < 0 else array.max()
            raise MinsegError(
                f"counts: {name} holds {wrong}, which is no class of 0 … {num_classes - 1} "
                f"and no ignored pixel (target {ignore}); check num_classes"
            )
    masks = ((prediction == k, target == k) for k in range(num_classes))
    return _count_masks(masks, known)


def task_counts(prediction: np.ndarray, target: np.ndarray, task: Task) -> np.ndarray:
    """Count as `counts` does two rasters of a task (scenes, height, width), see `Task`.

    Overlapping classes are counted each by itself, and pixels of none of them as background.
    """
    if not task.overlapping:
        return counts(prediction, target, task.num_classes)
    rasters = (prediction, target)
    masks = ((task.mask(raster, name) for raster in rasters) for name in task.target_names)
    return _count_masks(masks, target != task.ignore)


def scene_counts(
    predictions: Iterable[np.ndarray], targets: Iterable[np.ndarray], task: Task
) -> np.ndarray:
    """Count as `task_counts` does scenes of any sizes, rasters (height, width) of a task."""
    pairs = zip(predictions, targets, strict=True)
    return np.concatenate([task_counts(seen[None], true[None], task) for seen, true in pairs])


def _count_masks(masks: Iterable[Iterable[np.ndarray]], known: np.ndarray) -> np.ndarray:
    """Count TP, FP, FN, TN of pairs of masks (scenes, height, width), predicted and true."""
    rows = []
    total = np.count_nonzero(known, axis=(1, 2))
    for predicted, true in masks:
        seen, there, both = (
            np.count_nonzero(mask & known, axis=(1, 2))
            for mask in (predicted, true, predicted & true)
        )
        rows.append((both, seen - both, there - both, total - seen - there + both))
    return np.moveaxis(np.array(rows, np.int64), 2, 0)  # (scenes, num_classes, 4)


def scores(
    counts: np.ndarray, convention: str = "standard", class_names: Sequence[str] | None = None
) -> Scores:
    """Turn counts into the four mean scores under a convention (see the module's text).

    Parameters
    ----------
    counts : integer ndarray (scenes, classes, 4)
        TP, FP, FN, TN as `counts` returns them, class 0 = background. A scene without a counted
        pixel says nothing and is left out.
    convention : str
        ``standard`` or ``paper``.
    class_names : sequence of str, optional
        One name per class, the background's first; numbers by default.

    Returns
    -------
    Scores
        NaN where there is nothing to score. ``standard``: a class of the truth has precision 0
        where it is 0/0; one that is not in the truth is NaN in `per_class`, its false positives
        beside, and not in the mean; `per_class` has no background. ``paper``: `per_class` holds
        the means over scenes.

    Raises
    ------
    MinsegError
        If the convention is unknown or the counts have another shape.

    Notes
    -----
    ``paper`` averages over whatever classes it is given. The toy of three scenes by which the
    convention was found (IoU .879, recall .229, precision .306, accuracy .977) has three classes
    and no background: ``scores(counts[:, 1:], "paper")``.

    Examples
    --------
    >>> mine = [[2, 0, 1, 1], [1, 1, 0, 2]]  # TP, FP, FN, TN of the background and of a class
    >>> scores([mine], class_names=["background", "dam"])["iou"]
    0.5
    """
    counts = np.asarray(counts)
    require_word("convention", convention, CONVENTIONS)
    require_counts(counts)
    names = list(range(counts.shape[1])) if class_names is None else list(class_names)
    if len(names) != counts.shape[1]:
        raise MinsegError(
            f"metrics: {len(names)} class names for {counts.shape[1]} classes; "
            "name the background first"
        )
    counts = counts[counts.sum(axis=(1, 2)) > 0]
    if convention == "paper":
        values = ratios(counts, 1.0)  # (scenes, classes, 4)
        values = values.mean(axis=0) if len(values) else np.full((len(names), 4), np.nan)
    else:
        counts, names = counts[:, 1:], names[1:]
        pooled = counts.sum(axis=0)  # (classes, 4)
        values = np.where(_in_truth(pooled)[:, None], ratios(pooled, 0.0), np.nan)
    return _with_means(values, counts.sum(axis=0), names)


def require_counts(counts: np.ndarray) -> None:
    """Refuse counts of another shape."""
    if counts.ndim != 3 or counts.shape[2] != 4:
        raise MinsegError(
            f"scores: counts {counts.shape} must have the shape (scenes, classes, 4) "
            "with TP, FP, FN, TN last"
        )


def resampled_means(counts: np.ndarray, draws: np.ndarray, convention: str) -> np.ndarray:
    """Score resamples (resamples, scenes) of weights at once: the means that `scores` gives."""
    known = counts.sum(axis=(1, 2)) > 0
    counts, draws = counts[known], draws[:, known]
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is promised
        if convention == "paper":
            by_scene = ratios(counts, 1.0).mean(axis=1)  # (scenes, 4)
            return draws @ by_scene / draws.sum(axis=1, keepdims=True)
        pooled = np.tensordot(draws, counts[:, 1:].astype(float), axes=1)  # (resamples, classes, 4)
        present = _in_truth(pooled)
        values = np.where(present[..., None], ratios(pooled, 0.0), 0.0)
        return values.sum(axis=1) / present.sum(axis=1, keepdims=True)


def _in_truth(counts: np.ndarray) -> np.ndarray:
    """Tell which counts (..., 4) are of a class that the truth holds."""
    return counts[..., 0] + counts[..., 2] > 0  # TP + FN


def ratios(counts: np.ndarray, empty_iou: float, empty_ratio: float = 0.0) -> np.ndarray:
    """Return IoU, recall, precision, accuracy (..., 4) of counts (..., 4), with values for 0/0."""
    tp, fp, fn, tn = np.moveaxis(counts.astype(np.float64), -1, 0)
    parts = [
        (tp, tp + fp + fn, empty_iou),
        (tp, tp + fn, empty_ratio),
        (tp, tp + fp, empty_ratio),
        (tp + tn, tp + fp + fn + tn, np.nan),
    ]
    divided = [
        np.divide(part, whole, out=np.full_like(part, empty), where=whole > 0)
        for part, whole, empty in parts
    ]
    return np.stack(divided, axis=-1)


def _with_means(values: np.ndarray, pooled: np.ndarray, names: list) -> Scores:
    """Join scores (classes, 4) and pooled counts (classes, 4) into a table with its means."""
    table = pd.DataFrame(values, columns=list(METRICS), index=pd.Index(names, name="class"))
    table[["tp", "fp", "fn"]] = pooled[:, :3].astype(np.int64)
    iou, recall, precision, accuracy = (float(table[name].mean()) for name in METRICS)
    return Scores(iou=iou, recall=recall, precision=precision, accuracy=accuracy, per_class=table)
