import logging
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rasterio

from minseg import MinsegError
from minseg.data.bands import parse_bands
from minseg.data.radiometry import training_statistics
from minseg.learning import baseline as pixel_forest
from minseg.learning import training
from minseg.scoring.metrics import task_counts
from minseg.study.config import profile_config
from minseg.study.execution import evaluate, open_segmenter, run
from minseg.study.runs import RUN_FILES, RunStore, run_key
from minseg.study.tuning import validation_by_epochs
from tests.conftest import SMALL, TINY, names, write_small_dataset

CONSTANT = TINY.replace(epochs=4, schedule="constant", checkpoint="last")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return RunStore(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def network(dataset, store):
    return run(profile_config("demo", task="model1", **SMALL), dataset, store)


@pytest.fixture(scope="module")
def overlapping(dataset, store):
    task = "excavation+preparatory work area"
    return run(profile_config("demo", task=task, **SMALL), dataset, store)


def test_run_folder_holds_everything(network, dataset):
    files = ["network.json", "predictions", "weights.safetensors"]
    assert names(network.path) == sorted([*RUN_FILES, *files])
    assert network.key == run_key(network.config, dataset)
    assert len(network.history) == 2
    origin = network.provenance
    assert (origin["dataset"], origin["dataset_hash"]) == ("squares", dataset.digest)
    assert origin["wall_time_s"] > 0
    assert origin["peak_memory_mib"] > 50
    assert origin["packages"]["torch"]
    assert set(origin["parts"].values()) == {"train", "validation", "test"}


@pytest.mark.parametrize("kind", ["network", "overlapping"])
def test_stored_predictions_give_the_stored_counts(kind, dataset, request):
    made = request.getfixturevalue(kind)
    for _, scene in dataset.scenes_of("test").iterrows():
        with rasterio.open(made.path / "predictions" / f"{scene['scene']}.tif") as source:
            prediction = source.read()
            assert source.transform == dataset.grid(scene).transform
        target = dataset.read_target(scene, made.task)[np.newaxis]
        expected = task_counts(prediction, target, made.task)[0]
        rows = made.counts[made.counts["scene"] == scene["scene"]]
        assert (rows[["tp", "fp", "fn", "tn"]].to_numpy() == expected).all()
    require_stored_counts(made, dataset)


def test_a_run_that_exists_is_loaded_and_made_elsewhere_it_has_the_same_counts(
    network, dataset, store, tmp_path
):
    before = (network.path / "weights.safetensors").stat().st_mtime_ns
    for lock in store.path.glob(".*.lock"):
        lock.unlink()
    again = run(network.config, dataset, store)
    assert again.path == network.path
    assert not list(store.path.glob(".*.lock"))  # which a store that is only read refuses
    assert (again.path / "weights.safetensors").stat().st_mtime_ns == before
    elsewhere = run(network.config, dataset, RunStore(tmp_path))
    pd.testing.assert_frame_equal(elsewhere.counts, network.counts)


def test_evaluating_on_mines_seen_in_training_is_refused(network, dataset, tmp_path):
    copy = write_small_dataset(tmp_path / "squares")  # the same data in another folder
    turned = copy.split["part"].replace({"train": "test", "test": "train"})
    with pytest.raises(MinsegError, match="was trained on"):
        evaluate(network, replace(copy, split=copy.split.assign(part=turned)), "test")


def test_baseline_is_a_run_without_model(dataset, store, network):
    baseline = run(network.config.baseline(), dataset, store)
    assert baseline.history.empty
    assert set(baseline.counts["part"]) == {"validation", "test"}
    assert baseline.scores()["per_class"].loc["excavation", "iou"] > 0.6
    with pytest.raises(MinsegError, match="is the per-pixel baseline, which stores no model"):
        open_segmenter(baseline)


def test_without_network_a_named_start_is_refused_and_leaves_no_run(dataset, store, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = profile_config("demo", task="model1", **SMALL, weights="imagenet")
    with pytest.raises(MinsegError, match="none"):
        run(config, dataset, store)
    assert store.find(run_key(config, dataset)) is None


def require_stored_counts(made, dataset):
    table = evaluate(made, dataset, "test")
    stored = made.counts_of("test")[table.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, stored)


def counted(run, epochs):
    return run.counts[run.counts["epochs"] == epochs].reset_index(drop=True)


def test_earlier_epoch_counts_score_as_trainings_that_end_there(dataset, tmp_path):
    """The claim on which one training for all epoch counts of Table 5 rests."""
    long = run(CONSTANT.replace(score_epochs=(2, 3)), dataset, RunStore(tmp_path / "long"))
    assert sorted(set(long.counts["epochs"])) == [2, 3, 4]
    for epochs in (2, 3, 4):
        alone = run(CONSTANT.replace(epochs=epochs), dataset, RunStore(tmp_path / "alone"))
        assert set(alone.counts["part"]) == {"validation", "test"}
        pd.testing.assert_frame_equal(counted(long, epochs), alone.counts)
        for part in ("validation", "test"):
            assert long.scores(part, epochs=epochs)["iou"] == alone.scores(part)["iou"]
    first, last = (counted(long, epochs).drop(columns="epochs") for epochs in (2, 4))
    assert not first.equals(last)
    assert not list(long.path.glob("kept-at-*"))


def test_training_that_ends_early_is_a_whole_run_scored_at_every_epoch_count(dataset, tmp_path):
    config = CONSTANT.replace(epochs=40, patience=2, score_epochs=(2, 39), learning_rate=1e-9)
    made = run(config, dataset, RunStore(tmp_path))
    assert RunStore(tmp_path).find(made.key) == made
    last = len(made.history)
    assert 3 <= last < 39
    pd.testing.assert_frame_equal(
        counted(made, 39).drop(columns="epochs"), counted(made, 40).drop(columns="epochs")
    )
    curve = made.history["validation_iou"].tolist()
    assert validation_by_epochs(made) == {2: curve[1], 39: curve[-1], 40: curve[-1]}


def test_stopped_training_keeps_its_earlier_epoch_counts(dataset, tmp_path, monkeypatch):
    config = CONSTANT.replace(score_epochs=(1, 3))
    whole = run(config, dataset, RunStore(tmp_path / "whole"))
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1)
    stopped, seen = RunStore(tmp_path / "stopped"), []

    def stop(epoch, iou, kept):
        seen.append((epoch, iou))
        assert kept
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, dataset, stopped, stop)
    assert stopped.find(run_key(config, dataset)) is None
    resumed = run(config, dataset, stopped, lambda epoch, iou, _: seen.append((epoch, iou)))
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 3, 4]  # the third ended before its checkpoint
    curve = dict(zip(whole.history["epoch"], whole.history["validation_iou"], strict=True))
    assert all(iou == curve[epoch] for epoch, iou in seen)
    pd.testing.assert_frame_equal(resumed.counts, whole.counts)


def test_inputs_are_standardised_as_the_start_had_them_where_asked(network, dataset, tmp_path):
    turned = dataset.split["part"].replace({"train": "test", "test": "train"})
    other = replace(dataset, split=dataset.split.assign(part=turned))
    own = training_statistics(other, network.statistics.bands)
    weights = str(network.path / "weights.safetensors")
    config = network.config.replace(epochs=1, weights=weights)
    store = RunStore(tmp_path)
    assert run(config, other, store).statistics == own != network.statistics
    asked = config.replace(standardise="start")
    assert run(asked, other, store).statistics == network.statistics
    assert run(asked, dataset, store).statistics == network.statistics  # no other than its own
    with pytest.raises(MinsegError, match="None tell no mean and spread of RGB"):
        run(asked.replace(weights=None), other, store)


def test_subset_is_trained_and_tested_on_its_own_mines(dataset, tmp_path):
    mines = dataset.mines.assign(raw_material=["RR", "MO"] * 4)
    parts = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    mixed = replace(dataset, mines=mines, split=dataset.split.assign(part=parts))
    config = CONSTANT.replace(subset="MO", epochs=1)
    store = RunStore(tmp_path)
    made = run(config, mixed, store)
    assert set(made.provenance["parts"]) == {"mine-1", "mine-3", "mine-5", "mine-7"}
    assert made.provenance["dataset_hash"] == mixed.digest
    assert set(made.counts["mine"]) == {"mine-5", "mine-7"}
    assert made.statistics == training_statistics(mixed.subset("MO"), parse_bands(config.bands))
    assert made.statistics != training_statistics(mixed, parse_bands(config.bands))
    forest = run(config.baseline(), mixed, store)
    assert set(forest.counts["mine"]) == {"mine-5", "mine-7"}


def test_a_test_scene_without_radar_is_found_before_the_training(dataset, tmp_path):
    tested = dataset.scenes_of("test")["scene"]
    radar = dataset.scenes["radar"].mask(dataset.scenes["scene"].isin(tested), "")
    lacking, epochs = replace(dataset, scenes=dataset.scenes.assign(radar=radar)), []
    with pytest.raises(MinsegError, match="has no radar file; choose bands without it"):
        run(TINY, lacking, RunStore(tmp_path), lambda *epoch: epochs.append(epoch))
    assert not epochs


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes")
def test_full_disk_is_one_line_and_leaves_no_half_run(dataset, tmp_path, monkeypatch, file_limit):
    monkeypatch.setattr(pixel_forest, "PIXELS", 500)
    monkeypatch.setattr(pixel_forest, "TREES", 5)
    store, forest = RunStore(tmp_path), CONSTANT.baseline()
    for size_bytes, checkpoint_every_s, config in (
        (1_000_000, -1, CONSTANT),  # at the checkpoint, which holds the weights several times
        (1_000_000, 99, CONSTANT),  # at the weights
        (40, 99, forest),  # at the learning curve
        (500, 99, forest),  # at a class map
    ):
        key = run_key(config, dataset)
        monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", checkpoint_every_s)
        told = pytest.raises(MinsegError, match=r"cannot be written .*free some space")
        with file_limit(size_bytes), told as error:
            run(config, dataset, store)
        places = f"{store.path / key}: ", f"{store.path}/.{key}.partial/"
        assert str(error.value).startswith(places)
        assert store.find(key) is None
    assert list(store) == []
    for config in (CONSTANT, forest):  # the disk has space again
        made = run(config, dataset, store)
        assert made == store.find(run_key(config, dataset))
        assert [p for p in made.path.rglob("*") if p.name.startswith(".")] == []


SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "NODE_RANK": "1"}
FIRST_NODE = {"MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "9"}  # nobody answers there


@pytest.mark.parametrize(
    "variables",
    [
        SLURM,  # salloc or sbatch
        SLURM | FIRST_NODE | {"SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"},  # srun
        TORCHRUN | FIRST_NODE | {"GROUP_RANK": "1", "TORCHELASTIC_RUN_ID": "none"},
        {"OMPI_COMM_WORLD_RANK": "3", "PMI_RANK": "3", "PMI_SIZE": "4"},
    ],
)
def test_variables_of_a_cluster_divide_no_training(dataset, tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    require_stored_counts(run(CONSTANT.replace(epochs=1), dataset, RunStore(tmp_path)), dataset)


@pytest.mark.clusters
def test_one_run_on_several_devices(dataset, tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.INFO, "minseg")
    for name, value in (SLURM | TORCHRUN | FIRST_NODE).items():
        monkeypatch.setenv(name, value)
    config = profile_config("demo", task="model1", **SMALL)
    store = RunStore(tmp_path)
    with pytest.raises(MinsegError, match="cannot share batches of 4 crops"):
        run(config, dataset, store, devices=3)
    with pytest.raises(MinsegError, match=r"^epoch 1: the training loss is nan.*--set learning"):
        run(config.replace(learning_rate=1e30, optimiser="sgd"), dataset, store, devices=2)
    capfd.readouterr()
    made = run(config, dataset, store, devices=2, device="cpu")
    assert capfd.readouterr().err.count("epoch 2 of 2: loss ") == 1
    assert made.provenance["device"].startswith("2 × ")
    assert len(made.history) == 2
    assert np.isfinite(made.history["train_loss"]).all()
    require_stored_counts(made, dataset)  # the stored weights are those that were evaluated
