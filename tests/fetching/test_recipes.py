import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from rasterio.warp import transform

from minseg import MinsegError
from minseg.data.labels import EXTENT, IGNORE_BITS, class_bit, decode_bits
from minseg.fetching.annotations import rasterise
from minseg.fetching.plan import plan_mines
from minseg.fetching.providers import PROVIDERS
from minseg.fetching.recipes import (
    BYTES_A_PIXEL,
    COMPRESSED_BYTES_A_PIXEL,
    MEAN_PIXELS,
    NEIGHBOUR,
    SOURCES,
    area_recipe,
    match_raw_material,
    open_recipe,
    read_icmm,
    recipe_lines,
    source_lines,
    tile_recipe,
    write_recipe,
)

JASANSKY = SOURCES["jasansky"]
SCENE = "S2B_MSIL2A_{}T081209_R078_T35KLS_20201003T204944"


def square(longitude, latitude, side=0.02):
    """A square in degrees round a place."""
    return shapely.Point(longitude, latitude).buffer(side / 2, cap_style="square")


def write_tiles(tmp_path, **changed):
    """Four tiles of a tenth of a degree, the last two side by side but of two years."""
    table = {
        "tile_id": [7, 12, 30, 31],
        "s2_tile_id": [SCENE.format(day) for day in (20190527, 20190801, 20190901, 20170901)],
        "source_dataset": ["both", "maus", "tang", "both"],
        "minetype1": ["Surface", "Placer", "Surface", "Surface"],
    } | changed
    tiles = [square(x, 45, 0.1) for x in (20.0, 22.0, 24.0, 24.1)]
    # The last but one reaches the edge of its tile, a kilometre and a half from the last.
    drawn = [square(x, 45) for x in (20.0, 22.02, 21.98, 24.04, 24.07)]
    numbers = {"tile_id": [7, 12, 12, 30, 31]}
    path = tmp_path / "tiles.gpkg"
    for layer, columns, shapes in (
        ("tiles", table, tiles),
        ("polygons_annotated", numbers, drawn),
    ):
        gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326").to_file(path, layer=layer)
    return path


def plans_of(folder):
    """The polygons and plans that a fetch of the recipe's files has."""
    request, _ = open_recipe(folder, PROVIDERS["planetary-computer"])
    return request.annotations, {plan.mine: plan for plan in plan_mines(request)[0]}


def burnt(polygons, grid, year, longitude, latitude):
    """Label of the pixel at a place."""
    xs, ys = transform("EPSG:4326", grid.crs, [longitude], [latitude])
    column, row = ~grid.transform @ (xs[0], ys[0])
    assert 0 <= column < grid.width and 0 <= row < grid.height
    return int(rasterise(polygons.of_year(year), grid)[int(row), int(column)])


def test_tiles_become_mines_with_their_scene_and_their_year(tmp_path):
    recipe = tile_recipe(JASANSKY, write_tiles(tmp_path))
    assert recipe.mines["mine"].tolist() == ["tile-0007", "tile-0012", "tile-0030", "tile-0031"]
    assert recipe.years == (2017, 2019) and len(recipe.scenes) == 4
    assert recipe.pins["year"].tolist() == [2019, 2019, 2019, 2017]
    assert recipe.pins["item"].iloc[0] == SCENE.format(20190527)
    assert set(recipe.mines["raw_material"]) == {""} and recipe.matches.empty
    drawn = recipe.polygons[recipe.polygons["class"] == EXTENT.name]
    assert shapely.area(drawn.geometry).round(6).tolist() == [4e-4, 8e-4, 4e-4, 4e-4]
    text = "\n".join(recipe_lines(recipe))
    pixels = sum(grid.height * grid.width for grid in recipe.boxes.values())
    for told in (
        f"at most {pixels * BYTES_A_PIXEL / 1e9:.1f} GB",
        "mines: 4; scenes: 4, pinned",
        "they serve: model4\n",
        "CC BY-SA 4.0",
        "mine type",
    ):
        assert told in text
    few = [tile_recipe(JASANSKY, tmp_path / "tiles.gpkg", count=3) for _ in range(2)]
    assert len(few[0].mines) == 3 and "3 of 4 mines" in few[0].notes[-1]
    assert few[0].mines.equals(few[1].mines)


def test_ground_that_nobody_looked_at_is_ignored(tmp_path, file_limit):
    folder = tmp_path / "recipe"
    recipe = tile_recipe(JASANSKY, write_tiles(tmp_path))
    with pytest.raises(MinsegError, match="cannot write here"):
        write_recipe(recipe, tmp_path / "tiles.gpkg" / "recipe")
    with file_limit(8192), pytest.raises(MinsegError, match="recipe: cannot"):
        write_recipe(recipe, folder)
    assert not folder.exists()
    write_recipe(recipe, folder)
    with pytest.raises(MinsegError, match="exists"):
        write_recipe(recipe, folder)
    polygons, plans = plans_of(folder)
    assert polygons.class_names == (EXTENT.name,)
    east, bit = plans["tile-0030"].grid, class_bit(EXTENT.name)
    assert plans["tile-0030"].years == (2019,) and plans["tile-0031"].years == (2017,)
    assert burnt(polygons, east, 2019, 24.04, 45.0) == bit
    assert burnt(polygons, east, 2019, 24.02, 45.0) == 0
    # In the next tile an outline was drawn, but on an image of another year.
    assert burnt(polygons, east, 2019, 24.055, 45.0) == IGNORE_BITS
    assert burnt(polygons, plans["tile-0031"].grid, 2017, 24.055, 45.0) == 0
    # Boxes are laid round outlines, not round the ground that is ignored.
    assert max(plan.grid.width for plan in plans.values()) < 800


def test_tiles_without_use_are_left_out_and_counted(tmp_path):
    path = write_tiles(
        tmp_path,
        source_dataset=["rejected", "both", "both", "both"],
        s2_tile_id=["x", SCENE.format(20190801), SCENE.format(20190901), "LC08_2019"],
    )
    recipe = tile_recipe(JASANSKY, path)
    assert recipe.mines["mine"].tolist() == ["tile-0012", "tile-0030"]
    assert "1 tile(s) rejected" in recipe.notes[0] and "'LC08_2019'" in recipe.notes[1]
    with pytest.raises(MinsegError, match=r"2 mine\(s\): a split by mine needs at least 3"):
        write_recipe(recipe, tmp_path / "recipe")
    assert not (tmp_path / "recipe").exists()


LISTED = [
    (20.0, 45.0, "coal", "Mine"),
    (20.5, 45.0, "copper", "Mine"),
    (21.0, 45.0, "gold", "Mine"),
    (21.035, 45.0, "coal", "Mine"),  # 3 km from the one before
    (50.0, 10.0, "gold", "Mine"),  # with no outline near
]
AREAS = [square(x, 45) for x in (20.0, 20.5, 20.53, 21.0, 21.035)]
AREAS += [square(20.12, 45), square(0, 0)]  # too far from the first mine to be its own, from all


def write_areas(tmp_path, name="areas.gpkg", **columns):
    path = tmp_path / name
    gpd.GeoDataFrame(columns, geometry=AREAS, crs="EPSG:4326").to_crs(3857).to_file(path)
    return path


@pytest.fixture
def points(tmp_path):
    return read_icmm(write_icmm(tmp_path, LISTED))


def test_outlines_go_to_the_nearest_listed_mine(tmp_path, points):
    path = write_areas(tmp_path, **{"class": ["large"] * 7})  # a field of the file's own
    recipe = area_recipe(SOURCES["maus"], [path], points, 5)
    assert recipe.mines["mine"].tolist() == [f"ICMM0000{k}" for k in range(4)]
    assert recipe.mines["raw_material"].tolist() == ["CL", "MO", "MO", "CL"]
    assert recipe.matches["ambiguous"].tolist() == [False, False, True, True]
    assert "7 outlines; 2 farther than 5 km" in recipe.notes[0]
    counted = recipe.polygons.groupby("mine").size().to_dict()
    assert counted == {"ICMM00000": 1, "ICMM00001": 2, "ICMM00002": 1, "ICMM00003": 1} | {
        NEIGHBOUR: 1  # beside the first mine's box: it must not become background
    }
    assert recipe.years == (2019,) and recipe.pins.empty
    assert any("chosen by what they show" in line for line in recipe_lines(recipe))
    few = area_recipe(SOURCES["maus"], [path], points, 5, count=3)
    (missing,) = set(recipe.mines["mine"]) - set(few.mines["mine"])
    assert not (few.polygons["mine"] == missing).any()
    write_recipe(recipe, tmp_path / "recipe")
    polygons, plans = plans_of(tmp_path / "recipe")
    grid = plans["ICMM00002"].grid
    assert burnt(polygons, grid, 2019, 21.03, 45.0) == class_bit(EXTENT.name)  # the neighbour's


def test_a_copy_that_somebody_keeps_beside_the_polygons_is_not_taken_for_them(tmp_path, points):
    recipe = area_recipe(SOURCES["maus"], [write_areas(tmp_path)], points, 5)
    write_recipe(recipe, tmp_path / "recipe")
    for name in ("labels_before.gpkg", "a.gpkg", "old labels.gpkg", "z.gpkg"):
        recipe.polygons.iloc[:1].to_file(tmp_path / "recipe" / name)
    polygons, _ = plans_of(tmp_path / "recipe")
    assert len(polygons.polygons) == len(recipe.polygons)


def test_years_values_and_reach_that_cannot_be_are_refused(tmp_path, points):
    path, far = write_areas(tmp_path, "areas.shp", Id=range(7)), points.iloc[-1:]
    assert area_recipe(SOURCES["tang"], [path], points, year=2020).years == (2020,)
    strange = write_areas(tmp_path, **WEAK | {"class_name": ["open_pit"] * 7})
    with pytest.raises(MinsegError, match="'class_name' holds 'open_pit'"):
        area_recipe(SOURCES["cheng"], [strange], points)
    mapped = area_recipe(SOURCES["cheng"], [strange], points, classes={"open_pit": "excavation"})
    assert set(mapped.polygons["class"]) - {"ignore"} == {"excavation"}
    for name, listed, given, said in (
        ("tang", points, {}, "7 polygons of unknown year.*--year 2019"),
        ("tang", points, {"year": 1999}, "--year 1999: Sentinel-2 began"),
        ("maus", far, {}, "no outline lies within 10 km"),
        ("maus", points, {"limit_km": 31}, "--limit-km 31: give 30 or less"),
        ("maus", points, {"count": 0}, "--count 0: give 1 or more"),
    ):
        with pytest.raises(MinsegError, match=said):
            area_recipe(SOURCES[name], [path], listed, **given)


WEAK = {
    "class_name": [
        *("Open pit", "Waste dumping site", "Facility", "Water body", "General disturbed land"),
        *("Open pit", "Open pit"),
    ],
    "year": [2019, 2019, 2019, 2019, 2021, 2019, 2019],
}


def test_weak_classes_serve_what_they_can_and_neighbours_of_other_years_are_ignored(
    tmp_path, points
):
    recipe = area_recipe(SOURCES["cheng"], [write_areas(tmp_path, **WEAK)], points, 5)
    drawn = set(recipe.polygons["class"]) - {"ignore"}
    assert drawn == {"excavation", "dumping ground", "infrastructure", EXTENT.name}
    lines = recipe_lines(recipe)
    assert any(line.endswith("they serve: model2, model4") for line in lines)
    assert any("Model 3 as infrastructure" in line for line in lines)
    assert len(recipe.scenes) == 4  # one a mine, of the year its areas were mapped in
    write_recipe(recipe, tmp_path / "recipe")
    polygons, plans = plans_of(tmp_path / "recipe")
    assert plans["ICMM00002"].years == (2019,) and plans["ICMM00003"].years == (2021,)
    grid = plans["ICMM00002"].grid
    assert burnt(polygons, grid, 2019, 21.03, 45.0) == IGNORE_BITS
    bits = rasterise(polygons.of_year(2019), grid)
    assert np.count_nonzero(decode_bits(bits, EXTENT.name)) > 0  # its own water


@pytest.mark.parametrize(
    ("name", "mines", "models"),
    [
        ("jasansky", "1,514", "model4"),
        ("maus", "8,018", "model4"),
        ("tang", "8,018", "model4"),
        ("cheng", "8,018", "model2, model4"),
        ("lames", "134", "model2, model4"),
    ],
)
def test_before_a_download_mines_tiles_classes_and_size_are_told(name, mines, models):
    lines = source_lines(SOURCES[name])
    told = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert told["licence"].startswith("CC BY") and "doi.org/10." in told["from"]
    assert sum(line.startswith("limit: ") for line in lines) >= 4
    assert told["mines"].startswith(f"up to {mines}") and "unknown before" in told["mines"]
    assert told["tiles"].startswith("1,514 of 20.5 km" if name == "jasansky" else "none")
    assert told["classes"].endswith(f"they serve: {models}")
    source, number = SOURCES[name], int(mines.replace(",", ""))
    gigabytes = number * source.mean_pixels * COMPRESSED_BYTES_A_PIXEL / 1e9
    assert f" GB for {mines} scenes, estimated" in told["size on disk"]
    assert float(told["size on disk"].split()[1]) == pytest.approx(gigabytes, abs=0.5)
    assert "(5 to 162 by its box)" in told["size on disk"]  # 5.16 and 30 km, 18 bytes a pixel
    assert "unknown to us" in told["size on disk"]


def test_what_is_told_as_measured_or_counted_is_so(shared_data):
    path = shared_data / "jasansky_tiles" / "mining_tiles_test_annotations.gpkg"
    recipe = tile_recipe(JASANSKY, path)
    assert len(recipe.mines) == 116
    assert recipe.num_pixels / len(recipe.scenes) == pytest.approx(MEAN_PIXELS, rel=1e-3)
    points = read_icmm(shared_data / "icmm_mines" / "mines.geojson")
    assert {SOURCES[name].num_scenes for name in ("maus", "tang", "cheng")} == {len(points)}
    assert points["raw_material"].value_counts().to_dict() == {"CL": 4183, "MO": 3696, "": 139}


def write_icmm(tmp_path, rows, **changed):
    """ICMM's form: rows are (longitude, latitude, commodity, kind of plant)."""
    table = gpd.GeoDataFrame(
        {
            "id": [f"ICMM{k:05d}" for k in range(len(rows))],
            "name": [f"Mine {k}" for k in range(len(rows))],
            "country": "Nowhere",
            "assetType": [row[3] for row in rows],
            "primaryCommodity": [row[2] for row in rows],
        },
        geometry=[shapely.Point(row[:2]) for row in rows],
        crs="EPSG:4326",
    ).assign(**changed)
    table.to_file(tmp_path / "mines.geojson")
    return tmp_path / "mines.geojson"


def test_only_mines_are_taken_and_commodities_grouped(tmp_path):
    rows = [
        (20, 45, "iron ore ", "Mine"),  # with the blank that the real file has
        (20, 46, "Thermal coal", "Mine;Plant"),
        (20, 47, "phosphate", "Mine"),
        (20, 48, "copper", "Smelter"),
        (20, 49, None, "Mine;Smelter"),
    ]
    points = read_icmm(write_icmm(tmp_path, rows))
    assert points["id"].tolist() == ["ICMM00000", "ICMM00001", "ICMM00002", "ICMM00004"]
    assert points["raw_material"].tolist() == ["MO", "CL", "", ""]
    assert points["longitude"].tolist() == [20] * 4 and points["latitude"].iloc[1] == 46


def test_a_list_that_cannot_be_matched_is_one_line(tmp_path):
    rows = [(20, 45, "coal", "Mine"), (20, 46, "coal", "Mine")]
    table = gpd.read_file(write_icmm(tmp_path, rows, id="ICMM1"))
    for name, changed, said in (
        ("folder.gpkg", table.assign(id=["A/1", "A2"]), "'A/1'.* cannot name a folder"),
        ("none.gpkg", table.assign(id=["", None]), "holds ''"),
        ("twice.gpkg", table, "holds 'ICMM1', which is there twice"),
        ("numbers.gpkg", table.assign(assetType=1), "holds no located mines"),
        ("plants.gpkg", table.assign(assetType="Smelter"), "holds no located mines"),
        ("less.gpkg", table.drop(columns="assetType"), "has no field 'assetType'"),
    ):
        changed.to_file(tmp_path / name)
        with pytest.raises(MinsegError, match=rf"{name}: .*{said}|{name}: {said}"):
            read_icmm(tmp_path / name)


@pytest.mark.parametrize(
    ("limit_km", "found"),
    [
        (10, ("MO", "ICMM00001", 2, True)),
        (4, ("MO", "ICMM00001", 1, False)),
        (1, ("", "", 0, False)),
    ],
)
def test_the_nearest_mine_decides_and_others_within_the_limit_are_counted(
    tmp_path, limit_km, found
):
    outline = shapely.box(20, 45, 20.01, 45.01)
    rows = [
        (20.005, 45.06, "coal", "Mine"),  # 5.6 km north
        (20.005, 45.04, "copper", "Mine"),  # 3.3 km
        (20.005, 45.03, "gold", "Smelter"),
    ]
    points = read_icmm(write_icmm(tmp_path, rows))
    (row,) = match_raw_material(points, pd.Series(["a"]), [outline], limit_km).to_dict("records")
    columns = ("raw_material", "icmm_id", "within_limit", "ambiguous")
    assert tuple(row[column] for column in columns) == found
    assert not found[0] or row["distance_km"] == pytest.approx(3.33, abs=0.02)


@pytest.mark.parametrize(("metal", "found"), [("coal", ("", True)), ("tin", ("MO", False))])
def test_mines_of_two_groups_inside_one_outline_leave_it_open(tmp_path, metal, found):
    rows = [(20.02, 45.02, metal, "Mine"), (20.08, 45.08, "gold", "Mine")]
    points = read_icmm(write_icmm(tmp_path, rows))
    outline = shapely.box(20, 45, 20.1, 45.1)
    (row,) = match_raw_material(points, pd.Series(["a"]), [outline], 10).to_dict("records")
    assert (row["raw_material"], row["ambiguous"], row["distance_km"]) == (*found, 0)
