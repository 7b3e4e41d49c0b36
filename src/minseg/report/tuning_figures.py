"""Charts of the hyperparameter search: its course, what mattered, and what selecting adds."""

import math
import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from minseg.report.comparisons import model_title
from minseg.report.style import PART_STYLES, ReportFigure, in_style, mark_synthetic, nothing_figure
from minseg.report.tuning_tables import HYPERPARAMETER_TITLES, gain_on_test
from minseg.study.selection import Candidates

_BLUE, _GREY, _BEST = "#0072B2", "#888888", "#D55E00"


@in_style()
def search_figure(trials: Mapping[str, pd.DataFrame], synthetic: bool = False) -> Figure:
    """Show the course of searches: the validation IoU of each trial, and the best so far.

    Parameters
    ----------
    trials : mapping of task to pandas.DataFrame
        Columns trial, state, validation_iou (`minseg.study.selection.trial_table`); pruned trials
        are shown at the last value that they reported, if any.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a model.
    """
    if not trials:
        return nothing_figure(synthetic)
    figure, panels = _panels(len(trials), 7.6, 2.3, sharey=True)
    for axes, (task, table) in zip(panels, trials.items(), strict=True):
        table = table.dropna(subset=["validation_iou"]).sort_values("trial")
        complete = table[table["state"] == "complete"]
        pruned = table[table["state"] == "pruned"]
        axes.scatter(
            pruned["trial"],
            pruned["validation_iou"],
            s=12,
            facecolor="none",
            edgecolor=_GREY,
            linewidth=0.9,
            label="pruned, at its last value",
        )
        axes.scatter(
            complete["trial"], complete["validation_iou"], s=20, color=_BLUE, label="complete"
        )
        text = "no complete trial"
        if len(complete):
            best = complete["validation_iou"].cummax().to_numpy()
            axes.step(
                [*complete["trial"], table["trial"].max()],  # on to the last trial
                [*best, best[-1]],
                where="post",
                color=_BEST,
                linewidth=1.4,
                zorder=1,
                label="best so far",
            )
            winner = complete.iloc[complete["validation_iou"].argmax()]
            text = f"best {winner['validation_iou']:.3f} in trial {winner['trial']:.0f}"
        _set_title(axes, task, text)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(axis="y")
    _label_edges(panels, "trial", "validation IoU")
    return _finished(figure, panels, synthetic)


@in_style()
def importance_figure(importances: Mapping[str, pd.Series], synthetic: bool = False) -> Figure:
    """Show how much each hyperparameter mattered to the validation IoU.

    Parameters
    ----------
    importances : mapping of task to pandas.Series
        Share of the variance, by hyperparameter (`minseg.study.selection.importances`); empty
        where the trials say nothing.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a model; the hyperparameter that matters most on average is on top.
    """
    if not importances:
        return nothing_figure(synthetic)
    table = pd.DataFrame(dict(importances)).fillna(0.0)
    table = table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    rows = max(len(table), 3)
    figure = ReportFigure(figsize=(7.6, 0.8 + 0.3 * rows), layout="constrained")
    panels = list(figure.subplots(1, len(importances), sharex=True, sharey=True, squeeze=False)[0])
    for axes, (task, shares) in zip(panels, importances.items(), strict=True):
        axes.set_title(textwrap.fill(model_title(task), 84 // len(importances)))
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MultipleLocator(0.5))
        if shares.empty:
            text = "too few\ncomplete trials,\nor all alike"
            axes.text(0.08, 0.5, text, transform=axes.transAxes, va="center", color="#777777")
            continue
        values = table[task]
        axes.barh(range(len(table)), values, 0.68, color=_BLUE)
        for row, share in enumerate(values):
            axes.annotate(
                f"{share:.2f}",
                (share, row),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
    names = [HYPERPARAMETER_TITLES.get(name, name) for name in table.index]
    panels[0].set_yticks(range(len(table)), names)
    panels[0].set_ylim(rows - 0.5, -0.5)  # the most important on top
    panels[0].set_xlim(0, min(1.0, table.to_numpy().max(initial=0.5)) * 1.25)
    text = "importance for the validation IoU (fANOVA; sums to 1)"
    figure.supxlabel(text, fontsize=9)
    mark_synthetic(figure, synthetic)
    return figure


@in_style()
def selection_figure(found: Mapping[str, Candidates], synthetic: bool = False) -> Figure:
    """Set the test IoU of all candidates against their validation IoU, with both choices marked.

    Parameters
    ----------
    found : mapping of task to Candidates
        See `minseg.study.selection.candidates`.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a model, with what choosing on the test part adds to the test IoU.
    """
    if not found:
        return nothing_figure(synthetic)
    figure, panels = _panels(len(found), 7.6 if len(found) > 1 else 4.8, 3.3)
    for axes, (task, one) in zip(panels, found.items(), strict=True):
        table = one.table
        scores = table[["validation_iou", "test_iou"]].to_numpy(float)
        margin = 0.06 * max(float(np.nanmax(scores) - np.nanmin(scores)), 0.02)
        limits = float(np.nanmin(scores)) - margin, float(np.nanmax(scores)) + margin
        axes.plot(limits, limits, color="#BBBBBB", linewidth=1, label="test = validation", zorder=1)
        axes.scatter(
            scores[:, 0],
            scores[:, 1],
            s=12,
            color=_BLUE,
            alpha=0.45,
            linewidth=0,
            label="candidate",
        )
        for row, part, size in ((one.by_validation, "validation", 75), (one.by_test, "test", 34)):
            colour, marker = PART_STYLES[part]
            axes.axhline(scores[row, 1], color=colour, linewidth=1, linestyle=":", zorder=1)
            axes.scatter(
                scores[row, 0],
                scores[row, 1],
                s=size,
                color=colour,
                marker=marker,
                edgecolor="#222222",
                linewidth=0.8,
                zorder=3,
                label=f"chosen on {part}",
            )
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        _set_title(axes, task, f"choosing on test adds {gain_on_test(one):.3f}")
    _label_edges(panels, "validation IoU", "test IoU")
    return _finished(figure, panels, synthetic)


def _panels(
    number: int, width_in: float, height_in: float, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make panels of a height, two in a row."""
    columns, rows = min(2, number), math.ceil(number / 2)
    figure = ReportFigure(figsize=(width_in, height_in * rows + 0.5), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel())
    for spare in panels[number:]:
        spare.set_axis_off()
    return figure, panels[:number]


def _set_title(axes: Axes, task: str, text: str) -> None:
    """Name a panel's model and say what it shows, in several lines if long."""
    axes.set_title(textwrap.fill(f"{model_title(task)}: {text}", 42))


def _label_edges(panels: list[Axes], below: str, left: str) -> None:
    """Name the axes at the left of each row and below each column."""
    for k, axes in enumerate(panels):
        if k % 2 == 0:
            axes.set_ylabel(left)
        if k >= len(panels) - 2:
            axes.set_xlabel(below)


def _finished(figure: Figure, panels: list[Axes], synthetic: bool) -> Figure:
    """Add the legend that all panels share, and the mark."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=len(entries) if figure.get_figwidth() > 6 else 2,
        borderaxespad=0.7,
    )
    mark_synthetic(figure, synthetic)
    return figure
