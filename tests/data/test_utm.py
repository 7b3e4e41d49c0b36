import pytest

from minseg import MinsegError
from minseg.data.utm import COARSEST_M, equator_m, utm_crs


@pytest.mark.parametrize(
    ("longitude", "latitude", "epsg"),
    [(22.1, 44.1, 32634), (150.84, -32.27, 32756), (-110.3, 31, 32612), (180, 1, 32601)],
)
def test_zone_is_the_local_one(longitude, latitude, epsg):
    assert utm_crs(longitude, latitude).to_epsg() == epsg


def test_near_the_poles_there_is_no_zone():
    for latitude in (84.5, -80.5):
        with pytest.raises(MinsegError, match="UTM ends"):
            utm_crs(20, latitude)


def test_pixels_are_counted_from_the_equator():
    assert equator_m(utm_crs(15, 45)) == 0
    assert equator_m(utm_crs(20, -10)) == 10_000_000
    assert equator_m(utm_crs(20, -10)) % COARSEST_M == 8_600_020 % COARSEST_M  # of a real tile
