"""What the paper prints, and comparisons of it that a statement rests on.

The ledger says how many must lie where the statement puts them (`weigh`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import pandas as pd

from minseg.data.labels import parse_task
from minseg.errors import MinsegError
from minseg.study.paper import ROUNDING
from minseg.study.tables import MODELS

HOLDS, IN_PART, FAILS = "holds", "holds in part", "fails"
NOT_STATED, UNDECIDABLE = "not stated", "not decidable"
PAPER_VERDICTS: dict[str, str] = {
    HOLDS: "the printed numbers bear it out",
    IN_PART: "true of a part of what it speaks of",
    FAILS: "it and the numbers cannot both be right as they are printed",
    NOT_STATED: "the numbers fit only under a condition that the paper does not state",
    UNDECIDABLE: "no printed number tells",
}
"""What the paper's own numbers say of a statement."""

Rows = tuple[pd.DataFrame, ...]
"""A statement's rows, one table for each of its selectors (`minseg.audit.ledger.select`)."""

NOT_A_KEY = ("table", "line", "value", "printed_model", "printed", "unit", "place")
"""Columns that do not say what a value is about."""

EXACT = 9
"""Decimals that differences of printed numbers are rounded to: binary fractions are not exact."""

SLACK = 2 * ROUNDING + 1e-9
"""Two rounded values may miss each other by that."""

NAMED = 3
"""So many contrary comparisons are named in a summary; more are counted."""

_TITLES = {model: parse_task(model).title for model in MODELS} | {"iou": "IoU"}


@dataclass(frozen=True)
class Region:
    """Where a number must lie for a claim to be true: above `low` and below `high`."""

    low: float = -math.inf
    high: float = math.inf

    def holds(self, value: float) -> bool:
        """Tell whether a value is as claimed; one on the edge is not."""
        return self.low < value < self.high

    @property
    def text(self) -> str:
        """The region in words."""
        low, high = (f"{edge:g}".replace("-", "−") for edge in (self.low, self.high))
        if math.isinf(self.high):
            return f"above {low}"
        if math.isinf(self.low):
            return f"below {high}"
        return f"between {low} and {high}"


ABOVE_ZERO, BELOW_ZERO = Region(low=0.0), Region(high=0.0)
ZERO = Region(-SLACK, SLACK)
"""No difference but by rounding."""


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
    unit: str = ""
    """See `Comparison`."""


@dataclass(frozen=True)
class Group:
    """Cells that differ in one column alone."""

    name: str
    cells: Mapping[str, Cell]
    """Value of that column to the cell."""

    @property
    def printed(self) -> pd.Series:
        """Value of that column to the printed value."""
        return pd.Series({name: cell.printed for name, cell in self.cells.items()})

    @property
    def model(self) -> str:
        """The model that all cells are about."""
        return next(iter(self.cells.values())).keys["model"]


@dataclass(frozen=True)
class Comparison:
    """One number made from printed ones, and where the claim puts it."""

    name: str
    arithmetic: str
    """How the number comes from the printed ones."""
    value: float
    claimed: Region
    expected: str = ""
    """Where the claim puts it, if words say it better than the region."""
    drawable: bool = True
    """Whether the value is one that a reader would want to see on a scale."""
    unit: str = ""
    """Comparisons of one unit are as claimed together or not at all; empty for one by itself."""

    @property
    def as_claimed(self) -> bool:
        """Whether the number lies where the claim puts it."""
        return self.claimed.holds(self.value)


@dataclass(frozen=True)
class PaperFinding:
    """What the paper's numbers say of a claim."""

    verdict: str
    """One of `PAPER_VERDICTS`."""
    summary: str
    """The reason in one sentence, its numbers computed."""
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Compared:
    """What a test found, before it is weighed."""

    comparisons: Sequence[Comparison]
    facts: Mapping[str, object] = field(default_factory=dict)
    """Numbers that the ledger's sentence may name."""
    verdict: str | None = None
    """The verdict, where the test itself decides."""


def weigh(
    found: Compared,
    share: float = 1.0,
    otherwise: str = FAILS,
    part: float = 0.0,
    sentence: str | None = None,
) -> PaperFinding:
    """Reach a verdict on printed numbers: a `share` of them must be as claimed for it to hold.

    Otherwise the verdict is `otherwise`, or fails with less than `part` of them. The `sentence`
    takes {number} of {whole} as claimed, the {contrary} ones, and the test's own facts.
    """
    if not found.comparisons:
        raise MinsegError("the rows leave nothing to compare; name more of them, or another test")
    units: dict[object, bool] = {}
    for k, one in enumerate(found.comparisons):
        units[one.unit or k] = units.get(one.unit or k, True) and one.as_claimed
    number, whole = sum(units.values()), len(units)
    enough = number >= share * whole
    verdict = HOLDS if enough else otherwise if number >= part * whole else FAILS
    contrary = [one for one in found.comparisons if not one.as_claimed]
    if sentence:
        names = list(dict.fromkeys(one.unit or one.name for one in contrary))
        facts = {
            "number": number,
            "whole": whole,
            "contrary": "; ".join(names) or "none",
            **found.facts,
        }
        summary = sentence.format(**facts)
    elif whole == 1 == len(found.comparisons):
        summary = f"{'Not as' if contrary else 'As'} claimed: {found.comparisons[0].arithmetic}."
    else:
        summary = f"{number} of {whole} are as claimed"
        summary += "" if share == 1 else f", at least {share:.0%} are asked for"
        if 0 < len(contrary) <= NAMED and len(contrary) < len(found.comparisons):
            summary += "; except " + "; ".join(f"{one.name} ({one.arithmetic})" for one in contrary)
        summary += "."
    return PaperFinding(found.verdict or verdict, summary, tuple(found.comparisons))


def title(value: str) -> str:
    """Return how a reader knows a value of a tidy table: ``Model 1`` for model1."""
    return _TITLES.get(value, value)


def values_of(table: pd.DataFrame, keys: Sequence[str]) -> dict[tuple, float]:
    """Return a printed table's values by their keys."""
    column = "images" if "images" in table else "value"
    return {tuple(line[k] for k in keys): line[column] for line in table.to_dict("records")}


def listed(names: Iterable[object]) -> str:
    """Write names in a row; a dash for none."""
    return ", ".join(map(str, names)) or "–"


def written(value: float, signed: bool = False) -> str:
    """Write a printed value: three decimals, more where the print has more, none for counts."""
    sign = "+" if signed else ""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) > 1):
        return f"{value:{sign},.0f}".replace("-", "−")
    short = f"{value:{sign}.3f}"
    text = short if abs(float(short) - value) < 1e-9 else f"{value:{sign}.4f}"
    return text.replace("-", "−")


def evaluate(contrast: Contrast) -> Comparison:
    """Do a contrast's arithmetic on the printed values."""
    value = round(sum(sign * cell.printed for sign, cell in contrast.cells), EXACT)
    terms = " ".join(
        f"{'+' if sign > 0 else '−'} {written(cell.printed)}" for sign, cell in contrast.cells
    ).removeprefix("+ ")
    several = len(contrast.cells) > 1
    arithmetic = f"{terms} = {written(value, signed=True)}" if several else terms
    return Comparison(contrast.name, arithmetic, value, contrast.claimed, unit=contrast.unit)


def groups(rows: Rows, of: str) -> list[Group]:
    """Gather the cells of a claim that differ in one column alone."""
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


# Comparisons of cells: of printed values, and of our results in the same places ------------------


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
    by_model = {group.model: group for group in groups(rows, of)}
    for more, less in models:
        signed = [
            (sign, by_model[model].cells[name])
            for model, signs in ((more, (1, -1)), (less, (-1, 1)))
            for sign, name in zip(signs, (row, reference), strict=True)
        ]
        name = f"{row} − {reference}: {title(more)} minus {title(less)}"
        yield Contrast(name, tuple(signed), ABOVE_ZERO)


CONTRASTS: dict[str, Callable[..., Iterable[Contrast]]] = {
    one.__name__: one for one in (highest, lowest, above, close, within, gain_above)
}
"""Tests that are the same for printed values and for ours."""


def _against_others(
    rows: Rows, of: str, row: str | Sequence[str], claimed: Region
) -> Iterator[Contrast]:
    """Compare a row with each other one of its group, all of which it must be ahead of."""
    wanted = [row] if isinstance(row, str) else list(row)
    for group in groups(rows, of):
        there = [name for name in wanted if name in group.cells]
        if len(there) != 1:
            raise MinsegError(
                f"{of} {', '.join(wanted)}: {len(there)} of them among {', '.join(group.cells)}"
            )
        for other in group.cells:
            if other != there[0]:
                unit = f"{group.name}: {title(there[0])}"
                yield _difference(group, there[0], other, claimed, unit)


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


def _difference(
    group: Group, row: str, reference: str, claimed: Region, unit: str = ""
) -> Contrast:
    """Take a row of a group from another."""
    return Contrast(
        f"{group.name}: {title(row)} − {title(reference)}",
        ((1, group.cells[row]), (-1, group.cells[reference])),
        claimed,
        unit,
    )
