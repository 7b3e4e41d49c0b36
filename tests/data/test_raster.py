import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from minseg import MinsegError
from minseg.data.raster import (
    Grid,
    open_raster,
    read_dataset_mask,
    read_grid,
    read_window,
    require_located,
    to_cloud_optimized,
    write_geotiff,
)

UTM = Grid(300, 400, Affine(10, 0, 500_000, 0, -10, 4_000_000), CRS.from_epsg(32633))
DEGREES = Grid(100, 100, Affine(1e-4, 0, 15.0, 0, -1e-4, 60.0), CRS.from_epsg(4326))


def test_pixel_size_in_metres():
    assert UTM.pixel_size_m == (10, 10)
    width, height = DEGREES.pixel_size_m
    assert height == pytest.approx(11.13, abs=0.05)
    assert width == pytest.approx(height * math.cos(math.radians(60)), rel=1e-3)


def test_centre_and_bounds_in_degrees():
    longitude, latitude = UTM.centre_lonlat
    assert longitude == pytest.approx(15.0222, abs=1e-3)
    west, south, east, north = UTM.bounds_lonlat
    assert west < longitude < east
    assert south < latitude < north


def test_grids_match_up_to_rounding_of_the_transform_only():
    shifted = Grid(300, 400, UTM.transform @ Affine.translation(0.001, 0), UTM.crs)
    moved = Grid(300, 400, UTM.transform @ Affine.translation(0.5, 0), UTM.crs)
    coarser = Grid(300, 400, UTM.transform @ Affine.scale(1.001), UTM.crs)
    assert UTM.matches(shifted)
    assert not UTM.matches(moved)
    assert not UTM.matches(coarser)
    assert not UTM.matches(Grid(300, 400, UTM.transform, CRS.from_epsg(32634)))


def test_written_raster_reads_back_and_windows_keep_their_place(tmp_path):
    array = np.random.default_rng(0).integers(0, 9000, (2, 300, 400)).astype(np.uint16)
    path = tmp_path / "a.tif"
    write_geotiff(path, array, UTM, nodata=0, descriptions=["B02", "B03"], scale=1e-4)
    assert read_grid(path).matches(UTM)
    window = Window(10, 20, 30, 40)
    with open_raster(path) as source:
        assert source.descriptions == ("B02", "B03")
        assert source.scales == (1e-4, 1e-4)
        values, valid = read_window(source, [2, 1], window)
        assert source.window_transform(window) == UTM.window(window).transform
    assert (values == array[::-1, 20:60, 10:40]).all()
    assert (valid == (array[:, 20:60, 10:40] != 0).all(axis=0)).all()


def test_nan_is_not_valid(write_tif):
    array = np.array([[[1.0, np.nan], [np.inf, 2.0]]], np.float32)
    with open_raster(write_tif("f.tif", array)) as source:
        assert read_window(source, [1])[1].tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("nodata", [None, 7])
def test_mask_of_the_file_hides_pixels(tmp_path, write_tif, inside, nodata):
    numbers = np.full((2, 4, 4), 5, np.uint16)
    numbers[0, 3] = 7
    path = write_tif("a.tif", numbers, nodata=nodata)
    mask = np.full((4, 4), 255, np.uint8)
    mask[:, :2] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as target:
        target.write_mask(mask)
    assert path.with_name("a.tif.msk").exists() != inside
    expected = mask > 0
    expected[3] &= nodata is None
    with open_raster(path) as source:
        values, valid = read_window(source, [2, 1])
        _, part = read_window(source, [1], Window(1, 0, 2, 4))
        assert np.array_equal(read_dataset_mask(source), mask > 0)
    assert np.array_equal(values, numbers[::-1])
    assert np.array_equal(valid, expected)
    assert np.array_equal(part, expected[:, 1:3])


def test_without_a_mask_none_is_read(write_tif):
    for nodata in (None, 5):
        with open_raster(write_tif("a.tif", np.ones((1, 4, 4)), nodata=nodata)) as source:
            assert read_dataset_mask(source) is None


def test_missing_unreadable_and_damaged_files_are_one_clear_line(tmp_path, write_tif):
    with pytest.raises(MinsegError, match="no such file"):
        read_grid(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("this is no raster")
    with pytest.raises(MinsegError, match="cannot be read as a raster"):
        read_grid(tmp_path / "text.tif")
    noise = np.random.default_rng(0).integers(0, 255, (1, 300, 300)).astype(np.uint8)
    path = write_tif("cut.tif", noise)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MinsegError), open_raster(path) as source:
        read_window(source, [1])


def test_raster_without_crs_is_refused_with_the_command_that_mends_it(tmp_path):
    nowhere = Grid(4, 4, Affine.identity(), None)
    with pytest.raises(MinsegError, match="rio edit-info"):
        require_located(nowhere, tmp_path / "a.tif")


def test_cloud_optimized_class_map_for_gdal(tmp_path):
    classes = np.random.default_rng(0).integers(0, 3, (1, 300, 400)).astype(np.uint8)
    classes[0, :5] = 255
    source, path = tmp_path / "plain.tif", tmp_path / "cog.tif"
    write_geotiff(source, classes, UTM, nodata=255, descriptions=["class"])
    colours = {0: (0, 0, 0, 0), 1: (255, 0, 0, 255), 2: (0, 0, 255, 255)}
    to_cloud_optimized(source, path, category_names=["background", "pit", "dam"], colours=colours)
    with rasterio.open(path) as found:
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (found.read() == classes).all()
        assert found.nodata == 255
        assert found.colormap(1)[2] == (0, 0, 255, 255)
        assert found.crs == UTM.crs
        assert found.transform == UTM.transform
    names = (tmp_path / "cog.tif.aux.xml").read_text()
    assert names.index("background") < names.index("pit") < names.index("dam")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cog.tif", "cog.tif.aux.xml", "plain.tif"]
