import numpy as np
import pytest
import torch
from torch import nn

from minseg import MinsegError
from minseg.learning.tiling import Strip, Tiling, blending_weights, predict_strips, tile_starts

CPU = torch.device("cpu")
POINTWISE_SIZES = [
    (40, 50),  # smaller than a tile
    (64, 64),  # exactly a tile
    (65, 64),  # one row more
    (64, 65),  # one column more
    (112, 112),  # two tiles that overlap exactly as asked
    (131, 67),
    (97, 203),
    (1, 200),
]


def raster(height, width, seed=0):
    """Random inputs float32 (2, height, width)."""
    return np.random.default_rng(seed).normal(size=(2, height, width)).astype(np.float32)


def probabilities_of(network):
    """Turn a network into the callable that predict_strips takes."""

    @torch.no_grad()
    def probabilities(inputs):
        return network(inputs).softmax(dim=1)

    return probabilities


def pointwise():
    torch.manual_seed(1)
    return nn.Conv2d(2, 3, 1)


def strips_of(inputs, network, tiling, valid=None):
    valid = np.ones(inputs.shape[1:], bool) if valid is None else valid

    def read(window):
        rows, columns = window.toslices()
        return inputs[:, rows, columns], valid[rows, columns]

    return list(predict_strips(read, *inputs.shape[1:], probabilities_of(network), 3, tiling, CPU))


def joined(strips):
    return torch.cat([strip.probabilities for strip in strips], dim=1)


def whole(inputs, network):
    return probabilities_of(network)(torch.from_numpy(inputs)[None])[0]


@pytest.mark.parametrize("tile", [1, 2, 7, 64])
def test_tiles_cover_a_side_without_gaps_and_overlap_at_least_as_asked(tile):
    for overlap in {0, 1, tile // 4, tile // 2, tile - 1} - {tile}:
        for length in range(1, 200):
            starts = tile_starts(length, tile, overlap)
            ends = [min(start + tile, length) for start in starts]
            assert starts[0] == 0
            assert ends[-1] == length
            assert starts == sorted(set(starts))
            assert all(start >= 0 for start in starts)
            for end, following in zip(ends, starts[1:], strict=False):
                assert end - following >= overlap


def test_last_tile_ends_flush_with_the_raster():
    assert tile_starts(100, 64, 16) == [0, 36]
    assert tile_starts(112, 64, 16) == [0, 48]
    assert tile_starts(113, 64, 16) == [0, 48, 49]
    assert tile_starts(64, 64, 16) == tile_starts(3, 64, 16) == [0]


@pytest.mark.parametrize(("tile", "overlap"), [(64, 16), (64, 32), (512, 64), (10, 5)])
def test_weights_of_neighbours_add_up_to_one_where_they_overlap(tile, overlap):
    weights = blending_weights(tile, overlap).double()
    ramp = weights.diagonal().sqrt()
    assert torch.allclose(weights, ramp[:, None] * ramp[None, :])
    fading_in, fading_out = ramp[:overlap], ramp[tile - overlap :]
    assert torch.allclose(fading_in + fading_out, torch.ones(overlap).double())
    assert len(ramp[overlap : tile - overlap].unique()) <= 1
    assert (weights > 0).all()
    assert torch.equal(weights, weights.T)
    assert torch.equal(weights, weights.flip(0))


@pytest.mark.parametrize(("overlap", "batch_size"), [(0, 1), (16, 1), (16, 3), (32, 4), (50, 100)])
@pytest.mark.parametrize(("height", "width"), POINTWISE_SIZES)
def test_a_pointwise_network_gives_the_same_in_tiles_as_at_once(height, width, overlap, batch_size):
    inputs, network = raster(height, width), pointwise()
    strips = strips_of(inputs, network, Tiling(64, overlap, batch_size))
    assert joined(strips).numpy() == pytest.approx(whole(inputs, network).numpy(), abs=1e-6)


def test_a_wide_overlap_does_not_darken_the_corners():
    inputs, network = raster(5, 5), pointwise()
    strips = strips_of(inputs, network, Tiling(2048, 1024))
    assert joined(strips).numpy() == pytest.approx(whole(inputs, network).numpy(), abs=1e-6)


def test_strips_are_whole_rows_in_order_with_their_validity():
    inputs = raster(150, 90)
    valid = np.random.default_rng(1).random((150, 90)) < 0.7
    strips = strips_of(inputs, pointwise(), Tiling(64, 16, 2), valid)
    assert [strip.row for strip in strips] == tile_starts(150, 64, 16)
    row = 0
    for strip in strips:
        assert strip.row == row
        assert strip.probabilities.shape[0] == 3
        assert strip.probabilities.shape[1:] == strip.valid.shape
        assert strip.valid.shape[1] == 90
        row += strip.valid.shape[0]
    assert row == 150
    assert np.array_equal(np.concatenate([strip.valid for strip in strips]), valid)


def test_kept_strips_do_not_change_while_later_ones_are_made():
    inputs, network = raster(300, 40), pointwise()

    def read(window):
        rows, columns = window.toslices()
        return inputs[:, rows, columns], np.ones((window.height, window.width), bool)

    copies, kept = [], []
    for strip in predict_strips(read, 300, 40, probabilities_of(network), 3, Tiling(32, 8), CPU):
        kept.append(strip)
        copies.append((strip.probabilities.clone(), strip.valid.copy()))
    for strip, (probabilities, valid) in zip(kept, copies, strict=True):
        assert torch.equal(strip.probabilities, probabilities)
        assert np.array_equal(strip.valid, valid)


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
def test_tiles_without_data_are_skipped(batch_size):
    inputs, valid = raster(160, 160), np.zeros((160, 160), bool)
    valid[:10, :10] = True  # the first tile alone
    valid[100:102, 100:102] = True  # the middle one alone: tiles start at 0, 48 and 96
    valid[120, 120] = True
    network = Counting(pointwise())
    strips = strips_of(inputs, network, Tiling(64, 16, batch_size), valid)
    starts = tile_starts(160, 64, 16)
    with_data = [
        valid[row : row + 64, column : column + 64].any() for row in starts for column in starts
    ]
    assert 0 < sum(with_data) < len(with_data)
    assert network.tiles == sum(with_data)
    assert np.array_equal(np.concatenate([strip.valid for strip in strips]), valid)
    found = joined(strips).numpy()[:, valid]
    expected = whole(inputs, pointwise()).numpy()[:, valid]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_raster_without_any_data_is_never_put_to_the_network():
    network = Counting(pointwise())
    strips = strips_of(raster(100, 100), network, Tiling(64, 16), np.zeros((100, 100), bool))
    assert network.tiles == 0
    assert not any(strip.valid.any() for strip in strips)
    assert joined(strips).isfinite().all()


def test_no_seam_is_left_by_a_network_that_looks_around():
    torch.manual_seed(2)
    reach = 3  # three 3×3 convolutions
    network = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 3, 3, padding=1),
    )
    inputs, tiling = raster(200, 170), Tiling(64, 24)
    difference = (joined(strips_of(inputs, network, tiling)) - whole(inputs, network)).abs().amax(0)
    border = np.zeros((200, 170), bool)  # pixels within reach of a tile's inner border
    for axis, length in enumerate((200, 170)):
        for start in tile_starts(length, 64, 24):
            lines = np.moveaxis(border, axis, 0)
            if start > 0:
                lines[start : start + reach] = True
            if start + 64 < length:
                lines[start + 64 - reach : start + 64] = True
    assert 0 < border.mean() < 0.5
    assert difference[~border].max() < 1e-6
    # A single tile is wrong at its border; blending leaves a share of that, its weight there.
    cut = whole(inputs[:, :64, :64], network) - whole(inputs, network)[:, :64, :64]
    assert difference[border].max() > 0
    assert difference[border].max() < cut.abs().max() * 2 * reach / 24


def test_an_error_while_reading_reaches_the_caller():
    def read(window):
        if window.row_off > 50:
            raise MinsegError("damaged")
        return raster(64, 64), np.ones((64, 64), bool)

    strips = predict_strips(read, 200, 64, probabilities_of(pointwise()), 3, Tiling(64, 16), CPU)
    assert next(strips).row == 0
    with pytest.raises(MinsegError, match="damaged"):
        list(strips)


@pytest.mark.parametrize(("tile", "overlap"), [(64, 64), (32, 64), (64, -1)])
def test_an_overlap_that_does_not_fit_is_refused(tile, overlap):
    with pytest.raises(MinsegError, match=f"overlap of {overlap} in tiles of {tile}"):
        Tiling(tile, overlap)


def test_most_probable_class_is_argmax_with_ties_to_the_first():
    random = np.random.default_rng(0)
    levels = torch.from_numpy(random.integers(0, 3, (5, 20, 30)).astype(np.float32))
    found = Strip(0, levels, np.ones((20, 30), bool)).classes()
    assert found.dtype == np.uint8
    assert (found == levels.numpy().argmax(axis=0)).all()
