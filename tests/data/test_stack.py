from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import from_bounds
from rasterio.warp import Resampling, reproject, transform, transform_bounds
from rasterio.windows import Window

from minseg import MinsegError
from minseg.data.images import ImageReading
from minseg.data.raster import Grid, read_grid
from minseg.data.stack import ImageFile, common_grid, crs_seen_from, open_stack, require_overlap

WGS84 = CRS.from_epsg(4326)


def degrees(west, crs=WGS84, north=-17.0, side_deg=1e-4):
    return Grid(600, 600, Affine(side_deg, 0, west, 0, -side_deg, north), crs)


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


UTM = CRS.from_epsg(32633)
RATIO = "VV/(10·VH)"


def grid_of(gsd_m, side_m=960, left=400_000.0, top=5_000_000.0, crs=UTM):
    side = round(side_m / gsd_m)
    return Grid(side, side, Affine(gsd_m, 0, left, 0, -gsd_m, top), crs)


def noise(grid, bands=1, dtype=np.uint16, seed=0):
    values = np.random.default_rng(seed).uniform(500, 4000, (bands, grid.height, grid.width))
    return values.astype(dtype)


def nearest(path, grid, outside=0):
    """Bring a file to a grid by GDAL's warper at once: the oracle."""
    with rasterio.open(path) as source:
        target = np.full((source.count, grid.height, grid.width), outside, source.dtypes[0])
        reproject(
            rasterio.band(source, source.indexes),
            target,
            dst_transform=grid.transform,
            dst_crs=grid.crs,
            resampling=Resampling.nearest,
            tolerance=0,
            init_dest_nodata=False,
        )
    return target


def read(files, bands, reading=None, window=None):
    with open_stack(files, bands, reading) as stack:
        return *stack.read(window), stack.grid


@pytest.fixture
def write_band(write_tif):
    def write(name, grid, seed=0, dtype=np.uint16, **tags):
        return write_tif(name, noise(grid, dtype=dtype, seed=seed), grid, **tags)

    return write


def test_files_of_10_20_and_60_m_become_one_stack_on_the_grid_of_10_m(write_band):
    files = []
    for seed, (band, gsd_m) in enumerate((("B01", 60), ("B02", 10), ("B11", 20))):
        path = write_band(f"{band}.tif", grid_of(gsd_m), seed)
        files.append(ImageFile.parse(f"{band}={path}"))
    bands = ("B11", "B01", "B02")
    values, valid, grid = read(files, bands, ImageReading(scale=1e-4))
    assert grid.matches(grid_of(10))
    assert valid.all()
    assert values.dtype == np.float32
    for layer, band in zip(values, bands, strict=True):
        path = next(file.path for file in files if file.bands == (band,))
        with rasterio.open(path) as source:
            stored = source.read(1)
        repeats = 96 // stored.shape[0]
        expected = np.kron(stored, np.ones((repeats, repeats)))
        assert layer == pytest.approx(expected * 1e-4, abs=1e-7)
    # A window is the same as that part of everything.
    window = Window(13, 50, 41, 30)
    part, part_valid, _ = read(files, bands, ImageReading(scale=1e-4), window)
    rows, columns = window.toslices()
    assert np.array_equal(part, values[:, rows, columns])
    assert part_valid.shape == (30, 41)


@pytest.mark.parametrize("nodata", [None, 0, 9])
def test_another_projection_and_footprint_as_gdal_warps_it(write_band, nodata):
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", *grid_of(10).bounds)
    degrees = Grid(
        120,
        110,
        from_bounds(west + 2e-3, south - 1e-3, east + 1e-3, north - 1e-3, 110, 120),
        CRS.from_epsg(4326),
    )
    optical = write_band("B02.tif", grid_of(10), 1, descriptions=["B02"])
    radar = write_band("vv.tif", degrees, 2, np.float32, nodata=nodata)
    files = [ImageFile(optical), ImageFile(radar, ("VV",))]
    reading = ImageReading(scale=1e-4, radar_scale=1e-4, radar_unit="amplitude")
    values, valid, grid = read(files, ("VV", "B02"), reading)
    assert grid.matches(grid_of(10))
    expected = nearest(radar, grid, outside=-1)[0]
    inside = (expected >= 0) & (expected != (-1 if nodata is None else nodata))
    assert 0.3 < inside.mean() < 0.95
    assert np.array_equal(valid, inside)
    difference = np.abs(values[0, inside] - 20 * np.log10(1e-4 * expected[inside]))
    assert (difference > 1e-4).sum() <= 3  # where two pixels are equally near


def test_default_grid_is_the_finest_optical_one_of_about_10_m_or_one_of_10_m():
    def chosen(*optical, radar=(), gsd_m=None):
        candidates = [grid_of(side) for side in optical or radar]
        every = {str(side): grid_of(side) for side in (*optical, *radar)}
        return common_grid(candidates, every, gsd_m)

    assert chosen(60, 10, 20).matches(grid_of(10))
    assert chosen(12, 24, radar=(3,)).matches(grid_of(12))
    assert chosen(20, 60, radar=(3,)).matches(grid_of(10))
    assert chosen(5, 20).matches(grid_of(10))
    assert chosen(radar=(3, 40)).matches(grid_of(10))
    assert chosen(20, 20).matches(grid_of(20))  # one grid is kept
    assert chosen(20, gsd_m=10).matches(grid_of(10))
    assert chosen(10, gsd_m=10).matches(grid_of(10))
    odd = chosen(15, 20)
    assert odd.matches(grid_of(10))
    assert (
        chosen(10, 20, gsd_m=7).bounds[2]
        >= grid_of(10).bounds[2]
        > chosen(10, gsd_m=7).bounds[2] - 7
    )


def test_default_grid_of_degrees_has_pixels_of_10_m():
    coarse = Grid(100, 120, Affine(2e-4, 0, 82.5, 0, -1.8e-4, 22.3), CRS.from_epsg(4326))
    fine = Grid(700, 700, Affine(3e-5, 0, 82.5, 0, -3e-5, 22.3), CRS.from_epsg(4326))
    grid = common_grid([coarse], {"a": coarse, "b": fine})
    assert grid.crs == coarse.crs
    assert grid.pixel_size_m == pytest.approx((10, 10), rel=1e-3)
    assert grid.bounds == pytest.approx(coarse.bounds, abs=1e-4)


def test_radar_becomes_decibels_by_the_units_that_the_user_states(write_band):
    optical = write_band("B02.tif", grid_of(10), descriptions=["B02"])
    vv, vh = (write_band(f"{name}.tif", grid_of(5), seed) for seed, name in enumerate(("vv", "vh")))
    files = [ImageFile(optical), ImageFile(vv, ("VV",)), ImageFile(vh, ("VH",))]
    power_vv, power_vh = (nearest(path, grid_of(10))[0] / 65535 for path in (vv, vh))
    reading = ImageReading(scale=1e-4, radar_unit="power", radar_scale=1 / 65535)
    (found_vv, ratio, _), valid, _ = read(files, ("VV", RATIO, "B02"), reading)
    assert valid.all()
    assert found_vv == pytest.approx(10 * np.log10(power_vv), abs=1e-4)
    assert ratio == pytest.approx(10 * np.log10(power_vv / (10 * power_vh)), abs=1e-4)
    with pytest.raises(MinsegError, match=r"whole numbers.*--radar-scale"):
        read(files, ("VV", RATIO), ImageReading(scale=1e-4, radar_unit="power"))
    values, _, _ = read(files, ("B02",), ImageReading(scale=1e-4))  # radar is not asked for
    assert values.shape == (1, 96, 96)


def test_radar_ratio_of_a_file_in_decibels_is_taken(write_tif):
    decibels = np.stack([np.full((8, 8), value, np.float32) for value in (-12, -18, 77)])
    path = write_tif("s1.tif", decibels, descriptions=["VV", "VH", RATIO])
    assert read([ImageFile(path)], (RATIO,))[0].mean() == 77
    powers = write_tif("s1_power.tif", 10 ** (decibels / 10), descriptions=["VV", "VH", RATIO])
    values, _, _ = read([ImageFile(powers)], (RATIO,), ImageReading(radar_unit="power"))
    assert values == pytest.approx(-12 + 18 - 10, abs=1e-4)


def test_zeros_without_a_tag_are_missing_if_the_user_says_so(write_tif):
    optical, power = noise(grid_of(10)), noise(grid_of(5), seed=1)
    optical[0, :7], power[0, :, 100:] = 0, 0
    files = [
        ImageFile(write_tif("B02.tif", optical, grid_of(10)), ("B02",)),
        ImageFile(write_tif("vv.tif", power, grid_of(5)), ("VV",)),
    ]
    reading = ImageReading(scale=1e-4, radar_unit="power", radar_scale=1e-4, nodata=0)
    _, valid, _ = read(files, ("B02", "VV"), reading)
    expected = np.ones((96, 96), bool)
    expected[:7] = expected[:, 50:] = False
    assert np.array_equal(valid, expected)


def test_image_arguments_are_paths_or_bands_and_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ImageFile.parse("a/b.tif") == ImageFile(Path("a/b.tif"))
    parsed = ImageFile.parse("vv, vh=s1=new.tif")
    assert (str(parsed.path), parsed.bands) == ("s1=new.tif", ("VV", "VH"))
    assert ImageFile.parse("B2=x.tif").bands == ("B02",)
    (tmp_path / "odd=name.tif").touch()
    assert ImageFile.parse("odd=name.tif").bands is None
    with pytest.raises(MinsegError, match=r"bands 'missing': use .* or names"):
        ImageFile.parse("missing=name.tif")


FAR = grid_of(10, left=700_000.0)
TURNED = Grid(96, 96, grid_of(10).transform @ Affine.rotation(5), UTM)
REFUSED = {
    "elsewhere": ({"B08": FAR}, "B08.tif: lies outside of the other files"),
    "rotated": ({"B08": TURNED}, "B08.tif: its grid is rotated.*gdalwarp"),
    "nowhere": ({"B08": Grid(96, 96, TURNED.transform, None)}, "B08.tif: has no coordinate"),
    "a site's own system": (
        {
            "B08": Grid(
                96, 96, grid_of(10).transform, CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
            )
        },
        "B08.tif: its coordinates lie nowhere on the earth",
    ),
    "degrees said, metres meant": (
        {"B08": Grid(96, 96, grid_of(10).transform, CRS.from_epsg(4326))},
        "B08.tif: its coordinates lie nowhere on the earth",
    ),
    "missing": ({"B04": grid_of(10)}, "needs band B08 and the image has B02, B04"),
    "twice": ({"B08": grid_of(10), "b8": grid_of(20)}, "band B08 is in two files"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_do_not_go_together_are_refused_in_one_line(write_band, case):
    others, message = REFUSED[case]
    grids = {"B02": grid_of(10)} | others
    files = [
        ImageFile(write_band(f"{name}.tif", grid, descriptions=[name]))
        for name, grid in grids.items()
    ]
    with pytest.raises(MinsegError, match=message) as caught:
        read(files, ("B02", "B08"), ImageReading(scale=1e-4))
    assert "\n" not in str(caught.value)


def test_each_file_must_hold_reflectance(write_band):
    files = [
        ImageFile(write_band("B02.tif", grid_of(10), descriptions=["B02"], scales=(1e-4,))),
        ImageFile(write_band("B08.tif", grid_of(20), dtype=np.float32, descriptions=["B08"])),
    ]
    with pytest.raises(MinsegError, match=r"B08.tif: the 90th percentile.*--scale"):
        read(files, ("B02", "B08"))


def test_bands_of_several_files_are_not_said_by_one_list(write_band):
    path = write_band("a.tif", grid_of(10))
    with pytest.raises(MinsegError, match=r"before each path, e\.g\. B02,B08="):
        read([ImageFile(path)] * 2, ("B02",), ImageReading(bands=("B02", "B08")))


def test_korba_becomes_one_stack_of_10_m(shared_data):
    folder = shared_data / "korba_s1s2"
    paths = {name: folder / f"s2_{name}.tif" for name in ("B02", "B03", "B04", "B08", "B11")}
    paths |= {name: folder / f"s1_{name}.tif" for name in ("VV", "VH")}
    files = [ImageFile(path, (name,)) for name, path in paths.items()]
    bands = (*paths, RATIO)
    reading = ImageReading(scale=1 / 65535, radar_unit="power", radar_scale=1 / 65535, nodata=0)
    values, valid, grid = read(files, bands, reading)
    assert grid.pixel_size_m == pytest.approx((10, 10), rel=1e-4)
    assert grid.crs == CRS.from_epsg(4326)
    assert 0.8 < valid.mean() < 0.85
    numbers = {name: nearest(path, grid)[0] for name, path in paths.items()}
    assert np.array_equal(valid, np.all([layer > 0 for layer in numbers.values()], axis=0))
    for layer, name in zip(values, paths, strict=False):
        linear = numbers[name][valid] / 65535
        expected = linear if name.startswith("B") else 10 * np.log10(linear)
        assert layer[valid] == pytest.approx(expected, abs=2e-5)


def test_sentinel_scene_with_b10_and_radar_in_decibels_is_one_stack(shared_data):
    folder = shared_data / "s1s2_512"
    optical, radar = folder / "s2_l1c_13band.tif", folder / "s1_vv_vh_db.tif"
    bands = ("B04", "B12", "VH", RATIO)
    values, valid, grid = read(
        [ImageFile(radar), ImageFile(optical)], bands, ImageReading(scale=1e-4)
    )
    assert grid.matches(read_grid(optical))
    with rasterio.open(optical) as source:
        names = list(source.descriptions)
        red, infrared = source.read([names.index("B4") + 1, names.index("B12") + 1])
    with rasterio.open(radar) as source:
        vv, vh = source.read()
    expected = np.stack([red * 1e-4, infrared * 1e-4, vh, vv - vh - 10])
    assert values[:, valid] == pytest.approx(expected[:, valid], abs=1e-5)
    assert valid.mean() > 0.9


@pytest.mark.parametrize("west", [179.97, -180.03])
@pytest.mark.parametrize("epsg", [32760, 32701, None])
def test_files_over_the_180th_meridian_become_one_stack_without_gaps(write_band, west, epsg):
    # Of the second, longitudes are counted otherwise.
    fine = metres(180, epsg, side=480) if epsg else degrees(-west - 0.055, side_deg=9e-5)
    files = [
        ImageFile(write_band("B02.tif", fine, 1, descriptions=["B02"])),
        ImageFile(write_band("B08.tif", degrees(west), 2, descriptions=["B08"])),
    ]
    with rasterio.open(files[1].path) as source:
        stored = source.read(1)
    reading = ImageReading(scale=1e-4)
    with open_stack(files, ("B08", "B02"), reading) as stack:
        values, valid = stack.read()
        grid = stack.grid
    assert grid.matches(fine)
    assert valid.all()
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    place = grid.transform
    xs, ys = place.a * columns + place.c, place.e * rows + place.f
    x, y = transform(grid.crs, CRS.from_epsg(4326), xs.ravel(), ys.ravel())
    across = (np.mod(np.array(x) - west, 360) / 1e-4).astype(int)
    down = ((-17.0 - np.array(y)) / 1e-4).astype(int)
    expected = stored[down, across].reshape(valid.shape) * 1e-4
    assert (np.abs(values[0] - expected) > 1e-6).mean() < 1e-3  # two pixels equally near


@pytest.mark.parametrize("gsd_m", [5e-324, 1e-9, 4e-3, 1e4, 1e300])
def test_pixels_that_make_no_sensible_image_are_refused(write_band, gsd_m):
    path = write_band("B02.tif", grid_of(10), descriptions=["B02"])
    with pytest.raises(MinsegError, match=r"pixels of .* m would make .*--gsd-m.* 10 m") as caught:
        read([ImageFile(path)], ("B02",), ImageReading(scale=1e-4, gsd_m=gsd_m))
    assert "\n" not in str(caught.value)


def test_an_alpha_band_hides_pixels_on_another_grid_too(write_band, write_tif):
    fine, coarse = grid_of(10), grid_of(20)
    numbers = noise(coarse, bands=2)
    numbers[1] = 65535
    numbers[1, :, :10] = 0  # what the alpha band hides
    path = write_tif("nir.tif", numbers, coarse)
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        target.descriptions = ("B08", None)
    files = [ImageFile(write_band("blue.tif", fine), ("B02",)), ImageFile(path)]
    values, valid, grid = read(files, ("B02", "B08"), ImageReading(scale=1e-4))
    assert grid.matches(fine)
    assert not valid[:, :20].any() and valid[:, 20:].all()
    assert np.allclose(values[1, :, 20:], nearest(path, fine)[0, :, 20:] * 1e-4)


@pytest.mark.parametrize("bands", [("B04", "B02"), (RATIO,), ("VV",)])
def test_some_channels_of_a_large_image_are_thinned_alike(write_tif, bands):
    fine, coarse = noise(grid_of(10), 2), noise(grid_of(20), 1)
    fine[:, :9] = 0
    radar = np.random.default_rng(0).uniform(-20, -5, (2, 96, 96)).astype(np.float32)
    radar[:, :, :30] = np.nan
    files = [
        ImageFile(write_tif("a.tif", fine, grid_of(10), 0, ["B02", "B03"], (1e-4, 1e-4))),
        ImageFile(write_tif("b.tif", coarse, grid_of(20), 0, ["B04"], (1e-4,))),
        ImageFile(write_tif("c.tif", radar, grid_of(10), np.nan, ["VV", "VH"])),
    ]
    every = ("VV", RATIO, "B04", "B02", "B03")
    with open_stack(files, every) as image:
        whole, _ = image.read()
        thin = image.grid.thinned(32)
        values, valid = image.only(bands).read(shape=(thin.height, thin.width))
    expected = whole[[every.index(band) for band in bands], 1::3, 1::3]
    rows, columns = np.arange(1, 96, 3)[:, None], np.arange(1, 96, 3)
    missing = (rows < 9) & (columns >= 0) if "B02" in bands else (rows >= 0) & (columns < 30)
    assert np.array_equal(valid, ~missing)
    assert np.array_equal(values[:, valid], expected[:, valid])


@pytest.mark.parametrize("bands", [None, ("VV", "VH"), ("VV", "-"), ("-", "VH")])
def test_radar_of_other_polarisations_is_none_however_it_is_listed(write_tif, bands):
    decibels = np.full((2, 8, 8), -11, np.float32)
    files = [ImageFile(write_tif("s1.tif", decibels, descriptions=["HH", "HV"]), bands)]
    with pytest.raises(MinsegError, match=r"holds HH, HV|band [12] is called H[HV] and listed as"):
        read(files, ("VV",))


@pytest.mark.parametrize(
    ("bands", "unit", "name", "said"),
    [
        (["Sigma0_VH_db", "Sigma0_VV_db"], "db", "s1.tif", None),
        (None, "db", "s1.tif", "VH would be 6.0 dB brighter than VV"),
        (None, "db", "s1_vh_vv.tif", "it holds VH, VV, where VV, VH are needed"),
        (["HV", "HH"], "db", "s1.tif", "it holds HV, HH, where VV, VH are needed"),
    ],
)
def test_radar_is_read_as_import_reads_it(write_tif, bands, unit, name, said):
    decibels = np.stack([np.full((8, 8), value, np.float32) for value in (-17, -11)])
    files = [ImageFile(write_tif(name, decibels, descriptions=bands), ("VV", "VH"))]
    if said is None:
        values, _, _ = read(files, ("VV", "VH"), ImageReading(radar_unit=unit))
        assert values[:, 0, 0].tolist() == [-11, -17]
    else:
        with pytest.raises(MinsegError, match=said) as error:
            read(files, ("VV", "VH"), ImageReading(radar_unit=unit))
        assert "\n" not in str(error.value)
