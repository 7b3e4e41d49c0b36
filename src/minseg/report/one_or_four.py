"""One network of all classes beside the paper's four, on the same test mines (section 2.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from minseg.data.labels import (
    ALL,
    ANNOTATED_NAMES,
    CLASS_NAMES,
    EXTENT,
    IGNORE_BITS,
    Task,
    class_bit,
    task_target,
)
from minseg.errors import MinsegError
from minseg.maps.class_map import ClassMap
from minseg.maps.cleaning import adjacency_rules, apply_adjacency
from minseg.report import bands_splits, scenes
from minseg.report.style import DASH, made, model_title, number, signed, span, spans, text_table
from minseg.scoring.metrics import scene_counts
from minseg.study import tables
from minseg.study.runs import Run, ScenePrediction, scene_prediction
from minseg.study.study import Study

TRUTH, FOUR, ONE = "truth", "four networks", "one network"

MEAN = "mean of the classes"
"""Row of all classes of Table 1 together."""


@dataclass(frozen=True)
class Comparison:
    """The runs of one network of all classes, and those of the models of the paper (`compare`).

    All are held against the labels themselves: what one of the four cannot name, since it lies
    under another class of its model, counts as missed.
    """

    study: Study
    results: tuple[tables.Result, ...]
    """Those that have runs, the one's first."""

    @cached_property
    def task(self) -> Task:
        """The classes that both can name; the total transformed area is the union of all ten."""
        one, *four = (set(result.runs[0].task.target_names) for result in self.results)
        one |= {EXTENT.name} if one >= set(CLASS_NAMES) else set()
        names = [name for name in ANNOTATED_NAMES if name in one.intersection(set().union(*four))]
        return Task(self.results[0].entry.task, tuple(names), overlapping=True)

    @cached_property
    def maps(self) -> list[list[tuple[ScenePrediction, dict[str, ClassMap]]]]:
        """For each seed the test mines, with the bit masks of `TRUTH`, `FOUR` and `ONE`."""
        mines = self.results[0].runs[0].counts_of("test")["mine"].unique()
        return [[self._maps(mine, k) for mine in mines] for k in range(len(self.study.seeds))]

    def _maps(self, mine: str, seed: int) -> tuple[ScenePrediction, dict[str, ClassMap]]:
        one, *four = (
            scene_prediction(result.runs[seed], self.study.dataset, mine) for result in self.results
        )
        own, *others = (ClassMap(each.prediction, each.grid, each.task) for each in (one, *four))
        seen, area = scenes.joined([own]), np.uint16(class_bit(EXTENT.name))
        sides = {TRUTH: one.labels | area * (one.labels > 0), FOUR: scenes.joined(others)}
        sides[ONE] = seen | area * (seen > 0)
        known = {side: np.where(one.known, bits, IGNORE_BITS) for side, bits in sides.items()}
        return one, {
            side: ClassMap(task_target(bits, self.task), one.grid, self.task)
            for side, bits in known.items()
        }

    @cached_property
    def rows(self) -> list[tables.Scored]:
        """Scores of each class, and of all, with one network and with four."""
        names, mines = self.task.target_names, [one.scene["mine"] for one, _ in self.maps[0]]
        chosen = {MEAN: [k for k, name in enumerate(names) if name != EXTENT.name]}
        chosen |= {name: [0, k] for k, name in enumerate(names) if k}
        rows = []
        for side in (ONE, FOUR):
            counts = []
            for of_seed in self.maps:
                seen, true = ([maps[one].classes for _, maps in of_seed] for one in (side, TRUTH))
                counts.append(scene_counts(seen, true, self.task))  # (scenes, num_classes, 4)
            for row, columns in chosen.items():
                of_row = [of_seed[:, columns] for of_seed in counts]
                label = (self.task.name, row if side == ONE else f"{row}, {FOUR}")
                of_names = [names[k] for k in columns]
                rows.append(tables.scored_counts(*label, of_row, mines, of_names, "standard"))
        return rows

    @cached_property
    def differences(self) -> pd.DataFrame:
        """IoU of the one minus the four, paired: see `minseg.study.tables.difference_table`."""
        pairs = {row.row: f"{row.row}, {FOUR}" for row in self.rows}
        table = tables.difference_table(self.rows, pairs, None)
        return bands_splits.without_idle_intervals(table[table["metric"] == "iou"])

    def figure(self) -> Figure:
        """Show the differences in IoU, class by class."""
        lines, words = self.differences, f"{ONE} minus {FOUR}"
        return bands_splits.Differences(lines, words, tuple(lines["row"]), "standard").figure()

    def table(self) -> Styler:
        """Set the IoU of each class with one network beside that with the model of the four."""
        scores = tables.score_table(self.rows, None)
        scores = scores[scores["metric"] == "iou"].set_index("row")
        lines = self.differences.set_index("row")
        of_four = scores.loc[lines["reference"]].set_index(lines.index)
        columns = {ONE: scores["value"].map(number), FOUR: of_four["value"].map(number)}
        columns["difference"] = lines["difference"].map(signed)
        columns["95 % interval"] = spans(lines["low"], lines["high"], signed)
        if len(self.study.seeds) > 1:
            spread = scores["spread"].map(number) + ", " + of_four["spread"].map(number)
            columns["seed spread of both"] = spread
        table = pd.DataFrame(columns).loc[lines.index]
        return text_table(table.rename_axis(index=None, columns=f"IoU{made()}"))


def compare(study: Study, bands: str = tables.ONE_OR_FOUR, **settings: object) -> Comparison:
    """Make or load the runs of one network of all classes and of the paper's four models.

    Parameters
    ----------
    study : Study
    bands : str
        Band configuration of all five, so that they see the same.
    **settings
        Other fields of `RunConfig`.

    Raises
    ------
    MinsegError
        If the labels do not serve the one network, or none of the four.
    """
    entries = tables.band_entries(study, (ALL.name, *tables.MODELS), (bands,), **settings)
    one, *four = tables.results(study, entries)
    there = [result for result in four if result.runs]
    if not one.runs or not there:
        raise MinsegError(f"nothing to compare: {one.problem or four[0].problem}")
    return Comparison(study, (one, *there))


def answer(compared: Comparison, costs: pd.DataFrame) -> str:
    """Say in two lines of Markdown which is better, and what each costs."""
    mean, *classes = compared.differences.to_dict("records")
    told = [line["difference"] > 0 for line in classes if line["told"]]
    known = {row.row: number(row.values[0]) for row in compared.rows}
    models = ", ".join(model_title(result.entry.task) for result in compared.results[1:])
    shares = costs[ONE] / costs[FOUR]
    takes = [f"{share:.2f} × the {str(row).split(',')[0]}" for row, share in shares.items()]
    return (
        f"- **Mean IoU {known[MEAN]} with one network, {known[mean['reference']]} with {models}**"
        f"{made()}: a difference of {signed(mean['difference'])} "
        f"({span(mean['low'], mean['high'], signed)}, 95 % interval over {mean['mines']} mines). "
        f"Of {len(classes)} classes the one is told to be better on {sum(told)} and worse on "
        f"{len(told) - sum(told)}.\n"
        f"- **The one takes {', '.join(takes)}** of those together."
    )


def costs(compared: Comparison) -> pd.DataFrame:
    """Return what the networks cost: a column each, the sum of the four second.

    Rows parameters; training time, ms (of an epoch with its validation); prediction time, ms (of
    all test mines); each of the first seed's network, measured here or when it was first asked for.
    """
    columns = {}
    for result in compared.results:
        cost = _cost(result.runs[0], compared.study)
        columns[model_title(result.entry.task)] = {
            "parameters": cost["parameters"],
            "training time, ms": 1000 * cost["epoch_s"],
            "prediction time, ms": 1000 * cost["prediction_s"],
        }
    table = pd.DataFrame(columns)
    table.insert(1, FOUR, table.iloc[:, 1:].sum(axis=1))
    return table.rename(columns={table.columns[0]: ONE})


def _cost(run: Run, study: Study) -> dict[str, float]:
    """Return what a run's network costs, measured once."""
    if "epoch_s" in run.cost:  # earlier versions measured no epochs
        return run.cost
    from minseg.study.execution import measure_cost  # loads torch

    return measure_cost(run, study.dataset)


def contradictions(class_map: ClassMap) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield rules of what cannot be, the pixels that break them and those that they are about.

    Dams and preparatory areas lie beside what they belong to (section 5.5), slopes inside an
    excavation, and every class inside the total transformed area, which is made of classes.
    """
    task, near = class_map.task, apply_adjacency(class_map).classes
    masks = {name: task.mask(class_map.classes, name) for name in task.class_names}
    for name, beside in adjacency_rules(task).items():
        alone = masks[name] & ~task.mask(near, name)
        yield f"{name} away from any {beside}", alone, masks[name]
    for name in ("exploitation slope", "transportation slope"):
        if {name, "excavation"} <= masks.keys():
            yield f"{name} outside an excavation", masks[name] & ~masks["excavation"], masks[name]
    if EXTENT.name in masks:
        area = masks.pop(EXTENT.name)
        classes = np.logical_or.reduce(list(masks.values()))
        yield f"a class outside the {EXTENT.name}", classes & ~area, classes
        yield f"{EXTENT.name} without a class", area & ~classes, area


def contradiction_table(compared: Comparison) -> Styler:
    """Return what share of the pixels that a rule is about breaks it, and their number."""
    counted = [
        (rule, side, broken.sum(), about.sum())
        for of_seed in compared.maps
        for _, maps in of_seed
        for side, class_map in maps.items()
        for rule, broken, about in contradictions(class_map)
    ]
    table = pd.DataFrame(counted, columns=["rule", "side", "broken", "about"])
    sums = table.groupby(["rule", "side"], sort=False).sum()
    shares = (sums["broken"] / sums["about"]).map("{:.1%}".format, na_action="ignore")
    pixels = (sums["about"] / len(compared.maps)).map(" of {:,.0f} px".format)
    written = (shares + pixels).unstack(sort=False).fillna(DASH)
    return text_table(written.rename_axis(columns=made().strip()))


def contradiction_figure(compared: Comparison) -> Figure:
    """Show the mine where the four contradict each other most, and what the one makes of it."""
    tested = compared.maps[0]
    broken = [sum(pixels.sum() for _, pixels, _ in contradictions(m[FOUR])) for _, m in tested]
    one, maps = tested[int(np.argmax(broken))]
    dataset, parts = compared.study.dataset, ~np.uint16(class_bit(EXTENT.name))
    return scenes.annotation_figure(
        scenes.read_picture(dataset, one.scene, one.window),
        {k: np.where(m.missing, m.classes, m.classes & parts) for k, m in maps.items()},
        one.grid,
        scenes.scene_title(dataset, one.scene),
        dataset.synthetic,
    )
