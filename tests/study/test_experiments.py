import numpy as np
import pandas as pd
import pytest
import rasterio

from minseg import MinsegError
from minseg.data.writing import resplit
from minseg.learning.metrics import counts
from minseg.study.config import profile_config
from minseg.study.experiments import evaluate, open_segmenter, run
from minseg.study.runs import RunStore, run_key
from tests.conftest import names, write_small_dataset

SMALL = {
    "encoder": "tu-mobilenetv3_small_100",
    "crop": 64,
    "test_crop": 64,
    "epochs": 2,
    "batch_size": 4,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return RunStore(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def network(dataset, store):
    return run(profile_config("demo", task="model1", **SMALL), dataset, store)


def test_run_folder_holds_everything(network, dataset):
    assert names(network.path) == [
        "config.json",
        "counts.csv",
        "history.csv",
        "predictions",
        "provenance.json",
        "statistics.json",
        "weights.safetensors",
    ]
    assert network.key == run_key(network.config, dataset)
    assert len(network.history) == 2
    origin = network.provenance
    assert origin["dataset_hash"] == dataset.digest
    assert origin["wall_time_s"] > 0
    assert origin["peak_memory_mib"] > 50
    assert origin["packages"]["torch"]
    assert set(origin["parts"].values()) == {"train", "validation", "test"}


def test_stored_predictions_give_the_stored_counts(network, dataset):
    for _, scene in dataset.scenes_of("test").iterrows():
        with rasterio.open(network.path / "predictions" / f"{scene['scene']}.tif") as source:
            prediction = source.read()
            assert source.transform == dataset.grid(scene).transform
        target = dataset.read_target(scene, network.task)[np.newaxis]
        expected = counts(prediction, target, 3)[0]
        rows = network.counts[network.counts["scene"] == scene["scene"]]
        assert (rows[["tp", "fp", "fn", "tn"]].to_numpy() == expected).all()


def test_a_run_that_exists_is_loaded(network, dataset, store):
    before = (network.path / "weights.safetensors").stat().st_mtime_ns
    again = run(network.config, dataset, store)
    assert again.path == network.path
    assert (again.path / "weights.safetensors").stat().st_mtime_ns == before


def test_same_seed_same_run_elsewhere(network, dataset, tmp_path):
    again = run(network.config, dataset, RunStore(tmp_path))
    pd.testing.assert_frame_equal(again.counts, network.counts)


def test_evaluating_again_gives_the_stored_counts(network, dataset):
    table = evaluate(network, dataset, "test")
    stored = network.counts[network.counts["part"] == "test"].drop(columns="part")
    pd.testing.assert_frame_equal(table, stored.reset_index(drop=True))


def test_evaluating_on_mines_seen_in_training_is_refused(network, dataset, tmp_path):
    copy = write_small_dataset(tmp_path / "squares")  # the same data in another folder
    seen = {m for m, part in network.provenance["parts"].items() if part == "train"}
    for seed in range(50):
        other = resplit(copy, seed)
        tested = set(other.split.loc[other.split["part"] == "test", "mine"])
        if tested & seen:
            with pytest.raises(MinsegError, match="was trained on"):
                evaluate(network, other, "test")
            return
    pytest.fail("no split tested a training mine")


def test_baseline_is_a_run_without_model(dataset, store, network):
    baseline = run(network.config.baseline(), dataset, store)
    assert baseline.history.empty
    assert set(baseline.counts["part"]) == {"validation", "test"}
    assert baseline.scores()["per_class"].loc["excavation", "iou"] > 0.6
    with pytest.raises(MinsegError, match="stores no model"):
        open_segmenter(baseline)


def test_task_or_bands_that_the_dataset_lacks(dataset, store):
    with pytest.raises(MinsegError, match="nobody annotated"):
        run(profile_config("demo", task="model3"), dataset, store)
    with pytest.raises(MinsegError, match="has no band"):
        run(profile_config("demo", task="model1", bands="M"), dataset, store)


def test_crop_larger_than_the_scenes(dataset, store):
    with pytest.raises(MinsegError, match="smaller than the crop"):
        run(profile_config("demo", task="model1", crop=96, test_crop=0), dataset, store)
    with pytest.raises(MinsegError, match="smaller than the test crop"):
        run(profile_config("demo", task="model1", crop=64, test_crop=128), dataset, store)


def test_unknown_architecture_and_encoder(dataset, store):
    for changes in ({"architecture": "transformer"}, {"encoder": "resnet51"}):
        with pytest.raises(MinsegError) as error:
            run(profile_config("demo", task="model1", **(SMALL | changes)), dataset, store)
        assert "\n" not in str(error.value)


def test_pretrained_weights_without_network_are_never_a_random_start(dataset, store, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = profile_config("demo", task="model1", **(SMALL | {"weights": "imagenet"}))
    with pytest.raises(MinsegError, match="none"):
        run(config, dataset, store)
    assert store.find(run_key(config, dataset)) is None
