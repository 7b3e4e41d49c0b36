import tracemalloc

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from minseg.data.images import ImageReading
from minseg.data.raster import Grid
from minseg.data.stack import ImageFile, open_stack
from minseg.data.thinning import read_thinned, thinned_grid, thinning_step

UTM = CRS.from_epsg(32633)
RATIO = "VV/(10·VH)"


def grid_of(gsd_m, height, width):
    return Grid(height, width, Affine(gsd_m, 0, 400_000, 0, -gsd_m, 5_000_000), UTM)


@pytest.fixture
def files(write_tif):
    """Blue and green of 10 m with a gap, red of 20 m, radar of 10 m."""
    random = np.random.default_rng(0)
    fine = random.integers(500, 4000, (2, 90, 120)).astype(np.uint16)
    fine[:, :9] = 0
    coarse = random.integers(500, 4000, (1, 45, 60)).astype(np.uint16)
    radar = random.uniform(-20, -5, (2, 90, 120)).astype(np.float32)
    radar[:, :, :30] = np.nan
    return [
        ImageFile(write_tif("a.tif", fine, grid_of(10, 90, 120), 0, ["B02", "B03"], (1e-4, 1e-4))),
        ImageFile(write_tif("b.tif", coarse, grid_of(20, 45, 60), 0, ["B04"], (1e-4,))),
        ImageFile(write_tif("c.tif", radar, grid_of(10, 90, 120), np.nan, ["VV", "VH"])),
    ]


@pytest.mark.parametrize("step", [1, 7, 200])
@pytest.mark.parametrize("strip_pixels", [1, 2000, 2**20])
@pytest.mark.parametrize("bands", [("B04", "B02"), (RATIO,), ("VV",)])
def test_every_nth_pixel_is_what_the_whole_image_has_there(
    files, monkeypatch, step, strip_pixels, bands
):
    monkeypatch.setattr("minseg.data.thinning._STRIP_PIXELS", strip_pixels)
    every = ("VV", RATIO, "B04", "B02", "B03")
    with open_stack(files, every) as image:
        whole, _ = image.read()
        values, valid = read_thinned(image, bands, step)
        grid = thinned_grid(image.grid, step)
    expected = whole[[every.index(band) for band in bands], ::step, ::step]
    assert valid.shape == (grid.height, grid.width) == expected.shape[1:]
    assert np.array_equal(values[:, valid], expected[:, valid])
    rows, columns = (np.arange(0, side, step) for side in (90, 120))
    gap = (rows[:, None] < 9) & (columns >= 0)
    no_radar = (rows[:, None] >= 0) & (columns < 30)
    missing = {("B04", "B02"): gap, ("VV",): no_radar, (RATIO,): gap | no_radar}
    assert np.array_equal(valid, ~missing[bands])


def test_thinned_pixels_keep_their_places():
    grid = grid_of(10, 90, 120)
    assert thinning_step(grid, 120) == 1
    assert thinning_step(grid, 119) == 2
    assert thinning_step(grid, 17) == 8
    thin = thinned_grid(grid, 7)
    assert (thin.height, thin.width) == (13, 18)
    assert thin.pixel_size_m == (70, 70)
    assert thin.transform @ (3, 2) == grid.transform @ (21, 14)
    assert thinned_grid(grid, 1) == grid


def test_memory_is_bounded_by_what_is_shown(write_tif):
    names = ["B02", "B03", "B04", "B05", "B06", "B07"]
    numbers = np.full((6, 3000, 1000), 1000, np.uint16)
    path = write_tif("a.tif", numbers, grid_of(10, 3000, 1000), 0, names)
    with open_stack([ImageFile(path)], names, ImageReading(scale=1e-4)) as image:
        tracemalloc.start()
        values, _ = read_thinned(image, ["B04"], 10)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert values.shape == (1, 300, 100)
    assert peak < numbers.size  # half of the file, whose channels are six times four bytes a pixel
