import numpy as np
import pytest

from minseg.data.radiometry import ChannelStatistics
from minseg.maps.regions import find_components
from minseg.study.conditions import (
    boundary_distance_px,
    find_objects,
    snow_bright,
    spectral_distances,
    water,
)
from tests.study.predicted import GROUND, SNOW, WATER, rectangle, write_mines

EVERYWHERE = np.ones((32, 32), bool)


def test_distance_to_the_boundary_is_what_comparing_all_pairs_of_pixels_gives():
    random = np.random.default_rng(0)
    truth = random.random((9, 11)) < 0.3
    known = random.random((9, 11)) < 0.8
    distance_px = boundary_distance_px(truth, known)
    places = [np.argwhere(known & ~truth), np.argwhere(known & truth)]
    for place in np.argwhere(known):
        others = places[0] if truth[tuple(place)] else places[1]
        nearest = np.sqrt(((others - place) ** 2).sum(axis=1)).min()
        assert distance_px[tuple(place)] == pytest.approx(nearest)


def test_no_boundary_without_the_class_nor_against_unknown_ground():
    nothing = np.zeros((8, 8), bool)
    everywhere = ~nothing
    assert np.isinf(boundary_distance_px(nothing, everywhere)).all()
    assert np.isinf(boundary_distance_px(everywhere, everywhere)).all()
    half = nothing.copy()
    half[:, :4] = True
    assert np.isinf(boundary_distance_px(half, half)[half]).all()  # the rest was never looked at
    assert set(boundary_distance_px(half, everywhere)[0]) == {1, 2, 3, 4}


def bands(reflectance, *names):
    order = ("B02", "B03", "B04", "B08", "B11")
    return [np.full((1, 1), reflectance[order.index(name)]) for name in names]


def test_snow_and_water_are_told_from_ground():
    for look, is_snow in ((SNOW, True), (WATER, False), (GROUND, False)):
        assert snow_bright(*bands(look, "B03", "B04", "B11")).all() == is_snow
    assert water(*bands(WATER, "B03", "B08")).all()
    assert not water(*bands(GROUND, "B03", "B08")).any()
    assert not water(np.zeros((1, 1)), np.zeros((1, 1))).any()  # nothing was observed


def test_objects_with_their_area_and_what_was_found_of_them():
    small, large, at_rim = rectangle(2, 2, 2, 2), rectangle(10, 10, 10, 10), rectangle(0, 28, 3, 3)
    corner = rectangle(4, 4, 1, 1)  # meets the small one at a corner: an object of its own
    predicted = rectangle(10, 10, 10, 4)
    objects = find_objects(small | corner | large | at_rim, predicted, EVERYWHERE, 0.01)
    table = objects.table.sort_values("area_ha").reset_index(drop=True)
    assert table["area_ha"].tolist() == pytest.approx([0.01, 0.04, 0.09, 1.0])
    assert table["detected"].tolist() == pytest.approx([0, 0, 0, 0.4])
    assert table["cut"].tolist() == [False, False, True, False]
    for row, area_ha in enumerate(objects.table["area_ha"]):
        assert (objects.number == row + 1).sum() * 0.01 == pytest.approx(area_ha)


def test_objects_are_those_of_the_maps():
    random = np.random.default_rng(0)
    truth = random.random((40, 40)) < 0.4
    objects = find_objects(truth, truth, np.ones_like(truth), 1)
    outlined = find_components(truth.astype(np.uint8))
    assert np.array_equal(objects.number, outlined.paint_numbers())


def test_object_beside_unknown_ground_may_be_larger_than_seen():
    known = ~rectangle(0, 12, 32, 20)
    truth = rectangle(10, 10, 2, 2)
    assert find_objects(truth, truth, known, 1).table["cut"].tolist() == [True]
    at_corner = np.ones((32, 32), bool)
    at_corner[12, 12] = False
    assert find_objects(truth, truth, at_corner, 1).table["cut"].tolist() == [False]
    assert find_objects(truth & ~truth, truth, known, 1).table.empty


def test_spectral_distance_to_the_nearest_training_mine(tmp_path):
    everywhere = np.ones((32, 32), bool)
    far = [(everywhere, np.array(GROUND) * 2)]
    # Training mines 0, 1, 2 have 1, 1.02 and 1.04 times the ground's reflectance.
    near = [(everywhere, np.array(GROUND) * 1.05)]
    mines = write_mines(tmp_path / "d", [{}, {}], looks={0: near, 1: far})
    statistics = ChannelStatistics(("B04", "B03"), (0.0, 0.0), (0.01, 0.02))
    table = spectral_distances(mines, mines.scenes_of("test"), statistics)
    # Mean squares over the two bands of differences in standard deviations.
    unit = np.sqrt(((0.1 / 0.01) ** 2 + (0.08 / 0.02) ** 2) / 2)
    assert table["distance"].tolist() == pytest.approx([0.01 * unit, 0.96 * unit], rel=2e-2)
    assert table["nearest"].tolist() == ["mine-2", "mine-2"]
    assert table["percentile"].tolist() == [0, 1]
