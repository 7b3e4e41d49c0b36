"""Reading the transcribed files of the paper; a bad one is refused by file and line."""

import csv
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pandas as pd

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.mines import MINE_TYPES, RAW_MATERIALS
from minseg.errors import MinsegError
from minseg.learning.metrics import METRICS

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
