"""Connected pixels of one class in a raster of class numbers, found through its runs."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from minseg.data.labels import IGNORE
from minseg.maps.runs import Runs, find_runs


@dataclass(frozen=True)
class Components(Runs):
    """A raster of class numbers cut into runs, and the components that they form.

    A component is a set of pixels of one class that are joined by their sides: two pixels that
    meet at a corner only are two components. Its outline is then always a valid polygon.

    Memory and time grow with the number of runs, not with the number of classes.
    """

    component: np.ndarray
    """int32 (runs,): component of each run, from 0 in the order of their first pixels; -1 where
    it is background or has no data."""
    classes: np.ndarray
    """uint8 (components,): class number of each component."""

    @property
    def inside(self) -> np.ndarray:
        """Which runs belong to a component: bool (runs,)."""
        return self.component >= 0

    def total(self, of_run: np.ndarray) -> np.ndarray:
        """Add up a number of each run over the components: float64 (components,)."""
        inside = self.inside
        totals = np.bincount(self.component[inside], of_run[inside], len(self.classes))
        return totals.astype(np.float64, copy=False)  # of nothing it returns whole numbers

    def paint_numbers(self) -> np.ndarray:
        """Return the components as a raster: int32 (height, width), from 1; 0 = none."""
        return self.paint(self.component + np.int32(1))


def find_components(classes: np.ndarray) -> Components:
    """Find the components of all classes but background (0) and no data (255).

    Parameters
    ----------
    classes : uint8 ndarray (height, width)

    Returns
    -------
    Components
    """
    runs = find_runs(classes)
    inside = np.flatnonzero((runs.values != 0) & (runs.values != IGNORE))
    number = np.full(len(runs.starts), -1, np.int32)
    number[inside] = np.arange(len(inside), dtype=np.int32)
    upper, lower = _touching(runs, inside)
    joined = coo_array(
        (np.ones(len(upper), bool), (number[upper], number[lower])), (len(inside), len(inside))
    )
    count, component = connected_components(joined, directed=False)
    number[inside] = component
    of_component = np.zeros(count, np.uint8)
    of_component[component] = runs.values[inside]
    return Components(runs.shape, runs.starts, runs.values, number, of_component)


def _touching(runs: Runs, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair the runs of `inside` with the runs of the same value below them."""
    starts, values = runs.starts, runs.values
    size, width = runs.shape[0] * runs.shape[1], runs.shape[1]
    stops = np.append(starts, size)[inside + 1]
    inside, stops = inside[stops <= size - width], stops[stops <= size - width]
    first = np.searchsorted(starts, starts[inside] + width, "right") - 1
    count = np.searchsorted(starts, stops + width - 1, "right") - first
    upper = np.repeat(inside, count)
    # 0, 1, … count - 1 for each run in turn
    step = np.arange(len(upper)) - np.repeat(np.cumsum(count) - count, count)
    lower = np.repeat(first, count) + step
    same = values[upper] == values[lower]
    return upper[same], lower[same]
