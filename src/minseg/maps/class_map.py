"""A class map: GeoTIFF of class numbers with colours and class names; writing and reading it."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from matplotlib.colors import to_rgb
from rasterio.windows import Window

from minseg.data.cloud_optimized import to_cloud_optimized
from minseg.data.labels import IGNORE, Task, parse_task
from minseg.data.raster import (
    Grid,
    grid_of,
    open_raster,
    raster_profile,
    read_window,
    require_located,
)
from minseg.errors import MinsegError

TASK_TAG = "MINSEG_TASK"
"""Tag inside a class map that names its task."""


@dataclass(frozen=True)
class ClassMap:
    """A class map held in memory."""

    classes: np.ndarray
    """uint8 (height, width): 0 background, 1 … the task's classes, 255 no data."""
    grid: Grid
    task: Task
    """What its numbers mean."""


def read_class_map(path: Path) -> ClassMap:
    """Read a class map that `minseg predict` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ClassMap

    Raises
    ------
    MinsegError
        If the file is missing, is nowhere, or is no class map of this program.
    """
    with open_raster(path) as source:
        grid, name = grid_of(source), source.tags().get(TASK_TAG)
        require_located(grid, path)
        if name is None or source.count != 1 or source.dtypes[0] != "uint8":
            raise MinsegError(
                f"{path}: is no class map (tag {TASK_TAG} is missing); make one with "
                "`minseg predict`"
            )
        classes, _ = read_window(source, [1])
    return ClassMap(classes[0], grid, parse_task(name))


def write_class_map(path: Path, classes: np.ndarray, grid: Grid, task: Task) -> None:
    """Write class numbers held in memory as the same kind of GeoTIFF.

    Parameters
    ----------
    path : Path
    classes : uint8 ndarray (height, width)
    grid : Grid
    task : Task
    """
    with scratch_folder(path) as scratch:
        work = Path(scratch) / "classes.tif"
        with work_raster(work, grid, np.uint8, IGNORE, ("class",), class_tags(task)) as target:
            write_rows(target, 0, classes[np.newaxis])
        to_cloud_optimized(
            work, path, category_names=task.target_names, colours=class_colours(task)
        )


def class_colours(task: Task) -> dict[int, tuple[int, int, int, int]]:
    """Return the colour table of a class map; opaque, since a TIFF keeps no transparency in it."""
    table = {}
    for value, colour in enumerate(task.target_colours):
        red, green, blue = (round(255 * level) for level in to_rgb(colour))
        table[value] = (red, green, blue, 255)
    return table


def scratch_folder(output: Path) -> tempfile.TemporaryDirectory:
    """Make a hidden folder beside the output, removed at the end whatever happens."""
    if output.is_dir():
        raise MinsegError(f"{output}: is a folder; name a file to write, e.g. {output / 'map.tif'}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{output.stem}.", dir=output.parent)
    except OSError as error:
        raise MinsegError(
            f"{output}: cannot write here ({error.strerror}); choose a folder you may write to"
        ) from None


def work_raster(
    path: Path,
    grid: Grid,
    dtype: type,
    nodata: int,
    descriptions: tuple[str, ...],
    tags: Mapping[str, str] | None = None,
) -> rasterio.io.DatasetWriter:
    """Open a plain GeoTIFF for rows: uncompressed, since it is copied once and dropped."""
    profile = raster_profile(grid, len(descriptions), np.dtype(dtype), nodata)
    for option in ("tiled", "blockxsize", "blockysize", "compress", "predictor"):
        del profile[option]
    target = rasterio.open(path, "w", **profile)
    target.descriptions = descriptions
    target.update_tags(**(tags or {}))
    return target


def write_rows(target: rasterio.io.DatasetWriter, row: int, rows: np.ndarray) -> None:
    """Write rows (bands, rows, width) from `row` on."""
    target.write(rows, window=Window(0, row, rows.shape[2], rows.shape[1]))


def class_tags(task: Task) -> dict[str, str]:
    """Return what a class map says of itself inside the file, where no sidecar can get lost."""
    return {TASK_TAG: task.name}
