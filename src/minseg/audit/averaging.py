"""What the averages of the paper can be, and what the choice of an averaging does to stored runs.

A predicted region that meets the truth in TP pixels has IoU = TP / (TP + FP + FN), which is at most
TP / (TP + FP) and at most TP / (TP + FN). Means over the same classes keep that, so where a printed
mean IoU exceeds a printed mean precision or recall, different rules were mixed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from minseg.data.labels import parse_task
from minseg.scoring.conventions import CANDIDATES, NAMED, STANDARD, Convention, score
from minseg.scoring.metrics import METRICS
from minseg.study.paper import ROUNDING, paper_table
from minseg.study.runs import counts_array
from minseg.study.tables import AVERAGES, Result


def paper_rows() -> pd.DataFrame:
    """Return the scores of Tables 3 and 4, one row of the print and model a line.

    Returns
    -------
    pandas.DataFrame
        Columns table, task, row, iou, recall, precision, accuracy. The AVG rows are left out: they
        are means of the others.
    """
    found = []
    for number, name in ((3, "bands"), (4, "split")):
        table = paper_table(number).rename(columns={name: "row", "model": "task"})
        wide = table.pivot(index=["task", "row"], columns="metric", values="value")
        order = table[["task", "row"]].drop_duplicates()
        found.append(order.merge(wide.reset_index()).assign(table=number))
    rows = pd.concat(found, ignore_index=True)
    rows = rows[~rows["row"].isin(list(AVERAGES))]
    columns = ["table", "task", "row", *METRICS]
    return rows.sort_values("task", kind="stable", ignore_index=True)[columns]


def iou_bound(rows: pd.DataFrame) -> pd.Series:
    """Return the most that IoU can be under one averaging: the lesser of recall and precision."""
    return rows[["recall", "precision"]].min(axis=1)


def with_identity(rows: pd.DataFrame, rounding: float = 0.0) -> pd.DataFrame:
    """Hold scores against the identity.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns iou, recall, precision and any others.
    rounding : float
        The most by which each value may be off; `ROUNDING` for printed ones.

    Returns
    -------
    pandas.DataFrame
        The same with `bound` (the lesser of precision and recall) and `breaks` (whether IoU exceeds
        it by more than rounding can do).
    """
    bound = iou_bound(rows)
    return rows.assign(bound=bound, breaks=rows["iou"] - bound > 2 * rounding + 1e-9)


@dataclass(frozen=True)
class Hypothesis:
    """One way in which the four scores may have been averaged, and what it cannot exceed."""

    name: str
    largest_iou: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """From min(precision, recall) and the number of classes to the largest mean IoU."""
    equal_ratios: bool = False
    """Whether precision and recall would be one number."""


HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis("one averaging for all scores, whichever", lambda bound, classes: bound),
    Hypothesis(
        "background is one more class, in IoU only",
        lambda bound, classes: (classes * bound + 1) / (classes + 1),
    ),
    Hypothesis(
        "IoU is the mean of a class and its rest; P and R are of the class",
        lambda bound, classes: (bound + 1) / 2,
    ),
    Hypothesis(
        "pixels pooled over all classes with background",
        lambda bound, classes: bound / (2 - bound),
        equal_ratios=True,
    ),
)
"""Explanations without absent classes. In the second and third the background, or the rest, is
granted an IoU of 1, so that nothing is excluded for a background that was found badly."""


def excluded_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the printed rows, by task, that each hypothesis cannot give, granted the rounding."""
    bound = iou_bound(rows).to_numpy() + ROUNDING
    classes = np.array([parse_task(task).num_classes - 1 for task in rows["task"]])
    unequal = (rows["recall"] - rows["precision"]).abs() > 2 * ROUNDING + 1e-9
    excluded = {}
    for one in HYPOTHESES:
        beyond = rows["iou"] - ROUNDING > one.largest_iou(bound, classes) + 1e-9
        excluded[one.name] = beyond | unequal if one.equal_ratios else beyond
    counted = pd.DataFrame(excluded).groupby(rows["task"], sort=False).sum()
    return counted.T.rename_axis(index="hypothesis", columns="task")


def least_empty_share(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the least share of absent classes that lifts IoU as far above P and R as printed.

    Of S averaged slots (a class in an image, or in the test set) let the share q be of classes that
    are absent. On the others IoU <= min(P, R), so with m the printed min(P, R):

    * absent classes score ``1 / 0`` (IoU / P and R): q >= IoU - m
    * ``1 / skipped``: IoU = q + (1 - q) i with i <= m, so q >= (IoU - m) / (1 - m)
    * ``skipped / 0``: m = (1 - q) r with r >= IoU, so q >= 1 - m / IoU

    No other pair of values 0, 1 and skipped lets mean IoU exceed mean P or R: 1 raises a mean, 0
    lowers it, and leaving out does neither.
    """
    iou, bound = rows["iou"], iou_bound(rows)
    shares = {
        "1 / 0": iou - bound,
        "1 / skipped": (iou - bound) / (1 - bound),
        "skipped / 0": 1 - bound / iou,
    }
    return pd.DataFrame(shares).where(iou > bound, 0.0)


GAPS: tuple[str, ...] = ("recall", "precision")
"""Scores that mean IoU is held against."""


def convention_scores(
    results: Sequence[Result], conventions: Sequence[Convention] = CANDIDATES
) -> pd.DataFrame:
    """Score the test part of runs under each convention, from the same stored counts.

    Parameters
    ----------
    results : sequence of Result
        Those without runs are left out.
    conventions : sequence of Convention

    Returns
    -------
    pandas.DataFrame
        Columns convention, task, row, iou, recall, precision, accuracy (means over the seeds).
    """
    lines = []
    for result in results:
        counted = [counts_array(result.counts(run), run.task) for run in result.runs]
        for convention in conventions if counted else ():
            found = np.mean([[*score(counts, convention).values()] for counts in counted], axis=0)
            lines.append([convention.name, result.entry.task, result.entry.row, *found])
    return pd.DataFrame(lines, columns=["convention", "task", "row", *METRICS])


def pattern_distances(ours: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Rank conventions by how near they bring our scores to the *pattern* of the paper's.

    Scores differ for many reasons; what only a convention explains is how IoU stands to recall and
    precision. So the gaps IoU - recall and IoU - precision are compared, not the scores.

    Parameters
    ----------
    ours : pandas.DataFrame
        See `convention_scores`.
    paper : pandas.DataFrame
        See `paper_rows`; rows that it does not share with ours count nowhere.

    Returns
    -------
    pandas.DataFrame
        Indexed by convention, the nearest first: distance (root mean square over tasks and both
        gaps of ours minus the paper's, gaps being means over a task's rows), agreeing (rows that
        break the identity in both or in neither), rows, and one column a task, how many of its
        rows break it in ours. Empty without shared rows.
    """
    paper = with_identity(paper, ROUNDING)
    both = with_identity(ours).merge(paper, on=["task", "row"], suffixes=("", " paper"))
    if both.empty:
        return pd.DataFrame(columns=["distance", "agreeing", "rows"])
    for gap in GAPS:
        apart = (both["iou"] - both[gap]) - (both["iou paper"] - both[f"{gap} paper"])
        both[f"apart {gap}"] = apart
    by_task = both.groupby(["convention", "task"], sort=False)[[f"apart {gap}" for gap in GAPS]]
    squares = (by_task.mean() ** 2).mean(axis=1)
    agreeing = both["breaks"] == both["breaks paper"]
    groups = both["convention"]
    found = pd.DataFrame(
        {
            "distance": np.sqrt(squares.groupby("convention", sort=False).mean()),
            "agreeing": agreeing.groupby(groups, sort=False).sum(),
            "rows": groups.groupby(groups, sort=False).size(),
        }
    )
    breaking = both.pivot_table(
        index="convention", columns="task", values="breaks", aggfunc="sum", sort=False
    )
    return found.join(breaking.astype(int)).sort_values("distance", kind="stable")


def empty_slots(results: Sequence[Result]) -> pd.DataFrame:
    """Count the slots, a class or the background in an image, that hold nothing.

    Parameters
    ----------
    results : sequence of Result
        Those without runs are left out.

    Returns
    -------
    pandas.DataFrame
        Columns task, empty (share that is neither in the truth nor predicted) and not_annotated
        (share that is not in the truth), means over the seeds; a line a result.
    """
    lines = []
    for result in results:
        shares = []
        for run in result.runs:
            counts = counts_array(result.counts(run), run.task)
            counts = counts[counts.sum(axis=(1, 2)) > 0]
            tp, fp, fn = np.moveaxis(counts[..., :3], -1, 0)
            shares.append([(tp + fp + fn == 0).mean(), (tp + fn == 0).mean()])
        if shares:
            lines.append([result.entry.task, *np.mean(shares, axis=0)])
    return pd.DataFrame(lines, columns=["task", "empty", "not_annotated"])


def ranks(ours: pd.DataFrame) -> pd.DataFrame:
    """Rank the rows of each task by IoU, under each of the named conventions.

    Parameters
    ----------
    ours : pandas.DataFrame
        See `convention_scores`.

    Returns
    -------
    pandas.DataFrame
        Columns task, convention, row, iou, rank (1 = highest IoU; equal ones share the mean).
    """
    lines = ours[ours["convention"].isin([convention.name for convention in NAMED])]
    rank = lines.groupby(["task", "convention"])["iou"].rank(ascending=False)
    return lines.assign(rank=rank)[["task", "convention", "row", "iou", "rank"]]


def ranking_changes(ours: pd.DataFrame) -> pd.DataFrame:
    """Tell how each convention orders the rows of a task, beside the order of the standard one.

    From `convention_scores`: columns convention, task, tau (Kendall's tau-b of the IoU of a task's
    rows against the standard: 1 the same order, -1 the reverse), same_best (whether the row with
    the highest IoU is best under the standard too); tasks of two rows or more.
    """
    lines = []
    for task, of_task in ours.groupby("task", sort=False):
        table = of_task.pivot(index="row", columns="convention", values="iou")
        base = table[STANDARD.name]
        for name in dict.fromkeys(of_task["convention"]):
            known = table[name].notna() & base.notna()
            if known.sum() > 1:
                tau = table[name].corr(base, "kendall")
                lines.append([name, task, tau, table[name].idxmax() == base.idxmax()])
    return pd.DataFrame(lines, columns=["convention", "task", "tau", "same_best"])
