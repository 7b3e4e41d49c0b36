import numpy as np
import pytest
import rasterio
import torch

from minseg import MinsegError
from minseg.data.labels import IGNORE_BITS, TASKS, parse_task
from minseg.data.radiometry import training_statistics
from minseg.learning import baseline
from minseg.learning.baseline import fit_pixel_forest
from minseg.learning.inference import load_scenes
from minseg.scoring.metrics import scene_counts, scores

MODEL1 = TASKS["model1"]
BANDS = ("B02", "B04", "B08")


@pytest.fixture(autouse=True)
def fewer_pixels(monkeypatch):
    """Fewer trees of fewer pixels, for speed."""
    monkeypatch.setattr(baseline, "PIXELS", 6000)
    monkeypatch.setattr(baseline, "TREES", 20)


@pytest.fixture(scope="module")
def statistics(dataset):
    return training_statistics(dataset, BANDS)


def test_forest_learns_the_easy_dataset_and_each_pixel_stands_alone(dataset, statistics):
    predict = fit_pixel_forest(dataset, MODEL1, statistics, seed=0)
    scenes = load_scenes(dataset, "test", MODEL1, statistics, 0)
    counts = scene_counts(
        [predict(scene.inputs) for scene in scenes], [scene.target for scene in scenes], MODEL1
    )
    table = scores(counts, class_names=MODEL1.target_names)
    assert table["per_class"].loc["excavation", "iou"] > 0.6
    assert table["per_class"].loc["preparatory work area", "iou"] > 0.6
    inputs = scenes[0].inputs[:, :20, :50]
    found = predict(inputs)
    assert (found.shape, found.dtype) == ((20, 50), np.uint8)
    assert np.array_equal(predict(inputs.flip(-1)), found[:, ::-1])
    assert np.array_equal(predict(inputs.transpose(1, 2)), found.T)


def test_overlapping_classes_are_learnt_as_combinations(dataset, statistics):
    task = parse_task("excavation+preparatory work area")
    forest, exclusive = (fit_pixel_forest(dataset, one, statistics, 0) for one in (task, MODEL1))
    scene = load_scenes(dataset, "test", MODEL1, statistics, 0)[0]
    found = forest(scene.inputs)
    assert found.dtype == np.uint16
    # They do not overlap here, so they are the same classes by other values.
    values = np.array([task.value(name) for name in MODEL1.target_names], np.uint16)
    assert np.array_equal(found, values[exclusive(scene.inputs)])


def test_seed_decides_the_forest(dataset, statistics):
    inputs = torch.randn((3, 40, 40), generator=torch.Generator().manual_seed(0))
    first, again, other = (
        fit_pixel_forest(dataset, MODEL1, statistics, seed)(inputs) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pixels_that_nobody_annotated_are_not_learnt(own_dataset):
    # The right half is as bright as excavation; learnt as anything else, it would be predicted so.
    for _, scene in own_dataset.scenes.iterrows():
        with rasterio.open(own_dataset.path / scene["labels"], "r+") as file:
            labels = file.read(1)
            labels[:, 32:] = IGNORE_BITS
            file.write(labels, 1)
        with rasterio.open(own_dataset.path / scene["optical"], "r+") as file:
            optical = file.read()
            optical[:, :, 32:] = 2400
            file.write(optical)
    statistics = training_statistics(own_dataset, BANDS)
    predict = fit_pixel_forest(own_dataset, MODEL1, statistics, seed=0)
    (scene,) = load_scenes(own_dataset, "test", MODEL1, statistics, 0)
    assert (predict(scene.inputs)[:, 32:] == 1).all()


def test_a_dataset_without_annotated_train_pixels_is_refused(own_dataset):
    for _, scene in own_dataset.scenes.iterrows():
        with rasterio.open(own_dataset.path / scene["labels"], "r+") as file:
            file.write(np.full((1, *file.shape), IGNORE_BITS, np.uint16))
    statistics = training_statistics(own_dataset, BANDS)
    with pytest.raises(MinsegError, match="no train pixel is annotated"):
        fit_pixel_forest(own_dataset, MODEL1, statistics, seed=0)
