from dataclasses import replace

import numpy as np
import pytest
import torch
from rasterio.windows import Window
from sklearn.metrics import multilabel_confusion_matrix
from torch import nn

from minseg import MinsegError
from minseg.data.labels import IGNORE, TASKS
from minseg.data.radiometry import ChannelStatistics, training_statistics
from minseg.learning.inference import (
    Segmenter,
    centre_window,
    counts_table,
    load_scenes,
    predict_scene,
    predict_scenes,
    turn,
    turn_back,
)
from minseg.learning.models import build_model
from minseg.learning.tiling import Tiling
from tests.conftest import SIDE, grid_at

MODEL1 = TASKS["model1"]
BANDS = ("B02", "B04", "VV")
PLAIN = ChannelStatistics(BANDS, (0.0,) * 3, (1.0,) * 3)


def segmenter_of(network, precision="32-true"):
    return Segmenter(network, MODEL1, PLAIN, torch.device("cpu"), precision)


def pointwise(seed=0):
    torch.manual_seed(seed)
    return nn.Conv2d(3, 3, 1)


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def real():
    torch.manual_seed(0)
    return build_model("unet", "resnet18", BANDS, MODEL1.num_classes)


def test_probabilities_are_the_softmax_of_the_network_in_evaluation_mode(real):
    inputs = images(1, 3, 64, 96)
    real.eval()
    with torch.no_grad():
        expected = real(inputs).softmax(dim=1)
    real.train()  # as training leaves it
    found = segmenter_of(real).probabilities(inputs)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)  # kernels differ
    reduced = segmenter_of(real, "bf16-mixed").probabilities(inputs)
    assert reduced.dtype == torch.float32
    assert not torch.equal(found, reduced)
    assert reduced.numpy() == pytest.approx(found.numpy(), abs=0.05)


@pytest.mark.parametrize(("height", "width"), [(50, 70), (33, 1)])
def test_padding_repeats_the_edge_and_does_not_move_the_image(real, height, width):
    inputs, segmenter = images(2, 3, height, width), segmenter_of(real)
    margins = ((0, 0), (0, 0), (0, 64 - height), (0, -width % 32))
    padded = torch.from_numpy(np.pad(inputs.numpy(), margins, mode="edge"))
    expected = segmenter.probabilities(padded)[..., :height, :width]
    assert segmenter.probabilities(inputs).numpy() == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(("side", "crop", "first"), [(64, 64, 0), (64, 32, 16), (65, 32, 16)])
def test_centre_window(side, crop, first):
    assert centre_window(grid_at(0, side), crop, "a") == Window(first, first, crop, crop)


def test_a_scene_smaller_than_the_test_crop_is_refused_with_the_way_to_mend_it(dataset):
    with pytest.raises(MinsegError, match=r"64×64 pixels.*crop of 65.*--set test_crop=0"):
        centre_window(grid_at(0, 64), 65, "a")
    with pytest.raises(MinsegError, match="test crop of 96"):
        load_scenes(dataset, "test", MODEL1, PLAIN, 96)


def test_centre_crops_are_slices_of_the_whole_scenes(dataset):
    statistics = training_statistics(dataset, BANDS)
    whole, crops = (load_scenes(dataset, "test", MODEL1, statistics, crop) for crop in (0, 40))
    assert len(whole) == len(crops) == 1
    middle = slice(12, 52)
    for one, other in zip(whole, crops, strict=True):
        assert (other.scene, other.mine) == (one.scene, one.mine)
        assert torch.equal(other.inputs, one.inputs[:, middle, middle])
        assert np.array_equal(other.target, one.target[middle, middle])
        assert one.target.shape == (SIDE, SIDE)
        assert (other.grid.height, other.grid.width) == (40, 40)
        assert other.grid.transform @ (0, 0) == one.grid.transform @ (12, 12)


@pytest.mark.parametrize("normalises", [True, False])
def test_what_maps_quickest_answers_alike_and_leaves_the_network_as_it_was(real, normalises):
    network = real if normalises else pointwise()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for precision, tolerance in (("32-true", 1e-5), ("bf16-mixed", 0.03)):
        segmenter, inputs = segmenter_of(network, precision), images(1, 3, 64, 96)
        found = segmenter.for_maps().probabilities(inputs)
        expected = segmenter.probabilities(inputs)
        within = tolerance if normalises else 0
        assert found.numpy() == pytest.approx(expected.numpy(), abs=within)
    for name, tensor in network.state_dict().items():
        assert tensor.equal(before[name]) and tensor.dtype == before[name].dtype, name


@pytest.mark.parametrize("tiling", [None, Tiling(32, 8, 3)])
def test_a_scene_is_given_the_class_of_the_largest_logit(tiling):
    inputs, network = images(3, 90, 70).half(), pointwise()
    found = predict_scene(segmenter_of(network), inputs, tiling)
    with torch.no_grad():
        expected = network(inputs.float()[None])[0].argmax(dim=0)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected.numpy())
    assert len(np.unique(found)) > 1


def test_rows_of_counts_name_their_scene_and_agree_with_scikit_learn(dataset):
    scenes = load_scenes(dataset, "train", MODEL1, training_statistics(dataset, BANDS), 0)[:3]
    predictions = predict_scenes(segmenter_of(pointwise(3)), scenes)
    table = counts_table(predictions, scenes, MODEL1)
    assert list(table.columns) == ["scene", "mine", "class", "tp", "fp", "fn", "tn"]
    assert table["scene"].tolist() == [one.scene for one in scenes for _ in range(3)]
    assert table["mine"].tolist() == [one.mine for one in scenes for _ in range(3)]
    assert table["class"].tolist() == [*MODEL1.target_names] * 3
    found = table[["tp", "fp", "fn", "tn"]].to_numpy().reshape(3, 3, 4)
    truth = np.concatenate([scene.target.ravel() for scene in scenes])
    guess = np.concatenate([prediction.ravel() for prediction in predictions])
    known = truth != IGNORE
    assert known.sum() == 3 * SIDE * (SIDE - 1)
    matrices = multilabel_confusion_matrix(truth[known], guess[known], labels=[0, 1, 2])
    expected = matrices[:, [1, 0, 1, 0], [1, 1, 0, 0]]  # TP, FP, FN, TN
    assert np.array_equal(found.sum(axis=0), expected)


def test_the_eight_orientations_are_those_of_a_square_and_are_undone():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    turned = [turn(image, number) for number in range(8)]
    square = {
        np.rot90(image[0, 0].numpy(), quarter)[:, ::mirror].tobytes() + bytes([quarter % 2])
        for quarter in range(4)
        for mirror in (1, -1)
    }
    assert {t[0, 0].numpy().tobytes() + bytes([t.shape[-1] == 2]) for t in turned} == square
    assert all(torch.equal(turn_back(t, number), image) for number, t in enumerate(turned))


def test_eight_orientations_are_averaged(real):
    inputs = images(1, 3, 50, 70)
    padded = nn.functional.pad(inputs, (0, 26, 0, 14), mode="replicate")
    turned = [segmenter_of(real).probabilities(turn(padded, number)) for number in range(8)]
    expected = np.mean([turn_back(one, number) for number, one in enumerate(turned)], axis=0)
    found = replace(segmenter_of(real), orientations=8).probabilities(inputs)
    assert found.numpy() == pytest.approx(expected[..., :50, :70], abs=1e-5)


def test_coarse_networks_predict_at_any_size():
    network = build_model("unet", "resnet18", BANDS, MODEL1.num_classes, coarsen=2)
    found = replace(segmenter_of(network), coarsen=2).probabilities(images(1, 3, 50, 70))
    assert found.shape == (1, 3, 50, 70)


class Halving(nn.Module):
    """Sees means of squares of 64 pixels alone, as a network of coarse pixels does at its end."""

    def forward(self, inputs):
        means = nn.functional.avg_pool2d(inputs, 64)
        return nn.functional.interpolate(means, scale_factor=64)


def test_coarse_networks_classify_the_same_in_any_tiles():
    segmenter, inputs = replace(segmenter_of(Halving()), coarsen=2), images(3, 64, 480)
    found = predict_scene(segmenter, inputs, Tiling(192, 64))
    assert np.array_equal(found, predict_scene(segmenter, inputs))
