"""A user's image file as reflectance and dB: bands by name in any order, scale, offset, nodata."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from minseg.data.bands import BANDS, band_name, polarisations
from minseg.data.radiometry import RADAR_TO_DB
from minseg.data.raster import read_window
from minseg.errors import MinsegError


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
    scales: Mapping[str, float]
    """What one digital number of a band is worth: reflectance, or decibels, power or amplitude."""
    offsets: Mapping[str, float]
    """The same at digital number zero."""
    nodata: float | None
    """Digital number of missing pixels, beside the file's own tag."""
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
        radar_scale: float | None = None,
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
            Reflectance = number · scale + offset; by default each band's own tags.
        nodata : float, optional
            Number of missing pixels where the file has no tag.
        radar_scale : float, optional
            Decibels, power or amplitude of one number; by default each band's own tag. Its offset
            is always the tag's.
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
        scales, offsets = {}, {}
        for band, index in indexes.items():
            radar = BANDS[band].is_radar
            told = radar_scale if radar else scale
            scales[band] = _tagged_scale(source, band, index, radar_unit) if told is None else told
            offsets[band] = source.offsets[index - 1] if radar or offset is None else offset
        return cls(source, indexes, scales, offsets, nodata, radar_unit)

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
            layer *= np.float32(self.scales[band])
            layer += np.float32(self.offsets[band])
            if BANDS[band].is_radar:
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
    channels = channels_of(source)
    named = {
        name: index
        for index in channels
        if (text := source.descriptions[index - 1]) and (name := band_name(text))
    }
    if not named:
        _require_radar_as_wanted(source, wanted or ())
        if wanted is None or len(wanted) != len(channels):
            raise MinsegError(
                f"{source.name}: its {len(channels)} bands carry no names that we know; name each, "
                f"e.g. `rio edit-info --bidx 1 --description {(wanted or ('B02',))[0]} "
                f"{source.name}`, or list them all in the file's order, with --bands B02,B03,B04 "
                f"or before the path of an image to predict, B02,B03,B04=PATH{_alpha_note(source)}"
            )
        return dict(zip(wanted, channels, strict=True))
    missing = [band for band in wanted or () if band not in named]
    if missing:
        raise MinsegError(
            f"{source.name}: has no band {', '.join(missing)}; it has {', '.join(named)}"
            f"{_alpha_note(source)}"
        )
    return {band: index for band, index in named.items() if band in (wanted or BANDS)}


def _require_radar_as_wanted(source: rasterio.DatasetReader, wanted: Sequence[str]) -> None:
    """Refuse to read radar by position if band names, or the file's, speak of anything else."""
    radar = [band for band in wanted if band in ("VV", "VH")]
    named = [name for name in source.descriptions if re.search("[VH][VH]", (name or "").upper())]
    said = named or polarisations(Path(source.name).stem)
    if radar and said and said != radar:
        raise MinsegError(
            f"{source.name}: by its names it holds {', '.join(said)}, where {', '.join(radar)} "
            "are needed and no other polarisation or quantity; mend wrong names band by band, "
            f"e.g. `rio edit-info --bidx 1 --description {radar[0]} {source.name}`"
        )


def channels_of(source: rasterio.DatasetReader) -> list[int]:
    """Return the numbers of the bands, from 1, but those that only tell what is see-through."""
    kinds = zip(source.indexes, source.colorinterp, strict=True)
    return [index for index, kind in kinds if kind != ColorInterp.alpha]


def _alpha_note(source: rasterio.DatasetReader) -> str:
    """Say what to do if a passed-over band is none: GDAL calls the fourth of 8 bits alpha."""
    passed = set(source.indexes) - set(channels_of(source))
    if not passed:
        return ""
    kinds = ",".join(["gray"] + ["undefined"] * (source.count - 1))
    return (
        f"; band {min(passed)} is marked as alpha and tells what is see-through: if it is a "
        f"channel, `rio edit-info --colorinterp {kinds} {source.name}`"
    )


def _tagged_scale(source: rasterio.DatasetReader, band: str, index: int, radar_unit: str) -> float:
    """Return a band's scale tag; refuse whole numbers without one."""
    scale, dtype = source.scales[index - 1], np.dtype(source.dtypes[index - 1])
    if scale != 1.0 or dtype.kind not in "ui":
        return scale
    worth = (
        f"{radar_unit}, e.g. --radar-scale 0.01"
        if BANDS[band].is_radar
        else "reflectance, e.g. --scale 1e-4"
    )
    if dtype == np.uint8:
        raise MinsegError(
            f"{source.name}: {band} has 8-bit numbers without a scale tag, as of a picture "
            "stretched for the eye; take the original image, or say what one number is worth in "
            f"{worth}"
        )
    raise MinsegError(
        f"{source.name}: {band} has whole numbers without a scale tag; say what one is worth in "
        f"{worth}"
    )
