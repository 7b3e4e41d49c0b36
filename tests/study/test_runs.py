import multiprocessing
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from minseg import MinsegError, atomic
from minseg.data.labels import IGNORE, IGNORE_BITS, TASKS, encode_bits
from minseg.learning import options
from minseg.scoring.metrics import counts, scores
from minseg.study.config import RunConfig
from minseg.study.runs import (
    RUN_FILES,
    Run,
    RunStore,
    counted_mines,
    counts_array,
    find_scene,
    git_state,
    kind_of,
    open_run,
    run_key,
    scene_prediction,
)
from tests.conftest import names
from tests.study.made_runs import excavation, write_run
from tests.study.predicted import rectangle, write_mines, write_predictions


def test_commit_and_changes_of_the_code(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "src" / "module.py"
    source.parent.mkdir()
    source.write_text("one")
    assert git_state(source) == (None, None)
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert git_state(source) == (git("rev-parse", "HEAD"), False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))  # as in a hook of another repository
    assert git_state(source)[0]
    monkeypatch.delenv("GIT_DIR")
    source.write_text("two")
    assert git_state(source)[1] is True
    # A thesis with a virtual environment inside, ignored or not, holds no commit of this code.
    installed = tmp_path / ".venv" / "lib" / "module.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("one")
    assert git_state(installed) == (None, None)
    (tmp_path / ".gitignore").write_text(".venv\n")
    assert git_state(installed) == (None, None)


CONFIG = RunConfig(task="model1", bands="RGB", epochs=4, score_epochs=(2,))
FOUND = {
    epochs: {
        "validation": {"m0": excavation(5)},
        "test": {"m2": excavation(epochs), "m1": excavation(2 * epochs)},
    }
    for epochs in (2, 4)
}


def test_key_depends_on_config_data_and_split(own_dataset, monkeypatch):
    config = RunConfig()
    key = run_key(config, own_dataset)
    assert key == run_key(RunConfig(), own_dataset)
    assert key != run_key(config.replace(seed=1), own_dataset)
    turned = own_dataset.split["part"].replace({"train": "test", "test": "train"})
    assert run_key(config, replace(own_dataset, split=own_dataset.split.assign(part=turned))) != key
    monkeypatch.setattr(type(own_dataset), "digest", "data")
    monkeypatch.setattr(type(own_dataset), "split_digest", "split")
    fresh = replace(own_dataset)
    keys = [run_key(RunConfig(weights=name), fresh) for name in ("imagenet", None)]
    assert keys == ["ad8f484516463c7f", "b1c9a6072020727a"]  # which must stay
    changes = {"encoder_rate": 0.1, "standardise": "start", "colour": 0.2, "coarsen": 2}
    changes |= {"orientations": 8, "class_weights": "balanced", "weight_decay": 0, "patience": 9}
    changed = {run_key(RunConfig().replace(**{name: changes[name]}), fresh) for name in changes}
    assert len(changed - set(keys)) == 8


def test_key_depends_on_the_content_of_a_weights_file_and_not_on_its_place(own_dataset, tmp_path):
    def key_with(content, name):
        (tmp_path / name).write_bytes(content)
        return run_key(RunConfig(weights=str(tmp_path / name)), own_dataset)

    first = key_with(b"one", "a.safetensors")
    assert key_with(b"one", "b.safetensors") == first
    assert key_with(b"two", "a.safetensors") != first
    with pytest.raises(MinsegError, match=r"c\.safetensors: cannot be read .*check the path"):
        run_key(RunConfig(weights="c.safetensors"), own_dataset)


def test_key_holds_the_content_of_a_start_wherever_its_package_is_not_installed(
    own_dataset, monkeypatch
):
    def key_with(name, encoder="tu-tf_efficientnet_lite0"):
        return run_key(RunConfig(weights=name, encoder=encoder), own_dataset)

    monkeypatch.setattr(options, "installed_version", lambda _: "0.1.0")
    key = key_with("imagenet-lite0")
    assert key_with("imagenet") == key
    monkeypatch.setattr(options, "installed_version", lambda _: None)
    assert key_with("imagenet-lite0") == key
    assert key_with("imagenet") != key
    other = replace(options.STARTS["imagenet-lite0"], sha256="other")
    monkeypatch.setitem(options.STARTS, "imagenet-lite0", other)
    assert key_with("imagenet-lite0") != key


def test_claimed_folder_becomes_the_run(tmp_path):
    store = RunStore(tmp_path / "runs")
    with store.claim("abc") as folder:
        write_run(folder, CONFIG, FOUND)
        assert store.find("abc") is None
    assert store.find("abc").path == tmp_path / "runs" / "abc"
    assert [run.key for run in store] == ["abc"]
    with store.claim("abc") as folder:
        assert folder is None
    assert names(store.path) == [".abc.lock", "abc"]


def test_failed_work_is_kept_to_be_taken_up_again_or_thrown_away(tmp_path):
    store = RunStore(tmp_path)
    write_run(tmp_path / "def", CONFIG, FOUND)
    with pytest.raises(ZeroDivisionError), store.claim("abc") as folder:
        (folder / "checkpoint").write_text("half")
        (folder / ".weights.partial").write_text("cut off by a kill")
        (folder / "predictions" / ".map").mkdir(parents=True)
        (folder / "predictions" / ".map" / "classes.tif").write_text("cut off too")
        raise ZeroDivisionError
    assert store.find("abc") is None
    with pytest.raises(ZeroDivisionError), store.claim("abc") as folder:
        assert names(folder) == ["checkpoint", "predictions"]
        assert names(folder / "predictions") == []
        raise ZeroDivisionError
    store.discard("abc")
    store.discard("def")
    assert names(tmp_path) == [".abc.lock", ".def.lock", "def"]
    assert [run.key for run in store] == ["def"]


def claim_until(path, started, told):
    with RunStore(path).claim("abc") as folder:
        started.set()
        told.wait()
        write_run(folder, CONFIG, FOUND)


def test_a_second_process_waits_and_finds_the_run(tmp_path, monkeypatch):
    context = multiprocessing.get_context("spawn")
    started, told = context.Event(), context.Event()
    worker = context.Process(target=claim_until, args=(tmp_path, started, told), daemon=True)
    worker.start()
    started.wait()
    monkeypatch.setattr(atomic, "TOLD_AFTER_S", 0)
    lines = []
    monkeypatch.setattr("builtins.print", lambda line, file: (lines.append(line), told.set()))
    with RunStore(tmp_path).claim("abc") as folder:
        assert folder is None
    worker.join()
    assert lines == ["run abc is being made by another process; waiting"]


def test_scores_are_those_of_the_stored_counts(tmp_path):
    random = np.random.default_rng(0)
    truth, guess = random.integers(0, 3, (2, 2, 20, 20))
    table = counts(guess, truth, 3)
    tested = {f"m{k}": table[k].tolist() for k in range(2)}
    stored = write_run(tmp_path, RunConfig(task="model1"), {150: {"test": tested}})
    path = stored.path / "counts.csv"
    frame = pd.read_csv(path).sample(frac=1, random_state=1)  # a spreadsheet may have sorted them
    frame.to_csv(path, index=False)
    for convention in ("standard", "paper"):
        expected = scores(table, convention)
        assert stored.scores(convention=convention)["iou"] == pytest.approx(expected["iou"])
    by_mine = stored.scores_by_mine()
    assert by_mine.loc["m1", "iou"] == pytest.approx(scores(table[1:])["iou"])
    assert by_mine.loc["m1", "scene"] == "m1-2020"
    assert (counts_array(stored.counts, TASKS["model1"]) == table).all()
    frame.loc[frame["class"] == "excavation", "fp"] += 1
    frame.to_csv(path, index=False)
    assert Run(stored.path).scores()["iou"] < stored.scores()["iou"]


def test_counts_are_those_of_an_epoch_count_the_last_by_default(tmp_path):
    run = write_run(tmp_path, CONFIG, FOUND)
    assert run.scores()["iou"] == pytest.approx((4 + 8) / 20)
    assert run.scores(epochs=4)["iou"] == run.scores()["iou"]
    assert run.scores(epochs=2)["iou"] == pytest.approx((2 + 4) / 20)
    assert run.scores("validation", epochs=2)["iou"] == pytest.approx(0.5)
    tested = run.counts_of("test")
    assert counted_mines(tested) == ["m1", "m2"]
    assert counts_array(tested, run.task).tolist() == [excavation(8), excavation(4)]
    with pytest.raises(MinsegError, match="no counts of part 'train'"):
        run.scores("train")
    with pytest.raises(MinsegError, match="part 'test' at 7 epochs; it has validation, test at 2"):
        run.scores(epochs=7)
    assert open_run(tmp_path) == run
    with pytest.raises(MinsegError, match="no finished run"):
        open_run(tmp_path / "elsewhere")


@pytest.mark.parametrize("name", RUN_FILES)
def test_run_with_a_file_missing_or_cut_off_anywhere_is_refused(tmp_path, name):
    store = RunStore(tmp_path)
    path = write_run(tmp_path / "abc", CONFIG, FOUND).path / name
    whole = path.read_bytes()
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        with pytest.raises(MinsegError, match=rf"abc: {name} .*; delete the folder.*"):
            store.find("abc")
    path.unlink()
    with pytest.raises(MinsegError, match=f"{name} is missing"):
        open_run(tmp_path / "abc")
    with pytest.raises(MinsegError, match=f"{name} is missing"), store.claim("abc"):
        pytest.fail("a damaged run is not to be worked on")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("config.json", '{"task": "model9"}\n', "config.json cannot be read"),
        ("provenance.json", "[1, 2]\n", "provenance.json lacks the split"),
        ("provenance.json", "{}\n", "provenance.json lacks the split"),
        ("provenance.json", '{"parts": {}}\n', "counts.csv lacks rows"),
        ("statistics.json", '{"mean": [1.0]}\n', "statistics.json cannot be read"),
        ("history.csv", "\0\n", "history.csv lacks rows"),
        ("counts.csv", "a,b\n1,2\n", "counts.csv lacks rows or columns"),
        ("counts.csv", "a,b\n1,2,3\n1,2\n4,5,6,7\n", "counts.csv cannot be read"),
        ("network.json", "[", "network.json is cut off"),
        ("cost.json", "{,}\n", "cost.json cannot be read"),
    ],
)
def test_run_with_a_file_of_other_content_is_refused(tmp_path, name, content, problem):
    run = write_run(tmp_path / "abc", CONFIG, FOUND)
    (run.path / name).write_text(content)
    with pytest.raises(MinsegError, match=f"{run.path}: {problem}.*delete the folder") as error:
        RunStore(tmp_path).find("abc")
    assert len(str(error.value)) < len(str(run.path)) + 250


def test_run_that_lacks_a_class_or_a_mine_is_refused(tmp_path):
    path = write_run(tmp_path / "abc", CONFIG, FOUND).path / "counts.csv"
    lines = path.read_text().splitlines(keepends=True)
    for k in range(1, len(lines)):
        path.write_text("".join(lines[:k] + lines[k + 1 :]))
        with pytest.raises(MinsegError, match=r"counts\.csv lacks rows"):
            RunStore(tmp_path).find("abc")


@pytest.mark.parametrize(
    ("curve", "whole"),
    [([5, 4, 4], True), ([5, 4], False), ([5, 4, 6, 7], True), ([5, 4, 4, 4], False), ([], False)],
)
def test_run_that_stopped_early_is_whole_where_its_patience_ended(tmp_path, curve, whole):
    config = CONFIG.replace(patience=2)
    write_run(tmp_path / "abc", config, FOUND, curve)
    if whole:
        assert len(RunStore(tmp_path).find("abc").history) == len(curve)
    else:
        with pytest.raises(MinsegError, match=r"history\.csv lacks rows"):
            RunStore(tmp_path).find("abc")


def test_runs_on_an_earlier_content_of_a_dataset_are_counted(own_dataset, tmp_path):
    store = RunStore(tmp_path / "runs")
    for key, name, digest in (
        ("aa", "squares", own_dataset.digest),
        ("bb", "squares", "another"),
        ("cc", "squares", "one more"),
        ("dd", "triangles", "another"),
    ):
        write_run(store.path / key, CONFIG, FOUND, dataset=name, dataset_hash=digest)
    write_run(store.path / "ee", CONFIG, FOUND)  # says nothing
    (write_run(store.path / "ff", CONFIG, FOUND).path / "provenance.json").write_text("cut off")
    assert store.outdated(own_dataset) == 2
    assert RunStore(tmp_path / "none").outdated(own_dataset) == 0


def test_times_of_runs_are_told_without_those_that_cannot_be_read(own_dataset, tmp_path):
    store, origin = RunStore(tmp_path), {"dataset_hash": own_dataset.digest, "wall_time_s": 9}
    for key, task in (("aa", "model1"), ("bb", "model9"), ("cc", "")):
        path = write_run(tmp_path / key, CONFIG, FOUND, **origin).path / "config.json"
        path.write_text(path.read_text().replace('"model1"', f'"{task}"'))
    assert store.times_s(own_dataset) == {kind_of(CONFIG): [9.0]}


def test_prediction_with_truth_and_all_labels(tmp_path):
    pit, dump = rectangle(4, 4, 10, 10), rectangle(20, 20, 5, 5)
    labels = encode_bits({"excavation": pit, "dumping ground": dump})
    labels[:, -1] = IGNORE_BITS
    mines = write_mines(tmp_path / "d", [labels], looks={0: [(rectangle(0, 0, 2, 2), [0] * 5)]})
    run = write_predictions(tmp_path / "run", mines, "model1", [{"excavation": dump}])
    one = scene_prediction(run, mines, "mine-4")
    assert one.scene["scene"] == "mine-4-2020"
    assert np.array_equal(one.prediction == 1, dump)
    assert np.array_equal(one.target == 1, pit)
    assert np.array_equal(one.target == IGNORE, (labels == IGNORE_BITS) | rectangle(0, 0, 2, 2))
    assert np.array_equal(one.labels, labels)


def test_what_does_not_fit_is_refused(tmp_path):
    mines = write_mines(tmp_path / "d", [{}])
    run = write_predictions(tmp_path / "run", mines, "model1", [{}])
    with pytest.raises(MinsegError, match="no prediction of mine 'mine-0'; test mines are mine-4"):
        scene_prediction(run, mines, "mine-0")
    elsewhere = run.path / "predictions" / "mine-4-2020.tif"
    other = write_mines(tmp_path / "other", [{}, {}])
    longer = write_predictions(tmp_path / "longer", other, "model1", [{}, {}])
    (longer.path / "predictions" / "mine-5-2020.tif").replace(elsewhere)
    with pytest.raises(MinsegError, match="another grid than scene 'mine-4-2020'"):
        scene_prediction(run, mines, "mine-4")
    elsewhere.unlink()
    with pytest.raises(MinsegError, match="no such file"):
        scene_prediction(run, mines, "mine-4")
    with pytest.raises(MinsegError, match="has no scene 'nowhere'"):
        find_scene(mines, "nowhere")


def test_a_mine_may_be_called_na_and_an_empty_count_is_missing(tmp_path):
    rows = "epochs,part,scene,mine,class,tp,fp,fn,tn\n1,test,null,NA,dam,1,,3,4\n"
    (tmp_path / "counts.csv").write_text(rows)
    row = Run(tmp_path).counts.iloc[0]
    assert (row["scene"], row["mine"]) == ("null", "NA")
    assert np.isnan(row["fp"])
