"""How far a score could lie elsewhere with other mines: the bootstrap over mines."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, log2

import numpy as np
from scipy.special import gammainccinv

from minseg.scoring.metrics import resampled_means

RESAMPLES = 10_000
"""Resamples of the mines: enough for the tails of intervals that are widened for their number."""

LEVEL = 0.95
"""Share of the resamples inside an interval."""


def bootstrap(counts: np.ndarray, mines: Sequence[str], convention: str) -> np.ndarray:
    """Score resamples of the mines.

    Test mines are what was sampled, not pixels: neighbouring pixels of one mine say nearly the
    same. So the mines are weighed anew at random (`draw_mines`), and what they hold together is
    scored again. Two models tested on the same mines meet the same resamples, and the differences
    of their scores are paired.
    """
    order = np.argsort(mines)  # sums of floats depend on their order
    return resampled_means(counts[order], draw_mines(np.asarray(mines)[order]), convention)


def draw_mines(mines: Sequence[str] | np.ndarray) -> np.ndarray:
    """Weigh the mines at random, once for each resample.

    Drawing whole mines with replacement would leave a class out of every resample that misses the
    few mines that hold it, and its score would be over other classes than the point estimate. So
    every mine keeps some weight (a Bayesian bootstrap); the weights vary as much as the numbers of
    times that a mine is drawn. A mine's luck follows from its name alone, whatever mines are drawn
    with it: all that is resampled, on whatever mines they share, is paired.
    """
    return _weights(tuple(map(str, mines)), RESAMPLES)


@lru_cache(maxsize=64)
def _weights(mines: tuple[str, ...], resamples: int) -> np.ndarray:
    """Weigh the mines; a table asks for the same ones many times."""
    number = len(mines)
    if number < 2:
        return np.ones((resamples, number))
    luck = [np.random.default_rng(list(mine.encode())).random(resamples) for mine in mines]
    # A Dirichlet distribution with this concentration has the variances of the multinomial one.
    # Its gamma quantiles are all but the exponential's: read between some, within 1e-6 of them.
    some = np.linspace(0, 3.34, 4096) ** 3
    exponential = -np.log1p(-np.stack(luck, axis=1).clip(1e-9))
    weights = np.interp(exponential, some, gammainccinv((number - 1) / number, np.exp(-some)))
    weights *= number / weights.sum(axis=1, keepdims=True)
    weights.flags.writeable = False
    return weights


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of resampled values, NaN where none is known."""
    known = values[~np.isnan(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def widened(values: np.ndarray, comparisons: int) -> tuple[float, float]:
    """Return the interval of one of several comparisons, any of which would be remarked on.

    The one rule for families of comparisons, on every page: that a difference is there is said
    only where its interval excludes zero at the level 1 - 0.05 / comparisons (Bonferroni), and it
    rests on `fewest_mines`. Where *all* of several must be as claimed, none needs widening.
    """
    return interval(values, 1 - (1 - LEVEL) / comparisons)


def told_from_zero(values: np.ndarray, mines: int, comparisons: int) -> bool:
    """Tell whether a difference is there, by the rule of `widened`."""
    low, high = widened(values, comparisons)
    return mines >= fewest_mines(comparisons) and (low > 0 or high < 0)


def fewest_mines(comparisons: int = 1) -> int:
    """Return how many mines it takes at least to decide anything.

    Without any difference, all of n mines lie on one side with probability 2 · 2⁻ⁿ. Resampling so
    few mines gives intervals that exclude zero in just these cases, whatever level they are said
    to have; so n must be large enough to make them rarer than that level.
    """
    return ceil(1 + log2(comparisons / (1 - LEVEL)))
