"""A dataset fetched from a catalogue trains Model 4 and reads in every notebook."""

import papermill
import pytest

from minseg.fetching.annotations import read_annotations
from minseg.fetching.dataset import fetch_dataset
from minseg.fetching.plan import BoxRule, FetchRequest, read_mines
from minseg.fetching.providers import provider_for
from minseg.study.runs import RunStore
from minseg.synthetic.catalogue import FIELDS, write_demo_catalogue
from minseg.synthetic.server import serve
from tests.conftest import SMALL
from tests.pages import run_page
from tests.test_notebooks import NOTEBOOKS

TASK, BANDS = "model4", "RGB"
BOX = BoxRule(margin_m=0.0, smallest_m=780.0)  # crops of 64 pixels fit into it
BANDS_OF_KIND = {"str": BANDS, "list": [BANDS, "R+N+S"], "dict": {TASK: BANDS}}


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    made = write_demo_catalogue(folder / "catalogue", num_mines=14, years=(2019, 2022), size=132)
    mines = read_mines(made.mines)
    polygons = read_annotations(made.polygons, mines, FIELDS)
    with serve(made.folder) as api:
        request = FetchRequest(mines, polygons, made.years, provider_for(api), BOX)
        result = fetch_dataset(folder / "mines", request)
    assert result.failures == ()
    return result.dataset


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def parameters(path, dataset, runs, output):
    """Those that a notebook has, with as little work as goes the whole way."""
    known = papermill.inspect_notebook(path)
    kind = known.get("bands", {}).get("inferred_type_name", "").partition("[")[0]  # list[str]
    wanted = {
        "profile": "demo",
        "dataset": str(dataset.path),
        "runs": str(runs),
        "task": TASK,
        "tasks": [TASK],
        "bands": BANDS_OF_KIND.get(kind),
        "seeds": [0],
        "trials": 2,
        "settings": SMALL | {"epochs": 1},
    }
    if "images" in known:  # the page on a mine of one's own writes a map
        wanted["output"] = str(output)
    if "trials" in known:  # a search draws all settings itself
        wanted["settings"] = {"test_crop": 64}
    return {name: value for name, value in wanted.items() if name in known}


# It trains for half a minute, and `test_notebooks` runs it on drawn mines.
LONG = {"16_one_or_four": pytest.mark.pages}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=LONG.get(path.stem, ()), id=path.stem) for path in NOTEBOOKS],
)
def test_a_notebook_reads_a_fetched_dataset(path, fetched, runs, tmp_path):
    if path.stem.startswith("11"):
        pytest.skip("the page that fetches has tests of its own")
    given = parameters(path, fetched, runs, tmp_path / "own")
    seen = run_page(path.stem, tmp_path, **given)
    assert "text/html" in seen
    if "trials" in given:
        assert "Gain over the untuned settings" in seen
    if "runs" in given:
        stored = list(RunStore(runs))
        if {"task", "tasks"} & given.keys():
            assert {run.config.task for run in stored} == {TASK}
        assert {run.provenance["dataset_hash"] for run in stored} == {fetched.digest}
