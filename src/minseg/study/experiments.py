"""The paper's experiments: which runs each table needs, and what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import pandas as pd

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.labels import parse_task
from minseg.data.mines import RAW_MATERIALS
from minseg.errors import MinsegError
from minseg.study.config import RunConfig
from minseg.study.runs import Run
from minseg.study.study import Study

MODELS: tuple[str, ...] = ("model1", "model2", "model3", "model4")
"""The paper's four models."""

PAPER_BANDS: dict[str, str] = {"model1": "M", "model2": "R+N", "model3": "M+S", "model4": "R+N"}
"""Band configuration that the paper settles on for each model (sections 3.1 and 4.1-4.3)."""

GROUPS: dict[str, tuple[str, ...]] = {
    "GM": tuple(RAW_MATERIALS),
    "GS": ("MT", "OC", "OP"),
}
"""General model of section 2.4.2 to the subsets that it is tested on, in the order of Table 4."""


AVERAGES: dict[str, tuple[str, ...]] = {
    name: rows
    for group, codes in GROUPS.items()
    for name, rows in (
        (f"AVG {'+'.join(codes)}", codes),
        (f"AVG {group}", tuple(f"G{code}" for code in codes)),
    )
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
    """Return the entries of Table 3: every task with every band configuration.

    Parameters
    ----------
    study : Study
    tasks : sequence of str
    bands : sequence of str
    **settings
        Other fields of `RunConfig`.
    """
    return [
        Entry(config.task, config.bands, config)
        for task in tasks
        for one in bands
        for config in [study.config(task=task, bands=one, **settings)]
    ]


def split_entries(
    study: Study,
    tasks: Sequence[str] = MODELS,
    bands: Mapping[str, str] = PAPER_BANDS,
    **settings: object,
) -> list[Entry]:
    """Return the entries of Table 4: targeted models, and general ones on the same test mines.

    A general model's configuration is that of Table 3, so its run is shared and only its counts
    are narrowed to the subset.

    Parameters
    ----------
    study : Study
    tasks : sequence of str
    bands : mapping of task to band configuration
        RGB for a task that is not named.
    **settings
        Other fields of `RunConfig`.
    """
    entries = []
    for task in tasks:
        name = parse_task(task).name
        general = study.config(task=task, bands=bands.get(name, "RGB"), **settings)
        for subset in (code for codes in GROUPS.values() for code in codes):
            try:
                mines, problem = tuple(study.dataset.subset(subset).mines["mine"]), None
            except MinsegError as error:
                mines, problem = (), str(error)
            targeted = general.replace(subset=subset)
            entries.append(Entry(name, subset, targeted, mines, problem))
            entries.append(Entry(name, f"G{subset}", general, mines, problem))
    return entries


def results(study: Study, entries: Sequence[Entry]) -> list[Result]:
    """Make or load the runs of entries, one a seed.

    Parameters
    ----------
    study : Study
    entries : sequence of Entry

    Returns
    -------
    list of Result
        In the order of `entries`.
    """
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
