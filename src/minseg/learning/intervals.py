"""How far a score could lie elsewhere with other mines: the bootstrap over mines."""

import zlib
from collections.abc import Sequence

import numpy as np

from minseg.learning.metrics import METRICS, resampled_means

RESAMPLES = 2000
"""Draws of mines, with replacement."""

LEVEL = 0.95
"""Share of the draws inside an interval."""


def bootstrap(
    counts: np.ndarray, mines: Sequence[str], convention: str, among: Sequence[str] = ()
) -> np.ndarray:
    """Score resamples of the mines.

    Test mines are what was sampled, not pixels: neighbouring pixels of one mine say nearly the
    same. So whole mines are drawn with replacement, and their counts are scored anew. The draws
    follow from the mines' names alone: two models tested on the same mines meet the same
    resamples, and the differences of their scores are paired.

    Parameters
    ----------
    counts : int64 ndarray (scenes, num_classes, 4)
        One scene a mine.
    mines : sequence of str
        The scenes' mines.
    convention : str
        See `minseg.learning.metrics.scores`.
    among : sequence of str
        See `draw_mines`.

    Returns
    -------
    float ndarray (RESAMPLES, 4)
        Scores in the order of `METRICS`; NaN where a resample holds nothing to score.
    """
    order = np.argsort(mines)
    return resampled_means(counts[order], draw_mines(np.asarray(mines)[order], among), convention)


def draw_mines(mines: Sequence[str] | np.ndarray, among: Sequence[str] = ()) -> np.ndarray:
    """Tell how often each mine is drawn in each resample; the mines' names alone decide.

    Parameters
    ----------
    mines : sequence of str
    among : sequence of str
        All mines that are sampled, where `mines` are some of them: two subsets that share a mine
        then meet the same draws of it. A resample may hold none of a small subset. By default
        `mines` are all.

    Returns
    -------
    int64 ndarray (RESAMPLES, mines)
        In the order of `mines`, whatever it is.
    """
    if len(among):
        everywhere = np.unique(np.asarray(among))
        return draw_mines(everywhere)[:, np.searchsorted(everywhere, np.asarray(mines))]
    order = np.argsort(mines)
    names = ",".join(np.asarray(mines)[order])
    random = np.random.default_rng(zlib.crc32(names.encode()))
    draws = random.multinomial(len(mines), np.full(len(mines), 1 / len(mines)), RESAMPLES)
    return draws[:, np.argsort(order)]


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of resampled values, NaN where none is known.

    Parameters
    ----------
    values : float ndarray (resamples,)
    level : float
        Share of the values inside.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(
    counts: np.ndarray, mines: Sequence[str], convention: str, level: float = LEVEL
) -> dict[str, tuple[float, float]]:
    """Return the interval over mines of each mean score.

    Parameters
    ----------
    counts, mines, convention
        See `bootstrap`.
    level : float
        Share of the resamples inside.

    Returns
    -------
    dict of metric to (low, high)
    """
    resampled = bootstrap(counts, mines, convention)
    return {name: interval(resampled[:, k], level) for k, name in enumerate(METRICS)}
