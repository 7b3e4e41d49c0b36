"""The bands of a scene's file, by their names."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.windows import Window

from minseg.data.bands import BANDS
from minseg.data.labels import IGNORE_BITS
from minseg.data.raster import open_raster, read_dataset_mask, read_window, valid_pixels
from minseg.errors import MinsegError

SMALL_FILE_BYTES = 2**19
"""Size on disk up to which a scene's file is kept in memory once it was read."""

KEPT_BYTES = 2**28
"""Bound on the memory that all files kept there take."""

REFLECTANCE_SCALE = 1e-4
"""Reflectance of one unit of ``optical.tif``."""

_FORMATS = {
    "optical": ("uint16", (REFLECTANCE_SCALE, 1.0), "reflectance × 10 000 as uint16"),
    "radar": ("float32", (1.0,), "decibels as float32"),
    "labels": ("uint16", (1.0,), "one band of uint16, a bit mask"),
}
"""Of each file of a scene: type, scale tags it may have, and what its numbers are. Programs that
write a file anew often leave the tag out, which changes no number."""


def possible(values: np.ndarray, band: str) -> np.ndarray:
    """Tell which values, reflectance or decibels, a pixel of a band can have; NaN is none."""
    low, high = BANDS[band].limits
    return (values > np.float32(low)) & (values < np.float32(high))


def read_named(
    path: Path, bands: Sequence[str], window: Window | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read named bands of a scene's file as reflectance or dB.

    Parameters
    ----------
    path : Path
        ``optical.tif`` or ``radar.tif`` of a scene.
    bands : sequence of str
        Optical, or radar.
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
        If the file is missing, damaged or of another form, or lacks a band.
    """
    kind = "radar" if BANDS[bands[0]].is_radar else "optical"
    try:
        state = path.stat()
    except OSError:
        raise MinsegError(f"{path}: no such file; check the path") from None
    if window is None and state.st_size <= SMALL_FILE_BYTES:
        names, nodata, stored, shown = _SMALL_FILES.read(path, kind, state.st_mtime_ns)
        values = stored[_positions(path, names, bands)]
        valid = valid_pixels(values, nodata)
        valid = valid if shown is None else valid & shown
    else:
        with open_raster(path) as source:
            require_format(source, kind)
            positions = _positions(path, source.descriptions, bands)
            values, valid = read_window(source, [position + 1 for position in positions], window)
    if kind == "optical":
        return values.astype(np.float32) * np.float32(REFLECTANCE_SCALE), valid
    for layer, band in zip(values, bands, strict=True):
        valid = valid & possible(layer, band)
    return values, valid


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
        require_format(source, "labels")
        (bits,), _ = read_window(source, [1], window)
        shown = read_dataset_mask(source, 1, window)
    return bits if shown is None else np.where(shown, bits, np.uint16(IGNORE_BITS))


def require_format(source: rasterio.DatasetReader, kind: str) -> None:
    """Refuse a scene's file that was written anew in another form.

    Parameters
    ----------
    source : rasterio.DatasetReader
    kind : {"optical", "radar", "labels"}

    Raises
    ------
    MinsegError
    """
    dtype, scales, what = _FORMATS[kind]
    found = {
        "type": (source.dtypes, (dtype,)),
        "scale": (source.scales, scales),
        "offset": (source.offsets, (0.0,)),
        "nodata value": (source.nodatavals if kind == "optical" else (), (0.0,)),
        "number of bands": ((source.count,) if kind == "labels" else (), (1,)),
    }
    for name, (values, promised) in found.items():
        strange = [value for value in values if value not in promised]
        if strange:
            raise MinsegError(
                f"{source.name}: has {name} {strange[0]}, not {promised[0]}; a dataset has {what}: "
                "make it again with `minseg dataset import`"
            )


class _SmallFiles:
    """Whole files in memory, those used last, up to a sum of bytes.

    A worker that makes many runs in a row reads the same scenes again and again.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[Path, int], _SmallFile] = OrderedDict()
        self._lock = Lock()

    def read(self, path: Path, kind: str, changed_ns: int) -> "_SmallFile":
        """Read a file, unless it is in memory."""
        key = path, changed_ns
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        with open_raster(path) as source:
            require_format(source, kind)
            values, shown = read_window(source, source.indexes)[0], read_dataset_mask(source)
            file = _SmallFile(source.descriptions, source.nodata, values, shown)
        with self._lock:
            self._files[key] = file
            while sum(file.values.nbytes for file in self._files.values()) > KEPT_BYTES:
                self._files.popitem(last=False)
        return file


class _SmallFile(NamedTuple):
    """What a file holds."""

    names: tuple[str, ...]
    nodata: float | None
    values: np.ndarray
    """(bands, height, width), as stored."""
    shown: np.ndarray | None
    """bool (height, width): its mask."""


_SMALL_FILES = _SmallFiles()


def _positions(path: Path, names: Sequence[str], bands: Sequence[str]) -> list[int]:
    """Find bands by name, counted from 0."""
    missing = [band for band in bands if band not in names]
    if missing:
        raise MinsegError(f"{path}: has no band {', '.join(missing)}; it has {names}")
    return [names.index(band) for band in bands]
