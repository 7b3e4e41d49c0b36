"""Charts of Tables 3 and 4: IoU by bands and by split, paired differences, and the paper's."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from minseg.report.comparisons import SPLIT_ROWS, model_title, without_idle_intervals
from minseg.report.style import (
    in_style,
    mark_synthetic,
    note_at_axis,
    nothing_figure,
    row_panels,
)
from minseg.study.experiments import AVERAGES, FOREST_SUFFIX, GENERAL_OF

_OURS = "#0072B2"
_FOREST = "#E69F00"
_PAPER = "#444444"
_SHADE = "#E4EEF6"

TOLD, UNTOLD, SINGLE = "told from zero", "not told from zero", "a single mine"

_CERTAINTIES: dict[str, tuple[str, str, float]] = {
    TOLD: (_OURS, "o", 2.4),
    UNTOLD: ("#8FBBD9", "o", 2.4),
    SINGLE: ("#8A8A8A", "x", 0),
}
"""What the test mines say of a difference, to its colour, marker and line width."""

_SIDES = {"targeted": ("#D55E00", "s"), "general": (_OURS, "o")}

_STEP = 0.18
"""Distance of our values from the middle of a row, upwards, and of the paper's, downwards."""


@in_style()
def band_figure(
    scores: pd.DataFrame,
    forest: pd.DataFrame | None = None,
    chosen: Mapping[str, str] | None = None,
    convention: str = "",
    synthetic: bool = False,
) -> Figure:
    """Show the IoU of each band configuration, one panel a task (Table 3).

    Parameters
    ----------
    scores : pandas.DataFrame
        See `minseg.study.comparison.score_table` and `minseg.report.comparisons.with_missing`.
    forest : pandas.DataFrame, optional
        The same of the per-pixel baselines (`minseg.study.experiments.Entry.baseline`).
    chosen : mapping of task to row, optional
        The rows that the validation part chooses (`minseg.study.comparison.chosen_rows`).
    convention : str
        How the scores were taken, for the axis.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        The shaded span is the interval of the row that was chosen.
    """
    scores = _iou(scores)
    if scores.empty:
        return nothing_figure(synthetic)
    rows = list(scores["row"].unique())
    figure, panels = _panels(scores, rows)
    step, shaded = _STEP if forest is None else 0.27, False
    for task, axes in panels.items():
        lines = _lines(scores, task, rows)
        shaded |= _shade(axes, lines, (chosen or {}).get(task))
        at = [row - step for row in range(len(rows))]
        axes.hlines(at, lines["low"], lines["high"], color=_OURS)
        axes.scatter(lines["value"], at, 28, color=_OURS, zorder=3)
        if forest is not None:
            of_forest = forest.assign(row=forest["row"].str.removesuffix(FOREST_SUFFIX))
            values = _lines(_iou(of_forest), task, rows)["value"]
            axes.scatter(values, range(len(rows)), 20, color=_FOREST, marker="s", zorder=3)
        _draw_paper(axes, lines["paper"], step)
        for row, value, mines in zip(at, lines["value"], lines["mines"], strict=True):
            if pd.isna(value):
                note_at_axis(axes, row, "undefined" if mines > 0 else "no run")
    entries: list[Artist] = [_entry("ours, 95 % interval over mines", _OURS, width=1.6)]
    if forest is not None:
        entries.append(_entry("per-pixel forest", _FOREST, "s"))
    if scores["paper"].notna().any():
        entries.append(_entry("paper (its own mines)", _PAPER, "D", hollow=True))
    if shaded:
        entries.append(Patch(color=_SHADE, label="chosen on validation"))
    return _finished(figure, panels, _title("IoU", convention), entries, synthetic)


@in_style()
def difference_figure(
    differences: pd.DataFrame,
    words: str,
    rows: Sequence[str] = (),
    convention: str = "",
    synthetic: bool = False,
) -> Figure:
    """Show differences in IoU, paired over the test mines, one panel a task.

    Parameters
    ----------
    differences : pandas.DataFrame
        See `minseg.study.comparison.difference_table`.
    words : str
        What is taken from what, such as ``configuration − RGB``.
    rows : sequence of str
        All rows that should be there; by default those that are.
    convention : str
        How the scores were taken, for the axis.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        The thick line is the 95 % interval, the thin one is widened for the number of comparisons
        in the table; dark where that excludes zero on enough mines
        (`minseg.learning.intervals.told_from_zero`), a cross where there is a single mine.
    """
    differences = _iou(differences)
    if differences.empty:
        return nothing_figure(synthetic)
    rows = list(rows) or _in_printed_order(differences["row"].unique())
    figure, panels = _panels(differences, rows)
    met = {TOLD, UNTOLD}
    widening = f" (thin: widened for {differences['comparisons'].max()} comparisons)"
    for task, axes in panels.items():
        lines = _lines(differences, task, rows)
        axes.axvline(0, color="#555555", linewidth=1, zorder=1)
        for row, line in enumerate(lines.to_dict("records")):
            at = row - _STEP
            if pd.isna(line["difference"]):
                note_at_axis(axes, at, "no run")
                continue
            certainty = _certainty(line)
            met.add(certainty)
            colour, marker, width = _CERTAINTIES[certainty]
            if width:
                wide = [line["widened_low"], line["widened_high"]]
                axes.plot(wide, [at, at], color=colour, linewidth=0.8)
                span = [line["low"], line["high"]]
                axes.plot(span, [at, at], color=colour, linewidth=width, solid_capstyle="butt")
            axes.scatter(line["difference"], at, 30, color=colour, marker=marker, zorder=3)
        _draw_paper(axes, lines["paper"], _STEP)
    entries: list[Artist] = [
        _entry(name + widening * (name == TOLD), *look)
        for name, look in _CERTAINTIES.items()
        if name in met
    ]
    if differences["paper"].notna().any():
        entries.append(_entry("paper (its own mines)", _PAPER, "D", hollow=True))
    title = f"{_title('difference in IoU', convention)}\n{words}"
    return _finished(figure, panels, title, entries, synthetic)


@in_style()
def split_figure(scores: pd.DataFrame, convention: str = "", synthetic: bool = False) -> Figure:
    """Show the IoU of targeted beside general models on the same mines (Table 4).

    Parameters
    ----------
    scores : pandas.DataFrame
        See `minseg.study.comparison.score_table` and `minseg.report.comparisons.with_missing`.
    convention : str
        How the scores were taken, for the axis.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
        A dumbbell for each subset and mean (AVG); `difference_figure` shows the intervals.
    """
    scores = _iou(scores)
    there = set(scores["row"])
    pairs = [pair for pair in GENERAL_OF.items() if there.intersection(pair)]
    if not pairs:
        return nothing_figure(synthetic)
    figure, panels = _panels(scores, [targeted for targeted, _ in pairs])
    middle = (scores["value"].min() + scores["value"].max()) / 2
    for task, axes in panels.items():
        targeted, general = (_lines(scores, task, rows) for rows in zip(*pairs, strict=True))
        for column, step in (("value", -_STEP), ("paper", _STEP)):
            at = [row + step for row in range(len(pairs))]
            ends = targeted[column].to_numpy(float), general[column].to_numpy(float)
            width = 2 if column == "value" else 1
            axes.hlines(at, ends[0], ends[1], color="#BBBBBB", linewidth=width, zorder=1)
            for values, (colour, marker) in zip(ends, _SIDES.values(), strict=True):
                face = colour if column == "value" else "white"
                axes.scatter(
                    values, at, 26, facecolor=face, edgecolor=colour, marker=marker, zorder=3
                )
        for row, pair in enumerate(zip(targeted["value"], general["value"], strict=True)):
            _note_gap(axes, row - _STEP, pair, middle)
    entries: list[Artist] = [_entry(name, *look) for name, look in _SIDES.items()]
    if scores["paper"].notna().any():
        entries += [_entry(f"paper's {name}", *look, hollow=True) for name, look in _SIDES.items()]
    return _finished(figure, panels, _title("IoU", convention), entries, synthetic)


def _iou(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of a table that are about IoU, with the intervals that say something."""
    return without_idle_intervals(table[table["metric"] == "iou"])


def _lines(table: pd.DataFrame, task: str, rows: Sequence[str]) -> pd.DataFrame:
    """Return one task's lines, one a row; NaN where there is none."""
    return table[table["task"] == task].set_index("row").reindex(list(rows))


def _in_printed_order(rows: Iterable[str]) -> list[str]:
    """Return rows as Table 4 has them; others stay as they are."""
    known = {row: k for k, row in enumerate(SPLIT_ROWS)}
    return sorted(rows, key=lambda row: known.get(row, -1))


def _panels(table: pd.DataFrame, rows: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    """Make a panel for each task, two side by side, with the rows from top to bottom."""
    tasks = list(table["task"].unique())
    figure, panels = row_panels([model_title(task) for task in tasks], rows, head_in=0.45)
    for axes in panels:
        for row in range(1, len(rows)):
            # Table 4 closes a group of subsets with its mean.
            closed = rows[row - 1] in AVERAGES and rows[row] not in AVERAGES
            axes.axhline(
                row - 0.5, color="#999999" if closed else "#EEEEEE", linewidth=0.7, zorder=0
            )
    return figure, dict(zip(tasks, panels, strict=True))


def _shade(axes: Axes, lines: pd.DataFrame, row: str | None) -> bool:
    """Shade the interval of a row, if it has one, and tell whether it has."""
    if row is None or row not in lines.index or pd.isna(lines.loc[row, "low"]):
        return False
    low, high = lines.loc[row, ["low", "high"]]
    axes.axvspan(low, high, color=_SHADE, linewidth=0, zorder=0)
    return True


def _draw_paper(axes: Axes, values: pd.Series, step: float) -> None:
    """Draw the paper's values below our own."""
    at = [row + step for row in range(len(values))]
    axes.scatter(
        values, at, 20, facecolor="white", edgecolor=_PAPER, marker="D", linewidth=1.1, zorder=3
    )


def _certainty(line: Mapping) -> str:
    """Name what the test mines say of a difference."""
    if pd.isna(line["low"]):
        return SINGLE
    return TOLD if line["told"] else UNTOLD


def _note_gap(axes: Axes, row: float, values: Sequence[float], middle: float) -> None:
    """Say which side of a dumbbell has no run: at the axis, or beside the other side's marker."""
    missing = [name for name, value in zip(_SIDES, values, strict=True) if pd.isna(value)]
    if len(missing) == 2:
        note_at_axis(axes, row, "no run")
    elif missing:
        (value,) = (value for value in values if pd.notna(value))
        axes.annotate(
            f"no {missing[0]} run",
            (value, row),
            (7 if value < middle else -7, 0),
            textcoords="offset points",
            ha="left" if value < middle else "right",
            va="center",
            fontsize=7.5,
            color="#777777",
        )


def _title(quantity: str, convention: str) -> str:
    """Name what an axis shows."""
    return f"{quantity} ({convention} convention)" if convention else quantity


def _entry(
    label: str, colour: str, marker: str = "o", width: float = 0, hollow: bool = False
) -> Line2D:
    """Return a legend entry: a marker, on a line if it has a width."""
    face = "white" if hollow else colour
    return Line2D(
        [], [], color=colour, marker=marker, linewidth=width, markerfacecolor=face, label=label
    )


def _finished(
    figure: Figure,
    panels: dict[str, Axes],
    title: str,
    entries: list[Artist],
    synthetic: bool,
) -> Figure:
    """Set axes, legend and mark of a figure whose panels are drawn."""
    first = next(iter(panels.values()))
    first.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # shared by all panels
    if any(axes.texts for axes in panels.values()):
        left, right = first.get_xlim()
        first.set_xlim(left - 0.15 * (right - left), right)  # room for the notes
    for axes in list(panels.values())[-2:]:
        axes.set_xlabel(title)
    letters = sum(len(str(entry.get_label())) for entry in entries)
    columns = len(entries) if letters < 85 else 2
    figure.legend(handles=entries, loc="outside lower center", ncols=columns)
    mark_synthetic(figure, synthetic)
    return figure
