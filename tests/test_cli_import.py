import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from minseg.data.dataset import open_dataset
from minseg.data.labels import IGNORE_BITS, class_bit
from minseg.data.raster import Grid
from tests.conftest import follow_advice, grid_at, names

SIDE = 20
NOWHERE = Grid(SIDE, SIDE, Affine.identity(), None)
MASK = np.zeros((1, SIDE, SIDE), np.uint8)
MASK[0, 2:9], MASK[0, 12:15] = 1, 2
BOTH = ("--classes", '1="dam",2=excavation')


@pytest.fixture
def run_import(minseg, tmp_path, write_tif):
    """Write three images, as many masks, and radar if wanted; import them by the command."""

    def run(
        mask, *options, call=minseg, grid=None, nodata=None, change=None, radar=None, bands=None
    ):
        random = np.random.default_rng(0)
        (tmp_path / "t.csv").write_text("key,mine\n0,a\n1,b\n2,c\n")
        for k in range(3):
            image = random.integers(500, 4000, (2, SIDE, SIDE)).astype(np.uint16)
            write_tif(f"i{k}.tif", image, grid_at(k, SIDE), descriptions=["B02", "B04"])
            path = write_tif(f"m{k}.tif", mask, grid or grid_at(k, SIDE), nodata=nodata)
            if change:
                change(path)
            if radar is not None:
                write_tif(f"r{k}.tif", radar, grid_at(k, SIDE), descriptions=bands)
        if radar is not None:
            options = (*options, "--radar", tmp_path / "r*.tif")
        return call(
            "dataset", "import", tmp_path / "new", "--images", tmp_path / "i*.tif",
            "--masks", tmp_path / "m*.tif", "--table", tmp_path / "t.csv", "--scale", 1e-4,
            "--bands", "B02,B04", *options,
        )  # fmt: skip

    return run


def hide(path):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
        target.write_mask(np.arange(SIDE)[:, None] * np.ones(SIDE) > 0)


def hide_by_alpha(path):
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        target.write((np.arange(SIDE)[:, None] * np.ones(SIDE) > 0).astype(np.uint8), 2)


def as_float(value, of=1):
    """The mask with pixels of a value."""
    mask = MASK.astype(np.float32)
    mask[0, 0, :of] = value
    return mask


NEGATIVE = MASK.astype(np.int16)
NEGATIVE[0, 0] = -1


@pytest.mark.parametrize(
    ("mask", "classes", "how", "ignored"),
    [
        (as_float(np.nan), BOTH, {}, 1),
        *((as_float(value), BOTH, {"nodata": value}, 1)
          for value in (np.nan, -np.inf, 1.7, -9999, -3.4028235e38)),
        (MASK, BOTH, {"change": hide}, SIDE),
        *((MASK.repeat(2, 0), BOTH, {"change": hide_by_alpha, "nodata": nodata}, SIDE)
          for nodata in (None, 9)),
        (NEGATIVE, ("--classes", "-1=ignore,1=dam", "--classes", "2=background"), {}, SIDE),
        # Zero as no data is background, as in the usual raster of polygons, unless another is.
        *((MASK, ("--classes", classes), {"nodata": 0}, ignored) for classes, ignored in (
            ("1=dam,2=excavation", 0),
            ("1=dam,2=background", 10 * SIDE),
            ("0=ignore,1=dam,2=excavation", 10 * SIDE),
            ("0=background,1=dam,2=background", 0),
        )),
    ],
)  # fmt: skip
def test_what_is_no_data_in_a_mask_is_ignored(run_import, tmp_path, mask, classes, how, ignored):
    assert run_import(mask, *classes, **how)[::2] == (0, "")
    dataset = open_dataset(tmp_path / "new")
    labels = dataset.read_labels(dataset.scenes.iloc[0])
    assert (labels == IGNORE_BITS).sum() == ignored
    assert (labels[0, : min(ignored, SIDE)] == IGNORE_BITS).all()
    assert (labels == class_bit("dam")).sum() == 7 * SIDE


RED = np.stack([255 * (MASK[0] == 1), 0 * MASK[0], 0 * MASK[0]]).astype(np.uint8)
ONE_HOT = np.stack([MASK[0] == value for value in (1, 2)]).astype(np.uint8)
REFUSED = {
    "rgba": (np.repeat(MASK, 4, 0), BOTH, "has 3 bands"),
    "complex": (MASK.astype(np.complex64), BOTH, "complex"),
    "probabilities": (as_float(0.25, 3), BOTH, "holds 0.25, not class numbers"),
    "infinite nowhere named": (np.full_like(as_float(0), np.inf), BOTH, "no pixel is annotated"),
    "a photograph": (np.arange(400, dtype=np.uint16).reshape(1, 20, 20), BOTH,
                     "3, 4, 5, 6, 7 and 392 more nobody mapped; add e.g. --classes 3="),
    "negative": (MASK.astype(np.int8) - 1, ("--classes", "1=dam"), "-1 nobody mapped"),
    "wrong number": (255 * (MASK > 0).astype(np.uint8), ("--classes", "1=dam,255=excavation"),
                     "1 (dam) occurs in no mask; the masks hold 0, 255"),
    "all background": (0 * MASK, ("--classes", "1=dam"), "occurs in no mask; the masks hold 0"),
    "all ignored": (MASK[:, 2:3].repeat(20, 1), ("--classes", "1=ignore,2=dam"),
                    "no pixel is annotated"),
    "no background": (np.where(MASK > 0, MASK, np.nan).astype(np.float32), BOTH,
                      "the masks hold 1, 2 and no background"),
    "mapped twice": (MASK, ("--classes", "1=dam,2=excavation,1=stockpile"), "1 is mapped twice"),
    "twice but for capitals": (MASK, ("--classes", "A=dam,a=stockpile"), "a is mapped twice"),
    "twice in other words": (MASK, (*BOTH, "--classes", "01=dam"), "1 is mapped twice"),
    "a fraction": (MASK, ("--classes", "0.5=dam"), "whole numbers"),
    "digits of another script": (MASK, ("--classes", "²=dam"), "whole numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_masks_that_mean_nothing_are_one_line(run_import, refused, tmp_path, case):
    mask, options, said = REFUSED[case]
    assert said in run_import(mask, *options, call=refused)
    assert "new" not in names(tmp_path)


MOVED = Grid(30, 30, Affine(10, 0, 399_950, 0, -10, 5_000_050), grid_at(0).crs)
WIDER = np.pad(MASK, ((0, 0), (5, 5), (5, 5)))


@pytest.mark.parametrize(
    ("mask", "grid", "said", "mended", "wanted"),
    [
        (MASK, NOWHERE, "does not say where it lies", "m0.tif", MASK),
        (WIDER, MOVED, "size (20×20 and 30×30 pixels)", "MOVED.tif", MASK),
        (RED, None, "has 3 bands, and a mask has one", "ONE.tif", MASK * (MASK == 1)),
        (np.repeat(MASK, 3, 0), None, "these are alike, so keep one: `rio stack", "ONE.tif", MASK),
        (ONE_HOT, None, "has 2 bands", "ONE.tif", MASK),
    ],
)
def test_masks_that_lie_elsewhere_or_have_several_bands_are_mended_by_the_command_told(
    run_import, refused, tmp_path, monkeypatch, mask, grid, said, mended, wanted
):
    monkeypatch.chdir(tmp_path)
    err = run_import(mask, *BOTH, call=refused, grid=grid)
    assert said in err
    assert "new" not in names(tmp_path)
    follow_advice(err)
    with rasterio.open(tmp_path / mended) as made, rasterio.open(tmp_path / "i0.tif") as image:
        assert (made.crs, made.transform) == (image.crs, image.transform)
        assert np.array_equal(made.read(), wanted)


DECIBELS = np.stack([np.full((SIDE, SIDE), value, np.float32) for value in (-11, -17)])
POWER = 10 ** (DECIBELS / 10)
SWAPPED = DECIBELS[::-1]


@pytest.mark.parametrize(
    ("radar", "bands", "options"),
    [
        (DECIBELS, ["VV", "VH"], ()),
        (SWAPPED, ["Sigma0_VH_db", "Sigma0_VV_db"], ()),
        (POWER[::-1], ["gamma0_vh", "gamma0_vv"], ("--radar-unit", "power")),
        (POWER**0.5, None, ("--radar-unit", "amplitude")),
        ((65535 * POWER).astype(np.uint16), None,
         ("--radar-scale", 1 / 65535, "--radar-unit", "power")),
    ],
)  # fmt: skip
def test_radar_is_known_by_polarisation_and_unit(run_import, tmp_path, radar, bands, options):
    assert run_import(MASK, *BOTH, *options, radar=radar, bands=bands)[::2] == (0, "")
    dataset = open_dataset(tmp_path / "new")
    values, _ = dataset.read_inputs(dataset.scenes.iloc[0], ("VV", "VH", "VV/(10·VH)"))
    assert values[:, 5, 5] == pytest.approx([-11, -17, -4], abs=0.01)


NO_RADAR = {
    "HV beside VV": (DECIBELS, ["VV", "HV"], (), "has no band VH"),
    "other quantities": (DECIBELS, ["VV_angle", "VH_angle"], (), "VV_angle, VH_angle, where VV,"),
    "swapped without names": (SWAPPED, None, (), "VH would be 6.0 dB brighter than VV"),
    "power as decibels": (POWER, None, (), "the median of VV would be 0.0794 dB"),
    "decibels as amplitude": (DECIBELS, None, ("--radar-unit", "amplitude"), "--radar-unit"),
    "numbers as amplitude": (1000 * POWER, None, ("--radar-unit", "amplitude"), "--radar-scale"),
    "whole numbers": ((100 * DECIBELS).astype(np.int16), None, (), "--radar-scale 0.01"),
    "nothing": (DECIBELS * np.nan, None, (), "no pixel has decibels"),
    "VV twice": (DECIBELS[[0, 1, 0]], ["VV", "VH", "VV_mean"], (), "--bidx 1 --description other"),
    "three bands": (DECIBELS[[0, 1, 1]], None, (), "carry no names that we know; name each"),
}


@pytest.mark.parametrize("case", NO_RADAR)
def test_radar_that_cannot_be_is_one_line(run_import, refused, tmp_path, case):
    radar, bands, options, said = NO_RADAR[case]
    err = run_import(MASK, *BOTH, *options, call=refused, radar=radar, bands=bands)
    assert said in err
    assert "new" not in names(tmp_path)
    if case == "swapped without names":  # the command names the first band, the user the other
        follow_advice(err)
        with rasterio.open(tmp_path / "r0.tif") as mended:
            assert mended.descriptions == ("VH", None)
