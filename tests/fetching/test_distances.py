import numpy as np
import pytest
import shapely
from pyproj import Geod

from minseg.fetching.distances import great_circle_m, pairs_within

GEOD = Geod(ellps="WGS84")


def box_at(longitude, latitude, east_m, north_m=0.0, side_m=200.0):
    """A square whose nearest edge to a place lies so far east of it."""
    corners = []
    for out, up in ((0, -1), (0, 1), (2, 1), (2, -1)):
        x, y = east_m + out * side_m / 2, north_m + up * side_m / 2
        angle, far = np.degrees(np.arctan2(x, y)), np.hypot(x, y)
        corners.append(GEOD.fwd(longitude, latitude, angle, far)[:2])
    return shapely.Polygon(corners)


@pytest.mark.parametrize("place", [(21.0, 45.0), (-70.0, -78.0), (31.0, 67.3), (179.99, 0.0)])
@pytest.mark.parametrize("far_m", [300.0, 9_900.0])
def test_distances_are_those_on_the_ellipsoid_also_across_the_date_line(place, far_m):
    longitude, latitude = place
    found = pairs_within([longitude], [latitude], [box_at(longitude, latitude, far_m)], 10_000)
    assert found["distance_m"].item() == pytest.approx(far_m, rel=2e-3)


def test_only_pairs_within_reach_are_listed_and_inside_is_zero():
    shapes = [box_at(21, 45, 500), box_at(21, 45, 10_100), box_at(21, 45, -100)]
    found = pairs_within([21.0, 100.0], [45.0, 45.0], shapes, 10_000)
    assert found[["place", "shape"]].to_numpy().tolist() == [[0, 0], [0, 2]]
    assert found["distance_m"].iloc[1] == 0
    assert pairs_within([], [], shapes, 1e4).empty


def test_long_distances_are_those_on_the_ellipsoid_to_half_a_hundredth():
    random = np.random.default_rng(0)
    longitudes, others = random.uniform(-180, 180, (2, 200))
    latitudes, other_latitudes = random.uniform(-90, 90, (2, 200))
    true_m = GEOD.inv(longitudes, latitudes, others, other_latitudes)[2]
    found = great_circle_m(longitudes, latitudes, others, other_latitudes)
    assert found == pytest.approx(true_m, rel=6e-3)
    assert great_circle_m([179.99], [0], [-179.99], [0]) == pytest.approx(2226, abs=5)
