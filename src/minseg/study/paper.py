"""The paper's published values, as printed."""

from pathlib import Path

import pandas as pd

from minseg.errors import MinsegError

PAPER_FOLDER = Path(__file__).parents[3] / "data" / "paper"
"""Tidy tables transcribed from the paper, in the checkout."""


def paper_table(number: int) -> pd.DataFrame:
    """Return one of the paper's tables in tidy form.

    Parameters
    ----------
    number : int
        3: columns bands, model, metric, value.

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
    row = table[(table["model"] == task) & (table["bands"] == bands)]
    return dict(zip(row["metric"], row["value"], strict=True)) if len(row) else None
