"""Charts of what explains errors: on one mine, over all test mines, and by size of objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from minseg.data.labels import CLASSES
from minseg.report.style import (
    MARK_COLOUR,
    ReportFigure,
    colour_patches,
    in_style,
    mark_synthetic,
    note_at_axis,
)
from minseg.study.error_shares import UNEXPLAINED
from minseg.study.explanations import (
    CONDITIONS,
    NO_CLASS,
    OTHER_CLASS,
    SMALL_OBJECT,
    SNOW,
    UNFAMILIAR,
    WATER,
    WITHIN_1_PX,
    WITHIN_2_PX,
    Explanations,
)
from minseg.study.mine_claims import MISSED_BELOW

CONDITION_COLOURS: dict[str, str] = {
    WITHIN_1_PX: "#0072B2",
    WITHIN_2_PX: "#56B4E9",
    OTHER_CLASS: "#E69F00",
    SNOW: "#CC79A7",
    WATER: "#009E73",
    SMALL_OBJECT: "#D55E00",
    UNFAMILIAR: "#555555",
    UNEXPLAINED: "#DDDDDD",
}
"""Colour of a condition, the same in every figure."""

FEWEST_OBJECTS = 5
"""Objects of a size from which a share of found ones is drawn."""

_CLASS_COLOURS = {one.name: one.colour for one in CLASSES}
_MERGED_COLOUR = "#EE7733"


@in_style()
def why_figure(
    explanations: Explanations, mine: str, title: str, synthetic: bool = False
) -> Figure:
    """Show what explains the errors on one mine, class by class.

    Parameters
    ----------
    explanations : Explanations
    mine : str
    title : str
        Above the figure.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels: on which ground the false positives lie; how far all errors are from a true
        boundary; and the objects of the truth by size, with the share of each that was found.
    """
    one = explanations.of_mine(mine)
    errors = one.conditions.drop_duplicates("class").set_index("class")["errors"]
    names = [
        name for name in one.class_names if errors[name] or (one.objects["class"] == name).any()
    ]
    height_in = 1.75 + 0.3 * max(len(names), 2)
    figure = ReportFigure(figsize=(9.6, height_in), layout="constrained")
    ground, boundary, sizes = figure.subplots(1, 3, width_ratios=(1.25, 0.95, 0.85))
    _draw_ground(ground, one, names)
    _draw_boundary(boundary, one, names)
    _draw_sizes(sizes, one.objects, names, legend=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    if synthetic:  # the title takes the place of `mark_synthetic`
        bold: dict[str, Any] = {"size": 10, "weight": "bold", "color": MARK_COLOUR}
        figure.text(0.99, 0.985, "SYNTHETIC", ha="right", va="top", **bold)
    return figure


def _draw_ground(axes: Axes, one: Explanations, names: Sequence[str]) -> None:
    """Draw as a table of colours on which ground the false positives of each class lie."""
    lines = one.confusions[one.confusions["error"] == "false positive"]
    lines = lines.assign(share=lines["errors_there"] / lines["errors"])  # 0/0 is NaN
    table = lines.pivot(index="class", columns="other", values="share")
    order = [*(n for n in one.annotated if n in table), NO_CLASS]
    table = table.reindex(index=list(names), columns=order)
    shown = [n for n in order if n == NO_CLASS or table[n].gt(0.005).any()]
    values = table[shown].to_numpy(float)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if value > 0.005:
            colour = "white" if value > 0.6 else "#222222"
            axes.text(column, row, f"{value:.0%}", ha="center", va="center", size=8, color=colour)
    for row in range(len(names)):
        if np.isnan(values[row]).all():
            note_at_axis(axes, row, "no false positives")
    grounds = shown if np.isfinite(values).any() else []  # nothing to name without an error
    axes.set_xticks(range(len(grounds)), grounds, rotation=25, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("false positives lie on")


def _draw_boundary(axes: Axes, one: Explanations, names: Sequence[str]) -> None:
    """Draw how the errors of each class are divided by their distance from a true boundary."""
    bands = {"≤ 1 px": WITHIN_1_PX, "≤ 2 px": WITHIN_2_PX}
    table = one.conditions.pivot(index="class", columns="condition", values="errors_there")
    errors = one.conditions.drop_duplicates("class").set_index("class")["errors"]
    left = np.zeros(len(names))
    for label, condition in bands.items():
        reached = (table[condition] / errors.where(errors > 0))[list(names)].fillna(0).to_numpy()
        colour = CONDITION_COLOURS[condition]
        axes.barh(range(len(names)), reached - left, 0.6, left, color=colour, label=label)
        left = reached
    some = (errors[list(names)] > 0).to_numpy()
    axes.barh(
        range(len(names)),
        some - left,
        0.6,
        left,
        color=CONDITION_COLOURS[UNEXPLAINED],
        label="farther",
    )
    for row in np.flatnonzero(~some):
        note_at_axis(axes, float(row), "no errors")
    axes.set_yticks(range(len(names)), [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("errors by distance to true boundary")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)


@in_style()
def object_figure(objects: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show how much of each object was found against its size, over all test mines.

    Parameters
    ----------
    objects : pandas.DataFrame
        `Explanations.objects`. Objects that go on beyond the tested part are hollow, since their
        size is larger than shown.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        One dot an object; the line is the share of objects of which at least half was found, in
        each third of a decade with at least `FEWEST_OBJECTS` whole objects.
    """
    figure = ReportFigure(figsize=(7.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = list(objects["class"].unique())
    _draw_sizes(axes, objects, names, legend=True)
    whole = objects[~objects["cut"].astype(bool)]
    bins = np.floor(3 * np.log10(whole["area_ha"].astype(float)))
    found = (whole["detected"] >= MISSED_BELOW).groupby(bins).agg(["mean", "size"])
    for third, line in found[found["size"] >= FEWEST_OBJECTS].iterrows():
        edges = 10 ** (np.array([float(str(third)), float(str(third)) + 1]) / 3)
        axes.plot(edges, [line["mean"]] * 2, color="#222222", linewidth=2.2)
    mark_synthetic(figure, synthetic)
    return figure


def _draw_sizes(axes: Axes, objects: pd.DataFrame, names: Sequence[str], legend: bool) -> None:
    """Draw one dot an object: its area, and the share that was found."""
    axes.set_xscale("log")
    for name in names:
        of_class = objects[objects["class"] == name]
        colour = _CLASS_COLOURS.get(name, _MERGED_COLOUR)
        cut = of_class["cut"].astype(bool).to_numpy()
        axes.scatter(
            of_class["area_ha"],
            of_class["detected"],
            s=22,
            facecolor=np.where(cut, "#FFFFFF", colour),
            edgecolor=np.where(cut, colour, "#555555"),
            linewidth=np.where(cut, 1.2, 0.5),
            zorder=3,
        )
    axes.axhline(MISSED_BELOW, color="#999999", linewidth=0.8, linestyle="--", zorder=1)
    axes.set_ylim(-0.05, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if len(objects):
        decades = np.log10(objects["area_ha"].to_numpy(float))
        low, high = np.floor(decades.min()) - 0.15, np.ceil(decades.max()) + 0.15
        axes.set_xlim(10**low, 10**high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda area_ha, _: f"{area_ha:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("area (ha, logarithmic)")
    axes.grid(axis="both")
    if objects.empty:
        axes.text(0.5, 0.7, "none there", transform=axes.transAxes, ha="center", color="#777777")
    if not legend:
        axes.set_title("objects: share found, by size")
        return
    axes.set_ylabel("share of the object that was found")
    entries: list[Artist] = list(
        colour_patches({name: _CLASS_COLOURS.get(name, _MERGED_COLOUR) for name in names})
    )
    entries += [
        Line2D(
            [],
            [],
            marker="o",
            linewidth=0,
            color="#555555",
            markerfacecolor="white",
            label="cut off: larger than shown",
        ),
        Line2D([], [], color="#222222", linewidth=2.2, label="share that is at least half found"),
    ]
    axes.legend(handles=entries, loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)


@in_style()
def condition_figure(shares: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show which conditions cover how much of the error over all test mines.

    Parameters
    ----------
    shares : pandas.DataFrame
        See `minseg.study.error_shares.condition_shares`.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        Left: for each condition the share of the error with its 95 % interval over mines, beside
        the share of all pixels, of all classes together. Right: for each class the errors, each
        counted once.
    """
    names = list(shares["class"].unique())
    height_in = 3.3 + 0.12 * max(len(names) - 3, 0)
    figure = ReportFigure(figsize=(9.6, height_in), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_shares(left, shares[shares["class"] == names[0]].set_index("condition"), names[0])
    _draw_waterfall(right, shares, names)
    mark_synthetic(figure, synthetic)
    return figure


def _draw_shares(axes: Axes, lines: pd.DataFrame, name: str) -> None:
    """Draw the share of the error under each condition beside that of all pixels."""
    for row, condition in enumerate(CONDITIONS):
        line = lines.loc[condition]
        if pd.isna(line["value"]):
            unknown = pd.isna(line["pixel_share"])
            note_at_axis(axes, row, "cannot be told here" if unknown else "no errors")
            continue
        colour = CONDITION_COLOURS[condition]
        axes.plot([line["pixel_share"], line["value"]], [row, row], color="#CCCCCC", zorder=1)
        axes.plot([line["low"], line["high"]], [row, row], color=colour, linewidth=3, alpha=0.45)
        axes.plot(line["value"], row, "o", color=colour, markersize=7)
        axes.plot(line["pixel_share"], row, "|", color="#222222", markersize=12, markeredgewidth=2)
    axes.set_yticks(range(len(CONDITIONS)), CONDITIONS)
    axes.set_ylim(len(CONDITIONS) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="x")
    axes.set_title(f"{name}: what the errors have in common")
    dot: dict[str, Any] = {"marker": "o", "markersize": 7, "linewidth": 3}
    bar: dict[str, Any] = {"marker": "|", "markersize": 12, "markeredgewidth": 2, "linewidth": 0}
    error = Line2D([], [], color="#555555", label="of errors, 95 % interval over mines", **dot)
    pixels = Line2D([], [], color="#222222", label="of all pixels", **bar)
    axes.legend(handles=[error, pixels], loc="upper center", bbox_to_anchor=(0.3, -0.12), ncols=2)


def _draw_waterfall(axes: Axes, shares: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw each class's errors as a bar, each error given to the first condition that holds."""
    table = shares.pivot(index="class", columns="condition", values="first_share")
    table = table.reindex(index=list(names))
    order = [condition for condition in (*CONDITIONS[:-1], UNEXPLAINED) if condition in table]
    left = np.zeros(len(names))
    for condition in order:
        widths = table[condition].fillna(0).to_numpy()
        axes.barh(
            range(len(names)),
            widths,
            0.7,
            left,
            color=CONDITION_COLOURS[condition],
            label=condition,
        )
        left = left + widths
    for row in np.flatnonzero(left == 0):
        note_at_axis(axes, float(row), "no errors")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("each error once, under the first that holds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=2, fontsize=7.5)
