import json

import nbformat

from minseg.data.raster import read_grid
from minseg.report.rerun import find_notebooks, rerun
from minseg.study import execution
from minseg.study.runs import RunStore
from tests.conftest import TINY, names
from tests.study.test_execution import SMALL


def read_page(page, **parameters):
    (notebook,) = find_notebooks(["10"])
    rerun(notebook, parameters, page)
    cells = [cell for cell in nbformat.read(page, 4).cells if cell.cell_type == "code"]
    return json.dumps([cell.outputs for cell in cells])


def test_page_on_a_test_mine(dataset, tmp_path):
    seen = read_page(
        tmp_path / "out.ipynb",
        dataset=str(dataset.path),
        bands="RGB",
        settings=SMALL,
        output=str(tmp_path / "mine"),
        runs=str(tmp_path / "runs"),
    )
    assert seen.count("image/png") == 2  # the map, and what cleaning did
    assert "srcdoc" in seen
    assert "preparatory work area" in seen
    assert {"classes.tif", "polygons.gpkg"} <= set(names(tmp_path / "mine"))


def test_page_on_an_image_and_a_run_of_ones_own(dataset, tmp_path):
    config = TINY.replace(bands="B02,B04")
    run = execution.run(config, dataset, RunStore(tmp_path / "elsewhere"))
    seen = read_page(
        tmp_path / "out.ipynb",
        dataset=str(dataset.path),
        images=[str(dataset.path / dataset.scenes["optical"][0])],
        run=str(run.path),
        bands="RGB",
        settings=SMALL,
        output=str(tmp_path / "mine"),
        runs=str(tmp_path / "runs"),
    )
    assert run.key in seen
    image = dataset.path / dataset.scenes["optical"][0]
    assert read_grid(tmp_path / "mine" / "classes.tif").matches(read_grid(image))
