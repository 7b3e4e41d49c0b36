"""Scores of single mines and classes (Tables 6 to 8), and which mines to look at."""

from collections.abc import Sequence

import pandas as pd

from minseg.data.dataset import Dataset
from minseg.errors import MinsegError
from minseg.study.ratios import ratio
from minseg.study.runs import Run


def mine_scores(run: Run) -> pd.DataFrame:
    """Score each class of each test mine by itself, as in Tables 6 to 8.

    Their accuracy is not that of Tables 3 and 4: in every printed row it equals IoU to rounding,
    so it must be TP / (TP + FP + FN), without true negatives. It is kept as a column of its own to
    give the tables their printed shape, and says nothing beyond IoU.

    Parameters
    ----------
    run : Run

    Returns
    -------
    pandas.DataFrame
        Rows mine, scene, class, iou, recall, precision, accuracy, 0 to 1. NaN where nothing is
        defined: all four where a class is neither in the truth nor in the prediction, recall where
        it is not in the truth, precision where it is not predicted.
    """
    rows = run.counts_of("test")
    rows = rows[rows["class"] != run.task.target_names[0]].reset_index(drop=True)
    iou = ratio(rows["tp"], rows["tp"] + rows["fp"] + rows["fn"])
    return rows[["mine", "scene", "class"]].assign(
        iou=iou,
        recall=ratio(rows["tp"], rows["tp"] + rows["fn"]),
        precision=ratio(rows["tp"], rows["tp"] + rows["fp"]),
        accuracy=iou,
    )


def best_median_worst(by_mine: pd.DataFrame) -> dict[str, str]:
    """Pick the mines with the best, the median and the worst IoU.

    Parameters
    ----------
    by_mine : pandas.DataFrame
        Indexed by mine, with a column iou; mines without an IoU are passed over.

    Returns
    -------
    dict
        ``best``, ``median`` and ``worst`` to a mine, the same one where there are few; empty
        where no mine has an IoU.
    """
    ranked = by_mine["iou"].dropna().sort_values(ascending=False).index
    if not len(ranked):
        return {}
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def choose_mines(run: Run, dataset: Dataset, wanted: Sequence[str] = ()) -> dict[str, str]:
    """Choose the test mines to look at one by one.

    Parameters
    ----------
    run : Run
    dataset : Dataset
        The one it was tested on.
    wanted : sequence of str
        Mines by name. With none: the best, the median and the worst by IoU, and the marked hard
        cases (column `case` of the mine table) that hold any of the run's classes, in truth or in
        prediction.

    Returns
    -------
    dict of mine to str
        Why it is shown: ``asked for``, or e.g. ``worst IoU; snow``.

    Raises
    ------
    MinsegError
        If a mine is not among the run's test mines.
    """
    by_mine = run.scores_by_mine()
    unknown = [mine for mine in wanted if mine not in by_mine.index]
    if unknown:
        raise MinsegError(
            f"{run.path}: mine {', '.join(map(repr, unknown))} is no test mine of this run; "
            f"test mines are {', '.join(by_mine.index)}"
        )
    cases = hard_cases(dataset)
    if wanted:
        reasons = {mine: ["asked for"] for mine in wanted}
    else:
        reasons = {}
        for rank, mine in best_median_worst(by_mine).items():
            reasons.setdefault(mine, []).append(f"{rank} IoU")
        shown = by_mine.index[by_mine["iou"].notna()]
        reasons |= {mine: [] for mine in shown if mine in cases and mine not in reasons}
    return {
        mine: "; ".join([*why, *([cases[mine]] if mine in cases else [])])
        for mine, why in reasons.items()
    }


def hard_cases(dataset: Dataset) -> dict[str, str]:
    """Return what sets mines apart, of those that the mine table marks as special."""
    if "case" not in dataset.mines:
        return {}
    marked = dataset.mines[dataset.mines["case"] != ""]
    return dict(zip(marked["mine"], marked["case"], strict=True))
