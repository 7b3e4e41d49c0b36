"""Rows of a raster as they are made: a plain file that is written in place, and checked."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from minseg.data.raster import Grid, raster_profile, writing


@dataclass(frozen=True)
class RowFile:
    """A file for the rows of a raster, uncompressed since it is copied once and dropped."""

    path: Path
    """Where it lies."""
    named: Path
    """The file that the user asked for, for errors to name."""

    def begin(
        self,
        grid: Grid,
        dtype: type,
        nodata: int,
        descriptions: tuple[str, ...],
        *,
        tags: Mapping[str, str] | None = None,
        scale: float | None = None,
    ) -> None:
        """Make the file, filled with no data: a full disk shows now.

        Parameters
        ----------
        grid : Grid
        dtype : numpy type
        nodata : int
        descriptions : tuple of str
            One name per band.
        tags : mapping of str to str, optional
            Of the file.
        scale : float, optional
            Factor that turns stored values into physical ones.

        Raises
        ------
        MinsegError
            If it cannot be written.
        """
        profile = raster_profile(grid, len(descriptions), np.dtype(dtype), nodata)
        for option in ("tiled", "blockxsize", "blockysize", "compress", "predictor"):
            del profile[option]
        with writing(self.named, self.path):
            with rasterio.open(self.path, "w", **profile) as target:
                target.descriptions = descriptions
                target.update_tags(**(tags or {}))
                if scale is not None:
                    target.scales = (scale,) * len(descriptions)
            needed = grid.height * grid.width * len(descriptions) * np.dtype(dtype).itemsize
            if self.path.stat().st_size < needed:  # GDAL does not always say so
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def keep(self, row: int, rows: np.ndarray) -> None:
        """Write rows, close the file, and make sure that they are in it.

        Parameters
        ----------
        row : int
            The first.
        rows : ndarray (bands, rows, width)

        Raises
        ------
        MinsegError
            If they cannot be written.
        """
        window = Window(0, row, rows.shape[2], rows.shape[1])
        with writing(self.named, self.path):
            with rasterio.open(self.path, "r+") as target:
                target.write(rows, window=window)
            with rasterio.open(self.path) as source:
                kept = source.read(window=window)
            if not np.array_equal(kept, rows):  # GDAL says nothing where its last write fails
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
