import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.radiometry import (
    amplitude_to_db,
    encode_reflectance,
    power_to_db,
    radar_channels,
    training_statistics,
)


def test_reflectance_is_stored_in_ten_thousandths_and_zero_stays_for_missing():
    values = np.array([[[0.1234, 0.0, -0.05, 9.0]]], np.float32)
    valid = np.array([[True, True, True, False]])
    stored = encode_reflectance(np.where(valid, values, 0), valid, "scene")
    assert stored.dtype == np.uint16
    assert stored.ravel().tolist() == [1234, 1, 1, 0]


@pytest.mark.parametrize("factor", [1e-5, 1e4])
def test_wrong_scale_is_noticed(factor):
    values = np.full((1, 4, 4), 0.2 * factor)
    with pytest.raises(MinsegError, match="--scale"):
        encode_reflectance(values, np.ones((4, 4), bool), "scene")


def test_scene_without_valid_pixel_is_refused():
    with pytest.raises(MinsegError, match="no valid pixel"):
        encode_reflectance(np.full((1, 4, 4), np.nan), np.zeros((4, 4), bool), "scene")


def test_decibels_of_power_and_amplitude_agree():
    assert power_to_db(np.array([1.0, 0.1, 0.0])).tolist()[:2] == pytest.approx([0, -10])
    assert np.isnan(power_to_db(np.array([0.0, -1.0]))).all()
    power = np.array([0.3, 2.0])
    assert amplitude_to_db(np.sqrt(power)) == pytest.approx(power_to_db(power), abs=1e-5)


def test_third_radar_channel_is_the_ratio_of_powers():
    vv, vh = np.array([[0.2]]), np.array([[0.03]])
    channels = radar_channels(power_to_db(vv), power_to_db(vh))
    assert channels[2] == pytest.approx(power_to_db(vv / (10 * vh)), abs=1e-5)
    missing = radar_channels(np.array([[np.nan]]), np.array([[1.0]]))
    assert np.isnan(missing).all()


def test_statistics_come_from_train_scenes_only(dataset):
    bands = ("B04", "VV")
    found = training_statistics(dataset, bands)
    pixels = []
    for _, scene in dataset.scenes_of("train").iterrows():
        values, valid = dataset.read_inputs(scene, bands)
        pixels.append(values[:, valid])
    stacked = np.concatenate(pixels, axis=1).astype(np.float64)
    assert found.mean == pytest.approx(tuple(stacked.mean(axis=1)), rel=1e-5)
    assert found.deviation == pytest.approx(tuple(stacked.std(axis=1)), rel=1e-3)


def test_standardised_train_pixels_have_mean_0_and_spread_1_and_missing_ones_are_0(dataset):
    found = training_statistics(dataset, ("B04",))
    values = []
    for _, scene in dataset.scenes_of("train").iterrows():
        inputs, valid = dataset.read_inputs(scene, ("B04",))
        valid[0, 0] = False
        standard = found.standardise(inputs, valid)
        assert standard[0, 0, 0] == 0
        values.append(standard[0][valid])
    assert np.concatenate(values).mean() == pytest.approx(0, abs=1e-2)
    assert np.concatenate(values).std() == pytest.approx(1, abs=1e-2)
