import json
import shutil

import nbformat

from minseg.report.rerun import find_notebooks, rerun
from minseg.study.paper import PAPER_FOLDER


def read_page(output, **parameters):
    """Run the page and return what a reader sees."""
    (notebook,) = find_notebooks(["14"])
    rerun(notebook, parameters, output)
    cells = [cell for cell in nbformat.read(output, 4).cells if cell.cell_type == "code"]
    return json.dumps([cell.outputs for cell in cells], ensure_ascii=False)


def test_page_of_the_paper_as_printed(tmp_path):
    seen = read_page(tmp_path / "out.ipynb")
    assert seen.count("image/png") == 2
    assert seen.count("<details") > 40
    assert "1,207" in seen and "16 of 48" in seen
    assert "blank label" in seen


def test_page_follows_a_changed_number(tmp_path):
    folder = shutil.copytree(PAPER_FOLDER, tmp_path / "paper")
    path = folder / "table2.csv"
    path.write_text(path.read_text().replace("All,model4,train,1127", "All,model4,train,2127"))
    seen = read_page(tmp_path / "out.ipynb", paper=str(folder))
    assert "claim-abstract-mines" in seen and "claim-abstract-images" not in seen  # it holds now
