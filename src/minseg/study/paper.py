"""The paper's tables and statements, transcribed; a bad file is refused by name and row."""

import itertools
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

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

_KEYS = ("split", "bands", "hyperparameter", "location", "class", "model", "metric", "part")
"""Columns that name a row."""

_ONCE = pa.Column(str, pa.Check.str_length(min_value=1), unique=True)


def _schema(columns: str, **values: pa.Column) -> pa.DataFrameSchema:
    """Return the schema of a table of texts, and of other values in the columns named."""
    return pa.DataFrameSchema(dict.fromkeys(columns.split(), _TEXT) | values, coerce=True)


_SCHEMAS: dict[str, pa.DataFrameSchema] = {
    "table2": _schema("split model part", images=_COUNT),
    "table3": _schema("bands model metric", value=_SCORE),
    "table4": _schema("split model metric", value=_SCORE),
    "table5": _schema("hyperparameter model printed_model printed value"),
    **{f"table{k}": _schema("location class metric", value=_SCORE) for k in MINE_TABLES.values()},
    "statements": _schema("name place value unit", name=_ONCE, value=_NUMBER),
    "open_points": _schema("place point consequence", point=_ONCE),
}
"""What each transcribed file must hold."""

TABLES = (2, 3, 4, 5, *MINE_TABLES.values())
"""Numbers of the tables that are transcribed."""


def _read_file(name: str, folder: Path | None) -> pd.DataFrame:
    """Read a transcribed file as the caller's own; one that has not changed is checked once."""
    path = (folder or PAPER_FOLDER) / f"{name}.csv"
    if name not in _SCHEMAS or not path.is_file():
        raise MinsegError(f"{path}: no such table; install minseg again, or give its folder")
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size).copy()


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, size: int) -> pd.DataFrame:
    """Read a file in the state that the last two arguments name, and hold it against its schema."""
    table, problems = read_table(path, _SCHEMAS[path.stem])
    if problems:
        raise MinsegError(problems[0])
    return table


def _require_rows(table: pd.DataFrame, number: int, path: Path) -> None:
    """Refuse a table of another folder whose rows are not those of the print, in its order."""
    keys = [name for name in _SCHEMAS[f"table{number}"].columns if name in _KEYS]
    rows = (one[keys].itertuples(index=False, name=None) for one in (table, paper_table(number)))
    for line, pair in enumerate(itertools.zip_longest(*rows), start=2):
        if pair[0] != pair[1]:
            row, printed = (", ".join(one) if one else "nothing" for one in pair)
            raise MinsegError(f"{path}: row {line} is {row}; the paper has {printed}")


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

    Raises
    ------
    MinsegError
        If there is no such table, or its file is not whole: a column, row or cell is missing or
        unknown, or a score lies outside [0, 1].
    """
    table = _read_file(f"table{number}", folder)
    if folder and folder.resolve() != PAPER_FOLDER:
        _require_rows(table, number, folder / f"table{number}.csv")
    return table


def paper_statements(folder: Path | None = None) -> pd.DataFrame:
    """Return numbers that the paper prints in its prose and captions: name, place, value, unit."""
    return _read_file("statements", folder)


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
    return _read_file("open_points", folder)


def paper_scores(number: int | None, task: str, row: str) -> dict[str, float]:
    """Return the scores of a model in a row of Table 3 or 4 as printed; none of no such row."""
    if number is None:
        return {}
    table = paper_table(number)
    lines = table[(table["model"] == task) & (table.iloc[:, 0] == row)]
    return dict(zip(lines["metric"], lines["value"], strict=True))


def paper_mine_scores(task: str) -> pd.DataFrame:
    """Return the paper's scores on single mines (Tables 6, 7 and 8), in the printed order.

    Columns location, class, iou, recall, precision, accuracy; of other tasks than Models 1 to 3 the
    rows of all three tables that are about one of its classes.
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
