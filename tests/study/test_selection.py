from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from minseg import MinsegError
from minseg.scoring.intervals import bootstrap, interval
from minseg.study import selection
from minseg.study.selection import Candidates, candidates, importances, trial_table
from tests.study.made_runs import (
    DRAWN,
    SPACE,
    ask_trial,
    complete_trial,
    excavation,
    made_search,
    prune_trial,
)


def counts_of(*hits):
    """Counts (mines, 3, 4)."""
    return np.array([excavation(number) for number in hits])


def candidates_of(*models, convention="standard"):
    """Candidates by their excavation hits in each test mine."""
    counts = np.stack([counts_of(*hits) for hits in models])
    table = pd.DataFrame({"test_iou": [sum(hits) / len(hits) / 10 for hits in models]})
    table["validation_iou"] = range(len(models))
    return Candidates(table, counts, [f"m{k}" for k in range(len(models[0]))], convention)


@pytest.fixture
def search(own_dataset, tmp_path):
    return made_search(tmp_path, own_dataset)


def complete(search, curve, hits=((5, 5), (5, 5), (5, 5)), **changes):
    complete_trial(search, curve, hits, **changes)


@pytest.mark.parametrize("convention", ["standard", "paper"])
def test_interval_of_a_candidate_is_over_mines(convention):
    found = candidates_of([1, 9, 5, 4], [5, 5, 5, 5], convention=convention)
    expected = interval(bootstrap(counts_of(1, 9, 5, 4), found.mines, convention)[:, 0])
    assert found.test_interval(0) == expected
    assert expected[0] < expected[1]


def test_optimism_agrees_with_going_through_all_that_may_be_left_out():
    models = np.random.default_rng(0).integers(0, 11, (5, 11))
    flattery = []
    for rest in combinations(range(11), 2):
        chosen = [k for k in range(11) if k not in rest]
        apart = models[:, chosen].mean(axis=1) - models[:, rest].mean(axis=1)
        best = models[:, chosen].mean(axis=1).argmax()
        flattery.append(apart[best] - apart.mean())
    found = candidates_of(*models).optimism()
    limit = 4 * np.std(flattery) / 10 / np.sqrt(selection.SPLITS)
    assert found == pytest.approx(np.mean(flattery) / 10, abs=limit)


def test_optimism_is_that_of_choosing_on_all_mines():
    """Of models of equal quality, how far the best is ahead by luck; half the mines have more."""
    random = np.random.default_rng(2)
    drawn = [random.binomial(10, 0.5, (6, 20)) for _ in range(40)]
    luck = np.mean([models.mean(axis=1).max() / 10 - 0.5 for models in drawn])
    found = np.mean([candidates_of(*models).optimism() for models in drawn])
    assert found == pytest.approx(luck, rel=0.25)


def test_optimism_is_nothing_where_nothing_is_chosen_by_luck_or_cannot_be_told():
    assert candidates_of([8] * 6, [7] * 6, [2] * 6).optimism() == pytest.approx(0)
    # Mines that are hard for every model flatter none.
    assert candidates_of([9, 1, 9, 1], [9, 1, 9, 1]).optimism() == pytest.approx(0)
    assert np.isnan(candidates_of([1, 2, 3], [3, 2, 1]).optimism())
    assert np.isnan(candidates_of([1, 2, 3, 4]).optimism())


def test_candidates_are_complete_trials_at_every_epoch_count(search):
    complete(search, [0.1, 0.6, 0.4], [(1, 3), (2, 6), (3, 9)])
    prune_trial(search, [0.05], loss="focal")
    complete(search, [0.2, 0.3, 0.5], [(9, 9), (2, 2), (4, 4)], learning_rate=2e-3)
    found = candidates(search)
    table = found.table
    assert table["trial"].tolist() == [0] * 3 + [2] * 3
    assert table["epochs"].tolist() == [1, 2, 3] * 2
    assert table["learning_rate"].tolist() == [1e-3] * 3 + [2e-3] * 3
    assert table["validation_iou"].tolist() == [0.1, 0.6, 0.4, 0.2, 0.3, 0.5]
    assert table["test_iou"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.9, 0.2, 0.4])
    assert set(table["run"]) == {run.key for run in search.store}
    assert (found.by_validation, found.by_test) == (1, 3)
    assert found.mines == ["m0", "m1"]
    assert found.counts.shape == (6, 2, 3, 4)
    assert (found.counts[2] == counts_of(3, 9)).all()


def test_candidates_of_a_class_that_no_test_scene_holds():
    found = candidates_of([0] * 5, [0] * 5)
    found.counts[:, :, 1] = [0, 0, 0, 100]
    found.table["test_iou"] = np.nan
    assert (found.by_validation, found.by_test) == (1, 0)
    assert np.isnan(found.optimism())


def test_gain_of_tuning_is_over_the_untuned_settings_on_the_same_epochs(search):
    base = search.base.replace(**DRAWN)
    search = replace(search, base=base, default_epochs=2)
    complete(search, [0.1, 0.2, 0.9], [(1, 3), (2, 6), (3, 9)])
    complete(search, [0.1, 0.3, 0.2], [(1, 1), (5, 9), (4, 4)], loss="focal")
    found = candidates(search)
    assert (found.by_default, found.by_validation, found.within_budget) == (1, 2, 4)
    value, draws = found.gain()
    assert value == pytest.approx((14 - 8) / 20)
    assert draws == pytest.approx(0.3)  # three more of ten in each mine
    untried = candidates(replace(search, default_epochs=5))
    assert (untried.by_default, untried.gain()) == (None, None)


def test_candidates_need_a_complete_trial_and_its_run(search):
    prune_trial(search, [0.1])
    with pytest.raises(MinsegError, match=r"made\.journal: no trial is complete; ask for more"):
        candidates(search)
    trial, _ = ask_trial(search)
    search.trials.tell(trial, 0.5)
    with pytest.raises(MinsegError, match=f"has no run {trial.user_attrs['run']}"):
        candidates(search)


def test_trial_table_tells_pruned_trials_from_complete_ones(search):
    complete(search, [0.1, 0.6, 0.4])
    prune_trial(search, [0.3, 0.2], loss="focal", crop=64)
    failed, _ = ask_trial(search)
    search.trials.tell(failed, state=TrialState.FAIL)
    complete(search, [0.1, 0.6, 0.4])  # drawn again: its run is there, and takes no epochs
    ask_trial(search)  # still running
    table = trial_table(search)
    assert table[["trial", "state", "epochs", "validation_iou"]].to_numpy().tolist() == [
        *([0, "complete", 3, 0.6], [1, "pruned", 2, 0.2], [3, "complete", 0, 0.6])
    ]
    assert table["loss"].tolist() == ["jaccard", "focal", "jaccard"]
    assert table["crop"].tolist() == [32, 64, 32]


def test_hyperparameter_that_decides_the_value_is_the_most_important(search):
    assert importances(search).empty
    for rate in (*SPACE.learning_rate, 1e-3):
        complete(search, [0.2] * 3, learning_rate=rate)
    assert importances(search).empty  # trials that are all alike say nothing
    for loss, worth in (("jaccard", 0.2), ("focal", 0.8)):
        for crop in (32, 64):
            for k, rate in enumerate(SPACE.learning_rate):
                value = worth + 0.01 * k
                complete(search, [value] * 3, loss=loss, crop=crop, learning_rate=rate)
    found = importances(search)
    assert found["loss"] > 0.9
    assert found.sum() == pytest.approx(1)
    assert found.is_monotonic_decreasing
    assert set(found.index) <= set(SPACE.sampled)
