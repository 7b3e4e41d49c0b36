"""The two verdicts on a claim, and the rules by which numbers lead to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from minseg.audit.power import POWER, mine_spread, needed_mines
from minseg.learning.intervals import fewest_mines, interval, widened

HOLDS, FAILS, UNDECIDABLE = "holds", "fails", "not decidable"
PAPER_VERDICTS: tuple[str, ...] = (HOLDS, FAILS, UNDECIDABLE)
"""What the paper's own tables say of a claim."""

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE, UNTESTABLE = "inconclusive", "not testable here"
RUN_VERDICTS: tuple[str, ...] = (SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNTESTABLE)
"""What our runs on a dataset say of a claim."""


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


NAMED = 3
"""So many contrary comparisons are named in a summary; more are counted."""

MANY_MINES = 10_000
"""Beyond so many mines an estimate says no more than “very many”."""

ABOVE_ZERO, BELOW_ZERO = Region(low=0.0), Region(high=0.0)


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

    @property
    def as_claimed(self) -> bool:
        """Whether the number lies where the claim puts it."""
        return self.claimed.holds(self.value)


@dataclass(frozen=True)
class PaperFinding:
    """What the paper's tables say of a claim."""

    verdict: str
    """One of `PAPER_VERDICTS`."""
    summary: str
    """The reason in one sentence, its numbers computed."""
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Effect:
    """One number from our runs in resamples of the test mines, and where it is claimed."""

    name: str
    draws: np.ndarray = field(repr=False, compare=False)
    """The number for resamples of the mines."""
    by_seed: tuple[float, ...]
    """The same number for each seed."""
    claimed: Region
    mines: int
    """Test mines that it rests on."""
    paired: bool = True
    """Whether both sides were tested on the same mines."""
    signed: bool = True
    """Whether it is a difference."""

    @property
    def value(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.by_seed))

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The 95 % interval over mines."""
        return interval(self.draws)

    @property
    def spread(self) -> float:
        """Largest minus smallest value over the seeds; NaN with fewer than two."""
        return max(self.by_seed) - min(self.by_seed) if len(self.by_seed) > 1 else math.nan

    @property
    def inside(self) -> bool:
        """Whether the whole interval lies where the claim puts it, and enough mines say so."""
        low, high = self.ends
        return self.mines >= fewest_mines() and self.claimed.low < low and high < self.claimed.high

    def outside(self, comparisons: int = 1) -> bool:
        """Tell whether the whole interval lies where the claim excludes it.

        Parameters
        ----------
        comparisons : int
            So many numbers are looked at; the interval is widened (Bonferroni), so that one of
            many does not refute a claim by chance.
        """
        low, high = widened(self.draws, comparisons)
        beyond = high < self.claimed.low or low > self.claimed.high
        return beyond and self.mines >= fewest_mines(comparisons)

    def mines_needed(self, comparisons: int = 1) -> float:
        """Return about how many mines would show on which side of the nearest edge it lies.

        See `minseg.audit.power.needed_mines`. Infinite on the edge.

        Parameters
        ----------
        comparisons : int
            See `outside`.
        """
        edges = [edge for edge in (self.claimed.low, self.claimed.high) if math.isfinite(edge)]
        distance = min(abs(self.value - edge) for edge in edges)
        needed = needed_mines(distance, mine_spread(self.draws, self.mines), comparisons)
        return max(needed, fewest_mines(comparisons))


@dataclass(frozen=True)
class Missing:
    """A number that a claim asks for and that the runs do not give."""

    name: str
    reason: str


@dataclass(frozen=True)
class RunFinding:
    """What our runs say of a claim."""

    verdict: str
    """One of `RUN_VERDICTS`."""
    summary: str
    """The reason in one sentence, its numbers computed."""
    effects: tuple[Effect, ...] = ()
    missing: tuple[Missing, ...] = ()
    decides: str = ""
    """What it would take, where the runs do not decide."""


def weigh(comparisons: Sequence[Comparison], share: float = 1.0) -> PaperFinding:
    """Reach a verdict on printed numbers.

    Parameters
    ----------
    comparisons : sequence of Comparison
    share : float
        The least share of them that must be as claimed; 1 for a claim about all.

    Returns
    -------
    PaperFinding
    """
    number, whole = sum(one.as_claimed for one in comparisons), len(comparisons)
    verdict = HOLDS if number >= share * whole else FAILS
    contrary = [one for one in comparisons if not one.as_claimed]
    if whole == 1:
        summary = f"{'Not as' if contrary else 'As'} claimed: {comparisons[0].arithmetic}."
    else:
        summary = f"{number} of {whole} are as claimed"
        summary += "" if share == 1 else f", at least {share:.0%} are asked for"
        if 0 < len(contrary) <= min(NAMED, number):
            summary += "; except " + "; ".join(f"{one.name} ({one.arithmetic})" for one in contrary)
        summary += "."
    return PaperFinding(verdict, summary, tuple(comparisons))


def decide(found: Sequence[Effect | Missing], share: float = 1.0) -> RunFinding:
    """Reach a verdict on our numbers.

    A claim is supported only where whole intervals lie on the claimed side, contradicted only
    where whole intervals, widened for their number, lie on the other.

    Parameters
    ----------
    found : sequence of Effect or Missing
    share : float
        See `weigh`.

    Returns
    -------
    RunFinding
        Not testable where what is missing could decide it.
    """
    effects = tuple(one for one in found if isinstance(one, Effect))
    missing = tuple(one for one in found if isinstance(one, Missing))
    inside = sum(one.inside for one in effects)
    outside = sum(one.outside(len(effects)) for one in effects)
    if effects and inside >= share * len(found):
        verdict = SUPPORTED
    elif outside > (1 - share) * len(found) + 1e-9:
        verdict = CONTRADICTED
    else:
        verdict = UNTESTABLE if missing or not effects else INCONCLUSIVE
    return RunFinding(
        verdict,
        _summary(effects, missing, inside, outside, share),
        effects,
        missing,
        _what_decides(effects, share) if verdict == INCONCLUSIVE else "",
    )


def _summary(
    effects: tuple[Effect, ...],
    missing: tuple[Missing, ...],
    inside: int,
    outside: int,
    share: float,
) -> str:
    """Count what lies where."""
    if not effects:
        reasons = dict.fromkeys(one.reason for one in missing)
        return "; ".join(reasons) + "." if reasons else "There is nothing to compare."
    number = len(effects)
    what = "interval lies" if number == 1 else "intervals lie"
    beyond = sum(one.outside() for one in effects)
    text = f"{inside} of {number} {what} on the claimed side, {beyond} on the other"
    text += f" ({outside} after widening for their number)" if number > 1 and beyond else ""
    text += f"; {len(missing)} {_are(len(missing))} missing" if missing else ""
    few = min(one.mines for one in effects)
    if few < fewest_mines():
        text += f"; with {few} mines an interval decides nothing (it takes {fewest_mines()})"
    return text + ("." if share == 1 else f"; at least {share:.0%} are asked for.")


def _what_decides(effects: tuple[Effect, ...], share: float) -> str:
    """Say how many mines would decide an inconclusive claim, if the effects stay as they are."""
    number = len(effects)
    settled = sum(one.inside for one in effects)
    favourable = [
        (one.mines_needed(), one)
        for one in effects
        if not one.inside and one.claimed.holds(one.value)
    ]
    contrary = [
        (one.mines_needed(number), one) for one in effects if not one.claimed.holds(one.value)
    ]
    to_support = math.ceil(share * number - 1e-9) - settled
    to_contradict = math.floor((1 - share) * number + 1e-9) + 1
    if len(favourable) >= to_support:
        verdict, (needed, last) = "support", _nth(favourable, to_support)
    else:
        verdict, (needed, last) = "contradict", _nth(contrary, to_contradict)
    which = f"; it hangs on {last.name}" if number > 1 else ""
    if math.isinf(needed):
        return f"No number of mines: the effect lies on the edge of what is claimed{which}."
    needed = max(needed, last.mines + 1)
    text = f"about {_rounded(needed):,}" if needed <= MANY_MINES else f"more than {MANY_MINES:,}"
    return (
        f"If the effects stay what they are, {text} test mines, not {last.mines}, would "
        f"{verdict} it with {POWER:.0%} power{which}."
    )


def _nth(found: list[tuple[float, Effect]], n: int) -> tuple[float, Effect]:
    """Return the n-th of numbers of mines and their effects, the smallest first."""
    return sorted(found, key=lambda pair: pair[0])[n - 1]


def _rounded(number: float) -> int:
    """Round up to two significant digits: the estimate is no better."""
    step = 10 ** max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return math.ceil(number / step - 1e-9) * step


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
