import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from minseg.data.raster import Grid
from minseg.maps.areas import HECTARE_M2, pixel_areas_m2
from minseg.maps.runs import find_runs

DEGREES = Grid(40, 50, Affine(1e-2, 0, 15.0, 0, -1e-2, 60.0), CRS.from_epsg(4326))


def test_runs_end_where_the_value_changes_and_at_the_end_of_a_row():
    runs = find_runs(np.array([[1, 1, 2], [2, 2, 2], [2, 0, 2]], np.uint16))
    assert runs.starts.tolist() == [0, 2, 3, 6, 7, 8]
    assert runs.values.tolist() == [1, 2, 2, 2, 0, 2]
    assert runs.lengths.tolist() == [2, 1, 3, 1, 1, 1]
    assert runs.values.dtype == np.uint16


def test_painting_is_the_inverse_whatever_the_layout_in_memory():
    raster = np.random.default_rng(0).integers(0, 3, (50, 40)).T
    runs = find_runs(raster)
    assert np.array_equal(runs.paint(runs.values), raster)


def test_areas_are_the_sums_over_the_pixels():
    raster = np.random.default_rng(1).integers(0, 2, (40, 50))
    runs = find_runs(raster)
    areas_ha = runs.areas_ha(DEGREES)
    rows, columns = np.indices(raster.shape)
    each = pixel_areas_m2(DEGREES, columns + 0.5, rows + 0.5) / HECTARE_M2
    by_row = np.bincount(runs.starts // 50, areas_ha)
    assert by_row == pytest.approx(each.sum(axis=1), rel=1e-5)
    assert areas_ha[runs.values == 1].sum() == pytest.approx(each[raster == 1].sum(), rel=1e-5)
    assert each[0].sum() < each[-1].sum() * (1 - 1e-2)  # a degree shortens northwards
