"""A class map → polygons with class, area and mean probability, in a GeoPackage."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.features import shapes
from rasterio.windows import Window
from shapely.geometry import shape

from minseg.atomic import cannot_write, require_writable
from minseg.data.labels import Task
from minseg.data.raster import CACHE_BYTES, grid_of, open_raster, read_window
from minseg.errors import MinsegError
from minseg.maps.class_map import ClassMap, scratch_folder, write_task_style
from minseg.maps.regions import Components, find_components

LAYER = "polygons"
"""Name of the one layer of a GeoPackage."""

_STRIP_ROWS = 512
"""Rows of probabilities held in memory at once."""


def vectorise(class_map: ClassMap, probabilities: Path | None = None) -> geopandas.GeoDataFrame:
    """Outline the objects of a class map; those of classes that may overlap, class by class.

    An object is a set of pixels of one class joined by their sides (4-connected): pixels that
    meet at a corner only belong to two polygons, and every polygon is valid. The work takes about
    eight bytes of memory a pixel.

    Parameters
    ----------
    class_map : ClassMap
        Background and pixels without data are left out.
    probabilities : Path, optional
        Probability raster that `minseg.maps.prediction.predict_raster` wrote, on the same grid;
        read in strips.

    Returns
    -------
    geopandas.GeoDataFrame
        One row a polygon, in the raster's coordinate reference system and in the order of their
        first pixels from the top (of each overlapping class in turn): class (name), area_ha
        (hectares on the ground, whatever the projection; `minseg.maps.regions`), mean_probability
        (0 to 1: the mean over its pixels of the probability of its class; NaN without
        probabilities), geometry.

    Raises
    ------
    MinsegError
        If the probabilities are of another grid or task.
    """
    layers = [_outlined(layer, class_map.task, probabilities) for layer in class_map.layers()]
    return pd.concat([layer for layer in layers if len(layer)] or layers[:1], ignore_index=True)


def _outlined(
    class_map: ClassMap, task: Task, probabilities: Path | None
) -> geopandas.GeoDataFrame:
    """Outline the objects of a map without overlaps, a layer of one of a task."""
    components = find_components(class_map.classes)
    names = np.array(class_map.task.target_names, dtype=object)
    return geopandas.GeoDataFrame(
        {
            "class": pd.Series(names[components.classes], dtype=str),
            "area_ha": components.total(components.areas_ha(class_map.grid)),
            "mean_probability": _mean_probabilities(components, class_map, task, probabilities),
        },
        geometry=_outlines(components, class_map),
        crs=class_map.grid.crs,
    )


def write_polygons(frame: geopandas.GeoDataFrame, path: Path, task: Task) -> None:
    """Write polygons as a GeoPackage with one layer, and a QGIS style (``.qml``) beside it."""
    write_geopackage(frame, path)
    write_task_style(path.with_suffix(".qml"), task)


def write_geopackage(frame: geopandas.GeoDataFrame, path: Path) -> None:
    """Write polygons as the one layer of a GeoPackage; those without area are left out."""
    require_geopackage(path)
    frame = frame[(frame["area_ha"] > 0) & (shapely.area(frame.geometry.array) > 0)]
    with scratch_folder(path) as scratch:
        work = Path(scratch) / path.name
        try:
            # Version 1.4 makes older GIS programs warn and has nothing that is used here.
            frame.to_file(work, layer=LAYER, driver="GPKG", geometry_type="Polygon", VERSION="1.3")
            work.replace(path)
        except (RuntimeError, OSError) as error:  # pyogrio's errors are of the first kind
            raise cannot_write(path, error) from None


def require_geopackage(path: Path, *others: Path | None) -> None:
    """Refuse a name that is no GeoPackage's or another file's, or where nothing can be written."""
    if path.is_dir():
        raise MinsegError(f"{path}: is a folder; name a file, e.g. {path / 'polygons.gpkg'}")
    if path.suffix.lower() != ".gpkg":
        raise MinsegError(
            f"{path}: polygons are written as a GeoPackage; name it {path.with_suffix('.gpkg')}"
        )
    if path.resolve() in {other.resolve() for other in others if other}:
        raise MinsegError(f"{path}: is another file of this work; name another GeoPackage")
    require_writable(path)


def _outlines(components: Components, class_map: ClassMap) -> np.ndarray:
    """Return the outline of each component, a shapely polygon, in map coordinates."""
    outlines = np.empty(len(components.classes), dtype=object)
    numbers = components.paint(components.component + np.int32(1))  # 0 = none
    traced = shapes(numbers, mask=numbers > 0, connectivity=4, transform=class_map.grid.transform)
    for geometry, number in traced:
        outlines[int(number) - 1] = shape(geometry)
    return outlines


def _mean_probabilities(
    components: Components, class_map: ClassMap, task: Task, path: Path | None
) -> np.ndarray:
    """Return the mean probability of each component's own class; NaN where none is known."""
    if path is None:
        return np.full(len(components.classes), np.nan)
    height, width = components.shape
    sums, known = np.zeros(len(components.starts)), np.zeros(len(components.starts))
    # A strip of all bands, which a GeoTIFF decodes together; GDAL's default grows with the machine.
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), open_raster(path) as source:
        _require_probabilities(source, class_map, task)
        for row in range(0, height, _STRIP_ROWS):
            rows = min(_STRIP_ROWS, height - row)
            begin, end = np.searchsorted(components.starts, [row * width, (row + rows) * width])
            values = components.values[begin:end]
            starts = components.starts[begin:end] - row * width
            for value in np.unique(values[components.inside[begin:end]]):
                band = task.output_names.index(class_map.task.target_names[value]) + 1
                numbers, valid = read_window(source, [band], Window(0, row, width, rows))
                own = begin + np.flatnonzero(values == value)
                for of_run, pixels in ((sums, numbers[0] * valid), (known, valid)):
                    by_run = np.add.reduceat(pixels.ravel(), starts, dtype=np.float64)
                    of_run[own] = by_run[own - begin]
        scale = source.scales[0]
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is promised
        return components.total(sums) / components.total(known) * scale


def _require_probabilities(source: rasterio.DatasetReader, class_map: ClassMap, task: Task) -> None:
    """Refuse probabilities that are not those of the map."""
    names = task.output_names
    if source.descriptions != names or not grid_of(source).matches(class_map.grid):
        raise MinsegError(
            f"{source.name}: holds no probabilities of this map (bands {', '.join(names)} on its "
            "grid); write them together: `minseg predict --probabilities`"
        )
