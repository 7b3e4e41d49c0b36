import re

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from minseg import MinsegError
from minseg.data.images import Image, ImageReading, band_indexes
from minseg.data.raster import open_raster
from tests.conftest import follow_advice

NUMBERS = np.stack([np.full((8, 8), value, np.uint16) for value in (1000, 2000, 3000)])
NAMES = ["B02", "B03", "B04"]


def image_of(source, bands=None, **reading):
    return Image.of(source, band_indexes(source, bands), ImageReading(**reading))


@pytest.fixture
def indexes_of(write_tif):
    def find(names, wanted=None, numbers=NUMBERS, file="a.tif", **reading):
        with open_raster(write_tif(file, numbers, descriptions=names)) as source:
            return image_of(source, wanted, **{"scale": 1e-4} | reading).indexes

    return find


BAND = "T33TWM_20230813T100031_B04_10m.tif"


@pytest.mark.parametrize(
    ("names", "how", "found"),
    [
        (["B4", "B10", "b02"], {}, {"B02": 3, "B04": 1}),
        (None, {"wanted": tuple(NAMES)}, {"B02": 1, "B03": 2, "B04": 3}),
        (["B2", "B02_median", "B04"], {"wanted": ("B04",)}, {"B04": 3}),
        (["B2", "B02_median", "B04"], {"wanted": ("-", "B02", "B04")}, {"B02": 2, "B04": 3}),
        (None, {"wanted": ("B02", "-", "B04")}, {"B02": 1, "B04": 3}),
        (None, {"file": BAND, "numbers": NUMBERS[:1]}, {"B04": 1}),
        # the user knows better than the file's name
        (None, {"file": BAND, "numbers": NUMBERS[:1], "wanted": ("B08",)}, {"B08": 1}),
    ],
)
def test_bands_are_found_by_name_or_by_position(indexes_of, names, how, found):
    assert indexes_of(names, **how) == found


@pytest.mark.parametrize(
    ("names", "how", "message"),
    [
        (None, {}, "carry no names"),
        (None, {"wanted": ("B02", "B03")}, "carry no names"),
        (None, {"wanted": ("-", "B04")}, "has 3 bands, but 2 are listed"),
        (["B2", "B02_median", "B04"], {}, r"called B02.*--bands -,B02,B04$"),
        (NAMES, {"scale": None, "numbers": (NUMBERS // 20).astype(np.uint8)},
         r"B02 has 8-bit numbers without a scale.*original image"),
        (["B02", "VV", "B04"], {}, r"whole numbers.*--radar-scale"),
        (["VV"], {"numbers": np.ones((1, 8, 8), np.complex64)}, "complex"),
        (None, {"numbers": NUMBERS[:1], "file": "B04.tif", "scale": None},
         r"--scale 1e-4 \(with --offset -0\.1 .*04\.00"),
    ],
)  # fmt: skip
def test_images_whose_bands_or_numbers_are_not_told_are_refused(indexes_of, names, how, message):
    with pytest.raises(MinsegError, match=message):
        indexes_of(names, **how)


@pytest.mark.parametrize(
    "wrong", [{"radar_unit": "dbm"}, {"scale": 0}, {"radar_scale": -1}, {"gsd_m": float("nan")}]
)
def test_readings_that_cannot_be_are_refused(wrong):
    with pytest.raises(MinsegError, match=next(iter(wrong)).replace("_unit", " unit")):
        ImageReading(**wrong)


def test_each_band_has_its_own_scale_and_offset(write_tif):
    bands = ("B02", "B03", "VV", "VH")
    path = write_tif(
        "a.tif", np.full((4, 4, 4), 1000, np.int16), None, None, bands, (1e-4, 2e-4, 0.01, 0.02)
    )
    with rasterio.open(path, "r+") as target:
        target.offsets = (-0.05, 0.1, -20.0, -30.0)
    with open_raster(path) as source:
        values, _ = image_of(source).read(bands)
        optical, _ = image_of(source, scale=1e-3, offset=0.0).read(bands)
        radar, _ = image_of(source, radar_scale=0.001).read(bands)
    assert values[:, 0, 0] == pytest.approx([0.05, 0.3, -10, -10])
    assert optical[:, 0, 0] == pytest.approx([1, 1, -10, -10])
    assert radar[:, 0, 0] == pytest.approx([0.05, 0.3, -19, -29])
    with rasterio.open(path, "r+") as target:
        target.scales = (1e-4, 1, 0.01, 0.02)
    with open_raster(path) as source, pytest.raises(MinsegError, match="B03 has whole numbers"):
        image_of(source)


def test_alpha_hides_pixels_and_is_no_channel(write_tif):
    path = write_tif("a.tif", np.full((4, 8, 8), 1000, np.uint16), scales=(1e-4,) * 4)
    opacity = np.full((8, 8), 65535, np.uint16)
    opacity[:, :3] = 0
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [*target.colorinterp[:-1], ColorInterp.alpha]
        target.write(opacity, target.count)
    with open_raster(path) as source:
        image = image_of(source, ("B02", "B03", "B04"))
        assert image.indexes == {"B02": 1, "B03": 2, "B04": 3}
        values, valid = image.read(("B02", "B03", "B04"))
        with pytest.raises(MinsegError, match=r"its 3 bands.*band 4 is marked as alpha"):
            image_of(source, ("B02", "B03", "B04", "B08"))
    assert np.array_equal(valid, opacity > 0)
    assert values == pytest.approx(0.1)


def test_alpha_with_a_name_is_no_channel_until_its_mark_is_taken_away(write_tif):
    names = ["B02", "B03", "B04", "B08"]
    path = write_tif("a.tif", np.full((4, 8, 8), 9, np.uint8), descriptions=names)
    with open_raster(path) as source:
        assert source.colorinterp[3] == ColorInterp.alpha  # GDAL's guess at four bands of 8 bits
        with pytest.raises(MinsegError) as caught:
            image_of(source, names, scale=0.01)
    follow_advice(str(caught.value))
    with open_raster(path) as source:
        values, valid = image_of(source, names, scale=0.01).read(["B08"])
    assert values == pytest.approx(0.09)
    assert valid.all()


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        *((np.float32, fill) for fill in (-9999, -3.4028235e38, 1e20, np.nan, -np.inf, -1)),
        *((np.float64, 1e300), (np.int16, -9999), (np.int16, -32768), (np.uint16, 65535)),
    ],
)
@pytest.mark.parametrize("rows", [1, 6])
def test_numbers_that_are_no_reflectance_are_missing_pixels(write_tif, capsys, dtype, fill, rows):
    whole = np.dtype(dtype).kind in "ui"
    numbers = np.full((2, 8, 8), 2000 if whole else 0.2, dtype)
    numbers[1, :rows] = fill
    path = write_tif("a.tif", numbers, descriptions=["B02", "B03"])
    with open_raster(path) as source:
        image = image_of(source, scale=1e-4 if whole else None)
        image.examine()
        values, valid = image.read(("B02", "B03"))
    assert not valid[:rows].any() and valid[rows:].all()
    assert values[:, rows:] == pytest.approx(0.2)
    told = capsys.readouterr().err
    if np.isfinite(fill):
        stated = float(re.search(r"as --nodata (\S+) would say", told)[1])
        with open_raster(path) as source:
            image = image_of(source, scale=1e-4 if whole else None, nodata=stated)
            image.examine()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fill", [-99, -9999, 3.4e38, np.inf])
def test_numbers_that_are_no_decibels_are_missing_pixels(write_tif, fill):
    numbers = np.full((1, 8, 8), -12, np.float32)
    numbers[:, 0] = fill
    with open_raster(write_tif("a.tif", numbers, descriptions=["VV"])) as source:
        image = image_of(source)
        assert image.examine() == {"VV": -12}
        assert image.read(["VV"])[1].tolist() == [[False] * 8] + [[True] * 8] * 7


@pytest.mark.parametrize(
    ("numbers", "band", "message"),
    [
        (np.random.default_rng(0).uniform(1, 9999, (1, 8, 8)), "B02", "90th percentile.*--scale"),
        (np.full((1, 8, 8), -9999.0), "B02", "--scale.*--nodata"),
        (np.random.default_rng(0).uniform(100, 900, (1, 8, 8)), "VV", "--radar-unit"),
    ],
)
def test_images_of_another_unit_are_not_taken_for_fill(write_tif, numbers, band, message):
    path = write_tif("a.tif", numbers.astype(np.float32), descriptions=[band])
    with open_raster(path) as source, pytest.raises(MinsegError, match=message):
        image_of(source).examine()


@pytest.mark.parametrize(("fill", "told"), [(0, True), (9999, True), (32767, True), (1234, False)])
def test_one_number_in_every_band_of_an_edge_is_told_of(write_tif, capsys, fill, told):
    numbers = np.random.default_rng(0).integers(500, 4000, (3, 600, 600)).astype(np.int16)
    numbers[:, :, :20] = fill  # a swath's edge in a file that is looked at by samples
    for nodata in (None, fill):
        with open_raster(write_tif("a.tif", numbers, None, nodata, NAMES)) as source:
            image_of(source, scale=1e-4).examine()
        error = capsys.readouterr().err
        hint = f"hold {fill} in every band and count as ground; if nothing was seen there, give "
        assert (hint + f"--nodata {fill}\n" in error) == (told and nodata is None)
        assert bool(error) == (told and nodata is None)


@pytest.mark.parametrize(
    ("reflectance", "offset", "advice"),
    [(0.04, -0.1, "--offset 0"), (0.04, 0, None), (0.14, -0.1, None), (0.14, 0, "--offset -0.1")],
)
def test_an_offset_that_is_taken_off_twice_or_not_at_all_is_told_of(
    write_tif, capsys, reflectance, offset, advice
):
    """As harmonised numbers, or those of processing baseline 04.00, read as the others."""
    dark = np.random.default_rng(0).uniform(reflectance - 0.03, reflectance + 0.2, (1, 64, 64))
    path = write_tif("a.tif", (dark * 1e4).astype(np.uint16), descriptions=["B04"])
    for advised in (False, True) if advice else (False,):
        with open_raster(path) as source:
            corrected = float(advice.split()[1]) if advised else offset
            image_of(source, scale=1e-4, offset=corrected).examine()
        error = capsys.readouterr().err
        assert error.endswith(f", give {advice}\n") if advice and not advised else not error
