"""The recipe for LAMES on a made-up pair of files with all the traps of the real pair."""

import re
import shlex
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from minseg import MinsegError
from minseg.data.labels import EXTENT, IGNORE, IGNORE_BITS, parse_task, task_target
from minseg.fetching.annotations import rasterise
from minseg.fetching.lames import METALS, site_recipe
from minseg.fetching.plan import plan_mines
from minseg.fetching.providers import PROVIDERS
from minseg.fetching.recipes import NEIGHBOUR, SOURCES, open_recipe, recipe_lines, write_recipe

LAMES = SOURCES["lames"]
PAGE = (Path(__file__).parents[2] / "book" / "open_minecam.md").read_text(encoding="utf-8")

# Site, metadata (name, OP or UG, metals) or None, and sections: class, date, column, row of squares
# of 500 m. Column 0 of the first two sites lies 2 km apart.
SITES = {
    "817": (
        ("Mina Año", "OP", "Coal"),
        [(5, " 2019-05-01 ", 0, 0), (9, " 2019-05-01 ", 1, 0), (3, " 2019-05-01 ", 2, 0)],
    ),
    "820": (("Beside", "OP & UG", "Cu Mo"), [(5, " 2021-05-01 ", 4, 0), (4, "2021-05-01", 5, 0)]),
    "1418": (("Deep", "UG", "N/A Fe Li"), [(8, " 2014-11-19 ", 40, 0), (6, "2014-11-19", 41, 0)]),
    "2229": (
        ("Old and new", "OP->UG", "Zn"),
        [(5, " 2006-01-28 ", 80, 0), (5, "2006-01-28", 80, 1), (4, " 2020-05-01 ", 81, 0)],
    ),
    "2503": (None, [(9, "2021-22-07", 120, 0), (7, " 2021-07-22 ", 120, 0), (0, None, 121, 0)]),
    "3219": (None, [(7, "2020-01-01", 160, 0)]),
}
REAL = ("Chile_LSM_sectors.geojson", "metadata.csv")
HEADER = ["ID", "ID Name", "Name_Mine", "Status", "Type  [OP/UG]", "Latitude", "Longitude", *METALS]


def write_sectors(folder, sites=None, without=(), **changed):
    rows, shapes = [], []
    for site, (_, sections) in (sites or SITES).items():
        for value, date, column, row in sections:
            west, south = -70 + column * 0.005, -25 + row * 0.005
            rows.append({"class": value, "date": date, "site_id": site})
            shapes.append(shapely.box(west, south, west + 0.005, south + 0.005))
    a, b, c, d, _ = shapely.get_coordinates(shapes[1])
    shapes[1] = shapely.Polygon([a, c, b, d])  # crosses itself
    table = gpd.GeoDataFrame(rows, geometry=shapes, crs="EPSG:4326").assign(**changed)
    table.drop(columns=list(without)).to_file(folder / "sectors.geojson")
    return folder / "sectors.geojson"


def write_metadata(folder, header=HEADER, sites=None, extra=()):
    lines = [";".join(["General Information", *[""] * 6]), ";".join(header)]
    for site, (told, _) in (sites or SITES).items():
        if told:
            name, kind, metals = told
            metals = [*metals.split(), "-", " N/A ", "-", "-"][: len(METALS)]
            lines.append(";".join([site, name, name, "", kind, "25°00?01?S", "", *metals]))
    lines += ["9999;None;None;;OP;;;Cu;-;-;-", *extra, ";" * 12]
    (folder / "metadata.csv").write_bytes("\r\n".join(lines).encode("latin-1"))
    return folder / "metadata.csv"


@pytest.fixture
def pair(tmp_path):
    return write_sectors(tmp_path), write_metadata(tmp_path)


def test_sites_become_mines_of_stated_kind(pair):
    recipe = site_recipe(LAMES, pair)
    mines = recipe.mines.set_index("mine")
    assert list(mines.index) == [f"lames-{site}" for site in ("1418", "2229", "2503", "817", "820")]
    assert mines["raw_material"].tolist() == ["", "MO", "", "CL", "MO"]  # Li is in no group
    assert mines["mine_type"].tolist() == ["", "", "", "OP", "OP"]
    assert mines.loc["lames-817", "name"] == "Mina Año"
    assert mines.loc["lames-2503", "name"] == "site 2503"
    assert mines.loc["lames-817", "longitude"] == pytest.approx(-69.995, abs=0.006)
    years = recipe.scenes.set_index("mine")["year"]
    assert years[mines.index].tolist() == [2016, 2020, 2021, 2019, 2021]


def test_every_trap_is_told_in_one_line(pair):
    lines = recipe_lines(site_recipe(LAMES, pair))
    assert not any("\n" in line for line in lines)
    for told in (
        "1 invalid polygon(s) repaired",
        "no calendar has, of which the year counts: 2021-22-07",
        "1 polygon(s) without the year of their image: ignored",
        "1 site(s) drawn before 2016",
        "2 polygon(s) drawn more than 2 years from the scene",
        "1 site(s) of which all is ignored left out: 3219",
        "2 site(s) without metadata, of unknown kind: 2503; 3219",
        "1 site(s) of the metadata without polygons",
        "commodity in no raw-material group: Li",
        "raw material: RR 0, MO 2, CL 1, unknown 2",
        "mine type: OC 0, OP 2, MT 0, unknown 3",
        "Model 1 as excavation",
        "Model 3 as infrastructure, tailing storage facility",
        "CC BY 4.0; https://doi.org/10.57967/hf/7289",
    ):
        assert any(told in line for line in lines), told


def test_what_has_no_class_of_table_1_is_ignored_and_model_4_is_the_union(pair, tmp_path):
    recipe = site_recipe(LAMES, pair)
    write_recipe(recipe, tmp_path / "recipe")
    assert (tmp_path / "recipe" / "polygons.gpkg").is_file()
    request, pins = open_recipe(tmp_path / "recipe", PROVIDERS["planetary-computer"])
    assert pins == {}
    plans = {plan.mine: plan for plan in plan_mines(request)[0]}
    assert plans["lames-817"].years == (2019,)
    grid = plans["lames-817"].grid
    bits = rasterise(request.annotations.of_year(2019), grid)
    # Of the 500 m squares two have a class, the crossed one half of it; the heap is ignored, and so
    # are the two of the next site, drawn in another year.
    square = 500 * 500 * np.cos(np.radians(25)) * 1.11**2 / 100
    for task, expected in (("excavation", 1), ("dumping ground", 0.5), ("model4", 1.5)):
        target = task_target(bits, parse_task(task))
        assert (target == 1).sum() == pytest.approx(expected * square, rel=0.03)
        assert (target == IGNORE).sum() == pytest.approx(3 * square, rel=0.03)
    assert EXTENT.name in request.annotations.class_names
    assert set(np.unique(bits)) == {0, 1, 2, IGNORE_BITS}  # its parts are told, so it is not


def test_chosen_sites_keep_their_neighbours(pair):
    recipes = [site_recipe(LAMES, pair, count=4) for _ in range(2)]
    assert recipes[0].mines.equals(recipes[1].mines) and len(recipes[0].mines) == 4
    whole = site_recipe(LAMES, pair)
    lost = set(whole.mines["mine"]) - set(recipes[0].mines["mine"])
    assert not lost & set(recipes[0].polygons["mine"])
    near = recipes[0].polygons
    assert NEIGHBOUR in set(near["mine"])


@pytest.mark.parametrize(
    ("sectors", "metadata", "said"),
    [
        ({"class": 10}, {}, "field 'class' holds '10', no class"),
        ({"site_id": "a/b"}, {}, "field 'site_id' holds 'a/b', which"),
        ({"sites": {"7": (None, SITES["817"][1])}}, {}, "tells of no site that was drawn"),
        ({}, {"header": [*HEADER[:4], "Mining type", *HEADER[5:]]}, "has no column Type .*edition"),
        ({}, {"header": ["Site", *HEADER[1:]]}, "has no column ID"),
        ({}, {"extra": ["817;;;;OP;;;Cu;-;-;-"]}, "two rows of site 817"),
        ({"without": ["date"]}, {}, "has no field 'date'"),
        ({}, "sectors.geojson", "no metadata of LAMES"),
        ({}, "never.csv", "no such file; check the path"),
    ],
)
def test_files_that_are_no_pair_of_one_edition_are_one_line(tmp_path, sectors, metadata, said):
    drawn = write_sectors(tmp_path, **sectors)
    named = isinstance(metadata, str)
    told = tmp_path / metadata if named else write_metadata(tmp_path, **metadata)
    with pytest.raises(MinsegError, match=said):
        site_recipe(LAMES, [drawn, told])


def test_what_is_told_of_the_real_pair_is_so(shared_data, tmp_path, monkeypatch):
    folder = shared_data / "lames_chile"
    recipe = site_recipe(LAMES, [folder / name for name in REAL])
    assert len(recipe.mines) == len(recipe.scenes) == LAMES.num_scenes
    assert recipe.num_pixels / len(recipe.scenes) == pytest.approx(LAMES.mean_pixels, rel=1e-2)
    assert recipe.mines["raw_material"].value_counts().to_dict() == {"MO": 125, "": 6, "CL": 3}
    assert "10 invalid polygon(s) repaired" in recipe.notes[0]
    assert set(recipe.polygons["class"]) == {*LAMES.classes.values(), EXTENT.name}
    monkeypatch.chdir(tmp_path)
    printed = write_recipe(recipe, Path("lames"))[-1]
    typed = re.search(r"minseg dataset fetch lames-dataset.*?(?=minseg train)", PAGE, re.DOTALL)
    assert shlex.split(printed) == shlex.split(typed[0].replace("\\\n", " "))
