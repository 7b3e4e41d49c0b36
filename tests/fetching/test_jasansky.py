"""From Jasansky's outlines to a dataset for Model 4, with real tile ids and polygons."""

import json
import shlex

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from rasterio.warp import transform

from minseg import MinsegError, open_dataset
from minseg.data.dataset import check_dataset
from minseg.data.labels import EXTENT, IGNORE, parse_task
from minseg.fetching.plan import plan_mines
from minseg.fetching.providers import PROVIDERS
from minseg.fetching.recipes import open_recipe
from minseg.synthetic.server import serve
from tests.conftest import run
from tests.fetching.pinned_scenes import write_catalogue

# A small mine at its tile's edge, one that lies in another UTM zone than its scene, one of 2017,
# and one of 2021 that was processed again since, with the offset of 1000.
TILES = (1248, 441, 2322, 1326)


@pytest.fixture(scope="module")
def tiles(shared_data, tmp_path_factory):
    """Some real tiles in a file of their own."""
    whole = shared_data / "jasansky_tiles" / "mining_tiles_test_annotations.gpkg"
    path = tmp_path_factory.mktemp("tiles") / "tiles.gpkg"
    for layer in ("tiles", "polygons_annotated"):
        table = gpd.read_file(whole, layer=layer)
        table[table["tile_id"].isin(TILES)].to_file(path, layer=layer, driver="GPKG")
    return path


@pytest.fixture(scope="module")
def dataset(tiles, shared_data, tmp_path_factory):
    """The dataset, made by the commands that a reader types."""
    folder = tmp_path_factory.mktemp("open") / "model4"
    icmm = shared_data / "icmm_mines" / "mines.geojson"
    assert run("dataset", "recipe", "jasansky", tiles, "--icmm", icmm, "-o", folder) == 0
    command = shlex.split((folder / "recipe.txt").read_text().splitlines()[-1])
    assert command[:3] == ["minseg", "dataset", "fetch"]
    catalogue = tmp_path_factory.mktemp("catalogue") / "made"
    write_catalogue(catalogue, boxes(folder))
    with serve(catalogue) as api:
        assert run(*command[1:], "--api", api) == 0
    return open_dataset(command[3])


def boxes(folder):
    """Pinned item to the box it is wanted for."""
    request, pins = open_recipe(folder, PROVIDERS["planetary-computer"])
    assert request.years == (2017, 2019, 2021)
    plans, _ = plan_mines(request)
    return {pins[plan.mine, plan.years[0], "optical"]: plan.grid for plan in plans}


def test_the_pinned_scenes_are_fetched_and_no_other(dataset, tiles):
    real = gpd.read_file(tiles, layer="tiles").set_index("tile_id")["s2_tile_id"]
    scenes = json.loads((dataset.path / "fetch.json").read_text())["scenes"]
    fetched = {scene["row"]["mine"]: scene["optical"]["item"] for scene in scenes}
    assert fetched == {f"tile-{tile:04d}": real[tile] for tile in TILES}
    assert {scene["optical"]["baseline"] for scene in scenes} == {2.12, 5.0}
    candidates = pd.read_csv(dataset.path / "candidates.csv")
    assert set(candidates.loc[candidates["chosen"], "reason"]) == {"pinned"}
    assert len(candidates) == len(TILES)  # nobody asks for a year's items where one is pinned


def test_the_dataset_is_sound_and_knows_raw_materials(dataset):
    assert check_dataset(dataset.path) == []
    assert "CC BY-SA" in dataset.description.licence and not dataset.synthetic
    mines = dataset.mines.set_index("mine")
    # In the list, silver is mined in tile 441, iron in 2322, and nothing near the others.
    ores = {mine for mine, group in mines["raw_material"].items() if group == "MO"}
    assert ores == {"tile-0441", "tile-2322"} and set(mines["mine_type"]) == {""}
    assert (mines.loc[~mines.index.isin(ores), "raw_material"] == "").all()
    assert mines.loc["tile-2322", "country"] == "Australia"
    assert dataset.description.class_names == (EXTENT.name,)
    dataset.require(parse_task("model4"), ["B02", "B03", "B04"])
    with pytest.raises(MinsegError, match="nobody annotated"):
        dataset.require(parse_task("excavation"), ["B02"])


def test_the_target_is_the_outline_and_ground_outside_of_the_tile_is_ignored(dataset, tiles):
    random = np.random.default_rng(0)
    shapes = {
        layer: gpd.read_file(tiles, layer=layer).set_index("tile_id").make_valid()
        for layer in ("tiles", "polygons_annotated")
    }
    seen = set()
    for _, scene in dataset.scenes.iterrows():
        tile, grid = int(scene["mine"].removeprefix("tile-")), dataset.grid(scene)
        target = dataset.read_target(scene, parse_task("model4"))
        rows, columns = random.integers(0, grid.height, 2000), random.integers(0, grid.width, 2000)
        xs, ys = grid.transform @ (columns + 0.5, rows + 0.5)
        points = shapely.points(*transform(grid.crs, "EPSG:4326", xs, ys))
        inside = shapely.contains(shapes["polygons_annotated"][tile], points)
        looked_at = shapely.contains(shapes["tiles"][tile], points)
        truth = np.where(looked_at, inside.astype(np.uint8), IGNORE)
        # Straight lines in degrees are not quite straight in metres.
        assert (target[rows, columns] == truth).mean() > 0.995
        seen |= set(target[rows, columns])
    assert seen == {0, 1, IGNORE}
