"""The paper's Table 5 as a page shows it: what was searched, found, and gained by selecting."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import TrialState

from minseg.learning.intervals import interval
from minseg.report.comparisons import OURS, PAPER, model_title, signed
from minseg.study.paper import paper_hyperparameters, paper_table
from minseg.study.search import Search
from minseg.study.selection import Candidates, candidates

HYPERPARAMETER_TITLES: dict[str, str] = {
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "epochs": "epochs",
    "crop": "image size",
    "optimiser": "optimiser",
    "encoder": "backbone",
    "architecture": "architecture",
    "loss": "loss",
}
"""Hyperparameters as a reader sees them, in the order of Table 5."""

TRIED, DASH = "values tried", "–"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def hyperparameter_table(
    searches: Mapping[str, Search], convention: str = "standard"
) -> pd.DataFrame:
    """Return the hyperparameters found, beside the paper's and the values tried (Table 5).

    Parameters
    ----------
    searches : mapping of task to Search
    convention : str
        See `minseg.learning.metrics.scores`.

    Returns
    -------
    pandas.DataFrame
        Row: hyperparameter, as printed; columns: per model ours, which is what the validation part
        chooses, and the paper's, chosen on its test part, where it has such a model; then all
        values tried. The image size is the side of the training crop, pixels.
    """
    columns: dict[tuple[str, str], list[str]] = {}
    in_paper = set(paper_table(5)["model"])
    for task, search in searches.items():
        found = candidates(search, convention)
        columns[model_title(task), OURS] = _texts(found.table.iloc[found.by_validation])
        if task in in_paper:
            columns[model_title(task), PAPER] = _texts(paper_hyperparameters(task))
    tried: dict[str, dict[Any, None]] = {name: {} for name in HYPERPARAMETER_TITLES}
    for search in searches.values():
        for name, values in search.space:
            tried[name].update(dict.fromkeys(values))
    columns[TRIED, ""] = [", ".join(map(_text, tried[name])) for name in HYPERPARAMETER_TITLES]
    table = pd.DataFrame(columns, index=list(HYPERPARAMETER_TITLES.values()))
    return table.rename_axis(columns=["", _mark(searches)])


def search_table(searches: Mapping[str, Search], convention: str = "standard") -> pd.DataFrame:
    """Return how good the models are that the validation part chose, and what was tried for them.

    Parameters
    ----------
    searches, convention
        See `hyperparameter_table`. The validation IoU is always `standard`.

    Returns
    -------
    pandas.DataFrame
        Row: model; columns: bands, validation IoU, test IoU with its interval over mines, what
        tuning gains over the untuned settings on the same epochs
        (`minseg.study.selection.Candidates.gain`), and numbers of trials.
    """
    rows = {}
    for task, search in searches.items():
        found = candidates(search, convention)
        chosen = found.table.iloc[found.by_validation]
        low, high = found.test_interval(found.by_validation)
        states = pd.Series([trial.state for trial in search.finished()])
        several = len(set(found.mines)) > 1
        rows[model_title(task)] = {
            "bands": search.base.bands,
            "validation IoU": _score(chosen["validation_iou"]),
            "test IoU": _score(chosen["test_iou"]),
            "test IoU, 95 % interval over mines": (
                f"{_score(low)} to {_score(high)}" if several else "a single test mine"
            ),
            "gain over the untuned, 95 % interval": _gain(found) if several else DASH,
            "trials, complete": int((states == TrialState.COMPLETE).sum()),
            "trials, pruned": int((states == TrialState.PRUNED).sum()),
        }
    return _table(rows, searches)


def flattery_table(searches: Mapping[str, Search], convention: str = "standard") -> pd.DataFrame:
    """Return how much it flatters to select on the test part, as section 3.3 does.

    Parameters
    ----------
    searches, convention
        See `hyperparameter_table`.

    Returns
    -------
    pandas.DataFrame
        Row: model; columns: test IoU of the model that the validation part chose, and of the one
        that the test part would; their difference, in which luck with the validation part has its
        share; what selecting and reporting on the same mines adds on average
        (`minseg.study.selection.Candidates.optimism`); numbers of candidates and test mines.
    """
    rows = {}
    for task, search in searches.items():
        found = candidates(search, convention)
        rows[model_title(task)] = {
            "test IoU, chosen on validation": _score(_test_iou(found, found.by_validation)),
            "test IoU, chosen on test": _score(_test_iou(found, found.by_test)),
            "difference": _signed(gain_on_test(found)),
            "flattery of selecting and reporting on the same mines": _signed(found.optimism()),
            "candidates": len(found.table),
            "test mines": len(set(found.mines)),
        }
    return _table(rows, searches)


def effort_table(rows: Sequence[tuple[str, int, int]]) -> pd.DataFrame:
    """Return how many epochs were trained, of those that a literal reading of the paper trains.

    Parameters
    ----------
    rows : sequence of (str, int, int)
        Name, epochs read literally, epochs trained (`minseg.study.effort.table_efforts`).

    Returns
    -------
    pandas.DataFrame
        The rows and their total.
    """
    total = ("total", sum(row[1] for row in rows), sum(row[2] for row in rows))
    columns = ["", "epochs, read literally", "epochs trained"]
    table = pd.DataFrame([*rows, total], columns=columns).set_index("").rename_axis(None)
    shares = table["epochs trained"] / table["epochs, read literally"]
    return table.assign(share=shares.map(lambda s: f"{s:.0%}" if np.isfinite(s) else DASH))


def gain_on_test(found: Candidates) -> float:
    """Return the test IoU of the model chosen on test minus that of the one on validation."""
    return _test_iou(found, found.by_test) - _test_iou(found, found.by_validation)


def _gain(found: Candidates) -> str:
    """Write what tuning gains, with its interval."""
    gain = found.gain()
    if gain is None:
        return DASH
    low, high = interval(gain[1])
    return f"{_signed(gain[0])} ({_signed(low)} to {_signed(high)})"


def _test_iou(found: Candidates, row: int) -> float:
    return float(found.table["test_iou"].iloc[row])


def _table(rows: dict[str, dict], searches: Mapping[str, Search]) -> pd.DataFrame:
    """Make a table of a row a model."""
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(columns=_mark(searches))


def _mark(searches: Mapping[str, Search]) -> str:
    """Return the word for a table's corner if its data are made, not observed."""
    return "synthetic" if any(s.dataset.synthetic for s in searches.values()) else ""


def _texts(values: Mapping[str, Any] | pd.Series) -> list[str]:
    return [_text(values[name]) for name in HYPERPARAMETER_TITLES]


def _text(value: object) -> str:
    """Write a value as Table 5 does: a learning rate as ``3 × 10⁻⁴``."""
    if not isinstance(value, float):
        return str(value)
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def _score(value: float) -> str:
    return DASH if np.isnan(value) else f"{value:.3f}"


def _signed(value: float) -> str:
    return DASH if np.isnan(value) else signed(value)
