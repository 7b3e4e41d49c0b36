"""A user's image file as reflectance and dB: bands by name in any order, scale, offset, nodata."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import rasterio
from rasterio.windows import Window

from minseg.data.bands import BANDS, band_name
from minseg.data.radiometry import amplitude_to_db, power_to_db
from minseg.data.raster import read_window
from minseg.errors import MinsegError

RADAR_TO_DB: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "db": lambda values: values,
    "power": power_to_db,
    "amplitude": amplitude_to_db,
}
"""What radar pixels may hold, and how decibels come of it."""


@dataclass(frozen=True)
class ImageReading:
    """What the numbers of images mean, where their own tags do not say, and the grid wanted."""

    bands: tuple[str, ...] | None = None
    """Bands in the order of the one file, where it does not name them."""
    scale: float | None = None
    """Reflectance of one digital number."""
    offset: float | None = None
    """Reflectance at digital number zero."""
    nodata: float | None = None
    """Digital number of missing pixels."""
    radar_unit: str = "db"
    """What radar pixels hold: ``db``, ``power`` or ``amplitude``."""
    radar_scale: float | None = None
    """Decibels, power or amplitude of one digital number."""
    gsd_m: float | None = None
    """Side of the pixels to work on, metres; None as `minseg.data.stack.common_grid` chooses."""

    def __post_init__(self) -> None:
        """Refuse what no image can be read by."""
        if self.radar_unit not in RADAR_TO_DB:
            raise MinsegError(
                f"radar unit {self.radar_unit!r} is unknown; use {', '.join(RADAR_TO_DB)}"
            )
        for name in ("scale", "radar_scale", "gsd_m"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise MinsegError(f"{name} {value:g}: give a number above zero")


@dataclass(frozen=True)
class Image:
    """An open image and what its numbers mean."""

    source: rasterio.DatasetReader
    """The open file."""
    indexes: Mapping[str, int]
    """Band name to the file's band number, from 1."""
    scale: float
    """Reflectance of one digital number, for optical bands."""
    offset: float
    """Reflectance at digital number zero, for optical bands."""
    nodata: float | None
    """Digital number of missing pixels, beside the file's own tag."""
    radar_scale: float = 1.0
    """Decibels, power or amplitude of one digital number, for radar bands."""
    radar_unit: str = "db"
    """What radar pixels hold: ``db``, ``power`` or ``amplitude``."""

    @classmethod
    def of(
        cls,
        source: rasterio.DatasetReader,
        bands: Sequence[str] | None = None,
        scale: float | None = None,
        offset: float | None = None,
        nodata: float | None = None,
        *,
        radar_scale: float | None = 1.0,
        radar_unit: str = "db",
        needed: Collection[str] | None = None,
    ) -> Self:
        """Work out what an open file's numbers mean.

        Parameters
        ----------
        source : rasterio.DatasetReader
        bands : sequence of str, optional
            Bands needed: found by name, or by position where the file names none. None = all
            that the file names.
        scale, offset : float, optional
            Reflectance = number · scale + offset; by default the file's own tags.
        nodata : float, optional
            Number of missing pixels where the file has no tag.
        radar_scale : float, optional
            Decibels, power or amplitude of one number; None = the file's own tag.
        radar_unit : {"db", "power", "amplitude"}
        needed : collection of str, optional
            Leave other bands aside.

        Returns
        -------
        Image

        Raises
        ------
        MinsegError
            If bands are missing, or whole numbers come without a scale.
        """
        indexes = {
            band: index
            for band, index in band_indexes(source, bands).items()
            if needed is None or band in needed
        }
        optical = [index for band, index in indexes.items() if not BANDS[band].is_radar]
        radar = [index for band, index in indexes.items() if BANDS[band].is_radar]
        if scale is None:
            scale = _tagged_scale(source, optical, "reflectance, e.g. --scale 1e-4")
        if radar_scale is None:
            radar_scale = _tagged_scale(source, radar, f"{radar_unit}, e.g. --radar-scale 0.01")
        if offset is None:
            offset = source.offsets[optical[0] - 1] if optical else 0.0
        return cls(source, indexes, scale, offset, nodata, radar_scale, radar_unit)

    def read(
        self, bands: Sequence[str], window: Window | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read channels.

        Parameters
        ----------
        bands : sequence of str
            Channels, in the order wanted.
        window : rasterio.windows.Window, optional

        Returns
        -------
        values : float32 ndarray (bands, height, width)
            Reflectance of optical bands; decibels of radar bands.
        valid : bool ndarray (height, width)
        """
        numbers, valid = read_window(self.source, [self.indexes[band] for band in bands], window)
        if self.nodata is not None:
            valid = valid & (numbers != self.nodata).all(axis=0)
        values = numbers.astype(np.float32)
        for layer, band in zip(values, bands, strict=True):
            if not BANDS[band].is_radar:
                layer *= np.float32(self.scale)
                layer += np.float32(self.offset)
            else:
                layer *= np.float32(self.radar_scale)
                layer[:] = RADAR_TO_DB[self.radar_unit](layer)
                if self.radar_unit != "db":  # what is not positive has no decibels
                    valid = valid & np.isfinite(layer)
        return values, valid

    def sample(self, bands: Sequence[str], side: int) -> np.ndarray:
        """Return reflectance of a small image, or of windows spread over a large one.

        Parameters
        ----------
        bands : sequence of str
            Optical bands.
        side : int
            Up to this side the whole image is read.

        Returns
        -------
        float32 ndarray (bands, valid pixels)
        """
        if not bands:
            return np.empty((0, 0), np.float32)
        height, width = self.source.height, self.source.width
        windows = [Window(0, 0, width, height)]
        if max(height, width) > side:
            high, wide = min(height, side // 4), min(width, side // 4)
            windows = [
                Window(int(across * (width - wide)), int(down * (height - high)), wide, high)
                for down in np.linspace(0, 1, 4)
                for across in np.linspace(0, 1, 4)
            ]
        parts = [self.read(bands, window) for window in windows]
        return np.concatenate([values[:, valid] for values, valid in parts], axis=1)


def band_indexes(
    source: rasterio.DatasetReader, wanted: Sequence[str] | None = None
) -> dict[str, int]:
    """Find a file's bands by name, or by position where it names none.

    Parameters
    ----------
    source : rasterio.DatasetReader
    wanted : sequence of str, optional
        As `bands` of `Image.of`.

    Returns
    -------
    dict of str to int
        Band name to the file's band number, from 1.

    Raises
    ------
    MinsegError
        If bands are missing.
    """
    named = {
        name: index
        for index, text in enumerate(source.descriptions, 1)
        if text is not None and (name := band_name(text))
    }
    if not named:
        if wanted is None or len(wanted) != source.count:
            raise MinsegError(
                f"{source.name}: its {source.count} bands carry no names that we know; list them "
                "all in the file's order, with --bands B02,B03,B04 or before the path of an image "
                "to predict, B02,B03,B04=PATH"
            )
        return {band: index for index, band in enumerate(wanted, 1)}
    missing = [band for band in wanted or () if band not in named]
    if missing:
        raise MinsegError(
            f"{source.name}: has no band {', '.join(missing)}; it has {', '.join(named)}"
        )
    return {band: index for band, index in named.items() if band in (wanted or BANDS)}


def _tagged_scale(source: rasterio.DatasetReader, indexes: Sequence[int], unit: str) -> float:
    """Return the scale tag of bands of one kind; refuse whole numbers without one."""
    if not indexes:
        return 1.0
    scale, dtype = source.scales[indexes[0] - 1], np.dtype(source.dtypes[indexes[0] - 1])
    if scale == 1.0 and dtype == np.uint8:
        raise MinsegError(
            f"{source.name}: 8-bit numbers without a scale tag, as of a picture stretched for the "
            f"eye; take the original image, or say what one number is worth in {unit}"
        )
    if scale == 1.0 and dtype.kind in "ui":
        raise MinsegError(
            f"{source.name}: whole numbers without a scale tag; say what one is worth in {unit}"
        )
    return scale
