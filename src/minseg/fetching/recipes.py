"""Recipes: from a public set of mine outlines to the inputs of ``minseg dataset fetch``."""

import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from minseg.atomic import cannot_write, replace_when_done, require_new_folder
from minseg.data.labels import EXTENT, TASKS, partial_answers
from minseg.data.mines import MINE_TABLE, MINE_TYPES, RAW_MATERIALS, require_enough
from minseg.data.raster import Grid
from minseg.errors import MinsegError, summarise
from minseg.fetching.annotations import (
    SPECIAL,
    PolygonFields,
    read_annotations,
    read_features,
    read_polygons,
    require_fields,
)
from minseg.fetching.catalogue import Kind
from minseg.fetching.choice import read_pins
from minseg.fetching.owners import FARTHEST_M, nearest_within, pairs_within
from minseg.fetching.plan import (
    FIRST_YEAR,
    PIXEL_M,
    BoxRule,
    FetchRequest,
    boxes_of,
    in_boxes,
    read_mines,
)
from minseg.fetching.providers import Provider

BYTES_A_PIXEL = 12 * 2 + 3 * 4 + 2
"""Of a scene before compression: twelve bands, three radar channels, labels."""

COMPRESSED_BYTES_A_PIXEL = 18
"""The same on disk, as measured on one real scene of 12 + 3 channels (Sen1Floods11, Spain)."""

BOX = BoxRule()
"""The box that sizes are told for: what ``fetch`` takes if not asked otherwise."""

MEAN_PIXELS = 2_254_000
"""Of a scene, as measured: the mean over the boxes of Jasansky's 116 test tiles."""

LIMIT_KM = 10.0
"""How far a listed mine may lie from an outline to name its raw material; positions in public
lists are off by kilometres, and Maus et al. drew outlines as far as that from theirs."""

_ICMM_FIELDS = ("id", "name", "country", "assetType", "primaryCommodity")

MATCH_COLUMNS = [
    *("mine", "raw_material", "distance_km", "icmm_id", "icmm_name", "country", "commodity"),
    *("within_limit", "ambiguous"),
]

TILES, OUTLINES = "tiles", "polygons_annotated"
"""Layers of Jasansky's file of test tiles; that of all tiles may name its outlines otherwise."""

SURFACE = ("Surface", "Placer")
"""Values of minetype1 that are surface mines; the others its author left out too."""

AROUND_DEGREES = 1.0
"""Width of the ground round a tile that is marked as not looked at: no box of up to 30 km reaches
farther out of its tile."""

NEIGHBOUR = "none of the table"
"""Stands in the field of the mine for outlines that belong to no mine of the recipe."""

_SCENE_ID = re.compile(r"S2[A-D]_MSIL2A_(\d{4})\d{4}T\d{6}_")


@dataclass(frozen=True)
class Source:
    """A public set of outlines that a dataset can be made from."""

    name: str
    """Name on the command line."""
    title: str
    address: str
    """Where to download it."""
    licence: str
    content: str
    """What is in it, in a line."""
    files: str
    """What to give as FILE."""
    mines: str
    """How many mines it gives, and what is not known of that before a download."""
    num_scenes: int
    """How many scenes to expect at most; more only where mines have outlines of several years."""
    classes: Mapping[str, str]
    """Values of the class field (``*`` for all) to class names."""
    class_field: str = ""
    """Field with the class; empty where all polygons are outlines of whole mining areas."""
    year_field: str = ""
    """Field with the year of the image a polygon was drawn on."""
    year: int | None = None
    """The year of the images, where one year holds for all."""
    tiles: str = "none; a mine's box is laid round its outlines"
    """How many tiles of what size it has."""
    has_scenes: bool = False
    """Whether it says which scene each outline was drawn on."""
    has_sites: bool = False
    """Whether its polygons name their mine, of which another file tells."""
    polygons_file: str = "labels.gpkg"
    """Name of the polygons among the files of its recipe."""
    mean_pixels: int = MEAN_PIXELS
    """Of its scenes, as measured on boxes of `mean_of`."""
    mean_of: str = "Jasansky's 116 test tiles"
    limits: tuple[str, ...] = ()
    """What a user should know before a download, a line each."""


def _read_sources(texts: dict) -> dict[str, Source]:
    """Make the sets of the TOML file, whose lines may be names of lines that several share."""
    sources = {}
    for name, told in texts["sources"].items():
        limits = [line for limit in told["limits"] for line in texts["shared"].get(limit, [limit])]
        mines = told["mines"].format(near_listed=texts["near_listed"])
        sources[name] = Source(**{"name": name} | told | {"mines": mines, "limits": tuple(limits)})
    return sources


TEXTS = tomllib.loads(Path(__file__).with_name("recipes.toml").read_text(encoding="utf-8"))

SOURCES = _read_sources(TEXTS)
"""The sets known by name."""

GROUP_OF = {name: group for group, names in TEXTS["commodities"].items() for name in names}
"""Commodity as ICMM names it to the raw-material group of section 2.2."""


@dataclass(frozen=True)
class Recipe:
    """All that ``minseg dataset fetch`` needs to make a dataset of a public set of outlines."""

    source: Source
    mines: pd.DataFrame
    """Mine table."""
    polygons: gpd.GeoDataFrame
    """Columns mine, class, year; WGS 84."""
    boxes: dict[str, Grid]
    """Each mine's grid."""
    notes: list[str]
    """What was left out or repaired, a line each."""
    pins: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Columns mine, year, item; empty where scenes are to be chosen."""
    matches: pd.DataFrame = field(default_factory=pd.DataFrame)
    """How each mine came by its raw material, `MATCH_COLUMNS`; empty where none was looked for."""
    limit_km: float = 0.0
    """How far a mine that names it may lie."""

    @property
    def years(self) -> tuple[int, ...]:
        """Years that polygons hold for."""
        return tuple(sorted(int(year) for year in self.polygons["year"].unique()))

    @property
    def scenes(self) -> pd.DataFrame:
        """Mine and year of the scenes to fetch: each that has polygons."""
        drawn = (self.polygons["class"] != "ignore") & self.polygons["mine"].isin(self.boxes)
        return self.polygons.loc[drawn, ["mine", "year"]].drop_duplicates()

    @property
    def num_pixels(self) -> int:
        """Pixels of all scenes together."""
        return sum(self.boxes[mine].height * self.boxes[mine].width for mine in self.scenes["mine"])


def source_lines(source: Source) -> list[str]:
    """Tell what a set gives and where to get it, before anything is downloaded."""
    return [
        source.title,
        f"holds: {source.content}",
        f"from: {source.address}",
        f"licence: {source.licence}",
        f"mines: {source.mines}",
        f"tiles: {source.tiles}",
        *_class_lines([*source.classes.values(), *([EXTENT.name] if source.has_sites else [])]),
        f"size on disk: {_estimated_size(source)}",
        f"give as FILE: {source.files}",
        *(f"limit: {limit}" for limit in source.limits),
    ]


def read_icmm(path: Path) -> pd.DataFrame:
    """Read the mines among the points of the ICMM data set; smelters and other plants are no mines.

    Gives id, name, country, commodity, raw_material (a group of section 2.2 or empty), longitude
    and latitude (degrees).
    """
    points = read_features(path, "points of the ICMM data set", [])
    require_fields(points, _ICMM_FIELDS, path, "give the points of the ICMM data set")
    for name in _ICMM_FIELDS:
        points[name] = points[name].fillna("").astype(str).str.strip()
    points = points[points["assetType"].str.contains(r"\bMine\b")]
    points = points[points.geometry.notna() & (points.geom_type == "Point") & ~points.is_empty]
    if points.empty:
        raise MinsegError(f"{path}: holds no located mines; give the points of the ICMM data set")
    require_ids(points["id"], path, "id")
    commodity = points["primaryCommodity"].str.lower()
    return pd.DataFrame(
        {
            **{name: points[name] for name in ("id", "name", "country")},
            "commodity": commodity,
            "raw_material": commodity.map(GROUP_OF).fillna(""),
            "longitude": points.geometry.x,
            "latitude": points.geometry.y,
        }
    ).reset_index(drop=True)


def tile_recipe(
    source: Source,
    path: Path,
    points: pd.DataFrame | None = None,
    limit_km: float = LIMIT_KM,
    *,
    layer: str | None = None,
    count: int | None = None,
) -> Recipe:
    """Make the recipe of tiles on each of which somebody looked at one scene: a mine is a tile.

    The file is a GeoPackage with the layers tiles (tile_id, s2_tile_id, and if there minetype1 and
    source_dataset) and one of outlines (tile_id), `OUTLINES` or `layer`. `points` are listed mines
    (`read_icmm`) that name raw materials up to `limit_km` away; of the tiles at most `count` are
    drawn at random.
    """
    notes: list[str] = []
    tiles = _read_layer(path, TILES, ("tile_id", "s2_tile_id"), notes)
    outlines = _read_layer(path, layer or OUTLINES, ("tile_id",), notes)
    tiles = _usable(tiles, notes)
    merged = outlines.dissolve("tile_id").geometry
    bare = ~tiles["tile_id"].isin(merged.index)
    if bare.any():
        notes.append(f"{bare.sum()} tile(s) without outlines left out")
    tiles = drawn_by_lot(tiles[~bare], count, notes).set_index("tile_id", drop=False)
    shapes = merged.loc[tiles["tile_id"]]
    middle = shapes.representative_point()
    mines = mine_table(
        mine="tile-" + tiles["tile_id"].astype(str).str.zfill(4),
        name="tile " + tiles["tile_id"].astype(str),
        longitude=middle.x,
        latitude=middle.y,
    )
    boxes = boxes_round(mines, shapes, notes)
    kept = mines["mine"].isin(boxes).to_numpy()
    mines, tiles, shapes = mines[kept].reset_index(drop=True), tiles[kept], shapes[kept]
    matches = match_raw_material(points, mines["mine"], shapes, limit_km)
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
    return Recipe(source, mines, polygons, boxes, notes, pins, matches, limit_km)


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

    `points` are these mines (`read_icmm`), to which outlines belong up to `limit_km` away.
    Outlines of other mines in a box are in it too, so that they do not become background. `year`
    is that of the images, where neither source nor file tells it; `classes` come instead of the
    source's; of the mines at most `count` are drawn at random.
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
    owners, _ = nearest_within(polygons, points, points["id"], limit_km * 1000)
    if (owners == "").all():
        raise MinsegError(
            f"{paths[0]}: no outline lies within {limit_km:g} km of a listed mine; check the "
            "files' reference system, or allow more (--limit-km)"
        )
    notes.append(
        f"{len(polygons)} outlines; {(owners == '').sum()} farther than {limit_km:g} km from all "
        "listed mines"
    )
    chosen = points[points["id"].isin(owners)]
    chosen = drawn_by_lot(chosen, count, notes).set_index("id", drop=False)
    shapes = polygons.dissolve(owners).geometry.loc[chosen["id"]]
    mines = mine_table(
        mine=chosen["id"],
        **{n: chosen[n] for n in ("name", "country", "longitude", "latitude", "raw_material")},
    )
    boxes = boxes_round(mines, shapes, notes)
    kept = mines["mine"].isin(boxes).to_numpy()
    mines, shapes = mines[kept].reset_index(drop=True), shapes[kept]
    matches = match_raw_material(points, mines["mine"], shapes, limit_km)
    matches["raw_material"] = mines["raw_material"].to_numpy()  # the listed mine's own
    polygons = owned(polygons, owners, boxes)
    polygons = pd.concat([polygons, of_other_years(polygons, boxes)], ignore_index=True)
    return Recipe(source, mines, polygons, boxes, notes, matches=matches, limit_km=limit_km)


def boxes_round(
    mines: pd.DataFrame, shapes: Iterable[shapely.Geometry], notes: list[str]
) -> dict[str, Grid]:
    """Lay a box round the shape of each mine of a table; note those where none can be laid."""
    boxes, problems = boxes_of(dict(zip(mines["mine"], shapes, strict=True)), BOX)
    if problems:
        notes.append(f"{len(problems)} mine(s) left out: {summarise(problems, 2)}")
    return boxes


def owned(
    polygons: gpd.GeoDataFrame, owners: pd.Series, boxes: Mapping[str, Grid]
) -> gpd.GeoDataFrame:
    """Name the mine of each polygon in a box, `NEIGHBOUR` where its owner has no box."""
    polygons = polygons.assign(mine=owners.where(owners.isin(boxes), NEIGHBOUR))
    return polygons[in_boxes(polygons, boxes)]


def recipe_lines(recipe: Recipe) -> list[str]:
    """Tell what a recipe gives, before any image is downloaded."""
    source, classes = recipe.source, set(recipe.polygons["class"])
    gigabytes = [
        recipe.num_pixels * size / 1e9 for size in (COMPRESSED_BYTES_A_PIXEL, BYTES_A_PIXEL)
    ]
    return [
        f"{source.title}; licence {source.licence}; {source.address}",
        f"mines: {len(recipe.mines)}; scenes: {len(recipe.scenes)}"
        + (", pinned" if len(recipe.pins) else ", chosen by what they show"),
        f"years: {', '.join(map(str, recipe.years))}",
        *_class_lines(classes),
        *_kind_lines(recipe),
        f"size on disk: about {gigabytes[0]:.1f} GB, at most {gigabytes[1]:.1f} GB, for "
        f"{recipe.num_pixels / 1e6:.0f} million pixels of 15 channels",
        *(f"limit: {limit}" for limit in source.limits),
        *(f"note: {note}" for note in recipe.notes),
    ]


def _kind_lines(recipe: Recipe) -> list[str]:
    """Tell how many mines of each raw material and, where any is known, mine type there are."""
    known = {}
    for column, codes in (("raw_material", RAW_MATERIALS), ("mine_type", MINE_TYPES)):
        counts = recipe.mines[column].value_counts()
        told = ", ".join(f"{code} {counts.get(code, 0)}" for code in codes)
        known[column] = f"{told}, unknown {counts.get('', 0)}"
    if recipe.source.has_sites:
        return [f"{column.replace('_', ' ')}: {told}, as stated" for column, told in known.items()]
    if recipe.matches.empty:
        return ["raw material: unknown for all; --icmm takes it from mines nearby"]
    matched = int((recipe.matches["within_limit"] > 0).sum())
    return [
        f"raw material: {known['raw_material']}; from ICMM mines within {recipe.limit_km:g} km "
        f"({matched} mines have one, {recipe.matches['ambiguous'].sum()} of them ambiguous: "
        "another group lies in reach)"
    ]


def write_recipe(recipe: Recipe, folder: Path) -> list[str]:
    """Write a recipe's files and tell how to go on: what it gives, and the command that fetches it.

    The new folder gets ``mines.csv``, the polygons, ``matches.csv`` where raw materials were
    matched, ``pins.csv`` if scenes are pinned, and ``recipe.txt`` with what this function returns.
    """
    require_enough(len(recipe.mines), "mine(s)", summarise(recipe.notes or ["give more outlines"]))
    require_new_folder(folder)
    lines = [*recipe_lines(recipe), "next:", "  " + _fetch_command(recipe, folder)]
    with replace_when_done(folder) as beside:
        beside.mkdir(parents=True)
        recipe.mines.to_csv(beside / "mines.csv", index=False)
        try:
            recipe.polygons.to_file(beside / recipe.source.polygons_file, driver="GPKG")
        except RuntimeError as error:  # as pyogrio tells of a full disk
            raise cannot_write(folder, error) from None
        if len(recipe.matches):
            recipe.matches.to_csv(beside / "matches.csv", index=False)
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
    """
    folder = Path(folder)
    mines = read_mines(folder / "mines.csv")
    fields = PolygonFields(year_field="year", mine_field="mine")
    files = [folder / name for name in {source.polygons_file for source in SOURCES.values()}]
    file = next((file for file in files if file.is_file()), folder / Source.polygons_file)
    polygons = read_annotations(file, mines, fields)
    years = tuple(sorted(int(year) for year in polygons.polygons["year"].dropna().unique()))
    pins = read_pins(folder / "pins.csv") if (folder / "pins.csv").is_file() else {}
    return FetchRequest(mines, polygons, years, provider, rule), pins


def _estimated_size(source: Source) -> str:
    """Tell how much disk scenes take of which nothing but their number and mean size is known."""
    least, most = ((side_m / PIXEL_M) ** 2 for side_m in (BOX.smallest_m, BOX.largest_m))
    low, mean, high = (
        pixels * COMPRESSED_BYTES_A_PIXEL / 1e6 for pixels in (least, source.mean_pixels, most)
    )
    gigabytes = source.num_scenes * mean / 1000
    return (
        f"about {gigabytes:.{0 if gigabytes > 1 else 1}f} GB for {source.num_scenes:,} scenes, "
        f"estimated at {mean:.0f} MB a scene ({low:.0f} to {high:.0f} by its box): boxes as "
        f"measured on {source.mean_of}, compression as measured on one real scene; the size of "
        "the download itself is unknown to us"
    )


def _class_lines(classes: Iterable[str]) -> list[str]:
    """Tell classes, which of Models 1-4 can be trained on them, and what is left of the others."""
    names = sorted(set(classes) - set(SPECIAL))
    served = [name for name, task in TASKS.items() if not task.not_annotated(set(names))]
    lines = [
        f"classes: {', '.join(names)}; of Models 1-4 they serve: {', '.join(served) or 'none'}"
    ]
    answers = partial_answers(names)
    return [*lines, *([f"answers: {'; '.join(answers)}"] if answers else [])]


def require_ids(ids: pd.Series, path: Path, field: str) -> None:
    """Refuse ids that cannot tell mines apart, or name their folders."""
    bad = ids[ids.duplicated() | ~ids.str.fullmatch(r"[\w.-]+")]
    if len(bad):
        raise MinsegError(
            f"{path}: field {field!r} holds {bad.iloc[0]!r}, which is there twice or cannot name a "
            "folder (letters, digits, _ . and - can); mend it in the file"
        )


def match_raw_material(
    points: pd.DataFrame | None,
    mines: pd.Series,
    outlines: Iterable[shapely.Geometry],
    limit_km: float,
) -> pd.DataFrame:
    """Find each mine's raw material: that of the listed mine nearest to its outline (degrees).

    distance_km is 0 inside the outline; within_limit counts points, ambiguous says that some of
    them yield another group. Where points of several groups are equally near, as inside a large
    outline, raw_material is empty. No rows without listed mines.
    """
    if points is None:
        return pd.DataFrame()
    listed = points.reset_index(drop=True).rename(columns={"id": "icmm_id", "name": "icmm_name"})
    pairs = pairs_within(points["longitude"], points["latitude"], list(outlines), limit_km * 1000)
    pairs = pairs.join(listed, on="place").sort_values("distance_m", kind="stable")
    near = pairs.groupby("shape")
    tied = pairs[pairs["distance_m"] == near["distance_m"].transform("min")].groupby("shape")
    table = pairs.drop_duplicates("shape").set_index("shape")  # the nearest of each
    table["raw_material"] = table["raw_material"].where(tied["raw_material"].nunique() == 1, "")
    table["distance_km"] = (table["distance_m"] / 1000).round(2)
    table["within_limit"], table["ambiguous"] = near.size(), near["raw_material"].nunique() > 1
    table = mines.reset_index(drop=True).to_frame("mine").join(table)
    absent = dict.fromkeys(MATCH_COLUMNS, "") | {"within_limit": 0, "ambiguous": False}
    del absent["distance_km"]
    return table[MATCH_COLUMNS].fillna(absent).astype({"within_limit": int, "ambiguous": bool})


def _read_layer(
    path: Path, layer: str, wanted: tuple[str, ...], notes: list[str]
) -> gpd.GeoDataFrame:
    """Read one layer of the tiles' file with some fields."""
    everything = PolygonFields(class_field="", classes={"*": EXTENT.name}, layer=layer)
    table = read_polygons(path, everything, notes)
    require_fields(table, wanted, path, f"check the layer {layer}")
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


def _around(tiles: gpd.GeoDataFrame) -> np.ndarray:
    """Return the ground round each tile that no tile of the same year shows."""
    seen = {year: shapely.union_all(same.geometry) for year, same in tiles.groupby("year")}
    around = shapely.buffer(tiles.geometry.to_numpy(), AROUND_DEGREES, join_style="mitre")
    grounds = shapely.intersection(around, shapely.box(-180, -90, 180, 90))
    return shapely.difference(grounds, tiles["year"].map(seen).to_numpy())


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
        year_field=(source.year_field or None) if year is None else None,
        layer=layer,
    )
    tables = [read_polygons(path, fields, notes) for path in paths]
    table = pd.concat(tables, ignore_index=True)[["class_name", "year", "geometry"]]
    table = table.rename(columns={"class_name": "class"})
    if fields.year_field is None:
        table["year"] = year or source.year or pd.NA
    if table["year"].isna().any():
        raise MinsegError(
            f"{paths[0]}: {table['year'].isna().sum()} polygons of unknown year; say which year's "
            "scenes to set them on (--year 2019)"
        )
    return table[table["class"] != "background"].astype({"year": int}).reset_index(drop=True)


def of_other_years(polygons: gpd.GeoDataFrame, boxes: Mapping[str, Grid]) -> gpd.GeoDataFrame:
    """Return as ignored what neighbours drawn in other years cover in each year's boxes.

    They are no background, but what they looked like in that year nobody said.
    """
    found = [polygons.iloc[:0]]
    for year, same in polygons.groupby("year"):
        others = polygons[polygons["year"] != year]
        shown = {mine: boxes[mine] for mine in set(same["mine"]) & set(boxes)}
        others = others[in_boxes(others, shown)] if len(others) else others
        if len(others):
            hidden = gpd.overlay(others, same[["geometry"]], how="difference")
            found.append(hidden.assign(**{"year": year, "class": "ignore", "mine": NEIGHBOUR}))
    return pd.concat(found, ignore_index=True)


def drawn_by_lot(table: pd.DataFrame, count: int | None, notes: list[str]) -> pd.DataFrame:
    """Draw some rows at random, the same ones each time, in their old order."""
    if count is None or count >= len(table):
        return table
    if count < 1:
        raise MinsegError(f"--count {count}: give 1 or more")
    notes.append(f"{count} of {len(table)} mines drawn at random")
    rows = np.random.default_rng(0).choice(len(table), count, replace=False)
    return table.iloc[np.sort(rows)]


def mine_table(**columns: pd.Series) -> pd.DataFrame:
    """Return a mine table; what is not given is empty."""
    table = pd.DataFrame(columns)
    names = [name for name in MINE_TABLE.columns if name != "case"]
    return table.reindex(columns=names, fill_value="").reset_index(drop=True)


def _fetch_command(recipe: Recipe, folder: Path) -> str:
    """Return the command that fetches a recipe's scenes, whose files are in a folder."""
    source = recipe.source
    words = [
        *("minseg", "dataset", "fetch", f"{folder}-dataset"),
        *("--mines", str(folder / "mines.csv")),
        *("--polygons", str(folder / source.polygons_file), "--mine-field", "mine"),
        *("--year-field", "year", "--years", ",".join(map(str, recipe.years))),
        *(["--pins", str(folder / "pins.csv")] if len(recipe.pins) else []),
        *("--licence", ", ".join([source.title, source.licence, source.address])),
    ]
    return shlex.join(words)
