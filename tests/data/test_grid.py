import numpy as np
import pytest
import shapely

from minseg import MinsegError
from minseg.data.grid import (
    COARSEST_M,
    equator_m,
    ground_within,
    seen_from,
    shape_seen_from,
    split_box,
    utm_crs,
    whole_box,
)


@pytest.mark.parametrize(
    ("longitude", "latitude", "epsg"),
    [(22.1, 44.1, 32634), (150.84, -32.27, 32756), (-110.3, 31, 32612), (180, 1, 32601),
     (20, 84.5, None), (20, -80.5, None)],
)  # fmt: skip
def test_zone_is_the_local_one_and_none_near_the_poles(longitude, latitude, epsg):
    if epsg is None:
        with pytest.raises(MinsegError, match="UTM ends"):
            utm_crs(longitude, latitude)
    else:
        assert utm_crs(longitude, latitude).to_epsg() == epsg


def test_pixels_are_counted_from_the_equator():
    assert equator_m(utm_crs(15, 45)) == 0
    assert equator_m(utm_crs(20, -10)) == 10_000_000
    assert equator_m(utm_crs(20, -10)) % COARSEST_M == 8_600_020 % COARSEST_M  # of a real tile


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
    holed = shapely.box(10, 40, 20, 50) - shapely.box(14, 44, 15, 45)
    assert shape_seen_from(holed, 15).equals(holed)
    assert shape_seen_from(holed, 370).equals(shapely.affinity.translate(holed, 360))


def test_a_box_over_the_line_has_two_sides_and_is_one():
    over, elsewhere = (179.0, -20.0, -178.0, -16.0), (10.0, 40.0, 20.0, 50.0)
    assert split_box(over) == [(179, -20, 180, -16), (-180, -20, -178, -16)]
    assert whole_box(over) == (179, -20, 182, -16)
    assert split_box(elsewhere) == [elsewhere]
    assert whole_box(elsewhere) == elsewhere


@pytest.mark.parametrize(
    ("longitudes", "ground"),
    [
        ([178, -178, -178, 178], WEST | EAST),
        ([178, 182, 182, 178], WEST | EAST),
        ([-182, -178, -178, -182], WEST | EAST),
        ([190, 192, 192, 190], shapely.box(-170, -20, -168, -16)),
        ([178, 180, 180, 178], WEST),
        ([178, -180, -180, 178], WEST),
        ([10, 20, 20, 10], shapely.box(10, -20, 20, -16)),
    ],
)
def test_ground_within_a_ring_is_cut_at_the_line_and_left_alone_elsewhere(longitudes, ground):
    assert ground_within(np.array(longitudes), np.array([-20, -20, -16, -16])).equals(ground)
