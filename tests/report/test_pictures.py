from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from minseg.data.raster import Grid
from minseg.report.pictures import NO_DATA_COLOUR, OPACITY, paint, picture_row, stretch

MID_GREY = int(NO_DATA_COLOUR[1:3], 16) / 255


def grid_of(height, width, pixel=(10, 10)):
    transform = Affine(pixel[0], 0, 500_000, 0, -pixel[1], 5_000_000)
    return Grid(height, width, transform, CRS.from_epsg(32633))


def test_stretch_runs_from_the_2nd_to_the_98th_percentile():
    ramp = np.linspace(0.1, 0.3, 101, dtype=np.float32).reshape(1, 101)
    picture = stretch(np.stack([ramp, 2 * ramp, 5 + ramp]))
    expected = np.clip((np.arange(101) - 2) / 96, 0, 1)
    for band in range(3):
        np.testing.assert_allclose(picture[0, :, band], expected, atol=1e-4)


def test_stretch_of_bands_is_independent_of_what_is_not_valid():
    random = np.random.default_rng(0)
    image = random.uniform(0.1, 0.3, (3, 20, 20)).astype(np.float32)
    valid = np.ones((20, 20), bool)
    valid[:5] = False
    spoilt = np.where(valid, image, np.float32(1e6))
    np.testing.assert_array_equal(stretch(spoilt, valid)[valid], stretch(image, valid)[valid])
    np.testing.assert_allclose(stretch(spoilt, valid)[~valid], MID_GREY, atol=1e-6)


@pytest.mark.parametrize("missing", [np.nan, np.inf, 0.0])
def test_stretch_shows_missing_pixels_in_mid_grey(missing):
    image = np.random.default_rng(0).uniform(0.1, 0.3, (3, 8, 8)).astype(np.float32)
    image[:, 2, 3] = missing
    picture = stretch(image)
    np.testing.assert_allclose(picture[2, 3], MID_GREY, atol=1e-6)
    assert np.isfinite(picture).all()
    assert picture.min() == 0
    assert picture.max() == 1


def test_stretch_keeps_a_dark_pixel_that_is_zero_in_one_band_only():
    image = np.random.default_rng(0).uniform(0.1, 0.3, (3, 8, 8)).astype(np.float32)
    image[0, 2, 3] = 0
    assert stretch(image)[2, 3, 0] == 0


@pytest.mark.parametrize("bands", [1, 2])
def test_stretch_shows_too_few_bands_in_grey(bands):
    image = np.random.default_rng(0).uniform(0.1, 0.3, (bands, 8, 8))
    picture = stretch(image)
    assert picture.shape == (8, 8, 3)
    assert (np.ptp(picture, axis=2) == 0).all()
    assert np.ptp(picture) == 1


def test_stretch_takes_the_first_three_of_many_bands():
    image = np.random.default_rng(0).uniform(0.1, 0.3, (12, 8, 8))
    np.testing.assert_array_equal(stretch(image), stretch(image[:3]))


def test_stretch_of_a_flat_or_empty_image_is_mid_grey():
    assert (stretch(np.full((3, 4, 4), 0.2)) == 0.5).all()
    np.testing.assert_allclose(stretch(np.full((3, 4, 4), np.nan)), MID_GREY, atol=1e-6)


def test_paint_blends_colours_and_covers_with_white():
    picture = np.full((1, 3, 3), 0.5, np.float32)
    painted = paint(picture, np.array([[0, 1, 255]], np.uint8), {1: "#FF0000", 255: "#FFFFFF"})
    ground = painted[0, 0, 0]
    np.testing.assert_allclose(painted[0, 0], ground)
    expected = OPACITY * np.array([1, 0, 0]) + (1 - OPACITY) * ground
    np.testing.assert_allclose(painted[0, 1], expected, atol=1e-6)
    np.testing.assert_array_equal(painted[0, 2], 1)


@pytest.mark.parametrize(
    ("height", "width", "pixel"),
    [(448, 448, (10, 10)), (137, 218, (10, 10)), (218, 137, (10, 10)), (100, 100, (5, 10))],
)
def test_panels_have_the_shape_of_the_ground_and_do_not_touch(height, width, pixel):
    figure, panels = picture_row(4, grid_of(height, width, pixel), "title", False)
    boxes = [panel.get_window_extent() for panel in panels]
    ground = height * pixel[1] / (width * pixel[0])
    assert [box.height / box.width for box in boxes] == pytest.approx([ground] * 4)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert boxes[-1].x1 <= figure.bbox.x1


def test_a_long_title_stays_clear_of_the_mark_and_of_the_panels():
    title = "A title of many words " * 12
    figure, panels = picture_row(2, grid_of(64, 64), title, True)
    heading, mark = (text.get_window_extent() for text in figure.texts)
    assert heading.x1 < mark.x0
    assert heading.y0 > panels[0].get_window_extent().y1
