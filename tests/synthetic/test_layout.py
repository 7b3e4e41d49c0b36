import numpy as np
import pytest
from scipy import ndimage

from minseg.synthetic.layout import FreeGround, grow

SHAPE = (90, 90)


def test_smooth_shape_reaches_its_outline_at_stage_1():
    random = np.random.default_rng(0)
    shape = grow(random, SHAPE, (45, 45), (20, 20), angle=0.6, ragged=0.0)
    distances_px = np.hypot(*(np.indices(SHAPE) - 45))
    assert shape.start == (45, 45)
    assert (shape.reached(1.0) == (distances_px <= 20)).mean() > 0.99
    rays = distances_px > 0
    assert shape.distance_px(0.5)[rays] == pytest.approx(distances_px[rays] - 10, abs=0.5)


def test_ragged_shape_is_one_piece_that_only_grows():
    shape = grow(
        np.random.default_rng(1), SHAPE, (45, 45), (25, 15), angle=0.7, start=-0.8, ragged=0.4
    )
    assert ndimage.label(shape.reached(1.0))[1] == 1
    for before, after in ((0.3, 0.6), (0.6, 1.0)):
        assert not (shape.reached(before) & ~shape.reached(after)).any()
        assert shape.reached(before).sum() < shape.reached(after).sum()


def test_pieces_of_ground_do_not_overlap_and_end_when_none_is_left():
    ground = FreeGround(np.random.default_rng(2), np.zeros(SHAPE, bool), size=70)
    pieces = []
    while put := ground.place((6.0, 9.0), (45.0, 45.0), gap_px=3):
        part, centre = put
        assert min(centre) >= 10 and max(centre) < 80
        pieces.append(part.reached(1.0))
    assert 5 < len(pieces) < 60
    assert np.sum(pieces, axis=0).max() == 1
