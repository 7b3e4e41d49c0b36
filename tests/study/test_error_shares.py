import numpy as np
import pandas as pd
import pytest

from minseg.learning.intervals import bootstrap, interval
from minseg.learning.metrics import METRICS
from minseg.study.error_shares import (
    ALL_CLASSES,
    UNEXPLAINED,
    condition_shares,
    confusion_shares,
    share,
)
from minseg.study.explanations import OTHER_CLASS, WITHIN_1_PX, explain
from tests.study.predicted import rectangle, write_mines, write_predictions

PIT, DUMP = rectangle(4, 4, 12, 12), rectangle(20, 4, 8, 8)


def test_interval_of_a_share_is_that_of_a_recall_with_the_same_counts():
    there = pd.Series({"a": 30, "b": 2, "c": 11, "d": 0})
    whole = pd.Series({"a": 40, "b": 20, "c": 12, "d": 7})
    counts = np.zeros((4, 2, 4), np.int64)
    counts[:, 1, 0], counts[:, 1, 2] = there, whole - there
    found = share(there, whole)
    resampled = bootstrap(counts, list(there.index), "standard")
    low, high = interval(resampled[:, METRICS.index("recall")])
    assert found == pytest.approx({"value": 43 / 79, "low": low, "high": high, "mines": 4})
    assert 0 < low < 43 / 79 < high < 1


def test_shares_of_nothing_of_one_mine_and_of_unknown_mines():
    nothing = share(pd.Series({"a": 0}), pd.Series({"a": 0}))
    assert np.isnan(nothing["value"])
    assert nothing["mines"] == 0
    one = share(pd.Series({"a": 1, "b": np.nan}), pd.Series({"a": 4, "b": 4}))
    assert (one["value"], one["mines"]) == (0.25, 1)
    assert np.isnan([one["low"], one["high"]]).all()
    several = share(pd.Series([1, 2], index=["a", "a"]), pd.Series([2, 4], index=["a", "a"]))
    assert (several["value"], several["mines"]) == (0.5, 1)  # rows of one mine go together


@pytest.fixture
def explanations(tmp_path):
    """One mine with all errors at the boundary, one with all on the dump and a missed strip."""
    strip = rectangle(4, 20, 12, 4)
    labels = [{"excavation": PIT, "dumping ground": DUMP, "preparatory work area": strip}] * 2
    predictions = [
        {"excavation": PIT | rectangle(16, 4, 2, 12), "preparatory work area": strip},
        {"excavation": PIT | rectangle(22, 4, 6, 8)},
    ]
    mines = write_mines(tmp_path / "d", labels)
    return explain(write_predictions(tmp_path / "run", mines, "model1", predictions), mines)


def test_shares_and_rates_of_a_condition(explanations):
    table = condition_shares(explanations).set_index(["class", "condition"])
    dump = table.loc[("excavation", OTHER_CLASS)]
    assert dump["value"] == 48 / 72
    # All of one mine's errors, none of the other's.
    assert (dump["low"], dump["high"]) == pytest.approx((0, 1), abs=0.01)
    assert dump["pixel_share"] == (64 + 48) / 32**2
    assert dump["rate_inside"] == 48 / (2 * 112)
    assert dump["rate_outside"] == 24 / (2 * 912)
    assert table.loc[("excavation", WITHIN_1_PX), "first_share"] == 12 / 72
    both = table.loc[(ALL_CLASSES, OTHER_CLASS)]
    assert both["value"] == 48 / (72 + 48)  # the missed strip carries no other class
    first = table["first_share"].groupby(level="class").sum()
    assert first.to_numpy() == pytest.approx(1)
    assert table.loc[("excavation", UNEXPLAINED), "first_share"] == pytest.approx(0)


def test_shares_of_confusions(explanations):
    table = confusion_shares(explanations).set_index(["class", "other"])
    dump = table.loc[("excavation", "dumping ground")]
    assert dump["value"] == 48 / 72
    assert dump["reference"] == 64 / (32**2 - 144)
    missed = confusion_shares(explanations, "false negative", "predicted")
    missed = missed.set_index(["class", "other"]).loc[("preparatory work area", "background")]
    assert (missed["value"], missed["mines"]) == (1, 1)
    assert table.loc["preparatory work area", "value"].isna().all()  # never falsely predicted
