"""Truth and prediction over the image, and where the two agree (Figures 3 and 5 to 18)."""

import math
from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from matplotlib.figure import Figure

from minseg.data.labels import (
    CLASSES,
    EXTENT,
    IGNORE,
    IGNORE_BITS,
    PRIORITY,
    Task,
    decode_bits,
)
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.report.pictures import paint, picture_row, show, stretch
from minseg.report.style import (
    add_scale_bar,
    colour_patches,
    in_style,
    legend_below,
    legend_height_in,
)

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
            f"the prediction has (height, width) {prediction.shape} and the truth {target.shape}; "
            "compare rasters on one grid"
        )
    seen, there = prediction > 0, target > 0
    verdict = np.zeros(target.shape, np.uint8)
    verdict[seen & ~there] = Agreement.FALSE_POSITIVE
    verdict[there & ~seen] = Agreement.FALSE_NEGATIVE
    verdict[seen & there] = Agreement.WRONG_CLASS
    verdict[seen & (prediction == target)] = Agreement.TRUE_POSITIVE
    verdict[(prediction == IGNORE) | (target == IGNORE)] = Agreement.IGNORED
    return verdict


@in_style()
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
    """Show image, ground truth, prediction and their agreement side by side (Figures 5 to 16).

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
        Of the scene, for its shape on the ground and the scale bar.
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
    class_legend = {
        name: colour
        for value, (name, colour) in enumerate(
            zip(task.target_names, task.target_colours, strict=True)
        )
        if value > 0 and (np.any(target == value) or np.any(prediction == value))
    }
    verdict_legend = {
        kind.name.replace("_", " ").lower(): colour
        for kind, colour in AGREEMENT_COLOURS.items()
        if kind != Agreement.WRONG_CLASS or task.num_classes > 2
    } | (NOT_ANNOTATED if np.any(verdict == Agreement.IGNORED) else {})
    legends = ((class_legend, 3), (verdict_legend, 2))

    verdict_title = _agreement_title(scores)
    figure, panels = picture_row(
        4,
        grid,
        title,
        synthetic,
        scale=0.88,
        title_lines=verdict_title.count("\n") + 1,
        below_in=max(legend_height_in(len(legend), columns) for legend, columns in legends),
    )
    picture = stretch(image)
    ignored = {IGNORE: "#FFFFFF"}
    classes = dict(list(enumerate(task.target_colours))[1:]) | ignored
    show(panels[0], picture, "image")
    show(panels[1], paint(picture, target, classes), "ground truth")
    show(panels[2], paint(picture, prediction, classes), "prediction")
    verdicts = paint(picture, verdict, {int(k): c for k, c in AGREEMENT_COLOURS.items()} | ignored)
    show(panels[3], verdicts, verdict_title)
    add_scale_bar(panels[0], grid)
    for panel, (legend, columns) in zip((panels[0], panels[3]), legends, strict=True):
        legend_below(figure, panel, legend, columns)
    return figure


def _agreement_title(scores: Mapping[str, float] | None) -> str:
    """Title the agreement panel, with the scores given below."""
    names = {"iou": "IoU", "recall": "recall", "precision": "precision"}
    given = [
        f"{name} {'–' if math.isnan(scores[key]) else f'{scores[key]:.2f}'}"
        for key, name in names.items()
        if scores and key in scores
    ]
    lines = ["agreement" + "".join(f": {text}" for text in given[:1]), " · ".join(given[1:])]
    return "\n".join(filter(None, lines))


@in_style()
def annotation_figure(
    image: np.ndarray, labels: np.ndarray, grid: Grid, title: str, synthetic: bool = False
) -> Figure:
    """Show an annotated scene: the image, and the classes of Table 1 over it (Figure 3).

    Where classes overlap the fill is that of the later one in `PRIORITY`, so that a slope shows
    inside its excavation; every class keeps its outline.

    Parameters
    ----------
    image : float ndarray (bands, height, width)
        As in `overlay_figure`.
    labels : uint16 ndarray (height, width)
        Bit k = class k of Table 1; 65535 = ignore.
    grid : Grid
        Of the scene, for its shape on the ground and the scale bar.
    title : str
        Above the figure.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels and a legend of the classes present.
    """
    colours = {mine_class.name: mine_class.colour for mine_class in (EXTENT, *CLASSES)}
    masks = {name: decode_bits(labels, name) for name in (EXTENT.name, *PRIORITY)}
    present = [name for name in masks if masks[name].any()]
    uppermost = np.zeros(labels.shape, np.uint8)  # 0 none, 1 … present
    for value, name in enumerate(present, start=1):
        uppermost[masks[name]] = value
    uppermost[labels == IGNORE_BITS] = IGNORE

    legend = {name: colour for name, colour in colours.items() if name in present}
    legend |= NOT_ANNOTATED if np.any(uppermost == IGNORE) else {}
    legend_in = (1.95, 0.22 * len(legend))

    figure, panels = picture_row(2, grid, title, synthetic, scale=1.2, right_in=legend_in)
    picture = stretch(image)
    fills = {value: colours[name] for value, name in enumerate(present, start=1)}
    show(panels[0], picture, "image")
    show(panels[1], paint(picture, uppermost, fills | {IGNORE: "#FFFFFF"}), "annotated classes")
    for name in present:
        panels[1].contour(masks[name], [0.5], colors=[colours[name]], linewidths=0.9)
    add_scale_bar(panels[0], grid)
    box = panels[1].get_position()
    figure.legend(
        handles=colour_patches(legend),
        loc="upper left",
        bbox_to_anchor=(box.x1 + 0.15 / figure.get_figwidth(), box.y1),
        labelspacing=0.7,
    )
    return figure
