"""From image files to what goes into a GIS: a class map, and its objects as polygons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas

from minseg.atomic import require_writable
from minseg.data.images import ImageReading
from minseg.data.stack import ImageFile
from minseg.learning.inference import Segmenter
from minseg.maps import prediction
from minseg.maps.class_map import ClassMap, read_class_map
from minseg.maps.cleaning import Cleaning
from minseg.maps.polygons import require_geopackage, vectorise, write_polygons
from minseg.maps.prediction import predicting
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
    tell: Callable[[str], None] | None = None,
) -> None:
    """Map the classes of an image, clean the map, and write a QGIS style beside it.

    None of the files has its name before the map is whole and cleaned.

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
    tell : callable, optional
        Takes a line about interrupted work that goes on.

    Raises
    ------
    MinsegError
        If an image cannot be used, or an output cannot be written.
    """
    require_outputs(_paths(images), output, probabilities)
    with predicting(
        segmenter,
        images,
        output,
        probabilities=probabilities,
        cleaning=cleaning,
        reading=reading,
        tell=tell,
    ):
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
    tell: Callable[[str], None] | None = None,
) -> Products:
    """Map the classes of an image and outline its objects, cleaned alike.

    None of the files has its name before the map is whole and cleaned.

    Parameters
    ----------
    segmenter, images, output, probabilities, cleaning, reading, tell
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
    require_outputs(_paths(images), output, probabilities, polygons)
    with predicting(
        segmenter,
        images,
        output,
        probabilities=probabilities,
        with_probabilities=True,
        cleaning=cleaning,
        reading=reading,
        tell=tell,
    ) as made:
        class_map = read_class_map(made.classes)
        found = vectorise(class_map, made.probabilities)
        write_polygons(found, polygons, segmenter.task)
        write_task_style(output.with_suffix(".qml"), segmenter.task)
    return Products(class_map, found)


def require_outputs(
    images: Sequence[Path],
    output: Path,
    probabilities: Path | None = None,
    polygons: Path | None = None,
) -> None:
    """Refuse files that cannot be written, before a model is loaded or any work is done.

    Parameters
    ----------
    images : sequence of Path
        What is predicted.
    output, probabilities, polygons : Path
        See `write_map` and `write_products`.

    Raises
    ------
    MinsegError
        If a name has the wrong ending, cannot be written, or is that of another file.
    """
    prediction.require_outputs(images, output, probabilities)
    require_writable(output.with_suffix(".qml"))
    if polygons is not None:
        require_geopackage(polygons, output, probabilities, *images)
        require_writable(polygons.with_suffix(".qml"))


def _paths(images: Sequence[ImageFile]) -> list[Path]:
    """Return where images lie."""
    return [image.path for image in images]
