"""Pictures of scenes: image, truth, prediction and where the two agree (Figures 3 and 5 to 18)."""

import math
import textwrap
from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from minseg.data.labels import (
    CLASSES,
    IGNORE,
    IGNORE_BITS,
    PRIORITY,
    Task,
    decode_bits,
)
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.report.style import (
    MARK_COLOUR,
    NO_DATA_COLOUR,
    ReportFigure,
    add_scale_bar,
    colour_patches,
    in_style,
)

NOT_ANNOTATED = "not annotated"
NOT_ANNOTATED_COLOUR = "#FFFFFF"
"""Pixels that neither train nor count."""

OPACITY = 0.75
"""Of class colours over the greyed image."""


class Agreement(IntEnum):
    """What a prediction says of a pixel, held against the truth."""

    TRUE_NEGATIVE = 0
    TRUE_POSITIVE = 1
    FALSE_POSITIVE = 2
    FALSE_NEGATIVE = 3
    WRONG_CLASS = 4
    """Both see a class, but not the same one."""
    IGNORED = IGNORE


# Four of Okabe and Ito's colours, chosen for contrast over grey: blended at `OPACITY` every two
# differ by at least 22 CIELAB units in normal and in simulated colour-deficient vision.
AGREEMENT_COLOURS: dict[Agreement, str] = {
    Agreement.TRUE_POSITIVE: "#F0E442",
    Agreement.FALSE_POSITIVE: "#D55E00",
    Agreement.FALSE_NEGATIVE: "#0072B2",
    Agreement.WRONG_CLASS: "#000000",
}

_SLOT_IN, _TALLEST_IN, _GAP_IN, _MARGIN_IN = 2.6, 4.2, 0.12, 0.08
_LEGEND_ROW_IN = 0.19


def stretch(image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Stretch an image for display, each band from its 2nd to its 98th percentile.

    Parameters
    ----------
    image : float ndarray (bands, height, width)
        Red, green, blue first; of fewer than three bands the first is shown in grey.
    valid : bool ndarray (height, width), optional
        Where the image holds data. By default where all bands shown are finite and not all are 0,
        which is how `Dataset.read_inputs` fills a place without data.

    Returns
    -------
    float32 ndarray (height, width, 3)
        0 to 1; mid-grey where not valid.
    """
    shown = np.asarray(image[:3] if len(image) >= 3 else image[:1], np.float32)
    finite = np.isfinite(shown).all(axis=0)
    valid = finite & ((shown != 0).any(axis=0) if valid is None else valid)
    picture = np.full((*valid.shape, 3), to_rgb(NO_DATA_COLOUR), np.float32)
    if not valid.any():
        return picture
    values = shown[:, valid]  # (bands, valid pixels)
    low, high = np.percentile(values, (2, 98), axis=1, keepdims=True)
    spread = np.where(high > low, high - low, 1)
    picture[valid] = np.where(high > low, np.clip((values - low) / spread, 0, 1), 0.5).T
    return picture


def agreement(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Classify every pixel of a prediction by what the truth says there.

    Parameters
    ----------
    prediction, target : uint8 ndarray (height, width)
        0 background, 1 … the task's classes, 255 ignore.

    Returns
    -------
    uint8 ndarray (height, width)
        Values of `Agreement`; ignored where either is 255.

    Raises
    ------
    MinsegError
        If the two differ in size.
    """
    if prediction.shape != target.shape:
        raise MinsegError(
            f"the prediction is {_size(prediction)} pixels and the truth {_size(target)}; "
            "compare rasters on one grid"
        )
    seen, there = prediction > 0, target > 0
    result = np.zeros(target.shape, np.uint8)
    result[seen & ~there] = Agreement.FALSE_POSITIVE
    result[there & ~seen] = Agreement.FALSE_NEGATIVE
    result[seen & there] = Agreement.WRONG_CLASS
    result[seen & (prediction == target)] = Agreement.TRUE_POSITIVE
    result[(prediction == IGNORE) | (target == IGNORE)] = Agreement.IGNORED
    return result


@in_style
def overlay_figure(
    image: np.ndarray,
    target: np.ndarray,
    prediction: np.ndarray,
    task: Task,
    grid: Grid,
    title: str,
    scores: Mapping[str, float] | None = None,
    synthetic: bool = False,
) -> Figure:
    """Show image, ground truth, prediction and their agreement (as Figures 5 to 16).

    Parameters
    ----------
    image : float ndarray (bands, height, width)
        Red, green, blue first; of fewer than three bands the first is shown in grey. NaN, or 0 in
        all bands, where there is no data.
    target, prediction : uint8 ndarray (height, width)
        0 background, 1 … the task's classes, 255 ignore.
    task : Task
        Names and colours of the target values.
    grid : Grid
        Of the scene, for the scale bar.
    title : str
        Above the figure.
    scores : mapping of str to float, optional
        `iou`, `recall` and `precision`, written above the agreement; NaN is undefined.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        Four panels: image, ground truth, prediction, agreement.

    Raises
    ------
    MinsegError
        If prediction and truth differ in size.
    """
    verdict = agreement(prediction, target)
    class_colours = dict(enumerate(task.target_colours))
    present = {
        task.target_names[value]: colour
        for value, colour in class_colours.items()
        if value > 0 and ((target == value).any() or (prediction == value).any())
    }
    kinds = [kind for kind in AGREEMENT_COLOURS if task.num_classes > 2 or kind < 4]
    verdict_colours = {kind.name.replace("_", " ").lower(): AGREEMENT_COLOURS[kind] for kind in kinds}
    if (verdict == Agreement.IGNORED).any():
        verdict_colours[NOT_ANNOTATED] = NOT_ANNOTATED_COLOUR

    rows = max(math.ceil(len(present) / 4), math.ceil(len(verdict_colours) / 2))
    figure, panels = _picture_row(4, grid, title, synthetic, legend_rows=rows)
    colour_image = stretch(image)
    grey = _greyed(colour_image)
    painted_class = {**class_colours, IGNORE: NOT_ANNOTATED_COLOUR}
    painted_verdict = {**AGREEMENT_COLOURS, Agreement.IGNORED: NOT_ANNOTATED_COLOUR}
    _show(panels[0], colour_image, grid, "image")
    _show(panels[1], _paint(grey, target, painted_class), grid, "ground truth")
    _show(panels[2], _paint(grey, prediction, painted_class), grid, "prediction")
    _show(panels[3], _paint(grey, verdict, painted_verdict), grid, _agreement_title(scores))
    add_scale_bar(panels[0], grid)

    for panel, colours, columns in ((panels[0], present, 4), (panels[3], verdict_colours, 2)):
        if colours:
            _legend_below(figure, panel, colours, columns)
    return figure


@in_style
def annotation_figure(
    image: np.ndarray, labels: np.ndarray, grid: Grid, title: str, synthetic: bool = False
) -> Figure:
    """Show an annotated scene: the image, and the classes of Table 1 over it (as Figure 3).

    Where classes overlap the fill is that of the later one in `PRIORITY`, so that a slope shows
    inside its excavation; every class keeps its outline.

    Parameters
    ----------
    image : float ndarray (bands, height, width)
        As in `overlay_figure`.
    labels : uint16 ndarray (height, width)
        Bit k = class k of Table 1; 65535 = ignore.
    grid : Grid
        Of the scene, for the scale bar.
    title : str
        Above the figure.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels and a legend of the classes present.
    """
    masks = {name: decode_bits(labels, name) for name in PRIORITY}
    ids = {mine_class.name: mine_class.id for mine_class in CLASSES}
    top = np.full(labels.shape, len(CLASSES), np.uint8)  # one past the last class: none
    for name, mask in masks.items():
        top[mask] = ids[name]
    top[labels == IGNORE_BITS] = IGNORE
    colours = {mine_class.id: mine_class.colour for mine_class in CLASSES}

    figure, panels = _picture_row(2, grid, title, synthetic, legend_in=1.95, scale=1.55)
    colour_image = stretch(image)
    _show(panels[0], colour_image, grid, "image")
    painted = _paint(_greyed(colour_image), top, {**colours, IGNORE: NOT_ANNOTATED_COLOUR})
    _show(panels[1], painted, grid, "annotated classes")
    add_scale_bar(panels[0], grid)
    for name, mask in masks.items():
        if mask.any() and min(mask.shape) > 1:
            panels[1].contour(mask, [0.5], colors=[colours[ids[name]]], linewidths=0.9)

    present = {c.name: c.colour for c in CLASSES if masks[c.name].any()}
    if (top == IGNORE).any():
        present[NOT_ANNOTATED] = NOT_ANNOTATED_COLOUR
    if present:
        box = panels[1].get_position()
        figure.legend(
            handles=colour_patches(present),
            loc="upper left",
            bbox_to_anchor=(box.x1 + 0.15 / figure.get_figwidth(), box.y1),
            labelspacing=0.7,
        )
    return figure


def _size(array: np.ndarray) -> str:
    """Write an array's size as height x width."""
    return " x ".join(map(str, array.shape))


def _greyed(picture: np.ndarray) -> np.ndarray:
    """Turn a picture into a light grey ground for colours, (height, width, 3)."""
    return np.repeat(0.3 + 0.6 * picture.mean(axis=2, keepdims=True), 3, axis=2)


def _paint(ground: np.ndarray, values: np.ndarray, colours: Mapping[int, str]) -> np.ndarray:
    """Lay each value's colour over a picture; 0 and values without a colour stay clear.

    The white of unannotated pixels covers the picture; class colours let it through.
    """
    picture = ground.copy()
    ...
    return picture
