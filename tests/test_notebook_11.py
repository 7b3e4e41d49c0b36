import json

import nbformat

from minseg import open_dataset
from minseg.data.checking import check_dataset
from minseg.report.rerun import find_notebooks, rerun


def test_page_builds_a_dataset_without_a_network(tmp_path):
    (notebook,) = find_notebooks(["11"])
    output = tmp_path / "out.ipynb"
    rerun(notebook, {"output": str(tmp_path / "built"), "years": [2019]}, output)
    cells = [cell for cell in nbformat.read(output, 4).cells if cell.cell_type == "code"]
    seen = json.dumps([cell.outputs for cell in cells])
    assert seen.count("image/png") == 1
    assert "best by what the box shows" in seen and "of the box" in seen
    assert "No problem found." in seen
    dataset = open_dataset(tmp_path / "built" / "mines")
    assert dataset.synthetic and len(dataset.scenes) == 3
    assert check_dataset(dataset.path) == []
