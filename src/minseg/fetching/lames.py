"""LAMES: sections of large mines that people drew site by site, and a file that tells of sites."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from minseg.data.labels import EXTENT
from minseg.data.mines import text_of
from minseg.errors import MinsegError, summarise
from minseg.fetching.annotations import PolygonFields, read_polygons, require_fields
from minseg.fetching.recipes import (
    GROUP_OF,
    Recipe,
    Source,
    boxes_round,
    drawn_by_lot,
    mine_table,
    of_other_years,
    owned,
    require_ids,
)

FIRST_SCENES = 2016
"""Year of the scenes for what was drawn on older images; of 2015 there are few."""

YEARS_APART = 2
"""How far the years of a polygon's image and of its scene may be apart."""

SITE, NAME, MINE_TYPE = "ID", "Name_Mine", "Type [OP/UG]"
METALS = ["Metal/Commodity", "Metal2", "Metal_3", "Metal_4"]
"""Columns of the metadata, blanks between words taken for one."""

NOT_STATED = ("", "-", "N/A")


def site_recipe(
    source: Source,
    paths: Sequence[Path],
    *,
    classes: Mapping[str, str] | None = None,
    count: int | None = None,
) -> Recipe:
    """Make the recipe of sites whose sections somebody drew: a mine is a site, with one scene.

    Of the two files one holds polygons with the fields class, site_id and date; the other, CSV,
    names, commodities, and open pit or underground. `classes` come instead of the source's; of the
    sites at most `count` are drawn at random.
    """
    notes: list[str] = []
    sectors, metadata = sorted(paths, key=lambda path: path.suffix.lower() == ".csv")
    polygons = _read_sectors(source, sectors, classes, notes)
    facts = _read_sites(metadata, sorted(set(polygons["site"])), notes)
    drawn = polygons[polygons["class"] != "ignore"]
    facts = drawn_by_lot(facts[facts.index.isin(drawn["site"])], count, notes)
    shapes = drawn.dissolve("site").geometry.loc[facts.index]
    middle = shapes.representative_point()
    told = facts.assign(mine="lames-" + facts.index.to_series(), country="Chile")
    told = told.assign(continent="South America", longitude=middle.x, latitude=middle.y)
    mines = mine_table(**{str(name): told[name] for name in told})
    boxes = boxes_round(mines, shapes, notes)
    mines = mines[mines["mine"].isin(boxes)].reset_index(drop=True)
    polygons = owned(polygons, "lames-" + polygons["site"], boxes)
    polygons = polygons[["mine", "class", "year", "geometry"]]
    # Outlines of all that was drawn: they let Model 4, and no other task, learn from the union.
    whole = polygons[polygons["class"] != "ignore"].dissolve(["mine", "year"]).reset_index()
    polygons = pd.concat(
        [polygons, whole.assign(**{"class": EXTENT.name}), of_other_years(polygons, boxes)],
        ignore_index=True,
    )
    return Recipe(source, mines, polygons, boxes, notes)


def _read_sectors(
    source: Source, path: Path, classes: Mapping[str, str] | None, notes: list[str]
) -> gpd.GeoDataFrame:
    """Read the polygons: site, class, and the year of the site's scene."""
    fields = PolygonFields(source.class_field, classes or source.classes)
    table = read_polygons(path, fields, notes)
    require_fields(table, ("site_id", "date"), path, "give the sectors of LAMES")
    sites = table["site_id"].fillna("").astype(str).str.strip()
    require_ids(sites.drop_duplicates(), path, "site_id")
    polygons = gpd.GeoDataFrame(
        {"site": sites, "class": table["class_name"], "drawn": _years_drawn(table["date"], notes)},
        geometry=table.geometry,
    )
    return _with_scenes(polygons[polygons["class"] != "background"].reset_index(drop=True), notes)


def _years_drawn(dates: pd.Series, notes: list[str]) -> pd.Series:
    """Read the years of dates, which have blanks around them; NaN where there is none."""
    text = dates.fillna("").astype(str).str.strip()
    years = text.str.extract(r"^((?:19|20)\d\d)(?!\d)")[0].astype(float)
    odd = text[years.notna() & pd.to_datetime(text, format="%Y-%m-%d", errors="coerce").isna()]
    if len(odd):
        notes.append(f"date that no calendar has, of which the year counts: {_listed(odd)}")
    if years.isna().any():
        notes.append(f"{years.isna().sum()} polygon(s) without the year of their image: ignored")
    return years


def _with_scenes(polygons: gpd.GeoDataFrame, notes: list[str]) -> gpd.GeoDataFrame:
    """Choose each site's year; ignore what was drawn on images too far from it, or undated.

    A site with polygons of several years is no time series: they lie side by side, on images that
    were put together. Its scene is of the year to which most of the drawn area is near.
    """
    areas, drawn = shapely.area(polygons.geometry.to_numpy()), polygons["drawn"].to_numpy()
    meant = (polygons["class"] != "ignore").to_numpy() & ~np.isnan(drawn)
    year = np.fmax(drawn, FIRST_SCENES)
    for rows in polygons.groupby("site").indices.values():
        own = rows[meant[rows]]
        candidates = np.unique(year[own])
        if len(candidates):
            apart = np.abs(drawn[own] - candidates[:, np.newaxis])  # (candidates, polygons)
            near = np.clip(YEARS_APART + 1 - apart, 0, None) @ areas[own]
            year[rows] = candidates[near.argmax()]
    near_enough = np.abs(drawn - year) <= YEARS_APART
    early = polygons.loc[meant & near_enough & (drawn < FIRST_SCENES), "site"].nunique()
    if early:
        notes.append(f"{early} site(s) drawn before {FIRST_SCENES}, set on scenes of that year")
    if (meant & ~near_enough).any():
        notes.append(
            f"{(meant & ~near_enough).sum()} polygon(s) drawn more than {YEARS_APART} years from "
            "the scene of their site: ignored"
        )
    classes = polygons["class"].where(near_enough, "ignore")
    left = set(polygons["site"]) - set(polygons.loc[classes != "ignore", "site"])
    if left:
        notes.append(f"{len(left)} site(s) of which all is ignored left out: {_listed(left)}")
    return polygons.assign(**{"class": classes, "year": year.astype(int)})


def _read_sites(path: Path, sites: list[str], notes: list[str]) -> pd.DataFrame:
    """Read name, raw material and mine type of sites; empty where the metadata do not tell."""
    rows = _read_metadata(path)
    without = set(sites) - set(rows[SITE])
    if without == set(sites):
        raise MinsegError(f"{path}: tells of no site that was drawn; give that of the same edition")
    if without:
        notes.append(
            f"{len(without)} site(s) without metadata, of unknown kind: {_listed(without)}"
        )
    idle = set(rows[SITE]) - set(sites)
    if idle:
        notes.append(f"{len(idle)} site(s) of the metadata without polygons left out")
    stated = [set(row) - set(NOT_STATED) for row in rows[METALS].to_numpy()]
    groups = [{GROUP_OF.get(metal.lower(), "") for metal in metals} for metals in stated]
    strange = {metal for metals in stated for metal in metals if metal.lower() not in GROUP_OF}
    if strange:
        notes.append(f"commodity in no raw-material group: {_listed(strange)}")
    facts = pd.DataFrame(
        {
            "name": rows[NAME].to_numpy(),
            "raw_material": [one.pop() if len(one) == 1 else "" for one in groups],
            # What is underground, was once a pit or is not told stays empty.
            "mine_type": np.where(rows[MINE_TYPE].isin(("OP", "OP & UG")), "OP", ""),
        },
        index=rows[SITE],
    ).reindex(sites)
    return facts.assign(name=facts["name"].fillna("site " + facts.index.to_series())).fillna("")


def _read_metadata(path: Path) -> pd.DataFrame:
    """Read the sites' rows as text: semicolons, Latin-1, over the header one of groups."""
    text = text_of(path, "latin-1")
    try:
        lines = [
            [" ".join(cell.split()) for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=";")
        ]
    except csv.Error:
        lines = []
    header = next((k for k, row in enumerate(lines) if SITE in row), -1)
    wanted = [SITE, NAME, MINE_TYPE, *METALS]
    missing = [name for name in wanted if header < 0 or name not in lines[header]]
    if missing:
        raise MinsegError(
            f"{path}: has no column {summarise(missing)}, so it is no metadata of LAMES, or of "
            "another edition; give metadata.csv as it lies beside the sectors"
        )
    table = pd.DataFrame(
        [dict(zip(lines[header], row, strict=False)) for row in lines[header + 1 :]]
    )
    table = table.reindex(columns=wanted).fillna("")
    table = table[table[SITE] != ""].reset_index(drop=True)
    twice = table.loc[table[SITE].duplicated(), SITE]
    if len(twice):
        raise MinsegError(f"{path}: has two rows of site {twice.iloc[0]}; keep one of them")
    return table


def _listed(values: Collection[str]) -> str:
    """List some values for a note."""
    return summarise(sorted(set(values)))
