"""From image files to what goes into a GIS: a class map, and its objects as polygons."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas

from minseg.data.images import ImageReading
from minseg.data.stack import ImageFile
from minseg.learning.inference import Segmenter
from minseg.maps.class_map import ClassMap, read_class_map
from minseg.maps.cleaning import Cleaning, clean_file
from minseg.maps.polygons import require_geopackage, vectorise, write_polygons
from minseg.maps.prediction import predict_raster
from minseg.maps.styles import write_task_style


@dataclass(frozen=True)
class Products:
    """What was mapped and outlined."""

    class_map: ClassMap
    polygons: geopandas.GeoDataFrame
    """See `minseg.maps.polygons.vectorise`."""


def write_map(
    segmenter: Segmenter,
    images: Sequence[ImageFile],
    output: Path,
    *,
    probabilities: Path | None = None,
    cleaning: Cleaning | None = None,
    reading: ImageReading | None = None,
) -> None:
    """Map the classes of an image, clean the map, and write a QGIS style beside it.

    Parameters
    ----------
    segmenter : Segmenter
    images : sequence of ImageFile
        Files that together have the model's bands, in any order.
    output : Path
        GeoTIFF of classes to write; see `minseg.maps.prediction.predict_raster`.
    probabilities : Path, optional
        GeoTIFF of class probabilities to write, before any cleaning.
    cleaning : Cleaning, optional
        A map that is cleaned is held in memory.
    reading : ImageReading, optional

    Raises
    ------
    MinsegError
        If an image cannot be used, or an output cannot be written.
    """
    predict_raster(segmenter, images, output, probabilities=probabilities, reading=reading)
    if cleaning and cleaning != Cleaning():
        clean_file(output, cleaning)
    write_task_style(output.with_suffix(".qml"), segmenter.task)


def write_products(
    segmenter: Segmenter,
    images: Sequence[ImageFile],
    output: Path,
    polygons: Path,
    *,
    probabilities: Path | None = None,
    cleaning: Cleaning | None = None,
    reading: ImageReading | None = None,
) -> Products:
    """Map the classes of an image and outline its objects, cleaned alike.

    Parameters
    ----------
    segmenter, images, output, probabilities, cleaning, reading
        See `write_map`.
    polygons : Path
        GeoPackage to write; see `minseg.maps.polygons.write_polygons`.

    Returns
    -------
    Products
        The class map is held in memory, one byte a pixel.

    Raises
    ------
    MinsegError
        If an image cannot be used, or an output cannot be written.
    """
    require_geopackage(polygons, output, probabilities, *(image.path for image in images))
    # Under a name that stays: interrupted work goes on with the same one.
    kept = probabilities or polygons.with_name(f".{polygons.stem}.probabilities.tif")
    try:
        write_map(segmenter, images, output, probabilities=kept, cleaning=cleaning, reading=reading)
        class_map = read_class_map(output)
        found = vectorise(class_map, kept)
        write_polygons(found, polygons, segmenter.task)
    finally:
        if kept != probabilities:
            kept.unlink(missing_ok=True)
    return Products(class_map, found)
