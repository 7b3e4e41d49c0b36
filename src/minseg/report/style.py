"""The look all figures share, their furniture (scale bar, marks, notes), and wide tables."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO

import pandas as pd
from matplotlib import patheffects, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas.io.formats.style import Styler
from pandas.io.formats.style_render import CSSDict

from minseg.data.raster import Grid
from minseg.report.text import text_table

in_style = partial(style.context, "minseg.report.minseg")
"""Context, or decorator, under which figures are drawn: the settings of ``minseg.mplstyle``."""

PART_STYLES: dict[str, tuple[str, str]] = {
    "train": ("#0072B2", "o"),
    "validation": ("#E69F00", "s"),
    "test": ("#009E73", "^"),
}
"""Colour and marker of a part, the same in every figure."""

SCALE_BAR_SHARE = 0.3
"""The most of a picture's width that a scale bar takes."""

SCALE_BAR = "scale bar"
"""Label of the bar among a panel's lines."""

MARK_COLOUR = "#B2182B"
"""The word on figures of synthetic data."""

_LEGEND_GAP_IN, _LEGEND_ROW_IN = 0.08, 0.19


class ReportFigure(Figure):
    """A figure that a notebook shows once, as a cell's last expression or through `display`.

    It stays out of pyplot: nothing is left open there, no window appears in a script, and it is
    shown whether or not pyplot's notebook backend was loaded.
    """

    @in_style()
    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def scale_bar_length_m(extent_m: float) -> float:
    """Return the longest 1, 2 or 5 times a power of ten that fits a picture's scale bar."""
    longest = SCALE_BAR_SHARE * extent_m * (1 + 1e-9)
    power = 10.0 ** math.floor(math.log10(longest))
    return power * max(step for step in (1, 2, 5) if step * power <= longest)


def format_length(length_m: float) -> str:
    """Write a length in metres, from 1000 m on in kilometres."""
    return f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"


def add_scale_bar(axes: Axes, grid: Grid) -> None:
    """Draw a scale bar in the lower left of a picture drawn in pixel coordinates."""
    if grid.crs is None:  # no length is known
        return
    pixel_width_m = grid.pixel_size_m[0]
    length_m = scale_bar_length_m(grid.width * pixel_width_m)
    length = length_m / pixel_width_m / grid.width  # share of the panel's width
    # White on a dark rim reads on snow as on forest.
    rim = [patheffects.withStroke(linewidth=2.5, foreground="black")]
    bar = Line2D(
        [0.04, 0.04 + length],
        [0.05, 0.05],
        transform=axes.transAxes,
        color="white",
        linewidth=3,
        solid_capstyle="butt",
        path_effects=[patheffects.withStroke(linewidth=5, foreground="black")],
        label=SCALE_BAR,
    )
    axes.add_artist(bar)
    axes.annotate(
        format_length(length_m),
        (0.04 + length / 2, 0.05),
        (0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        color="white",
        ha="center",
        va="bottom",
        fontweight="bold",
        path_effects=rim,
    )


def mark_synthetic(figure: Figure, synthetic: bool) -> None:
    """Write SYNTHETIC at the upper right of a figure if its data are made, not observed."""
    if synthetic:
        figure.suptitle(
            "SYNTHETIC", x=0.99, ha="right", color=MARK_COLOUR, fontsize=10, fontweight="bold"
        )


def note_at_axis(axes: Axes, row: float, note: str, right: bool = False) -> None:
    """Say at the left or right end of a row why nothing is drawn there."""
    axes.annotate(
        note,
        (1, row) if right else (0, row),
        (-4, 0) if right else (4, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        fontsize=7.5,
        color="#777777",
    )


def colour_patches(colours: Mapping[str, str]) -> list[Patch]:
    """Return one legend entry per name, filled with its colour."""
    return [
        Patch(facecolor=colour, edgecolor="#555555", label=name) for name, colour in colours.items()
    ]


def legend_marker(
    label: str, colour: str, marker: str = "o", width: float = 0, hollow: bool = False
) -> Line2D:
    """Return a legend entry: a marker, on a line if it has a width."""
    face = "white" if hollow else colour
    return Line2D(
        [], [], color=colour, marker=marker, linewidth=width, markerfacecolor=face, label=label
    )


def legend_height_in(entries: int, columns: int) -> float:
    """Return the height of the room that `legend_below` takes below the panels, inches."""
    return _LEGEND_GAP_IN + math.ceil(entries / columns) * _LEGEND_ROW_IN


def legend_below(figure: Figure, panel: Axes, entries: Mapping[str, str], columns: int) -> None:
    """Put a legend of names and their colours below the panels, from one's left edge on."""
    box = panel.get_position()
    figure.legend(
        handles=colour_patches(entries),
        ncols=columns,
        loc="upper left",
        bbox_to_anchor=(box.x0, box.y0 - _LEGEND_GAP_IN / figure.get_figheight()),
    )


def legend_above(axes: Axes) -> None:
    """Put the legend in a row above a panel, clear of the data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.5, ncols=len(labels))


def table_style(table: pd.DataFrame, corner: tuple[str, str], rules: Sequence[int] = ()) -> Styler:
    """Set a wide table in small type, lines between groups of the first of two column levels.

    The upper left corner names the two levels; rules are rows with a line above.
    """
    groups = table.columns.get_level_values(0)
    columns = [f".col{k}" for k in range(1, len(groups)) if groups[k] != groups[k - 1]]
    line = "1px solid rgba(128, 128, 128, 0.5)"  # shows on light pages and on dark ones
    small = "padding: 0.25em 0.3em; font-size: 0.8rem; text-align: right; vertical-align: bottom"
    styles = {
        "td, th": small,
        "td, th.row_heading": "white-space: nowrap",
        "th.col_heading.level0": "text-align: center",
        "th.row_heading, th.index_name": "text-align: left",
        "th.index_name": "min-width: 5.5em",
        ", ".join(columns): f"border-left: {line}",
        ", ".join(f".row{k}" for k in rules): f"border-top: {line}",
    }
    plain = table.rename_axis(columns=list(corner))
    plain.index = plain.index.set_names([None] * plain.index.nlevels)  # a row may have two levels
    return text_table(plain).set_table_styles(
        [CSSDict(selector=cells, props=props) for cells, props in styles.items() if cells]
    )


def row_panels(
    titles: Sequence[str], rows: Sequence[str], head_in: float
) -> tuple[Figure, list[Axes]]:
    """Lay out panels, two side by side, that share their axes and have named rows.

    `head_in` is the height of a panel's title and margins, inches.
    """
    across = min(len(titles), 2)
    down = -(-len(titles) // across)
    height_in = 1.0 + down * (head_in + 0.27 * len(rows))
    figure = ReportFigure(figsize=(7.4, height_in), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(titles) :]:
        axes.remove()
    panels = list(grid[: len(titles)])
    for k, (title, axes) in enumerate(zip(titles, panels, strict=True)):
        axes.set_title(textwrap.fill(title, 88 // across), fontweight="bold")
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=k + across >= len(titles))
        axes.grid(axis="x")
    panels[0].set_ylim(len(rows) - 0.5, -0.5)  # the first row on top; all panels share it
    return figure, panels


def nothing_figure(synthetic: bool) -> Figure:
    """Return a figure that says that there is nothing to draw."""
    figure = ReportFigure(figsize=(7.4, 0.8))
    figure.text(0.5, 0.4, "no runs to show", ha="center", color="#777777")
    mark_synthetic(figure, synthetic)
    return figure
