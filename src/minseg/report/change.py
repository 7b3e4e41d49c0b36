"""Figures 17 and 18, the account of change between two years, and what cleaning rules changed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from pandas.io.formats.style import Styler

from minseg.data.dataset import Dataset
from minseg.data.labels import IGNORE, IGNORE_BITS
from minseg.maps.change import CHANGES, change_areas, class_change
from minseg.report import style
from minseg.report.scenes import (
    draw_classes,
    joined,
    mine_name,
    names_present,
    paint,
    picture_row,
    read_picture,
    show,
    stretch,
)
from minseg.report.style import kind, made, model_title, spans, text_table
from minseg.study.change import TwoYears
from minseg.study.runs import find_scene

_MAPPED, _ADJUSTED, _TRUE, _FLOOR = "#0072B2", "#D55E00", "#222222", "#BBBBBB"

_CERTAINTY_COLOURS = {True: "#0072B2", False: "#8FBBD9"}
"""Whether the test mines tell a difference from zero, to its colour."""


def account_table(account: pd.DataFrame) -> Styler:
    """Show mapped, adjusted and annotated hectares (`accounts`) beside the floor.

    Above the floor: whether the mapped area is larger than the upper end of the floor's interval.
    """
    adjusted = _with_interval(account, "adjusted_ha", "low_ha", "high_ha")
    floor = _with_interval(account, "floor_ha", "floor_low_ha", "floor_high_ha")
    above = (account["mapped_ha"] > account["floor_high_ha"]).map({True: "yes", False: "no"})
    table = pd.DataFrame(
        {
            "mapped, ha": account["mapped_ha"],
            "adjusted, ha (range over other mines)": adjusted,
            "annotated, ha": account["true_ha"],
            "floor of false change, ha (95 % interval)": floor,
            "above the floor": above.where(account["floor_high_ha"].notna()),
            "other mines": account["mines"],
        }
    )
    return _styled(table, account, "no mine with scenes of two years")


def answer(account: pd.DataFrame, checks: pd.DataFrame) -> str:
    """Say in two lines of Markdown what grew beyond doubt, and how far estimates can be trusted."""
    if account.empty:
        return "No mine has scenes of two years: there is no change to tell."
    changed = account[account["mapped_ha"] > 0]
    above = changed[changed["mapped_ha"] > changed["floor_high_ha"]]
    row = int(account["mapped_ha"].argmax())
    largest = account.iloc[row]
    what = f"{largest['class']} {largest['change']} ({model_title(largest['task'])})"
    adjusted = _with_interval(account, "adjusted_ha", "low_ha", "high_ha") + " ha"
    floor = f"{len(above)} of those exceed the floor of false change"
    if account["floor_high_ha"].isna().all():
        floor = "the floor of false change is unknown"
    found = (
        f"- **Change{made()}:** of {len(account)} gains and losses of a class {len(changed)} were "
        f"mapped at all, and {floor}. The largest is {what}: {largest['mapped_ha']:.2f} ha mapped, "
        f"{adjusted.fillna('unknown').iloc[row]} adjusted."
    )
    if checks.empty:
        return f"{found}\n- **Trust:** too few mines changed between two years to check estimates."
    closer = (checks["adjusted_error_ha"] < checks["mapped_error_ha"]).sum()
    return (
        f"{found}\n- **Trust:** over the test mines in turn, {checks['inside'].sum()} of "
        f"{checks['mines'].sum()} ranges hold the annotated area, counted where a change was "
        f"mapped or annotated. On average over those mines the adjusted area is nearer to it than "
        f"the mapped one for {closer} of {len(checks)} gains and losses."
    )


def check_table(checks: pd.DataFrame) -> Styler:
    """Show how well mapped and adjusted areas met the annotated ones (`account_checks`)."""
    inside = checks["inside"].astype(str) + " of " + checks["mines"].astype(str) + " mines"
    table = pd.DataFrame(
        {
            "annotated area in the range, of mines with a change": inside,
            "mean error as mapped, ha": checks["mapped_error_ha"].astype(float),
            "mean error as adjusted, ha": checks["adjusted_error_ha"].astype(float),
        }
    )
    return _styled(
        table, checks, "it takes three test mines with scenes of two years, and a change"
    )


def _styled(table: pd.DataFrame, rows: pd.DataFrame, empty: str) -> Styler:
    """Name the rows and set numbers; say why there are no rows."""
    names = [rows["task"].map(model_title), rows["class"], rows["change"]]
    numbers = [name for name in table if pd.api.types.is_float_dtype(table[name])]
    table.index = pd.MultiIndex.from_arrays(names, names=[kind(), "class", ""])
    styler = text_table(table).format(dict.fromkeys(numbers, "{:.2f}".format), na_rep="–")
    return styler if len(table) else styler.set_caption(f"Nothing to show: {empty}.")


def _with_interval(rows: pd.DataFrame, value: str, low: str, high: str) -> pd.Series:
    """Write ``13.09 (4.41 to 19.18)``."""
    written = rows[value].map("{:.2f}".format, na_action="ignore")
    interval = " (" + spans(rows[low], rows[high], "{:.2f}".format) + ")"
    return written.astype(object) + interval.where(rows[low].notna(), "")


@style.in_style()
def two_years_figure(dataset: Dataset, found: Sequence[TwoYears]) -> Figure:
    """Show the images of two years with predictions of one mine over them (Figures 17 and 18).

    Image and prediction of the earlier year (a), then of the later one (b); classes of several runs
    as `minseg.report.scenes.draw_classes` lays them over each other.
    """
    first, pictures = found[0], _pictures(dataset, found[0])
    titles = [model_title(years.before.task.name) for years in found]
    layers = [joined(years.before for years in found), joined(years.after for years in found)]
    legend = names_present(layers)
    missing = any(np.any(bits == IGNORE_BITS) for bits in layers)
    legend |= {"no data": "#FFFFFF"} if missing else {}
    figure, panels = picture_row(
        4,
        first.before.grid,
        f"{mine_name(dataset, first.mine)}, {first.years[0]} and {first.years[1]}: "
        f"{', '.join(titles)}",
        dataset.synthetic,
        scale=0.88,
        below_in=style.legend_height_in(len(legend), 5),
    )
    for k, (year, letter) in enumerate(zip(first.years, "ab", strict=True)):
        show(panels[2 * k], pictures[k], f"({letter}) {year}")
        draw_classes(panels[2 * k + 1], pictures[k], layers[k], f"({letter}) {year}, predicted")
    style.legend_below(figure, panels[0], legend, 5)
    return figure


@style.in_style()
def change_figure(dataset: Dataset, found: TwoYears, true: TwoYears) -> Figure:
    """Show what became of one class between two years: the mapped change beside the annotated.

    The class is the one that gained and lost the largest area by the prediction. Both `TwoYears`
    lie on one grid.
    """
    areas = change_areas(found.before, found.after)
    class_name = str((areas["gained_ha"] + areas["lost_ha"]).idxmax())
    _, picture = _pictures(dataset, found)
    states = {
        "mapped change": class_change(found.before, found.after, class_name),
        "annotated change": class_change(true.before, true.after, class_name),
    }
    unknown = any(np.any(values == IGNORE) for values in states.values())
    figure, panels = picture_row(
        1 + len(states),
        found.before.grid,
        f"{mine_name(dataset, found.mine)}, {found.years[0]} to {found.years[1]}: {class_name} "
        f"({model_title(found.before.task.name)})",
        dataset.synthetic,
        below_in=style.legend_height_in(4, 4),
    )
    fills = dict(enumerate(CHANGES.values(), start=1))
    show(panels[0], picture, f"{found.years[1]}")
    for panel, (title, values) in zip(panels[1:], states.items(), strict=True):
        show(panel, paint(picture, values, fills), title)
    left_out = {"not compared": "#FFFFFF"} if unknown else {}
    style.legend_below(figure, panels[1], CHANGES | left_out, 4)
    return figure


@style.in_style()
def change_area_figure(account: pd.DataFrame) -> Figure:
    """Show gained and lost hectares of `minseg.study.change.accounts`, one panel a task."""
    if account.empty:
        return style.nothing_figure()
    tasks = list(account["task"].unique())
    heights = [0.35 + account["task"].eq(task).sum() * 0.24 for task in tasks]
    figure = style.page_figure(7.4, sum(heights) + 0.45 * len(tasks) + 0.5)
    panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for task, axes in zip(tasks, panels, strict=True):
        _draw_areas(axes, account[account["task"] == task])
        axes.set_title(model_title(task), fontweight="bold")
    panels[-1].set_xlabel("hectares")
    entries = [
        style.legend_marker("mapped", _MAPPED),
        style.legend_marker("adjusted, range over other mines", _ADJUSTED, "s", 2),
        style.legend_marker("annotated", _TRUE, "D", hollow=True),
        Patch(color=_FLOOR, label="floor of false change"),
    ]
    style.legend_at_foot(figure, entries)
    return figure


def _draw_areas(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw one task's rows, the first on top."""
    at = np.arange(len(rows))
    axes.barh(at, rows["floor_ha"].fillna(0), 0.62, color=_FLOOR, alpha=0.6, zorder=1)
    axes.hlines(at + 0.25, rows["floor_low_ha"], rows["floor_high_ha"], color="#888888", zorder=2)
    axes.hlines(at, rows["low_ha"], rows["high_ha"], color=_ADJUSTED, linewidth=2, zorder=2)
    axes.scatter(rows["adjusted_ha"], at, 22, color=_ADJUSTED, marker="s", zorder=3)
    axes.scatter(rows["mapped_ha"], at, 26, color=_MAPPED, zorder=4)
    axes.scatter(
        rows["true_ha"], at, 30, facecolor="none", edgecolor=_TRUE, marker="D", linewidth=1.1,
        zorder=5,
    )  # fmt: skip
    style.name_rows(axes, list(rows["class"] + ", " + rows["change"]))
    axes.set_xlim(left=-0.015 * axes.get_xlim()[1])  # room for a marker at zero
    axes.grid(axis="x")


def year_images(dataset: Dataset, found: TwoYears) -> tuple[np.ndarray, np.ndarray]:
    """Read what is shown of both years: a pair of float32 (bands, height, width)."""
    before, after = (read_picture(dataset, find_scene(dataset, one)) for one in found.scenes)
    return before, after


def _pictures(dataset: Dataset, found: TwoYears) -> list[np.ndarray]:
    """Read the images of both years, stretched alike so that they can be compared by eye."""
    images = year_images(dataset, found)
    return np.split(stretch(np.concatenate(images, axis=1)), 2)  # one above the other


@style.in_style()
def cleaning_figure(table: pd.DataFrame) -> Figure:
    """Show the difference in IoU that each cleaning rule made (`minseg.study.cleaning.effects`).

    Cleaned minus as predicted: right of the zero line the rule helped. The line is the 95 %
    interval, dark where the difference is told from zero.
    """
    one, rows = table.iloc[0], range(len(table))
    title = f"{model_title(one['task'])}, {one['bands']}: IoU {one['iou']:.2f} as predicted"
    figure, (axes,) = style.row_panels([title], list(table.index), head_in=0.5)
    axes.axvline(0, color="#555555", linewidth=1, zorder=1)
    colours = [_CERTAINTY_COLOURS[bool(told)] for told in table["told"]]
    axes.hlines(rows, table["low"], table["high"], color=colours, linewidth=2)
    axes.scatter(table["difference"], rows, 30, color=colours, zorder=3)
    axes.set_xlabel("difference in IoU (standard convention)")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    labels = (f"told from zero, widened for {len(table)} comparisons", "not told from zero")
    marks = zip(labels, _CERTAINTY_COLOURS.values(), strict=True)
    style.legend_at_foot(figure, [style.legend_marker(*mark, width=2) for mark in marks])
    return figure
