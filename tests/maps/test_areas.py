import math

import numpy as np
import pytest
from affine import Affine
from pyproj import Geod
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.raster import Grid
from minseg.maps.areas import central_pixel_area_m2, pixel_areas_m2

WORLD = Grid(180, 360, Affine(1, 0, -180, 0, -1, 90), CRS.from_epsg(4326))


def cell_area_m2(west, south, side):
    """The area of a cell between meridians and parallels, in many small steps."""
    along = np.linspace(0, side, 200)
    longitude = np.concatenate([west + along, west + side - along])
    latitude = np.concatenate([np.full(200, south), np.full(200, south + side)])
    return abs(Geod(ellps="WGS84").polygon_area_perimeter(longitude, latitude)[0])


@pytest.mark.parametrize("row", [40, 60, 89, 130])
def test_cells_of_a_degree_have_their_area(row):
    tile = Grid(10, 10, Affine(1, 0, 15, 0, -1, 90 - row + 5), WORLD.crs)
    found = pixel_areas_m2(tile, np.array([0.5, 5.5]), np.array([5.5, 5.5]))
    expected = cell_area_m2(15, 90 - row - 1, 1)
    assert found == pytest.approx([expected] * 2, rel=1e-3)


def test_the_180th_meridian_makes_no_difference():
    here = Grid(100, 100, Affine(1e-3, 0, 14.95, 0, -1e-3, -17), WORLD.crs)
    across = Grid(100, 100, Affine(1e-3, 0, 179.95, 0, -1e-3, -17), WORLD.crs)
    beyond = Grid(100, 100, Affine(1e-3, 0, -180.05, 0, -1e-3, -17), WORLD.crs)
    places = np.array([0.5, 49.5, 50.5, 99.5]), np.array([3, 50, 50, 99])
    expected = pixel_areas_m2(here, *places)
    assert expected[0] == pytest.approx(cell_area_m2(0, -17.004, 1e-3), rel=1e-4)
    for grid in (across, beyond):
        assert pixel_areas_m2(grid, *places) == pytest.approx(expected, rel=1e-9)


def test_the_central_pixel_is_one_of_the_pixels():
    grid = Grid(101, 301, Affine(10, 0, 700_000, 0, -10, 5e6), CRS.from_epsg(32633))
    area = pixel_areas_m2(grid, np.array(150.5), np.array(50.5))
    assert central_pixel_area_m2(grid) == pytest.approx(float(area), rel=1e-9)
    assert not math.isclose(area, 100, rel_tol=1e-5)


NOWHERE = {
    "local system": ('LOCAL_CS["site",UNIT["metre",1]]', 0),
    "coordinates of another system": ("EPSG:32633", 1e9),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_grids_that_are_nowhere_are_refused_in_one_line(case):
    crs, origin = NOWHERE[case]
    grid = Grid(9, 9, Affine(10, 0, origin, 0, -10, origin), CRS.from_user_input(crs))
    with pytest.raises(MinsegError, match="nowhere on the earth") as error:
        central_pixel_area_m2(grid)
    assert "\n" not in str(error.value)
