"""Tables 6 to 8 and Figures 5 to 16 as pages show them: single mines, and what explains errors."""

import re
from collections.abc import Mapping, Sequence
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
from minseg.data.labels import CLASS_NAMES
from minseg.report import style
from minseg.report.bands_splits import OURS, PAPER
from minseg.report.scenes import CLASS_COLOURS, mine_name
from minseg.report.style import kind, made, model_title, number, signed, span, spans
from minseg.scoring.metrics import METRICS
from minseg.study import errors
from minseg.study.paper import MINE_TABLES, paper_mine_scores
from minseg.study.runs import Run

_GROUNDS = {
    "false positives lie on": ("false positive", "annotated"),
    "missed pixels are predicted as": ("false negative", "predicted"),
    "missed pixels lie on": ("false negative", "annotated"),
}
"""What is told of errors, to their kind and what they are counted by."""

CONDITION_COLOURS: dict[str, str] = {
    errors.WITHIN_1_PX: "#0072B2",
    errors.WITHIN_2_PX: "#56B4E9",
    errors.OTHER_CLASS: "#E69F00",
    errors.SNOW: "#CC79A7",
    errors.WATER: "#009E73",
    errors.SMALL_OBJECT: "#D55E00",
    errors.UNFAMILIAR: "#555555",
    errors.UNEXPLAINED: "#DDDDDD",
}
"""Colour of a condition, the same in every figure."""

FEWEST_OBJECTS = 5
"""Objects of a size from which a share of found ones is drawn."""


def mine_table(scores: pd.DataFrame, dataset: Dataset, task: str, mines: dict[str, str]) -> Styler:
    """Lay out scores of single mines in the shape of Tables 6 to 8.

    Rows: location and class, of the classes of `mines` (`minseg.study.errors.choose_mines`) that
    are there or predicted there. The paper's numbers stand beside ours only where the mine is the
    same, never beside a synthetic one; the others are in `paper_mine_table`.
    """
    there = scores.dropna(subset=["iou"])
    lines = pd.concat([there.iloc[:0], *(there[there["mine"] == mine] for mine in mines)])
    locations = [mine_name(dataset, mine) for mine in lines["mine"]]
    parts = {
        "": pd.DataFrame({"shown as": [mines[mine] for mine in lines["mine"]]}),
        OURS: lines[list(METRICS)].reset_index(drop=True),
    }
    published = paper_mine_scores(task)
    index = pd.MultiIndex.from_arrays([locations, lines["class"]])
    same = [_published(published, dataset, *row) for row in index]
    if any(same):
        parts[PAPER] = pd.DataFrame(same, columns=list(METRICS))
    table = pd.concat(parts, axis=1).set_axis(index).rename(columns=style.SHORT_METRIC_TITLES)
    corner = (model_title(task), "synthetic" * dataset.synthetic)
    return style.table_style(table, corner, style.group_starts(locations)).format(_decimals)


def paper_mine_table(task: str) -> Styler:
    """Lay out the paper's rows for a task as printed, in grey: they are of its own mines."""
    published = paper_mine_scores(task)
    heading = f"paper, Table {MINE_TABLES[task]}" if task in MINE_TABLES else "paper, Tables 6–8"
    index = pd.MultiIndex.from_arrays([published["location"], published["class"]])
    scores = published[list(METRICS)].set_axis(index).rename(columns=style.SHORT_METRIC_TITLES)
    table = pd.concat({f"{heading}, its own mines": scores}, axis=1)
    styler = style.table_style(table, ("", ""), style.group_starts(list(published["location"])))
    return styler.format(_as_printed).set_properties(color="#888888")


def same_mine(name: str, location: str) -> bool:
    """Tell whether a mine's name has all words of a location of the paper but ``mine``.

    Case and kind of hyphen make no difference.
    """
    there, wanted = (set(re.findall(r"\w+", text.casefold())) for text in (name, location))
    return wanted - {"mine"} <= there


def _published(published: pd.DataFrame, dataset: Dataset, name: str, class_name: str) -> dict:
    """Find the paper's row of the same mine and class; none beside a synthetic mine."""
    rows = [] if dataset.synthetic else published.to_dict("records")
    same = (r for r in rows if r["class"] == class_name and same_mine(name, r["location"]))
    return next(same, {})


def explanation_table(explanations: errors.Explanations, mine: str) -> pd.DataFrame:
    """Return what explains the errors on one mine: a row a fact, a column a class that is there.

    Behind a share of the errors stands in brackets that of all pixels.
    """
    of_mine = explanations.of_mine(mine)
    columns = {}
    for name in of_mine.class_names:
        lines = of_mine.conditions[of_mine.conditions["class"] == name]
        by_condition = {line["condition"]: line for _, line in lines.iterrows()}
        objects = of_mine.objects[of_mine.objects["class"] == name]
        if not lines["errors"].iloc[0] and objects.empty:
            continue
        facts = {
            "pixels in error": _percent(float(lines["errors"].iloc[0] / lines["pixels"].iloc[0])),
        }
        for words, which in _GROUNDS.items():
            facts[words] = _largest(of_mine, name, *which) or "no such pixels"
        for condition in errors.CONDITIONS[:-1]:
            facts[f"error {condition}"] = _error_share(by_condition[condition])
        facts[f"objects less than {errors.MISSED_BELOW:.0%} found"] = _missed(objects)
        columns[name] = facts
    return pd.DataFrame(columns)


def mine_sentences(explanations: errors.Explanations, mine: str) -> str:
    """Say in two sentences which class errs most on a mine and where, and how the scene looks."""
    of_mine = explanations.of_mine(mine)
    scene = of_mine.scenes.iloc[0]
    by_class = of_mine.conditions.drop_duplicates("class").set_index("class")
    worst = str(by_class["errors"].idxmax())
    where = "; ".join(
        f"{words} {grounds}"
        for words, which in list(_GROUNDS.items())[:2]
        if (grounds := _largest(of_mine, worst, *which))
    )
    pixels = _percent(errors.ratio(by_class["errors"][worst], by_class["pixels"][worst]))
    told = f"Most errors are of {worst} ({pixels} of the pixels): {where}."
    return (
        f"{told if where else 'No pixel is in error.'} Snow-bright ground "
        f"{_percent(scene['snow'])}, water {_percent(scene['water'])} of the scene; distance of "
        f"its mean colour from the nearest training mine's: {_distance(scene)}."
    )


def answer(run: Run, shares: pd.DataFrame) -> str:
    """Say in two lines of Markdown how good a run is on test mines, and where its errors lie."""
    by_mine = run.scores_by_mine()["iou"].dropna()
    spread = ""
    if len(by_mine):
        best, worst = (
            style.markdown_text(str(mine)) for mine in (by_mine.idxmax(), by_mine.idxmin())
        )
        spread = (
            f", of single ones from {by_mine.min():.2f} ({worst}) to {by_mine.max():.2f} ({best}), "
            f"half of them above {by_mine.median():.2f}"
        )
    together = shares[shares["class"] == shares["class"].iloc[0]].set_index("condition")
    edge = together.loc[errors.WITHIN_2_PX]
    farther = together["first_share"].drop([errors.WITHIN_1_PX, errors.WITHIN_2_PX]).dropna()
    most = farther.idxmax() if len(farther) else errors.UNEXPLAINED
    where = "under none of the conditions below" if most == errors.UNEXPLAINED else most
    # Each error stands under one condition: together they are all errors.
    share = _percent(farther.max() / farther.sum())
    rest = f"; of those farther off the largest share lies {where} ({share})"
    return (
        f"- **Score{made()}:** IoU {_decimals(run.scores()['iou'])} over all test mines{spread}.\n"
        f"- **Errors:** {_percent(edge['value'])} of them lie {errors.WITHIN_2_PX}, as do "
        f"{_percent(edge['pixel_share'])} of all pixels{rest if len(farther) else ''}."
    )


def _largest(of_mine: errors.Explanations, name: str, error: str, by: str) -> str:
    """Name the three grounds, or predictions, that most errors of a class are on."""
    table = of_mine.confusions
    lines = table[(table["class"] == name) & (table["error"] == error) & (table["by"] == by)]
    shares = (lines["errors_there"] / lines["errors"]).set_axis(lines["other"])
    shares = shares[shares >= 0.005].sort_values(ascending=False).head(3)
    texts = [f"{other} {_percent(value)}" for other, value in shares.items()]
    return ", ".join(texts)


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
    missed = objects["detected"] < errors.MISSED_BELOW
    text = f"{missed.sum()} of {len(objects)}"
    for word, areas in (
        ("missed", objects.loc[missed, "area_ha"]),
        ("found", objects.loc[~missed, "area_ha"]),
    ):
        if len(areas):
            text += f"; {word}: {span(areas.min(), areas.max(), _two_digits)} ha"
    return text


def _two_digits(value: float) -> str:
    """Write the first two digits of a number, and no power of ten."""
    return f"{float(f'{value:.2g}'):g}"


def _distance(scene: pd.Series) -> str:
    """Write how far a scene looks from the training mines."""
    if pd.isna(scene["distance"]):
        return "cannot be told"
    text = f"{scene['distance']:.2f} standard deviations"
    if pd.isna(scene["percentile"]):
        return text
    return f"{text}, farther than {scene['percentile']:.0%} of those from each other"


def condition_table(shares: pd.DataFrame) -> pd.DataFrame:
    """Return `condition_shares`, what covers how much of all errors, written out."""
    table = pd.DataFrame(
        {
            "share of the error": shares["value"].map(_percent),
            "95 % interval over mines": spans(shares["low"], shares["high"], _percent),
            "share of all pixels": shares["pixel_share"].map(_percent),
            "error rate inside": shares["rate_inside"].map(_percent),
            "outside": shares["rate_outside"].map(_percent),
            "each error once, in this order": shares["first_share"].map(_percent),
        }
    )
    table.index = pd.MultiIndex.from_frame(shares[["class", "condition"]])
    return table.rename_axis(columns=kind())


def claim_table(claims: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's claims (`section4.claims`), each with what was measured.

    The difference and its interval rest on the same resamples of the mines for both sides.
    """
    beside = claims["beside"].astype(str) + ": " + claims["other"].map(_percent).astype(str)
    interval = " (" + spans(claims["difference_low"], claims["difference_high"], _points) + ")"
    interval = interval.where(claims["difference_low"].notna(), "")
    table = pd.DataFrame(
        {
            "measured": claims["measured"],
            "value": claims["value"].map(_percent),
            "95 % interval over mines": spans(claims["low"], claims["high"], _percent),
            "mines": claims["mines"].astype(int),
            "beside": beside,
            "difference, points": claims["difference"].map(_points) + interval,
        }
    )
    table.index = pd.MultiIndex.from_frame(claims[["section", "claim"]])
    return table.rename_axis(columns=kind())


def limits(explanations: errors.Explanations) -> str:
    """Say in a Markdown list what this dataset cannot tell about the errors; empty if nothing."""
    absent = [name for name in CLASS_NAMES if name not in explanations.annotated]
    notes = []
    if absent:
        notes.append(
            f"Nobody annotated {', '.join(absent)} here: errors on them count as on "
            f"“{errors.NO_CLASS}”, and are not zero but unknown."
        )
    for ground, bands in (("snow", "B03, B04 and B11"), ("water", "B03 and B08")):
        if explanations.scenes[ground].isna().all():
            notes.append(f"The dataset lacks one of {bands}: pixels of {ground} are unknown.")
    if explanations.scenes["percentile"].isna().all():
        notes.append("Too few training mines: how unfamiliar a scene is cannot be told.")
    return "\n".join(f"- {note}" for note in notes)


def _points(value: float) -> str:
    """Write a difference of shares in percentage points."""
    return signed(100 * value, 0)


def _percent(value: float) -> str:
    """Write a share in percent, with a decimal where it is small."""
    if pd.isna(value):
        return style.DASH
    if 0 < value < 0.0005:
        return "< 0.1%"
    return f"{value:.1%}" if 0 < value < 0.0995 else f"{value:.0%}"


def _decimals(value: object) -> str:
    """Write three decimals of a number, a dash without one, and any other value as it is."""
    return number(value) if isinstance(value, float) else str(value)


def _as_printed(value: object) -> str:
    """Write three decimals, or four where the paper prints four."""
    short = f"{value:.3f}"
    return short if float(short) == value else f"{value:g}"


@style.in_style()
def why_figure(explanations: errors.Explanations, mine: str) -> Figure:
    """Show what explains the errors on one mine, class by class.

    On which ground the false positives lie; how far all errors are from a true boundary; and the
    objects of the truth by size, with the share of each that was found.
    """
    of_mine = explanations.of_mine(mine)
    wrong = of_mine.conditions.drop_duplicates("class").set_index("class")["errors"]
    there = set(of_mine.objects["class"])
    names = [name for name in of_mine.class_names if wrong[name] or name in there]
    height_in = 1.75 + 0.3 * max(len(names), 2)
    figure = style.ReportFigure(figsize=(9.6, height_in), layout="constrained")
    ground, boundary, sizes = figure.subplots(1, 3, width_ratios=(1.25, 0.95, 0.85))
    _draw_ground(ground, of_mine, names)
    _draw_boundary(boundary, of_mine, wrong[names])
    _draw_sizes(sizes, of_mine.objects, names)
    sizes.set_title("objects: share found, by size")
    figure.suptitle(mine, x=0.01, ha="left", fontsize=10, fontweight="bold")
    if kind():  # the mine's name takes the place of `mark_synthetic`
        bold: dict[str, Any] = {"size": 10, "weight": "bold", "color": style.MARK_COLOUR}
        figure.text(0.99, 0.985, "SYNTHETIC", ha="right", va="top", **bold)
    return figure


def _draw_ground(axes: Axes, of_mine: errors.Explanations, names: Sequence[str]) -> None:
    """Draw as a table of colours on which ground the false positives of each class lie."""
    lines = of_mine.confusions[of_mine.confusions["error"] == "false positive"]
    lines = lines.assign(share=lines["errors_there"] / lines["errors"])  # 0/0 is NaN
    table = lines.pivot(index="class", columns="other", values="share")
    order = [*(n for n in of_mine.annotated if n in table), errors.NO_CLASS]
    table = table.reindex(index=list(names), columns=order)
    table = table[[n for n in order if n == errors.NO_CLASS or table[n].gt(0.005).any()]]
    style.write_shares(axes, table, lambda share: f"{share:.0%}" * (share > 0.005))
    for row in np.flatnonzero(table.isna().all(axis=1)):
        style.note_at_axis(axes, float(row), "no false positives")
    if table.isna().all(axis=None):  # nothing to name without an error
        axes.set_xticks([])
    axes.set_title("false positives lie on")


def _draw_boundary(axes: Axes, of_mine: errors.Explanations, wrong: pd.Series) -> None:
    """Draw how the errors of each class are divided by their distance from a true boundary."""
    table = of_mine.conditions.pivot(index="class", columns="condition", values="errors_there")
    some = wrong.where(wrong > 0)
    shares = table.loc[wrong.index].div(some, axis="index").fillna(0)
    near, next_to_it = (shares[c].to_numpy() for c in (errors.WITHIN_1_PX, errors.WITHIN_2_PX))
    parts = {
        "≤ 1 px": (errors.WITHIN_1_PX, near),
        "≤ 2 px": (errors.WITHIN_2_PX, next_to_it - near),
        "farther": (errors.UNEXPLAINED, (wrong > 0).to_numpy() - next_to_it),
    }
    _draw_stacks(axes, [""] * len(wrong), parts, 0.6)
    axes.set_title("errors by distance to true boundary")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)


def _draw_stacks(
    axes: Axes, rows: Sequence[str], parts: Mapping[str, tuple[str, np.ndarray]], thickness: float
) -> None:
    """Draw a bar of 100 % a row from labelled parts: condition and width (rows,) of each."""
    left = np.zeros(len(rows))
    for label, (condition, widths) in parts.items():
        colour = CONDITION_COLOURS[condition]
        axes.barh(range(len(rows)), widths, thickness, left, color=colour, label=label)
        left = left + widths
    for row in np.flatnonzero(left == 0):
        style.note_at_axis(axes, float(row), "no errors")
    style.name_rows(axes, rows)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1)


@style.in_style()
def object_figure(objects: pd.DataFrame) -> Figure:
    """Show how much of each object (`Explanations.objects`) was found against its size.

    Hollow dots go on beyond the tested part, and so are larger than shown. The line is the share
    of objects of which at least half was found, in each third of a decade with at least
    `FEWEST_OBJECTS` whole objects.
    """
    figure = style.page_figure(7.4, 3.6)
    axes = figure.add_subplot()
    names = list(objects["class"].unique())
    _draw_sizes(axes, objects, names)
    whole = objects[~objects["cut"].astype(bool)]
    bins = np.floor(3 * np.log10(whole["area_ha"].astype(float)))
    found = (whole["detected"] >= errors.MISSED_BELOW).groupby(bins).agg(["mean", "size"])
    for third, line in found[found["size"] >= FEWEST_OBJECTS].iterrows():
        edges = 10 ** (np.array([float(str(third)), float(str(third)) + 1]) / 3)
        axes.plot(edges, [line["mean"]] * 2, color="#222222", linewidth=2.2)
    axes.set_ylabel("share of the object that was found")
    ring: dict[str, Any] = {"marker": "o", "linewidth": 0, "markerfacecolor": "white"}
    entries: list[Artist] = [
        *style.colour_patches({name: CLASS_COLOURS[name] for name in names}),
        Line2D([], [], color="#555555", label="cut off: larger than shown", **ring),
        Line2D([], [], color="#222222", linewidth=2.2, label="share that is at least half found"),
    ]
    axes.legend(handles=entries, loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3)
    return figure


def _draw_sizes(axes: Axes, objects: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw one dot an object: its area, and the share that was found."""
    axes.set_xscale("log")
    for name in names:
        of_class = objects[objects["class"] == name]
        colour = CLASS_COLOURS[name]
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
    axes.axhline(errors.MISSED_BELOW, color="#999999", linewidth=0.8, linestyle="--", zorder=1)
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


@style.in_style()
def condition_figure(shares: pd.DataFrame) -> Figure:
    """Show which conditions cover how much of the error over all test mines.

    Left, of all classes together: for each condition the share of the error with its 95 % interval
    over mines, beside the share of all pixels. Right, class by class: each error once.
    """
    names = list(shares["class"].unique())
    figure = style.page_figure(9.6, 3.3 + 0.12 * max(len(names) - 3, 0))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_shares(left, shares[shares["class"] == names[0]].set_index("condition"), names[0])
    _draw_waterfall(right, shares, names)
    return figure


def _draw_shares(axes: Axes, lines: pd.DataFrame, name: str) -> None:
    """Draw the share of the error under each condition beside that of all pixels."""
    for row, condition in enumerate(errors.CONDITIONS):
        line = lines.loc[condition]
        if pd.isna(line["value"]):
            unknown = pd.isna(line["pixel_share"])
            style.note_at_axis(axes, row, "cannot be told here" if unknown else "no errors")
            continue
        colour = CONDITION_COLOURS[condition]
        axes.plot([line["pixel_share"], line["value"]], [row, row], color="#CCCCCC", zorder=1)
        axes.plot([line["low"], line["high"]], [row, row], color=colour, linewidth=3, alpha=0.45)
        axes.plot(line["value"], row, "o", color=colour, markersize=7)
        axes.plot(line["pixel_share"], row, "|", color="#222222", markersize=12, markeredgewidth=2)
    style.name_rows(axes, errors.CONDITIONS)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(-0.02, 1.02)
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
    table = table.reindex(index=list(names)).fillna(0)
    order = (*errors.CONDITIONS[:-1], errors.UNEXPLAINED)
    parts = {condition: (condition, table[condition].to_numpy()) for condition in order}
    _draw_stacks(axes, names, parts, 0.7)
    axes.set_title("each error once, under the first that holds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=2, fontsize=7.5)
