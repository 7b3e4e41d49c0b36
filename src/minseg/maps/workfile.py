"""Rows of a raster as they are made: a plain file that is written in place, and checked."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from minseg.atomic import cannot_write, hold, require_writable, write_text
from minseg.data.raster import Grid, raster_profile, writing
from minseg.errors import MinsegError


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
        """Make the file, filled with no data: a full disk shows now."""
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
        """Write rows (bands, rows, width), close the file, and make sure that they are in it."""
        window = Window(0, row, rows.shape[2], rows.shape[1])
        with writing(self.named, self.path):
            with rasterio.open(self.path, "r+") as target:
                target.write(rows, window=window)
            with rasterio.open(self.path) as source:
                kept = source.read(window=window)
            if not np.array_equal(kept, rows):  # GDAL says nothing where its last write fails
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


LOCK = "lock"
NOTE = "progress.json"


@dataclass(frozen=True)
class WorkFolder:
    """A hidden folder beside the file to be made, which this program alone works in."""

    path: Path

    def progress(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return how far an interrupted program came with a task; empty, as the folder, if anew.

        A task is all that the result depends on, as JSON holds it.
        """
        try:
            note = json.loads((self.path / NOTE).read_text(encoding="utf-8"))
            if note["task"] == json.loads(json.dumps(task)):
                return note["progress"]
        except (OSError, ValueError, KeyError, TypeError):  # there is no note, or it is damaged
            pass
        self.clear()
        return {}

    def note(self, task: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
        """Note how far a task is; what is noted must be on disk already."""
        write_text(self.path / NOTE, json.dumps({"task": task, "progress": progress}, indent=1))

    def clear(self) -> None:
        """Throw away what lies in the folder."""
        for child in self.path.iterdir():
            if child.is_dir():
                shutil.rmtree(child)
            elif child.name != LOCK:
                child.unlink()


@contextmanager
def work_folder(output: Path) -> Iterator[WorkFolder]:
    """Lock a hidden folder beside a file to be made.

    The folder goes when the block ends well or by a `MinsegError`. It stays for the next program
    if this one is killed, interrupted, or fails in a way that nobody foresaw.
    """
    require_writable(output)
    folder = output.with_name(f".{output.name}.partial")
    held = f"{output}: another program is writing it now; wait for it, or name another output"
    try:
        lock = hold(folder / LOCK, held, wait=False)
    except OSError as error:
        raise cannot_write(output, error) from None
    with lock:
        try:
            yield WorkFolder(folder)
        except MinsegError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        else:
            shutil.rmtree(folder, ignore_errors=True)
