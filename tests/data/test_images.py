import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.enums import ColorInterp
from rasterio.rio.main import main_group

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
        with pytest.raises(
            MinsegError, match=r"B02 has 8-bit numbers without a scale.*original image"
        ):
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


def test_each_band_has_its_own_scale_and_offset(write_tif):
    array = np.full((4, 4, 4), 1000, np.int16)
    path = write_tif(
        "a.tif", array, descriptions=["B02", "B03", "VV", "VH"], scales=(1e-4, 2e-4, 0.01, 0.02)
    )
    with rasterio.open(path, "r+") as target:
        target.offsets = (-0.05, 0.1, -20.0, -30.0)
    bands = ("B02", "B03", "VV", "VH")
    with open_raster(path) as source:
        values, _ = Image.of(source).read(bands)
        told, _ = Image.of(source, scale=1e-3, offset=0.0, radar_scale=0.001).read(bands)
    assert values[:, 0, 0] == pytest.approx([0.05, 0.3, -10, -10])
    assert told[:, 0, 0] == pytest.approx([1, 1, -19, -29])


def test_one_band_without_a_scale_is_enough_to_refuse(write_tif):
    path = write_tif("a.tif", NUMBERS, descriptions=["B02", "B03", "B04"], scales=(1e-4, 1, 1e-4))
    with open_raster(path) as source, pytest.raises(MinsegError, match="B03 has whole numbers"):
        Image.of(source)


def mark_alpha(path, opacity):
    """Make the last band an alpha band."""
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [*target.colorinterp[:-1], ColorInterp.alpha]
        target.write(opacity.astype(target.dtypes[0]), target.count)


def test_alpha_hides_pixels_and_is_no_channel(write_tif):
    path = write_tif("a.tif", np.full((4, 8, 8), 1000, np.uint16), scales=(1e-4,) * 4)
    opacity = np.full((8, 8), 65535)
    opacity[:, :3] = 0
    mark_alpha(path, opacity)
    with open_raster(path) as source:
        image = Image.of(source, ("B02", "B03", "B04"))
        assert image.indexes == {"B02": 1, "B03": 2, "B04": 3}
        values, valid = image.read(("B02", "B03", "B04"))
        sample = image.sample(("B02",), 512)
        with pytest.raises(MinsegError, match=r"its 3 bands.*band 4 is marked as alpha"):
            Image.of(source, ("B02", "B03", "B04", "B08"))
    assert np.array_equal(valid, opacity > 0)
    assert values == pytest.approx(0.1)
    assert sample.shape == (1, 40)


def test_alpha_with_a_name_is_no_channel_until_its_mark_is_taken_away(write_tif):
    names = ["B02", "B03", "B04", "B08"]
    path = write_tif("a.tif", np.full((4, 8, 8), 9, np.uint8), descriptions=names)
    with open_raster(path) as source:
        assert source.colorinterp[3] == ColorInterp.alpha  # GDAL's guess at four bands of 8 bits
        with pytest.raises(MinsegError) as caught:
            Image.of(source, names, scale=0.01)
    command = str(caught.value).partition("`rio ")[2].rstrip("`")
    edit_info = CliRunner().invoke(main_group, command.split())
    assert edit_info.exit_code == 0, edit_info.output
    with open_raster(path) as source:
        values, valid = Image.of(source, names, scale=0.01).read(["B08"])
    assert values == pytest.approx(0.09)
    assert valid.all()
