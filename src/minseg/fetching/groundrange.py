"""Sentinel-1 GRD: amplitude in the radar's own geometry, located by ground control points."""

import math
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import GCPTransformer
from rasterio.warp import transform as warp_points
from rasterio.windows import Window
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates

from minseg.data.dateline import seen_from
from minseg.data.raster import Grid

LATTICE_PIXELS = 16
"""Positions are computed for every so many pixels of the grid and interpolated between."""


def ground_range_onto_grid(
    source: rasterio.DatasetReader, grid: Grid, nodata: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring a raster located by ground control points to a grid by nearest neighbour.

    A `WarpedVRT` with an explicit transform gives wrong pixels of such a file without an error,
    and what catalogues say in ``proj:`` of it is made up: only its points count.

    Parameters
    ----------
    source : rasterio.DatasetReader
        With ground control points; its first band is read, and only the part needed.
    grid : Grid
    nodata : float
        Number of missing pixels.

    Returns
    -------
    values : float32 ndarray (height, width)
        NaN where missing.
    rows, columns : float ndarray (height, width)
        Positions in the file, for its calibration.
    """
    rows, columns = positions(source, grid)
    window = _window(rows, columns, source.height, source.width)
    values = np.full((grid.height, grid.width), np.nan, np.float32)
    if window is None:
        return values, rows, columns
    numbers = source.read(1, window=window).astype(np.float32)
    down = np.floor(rows).astype(np.int64) - window.row_off
    across = np.floor(columns).astype(np.int64) - window.col_off
    inside = (down >= 0) & (down < window.height) & (across >= 0) & (across < window.width)
    values[inside] = numbers[down[inside], across[inside]]
    values[values == nodata] = np.nan
    return values, rows, columns


def positions(source: rasterio.DatasetReader, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Find the place of each of a grid's pixel centres in a file with ground control points.

    Parameters
    ----------
    source : rasterio.DatasetReader
    grid : Grid

    Returns
    -------
    rows, columns : float ndarray (height, width)
        Fractional, from the file's upper left corner; they may lie outside of it.
    """
    points, crs = source.gcps
    down = np.linspace(0, grid.height - 1, math.ceil(grid.height / LATTICE_PIXELS) + 1)
    across = np.linspace(0, grid.width - 1, math.ceil(grid.width / LATTICE_PIXELS) + 1)
    i, j = np.meshgrid(down, across, indexing="ij")
    x = grid.transform.c + grid.transform.a * (j + 0.5) + grid.transform.b * (i + 0.5)
    y = grid.transform.f + grid.transform.d * (j + 0.5) + grid.transform.e * (i + 0.5)
    longitude, latitude = (np.array(v) for v in warp_points(grid.crs, crs, x.ravel(), y.ravel()))
    middle = float(longitude[0])  # over the date line, longitudes would jump from 180 to -180
    points = [GroundControlPoint(p.row, p.col, seen_from(p.x, middle), p.y, p.z) for p in points]
    # Thin plate splines go through every point; polynomials leave tens of metres.
    with GCPTransformer(points, tps=True) as transformer:
        places = transformer.rowcol(seen_from(longitude, middle), latitude, op=float)
    at = np.meshgrid(
        np.linspace(0, len(down) - 1, grid.height),
        np.linspace(0, len(across) - 1, grid.width),
        indexing="ij",
    )
    rows, columns = (
        map_coordinates(np.reshape(place, i.shape), at, order=1, mode="nearest") for place in places
    )
    return rows, columns


def calibration_gain(xml: str, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read the σ0 gain A of a calibration file at places of the image: σ0 = (number / A)².

    Parameters
    ----------
    xml : str
        Calibration annotation of a Sentinel-1 product.
    rows, columns : float ndarray
        Places in the image.

    Returns
    -------
    float ndarray
        Of the same shape.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    try:
        vectors = ElementTree.fromstring(xml).findall(".//calibrationVector")
    except ElementTree.ParseError as error:
        raise ValueError(f"is no XML ({error})") from None
    lines: list[float] = []
    gains: list[np.ndarray] = []
    pixels = np.empty(0)
    for vector in vectors:
        here = np.array((vector.findtext("pixel") or "").split(), float)
        gain = np.array((vector.findtext("sigmaNought") or "").split(), float)
        if not here.size or here.size != gain.size:
            raise ValueError("has a calibration vector without pixels or sigmaNought")
        pixels = here if not lines else pixels
        lines.append(float(vector.findtext("line") or "nan"))
        gains.append(np.interp(pixels, here, gain))  # vectors may differ in their pixels
    if len(lines) < 2 or len(pixels) < 2:
        raise ValueError("has no calibration vectors")
    interpolate = RegularGridInterpolator(
        (lines, pixels), np.array(gains), bounds_error=False, fill_value=None
    )
    return interpolate((rows, columns))


def _window(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> Window | None:
    """Return the part of a file that holds all the places, None where it holds none."""
    top, bottom = max(0, math.floor(rows.min())), min(height, math.floor(rows.max()) + 1)
    left, right = max(0, math.floor(columns.min())), min(width, math.floor(columns.max()) + 1)
    if top >= bottom or left >= right:
        return None
    return Window(left, top, right - left, bottom - top)
