from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.bands import OPTICAL_BANDS
from minseg.data.raster import Grid
from minseg.fetching.pixels import (
    offset_problem,
    read_optical,
    read_radar,
    read_scene_classes,
    reflectance_offset,
)
from minseg.fetching.plan import BoxRule, mine_box
from minseg.fetching.providers import PROVIDERS
from tests.fetching.conftest import PROVIDER
from tests.fetching.pinned_scenes import GSD_M, write_catalogue
from tests.fetching.pinned_scenes import expected as drawn
from tests.fetching.scenes import (
    BESIDE,
    BOX,
    TILE,
    UTM,
    WEST,
    in_zone,
    item,
    numbers_at,
    optical_bands,
    scene_classes,
    tif,
)

BANDS = tuple(band.name for band in OPTICAL_BANDS)
EARTH_SEARCH = PROVIDERS["earth-search"]
COPERNICUS = PROVIDERS["copernicus"]


def at(server, *keys, name="S", files="", **properties):
    """An item of files on the server."""
    hrefs = {key: f"{server.url}/{files}{key}.tif" for key in keys}
    return item(name, "2020-07-01", hrefs, **properties)


def optical_item(server, provider=PROVIDER, **properties):
    """An item of the bands that lie on the server; the numbers of each."""
    keys = provider.optical.assets
    numbers = optical_bands(server.folder, keys.get)
    return at(server, *(keys[band] for band in BANDS), name="S2A_T33TWM", **properties), numbers


def in_box(numbers, gsd_m):
    """Numbers in native pixels, repeated to 10 m and cut to the box."""
    repeats = gsd_m // 10
    whole = np.kron(numbers, np.ones((repeats, repeats), numbers.dtype))
    return whole[36 : 36 + BOX.height, 48 : 48 + BOX.width]


APPLIED = "earthsearch__boa_offset_applied"


@pytest.mark.parametrize(
    ("provider", "baseline", "properties", "offset"),
    [
        (PROVIDER, "02.12", {}, 0),
        # An old scene processed again carries the offset: the date says nothing.
        (PROVIDER, "04.00", {}, 1000),
        (EARTH_SEARCH, "05.09", {APPLIED: True}, 0),
        (EARTH_SEARCH, "05.09", {APPLIED: False}, 1000),
        (EARTH_SEARCH, "05.09", {}, 1000),
        (EARTH_SEARCH, "02.14", {}, 0),
        (COPERNICUS, None, {"processing__version": "05.10"}, 1000),
        (COPERNICUS, None, {"processing__version": "02.14"}, 0),
    ],
)
def test_bands_of_10_20_and_60_m_are_exact_repeats_with_the_offset_of_the_item(
    server, provider, baseline, properties, offset
):
    scene, numbers = optical_item(server, provider, s2__processing_baseline=baseline, **properties)
    for asset in scene.assets.values():  # which is wrong at times
        asset.extra_fields["raster:bands"] = [{"offset": -0.7, "scale": 1e-3, "nodata": 1500}]
    optical = read_optical(scene, provider, BOX)
    assert optical.dtype == np.uint16
    for layer, band in zip(optical, OPTICAL_BANDS, strict=True):
        expected = in_box(numbers[band.name], band.native_gsd_m) - offset
        assert np.array_equal(layer, expected), band.name


def test_missing_pixels_of_any_band_are_missing_and_dark_ones_are_not(server):
    scene, _ = optical_item(server, s2__processing_baseline="04.00")
    blue = numbers_at(10, 1)
    blue[40:50, 60:70] = 0  # missing
    blue[60, 80] = 990  # below the offset: -0.001
    tif(server.folder / "B02.tif", blue, TILE.transform)
    optical = read_optical(scene, PROVIDER, BOX)
    assert not optical[:, 4:14, 12:22].any()
    assert (optical == 0).sum() == 12 * 100
    assert optical[1, 24, 32] == 1


def test_only_the_part_needed_of_a_large_file_is_read(server):
    numbers = np.random.default_rng(0).integers(0, 12, (3000, 3000)).astype(np.uint8)
    path = tif(server.folder / "SCL.tif", numbers, TILE.transform)
    scene = at(server, "SCL")
    classes = read_scene_classes(scene, PROVIDER, BOX)
    assert np.array_equal(classes, in_box(numbers, 10))
    assert server.bytes_sent < 0.1 * path.stat().st_size


def test_a_file_without_coordinates_takes_them_from_the_item(server):
    numbers = numbers_at(20, 0, 0, 12).astype(np.uint8)
    tif(server.folder / "SCL.tif", numbers, None, None)
    scene = at(server, "SCL", proj__epsg=32633)
    assert "proj:epsg" in scene.properties or "proj:code" in scene.properties
    with pytest.raises(MinsegError, match=r"S: asset SCL has no position \(proj:transform"):
        read_scene_classes(scene, PROVIDER, BOX)
    # What the item says is of the file at 10 m; this one is smaller by half.
    scene.assets["SCL"].extra_fields |= {
        "proj:shape": [240, 240],
        "proj:transform": list(TILE.transform)[:6],
    }
    assert np.array_equal(read_scene_classes(scene, PROVIDER, BOX), in_box(numbers, 20))
    for name in ("proj:epsg", "proj:code"):
        scene.properties.pop(name, None)
    with pytest.raises(MinsegError, match="no coordinate reference system"):
        read_scene_classes(scene, PROVIDER, BOX)


@pytest.mark.parametrize(
    ("place", "tile", "zone"),
    [
        ((15.0, 83.0), "T33XWN", 32633),
        ((15.0, 83.0), "T34XDR", 32633),  # near the poles zones are narrow: a tile of the next
        ((15.0, -79.9), "T33CWM", 32733),
        ((179.999, -17.0), "T60KZF", 32760),
        ((179.999, -17.0), "T01KAB", 32760),  # the tile lies in zone 1, most of the box in 60
        ((-179.999, 65.0), "T60WXV", 32601),
    ],
)
def test_pixels_are_right_near_poles_and_over_the_date_line(server, place, tile, zone):
    grid = mine_box(shapely.Point(place), BoxRule(0, 480))
    west, _, east, _ = grid.bounds_lonlat
    assert grid.crs == CRS.from_epsg(zone)
    assert (west > east) is (abs(place[0]) > 179)
    name = f"S2A_MSIL2A_20200701T1_{tile}_2022"
    write_catalogue(server.folder, {name: grid})
    scene = at(server, *GSD_M, name=name, files=f"files/{name}_", s2__processing_baseline="05.00")
    for band, layer in zip(BANDS, read_optical(scene, PROVIDER, grid), strict=True):
        # Between zones, pixels that lie on an edge may fall either way.
        assert np.mean(layer != drawn(grid, name, band)) < 0.003, band


def test_a_busy_server_and_a_cut_connection_are_tried_again_by_several_at_once(server):
    scene_classes(server.folder / "SCL.tif", {3: 0.4})
    scene = at(server, "SCL")
    undisturbed = read_scene_classes(scene, PROVIDER, BOX)
    for failures in ([429], [503, 503], ["cut"], ["cut", 429], [500] * 4):
        server.failures["/SCL.tif"] = list(failures)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: read_scene_classes(scene, PROVIDER, BOX), range(4)))
        assert all(np.array_equal(classes, undisturbed) for classes in found), failures
        assert not server.failures["/SCL.tif"]


@pytest.mark.parametrize("grid", [BOX, in_zone(32632)])  # read as it is, and warped
@pytest.mark.parametrize("fault", [404, 503, "truncated", "no raster", "cut"])
def test_what_cannot_be_read_is_told_with_item_and_asset(server, fault, grid):
    scene, _ = optical_item(server, s2__processing_baseline="02.12")
    path = server.folder / "B11.tif"
    if fault == 404:
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    elif fault == "no raster":
        path.write_text("<html>log in first</html>")
    else:
        server.failures["/B11.tif"] = [fault] * 200
    with pytest.raises(MinsegError, match="S2A_T33TWM: asset B11 cannot be read") as error:
        read_optical(scene, PROVIDER, grid)
    assert fault != 404 or "404" in str(error.value)


def test_an_item_without_a_band_or_a_baseline_is_refused_and_a_table_can_say_it(server):
    scene, numbers = optical_item(server)
    with pytest.raises(MinsegError, match="tells no processing baseline"):
        read_optical(scene, PROVIDER, BOX)
    applied = replace(PROVIDER, optical=replace(PROVIDER.optical, offset="applied"))
    assert np.array_equal(read_optical(scene, applied, BOX)[1], in_box(numbers["B02"], 10))
    del scene.assets["B12"]
    server.requests.clear()
    with pytest.raises(MinsegError, match="S2A_T33TWM: has no asset B12"):
        read_optical(scene, applied, BOX)
    assert not server.requests


def plants_and_ground(seed=0):
    """Reflectance × 10 000 of a scene with plants, ground and some water."""
    random = np.random.default_rng(seed)
    optical = random.normal(1800, 250, (12, 80, 80))
    optical[:6, :30] = random.normal(400, 60, (6, 30, 80))  # plants: dark up to red edge 1
    optical[:, 70:] = random.normal(150, 30, (12, 10, 80))  # water
    return np.clip(optical, 1, None).astype(np.uint16)


def test_dark_pixels_tell_an_offset_subtracted_twice_or_never():
    scene = plants_and_ground()
    assert offset_problem(scene, BANDS) == ""
    twice = np.clip(scene.astype(int) - 1000, 1, None).astype(np.uint16)
    assert "subtracted twice" in offset_problem(twice, BANDS)
    assert "may not be subtracted" in offset_problem(scene + 1000, BANDS)
    assert offset_problem(np.zeros_like(scene), BANDS) == ""


def test_the_real_item_of_earth_search(shared_data):
    folder = shared_data / "stac_items" / "earthsearch_S2B_33TWM_20230813"
    scene = pystac.Item.from_file(folder / "S2B_33TWM_20230813_0_L2A.json")
    with rasterio.open(folder / "B04.tif") as source:
        assert source.crs is None
        decimated = source.read(1)
    # Four bands have rasters; pixels of the decimated file, in its middle.
    keys = {band: EARTH_SEARCH.optical.assets[band] for band in ("B02", "B03", "B04", "B08", "SCL")}
    provider = replace(EARTH_SEARCH, optical=replace(EARTH_SEARCH.optical, assets=keys))
    side_m = 109_800 / decimated.shape[0]
    transform = Affine(side_m, 0, 499_980, 0, -side_m, 5_200_020) @ Affine.translation(200, 100)
    grid = Grid(300, 250, transform, UTM)
    optical = read_optical(scene, provider, grid)
    # raster:bands says offset -0.1, the flag that it was applied: the pixels are reflectance.
    assert reflectance_offset(scene, provider.optical) == 0
    red = decimated[100:400, 200:450]
    assert np.array_equal(optical[2][red > 0], red[red > 0])
    assert offset_problem(optical, ("B02", "B03", "B04", "B08")) == ""
    # By the baseline alone it would be subtracted twice, and the dark pixels tell.
    by_baseline = replace(provider.optical, offset="baseline")
    wrong = read_optical(scene, replace(provider, optical=by_baseline), grid)
    assert "subtracted twice" in offset_problem(wrong, ("B02", "B03", "B04", "B08"))
    classes = read_scene_classes(scene, provider, grid)
    assert (classes == 4).mean() > 0.5  # the item: 93 % vegetation


FAR = replace(BOX, transform=Affine.translation(50_000, 0) @ BOX.transform)


@pytest.mark.parametrize(
    ("power", "keys", "grid", "said"),
    [
        (-0.1, ("vv", "vh"), BOX, "no valid radar pixel"),
        (0.1, ("vv", "vh"), FAR, "no valid radar pixel"),
        (0.1, ("vv",), BOX, "has no asset vh"),
        (1e4, ("vv", "vh"), BOX, "the median of VV would be 40 dB"),
        (1e-6, ("vv", "vh"), BOX, "-60 dB"),
    ],
)
def test_radar_that_is_no_power_of_the_box_is_refused(server, power, keys, grid, said):
    for key in keys:
        values = np.full((240, 240), power, np.float32)
        tif(server.folder / f"{key}.tif", values, TILE.transform, nodata=-32768)
    with pytest.raises(MinsegError, match=f"S1A: .*{said}|S1A: {said}") as error:
        read_radar(at(server, *keys, name="S1A"), PROVIDER, grid)
    assert "--" not in str(error.value)  # fetch has no option of units


def test_reflectance_between_0_and_1_and_classes_beyond_sen2cors_are_refused(server):
    scene, _ = optical_item(server, s2__processing_baseline="02.12")
    for path in server.folder.glob("B*.tif"):
        with rasterio.open(path) as source:
            values, place = source.read(1) / np.float32(10_000), source.transform
        tif(path, values, place)
    with pytest.raises(MinsegError, match="S2A_T33TWM: the 90th percentile") as error:
        read_optical(scene, PROVIDER, BOX)
    assert "--" not in str(error.value)
    tif(server.folder / "SCL.tif", numbers_at(20, 0, 0, 255), TILE.transform @ Affine.scale(2))
    with pytest.raises(MinsegError, match="asset SCL holds 254, which is no class of Sen2Cor"):
        read_scene_classes(at(server, "SCL"), PROVIDER, BOX)


def test_radar_that_only_control_points_locate_is_refused(server):
    path = tif(server.folder / "vv.tif", numbers_at(10, 0), None, None)
    corners = [(0, 0, 14.97, 46.97), (0, 240, 15.0, 46.97), (240, 0, 14.97, 46.94)]
    with rasterio.open(path, "r+") as target:
        target.gcps = [GroundControlPoint(*corner) for corner in corners], CRS.from_epsg(4326)
    # What catalogues say in proj: of such files is made up.
    made_up = {"proj__epsg": 4326, "proj__shape": [240, 240]}
    scene = at(server, "vv", "vh", name="S1A_IW_GRDH", **made_up)
    said = "S1A_IW_GRDH: asset vv is located by ground control points, without terrain.*--no-radar"
    with pytest.raises(MinsegError, match=said):
        read_radar(scene, PROVIDER, BOX)


def by_odc_stac(scenes, bands, grid, data_type, nodata):
    """Bands of a day's items on a grid by odc-stac, which reads items in its own way."""
    for scene in scenes:
        scene.collection_id = "any"
    told = {"assets": {"*": {"data_type": data_type, "nodata": nodata}}}
    box = GeoBox((grid.height, grid.width), grid.transform, grid.crs.to_epsg())
    loaded = odc.stac.load(
        scenes, bands=bands, geobox=box, groupby="solar_day", stac_cfg={"any": told}
    )
    return np.stack([loaded[band].values[0] for band in bands])


def test_radar_power_is_what_odc_stac_reads(server):
    random = np.random.default_rng(0)
    for channel in ("vv", "vh"):
        power = random.gamma(4, 0.02, (240, 240)).astype(np.float32)
        power[40:50, 60:70] = -32768
        power[60, 80] = 0  # no power either
        tif(server.folder / f"{channel}.tif", power, TILE.transform, nodata=-32768)
    scene = at(server, "vv", "vh", name="S1A")
    expected = by_odc_stac([scene], ["vv", "vh"], BOX, "float32", -32768)
    missing = ~(expected > 0)
    assert 0 < missing.mean() < 0.1
    channels = read_radar(scene, PROVIDER, BOX)
    assert channels.dtype == np.float32
    assert np.array_equal(np.isnan(channels[:2]), missing)
    assert channels[2] == pytest.approx(channels[0] - channels[1] - 10, abs=1e-4, nan_ok=True)
    power = 10 ** (channels[:2][~missing] / 10)
    assert power == pytest.approx(expected[~missing], rel=1e-5)


@pytest.mark.parametrize("zones", BESIDE)
def test_tiles_put_together_are_what_odc_stac_makes_of_them(server, zones):
    scenes = []
    for seed, (name, tile) in enumerate((("A", WEST), ("B", BESIDE[zones]))):
        (server.folder / name).mkdir()
        optical_bands(server.folder / name, tile=tile, seed=100 * seed)
        about = {"bounds": tile.bounds_lonlat, "s2__processing_baseline": "02.12"}
        scenes.append(at(server, *BANDS, name=name, files=f"{name}/", **about))
    first, second = scenes
    half = read_optical(first, PROVIDER, BOX)
    assert (half == 0).any(axis=0).mean() == 0.5
    optical = read_optical(first, PROVIDER, BOX, [second])
    expected = by_odc_stac(scenes, BANDS, BOX, "uint16", 0)
    assert (optical > 0).all() and np.array_equal(optical[half > 0], half[half > 0])
    # Between zones, pixels that lie on an edge may fall either way.
    assert np.mean(optical != expected) <= (0 if zones == "one zone" else 0.002)


def test_a_tile_beside_that_has_no_pixel_in_every_band_changes_nothing(server):
    (server.folder / "empty").mkdir()
    optical_bands(server.folder, tile=WEST)
    optical_bands(server.folder / "empty")
    tif(server.folder / "empty" / "B12.tif", np.zeros((120, 120), np.uint16), TILE.transform)
    scene, empty = (
        at(server, *BANDS, files=files, s2__processing_baseline="02.12") for files in ("", "empty/")
    )
    alone = read_optical(scene, PROVIDER, BOX)
    assert np.array_equal(read_optical(scene, PROVIDER, BOX, [empty]), alone)
    with pytest.raises(MinsegError, match="no valid pixel"):
        read_optical(empty, PROVIDER, BOX)
