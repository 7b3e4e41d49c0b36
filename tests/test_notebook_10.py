from minseg.data.raster import read_grid
from minseg.study import execution
from minseg.study.runs import RunStore
from tests.conftest import TINY, names
from tests.pages import study_page


def test_page_on_a_test_mine(dataset, tmp_path):
    seen = study_page("10", tmp_path, dataset, bands="RGB", output=str(tmp_path / "mine"))
    assert seen.count("image/png") == 2  # the map, and what cleaning did
    assert "srcdoc" in seen
    assert "preparatory work area" in seen
    assert {"classes.tif", "polygons.gpkg"} <= set(names(tmp_path / "mine"))


def test_page_on_an_image_and_a_run_of_ones_own(dataset, tmp_path):
    config = TINY.replace(bands="B02,B04")
    run = execution.run(config, dataset, RunStore(tmp_path / "elsewhere"))
    image = dataset.path / dataset.scenes["optical"][0]
    given = {"images": [str(image)], "run": str(run.path), "output": str(tmp_path / "mine")}
    assert run.key in study_page("10", tmp_path, dataset, bands="RGB", **given)
    assert read_grid(tmp_path / "mine" / "classes.tif").matches(read_grid(image))
