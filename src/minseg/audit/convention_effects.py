"""What the choice of an averaging convention does to stored runs: patterns, gaps and rankings."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from minseg.audit.identity import with_identity
from minseg.learning.conventions import CANDIDATES, NAMED, STANDARD, Convention, score
from minseg.learning.metrics import METRICS
from minseg.study.experiments import Result
from minseg.study.paper import ROUNDING
from minseg.study.runs import counts_array

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
        See `minseg.audit.identity.paper_rows`; rows that it does not share with ours count nowhere.

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


def empty_slots(results: Sequence[Result], background: bool = True) -> pd.DataFrame:
    """Count the slots, a class in an image, that hold nothing, and what they must have been.

    Parameters
    ----------
    results : sequence of Result
        Those without runs are left out.
    background : bool
        Whether the background is one of the classes.

    Returns
    -------
    pandas.DataFrame
        Columns task, row, slots, empty (share that is neither in the truth nor predicted) and
        not_annotated (share that is not in the truth), means over the seeds.
    """
    lines = []
    for result in results:
        shares = []
        for run in result.runs:
            counts = counts_array(result.counts(run), run.task)
            counts = counts[counts.sum(axis=(1, 2)) > 0][:, 0 if background else 1 :]
            tp, fp, fn = np.moveaxis(counts[..., :3], -1, 0)
            shares.append([tp.size, (tp + fp + fn == 0).mean(), (tp + fn == 0).mean()])
        if shares:
            lines.append([result.entry.task, result.entry.row, *np.mean(shares, axis=0)])
    columns = ["task", "row", "slots", "empty", "not_annotated"]
    return pd.DataFrame(lines, columns=columns).astype({"slots": int})


def ranks(ours: pd.DataFrame, conventions: Sequence[Convention] = NAMED) -> pd.DataFrame:
    """Rank the rows of each task by IoU, under each convention.

    Parameters
    ----------
    ours : pandas.DataFrame
        See `convention_scores`.
    conventions : sequence of Convention

    Returns
    -------
    pandas.DataFrame
        Columns task, convention, row, iou, rank (1 = highest IoU; equal ones share the mean).
    """
    chosen = [convention.name for convention in conventions]
    lines = ours[ours["convention"].isin(chosen)]
    rank = lines.groupby(["task", "convention"])["iou"].rank(ascending=False)
    return lines.assign(rank=rank)[["task", "convention", "row", "iou", "rank"]]


def ranking_changes(ours: pd.DataFrame, reference: Convention = STANDARD) -> pd.DataFrame:
    """Tell how each convention orders the rows of a task, beside the order of another.

    Parameters
    ----------
    ours : pandas.DataFrame
        See `convention_scores`.
    reference : Convention

    Returns
    -------
    pandas.DataFrame
        Columns convention, task, tau (Kendall's tau-b of the IoU of a task's rows against the
        reference: 1 the same order, -1 the reverse; NaN with fewer than two rows), best (the row
        with the highest IoU), lead (how far it is ahead of the second), same_best (whether that
        row is best under the reference too).
    """
    lines = []
    for task, of_task in ours.groupby("task", sort=False):
        table = of_task.pivot(index="row", columns="convention", values="iou")
        table = table[list(dict.fromkeys(of_task["convention"]))]
        base = table[reference.name]
        for name, values in table.items():
            known = values.notna() & base.notna()
            tau = kendalltau(values[known], base[known]).statistic if known.sum() > 1 else np.nan
            if not values.notna().any():
                continue
            first = values.sort_values(ascending=False)
            lead = first.iloc[0] - first.iloc[1] if len(first) > 1 else np.nan
            same = base.notna().any() and first.index[0] == base.idxmax()
            lines.append([name, task, tau, first.index[0], lead, same])
    return pd.DataFrame(lines, columns=["convention", "task", "tau", "best", "lead", "same_best"])
