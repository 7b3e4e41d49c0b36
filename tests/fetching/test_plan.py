import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.ops import transform

from minseg import MinsegError
from minseg.fetching.plan import BoxRule, mine_box

SMALL = BoxRule(margin_m=300, smallest_m=600, largest_m=20_000)


def in_metres(shape, crs):
    """An independent way into UTM."""
    return transform(Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform, shape)


@pytest.mark.parametrize("place", [(22.1, 44.1), (-77.37, 18.36), (150.84, -32.27), (30.4, 67.6)])
def test_box_is_snapped_and_holds_polygons_and_margin(place):
    longitude, latitude = place
    east = 0.01 / np.cos(np.radians(latitude))
    pit = shapely.box(longitude, latitude, longitude + 3 * east, latitude + 0.02)
    grid = mine_box(longitude, latitude, pit, SMALL)
    left, bottom, right, top = grid.bounds
    assert {left % 60, right % 60} == {0}
    # As the corners of real tiles: 5,000,040 in zone 33 north and 8,600,020 in zone 34 south.
    assert {bottom % 60, top % 60} == ({0} if latitude > 0 else {8_600_020 % 60})
    assert (grid.height % 6, grid.width % 6) == (0, 0)
    assert (grid.transform.a, grid.transform.e) == (10, -10)
    west, south, east, north = in_metres(pit, grid.crs.to_epsg()).bounds
    for space in (west - left, south - bottom, right - east, top - north):
        assert space + 0.02 >= 300 and space < 300 + 60.02


def test_without_polygons_the_smallest_box_lies_round_the_position():
    grid = mine_box(22.1, 44.1, rule=SMALL)
    assert grid.height * 10 == grid.width * 10 == 660  # a point at 300 m margin, snapped outwards
    assert grid.centre_lonlat == pytest.approx((22.1, 44.1), abs=0.001)
    assert mine_box(22.1, 44.1).width >= 512


def test_polygons_over_the_largest_box_are_refused():
    far = shapely.union_all([shapely.box(x, 44, x + 0.01, 44.01) for x in (22, 23)])
    with pytest.raises(MinsegError, match=r"reach over (79|8[01]).* km"):
        mine_box(22, 44, far, SMALL)


def test_box_crosses_the_date_line():
    west, east = shapely.box(179.99, -17, 180, -16.99), shapely.box(-180, -17, -179.98, -16.99)
    grid = mine_box(179.99, -17, shapely.union_all([west, east]), SMALL)
    assert grid.crs.to_epsg() == 32701
    assert 3000 < grid.width * 10 < 4000
    assert grid.bounds_lonlat[0] > 179.9 and grid.bounds_lonlat[2] < -179.9


@pytest.mark.parametrize("latitude", [85, -81])
def test_near_the_poles_it_is_refused(latitude):
    with pytest.raises(MinsegError, match="UTM ends"):
        mine_box(0, latitude)


@pytest.mark.parametrize("rule", [(-1, 600, 9000), (100, 0, 9000), (100, 9000, 600)])
def test_impossible_rules_are_refused(rule):
    with pytest.raises(MinsegError, match="give a margin"):
        BoxRule(*rule)
