"""A class map: GeoTIFF of class numbers or bits, read and written, and its QGIS style (.qml)."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from jinja2 import Environment, FileSystemLoader
from PIL.ImageColor import getrgb
from rasterio.errors import RasterioIOError

from minseg.atomic import require_writable, write_text
from minseg.data.labels import CLASS_NAMES, IGNORE, Task, parse_task, task_target, uppermost
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

FILL_ALPHA = 140
"""Opacity of a polygon's fill, of 255: the image below shows through."""

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""Templates of this room; other rooms have theirs by another loader, read alike."""


@dataclass(frozen=True)
class ClassMap:
    """A class map held in memory."""

    classes: np.ndarray
    """Raster of the task (height, width), see `Task`; ignored where there are no data."""
    grid: Grid
    task: Task
    """What its numbers mean."""

    @property
    def missing(self) -> np.ndarray:
        """Return where it has no data: bool (height, width)."""
        return self.classes == self.task.ignore

    def layers(self) -> Iterator["ClassMap"]:
        """Yield maps whose classes exclude each other: this one, or one of each class."""
        if not self.task.overlapping:
            yield self
            return
        for name in self.task.class_names:
            layer = np.where(self.missing, IGNORE, self.task.mask(self.classes, name))
            yield ClassMap(layer.astype(np.uint8), self.grid, parse_task(name))

    def with_layers(self, layers: Iterable[np.ndarray]) -> "ClassMap":
        """Return this map with other classes, given as those of its `layers`."""
        if not self.task.overlapping:
            return replace(self, classes=next(iter(layers)))
        classes = np.where(self.missing, self.classes, 0)
        for name, layer in zip(self.task.class_names, layers, strict=True):
            classes[layer == 1] |= self.task.value(name)
        return replace(self, classes=classes)

    def uppermost(self) -> "ClassMap":
        """Return it as it is drawn: one class a pixel (`minseg.data.labels.uppermost`)."""
        classes, drawn = uppermost(self.classes, self.task)
        return ClassMap(classes, self.grid, drawn)


def read_class_map(path: Path) -> ClassMap:
    """Read a class map that `minseg predict` wrote; refuse what is none, or lies nowhere."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as source:
        grid, name = grid_of(source), source.tags().get(TASK_TAG, "")
        require_located(grid, path)
        if fault := _fault(source, name):
            raise MinsegError(
                f"{path}: is no class map ({fault}); take one as `minseg predict` wrote it"
            )
        task = parse_task(name)
        try:
            classes = source.read(1)  # alone: what is valid, its numbers say
            shown = read_dataset_mask(source)
        except RasterioIOError as error:
            raise MinsegError(f"{path}: damaged ({error}); predict the map again") from None
    if shown is not None:  # another program has cut it
        classes[~shown] = task.ignore
    if task.overlapping:
        stray, among = classes[classes != task_target(classes, task)].max(initial=0), "their bits"
    else:
        highest = int((classes + np.uint8(1)).max()) - 1  # 255, no data, comes to 0
        stray, among = highest * (highest >= task.num_classes), f"0 … {task.num_classes - 1}"
    if stray:
        raise MinsegError(
            f"{path}: holds {stray}, which is no class of {task.name} ({among}); "
            "predict the map again"
        )
    return ClassMap(classes, grid, task)


def _fault(source: rasterio.DatasetReader, name: str) -> str | None:
    """Say what makes a raster no class map, as another program may have left it; or None."""
    if not name:
        return f"tag {TASK_TAG} is missing"
    try:
        task = parse_task(name)
    except MinsegError as error:
        return f"tag {TASK_TAG}: {error}"
    kind = np.dtype(task.dtype).name
    if source.dtypes != (kind,):
        return f"has {source.count} band(s) of {source.dtypes[0]} for one of {kind}"
    if source.nodata not in (None, task.ignore):
        return f"its no data is {source.nodata:g} for {task.ignore}"
    return None


def values_present(path: Path) -> list[int]:
    """List the values of a class map's file but no data, in memory of one of its tiles."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as source:
        tiles = (source.read(1, window=window) for _, window in source.block_windows(1))
        present = {int(value) for tile in tiles for value in np.unique(tile)}
    return sorted(present - {source.nodata})


def write_class_map(path: Path, classes: np.ndarray, grid: Grid, task: Task) -> None:
    """Write a task's raster held in memory (height, width) as the same kind of GeoTIFF."""
    with scratch_folder(path) as scratch:
        rows = RowFile(Path(scratch) / "classes.tif", path)
        begin_class_map(rows, grid, task)
        rows.keep(0, classes[np.newaxis])
        to_cloud_optimized(rows.path, path, category_names=category_names(task), named=path)


def category_names(task: Task) -> tuple[str, ...]:
    """Return the names of a class map's numbers 0, 1, …; bits have none."""
    return () if task.overlapping else task.target_names


def scratch_folder(output: Path) -> tempfile.TemporaryDirectory:
    """Make a hidden folder beside the output, removed at the end whatever happens."""
    require_writable(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=f".{output.stem}.", dir=output.parent)


def begin_class_map(rows: RowFile, grid: Grid, task: Task) -> None:
    """Make a file for the rows of a class map."""
    tags = {TASK_TAG: task.name}
    colours = {}
    if task.overlapping:  # for who reads the file with another program
        tags |= {f"BIT_{CLASS_NAMES.index(name)}": name for name in task.class_names}
    else:  # opaque, as a TIFF keeps no transparency in its table
        levels = map(getrgb, task.target_colours)
        colours = {value: (*level[:3], 255) for value, level in enumerate(levels)}
    rows.begin(grid, task.dtype, task.ignore, ("class",), tags=tags, colours=colours)


def write_style(
    path: Path,
    field: str,
    categories: Mapping[str, tuple[str, str]],
    palette: Mapping[int, tuple[str, str]] | None = None,
) -> None:
    """Write a QGIS style that colours polygons by a field: value to label and colour.

    QGIS applies it by itself to a file of the same name beside it. A palette colours a class map.
    """
    text = TEMPLATES.get_template("style.qml").render(
        field=field,
        categories=categories,
        palette=palette,
        rgb=lambda colour: ",".join(map(str, getrgb(colour)[:3])),
        fill_alpha=FILL_ALPHA,
    )
    write_text(path, f"{text}\n")


def write_task_style(path: Path, task: Task, values: Iterable[int] | None = None) -> None:
    """Write the QGIS style of a task's polygons and of its class map, for the values it has.

    One file serves both, so that ``mine.tif`` and ``mine.gpkg`` may lie side by side. The map's
    background is transparent, and no data always are.
    """
    classes = zip(task.target_names[1:], task.target_colours[1:], strict=True)
    values = range(0 if task.overlapping else task.num_classes) if values is None else values
    categories = {name: (name, colour) for name, colour in classes}
    write_style(path, "class", categories, {value: task.legend(value) for value in values})
