"""Shares of all test errors that an explanation covers, with intervals over the mines."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from minseg.learning.intervals import RESAMPLES, draw_mines, interval
from minseg.study.explanations import CONDITIONS, WATERFALL, Explanations
from minseg.study.ratios import ratio

ALL_CLASSES = "all classes"
"""Row that counts the errors of all classes together."""

UNEXPLAINED = "none of these"
"""What the conditions of the waterfall leave over."""

SHARE_COLUMNS = ["value", "low", "high", "mines"]


@dataclass(frozen=True)
class Pooled:
    """A share pooled over mines."""

    value: float
    draws: np.ndarray
    """The share in each resample of the mines."""
    mines: tuple[str, ...]
    """Mines that have anything of the whole."""


def pooled(there: pd.Series, whole: pd.Series) -> Pooled:
    """Pool a share over mines and over resamples of them.

    Parameters
    ----------
    there, whole : pandas.Series
        Numbers, indexed by mine; a mine may have several rows. Rows in which either is NaN are
        unknown and left out.
    """
    table = pd.DataFrame({"there": there, "whole": whole}).dropna().groupby(level=0).sum()
    table = table[table["whole"] > 0]
    if table.empty:
        return Pooled(np.nan, np.full(RESAMPLES, np.nan), ())
    value = float(table["there"].sum() / table["whole"].sum())
    drawn = draw_mines(list(table.index)) @ table.to_numpy(float)  # (resamples, 2)
    return Pooled(value, drawn[:, 0] / drawn[:, 1], tuple(table.index))


def share(there: pd.Series, whole: pd.Series) -> dict[str, float]:
    """Return a share pooled over mines, with its interval.

    Parameters
    ----------
    there, whole : pandas.Series
        Numbers, indexed by mine; a mine may have several rows. Rows in which either is NaN are
        unknown and left out.

    Returns
    -------
    dict
        value; low, high (95 % bootstrap interval over the mines, NaN of fewer than two); mines
        (how many have anything in `whole`). NaN where `whole` is nothing.
    """
    found = pooled(there, whole)
    low, high = interval(found.draws) if len(found.mines) > 1 else (np.nan, np.nan)
    return {"value": found.value, "low": low, "high": high, "mines": len(found.mines)}


def condition_shares(explanations: Explanations) -> pd.DataFrame:
    """Return how much of the error each condition covers, beside how much of the ground.

    Conditions do not exclude each other; `first_share` counts each error once, under the first of
    `minseg.study.explanations.WATERFALL` that holds for it.

    Parameters
    ----------
    explanations : Explanations

    Returns
    -------
    pandas.DataFrame
        Rows class (with several classes, first `ALL_CLASSES`), condition (last `UNEXPLAINED`, of
        which only `first_share` is known); value, low, high (share of the error pixels under the
        condition, 95 % interval over mines), mines, pixel_share (share of all pixels under it),
        rate_inside, rate_outside (error pixels per pixel), first_share. NaN where the condition
        cannot be known.
    """
    table = explanations.conditions
    names = list(explanations.class_names)
    if len(names) > 1:
        together = table.assign(**{"class": ALL_CLASSES})
        table, names = pd.concat([together, table]), [ALL_CLASSES, *names]
    rows = []
    for name in names:
        of_class = table[table["class"] == name].set_index("mine")
        errors = of_class.loc[of_class["condition"] == CONDITIONS[0], "errors"].sum()
        first = {}
        for condition in CONDITIONS:
            lines = of_class[of_class["condition"] == condition]
            first[condition] = ratio(lines["errors_first"].sum(skipna=False), errors)
            rows.append(
                {"class": name, "condition": condition}
                | share(lines["errors_there"], lines["errors"])
                | _rates(lines)
                | {"first_share": first[condition]}
            )
        explained = [first[c] for c in WATERFALL if not np.isnan(first[c])]
        rest = 1 - sum(explained) if explained else np.nan
        rows.append({"class": name, "condition": UNEXPLAINED, "first_share": rest})
    return pd.DataFrame(rows)


def _rates(lines: pd.DataFrame) -> dict[str, float]:
    """Return the share of pixels under a condition, and error rates in and out of it."""
    total = lines.dropna(subset=["pixels_there"]).drop(columns=["class", "condition"]).sum()
    outside = total["pixels"] - total["pixels_there"]
    return {
        "pixel_share": ratio(total["pixels_there"], total["pixels"]),
        "rate_inside": ratio(total["errors_there"], total["pixels_there"]),
        "rate_outside": ratio(total["errors"] - total["errors_there"], outside),
    }


def confusion_shares(
    explanations: Explanations, error: str = "false positive", by: str = "annotated"
) -> pd.DataFrame:
    """Return on which ground the errors of each class fall, or as what they were predicted.

    Parameters
    ----------
    explanations : Explanations
    error : {"false positive", "false negative"}
    by : {"annotated", "predicted"}
        What is annotated there, or what is predicted there (false negatives only).

    Returns
    -------
    pandas.DataFrame
        Rows class, other; value, low, high (share of the errors, 95 % interval over mines), mines,
        reference (share of all pixels on which the class could be in error so). NaN for classes
        that were never annotated.
    """
    table = explanations.confusions
    table = table[(table["error"] == error) & (table["by"] == by)]
    rows = [
        {"class": name, "other": other} | confusion_share(lines)
        for (name, other), lines in table.groupby(["class", "other"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["class", "other", *SHARE_COLUMNS, "reference"])


def confusion_share(lines: pd.DataFrame) -> dict[str, float]:
    """Return the share of one kind of error, of one class and other class.

    Parameters
    ----------
    lines : pandas.DataFrame
        Rows of `Explanations.confusions`, one a mine.

    Returns
    -------
    dict
        As `share`, and the reference of `confusion_shares`.
    """
    by_mine = lines.set_index("mine")
    total = lines.dropna(subset=["pixels_there"])[["pixels", "pixels_there"]].sum()
    reference = ratio(total["pixels_there"], total["pixels"])
    return share(by_mine["errors_there"], by_mine["errors"]) | {"reference": reference}
