import json

import nbformat

from minseg.report.rerun import find_notebooks, rerun
from tests.conftest import write_small_dataset
from tests.study.test_execution import SMALL


def test_page_on_mines_with_two_years(tmp_path):
    """Run the page on Model 1 and on a task that nobody annotated."""
    dataset = write_small_dataset(tmp_path / "squares", 14)
    (notebook,) = find_notebooks(["09"])
    given = {
        "dataset": str(dataset.path),
        "tasks": ["model1", "model3"],
        "bands": {"model1": "RGB"},
        "settings": SMALL,
        "runs": str(tmp_path / "runs"),
    }
    rerun(notebook, given, tmp_path / "out.ipynb")
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    seen = json.dumps([cell.outputs for cell in cells if cell.cell_type == "code"])
    assert seen.count("image/png") == 3  # both years, the change, the areas
    for text in (
        "changes exceed the floor",
        "model3",
        "nobody annotated",
        "preparatory work area",
        "it takes three test mines",  # there are two
    ):
        assert text in seen
