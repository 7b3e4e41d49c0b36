"""An image file of any size → a class map: Cloud-Optimized GeoTIFF with colours and class names."""

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from matplotlib.colors import to_rgb
from rasterio.windows import Window

from minseg.data.bands import BANDS
from minseg.data.images import Image
from minseg.data.labels import IGNORE, Task
from minseg.data.radiometry import require_reflectance
from minseg.data.raster import (
    Grid,
    grid_of,
    open_raster,
    raster_profile,
    require_located,
    to_cloud_optimized,
)
from minseg.errors import MinsegError
from minseg.learning.inference import Segmenter
from minseg.learning.tiling import Strip, Tiling, predict_strips, tile_starts
from minseg.progress import progress

PROBABILITY_SCALE = 1e-4
"""Probability of one unit of a probability raster."""

PROBABILITY_NODATA = 65535
"""Value of pixels without data in a probability raster."""

GDAL_CACHE_BYTES = 256 * 2**20
"""Bound on GDAL's block cache, which by default grows to a share of all memory."""

SAMPLE_SIDE = 512
"""Images up to this side, pixels, are checked whole before the work; larger ones by samples."""


@dataclass(frozen=True)
class ImageReading:
    """What the numbers of an image mean, where its own tags do not say."""

    bands: tuple[str, ...] | None = None
    """Bands in the file's order, where it does not name them."""
    scale: float | None = None
    """Reflectance of one digital number."""
    offset: float | None = None
    """Reflectance at digital number zero."""
    nodata: float | None = None
    """Digital number of missing pixels."""


def predict_raster(
    segmenter: Segmenter,
    image_path: Path,
    output: Path,
    *,
    probabilities: Path | None = None,
    reading: ImageReading | None = None,
    tiling: Tiling | None = None,
) -> None:
    """Map the classes of an image on its exact grid, in memory that its size does not raise.

    Parameters
    ----------
    segmenter : Segmenter
    image_path : Path
        Raster with the model's bands by name, in any order; radar in dB.
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
        If the image cannot be read, is nowhere, lacks bands, holds no reflectance or no data,
        or if an output cannot be written or would replace the image.
    """
    reading = reading or ImageReading()
    _require_apart(image_path, output, probabilities)
    with (
        rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES, GDAL_NUM_THREADS="ALL_CPUS"),
        open_raster(image_path) as source,
        _scratch_folder(output) as scratch,
        _scratch_folder(probabilities or output) as probability_scratch,
    ):
        grid = grid_of(source)
        require_located(grid, image_path)
        image = _open_image(source, segmenter, reading)
        names = segmenter.task.target_names
        class_work = Path(scratch) / "classes.tif"
        probability_work = Path(probability_scratch) / "probabilities.tif"
        with ExitStack() as stack:
            class_rows = stack.enter_context(
                _work_raster(class_work, grid, np.uint8, IGNORE, ("class",))
            )
            if probabilities is not None:
                probability_rows = stack.enter_context(
                    _work_raster(probability_work, grid, np.uint16, PROBABILITY_NODATA, names)
                )
            has_data = False
            for strip in _strips(segmenter, image, grid, tiling or Tiling()):
                has_data = has_data or bool(strip.valid.any())
                _write_rows(class_rows, strip.row, _class_rows(strip))
                if probabilities is not None:
                    _write_rows(probability_rows, strip.row, _probability_rows(strip))
        if not has_data:
            raise MinsegError(f"{image_path}: no valid pixel (all nodata or NaN); nothing to map")
        if probabilities is not None:
            to_cloud_optimized(probability_work, probabilities)
        to_cloud_optimized(
            class_work,
            output,
            category_names=names,
            colours=class_colours(segmenter.task),
        )


def write_class_map(path: Path, classes: np.ndarray, grid: Grid, task: Task) -> None:
    """Write class numbers held in memory as the same kind of GeoTIFF.

    Parameters
    ----------
    path : Path
    classes : uint8 ndarray (height, width)
    grid : Grid
    task : Task
    """
    with _scratch_folder(path) as scratch:
        work = Path(scratch) / "classes.tif"
        with _work_raster(work, grid, np.uint8, IGNORE, ("class",)) as target:
            _write_rows(target, 0, classes[np.newaxis])
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


def _require_apart(image: Path, output: Path, probabilities: Path | None) -> None:
    """Refuse an output that would replace the image or the other output."""
    paths = [path.resolve() for path in (image, output, probabilities) if path is not None]
    if len(set(paths)) < len(paths):
        raise MinsegError(
            f"{output}: image, classes and probabilities need a file each; name another output"
        )


def _scratch_folder(output: Path) -> tempfile.TemporaryDirectory:
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


def _open_image(
    source: rasterio.DatasetReader, segmenter: Segmenter, reading: ImageReading
) -> Image:
    """Find the model's bands in the image, and check a sample of its values."""
    needed = segmenter.statistics.bands
    image = Image.of(source, reading.bands, reading.scale, reading.offset, reading.nodata)
    missing = [band for band in needed if band not in image.indexes]
    if missing:
        raise MinsegError(
            f"{source.name}: the model needs band {', '.join(missing)} "
            f"and the image has {', '.join(image.indexes)}"
        )
    sample = image.sample([band for band in needed if not BANDS[band].is_radar], SAMPLE_SIDE)
    if sample.size:  # a radar image has none; few valid pixels may all be missed
        require_reflectance(sample, source.name)
    return image


def _strips(segmenter: Segmenter, image: Image, grid: Grid, tiling: Tiling) -> Iterable[Strip]:
    """Predict strip by strip under a progress bar."""
    bands = segmenter.statistics.bands

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        values, valid = image.read(bands, window)
        return segmenter.statistics.standardise(values, valid), valid

    strips = predict_strips(
        read,
        grid.height,
        grid.width,
        segmenter.probabilities,
        segmenter.task.num_classes,
        tiling,
        segmenter.device,
    )
    total = len(tile_starts(grid.height, tiling.tile, tiling.overlap))
    return progress(strips, "predicting", total)


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


def _work_raster(
    path: Path, grid: Grid, dtype: type, nodata: int, descriptions: tuple[str, ...]
) -> rasterio.io.DatasetWriter:
    """Open a plain GeoTIFF for rows: uncompressed, since it is copied once and dropped."""
    profile = raster_profile(grid, len(descriptions), np.dtype(dtype), nodata)
    for option in ("tiled", "blockxsize", "blockysize", "compress", "predictor"):
        del profile[option]
    target = rasterio.open(path, "w", **profile)
    target.descriptions = descriptions
    if dtype == np.uint16:
        target.scales = (PROBABILITY_SCALE,) * len(descriptions)
    return target


def _write_rows(target: rasterio.io.DatasetWriter, row: int, rows: np.ndarray) -> None:
    """Write rows (bands, rows, width) from `row` on."""
    target.write(rows, window=Window(0, row, rows.shape[2], rows.shape[1]))
