"""What our runs have to say about the paper's tables: scores with resamples, checked for origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from minseg.errors import MinsegError
from minseg.learning.metrics import METRICS, scores
from minseg.study import mine_claims
from minseg.study.comparison import Scored, scored_rows
from minseg.study.config import RunConfig
from minseg.study.experiments import AVERAGES, PAPER_BANDS, Result
from minseg.study.explanations import explain
from minseg.study.runs import Run, counts_array
from minseg.study.search import Search
from minseg.study.selection import Candidates, candidates
from minseg.study.study import Study

BANDS_TABLE, SPLITS_TABLE = 3, 4
"""Numbers of the tables that our runs have rows of."""


class UntestableError(Exception):
    """Why a number that a claim asks for cannot be had here; becomes part of its verdict."""


@dataclass(frozen=True)
class Tested:
    """Our scores in the place of one printed row."""

    scored: Scored
    by_seed: np.ndarray
    """The four scores of each seed, float (seeds, 4)."""
    mines: tuple[str, ...]
    """Test mines; of an average those of all its rows."""
    fewest: int
    """Test mines; of an average the fewest of any of its rows."""


@dataclass(frozen=True)
class Evidence:
    """All that claims are tested on: a study's results of Tables 3 and 4, and its searches."""

    study: Study
    convention: str
    tested: Mapping[tuple[int, str, str], Tested]
    """By table, task and row."""
    results: Mapping[tuple[int, str, str], Result]
    searches: Mapping[str, Search]
    """Searches for hyperparameters, by task."""

    @property
    def synthetic(self) -> bool:
        """Whether the dataset was made, not observed."""
        return self.study.dataset.synthetic

    def find(self, table: int, keys: Mapping[str, str]) -> Tested:
        """Return our scores in the place of a printed cell.

        Parameters
        ----------
        table : int
        keys : mapping of column to value
            Of the tidy table.

        Raises
        ------
        UntestableError
            If there are no such runs, or they rest on one mine.
        """
        row = keys.get("bands") or keys.get("split")
        if table not in (BANDS_TABLE, SPLITS_TABLE) or row is None:
            raise UntestableError(f"Table {table} is about the paper's own mines and trials")
        place = (table, keys["model"], row)
        if place not in self.tested:
            result = self.results.get(place)
            reason = result.problem if result and result.problem else "it was not run"
            raise UntestableError(f"no result for {keys['model']}, {row}: {reason}")
        found = self.tested[place]
        if found.fewest < 2:
            raise UntestableError(f"{keys['model']}, {row} rests on a single test mine")
        return found

    def general(self, task: str) -> Result:
        """Return the result of a model with the bands that the paper settles on, on all mines.

        Raises
        ------
        UntestableError
            If it has no runs.
        """
        result = self.results.get((BANDS_TABLE, task, PAPER_BANDS[task]))
        if result is None or not result.runs:
            reason = result.problem if result else "it was not run"
            raise UntestableError(f"no run of {task} with {PAPER_BANDS[task]}: {reason}")
        return result

    @cached_property
    def _section4(self) -> dict[str, pd.DataFrame]:
        return {}

    def section4(self, task: str) -> pd.DataFrame:
        """Return what section 4 says of errors, measured (`minseg.study.mine_claims.claims`).

        From the stored predictions of the first seed; counted once for each task.

        Raises
        ------
        UntestableError
            If the model has no runs, or the run no predictions.
        """
        if task not in self._section4:
            run = self.general(task).runs[0]
            try:
                explained = explain(run, self.study.dataset)
            except MinsegError as error:  # stored without its predictions
                raise UntestableError(str(error)) from None
            self._section4[task] = mine_claims.claims(run, explained)
        return self._section4[task]

    def candidates(self, task: str) -> Candidates:
        """Return the models that the search of a task could choose.

        Raises
        ------
        UntestableError
            If nothing was searched, or no trial is complete.
        """
        if task not in self.searches:
            raise UntestableError(f"no search for hyperparameters of {task} is stored")
        try:
            return candidates(self.searches[task], self.convention)
        except MinsegError as error:
            raise UntestableError(str(error)) from None


def gather(
    study: Study,
    bands: Sequence[Result],
    splits: Sequence[Result],
    convention: str,
    searches: Mapping[str, Search] | None = None,
) -> Evidence:
    """Score the results of Tables 3 and 4 as evidence.

    Nothing else counts: what more lies in the run store changes no verdict.

    Parameters
    ----------
    study : Study
    bands, splits : sequence of Result
        `minseg.study.experiments.results` of `band_entries` and `split_entries`.
    convention : str
        See `minseg.learning.metrics.scores`.
    searches : mapping of task to Search, optional
        The study's own searches for hyperparameters (`minseg.study.tuning.tune_all`).

    Returns
    -------
    Evidence

    Raises
    ------
    MinsegError
        If stored counts are of another task, split or dataset.
    """
    tested: dict[tuple[int, str, str], Tested] = {}
    results: dict[tuple[int, str, str], Result] = {}
    for table, of_table in ((BANDS_TABLE, bands), (SPLITS_TABLE, splits)):
        for result in of_table:
            results[table, result.entry.task, result.entry.row] = result
            for run in result.runs:
                require_own_counts(run, result.entry.config, study)
        for one in scored_rows(of_table, convention):
            parts = AVERAGES.get(one.row, (one.row,))
            of_parts = [results[table, one.task, part] for part in parts]
            by_seed = np.mean([_by_seed(part, convention) for part in of_parts], axis=0)
            mines = [tuple(_mines(part)) for part in of_parts]
            tested[table, one.task, one.row] = Tested(
                one, by_seed, tuple(m for part in mines for m in part), min(map(len, mines))
            )
    return Evidence(study, convention, tested, results, searches or {})


def require_own_counts(run: Run, config: RunConfig, study: Study) -> None:
    """Refuse stored counts that are not what they are taken for.

    Parameters
    ----------
    run : Run
    config : RunConfig
        What the run should be of, whatever its seed.
    study : Study
        Its dataset is what the run should be on.

    Raises
    ------
    MinsegError
        With file and line: if the run is of another configuration or dataset, or counts are of
        classes or mines that it has not.
    """
    mend = "delete the folder, and the run is made again"
    expected = config.replace(seed=run.config.seed)
    if run.config != expected:
        fields = [
            name
            for name in expected.model_dump()
            if getattr(run.config, name) != getattr(expected, name)
        ]
        name = fields[0]
        raise MinsegError(
            f"{run.path / 'config.json'}: is of {name} {getattr(run.config, name)!r}, not "
            f"{getattr(expected, name)!r}; {mend}"
        )
    dataset = study.dataset
    for name, ours in (("dataset_hash", dataset.digest), ("split_hash", dataset.split_digest)):
        if run.provenance.get(name) != ours:
            raise MinsegError(
                f"{run.path / 'provenance.json'}: {name} is {run.provenance.get(name)}, of "
                f"{dataset.path} it is {ours}: the counts are of other data; {mend}"
            )
    rows, parts = run.counts, dict(zip(dataset.split["mine"], dataset.split["part"], strict=True))
    right_class = rows["class"].isin(run.task.target_names)
    right_mine = rows["mine"].map(parts) == rows["part"]
    for column, right in (("class", right_class), ("mine", right_mine)):
        if not right.all():
            row = rows[~right].iloc[0]
            what = f"task {run.config.task}" if column == "class" else f"part {row['part']}"
            raise MinsegError(
                f"{run.path / 'counts.csv'}:{rows.index[~right][0] + 2}: {column} {row[column]!r} "
                f"is not of {what}; {mend}"
            )


def _by_seed(result: Result, convention: str) -> np.ndarray:
    """Score each seed by itself."""
    found = [scores(counts_array(result.counts(run), run.task), convention) for run in result.runs]
    return np.array([[one[name] for name in METRICS] for one in found])  # type: ignore[literal-required]


def _mines(result: Result) -> list[str]:
    """Return the test mines of a result."""
    return sorted(result.counts(result.runs[0])["mine"].unique())
