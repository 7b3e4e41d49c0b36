"""Comparisons that a claim asks for: of printed cells, and of our results in the same places."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from minseg.audit.claims_verdicts import ABOVE_ZERO, BELOW_ZERO, Region
from minseg.errors import MinsegError

Rows = tuple[pd.DataFrame, ...]
"""A claim's rows, one table for each of its selectors (`minseg.audit.claims.select`)."""

NOT_A_KEY = ("table", "line", "value", "printed_model", "printed")
"""Columns that do not say what a value is about."""

_TITLES = {
    "model1": "Model 1",
    "model2": "Model 2",
    "model3": "Model 3",
    "model4": "Model 4",
    "iou": "IoU",
}


@dataclass(frozen=True)
class Cell:
    """One printed value and what it is about."""

    table: int
    keys: Mapping[str, str]
    """Columns of the tidy table to their values."""
    printed: float


@dataclass(frozen=True)
class Contrast:
    """A sum of cells with signs, and where a claim puts it."""

    name: str
    cells: tuple[tuple[int, Cell], ...]
    """Sign and cell."""
    claimed: Region


@dataclass(frozen=True)
class Group:
    """Cells that differ in one column alone."""

    name: str
    cells: Mapping[str, Cell]
    """Value of that column to the cell."""


def title(value: str) -> str:
    """Return how a reader knows a value of a tidy table: ``Model 1`` for model1."""
    return _TITLES.get(value, value)


def groups(rows: Rows, of: str) -> list[Group]:
    """Gather the cells of a claim that differ in one column alone.

    Parameters
    ----------
    rows : tuple of pandas.DataFrame
    of : str
        That column.

    Returns
    -------
    list of Group

    Raises
    ------
    MinsegError
        If a table has no such column.
    """
    found = []
    for table in rows:
        if of not in table:
            raise MinsegError(f"table {table['table'].iloc[0]} has no column {of!r}")
        others = [name for name in table.columns if name not in (*NOT_A_KEY, of)]
        for values, part in table.groupby(others, sort=False):
            texts = [str(value) for value in values]
            keys = dict(zip(map(str, others), texts, strict=True))
            cells = {
                str(name): Cell(int(number), {**keys, of: str(name)}, value)
                for name, number, value in zip(part[of], part["table"], part["value"], strict=True)
            }
            found.append(Group(", ".join(map(title, texts)), cells))
    return found


def highest(rows: Rows, *, of: str, row: str | Sequence[str]) -> Iterator[Contrast]:
    """Compare one row with each other one of its group: it is claimed to be above.

    `row` may name several rows, one of which is in each group.
    """
    return _against_others(rows, of, row, ABOVE_ZERO)


def lowest(rows: Rows, *, of: str, row: str | Sequence[str]) -> Iterator[Contrast]:
    """Compare one row with each other one of its group: it is claimed to be below."""
    return _against_others(rows, of, row, BELOW_ZERO)


def above(
    rows: Rows, *, of: str, pairs: Sequence[Sequence[str]], by: float = 0.0
) -> Iterator[Contrast]:
    """Compare pairs (row, reference): the row is claimed to be above by more than `by`."""
    return _pairs(rows, of, pairs, Region(low=by))


def close(
    rows: Rows, *, of: str, by: float, pairs: Sequence[Sequence[str]] | None = None
) -> Iterator[Contrast]:
    """Compare pairs, all of each group by default: claimed to differ by less than `by`."""
    return _pairs(rows, of, pairs, Region(-by, by))


def within(rows: Rows, *, low: float = -math.inf, high: float = math.inf) -> Iterator[Contrast]:
    """Take each cell by itself: it is claimed to lie above `low` and below `high`."""
    for group in groups(rows, "metric"):
        for metric, cell in group.cells.items():
            yield Contrast(f"{group.name}, {title(metric)}", ((1, cell),), Region(low, high))


def gain_above(
    rows: Rows, *, of: str, pair: Sequence[str], models: Sequence[Sequence[str]]
) -> Iterator[Contrast]:
    """Compare gains (row minus reference) of pairs of models: the first's is claimed larger."""
    row, reference = pair
    by_model = {name: _only(rows, of, name) for pair_of in models for name in pair_of}
    for more, less in models:
        signed = [
            (sign, by_model[model].cells[name])
            for model, signs in ((more, (1, -1)), (less, (-1, 1)))
            for sign, name in zip(signs, (row, reference), strict=True)
        ]
        name = f"{row} − {reference}: {title(more)} minus {title(less)}"
        yield Contrast(name, tuple(signed), ABOVE_ZERO)


CONTRASTS: dict[str, Callable[..., Iterable[Contrast]]] = {
    "highest": highest,
    "lowest": lowest,
    "above": above,
    "close": close,
    "within": within,
    "gain_above": gain_above,
}
"""Tests that are the same for printed values and for ours."""


def signature_of(build: Callable, *given: str) -> inspect.Signature:
    """Return how a test made from comparisons is called: our arguments, its own, and `share`."""
    kinds = inspect.Parameter
    own = [one for one in inspect.signature(build).parameters.values() if one.name != "rows"]
    ours = [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in given]
    return inspect.Signature([*ours, *own, kinds("share", kinds.KEYWORD_ONLY, default=1.0)])


def _against_others(
    rows: Rows, of: str, row: str | Sequence[str], claimed: Region
) -> Iterator[Contrast]:
    """Compare a row with each other one of its group."""
    wanted = [row] if isinstance(row, str) else list(row)
    for group in groups(rows, of):
        there = [name for name in wanted if name in group.cells]
        if len(there) != 1:
            raise MinsegError(
                f"{of} {', '.join(wanted)}: {len(there)} of them among {', '.join(group.cells)}"
            )
        for other in group.cells:
            if other != there[0]:
                yield _difference(group, there[0], other, claimed)


def _pairs(
    rows: Rows, of: str, pairs: Sequence[Sequence[str]] | None, claimed: Region
) -> Iterator[Contrast]:
    """Compare pairs wherever a group has both sides; each pair must be met once at least."""
    met = set()
    for group in groups(rows, of):
        wanted = combinations(group.cells, 2) if pairs is None else map(tuple, pairs)
        for row, reference in wanted:
            if row in group.cells and reference in group.cells:
                met.add((row, reference))
                yield _difference(group, row, reference, claimed)
    unmet = [pair for pair in pairs or () if tuple(pair) not in met]
    if unmet:
        raise MinsegError(f"no rows to compare {of} {' and '.join(unmet[0])}")


def _difference(group: Group, row: str, reference: str, claimed: Region) -> Contrast:
    """Take a row of a group from another."""
    return Contrast(
        f"{group.name}: {title(row)} − {title(reference)}",
        ((1, group.cells[row]), (-1, group.cells[reference])),
        claimed,
    )


def _only(rows: Rows, of: str, model: str) -> Group:
    """Return the one group of a model."""
    found = [group for group in groups(rows, of) if model in _models(group)]
    if len(found) != 1:
        raise MinsegError(f"{len(found)} groups of rows of {model!r}; one is needed")
    return found[0]


def _models(group: Group) -> set[str]:
    return {cell.keys["model"] for cell in group.cells.values()}
