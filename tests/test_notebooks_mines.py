import json
import subprocess
import sys

import pytest
from bs4 import BeautifulSoup

from minseg import open_dataset
from minseg.data.labels import CLASS_NAMES
from minseg.study.study import open_study
from tests.conftest import SMALL
from tests.pages import outputs, run_page, study_page
from tests.study.predicted import rectangle, write_mines
from tests.test_notebooks import NOTEBOOKS, code_cells

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
def mine_page(folder):
    """Run a page of single mines; return all that a reader sees as one text."""
    given = {"bands": "RGB", "settings": SETTINGS}
    return lambda number, dataset, **more: study_page(number, folder, dataset, **given | more)


def assert_names_are_text(folder):
    """In tables and in frames of maps."""
    shown = [output.get("data", {}).get("text/html") for output in outputs(folder / "out.ipynb")]
    soups = [BeautifulSoup(html, "html.parser") for html in shown if html]
    assert any(WICKED in soup.get_text() for soup in soups)
    assert not any(soup.find("script") for soup in soups)  # a map's stand in its frame


def test_names_are_text_on_the_page_of_a_dataset(folder, wicked):
    run_page("01", folder, dataset=str(wicked.path))
    assert_names_are_text(folder)


def test_page_of_single_mines(mine_page, folder, wicked):
    seen = mine_page("06", wicked)
    assert_names_are_text(folder)
    assert seen.count("image/png") == 2 * 2 + 2  # two test mines, and two of all
    assert seen.index("**Score") < seen.index("image/png")  # the answer comes first
    for text in ("Table 6", "4.1", "It has all classes and bands", "Most errors are of"):
        assert text in seen
    assert "missed pixels lie on" not in seen


def test_chosen_mines_in_detail(mine_page, wicked):
    seen = mine_page("07", wicked, mines=["mine-5"], details=True)
    for text in (r"mine\\-5 (asked for)", "Table 7", "4.2", "missed pixels lie on"):
        assert text in seen
    assert r"mine\\-4 (" not in seen


def test_page_on_a_dataset_with_one_class(mine_page, folder):
    name = "tailing storage facility"
    one = write_mines(folder / "one", [{name: rectangle(4, 4, 9, 9)}] * 2, (name,))
    seen = mine_page("08", one, task=name)
    assert "Nobody annotated excavation, dumping ground, stockpile" in seen
    assert "False positives of tailings lie on dumps" in seen


def test_stored_runs_are_shown_without_torch(folder, wicked):
    study = open_study("demo", wicked.path, runs=folder / "runs")
    study.run(study.config(task="model1", bands="RGB", **SETTINGS))
    cells = code_cells(next(path for path in NOTEBOOKS if path.stem.startswith("06")))
    parameters = f"""
dataset, runs, seeds, bands = {str(wicked.path)!r}, {str(folder / "runs")!r}, [0], "RGB"
settings = {SETTINGS!r}
"""
    sources = [cells[0].source, parameters, *(cell.source for cell in cells[1:])]
    check = "import sys; assert 'minseg' in sys.modules and 'torch' not in sys.modules"
    script = "\n".join([*sources, check])
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
