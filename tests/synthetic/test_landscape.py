import numpy as np
import pytest

from minseg.synthetic.landscape import noise, parcels, turned


def test_noise_has_zero_mean_and_unit_spread_and_is_smoother_at_larger_scales():
    fields = [noise(np.random.default_rng(0), (80, 120), scale_px) for scale_px in (2, 10, 50)]
    for field in fields:
        assert field.shape == (80, 120)
        assert (field.mean(), field.std()) == pytest.approx((0, 1), abs=1e-12)
    fine, middle, coarse = (np.abs(np.diff(field)).mean() for field in fields)
    assert fine > 2 * middle > 4 * coarse


def test_turned_coordinates_keep_distances():
    along, across = turned((20, 30), (4.0, 7.0), angle=0.6)
    rows, columns = np.indices((20, 30))
    np.testing.assert_allclose(np.hypot(along, across), np.hypot(rows - 4, columns - 7))
    assert along[4, 8] == pytest.approx(np.cos(0.6))
    assert across[4, 8] == pytest.approx(-np.sin(0.6))


def test_parcels_are_numbered_without_gaps_and_have_the_size_asked_for():
    numbers = parcels(np.random.default_rng(0), (120, 120), width_px=10, angle=0.4)
    areas_px = np.bincount(numbers.ravel())
    assert areas_px.min() > 0
    assert 100 < np.median(areas_px[areas_px > 30]) < 350
