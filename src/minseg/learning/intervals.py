"""How far a score could lie elsewhere with other mines: the bootstrap over mines."""

import numpy as np

from minseg.learning.metrics import METRICS, scores

RESAMPLES = 1000
"""Draws of mines, with replacement."""


def bootstrap_intervals(
    counts: np.ndarray, convention: str, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return percentile intervals of the mean scores over mines.

    Test mines are what was sampled, not pixels: neighbouring pixels of one mine say nearly the
    same. So whole mines are drawn with replacement, and their counts are scored anew.

    Parameters
    ----------
    counts : int64 ndarray (scenes, num_classes, 4)
        One scene a mine.
    convention : str
        See `minseg.learning.metrics.scores`.
    level : float
        Share of the draws inside the interval.
    seed : int

    Returns
    -------
    dict of metric to (low, high)
    """
    random = np.random.default_rng(seed)
    draws = random.integers(len(counts), size=(RESAMPLES, len(counts)))
    found = [scores(counts[draw], convention) for draw in draws]
    tails = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for metric in METRICS:
        values = np.array([score[metric] for score in found])  # type: ignore[literal-required]
        known = values[~np.isnan(values)]
        low, high = np.quantile(known, tails) if known.size else (np.nan, np.nan)
        intervals[metric] = (float(low), float(high))
    return intervals
