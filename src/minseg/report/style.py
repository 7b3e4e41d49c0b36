"""How pages look and write: numbers, names, text of users, tables, figures and their furniture.

Names of mines, countries and datasets, licences and messages come from other people's files. They
reach tables through `text_table`, Markdown through `markdown_text` and web maps through
`html_text`, never as markup, a formula or a template; figures take all text as it stands by
``text.parse_math`` of ``minseg.mplstyle``.
"""

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import patheffects, style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas.io.formats.style import Styler
from pandas.io.formats.style_render import CSSDict

from minseg.data.dataset import Dataset
from minseg.data.labels import parse_task, partial_answers
from minseg.data.raster import Grid
from minseg.errors import MinsegError

_page: dict[str, bool] = {}


def open_page(dataset: Dataset) -> None:
    """Say once which dataset a page shows: whatever rests on synthetic mines bears the word."""
    _page["synthetic"] = dataset.synthetic


def kind() -> str:
    """Return the word for a corner if the page's mines are made, not observed; else nothing."""
    if not _page:
        raise MinsegError("say whose mines are shown: minseg.report.style.open_page(dataset)")
    return "synthetic" * _page["synthetic"]


def made() -> str:
    """Return the words for a sentence."""
    return " on synthetic mines" * bool(kind())


DASH = "–"
"""Where there is no number."""

METRIC_TITLES = {"iou": "IoU", "recall": "recall", "precision": "precision", "accuracy": "accuracy"}
SHORT_METRIC_TITLES = {"iou": "IoU", "recall": "Rec", "precision": "Prec", "accuracy": "Acc"}


def model_title(task: str) -> str:
    """Return a task's name for a reader: ``Model 1``, or its classes."""
    return parse_task(task).title


def partial_labels(dataset: Dataset) -> str:
    """Tell in a paragraph what partial labels answer of Models 1-4; empty where they are whole."""
    answers = partial_answers(dataset.description.class_names)
    if not answers:
        return ""
    return (
        f"\n\n**Partial labels.** They answer {'; '.join(answers)}. What nobody looked for is "
        "background here, or part of what it was drawn into, and no score tells of it."
    )


def number(value: float, decimals: int = 3) -> str:
    """Write a number; a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def signed(value: float, decimals: int = 3) -> str:
    """Write a difference with its sign; a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:+.{decimals}f}".replace("-", "−")


def span(low: float, high: float, write: Callable[[float], str] = number) -> str:
    """Write an interval, ``0.512 to 0.701``: one number without width, a dash if there is none."""
    if math.isnan(low):
        return DASH
    first, last = write(low), write(high)
    return first if first == last else f"{first} to {last}"


def spans(low: pd.Series, high: pd.Series, write: Callable[[float], str] = number) -> pd.Series:
    """Write the intervals between two columns."""
    texts = [span(*ends, write) for ends in zip(low, high, strict=True)]
    return pd.Series(texts, low.index, dtype=object)


def html_text(text: str) -> str:
    """Write text for HTML, and for scripts that are compiled as a Jinja template once more."""
    return escape(text).replace("{", "&#123;")


def markdown_text(text: str) -> str:
    """Write text for one line of Markdown: whatever could be markup has a backslash before it."""
    return re.sub(r"(?![,;:'\"?/%(])([!-/:-@[-`{-~])", r"\\\1", " ".join(text.split()))


def markdown_list(texts: Iterable[str]) -> str:
    """Write texts as a Markdown list; empty without any."""
    return "\n".join(f"- {markdown_text(text)}" for text in texts)


def text_table(table: pd.DataFrame) -> Styler:
    """Return a table for a page: its cells, labels and names are text, and no mathematics.

    Parameters
    ----------
    table : pandas.DataFrame

    Returns
    -------
    pandas Styler
        What is formatted or hidden afterwards finds the text of cells and labels as HTML.
    """
    safe = table.map(html_cell).rename(index=html_cell, columns=html_cell)
    safe = safe.rename_axis(index=html_cell, columns=html_cell)
    return safe.style.set_table_attributes('class="tex2jax_ignore mathjax_ignore"')


def note_table(note: str) -> Styler:
    """Return a table of nothing but a sentence, in place of one that has no lines."""
    return text_table(pd.DataFrame([note])).hide(axis="index").hide(axis="columns")


def html_cell(value: object) -> object:
    """Write a text for HTML; leave numbers and what is missing as they are."""
    return html_text(value) if isinstance(value, str) else value


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
        # Half the time of the usual compression, for a tenth more bytes.
        self.savefig(picture, format="png", pil_kwargs={"compress_level": 2})
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
    bar = Line2D(
        [0.04, 0.04 + length],
        [0.05, 0.05],
        transform=axes.transAxes,
        color="white",
        linewidth=3,
        solid_capstyle="butt",
        path_effects=[patheffects.withStroke(linewidth=5, foreground="black")],
        label="scale bar",
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
        path_effects=[patheffects.withStroke(linewidth=2.5, foreground="black")],
    )


def page_figure(width_in: float, height_in: float) -> ReportFigure:
    """Make a figure of the page's mines, marked SYNTHETIC at its upper right if they are."""
    figure = ReportFigure(figsize=(width_in, height_in), layout="constrained")
    mark_synthetic(figure, bool(kind()))
    return figure


def mark_synthetic(figure: Figure, synthetic: bool) -> None:
    """Write SYNTHETIC at the upper right of a figure if its data are made, not observed."""
    if synthetic:
        figure.suptitle(
            "SYNTHETIC", x=0.99, ha="right", color=MARK_COLOUR, fontsize=10, fontweight="bold"
        )


def note(axes: Axes, text: str, place: tuple[float, float], step: float, **looks: Any) -> None:
    """Write a note right of a place, or left of it if the step, points, is negative."""
    usual = {"va": "center", "ha": "left" if step > 0 else "right", "fontsize": 7.5}
    looks = usual | {"color": "#777777", "textcoords": "offset points"} | looks
    axes.annotate(text, place, (step, 0), **looks)


def note_at_axis(axes: Axes, row: float, text: str) -> None:
    """Say at the left end of a row why nothing is drawn there."""
    note(axes, text, (0, row), 4, xycoords=axes.get_yaxis_transform())


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a panel, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def write_shares(axes: Axes, shares: pd.DataFrame, write: Callable[[float], str]) -> None:
    """Draw a table of shares in shades of blue, with what is written of each."""
    values = shares.to_numpy(float)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(values):
        if text := write(float(share)):
            colour = "white" if share > 0.6 else "#222222"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(shares.shape[1]), shares.columns, rotation=30, ha="right")
    axes.set_yticks(range(len(shares)), shares.index)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


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
    _, labels = axes.get_legend_handles_labels()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.5, ncols=len(labels))


def table_style(table: pd.DataFrame, corner: tuple[str, str], rules: Sequence[int] = ()) -> Styler:
    """Set a wide table in small type, lines between groups of the first of two column levels.

    The upper left corner names the two levels; rules are rows with a line above.
    """
    columns = [f".col{k}" for k in group_starts(table.columns.get_level_values(0))]
    line = "1px solid rgba(128, 128, 128, 0.5)"  # shows on light pages and on dark ones
    small = "padding: 0.25em 0.25em; font-size: 0.8rem; text-align: right; vertical-align: bottom"
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


def group_starts(names: Sequence | pd.Index | np.ndarray) -> list[int]:
    """Return the places at which another name begins."""
    return [k for k in range(1, len(names)) if names[k] != names[k - 1]]


def row_panels(
    titles: Sequence[str], rows: Sequence[str], head_in: float
) -> tuple[Figure, list[Axes]]:
    """Lay out panels with named rows, two side by side; `head_in` is for titles and margins."""
    height_in = head_in + 0.27 * len(rows)
    figure, panels = panel_grid(len(titles), 7.4, 1.0, height_in, sharex=True, sharey=True)
    for title, axes in zip(titles, panels, strict=True):
        axes.set_title(textwrap.fill(title, 88 // min(len(titles), 2)), fontweight="bold")
        name_rows(axes, rows)
        axes.grid(axis="x")
    return figure, panels


def panel_grid(
    count: int,
    width_in: float,
    margin_in: float,
    height_in: float,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Lay out panels of a height, two side by side, in a figure of the page's mines.

    A shared horizontal axis has its numbers below the lowest panels.
    """
    across, down = min(count, 2), -(-count // 2)
    figure = page_figure(width_in, margin_in + down * height_in)
    grid = figure.subplots(down, across, sharex=sharex, sharey=sharey, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    for k, axes in enumerate(grid[:count]):
        axes.tick_params(axis="x", labelbottom=not sharex or k + across >= count)
    return figure, list(grid[:count])


def legend_at_foot(figure: Figure, entries: Sequence[Artist], columns: int = 0) -> None:
    """Put a legend below all panels, in one line unless it has columns."""
    columns = columns or len(entries)
    figure.legend(handles=list(entries), loc="outside lower center", ncols=columns)


def nothing_figure() -> Figure:
    """Return a figure that says that there is nothing to draw."""
    figure = page_figure(7.4, 0.8)
    figure.text(0.5, 0.4, "no runs to show", ha="center", color="#777777")
    return figure
