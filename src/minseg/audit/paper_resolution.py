"""The paper's differences in IoU, and how many test mines they would need."""

from math import sqrt

import numpy as np
import pandas as pd

from minseg.audit.resolution import (
    HALF_INTERVAL,
    PAPER_TEST_MINES,
    needed_correlation,
    needed_mines,
)
from minseg.study.experiments import AVERAGES, GENERAL_OF
from minseg.study.paper import MINE_TABLES, paper_images, paper_table


def paper_differences() -> pd.DataFrame:
    """Return the differences in IoU that the paper's conclusions about Tables 3 and 4 rest on.

    Returns
    -------
    pandas.DataFrame
        Columns table, task, row (what is compared, the same words in every task), pair (the two
        printed rows), difference (never negative in Table 3; in Table 4 targeted minus general) and
        mines (test images of Table 2, one a mine; of an AVG row those of its three subsets).
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
                lines.append([3, task, words, f"{names[0]} − {names[place]}", difference, mines])
    for task, of_task in paper_table(4).query("metric == 'iou'").groupby("model", sort=False):
        iou = of_task.set_index("split")["value"]
        for row, general in GENERAL_OF.items():
            of_row = [images[task, "test"][code] for code in AVERAGES.get(row, (row,))]
            difference = round(iou[row] - iou[general], 4)
            lines.append([4, task, row, f"{row} − {general}", difference, sum(of_row)])
    return pd.DataFrame(lines, columns=["table", "task", "row", "pair", "difference", "mines"])


def with_needed(differences: pd.DataFrame, spreads: pd.DataFrame, table: int) -> pd.DataFrame:
    """Say how many mines the paper's differences would need, if they spread as ours do.

    Parameters
    ----------
    differences : pandas.DataFrame
        See `paper_differences`.
    spreads : pandas.DataFrame
        See `task_spreads`; tasks that it lacks are left out.
    table : {3, 4}
        The table whose differences are meant.

    Returns
    -------
    pandas.DataFrame
        The differences of the table with needed, needed_low and needed_high (mines at the task's
        typical, smallest and largest spread), and enough (whether the paper's mines are as many as
        needed). An AVG row is taken as one test set of all its mines, as if the subsets were of
        equal size.
    """
    lines = differences[(differences["table"] == table) & differences["task"].isin(spreads.index)]
    lines = lines.reset_index(drop=True)
    for column, spread in (
        ("needed", "spread"),
        ("needed_low", "low"),
        ("needed_high", "high"),
    ):
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
        Indexed by task: mines, classes (with two mines or more), spread (standard deviation of a
        class's IoU over the mines, root mean square over the classes), half_width (half the 95 %
        interval of a mean IoU over 38 mines), difference (best minus second configuration of
        Table 3), and correlation: how closely the IoU of the two models must follow each other from
        mine to mine for 38 mines to resolve that difference.
    """
    differences = paper_differences()
    second = differences[differences["row"] == "best − second"].set_index("task")["difference"]
    lines = {}
    for task, number in MINE_TABLES.items():
        table = paper_table(number).query("metric == 'iou'")
        by_class = table.groupby("class")["value"].agg(["size", "var"])
        by_class = by_class[by_class["size"] > 1]
        spread = float(np.sqrt(by_class["var"].mean()))
        lines[task] = {
            "mines": table["location"].nunique(),
            "classes": len(by_class),
            "spread": spread,
            "half_width": HALF_INTERVAL * spread / sqrt(PAPER_TEST_MINES),
            "difference": second[task],
            "correlation": needed_correlation(second[task], spread),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
