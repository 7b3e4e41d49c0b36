"""Tables and charts of how small a difference test mines resolve, and how many one needs."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from pandas.io.formats.style import Styler

from minseg.audit.power import FEWEST_MINES, PAPER_TEST_MINES, paper_differences, with_needed
from minseg.report import style
from minseg.report.bands_splits import by_model
from minseg.report.style import kind, made, model_title, note_table, number, signed, spans
from minseg.study.tables import AVERAGES

UNKNOWN = "The paper has no such model, or no spread is known here: nothing to compute."

FEWEST_TOLD = 10
"""Below so many mines the errors are not normal, and the number is told no more closely."""


def needed_mines(band_spreads: pd.DataFrame, split_spreads: pd.DataFrame) -> pd.DataFrame:
    """Return `with_needed` of the printed differences at the spreads (`task_spreads`) of ours."""
    printed = paper_differences()
    spreads = {3: band_spreads, 4: split_spreads}
    needed = [with_needed(printed, of_table, number) for number, of_table in spreads.items()]
    return pd.concat(needed, ignore_index=True)


def power_answer(needed: pd.DataFrame, band_spreads: pd.DataFrame) -> str:
    """Say in Markdown how many printed differences have the mines they need."""
    if needed.empty:
        return f"- {UNKNOWN}"
    lines = [
        f"- **{needed['enough'].sum()} of {len(needed)} printed differences** in IoU rest on as "
        f"many test mines as they need, if they vary from mine to mine as those of our runs"
        f"{made()}."
    ]
    if len(band_spreads):
        resolved = ", ".join(
            f"**{number(smallest)}** ({model_title(str(task))})"
            for task, smallest in band_spreads["resolvable"].items()
        )
        lines.append(
            f"- The smallest difference between two band configurations that {PAPER_TEST_MINES} "
            f"such mines resolve: {resolved}."
        )
    return "\n".join(lines)


def spread_table(spreads: pd.DataFrame) -> pd.DataFrame | Styler:
    """Return how pairs of models differ from mine to mine (`task_spreads`), and what resolves."""
    if spreads.empty:
        return note_table(
            f"No two of these models were tested on the same {FEWEST_MINES} mines or more."
        )
    columns = {
        "pairs": spreads["pairs"],
        "spread over mines, pairs": spans(spreads["low"], spreads["high"]),
        "typical": spreads["spread"].map(number),
        f"smallest difference {PAPER_TEST_MINES} mines resolve": spreads["resolvable"].map(number),
    }
    return by_model(pd.DataFrame(columns)).rename_axis(columns=kind())


def needed_table(needed: pd.DataFrame) -> Styler:
    """Set the paper's differences beside the mines they have and need (`with_needed`)."""
    if needed.empty:
        return note_table(UNKNOWN)
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
    styler = style.table_style(table, ("", kind()), rules)
    return styler.apply(lambda _: styles, axis=None)


def paper_spread_table(spreads: pd.DataFrame) -> pd.DataFrame:
    """Return what the paper's own single mines say (`minseg.audit.power.paper_mine_spreads`)."""
    columns = {
        "mines shown": spreads["mines"],
        "spread of IoU over them": spreads["spread"].map("{:.2f}".format),
        f"one score, {PAPER_TEST_MINES} mines": spreads["half_width"].map("± {:.2f}".format),
        "best − second (Table 3)": spreads["difference"].map(number),
        "correlation needed": spreads["correlation"].map("{:.4f}".format),
    }
    return by_model(pd.DataFrame(columns))


def single_table(singles: pd.DataFrame) -> pd.DataFrame | Styler:
    """Return how well the test mines know one model's IoU (`minseg.audit.power.single_spreads`)."""
    if singles.empty:
        return note_table(f"Fewer than {FEWEST_MINES} test mines: their spread is not known.")
    groups = singles.groupby("task", sort=False)
    low, high = groups.min(numeric_only=True), groups.max(numeric_only=True)
    columns = {
        "models": groups.size(),
        "test mines": high["mines"],
        "IoU": spans(low["iou"], high["iou"]),
        "spread over mines": spans(low["spread"], high["spread"]),
        f"one score, {PAPER_TEST_MINES} mines": "± " + spans(low["half_width"], high["half_width"]),
    }
    return by_model(pd.DataFrame(columns)).rename_axis(columns=kind())


def _mines(number: float) -> str:
    """Write a number of mines, no more closely than the spread is known."""
    if not math.isfinite(number):
        return "no number"
    return f"< {FEWEST_TOLD}" if number < FEWEST_TOLD else f"{float(f'{number:.2g}'):,.0f}"


_ENOUGH = "#0072B2"
_TOO_FEW = "#D55E00"
_THERE = "#444444"


@style.in_style()
def needed_figure(needed: pd.DataFrame) -> Figure:
    """Show how many test mines the paper's differences need, beside those that it has.

    See `minseg.audit.power.with_needed`. A dot is the number at the typical spread over mines, the
    line goes from the smallest spread to the largest; the vertical line stands at the paper's 38
    test mines, the diamond at those of the row.
    """
    if needed.empty:
        return style.nothing_figure()
    tasks, rows = list(needed["task"].unique()), list(needed["row"].unique())
    of_bands = needed.loc[needed["table"] == 3, "row"].nunique() % len(rows)
    figure, panels = style.row_panels([model_title(task) for task in tasks], rows, head_in=0.45)
    for task, axes in zip(tasks, panels, strict=True):
        axes.axvline(PAPER_TEST_MINES, color="#777777", linewidth=1, zorder=1)
        axes.set_xscale("log")
        if of_bands:  # Table 3 above, Table 4 below
            axes.axhline(of_bands - 0.5, color="#999999", linewidth=0.7, zorder=0)
        for row, line in needed[needed["task"] == task].set_index("row").iterrows():
            at = rows.index(str(row))
            axes.scatter(line["mines"], at, 26, facecolor="white", edgecolor=_THERE, marker="D")
            if not math.isfinite(line["needed"]):
                end = max(line["mines"], PAPER_TEST_MINES), at
                style.note(axes, "printed as equal", end, 8)
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
        style.legend_marker("needed: the row has fewer", _TOO_FEW, "o", 1.6),
        style.legend_marker("needed: the row has as many", _ENOUGH, "o", 1.6),
        style.legend_marker("mines of the row (Table 2)", _THERE, "D", hollow=True),
        Line2D([], [], color="#777777", linewidth=1, label=f"{PAPER_TEST_MINES} mines"),
    ]
    style.legend_at_foot(figure, keys)
    return figure
