import numpy as np
import pytest

from minseg.synthetic.landscape import noise, parcels, turned


@pytest.mark.parametrize(("scale_px", "roughness"), [(1.0, 0.5), (12, 3.0), (60, 5.0)])
def test_noise_has_zero_mean_and_unit_spread(scale_px, roughness):
    field = noise(np.random.default_rng(0), (80, 120), scale_px, roughness)
    assert field.shape == (80, 120)
    assert field.mean() == pytest.approx(0, abs=1e-12)
    assert field.std() == pytest.approx(1)


def test_larger_scales_make_smoother_noise():
    def step(scale_px):
        return np.abs(np.diff(noise(np.random.default_rng(0), (100, 100), scale_px))).mean()

    assert step(2) > 2 * step(10) > 4 * step(50)


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
