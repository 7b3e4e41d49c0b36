"""Rows of pictures of one scene: stretched, greyed, painted with classes, and laid out."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from minseg.data.raster import Grid
from minseg.report.style import MARK_COLOUR, ReportFigure

NO_DATA_COLOUR = "#808080"
"""Pixels that nobody observed."""

OPACITY = 0.75
"""Of class colours over the greyed image."""

_WIDEST_IN, _NARROWEST_IN, _TALLEST_IN = 2.6, 2.5, 4.2  # a panel's slot, before scaling
_GAP_IN, _MARGIN_IN, _TITLE_LINE_IN, _PANEL_LINE_IN = 0.12, 0.1, 0.2, 0.16


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
    low, high = np.percentile(values, (2, 98), axis=1, keepdims=True).astype(np.float32)
    spread = np.where(high > low, high - low, 1)
    # A band of one value has no contrast to stretch: it shows as its middle.
    picture[valid] = np.where(high > low, np.clip((values - low) / spread, 0, 1), 0.5).T
    return picture


def paint(picture: np.ndarray, values: np.ndarray, colours: Mapping[int, str]) -> np.ndarray:
    """Grey a picture and lay a colour over each value that has one.

    Parameters
    ----------
    picture : float32 ndarray (height, width, 3)
        As `stretch` returns it.
    values : uint8 ndarray (height, width)
    colours : mapping of int to str
        Colour of a value; white covers the picture, any other lets it through.

    Returns
    -------
    float32 ndarray (height, width, 3)
        0 to 1.
    """
    # Kept light, and short of white, so that colours and the white of unannotated pixels stand out.
    ground = np.repeat(0.3 + 0.55 * picture.mean(axis=2, keepdims=True), 3, axis=2)
    for value, colour in colours.items():
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
) -> tuple[ReportFigure, list[Axes]]:
    """Make a figure with a row of panels that fit the shape of a scene on the ground.

    Placed in inches, since matplotlib's automatic layouts leave gaps round fixed shapes.

    Parameters
    ----------
    columns : int
        Number of panels.
    grid : Grid
        Of the scene.
    title : str
        Above the row, broken into lines if long.
    synthetic : bool
        Writes SYNTHETIC at the upper right.
    scale : float
        Factor on the size of the panels.
    title_lines : int
        Lines in the panels' own titles.
    below_in : float
        Height of the room for a legend below the panels, inches.
    right_in : (float, float)
        Width and height of the room for a legend beside the panels, inches.

    Returns
    -------
    figure : ReportFigure
    panels : list of Axes
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

    figure = ReportFigure(figsize=(total_in, all_in))
    left, top = _MARGIN_IN / total_in, 1 - _MARGIN_IN / all_in
    bold: dict[str, Any] = {"va": "top", "fontsize": 10, "fontweight": "bold"}
    figure.text(left, top, "\n".join(lines), ha="left", **bold)
    if synthetic:
        figure.text(1 - left, top, "SYNTHETIC", ha="right", color=MARK_COLOUR, **bold)
    bottom = (all_in - above_in - height_in) / all_in
    panels = [
        figure.add_axes(
            (
                (_MARGIN_IN + column * (slot_in + _GAP_IN)) / total_in,
                bottom,
                width_in / total_in,
                height_in / all_in,
            )
        )
        for column in range(columns)
    ]
    return figure, panels


def show(panel: Axes, picture: np.ndarray, title: str) -> None:
    """Draw a picture into a panel of `picture_row`, without axes."""
    levels = (picture * 255).round().astype(np.uint8)
    panel.imshow(levels, aspect="auto")  # the panel has the shape of the ground already
    panel.set_title(title)
    panel.set_axis_off()
