import numpy as np
import pytest
import shapely

from minseg import MinsegError
from minseg.data.grid import ground_within, shape_seen_from, utm_crs


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


WEST, EAST = shapely.box(178, -20, 180, -16), shapely.box(-180, -20, -178, -16)
RING = shapely.Polygon([(178, -20), (-178, -20), (-178, -16), (178, -16)])


@pytest.mark.parametrize("shape", [RING, shapely.MultiPolygon([WEST, EAST])])
def test_a_shape_over_the_line_is_whole_from_either_side(shape):
    assert shape_seen_from(shape, 179).equals(shapely.box(178, -20, 182, -16))
    assert shape_seen_from(shape, -179).equals(shapely.box(-182, -20, -178, -16))
    assert not shape_seen_from(shape, 0).intersects(shapely.box(-90, -20, 90, -16))
    holed = shapely.box(10, 40, 20, 50) - shapely.box(14, 44, 15, 45)
    assert shape_seen_from(holed, 15).equals(holed)
    assert shape_seen_from(holed, 370).equals(shapely.affinity.translate(holed, 360))


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
