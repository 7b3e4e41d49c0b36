"""The paper's Tables 2, 3 and 4 as a page shows them: our numbers beside the printed ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from pandas.io.formats.style import Styler
from pandas.io.formats.style_render import CSSDict

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.dataset import Dataset
from minseg.data.mines import MINE_TYPES, RAW_MATERIALS
from minseg.errors import require_word
from minseg.report import style
from minseg.report.style import kind, made, model_title, signed, spans
from minseg.scoring.metrics import METRICS
from minseg.study import tables
from minseg.study.paper import paper_images
from minseg.study.study import Study

SPLIT_ROWS: tuple[str, ...] = tuple(row for pair in tables.GENERAL_OF.items() for row in pair)
"""Rows of Table 4 in the printed order."""

FOREST, GENERAL = "per-pixel forest", "general"
"""What a table is taken from beside a row of it: see `Table.minus`."""

OURS, PAPER, INTERVAL, SPREAD = "ours", "paper", "95 % interval", "seed spread"

_PART_TITLES = {"test": "test", "validation": "val.", "train": "train"}


@dataclass(frozen=True)
class Table:
    """Table 3 or 4 of a study (`table3`, `table4`): scores of our runs beside the printed ones."""

    number: int
    study: Study
    results: tuple[tables.Result, ...]
    convention: str

    @property
    def tasks(self) -> list[str]:
        """The tasks, in order."""
        return list(dict.fromkeys(result.entry.task for result in self.results))

    @property
    def row_names(self) -> list[str]:
        """The rows as the paper prints them, those without a run and averages among them."""
        if self.number == 4:
            return list(SPLIT_ROWS)
        return list(dict.fromkeys(result.entry.row for result in self.results))

    @cached_property
    def rows(self) -> list[tables.Scored]:
        """The rows that have runs, scored; resamples of the mines with them."""
        return tables.scored_rows(self.results, self.convention)

    @cached_property
    def forests(self) -> list[tables.Scored]:
        """The same of per-pixel forests on the same mines; missing runs are made now."""
        entries = [result.entry.baseline() for result in self.results]
        return tables.scored_rows(tables.results(self.study, entries), self.convention)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One line a task, row and metric; without a run the value is NaN and mines is 0.

        Columns task, row, metric, value, low, high (95 % interval over mines), spread (over
        seeds), mines, paper, absent (classes that no test scene holds).
        """
        return tables.score_table(self.rows, self.number, product(self.tasks, self.row_names))

    def minus(self, reference: str) -> "Differences":
        """Take a reference from each row of a task, paired over the test mines.

        Parameters
        ----------
        reference : str
            A row of the table, such as ``RGB``; ``per-pixel forest``; or, in Table 4,
            ``general``: from each targeted model the general one on the same mines.

        Raises
        ------
        MinsegError
            If it is none of these.
        """
        others = [GENERAL] if self.number == 4 else list(BAND_CONFIGURATIONS)
        require_word("reference", reference, dict.fromkeys([*self.row_names, *others, FOREST]))
        if reference == FOREST:
            pairs = {row: row + tables.FOREST_SUFFIX for row in self.row_names}
            words = f"network minus {reference}"
        elif reference == GENERAL:
            pairs, words = tables.GENERAL_OF, f"targeted minus {reference}"
        else:
            pairs = {row: reference for row in self.row_names if row != reference}
            words = f"minus {reference}"
        rows = [*self.rows, *self.forests] if reference == FOREST else self.rows
        table = tables.difference_table(rows, pairs, self.number)
        return Differences(table, words, tuple(pairs), self.convention)

    def notes(self) -> str:
        """List in Markdown how many rows have runs, and what keeps others from an answer.

        It is that a run, a class or mines are missing, or that seeds differ more than rows do; each
        reason stands once with its rows.
        """
        there = sum(bool(result.runs) for result in self.results)
        made = ", on **synthetic** mines" * bool(kind())
        count = f"- {there} of {len(self.results)} rows of Table {self.number} have runs{made}."
        told = [
            (f"no run: {result.problem or 'none was made'}", result.entry.task, result.entry.row)
            for result in self.results
            if not result.runs
        ]
        single = self.scores[~self.scores["row"].isin(list(tables.AVERAGES))]
        lines = single.drop_duplicates(["task", "row"])
        for line in lines.to_dict("records"):
            place = line["task"], line["row"]
            if line["absent"]:
                reason = f"no test scene holds {line['absent']}; the scores say nothing about that"
                told.append((reason, *place))
            if line["mines"] == 1:
                told.append(("a single test mine, so there is no interval over mines", *place))
        for task, of_task in lines[lines["metric"] == "iou"].groupby("task", sort=False):
            apart = of_task["value"].max() - of_task["value"].min()
            unsteady = of_task.sort_values("spread", na_position="first").iloc[-1]
            if of_task["value"].count() > 1 and unsteady["spread"] > apart:
                by_seed, by_row = style.number(unsteady["spread"]), style.number(apart)
                reason = f"IoU differs by {by_seed} from seed to seed, by {by_row} from row to row"
                told.append((reason, str(task), str(unsteady["row"])))
        concerned: dict[str, list[tuple[str, str]]] = {}
        for reason, task, row in told:
            concerned.setdefault(reason, []).append((task, row))
        gaps = [f"- {_names(of)}: {style.markdown_text(why)}." for why, of in concerned.items()]
        return "\n".join([count, *gaps])

    def figure(self) -> Figure:
        """Show IoU, one panel a task: with intervals in Table 3, as dumbbells in Table 4."""
        if self.number == 4:
            return split_figure(self.scores, self.convention)
        forest = tables.score_table(self.forests, self.number)
        return band_figure(self.scores, forest, tables.chosen_rows(self.results), self.convention)

    def overview(self) -> Styler:
        """Show our scores of all tasks at a glance, the highest of each column bold."""
        table = self.scores.pivot(index="row", columns=["task", "metric"], values="value")
        columns = {
            (model_title(task), style.SHORT_METRIC_TITLES[metric]): table[task, metric]
            for task in self.tasks
            for metric in METRICS
        }
        ordered = pd.DataFrame(columns).reindex(self.row_names)
        return _score_style(ordered, "", self.convention, zero=False)

    def beside_paper(self, task: str) -> Styler:
        """Lay out one task's columns, our numbers beside the paper's.

        The highest of our scores of each metric is bold, and so is the paper's highest; that
        chooses nothing. AVG rows are no candidates, and equal ones as printed are all bold. Columns
        of the paper are left out where it has no such model, the spread over seeds where there is
        none.
        """
        of_task = without_idle_intervals(self.scores[self.scores["task"] == task])
        in_paper = of_task["paper"].notna().any()
        columns: dict[tuple[str, str], pd.Series] = {}
        for metric, title in style.METRIC_TITLES.items():
            lines = of_task[of_task["metric"] == metric].set_index("row")
            columns[title, OURS] = lines["value"]
            if metric == "iou":
                columns[title, INTERVAL] = spans(lines["low"], lines["high"])
                if of_task["spread"].gt(0).any():
                    columns[title, SPREAD] = lines["spread"]
            if in_paper:
                columns[title, PAPER] = lines["paper"]
            if in_paper and metric == "iou":
                differences = lines["value"] - lines["paper"]
                columns[title, "minus paper"] = differences.map(signed, na_action="ignore")
        styler = _score_style(pd.DataFrame(columns), model_title(task), self.convention)
        # One task's table follows another's.
        gap = CSSDict(selector="", props="margin-bottom: 1.5em")
        return styler.set_table_styles([gap], overwrite=False)


@dataclass(frozen=True)
class Differences:
    """What a table says of one row minus another, paired over the test mines."""

    table: pd.DataFrame
    """See `minseg.study.tables.difference_table`."""
    words: str
    """What is taken from what."""
    rows: tuple[str, ...]
    """All that should be there."""
    convention: str

    @style.in_style()
    def figure(self) -> Figure:
        """Show differences in IoU, paired over the test mines, one panel a task.

        The thick line is the 95 % interval, the thin one is widened for the number of comparisons
        in the table; dark where that excludes zero on enough mines, a cross where there is a single
        mine.
        """
        differences = _iou(self.table)
        if differences.empty:
            return style.nothing_figure()
        figure, panels = _panels(differences, self.rows)
        met = {TOLD, UNTOLD}
        widening = f" (thin: widened for {differences['comparisons'].max()} comparisons)"
        for task, axes in panels.items():
            lines = _lines(differences, task, self.rows)
            axes.axvline(0, color="#555555", linewidth=1, zorder=1)
            for row, line in enumerate(lines.to_dict("records")):
                at = row - _STEP
                if pd.isna(line["difference"]):
                    style.note_at_axis(axes, at, "no run")
                    continue
                told = TOLD if line["told"] else UNTOLD
                certainty = SINGLE if pd.isna(line["low"]) else told
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
            style.legend_marker(name + widening * (name == TOLD), *looks)
            for name, looks in _CERTAINTIES.items()
            if name in met
        ]
        if differences["paper"].notna().any():
            entries.append(style.legend_marker("paper (its own mines)", _PAPER, "D", hollow=True))
        title = f"difference in IoU ({self.convention} convention)\n{self.words}"
        return _finished(figure, panels, title, entries)

    def answer(self) -> str:
        """Say in a line of Markdown which differences in IoU are told from zero, and how."""
        lines = self.table[self.table["metric"] == "iou"]
        heading = f"- **{self.words[0].upper()}{self.words[1:]}**"
        heading += f",{made()}" if made() else ""
        if lines.empty:
            return f"{heading}: no two rows could be compared."
        told = lines[lines["told"].astype(bool)]
        sides = [
            f"{side} zero {_names(zip(of_side['task'], of_side['row'], strict=True))}"
            for side, of_side in (
                ("above", told[told["difference"] > 0]),
                ("below", told[told["difference"] < 0]),
            )
            if len(of_side)
        ]
        found = ": " + "; ".join(sides) if sides else ""
        count = f"{len(told) or 'none'} of {len(lines)} differences in IoU told from zero"
        return f"{heading}: {count} by the test mines{found}."


def table3(
    study: Study,
    tasks: Sequence[str] = tables.MODELS,
    bands: Sequence[str] = tuple(BAND_CONFIGURATIONS),
    convention: str = "standard",
    **settings: object,
) -> Table:
    """Make or load the runs of Table 3: every task with every band configuration.

    Parameters
    ----------
    study : Study
    tasks : sequence of str
    bands : sequence of str
    convention : str
        See `minseg.scoring.metrics.scores`.
    **settings
        Other fields of `RunConfig`.
    """
    made = tables.results(study, tables.band_entries(study, tasks, bands, **settings))
    return Table(3, study, tuple(made), convention)


def table4(
    study: Study,
    tasks: Sequence[str] = tables.MODELS,
    bands: Mapping[str, str] = tables.PAPER_BANDS,
    convention: str = "standard",
    **settings: object,
) -> Table:
    """Make or load the runs of Table 4: targeted models, and general ones on the same test mines.

    Parameters
    ----------
    bands : mapping of task to band configuration
        RGB for a task that is not named.
    study, tasks, convention, **settings
        As for `table3`.
    """
    made = tables.results(study, tables.split_entries(study, tasks, bands, **settings))
    return Table(4, study, tuple(made), convention)


def by_model(table: pd.DataFrame) -> pd.DataFrame:
    """Name the tasks of a table's rows as a reader knows them."""
    index = pd.Index([model_title(str(task)) for task in table.index], name="model")
    return table.set_index(index)


def image_table(dataset: Dataset) -> Styler:
    """Return how many images each split has, ours beside the paper's (Table 2).

    Returns
    -------
    pandas Styler
        Row: All, and the subsets of section 2.2; columns: ours or a model of the paper, and within
        it test, validation (val.), train. Ours hold for all models: one scene serves every task.
        ``not stated`` where no mine of the dataset tells its raw material or mine type.
    """
    published = paper_images()
    mines = dataset.mines.set_index("mine")
    columns: dict[tuple[str, str], pd.Series] = {}
    for part, title in _PART_TITLES.items():
        of_scenes = mines.loc[dataset.scenes_of(part)["mine"]]
        counts = {row: _images(of_scenes, mines, row) for row in published.index}
        columns[OURS, title] = pd.Series(counts, dtype=object)
    for model in published.columns.unique("model"):
        for part, title in _PART_TITLES.items():
            columns[f"paper, {model_title(model)}", title] = published[model, part]
    return style.table_style(pd.DataFrame(columns), ("", kind()))


def _images(of_scenes: pd.DataFrame, mines: pd.DataFrame, row: str) -> int | str:
    """Count scenes, given by their rows of the mine table, that a row of Table 2 is about."""
    for column, codes in (("raw_material", RAW_MATERIALS), ("mine_type", MINE_TYPES)):
        if row in codes:
            stated = mines[column].ne("").any()
            return int(of_scenes[column].eq(row).sum()) if stated else "not stated"
    return len(of_scenes)


def without_idle_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Take out the intervals that say nothing: those over a single test mine.

    One mine, drawn again and again, gives the same score each time. An AVG row has no interval
    either if one of its rows has none.
    """
    few = table[table["mines"] < 2]
    known = set(zip(few["task"], few["row"], strict=True))
    idle = np.array(
        [
            any((task, part) in known for part in (row, *tables.AVERAGES.get(row, ())))
            for task, row in zip(table["task"], table["row"], strict=True)
        ],
        bool,
    )
    return table.assign(low=table["low"].mask(idle), high=table["high"].mask(idle))


def _names(pairs: Iterable[tuple[str, str]]) -> str:
    """Name rows by task, tasks with the same rows together: ``Model 1, Model 2 (RR, GRR)``."""
    rows_of: dict[str, list[str]] = {}
    for task, row in pairs:
        rows_of.setdefault(model_title(task), []).append(row)
    tasks_of: dict[str, list[str]] = {}
    for title, rows in rows_of.items():
        tasks_of.setdefault(", ".join(rows), []).append(title)
    return "; ".join(f"{', '.join(titles)} ({rows})" for rows, titles in tasks_of.items())


def _score_style(table: pd.DataFrame, title: str, convention: str, zero: bool = True) -> Styler:
    """Write scores with three decimals, with or without their leading zero, the highest in bold."""
    scores = [name for name in table if pd.api.types.is_float_dtype(table[name])]
    compared = table.columns.isin(scores) & (table.columns.get_level_values(1) != SPREAD)
    corner = (title, f"{convention}, {kind()}" if kind() else convention)

    def three_decimals(value: object) -> str:
        return f"{value:.3f}" if zero else f"{value:.3f}".removeprefix("0")

    rules = style.group_starts(table.index.isin(list(tables.AVERAGES)))
    styler = style.table_style(table, corner, rules)
    styler = styler.format(dict.fromkeys(scores, three_decimals), na_rep="–")
    return styler.apply(_embolden_highest, subset=table.columns[compared])


def _embolden_highest(column: pd.Series) -> list[str]:
    """Return the style of a column's cells: bold where it is highest as printed, AVG rows apart."""
    averages = column.index.isin(list(tables.AVERAGES))
    printed = column.map("{:.3f}".format).astype(float).mask(averages)
    return ["font-weight: bold" if best else "" for best in printed == printed.max()]


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


@style.in_style()
def band_figure(
    scores: pd.DataFrame, forest: pd.DataFrame, chosen: Mapping[str, str], convention: str
) -> Figure:
    """Show the IoU of each band configuration, one panel a task (Table 3).

    Forests are a score table too; shaded is the interval of the row that was chosen.
    """
    scores = _iou(scores)
    if scores.empty:
        return style.nothing_figure()
    rows = list(scores["row"].unique())
    figure, panels = _panels(scores, rows)
    forest = _iou(forest.assign(row=forest["row"].str.removesuffix(tables.FOREST_SUFFIX)))
    step = 0.27  # the forest stands in the middle
    for task, axes in panels.items():
        lines = _lines(scores, task, rows)
        of_choice = lines.reindex([chosen.get(task)])  # NaN where none was chosen
        for low, high in of_choice[["low", "high"]].dropna().to_numpy(float):
            axes.axvspan(low, high, color=_SHADE, linewidth=0, zorder=0)
        at = [row - step for row in range(len(rows))]
        axes.hlines(at, lines["low"], lines["high"], color=_OURS)
        axes.scatter(lines["value"], at, 28, color=_OURS, zorder=3)
        values = _lines(forest, task, rows)["value"]
        axes.scatter(values, range(len(rows)), 20, color=_FOREST, marker="s", zorder=3)
        _draw_paper(axes, lines["paper"], step)
        for row, value, mines in zip(at, lines["value"], lines["mines"], strict=True):
            if pd.isna(value):
                style.note_at_axis(axes, row, "undefined" if mines > 0 else "no run")
    entries: list[Artist] = [
        style.legend_marker("ours, 95 % interval over mines", _OURS, width=1.6),
        style.legend_marker(FOREST, _FOREST, "s"),
    ]
    if scores["paper"].notna().any():
        entries.append(style.legend_marker("paper (its own mines)", _PAPER, "D", hollow=True))
    if any(axes.patches for axes in panels.values()):
        entries.append(Patch(color=_SHADE, label="chosen on validation"))
    return _finished(figure, panels, f"IoU ({convention} convention)", entries)


@style.in_style()
def split_figure(scores: pd.DataFrame, convention: str) -> Figure:
    """Show the IoU of targeted beside general models on the same mines, as dumbbells (Table 4)."""
    scores = _iou(scores)
    there = set(scores["row"])
    pairs = [pair for pair in tables.GENERAL_OF.items() if there.intersection(pair)]
    if not pairs:
        return style.nothing_figure()
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
    entries: list[Artist] = [style.legend_marker(name, *looks) for name, looks in _SIDES.items()]
    if scores["paper"].notna().any():
        entries += [
            style.legend_marker(f"paper's {name}", *looks, hollow=True)
            for name, looks in _SIDES.items()
        ]
    return _finished(figure, panels, f"IoU ({convention} convention)", entries)


def _iou(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of a table that are about IoU, with the intervals that say something."""
    return without_idle_intervals(table[table["metric"] == "iou"])


def _lines(table: pd.DataFrame, task: str, rows: Sequence[str]) -> pd.DataFrame:
    """Return one task's lines, one a row; NaN where there is none."""
    return table[table["task"] == task].set_index("row").reindex(list(rows))


def _panels(table: pd.DataFrame, rows: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    """Make a panel for each task, two side by side, with the rows from top to bottom."""
    tasks = list(table["task"].unique())
    figure, panels = style.row_panels([model_title(task) for task in tasks], rows, head_in=0.45)
    for axes in panels:
        for row in range(1, len(rows)):
            # Table 4 closes a group of subsets with its mean.
            closed = rows[row - 1] in tables.AVERAGES and rows[row] not in tables.AVERAGES
            axes.axhline(
                row - 0.5, color="#999999" if closed else "#EEEEEE", linewidth=0.7, zorder=0
            )
    return figure, dict(zip(tasks, panels, strict=True))


def _draw_paper(axes: Axes, values: pd.Series, step: float) -> None:
    """Draw the paper's values below our own."""
    at = [row + step for row in range(len(values))]
    axes.scatter(
        values, at, 20, facecolor="white", edgecolor=_PAPER, marker="D", linewidth=1.1, zorder=3
    )


def _note_gap(axes: Axes, row: float, values: Sequence[float], middle: float) -> None:
    """Say which side of a dumbbell has no run: at the axis, or beside the other side's marker."""
    missing = [name for name, value in zip(_SIDES, values, strict=True) if pd.isna(value)]
    if len(missing) == 2:
        style.note_at_axis(axes, row, "no run")
    elif missing:
        (value,) = (value for value in values if pd.notna(value))
        style.note(axes, f"no {missing[0]} run", (value, row), 7 if value < middle else -7)


def _finished(figure: Figure, panels: dict[str, Axes], title: str, entries: list[Artist]) -> Figure:
    """Set axes, legend and mark of a figure whose panels are drawn."""
    first = next(iter(panels.values()))
    first.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # shared by all panels
    if any(axes.texts for axes in panels.values()):
        left, right = first.get_xlim()
        first.set_xlim(left - 0.15 * (right - left), right)  # room for the notes
    for axes in list(panels.values())[-2:]:
        axes.set_xlabel(title)
    letters = sum(len(str(entry.get_label())) for entry in entries)
    style.legend_at_foot(figure, entries, 0 if letters < 85 else 2)
    return figure
