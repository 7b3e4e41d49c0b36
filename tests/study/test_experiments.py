from collections import Counter
from dataclasses import replace

import pytest

from minseg.study import scheduling
from minseg.study.config import PROFILES
from minseg.study.experiments import (
    GENERAL_OF,
    GROUPS,
    MODELS,
    Entry,
    Result,
    band_entries,
    results,
    split_entries,
)
from minseg.study.runs import RunStore, run_key
from minseg.study.study import Study
from tests.conftest import write_small_dataset
from tests.study.made_runs import excavation, write_run

TESTED = {"mine-6": excavation(2), "mine-7": excavation(8)}
FOUND = {"validation": {"mine-3": excavation(5)}, "test": TESTED}
NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Nine mines: every part has one of each raw material, and all are open-pit mines."""
    path = tmp_path_factory.mktemp("mixed") / "mines"
    dataset = write_small_dataset(path, 9, (2020,), raw_material=["RR", "MO", "CL"] * 3)
    parts = ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    return replace(dataset, split=dataset.split.assign(part=parts))


@pytest.fixture
def study(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv(scheduling.SCHEDULER_VARIABLE, NOWHERE)  # nothing is trained here
    monkeypatch.setattr(scheduling, "ANSWER_WITHIN_S", 0.2)
    return Study("demo", mixed, (3, 4), RunStore(tmp_path))


def store_runs(study, config):
    """Put a run of each seed into the store."""
    return tuple(
        write_run(
            study.store.path / run_key(config.replace(seed=seed), study.dataset),
            config.replace(seed=seed),
            {config.epochs: FOUND},
        )
        for seed in study.seeds
    )


def test_bands_table_has_every_task_with_every_configuration(study):
    entries = band_entries(study)
    assert [(e.task, e.row) for e in entries] == [
        (task, bands) for task in MODELS for bands in ("RGB", "R+N", "R+N+S", "M", "M+S")
    ]
    assert len({entry.config for entry in entries}) == 20
    assert all(entry.mines is None and entry.problem is None for entry in entries)
    expected = PROFILES["demo"].replace(task="model2", bands="M+S", seed=3)
    assert entries[9].config == expected
    (only,) = band_entries(study, ["excavation, dam"], ["B04,B03,B02"], epochs=7)
    assert (only.task, only.row) == (only.config.task, only.config.bands)
    assert (only.config.epochs, only.config.architecture) == (7, PROFILES["demo"].architecture)


def test_splits_table_tests_general_models_on_the_mines_of_each_subset(study):
    entries = split_entries(study, ["model1", "model4"], {"model1": "M"})
    codes = [code for group in GROUPS.values() for code in group]
    assert [(e.task, e.row) for e in entries] == [
        (task, row) for task in ("model1", "model4") for code in codes for row in (code, f"G{code}")
    ]
    by_row = {entry.row: entry for entry in entries if entry.task == "model1"}
    for code in codes:
        targeted, general = by_row[code], by_row[GENERAL_OF[code]]
        assert targeted.config.subset == code
        assert general.config.subset is None
        assert targeted.config.replace(subset=None) == general.config
        assert targeted.mines == general.mines
    assert by_row["MO"].mines == ("mine-1", "mine-4", "mine-7")
    assert len(by_row["GOP"].mines) == 9
    bands = Counter((entry.task, entry.config.bands) for entry in entries)
    assert bands == {("model1", "M"): 12, ("model4", "RGB"): 12}


def test_general_model_of_the_splits_is_that_of_the_bands(study):
    in_bands = {entry.config for entry in band_entries(study, epochs=5)}
    general = [e.config for e in split_entries(study, epochs=5) if e.row.startswith("G")]
    assert set(general) <= in_bands
    assert len(set(general)) == 4


def test_subsets_that_the_dataset_lacks_are_told(study):
    by_row = {entry.row: entry for entry in split_entries(study, ["model1"])}
    for row in ("OC", "GOC", "MT", "GMT"):
        assert f"no mine has mine_type {row[-2:]}" in by_row[row].problem
    assert by_row["GRR"].problem is None


def test_results_are_the_runs_of_every_seed(study):
    entries = split_entries(study, ["model1"], {}, architecture="linknet")
    entries += band_entries(study, ["model1"], ["RGB", "M"], architecture="linknet")
    expected = {}
    for entry in entries:
        if entry.row in ("MO", "GMO"):
            expected[entry.config] = store_runs(study, entry.config)
    found = {result.entry.row: result for result in results(study, [*entries[2:4], *entries[-2:]])}
    assert list(found) == ["MO", "GMO", "RGB", "M"]
    for row in ("MO", "GMO"):
        result = found[row]
        assert [run.config.seed for run in result.runs] == [3, 4]
        assert result.runs == expected[result.entry.config]
        assert set(result.counts(result.runs[0])["mine"]) == {"mine-7"}
    assert found["RGB"].runs == found["GMO"].runs  # one configuration, one run
    assert set(found["RGB"].counts(found["RGB"].runs[1])["mine"]) == {"mine-6", "mine-7"}
    assert found["M"].runs == ()
    assert "has no band" in found["M"].problem


def test_one_seed_without_a_run_leaves_the_entry_without_a_result(study):
    (entry,) = band_entries(study, ["model1"], ["RGB"])
    _, damaged = store_runs(study, entry.config)
    (damaged.path / "history.csv").unlink()
    (result,) = results(study, [entry])
    assert result.runs == ()
    assert result.problem.startswith(f"{damaged.path}: history.csv is missing")


def test_entries_with_a_problem_are_not_run(study):
    entry = Entry("model1", "OC", study.config(), problem="no mine has mine_type OC")
    assert results(study, [entry]) == [Result(entry, (), "no mine has mine_type OC")]


def test_baseline_of_an_entry_is_a_row_of_its_own_on_the_same_mines(study):
    entry = split_entries(study, ["model1"])[2]
    forest = entry.baseline()
    assert forest.row == "MO, per-pixel forest"
    assert forest.config == entry.config.baseline()
    assert forest.config.subset == "MO"
    assert (forest.mines, forest.task) == (entry.mines, "model1")
