import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from minseg import MinsegError
from minseg.data.footprints import crs_seen_from, require_overlap
from minseg.data.raster import Grid

WGS84 = CRS.from_epsg(4326)


def degrees(west, crs=WGS84, north=-17.0, side=600):
    return Grid(side, side, Affine(1e-4, 0, west, 0, -1e-4, north), crs)


def metres(longitude, epsg=32760, latitude=-17.03, side=500):
    """A grid of 10 m whose middle lies at a place."""
    (x,), (y,) = transform(WGS84, CRS.from_epsg(epsg), [longitude], [latitude])
    half = 5 * side
    return Grid(side, side, Affine(10, 0, x - half, 0, -10, y + half), CRS.from_epsg(epsg))


@pytest.mark.parametrize("west", [179.97, -180.03])
def test_grids_over_the_180th_meridian_overlap_however_their_longitudes_are_counted(west):
    across = degrees(west)
    others = {"60S": metres(180), "1S": metres(-180, 32701), "east": degrees(-180.0)}
    for grid in (across, *others.values()):
        require_overlap({"across": across} | others, grid)
    for grid in (across, metres(180)):
        with pytest.raises(MinsegError, match="far: lies outside of the other files"):
            require_overlap({"across": across, "far": metres(179)}, grid)
        with pytest.raises(MinsegError, match="far: lies outside of the other files"):
            require_overlap({"across": across, "far": degrees(west + 0.07)}, grid)


def test_longitudes_from_0_to_360_are_those_from_180_west():
    require_overlap(
        {"a": degrees(240, north=50), "b": degrees(-120, north=50)}, degrees(-120, north=50)
    )


def test_the_whole_world_overlaps_with_any_place():
    for west in (-180, 0):
        world = Grid(180, 360, Affine(1, 0, west, 0, -1, 90), WGS84)
        for grid in (degrees(15.0), degrees(179.97), degrees(-60.0)):
            require_overlap({"world": world, "mine": grid}, grid)


def test_longitudes_are_counted_as_the_file_does_only_where_it_matters():
    assert crs_seen_from(metres(15, 32633), degrees(15)) == WGS84
    assert crs_seen_from(metres(180), metres(180, 32701)) == CRS.from_epsg(32701)
    for west in (179.97, -180.03):
        for datum in (4326, 7844, 4720):  # the last is Fiji's, 100 m and more from WGS 84
            crs = CRS.from_epsg(datum)
            seen = crs_seen_from(metres(180), degrees(west, crs))
            assert seen != crs
            x, y = transform(WGS84, seen, [179.99, -179.99], [-17.0, -17.0])
            plain, same = transform(WGS84, crs, [179.99, -179.99], [-17.0, -17.0])
            assert all(west <= one <= west + 0.06 for one in x)
            assert np.mod(x, 360) == pytest.approx(np.mod(plain, 360), abs=2e-5)  # 2 m
            assert y == pytest.approx(same, abs=2e-5)
