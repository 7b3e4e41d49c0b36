import ast
import itertools
from pathlib import Path

import nbformat
import papermill
import pytest

from minseg import MinsegError
from minseg.study.runs import RunStore
from tests.conftest import write_small_dataset
from tests.pages import run_page, study_page

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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_imports_is_there(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        exec(compile(ast.Module([node], []), path.name, "exec"), {})


def test_every_notebook_is_in_the_book():
    contents = (Path(__file__).parents[1] / "book" / "_toc.yml").read_text()
    for path in NOTEBOOKS:
        assert f"notebooks/{path.stem}" in contents


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


def test_unknown_parameter_and_failing_cell(tmp_path):
    with pytest.raises(MinsegError, match="unknown parameter datset"):
        run_page("01", tmp_path, datset="x")
    assert not (tmp_path / "out.ipynb").exists()
    with pytest.raises(MinsegError, match=r"no dataset\.json"):
        run_page("01", tmp_path, dataset=str(tmp_path))


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
