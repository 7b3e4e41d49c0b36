"""Recipes: from a public set of mine outlines to the inputs of ``minseg dataset fetch``."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from minseg.atomic import replace_when_done
from minseg.data.grid import split_box
from minseg.data.labels import EXTENT
from minseg.data.mines import MINE_TABLE, PARTS, RAW_MATERIALS
from minseg.data.raster import METRES_PER_DEGREE, Grid
from minseg.errors import MinsegError, summarise
from minseg.fetching.annotations import PolygonFields, read_annotations, read_polygons
from minseg.fetching.catalogue import Kind
from minseg.fetching.choice import read_pins
from minseg.fetching.icmm import LIMIT_KM, MATCH_COLUMNS, match_raw_material
from minseg.fetching.owners import FARTHEST_M, pairs_within
from minseg.fetching.plan import FIRST_YEAR, BoxRule, FetchRequest, mine_box, read_mines
from minseg.fetching.providers import Provider
from minseg.fetching.sources import BOX, BYTES_A_PIXEL, COMPRESSED_BYTES_A_PIXEL, Source, class_line


@dataclass(frozen=True)
class Recipe:
    """All that ``minseg dataset fetch`` needs to make a dataset of a public set of outlines."""

    source: Source
    mines: pd.DataFrame
    """Mine table."""
    polygons: gpd.GeoDataFrame
    """Columns mine, class, year; WGS 84."""
    pins: pd.DataFrame
    """Columns mine, year, item; empty where scenes are to be chosen."""
    matches: pd.DataFrame
    """How each mine came by its raw material: `minseg.fetching.icmm.MATCH_COLUMNS`."""
    boxes: dict[str, Grid]
    """Each mine's grid."""
    limit_km: float
    notes: tuple[str, ...]
    """What was left out or repaired, a line each."""

    @property
    def years(self) -> tuple[int, ...]:
        """Years that polygons hold for."""
        return tuple(sorted(int(year) for year in self.polygons["year"].unique()))

    @property
    def num_scenes(self) -> int:
        """Scenes to fetch: one for each mine and year with polygons."""
        return len(self._scenes)

    @property
    def num_pixels(self) -> int:
        """Pixels of all scenes together."""
        return sum(
            self.boxes[mine].height * self.boxes[mine].width for mine, _ in self._scenes.index
        )

    @property
    def _scenes(self) -> pd.Series:
        """Polygons by mine and year."""
        drawn = self.polygons[
            (self.polygons["class"] != "ignore") & self.polygons["mine"].isin(self.boxes)
        ]
        return drawn.groupby(["mine", "year"]).size()


def boxes_of(mines: pd.DataFrame, outlines: Sequence, notes: list[str]) -> dict[str, Grid]:
    """Lay a box round each mine's outlines; note and leave out mines where none can be laid.

    Parameters
    ----------
    mines : pandas.DataFrame
        Mine table.
    outlines : sequence of shapely geometry
        Of the same mines, in degrees.
    notes : list of str
        Appended to.

    Returns
    -------
    dict of mine to Grid
    """
    boxes, problems = {}, []
    for row, outline in zip(mines.to_dict("records"), outlines, strict=True):
        try:
            boxes[row["mine"]] = mine_box(row["longitude"], row["latitude"], outline, BOX)
        except MinsegError as error:
            problems.append(f"{row['mine']}: {error}")
    if problems:
        notes.append(f"{len(problems)} mine(s) left out: {summarise(problems, 2)}")
    return boxes


def recipe_lines(recipe: Recipe) -> list[str]:
    """Tell what a recipe gives, before any image is downloaded.

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    list of str
    """
    source, classes = recipe.source, set(recipe.polygons["class"]) - {"ignore"}
    materials = recipe.mines["raw_material"].value_counts()
    known = ", ".join(f"{code} {materials.get(code, 0)}" for code in RAW_MATERIALS)
    gigabytes = [
        recipe.num_pixels * size / 1e9 for size in (COMPRESSED_BYTES_A_PIXEL, BYTES_A_PIXEL)
    ]
    matched = int((recipe.matches["within_limit"] > 0).sum())
    return [
        f"{source.title}; licence {source.licence}; {source.address}",
        f"mines: {len(recipe.mines)}; scenes: {recipe.num_scenes}"
        + (", pinned" if len(recipe.pins) else ", chosen by what they show"),
        f"years: {', '.join(map(str, recipe.years))}",
        class_line(classes),
        f"raw material: {known}, unknown {materials.get('', 0)}; from ICMM mines within "
        f"{recipe.limit_km:g} km ({matched} mines have one, "
        f"{int(recipe.matches['ambiguous'].sum())} of them ambiguous: another group lies in reach)"
        if len(recipe.matches)
        else "raw material: unknown for all; --icmm takes it from mines nearby",
        f"size on disk: about {gigabytes[0]:.1f} GB, at most {gigabytes[1]:.1f} GB, for "
        f"{recipe.num_pixels / 1e6:.0f} million pixels of 15 channels",
        *(f"limit: {limit}" for limit in source.limits),
        *(f"note: {note}" for note in recipe.notes),
    ]


def write_recipe(recipe: Recipe, folder: Path) -> list[str]:
    """Write a recipe's files and tell how to go on.

    Parameters
    ----------
    recipe : Recipe
    folder : Path
        New; gets ``mines.csv``, ``labels.gpkg``, ``matches.csv``, ``pins.csv`` if scenes are
        pinned, and ``recipe.txt`` with what this function returns.

    Returns
    -------
    list of str
        What the recipe gives, and the command that fetches it.

    Raises
    ------
    MinsegError
        If the folder exists, or the recipe has too few mines for a split.
    """
    folder = Path(folder)
    if len(recipe.mines) < len(PARTS):
        raise MinsegError(
            f"{len(recipe.mines)} mine(s): a split by mine needs at least {len(PARTS)}; "
            + summarise(list(recipe.notes) or ["give more outlines"])
        )
    if folder.exists():
        raise MinsegError(f"{folder}: exists; name a new folder or remove it")
    lines = [*recipe_lines(recipe), "next:", "  " + fetch_command(recipe, folder)]
    with replace_when_done(folder) as beside:
        beside.mkdir(parents=True)
        recipe.mines.to_csv(beside / "mines.csv", index=False)
        recipe.polygons.to_file(beside / "labels.gpkg", driver="GPKG")
        if len(recipe.matches):
            recipe.matches[MATCH_COLUMNS].to_csv(beside / "matches.csv", index=False)
        if len(recipe.pins):
            recipe.pins.to_csv(beside / "pins.csv", index=False)
        (beside / "recipe.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def open_recipe(
    folder: Path, provider: Provider, rule: BoxRule = BOX
) -> tuple[FetchRequest, dict[tuple[str, int, Kind], str]]:
    """Read a recipe's files as what `minseg.fetching.dataset.fetch_dataset` takes.

    Parameters
    ----------
    folder : Path
        What `write_recipe` wrote; its tables may have been edited since.
    provider : Provider
    rule : BoxRule

    Returns
    -------
    request : FetchRequest
    pins : dict of (mine, year, kind) to item id

    Raises
    ------
    MinsegError
        If a file is missing or cannot be read.
    """
    folder = Path(folder)
    mines = read_mines(folder / "mines.csv")
    fields = PolygonFields(year_field="year", mine_field="mine")
    polygons = read_annotations(folder / "labels.gpkg", mines, fields)
    years = tuple(sorted(int(year) for year in polygons.polygons["year"].dropna().unique()))
    pins = read_pins(folder / "pins.csv") if (folder / "pins.csv").is_file() else {}
    return FetchRequest(mines, polygons, years, provider, rule), pins


def fetch_command(recipe: Recipe, folder: Path) -> str:
    """Return the command that fetches a recipe's scenes.

    Parameters
    ----------
    recipe : Recipe
    folder : Path
        Where its files are.

    Returns
    -------
    str
    """
    words = [
        *("minseg", "dataset", "fetch", f"{folder}-dataset"),
        *("--mines", str(folder / "mines.csv")),
        *("--polygons", str(folder / "labels.gpkg"), "--mine-field", "mine"),
        *("--year-field", "year", "--years", ",".join(map(str, recipe.years))),
        *(["--pins", str(folder / "pins.csv")] if len(recipe.pins) else []),
        *("--licence", f"{recipe.source.title}, {recipe.source.licence}"),
    ]
    return shlex.join(words)


TILES, OUTLINES = "tiles", "polygons_annotated"
"""Layers of Jasansky's file of test tiles; that of all tiles may name its outlines otherwise."""

SURFACE = ("Surface", "Placer")
"""Values of minetype1 that are surface mines; the others its author left out too."""

AROUND_M = 16_000.0
"""Width of the ground round a tile that is marked as not looked at: no box of up to 30 km reaches
farther out of its tile."""

NEIGHBOUR = "none of the table"
"""Stands in the field of the mine for outlines that belong to no mine of the recipe."""

_SCENE_ID = re.compile(r"S2[A-D]_MSIL2A_(\d{4})\d{4}T\d{6}_")


def tile_recipe(
    source: Source,
    path: Path,
    points: pd.DataFrame | None = None,
    limit_km: float = LIMIT_KM,
    *,
    layer: str | None = None,
    count: int | None = None,
) -> Recipe:
    """Make the recipe of tiles on each of which somebody looked at one scene.

    Parameters
    ----------
    source : Source
    path : Path
        GeoPackage with the layers tiles (tile_id, s2_tile_id, and if there minetype1 and
        source_dataset) and one of outlines (tile_id).
    points : pandas.DataFrame, optional
        Listed mines (`minseg.fetching.icmm.read_icmm`) that name raw materials.
    limit_km : float
    layer : str, optional
        Layer of the outlines, `OUTLINES` by default.
    count : int, optional
        At most so many tiles, drawn at random; the same ones each time.

    Returns
    -------
    Recipe
        A mine is a tile. Ground outside of all tiles of a year is marked ``ignore`` there.

    Raises
    ------
    MinsegError
        If the file, a layer or a field is missing.
    """
    notes: list[str] = []
    tiles = _read_layer(path, TILES, ("tile_id", "s2_tile_id"), notes)
    outlines = _read_layer(path, layer or OUTLINES, ("tile_id",), notes)
    tiles = _usable(tiles, notes)
    merged = outlines.dissolve("tile_id").geometry
    bare = ~tiles["tile_id"].isin(merged.index)
    if bare.any():
        notes.append(f"{bare.sum()} tile(s) without outlines left out")
    tiles = _drawn(tiles[~bare], count, notes).set_index("tile_id", drop=False)
    shapes = merged.loc[tiles["tile_id"]]
    middle = shapes.representative_point()
    mines = _mine_table(
        mine="tile-" + tiles["tile_id"].astype(str).str.zfill(4),
        name="tile " + tiles["tile_id"].astype(str),
        longitude=middle.x,
        latitude=middle.y,
    )
    boxes = boxes_of(mines, shapes, notes)
    kept = mines["mine"].isin(boxes).to_numpy()
    mines, tiles, shapes = mines[kept], tiles[kept], shapes[kept]
    matches = _matches(points, mines, shapes, limit_km)
    if len(matches):
        mines = mines.assign(
            raw_material=matches["raw_material"].to_numpy(), country=matches["country"].to_numpy()
        )
    drawn = gpd.GeoDataFrame(
        {"mine": mines["mine"].to_numpy(), "class": EXTENT.name, "year": tiles["year"].to_numpy()},
        geometry=shapes.to_numpy(),
        crs="EPSG:4326",
    )
    around = drawn.assign(**{"class": "ignore"}).set_geometry(_around(tiles), crs="EPSG:4326")
    pins = drawn[["mine", "year"]].assign(item=tiles["s2_tile_id"].to_numpy())
    polygons = pd.concat([drawn, around], ignore_index=True)
    return Recipe(
        source, mines.reset_index(drop=True), polygons, pins, matches, boxes, limit_km, tuple(notes)
    )


def area_recipe(
    source: Source,
    paths: Sequence[Path],
    points: pd.DataFrame,
    limit_km: float = LIMIT_KM,
    *,
    year: int | None = None,
    classes: Mapping[str, str] | None = None,
    layer: str | None = None,
    count: int | None = None,
) -> Recipe:
    """Make the recipe of outlines that belong to no mine: each goes to the nearest listed one.

    Parameters
    ----------
    source : Source
    paths : sequence of Path
        Files of polygons.
    points : pandas.DataFrame
        Listed mines: `minseg.fetching.icmm.read_icmm`.
    limit_km : float
        How far from a listed mine its outlines may lie.
    year : int, optional
        Year of the images, where neither source nor file tells it.
    classes : mapping of str to str, optional
        Values of the class field to class names, instead of the source's.
    layer : str, optional
        Layer of the files, where they have several.
    count : int, optional
        At most so many mines, drawn at random; the same ones each time.

    Returns
    -------
    Recipe
        Outlines of other mines in a box are in it too, so that they do not become background.

    Raises
    ------
    MinsegError
        If a file cannot be read, a class or year is unknown, no outline is near a listed mine, or
        the limit is more than `minseg.fetching.owners.FARTHEST_M`.
    """
    if limit_km * 1000 > FARTHEST_M:
        raise MinsegError(
            f"--limit-km {limit_km:g}: give {FARTHEST_M / 1000:g} or less, since fetching refuses "
            "outlines that lie farther from their mine"
        )
    if year is not None and not FIRST_YEAR <= year <= 2100:
        raise MinsegError(
            f"--year {year}: Sentinel-2 began in {FIRST_YEAR}; give a year such as 2019"
        )
    notes: list[str] = []
    polygons = _read_outlines(source, paths, year, classes, layer, notes)
    pairs = pairs_within(
        points["longitude"], points["latitude"], list(polygons.geometry), limit_km * 1000
    )
    nearest = pairs.sort_values("distance_m", kind="stable").drop_duplicates("shape")
    if nearest.empty:
        raise MinsegError(
            f"{paths[0]}: no outline lies within {limit_km:g} km of a listed mine; check the "
            "files' reference system, or allow more (--limit-km)"
        )
    lost = len(polygons) - len(nearest)
    notes.append(
        f"{len(polygons)} outlines; {lost} farther than {limit_km:g} km from all listed mines"
    )
    names = np.full(len(polygons), "", dtype=object)
    names[nearest["shape"]] = points["id"].to_numpy()[nearest["place"]]
    owners = pd.Series(names, index=polygons.index)
    chosen = points.iloc[sorted(set(nearest["place"]))]
    chosen = _drawn(chosen, count, notes).set_index("id", drop=False)
    shapes = polygons.dissolve(owners).geometry.loc[chosen["id"]]
    mines = _mine_table(
        mine=chosen["id"],
        **{n: chosen[n] for n in ("name", "country", "longitude", "latitude", "raw_material")},
    )
    boxes = boxes_of(mines, shapes, notes)
    kept = mines["mine"].isin(boxes).to_numpy()
    mines, shapes = mines[kept], shapes[kept]
    matches = _matches(points, mines, shapes, limit_km)
    matches["raw_material"] = mines["raw_material"].to_numpy()  # the listed mine's own
    polygons = polygons.assign(mine=owners.where(owners.isin(boxes), NEIGHBOUR))
    polygons = polygons[_in_boxes(polygons, boxes)]
    pins = pd.DataFrame(columns=["mine", "year", "item"])
    return Recipe(
        source,
        mines.reset_index(drop=True),
        pd.concat([polygons, _of_other_years(polygons, boxes)], ignore_index=True),
        pins,
        matches,
        boxes,
        limit_km,
        tuple(notes),
    )


def _read_layer(
    path: Path, layer: str, wanted: tuple[str, ...], notes: list[str]
) -> gpd.GeoDataFrame:
    """Read one layer of the tiles' file with some fields."""
    everything = PolygonFields(class_field="", classes={"*": EXTENT.name}, layer=layer)
    table = read_polygons(path, everything, notes)
    missing = [name for name in wanted if name not in table]
    if missing:
        raise MinsegError(f"{path}: layer {layer} has no field {', '.join(missing)}")
    return table


def _usable(tiles: gpd.GeoDataFrame, notes: list[str]) -> gpd.GeoDataFrame:
    """Leave out rejected tiles, other than surface mines, and unreadable scene ids; add years."""
    kept = pd.Series(True, index=tiles.index)
    if "source_dataset" in tiles:
        kept &= tiles["source_dataset"] != "rejected"
    if "minetype1" in tiles:
        kept &= tiles["minetype1"].isin(SURFACE)
    if not kept.all():
        notes.append(f"{(~kept).sum()} tile(s) rejected by their author or no surface mine")
    years = tiles["s2_tile_id"].astype(str).str.extract(_SCENE_ID)[0]
    strange = kept & years.isna()
    if strange.any():
        notes.append(
            f"{strange.sum()} tile(s) without the id of a Sentinel-2 L2A scene left out, such as "
            f"{tiles.loc[strange, 's2_tile_id'].iloc[0]!r}"
        )
    tiles = tiles[kept & ~strange].assign(year=years)
    if tiles["tile_id"].duplicated().any() or tiles.empty:
        raise MinsegError("layer tiles: needs tiles with a tile_id of their own; check the file")
    return tiles.astype({"year": int}).sort_values("tile_id")


def _around(tiles: gpd.GeoDataFrame) -> list[shapely.Geometry]:
    """Return the ground round each tile that no tile of the same year shows."""
    seen = {year: shapely.union_all(same.geometry) for year, same in tiles.groupby("year")}
    grounds = []
    for tile, year in zip(tiles.geometry, tiles["year"], strict=True):
        west, south, east, north = tile.bounds
        up = AROUND_M / METRES_PER_DEGREE
        out = up / np.cos(np.radians(min(89.0, max(abs(south), abs(north)))))
        ground = shapely.box(
            max(-180.0, west - out), south - up, min(180.0, east + out), north + up
        )
        grounds.append(ground.difference(seen[year]))
    return grounds


def _read_outlines(
    source: Source,
    paths: Sequence[Path],
    year: int | None,
    classes: Mapping[str, str] | None,
    layer: str | None,
    notes: list[str],
) -> gpd.GeoDataFrame:
    """Read the polygons of all files, with class and year."""
    fields = PolygonFields(
        class_field=source.class_field,
        classes=classes or source.classes,
        year_field=source.year_field or None,
        layer=layer,
    )
    if year is not None:
        fields = replace(fields, year_field=None)
    tables = [read_polygons(Path(path), fields, notes) for path in paths]
    table = pd.concat(tables, ignore_index=True)
    known = year or source.year
    if known is not None and fields.year_field is None:
        table["year"] = known
    if table["year"].isna().any():
        raise MinsegError(
            f"{paths[0]}: {table['year'].isna().sum()} polygons of unknown year; say which year's "
            "scenes to set them on (--year 2019)"
        )
    table = table[table["class_name"] != "background"].astype({"year": int})
    table = table.rename(columns={"class_name": "class"})
    return table[["class", "year", "geometry"]].reset_index(drop=True)


def _of_other_years(polygons: gpd.GeoDataFrame, boxes: Mapping[str, Grid]) -> gpd.GeoDataFrame:
    """Return as ignored what neighbours drawn in other years cover in each year's boxes.

    They are no background, but what they looked like in that year nobody said.
    """
    found = [polygons.iloc[:0]]
    for year, same in polygons.groupby("year"):
        others = polygons[polygons["year"] != year]
        if len(others):
            shown = {mine: boxes[mine] for mine in set(same["mine"]) & set(boxes)}
            others = others[_in_boxes(others, shown)]
            hidden = gpd.overlay(others, same[["geometry"]], how="difference")
            found.append(hidden.assign(**{"year": year, "class": "ignore", "mine": NEIGHBOUR}))
    return pd.concat(found, ignore_index=True)


def _drawn(table: pd.DataFrame, count: int | None, notes: list[str]) -> pd.DataFrame:
    """Draw some rows at random, the same ones each time, in their old order."""
    if count is None or count >= len(table):
        return table
    if count < 1:
        raise MinsegError(f"--count {count}: give 1 or more")
    notes.append(f"{count} of {len(table)} mines drawn at random")
    rows = np.random.default_rng(0).choice(len(table), count, replace=False)
    return table.iloc[np.sort(rows)]


def _mine_table(**columns: pd.Series) -> pd.DataFrame:
    """Return a mine table; what is not given is empty."""
    table = pd.DataFrame(columns)
    names = [name for name in MINE_TABLE.columns if name != "case"]
    return table.reindex(columns=names, fill_value="").reset_index(drop=True)


def _matches(
    points: pd.DataFrame | None, mines: pd.DataFrame, shapes: gpd.GeoSeries, limit_km: float
) -> pd.DataFrame:
    """Match raw materials; nothing without listed mines."""
    if points is None:
        return pd.DataFrame(columns=MATCH_COLUMNS)
    return match_raw_material(points, list(mines["mine"]), list(shapes), limit_km)


def _in_boxes(polygons: gpd.GeoDataFrame, boxes: Mapping[str, Grid]) -> np.ndarray:
    """Return where polygons lie in or a little beside some mine's box."""
    tree, near = shapely.STRtree(list(polygons.geometry)), np.zeros(len(polygons), bool)
    for grid in boxes.values():
        for bounds in split_box(grid.bounds_lonlat):
            near[tree.query(shapely.box(*bounds).buffer(0.1))] = True
    return near
