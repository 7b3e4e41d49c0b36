"""Charts of how many test mines a difference needs."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from minseg.audit.resolution import PAPER_TEST_MINES
from minseg.report.comparisons import model_title
from minseg.report.style import in_style, mark_synthetic, nothing_figure, row_panels

_ENOUGH = "#0072B2"
_TOO_FEW = "#D55E00"
_THERE = "#444444"


@in_style()
def needed_figure(needed: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show how many test mines the paper's differences need, beside those that it has.

    Parameters
    ----------
    needed : pandas.DataFrame
        See `minseg.audit.resolution.with_needed`.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a task. A dot is the number at the typical spread over mines, the line goes from
        the smallest spread to the largest; the vertical line stands at the paper's 38 test mines,
        the diamond at those of the row.
    """
    if needed.empty:
        return nothing_figure(synthetic)
    tasks, rows = list(needed["task"].unique()), list(needed["row"].unique())
    of_bands = needed.loc[needed["table"] == 3, "row"].nunique() % len(rows)
    figure, panels = row_panels([model_title(task) for task in tasks], rows, head_in=0.45)
    for task, axes in zip(tasks, panels, strict=True):
        axes.axvline(PAPER_TEST_MINES, color="#777777", linewidth=1, zorder=1)
        axes.set_xscale("log")
        if of_bands:  # Table 3 above, Table 4 below
            axes.axhline(of_bands - 0.5, color="#999999", linewidth=0.7, zorder=0)
        for row, line in needed[needed["task"] == task].set_index("row").iterrows():
            at = rows.index(str(row))
            axes.scatter(line["mines"], at, 26, facecolor="white", edgecolor=_THERE, marker="D")
            if not math.isfinite(line["needed"]):
                axes.annotate(
                    "printed as equal",
                    (max(line["mines"], PAPER_TEST_MINES), at),
                    (8, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                    color="#777777",
                )
                continue
            colour = _ENOUGH if line["enough"] else _TOO_FEW
            axes.plot([line["needed_low"], line["needed_high"]], [at, at], color=colour)
            axes.scatter(line["needed"], at, 30, color=colour, zorder=3)
    highest = needed["needed_high"].replace(np.inf, np.nan).max()
    panels[0].set_xlim(0.8, 2 * max(highest, 100))
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panels[0].xaxis.set_minor_formatter(NullFormatter())
    for axes in panels[-2:]:
        axes.set_xlabel("test mines needed")
    keys = [
        _key("needed: the row has fewer", _TOO_FEW, "o", 1.6),
        _key("needed: the row has as many", _ENOUGH, "o", 1.6),
        _key("mines of the row (Table 2)", _THERE, "D"),
        Line2D([], [], color="#777777", linewidth=1, label=f"{PAPER_TEST_MINES} mines"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    mark_synthetic(figure, synthetic)
    return figure


def _key(label: str, colour: str, marker: str, width: float = 0) -> Line2D:
    """Return a legend entry, hollow without a line."""
    face = colour if width else "white"
    return Line2D(
        [], [], color=colour, marker=marker, linewidth=width, markerfacecolor=face, label=label
    )
