from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from affine import Affine
from matplotlib.colors import to_rgb
from rasterio.crs import CRS

from minseg.data.labels import CLASSES, TASKS, encode_bits, parse_task
from minseg.data.raster import Grid
from minseg.report import scenes
from minseg.study.errors import best_median_worst
from tests.report.conftest import draw, legend, overlapping_texts, texts, titles

MID_GREY = int(scenes.NO_DATA_COLOUR[1:3], 16) / 255


def grid_of(height=40, width=60, pixel=(10, 10), crs=32633):
    transform = Affine(pixel[0], 0, 500_000, 0, -pixel[1], 5_000_000)
    return Grid(height, width, transform, crs and CRS.from_epsg(crs))


def scene(height=40, width=60, bands=3):
    return np.random.default_rng(0).uniform(0.02, 0.3, (bands, height, width)).astype(np.float32)


def test_stretch_runs_from_the_2nd_to_the_98th_percentile_of_each_band():
    ramp = np.linspace(0.1, 0.3, 101, dtype=np.float32).reshape(1, 101)
    picture = scenes.stretch(np.stack([ramp, 2 * ramp, 5 + ramp]))
    expected = np.clip((np.arange(101) - 2) / 96, 0, 1)
    for band in range(3):
        np.testing.assert_allclose(picture[0, :, band], expected, atol=1e-4)
    many = scene(bands=12)
    np.testing.assert_array_equal(scenes.stretch(many), scenes.stretch(many[:3]))


@pytest.mark.parametrize("missing", [np.nan, np.inf, 0.0])
def test_stretch_shows_missing_pixels_in_mid_grey(missing):
    image = scene()
    image[:, 2, 3] = missing
    image[0, 3, 3] = 0  # dark in one band, and so not missing
    picture = scenes.stretch(image)
    np.testing.assert_allclose(picture[2, 3], MID_GREY, atol=1e-6)
    assert picture[3, 3, 0] == 0
    assert (picture.min(), picture.max()) == (0, 1)
    valid = np.arange(40)[:, None] * np.ones(60) > 5
    spoilt = np.where(valid, image, np.float32(1e6))
    np.testing.assert_array_equal(
        scenes.stretch(spoilt, valid)[valid], scenes.stretch(image, valid)[valid]
    )
    np.testing.assert_allclose(scenes.stretch(spoilt, valid)[~valid], MID_GREY, atol=1e-6)


@pytest.mark.parametrize("bands", [1, 2])
def test_stretch_shows_too_few_bands_in_grey(bands):
    picture = scenes.stretch(scene(bands=bands))
    assert picture.shape == (40, 60, 3)
    assert (np.ptp(picture, axis=2) == 0).all()
    assert np.ptp(picture) == 1


def test_stretch_of_a_flat_or_empty_image_is_mid_grey():
    assert (scenes.stretch(np.full((3, 4, 4), 0.2)) == 0.5).all()
    np.testing.assert_allclose(scenes.stretch(np.full((3, 4, 4), np.nan)), MID_GREY, atol=1e-6)


def test_paint_blends_colours_and_covers_with_white():
    picture = np.full((1, 3, 3), 0.5, np.float32)
    painted = scenes.paint(
        picture, np.array([[0, 1, 255]], np.uint8), {1: "#FF0000", 255: "#FFFFFF"}
    )
    ground = painted[0, 0, 0]
    np.testing.assert_allclose(painted[0, 0], ground)
    expected = scenes.OPACITY * np.array([1, 0, 0]) + (1 - scenes.OPACITY) * ground
    np.testing.assert_allclose(painted[0, 1], expected, atol=1e-6)
    np.testing.assert_array_equal(painted[0, 2], 1)


@pytest.mark.parametrize(
    ("height", "width", "pixel"),
    [(448, 448, (10, 10)), (137, 218, (10, 10)), (218, 137, (10, 10)), (100, 100, (5, 10))],
)
def test_panels_have_the_shape_of_the_ground_and_do_not_touch(height, width, pixel):
    figure, panels = scenes.picture_row(4, grid_of(height, width, pixel), "title", False)
    boxes = [panel.get_window_extent() for panel in panels]
    ground = height * pixel[1] / (width * pixel[0])
    assert [box.height / box.width for box in boxes] == pytest.approx([ground] * 4)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert boxes[-1].x1 <= figure.bbox.x1


def test_a_long_title_stays_clear_of_the_mark_and_of_the_panels():
    title = "A title of many words " * 12
    figure, panels = scenes.picture_row(2, grid_of(64, 64), title, True)
    heading, mark = (text.get_window_extent() for text in figure.texts)
    assert heading.x1 < mark.x0
    assert heading.y0 > panels[0].get_window_extent().y1


TAILINGS = parse_task("tailing storage facility")

# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def cielab(colour, vision="normal"):
    """A colour laid over mid-grey, as an eye sees it."""
    rgb = scenes.OPACITY * np.array(to_rgb(colour)) + (1 - scenes.OPACITY) * 0.5
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ seen / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_agreement_colours_are_told_apart_in_every_vision(vision):
    seen = [cielab(colour, vision) for colour in scenes.AGREEMENT_COLOURS.values()]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 32


def test_agreement_colours_are_not_taken_for_classes():
    coloured = [colour for colour in scenes.AGREEMENT_COLOURS.values() if colour != "#000000"]
    assert all(
        np.linalg.norm(cielab(colour) - cielab(mine_class.colour)) >= 41
        for colour in coloured
        for mine_class in CLASSES
    )


def test_agreement_of_every_pair_of_values():
    target = np.array([[0, 0, 1, 1, 1, 2, 2, 255, 255, 0]], np.uint8)
    prediction = np.array([[0, 1, 1, 0, 2, 1, 2, 0, 1, 255]], np.uint8)
    verdict = scenes.agreement(prediction, target)
    assert verdict.dtype == np.uint8
    assert [scenes.Agreement(value).title for value in verdict[0]] == [
        *("true negative", "false positive", "true positive", "false negative"),
        *("wrong class", "wrong class", "true positive", "ignored", "ignored", "ignored"),
    ]


def square(height=40, width=60, value=1, shift=0):
    target = np.zeros((height, width), np.uint8)
    target[10 + shift : 25 + shift, 15:40] = value
    return target


SCORES = {"iou": 0.5, "recall": 2 / 3, "precision": float("nan")}


def overlay(target, prediction, task=TAILINGS, crs=32633, synthetic=False):
    of_scene = task, grid_of(*target.shape, crs=crs), "Mine A, 2021", SCORES, synthetic
    return draw(scenes.overlay_figure(scene(), target, prediction, *of_scene))


def has_scale_bar(axes):
    return any(line.get_label() == "scale bar" for line in axes.lines)


def test_overlay_of_one_class():
    figure = overlay(square(), square(shift=5))
    verdicts = "agreement: IoU 0.50\nrecall 0.67 · precision –"
    assert titles(figure) == ["image", "ground truth", "prediction", verdicts]
    assert legend(figure) == ["tailing storage facility"]
    assert legend(figure, 1) == ["true positive", "false positive", "false negative"]
    assert texts(figure) == ["Mine A, 2021"]
    assert [has_scale_bar(axes) for axes in figure.axes] == [True, False, False, False]
    picture = figure.axes[3].images[0].get_array().astype(int)
    red, green, blue = np.moveaxis(picture, 2, 0)
    assert ((red - blue > 90) & (green - blue > 90))[17, 20]  # both: yellow
    assert ((red - blue > 90) & (red - green > 90))[27, 20]  # prediction alone: red
    assert ((blue - red > 90) & (blue - green > 90))[12, 20]  # truth alone: blue
    assert np.ptp(picture[0, 0]) == 0  # neither: grey


def test_overlay_of_many_classes():
    task = TASKS["model3"]
    target = square(value=1)
    target[:3] = 255
    few = overlay(target, square(value=task.target_names.index("dam")), task)
    assert legend(few) == ["stockpile", "dam"]
    assert legend(few, 1)[-2:] == ["wrong class", "not annotated"]
    target = (np.arange(40 * 60).reshape(40, 60) % 8).astype(np.uint8)
    all_seven = overlay(target, np.roll(target, 3), task, synthetic=True)
    assert len(legend(all_seven)) == 7
    assert texts(all_seven) == ["Mine A, 2021", "SYNTHETIC"]
    assert overlapping_texts(all_seven) == []


def test_overlay_of_nothing_found_in_nothing_annotated_and_nowhere():
    nothing = np.zeros((40, 60), np.uint8)
    figure = overlay(nothing, nothing, TASKS["model4"], crs=None)
    assert legend(figure) == []
    assert not any(has_scale_bar(axes) for axes in figure.axes)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 400), (300, 60)])
def test_annotation_names_all_ten_classes_inside_the_figure(height, width):
    columns = np.arange(width) * 10 // width
    labels = encode_bits({c.name: np.tile(columns == c.id, (height, 1)) for c in CLASSES})
    labels[0] = 65535
    figure = scenes.annotation_figure(
        scene(height, width), {"labels": labels}, grid_of(height, width), "A", True
    )
    assert overlapping_texts(figure) == []
    assert legend(figure) == [*(c.name for c in CLASSES), "not annotated"]
    box = figure.legends[0].get_window_extent()
    assert box.x0 > figure.axes[1].get_window_extent().x1
    assert texts(figure) == ["A", "SYNTHETIC"]


def test_annotation_draws_small_things_over_large_ones_and_outlines_both():
    inner = np.zeros((40, 60), bool)
    inner[15:20, 20:30] = True
    labels = encode_bits({"excavation": square() > 0, "dam": inner})
    figure = scenes.annotation_figure(
        np.full((3, 40, 60), 0.2), {"labels": labels}, grid_of(), "Mine A"
    )
    shown = figure.axes[1].images[0].get_array().astype(int)
    inside, around = shown[17, 25], shown[12, 25]
    assert inside.argmax() == 1  # the dam's green
    assert around.argmax() == 0  # the excavation's red
    assert len(figure.axes[1].collections) == 2
    assert legend(figure) == ["excavation", "dam"]
    both = {"nothing": 0 * labels, "labels": labels}
    beside = scenes.annotation_figure(scene(), both, grid_of(), "Mine A")
    assert titles(draw(beside)) == ["image", *both]
    assert legend(beside) == ["excavation", "dam"]


def test_overlay_of_a_stored_run_shows_the_crop_that_was_scored(perfect_run, dataset):
    picks = best_median_worst(perfect_run.scores_by_mine())
    for pick, iou in (("best", "1.00"), ("worst", "0.00")):
        figure = scenes.overlay(perfect_run, dataset, picks[pick])
        assert figure.axes[0].images[0].get_array().shape[:2] == (48, 48)
        assert f"IoU {iou}" in titles(figure)[3]


def test_example_is_the_scene_with_the_most_classes(dataset):
    example = scenes.example_scene(dataset)
    assert example in set(dataset.scenes_of("train")["scene"])
    figure = scenes.annotated_scene(dataset, example)
    row = dataset.scenes.set_index("scene").loc[example]
    assert texts(figure)[0] == f"{row['mine']}, {row['year']}"  # the mine has no name
    named = replace(dataset, mines=dataset.mines.assign(name="Pit"))
    assert texts(scenes.annotated_scene(named, example))[0] == f"Pit, {row['year']}"
