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
from minseg.data.raster import Grid
from minseg.data.stack import ImageFile, common_grid, open_stack, require_overlap
from tests.data.test_raster import with_nodata

WGS84, UTM = CRS.from_epsg(4326), CRS.from_epsg(32633)
RATIO = "VV/(10·VH)"


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
        for far in (metres(179), degrees(west + 0.07)):
            with pytest.raises(MinsegError, match="far: lies outside of the other files"):
                require_overlap({"across": across, "far": far}, grid)


def test_longitudes_from_0_to_360_are_those_from_180_west():
    here, counted_on = degrees(-120, north=50), degrees(240, north=50)
    require_overlap({"a": counted_on, "b": here}, here)
    for west in (-180, 0):
        world = Grid(180, 360, Affine(1, 0, west, 0, -1, 90), WGS84)
        for grid in (degrees(15.0), degrees(179.97), degrees(-60.0)):
            require_overlap({"world": world, "mine": grid}, grid)


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
    """Write a file of one band, which has its name."""

    def write(band, grid, seed=0, dtype=np.uint16, nodata=None):
        values = noise(grid, dtype=dtype, seed=seed)
        return ImageFile(write_tif(f"{band}.tif", values, grid, nodata, [band]))

    return write


def test_files_of_10_20_and_60_m_become_one_stack_on_the_grid_of_10_m(write_band):
    files = []
    for seed, (band, gsd_m) in enumerate((("B01", 60), ("B02", 10), ("B11", 20))):
        path = write_band(band, grid_of(gsd_m), seed).path
        files.append(ImageFile.parse(f"{band}={path}"))
    bands, reading = ("B11", "B01", "B02"), ImageReading(scale=1e-4)
    values, valid, grid = read(files, bands, reading)
    assert grid.matches(grid_of(10))
    assert valid.all()
    assert values.dtype == np.float32
    for layer, band in zip(values, bands, strict=True):
        path = next(file.path for file in files if file.bands == (band,))
        assert layer == pytest.approx(nearest(path, grid)[0] * 1e-4, abs=1e-7)
    # A window is the same as that part of everything.
    window = Window(13, 50, 41, 30)
    part, part_valid, _ = read(files, bands, reading, window)
    rows, columns = window.toslices()
    assert np.array_equal(part, values[:, rows, columns])
    assert part_valid.shape == (30, 41)


@pytest.mark.parametrize("nodata", [None, 0, 9])
def test_another_projection_and_footprint_as_gdal_warps_it(write_band, nodata):
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", *grid_of(10).bounds)
    place = from_bounds(west + 2e-3, south - 1e-3, east + 1e-3, north - 1e-3, 110, 120)
    radar = write_band("VV", Grid(120, 110, place, WGS84), 2, np.float32, nodata)
    reading = ImageReading(scale=1e-4, radar_scale=1e-4, radar_unit="amplitude")
    values, valid, grid = read([write_band("B02", grid_of(10), 1), radar], ("VV", "B02"), reading)
    assert grid.matches(grid_of(10))
    expected = nearest(radar.path, grid, outside=-1)[0]
    inside = (expected >= 0) & (expected != (-1 if nodata is None else nodata))
    assert 0.3 < inside.mean() < 0.95
    assert np.array_equal(valid, inside)
    difference = np.abs(values[0, inside] - 20 * np.log10(1e-4 * expected[inside]))
    assert (difference > 1e-4).sum() <= 3  # where two pixels are equally near


def test_bands_of_a_file_keep_their_own_nodata_on_another_grid(write_band, write_tif):
    numbers = noise(grid_of(20), bands=2)
    numbers[:, 0], numbers[:, 1] = 7, 9
    path = with_nodata(write_tif("two.tif", numbers, grid_of(20), None, ["B03", "B04"]), 2, 9)
    files = [write_band("B02", grid_of(10)), ImageFile(path)]
    values, valid, _ = read(files, ("B02", "B03", "B04"), ImageReading(scale=1e-4))
    assert not valid[2:4].any()
    assert valid[:2].all() and valid[4:].all()
    assert values[1:, :, ::2][:, ::2][:, 2:] == pytest.approx(numbers[:, 2:] * 1e-4)


@pytest.mark.parametrize(
    ("optical", "radar", "gsd_m", "side_m"),
    [
        ((60, 10, 20), (), None, 10),
        ((12, 24), (3,), None, 12),
        ((20, 60), (3,), None, 10),
        ((5, 20), (), None, 10),
        ((), (3, 40), None, 10),
        ((20, 20), (), None, 20),  # one grid is kept
        ((20,), (), 10, 10),
        ((10,), (), 10, 10),
    ],
)
def test_default_grid_is_the_finest_optical_one_of_about_10_m_or_one_of_10_m(
    optical, radar, gsd_m, side_m
):
    every = {str(side): grid_of(side) for side in (*optical, *radar)}
    candidates = [grid_of(side) for side in optical or radar]
    assert common_grid(candidates, every, gsd_m).matches(grid_of(side_m))


def test_grid_of_degrees_has_pixels_of_10_m_and_another_one_covers_all_ground():
    coarse = Grid(100, 120, Affine(2e-4, 0, 82.5, 0, -1.8e-4, 22.3), WGS84)
    fine = Grid(700, 700, Affine(3e-5, 0, 82.5, 0, -3e-5, 22.3), WGS84)
    grid = common_grid([coarse], {"a": coarse, "b": fine})
    assert grid.crs == coarse.crs
    assert grid.pixel_size_m == pytest.approx((10, 10), rel=1e-3)
    assert grid.bounds == pytest.approx(coarse.bounds, abs=1e-4)
    odd = common_grid([grid_of(10)], {"10": grid_of(10)}, 7)
    assert odd.bounds[2] - 7 < grid_of(10).bounds[2] <= odd.bounds[2]


def decibels(*values):
    return np.stack([np.full((8, 8), value, np.float32) for value in values])


def test_radar_ratio_of_a_file_in_decibels_is_taken(write_tif):
    given = decibels(-12, -18, 77)
    path = write_tif("s1.tif", given, descriptions=["VV", "VH", RATIO])
    assert read([ImageFile(path)], (RATIO,))[0].mean() == 77
    powers = write_tif("s1_power.tif", 10 ** (given / 10), descriptions=["VV", "VH", RATIO])
    values, _, _ = read([ImageFile(powers)], (RATIO,), ImageReading(radar_unit="power"))
    assert values == pytest.approx(-12 + 18 - 10, abs=1e-4)


def test_image_arguments_are_paths_or_bands_and_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ImageFile.parse("a/b.tif") == ImageFile(Path("a/b.tif"))
    assert ImageFile.parse("vv, vh=s1=new.tif") == ImageFile(Path("s1=new.tif"), ("VV", "VH"))
    (tmp_path / "odd=name.tif").touch()
    assert ImageFile.parse("odd=name.tif").bands is None
    with pytest.raises(MinsegError, match=r"bands 'missing': use .* or names"):
        ImageFile.parse("missing=name.tif")


TURNED = Grid(96, 96, grid_of(10).transform @ Affine.rotation(5), UTM)
REFUSED = {
    "elsewhere": ({"B08": grid_of(10, left=7e5)}, {}, "B08.tif: lies outside of the other files"),
    "rotated": ({"B08": TURNED}, {}, "B08.tif: its grid is rotated.*gdalwarp"),
    "nowhere": ({"B08": grid_of(10, crs=None)}, {}, "B08.tif: has no coordinate"),
    "metres": ({"B08": grid_of(10, crs=WGS84)}, {}, "B08.tif: its coordinates lie nowhere"),
    "missing": ({"B04": grid_of(10)}, {}, "needs band B08 and the image has B02, B04"),
    "twice": ({"B08": grid_of(10), "b8": grid_of(20)}, {}, "B08 is in two files.*gdalbuildvrt"),
    "no reflectance": ({"B08": grid_of(10)}, {"scale": 1.0}, "B02.tif: the 90th perc.*--scale"),
    "one list": ({"B08": grid_of(10)}, {"bands": ("B02", "B08")}, r"each path, e\.g\. B02,B08="),
    **{
        f"{side:g} m": ({"B08": grid_of(10)}, {"gsd_m": side}, "pixels of .*--gsd-m.* 10 m")
        for side in (5e-324, 1e-9, 4e-3, 1e4, 1e300)
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_do_not_go_together_are_refused_in_one_line(write_band, case):
    others, reading, message = REFUSED[case]
    files = [write_band(*pair) for pair in ({"B02": grid_of(10)} | others).items()]
    with pytest.raises(MinsegError, match=message):
        read(files, ("B02", "B08"), ImageReading(**{"scale": 1e-4} | reading))


def test_korba_becomes_one_stack_of_10_m(shared_data):
    folder = shared_data / "korba_s1s2"
    paths = {name: folder / f"s2_{name}.tif" for name in ("B02", "B03", "B04", "B08", "B11")}
    paths |= {name: folder / f"s1_{name}.tif" for name in ("VV", "VH")}
    files = [ImageFile(path, (name,)) for name, path in paths.items()]
    reading = ImageReading(scale=1 / 65535, radar_unit="power", radar_scale=1 / 65535, nodata=0)
    values, valid, grid = read(files, (*paths, RATIO), reading)
    assert grid.pixel_size_m == pytest.approx((10, 10), rel=1e-4)
    assert grid.crs == WGS84
    assert 0.8 < valid.mean() < 0.85
    numbers = {name: nearest(path, grid)[0] for name, path in paths.items()}
    assert np.array_equal(valid, np.all([layer > 0 for layer in numbers.values()], axis=0))
    for layer, name in zip(values, paths, strict=False):
        linear = numbers[name][valid] / 65535
        expected = linear if name.startswith("B") else 10 * np.log10(linear)
        assert layer[valid] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("west", [179.97, -180.03])
@pytest.mark.parametrize("epsg", [32760, 32701, None])
def test_files_over_the_180th_meridian_become_one_stack_without_gaps(write_band, west, epsg):
    # Of the second, longitudes are counted otherwise.
    fine = metres(180, epsg, side=480) if epsg else degrees(-west - 0.055, side_deg=9e-5)
    files = [write_band("B02", fine, 1), write_band("B08", degrees(west), 2)]
    with rasterio.open(files[1].path) as source:
        stored = source.read(1)
    values, valid, grid = read(files, ("B08", "B02"), ImageReading(scale=1e-4))
    assert grid.matches(fine)
    assert valid.all()
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    xs, ys = grid.transform @ (columns.ravel(), rows.ravel())
    x, y = transform(grid.crs, WGS84, xs, ys)
    across = (np.mod(np.array(x) - west, 360) / 1e-4).astype(int)
    down = ((-17.0 - np.array(y)) / 1e-4).astype(int)
    expected = stored[down, across].reshape(valid.shape) * 1e-4
    assert (np.abs(values[0] - expected) > 1e-6).mean() < 1e-3  # two pixels equally near


def test_an_alpha_band_hides_pixels_on_another_grid_too(write_band, write_tif):
    fine, coarse = grid_of(10), grid_of(20)
    numbers = noise(coarse, bands=2)
    numbers[1] = 65535
    numbers[1, :, :10] = 0  # what the alpha band hides
    path = write_tif("nir.tif", numbers, coarse)
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        target.descriptions = ("B08", None)
    files = [write_band("B02", fine), ImageFile(path)]
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


OTHER = r"holds HH, HV|band [12] is called H[HV] and listed as"
SWAPPED = "VH would be 6.0 dB brighter than VV, as on no ground; are they swapped?"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"s1.tif": (("VV", "VH"), ["Sigma0_VH_db", "Sigma0_VV_db"])}, None),
        ({"s1.tif": (("VV", "VH"), None)}, SWAPPED),
        ({"s1_vh_vv.tif": (("VV", "VH"), None)}, "it holds VH, VV, where VV, VH are needed"),
        ({"s1.tif": (("VV", "VH"), ["HV", "HH"])}, "it holds HV, HH, where VV, VH are needed"),
        *(({"s1.tif": (bands, ["HH", "HV"])}, OTHER)
          for bands in (None, ("VV", "VH"), ("VV", "-"), ("-", "VH"))),
        # Of two files, the first is the darker.
        ({"a.tif": (("VH",), None), "b.tif": (("VV",), None)}, None),
        ({"a.tif": (None, ["VH"]), "b.tif": (None, ["VV"])}, None),
        ({"a.tif": (("VV",), None), "b.tif": (("VH",), None)}, "a.tif and .*b.tif: " + SWAPPED),
        ({"a.tif": (None, ["VV"]), "b.tif": (None, ["VH"])}, "a.tif and .*b.tif: " + SWAPPED),
        ({"a.tif": (("VV",), ["VH"]), "b.tif": (("VH",), ["VV"])}, "a.tif: has no band VV"),
        ({"a.tif": (("VV",), ["Sigma0_VH"]), "b.tif": (("VH",), None)}, "a.tif: has no band VV"),
        ({"s1_vh.tif": (("VV",), None), "s1_vv.tif": (("VH",), None)},
         "s1_vh.tif: by its names it holds VH, where VV are needed"),
    ],
)  # fmt: skip
def test_radar_is_read_by_its_names_or_refused_in_one_line(write_tif, files, said):
    given, layers = [], iter(decibels(-17, -11)[:, None])
    for name, (bands, names) in files.items():
        values = next(layers) if len(files) > 1 else decibels(-17, -11)
        given.append(ImageFile(write_tif(name, values, descriptions=names), bands))
    if said is None:
        values, _, _ = read(given, ("VV", "VH"))
        assert values[:, 0, 0].tolist() == [-11, -17]
    else:
        with pytest.raises(MinsegError, match=said.replace("?", r"\?")):
            read(given, ("VV", "VH"))


def test_a_virtual_raster_of_radar_files_has_their_names(write_tif):
    given = {"vh": -12, "vv": -11, "more_vv": -11}
    first, *_ = (write_tif(f"{name}.tif", decibels(db)) for name, db in given.items())
    stack, mosaic = first.with_name("stack.vrt"), first.with_name("mosaic.vrt")
    rasterio.shutil.copy(first, stack, driver="VRT")
    text = stack.read_text()
    start, source, end = (text.index(tag) for tag in ("<VRTRasterB", "<SimpleS", "</VRTRasterB"))
    parts = [text[source:end].replace("vh.tif", f"{name}.tif") for name in ("vv", "more_vv")]
    mosaic.write_text(text[:source] + "".join(parts) + text[end:])
    assert read([ImageFile(mosaic, ("VV",))], ("VV",))[0].mean() == -11
    second = text[start:].replace('band="1"', 'band="2"').replace("vh.tif", "vv.tif")
    stack.write_text(text.replace("</VRTDataset>", second))
    assert read([ImageFile(stack, ("VH", "VV"))], ("VV", "VH"))[0][:, 0, 0].tolist() == [-11, -12]
    for path, bands, held in ((stack, ("VV", "VH"), "VH, VV"), (mosaic, ("VH",), "VV")):
        with pytest.raises(MinsegError, match=rf"by its names it holds {held}, where"):
            read([ImageFile(path, bands)], bands)
