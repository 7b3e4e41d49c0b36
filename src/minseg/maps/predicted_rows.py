"""A network's answer for an image, row by row into files, from where it was interrupted."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from rasterio.windows import Window

from minseg.data.labels import IGNORE, Task
from minseg.data.raster import Grid
from minseg.data.stack import ImageStack
from minseg.learning.inference import Segmenter
from minseg.learning.tiling import Strip, Tiling, predict_strips, tile_starts
from minseg.maps.class_map import begin_class_map
from minseg.maps.rows import RowFile
from minseg.maps.unfinished import WorkFolder
from minseg.progress import progress

PROBABILITY_SCALE = 1e-4
"""Probability of one unit of a probability raster."""

PROBABILITY_NODATA = 65535
"""Value of pixels without data in a probability raster."""


def predict_rows(
    segmenter: Segmenter,
    image: ImageStack,
    tiling: Tiling,
    work: WorkFolder,
    classes: RowFile,
    layers: RowFile | None,
    made_of: Mapping[str, Any],
    tell: Callable[[str], None] | None,
) -> bool:
    """Predict the rows of an image that are not in its files yet.

    Parameters
    ----------
    segmenter : Segmenter
    image : ImageStack
    tiling : Tiling
    work : WorkFolder
        Keeps note of how far the work is.
    classes : RowFile
        For the class numbers.
    layers : RowFile or None
        For the probabilities, if they are wanted.
    made_of : mapping
        All that the rows depend on: with anything else they are made anew.
    tell : callable or None
        Takes a line about interrupted work that goes on.

    Returns
    -------
    bool
        Whether the image has any data.

    Raises
    ------
    MinsegError
        If the image cannot be read, or rows cannot be written.
    """
    done = work.progress(made_of)
    if not done or not all(rows.path.exists() for rows in (classes, layers) if rows):
        done = {"rows": 0, "has_data": False}
        work.clear()
        begin_class_map(classes, image.grid, segmenter.task)
        if layers:
            _begin_probabilities(layers, image.grid, segmenter.task)
    elif tell:
        tell(f"goes on at row {done['rows']} of {image.grid.height}, where it was interrupted")
    for strip in _strips(segmenter, image, tiling, done["rows"]):
        classes.keep(strip.row, _class_rows(strip))
        if layers:
            layers.keep(strip.row, _probability_rows(strip))
        has_data = bool(done["has_data"] or strip.valid.any())
        done = {"rows": strip.row + len(strip.valid), "has_data": has_data}
        work.note(made_of, done)
    return done["has_data"]


def _begin_probabilities(layers: RowFile, grid: Grid, task: Task) -> None:
    """Make the file for the rows of probabilities."""
    names, scale = task.target_names, PROBABILITY_SCALE
    layers.begin(grid, np.uint16, PROBABILITY_NODATA, names, scale=scale)


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
