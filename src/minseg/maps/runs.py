"""Runs of a raster: neighbouring pixels of a row with one value, and their areas."""

from dataclasses import dataclass

import numpy as np

from minseg.data.raster import Grid
from minseg.maps.areas import HECTARE_M2, pixel_areas_m2


@dataclass(frozen=True)
class Runs:
    """A raster cut into runs, which are far fewer than its pixels where it holds objects."""

    shape: tuple[int, int]
    """Height and width of the raster."""
    starts: np.ndarray
    """int64 (runs,): first pixel of each run, counted row by row; the runs cover the raster."""
    values: np.ndarray
    """(runs,): value of each run, in the raster's type."""

    @property
    def lengths(self) -> np.ndarray:
        """Pixels of each run: int64 (runs,)."""
        return np.diff(self.starts, append=self.shape[0] * self.shape[1])

    def areas_ha(self, grid: Grid) -> np.ndarray:
        """Measure each run on the ground, whatever the projection.

        Parameters
        ----------
        grid : Grid
            Of the raster.

        Returns
        -------
        float64 ndarray (runs,)
            Hectares; see `minseg.maps.areas.pixel_areas_m2`.

        Raises
        ------
        MinsegError
            If the grid lies nowhere on the earth.
        """
        lengths = self.lengths
        rows, columns = np.divmod(self.starts, self.shape[1])
        middles = columns + lengths / 2  # exact where the area changes evenly
        return lengths * pixel_areas_m2(grid, middles, rows + 0.5) / HECTARE_M2

    def paint(self, of_run: np.ndarray) -> np.ndarray:
        """Return the raster (height, width) in which each pixel has its run's value."""
        return np.repeat(of_run, self.lengths).reshape(self.shape)


def find_runs(raster: np.ndarray) -> Runs:
    """Cut a raster into runs.

    Parameters
    ----------
    raster : ndarray (height, width)

    Returns
    -------
    Runs
    """
    height, width = raster.shape
    flat = np.ascontiguousarray(raster).ravel()
    begins = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[::width] = True
    starts = np.flatnonzero(begins)
    return Runs((height, width), starts, flat[starts])
