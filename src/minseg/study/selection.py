"""What a search found, and how much selecting on the test part would flatter it (Table 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.errors import MinsegError
from minseg.scoring.intervals import bootstrap, interval
from minseg.scoring.metrics import IOU, resampled_means
from minseg.study.config import RunConfig
from minseg.study.runs import Run, counted_mines, counts_array, run_key
from minseg.study.study import Study
from minseg.study.tables import GROUPS, band_entries, split_entries
from minseg.study.tuning import Search, validation_by_epochs

SPLITS = 2000
"""Random splits of the test mines into those that choose and those that are left out."""

LEFT_OUT = 5
"""One of so many test mines is left out, so that nearly all of them choose."""


@dataclass(frozen=True)
class Candidates:
    """All models that a search could choose: every complete trial at every epoch count."""

    table: pd.DataFrame
    """Rows trial, run, the hyperparameters, epochs, validation_iou, test_iou."""
    counts: np.ndarray
    """Test counts, int64 (candidates, scenes, num_classes, 4)."""
    mines: list[str]
    """Mine of each test scene."""
    convention: str
    by_default: int | None = None
    """Row of the settings that are not tuned, at their number of epochs; None if not tried."""

    @cached_property
    def by_validation(self) -> int:
        """Row of the model that the validation part chooses: the one to report."""
        return int(self.table["validation_iou"].argmax())

    @cached_property
    def by_test(self) -> int:
        """Row of the model that the test part would choose, as in section 3.3.

        The first where no test scene holds a class, which makes all test IoUs NaN.
        """
        return int(self.table["test_iou"].fillna(-1.0).argmax())

    @cached_property
    def within_budget(self) -> int | None:
        """Row that the validation part chooses of those trained no longer than the untuned one."""
        if self.by_default is None:
            return None
        allowed = self.table["epochs"] <= self.table["epochs"].iloc[self.by_default]
        return int(self.table["validation_iou"].where(allowed, -1.0).argmax())

    def gain(self) -> tuple[float, np.ndarray] | None:
        """Return what tuning adds to the test IoU on one budget, and that in resamples of mines.

        The validation part's choice within the budget minus the untuned settings; None if these
        were not tried.
        """
        if self.by_default is None or self.within_budget is None:
            return None
        ious, chosen, untuned = self.table["test_iou"], self.within_budget, self.by_default
        resampled = self.resampled(chosen) - self.resampled(untuned)
        return float(ious.iloc[chosen] - ious.iloc[untuned]), resampled

    def over(self, run: Run) -> tuple[float, np.ndarray]:
        """Return the test IoU of the validation part's choice minus a run's, as `gain` does."""
        tested, chosen = run.counts_of("test"), self.by_validation
        counts = counts_array(tested, run.task)
        other = bootstrap(counts, counted_mines(tested), self.convention)[:, IOU]
        iou = run.scores("test", self.convention)["iou"]
        return float(self.table["test_iou"].iloc[chosen] - iou), self.resampled(chosen) - other

    def resampled(self, row: int) -> np.ndarray:
        """Return a candidate's test IoU in resamples of the mines (resamples,)."""
        return bootstrap(self.counts[row], self.mines, self.convention)[:, IOU]

    def test_interval(self, row: int) -> tuple[float, float]:
        """Return the 95 % interval over mines of a candidate's test IoU."""
        return interval(self.resampled(row))

    def optimism(self) -> float:
        """Return by how much selecting and reporting on the same mines flatters, on average.

        The candidate with the best IoU on four fifths of the test mines is scored on those and on
        the rest; from the difference that of the average candidate is taken, which nobody chose.
        The mean over many random splits is what selection adds. Choosing on half the mines would
        flatter by 1.4 to 2 times as much, as half the mines are noisier than all. NaN with fewer
        than four mines or two candidates, or without a test IoU.
        """
        if len(self.mines) < 4 or len(self.table) < 2 or self.table["test_iou"].isna().all():
            return float("nan")
        random = np.random.default_rng(0)
        ranks = random.random((SPLITS, len(self.mines))).argsort(axis=1)
        rest = (ranks < max(len(self.mines) // LEFT_OUT, 1)).astype(np.int64)
        seen, unseen = (
            np.stack([resampled_means(one, part, self.convention)[:, IOU] for one in self.counts])
            for part in (1 - rest, rest)
        )  # each (candidates, SPLITS)
        chosen = np.nan_to_num(seen, nan=-1.0).argmax(axis=0)
        flattery = seen - unseen
        known = np.isfinite(flattery).sum(axis=0)
        average = np.nansum(flattery, axis=0) / np.maximum(known, 1)
        return float(np.nanmean(flattery[chosen, np.arange(SPLITS)] - average))


def candidates(search: Search, convention: str = "standard") -> Candidates:
    """Gather the models that a search could choose.

    Parameters
    ----------
    search : Search
    convention : str
        See `minseg.scoring.metrics.scores`.

    Returns
    -------
    Candidates

    Raises
    ------
    MinsegError
        If no trial is complete, or a run of one is not in the run store.
    """
    rows: list[dict] = []
    counts: list[np.ndarray] = []
    untuned: int | None = None
    complete = search.known(TrialState.COMPLETE)
    if not complete:
        raise MinsegError(f"search in {search.place}: no trial is complete; ask for more trials")
    for trial in complete:
        run = search.run_of(trial)
        for epochs, validation_iou in validation_by_epochs(run).items():
            tested = run.counts_of("test", epochs)
            array = counts_array(tested, run.task)
            if trial.params == search.default and epochs == search.default_epochs:
                untuned = len(rows) if untuned is None else untuned
            rows.append(
                {
                    "trial": trial.number,
                    "run": run.key,
                    **trial.params,
                    "epochs": epochs,
                    "validation_iou": validation_iou,
                    "test_iou": run.scores("test", convention, epochs)["iou"],
                }
            )
            counts.append(array)
    return Candidates(
        pd.DataFrame(rows), np.stack(counts), counted_mines(tested), convention, untuned
    )


def untuned_run(study: Study, search: Search, **settings: object) -> Run | None:
    """Return the stored run of a search's task and bands that Table 3 shows, if there is one."""
    config = study.config(task=search.base.task, bands=search.base.bands, **settings)
    return study.store.find(run_key(config, study.dataset))


def trial_table(search: Search) -> pd.DataFrame:
    """Return one row a trial: trial, state, the hyperparameters, epochs trained, validation_iou.

    The validation IoU of a pruned trial is the last that was reported. A configuration that was
    drawn again after it had been trained took no epoch more.
    """
    rows, made = [], set[str]()
    for trial in search.finished():
        pruned = trial.state == TrialState.PRUNED
        last = max(trial.intermediate_values, default=0)
        # Nothing was reported of a training that had been stored before the search.
        longest = last or search.space.epochs[-1]
        trained = 0 if trial.user_attrs["run"] in made else longest
        made |= set() if pruned else {trial.user_attrs["run"]}
        rows.append(
            {
                "trial": trial.number,
                "state": "pruned" if pruned else "complete",
                **trial.params,
                "epochs": last if pruned else trained,
                "validation_iou": trial.intermediate_values.get(last) if pruned else trial.value,
            }
        )
    return pd.DataFrame(rows)


def importances(search: Search) -> pd.Series:
    """Return each hyperparameter's importance by fANOVA, largest first; they sum to 1.

    Of the validation IoU at the first rung, which pruned trials have reached as well: finished
    trials alone would be few, and only the good ones. Empty where fewer than four trials, or
    trials that are all alike, say nothing.
    """
    early = [
        optuna.trial.create_trial(
            params=trial.params,
            distributions=trial.distributions,
            value=trial.intermediate_values[search.first_rung],
        )
        for trial in search.finished()
        if np.isfinite(trial.intermediate_values.get(search.first_rung, np.nan))
    ]
    if len(early) < 4 or len({trial.value for trial in early}) < 2:
        return pd.Series(dtype=float)
    trials = optuna.create_study(direction="maximize")
    trials.add_trials(early)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(trials, evaluator=evaluator)
    return pd.Series(found, dtype=float)


def table_efforts(
    study: Study,
    tasks: Sequence[str],
    bands: Mapping[str, str],
    searches: Mapping[str, Search],
    **settings: object,
) -> list[tuple[str, int, int]]:
    """Count the epochs of Tables 3, 4 and 5, each run once and in the first table that needs it.

    A literal reading trains every row of Table 3, six targeted and two general models a task for
    Table 4 (section 2.4.2), and a trial of Table 5 for each epoch count. Rows of stored runs only
    count: name, epochs read literally, epochs trained.
    """
    rows = band_entries(study, tasks, tuple(BAND_CONFIGURATIONS), **settings)
    band_configs = _stored(study, [entry.config for entry in rows])
    entries = split_entries(study, tasks, bands, **settings)
    targeted = _stored(study, [e.config for e in entries if e.config.subset])
    general = _stored(study, [e.config for e in entries if not e.config.subset])
    once = _epochs(band_configs)
    trials = [len(search.finished()) * sum(search.space.epochs) for search in searches.values()]
    trained = [int(trial_table(search)["epochs"].sum()) for search in searches.values()]
    return [
        ("Table 3", once, once),
        (
            "Table 4",
            _epochs(targeted) + len(GROUPS) * _epochs(general),
            _epochs({**band_configs, **targeted, **general}) - once,
        ),
        ("Table 5", sum(trials), sum(trained)),
    ]


def _stored(study: Study, configs: Sequence[RunConfig]) -> dict[str, RunConfig]:
    """Return the configurations, one a seed, whose runs are stored, by their keys."""
    seeded = [config.replace(seed=seed) for config in configs for seed in study.seeds]
    keys = {run_key(config, study.dataset): config for config in seeded}
    return {key: config for key, config in keys.items() if study.store.find(key)}


def _epochs(configs: Mapping[str, RunConfig]) -> int:
    return sum(config.epochs for config in configs.values())
