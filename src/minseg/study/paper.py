"""The paper's published values, as printed."""

from pathlib import Path
from typing import Any

import pandas as pd

from minseg.data.labels import parse_task
from minseg.errors import MinsegError
from minseg.learning.metrics import METRICS
from minseg.study.config import RunConfig
from minseg.study.paper_files import OPEN_POINTS, STATEMENTS, TABLES, read_file

PAPER_FOLDER = (Path(__file__).parents[1] / "paper").resolve()
"""Tidy tables transcribed from the paper, in the checkout."""

ROUNDING = 0.0005
"""The most by which a score printed with three decimals is off."""

MINE_TABLES: dict[str, int] = {"model1": 6, "model2": 7, "model3": 8}
"""The table with scores of single mines, for each model that has one."""


def paper_table(number: int, folder: Path | None = None) -> pd.DataFrame:
    """Return one of the paper's tables in tidy form.

    Parameters
    ----------
    number : int
        2: images of each split; columns split, model, part, images.
        3: scores by bands; columns bands, model, metric, value.
        4: scores by split; columns split, model, metric, value. ``G…`` is the general model
        tested on a split, ``AVG …`` a mean over three rows as the paper prints it.
        5: tuned hyperparameters; columns printed_model, model, hyperparameter, printed, value,
        the last two being the cell's text and how `RunConfig` spells it. The fourth column is
        headed Model 1 a second time; by its place it is taken as model4.
        6, 7, 8: scores of Models 1, 2 and 3 on single mines; columns location, class, metric,
        value. Numbers are as printed: one precision of Table 6 has four decimals. The heading of
        Table 7 speaks of five locations and it has four.
    folder : Path, optional
        Where the tables are, by default `PAPER_FOLDER`.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    MinsegError
        If there is no such table, or its file is not whole: a column, row or cell is missing or
        unknown, or a score lies outside [0, 1] (see `minseg.study.paper_files.read_file`).
    """
    path = (folder or PAPER_FOLDER) / f"table{number}.csv"
    if number not in TABLES:
        raise MinsegError(f"{path}: no such table; use {', '.join(map(str, TABLES))}")
    return read_file(path, TABLES[number])


def paper_statements(folder: Path | None = None) -> pd.DataFrame:
    """Return numbers that the paper prints in its prose and captions.

    Parameters
    ----------
    folder : Path, optional
        Where ``statements.csv`` is, by default `PAPER_FOLDER`.

    Returns
    -------
    pandas.DataFrame
        Columns name, place, value, unit.

    Raises
    ------
    MinsegError
        As `paper_table`.
    """
    return read_file((folder or PAPER_FOLDER) / "statements.csv", STATEMENTS)


def open_points(folder: Path | None = None) -> pd.DataFrame:
    """Return what the paper leaves open and no arithmetic on its numbers decides.

    Parameters
    ----------
    folder : Path, optional
        Where ``open_points.csv`` is, by default `PAPER_FOLDER`.

    Returns
    -------
    pandas.DataFrame
        Columns place, point, consequence (for a rerun or a reader).

    Raises
    ------
    MinsegError
        As `paper_table`.
    """
    return read_file((folder or PAPER_FOLDER) / "open_points.csv", OPEN_POINTS)


def paper_scores(task: str, bands: str) -> dict[str, float] | None:
    """Return the paper's scores of a model and band configuration (Table 3).

    Parameters
    ----------
    task : str
        `model1` … `model4`.
    bands : str
        Band configuration.

    Returns
    -------
    dict of metric to value, or None
        None where the paper has no such row.
    """
    table = paper_table(3)
    return _scores(table[(table["model"] == task) & (table["bands"] == bands)])


def paper_split_scores(task: str, split: str) -> dict[str, float] | None:
    """Return the paper's scores of a model on a split (Table 4).

    Parameters
    ----------
    task : str
        `model1` … `model4`.
    split : str
        Row as printed, such as ``RR``, ``GRR``, ``AVG RR+MO+CL`` or ``AVG GM``.

    Returns
    -------
    dict of metric to value, or None
        None where the paper has no such row.
    """
    table = paper_table(4)
    return _scores(table[(table["model"] == task) & (table["split"] == split)])


def paper_mine_scores(task: str) -> pd.DataFrame:
    """Return the paper's scores on single mines (Tables 6, 7 and 8).

    Parameters
    ----------
    task : str
        `model1` … `model4`, or class names.

    Returns
    -------
    pandas.DataFrame
        Rows location, class, iou, recall, precision, accuracy, in the printed order; of other
        tasks than Models 1 to 3 the rows of all three tables that are about one of its classes.
    """
    if task in MINE_TABLES:
        table = paper_table(MINE_TABLES[task])
    else:
        table = pd.concat([paper_table(number) for number in MINE_TABLES.values()])
        table = table[table["class"].isin(parse_task(task).target_names)]
    wide = table.set_index(["location", "class", "metric"])["value"].unstack("metric", sort=False)
    order = table[["location", "class"]].drop_duplicates()
    return order.merge(wide.reset_index(), how="left").reindex(
        columns=["location", "class", *METRICS]
    )


def paper_images() -> pd.DataFrame:
    """Return how many images the paper has, as its Table 2 is laid out.

    Returns
    -------
    pandas.DataFrame
        Row: split; columns: model, and within it test, validation, train.
    """
    table = paper_table(2).set_index(["split", "model", "part"])
    return table["images"].unstack(["model", "part"], sort=False)


def paper_hyperparameters(task: str) -> dict[str, Any]:
    """Return the hyperparameters that the paper found best for a model (Table 5).

    Parameters
    ----------
    task : str
        `model1` … `model4`.

    Returns
    -------
    dict of str to value
        Fields of `RunConfig`: ``config.replace(**paper_hyperparameters("model2"))``.

    Raises
    ------
    MinsegError
        If the paper tuned no such model.
    """
    table = paper_table(5)
    column = table[table["model"] == task]
    if column.empty:
        raise MinsegError(f"Table 5 has no {task!r}; use {', '.join(table['model'].unique())}")
    printed = dict(zip(column["hyperparameter"], column["value"], strict=True))
    return RunConfig().replace(**printed).model_dump(include=set(printed))


def _scores(row: pd.DataFrame) -> dict[str, float] | None:
    """Return the metrics of one row of the print, which in tidy form is several."""
    return dict(zip(row["metric"], row["value"], strict=True)) if len(row) else None
