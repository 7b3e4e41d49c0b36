"""Images of any size → a class map: Cloud-Optimized GeoTIFF with colours and class names."""

import errno
import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio._err import CPLE_BaseError
from rasterio.windows import Window

from minseg.data.cloud_optimized import to_cloud_optimized
from minseg.data.images import ImageReading
from minseg.data.labels import IGNORE
from minseg.data.stack import ImageFile, ImageStack, open_stack
from minseg.errors import MinsegError
from minseg.learning.inference import Segmenter
from minseg.learning.tiling import Strip, Tiling, predict_strips, tile_starts
from minseg.maps.class_map import class_colours, class_tags, work_raster, write_rows
from minseg.maps.unfinished import WorkFolder, work_folder
from minseg.progress import progress

__all__ = ["ImageFile", "ImageReading", "predict_raster"]

PROBABILITY_SCALE = 1e-4
"""Probability of one unit of a probability raster."""

PROBABILITY_NODATA = 65535
"""Value of pixels without data in a probability raster."""

GDAL_CACHE_BYTES = 256 * 2**20
"""Bound on GDAL's block cache, which by default grows to a share of all memory."""

CLASSES, PROBABILITIES, FINISHED = "classes.tif", "probabilities.tif", "finished.tif"
"""Files of a work folder: rows as they are made, and the map they become."""


def predict_raster(
    segmenter: Segmenter,
    images: Path | ImageFile | Sequence[Path | ImageFile],
    output: Path,
    *,
    probabilities: Path | None = None,
    reading: ImageReading | None = None,
    tiling: Tiling | None = None,
) -> None:
    """Map the classes of an image, in memory that its size does not raise.

    One file, or files on one grid, are mapped on their exact grid; files on different grids are
    brought to one (`minseg.data.stack.common_grid`). Killed or interrupted work is taken up where
    it was by the next call with the same arguments, and ends in the same bytes.

    Parameters
    ----------
    segmenter : Segmenter
    images : Path or ImageFile, or a sequence of them
        Files that together have the model's bands, in any order.
    output : Path
        GeoTIFF to write: uint8 class numbers, 255 = no data, with a colour table; GDAL keeps the
        class names beside it in ``<output>.aux.xml``.
    probabilities : Path, optional
        GeoTIFF to write: uint16, one band a class, scale 0.0001, 65535 = no data.
    reading : ImageReading, optional
    tiling : Tiling, optional

    Raises
    ------
    MinsegError
        If an image cannot be read, is nowhere, lacks bands, holds no reflectance or no data,
        or if an output cannot be written, is being written, or would replace an image.
    """
    reading, tiling = reading or ImageReading(), tiling or Tiling()
    files = _image_files(images)
    _require_apart(files, output, probabilities)
    bands = segmenter.statistics.bands
    with ExitStack() as stack:
        stack.enter_context(
            rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES, GDAL_NUM_THREADS="ALL_CPUS")
        )
        image = stack.enter_context(open_stack(files, bands, reading))
        work = stack.enter_context(work_folder(output))
        beside = stack.enter_context(work_folder(probabilities)) if probabilities else None
        made_of = _made_of(segmenter, files, image, probabilities, reading, tiling)
        try:
            has_data = _map_rows(segmenter, image, tiling, work, beside, made_of)
            if not has_data:
                where = ", ".join(str(file.path) for file in files)
                raise MinsegError(f"{where}: no valid pixel (all nodata or NaN); nothing to map")
            if probabilities and beside:
                to_cloud_optimized(beside.path / PROBABILITIES, beside.path / FINISHED)
            to_cloud_optimized(
                work.path / CLASSES,
                work.path / FINISHED,
                category_names=segmenter.task.target_names,
                colours=class_colours(segmenter.task),
            )
            if probabilities and beside:
                (beside.path / FINISHED).replace(probabilities)
            (work.path / f"{FINISHED}.aux.xml").replace(f"{output}.aux.xml")
            (work.path / FINISHED).replace(output)
        except (OSError, CPLE_BaseError) as error:
            raise MinsegError(
                f"{output}: cannot be written ({getattr(error, 'strerror', None) or error}); "
                "free some space, or name another folder"
            ) from None


def _image_files(images: Path | ImageFile | Sequence[Path | ImageFile]) -> tuple[ImageFile, ...]:
    """Bring what may be given as images to one form."""
    given = [images] if isinstance(images, str | Path | ImageFile) else images
    return tuple(file if isinstance(file, ImageFile) else ImageFile(Path(file)) for file in given)


def _require_apart(files: Sequence[ImageFile], output: Path, probabilities: Path | None) -> None:
    """Refuse an output that would replace an image or the other output."""
    outputs = [path.resolve() for path in (output, probabilities) if path is not None]
    if {*outputs} & {file.path.resolve() for file in files} or len({*outputs}) < len(outputs):
        raise MinsegError(
            f"{output}: image, classes and probabilities need a file each; name another output"
        )


def _made_of(
    segmenter: Segmenter,
    files: Sequence[ImageFile],
    image: ImageStack,
    probabilities: Path | None,
    reading: ImageReading,
    tiling: Tiling,
) -> dict[str, Any]:
    """Return all that the result depends on, to tell whether interrupted work may go on."""
    states = [file.path.stat() for file in files]
    return {
        "minseg": version("minseg"),
        "torch": torch.__version__,
        "model": _digest(segmenter),
        "images": [
            [str(file.path.resolve()), file.bands, state.st_size, state.st_mtime_ns]
            for file, state in zip(files, states, strict=True)
        ],
        "grid": [image.grid.height, image.grid.width, *image.grid.transform],
        "crs": image.grid.crs.to_wkt() if image.grid.crs else None,
        "reading": asdict(reading),
        "tiling": asdict(tiling),
        "probabilities": probabilities and str(probabilities.resolve()),
    }


def _digest(segmenter: Segmenter) -> str:
    """Return a hash of a model: its network, weights, statistics, task and precision."""
    digest = hashlib.sha256()
    parts = (segmenter.network, segmenter.statistics, segmenter.task, segmenter.precision)
    digest.update(repr((*parts, segmenter.device.type)).encode())
    for name, tensor in segmenter.network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _map_rows(
    segmenter: Segmenter,
    image: ImageStack,
    tiling: Tiling,
    work: WorkFolder,
    beside: WorkFolder | None,
    made_of: dict[str, Any],
) -> bool:
    """Write the rows that are not there yet; return whether the image has any data."""
    classes = work.path / CLASSES
    probabilities = beside.path / PROBABILITIES if beside else None
    done = work.progress(made_of)
    if not done or not classes.exists() or not (probabilities is None or probabilities.exists()):
        done = {"rows": 0, "has_data": False}
        _begin(segmenter, image, work, beside)
    else:
        print(
            f"goes on at row {done['rows']} of {image.grid.height}, where it was interrupted",
            file=sys.stderr,
        )
    for strip in _strips(segmenter, image, tiling, done["rows"]):
        _keep_rows(classes, strip.row, _class_rows(strip))
        if probabilities:
            _keep_rows(probabilities, strip.row, _probability_rows(strip))
        has_data = bool(done["has_data"] or strip.valid.any())
        done = {"rows": strip.row + len(strip.valid), "has_data": has_data}
        work.note(made_of, done)
    return done["has_data"]


def _begin(
    segmenter: Segmenter, image: ImageStack, work: WorkFolder, beside: WorkFolder | None
) -> None:
    """Make the files for the rows.

    Closing fills them with no data. So a full disk shows now, and rows are written in place.
    """
    task, grid = segmenter.task, image.grid
    work.clear()
    made = [work_raster(work.path / CLASSES, grid, np.uint8, IGNORE, ("class",), class_tags(task))]
    if beside:
        beside.clear()
        path, names = beside.path / PROBABILITIES, task.target_names
        made.append(work_raster(path, grid, np.uint16, PROBABILITY_NODATA, names))
        made[-1].scales = (PROBABILITY_SCALE,) * len(names)
    for target in made:
        needed = grid.height * grid.width * sum(np.dtype(dtype).itemsize for dtype in target.dtypes)
        target.close()
        if Path(target.name).stat().st_size < needed:  # GDAL does not always say so
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _keep_rows(path: Path, row: int, rows: np.ndarray) -> None:
    """Write rows to a file of ours, closed again, and make sure that they are in it."""
    with rasterio.open(path, "r+") as target:
        write_rows(target, row, rows)
    with rasterio.open(path) as source:
        kept = source.read(window=Window(0, row, rows.shape[2], rows.shape[1]))
    if not np.array_equal(kept, rows):  # GDAL says nothing where its last write fails
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _strips(
    segmenter: Segmenter, image: ImageStack, tiling: Tiling, first_row: int
) -> Iterable[Strip]:
    """Predict strip by strip from a row on, under a progress bar."""

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        values, valid = image.read(window)
        return segmenter.statistics.standardise(values, valid), valid

    strips = predict_strips(
        read,
        image.grid.height,
        image.grid.width,
        segmenter.probabilities,
        segmenter.task.num_classes,
        tiling,
        segmenter.device,
        first_row,
    )
    starts = tile_starts(image.grid.height, tiling.tile, tiling.overlap)
    return progress(strips, "predicting", len(starts), sum(row < first_row for row in starts))


def _class_rows(strip: Strip) -> np.ndarray:
    """Return the class numbers of a strip: uint8 (1, rows, width), 255 without data."""
    classes = strip.classes()
    classes[~strip.valid] = IGNORE
    return classes[np.newaxis]


def _probability_rows(strip: Strip) -> np.ndarray:
    """Return the stored probabilities of a strip: uint16 (num_classes, rows, width)."""
    scaled = (strip.probabilities / PROBABILITY_SCALE).round().cpu().numpy().astype(np.uint16)
    scaled[:, ~strip.valid] = PROBABILITY_NODATA
    return scaled
