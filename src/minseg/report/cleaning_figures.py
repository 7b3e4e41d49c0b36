"""A chart of what cleaning the class maps did to their IoU."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from minseg.report.comparisons import model_title
from minseg.report.style import in_style, mark_synthetic, nothing_figure, row_panels
from minseg.study.cleaning_effect import RULES

_COLOURS = {True: "#0072B2", False: "#8FBBD9"}
"""Whether the test mines tell a difference from zero, to its colour."""


@in_style()
def cleaning_figure(table: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show the difference in IoU that each cleaning rule made, one panel a configuration.

    Parameters
    ----------
    table : pandas.DataFrame
        See `minseg.study.cleaning_effect.effects`.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        Cleaned minus as predicted: right of the zero line the rule helped; the line is
        the 95 % interval, dark where the difference is told from zero.
    """
    if table.empty:
        return nothing_figure(synthetic)
    rules = sorted(table["rule"].unique(), key=list(RULES).index)
    lines_of = [lines for _, lines in table.groupby("run", sort=False)]
    figure, panels = row_panels([_title(lines) for lines in lines_of], rules, head_in=0.5)
    for lines, axes in zip(lines_of, panels, strict=True):
        _draw(axes, lines.set_index("rule").reindex(rules))
    for axes in panels[-2:]:
        axes.set_xlabel("difference in IoU (standard convention)")
    panels[0].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    labels = (f"told from zero, widened for {len(table)} comparisons", "not told from zero")
    handles = [
        Line2D([], [], color=colour, marker="o", linewidth=2, label=label)
        for label, colour in zip(labels, _COLOURS.values(), strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    mark_synthetic(figure, synthetic)
    return figure


def _title(lines: pd.DataFrame) -> str:
    """Name a panel: task, bands, and the IoU that the rules start from."""
    first = lines.iloc[0]
    return f"{model_title(first['task'])}, {first['bands']}: IoU {first['iou']:.2f} as predicted"


def _draw(axes: Axes, lines: pd.DataFrame) -> None:
    """Draw a panel's differences, one a row; NaN where a rule does not apply."""
    axes.axvline(0, color="#555555", linewidth=1, zorder=1)
    for row, (difference, low, high, told) in enumerate(
        lines[["difference", "low", "high", "told"]].itertuples(index=False)
    ):
        if pd.isna(difference):
            axes.annotate(
                "does not apply",
                (1, row),
                (-4, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7.5,
                color="#777777",
            )
            continue
        colour = _COLOURS[bool(told)]
        axes.hlines(row, low, high, color=colour, linewidth=2)
        axes.scatter(difference, row, 30, color=colour, zorder=3)
