from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from minseg import MinsegError
from minseg.data.labels import TASKS, encode_bits, parse_task
from minseg.learning.models import build_model
from minseg.learning.tiling import Strip, Tiling, predict_strips, tile_starts

POINTWISE_SIZES = [
    (5, 5),  # smaller than a tile
    (40, 50),
    (64, 64),  # exactly a tile
    (65, 64),  # one row more
    (64, 65),  # one column more
    (112, 112),  # two tiles that overlap exactly as asked
    (131, 67),
    (97, 203),
    (1, 200),
]


def raster(height, width, seed=0):
    return np.random.default_rng(seed).normal(size=(2, height, width)).astype(np.float32)


def probabilities_of(network):
    @torch.no_grad()
    def probabilities(inputs):
        return network(inputs).softmax(dim=1)

    return probabilities


def pointwise():
    torch.manual_seed(1)
    return nn.Conv2d(2, 3, 1)


def strips_of(inputs, network, tiling, valid=None, first_row=0):
    valid = np.ones(inputs.shape[1:], bool) if valid is None else valid

    def read(window):
        rows, columns = window.toslices()
        return inputs[:, rows, columns], valid[rows, columns]

    outputs = range(2 if isinstance(network, Halving) else 3)
    predictor = SimpleNamespace(
        probabilities=probabilities_of(network),
        task=SimpleNamespace(output_names=outputs),
        device=torch.device("cpu"),
        stride=32,
    )
    found, copies = [], []
    for strip in predict_strips(predictor, read, *inputs.shape[1:], tiling, first_row):
        found.append(strip)
        copies.append((strip.probabilities.clone(), strip.valid.copy()))
    for strip, (probabilities, has_data) in zip(found, copies, strict=True):
        assert torch.equal(strip.probabilities, probabilities)  # later strips change none
        assert np.array_equal(strip.valid, has_data)
    return found


def joined(strips):
    return torch.cat([strip.probabilities for strip in strips], dim=1)


def whole(inputs, network):
    return probabilities_of(network)(torch.from_numpy(inputs)[None])[0]


@pytest.mark.parametrize("tile", [1, 2, 7, 64, 100])
def test_tiles_cover_a_side_without_gaps_and_overlap_at_least_as_asked(tile):
    for overlap in {0, 1, tile // 4, tile // 2, tile - 1} - {tile}:
        for length in range(1, 200):
            starts = tile_starts(length, tile, overlap)
            ends = [min(start + tile, length) for start in starts]
            assert (starts[0], ends[-1]) == (0, length)
            assert length - starts[-1] >= min(length, tile // 2)
            assert starts == sorted(set(starts))
            if tile - overlap >= 32:
                assert all(start % 32 == 0 for start in starts)
            for end, following in zip(ends, starts[1:], strict=False):
                assert end - following >= overlap


def test_tiles_begin_at_multiples_of_the_stride_and_overlap_no_more_than_they_must():
    assert tile_starts(100, 64, 16) == [0, 32, 64]
    assert tile_starts(96, 64, 16) == [0, 32]
    assert tile_starts(97, 64, 16) == [0, 32, 64]
    assert tile_starts(64, 64, 16) == tile_starts(3, 64, 16) == [0]
    assert tile_starts(700, 512, 64) == [0, 416]  # a tile of 284 pixels, not one of 508
    assert tile_starts(10_980, 512, 64)[-2:] == [10_304, 10_720]
    assert tile_starts(100, 64, 60) == [*range(0, 36, 4), 36]  # steps too short for that


@pytest.mark.parametrize(
    "tiling",
    [
        *(Tiling(64, *rest) for rest in ((0, 1), (16, 1), (16, 3), (32, 4), (50, 100))),
        Tiling(2048, 1024),
    ],
    ids=str,
)
@pytest.mark.parametrize(("height", "width"), POINTWISE_SIZES)
def test_a_pointwise_network_gives_the_same_in_tiles_as_at_once(height, width, tiling):
    inputs, network = raster(height, width), pointwise()
    found = joined(strips_of(inputs, network, tiling))
    assert found.numpy() == pytest.approx(whole(inputs, network).numpy(), abs=1e-6)


class Counting(nn.Module):
    """Counts the tiles that it is given and refuses empty batches."""

    def __init__(self, network):
        super().__init__()
        self.network, self.tiles = network, 0

    def forward(self, inputs):
        assert len(inputs)
        self.tiles += len(inputs)
        return self.network(inputs)


@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("any_data", [True, False])
def test_tiles_without_data_are_skipped(batch_size, any_data):
    inputs, valid = raster(160, 160), np.zeros((160, 160), bool)
    valid[:10, :10] = True  # the first tile alone
    valid[100:102, 100:102] = True  # some in the middle: tiles start at 0, 32, 64 and 96
    valid[120, 120] = True
    valid &= any_data
    network = Counting(pointwise())
    strips = strips_of(inputs, network, Tiling(64, 16, batch_size), valid)
    starts = tile_starts(160, 64, 16)
    with_data = [
        valid[row : row + 64, column : column + 64].any() for row in starts for column in starts
    ]
    assert [strip.row for strip in strips] == starts
    assert any(with_data) == any_data and not all(with_data)
    assert network.tiles == sum(with_data)
    assert np.array_equal(np.concatenate([strip.valid for strip in strips]), valid)
    found = joined(strips).numpy()[:, valid]
    expected = whole(inputs, pointwise()).numpy()[:, valid]
    assert found == pytest.approx(expected, abs=1e-6)
    assert joined(strips).isfinite().all()


def looking_around():
    """Return a network that sees 4 pixels to each side, at inner edges as at borders."""
    torch.manual_seed(2)
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1))


@pytest.mark.parametrize("tile", [64, 96, 100])
def test_a_network_that_sees_a_quarter_of_the_overlap_gives_the_same_in_any_tiles(tile):
    inputs, network = raster(331, 170), looking_around()
    expected = whole(inputs, network)
    found = joined(strips_of(inputs, network, Tiling(tile, 16)))
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    # It would not if it saw more than is dropped: the test can fail.
    too_little = joined(strips_of(inputs, network, Tiling(tile, 12)))
    assert (too_little - expected).abs().max() > 1e-4


class Halving(nn.Module):
    """Halves its input five times and repeats the means, as encoders and decoders do."""

    def forward(self, inputs):
        height, width = inputs.shape[-2:]
        margin = (0, -width % 32, 0, -height % 32)
        means = nn.functional.avg_pool2d(nn.functional.pad(inputs, margin, mode="replicate"), 32)
        return means.repeat_interleave(32, 2).repeat_interleave(32, 3)[..., :height, :width]


@pytest.mark.parametrize(("tile", "batch_size"), [(64, 1), (96, 2), (160, 3), (110, 1)])
def test_a_network_that_halves_its_input_gives_the_same_in_any_tiles(tile, batch_size):
    inputs, network = raster(331, 170), Halving()
    found = strips_of(inputs, network, Tiling(tile, 32, batch_size))
    expected = whole(inputs, network).numpy()
    different = np.abs(joined(found).numpy() - expected) > 1e-5
    # A tile that is no multiple of 32 is padded inside the raster, by less than a stride.
    assert different.mean() <= (0.3 if tile % 32 else 0)


def test_strips_taken_up_at_a_row_are_the_same_as_all_at_once():
    inputs, network = raster(331, 100), looking_around()
    for tiling in (Tiling(64, 16), Tiling(64, 40, 2), Tiling(100, 90)):
        strips = strips_of(inputs, network, tiling)
        for k, strip in enumerate(strips):
            counting = Counting(network)
            later = strips_of(inputs, counting, tiling, first_row=strip.row)
            assert [part.row for part in later] == [part.row for part in strips[k:]]
            for one, other in zip(later, strips[k:], strict=True):
                assert torch.equal(one.probabilities, other.probabilities)
                assert np.array_equal(one.valid, other.valid)
            in_reach = [part.row for part in strips if part.row + tiling.tile > strip.row]
            across = tile_starts(100, tiling.tile, tiling.overlap)
            assert counting.tiles == len(in_reach) * len(across)
        assert strips_of(inputs, network, tiling, first_row=331) == []


@pytest.mark.parametrize(("tile", "overlap"), [(64, 64), (32, 64), (64, -1)])
def test_an_overlap_that_does_not_fit_is_refused(tile, overlap):
    with pytest.raises(MinsegError, match=f"overlap of {overlap} in tiles of {tile}"):
        Tiling(tile, overlap)


def test_exclusive_classes_are_the_argmax_and_overlapping_ones_all_above_one_half():
    random = np.random.default_rng(0)
    levels = torch.from_numpy(random.integers(0, 3, (3, 20, 30)).astype(np.float32)) / 2
    strip = Strip(0, levels, np.ones((20, 30), bool))
    found = strip.classes(TASKS["model1"])
    assert found.dtype == np.uint8
    assert (found == levels.numpy().argmax(axis=0)).all()  # ties to the first
    task = parse_task("excavation+dam+tailing storage facility")
    bits = strip.classes(task)
    assert bits.dtype == np.uint16
    expected = dict(zip(task.class_names, levels.numpy() == 1, strict=True))
    assert np.array_equal(bits, encode_bits(expected))


def steepness(found, along):
    """Mean size of the gradient across each line between pixels, away from the raster's border."""
    steps = found.diff(dim=along).abs().amax(dim=0).numpy()  # of the class that changes most
    return steps.mean(axis=2 - along)


SEAM_FACTOR = 2.5  # so much steeper may a gradient be where tiles blend than elsewhere


@pytest.mark.parametrize("tile", [256, 320])
def test_no_seam_shows_in_the_gradients_of_a_real_network(tile):
    torch.manual_seed(0)
    network, side, border = build_model("unet", "resnet18", ("B02", "B08"), 3).eval(), 512, 96
    y, x = np.mgrid[0:side, 0:side] / side
    waves = np.stack([np.sin(5 * x + 2 * y), np.cos(4 * y - 3 * x)])  # what is steep is the tiles'
    inputs, tiling = waves.astype(np.float32), Tiling(tile, 64)
    blended, cut = (
        joined(strips_of(inputs, network, given))[:, border:-border, border:-border]
        for given in (tiling, Tiling(tile, 0))
    )
    zones = np.zeros(side, bool)
    for before, after in pairwise(tile_starts(side, tile, 64)):
        zones[after : before + tile] = True
    across_zone = (zones[1:] | zones[:-1])[border : side - border - 1]
    assert across_zone.any()
    for along in (1, 2):
        gradient = steepness(blended, along)
        elsewhere = gradient[~across_zone].max()
        assert gradient[across_zone].max() < SEAM_FACTOR * elsewhere
        assert steepness(cut, along).max() > SEAM_FACTOR * elsewhere  # seams would be noticed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_no_class(bad):
    inputs, network = raster(70, 70), pointwise()
    inputs[0, 40, 5] = bad
    strips = strips_of(inputs, network, Tiling(32, 0))
    valid = np.concatenate([strip.valid for strip in strips])
    assert not valid[40, 5] and valid.sum() == 70 * 70 - 1
    found, expected = joined(strips), whole(inputs, network)
    assert found.isfinite().all()
    assert torch.allclose(found[:, valid], expected[:, valid])
