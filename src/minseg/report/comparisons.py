"""The paper's Tables 2, 3 and 4 as a page shows them: our numbers beside the printed ones."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from minseg.data.dataset import Dataset
from minseg.data.labels import parse_task
from minseg.data.mines import MINE_TYPES, RAW_MATERIALS
from minseg.learning.metrics import METRICS
from minseg.report.gallery import task_title
from minseg.report.style import table_style
from minseg.report.tables import METRIC_TITLES
from minseg.report.text import markdown_text
from minseg.study.comparison import PaperScores
from minseg.study.experiments import AVERAGES, GENERAL_OF, Result
from minseg.study.paper import paper_images

SPLIT_ROWS: tuple[str, ...] = tuple(row for pair in GENERAL_OF.items() for row in pair)
"""Rows of Table 4 in the printed order."""

OURS, PAPER, INTERVAL, SPREAD = "ours", "paper", "95 % interval", "seed spread"

_PART_TITLES = {"test": "test", "validation": "val.", "train": "train"}
_SHORT_TITLES = {"iou": "IoU", "recall": "Rec", "precision": "Prec", "accuracy": "Acc"}


def model_title(task: str) -> str:
    """Return a task's name for a reader: ``Model 1``, or its classes."""
    return ", ".join(task_title(parse_task(task)).split(","))


def image_table(dataset: Dataset) -> Styler:
    """Return how many images each split has, ours beside the paper's (Table 2).

    Returns
    -------
    pandas Styler
        Row: All, and the subsets of section 2.2; columns: ours or a model of the paper, and within
        it test, validation (val.), train. Ours hold for all models: one scene serves every task.
        ``not stated`` where no mine of the dataset tells its raw material or mine type.
    """
    published = paper_images()
    mines = dataset.mines.set_index("mine")
    columns: dict[tuple[str, str], pd.Series] = {}
    for part, title in _PART_TITLES.items():
        of_scenes = mines.loc[dataset.scenes_of(part)["mine"]]
        counts = {row: _images(of_scenes, mines, row) for row in published.index}
        columns[OURS, title] = pd.Series(counts, dtype=object)
    for model in published.columns.unique("model"):
        for part, title in _PART_TITLES.items():
            columns[f"paper, {model_title(model)}", title] = published[model, part]
    return table_style(pd.DataFrame(columns), ("", "synthetic" * dataset.synthetic))


def _images(of_scenes: pd.DataFrame, mines: pd.DataFrame, row: str) -> int | str:
    """Count scenes, given by their rows of the mine table, that a row of Table 2 is about."""
    for column, codes in (("raw_material", RAW_MATERIALS), ("mine_type", MINE_TYPES)):
        if row in codes:
            stated = mines[column].ne("").any()
            return int(of_scenes[column].eq(row).sum()) if stated else "not stated"
    return len(of_scenes)


def with_missing(
    scores: pd.DataFrame, tasks: Sequence[str], rows: Sequence[str], paper: PaperScores
) -> pd.DataFrame:
    """Give a score table every row of the print, so that what has no run is seen to be missing.

    Parameters
    ----------
    scores : pandas.DataFrame
        See `minseg.study.comparison.score_table`.
    tasks, rows : sequence of str
        All that the paper's table has, in its order.
    paper : callable
        See `score_table`.

    Returns
    -------
    pandas.DataFrame
        The same columns, one line a task, row and metric; without a run the value is NaN and the
        number of mines 0.
    """
    names = ["task", "row", "metric"]
    order = pd.MultiIndex.from_product([tasks, rows, METRICS], names=names)
    table = scores.set_index(names).reindex(order)
    published = [paper(task, row) or {} for task in tasks for row in rows]
    table = table.astype(dict.fromkeys(["value", "low", "high", "spread"], float)).assign(
        mines=table["mines"].astype(float).fillna(0).astype(int),
        absent=table["absent"].fillna(""),
        paper=[of_row.get(metric, np.nan) for of_row in published for metric in METRICS],
    )
    return table.reset_index()[list(scores.columns)]


def without_idle_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Take out the intervals that say nothing: those over a single test mine.

    One mine, drawn again and again, gives the same score each time. An AVG row has no interval
    either if one of its rows has none.

    Parameters
    ----------
    table : pandas.DataFrame
        See `score_table` and `difference_table` of `minseg.study.comparison`.

    Returns
    -------
    pandas.DataFrame
        With `low` and `high` NaN in such rows.
    """
    few = table[table["mines"] < 2]
    known = set(zip(few["task"], few["row"], strict=True))
    idle = np.array(
        [
            any((task, part) in known for part in (row, *AVERAGES.get(row, ())))
            for task, row in zip(table["task"], table["row"], strict=True)
        ],
        bool,
    )
    return table.assign(low=table["low"].mask(idle), high=table["high"].mask(idle))


def paper_layout(
    scores: pd.DataFrame,
    task: str,
    differences: pd.DataFrame | None = None,
    metrics: Sequence[str] = METRICS,
    convention: str = "",
    synthetic: bool = False,
) -> Styler:
    """Lay out one task's columns of Table 3 or 4, our numbers beside the paper's.

    Parameters
    ----------
    scores : pandas.DataFrame
        See `minseg.study.comparison.score_table` and `with_missing`.
    task : str
        The task whose rows are shown.
    differences : pandas.DataFrame, optional
        See `minseg.study.comparison.difference_table`; adds a column to IoU.
    metrics : sequence of str
        IoU comes with its interval over mines, and with its spread over seeds if there is any.
    convention : str
        How the scores were taken, for the table's corner.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas Styler
        The highest of our scores of each metric is bold, and so is the paper's highest; that
        chooses nothing. AVG rows are no candidates, and equal ones as printed are all bold. Columns
        of the paper are left out where it has no such model.
    """
    of_task = without_idle_intervals(scores[scores["task"] == task])
    in_paper = of_task["paper"].notna().any()
    columns: dict[tuple[str, str], pd.Series] = {}
    for metric in metrics:
        lines = of_task[of_task["metric"] == metric].set_index("row")
        title = METRIC_TITLES[metric]
        columns[title, OURS] = lines["value"]
        if metric == "iou":
            columns[title, INTERVAL] = _ranges(lines, "{:.3f}".format)
            if of_task["spread"].gt(0).any():
                columns[title, SPREAD] = lines["spread"]
        if in_paper:
            columns[title, PAPER] = lines["paper"]
        if in_paper and metric == "iou":
            columns[title, "minus paper"] = (lines["value"] - lines["paper"]).map(
                signed, na_action="ignore"
            )
        if differences is not None and metric == "iou":
            heading, texts = _difference_column(differences, task)
            columns[title, heading] = texts.reindex(lines.index)
    return _score_style(pd.DataFrame(columns), model_title(task), convention, synthetic)


def overview(scores: pd.DataFrame, convention: str = "", synthetic: bool = False) -> Styler:
    """Show Table 3 or 4 at a glance: our scores of all tasks, the highest of each column bold.

    Parameters
    ----------
    scores : pandas.DataFrame
        See `minseg.study.comparison.score_table` and `with_missing`.
    convention : str
        How the scores were taken, for the table's corner.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas Styler
    """
    table = scores.pivot(index="row", columns=["task", "metric"], values="value")
    columns = {
        (model_title(task), _SHORT_TITLES[metric]): table[task, metric]
        for task in scores["task"].unique()
        for metric in METRICS
    }
    ordered = pd.DataFrame(columns).reindex(scores["row"].unique())
    return _score_style(ordered, "", convention, synthetic, zero=False)


def notes(results: Iterable[Result], scores: pd.DataFrame) -> str:
    """List what the reader of a table must know about its gaps.

    Parameters
    ----------
    results : iterable of Result
        Those without runs are told with their reason.
    scores : pandas.DataFrame
        See `minseg.study.comparison.score_table`: classes that no test scene holds, and rows with
        a single test mine.

    Returns
    -------
    str
        A Markdown list, each reason once with the rows it concerns; empty without any.
    """
    told = [
        (f"no run: {result.problem or 'none was made'}", result.entry.task, result.entry.row)
        for result in results
        if not result.runs
    ]
    lines = scores[~scores["row"].isin(list(AVERAGES))].drop_duplicates(["task", "row"])
    for task, row, mines, absent in zip(
        lines["task"], lines["row"], lines["mines"], lines["absent"], strict=True
    ):
        if absent:
            told.append(
                (f"no test scene holds {absent}; the scores say nothing about that", task, row)
            )
        if mines == 1:
            told.append(("a single test mine, so there is no interval over mines", task, row))
    concerned: dict[str, list[tuple[str, str]]] = {}
    for reason, task, row in told:
        concerned.setdefault(reason, []).append((task, row))
    return "\n".join(
        f"- {_names(pairs)}: {markdown_text(reason)}." for reason, pairs in concerned.items()
    )


def _names(pairs: Iterable[tuple[str, str]]) -> str:
    """Name rows by task, tasks with the same rows together: ``Model 1, Model 2 (RR, GRR)``."""
    rows_of: dict[str, list[str]] = {}
    for task, row in pairs:
        rows_of.setdefault(model_title(task), []).append(row)
    tasks_of: dict[str, list[str]] = {}
    for title, rows in rows_of.items():
        tasks_of.setdefault(", ".join(rows), []).append(title)
    return "; ".join(f"{', '.join(titles)} ({rows})" for rows, titles in tasks_of.items())


def _difference_column(differences: pd.DataFrame, task: str) -> tuple[str, pd.Series]:
    """Return the heading and the texts of one task's differences in IoU."""
    lines = without_idle_intervals(differences)
    lines = lines[(lines["task"] == task) & (lines["metric"] == "iou")].set_index("row")
    references = lines["reference"].unique()
    heading = f"minus {references[0]}" if len(references) == 1 else "minus counterpart"
    ranges = (" (" + _ranges(lines, signed) + ")").fillna("")
    return heading, lines["difference"].map(signed, na_action="ignore") + ranges


def _ranges(lines: pd.DataFrame, write: Callable[[float], str]) -> pd.Series:
    """Write the intervals of rows: ``0.512 to 0.701``."""
    low, high = (lines[name].map(write).astype(str) for name in ("low", "high"))
    texts = low + " to " + high
    return texts.where(lines["low"].notna())


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return f"{value:+.3f}".replace("-", "−")


def _score_style(
    table: pd.DataFrame, title: str, convention: str, synthetic: bool, zero: bool = True
) -> Styler:
    """Write scores with three decimals, with or without their leading zero, the highest in bold."""
    scores = [name for name in table if pd.api.types.is_float_dtype(table[name])]
    compared = table.columns.isin(scores) & (table.columns.get_level_values(1) != SPREAD)
    kind = ", ".join(word for word in (convention, "synthetic" * synthetic) if word)

    def three_decimals(value: object) -> str:
        return f"{value:.3f}" if zero else f"{value:.3f}".removeprefix("0")

    averages = table.index.isin(list(AVERAGES))
    rules = [k for k in range(1, len(table)) if averages[k] != averages[k - 1]]
    styler = table_style(table, (title, kind), rules)
    styler = styler.format(dict.fromkeys(scores, three_decimals), na_rep="–")
    return styler.apply(_embolden_highest, subset=table.columns[compared])


def _embolden_highest(column: pd.Series) -> list[str]:
    """Return the style of a column's cells: bold where it is highest as printed, AVG rows apart."""
    printed = column.map("{:.3f}".format).astype(float).mask(column.index.isin(list(AVERAGES)))
    return ["font-weight: bold" if best else "" for best in printed == printed.max()]
