import json

from minseg import open_dataset
from minseg.data.dataset import check_dataset
from minseg.data.labels import parse_task
from minseg.fetching.recipes import SOURCES, tile_recipe, write_recipe
from minseg.synthetic.server import serve
from tests.fetching.pinned_scenes import write_catalogue
from tests.fetching.test_recipes import write_tiles
from tests.pages import run_page


def test_page_builds_a_dataset_without_a_network(tmp_path):
    seen = run_page("11", tmp_path, output=str(tmp_path / "built"), years=[2019])
    assert seen.count("image/png") == 1
    assert "best by what the box shows" in seen and "of the box" in seen
    assert "No problem found." in seen
    dataset = open_dataset(tmp_path / "built" / "mines")
    assert dataset.synthetic and len(dataset.scenes) == 3
    assert check_dataset(dataset.path) == []


def test_page_builds_a_dataset_of_a_recipe(tmp_path):
    recipe = tile_recipe(SOURCES["jasansky"], write_tiles(tmp_path))
    write_recipe(recipe, tmp_path / "recipe")
    items = recipe.pins.set_index("mine")["item"]
    write_catalogue(tmp_path / "catalogue", {items[m]: box for m, box in recipe.boxes.items()})
    given = {"recipe": str(tmp_path / "recipe"), "output": str(tmp_path / "built")}
    with serve(tmp_path / "catalogue") as api:
        run_page("11", tmp_path, api=api, licence="CC BY-SA 4.0", **given)
    dataset = open_dataset(tmp_path / "built" / "mines")
    assert len(dataset.scenes) == 4 and not dataset.synthetic
    assert dataset.description.licence.endswith("CC BY-SA 4.0")
    dataset.require(parse_task("model4"), ["B02", "B03", "B04"])
    scenes = json.loads((dataset.path / "fetch.json").read_text())["scenes"]
    assert {scene["row"]["mine"]: scene["optical"]["item"] for scene in scenes} == items.to_dict()
