import numpy as np
import pytest
import scipy.stats

from minseg.scoring.intervals import (
    bootstrap,
    draw_mines,
    fewest_mines,
    interval,
    told_from_zero,
    widened,
)
from minseg.scoring.metrics import CONVENTIONS, METRICS, scores


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


def intervals_of(counts, convention, level=0.95, name="mine"):
    resampled = bootstrap(counts, [f"{name}-{k}" for k in range(len(counts))], convention)
    return {metric: interval(resampled[:, k], level) for k, metric in enumerate(METRICS)}


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr("minseg.scoring.intervals.RESAMPLES", 300)


def test_every_resample_is_over_the_classes_of_the_truth():
    counts = np.zeros((6, 3, 4), np.int64)
    counts[:, 1] = [60, 20, 20, 100]  # found alike in each mine: IoU .6
    counts[0, 2] = [10, 0, 40, 150]  # in one mine alone: IoU .2
    assert bootstrap(counts, list("abcdef"), "standard")[:, 0] == pytest.approx((0.6 + 0.2) / 2)
    counts[:5, 2] = [0, 30, 0, 170]  # predicted where the truth has none of it, by another model
    counts[5, 2] = [0, 0, 0, 200]
    assert bootstrap(counts, list("abcdef"), "standard")[:, 0] == pytest.approx(0.6)


def test_weights_vary_as_numbers_of_times_drawn_and_none_is_zero(monkeypatch):
    monkeypatch.setattr("minseg.scoring.intervals.RESAMPLES", 20_000)
    for number in (2, 3, 15):
        weights = draw_mines([f"m{k}" for k in range(number)])
        assert weights.min() > 0
        assert weights.sum(axis=1) == pytest.approx(number)
        assert weights.var(axis=0) == pytest.approx(1 - 1 / number, rel=0.1)


@pytest.mark.parametrize("number", [2, 3, 39])
def test_weights_are_those_of_a_dirichlet_distribution(number):
    luck = [np.random.default_rng([ord("a"), k]).random(300) for k in range(number)]
    gamma = scipy.stats.gamma((number - 1) / number).ppf(luck).T
    expected = number * gamma / gamma.sum(axis=1, keepdims=True)
    assert draw_mines([f"a{chr(k)}" for k in range(number)]) == pytest.approx(expected, abs=1e-5)


def test_a_mine_has_the_same_luck_whatever_mines_are_drawn_with_it():
    few, many = draw_mines(["b", "a"]), draw_mines(["a", "c", "b", "d"])
    more = many[:, 0] > many[:, 2]
    assert ((few[:, 1] > few[:, 0]) == more).all()
    assert (draw_mines(["b", "c"]) != few).any()


def test_resamples_are_scores_of_the_mines_as_they_are_weighed():
    counts = mines(6)
    counts[2, :, :3] = 0  # a mine that has no class at all
    counts[4] = 0  # a mine without a counted pixel
    names = list("fbadce")
    found = bootstrap(counts, names, "standard")
    for weights, row in zip(draw_mines(names)[:50], found, strict=False):
        weighed = (counts * (1e6 * weights[:, None, None])).round().astype(np.int64)
        expected = scores(weighed, "standard")
        assert row == pytest.approx([expected[metric] for metric in METRICS], rel=1e-5)


def test_one_rule_widens_for_the_number_of_comparisons():
    values = np.linspace(-1, 1, 4001)
    assert widened(values, 1) == interval(values)
    low, high = widened(values, 10)
    assert (low, high) == pytest.approx((-0.995, 0.995))
    assert [fewest_mines(n) for n in (1, 16, 32)] == [6, 10, 11]
    above = np.linspace(-0.02, 1, 1001)  # 2 % of the resamples are below zero
    assert told_from_zero(above, 6, 1)
    assert told_from_zero(-above, 6, 1)
    assert not told_from_zero(above, 5, 1)
    assert not told_from_zero(above, 38, 2)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("number", [1, 10])
def test_identical_mines_or_a_single_one_have_no_width(convention, number):
    counts = np.repeat(mines(1), number, axis=0)
    point = scores(counts, convention)
    for metric, bounds in intervals_of(counts, convention).items():
        assert bounds == pytest.approx((point[metric], point[metric]))


def test_mines_without_any_class_leave_an_undefined_score():
    empty = np.zeros((4, 2, 4), np.int64)
    empty[:, 0, 0] = empty[:, 1, 3] = 200
    assert np.isnan(intervals_of(empty, "standard")["iou"]).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr("minseg.scoring.intervals.RESAMPLES", 100)
    truth = scores(mines(20_000, seed=1000))["iou"]
    held = 0
    for seed in range(50):
        low, high = intervals_of(mines(30, seed), "standard", level=0.9)["iou"]
        held += low <= truth <= high
    assert 38 <= held <= 50  # 45 expected; fewer than 38 would come once in a thousand times
