import json
import multiprocessing
import time

import numpy as np
import pandas as pd
import pytest

from minseg import MinsegError
from minseg.data.labels import TASKS
from minseg.data.writing import resplit
from minseg.learning.metrics import counts, scores
from minseg.study.config import RunConfig
from minseg.study.runs import Run, RunStore, counts_array, open_run, run_key
from tests.conftest import names


def test_key_depends_on_config_data_and_split(own_dataset):
    config = RunConfig()
    key = run_key(config, own_dataset)
    assert key == run_key(RunConfig(), own_dataset)
    assert key != run_key(config.replace(seed=1), own_dataset)
    for seed in range(20):
        other = resplit(own_dataset, seed)
        same = other.split.equals(own_dataset.split)
        assert (run_key(config, other) == key) == same


def test_claimed_folder_becomes_the_run(tmp_path):
    store = RunStore(tmp_path / "runs")
    with store.claim("abc") as folder:
        (folder / "config.json").write_text("{}")
        assert store.find("abc") is None
    assert store.find("abc").path == tmp_path / "runs" / "abc"
    assert [run.key for run in store] == ["abc"]
    with store.claim("abc") as folder:
        assert folder is None
    assert names(store.path) == [".abc.lock", "abc"]


def test_failed_work_is_kept_to_be_taken_up_again(tmp_path):
    store = RunStore(tmp_path)
    with pytest.raises(ZeroDivisionError), store.claim("abc") as folder:
        (folder / "checkpoint").write_text("half")
        (folder / ".weights.partial").write_text("cut off by a kill")
        raise ZeroDivisionError
    assert store.find("abc") is None
    assert list(store) == []
    with store.claim("abc") as folder:
        assert names(folder) == ["checkpoint"]
        (folder / "config.json").write_text("{}")


def claim_slowly(path, started):
    with RunStore(path).claim("abc") as folder:
        started.set()
        time.sleep(1)
        (folder / "config.json").write_text("{}")


def test_a_second_process_waits_and_finds_the_run(tmp_path, capfd):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    worker = context.Process(target=claim_slowly, args=(tmp_path, started))
    worker.start()
    assert started.wait(60)
    with RunStore(tmp_path).claim("abc") as folder:
        assert folder is None
    worker.join()
    assert "being made by another process" in capfd.readouterr().err


@pytest.fixture
def run(tmp_path):
    """A run folder with the counts of two random scenes, as another program could write it."""
    random = np.random.default_rng(0)
    truth, guess = random.integers(0, 3, (2, 2, 20, 20))
    table = counts(guess, truth, 3)
    rows = [
        ("test", f"s{i}", f"m{i}", name, *table[i, k])
        for i in range(2)
        for k, name in enumerate(TASKS["model1"].target_names)
    ]
    columns = ["part", "scene", "mine", "class", "tp", "fp", "fn", "tn"]
    # Rows in any order: a spreadsheet may have sorted them.
    frame = pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=1)
    frame.to_csv(tmp_path / "counts.csv", index=False)
    (tmp_path / "config.json").write_text(RunConfig(task="model1").model_dump_json())
    (tmp_path / "provenance.json").write_text(json.dumps({"seed": 0}))
    return Run(tmp_path), table


def test_scores_are_computed_from_the_stored_counts(run):
    stored, table = run
    for convention in ("standard", "paper"):
        expected = scores(table, convention)
        assert stored.scores(convention=convention)["iou"] == pytest.approx(expected["iou"])
    by_mine = stored.scores_by_mine()
    assert by_mine.loc["m1", "iou"] == pytest.approx(scores(table[1:])["iou"])
    assert by_mine.loc["m1", "scene"] == "s1"


def test_changing_one_stored_count_changes_the_score(run):
    stored, _ = run
    before = stored.scores()["iou"]
    path = stored.path / "counts.csv"
    frame = pd.read_csv(path)
    frame.loc[frame["class"] == "excavation", "fp"] += 1
    frame.to_csv(path, index=False)
    assert Run(stored.path).scores()["iou"] < before


def test_counts_array_orders_scenes_and_classes(run):
    stored, table = run
    assert (counts_array(stored.counts, TASKS["model1"]) == table).all()


def test_part_without_counts_and_folder_without_run(run, tmp_path):
    with pytest.raises(MinsegError, match="no counts of part 'train'"):
        run[0].scores("train")
    with pytest.raises(MinsegError, match="no finished run"):
        open_run(tmp_path / "elsewhere")
