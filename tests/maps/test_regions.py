import math

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from scipy import ndimage

from minseg import MinsegError
from minseg.data.raster import Grid
from minseg.maps.regions import (
    HECTARE_M2,
    central_pixel_area_m2,
    find_components,
    find_runs,
    pixel_areas_m2,
)
from tests.maps.conftest import speckled

WGS84 = CRS.from_epsg(4326)


def test_the_180th_meridian_makes_no_difference():
    places = np.array([0.5, 49.5, 50.5, 99.5]), np.array([3, 50, 50, 99])
    expected, across, beyond = (
        pixel_areas_m2(Grid(100, 100, Affine(1e-3, 0, west, 0, -1e-3, -17), WGS84), *places)
        for west in (14.95, 179.95, -180.05)
    )
    assert across == pytest.approx(expected, rel=1e-9)
    assert beyond == pytest.approx(expected, rel=1e-9)


def test_the_central_pixel_is_one_of_the_pixels():
    grid = Grid(101, 301, Affine(10, 0, 700_000, 0, -10, 5e6), CRS.from_epsg(32633))
    area = pixel_areas_m2(grid, np.array(150.5), np.array(50.5))
    assert central_pixel_area_m2(grid) == pytest.approx(float(area), rel=1e-9)
    assert not math.isclose(area, 100, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("crs", "origin"), [('LOCAL_CS["site",UNIT["metre",1]]', 0), ("EPSG:32633", 1e9)]
)
def test_grids_that_are_nowhere_are_refused_in_one_line(crs, origin):
    grid = Grid(9, 9, Affine(10, 0, origin, 0, -10, origin), CRS.from_user_input(crs))
    with pytest.raises(MinsegError, match="nowhere on the earth"):
        central_pixel_area_m2(grid)


def test_runs_end_where_the_value_changes_and_at_the_end_of_a_row():
    raster = np.array([[1, 1, 2], [2, 2, 2], [2, 0, 2]], np.uint16)
    runs = find_runs(raster)
    assert runs.starts.tolist() == [0, 2, 3, 6, 7, 8]
    assert runs.values.tolist() == [1, 2, 2, 2, 0, 2]
    assert runs.lengths.tolist() == [2, 1, 3, 1, 1, 1]
    assert runs.values.dtype == np.uint16
    for given in (raster, raster.T):  # whatever its layout in memory
        runs = find_runs(given)
        assert np.array_equal(runs.paint(runs.values), given)


def test_areas_are_the_sums_over_the_pixels():
    grid = Grid(40, 50, Affine(1e-2, 0, 15.0, 0, -1e-2, 60.0), WGS84)
    raster = np.random.default_rng(1).integers(0, 2, (40, 50))
    runs = find_runs(raster)
    areas_ha = runs.areas_ha(grid)
    rows, columns = np.indices(raster.shape)
    each = pixel_areas_m2(grid, columns + 0.5, rows + 0.5) / HECTARE_M2
    by_row = np.bincount(runs.starts // 50, areas_ha)
    assert by_row == pytest.approx(each.sum(axis=1), rel=1e-5)
    assert areas_ha[runs.values == 1].sum() == pytest.approx(each[raster == 1].sum(), rel=1e-5)
    assert each[0].sum() < each[-1].sum() * (1 - 1e-2)  # a degree shortens northwards


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (37, 53), (200, 180)])
@pytest.mark.parametrize("levels", [0, 1, 4])
def test_components_are_those_of_another_library(shape, levels):
    classes = speckled(*shape, levels=levels)
    found = find_components(classes)
    numbers, sizes = found.paint(found.component + 1), found.total(found.lengths)
    assert (numbers.dtype, sizes.dtype) == (np.int32, np.float64)
    assert len(sizes) == len(found.classes) == numbers.max()
    _, first = np.unique(numbers[numbers > 0], return_index=True)
    assert (np.diff(first) > 0).all()  # in the order of their first pixels
    count = 0
    for value in range(1, levels + 1):
        expected, here = ndimage.label(classes == value)
        count += here
        assert np.array_equal(numbers[classes == value] > 0, expected[classes == value] > 0)
        pairs = np.unique([expected[expected > 0], numbers[expected > 0]], axis=1)
        assert pairs.shape[1] == here  # one to one
        assert (found.classes[pairs[1] - 1] == value).all()
        assert np.array_equal(sizes[pairs[1] - 1], np.bincount(expected.ravel())[1:][pairs[0] - 1])
    assert count == len(sizes)
    assert not numbers[(classes == 0) | (classes == 255)].any()
