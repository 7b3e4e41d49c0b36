import json
import subprocess
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup

from minseg import MinsegError
from minseg.data.labels import CLASS_NAMES
from minseg.report.rerun import find_notebooks, rerun
from minseg.study.study import open_study
from tests.study.predicted import rectangle, write_mines
from tests.study.test_execution import SMALL

PAGES = {"06": "model1", "07": "model2", "08": "model3"}
SETTINGS = SMALL | {"crop": 32, "test_crop": 0, "epochs": 1}
LABELS = {
    "excavation": rectangle(4, 4, 10, 10),
    "preparatory work area": rectangle(4, 14, 10, 3),
    "dumping ground": rectangle(18, 4, 8, 8),
    "settling pond": rectangle(24, 24, 2, 2),
    "dam": rectangle(18, 20, 2, 8),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mines")


@pytest.fixture(scope="module")
def all_classes(folder):
    return write_mines(folder / "all", [LABELS] * 2, CLASS_NAMES)


def outputs(path):
    cells = nbformat.read(path, 4).cells
    return json.dumps([cell.outputs for cell in cells if cell.cell_type == "code"])


def run_page(number, folder, dataset, **parameters):
    (notebook,) = find_notebooks([number])
    given = {
        "dataset": str(dataset.path),
        "bands": "RGB",
        "settings": SETTINGS,
        "runs": str(folder / "runs"),
    }
    rerun(notebook, given | parameters, folder / "out.ipynb")
    return outputs(folder / "out.ipynb")


@pytest.mark.parametrize("number", PAGES)
def test_page_of_single_mines(number, folder, all_classes):
    seen = run_page(number, folder, all_classes)
    assert seen.count("image/png") == 2 * 2 + 2  # two test mines, and two of all
    assert f"Table {number.removeprefix('0')}" in seen
    assert f"4.{int(number) - 5}" in seen  # claims of the page's own section
    assert "It has all classes and bands" in seen


def test_names_are_text_on_a_page(folder):
    """Neither the page on a dataset nor the one on its mines runs what a table brings."""
    wicked = "<script>{{7*7}}{#3 $A^^ b_x*"
    made = write_mines(folder / "wicked", [LABELS] * 2, CLASS_NAMES, name=wicked)
    path = made.path / "dataset.json"
    about = json.loads(path.read_text()) | {"name": wicked, "licence": wicked}
    path.write_text(json.dumps(about))
    given = {"dataset": str(made.path)}
    rerun(*find_notebooks(["01"]), given, folder / "wicked-01.ipynb")
    settings = {"settings": SETTINGS, "bands": "RGB", "runs": str(folder / "runs")}
    rerun(*find_notebooks(["06"]), given | settings, folder / "wicked-06.ipynb")
    for number in ("01", "06"):
        cells = nbformat.read(folder / f"wicked-{number}.ipynb", 4).cells
        shown = [o["data"] for c in cells for o in c.get("outputs", ()) if "data" in o]
        pages = [one["text/html"] for one in shown if "text/html" in one]
        soups = [BeautifulSoup(page, "html.parser") for page in pages]
        assert any(wicked in soup.get_text() for soup in soups)
        assert not any(soup.find("script") for soup in soups)  # a map's stand in its frame


def test_chosen_mines_and_an_unknown_one(folder, all_classes):
    seen = run_page("07", folder, all_classes, mines=["mine-5"])
    assert r"mine\\-5 (asked for)" in seen  # Markdown's escape, as JSON
    assert r"mine\\-4 (" not in seen
    with pytest.raises(MinsegError, match="mine 'mine-0' is no test mine"):
        run_page("07", folder, all_classes, mines=["mine-0"])


def test_page_on_a_dataset_with_one_class(folder):
    name = "tailing storage facility"
    one = write_mines(folder / "one", [{name: rectangle(4, 4, 9, 9)}] * 2, (name,))
    seen = run_page("08", folder, one, task=name)
    assert "Nobody annotated excavation, dumping ground, stockpile" in seen
    assert "False positives of tailings lie on dumps" in seen


def test_stored_runs_are_shown_without_torch(folder, all_classes):
    study = open_study("demo", all_classes.path, runs=folder / "runs")
    study.run(study.config(task="model1", bands="RGB", **SETTINGS))
    (notebook,) = find_notebooks(["06"])
    cells = [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    parameters = f"""
dataset, runs, bands = {str(all_classes.path)!r}, {str(folder / "runs")!r}, "RGB"
settings = {SETTINGS!r}
"""
    sources = [cells[0].source, parameters, *(cell.source for cell in cells[1:])]
    check = "import sys; assert 'minseg' in sys.modules and 'torch' not in sys.modules"
    script = "\n".join([*sources, check])
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
