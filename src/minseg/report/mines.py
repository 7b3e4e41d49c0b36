"""The paper's Tables 6 to 8 as a page shows them, and tables of what explains the errors."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from pandas.io.formats.style import Styler

from minseg.data.dataset import Dataset
from minseg.data.labels import CLASS_NAMES, CLASSES
from minseg.report.bands_splits import OURS, PAPER
from minseg.report.style import (
    MARK_COLOUR,
    ReportFigure,
    colour_patches,
    in_style,
    mark_synthetic,
    note_at_axis,
    table_style,
)
from minseg.report.text import DASH, SHORT_METRIC_TITLES, model_title, number, signed, spans
from minseg.scoring.metrics import METRICS
from minseg.study.errors import (
    CONDITIONS,
    MISSED_BELOW,
    NO_CLASS,
    OTHER_CLASS,
    SMALL_OBJECT,
    SNOW,
    UNEXPLAINED,
    UNFAMILIAR,
    WATER,
    WITHIN_1_PX,
    WITHIN_2_PX,
    Explanations,
)
from minseg.study.paper import MINE_TABLES, paper_mine_scores


def mine_table(scores: pd.DataFrame, dataset: Dataset, task: str, mines: dict[str, str]) -> Styler:
    """Lay out scores of single mines in the shape of Tables 6 to 8.

    Parameters
    ----------
    scores : pandas.DataFrame
        See `minseg.study.errors.mine_scores`.
    dataset : Dataset
    task : str
    mines : dict of mine to str
        The mines to show and why (`minseg.study.errors.choose_mines`).

    Returns
    -------
    pandas Styler
        Row: location and label, of the classes that are there or predicted there; columns: why it
        is shown, and ours, IoU, Rec, Prec, Acc, which in these tables is IoU. The paper's numbers
        stand beside ours only where the mine is the same, never beside a synthetic one; the others
        are in `paper_mine_table`.
    """
    names = dataset.mines.set_index("mine")["name"]
    there = scores.dropna(subset=["iou"])
    lines = pd.concat([there.iloc[:0], *(there[there["mine"] == mine] for mine in mines)])
    locations = [str(names[mine]) for mine in lines["mine"]]
    columns: dict[tuple[str, str], list] = {
        ("", "shown as"): [mines[mine] for mine in lines["mine"]]
    }
    for metric in METRICS:
        columns[OURS, SHORT_METRIC_TITLES[metric]] = list(lines[metric])
    published = paper_mine_scores(task)
    index = pd.MultiIndex.from_arrays([locations, lines["class"]])
    same = [_published(published, dataset, *row) for row in index]
    if any(row is not None for row in same):
        for metric in METRICS:
            values = [np.nan if row is None else row[metric] for row in same]
            columns[PAPER, SHORT_METRIC_TITLES[metric]] = values
    table = pd.DataFrame(columns, index=index)
    corner = (model_title(task), "synthetic" * dataset.synthetic)
    return table_style(table, corner, _group_starts(locations)).format(_three_decimals)


def paper_mine_table(task: str) -> Styler:
    """Lay out the paper's rows of Tables 6 to 8 for a task, in grey: they are of its own mines.

    Parameters
    ----------
    task : str
        `model1` … `model4`, or class names.

    Returns
    -------
    pandas Styler
        Row: location and label; columns IoU, Rec, Prec, Acc as printed. Empty where the paper has
        no such row.
    """
    published = paper_mine_scores(task)
    heading = f"paper, Table {MINE_TABLES[task]}" if task in MINE_TABLES else "paper, Tables 6–8"
    index = pd.MultiIndex.from_arrays([published["location"], published["class"]])
    columns = {
        (f"{heading}, its own mines", SHORT_METRIC_TITLES[metric]): published[metric].to_numpy()
        for metric in METRICS
    }
    table = pd.DataFrame(columns, index=index)
    styler = table_style(table, ("", ""), _group_starts(list(published["location"])))
    return styler.format(_as_printed).set_properties(color="#888888")


def same_mine(name: str, location: str) -> bool:
    """Tell whether a mine's name is that of a location of the paper: it has all its words."""
    return _words(location) <= _words(name)


def _words(name: str) -> set[str]:
    """Return the words of a name, whatever the case and kind of hyphen, ``mine`` left out."""
    return set(re.findall(r"\w+", name.casefold())) - {"mine"}


def _published(
    published: pd.DataFrame, dataset: Dataset, name: str, class_name: str
) -> pd.Series | None:
    """Find the paper's row of the same mine and class."""
    if dataset.synthetic:
        return None
    for _, row in published.iterrows():
        if row["class"] == class_name and same_mine(name, row["location"]):
            return row
    return None


def _group_starts(locations: list[str]) -> list[int]:
    """Return the rows at which another location begins."""
    return [k for k in range(1, len(locations)) if locations[k] != locations[k - 1]]


def explanation_table(explanations: Explanations, mine: str) -> pd.DataFrame:
    """Return what explains the errors on one mine, class by class, written out.

    Parameters
    ----------
    explanations : Explanations
    mine : str

    Returns
    -------
    pandas.DataFrame
        Row: a fact; column: a class of the task that is there or predicted there. Behind a share
        of the errors stands in brackets that of all pixels.
    """
    one = explanations.of_mine(mine)
    columns = {}
    for name in one.class_names:
        lines = one.conditions[one.conditions["class"] == name]
        by_condition = {line["condition"]: line for _, line in lines.iterrows()}
        objects = one.objects[one.objects["class"] == name]
        if not lines["errors"].iloc[0] and objects.empty:
            continue
        facts = {
            "pixels in error": _percent(float(lines["errors"].iloc[0] / lines["pixels"].iloc[0])),
            "false positives lie on": _largest(one, name, "false positive", "annotated"),
            "missed pixels are predicted as": _largest(one, name, "false negative", "predicted"),
            "missed pixels lie on": _largest(one, name, "false negative", "annotated"),
        }
        for condition in CONDITIONS[:-1]:
            facts[f"error {condition}"] = _error_share(by_condition[condition])
        facts[f"objects less than {MISSED_BELOW:.0%} found"] = _missed(objects)
        columns[name] = facts
    return pd.DataFrame(columns)


def scene_line(explanations: Explanations, mine: str) -> str:
    """Say in a line what the scene of a mine looks like, and how unlike the training mines."""
    scene = explanations.of_mine(mine).scenes.iloc[0]
    return (
        f"Snow-bright ground {_percent(scene['snow'])}, water {_percent(scene['water'])} of the "
        f"scene; distance to the nearest training mine {_distance(scene)}."
    )


def _largest(one: Explanations, name: str, error: str, by: str) -> str:
    """Name the three grounds, or predictions, that most errors of a class are on."""
    table = one.confusions
    lines = table[(table["class"] == name) & (table["error"] == error) & (table["by"] == by)]
    shares = (lines["errors_there"] / lines["errors"]).set_axis(lines["other"])
    shares = shares[shares >= 0.005].sort_values(ascending=False).head(3)
    texts = [f"{other} {_percent(value)}" for other, value in shares.items()]
    return ", ".join(texts) or "no such pixels"


def _error_share(line: pd.Series) -> str:
    """Write the share of errors under a condition, and that of all pixels."""
    if np.isnan(line["pixels_there"]):
        return "cannot be told"
    if not line["errors"]:
        return "no errors"
    there = _percent(line["pixels_there"] / line["pixels"])
    return f"{_percent(line['errors_there'] / line['errors'])} ({there})"


def _missed(objects: pd.DataFrame) -> str:
    """Write how many objects were missed, and how large those and the found ones are."""
    if objects.empty:
        return "none there"
    missed = objects["detected"] < MISSED_BELOW
    text = f"{missed.sum()} of {len(objects)}"
    for word, areas in (
        ("missed", objects.loc[missed, "area_ha"]),
        ("found", objects.loc[~missed, "area_ha"]),
    ):
        if len(areas):
            low, high = areas.min(), areas.max()
            sizes = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
            text += f"; {word}: {sizes} ha"
    return text


def _distance(scene: pd.Series) -> str:
    """Write how far a scene looks from the training mines."""
    if pd.isna(scene["distance"]):
        return "cannot be told"
    text = f"{scene['distance']:.2f} sd"
    if pd.isna(scene["percentile"]):
        return text
    return f"{text}, farther than {scene['percentile']:.0%} of them from each other"


def condition_table(shares: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return what covers how much of the error over all test mines, written out.

    Parameters
    ----------
    shares : pandas.DataFrame
        See `minseg.study.errors.condition_shares`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas.DataFrame
        Row: class and condition; columns: share of the error with its interval, share of all
        pixels, error rates inside and outside, and share of the error counted once, in order.
    """
    table = pd.DataFrame(
        {
            "share of the error": shares["value"].map(_percent),
            "95 % interval over mines": spans(shares, write=_percent),
            "share of all pixels": shares["pixel_share"].map(_percent),
            "error rate inside": shares["rate_inside"].map(_percent),
            "outside": shares["rate_outside"].map(_percent),
            "each error once, in this order": shares["first_share"].map(_percent),
        }
    )
    table.index = pd.MultiIndex.from_frame(shares[["class", "condition"]])
    return table.rename_axis(columns="synthetic" * synthetic)


def claim_table(claims: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return the paper's claims of section 4, each with what was measured, written out.

    Parameters
    ----------
    claims : pandas.DataFrame
        See `minseg.study.errors.claims`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas.DataFrame
        Row: section and claim; columns: what is measured, its value with interval, number of
        mines, what to hold it against, and the difference with its interval, both sides on the
        same resamples of the mines.
    """
    beside = claims["beside"].astype(str) + ": " + claims["other"].map(_percent).astype(str)
    table = pd.DataFrame(
        {
            "measured": claims["measured"],
            "value": claims["value"].map(_percent),
            "95 % interval over mines": spans(claims, write=_percent),
            "mines": claims["mines"].astype(int),
            "beside": beside,
            "difference, points": claims["difference"].map(_points)
            + (" (" + spans(claims, "difference_", _points) + ")").where(
                claims["difference_low"].notna(), ""
            ),
        }
    )
    table.index = pd.MultiIndex.from_frame(claims[["section", "claim"]])
    return table.rename_axis(columns="synthetic" * synthetic)


def limits(explanations: Explanations) -> str:
    """Say in a Markdown list what this dataset cannot tell about the errors; empty if nothing."""
    absent = [name for name in CLASS_NAMES if name not in explanations.annotated]
    notes = []
    if absent:
        notes.append(
            f"Nobody annotated {', '.join(absent)} here: errors on them count as on "
            f"“{NO_CLASS}”, and are not zero but unknown."
        )
    for look, needed in (("snow", "B03, B04 and B11"), ("water", "B03 and B08")):
        if explanations.scenes[look].isna().all():
            notes.append(f"The dataset lacks one of {needed}: pixels of {look} are unknown.")
    if explanations.scenes["percentile"].isna().all():
        notes.append("Too few training mines: how unfamiliar a scene is cannot be told.")
    return "\n".join(f"- {note}" for note in notes)


def _points(value: float) -> str:
    """Write a difference of shares in percentage points."""
    return signed(100 * value, 0)


def _percent(value: float) -> str:
    """Write a share in percent, with a decimal where it is small."""
    if pd.isna(value):
        return DASH
    if 0 < value < 0.0005:
        return "< 0.1%"
    return f"{value:.1%}" if 0 < value < 0.0995 else f"{value:.0%}"


def _three_decimals(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return number(value)


def _as_printed(value: object) -> str:
    """Write three decimals, or four where the paper prints four."""
    short = f"{value:.3f}"
    return short if float(short) == value else f"{value:g}"


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
        See `minseg.study.errors.condition_shares`.
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
