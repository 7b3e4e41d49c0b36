"""The paper's tables and statements, transcribed; a bad file is refused by name and row."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.labels import parse_task
from minseg.data.mines import read_table
from minseg.errors import MinsegError
from minseg.scoring.metrics import METRICS
from minseg.study.config import RunConfig

PAPER_FOLDER = (Path(__file__).parents[1] / "paper").resolve()
"""Tidy tables transcribed from the paper, in the checkout."""

ROUNDING = 0.0005
"""The most by which a score printed with three decimals is off."""

MINE_TABLES: dict[str, int] = {"model1": 6, "model2": 7, "model3": 8}
"""The table with scores of single mines, for each model that has one."""

_TEXT = pa.Column(str, pa.Check.str_length(min_value=1))
_SCORE = pa.Column(float, pa.Check.in_range(0, 1))
_COUNT = pa.Column("int64", pa.Check.ge(0, error="a whole number from 0"))
_NUMBER = pa.Column(float, pa.Check(np.isfinite, error="a number"))


@dataclass(frozen=True, eq=False)
class Layout:
    """What a transcribed file must hold."""

    schema: pa.DataFrameSchema
    rows: tuple[tuple[str, ...], ...] = ()
    """What names each row, in the printed order, in the first columns; none if any may be there."""


def _layout(columns: str, value: pa.Column, rows: Iterable[tuple[str, ...]]) -> Layout:
    """Return the layout of a table whose rows have names, and a value in the last column."""
    *names, last = columns.split()
    texts = dict.fromkeys(names, _TEXT)
    return Layout(pa.DataFrameSchema(texts | {last: value}, coerce=True), tuple(rows))


_MODELS = ("model1", "model2", "model3", "model4")
_OF_MODELS = tuple(itertools.product(_MODELS, METRICS))
_SPLITS = ("RR", "MO", "CL", "MT", "OC", "OP")
_ROWS_OF_TABLE_4 = (
    *("RR", "GRR", "MO", "GMO", "CL", "GCL", "AVG RR+MO+CL", "AVG GM"),
    *("MT", "GMT", "OC", "GOC", "OP", "GOP", "AVG MT+OC+OP", "AVG GS"),
)
_TUNED = (
    *("learning_rate", "batch_size", "epochs", "crop"),
    *("optimiser", "encoder", "architecture", "loss"),
)
_TAILINGS = "tailing storage facility"
_MINES: dict[int, tuple[tuple[str, str], ...]] = {
    6: (
        ("Cordero Rojo", "excavation"),
        ("Cordero Rojo", "preparatory work area"),
        *((name, "excavation") for name in ("Agarak", "Tunstead", "Cerovo", "Noranda")),
    ),
    7: tuple(
        (name, "dumping ground") for name in ("Novotroitsk", "Kostolac", "Kovdor", "Rudnichny")
    ),
    8: (
        *(("Globe-Miami", name) for name in ("infrastructure", _TAILINGS)),
        *(("Bor Mine", name) for name in ("infrastructure", _TAILINGS, "dam")),
        *(("Buenavista", name) for name in ("infrastructure", _TAILINGS, "dam")),
    ),
}

TABLES: dict[int, Layout] = {
    2: _layout(
        "split model part images",
        _COUNT,
        itertools.product(("All", *_SPLITS), _MODELS, ("test", "validation", "train")),
    ),
    3: _layout(
        "bands model metric value",
        _SCORE,
        ((row, *rest) for row in BAND_CONFIGURATIONS for rest in _OF_MODELS),
    ),
    4: _layout(
        "split model metric value",
        _SCORE,
        ((row, *rest) for row in _ROWS_OF_TABLE_4 for rest in _OF_MODELS),
    ),
    5: _layout(
        "hyperparameter model printed_model printed value",
        _TEXT,
        itertools.product(_TUNED, _MODELS),
    ),
    **{
        number: _layout(
            "location class metric value",
            _SCORE,
            ((*mine, metric) for mine in mines for metric in METRICS),
        )
        for number, mines in _MINES.items()
    },
}
"""Layout of each table that is transcribed."""

_ONCE = pa.Column(str, pa.Check.str_length(min_value=1), unique=True)
STATEMENTS = Layout(
    pa.DataFrameSchema(
        {"name": _ONCE, "place": _TEXT, "value": _NUMBER, "unit": _TEXT}, coerce=True
    )
)
"""Numbers that the paper's prose and captions print (``statements.csv``)."""

OPEN_POINTS = Layout(
    pa.DataFrameSchema({"place": _TEXT, "point": _ONCE, "consequence": _TEXT}, coerce=True)
)
"""What the paper leaves open and no arithmetic decides (``open_points.csv``)."""


def _read_file(path: Path, layout: Layout) -> pd.DataFrame:
    """Read a transcribed file as the caller's own; one that has not changed is checked once."""
    if not path.is_file():
        raise MinsegError(f"{path}: no such table; install minseg again, or give its folder")
    state = path.stat()
    return _read(path, layout, state.st_mtime_ns, state.st_size).copy()


@lru_cache(maxsize=64)
def _read(path: Path, layout: Layout, changed_ns: int, size: int) -> pd.DataFrame:
    """Read a file in the state that the last two arguments name, and hold it against its layout."""
    table, problems = read_table(path, layout.schema)
    if problems:
        raise MinsegError(problems[0])
    if layout.rows:
        keys = list(layout.schema.columns)[: len(layout.rows[0])]
        there = table[keys].itertuples(index=False, name=None)
        for number, (row, printed) in enumerate(itertools.zip_longest(there, layout.rows), start=2):
            if row != printed:
                names = [", ".join(one) if one else "nothing" for one in (row, printed)]
                raise MinsegError(f"{path}: row {number} is {names[0]}; the paper has {names[1]}")
    return table


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
        unknown, or a score lies outside [0, 1] (see `minseg.study.paper.read_file`).
    """
    path = (folder or PAPER_FOLDER) / f"table{number}.csv"
    if number not in TABLES:
        raise MinsegError(f"{path}: no such table; use {', '.join(map(str, TABLES))}")
    return _read_file(path, TABLES[number])


def paper_statements(folder: Path | None = None) -> pd.DataFrame:
    """Return numbers that the paper prints in its prose and captions: name, place, value, unit."""
    return _read_file((folder or PAPER_FOLDER) / "statements.csv", STATEMENTS)


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
    return _read_file((folder or PAPER_FOLDER) / "open_points.csv", OPEN_POINTS)


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
    """Return how many images the paper has, as its Table 2 is laid out."""
    table = paper_table(2).set_index(["split", "model", "part"])
    return table["images"].unstack(["model", "part"], sort=False)


def paper_hyperparameters(task: str) -> dict[str, Any]:
    """Return what Table 5 prints for `model1` … `model4`, as fields of `RunConfig`."""
    table = paper_table(5)
    column = table[table["model"] == task]
    if column.empty:
        raise MinsegError(f"Table 5 has no {task!r}; use {', '.join(table['model'].unique())}")
    printed = dict(zip(column["hyperparameter"], column["value"], strict=True))
    return RunConfig().replace(**printed).model_dump(include=set(printed))


def _scores(row: pd.DataFrame) -> dict[str, float] | None:
    """Return the metrics of one row of the print, which in tidy form is several."""
    return dict(zip(row["metric"], row["value"], strict=True)) if len(row) else None
