"""Recipes: from a public set of mine outlines to the inputs of ``minseg dataset fetch``."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import pandas as pd

from minseg.atomic import replace_when_done
from minseg.data.mines import PARTS, RAW_MATERIALS
from minseg.data.raster import Grid
from minseg.errors import MinsegError, summarise
from minseg.fetching.annotations import PolygonFields, read_annotations
from minseg.fetching.boxes import BoxRule, mine_box
from minseg.fetching.catalogue import Kind
from minseg.fetching.choices import read_pins
from minseg.fetching.plan import FetchRequest, read_mines
from minseg.fetching.providers import Provider
from minseg.recipes.icmm import MATCH_COLUMNS
from minseg.recipes.sizes import BOX, BYTES_A_PIXEL, COMPRESSED_BYTES_A_PIXEL
from minseg.recipes.sources import Source, class_line


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
    """How each mine came by its raw material: `minseg.recipes.icmm.MATCH_COLUMNS`."""
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
