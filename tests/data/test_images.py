import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.images import Image, ImageReading
from minseg.data.raster import open_raster

NUMBERS = np.stack([np.full((8, 8), value, np.uint16) for value in (1000, 2000, 3000)])


def test_bands_are_found_by_name_in_any_order(write_tif):
    path = write_tif("a.tif", NUMBERS, descriptions=["B4", "B10", "b02"])
    with open_raster(path) as source:
        image = Image.of(source, scale=1e-4)
        values, valid = image.read(["B02", "B04"])
    assert set(image.indexes) == {"B02", "B04"}
    assert values[:, 0, 0].tolist() == pytest.approx([0.3, 0.1])
    assert valid.all()


def test_bands_without_names_are_taken_by_position(write_tif):
    with open_raster(write_tif("a.tif", NUMBERS)) as source:
        image = Image.of(source, ("B02", "B03", "B04"), scale=1e-4, offset=-0.1)
        assert image.read(["B04"])[0][0, 0, 0] == pytest.approx(0.2)
        with pytest.raises(MinsegError, match="carry no names"):
            Image.of(source, ("B02", "B03"), scale=1e-4)
        with pytest.raises(MinsegError, match="carry no names"):
            Image.of(source, scale=1e-4)


def test_scale_tag_of_the_file_is_used_unless_the_user_gives_one(write_tif):
    path = write_tif("a.tif", NUMBERS, descriptions=["B02", "B03", "B04"], scales=(1e-4,) * 3)
    with open_raster(path) as source:
        assert Image.of(source).read(["B02"])[0][0, 0, 0] == pytest.approx(0.1)
        assert Image.of(source, scale=1e-3).read(["B02"])[0][0, 0, 0] == pytest.approx(1.0)


def test_whole_numbers_without_a_scale_are_refused(write_tif):
    path = write_tif("a.tif", NUMBERS, descriptions=["B02", "B03", "B04"])
    with open_raster(path) as source, pytest.raises(MinsegError, match="--scale"):
        Image.of(source)


def test_8_bit_pictures_are_told_from_reflectance(write_tif):
    path = write_tif("a.tif", (NUMBERS // 20).astype(np.uint8), descriptions=["B02", "B03", "B04"])
    with open_raster(path) as source:
        with pytest.raises(MinsegError, match=r"8-bit numbers without a scale.*original image"):
            Image.of(source)
        assert Image.of(source, scale=0.004).read(["B02"])[0][0, 0, 0] == pytest.approx(0.2)


def test_only_needed_bands_count(write_tif):
    path = write_tif("a.tif", NUMBERS, descriptions=["B02", "VV", "B04"], scales=(1e-4, 1, 1e-4))
    with open_raster(path) as source:
        image = Image.of(source, radar_scale=None, needed={"B04"})
        assert list(image.indexes) == ["B04"]
        with pytest.raises(MinsegError, match=r"whole numbers.*--radar-scale"):
            Image.of(source, radar_scale=None)


def test_radar_tags_and_units_give_decibels(write_tif):
    centibels = np.full((1, 4, 4), -1250, np.int16)
    path = write_tif("a.tif", centibels, descriptions=["VV"], scales=(0.01,))
    with open_raster(path) as source:
        assert Image.of(source, radar_scale=None).read(["VV"])[0] == pytest.approx(-12.5)
    power = np.full((1, 4, 4), 50, np.uint16)
    power[0, 0] = 0
    with open_raster(write_tif("b.tif", power, descriptions=["VV"])) as source:
        values, valid = Image.of(source, radar_scale=1e-3, radar_unit="power").read(["VV"])
    assert values[0, 1:] == pytest.approx(10 * np.log10(0.05))
    assert not valid[0].any()
    assert valid[1:].all()


@pytest.mark.parametrize(
    "wrong", [{"radar_unit": "dbm"}, {"scale": 0}, {"radar_scale": -1}, {"gsd_m": float("nan")}]
)
def test_readings_that_cannot_be_are_refused(wrong):
    with pytest.raises(MinsegError, match=next(iter(wrong)).replace("_unit", " unit")):
        ImageReading(**wrong)


def test_missing_band_is_named(write_tif):
    path = write_tif("a.tif", NUMBERS, descriptions=["B02", "B03", "B04"])
    with open_raster(path) as source, pytest.raises(MinsegError, match="has no band B08"):
        Image.of(source, ("B02", "B08"), scale=1e-4)


def test_radar_is_not_scaled_and_nodata_of_the_user_counts(write_tif):
    array = np.stack([np.full((4, 4), -12, np.float32), np.full((4, 4), 0.2, np.float32)])
    array[0, 0, 0] = -99
    path = write_tif("a.tif", array, descriptions=["VV", "B02"])
    with open_raster(path) as source:
        values, valid = Image.of(source, scale=0.5, nodata=-99).read(["VV", "B02"])
        sample = Image.of(source, scale=0.5, nodata=-99).sample(["B02"], 2)
    assert values[:, 1, 1].tolist() == pytest.approx([-12, 0.1])
    assert not valid[0, 0]
    assert valid.sum() == 15
    assert sample.ravel() == pytest.approx(0.1)
    with open_raster(path) as source:
        assert Image.of(source).sample([], 2).size == 0
