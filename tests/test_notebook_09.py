import json

import nbformat
import pytest

from minseg.report.rerun import find_notebooks, rerun
from tests.conftest import write_small_dataset
from tests.study.test_execution import SMALL


@pytest.fixture(scope="module")
def stored_runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def read_page(dataset, runs, output, **parameters):
    """Run the page on Model 1 and on a task that nobody annotated; return what a reader sees."""
    (notebook,) = find_notebooks(["09"])
    given = {
        "dataset": str(dataset.path),
        "tasks": ["model1", "model3"],
        "bands": {"model1": "RGB"},
        "settings": SMALL,
        "runs": str(runs),
    }
    rerun(notebook, given | parameters, output)
    cells = [cell for cell in nbformat.read(output, 4).cells if cell.cell_type == "code"]
    return json.dumps([cell.outputs for cell in cells])


def test_page_on_mines_with_two_years(tmp_path, stored_runs):
    dataset = write_small_dataset(tmp_path / "squares", 14)
    seen = read_page(dataset, stored_runs, tmp_path / "out.ipynb")
    assert seen.count("image/png") == 3  # both years, the change, the areas
    assert "model3" in seen
    assert "nobody annotated" in seen
    assert "preparatory work area" in seen
    assert "it takes three test mines" in seen  # there are two


def test_page_on_mines_with_one_year(tmp_path, stored_runs):
    dataset = write_small_dataset(tmp_path / "squares", 8, years=(2020,))
    seen = read_page(dataset, stored_runs, tmp_path / "out.ipynb")
    assert "no test mine has scenes of two years" in seen
    assert seen.count("image/png") == 1  # that there is nothing to show
    assert "no mine with scenes of two years" in seen
