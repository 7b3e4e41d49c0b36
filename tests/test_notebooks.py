import ast
import itertools
import json
from pathlib import Path

import nbformat
import papermill
import pytest

from minseg import MinsegError
from minseg.report.rerun import find_notebooks, rerun
from minseg.study.runs import RunStore
from tests.conftest import write_small_dataset
from tests.study.test_execution import SMALL

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form_of_a_notebook(path):
    cells = nbformat.read(path, 4).cells
    code = code_cells(path)
    assert cells[0].cell_type == "markdown"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_finds_every_parameter(path):
    (cell,) = (c for c in code_cells(path) if "parameters" in c.metadata.get("tags", []))
    written = {line.split(":")[0] for line in cell.source.splitlines()}
    assert set(papermill.inspect_notebook(path)) == written  # it stops at = in a comment


def test_every_notebook_is_in_the_book():
    contents = (Path(__file__).parents[1] / "book" / "_toc.yml").read_text()
    for path in NOTEBOOKS:
        assert f"notebooks/{path.stem}" in contents


def texts(path):
    """All text a reader would see in an executed notebook."""
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    return json.dumps(outputs)


def test_dataset_page_runs_on_any_dataset(dataset, tmp_path):
    (notebook,) = find_notebooks(["01"])
    rerun(notebook, {"dataset": str(dataset.path)}, tmp_path / "out.ipynb")
    seen = texts(tmp_path / "out.ipynb")
    assert "no problem found" in seen
    assert dataset.digest in seen
    assert seen.count("image/png") == 4


def test_training_page_runs_on_any_dataset_and_again_from_the_stored_run(dataset, tmp_path):
    (notebook,) = find_notebooks(["02"])
    parameters = {
        "dataset": str(dataset.path),
        "task": "excavation",
        "settings": SMALL,
        "runs": str(tmp_path / "runs"),
        "seeds": [0, 1],
    }
    rerun(notebook, parameters, tmp_path / "out.ipynb")
    runs = {path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")}
    assert len(runs) == 3  # two seeds and the baseline
    seen = texts(tmp_path / "out.ipynb")
    assert all(run in seen for run in runs)
    assert "95 % interval over mines" in seen or "95 \\u0025 interval" in seen
    assert "it/s" not in seen  # no progress bars
    rerun(notebook, parameters, tmp_path / "again.ipynb")
    assert texts(tmp_path / "again.ipynb").count("image/png") == seen.count("image/png")


def test_unknown_parameter_and_failing_cell(tmp_path):
    (notebook,) = find_notebooks(["01"])
    with pytest.raises(MinsegError, match="unknown parameter datset"):
        rerun(notebook, {"datset": "x"}, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()
    with pytest.raises(MinsegError, match=r"no dataset\.json"):
        rerun(notebook, {"dataset": str(tmp_path)}, tmp_path / "out.ipynb")


def test_unknown_notebook():
    with pytest.raises(MinsegError, match="0 found"):
        find_notebooks(["77"])


@pytest.fixture(scope="module")
def wide_dataset(tmp_path_factory):
    """Scenes that every crop of the search space fits into, of mines that tell their kind."""
    folder = tmp_path_factory.mktemp("wide") / "dataset"
    return write_small_dataset(folder, count=8, years=(2020,), side=96)


def test_band_page_trains_what_it_can_and_says_what_it_cannot(wide_dataset, tmp_path):
    (notebook,) = find_notebooks(["03"])
    parameters = {
        "dataset": str(wide_dataset.path),
        "tasks": ["excavation", "model3"],
        "bands": ["RGB", "R+N", "M"],
        "settings": SMALL,
        "runs": str(tmp_path / "runs"),
    }
    rerun(notebook, parameters, tmp_path / "out.ipynb")
    seen = texts(tmp_path / "out.ipynb")
    assert "has no band" in seen
    assert "nobody annotated" in seen
    assert seen.count("image/png") == 3
    assert len(list(RunStore(tmp_path / "runs"))) == 4  # two networks and two forests


def test_split_page_says_what_it_cannot_answer(wide_dataset, tmp_path):
    (notebook,) = find_notebooks(["04"])
    parameters = {
        "dataset": str(wide_dataset.path),
        "tasks": ["excavation"],
        "settings": SMALL,
        "runs": str(tmp_path / "runs"),
    }
    rerun(notebook, parameters, tmp_path / "out.ipynb")
    assert "no mine" in texts(tmp_path / "out.ipynb")
