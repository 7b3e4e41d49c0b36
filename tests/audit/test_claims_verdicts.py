import math
from statistics import NormalDist

import numpy as np
import pytest

from minseg.audit.claims_verdicts import ABOVE_ZERO, Effect, Missing, Region, decide
from minseg.audit.power import needed_mines


def effect(low, high, claimed=ABOVE_ZERO, mines=10, draws=None):
    """An effect with that interval, whatever it is widened for."""
    middle = (low + high) / 2
    if draws is None:
        draws = np.repeat([low, middle, high], [100, 1800, 100])
    return Effect("effect", draws, (middle,), claimed, mines)


def normal(value, error, mines=10, claimed=ABOVE_ZERO):
    """An effect with a standard error."""
    quantiles = NormalDist().inv_cdf
    draws = np.array([value + error * quantiles((k + 0.5) / 2000) for k in range(2000)])
    return Effect("effect", draws, (value,), claimed, mines)


YES, NO, OPEN = effect(0.1, 0.3), effect(-0.3, -0.1), effect(-0.1, 0.3)
GONE = Missing("effect", "no run")


@pytest.mark.parametrize(
    ("found", "share", "verdict"),
    [
        ([YES], 1, "supported"),
        ([NO], 1, "contradicted"),
        ([OPEN], 1, "inconclusive"),
        ([effect(0, 0.3)], 1, "inconclusive"),  # the edge is not excluded
        ([effect(-0.3, 0)], 1, "inconclusive"),
        ([YES, OPEN], 1, "inconclusive"),
        ([YES, NO], 1, "contradicted"),
        ([YES, NO], 0.5, "supported"),
        ([NO, OPEN], 0.5, "inconclusive"),
        ([NO, NO], 0.5, "contradicted"),
        ([GONE], 1, "not testable here"),
        ([], 1, "not testable here"),
        ([YES, GONE], 1, "not testable here"),
        ([NO, GONE], 1, "contradicted"),  # whatever is missing
        ([YES, GONE], 0.5, "supported"),
    ],
)
def test_rule_of_the_verdict_on_runs(found, share, verdict):
    assert decide(found, share).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.005, 0.005, "supported"),
        (-0.005, 0.02, "inconclusive"),
        (0.02, 0.04, "contradicted"),
        (-0.04, -0.02, "contradicted"),
    ],
)
def test_a_claim_that_two_things_differ_little(low, high, verdict):
    assert decide([effect(low, high, Region(-0.01, 0.01))]).verdict == verdict


def test_one_of_many_comparisons_refutes_only_with_a_wider_interval():
    draws = np.linspace(-0.30, 0.0075, 2000)  # 97.6 % below zero
    contrary = effect(-0.3, 0, draws=draws)
    assert contrary.ends[1] < 0
    assert decide([contrary]).verdict == "contradicted"
    both = decide([contrary, YES])
    assert both.verdict == "inconclusive"
    assert "1 on the other (0 after widening for their number)" in both.summary


def test_mines_that_would_decide_are_those_of_the_page_on_power():
    """2.8 standard errors: what the interval alone excludes it finds only every other time."""
    one = normal(0.1, 0.1)
    spread = 0.1 * math.sqrt(10) * math.sqrt(10 / 9)
    assert one.mines_needed() == pytest.approx(needed_mines(0.1, spread), abs=2)
    assert one.mines_needed() == pytest.approx(2.8**2 * 10 * 10 / 9, rel=0.02)
    assert one.mines_needed(12) > one.mines_needed()
    number = "about 88 test mines, not 10"
    assert f"{number}, would support it with 80% power" in decide([one]).decides
    assert f"{number}, would contradict it" in decide([normal(-0.1, 0.1)]).decides
    # The distance counts from what is claimed, not from zero.
    above = normal(0.2, 0.1, claimed=Region(low=0.1))
    assert above.mines_needed() == pytest.approx(one.mines_needed(), abs=1)
    assert math.isinf(normal(0, 0.1).mines_needed())
    assert "No number of mines" in decide([normal(0, 0.1)]).decides
    assert "more than 10,000 test mines" in decide([normal(0.001, 0.1)]).decides
    assert decide([YES]).decides == ""


def test_what_decides_a_claim_about_several():
    small, large = normal(0.1, 0.1), normal(0.05, 0.1)  # 88 mines, and four times as many
    assert "about 350 test mines" in decide([YES, small, large]).decides
    assert "about 88 test mines" in decide([YES, small, large], 0.6).decides
    assert "contradict it" in decide([small, normal(-0.1, 0.1)]).decides  # one contrary is enough
    assert "support it" in decide([small, normal(-0.1, 0.1)], 0.5).decides


def test_few_mines_decide_nothing():
    assert 2 * 2**-5 > 0.05 > 2 * 2**-6
    assert decide([effect(0.1, 0.3, mines=6)]).verdict == "supported"
    few = decide([effect(0.1, 0.3, mines=5)])
    assert few.verdict == "inconclusive"
    assert "with 5 mines an interval decides nothing (it takes 6)" in few.summary
    assert "about 6 test mines, not 5" in few.decides
    assert decide([effect(-0.3, -0.1, mines=6)] * 2, 1).verdict == "inconclusive"
    assert decide([effect(-0.3, -0.1, mines=7)] * 2, 1).verdict == "contradicted"


def test_the_summary_counts_what_is_missing():
    found = decide([YES, NO, GONE], 0.9)
    assert found.summary.startswith(
        "1 of 2 intervals lie on the claimed side, 1 on the other (1 after widening"
    )
    assert "1 is missing" in found.summary
    assert decide([GONE, GONE]).summary == "no run."
