"""Charts drawn from tables: class shares, learning curves, and scores mine by mine."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from minseg.report.style import (
    PART_STYLES,
    ReportFigure,
    in_style,
    mark_synthetic,
    note_at_axis,
)

LOG_FROM_RATIO = 100
"""Ratio of the largest share to the smallest from which the axis is logarithmic."""

_NETWORK = "network"
_MODEL_STYLES = (("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))


@in_style()
def class_share_figure(shares: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show how much of the pixels each class covers, part by part.

    Parameters
    ----------
    shares : pandas.DataFrame
        Indexed by class name, one column per part, values 0 to 1 (`Dataset.class_shares`); NaN is
        unknown. The axis is logarithmic if the shares differ by more than `LOG_FROM_RATIO`.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
    """
    values = shares.to_numpy(float)
    positive = values[values > 0]
    logarithmic = positive.size > 0 and positive.max() > LOG_FROM_RATIO * positive.min()
    thickness = 0.8 / max(len(shares.columns), 1)
    height_in = 0.8 + len(shares) * max(0.25, 0.14 * len(shares.columns))

    figure = ReportFigure(figsize=(7.2, height_in), layout="constrained")
    axes = figure.add_subplot()
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(0.5 * positive.min(), min(1.0, 2 * positive.max()))
    for column, part in enumerate(shares.columns):
        offset = (column + 0.5) * thickness - 0.4
        rows = [row + offset for row in range(len(shares))]
        # Any other column takes the next colour of the style's cycle.
        colour = PART_STYLES[part][0] if part in PART_STYLES else None
        axes.barh(rows, shares[part].fillna(0), thickness * 0.92, color=colour, label=part)
        for row, share in zip(rows, shares[part], strict=True):
            if not share > 0:
                note_at_axis(axes, row, "unknown" if pd.isna(share) else "none")
    axes.set_yticks(range(len(shares)), shares.index)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()  # the first class on top
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    axes.set_xlabel("share of pixels" + (" (logarithmic scale)" if logarithmic else ""))
    axes.grid(axis="x")
    _legend_above(axes)
    mark_synthetic(figure, synthetic)
    return figure


@in_style()
def overlap_figure(overlaps: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show how far classes overlap (section 2.2).

    Parameters
    ----------
    overlaps : pandas.DataFrame
        Share of the row's pixels that also carry the column's class, 0 to 1
        (`minseg.report.tables.overlap_table`).
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
    """
    values = overlaps.to_numpy(float)
    side_in = 0.42 * max(len(overlaps), 3)
    figure = ReportFigure(figsize=(side_in + 2.6, side_in + 1.7), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(values):
        if share > 0:
            text = f"{share:.2f}" if share >= 0.005 else "< .01"
            colour = "white" if share > 0.6 else "#222222"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(overlaps)), overlaps.columns, rotation=40, ha="right")
    axes.set_yticks(range(len(overlaps)), overlaps.index)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("share of the row's pixels that also carry the column's class")
    mark_synthetic(figure, synthetic)
    return figure


@in_style()
def learning_curve_figure(history: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show loss and validation IoU over the epochs, with the best epoch marked.

    Parameters
    ----------
    history : pandas.DataFrame
        Columns `epoch`, `train_loss`, `validation_iou` and perhaps `validation_loss`; NaN where an
        epoch was not validated.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels above each other: loss, validation IoU.
    """
    figure = ReportFigure(figsize=(7.2, 4.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for part in ("train", "validation"):
        if f"{part}_loss" in history:
            _curve(above, history, f"{part}_loss", part)
    _curve(below, history, "validation_iou", "validation")
    above.set_ylabel("loss")
    _legend_above(above)
    below.set_ylabel("validation IoU")
    below.set_ylim(0, 1)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))

    validated = history.dropna(subset=["validation_iou"])
    if len(validated):
        best = validated.iloc[validated["validation_iou"].argmax()]
        for axes in (above, below):
            axes.axvline(best["epoch"], color="#555555", linestyle="--", linewidth=1, zorder=1)
        below.plot(best["epoch"], best["validation_iou"], "o", color="#555555", markersize=7)
        text = f"best: epoch {best['epoch']:g}, IoU {best['validation_iou']:.2f}"
        left = best["epoch"] > history["epoch"].mean()
        below.annotate(
            text,
            (best["epoch"], 0.03),
            (-5 if left else 5, 0),
            textcoords="offset points",
            ha="right" if left else "left",
        )
    mark_synthetic(figure, synthetic)
    return figure


@in_style()
def score_figure(per_mine: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show each mine's IoU, the network's beside the per-pixel baseline's.

    Parameters
    ----------
    per_mine : pandas.DataFrame
        Columns `mine`, `model` (`network`, and others such as `per-pixel forest`) and `iou` (0 to
        1, NaN where undefined). Several rows of a mine and model, such as seeds, are averaged.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        One row a mine, the network's best on top. The means in the legend are over the mines that
        every model has an IoU for, so that they compare.
    """
    table = per_mine.pivot_table(
        index="mine", columns="model", values="iou", aggfunc="mean", dropna=False
    )
    compared = table.dropna()
    models = sorted(table.columns, key=lambda model: (model != _NETWORK, model))
    if models:
        table = table.sort_values(models[0], ascending=False, na_position="last", kind="stable")

    figure = ReportFigure(figsize=(7.2, 1.0 + 0.24 * max(len(table), 2)), layout="constrained")
    axes = figure.add_subplot()
    axes.hlines(range(len(table)), table.min(axis=1), table.max(axis=1), color="#BBBBBB", zorder=1)
    for model, (colour, marker) in zip(models, cycle(_MODEL_STYLES), strict=False):
        mean = compared[model].mean()
        axes.scatter(
            table[model],
            range(len(table)),
            # Open over filled, so that equal scores show both.
            facecolor=colour if model == models[0] else "none",
            edgecolor=colour,
            linewidth=1.5,
            marker=marker,
            s=34,
            label=f"{model} (mean {mean:.2f})" if pd.notna(mean) else model,
        )
    for row, (_, scores) in enumerate(table.iterrows()):
        if scores.isna().all():
            note_at_axis(axes, row, "undefined")
    axes.set_yticks(range(len(table)), [str(mine) for mine in table.index])
    axes.set_ylim(len(table) - 0.4, -0.6)  # the best on top
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(-0.02, 1.02)
    left_out = len(table) - len(compared)
    axes.set_xlabel(f"IoU (means without {left_out} of {len(table)} mines)" if left_out else "IoU")
    axes.grid(axis="both")
    _legend_above(axes)
    mark_synthetic(figure, synthetic)
    return figure


def _curve(axes: Axes, history: pd.DataFrame, column: str, part: str) -> None:
    """Draw one column over the epochs, bridging epochs without a value."""
    known = history.dropna(subset=[column])
    colour, marker = PART_STYLES[part]
    # Markers where points are few; in a long run they would hide the line.
    marker = marker if len(known) <= 30 else ""
    axes.plot(known["epoch"], known[column], color=colour, marker=marker, label=part)
    axes.grid(axis="y")


def _legend_above(axes: Axes) -> None:
    """Put the legend in a row above a panel, clear of the data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.5, ncols=len(labels))
