"""Where files lie with respect to each other, over the 180th meridian too."""

from collections.abc import Mapping

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform as warp_points

from minseg.data.dateline import seen_from
from minseg.data.raster import Grid
from minseg.errors import MinsegError

_EDGE_POINTS = 21
"""Points along each side of a grid, whose edges may be bent in the system of another."""

_HALF_TURN = 180.0


def require_overlap(grids: Mapping[str, Grid], grid: Grid) -> None:
    """Refuse files whose footprints have no place in common.

    Parameters
    ----------
    grids : mapping of str to Grid
        Of the files, by their names.
    grid : Grid
        What they are brought to.

    Raises
    ------
    MinsegError
    """
    left, bottom, right, top = grid.bounds
    for name, other in grids.items():
        west, south, east, north = _bounds_seen_from(grid, other, name)
        left, bottom = max(left, west), max(bottom, south)
        right, top = min(right, east), min(top, north)
        if not (left < right and bottom < top):
            raise MinsegError(
                f"{name}: lies outside of the other files ({', '.join(grids)}); "
                "give files of one place"
            )


def crs_seen_from(grid: Grid, source: Grid) -> CRS:
    """Return a file's reference system, with its longitudes as the file counts them.

    GDAL looks for a place between -180 and 180 degrees, where a file that reaches over the 180th
    meridian, or counts to 360, has none.

    Parameters
    ----------
    grid : Grid
        What the file is brought to.
    source : Grid
        Of the file.

    Returns
    -------
    rasterio.crs.CRS
    """
    assert source.crs is not None
    west, _, east, _ = source.bounds
    if not source.crs.is_geographic or not (_reaches_over(source) or _reaches_over(grid)):
        return source.crs
    return CRS.from_dict(source.crs.to_dict() | {"lon_wrap": (west + east) / 2})


def _reaches_over(grid: Grid) -> bool:
    """Whether a grid has longitudes beyond 180 degrees."""
    if grid.crs is None or not grid.crs.is_geographic:
        return False
    return grid.bounds[0] < -_HALF_TURN or grid.bounds[2] > _HALF_TURN


def _bounds_seen_from(grid: Grid, other: Grid, name: str) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of a file in the map coordinates of another grid."""
    along, full = np.linspace(0, 1, _EDGE_POINTS), np.ones(_EDGE_POINTS)
    columns = other.width * np.concatenate([along, along, 0 * full, full])
    rows = other.height * np.concatenate([0 * full, full, along, along])
    place = other.transform
    try:
        x, y = warp_points(
            other.crs,
            grid.crs,
            place.a * columns + place.b * rows + place.c,
            place.d * columns + place.e * rows + place.f,
        )
        if not np.isfinite([x, y]).all():
            raise RasterioError("they lie nowhere there")
    except (RasterioError, CPLE_BaseError) as error:
        raise MinsegError(
            f"{name}: its coordinates cannot be brought to {grid.crs} ({error}); "
            "check its coordinate reference system"
        ) from None
    xs = np.asarray(x)
    if grid.crs is not None and grid.crs.is_geographic:
        middle = (grid.bounds[0] + grid.bounds[2]) / 2
        xs = seen_from(xs, middle)
    return xs.min(), min(y), xs.max(), max(y)
