"""Candidate averaging conventions: what the same counts score under each (section 3).

The paper says that each score is the mean over the classes. It does not say over what pixels are
pooled before they are divided, whether the background is one of the classes, or what a class scores
that is not there. Each candidate answers these questions in one way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from minseg.errors import require_word
from minseg.scoring.metrics import METRICS, ratios, require_counts

REDUCTIONS: dict[str, str] = {
    "micro": "micro",
    "macro": "macro",
    "micro-imagewise": "micro per image",
    "macro-imagewise": "macro per image",
}
"""What counts are summed over before scores are taken, in the words of `smp.metrics`: scenes and
classes, scenes, classes, nothing; the mean goes over what is left."""

EMPTY_VALUES: tuple[float | None, ...] = (0.0, 1.0, None)
"""What an absent class may score; None leaves it out of the mean."""


@dataclass(frozen=True)
class Convention:
    """One way from counts to the four mean scores."""

    name: str
    reduction: str
    """One of `REDUCTIONS`."""
    background: bool
    """Whether the background is one of the classes."""
    absent_iou: float | None
    """IoU of an absent class; None leaves it out."""
    absent_ratio: float | None
    """Recall and precision of an absent class; None leaves it out."""
    absent_from: str = "both"
    """What an absent class is not in: the ``truth``, or ``both`` truth and prediction."""
    undefined_ratio: float = 0.0
    """Recall or precision of a class that is not absent, where it is 0/0."""

    @property
    def absent_rule(self) -> str:
        """What an absent class scores: IoU / precision and recall."""
        return " / ".join(
            "skipped" if value is None else f"{value:.0f}"
            for value in (self.absent_iou, self.absent_ratio)
        )


def score(counts: np.ndarray, convention: Convention) -> dict[str, float]:
    """Turn counts (scenes, classes, 4) into the mean of each of `METRICS` under a convention."""
    units = pooled_units(counts, convention)
    values = ratios(units, 0.0, convention.undefined_ratio)
    tp, fp, fn, _ = units.T
    absent = (tp + fn if convention.absent_from == "truth" else tp + fp + fn) == 0
    iou, ratio = np.array([convention.absent_iou, convention.absent_ratio], float)  # None is NaN
    values[absent, 0] = iou
    values[absent, 1:3] = ratio
    if convention.absent_iou is None:
        values[absent, 3] = np.nan
    return {name: _mean(one) for name, one in zip(METRICS, values.T, strict=True)}


def pooled_units(counts: np.ndarray, convention: Convention) -> np.ndarray:
    """Return what a convention takes scores of: counts summed as it pools them."""
    counts = np.asarray(counts)
    require_counts(counts)
    require_word("reduction", convention.reduction, REDUCTIONS)
    counts = counts[counts.sum(axis=(1, 2)) > 0]
    if not len(counts):  # the sum of nothing would be a unit of zeros
        return counts.reshape(-1, 4)
    if not convention.background:
        counts = counts[:, 1:]
    if convention.reduction in ("micro", "macro"):
        counts = counts.sum(axis=0, keepdims=True)
    if convention.reduction.startswith("micro"):
        counts = counts.sum(axis=1, keepdims=True)
    return counts.reshape(-1, 4)


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not left out."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


STANDARD = Convention("standard", "macro", False, None, None, absent_from="truth")
"""`minseg.scoring.metrics.scores`, ``standard``."""

PAPER = Convention("paper", "macro-imagewise", True, 1.0, 0.0)
"""`minseg.scoring.metrics.scores`, ``paper``."""

NAMED: tuple[Convention, ...] = (
    STANDARD,
    PAPER,
    Convention("torchmetrics, macro", "macro", True, None, None),
    Convention("smp.metrics, macro", "macro", True, 1.0, 1.0, undefined_ratio=1.0),
    Convention(
        "smp.metrics, macro-imagewise", "macro-imagewise", True, 1.0, 1.0, undefined_ratio=1.0
    ),
    Convention("1 − smp JaccardLoss", "macro-imagewise", True, 1.0, 0.0, absent_from="truth"),
)
"""Conventions that go by a name: this project's two, and what libraries do if left to themselves.

torchmetrics 1.9 leaves out a class that is neither in truth nor prediction. smp 0.6 puts
``zero_division=1`` for every 0/0; its JaccardLoss has no loss for a class that is not in the truth,
and so gives it an IoU of 1, predicted or not. Recall and precision beside it put 0 for 0/0.
"""


def _crossed() -> Iterator[Convention]:
    """Cross the answers, without those that differ in nothing."""
    for background, reduction in product((False, True), REDUCTIONS):
        # Summed over all classes, something is always there, but for images without foreground.
        certain = reduction == "micro" or (reduction == "micro-imagewise" and background)
        rules = product(("both", "truth"), EMPTY_VALUES, EMPTY_VALUES)
        for absent_from, iou, other in [("both", None, None)] if certain else rules:
            one = Convention("", reduction, background, iou, other, absent_from)
            where = "with background" if background else "foreground"
            absence = " if not in the truth" if absent_from == "truth" else ""
            rule = "" if certain else f", {one.absent_rule}{absence}"
            yield replace(one, name=f"{REDUCTIONS[reduction]}, {where}{rule}")


_WITHOUT_NAMES = {replace(one, name="") for one in NAMED}

CANDIDATES: tuple[Convention, ...] = (
    *NAMED,
    *(one for one in _crossed() if replace(one, name="") not in _WITHOUT_NAMES),
)
"""All candidates: the named ones, then those of the cross that none of them is."""
