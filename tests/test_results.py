import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState
from results import train_study, write_tables

from minseg import MinsegError
from minseg.study.pack import read_manifest
from minseg.study.runs import RunStore, run_key
from minseg.study.study import Study, open_study, shipped_pack
from minseg.study.tables import PAPER_BANDS, band_entries, split_entries
from minseg.study.tuning import open_search
from tests.conftest import write_small_dataset
from tests.study.made_runs import excavation, write_run

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path):
    """A copy of what the section is made from."""
    (tmp_path / "results").mkdir()
    for path in ROOT.glob("results/*.csv"):
        shutil.copy(path, tmp_path / "results")
    return tmp_path


@pytest.mark.parametrize("name", write_tables.SECTIONS)
def test_documents_show_the_stored_outcomes(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    section = write_tables.SECTIONS[name](ROOT)
    assert write_tables.with_section(text, section, ROOT / name) == text, "write it: make results"


def test_the_readme_counts_the_runs_that_come_along():
    runs = read_manifest(shipped_pack()).runs
    assert f"{len(runs)} runs" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_page_of_the_book_can_be_reproduced():
    assert list(write_tables.PAGES) == sorted(
        path.stem for path in (ROOT / "notebooks").glob("*.ipynb")
    )


def test_validation_selects_and_the_test_part_does_not(project):
    before = write_tables.results_section(project)
    path = project / write_tables.OUTCOMES
    outcomes = pd.read_csv(path)
    networks = (outcomes["table"] == 3) & ~outcomes["row"].str.contains("forest")
    networks &= outcomes["convention"] == "standard"
    worst = outcomes[networks & (outcomes["task"] == "model1")]["validation_iou"].idxmin()
    outcomes.loc[worst, "iou"] = 0.999
    outcomes.to_csv(path, index=False)
    assert write_tables.results_section(project) == before
    chosen = outcomes[networks & (outcomes["task"] == "model4")]["validation_iou"].idxmax()
    outcomes.loc[chosen, "iou"] = 0.9876
    outcomes.to_csv(path, index=False)
    after = write_tables.results_section(project)
    assert ".988" in after
    assert sum(a != b for a, b in zip(before.split("\n"), after.split("\n"), strict=True)) == 1
    outcomes.drop(columns="validation_iou").to_csv(path, index=False)
    with pytest.raises(MinsegError, match=r"no column validation_iou; .*make results"):
        write_tables.results_section(project)


def test_all_outcomes_are_of_synthetic_mines_and_name_their_code():
    outcomes = pd.read_csv(ROOT / write_tables.OUTCOMES)
    assert outcomes["synthetic"].all()
    assert outcomes["code"].notna().all()


@pytest.mark.skipif(shipped_pack() is None, reason="no runs are shipped with this version")
def test_the_shipped_pack_holds_what_the_pages_ask_for(tmp_path):
    packed, asked = read_manifest(shipped_pack()), {}
    for page in ("03", "04", "05"):
        (path,) = (ROOT / "notebooks").glob(f"{page}_*.ipynb")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        exec(next("".join(c["source"]) for c in cells if "parameters" in str(c["metadata"])), asked)
        study = open_study(asked["profile"], seeds=asked["seeds"], runs=tmp_path)
        for seed in study.seeds if page != "05" else ():
            for _, entries in train_study.groups(replace(study, seeds=(seed,))):
                keys = {run_key(entry.config, study.dataset) for entry in entries}
                assert keys <= set(packed.runs)
    for task, bands in PAPER_BANDS.items():
        search = open_search(study, task, bands)
        assert f"tuning/{search.name}.journal" in packed.files
        assert len(search.finished()) >= asked["trials"]
        assert {search.run_of(trial).key for trial in search.known(TrialState.COMPLETE)}


def test_missing_outcomes_and_marks_are_told(tmp_path):
    with pytest.raises(MinsegError, match="make results"):
        write_tables.results_section(tmp_path)
    with pytest.raises(MinsegError, match="has no lines"):
        write_tables.with_section("no marks", "section", tmp_path / "README.md")


def test_outcomes_hold_ours_beside_the_papers_and_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setenv("MINSEG_SCHEDULER", "tcp://127.0.0.1:1")  # nothing is trained here
    monkeypatch.setattr("minseg.study.scheduling.ANSWER_WITHIN_S", 0.2)
    dataset = write_small_dataset(tmp_path / "mines", 9, (2020,), raw_material=["RR"] * 9)
    parts = ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    dataset = replace(dataset, split=dataset.split.assign(part=parts))
    study = Study("demo", dataset, (0,), RunStore(tmp_path / "runs"))
    tasks = ["model1", "excavation,preparatory work area"]  # the second is to use RGB
    bands = band_entries(study, tasks)
    tested = {"mine-6": excavation(2), "mine-7": excavation(8)}
    origin = {"dataset": "made", "synthetic": True, "device": "cpu", "cpu_cores": 2}
    for entry in [*bands, *(e.baseline() for e in bands), *split_entries(study, tasks)]:
        config, folder = entry.config, study.store.path / run_key(entry.config, dataset)
        found = {config.epochs: {"validation": {"mine-3": excavation(5)}, "test": tested}}
        write_run(folder, config, found, **origin, git_commit="abc")

    outcomes = write_tables.table_outcomes(study, tasks)
    assert list(outcomes.columns) == write_tables.OUTCOME_COLUMNS
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
