import itertools
import shutil
from pathlib import Path

import nbformat
import papermill
import pytest

from minseg.data.raster import read_grid
from minseg.report.rerun import find_notebooks
from minseg.study import execution
from minseg.study.paper import PAPER_FOLDER
from minseg.study.runs import RunStore
from tests.conftest import TINY, names, write_small_dataset
from tests.pages import outputs, rerun, run_page, study_page

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form_of_a_notebook(path):
    cells = nbformat.read(path, 4).cells
    code = code_cells(path)
    assert cells[0].cell_type == "markdown"
    (given,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    written = {line.split(":")[0] for line in given.source.splitlines()}
    assert set(papermill.inspect_notebook(path)) == written  # it stops at = in a comment
    for before, cell in itertools.pairwise(cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", "prose stands before each cell"
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len([line for line in cell.source.splitlines() if line.strip()]) <= 15
            assert "def " not in cell.source
    (expected,) = (k for k, cell in enumerate(cells) if "**Expectation.**" in cell.source)
    if path.stem != "11_build_a_dataset":  # it asks what will be there, and fetches it afterwards
        assert cells[expected - 1] == code[1], "the answer stands before what was expected"


def test_every_notebook_is_in_the_book():
    contents = (Path(__file__).parents[1] / "book" / "_toc.yml").read_text()
    for path in NOTEBOOKS:
        assert f"notebooks/{path.stem}" in contents


def test_page_of_the_paper_as_printed_is_the_same_in_a_kernel(tmp_path):
    seen = run_page("14", tmp_path)
    assert seen.count("image/png") == 2
    assert seen.count("<details") > 40
    assert "1,207" in seen and "16 of 48" in seen
    assert "blank label" in seen
    (notebook,) = find_notebooks(["14"])
    rerun(notebook, {}, tmp_path / "kernel.ipynb")
    here, there = (
        [output.get("data", {}) for output in outputs(tmp_path / name)]
        for name in ("out.ipynb", "kernel.ipynb")
    )
    assert [sorted(one) for one in here] == [sorted(one) for one in there]
    texts = [[one.get("text/markdown") for one in each] for each in (here, there)]
    assert texts[0] == texts[1]


def test_dataset_page_runs_on_any_dataset(dataset, tmp_path):
    seen = run_page("01", tmp_path, dataset=str(dataset.path))
    assert "no problem found" in seen
    assert dataset.digest in seen
    assert seen.count("image/png") == 4


def test_training_page_runs_on_any_dataset_and_again_from_the_stored_run(dataset, tmp_path):
    given = {"task": "all", "seeds": [0, 1]}  # of whose classes two were looked for
    seen = study_page("02", tmp_path, dataset, **given)
    runs = {path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")}
    assert len(runs) == 3  # two seeds and the baseline
    assert all(run in seen for run in runs)
    assert "95 % interval" in seen
    assert "it/s" not in seen  # no progress bars
    again = study_page("02", tmp_path, dataset, **given)
    assert again.count("image/png") == seen.count("image/png")


def test_one_network_is_held_against_those_that_the_labels_serve(dataset, tmp_path):
    seen = study_page("16", tmp_path, dataset, bands="RGB")
    assert "nobody looked for" in seen and seen.count("image/png") == 2
    runs = {run.config.task: run for run in RunStore(tmp_path / "runs")}
    (one,) = (run for run in runs.values() if run.task.overlapping)
    assert set(runs) == {"model1", "excavation+preparatory work area"}
    assert f"Mean IoU {one.scores()['iou']:.3f} with one network" in seen  # against one truth
    assert f"{runs['model1'].scores()['iou']:.3f} with Model 1" in seen  # here nothing overlaps
    assert "preparatory work area away from any excavation" in seen
    times = [run.path / "cost.json" for run in runs.values()]
    before = [path.stat().st_mtime_ns for path in times]
    again = study_page("16", tmp_path, dataset, bands="RGB")
    assert again.count("1.00 × the parameters") == 1
    assert [path.stat().st_mtime_ns for path in times] == before


@pytest.fixture(scope="module")
def wide_dataset(tmp_path_factory):
    """Scenes that every crop of the search space fits into, of mines that tell their kind."""
    folder = tmp_path_factory.mktemp("wide") / "dataset"
    return write_small_dataset(folder, count=8, years=(2020,), side=96)


def test_pages_train_what_they_can_and_say_what_they_cannot(wide_dataset, tmp_path):
    given = {"tasks": ["excavation", "model3"], "bands": ["RGB", "R+N", "M"]}
    seen = study_page("03", tmp_path, wide_dataset, **given)
    assert "has no band" in seen
    assert "nobody annotated" in seen
    assert seen.count("image/png") == 3
    assert len(list(RunStore(tmp_path / "runs"))) == 4  # two networks and two forests
    assert "no mine" in study_page("04", tmp_path, wide_dataset, tasks=["excavation"])


def test_page_on_mines_with_two_years(many, tmp_path):
    """Run the page on Model 1 and on a task that nobody annotated."""
    tasks = ["model1", "model3"]
    seen = study_page("09", tmp_path, many, tasks=tasks, bands={"model1": "RGB"})
    assert seen.count("image/png") == 3  # both years, the change, the areas
    for text in (
        "were mapped at all",
        "model3",
        "nobody annotated",
        "preparatory work area",
        "it takes three test mines",  # there are two
    ):
        assert text in seen


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


def test_page_follows_a_changed_number(tmp_path):
    folder = shutil.copytree(PAPER_FOLDER, tmp_path / "paper")
    path = folder / "table2.csv"
    path.write_text(path.read_text().replace("All,model4,train,1127", "All,model4,train,2127"))
    seen = run_page("14", tmp_path, paper=str(folder))
    assert "claim-abstract-mines" in seen and "claim-abstract-images" not in seen  # it holds now
