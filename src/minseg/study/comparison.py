"""Scores of a table's entries with intervals over mines, their averages and differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from minseg.learning.intervals import bootstrap, interval, told_from_zero, widened
from minseg.learning.metrics import METRICS, scores
from minseg.study.experiments import AVERAGES, Result
from minseg.study.runs import counted_mines, counts_array

PaperScores = Callable[[str, str], Mapping[str, float] | None]
"""From a task and a row to the paper's four scores, None where it has no such row."""


@dataclass(frozen=True)
class Scored:
    """The four mean scores of one row and task, and what they are with other mines."""

    task: str
    row: str
    values: np.ndarray
    """Mean over the seeds, in the order of `METRICS`."""
    resampled: np.ndarray
    """The same for resamples of the mines (resamples, 4)."""
    spread: np.ndarray
    """Largest minus smallest value over the seeds."""
    num_mines: int
    absent: tuple[str, ...] = ()
    """Classes that no test scene holds: no score says anything about them."""


def scored(result: Result, convention: str, part: str = "test") -> Scored:
    """Score an entry from its runs' stored counts.

    Parameters
    ----------
    result : Result
        With runs.
    convention : str
        See `minseg.learning.metrics.scores`.
    part : {"validation", "test"}

    Returns
    -------
    Scored
    """
    values, resampled = [], []
    for run in result.runs:
        rows = result.counts(run, part)
        counts = counts_array(rows, run.task)  # (scenes, num_classes, 4)
        found = scores(counts, convention)
        values.append([found[metric] for metric in METRICS])  # type: ignore[literal-required]
        resampled.append(bootstrap(counts, counted_mines(rows), convention))
    in_truth = counts[:, :, [0, 2]].sum(axis=(0, 2))  # TP + FN
    names = run.task.target_names
    return Scored(
        result.entry.task,
        result.entry.row,
        np.mean(values, axis=0),
        np.mean(resampled, axis=0),
        np.ptp(values, axis=0),
        rows["mine"].nunique(),
        tuple(name for name, pixels in zip(names[1:], in_truth[1:], strict=True) if not pixels),
    )


def scored_rows(results: Sequence[Result], convention: str) -> list[Scored]:
    """Score the entries that have runs, and average them as Table 4 does where all are there.

    Parameters
    ----------
    results : sequence of Result
    convention : str
        See `minseg.learning.metrics.scores`.

    Returns
    -------
    list of Scored
    """
    rows = [scored(result, convention) for result in results if result.runs]
    known = {(one.task, one.row): one for one in rows}
    for task in dict.fromkeys(one.task for one in rows):
        for name, parts in AVERAGES.items():
            found = [known[task, part] for part in parts if (task, part) in known]
            if len(found) == len(parts):
                rows.append(average(found, name))
    return rows


def validation_iou(result: Result) -> float:
    """Return the `standard` IoU of an entry on the validation part, the mean over its seeds."""
    return float(scored(result, "standard", "validation").values[METRICS.index("iou")])


def chosen_rows(results: Sequence[Result]) -> dict[str, str]:
    """Choose each task's row by the validation part: the test part selects nothing.

    Parameters
    ----------
    results : sequence of Result

    Returns
    -------
    dict of task to row
        Tasks without a run, or without a validation IoU, are left out.
    """
    ious = pd.Series(
        {(one.entry.task, one.entry.row): validation_iou(one) for one in results if one.runs},
        dtype=float,
    ).dropna()
    if ious.empty:
        return {}
    return dict(ious.groupby(level=0).idxmax().tolist())


def average(rows: Sequence[Scored], name: str) -> Scored:
    """Average rows of one task, each weighing the same (the AVG rows of Table 4)."""
    return Scored(
        rows[0].task,
        name,
        np.mean([row.values for row in rows], axis=0),
        np.mean([row.resampled for row in rows], axis=0),
        np.mean([row.spread for row in rows], axis=0),
        sum(row.num_mines for row in rows),
        tuple(dict.fromkeys(name for row in rows for name in row.absent)),
    )


def score_table(rows: Sequence[Scored], paper: PaperScores) -> pd.DataFrame:
    """Lay scores out beside the paper's.

    Parameters
    ----------
    rows : sequence of Scored
    paper : callable
        `minseg.study.paper.paper_scores` or another of its kind.

    Returns
    -------
    pandas.DataFrame
        Columns task, row, metric, value, low, high (95 % interval over mines), spread (over
        seeds), mines, paper, absent.
    """
    lines = []
    for one in rows:
        published = paper(one.task, one.row) or {}
        for k, metric in enumerate(METRICS):
            low, high = interval(one.resampled[:, k])
            lines.append(
                {
                    "task": one.task,
                    "row": one.row,
                    "metric": metric,
                    "value": one.values[k],
                    "low": low,
                    "high": high,
                    "spread": one.spread[k],
                    "mines": one.num_mines,
                    "paper": published.get(metric, np.nan),
                    "absent": ", ".join(one.absent),
                }
            )
    return pd.DataFrame(lines, columns=SCORE_COLUMNS)


SCORE_COLUMNS = [
    "task",
    "row",
    "metric",
    "value",
    "low",
    "high",
    "spread",
    "mines",
    "paper",
    "absent",
]
DIFFERENCE_COLUMNS = [
    *("task", "row", "reference", "metric", "difference", "low", "high"),
    *("widened_low", "widened_high", "comparisons", "told", "mines", "paper"),
]


def difference_table(
    rows: Sequence[Scored], references: Mapping[str, str], paper: PaperScores
) -> pd.DataFrame:
    """Lay out differences between rows of the same task, paired over the mines.

    Parameters
    ----------
    rows : sequence of Scored
    references : mapping of row to the row it is compared with
        Both were tested on the same mines.
    paper : callable
        See `score_table`.

    Returns
    -------
    pandas.DataFrame
        Columns task, row, reference, metric, difference, low, high (95 % interval over mines of
        the paired difference), widened_low, widened_high (that interval, widened for the number of
        comparisons), comparisons (pairs that rest on several mines), told (whether it is told from
        zero, `minseg.learning.intervals.told_from_zero`), mines, paper (its difference).
        Pairs that lack a side are left out.
    """
    known = {(one.task, one.row): one for one in rows}
    found = [(one, known.get((one.task, references.get(one.row, "")))) for one in rows]
    pairs = [(one, other) for one, other in found if other]
    comparisons = max(1, sum(one.num_mines > 1 for one, _ in pairs))
    lines = []
    for one, other in pairs:
        published, against = (paper(one.task, name) or {} for name in (one.row, other.row))
        for k, metric in enumerate(METRICS):
            resampled = one.resampled[:, k] - other.resampled[:, k]
            low, high = interval(resampled)
            widened_low, widened_high = widened(resampled, comparisons)
            lines.append(
                {
                    "task": one.task,
                    "row": one.row,
                    "reference": other.row,
                    "metric": metric,
                    "difference": one.values[k] - other.values[k],
                    "low": low,
                    "high": high,
                    "widened_low": widened_low,
                    "widened_high": widened_high,
                    "comparisons": comparisons,
                    "told": told_from_zero(resampled, one.num_mines, comparisons),
                    "mines": one.num_mines,
                    "paper": published.get(metric, np.nan) - against.get(metric, np.nan),
                }
            )
    return pd.DataFrame(lines, columns=DIFFERENCE_COLUMNS)
