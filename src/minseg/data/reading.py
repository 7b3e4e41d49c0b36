"""The bands of a scene's file, by their names."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from minseg.data.labels import IGNORE_BITS
from minseg.data.raster import open_raster, read_dataset_mask, read_window, valid_pixels
from minseg.errors import MinsegError

SMALL_FILE_BYTES = 2**19
"""Size on disk up to which a scene's file is kept in memory once it was read."""

REFLECTANCE_SCALE = 1e-4
"""Reflectance of one unit of ``optical.tif``."""


def read_named(
    path: Path, bands: Sequence[str], window: Window | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read named bands of a scene's file as reflectance or dB.

    Parameters
    ----------
    path : Path
        ``optical.tif`` or ``radar.tif`` of a scene.
    bands : sequence of str
    window : Window or None
        Part to read; None for the whole file.

    Returns
    -------
    values : float32 ndarray (bands, height, width)
    valid : bool ndarray (height, width)
        Pixels at which every chosen band has a value and no mask hides it.

    Raises
    ------
    MinsegError
        If the file is missing or damaged, or lacks a band.
    """
    try:
        state = path.stat()
    except OSError:
        raise MinsegError(f"{path}: no such file; check the path") from None
    if window is None and state.st_size <= SMALL_FILE_BYTES:
        names, nodata, stored, shown = _read_small_file(path, state.st_mtime_ns)
        values = stored[_positions(path, names, bands)]
        valid = valid_pixels(values, nodata)
        valid = valid if shown is None else valid & shown
    else:
        with open_raster(path) as source:
            positions = _positions(path, source.descriptions, bands)
            values, valid = read_window(source, [position + 1 for position in positions], window)
    scale = REFLECTANCE_SCALE if values.dtype.kind == "u" else 1.0
    return values.astype(np.float32) * np.float32(scale), valid


def read_bits(path: Path, window: Window | None = None) -> np.ndarray:
    """Read a scene's labels; what a mask in the file hides, nobody annotated.

    Returns
    -------
    uint16 ndarray (height, width)

    Raises
    ------
    MinsegError
        If the file is missing or damaged, or is not one band of bit masks.
    """
    with open_raster(path) as source:
        if source.dtypes != ("uint16",):
            raise MinsegError(
                f"{path}: labels are {', '.join(source.dtypes)}; they must be one band of uint16, "
                "a bit mask, so make them again with `minseg dataset import`"
            )
        (bits,), _ = read_window(source, [1], window)
        shown = read_dataset_mask(source, 1, window)
    return bits if shown is None else np.where(shown, bits, np.uint16(IGNORE_BITS))


# A worker that makes many runs in a row reads the same scenes again and again.
@lru_cache(maxsize=1024)
def _read_small_file(
    path: Path, changed_ns: int
) -> tuple[tuple[str, ...], float | None, np.ndarray, np.ndarray | None]:
    """Read a whole file: band names, nodata value, values (bands, height, width), and its mask."""
    with open_raster(path) as source:
        values = read_window(source, source.indexes)[0]
        return source.descriptions, source.nodata, values, read_dataset_mask(source)


def _positions(path: Path, names: Sequence[str], bands: Sequence[str]) -> list[int]:
    """Find bands by name, counted from 0."""
    missing = [band for band in bands if band not in names]
    if missing:
        raise MinsegError(f"{path}: has no band {', '.join(missing)}; it has {names}")
    return [names.index(band) for band in bands]
