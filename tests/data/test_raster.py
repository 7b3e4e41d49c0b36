import re

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.windows import Window

from minseg import MinsegError
from minseg.data.raster import (
    Grid,
    RowFile,
    grid_of,
    open_raster,
    read_dataset_mask,
    read_grid,
    read_window,
    require_located,
    write_geotiff,
)
from tests.conftest import follow_advice, grid_at, names

UTM = Grid(300, 400, Affine(10, 0, 500_000, 0, -10, 4_000_000), CRS.from_epsg(32633))
DEGREES = Grid(100, 100, Affine(1e-4, 0, 15.0, 0, -1e-4, 60.0), CRS.from_epsg(4326))


def test_pixel_size_in_metres_and_bounds_in_degrees():
    assert UTM.pixel_size_m == (10, 10)
    # A degree at 60 degrees north, on the ellipsoid: 55,800 m across and 111,412 m up.
    assert DEGREES.pixel_size_m == pytest.approx((5.5800, 11.1412), abs=2e-3)
    # Mercator's metres are stretched by 1 / cos(latitude), at 60 degrees by 2.
    for y, pixel in ((8_399_738, 20.0), (-8_399_738, 20.0), (0, 10.0)):
        grid = Grid(50, 60, Affine(pixel, 0, 2e6, 0, -pixel, y), CRS.from_epsg(3857))
        assert grid.pixel_size_m == pytest.approx((10, 10), rel=5e-3)
    longitude, latitude = UTM.centre_lonlat
    assert longitude == pytest.approx(15.0222, abs=1e-3)
    west, south, east, north = UTM.bounds_lonlat
    assert west < longitude < east
    assert south < latitude < north


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Grid(300, 400, UTM.transform @ Affine.translation(0.001, 0), UTM.crs), None),
        (Grid(300, 400, UTM.transform @ Affine.translation(0.5, 0), UTM.crs), "position"),
        (Grid(300, 400, UTM.transform @ Affine.scale(1.001), UTM.crs), "pixel size"),
        (Grid(300, 400, UTM.transform, CRS.from_epsg(32634)), "coordinate reference system"),
        (Grid(300, 401, UTM.transform, UTM.crs), "size (300×400 and 300×401 pixels)"),
    ],
)
def test_grids_match_up_to_rounding_or_it_is_said_why_not(other, difference):
    assert UTM.matches(other) == (difference is None)
    found = UTM.difference(other)
    assert found is None if difference is None else found.startswith(difference)


def with_nodata(path, band, nodata):
    """A VRT of a file in which one band alone has a nodata value."""
    described = path.with_suffix(".vrt")
    rasterio.shutil.copy(path, described, driver="VRT")
    tagged = rf"\1<NoDataValue>{nodata}</NoDataValue>"
    described.write_text(re.sub(rf'(band="{band}"[^>]*>)', tagged, described.read_text()))
    return described


def test_each_band_has_its_own_nodata_and_nan_is_no_value(write_tif):
    array = np.array([[[1.0, np.nan], [np.inf, 2.0]]] * 2, np.float32)
    with open_raster(with_nodata(write_tif("f.tif", array), 2, 1)) as source:
        assert source.nodatavals == (None, 1)
        assert read_window(source, [1])[1].tolist() == [[True, False], [False, True]]
        assert read_window(source, [1, 2])[1].tolist() == [[False, False], [False, True]]
        assert read_dataset_mask(source) is None


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


@pytest.mark.parametrize("epsg", [None, 32633, 4326])
@pytest.mark.parametrize(
    "transform",
    [Affine.identity(), Affine(1, 0, 0, 0, -1, 0), Affine(1, 0, -0.5, 0, -1, 64.5)],
)
def test_coordinates_that_count_pixels_are_no_place_until_the_advice_is_followed(
    write_tif, epsg, transform
):
    crs = epsg and CRS.from_epsg(epsg)
    path = write_tif("a.tif", np.ones((1, 64, 64), np.uint8), Grid(64, 64, transform, crs))
    like = write_tif("THAT.tif", np.ones((1, 64, 64), np.uint8))
    with pytest.raises(MinsegError, match="count its own pixels") as caught:
        require_located(read_grid(path), path)
    follow_advice(str(caught.value), **{"THAT.tif": like})
    assert read_grid(path) == read_grid(like)
    require_located(read_grid(path), path)


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(32633)])
def test_a_file_placed_by_control_points_is_told_how_it_gets_a_grid(write_tif, crs):
    grid = Grid(64, 64, Affine.identity(), crs)
    path = write_tif("a.tif", np.ones((1, 64, 64), np.uint8), grid)
    corners = [(0, 0, 4e5, 5e6), (0, 64, 400_640, 5e6), (64, 0, 4e5, 4_999_360)]
    with rasterio.open(path, "r+") as target:
        target.gcps = [GroundControlPoint(*corner) for corner in corners], CRS.from_epsg(32633)
    with pytest.raises(MinsegError, match=r"placed by control points.*gdalwarp"):
        require_located(read_grid(path), path)


@pytest.mark.parametrize("side", [16, 20, 33, 64, 100])
def test_thinned_pixels_show_the_centre_of_their_ground(write_tif, side):
    whole = np.arange(64 * 50).reshape(1, 64, 50).astype(np.uint16)
    path = write_tif("a.tif", whole, Grid(64, 50, grid_at(0).transform, grid_at(0).crs))
    grid = read_grid(path)
    thin = grid.thinned(side)
    assert max(thin.height, thin.width) <= max(side, 1)
    assert thin.bounds == pytest.approx(grid.bounds)
    with open_raster(path) as source:
        values, valid = read_window(source, [1], shape=(thin.height, thin.width))
    rows, columns = np.divmod(values[0].astype(int), 50)
    here, there = np.meshgrid(np.arange(thin.width) + 0.5, np.arange(thin.height) + 0.5)
    xs, ys = thin.transform @ (here, there)
    found_xs, found_ys = grid.transform @ (columns + 0.5, rows + 0.5)
    assert valid.all()
    assert np.abs(found_xs - xs).max() <= 5.01  # half a pixel
    assert np.abs(found_ys - ys).max() <= 5.01


NOWHERE = {
    "no system": (None, 4e5, 10, "no coordinate reference system"),
    "a site's own system": ('LOCAL_CS["site",UNIT["metre",1]]', 0, 10, "coordinates lie nowhere"),
    "from the earth's centre": ("EPSG:4978", 0, 10, "coordinates lie nowhere"),
    "on the moon": ("+proj=longlat +R=1737400 +no_defs", 10, 1e-4, "coordinates lie nowhere"),
    "coordinates of another system": ("EPSG:32633", 1e9, 10, "coordinates lie nowhere"),
    "far from the zone": ("EPSG:32633", 4e7, 10, "coordinates lie nowhere"),
    "metres for degrees": ("EPSG:4326", 5e5, 10, "coordinates lie nowhere"),
    "beyond the pole": ("EPSG:4326", 89.9999, -1e-4, "coordinates lie nowhere"),
    "longitude and latitude too large": ("EPSG:4326", -400, 1e-4, "coordinates lie nowhere"),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_raster_that_lies_nowhere_is_refused_in_one_line(tmp_path, capfd, case):
    crs, origin, side, message = NOWHERE[case]
    crs = crs and CRS.from_user_input(crs)
    grid = Grid(9, 9, Affine(side, 0, origin, 0, -side, origin), crs)
    with pytest.raises(MinsegError, match=rf"a\.tif: .*{message}.*rio edit-info"):
        require_located(grid, tmp_path / "a.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "grid",
    [
        *(Grid(1000, 1000, Affine(1e-4, 0, west, 0, -1e-4, 60.0), CRS.from_epsg(4326))
          for west in (-180.05, -180, 0, 179.95, 240)),
        Grid(9, 9, UTM.transform, CRS.from_user_input("EPSG:32633+5773")),
    ],
)  # fmt: skip
def test_raster_may_count_its_longitudes_as_it_likes_and_know_heights(tmp_path, grid):
    require_located(grid, tmp_path / "a.tif")


def test_a_full_disk_is_one_line_and_leaves_the_older_raster(tmp_path, capfd, file_limit):
    numbers = np.random.default_rng(0).integers(0, 200, (1, 300, 400)).astype(np.uint8)
    path = tmp_path / "a.tif"
    write_geotiff(path, numbers, UTM, nodata=255, descriptions=["class"])
    before = path.read_bytes()
    with file_limit(40_000), pytest.raises(MinsegError, match=f"^{path}: cannot be written"):
        write_geotiff(path, numbers, UTM, nodata=0, descriptions=["B02"])
    assert capfd.readouterr().err == ""
    assert names(tmp_path) == ["a.tif"] and path.read_bytes() == before


def test_rows_are_there_as_soon_as_they_are_kept_and_the_others_hold_no_data(tmp_path):
    rows, grid = RowFile(tmp_path / "rows.tif", tmp_path / "map.tif"), grid_at(0)
    rows.begin(grid, np.uint16, 65535, ("a", "b"), tags={"KEY": "value"}, scale=0.01)
    values = np.random.default_rng(0).integers(0, 9, (2, 5, 64)).astype(np.uint16)
    rows.keep(20, values)
    with rasterio.open(rows.path) as source:
        assert grid_of(source).matches(grid)
        assert (source.descriptions, source.scales) == (("a", "b"), (0.01, 0.01))
        assert source.tags()["KEY"] == "value"
        found = source.read()
    expected = np.full((2, 64, 64), 65535)
    expected[:, 20:25] = values
    assert np.array_equal(found, expected)


def test_a_file_of_several_rasters_is_refused_with_the_command_that_takes_one_out(write_tif):
    page = write_tif("page.tif", np.ones((1, 8, 8), np.uint8))
    pages = page.with_name("pages.tif")
    for more in (False, True):
        rasterio.shutil.copy(page, pages, driver="GTiff", append_subdataset=more)
    told = f"holds 2 rasters.*`gdal_translate GTIFF_DIR:1:{pages} one.tif`"
    with pytest.raises(MinsegError, match=told), open_raster(pages):
        pass


def test_a_folder_such_as_that_of_a_product_is_no_raster(tmp_path):
    with pytest.raises(MinsegError, match="is a folder and no file"), open_raster(tmp_path):
        pass
