import json
import subprocess
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup

from minseg import open_dataset
from minseg.data.labels import CLASS_NAMES
from minseg.report.rerun import find_notebooks, rerun
from minseg.study.study import open_study
from tests.study.predicted import rectangle, write_mines
from tests.study.test_execution import SMALL

SETTINGS = SMALL | {"crop": 32, "test_crop": 0, "epochs": 1}
LABELS = {
    "excavation": rectangle(4, 4, 10, 10),
    "preparatory work area": rectangle(4, 14, 10, 3),
    "dumping ground": rectangle(18, 4, 8, 8),
    "settling pond": rectangle(24, 24, 2, 2),
    "dam": rectangle(18, 20, 2, 8),
}


WICKED = "<script>{{7*7}}{#3 $A^^ b_x*"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mines")


@pytest.fixture(scope="module")
def wicked(folder):
    """Mines with labels of all classes, whose names and licence are everything but text."""
    made = write_mines(folder / "all", [LABELS] * 2, CLASS_NAMES, name=WICKED)
    path = made.path / "dataset.json"
    about = json.loads(path.read_text()) | {"name": WICKED, "licence": WICKED}
    path.write_text(json.dumps(about))
    return open_dataset(made.path)


@pytest.fixture
def page(folder):
    """Run a page; return all that a reader sees as one text, and its tables and maps."""

    def page(number, dataset, **parameters):
        (notebook,) = find_notebooks([number])
        rerun(notebook, {"dataset": str(dataset.path)} | parameters, folder / "out.ipynb")
        cells = nbformat.read(folder / "out.ipynb", 4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        shown = [output["data"] for output in outputs if "data" in output]
        soups = [BeautifulSoup(d["text/html"], "html.parser") for d in shown if "text/html" in d]
        return json.dumps(outputs), soups

    return page


@pytest.fixture
def mine_page(page, folder):
    given = {"bands": "RGB", "settings": SETTINGS, "runs": str(folder / "runs")}
    return lambda number, dataset, **parameters: page(number, dataset, **given | parameters)


def assert_names_are_text(soups):
    assert any(WICKED in soup.get_text() for soup in soups)
    assert not any(soup.find("script") for soup in soups)  # a map's stand in its frame


def test_names_are_text_on_the_page_of_a_dataset(page, wicked):
    assert_names_are_text(page("01", wicked)[1])


def test_page_of_single_mines(mine_page, wicked):
    seen, soups = mine_page("06", wicked)
    assert_names_are_text(soups)
    assert seen.count("image/png") == 2 * 2 + 2  # two test mines, and two of all
    assert seen.index("**Score:**") < seen.index("image/png")  # the answer comes first
    for text in ("Table 6", "4.1", "It has all classes and bands", "Most errors are of"):
        assert text in seen
    assert "missed pixels lie on" not in seen


def test_chosen_mines_in_detail(mine_page, wicked):
    seen, _ = mine_page("07", wicked, mines=["mine-5"], details=True)
    for text in (r"mine\\-5 (asked for)", "Table 7", "4.2", "missed pixels lie on"):
        assert text in seen
    assert r"mine\\-4 (" not in seen


def test_page_on_a_dataset_with_one_class(mine_page, folder):
    name = "tailing storage facility"
    one = write_mines(folder / "one", [{name: rectangle(4, 4, 9, 9)}] * 2, (name,))
    seen, _ = mine_page("08", one, task=name)
    assert "Nobody annotated excavation, dumping ground, stockpile" in seen
    assert "False positives of tailings lie on dumps" in seen


def test_stored_runs_are_shown_without_torch(folder, wicked):
    study = open_study("demo", wicked.path, runs=folder / "runs")
    study.run(study.config(task="model1", bands="RGB", **SETTINGS))
    (notebook,) = find_notebooks(["06"])
    cells = [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    parameters = f"""
dataset, runs, bands = {str(wicked.path)!r}, {str(folder / "runs")!r}, "RGB"
settings = {SETTINGS!r}
"""
    sources = [cells[0].source, parameters, *(cell.source for cell in cells[1:])]
    check = "import sys; assert 'minseg' in sys.modules and 'torch' not in sys.modules"
    script = "\n".join([*sources, check])
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
