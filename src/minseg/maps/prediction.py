"""From image files to a class map and its polygons, row by row, from where it was interrupted."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from minseg.atomic import cannot_write, hold, require_writable, write_text
from minseg.data.images import ImageReading
from minseg.data.labels import Task
from minseg.data.raster import (
    CACHE_BYTES,
    HTTP_OPTIONS,
    ConnectionFailedError,
    RowFile,
    place_of,
    to_cloud_optimized,
)
from minseg.data.stack import ImageFile, ImageStack, open_stack
from minseg.errors import MinsegError
from minseg.learning.device import keep_freed_memory
from minseg.learning.tiling import Predictor, Strip, Tiling, predict_strips, tile_starts
from minseg.maps.class_map import (
    GEOTIFF_SUFFIXES,
    ClassMap,
    begin_class_map,
    category_names,
    read_class_map,
    values_present,
    write_task_style,
)
from minseg.maps.cleaning import Cleaning, clean
from minseg.maps.polygons import require_geopackage, vectorise, write_polygons
from minseg.progress import progress

PROBABILITY_SCALE = 1e-4
"""Probability of one unit of a probability raster."""

PROBABILITY_NODATA = 65535
"""Value of pixels without data in a probability raster."""

CLASSES, CLEANED, PROBABILITIES = "classes.tif", "cleaned.tif", "probabilities.tif"
"""Files of a work folder for rows."""

FINISHED = "finished.tif"
"""File of a work folder that is whole and only lacks its name."""

LOCK, NOTE = "lock", "progress.json"
"""Other files of a work folder."""


@dataclass(frozen=True)
class Products:
    """What was mapped and outlined."""

    class_map: ClassMap
    """In memory, one byte a pixel, or two."""
    polygons: geopandas.GeoDataFrame
    """See `minseg.maps.polygons.vectorise`."""


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
            if child.name != LOCK:
                child.unlink()


@contextmanager
def work_folder(output: Path) -> Iterator[WorkFolder]:
    """Lock a hidden folder beside a file to be made.

    The folder goes when the block ends well or by a `MinsegError`. It stays for the next program
    if this one is killed, interrupted, loses a connection, or fails in a way nobody foresaw.
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
        except ConnectionFailedError:
            raise
        except MinsegError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        else:
            shutil.rmtree(folder, ignore_errors=True)


def predict_raster(
    segmenter: Predictor,
    images: Path | str | ImageFile | Sequence[Path | str | ImageFile],
    output: Path,
    *,
    polygons: Path | None = None,
    probabilities: Path | None = None,
    cleaning: Cleaning | None = None,
    reading: ImageReading | None = None,
    tiling: Tiling | None = None,
    tell: Callable[[str], None] | None = None,
) -> Products | None:
    """Map the classes of an image, in memory that its size does not raise; outline its objects.

    One file, or files on one grid, are mapped on their exact grid; files on different grids are
    brought to one (`minseg.data.stack.common_grid`). Killed or interrupted work is taken up where
    it was by the next call with the same arguments, and ends in the same bytes. The cleaning may
    be another one then. None of the files has its name before the map is whole and cleaned.

    Parameters
    ----------
    segmenter : Predictor
        A run's `Segmenter`, or an exported model (`minseg.study.export`).
    images : Path, str or ImageFile, or a sequence of them
        Files that together have the model's bands, in any order. What is no path but known to
        GDAL (``https://…``, ``s3://…``, ``/vsizip/…``) is read where it is; work on it that was
        interrupted goes on if name and grid are the same.
    output : Path
        GeoTIFF to write: uint8 class numbers, 255 = no data, with a colour table; GDAL keeps the
        class names beside it in ``<output>.aux.xml``. Of classes that may overlap uint16: bit k =
        class k of Table 1, 65535 = no data. A QGIS style (``.qml``) lies beside it too.
    polygons : Path, optional
        GeoPackage to write; see `minseg.maps.polygons.write_polygons`.
    probabilities : Path, optional
        GeoTIFF to write: uint16, one band an output (the classes, and the background of
        exclusive ones), scale 0.0001, 65535 = no data; before cleaning.
    cleaning : Cleaning, optional
        A map that is cleaned is held in memory.
    reading : ImageReading, optional
    tiling : Tiling, optional
    tell : callable, optional
        Takes a line about interrupted work that goes on.

    Returns
    -------
    Products or None
        None where no polygons are asked for.

    Raises
    ------
    MinsegError
        If an image cannot be read, is nowhere, lacks bands, holds no reflectance or no data,
        or if an output cannot be written, is being written, or would replace an image.
    """
    reading, tiling = reading or ImageReading(), tiling or Tiling()
    files = _image_files(images)
    require_outputs([file.path for file in files], output, probabilities, polygons)
    keep_freed_memory()
    with ExitStack() as stack:
        asking = {name: HTTP_OPTIONS[name] for name in HTTP_OPTIONS if name not in os.environ}
        threads = "ALL_CPUS"
        stack.enter_context(
            rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS=threads, **asking)
        )
        image = stack.enter_context(open_stack(files, segmenter.bands, reading))
        work = stack.enter_context(work_folder(output))
        classes = RowFile(work.path / CLASSES, output)
        layers = RowFile(work.path / PROBABILITIES, output) if polygons else None
        if probabilities:
            beside = stack.enter_context(work_folder(probabilities))
            layers = RowFile(beside.path / PROBABILITIES, probabilities)
        made_of = {  # all that the rows depend on: with anything else they are made anew
            "minseg": version("minseg"),
            "torch": torch.__version__,
            "model": segmenter.digest(),
            "images": [[*_content(file.path), file.bands] for file in files],
            "grid": [image.grid.height, image.grid.width, *image.grid.transform],
            "crs": image.grid.crs.to_wkt() if image.grid.crs else None,
            "reading": asdict(reading),
            "tiling": asdict(tiling),
            "probabilities": layers and str(layers.path.resolve()),
        }
        try:
            if not _predict_rows(segmenter, image, tiling, work, classes, layers, made_of, tell):
                where = ", ".join(str(file.path) for file in files)
                raise MinsegError(f"{where}: no valid pixel (all nodata or NaN); nothing to map")
            made, copied = _finish(segmenter.task, classes, cleaning), None
            if layers and probabilities:
                copied = layers.path.with_name(FINISHED)
                to_cloud_optimized(layers.path, copied, named=probabilities)
            products = None
            if layers and polygons:
                class_map = read_class_map(made)
                products = Products(class_map, vectorise(class_map, layers.path))
                write_polygons(products.polygons, polygons, segmenter.task)
            values = values_present(made) if segmenter.task.overlapping else None
            write_task_style(output.with_suffix(".qml"), segmenter.task, values)
            if copied and probabilities:
                copied.replace(probabilities)
                # Statistics that another program kept of an older file.
                Path(f"{probabilities}.aux.xml").unlink(missing_ok=True)
            names, named = Path(f"{made}.aux.xml"), Path(f"{output}.aux.xml")
            names.replace(named) if names.exists() else named.unlink(missing_ok=True)
            made.replace(output)
        except OSError as error:
            raise cannot_write(output, error) from None
    return products


def require_outputs(
    images: Sequence[Path | str],
    output: Path,
    probabilities: Path | None = None,
    polygons: Path | None = None,
) -> None:
    """Refuse files of `predict_raster` that cannot be written, before any work is done."""
    local = [path for path in images if isinstance(path, Path)]
    outputs = [path for path in (output, probabilities) if path is not None]
    for path in outputs:
        if path.suffix.lower() not in GEOTIFF_SUFFIXES and not path.is_dir():
            raise MinsegError(
                f"{path}: is written as a GeoTIFF; name it {path.with_suffix('.tif')}"
            )
    places = {path.resolve() for path in outputs}
    if places & {path.resolve() for path in local} or len(places) < len(outputs):
        raise MinsegError(
            f"{output}: image, classes and probabilities need a file each; name another output"
        )
    for path in (*outputs, Path(f"{output}.aux.xml"), output.with_suffix(".qml")):
        require_writable(path)
    if polygons is not None:
        require_geopackage(polygons, output, probabilities, *local)
        require_writable(polygons.with_suffix(".qml"))
    styled = {path.resolve().with_suffix(".qml"): path for path in (output, polygons) if path}
    for other in filter(None, (*local, probabilities)):
        if made := styled.get(other.resolve().with_suffix(".qml")):
            raise MinsegError(
                f"{made}: its style {made.stem}.qml would be that of {other.name} too; name it "
                f"e.g. {made.with_stem(f'{made.stem}_map')}"
            )


def _image_files(
    images: Path | str | ImageFile | Sequence[Path | str | ImageFile],
) -> tuple[ImageFile, ...]:
    """Bring what may be given as images to one form."""
    given = [images] if isinstance(images, str | Path | ImageFile) else images
    files = (image if isinstance(image, ImageFile) else ImageFile(image) for image in given)
    return tuple(replace(file, path=place_of(file.path)) for file in files)


def _content(path: Path | str) -> list:
    """Return what tells whether a file is the same; of one elsewhere its name alone does."""
    if isinstance(path, str):
        return [path]
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _predict_rows(
    segmenter: Predictor,
    image: ImageStack,
    tiling: Tiling,
    work: WorkFolder,
    classes: RowFile,
    layers: RowFile | None,
    made_of: Mapping[str, Any],
    tell: Callable[[str], None] | None,
) -> bool:
    """Predict the rows of an image that are not in its files yet; tell if it has any data."""
    done = work.progress(made_of)
    if not done or not all(rows.path.exists() for rows in (classes, layers) if rows):
        done = {"rows": 0, "has_data": False}
        work.clear()
        begin_class_map(classes, image.grid, segmenter.task)
        if layers:
            names = segmenter.task.output_names
            layers.begin(image.grid, np.uint16, PROBABILITY_NODATA, names, scale=PROBABILITY_SCALE)
    elif tell:
        tell(f"goes on at row {done['rows']} of {image.grid.height}, where it was interrupted")
    if done["rows"] < image.grid.height:
        segmenter = segmenter.for_maps()
    for strip in _strips(segmenter, image, tiling, done["rows"]):
        rows = strip.classes(segmenter.task)
        rows[~strip.valid] = segmenter.task.ignore
        classes.keep(strip.row, rows[np.newaxis])
        if layers:
            layers.keep(strip.row, _probability_rows(strip))
        has_data = bool(done["has_data"] or strip.valid.any())
        done = {"rows": strip.row + len(strip.valid), "has_data": has_data}
        work.note(made_of, done)
    return done["has_data"]


def _strips(
    segmenter: Predictor, image: ImageStack, tiling: Tiling, first_row: int
) -> Iterable[Strip]:
    """Predict strip by strip from a row on, under a progress bar."""

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        values, valid = image.read(window)
        return segmenter.prepare(values, valid), valid

    grid = image.grid
    strips = predict_strips(segmenter, read, grid.height, grid.width, tiling, first_row)
    starts = tile_starts(grid.height, tiling.tile, tiling.overlap, segmenter.stride)
    return progress(strips, "predicting", len(starts), sum(row < first_row for row in starts))


def _probability_rows(strip: Strip) -> np.ndarray:
    """Return the stored probabilities of a strip: uint16 (outputs, rows, width)."""
    scaled = (strip.probabilities / PROBABILITY_SCALE).round().cpu().numpy().astype(np.uint16)
    scaled[:, ~strip.valid] = PROBABILITY_NODATA
    return scaled


def _finish(task: Task, classes: RowFile, cleaning: Cleaning | None) -> Path:
    """Make a whole class map, cleaned, of rows that are all there; as predicted they stay.

    Cleaned rows have a file of their own: the others outlive a kill in the meantime.
    """
    if cleaning and cleaning != Cleaning():
        cleaned = clean(read_class_map(classes.path), cleaning)
        classes = RowFile(classes.path.with_name(CLEANED), classes.named)
        begin_class_map(classes, cleaned.grid, cleaned.task)
        classes.keep(0, cleaned.classes[np.newaxis])
    finished = classes.path.with_name(FINISHED)
    to_cloud_optimized(
        classes.path, finished, category_names=category_names(task), named=classes.named
    )
    return finished
