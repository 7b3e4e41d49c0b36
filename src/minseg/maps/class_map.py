"""A class map: GeoTIFF of class numbers with colours and class names; writing and reading it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from matplotlib.colors import to_rgb
from rasterio.errors import RasterioIOError

from minseg.atomic import require_writable
from minseg.data.labels import IGNORE, Task, parse_task
from minseg.data.raster import (
    CACHE_BYTES,
    Grid,
    RowFile,
    grid_of,
    open_raster,
    read_dataset_mask,
    require_located,
    to_cloud_optimized,
)
from minseg.errors import MinsegError

TASK_TAG = "MINSEG_TASK"
"""Tag inside a class map that names its task."""

GEOTIFF_SUFFIXES = (".tif", ".tiff")
"""What the name of a map may end in."""


@dataclass(frozen=True)
class ClassMap:
    """A class map held in memory."""

    classes: np.ndarray
    """uint8 (height, width): 0 background, 1 … the task's classes, 255 no data."""
    grid: Grid
    task: Task
    """What its numbers mean."""


def read_class_map(path: Path) -> ClassMap:
    """Read a class map that `minseg predict` wrote; refuse what is none, or lies nowhere."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as source:
        grid, name = grid_of(source), source.tags().get(TASK_TAG)
        require_located(grid, path)
        if fault := _fault(source):
            raise MinsegError(
                f"{path}: is no class map ({fault}); take one as `minseg predict` wrote it"
            )
        try:
            classes = source.read(1)  # alone: what is valid, its numbers say
            shown = read_dataset_mask(source)
        except RasterioIOError as error:
            raise MinsegError(f"{path}: damaged ({error}); predict the map again") from None
    if shown is not None:  # another program has cut it
        classes[~shown] = IGNORE
    task = parse_task(name)
    highest = int((classes + np.uint8(1)).max()) - 1  # 255, no data, comes to 0
    if highest >= task.num_classes:
        raise MinsegError(
            f"{path}: holds {highest}, which is no class of {task.name} "
            f"(0 … {task.num_classes - 1}); predict the map again"
        )
    return ClassMap(classes, grid, task)


def _fault(source: rasterio.DatasetReader) -> str | None:
    """Say what makes a raster no class map, as another program may have left it; or None."""
    if TASK_TAG not in source.tags():
        return f"tag {TASK_TAG} is missing"
    if source.dtypes != ("uint8",):
        return f"has {source.count} band(s) of {source.dtypes[0]} for one of uint8"
    if source.nodata not in (None, IGNORE):
        return f"its no data is {source.nodata:g} for {IGNORE}"
    return None


def write_class_map(path: Path, classes: np.ndarray, grid: Grid, task: Task) -> None:
    """Write class numbers held in memory, uint8 (height, width), as the same kind of GeoTIFF."""
    with scratch_folder(path) as scratch:
        rows = RowFile(Path(scratch) / "classes.tif", path)
        begin_class_map(rows, grid, task)
        rows.keep(0, classes[np.newaxis])
        to_cloud_optimized(rows.path, path, category_names=task.target_names, named=path)


def class_colours(task: Task) -> dict[int, tuple[int, int, int, int]]:
    """Return the colour table of a class map; opaque, since a TIFF keeps no transparency in it."""
    table = {}
    for value, colour in enumerate(task.target_colours):
        red, green, blue = (round(255 * level) for level in to_rgb(colour))
        table[value] = (red, green, blue, 255)
    return table


def scratch_folder(output: Path) -> tempfile.TemporaryDirectory:
    """Make a hidden folder beside the output, removed at the end whatever happens."""
    require_writable(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=f".{output.stem}.", dir=output.parent)


def begin_class_map(rows: RowFile, grid: Grid, task: Task) -> None:
    """Make a file for the rows of a class map."""
    tags = {TASK_TAG: task.name}
    rows.begin(grid, np.uint8, IGNORE, ("class",), tags=tags, colours=class_colours(task))
