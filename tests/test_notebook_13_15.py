import numpy as np
import pytest

from minseg.study.runs import run_key
from minseg.study.study import open_study
from tests.pages import study_page
from tests.study.made_runs import excavation, write_run

SETTINGS = {"epochs": 2}


@pytest.fixture
def run_page(dataset, tmp_path):
    """Run a page on made runs of eight test mines, and return what a reader sees."""
    study = open_study("laptop", dataset.path, runs=tmp_path / "runs")

    def store(task, bands, subset=""):
        config = study.config(task=task, bands=bands, **SETTINGS)
        config = config.replace(subset=subset) if subset else config
        random = np.random.default_rng(len(bands + subset))
        mines = {f"mine-{k}": excavation(int(random.integers(3, 10)), k % 3) for k in range(8)}
        if task == "excavation":
            mines = {mine: counts[:2] for mine, counts in mines.items()}
        parts = {"validation": {"mine-9": mines["mine-0"]}, "test": mines}
        write_run(tmp_path / "runs" / run_key(config, study.dataset), config, {2: parts})

    def run(number, task, bands, stored):
        for one in stored:
            store(task, *one.split("/"))
        before = {path.name for path in (tmp_path / "runs").iterdir()}
        given = {"tasks": [task], "bands": bands, "settings": SETTINGS}
        seen = study_page(number, tmp_path, dataset, **given)
        assert {path.name for path in (tmp_path / "runs").iterdir()} == before  # none was made
        return seen

    return run


def test_conventions_of_one_of_the_papers_models(run_page):
    seen = run_page("13", "model1", ["RGB", "R+N", "M"], stored=["RGB", "R+N"])
    assert seen.count("image/png") == 3
    assert "15 of 17" in seen
    assert "has no band" in seen  # M
    assert "of 2 rows" in seen  # agreeing with the print
    assert "SYNTHETIC" not in seen  # it is in the figures, and small in the tables
    assert "synthetic" in seen


def test_conventions_of_a_task_that_the_paper_has_not(run_page):
    seen = run_page("13", "excavation", ["RGB"], stored=["RGB"])
    assert seen.count("image/png") == 3  # the last says that there is nothing to rank
    assert "The paper has none of these models" in seen
    assert "there is nothing to rank" in seen


def test_how_big_a_difference(run_page):
    bands = ["RGB", "R+N", "R+N+S"]
    seen = run_page("15", "model1", bands, stored=bands)
    assert seen.count("image/png") == 1
    assert "smallest difference 38 mines resolve" in seen
    assert "best − second" in seen
    assert "No two of these models" in seen  # targeted and general: no band of M


def test_how_big_a_difference_on_a_dataset_with_one_class_and_rgb(run_page):
    seen = run_page("15", "excavation", ["RGB"], stored=["RGB", "RGB/RR", "RGB/OP"])
    assert seen.count("image/png") == 1  # it says that there is nothing
    assert "No two of these models" in seen
    assert "The paper has no such model" in seen
    assert "correlation needed" in seen  # from the paper alone
