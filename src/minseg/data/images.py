"""A user's image file as reflectance and dB: bands by name in any order, scale, offset, nodata."""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from minseg.data.bands import BANDS, SKIPPED, band_name, polarisations
from minseg.data.radiometry import (
    RADAR_TO_DB,
    clip_reflectance,
    possible,
    require_backscatter,
    require_reflectance,
)
from minseg.data.raster import read_window
from minseg.errors import MinsegError, require_word

SAMPLE_SIDE = 512
"""Images up to this side, pixels, are checked whole before the work; larger ones by samples."""

_FILL_TOLD = 1e-3
"""Share of pixels from which on what may be fill is told of."""


@dataclass(frozen=True)
class ImageReading:
    """What the numbers of images mean, where their own tags do not say, and the grid wanted."""

    bands: tuple[str, ...] | None = None
    """Bands in the order of the one file, where it does not name them; ``-`` for one left out."""
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
        require_word("radar unit", self.radar_unit, RADAR_TO_DB)
        for name in ("scale", "radar_scale", "gsd_m"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise MinsegError(f"{name} {value:g}: give a number above zero")
        if self.offset is not None and not math.isfinite(self.offset):
            raise MinsegError(f"offset {self.offset:g}: give a number")


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
    reading: ImageReading
    """What it was told of them."""

    @classmethod
    def of(
        cls, source: rasterio.DatasetReader, indexes: Mapping[str, int], reading: ImageReading
    ) -> Self:
        """Work out what the numbers of an open file's bands mean, found by `band_indexes`.

        Whole numbers without a scale are refused. The offset of radar is always the tag's.
        """
        if any(np.dtype(source.dtypes[index - 1]).kind == "c" for index in indexes.values()):
            raise MinsegError(
                f"{source.name}: holds complex numbers, as single look products do; make "
                "intensity (power) of them first"
            )
        scales, offsets = {}, {}
        for band, index in indexes.items():
            radar = BANDS[band].is_radar
            told = reading.radar_scale if radar else reading.scale
            if told is None:
                told = _tagged_scale(source, band, index, reading.radar_unit)
            scales[band], offsets[band] = told, source.offsets[index - 1]
            if reading.offset is not None and not radar:
                offsets[band] = reading.offset
        return cls(source, indexes, scales, offsets, reading)

    def read(
        self,
        bands: Sequence[str],
        window: Window | None = None,
        shape: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read channels as float32 (bands, height, width) in reflectance or dB, and where valid.

        As a dataset of this image would hold them but for its rounding; `shape` thins the window.
        Values that a channel cannot have are not valid.
        """
        numbers, valid = self._numbers(bands, window, shape)
        values = self._physical(bands, numbers)
        for layer, band in zip(values, bands, strict=True):
            low, high = BANDS[band].limits
            if not (low < layer.min() and layer.max() < high):  # most often so, and told fast
                valid = valid & possible(layer, band)
            if not BANDS[band].is_radar:
                clip_reflectance(layer)
        return values, valid

    def examine(self) -> dict[str, float]:
        """Refuse what cannot be reflectance or dB; tell on standard error of what may be fill.

        Looks at a small image, or at windows spread over a large one; returns the medians, in dB,
        of VV and VH.
        """
        medians: dict[str, float] = {}
        for radar in (False, True):
            bands = [band for band in self.indexes if BANDS[band].is_radar == radar]
            parts = [self._numbers(bands, window) for window in self._windows()] if bands else []
            if any(valid.any() for _, valid in parts):  # few valid pixels may all be missed
                numbers = np.concatenate([part[:, valid] for part, valid in parts], axis=1)
                medians |= self._examine(bands, numbers, radar)
        return medians

    def _examine(self, bands: Sequence[str], numbers: np.ndarray, radar: bool) -> dict[str, float]:
        """Look at the numbers (bands, pixels) of optical, or of radar, bands."""
        where, kind = self.source.name, "backscatter in dB" if radar else "reflectance"
        values = self._physical(bands, numbers)
        each = np.stack([possible(*pair) for pair in zip(values, bands, strict=True)])
        fits = each.all(axis=0)
        strange, times = np.unique(numbers[~each], return_counts=True)
        if times.size:
            fill, share = str(strange[times.argmax()]), times.max() / times.sum()
            if not fits.any() or (fits.mean() < 0.5 and share < 0.9):
                self._require_physical(bands, values[:, fits] if radar else values)
                raise MinsegError(
                    f"{where}: {np.mean(~fits):.0%} of its pixels hold {fill} or another number "
                    f"that is no {kind}; give the right {'--radar-unit' if radar else '--scale'}, "
                    "or --nodata where missing pixels have a number without a tag"
                )
            self._tell(
                f"{np.sum(~fits)} of {fits.size} pixels hold {fill} or another number that is no "
                f"{kind}; they are taken as missing, as --nodata {fill} would say"
            )
        medians = self._require_physical(bands, values[:, fits])
        if "B04" in bands:
            self._tell_of_offset(values[bands.index("B04"), fits])
        numbers_told = [0]
        if len(bands) > 1 and not radar and numbers.dtype.kind in "ui":  # else just a bright pixel
            numbers_told += [9999, np.iinfo(numbers.dtype).max]
        for number in numbers_told:
            covered = np.mean((numbers == number).all(axis=0) & fits)
            if covered > _FILL_TOLD:
                self._tell(
                    f"{covered:.1%} of the pixels hold {number} in every band and count as ground; "
                    f"if nothing was seen there, give --nodata {number}"
                )
        return medians

    def _require_physical(self, bands: Sequence[str], values: np.ndarray) -> dict[str, float]:
        """Refuse what is no reflectance, or no backscatter; the ratio of VV and VH may be any."""
        if not BANDS[bands[0]].is_radar:
            require_reflectance(values, self.source.name)
        own = [band for band in bands if band in ("VV", "VH")]
        decibels = values[[bands.index(band) for band in own]]
        return require_backscatter(decibels, own, self.source.name) if own else {}

    def _tell_of_offset(self, red: np.ndarray) -> None:
        """Tell if an offset seems to be taken off twice, or not at all.

        Most ground is darker in red than the 0.1 that the offset takes off, and none is negative.
        """
        offset = self.offsets["B04"]
        if offset < 0 and (negative := np.mean(red < 0)) > 0.1:
            self._tell(
                f"{negative:.0%} of its pixels would reflect less than nothing in B04; if the "
                "numbers have their offset already, as harmonised products do, give --offset 0"
            )
        if offset == 0 and np.percentile(red, 1) > 0.1:
            self._tell(
                "99 % of its pixels would reflect more than 0.1 in B04; if it is of processing "
                "baseline 04.00 or later and not harmonised, give --offset -0.1"
            )

    def _tell(self, line: str) -> None:
        """Tell what the numbers of this image look like."""
        print(f"note: {self.source.name}: {line}", file=sys.stderr)

    def _numbers(
        self, bands: Sequence[str], window: Window | None, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read digital numbers, and where neither tags nor the user mark missing pixels."""
        indexes = [self.indexes[band] for band in bands]
        numbers, valid = read_window(self.source, indexes, window, shape)
        if self.reading.nodata is not None:
            valid = valid & (numbers != self.reading.nodata).all(axis=0)
        return numbers, valid

    def _physical(self, bands: Sequence[str], numbers: np.ndarray) -> np.ndarray:
        """Turn digital numbers (bands, ...) into reflectance or decibels, float32."""
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold
            values = numbers.astype(np.float32)
        for layer, band in zip(values, bands, strict=True):
            layer *= np.float32(self.scales[band])
            layer += np.float32(self.offsets[band])
            if BANDS[band].is_radar:
                layer[:] = RADAR_TO_DB[self.reading.radar_unit](layer)
        return values

    def _windows(self) -> list[Window]:
        """Return the whole of a small image, or windows spread over a large one."""
        height, width = self.source.height, self.source.width
        if max(height, width) <= SAMPLE_SIDE:
            return [Window(0, 0, width, height)]
        high, wide = min(height, SAMPLE_SIDE // 4), min(width, SAMPLE_SIDE // 4)
        return [
            Window(int(across * (width - wide)), int(down * (height - high)), wide, high)
            for down in np.linspace(0, 1, 4)
            for across in np.linspace(0, 1, 4)
        ]


def band_indexes(
    source: rasterio.DatasetReader, wanted: Sequence[str] | None = None
) -> dict[str, int]:
    """Find a file's bands by name, or by position where it names none or `SKIPPED` is wanted.

    Returns band names to band numbers from 1; refuses bands that are missing or there twice.
    """
    channels = channels_of(source)
    names = [band_name(source.descriptions[index - 1] or "") for index in channels]
    if wanted is not None and SKIPPED in wanted:
        return _listed_indexes(source, wanted, channels, names)
    if not any(names):
        _require_radar_as_wanted(source, wanted)
        if wanted is not None and len(wanted) == len(channels):
            return dict(zip(wanted, channels, strict=True))
        if len(channels) == 1:
            names = [band_name(Path(source.name).stem)]
    if not any(names):
        raise MinsegError(
            f"{source.name}: its {len(channels)} bands carry no names that we know; name each, "
            f"e.g. `rio edit-info --bidx 1 --description {(wanted or ('B02',))[0]} "
            f"{source.name}`, or list them all in the file's order, - for one to leave out, with "
            "--bands B02,-,B04 or before the path of an image to predict, "
            f"B02,-,B04=PATH{_alpha_note(source)}"
        )
    named = {name: index for name, index in zip(names, channels, strict=True) if name}
    missing = [band for band in wanted or () if band not in named]
    if missing:
        raise MinsegError(
            f"{source.name}: has no band {', '.join(missing)}; it has {', '.join(named)}"
            f"{_alpha_note(source)}"
        )
    chosen = {band: index for band, index in named.items() if band in (wanted or BANDS)}
    twice = [band for band in chosen if names.count(band) > 1]
    if twice:
        listed = ",".join(name or SKIPPED for name in names).replace(twice[0], SKIPPED, 1)
        raise MinsegError(
            f"{source.name}: more than one of its bands is called {twice[0]}; name the others "
            f"otherwise, e.g. `rio edit-info --bidx {channels[names.index(twice[0])]} "
            f"--description other {source.name}`, or list all in the file's order, - for one to "
            f"leave out, e.g. --bands {listed}"
        )
    return chosen


def _listed_indexes(
    source: rasterio.DatasetReader,
    listed: Sequence[str],
    channels: Sequence[int],
    names: Sequence[str | None],
) -> dict[str, int]:
    """Take bands by position, where some are left out."""
    if len(listed) != len(channels):
        raise MinsegError(
            f"{source.name}: has {len(channels)} bands, but {len(listed)} are listed; list every "
            f"one in the file's order{_alpha_note(source)}"
        )
    for index, name, band in zip(channels, names, listed, strict=True):
        told = source.descriptions[index - 1] or ""
        other = name or (band in ("VV", "VH") and band not in told.upper() and polarisations(told))
        if other and band not in (name, SKIPPED):
            raise MinsegError(
                f"{source.name}: band {index} is called {told} and listed as {band}; mend a wrong "
                f"name by `rio edit-info --bidx {index} --description {band} {source.name}`"
            )
    return {band: k for band, k in zip(listed, channels, strict=True) if band != SKIPPED}


def _require_radar_as_wanted(source: rasterio.DatasetReader, wanted: Sequence[str] | None) -> None:
    """Refuse to read radar by position if band names, or the file's, speak of anything else."""
    radar = [band for band in wanted or ("VV", "VH") if band in ("VV", "VH")]
    said = [name for name in source.descriptions if re.search("[VH][VH]", (name or "").upper())]
    if not said and wanted is not None:
        parts = source.files[1:] if source.driver == "VRT" else []
        spoken = [word for file in parts for word in polarisations(Path(file).stem)]
        said = [*dict.fromkeys(spoken or polarisations(Path(source.name).stem))]
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
        else "reflectance, e.g. --scale 1e-4 (with --offset -0.1 for Sentinel-2 products of "
        "processing baseline 04.00 or later, from 2022 on)"
    )
    fault = (
        "has 8-bit numbers without a scale tag, as of a picture stretched for the eye; take the "
        "original image, or say what one number is worth"
        if dtype == np.uint8
        else "has whole numbers without a scale tag; say what one is worth"
    )
    raise MinsegError(f"{source.name}: {band} {fault} in {worth}")
