import subprocess
import sys

import pytest

import minseg
from minseg import MinsegError
from minseg.study.runs import run_key
from minseg.study.study import default_store, project_folder
from minseg.study.tuning import tune_all
from minseg.synthetic.dataset import VERSION
from tests.conftest import SMALL, TINY, names


def test_stored_runs_are_read_and_reported_without_torch_or_dask(dataset, tmp_path):
    study = minseg.open_study("demo", dataset.path, seeds=[0, 1], runs=tmp_path)
    config = study.config(task="model1", **SMALL)
    made = study.runs(config)
    assert [run.config.seed for run in made] == [0, 1]
    code = (
        "import sys, minseg\n"
        "from minseg.audit import measured\n"
        "from minseg.report import bands_splits, change, ledger, mines, own_mine, power, tuning\n"
        f"study = minseg.open_study('demo', {str(dataset.path)!r}, [0, 1], {str(tmp_path)!r})\n"
        f"config = study.config(task='model1', **{SMALL!r})\n"
        "runs = [o.run for o in study.run_all([config, config.replace(seed=1)])]\n"
        "print(*(run.key for run in runs), {'torch', 'distributed'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*(run.key for run in made), "set()"]


def test_an_unknown_profile_is_refused():
    with pytest.raises(MinsegError, match="unknown profile"):
        minseg.open_study("huge")


def test_seeds_are_those_of_the_study(dataset, tmp_path):
    """A seed among other settings would be replaced by each of these."""
    study = minseg.open_study("demo", dataset.path, seeds=[1, 2], runs=tmp_path)
    assert (study.config().seed, study.config(seed=2).seed) == (1, 2)
    with pytest.raises(MinsegError, match="setting seed = 5: seeds are 1, 2; change these"):
        study.config(seed=5)
    with pytest.raises(MinsegError, match="seeds: none is given"):
        minseg.open_study("demo", dataset.path, seeds=[], runs=tmp_path)


def test_where_runs_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("MINSEG_RUNS", raising=False)
    checkout = tmp_path / "checkout"
    (checkout / "notebooks" / "deep").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text('[project]\nname = "minseg"\n')
    monkeypatch.chdir(checkout / "notebooks" / "deep")
    assert project_folder() == checkout
    assert default_store() == checkout / "runs"
    monkeypatch.chdir(tmp_path)
    assert default_store() == tmp_path / "runs"
    monkeypatch.setenv("MINSEG_RUNS", str(tmp_path / "elsewhere"))
    assert default_store() == tmp_path / "elsewhere"


def test_a_page_whose_every_run_or_search_failed_fails(dataset, tmp_path):
    """What the dataset lacks is told on the page; a broken store is not."""
    study = minseg.open_study("demo", dataset.path, runs=tmp_path)
    (tmp_path / run_key(TINY, study.dataset)).mkdir()
    lacking = TINY.replace(bands="B11")
    (told,) = study.run_all([lacking])
    assert "has no band" in told.problem
    with pytest.raises(MinsegError, match=r"no run could be made: .*delete the folder"):
        study.run_all([TINY, lacking])
    assert tune_all(study, ["dam"], {}, 1)[0] == {}
    (tmp_path / "tuning").write_text("in the way")
    with pytest.raises(MinsegError, match=r"no run could be made: .*tuning"):
        tune_all(study, ["excavation", "dam"], {}, 1)


def test_a_checkout_that_is_only_read_is_asked_for_no_lock(dataset, tmp_path, monkeypatch):
    made = tmp_path / "data" / "synthetic" / f"version-{VERSION}"
    made.parent.mkdir(parents=True)
    made.symlink_to(dataset.path)
    monkeypatch.setattr("minseg.study.study.project_folder", lambda: tmp_path)
    assert minseg.open_study("demo").dataset.digest == dataset.digest
    assert names(made.parent) == [made.name]
