"""Tables and charts of how small a difference test mines resolve, and how many one needs."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from pandas.io.formats.style import Styler

from minseg.audit.power import PAPER_TEST_MINES
from minseg.report.style import in_style, mark_synthetic, nothing_figure, row_panels, table_style
from minseg.report.text import model_title, signed
from minseg.study.tables import AVERAGES

FEWEST_TOLD = 10
"""Below so many mines the errors are not normal, and the number is told no more closely."""


def spread_table(spreads: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return how pairs of models differ from mine to mine, and what that resolves, written out.

    Parameters
    ----------
    spreads : pandas.DataFrame
        See `minseg.audit.power.task_spreads`.
    synthetic : bool
        Marks the table as made from synthetic data.
    """
    table = pd.DataFrame(
        {
            "pairs": spreads["pairs"],
            "spread over mines, pairs": _spans(spreads["low"], spreads["high"]),
            "typical": spreads["spread"].map("{:.3f}".format),
            f"smallest difference {PAPER_TEST_MINES} mines resolve": spreads["resolvable"].map(
                "{:.3f}".format
            ),
        }
    )
    return _by_model(table, synthetic)


def needed_table(needed: pd.DataFrame, synthetic: bool = False) -> Styler:
    """Set the paper's differences beside the mines they have and the mines they would need.

    Parameters
    ----------
    needed : pandas.DataFrame
        See `minseg.audit.power.with_needed`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas Styler
        Row: what is compared; columns: model, and within it the paper's difference in IoU, its
        mines, and the mines needed, bold where it has as many.
    """
    rows = list(needed["row"].unique())
    columns: dict[tuple[str, str], pd.Series] = {}
    bold: dict[tuple[str, str], pd.Series] = {}
    for task, of_task in needed.groupby("task", sort=False):
        lines = of_task.set_index("row").reindex(rows)
        title = model_title(str(task))
        columns[title, "diff."] = lines["difference"].map(signed, na_action="ignore")
        columns[title, "has"] = lines["mines"].map("{:.0f}".format, na_action="ignore")
        columns[title, "needs"] = lines["needed"].map(_mines, na_action="ignore")
        enough = lines["enough"].eq(True)
        bold[title, "needs"] = enough.map({True: "font-weight: bold", False: ""})
    table = pd.DataFrame(columns, index=rows).fillna("–")
    rules = [k for k in range(1, len(rows)) if (rows[k - 1] in AVERAGES) or rows[k] == "RR"]
    styles = pd.DataFrame(bold, index=rows).reindex(columns=table.columns, fill_value="")
    styler = table_style(table, ("", "synthetic" * synthetic), rules)
    return styler.apply(lambda _: styles, axis=None)


def paper_spread_table(spreads: pd.DataFrame) -> pd.DataFrame:
    """Return what the paper's own single mines say about resolution, written out.

    Parameters
    ----------
    spreads : pandas.DataFrame
        See `minseg.audit.power.paper_mine_spreads`.
    """
    table = pd.DataFrame(
        {
            "mines shown": spreads["mines"],
            "spread of IoU over them": spreads["spread"].map("{:.2f}".format),
            f"one score, {PAPER_TEST_MINES} mines": spreads["half_width"].map("± {:.2f}".format),
            "best − second (Table 3)": spreads["difference"].map("{:.3f}".format),
            "correlation needed": spreads["correlation"].map("{:.4f}".format),
        }
    )
    return _by_model(table, False)


def single_table(singles: pd.DataFrame, synthetic: bool = False) -> pd.DataFrame:
    """Return how well the test mines know a single model's IoU, written out.

    Parameters
    ----------
    singles : pandas.DataFrame
        See `minseg.audit.power.single_spreads`.
    synthetic : bool
        Marks the table as made from synthetic data.
    """
    groups = singles.groupby("task", sort=False)
    low, high = groups.min(numeric_only=True), groups.max(numeric_only=True)
    table = pd.DataFrame(
        {
            "models": groups.size(),
            "test mines": high["mines"],
            "IoU": _spans(low["iou"], high["iou"]),
            "spread over mines": _spans(low["spread"], high["spread"]),
            f"one score, {PAPER_TEST_MINES} mines": "± "
            + _spans(low["half_width"], high["half_width"]),
        }
    )
    return _by_model(table, synthetic)


def _mines(number: float) -> str:
    """Write a number of mines, no more closely than the spread is known."""
    if not math.isfinite(number):
        return "no number"
    return f"< {FEWEST_TOLD}" if number < FEWEST_TOLD else f"{float(f'{number:.2g}'):,.0f}"


def _spans(low: pd.Series, high: pd.Series) -> pd.Series:
    """Write ranges with three decimals."""
    first, last = low.map("{:.3f}".format), high.map("{:.3f}".format)
    return (first + " to " + last).where(first != last, first)


def _by_model(table: pd.DataFrame, synthetic: bool) -> pd.DataFrame:
    """Name tasks as a reader knows them."""
    index = pd.Index([model_title(str(task)) for task in table.index], name="model")
    return table.set_index(index).rename_axis(columns="synthetic" * synthetic)


_ENOUGH = "#0072B2"
_TOO_FEW = "#D55E00"
_THERE = "#444444"


@in_style()
def needed_figure(needed: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show how many test mines the paper's differences need, beside those that it has.

    Parameters
    ----------
    needed : pandas.DataFrame
        See `minseg.audit.power.with_needed`.
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
