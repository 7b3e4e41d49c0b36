"""The paper's experiments: which runs each table needs, and what came of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import numpy as np
import pandas as pd

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.labels import ALL, parse_task
from minseg.errors import MinsegError
from minseg.scoring.intervals import bootstrap, interval, told_from_zero, widened
from minseg.scoring.metrics import IOU, METRICS, scores
from minseg.study.config import RunConfig
from minseg.study.paper import paper_scores
from minseg.study.runs import Run, RunStore, counted_mines, counts_array
from minseg.study.study import Study

MODELS: tuple[str, ...] = ("model1", "model2", "model3", "model4")
"""The paper's four models."""

PAPER_BANDS: dict[str, str] = {"model1": "M", "model2": "R+N", "model3": "M+S", "model4": "R+N"}
"""Band configuration that the paper settles on for each model (sections 3.1 and 4.1-4.3)."""

ONE_OR_FOUR = "M+S"
"""Band configuration in which one network of all classes is held against the four."""

PREDICTING = {*PAPER_BANDS.items(), *((task, ONE_OR_FOUR) for task in (*MODELS, ALL.name))}
"""Task and bands of the networks whose maps the pages show."""

GROUPS: dict[str, tuple[str, ...]] = {"GM": ("RR", "MO", "CL"), "GS": ("MT", "OC", "OP")}
"""General model of section 2.4.2 to the subsets that it is tested on, in the order of Table 4."""

AVERAGES: dict[str, tuple[str, ...]] = {
    "AVG RR+MO+CL": ("RR", "MO", "CL"),
    "AVG GM": ("GRR", "GMO", "GCL"),
    "AVG MT+OC+OP": ("MT", "OC", "OP"),
    "AVG GS": ("GMT", "GOC", "GOP"),
}
"""AVG rows of Table 4, as printed, to the rows that each is the mean of."""

GENERAL_OF: dict[str, str] = {
    targeted: general
    for group, codes in GROUPS.items()
    for targeted, general in (
        *((code, f"G{code}") for code in codes),
        (f"AVG {'+'.join(codes)}", f"AVG {group}"),
    )
}
"""Row of Table 4 about targeted models to the row of the general model on the same mines."""

FOREST_SUFFIX = ", per-pixel forest"
"""Ending of the row of an entry's baseline."""


@dataclass(frozen=True)
class Entry:
    """One row and model of a table: what is trained, and which mines it is tested on."""

    task: str
    row: str
    """As the paper prints it."""
    config: RunConfig
    mines: tuple[str, ...] | None = None
    """Only these of the test mines count; None for all of them."""
    problem: str | None = None
    """Why the dataset cannot answer."""

    def baseline(self) -> Self:
        """Return the per-pixel baseline of this entry, on the same mines."""
        row = self.row + FOREST_SUFFIX
        return replace(self, row=row, config=self.config.baseline())


@dataclass(frozen=True)
class Result:
    """An entry with its runs, one a seed, or the reason why there are none."""

    entry: Entry
    runs: tuple[Run, ...] = ()
    problem: str | None = None

    def counts(self, run: Run, part: str = "test") -> pd.DataFrame:
        """Return the rows of a run's counts that this entry is about."""
        rows = run.counts_of(part)
        mines = self.entry.mines
        return rows if mines is None else rows[rows["mine"].isin(mines)]


def band_entries(
    study: Study,
    tasks: Sequence[str] = MODELS,
    bands: Sequence[str] = tuple(BAND_CONFIGURATIONS),
    **settings: object,
) -> list[Entry]:
    """Return the entries of Table 3: every task with every band configuration."""
    places = product(tasks, bands)
    configs = [study.config(task=task, bands=of_row, **settings) for task, of_row in places]
    return [Entry(config.task, config.bands, config) for config in configs]


def split_entries(
    study: Study,
    tasks: Sequence[str] = MODELS,
    bands: Mapping[str, str] = PAPER_BANDS,
    **settings: object,
) -> list[Entry]:
    """Return the entries of Table 4: targeted models, and general ones on the same test mines.

    A general model's configuration is that of Table 3, so its run is shared and only its counts
    are narrowed to the subset. A task that `bands` does not name takes RGB.
    """
    entries = []
    for task in tasks:
        bands_of_task = bands.get(parse_task(task).name, "RGB")
        general = study.config(task=task, bands=bands_of_task, **settings)
        for subset in (code for codes in GROUPS.values() for code in codes):
            try:
                mines, problem = tuple(study.dataset.subset(subset).mines["mine"]), None
            except MinsegError as error:
                mines, problem = (), str(error)
            targeted = general.replace(subset=subset)
            entries.append(Entry(general.task, subset, targeted, mines, problem))
            entries.append(Entry(general.task, f"G{subset}", general, mines, problem))
    return entries


def predicting_runs(store: RunStore, every: bool = False) -> list[str]:
    """Return the keys of stored runs that pages predict with, or of all that keep weights.

    Pages predict with networks of `PREDICTING`, each from the first of its seeds.
    """
    kept = [run for run in store if (run.path / "weights.safetensors").is_file()]
    for run in kept:
        run.require_whole()
    if every:
        return [run.key for run in kept]
    first: dict[tuple, Run] = {}
    for run in sorted(kept, key=lambda run: run.config.seed):
        config = run.config
        if config.subset is None and (config.task, config.bands) in PREDICTING:
            origin = run.provenance.get("dataset_hash")
            first.setdefault((config.replace(seed=0), origin), run)
    return [run.key for run in first.values()]


def results(study: Study, entries: Sequence[Entry]) -> list[Result]:
    """Make or load the runs of entries, one a seed; in their order, equal ones once."""
    entries = list(dict.fromkeys(entries))
    configs = [
        entry.config.replace(seed=seed)
        for entry in entries
        if entry.problem is None
        for seed in study.seeds
    ]
    outcomes = {outcome.config: outcome for outcome in study.run_all(configs)}

    def result(entry: Entry) -> Result:
        if entry.problem:
            return Result(entry, (), entry.problem)
        found = [outcomes[entry.config.replace(seed=seed)] for seed in study.seeds]
        problems = [outcome.problem for outcome in found if outcome.problem]
        runs = tuple(outcome.run for outcome in found if outcome.run)
        return Result(entry, () if problems else runs, problems[0] if problems else None)

    return [result(entry) for entry in entries]


@dataclass(frozen=True)
class Scored:
    """The four mean scores of one row and task, and what they are with other mines."""

    task: str
    row: str
    by_seed: np.ndarray
    """Scores of each seed in the order of `METRICS` (seeds, 4)."""
    resampled: np.ndarray
    """Their mean over the seeds for resamples of the mines (resamples, 4)."""
    spread: np.ndarray
    """Largest minus smallest value over the seeds."""
    mines: tuple[str, ...]
    """Test mines; of an average those of all its rows."""
    fewest: int
    """Number of test mines; of an average the fewest of any of its rows."""
    absent: tuple[str, ...]
    """Classes that no test scene holds: no score says anything about them."""

    @property
    def values(self) -> np.ndarray:
        """Mean over the seeds, in the order of `METRICS`."""
        return self.by_seed.mean(axis=0)

    @property
    def num_mines(self) -> int:
        """Number of test mines."""
        return len(self.mines)


def scored(result: Result, convention: str, part: str = "test") -> Scored:
    """Score an entry that has runs from their stored counts (`minseg.scoring.metrics.scores`)."""
    rows = [result.counts(run, part) for run in result.runs]
    task, mines = result.runs[0].task, counted_mines(rows[0])
    counts = [counts_array(of_run, task) for of_run in rows]
    entry, names = result.entry, task.target_names
    return scored_counts(entry.task, entry.row, counts, mines, names, convention)


def scored_counts(
    task: str,
    row: str,
    counts: Sequence[np.ndarray],
    mines: Sequence[str],
    names: Sequence[str],
    convention: str,
) -> Scored:
    """Score counts (scenes, num_classes, 4) of each seed, given mines of scenes and class names."""
    found = [scores(of_seed, convention) for of_seed in counts]
    by_seed = np.array([[one[metric] for metric in METRICS] for one in found])  # type: ignore[literal-required]
    in_truth = counts[-1][:, :, [0, 2]].sum(axis=(0, 2))  # TP + FN
    return Scored(
        task,
        row,
        by_seed,
        np.mean([bootstrap(of_seed, mines, convention) for of_seed in counts], axis=0),
        np.ptp(by_seed, axis=0),
        tuple(sorted(set(mines))),
        len(set(mines)),
        tuple(name for name, pixels in zip(names[1:], in_truth[1:], strict=True) if not pixels),
    )


def scored_rows(results: Sequence[Result], convention: str) -> list[Scored]:
    """Score the entries that have runs, and average them as Table 4 does where all are there."""
    rows = [scored(result, convention) for result in results if result.runs]
    known = {(row.task, row.row): row for row in rows}
    for task in dict.fromkeys(row.task for row in rows):
        for name, parts in AVERAGES.items():
            found = [known[task, part] for part in parts if (task, part) in known]
            if len(found) == len(parts):
                rows.append(average(found, name))
    return rows


def average(rows: Sequence[Scored], name: str) -> Scored:
    """Average rows of one task, each weighing the same (the AVG rows of Table 4)."""
    return Scored(
        rows[0].task,
        name,
        np.mean([row.by_seed for row in rows], axis=0),
        np.mean([row.resampled for row in rows], axis=0),
        np.mean([row.spread for row in rows], axis=0),
        tuple(mine for row in rows for mine in row.mines),
        min(row.fewest for row in rows),
        tuple(dict.fromkeys(name for row in rows for name in row.absent)),
    )


def validation_iou(result: Result) -> float:
    """Return the `standard` IoU of an entry on the validation part, the mean over its seeds."""
    return float(scored(result, "standard", "validation").values[IOU])


def chosen_rows(results: Sequence[Result]) -> dict[str, str]:
    """Choose each task's row by the validation part: the test part selects nothing.

    Tasks without a run, or without a validation IoU, are left out.
    """
    there = [(result.entry, validation_iou(result)) for result in results if result.runs]
    ious = pd.Series({(entry.task, entry.row): iou for entry, iou in there}, dtype=float).dropna()
    return {} if ious.empty else dict(ious.groupby(level=0).idxmax().tolist())


SCORE_COLUMNS = [
    *("task", "row", "metric", "value", "low", "high"),  # 95 % interval over mines
    *("spread", "mines", "paper", "absent"),  # spread over seeds
]
DIFFERENCE_COLUMNS = [
    *("task", "row", "reference", "metric", "difference", "low", "high"),
    *("widened_low", "widened_high", "comparisons", "told", "mines", "paper"),
]


def score_table(
    rows: Sequence[Scored], number: int | None, places: Iterable[tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Lay scores out beside those of a printed table, one line a metric: columns `SCORE_COLUMNS`.

    `places` are tasks with rows, by default those that are scored; without a run NaN and no mines.
    """
    known = {(row.task, row.row): row for row in rows}
    lines = []
    for task, name in known if places is None else places:
        row, published = known.get((task, name)), paper_scores(number, task, name)
        for k, metric in enumerate(METRICS):
            ours: tuple[float, ...] = (*[np.nan] * 4, 0)
            if row:
                ends = interval(row.resampled[:, k])
                ours = (row.values[k], *ends, row.spread[k], row.num_mines)
            absent = ", ".join(row.absent) if row else ""
            lines.append((task, name, metric, *ours, published.get(metric, np.nan), absent))
    return pd.DataFrame(lines, columns=SCORE_COLUMNS)


def difference_table(
    rows: Sequence[Scored], references: Mapping[str, str], number: int | None
) -> pd.DataFrame:
    """Lay out differences between rows of the same task, paired over the mines.

    `references` maps a row to the one it is compared with, both tested on the same mines; pairs
    that lack a side are left out. Columns `DIFFERENCE_COLUMNS`: low and high are a 95 % interval
    over mines of the paired difference, which widened_low and widened_high widen for the number of
    comparisons (pairs that rest on several mines); told is whether it is told from zero
    (`minseg.scoring.intervals.told_from_zero`), and paper the difference in the
    printed table of that number.
    """
    known = {(row.task, row.row): row for row in rows}
    found = [(row, known.get((row.task, references.get(row.row, "")))) for row in rows]
    pairs = [(row, other) for row, other in found if other]
    comparisons = max(1, sum(row.num_mines > 1 for row, _ in pairs))
    lines = []
    for row, other in pairs:
        published, against = (paper_scores(number, row.task, r.row) for r in (row, other))
        for k, metric in enumerate(METRICS):
            resampled = row.resampled[:, k] - other.resampled[:, k]
            lines.append(
                (
                    *(row.task, row.row, other.row, metric, row.values[k] - other.values[k]),
                    *interval(resampled),
                    *widened(resampled, comparisons),
                    comparisons,
                    told_from_zero(resampled, row.num_mines, comparisons),
                    row.num_mines,
                    published.get(metric, np.nan) - against.get(metric, np.nan),
                )
            )
    return pd.DataFrame(lines, columns=DIFFERENCE_COLUMNS)
