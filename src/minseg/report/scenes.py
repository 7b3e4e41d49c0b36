"""Scenes as pictures: stretched, painted with classes, and held against the truth."""

import textwrap
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from rasterio.windows import Window

from minseg.data.dataset import Dataset
from minseg.data.labels import (
    ANNOTATED_NAMES,
    EXTENT,
    IGNORE,
    IGNORE_BITS,
    PRIORITY,
    Task,
    class_bit,
    decode_bits,
    uppermost,
)
from minseg.data.raster import Grid
from minseg.maps.class_map import ClassMap
from minseg.report import style
from minseg.report.style import number
from minseg.study.errors import best_median_worst as best_median_worst
from minseg.study.runs import Run, find_scene, scene_prediction

NO_DATA_COLOUR = "#808080"
"""Pixels that nobody observed."""

OPACITY = 0.75
"""Of class colours over the greyed image."""

_WIDEST_IN, _NARROWEST_IN, _TALLEST_IN = 2.6, 2.5, 4.2  # a panel's slot, before scaling
_GAP_IN, _MARGIN_IN, _TITLE_LINE_IN, _PANEL_LINE_IN = 0.12, 0.1, 0.2, 0.16


def stretch(image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Stretch (bands, height, width), each band from its 2nd to its 98th percentile.

    Red, green and blue come first; of fewer than three bands the first is shown in grey. Valid is
    by default where the bands shown are finite and not all 0, as `Dataset.read_inputs` fills gaps.
    Returns float32 (height, width, 3), 0 to 1, mid-grey where not valid.
    """
    shown = np.asarray(image[:3] if len(image) >= 3 else image[:1], np.float32)
    finite = np.isfinite(shown).all(axis=0)
    valid = finite & ((shown != 0).any(axis=0) if valid is None else valid)
    picture = np.full((*valid.shape, 3), to_rgb(NO_DATA_COLOUR), np.float32)
    if not valid.any():
        return picture
    values = shown[:, valid]  # (bands, valid pixels)
    low, high = np.percentile(values, (2, 98), axis=1, keepdims=True).astype(np.float32)
    spread = np.where(high > low, high - low, 1)
    # A band of one value has no contrast to stretch: it shows as its middle.
    picture[valid] = np.where(high > low, np.clip((values - low) / spread, 0, 1), 0.5).T
    return picture


def paint(picture: np.ndarray, values: np.ndarray, colours: Mapping[int, str]) -> np.ndarray:
    """Grey a picture of `stretch` and lay a colour over each value that has one.

    White, that of ignored pixels too, covers the picture; any other colour lets it through.
    """
    # Kept light, and short of white, so that colours and the white of unannotated pixels stand out.
    ground = np.repeat(0.3 + 0.55 * picture.mean(axis=2, keepdims=True), 3, axis=2)
    for value, colour in {**colours, IGNORE: "#FFFFFF"}.items():
        rgb = np.array(to_rgb(colour), np.float32)
        where = values == value
        opacity = np.float32(1.0 if rgb.min() == 1 else OPACITY)
        ground[where] = opacity * rgb + (1 - opacity) * ground[where]
    return ground


def picture_row(
    columns: int,
    grid: Grid,
    title: str,
    synthetic: bool,
    *,
    scale: float = 1.0,
    title_lines: int = 1,
    below_in: float = 0.0,
    right_in: tuple[float, float] = (0.0, 0.0),
) -> tuple[style.ReportFigure, list[Axes]]:
    """Make a figure with a row of panels that fit a scene's ground, with a scale bar in the first.

    Placed in inches, since matplotlib's automatic layouts leave gaps round fixed shapes. Room for
    legends is a height below the panels, and a width and height beside them.
    """
    pixel_width, pixel_height = grid.pixel_size_m
    ratio = grid.height * pixel_height / (grid.width * pixel_width)
    height_in = min(_WIDEST_IN * ratio, _TALLEST_IN) * scale
    width_in = height_in / ratio
    slot_in = max(width_in, _NARROWEST_IN * scale)
    total_in = 2 * _MARGIN_IN + columns * slot_in + (columns - 1) * _GAP_IN + right_in[0]
    mark_in = 1.1 if synthetic else 0.0
    lines = textwrap.wrap(title, int((total_in - mark_in) / 0.095)) or [""]  # inches a letter
    above_in = _MARGIN_IN + len(lines) * _TITLE_LINE_IN + 0.1 + title_lines * _PANEL_LINE_IN
    all_in = above_in + max(height_in + below_in, right_in[1]) + _MARGIN_IN

    figure = style.ReportFigure(figsize=(total_in, all_in))
    left, top = _MARGIN_IN / total_in, 1 - _MARGIN_IN / all_in
    bold: dict[str, Any] = {"va": "top", "fontsize": 10, "fontweight": "bold"}
    figure.text(left, top, "\n".join(lines), ha="left", **bold)
    if synthetic:
        figure.text(1 - left, top, "SYNTHETIC", ha="right", color=style.MARK_COLOUR, **bold)
    bottom = (all_in - above_in - height_in) / all_in
    size = width_in / total_in, height_in / all_in
    starts = [(_MARGIN_IN + k * (slot_in + _GAP_IN)) / total_in for k in range(columns)]
    panels = [figure.add_axes((start, bottom, *size)) for start in starts]
    style.add_scale_bar(panels[0], grid)
    return figure, panels


def show(panel: Axes, picture: np.ndarray, title: str) -> None:
    """Draw a picture into a panel of `picture_row`, without axes."""
    levels = (picture * 255).round().astype(np.uint8)
    panel.imshow(levels, aspect="auto")  # the panel has the shape of the ground already
    panel.set_title(title)
    panel.set_axis_off()


def class_colours(task: Task) -> dict[int, str]:
    """Return the colours of a task's values but the background's."""
    return dict(enumerate(task.target_colours[1:], start=1))


def classes_present(task: Task, *rasters: np.ndarray) -> dict[str, str]:
    """Return name and colour of those of a task's classes that are in any of the rasters."""
    present = set(np.concatenate([np.unique(raster) for raster in rasters]))
    return {
        task.target_names[value]: colour
        for value, colour in class_colours(task).items()
        if value in present
    }


_EVERYTHING = Task("labels", ANNOTATED_NAMES, overlapping=True)
CLASS_COLOURS = dict(zip(_EVERYTHING.target_names, _EVERYTHING.target_colours, strict=True))
"""Colour of a class, the same in every figure."""


def joined(maps: Iterable[ClassMap]) -> np.ndarray:
    """Join class maps of several tasks on one grid into one bit mask, ignored where all are."""
    maps = list(maps)
    layers = [
        one.task.mask(one.classes, name) * np.uint16(class_bit(name))
        for one in maps
        for name in one.task.target_names[1:]
    ]
    missing = np.logical_and.reduce([one.missing for one in maps])
    return np.where(missing, np.uint16(IGNORE_BITS), np.bitwise_or.reduce(layers))


def names_present(labels: Iterable[np.ndarray]) -> dict[str, str]:
    """Return name and colour of the classes that are in any of some bit masks."""
    seen = np.bitwise_or.reduce(
        [np.bitwise_or.reduce(bits[bits != IGNORE_BITS]) for bits in labels]
    )
    return {name: CLASS_COLOURS[name] for name in ANNOTATED_NAMES if seen & class_bit(name)}


def draw_classes(panel: Axes, picture: np.ndarray, bits: np.ndarray, title: str) -> None:
    """Paint the classes of a bit mask over a picture into a panel of `picture_row`.

    Where classes overlap the fill is that of the later one in `PRIORITY`, so that a slope shows
    inside its excavation; every class keeps its outline.
    """
    drawn, meaning = uppermost(bits, _EVERYTHING)
    show(panel, paint(picture, drawn, class_colours(meaning)), title)
    for name in (EXTENT.name, *PRIORITY):
        mask = decode_bits(bits, name)
        if mask.any() and not mask.all():
            panel.contour(mask, [0.5], colors=[CLASS_COLOURS[name]], linewidths=0.9)


NOT_ANNOTATED = {"not annotated": "#FFFFFF"}
"""Legend entry of the pixels that neither train nor count."""


class Agreement(IntEnum):
    """What a prediction says of a pixel, held against the truth."""

    TRUE_NEGATIVE = 0
    TRUE_POSITIVE = 1
    FALSE_POSITIVE = 2
    FALSE_NEGATIVE = 3
    WRONG_CLASS = 4
    """Both see a class, but not the same one."""
    IGNORED = IGNORE

    @property
    def title(self) -> str:
        """The name for a reader."""
        return self.name.replace("_", " ").lower()


# Chosen by search: blended over mid-grey every two of them differ by at least 32 CIELAB units, in
# normal vision and in simulated protanopia, deuteranopia and tritanopia; and each but black by 41
# from every class of Table 1, so that no verdict is taken for a class.
AGREEMENT_COLOURS: dict[Agreement, str] = {
    Agreement.TRUE_POSITIVE: "#FFDD00",
    Agreement.FALSE_POSITIVE: "#FF0000",
    Agreement.FALSE_NEGATIVE: "#0000FF",
    Agreement.WRONG_CLASS: "#000000",
}


def agreement(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Classify every pixel of a prediction by what the truth says there, as `Agreement`."""
    seen, there = prediction > 0, target > 0
    verdict = np.zeros(target.shape, np.uint8)
    verdict[seen & ~there] = Agreement.FALSE_POSITIVE
    verdict[there & ~seen] = Agreement.FALSE_NEGATIVE
    verdict[seen & there] = Agreement.WRONG_CLASS
    verdict[seen & (prediction == target)] = Agreement.TRUE_POSITIVE
    verdict[(prediction == IGNORE) | (target == IGNORE)] = Agreement.IGNORED
    return verdict


@style.in_style()
def overlay_figure(
    image: np.ndarray,
    target: np.ndarray,
    prediction: np.ndarray,
    task: Task,
    grid: Grid,
    title: str,
    scores: Mapping[str, float],
    synthetic: bool,
) -> Figure:
    """Show image, ground truth, prediction and their agreement side by side (Figures 5 to 16).

    Scores are `iou`, `recall` and `precision`, written above the agreement; NaN is undefined.
    """
    iou, recall, precision = (number(scores[name], 2) for name in ("iou", "recall", "precision"))
    verdict = agreement(prediction, target)
    class_legend = classes_present(task, target, prediction)
    verdict_legend = {
        kind.title: colour
        for kind, colour in AGREEMENT_COLOURS.items()
        if kind != Agreement.WRONG_CLASS or task.num_classes > 2
    } | (NOT_ANNOTATED if np.any(verdict == Agreement.IGNORED) else {})
    legends = ((class_legend, 3), (verdict_legend, 2))

    figure, panels = picture_row(
        4,
        grid,
        title,
        synthetic,
        scale=0.88,
        title_lines=2,
        below_in=max(style.legend_height_in(len(legend), columns) for legend, columns in legends),
    )
    picture = stretch(image)
    classes = class_colours(task)
    show(panels[0], picture, "image")
    show(panels[1], paint(picture, target, classes), "ground truth")
    show(panels[2], paint(picture, prediction, classes), "prediction")
    verdicts = {int(kind): colour for kind, colour in AGREEMENT_COLOURS.items()}
    verdict_title = f"agreement: IoU {iou}\nrecall {recall} · precision {precision}"
    show(panels[3], paint(picture, verdict, verdicts), verdict_title)
    for panel, (legend, columns) in zip((panels[0], panels[3]), legends, strict=True):
        style.legend_below(figure, panel, legend, columns)
    return figure


@style.in_style()
def annotation_figure(
    image: np.ndarray,
    labels: Mapping[str, np.ndarray],
    grid: Grid,
    title: str,
    synthetic: bool = False,
) -> Figure:
    """Show a scene, and titled bit masks of Table 1 over it as `draw_classes` does (Figure 3)."""
    legend = names_present(labels.values())
    legend |= NOT_ANNOTATED if any(np.any(bits == IGNORE_BITS) for bits in labels.values()) else {}
    legend_in = (1.95, 0.22 * len(legend))

    count = 1 + len(labels)
    scale = 1.2 if count == 2 else 0.88
    figure, panels = picture_row(count, grid, title, synthetic, scale=scale, right_in=legend_in)
    picture = stretch(image)
    show(panels[0], picture, "image")
    for panel, (name_of_panel, bits) in zip(panels[1:], labels.items(), strict=True):
        draw_classes(panel, picture, bits, name_of_panel)
    box = panels[-1].get_position()
    figure.legend(
        handles=style.colour_patches(legend),
        loc="upper left",
        bbox_to_anchor=(box.x1 + 0.15 / figure.get_figwidth(), box.y1),
        labelspacing=0.7,
    )
    return figure


DISPLAY_BANDS = ("B04", "B03", "B02")
"""Bands shown as red, green and blue."""


def example_scene(dataset: Dataset) -> str:
    """Return the train scene with the most classes; of several, the one with most labels."""

    def richness(scene: pd.Series) -> tuple[int, int]:
        labels = dataset.read_labels(scene)
        pixels = [int(np.count_nonzero(decode_bits(labels, name))) for name in ANNOTATED_NAMES]
        return sum(count > 0 for count in pixels), sum(pixels)

    scenes = [scene for _, scene in dataset.scenes_of("train").iterrows()]
    return max(scenes, key=richness)["scene"]


def annotated_scene(dataset: Dataset, scene: str) -> Figure:
    """Draw a scene and its annotation, as the paper's Figure 3."""
    row = find_scene(dataset, scene)
    image, title = read_picture(dataset, row), scene_title(dataset, row)
    labels = {"annotated classes": dataset.read_labels(row)}
    return annotation_figure(image, labels, dataset.grid(row), title, dataset.synthetic)


def overlay(run: Run, dataset: Dataset, mine: str) -> Figure:
    """Draw image, truth, a run's stored prediction and their agreement for one test mine.

    Of classes that overlap the uppermost are drawn; the scores are of all.
    """
    tested = scene_prediction(run, dataset, mine).uppermost()
    by_mine = run.scores_by_mine()
    scores = {name: float(by_mine[name][mine]) for name in ("iou", "recall", "precision")}
    return overlay_figure(
        read_picture(dataset, tested.scene, tested.window),
        tested.target,
        tested.prediction,
        tested.task,
        tested.grid,
        f"{scene_title(dataset, tested.scene)}: {tested.task.title}",
        scores,
        dataset.synthetic,
    )


def display_bands(bands: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bands to show: red, green and blue, or the first one there is."""
    return DISPLAY_BANDS if set(DISPLAY_BANDS) <= set(bands) else bands[:1]


def read_picture(dataset: Dataset, scene: pd.Series, window: Window | None = None) -> np.ndarray:
    """Read what is shown of a scene or a part of it: float32 (bands, height, width)."""
    return dataset.read_inputs(scene, display_bands(dataset.description.bands), window)[0]


def scene_title(dataset: Dataset, scene: pd.Series) -> str:
    """Name a scene: its mine, and the year if it is known."""
    name, year = mine_name(dataset, scene["mine"]), scene["year"]
    return name if pd.isna(year) else f"{name}, {year}"


def mine_name(dataset: Dataset, mine: str) -> str:
    """Return a mine's name for a reader; its identifier where it has none."""
    return str(dataset.mines.set_index("mine").loc[mine, "name"]) or mine
