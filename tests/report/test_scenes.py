from itertools import combinations, pairwise

import numpy as np
import pytest
from affine import Affine
from matplotlib.colors import to_rgb
from rasterio.crs import CRS
from sklearn.metrics import confusion_matrix

from minseg import MinsegError
from minseg.data.labels import CLASSES, TASKS, encode_bits, parse_task
from minseg.data.raster import Grid
from minseg.report import scenes
from minseg.report.scenes import (
    AGREEMENT_COLOURS,
    NO_DATA_COLOUR,
    OPACITY,
    Agreement,
    agreement,
    annotation_figure,
    overlay_figure,
    paint,
    picture_row,
    stretch,
)
from minseg.study.errors import best_median_worst
from tests.report.conftest import draw

MID_GREY = int(NO_DATA_COLOUR[1:3], 16) / 255


def grid_of(height=40, width=60, pixel=(10, 10), crs=32633):
    transform = Affine(pixel[0], 0, 500_000, 0, -pixel[1], 5_000_000)
    return Grid(height, width, transform, crs and CRS.from_epsg(crs))


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


TAILINGS = parse_task("tailing storage facility")

# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def cielab(rgb, vision="normal"):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ seen / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def over_grey(colour):
    return OPACITY * np.array(to_rgb(colour)) + (1 - OPACITY) * 0.5


def scene(height=40, width=60, bands=3):
    return np.random.default_rng(0).uniform(0.02, 0.3, (bands, height, width)).astype(np.float32)


def square(height=40, width=60, value=1, shift=0):
    target = np.zeros((height, width), np.uint8)
    target[10 + shift : 25 + shift, 15:40] = value
    return target


def overlay(target, prediction, task=TAILINGS, image=None, crs=32633, **more):
    image = scene() if image is None else image
    grid = grid_of(*target.shape, crs=crs)
    return draw(overlay_figure(image, target, prediction, task, grid, "Mine A, 2021", **more))


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def entries(legend):
    return [text.get_text() for text in legend.get_texts()]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def has_scale_bar(axes):
    return any(line.get_label() == "scale bar" for line in axes.lines)


def test_agreement_of_every_pair_of_values():
    target = np.array([[0, 0, 1, 1, 1, 2, 2, 255, 255, 0]], np.uint8)
    prediction = np.array([[0, 1, 1, 0, 2, 1, 2, 0, 1, 255]], np.uint8)
    expected = [
        Agreement.TRUE_NEGATIVE,
        Agreement.FALSE_POSITIVE,
        Agreement.TRUE_POSITIVE,
        Agreement.FALSE_NEGATIVE,
        Agreement.WRONG_CLASS,
        Agreement.WRONG_CLASS,
        Agreement.TRUE_POSITIVE,
        Agreement.IGNORED,
        Agreement.IGNORED,
        Agreement.IGNORED,
    ]
    verdict = agreement(prediction, target)
    assert verdict.dtype == np.uint8
    assert verdict.tolist() == [expected]


def test_agreement_counts_as_scikit_learn_does():
    random = np.random.default_rng(1)
    target, prediction = random.integers(0, 3, (2, 50, 50)).astype(np.uint8)
    target[:5] = 255
    counted = target != 255
    table = confusion_matrix(target[counted], prediction[counted])
    verdict = agreement(prediction, target)
    assert np.bincount(verdict[verdict != Agreement.IGNORED], minlength=5).tolist() == [
        table[0, 0],
        table[1, 1] + table[2, 2],
        table[0, 1:].sum(),
        table[1:, 0].sum(),
        table[1, 2] + table[2, 1],
    ]


def test_agreement_refuses_different_sizes():
    with pytest.raises(MinsegError, match="on one grid"):
        agreement(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8))


@pytest.mark.parametrize("vision", VISION)
def test_agreement_colours_are_told_apart_in_every_vision(vision):
    seen = [cielab(over_grey(colour), vision) for colour in AGREEMENT_COLOURS.values()]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 32


def test_agreement_colours_are_not_taken_for_classes():
    coloured = [colour for colour in AGREEMENT_COLOURS.values() if colour != "#000000"]
    distances = [
        np.linalg.norm(cielab(over_grey(colour)) - cielab(over_grey(mine_class.colour)))
        for colour in coloured
        for mine_class in CLASSES
    ]
    assert min(distances) >= 41


def test_overlay_of_one_class():
    scores = {"iou": 0.5, "recall": 2 / 3, "precision": float("nan")}
    figure = overlay(square(), square(shift=5), scores=scores)
    assert titles(figure) == [
        "image",
        "ground truth",
        "prediction",
        "agreement: IoU 0.50\nrecall 0.67 · precision –",
    ]
    assert entries(figure.legends[0]) == ["tailing storage facility"]
    assert entries(figure.legends[1]) == ["true positive", "false positive", "false negative"]
    assert texts(figure) == ["Mine A, 2021"]
    assert [has_scale_bar(axes) for axes in figure.axes] == [True, False, False, False]


def test_overlay_paints_the_verdicts_where_they_are():
    figure = overlay(square(), square(shift=5))
    picture = figure.axes[3].images[0].get_array().astype(int)
    red, green, blue = np.moveaxis(picture, 2, 0)
    assert ((red - blue > 90) & (green - blue > 90))[17, 20]  # both: yellow
    assert ((red - blue > 90) & (red - green > 90))[27, 20]  # prediction alone: red
    assert ((blue - red > 90) & (blue - green > 90))[12, 20]  # truth alone: blue
    assert np.ptp(picture[0, 0]) == 0  # neither: grey


def test_overlay_of_many_classes_names_those_present_and_the_wrong_class():
    task = TASKS["model3"]
    target = square(value=1)
    prediction = square(value=task.target_names.index("dam"))
    target[:3] = 255
    figure = overlay(target, prediction, task)
    assert entries(figure.legends[0]) == ["stockpile", "dam"]
    assert entries(figure.legends[1])[-2:] == ["wrong class", "not annotated"]
    assert titles(figure)[3] == "agreement"


def test_overlay_of_model_4_shows_the_merged_class():
    figure = overlay(square(), square(), TASKS["model4"])
    assert entries(figure.legends[0]) == ["total transformed area"]
    assert "wrong class" not in entries(figure.legends[1])


def test_overlay_of_nothing_found_in_nothing_annotated():
    nothing = np.zeros((40, 60), np.uint8)
    figure = overlay(nothing, nothing, scores={"iou": float("nan")})
    assert entries(figure.legends[0]) == []
    assert titles(figure)[3] == "agreement: IoU –"


@pytest.mark.parametrize("bands", [1, 2, 15])
def test_overlay_takes_any_number_of_bands(bands):
    image = scene(bands=bands)
    image[:, :4] = np.nan
    figure = overlay(square(), square(), image=image)
    shown = figure.axes[0].images[0].get_array()
    assert (np.ptp(shown.astype(int), axis=2).max() == 0) == (bands < 3)
    assert (shown[:4] == 128).all()


def test_overlay_of_a_picture_that_is_nowhere_has_no_scale_bar():
    figure = overlay(square(), square(), crs=None)
    assert not any(has_scale_bar(axes) for axes in figure.axes)


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_scenes_say_so_on_the_figure(synthetic):
    labels = encode_bits({"excavation": square() > 0})
    annotation = annotation_figure(scene(), labels, grid_of(), "Mine A", synthetic)
    figure = overlay(square(), square(), synthetic=synthetic)
    assert ("SYNTHETIC" in texts(figure)) == synthetic
    assert ("SYNTHETIC" in texts(annotation)) == synthetic


def test_legends_stay_inside_the_figure_and_apart():
    task = TASKS["model3"]
    target = (np.arange(40 * 60).reshape(40, 60) % 8).astype(np.uint8)
    target[0] = 255
    prediction = np.roll(target, 3)
    figure = overlay(target, prediction, task)
    classes, verdicts = (legend.get_window_extent() for legend in figure.legends)
    assert len(entries(figure.legends[0])) == 7
    assert classes.x1 < verdicts.x0
    assert min(classes.y0, verdicts.y0) >= 0
    assert verdicts.x1 <= figure.bbox.x1


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 400), (300, 60)])
def test_annotation_names_all_ten_classes_inside_the_figure(height, width):
    columns = np.arange(width) * 10 // width
    masks = {c.name: np.tile(columns == c.id, (height, 1)) for c in CLASSES}
    labels = encode_bits(masks)
    labels[0] = 65535
    figure = draw(annotation_figure(scene(height, width), labels, grid_of(height, width), "A"))
    legend = figure.legends[0]
    assert entries(legend) == [*(c.name for c in CLASSES), "not annotated"]
    box = legend.get_window_extent()
    assert box.x0 > figure.axes[1].get_window_extent().x1
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_annotation_draws_small_things_over_large_ones_and_outlines_both():
    inner = np.zeros((40, 60), bool)
    inner[15:20, 20:30] = True
    labels = encode_bits({"excavation": square() > 0, "dam": inner})
    figure = annotation_figure(np.full((3, 40, 60), 0.2), labels, grid_of(), "Mine A")
    shown = figure.axes[1].images[0].get_array().astype(int)
    inside, around = shown[17, 25], shown[12, 25]
    assert inside.argmax() == 1  # the dam's green
    assert around.argmax() == 0  # the excavation's red
    assert len(figure.axes[1].collections) == 2
    assert entries(figure.legends[0]) == ["excavation", "dam"]


def test_annotation_of_a_scene_without_any():
    labels = np.zeros((40, 60), np.uint16)
    figure = draw(annotation_figure(scene(), labels, grid_of(), "Mine A"))
    assert titles(figure) == ["image", "annotated classes"]


def test_overlay_shows_the_crop_that_was_scored(perfect_run, dataset):
    by_mine = perfect_run.scores_by_mine()
    mine = by_mine.index[0]
    assert by_mine.loc[mine, "iou"] == 1
    figure = scenes.overlay(perfect_run, dataset, mine)
    assert figure.axes[0].images[0].get_array().shape[:2] == (48, 48)
    titles = " ".join(axes.get_title(loc="left") for axes in figure.axes)
    assert "IoU 1.00" in titles


def test_overlay_of_an_empty_prediction(perfect_run, dataset):
    worst = best_median_worst(perfect_run.scores_by_mine())["worst"]
    assert perfect_run.scores_by_mine().loc[worst, "iou"] == 0
    assert scenes.overlay(perfect_run, dataset, worst).axes


def test_mine_without_prediction(perfect_run, dataset):
    train = dataset.scenes_of("train")["mine"][0]
    with pytest.raises(MinsegError, match="no prediction of mine"):
        scenes.overlay(perfect_run, dataset, train)


def test_example_is_the_scene_with_the_most_classes(dataset):
    scene = scenes.example_scene(dataset)
    assert scene in set(dataset.scenes_of("train")["scene"])
    assert scenes.annotated_scene(dataset, scene).axes


def test_unknown_scene(dataset):
    with pytest.raises(MinsegError, match="has no scene"):
        scenes.annotated_scene(dataset, "nowhere")
