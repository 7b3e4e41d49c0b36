from dataclasses import replace

import pytest

from minseg.study import scheduling
from minseg.study.experiments import band_entries, split_entries
from minseg.study.outcomes import OUTCOME_COLUMNS, table_outcomes
from minseg.study.runs import RunStore, run_key
from minseg.study.study import Study
from tests.conftest import write_small_dataset
from tests.study.made_runs import excavation, write_run

TASKS = ["model1", "excavation,preparatory work area"]  # the second is to use RGB
ORIGIN = {
    "dataset": "made",
    "synthetic": True,
    "device": "cpu",
    "cpu_cores": 2,
    "git_commit": "abc",
}
FOUND = {
    "validation": {"mine-3": excavation(5)},
    "test": {"mine-6": excavation(2), "mine-7": excavation(8)},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Every run of Tables 3 and 4 of the two tasks is stored; nothing can be trained."""
    monkeypatch.setenv(scheduling.SCHEDULER_VARIABLE, "tcp://127.0.0.1:1")
    monkeypatch.setattr(scheduling, "ANSWER_WITHIN_S", 0.2)
    dataset = write_small_dataset(tmp_path / "mines", 9, (2020,), raw_material=["RR"] * 9)
    parts = ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    dataset = replace(dataset, split=dataset.split.assign(part=parts))
    made = Study("demo", dataset, (0,), RunStore(tmp_path / "runs"))
    bands = band_entries(made, TASKS)
    for entry in [*bands, *(e.baseline() for e in bands), *split_entries(made, TASKS)]:
        config = entry.config
        write_run(
            made.store.path / run_key(config, dataset), config, {config.epochs: FOUND}, **ORIGIN
        )
    return made


def test_outcomes_hold_ours_beside_the_papers_and_where_they_come_from(study):
    outcomes = table_outcomes(study, TASKS)
    assert list(outcomes.columns) == OUTCOME_COLUMNS
    keys = outcomes.query("task == 'model1'").set_index(["table", "convention", "row"]).sort_index()
    ours = keys.loc[(3, "standard", "RGB")]
    assert ours["iou"] == pytest.approx(0.5)  # 10 of 20 excavation pixels are found
    assert ours["low"] < ours["iou"] < ours["high"]
    assert (ours["mines"], ours["paper_iou"]) == (2, 0.694)
    assert ours["validation_iou"] == pytest.approx(0.5)
    assert (ours["dataset"], ours["synthetic"], ours["code"]) == ("made", True, "abc")
    assert ours["device"] == "cpu, 2 cores"
    assert keys.loc[(3, "paper", "RGB"), "iou"] > ours["iou"]  # an absent class scores 1
    assert (4, "standard", "RR") not in keys.index  # the dataset lacks bands of M
    own = outcomes.query("table == 4 and convention == 'standard' and task != 'model1'")
    assert own.set_index("row")["iou"][["RR", "GRR"]].tolist() == pytest.approx([0.5, 0.5])
    assert own["paper_iou"].isna().all()
