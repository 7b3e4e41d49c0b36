"""Tables and charts of averaging conventions: what the print allows, and what our runs give."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator
from pandas.io.formats.style import Styler

from minseg.audit.averaging import excluded_rows, least_empty_share, ranking_changes
from minseg.report import style
from minseg.report.bands_splits import by_model
from minseg.report.style import DASH, kind, made, model_title, note_table, number, spans
from minseg.scoring.conventions import NAMED


def averaging_answer(printed: pd.DataFrame, ours: pd.DataFrame) -> str:
    """Say in Markdown how many printed rows break the identity, and whether conventions matter.

    See `with_identity` and `convention_scores` of `minseg.audit.averaging`.
    """
    lines = [
        f"- **In print**, IoU exceeds precision or recall in {printed['breaks'].sum()} of "
        f"{len(printed)} rows: there the four scores were not averaged alike."
    ]
    changes = ranking_changes(ours[ours["convention"].isin([name.name for name in NAMED])])
    if changes.empty:
        lines.append("- Fewer than two band configurations could be run: there is nothing to rank.")
        return "\n".join(lines)
    same = changes.groupby("task")["same_best"].all()
    lines.append(
        f"- **Our runs{made()}**: the convention changes which configuration is best in "
        f"{(~same).sum()} of {len(same)} models; Kendall's τ between an order and that under "
        f"`standard` is {number(changes['tau'].min(), 1)} or more."
    )
    return "\n".join(lines)


def excluded_table(paper: pd.DataFrame) -> pd.DataFrame:
    """Return how many of `paper_rows` each explanation without absent classes excludes."""
    in_print = paper["task"].value_counts()
    columns = {
        model_title(str(task)): rows.map(f"{{}} of {in_print[str(task)]}".format)
        for task, rows in excluded_rows(paper).items()
    }
    return pd.DataFrame(columns).rename_axis(index="if …", columns="rows that cannot be")


def empty_table(paper: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Return the share of absent classes that Table 3 implies, and that of our test scenes.

    See `paper_rows` and `empty_slots` of `minseg.audit.averaging`. Implied is the least share at
    which the printed rows are possible, under each of the three rules for an absent class.
    """
    tasks = list(dict.fromkeys([*paper["task"], *ours["task"]]))
    rules = least_empty_share(paper)
    columns = {f"implied, {rule}": _shares(rules[rule], paper["task"]) for rule in rules}
    word = f" ({kind()})" if kind() else ""
    for title, name in (("in neither", "empty"), ("not in the truth", "not_annotated")):
        columns[f"ours{word}, {title}"] = _shares(ours[name], ours["task"])
    return by_model(pd.DataFrame(columns, index=tasks).fillna(DASH))


def distance_table(distances: pd.DataFrame, first: int = 10) -> pd.DataFrame | Styler:
    """Return the conventions that come nearest to the paper's pattern, and how many rows break it.

    See `minseg.audit.averaging.pattern_distances`; conventions that give the same numbers share a
    line.
    """
    if distances.empty:
        return note_table(
            "The paper has none of these models and bands: there is no pattern to compare with."
        )
    tasks = list(distances.columns.drop(["distance", "agreeing", "rows"]).astype(str))
    groups = distances.round(6).groupby(["distance", "agreeing", *tasks], sort=False)
    lines = {}
    for _, same in list(groups)[:first]:
        names = list(same.index)
        name = names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
        line = same.iloc[0].to_dict()
        facts = {
            "distance": f"{line['distance']:.3f}",
            "as in print": f"{line['agreeing']:.0f} of {line['rows']:.0f} rows",
        }
        breaking = {f"{model_title(task)} breaks": f"{line[task]:.0f}" for task in tasks}
        lines[name] = facts | breaking
    table = pd.DataFrame.from_dict(lines, orient="index")
    return table.rename_axis(index="convention", columns=kind())


def _shares(values: pd.Series, tasks: pd.Series) -> pd.Series:
    """Write the range of shares of each task."""
    groups = values.groupby(tasks, sort=False)
    return spans(groups.min(), groups.max(), "{:.2f}".format)


_POSSIBLE = "#D5DDE3"
_KEEPS = "#0072B2"
_BREAKS = "#D55E00"
_PAPER = "#444444"
_FORBIDDEN = "#FBEDE4"
_OURS = (("#0072B2", "o"), ("#009E73", "s"), ("#CC79A7", "^"), ("#E69F00", "v"))
"""Colour and marker of our scores, convention by convention."""

_LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#555555")


@style.in_style()
def identity_figure(rows: pd.DataFrame) -> Figure:
    """Show where a printed mean IoU exceeds the printed precision or recall, one panel a task.

    See `minseg.audit.averaging.with_identity`. The bar is what IoU can be if all scores are
    averaged alike; a marker beyond it cannot be.
    """
    tasks, names = list(rows["task"].unique()), list(rows["row"].unique())
    figure, panels = _side_by_side(tasks, 1.05 + 0.205 * len(names))
    for task, axes in zip(tasks, panels, strict=True):
        lines = rows[rows["task"] == task].set_index("row").reindex(names)
        axes.barh(range(len(names)), lines["bound"], 0.62, color=_POSSIBLE, zorder=1)
        at = np.arange(len(names))
        for metric, marker in (("recall", "|"), ("precision", "x")):
            axes.scatter(lines[metric], at, 22, color="#777777", marker=marker, linewidth=1.1)
        breaks = lines["breaks"].eq(True).to_numpy()
        axes.hlines(at[breaks], lines["bound"][breaks], lines["iou"][breaks], color=_BREAKS)
        for mask, colour in ((breaks, _BREAKS), (~breaks, _KEEPS)):
            axes.scatter(lines["iou"][mask], at[mask], 24, color=colour, marker="D", zorder=3)
        axes.set_title(
            f"{model_title(task)}: {breaks.sum()} of {lines['iou'].notna().sum()}",
            fontweight="bold",
        )
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(MultipleLocator(0.5))
        axes.grid(axis="x")
    style.name_rows(panels[0], names)
    keys = [
        Patch(color=_POSSIBLE, label="possible IoU: up to min(P, R)"),
        style.legend_marker("recall", "#777777", "|"),
        style.legend_marker("precision", "#777777", "x"),
        style.legend_marker("printed IoU, possible", _KEEPS, "D"),
        style.legend_marker("not possible", _BREAKS, "D"),
    ]
    style.legend_at_foot(figure, keys)
    return figure


@style.in_style()
def pattern_figure(paper: pd.DataFrame, ours: Mapping[str, pd.DataFrame]) -> Figure:
    """Set our runs' scores under four conventions at most beside the paper's, a point a row.

    See `minseg.audit.averaging.with_identity`. Above the diagonal IoU exceeds precision or recall.
    """
    tasks = list(dict.fromkeys(task for rows in ours.values() for task in rows["task"]))
    if not tasks:
        return style.nothing_figure()
    figure, panels = _side_by_side(tasks, 2.75)
    for task, axes in zip(tasks, panels, strict=True):
        axes.fill_between([0, 1], [0, 1], 1, color=_FORBIDDEN, linewidth=0, zorder=0)
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.9, zorder=1)
        for rows, (colour, marker) in zip(ours.values(), _OURS, strict=False):
            own = rows[rows["task"] == task]
            axes.scatter(own["bound"], own["iou"], 20, color=colour, marker=marker, zorder=3)
        printed = paper[paper["task"] == task]
        hollow: dict[str, Any] = {"facecolor": "none", "edgecolor": _PAPER, "marker": "D"}
        axes.scatter(printed["bound"], printed["iou"], 26, zorder=3, **hollow)
        axes.set_title(model_title(task), fontweight="bold")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="min(precision, recall)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MultipleLocator(0.5))
    panels[0].set_ylabel("IoU")
    styles = zip(ours, _OURS, strict=False)
    keys: list[Artist] = [style.legend_marker(f"ours, {name}", *looks) for name, looks in styles]
    if paper["task"].isin(tasks).any():
        keys.append(style.legend_marker("paper, Table 3", _PAPER, "D", hollow=True))
    keys.append(Patch(color=_FORBIDDEN, label="not possible if all are averaged alike"))
    style.legend_at_foot(figure, keys, 3)
    style.mark_synthetic(figure, bool(kind()))
    return figure


@style.in_style()
def rank_figure(ranks: pd.DataFrame) -> Figure:
    """Show how the order of a task's rows changes with the convention (`ranks`), a line a row."""
    several = ranks.groupby("task")["row"].transform("nunique") > 1
    ranks = ranks[several.astype(bool)]
    tasks = list(ranks["task"].unique())
    if not tasks:
        return style.nothing_figure()
    conventions, rows = list(ranks["convention"].unique()), list(ranks["row"].unique())
    height_in = 0.5 + 0.27 * len(rows)
    figure, panels = style.panel_grid(len(tasks), 7.4, 1.4, height_in, sharex=True, sharey=True)
    for task, axes in zip(tasks, panels, strict=True):
        of_task = ranks[ranks["task"] == task]
        table = of_task.pivot(index="row", columns="convention", values="rank")
        _draw_ranks(axes, table.reindex(index=rows, columns=conventions))
        axes.set_title(model_title(task), fontweight="bold")
        axes.set_xticks(range(len(conventions)), conventions, rotation=25, ha="right")
        axes.set_ylim(len(rows) + 0.5, 0.5)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels[::2]:
        axes.set_ylabel("rank by IoU")
    return figure


def _draw_ranks(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a line for each row, named at its right end."""
    named: dict[float, list[tuple[str, str]]] = {}
    for k, (name, values) in enumerate(table.iterrows()):
        colour = _LINES[k % len(_LINES)]
        axes.plot(range(len(values)), values, color=colour, marker="o", markersize=4.5)
        if values.notna().any():
            named.setdefault(values.iloc[-1], []).append((str(name), colour))
    for rank, ends in named.items():
        for k, (name, colour) in enumerate(ends):  # equal ranks stand beside each other
            looks = {"color": colour, "fontsize": 8, "annotation_clip": False}
            style.note(axes, name, (table.shape[1] - 1, rank), 7 + 40 * k, **looks)
    axes.set_xlim(-0.3, table.shape[1] - 0.2)


def _side_by_side(tasks: Sequence[str], height_in: float) -> tuple[Figure, list[Axes]]:
    """Make a panel for each task, all in one line."""
    size_in = max(7.4 * len(tasks) / 4, 4.2), height_in
    figure = style.ReportFigure(figsize=size_in, layout="constrained")
    grid = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)
    return figure, list(grid.ravel())
