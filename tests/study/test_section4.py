import pytest

from minseg.scoring.intervals import RESAMPLES
from minseg.study.errors import explain
from minseg.study.section4 import CLAIM_COLUMNS, claims
from tests.study.predicted import DUMP, EVERYWHERE, PIT, SNOW, STRIP, rectangle


@pytest.fixture
def measured(make):
    """From labels and predictions to the claims, by the words they hold."""

    def measure(task, labels, predictions, **dataset):
        run, mines = make(predictions, labels, task, **dataset)
        table = claims(run, explain(run, mines))
        assert list(table.columns) == CLAIM_COLUMNS
        return table.set_index("claim")

    return measure


def of(table, words):
    """The value of the claim that holds the words, what it is held against, and its mines."""
    rows = table[table.index.str.contains(words)]
    assert len(rows) == 1
    return rows[["value", "other", "mines"]].iloc[0].tolist()


def test_claims_of_section_4_1(measured):
    labels = {"excavation": PIT, "dumping ground": DUMP, "preparatory work area": STRIP}
    several = {"excavation": PIT | rectangle(20, 20, 10, 10), "preparatory work area": STRIP}
    predictions = [
        {"excavation": PIT | rectangle(20, 4, 8, 4) | rectangle(4, 16, 12, 1)},
        {"excavation": PIT},
        {"excavation": rectangle(24, 24, 8, 8)},  # nothing right
    ]
    snowy = {2: [(EVERYWHERE, SNOW)]}
    found = measured("model1", [labels, several, labels], predictions, looks=snowy)
    false_positives = 32 + 12 + 64
    ground = 2 * (32**2 - 144) + 32**2 - 244
    assert of(found, "excavations lie on dumps") == pytest.approx(
        [32 / false_positives, 128 / ground, 2]
    )
    assert of(found, "taken for excavation")[0] == pytest.approx(12 / (3 * 48))
    assert of(found, "several pits") == pytest.approx([144 / 244, 144 / 288, 1])
    assert of(found, "seldom") == pytest.approx([1 / 3, 3 / 38, 3])
    union = (144 + 44) + 244
    assert of(found, "Scenes with snow") == pytest.approx([0, 288 / union, 1])
    assert of(found, "not recall") == pytest.approx([0, 0, 1])
    assert set(found["section"]) == {"4.1"}
    assert found["id"].is_unique


def test_what_a_claim_is_held_against_is_an_estimate_too(measured):
    """Snowy mines score alike; the others do not, and the difference is as uncertain as they."""
    labels = [{"excavation": PIT}] * 6
    half, all_of_it = {"excavation": rectangle(4, 4, 12, 6)}, {"excavation": PIT}
    snowy = {k: [(EVERYWHERE, SNOW)] for k in range(3)}
    predictions = [*[half] * 3, half, all_of_it, {}]
    row = measured("model1", labels, predictions, looks=snowy).loc["Scenes with snow score lower"]
    assert (row["value"], row["low"], row["high"]) == (0.5, 0.5, 0.5)
    assert (row["other"], row["difference"], row["mines"]) == (0.5, 0, 3)
    assert row["difference_low"] < -0.3 and row["difference_high"] > 0.3
    assert len(row["draws"]) == RESAMPLES


def test_small_ponds_beside_large_ones(measured):
    small, large = rectangle(2, 2, 2, 2), rectangle(10, 10, 11, 11)
    labels = [{"settling pond": small | large}] * 2
    predictions = [{"settling pond": large}, {"settling pond": small}]
    found = measured("model3", labels, predictions)
    assert of(found, "Small settling ponds") == pytest.approx([1 / 2, 1 / 2, 2])
    row = found.loc["Small settling ponds are missed"]
    assert (row["low"], row["high"]) == pytest.approx((0, 1), abs=0.01)
    assert "ponds below the median area, 0.63 ha, that are less than 50% found" in row["measured"]


def test_dams_and_infrastructure_outside_of_mining(measured):
    labels = {"dam": STRIP, "tailing storage facility": PIT, "dumping ground": PIT | STRIP}
    predictions = {
        "dam": rectangle(4, 15, 12, 1) | rectangle(28, 28, 2, 2),
        "infrastructure": rectangle(28, 20, 2, 2) | rectangle(4, 4, 4, 1),
        "tailing storage facility": rectangle(4, 16, 2, 4),
    }
    found = measured("model3", [labels], [predictions])
    assert of(found, "untransformed ground")[0] == pytest.approx(4 / 16)
    assert of(found, "infrastructure are not")[0] == pytest.approx(4 / 8)
    assert of(found, "over their dam") == pytest.approx([1, 48 / (32**2 - 144), 1])
    assert of(found, "tailings lie on dumps") == pytest.approx([1, 48 / (32**2 - 144), 1])


def test_what_labels_do_not_tell_is_unknown_and_other_classes_are_left_out(measured):
    found = measured(
        "tailing storage facility",
        [{"tailing storage facility": PIT}],
        [{"tailing storage facility": PIT | DUMP}],
        class_names=("tailing storage facility",),
    )
    assert list(found.index) == [
        "False positives of tailings lie on dumps",
        "Tailings are drawn over their dam",
    ]
    assert found[["value", "low", "high", "other"]].isna().all(axis=None)


@pytest.mark.parametrize("task", ["settling pond", "stockpile"])
def test_without_a_whole_pond_no_median_is_told_and_a_task_may_have_no_claims(measured, task):
    cut = {task: rectangle(0, 2, 4, 4)}  # goes on beyond the scene
    found = measured(task, [cut], [cut])
    assert len(found) == (task == "settling pond")
    assert found[["value", "other"]].isna().all(axis=None)
    assert all("ponds below the median area that are less" in one for one in found["measured"])
