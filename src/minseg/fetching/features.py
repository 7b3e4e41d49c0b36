"""Features that people drew or listed: one guarded reader of every vector format of GDAL."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj.exceptions import CRSError, ProjError
from shapely.errors import GEOSException

from minseg.errors import MinsegError, summarise

_UNREADABLE = (DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError)


def read_features(
    path: Path, what: str, notes: list[str], layer: str | None = None
) -> gpd.GeoDataFrame:
    """Read a layer of a file in degrees, flat, its features numbered from 0.

    Parameters
    ----------
    path : Path
        GeoPackage, Shapefile, GeoJSON, or what else GDAL reads, in any reference system.
    what : str
        What the file should hold, for messages: "polygons" or "points".
    notes : list of str
        Appended to: what was repaired.
    layer : str, optional
        To name where the file has several.

    Returns
    -------
    geopandas.GeoDataFrame
        With the file's fields; geometries may be missing, empty or invalid.

    Raises
    ------
    MinsegError
        If the file or a feature of it cannot be read, has no feature, or no or another place on
        the globe than its reference system has.
    """
    path = Path(path)
    if not path.exists():
        raise MinsegError(f"{path}: no such file; give a file of {what}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of rings, which are told below
            _require_layer(path, layer)
            table = _read(path, layer, notes)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0]
        raise MinsegError(f"{path}: cannot be read as {what} ({reason}); is it whole?") from None
    except UnicodeDecodeError as error:
        mended = (
            f"ogr2ogr -oo ENCODING=CP1252 mended.gpkg {path}"
            if path.suffix.lower() in (".shp", ".dbf")
            else f"iconv -f CP1252 -t UTF-8 {path} > mended{path.suffix}"
        )
        raise MinsegError(
            f"{path}: its text is not in the encoding that it states ({error.encoding}, byte "
            f"0x{error.object[error.start]:02x}); if it is Western European, `{mended}` mends it"
        ) from None
    if not isinstance(table, gpd.GeoDataFrame):
        raise MinsegError(
            f"{path}: is a table without geometries; give a file of {what}, e.g. by `ogr2ogr "
            f"-oo X_POSSIBLE_NAMES=lon* -oo Y_POSSIBLE_NAMES=lat* -a_srs EPSG:4326 located.gpkg "
            f"{path}` if it holds positions"
        )
    if table.empty:
        raise MinsegError(f"{path}: holds no {what}; check the file and its layer")
    table = _in_degrees(table.set_geometry(shapely.force_2d(table.geometry.to_numpy())), path)
    return table if table.geometry.name == "geometry" else table.rename_geometry("geometry")


def _require_layer(path: Path, layer: str | None) -> None:
    """Refuse a layer that is not there, and none where there are several."""
    layers = [str(name) for name, _ in pyogrio.list_layers(path)]
    if layer is None and len(layers) > 1:
        raise MinsegError(f"{path}: name one of its layers: {', '.join(layers)} (--layer)")
    if layer is not None and layer not in layers:
        raise MinsegError(f"{path}: no layer {layer!r}; it has {', '.join(layers)} (--layer)")


def _read(path: Path, layer: str | None, notes: list[str]) -> gpd.GeoDataFrame:
    """Read a layer; close rings that are open."""
    try:
        return gpd.read_file(path, layer=layer)
    except GEOSException:
        stored = pyogrio.raw.read(path, layer=layer, columns=[])[2]
    sound = shapely.from_wkb(stored, on_invalid="ignore")
    closed = shapely.from_wkb(stored, on_invalid="fix")
    lost = [shape is None and told is not None for shape, told in zip(closed, stored, strict=True)]
    if any(lost):
        raise MinsegError(
            f"{path}: feature(s) number {_numbers(lost)} cannot be read (a ring of too few points, "
            "or a kind of surface that is no polygon); mend or remove them"
        )
    was_open = shapely.is_missing(sound) & ~shapely.is_missing(closed)
    notes.append(f"{path}: polygon(s) with open rings closed: number {_numbers(was_open)}")
    return gpd.read_file(path, layer=layer, on_invalid="fix")


def _numbers(chosen: Sequence[bool] | np.ndarray) -> str:
    """List features, counted from 1 as people do."""
    return summarise([str(row + 1) for row in np.flatnonzero(chosen)])


def _in_degrees(table: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    """Bring features to degrees; refuse numbers that the file's reference system does not have."""
    if table.crs is None:
        raise MinsegError(
            f"{path}: has no coordinate reference system; assign it, e.g. "
            f"`ogr2ogr -a_srs EPSG:4326 assigned.gpkg {path}`"
        )
    corners, owners = shapely.get_coordinates(table.geometry.to_numpy(), return_index=True)
    lost = np.isin(np.arange(len(table)), owners[~np.isfinite(corners).all(axis=1)])
    if lost.any():
        raise MinsegError(
            f"{path}: feature(s) number {_numbers(lost)} have a corner that is nowhere (NaN or "
            "infinite); mend or remove them"
        )
    try:
        degrees = table.to_crs("EPSG:4326")
    except (CRSError, ProjError):
        raise MinsegError(
            f"{path}: its reference system, {table.crs.name}, is a local one that lies nowhere on "
            "the globe; bring the file to another, such as EPSG:4326"
        ) from None
    west, south, east, north = degrees.total_bounds
    # Longitudes up to 360 are in use. Bounds are missing where nothing has a shape.
    if west < -360 or east > 360 or south < -90 or north > 90 or np.isinf([west, north]).any():
        reached = ", ".join(f"{value:g}" for value in table.total_bounds)
        raise MinsegError(
            f"{path}: its coordinates reach {reached} (left, bottom, right, top), which is nowhere "
            f"in its reference system, {table.crs.name}; assign the right one, e.g. "
            f"`ogr2ogr -a_srs EPSG:32633 assigned.gpkg {path}`"
        )
    return degrees
