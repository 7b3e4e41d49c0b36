"""Reading the transcribed files of the paper; a bad one is refused by file and line."""

import csv
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.labels import parse_task
from minseg.data.mines import MINE_TYPES, RAW_MATERIALS
from minseg.errors import MinsegError
from minseg.scoring.metrics import METRICS
from minseg.study.config import RunConfig

Kind = Literal["count", "score", "number", "text"]

_MODELS = ("model1", "model2", "model3", "model4")
_SUBSETS = (*RAW_MATERIALS, *MINE_TYPES)
_ROWS_OF_TABLE_4 = (
    *_SUBSETS,
    *(f"G{code}" for code in _SUBSETS),
    *("AVG RR+MO+CL", "AVG GM", "AVG MT+OC+OP", "AVG GS"),
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


@dataclass(frozen=True)
class Layout:
    """What a file must hold."""

    columns: tuple[tuple[str, Kind], ...]
    """Names, in order, each with what its cells are."""
    keys: tuple[str, ...]
    """Columns that together name a row."""
    rows: frozenset[tuple[str, ...]] | None
    """The rows that must be there, no more and no fewer; None if any may."""


def _layout(keys: Sequence[str], rows: Iterable[tuple[str, ...]], value: str, kind: Kind) -> Layout:
    """Return the layout of a table with one value a row."""
    return Layout((*_texts(*keys), (value, kind)), tuple(keys), frozenset(rows))


def _texts(*names: str) -> tuple[tuple[str, Kind], ...]:
    """Return columns of plain text."""
    return tuple((name, "text") for name in names)


_SCORES = ("model", "metric")
_OF_MODELS = tuple(itertools.product(_MODELS, METRICS))
TABLES: dict[int, Layout] = {
    2: _layout(
        ("split", "model", "part"),
        itertools.product(("All", *_SUBSETS), _MODELS, ("test", "validation", "train")),
        "images",
        "count",
    ),
    3: _layout(
        ("bands", *_SCORES),
        ((row, *rest) for row in BAND_CONFIGURATIONS for rest in _OF_MODELS),
        "value",
        "score",
    ),
    4: _layout(
        ("split", *_SCORES),
        ((row, *rest) for row in _ROWS_OF_TABLE_4 for rest in _OF_MODELS),
        "value",
        "score",
    ),
    5: Layout(
        _texts("printed_model", "model", "hyperparameter", "printed", "value"),
        ("model", "hyperparameter"),
        frozenset(itertools.product(_MODELS, _TUNED)),
    ),
    **{
        number: _layout(
            ("location", "class", "metric"),
            ((*mine, metric) for mine in mines for metric in METRICS),
            "value",
            "score",
        )
        for number, mines in _MINES.items()
    },
}
"""Layout of each table that is transcribed."""

STATEMENTS = Layout(
    (*_texts("name", "place"), ("value", "number"), *_texts("unit")), ("name",), None
)
"""Numbers that the paper's prose and captions print (``statements.csv``)."""

OPEN_POINTS = Layout(_texts("place", "point", "consequence"), ("place", "point"), None)
"""What the paper leaves open and no arithmetic decides (``open_points.csv``)."""


def read_file(path: Path, layout: Layout) -> pd.DataFrame:
    """Read a transcribed file and hold it against its layout.

    Parameters
    ----------
    path : Path
        CSV file.
    layout : Layout

    Returns
    -------
    pandas.DataFrame
        The caller's own; a file that has not changed is read and checked once.

    Raises
    ------
    MinsegError
        If the file is not there; if a column or row is missing, unknown or given twice; if a cell
        is empty or holds what it may not. The message has the line.
    """
    if not path.is_file():
        raise MinsegError(f"{path}: no such table; install minseg again, or give its folder")
    state = path.stat()
    return _read(path, layout, state.st_mtime_ns, state.st_size).copy()


@lru_cache(maxsize=64)
def _read(path: Path, layout: Layout, changed_ns: int, size: int) -> pd.DataFrame:
    """Read a file in the state that the last two arguments name."""
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        header = next(reader, [])
        _check_header(path, header, layout)
        known: dict[tuple[str, ...], int] = {}
        for cells in reader:
            line = f"{path}: line {reader.line_num}"
            key = _check_row(line, cells, layout)
            if key in known:
                raise MinsegError(f"{line}: {_named(key)} stands in line {known[key]} already")
            known[key] = reader.line_num
    _check_whole(path, known, layout)
    return pd.read_csv(path, keep_default_na=False)


def _check_header(path: Path, header: list[str], layout: Layout) -> None:
    """Refuse other columns than the layout's."""
    names = [name for name, _ in layout.columns]
    if header != names:
        raise MinsegError(
            f"{path}: line 1: columns are {', '.join(header)}; they must be {', '.join(names)}"
        )


def _check_row(line: str, cells: list[str], layout: Layout) -> tuple[str, ...]:
    """Return what names a row; refuse one that the paper does not have, and bad cells."""
    if len(cells) != len(layout.columns):
        raise MinsegError(f"{line}: {len(cells)} cells; give {len(layout.columns)}")
    row = {}
    for (name, kind), text in zip(layout.columns, cells, strict=True):
        row[name] = text
        problem = _problem(text, kind)
        if problem:
            raise MinsegError(f"{line}: {name} {problem}")
    key = tuple(row[name] for name in layout.keys)
    if layout.rows is not None and key not in layout.rows:
        raise MinsegError(f"{line}: the paper's table has no {_named(key)}")
    return key


def _problem(text: str, kind: Kind) -> str | None:
    """Return what is wrong with a cell, or None."""
    if not text.strip():
        return "is empty; give what the paper prints"
    if kind == "text":
        return None
    try:
        number = float(text)
    except ValueError:
        return f"is {text!r}; give a number"
    if kind == "score" and not 0 <= number <= 1:
        return f"is {text}, outside [0, 1]"
    if kind == "count" and not (number >= 0 and number.is_integer()):
        return f"is {text}; give a whole number"
    return None if math.isfinite(number) else f"is {text}; give a number"


def _check_whole(path: Path, known: dict[tuple[str, ...], int], layout: Layout) -> None:
    """Refuse a file that lacks a row, and say after which line one of the same kind ends."""
    for key in sorted(layout.rows - known.keys()) if layout.rows else ():
        # The longest beginning that it shares with a row which is there.
        alike = max(known, key=lambda other: _shared(key, other), default=None)
        after = known[alike] if alike else 1
        raise MinsegError(f"{path}: {_named(key)} is missing; add it near line {after}")


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many cells two keys share."""
    return sum(a == b for a, b in zip(one, other, strict=True))


def _named(key: tuple[str, ...]) -> str:
    """Write a key."""
    return "row " + ", ".join(key)


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
        unknown, or a score lies outside [0, 1] (see `minseg.study.paper.read_file`).
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
