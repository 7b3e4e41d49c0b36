import numpy as np
import pytest
import shapely

from minseg.data.dateline import ground_within, seen_from, shape_seen_from, split_box, whole_box

WEST, EAST = shapely.box(178, -20, 180, -16), shapely.box(-180, -20, -178, -16)
RING = shapely.Polygon([(178, -20), (-178, -20), (-178, -16), (178, -16)])


def test_longitudes_are_counted_the_short_way():
    assert seen_from(-179.5, 179.5) == 180.5
    assert seen_from(179.5, -179.5) == -180.5
    assert seen_from(np.array([-10.0, 170.0]), 0.0).tolist() == [-10, 170]


@pytest.mark.parametrize("shape", [RING, shapely.MultiPolygon([WEST, EAST])])
def test_a_shape_over_the_line_is_whole_from_either_side(shape):
    assert shape_seen_from(shape, 179).equals(shapely.box(178, -20, 182, -16))
    assert shape_seen_from(shape, -179).equals(shapely.box(-182, -20, -178, -16))
    assert not shape_seen_from(shape, 0).intersects(shapely.box(-90, -20, 90, -16))


def test_elsewhere_nothing_changes():
    holed = shapely.box(10, 40, 20, 50) - shapely.box(14, 44, 15, 45)
    assert shape_seen_from(holed, 15).equals(holed)
    assert shape_seen_from(holed, 370).equals(shapely.affinity.translate(holed, 360))


def test_a_box_over_the_line_has_two_sides_and_is_one():
    over, elsewhere = (179.0, -20.0, -178.0, -16.0), (10.0, 40.0, 20.0, 50.0)
    assert split_box(over) == [(179, -20, 180, -16), (-180, -20, -178, -16)]
    assert whole_box(over) == (179, -20, 182, -16)
    assert split_box(elsewhere) == [elsewhere]
    assert whole_box(elsewhere) == elsewhere


def test_ground_within_a_ring_is_cut_at_the_line_and_left_alone_elsewhere():
    latitudes = np.array([-20, -20, -16, -16])
    for longitudes in ([178, -178, -178, 178], [178, 182, 182, 178], [-182, -178, -178, -182]):
        assert ground_within(np.array(longitudes), latitudes).equals(WEST | EAST)
    assert ground_within(np.array([190, 192, 192, 190]), latitudes).bounds == (-170, -20, -168, -16)
    assert ground_within(np.array([178, 180, 180, 178]), latitudes).equals(WEST)
    assert ground_within(np.array([178, -180, -180, 178]), latitudes).equals(WEST)
    assert ground_within(np.array([10, 20, 20, 10]), latitudes).equals(
        shapely.box(10, -20, 20, -16)
    )
