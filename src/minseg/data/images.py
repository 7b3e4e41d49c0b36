"""A user's image file as reflectance and dB: bands by name in any order, scale, offset, nodata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import rasterio
from rasterio.windows import Window

from minseg.data.bands import BANDS, band_name
from minseg.data.raster import read_window
from minseg.errors import MinsegError


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

    @classmethod
    def of(
        cls,
        source: rasterio.DatasetReader,
        bands: Sequence[str] | None = None,
        scale: float | None = None,
        offset: float | None = None,
        nodata: float | None = None,
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

        Returns
        -------
        Image

        Raises
        ------
        MinsegError
            If bands are missing, or whole numbers come without a scale.
        """
        indexes = _band_indexes(source, bands)
        optical = [index for band, index in indexes.items() if not BANDS[band].is_radar]
        first = optical[0] - 1 if optical else 0
        if scale is None:
            scale = source.scales[first]
            if optical and scale == 1.0 and np.dtype(source.dtypes[first]).kind in "ui":
                raise MinsegError(
                    f"{source.name}: whole numbers without a scale tag; say what one is worth in "
                    "reflectance, e.g. --scale 1e-4"
                )
        return cls(
            source, indexes, scale, source.offsets[first] if offset is None else offset, nodata
        )

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
            Reflectance of optical bands; radar as the file has it.
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


def _band_indexes(source: rasterio.DatasetReader, wanted: Sequence[str] | None) -> dict[str, int]:
    """Find the file's band numbers by name, or by position where it names none."""
    named = {
        name: index
        for index, text in enumerate(source.descriptions, 1)
        if text is not None and (name := band_name(text))
    }
    if not named:
        if wanted is None or len(wanted) != source.count:
            raise MinsegError(
                f"{source.name}: its {source.count} bands carry no names that we know; list them "
                "all in the file's order with --bands, e.g. --bands B02,B03,B04"
            )
        return {band: index for index, band in enumerate(wanted, 1)}
    missing = [band for band in wanted or () if band not in named]
    if missing:
        raise MinsegError(
            f"{source.name}: has no band {', '.join(missing)}; it has {', '.join(named)}"
        )
    return {band: index for band, index in named.items() if band in (wanted or BANDS)}
