import numpy as np
import pytest

from minseg.learning.intervals import bootstrap_intervals
from minseg.learning.metrics import CONVENTIONS, METRICS, scores


def mines(count, seed=0):
    """Counts (mines, 2, 4) of mines that a model finds more or less well; a class of half a mine.

    Each mine has 100 pixels of the class and 100 of background; how many are found differs.
    """
    hits = np.random.default_rng(seed).integers(20, 100, count)
    missed = 100 - hits
    false = missed // 2
    foreground = np.stack([hits, false, missed, 100 - false], axis=1)
    background = np.stack([100 - false, missed, false, hits], axis=1)
    return np.stack([background, foreground], axis=1)


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr("minseg.learning.intervals.RESAMPLES", 300)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_interval_holds_the_score_itself(convention):
    counts = mines(12)
    intervals = bootstrap_intervals(counts, convention)
    point = scores(counts, convention)
    assert list(intervals) == list(METRICS)
    for metric, (low, high) in intervals.items():
        assert 0 <= low < point[metric] < high <= 1


def test_same_seed_gives_the_same_interval():
    counts = mines(12)
    first = bootstrap_intervals(counts, "standard", seed=1)
    assert bootstrap_intervals(counts, "standard", seed=1) == first
    assert bootstrap_intervals(counts, "standard", seed=2) != first


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_identical_mines_leave_nothing_open(convention):
    counts = np.repeat(mines(1), 10, axis=0)
    point = scores(counts, convention)
    for metric, (low, high) in bootstrap_intervals(counts, convention).items():
        assert low == pytest.approx(point[metric])
        assert high == pytest.approx(point[metric])


def test_a_single_mine_says_nothing_about_others_and_gives_no_width():
    for low, high in bootstrap_intervals(mines(1), "standard").values():
        assert low == high


def width(intervals, metric="iou"):
    low, high = intervals[metric]
    return high - low


def test_width_falls_with_the_root_of_the_number_of_mines():
    few, many = (
        np.mean([width(bootstrap_intervals(mines(n, seed), "standard")) for seed in range(5)])
        for n in (10, 90)
    )
    assert few / many == pytest.approx(3, rel=0.3)


def test_a_higher_level_gives_a_wider_interval():
    narrow, middle, wide = (
        width(bootstrap_intervals(mines(20), "standard", level)) for level in (0.5, 0.9, 0.99)
    )
    assert narrow < middle < wide


def test_interval_agrees_with_the_normal_one_for_a_plain_mean(monkeypatch):
    monkeypatch.setattr("minseg.learning.intervals.RESAMPLES", 1000)
    # Accuracy under `paper` is a plain mean over mines, whose spread is known.
    counts = mines(100)
    accuracy = [scores(counts[k : k + 1], "paper")["accuracy"] for k in range(100)]
    half = 1.2816 * np.std(accuracy) / 10
    low, high = bootstrap_intervals(counts, "paper", level=0.8)["accuracy"]
    assert low == pytest.approx(np.mean(accuracy) - half, abs=0.15 * half)
    assert high == pytest.approx(np.mean(accuracy) + half, abs=0.15 * half)


def test_intervals_cover_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr("minseg.learning.intervals.RESAMPLES", 100)
    truth = scores(mines(20_000, seed=1000))["iou"]
    held = 0
    for seed in range(50):
        low, high = bootstrap_intervals(mines(30, seed), "standard", level=0.9)["iou"]
        held += low <= truth <= high
    assert 38 <= held <= 50  # 45 expected; fewer than 38 would come once in a thousand times


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_mines_without_any_class_leave_an_undefined_score():
    empty = np.zeros((4, 2, 4), np.int64)
    empty[:, 0, 0] = empty[:, 1, 3] = 200
    low, high = bootstrap_intervals(empty, "standard")["iou"]
    assert np.isnan(low)
    assert np.isnan(high)
