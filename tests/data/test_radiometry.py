import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.radiometry import (
    encode_reflectance,
    training_statistics,
)


def test_reflectance_is_stored_in_ten_thousandths_and_zero_stays_for_missing():
    values = np.array([[[0.1234, 0.0, -0.05, 9.0]]], np.float32)
    valid = np.array([[True, True, True, False]])
    stored = encode_reflectance(np.where(valid, values, 0), valid, "scene")
    assert stored.dtype == np.uint16
    assert stored.ravel().tolist() == [1234, 1, 1, 0]


@pytest.mark.parametrize(
    ("value", "message"), [(2e-6, "--scale"), (2e3, "--scale"), (np.nan, "no valid pixel")]
)
def test_numbers_that_are_no_reflectance_are_refused(value, message):
    with pytest.raises(MinsegError, match=message):
        encode_reflectance(np.full((1, 4, 4), value), np.full((4, 4), value > 0), "scene")


def test_statistics_come_from_train_scenes_only_and_standardise_them(dataset):
    bands = ("B04", "VV")
    found = training_statistics(dataset, bands)
    pixels, standard = [], []
    for _, scene in dataset.scenes_of("train").iterrows():
        values, valid = dataset.read_inputs(scene, bands)
        pixels.append(values[:, valid])
        valid[0, 0] = False
        standard.append(found.standardise(values, valid))
        assert (standard[-1][:, 0, 0] == 0).all()
    stacked = np.concatenate(pixels, axis=1).astype(np.float64)
    assert found.mean == pytest.approx(tuple(stacked.mean(axis=1)), rel=1e-5)
    assert found.deviation == pytest.approx(tuple(stacked.std(axis=1)), rel=1e-3)
    assert np.mean(standard, axis=(0, 2, 3)) == pytest.approx(0, abs=1e-2)
    assert np.std(standard, axis=(0, 2, 3)) == pytest.approx(1, abs=1e-2)
