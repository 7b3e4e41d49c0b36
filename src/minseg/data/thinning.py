"""Every n-th pixel of a large image, read strip by strip: for pictures of it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from minseg.data.raster import CACHE_BYTES, Grid
from minseg.data.stack import ImageStack

_STRIP_PIXELS = 2**20
"""Pixels of a channel held in memory at once."""


def thinning_step(grid: Grid, side_px: int) -> int:
    """Return the least n of which every n-th pixel gives a picture of at most so long a side."""
    return max(1, math.ceil(max(grid.height, grid.width) / side_px))


def thinned_grid(grid: Grid, step: int) -> Grid:
    """Return the grid of every n-th pixel across and down, the first one being of them."""
    return Grid(
        math.ceil(grid.height / step),
        math.ceil(grid.width / step),
        grid.transform @ Affine.scale(step),
        grid.crs,
    )


def read_thinned(
    image: ImageStack, bands: Sequence[str], step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read every n-th pixel of some of an image's channels.

    Parameters
    ----------
    image : ImageStack
    bands : sequence of str
        Among its channels. Others are not read, unless one is derived of them.
    step : int
        The n; 1 for every pixel.

    Returns
    -------
    values : float32 ndarray (bands, height, width)
        Reflectance or dB, on `thinned_grid`.
    valid : bool ndarray (height, width)
        Pixels at which every file that was read has a value.
    """
    chosen = _of_bands(image, bands)
    height, width = image.grid.height, image.grid.width
    rows = max(1, _STRIP_PIXELS // (width * step)) * step
    strips = []
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        for row in range(0, height, rows):
            values, valid = chosen.read(Window(0, row, width, min(rows, height - row)))
            # Copies, lest a view keep the whole strip.
            strips.append((values[:, ::step, ::step].copy(), valid[::step, ::step].copy()))
    values, valid = zip(*strips, strict=True)
    return np.concatenate(values, axis=1), np.concatenate(valid)


def _of_bands(image: ImageStack, bands: Sequence[str]) -> ImageStack:
    """Narrow an image to some of its channels, on the same grid."""
    parts = []
    for part in image.parts:
        indexes = {band: k for band, k in part.image.indexes.items() if band in bands}
        if indexes:
            parts.append(replace(part, image=replace(part.image, indexes=indexes)))
    held = {band for part in parts for band in part.image.indexes}
    # A channel that no file holds is derived of others, so all are read.
    kept = tuple(parts) if held == set(bands) else image.parts
    return replace(image, bands=tuple(bands), parts=kept)
