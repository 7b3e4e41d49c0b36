import numpy as np
import pytest
from scipy import ndimage

from minseg.maps.components import find_components


def noise(height, width, levels, seed=0):
    """Mostly large objects; 0 is background, 255 has no data."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.random((height, width)), 1)
    classes = np.digitize(field, np.quantile(field, np.linspace(0.4, 0.9, levels)))
    classes[random.random((height, width)) < 0.05] = 255
    return classes.astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (37, 53), (200, 180)])
@pytest.mark.parametrize("levels", [1, 4])
def test_components_are_those_of_another_library(shape, levels):
    classes = noise(*shape, levels)
    found = find_components(classes)
    numbers, sizes = found.paint_numbers(), found.total(found.lengths)
    assert numbers.dtype == np.int32
    assert len(sizes) == len(found.classes) == numbers.max()
    count = 0
    for value in range(1, levels + 1):
        expected, here = ndimage.label(classes == value)
        count += here
        assert np.array_equal(numbers[classes == value] > 0, expected[classes == value] > 0)
        pairs = np.unique([expected[expected > 0], numbers[expected > 0]], axis=1)
        assert pairs.shape[1] == here  # one to one
        assert (found.classes[pairs[1] - 1] == value).all()
        assert np.array_equal(sizes[pairs[1] - 1], np.bincount(expected.ravel())[1:][pairs[0] - 1])
    assert count == len(sizes)
    assert not numbers[(classes == 0) | (classes == 255)].any()


def test_runs_paint_the_raster_and_components_are_in_order():
    classes = noise(60, 70, 3)
    found = find_components(classes)
    assert np.array_equal(found.paint(found.values), classes)
    _, first = np.unique(found.paint_numbers(), return_index=True)
    assert (np.diff(first[1:]) > 0).all()


@pytest.mark.parametrize("value", [0, 255])
def test_a_raster_without_objects_has_none(value):
    found = find_components(np.full((5, 6), value, np.uint8))
    assert len(found.classes) == 0
    assert not found.paint_numbers().any()
    assert found.total(found.lengths).dtype == np.float64
