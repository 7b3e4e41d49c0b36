"""Polygons that people drew: any file GDAL reads → classes of Table 1, mine by mine."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj.exceptions import CRSError, ProjError
from rasterio.features import rasterize
from shapely.errors import GEOSException

from minseg.data.grid import on_globe, split_box
from minseg.data.labels import ANNOTATED_NAMES, EXTENT, IGNORE_BITS, encode_bits
from minseg.data.raster import Grid
from minseg.errors import MinsegError, first_line, summarise
from minseg.fetching.owners import mines_by_name, nearest_mines, require_near

ALL_VALUES = "*"
"""Stands for every value of the class field."""

SPECIAL = ("background", "ignore")
"""What a polygon may be besides a class: left out, or ground nobody is sure about."""

_UNREADABLE = (DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError)


@dataclass(frozen=True)
class PolygonFields:
    """What the fields of a polygon file mean."""

    class_field: str = "class"
    """Field with the class."""
    classes: Mapping[Any, str] | None = None
    """Its values, text or numbers (``*`` for all), to class names of Table 1,
    ``total transformed area``, ``background`` or ``ignore``; None where the values are such."""
    year_field: str | None = None
    """Field with the year of the image a polygon was drawn on; None: they hold for all years."""
    mine_field: str | None = None
    """Field with the mine's id or name; None: a polygon belongs to the nearest mine within
    `minseg.fetching.owners.REACH_M`."""
    layer: str | None = None
    """Layer of the file, where it has several."""


@dataclass(frozen=True)
class Annotations:
    """Polygons of known class."""

    polygons: gpd.GeoDataFrame
    """Columns class_name (or ``ignore``), mine ("" if none), year (missing: all years); WGS 84."""
    class_names: tuple[str, ...]
    """What the annotators looked for, out of `minseg.data.labels.ANNOTATED_NAMES`."""
    notes: tuple[str, ...]
    """What was repaired, left out or not found, one line each."""

    def of_mine(self, mine: str) -> gpd.GeoDataFrame:
        """Return what was drawn of a mine; ground that is ignored is not drawn."""
        drawn = self.polygons["class_name"] != "ignore"
        return self.polygons[drawn & (self.polygons["mine"] == mine)]

    def years_of(self, mine: str, years: tuple[int, ...]) -> tuple[int, ...]:
        """Return those of some years for which a mine has polygons."""
        known = self.of_mine(mine)["year"]
        return years if known.isna().any() else tuple(y for y in years if (known == y).any())

    def of_year(self, year: int) -> gpd.GeoDataFrame:
        """Return the polygons of all mines that hold for a year."""
        known = self.polygons["year"]
        return self.polygons[known.isna() | (known == year).fillna(False)]


def read_annotations(path: Path, mines: pd.DataFrame, fields: PolygonFields) -> Annotations:
    """Read polygons and find out their classes and mines.

    Parameters
    ----------
    path : Path
        GeoPackage, Shapefile, GeoJSON, or what else GDAL reads, in any reference system.
    mines : pandas.DataFrame
        Mine table.
    fields : PolygonFields

    Returns
    -------
    Annotations

    Raises
    ------
    MinsegError
        If the file cannot be read, has no reference system or a wrong one, no polygon or no such
        field, or holds a class, year or mine that nobody knows; or if a polygon names a mine that
        is far away, or by a name that several mines have.
    """
    path = Path(path)
    notes: list[str] = []
    table = read_polygons(path, fields, notes)
    if fields.mine_field:
        table["mine"] = mines_by_name(
            table[fields.mine_field].map(_as_text), path, fields.mine_field, mines, notes
        )
        require_near(table[~table["class_name"].isin(SPECIAL)], path, mines)
    else:
        table["mine"] = nearest_mines(table, path, mines, notes)
    table = table[table["class_name"] != "background"]
    meant = set((fields.classes or {}).values()) | set(table["class_name"])
    bare = [mine for mine in mines["mine"] if mine not in set(table["mine"])]
    notes += [f"mine {mine!r}: no polygons in {path}" for mine in bare]
    columns = ["mine", "class_name", "year", "geometry"]
    return Annotations(
        table[columns].reset_index(drop=True),
        tuple(name for name in ANNOTATED_NAMES if name in meant),
        tuple(notes),
    )


def read_polygons(path: Path, fields: PolygonFields, notes: list[str]) -> gpd.GeoDataFrame:
    """Read valid polygons in WGS 84 with class_name, year (missing: all) and the file's fields."""
    table = read_features(path, "polygons", notes, fields.layer)
    all_alike = set(fields.classes or {}) == {ALL_VALUES}  # whatever the class field holds
    wanted = [None if all_alike else fields.class_field, fields.year_field, fields.mine_field]
    mend = "--class-field, --year-field and --mine-field choose one"
    require_fields(table, filter(None, wanted), path, mend)
    table["class_name"] = _class_names(table, path, fields)
    table["year"] = _years(table, path, fields)
    return _sound_polygons(table, path, notes)


def rasterise(polygons: gpd.GeoDataFrame, grid: Grid) -> np.ndarray:
    """Burn polygons into a uint16 bit mask, class by class, so that their order does not matter.

    Bit k = class k of Table 1 at the pixel's centre, bit 10 = whole mining area; 65535 = ignore.
    """
    box = shapely.union_all([shapely.box(*bounds) for bounds in split_box(grid.bounds_lonlat)])
    near = polygons[polygons.intersects(box.buffer(0.01))]
    # In the box's zone the other side of the globe lies anywhere, or nowhere.
    near = near.clip(box.buffer(10.0), keep_geom_type=True).to_crs(grid.crs)
    masks = {
        str(name): rasterize(
            shapes.geometry,
            out_shape=(grid.height, grid.width),
            transform=grid.transform,
            all_touched=False,  # else a strip 3 m wide becomes as wide as four pixels
            dtype=np.uint8,
        ).astype(bool)
        for name, shapes in near.groupby("class_name")
    }
    ignored = masks.pop("ignore", np.zeros((grid.height, grid.width), bool))
    if EXTENT.name in masks:  # it stands for ground whose parts were not told
        told = [mask for name, mask in masks.items() if name != EXTENT.name]
        masks[EXTENT.name] &= ~np.logical_or.reduce([ignored, *told])
    bits = encode_bits(masks) if masks else np.zeros(ignored.shape, np.uint16)
    bits[ignored] = IGNORE_BITS
    return bits


def read_features(
    path: Path, what: str, notes: list[str], layer: str | None = None
) -> gpd.GeoDataFrame:
    """Read a layer in degrees, flat, numbered from 0; shapes may be missing, empty or invalid.

    `what` the file should hold, polygons or points, is for messages; `notes` get what was repaired.
    """
    if not path.exists():
        raise MinsegError(f"{path}: no such file; give a file of {what}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of rings, which are told below
            warnings.filterwarnings("ignore", "Measured", UserWarning)  # which nothing here uses
            table = _read(path, _layer_of(path, layer), notes)
    except _UNREADABLE as error:
        reason = first_line(error)
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


def _layer_of(path: Path, layer: str | None) -> str | None:
    """Return the layer to read; refuse one that is not there, and several with shapes for none."""
    kinds = {str(name): kind for name, kind in pyogrio.list_layers(path)}
    layers = [name for name, kind in kinds.items() if kind] or list(kinds)  # others hold styles
    if layer is None and len(layers) > 1:
        raise MinsegError(f"{path}: name one of its layers: {', '.join(layers)} (--layer)")
    if layer is not None and layer not in kinds:
        raise MinsegError(f"{path}: no layer {layer!r}; it has {', '.join(layers)} (--layer)")
    return layer or next(iter(layers), None)


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


def require_fields(table: gpd.GeoDataFrame, wanted: Iterable[str], path: Path, mend: str) -> None:
    """Refuse a file that lacks a wanted field; say how to mend it."""
    missing = [name for name in wanted if name not in table]
    if missing:
        there = ", ".join(column for column in table if column != table.geometry.name)
        named = ", ".join(map(repr, missing))
        raise MinsegError(f"{path}: has no field {named}; it has: {there or 'none'}; {mend}")


def _as_text(value: object) -> str:
    """Write a field's value as a person would, a whole number without a point."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _class_names(table: gpd.GeoDataFrame, path: Path, fields: PolygonFields) -> pd.Series:
    """Map values of the class field to class names."""
    values = pd.Series(ALL_VALUES, index=table.index)
    if fields.class_field in table:
        values = table[fields.class_field].map(_as_text)
    known = {name: name for name in (*ANNOTATED_NAMES, *SPECIAL)}
    given = {_as_text(value).lower(): name for value, name in (fields.classes or {}).items()}
    strange = sorted(set(given.values()) - set(known))
    if strange:
        raise MinsegError(
            f"unknown class {summarise(list(map(repr, strange)))}; use "
            f"{', '.join(ANNOTATED_NAMES)}, or {' or '.join(SPECIAL)}"
        )
    names = values.str.lower().map(given or known)
    if ALL_VALUES in given:
        # What is misspelt would be of the class of all others.
        if idle := sorted(given.keys() - {ALL_VALUES, *values.str.lower()}):
            raise MinsegError(
                f"{path}: field {fields.class_field!r} nowhere holds "
                f"{summarise(list(map(repr, idle)))}; correct --classes, or leave it out of them"
            )
        names = names.fillna(given[ALL_VALUES])
    unmapped = sorted({value or "(empty)" for value in values[names.isna()]})
    if unmapped:
        raise MinsegError(
            f"{path}: field {fields.class_field!r} holds {summarise(list(map(repr, unmapped)))}, "
            "no class of Table 1; say what it is, e.g. --classes pit=excavation or pit=background"
        )
    return names


def _years(table: gpd.GeoDataFrame, path: Path, fields: PolygonFields) -> pd.Series:
    """Read the year field; missing where a polygon holds for all years."""
    if fields.year_field is None:
        return pd.Series(pd.NA, index=table.index, dtype="Int64")
    values = table[fields.year_field].map(_as_text)
    years = pd.to_numeric(values.where(values != ""), errors="coerce")
    bad = values[(values != "") & ~(years.between(1972, 2100) & (years % 1 == 0))]
    if len(bad):
        raise MinsegError(
            f"{path}: field {fields.year_field!r} holds {bad.iloc[0]!r}, which is no year; give a "
            "field with years such as 2019"
        )
    return years.astype("Int64")


def _sound_polygons(table: gpd.GeoDataFrame, path: Path, notes: list[str]) -> gpd.GeoDataFrame:
    """Repair invalid polygons and leave out what has no area; note both."""
    shapes = table.geometry.to_numpy()
    broken = np.flatnonzero(~shapely.is_missing(shapes) & ~shapely.is_valid(shapes))
    if len(broken):
        reasons = [f"{row + 1} ({shapely.is_valid_reason(shapes[row])})" for row in broken]
        notes.append(
            f"{path}: {len(broken)} invalid polygon(s) repaired: number {summarise(reasons)}"
        )
    areal = [_areal(shape) for shape in shapes]
    table = table.set_geometry(gpd.GeoSeries(areal, index=table.index, crs=table.crs))
    empty = np.array([shape is None for shape in areal])
    if empty.any():
        notes.append(
            f"{path}: {empty.sum()} feature(s) without area left out: number {_numbers(empty)}"
        )
    table = table[~empty]
    if table.empty:
        raise MinsegError(f"{path}: holds points, lines or nothing, but no polygon; check the file")
    return table


def _areal(shape: shapely.Geometry | None) -> shapely.Geometry | None:
    """Return the valid areal part of a geometry, from -180 to 180 degrees; None if it has none."""
    parts = [] if shape is None else [shapely.make_valid(shape)]
    areas = []
    while parts:  # collections may hold collections
        part = parts.pop(0)
        if hasattr(part, "geoms"):
            parts = [*part.geoms, *parts]
        elif part.geom_type == "Polygon" and part.area > 0:
            areas.append(part)
    if not areas:
        return None
    whole = shapely.union_all(areas)
    return whole if np.abs(whole.bounds[::2]).max() <= 180 else on_globe(whole)
