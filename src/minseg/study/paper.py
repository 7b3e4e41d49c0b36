"""The paper's published values, as printed."""

from pathlib import Path
from typing import Any

import pandas as pd

from minseg.errors import MinsegError
from minseg.study.config import RunConfig

PAPER_FOLDER = Path(__file__).parents[3] / "data" / "paper"
"""Tidy tables transcribed from the paper, in the checkout."""


def paper_table(number: int) -> pd.DataFrame:
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

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    MinsegError
        If the table is not there.
    """
    path = PAPER_FOLDER / f"table{number}.csv"
    if not path.is_file():
        raise MinsegError(
            f"{path}: no such table; install minseg from its checkout (pip install -e)"
        )
    return pd.read_csv(path)


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
