"""How small a difference in IoU the test mines can resolve, and how many a difference would need.

Mines are what a test set samples. If the paired difference of two models has the standard error s
over n test mines, it has s * sqrt(n / N) over N of the same kind. A 95 % interval of plus and minus
1.96 standard errors excludes zero with 80 % power where the true difference is 1.96 + 0.84 = 2.80
standard errors. Both statements take the errors for normal and independent between mines.
"""

from collections.abc import Sequence
from itertools import combinations
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
import pandas as pd

from minseg.scoring.intervals import LEVEL
from minseg.scoring.metrics import IOU
from minseg.study.paper import MINE_TABLES, paper_images, paper_table
from minseg.study.tables import AVERAGES, GENERAL_OF, Scored

POWER = 0.8
"""Chance with which a difference is to be found."""

PAPER_TEST_MINES = 38
"""Test images of Model 1 in Table 2, one a mine; section 4.1 speaks of 38 areas."""

HALF_INTERVAL = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Half a 95 % interval in standard errors: 1.96."""

STANDARD_ERRORS = HALF_INTERVAL + NormalDist().inv_cdf(POWER)
"""A true difference of so many standard errors is found with that chance: 2.80."""

FEWEST_MINES = 4
"""Pairs tested on fewer mines are left out: the spread of three numbers is hardly known."""


def smallest_difference(spread: float, num_mines: int = PAPER_TEST_MINES) -> float:
    """Return the smallest true difference found with 80 % power; `spread` as of `mine_spread`."""
    return STANDARD_ERRORS * spread / sqrt(num_mines)


def needed_mines(difference: float, spread: float, comparisons: int = 1) -> float:
    """Return how many test mines find a true difference with 80 % power.

    The one rule of the book: for the paper's differences, and for claims that our runs leave open.
    """
    if np.isnan(spread) or np.isnan(difference):
        return float("nan")
    if difference == 0:
        return float("inf")
    widened = NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * comparisons)) - HALF_INTERVAL
    return float(ceil(((STANDARD_ERRORS + widened) * spread / difference) ** 2 - 1e-9))


def needed_correlation(difference: float, spread: float) -> float:
    """Return the correlation over mines at which 38 just resolve two models' difference.

    That is r in spread * sqrt(2 (1 - r)), the spread of a difference; `spread` is of one score.
    """
    of_difference = abs(difference) * sqrt(PAPER_TEST_MINES) / STANDARD_ERRORS
    return max(-1.0, 1 - (of_difference / spread) ** 2 / 2)


def mine_spread(resampled: np.ndarray, num_mines: int) -> float:
    """Return the standard deviation of what one mine adds, from resamples of the mines.

    Resampling n mines understates a variance by (n - 1) / n, which is made good.
    """
    known = resampled[~np.isnan(resampled)]
    if num_mines < 2 or not known.size:
        return float("nan")
    return float(known.std() * sqrt(num_mines) * sqrt(num_mines / (num_mines - 1)))


def band_pairs(rows: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """Return every two band configurations of each task (Table 3)."""
    return [pair for pair in combinations(rows, 2) if pair[0].task == pair[1].task]


def split_pairs(rows: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """Return targeted models with the general one on the same mines (Table 4).

    AVG rows are left out: they are means of the others.
    """
    known = {(one.task, one.row): one for one in rows if one.row not in AVERAGES}
    wanted = [
        (one, known.get((task, GENERAL_OF.get(row, "")))) for (task, row), one in known.items()
    ]
    return [(one, other) for one, other in wanted if other]


def task_spreads(pairs: Sequence[tuple[Scored, Scored]]) -> pd.DataFrame:
    """Measure how the difference in IoU of a task's models varies from mine to mine.

    Parameters
    ----------
    pairs : sequence of pairs of Scored
        See `band_pairs` and `split_pairs`; those on at least `FEWEST_MINES` mines count.

    Returns
    -------
    pandas.DataFrame
        Indexed by task: pairs, low and high (smallest and largest `mine_spread`), spread (root mean
        square) and resolvable (`smallest_difference` at 38 mines for that).
    """
    lines = [
        (one.task, mine_spread(one.resampled[:, IOU] - other.resampled[:, IOU], one.num_mines))
        for one, other in pairs
        if one.num_mines >= FEWEST_MINES
    ]
    groups = pd.DataFrame(lines, columns=["task", "spread"]).groupby("task", sort=False)["spread"]
    typical = groups.apply(lambda spreads: float(np.sqrt((spreads**2).mean()))).astype(float)
    return pd.DataFrame(
        {
            "pairs": groups.size(),
            "low": groups.min(),
            "high": groups.max(),
            "spread": typical,
            "resolvable": typical.map(smallest_difference),
        }
    )


def single_spreads(rows: Sequence[Scored]) -> pd.DataFrame:
    """Return how well the test mines know the IoU of each model by itself.

    Parameters
    ----------
    rows : sequence of Scored

    Returns
    -------
    pandas.DataFrame
        Columns task, mines, iou, spread, half_width (half the 95 % interval over 38 such mines), a
        line for each model tested on at least `FEWEST_MINES` mines.
    """
    lines = []
    for one in rows:
        if one.num_mines < FEWEST_MINES:
            continue
        spread = mine_spread(one.resampled[:, IOU], one.num_mines)
        half_width = HALF_INTERVAL * spread / sqrt(PAPER_TEST_MINES)
        lines.append([one.task, one.num_mines, one.values[IOU], spread, half_width])
    return pd.DataFrame(lines, columns=["task", "mines", "iou", "spread", "half_width"])


def paper_differences() -> pd.DataFrame:
    """Return the differences in IoU that the paper's conclusions about Tables 3 and 4 rest on.

    Columns table, task, row (what is compared, the same words in every task), difference (never
    negative in Table 3; in Table 4 targeted minus general) and mines (test images of Table 2, one a
    mine; of an AVG row those of its three subsets).
    """
    images = paper_images().to_dict()  # {(model, part): {split: images}}
    lines: list[list] = []
    for task, of_task in paper_table(3).query("metric == 'iou'").groupby("model", sort=False):
        best = of_task.set_index("bands")["value"].sort_values(ascending=False, kind="stable")
        names, mines = list(best.index), images[task, "test"]["All"]
        others = {
            "best − second": 1,
            "best − last": len(names) - 1,
            "best − RGB": names.index("RGB"),
        }
        for words, place in others.items():
            difference = round(best.iloc[0] - best.iloc[place], 4)
            if place:  # RGB itself may be best
                lines.append([3, task, words, difference, mines])
    for task, of_task in paper_table(4).query("metric == 'iou'").groupby("model", sort=False):
        iou = of_task.set_index("split")["value"]
        for row, general in GENERAL_OF.items():
            of_row = [images[task, "test"][code] for code in AVERAGES.get(row, (row,))]
            difference = round(iou[row] - iou[general], 4)
            lines.append([4, task, row, difference, sum(of_row)])
    return pd.DataFrame(lines, columns=["table", "task", "row", "difference", "mines"])


def with_needed(differences: pd.DataFrame, spreads: pd.DataFrame, table: int) -> pd.DataFrame:
    """Say how many mines the paper's differences would need, if they spread as ours do.

    `spreads` are those of `task_spreads`, and tasks that it lacks are left out. The rows of
    `paper_differences` about a table (3 or 4) with needed, needed_low and needed_high (mines at the
    task's typical, smallest and largest spread), and enough (whether the paper's mines are as many
    as needed). An AVG row is taken as one test set of all its mines, as if the subsets were of
    equal size.
    """
    lines = differences[(differences["table"] == table) & differences["task"].isin(spreads.index)]
    lines = lines.reset_index(drop=True)
    for column, spread in {"needed": "spread", "needed_low": "low", "needed_high": "high"}.items():
        lines[column] = [
            needed_mines(difference, spreads.loc[task, spread])
            for task, difference in zip(lines["task"], lines["difference"], strict=True)
        ]
    return lines.assign(enough=lines["mines"] >= lines["needed"])


def paper_mine_spreads() -> pd.DataFrame:
    """Return how far IoU differs between the single mines that the paper shows (Tables 6 to 8).

    This needs none of our runs. The mines are few, and were chosen to be talked about.

    Returns
    -------
    pandas.DataFrame
        Indexed by task: mines, spread (standard deviation of a class's IoU over the mines, root
        mean square over the classes with two or more), half_width (half the 95 % interval of a mean
        IoU over 38 mines), difference (best minus second configuration of Table 3), and
        correlation: how closely the IoU of the two models must follow each other from mine to mine
        for 38 mines to resolve that difference.
    """
    differences = paper_differences()
    second = differences[differences["row"] == "best − second"].set_index("task")["difference"]
    lines = {}
    for task, number in MINE_TABLES.items():
        table = paper_table(number).query("metric == 'iou'")
        spread = float(np.sqrt(table.groupby("class")["value"].var().mean()))
        lines[task] = {
            "mines": table["location"].nunique(),
            "spread": spread,
            "half_width": HALF_INTERVAL * spread / sqrt(PAPER_TEST_MINES),
            "difference": second[task],
            "correlation": needed_correlation(second[task], spread),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
