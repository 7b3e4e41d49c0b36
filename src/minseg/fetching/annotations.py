"""Polygons that people drew: any file GDAL reads → classes of Table 1, mine by mine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from rasterio.features import rasterize

from minseg.data.grid import split_box
from minseg.data.labels import ANNOTATED_NAMES, IGNORE_BITS, encode_bits
from minseg.data.raster import Grid
from minseg.errors import MinsegError, summarise
from minseg.fetching.features import read_features
from minseg.fetching.owners import mines_by_name, nearest_mines, require_near

ALL_VALUES = "*"
"""Stands for every value of the class field."""

SPECIAL = ("background", "ignore")
"""What a polygon may be besides a class: left out, or ground nobody is sure about."""


@dataclass(frozen=True)
class PolygonFields:
    """What the fields of a polygon file mean."""

    class_field: str = "class"
    """Field with the class."""
    classes: Mapping[str, str] | None = None
    """Its values (``*`` for all) to class names of Table 1, ``total transformed area``,
    ``background`` or ``ignore``; None where the values are such names."""
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
    """Read polygons and find out their classes and years.

    Parameters
    ----------
    path : Path
    fields : PolygonFields
        The field of the mine is kept, not read.
    notes : list of str
        Appended to: what was repaired or left out.

    Returns
    -------
    geopandas.GeoDataFrame
        Valid polygons in WGS 84 with class_name, year (missing: all years) and the file's fields.

    Raises
    ------
    MinsegError
        As `read_annotations`.
    """
    table = read_features(path, "polygons", notes, fields.layer)
    _require_fields(table, path, fields)
    values = _class_values(table, path, fields)
    table["class_name"] = _class_names(values, path, fields)
    table["year"] = _years(table, path, fields)
    return _sound_polygons(table, path, notes)


def rasterise(polygons: gpd.GeoDataFrame, grid: Grid) -> np.ndarray:
    """Burn polygons into a bit mask, class by class, so that their order does not matter.

    Parameters
    ----------
    polygons : geopandas.GeoDataFrame
        With the column class_name.
    grid : Grid

    Returns
    -------
    uint16 ndarray (height, width)
        Bit k = class k of Table 1 at the pixel's centre, bit 10 = the whole mining area; 65535
        where it is marked ``ignore``.
    """
    near = polygons[polygons.intersects(_ground(grid))].to_crs(grid.crs)
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
    bits = encode_bits(masks) if masks else np.zeros(ignored.shape, np.uint16)
    bits[ignored] = IGNORE_BITS
    return bits


def _ground(grid: Grid) -> shapely.Geometry:
    """Return what a grid covers and a little more, in degrees, in two parts at the date line."""
    return shapely.union_all(
        [shapely.box(*bounds) for bounds in split_box(grid.bounds_lonlat)]
    ).buffer(0.01)


def _require_fields(table: gpd.GeoDataFrame, path: Path, fields: PolygonFields) -> None:
    """Refuse a file that lacks a wanted field."""
    wanted = [fields.class_field, fields.year_field, fields.mine_field]
    if fields.class_field not in table and set(fields.classes or {}) == {ALL_VALUES}:
        wanted[0] = None  # all polygons are of one class
    for name in filter(None, wanted):
        if name not in table:
            there = ", ".join(column for column in table if column != table.geometry.name)
            raise MinsegError(
                f"{path}: has no field {name!r}; it has: {there or 'none'} "
                "(--class-field, --year-field and --mine-field choose one)"
            )


def _class_values(table: gpd.GeoDataFrame, path: Path, fields: PolygonFields) -> pd.Series:
    """Return each polygon's value of the class field as text, a whole number without a point."""
    if fields.class_field not in table:
        return pd.Series(ALL_VALUES, index=table.index)
    return table[fields.class_field].map(_as_text)


def _as_text(value: object) -> str:
    """Write a field's value as a person would."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _class_names(values: pd.Series, path: Path, fields: PolygonFields) -> pd.Series:
    """Map values of the class field to class names."""
    known = {name: name for name in (*ANNOTATED_NAMES, *SPECIAL)}
    given = {value.strip().lower(): name for value, name in (fields.classes or {}).items()}
    strange = sorted(set(given.values()) - set(known))
    if strange:
        raise MinsegError(
            f"unknown class {summarise(list(map(repr, strange)))}; use "
            f"{', '.join(ANNOTATED_NAMES)}, or {' or '.join(SPECIAL)}"
        )
    mapping = given if given else known
    names = values.str.lower().map(mapping)
    if ALL_VALUES in given:
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
    empty = table.index[[shape is None for shape in areal]]
    if len(empty):
        rows = summarise([str(row + 1) for row in empty])
        notes.append(f"{path}: {len(empty)} feature(s) without area left out: number {rows}")
    table = table.drop(index=empty)
    if table.empty:
        raise MinsegError(f"{path}: holds points, lines or nothing, but no polygon; check the file")
    return table


def _areal(shape: object) -> shapely.Geometry | None:
    """Return the valid areal part of a geometry, None if it has none."""
    if shape is None:
        return None
    parts = shapely.get_parts(shapely.make_valid(shape))
    areas = [part for part in _flat(parts) if part.geom_type == "Polygon" and part.area > 0]
    return shapely.union_all(areas) if areas else None


def _flat(parts: np.ndarray) -> list[shapely.Geometry]:
    """Take collections apart, as deep as they are nested."""
    return [
        inner
        for part in parts
        for inner in (_flat(shapely.get_parts(part)) if hasattr(part, "geoms") else [part])
    ]
