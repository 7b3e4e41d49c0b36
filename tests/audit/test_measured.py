"""What our runs say: the rule of the verdict, and numbers from runs written by hand."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from minseg import MinsegError
from minseg.audit.ledger import against_runs, judge
from minseg.audit.measured import Effect, Missing, decide, gather
from minseg.audit.power import needed_mines
from minseg.audit.printed import ABOVE_ZERO, Region
from minseg.scoring.intervals import bootstrap, interval
from minseg.study.runs import Run, RunStore
from minseg.study.study import Study
from minseg.study.tables import Entry, Result
from tests.audit.counted_results import CONFIG, many_mines, mines_of, result_of_hits
from tests.study.made_runs import DRAWN, complete_trial, excavation, made_search

WORSE, BETTER = [2, 4, 3, 2, 4, 3, 2, 4], [5, 6, 6, 4, 8, 6, 5, 7]


@pytest.fixture(scope="module")
def mines(tmp_path_factory):
    return many_mines(tmp_path_factory.mktemp("mines"))


@pytest.fixture
def study(mines, tmp_path):
    return Study("demo", mines, (0,), RunStore(tmp_path / "runs"))


@pytest.fixture
def banded(study):
    """From excavation hits by configuration, one list a seed, to the evidence of Model 1."""

    def make(splits=(), **seeds_of_bands):
        results = [
            result_of_hits(study, seeds, name.replace("_", "+"))
            for name, seeds in seeds_of_bands.items()
        ]
        return gather(study, results, splits, "standard")

    return make


def test_a_difference_with_its_interval(banded, claims):
    """Model 1 gains from M over RGB; Model 3, which the claim names too, was not run."""
    found = against_runs(claims["bands-multiclass-need"], banded(RGB=[WORSE], M=[BETTER]))
    (effect,) = found.effects
    assert effect.name == "Model 1, IoU: M − RGB"
    assert effect.value == pytest.approx((sum(BETTER) - sum(WORSE)) / 80)
    assert (effect.mines, effect.paired, effect.by_seed) == (8, True, (effect.value,))
    names = [f"m{k}" for k in range(8)]
    draws = [
        bootstrap(np.array([excavation(k) for k in hits]), names, "standard")[:, 0]
        for hits in (BETTER, WORSE)
    ]
    assert effect.ends == pytest.approx(interval(draws[0] - draws[1]), abs=0.02)  # other draws
    assert found.verdict == "not testable here"
    assert [one.name for one in found.missing] == ["Model 3, IoU: M+S − RGB"]
    assert "it was not run" in found.missing[0].reason


def with_m(hits, others):
    """Hits of every configuration, those of M apart from the others."""
    return {"RGB": [others], "R_N": [others], "R_N_S": [others], "M": [hits], "M_S": [others]}


def test_supported_contradicted_and_inconclusive(banded, claims):
    claim = claims["bands-model1-m"]
    assert against_runs(claim, banded(**with_m(BETTER, WORSE))).verdict == "supported"
    assert against_runs(claim, banded(**with_m(WORSE, BETTER))).verdict == "contradicted"
    uneven = [9, 1, 2, 3, 4, 2, 9, 1]
    open_one = against_runs(claim, banded(**with_m(uneven, WORSE)))
    assert open_one.verdict == "inconclusive"
    assert "test mines, not 8" in open_one.decides
    seeds = banded(RGB=[WORSE, WORSE], M=[BETTER, [k + 1 for k in BETTER]])
    (effect,) = against_runs(claims["bands-multiclass-need"], seeds).effects
    assert effect.by_seed == pytest.approx((23 / 80, 31 / 80))
    assert effect.value == pytest.approx(27 / 80)
    assert effect.spread == pytest.approx(0.1)


def test_what_cannot_be_tested_says_why(study, claims):
    lacking = Result(Entry("model1", "M", CONFIG), (), "the dataset has no band B01")
    result = result_of_hits(study, [WORSE], "RGB")
    evidence = gather(study, [result, lacking], [], "standard")
    claim = claims["bands-model1-m"]
    assert "the dataset has no band B01" in against_runs(claim, evidence).summary
    named = against_runs(claims["mines-noranda-recall"], evidence)
    assert (named.verdict, named.effects) == ("not testable here", ())
    assert "single mines by name" in named.summary


def split_results(study, **rows):
    """Results of Table 4: to each row its hits and how many of the mines it is about."""
    results = []
    for row, (hits, number) in rows.items():
        result = result_of_hits(study, [hits], "RGB", row)
        mines = tuple(mines_of(study.dataset)[:number])
        results.append(Result(Entry("model1", row, result.entry.config, mines), result.runs))
    return results


def test_splits_are_tested_on_the_mines_of_their_subset(study, claims):
    lower, higher = {"RR": (WORSE, 8), "GRR": (BETTER, 8)}, {"OP": (WORSE, 1), "GOP": (BETTER, 1)}
    splits = split_results(study, **lower, **higher)
    found = against_runs(claims["splits-model1-iou"], gather(study, [], splits, "standard"))
    assert found.verdict == "contradicted"  # RR alone refutes it
    assert [one.name for one in found.effects] == ["Model 1, IoU: RR − GRR"]
    assert "OP rests on a single test mine" in found.missing[0].reason


def test_precision_and_recall_of_one_class(study, claims):
    result = result_of_hits(study, [[8, 9, 7, 8, 9, 8, 9, 7]], "M", false=20)
    evidence = gather(study, [result], [], "standard")
    found = against_runs(claims["mines-excavation-false-positives"], evidence)
    recall, precision = 65 / 80, 65 / (65 + 160)
    assert found.effects[0].value == pytest.approx(recall - precision)
    assert found.verdict == "supported"
    absent = against_runs(claims["mines-preparation-missed"], evidence)
    assert absent.verdict == "not testable here"
    assert "no test scene holds preparatory work area" in absent.summary


def test_share_of_mines_that_are_hardly_found(banded, claims):
    few = against_runs(claims["mines-near-zero"], banded(M=[[0, *[9] * 7]]))
    assert few.effects[0].value == pytest.approx(1 / 8)
    assert few.verdict == "inconclusive"  # eight mines
    none = against_runs(claims["mines-near-zero"], banded(M=[[9] * 8]))
    assert none.verdict == "supported"


@pytest.fixture
def search(study):
    """Trials of one, two and three epochs; the one that is best after two was not untuned."""
    made = made_search(study.store.path.parent, study.dataset, bands="M", **DRAWN)
    made = replace(made, default_epochs=2)
    complete_trial(made, (0.3, 0.4, 0.6), (WORSE, WORSE, BETTER))
    complete_trial(made, (0.3, 0.8, 0.6), (WORSE, [9] * 8, BETTER), loss="focal")
    return made


def test_trials_of_the_search_tell_of_epochs_and_of_tuning_on_equal_budgets(study, claims, search):
    plain = result_of_hits(study, [[5, 6, 5, 4, 5, 5, 5, 5]], "M", epochs=3)

    def found(name, untuned_epochs=2, **searches):
        searches = {task: replace(search, default_epochs=untuned_epochs) for task in searches}
        return against_runs(claims[name], gather(study, [plain], [], "standard", searches))

    longer = found("tuning-epochs", model1=search)
    assert longer.effects[0].value == pytest.approx((sum(BETTER) - sum(WORSE)) / 80)
    assert "mean over 2 complete trials" in longer.effects[0].name
    tuned = found("tuning-critical", model1=search)
    assert tuned.effects[0].value == pytest.approx(0.9 - sum(WORSE) / 80)  # two epochs both
    assert tuned.effects[0].ends[0] > 0
    assert tuned.verdict == "not testable here"  # the other models were not searched
    # The trial that is best after two epochs may not be taken where the untuned had one.
    assert found("tuning-critical", 1, model1=search).effects[0].value == 0
    untried = found("tuning-critical", 5, model1=search)
    assert "did not try the untuned settings" in untried.missing[0].reason
    for name in ("tuning-epochs", "tuning-critical"):  # whatever else lies in the store
        alone = found(name)
        assert alone.verdict == "not testable here" and not alone.effects
        assert "no search for hyperparameters of model1 is stored" in alone.summary


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("provenance.json", '"dataset_hash": "', '"dataset_hash": "x', "counts are of other data"),
        ("provenance.json", '"split_hash": "', '"split_hash": "x', "counts are of other data"),
        ("config.json", '"task": "model1"', '"task": "model2"', "of task 'model2', not 'model1'"),
        ("counts.csv", "excavation", "dam", "class 'dam' is not of task model1"),
        ("counts.csv", ",test,", ",validation,", "is not of part validation"),
    ],
)
def test_counts_of_other_origin_are_refused_with_file_and_line(study, file, old, new, problem):
    result = result_of_hits(study, [WORSE], "RGB")
    path = result.runs[0].path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    fresh = Result(result.entry, (Run(result.runs[0].path),))
    with pytest.raises(MinsegError, match=problem) as caught:
        gather(study, [fresh], [], "standard")
    line = next(k for k, one in enumerate(text.splitlines(), 1) if old in one)
    place = f"{path}:{line}: " if file == "counts.csv" else f"{path}: "
    assert str(caught.value).startswith(place)


def test_verdicts_on_synthetic_mines_are_no_evidence(banded, study, claims):
    chosen = [claims["bands-model1-m"], claims["mines-noranda-recall"]]
    ledger = judge(chosen, banded(**with_m(BETTER, WORSE)))
    assert [one.runs.verdict for one in ledger.judged] == ["supported", "not testable here"]
    assert ledger.evidence_about_real_mines == 0
    assert ledger.counts("runs") == {"supported": 1, "not testable here": 1}
    real = ledger.__class__(ledger.judged, "d", False)
    assert real.evidence_about_real_mines == 1


def effect(low, high, claimed=ABOVE_ZERO, mines=10):
    """An effect with that interval, whatever it is widened for."""
    middle = (low + high) / 2
    draws = np.repeat([low, middle, high], [100, 1800, 100])
    return Effect("effect", draws, (middle,), claimed, mines)


def normal(value, error, mines=10, claimed=ABOVE_ZERO):
    """An effect with a standard error."""
    quantiles = NormalDist().inv_cdf
    draws = np.array([value + error * quantiles((k + 0.5) / 2000) for k in range(2000)])
    return Effect("effect", draws, (value,), claimed, mines)


YES, NO, OPEN = effect(0.1, 0.3), effect(-0.3, -0.1), effect(-0.1, 0.3)
GONE = Missing("effect", "no run")
LITTLE = Region(-0.01, 0.01)


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
        ([effect(-0.005, 0.005, LITTLE)], 1, "supported"),
        ([effect(-0.005, 0.02, LITTLE)], 1, "inconclusive"),
        ([effect(0.02, 0.04, LITTLE)], 1, "contradicted"),
        ([effect(-0.04, -0.02, LITTLE)], 1, "contradicted"),
    ],
)
def test_rule_of_the_verdict_on_runs(found, share, verdict):
    assert decide(found, share).verdict == verdict


def test_one_of_many_comparisons_refutes_only_with_a_wider_interval():
    draws = np.linspace(-0.30, 0.0075, 2000)  # 97.6 % below zero
    contrary = Effect("effect", draws, (-0.15,), ABOVE_ZERO, 10)
    assert contrary.ends[1] < 0
    assert decide([contrary]).verdict == "contradicted"
    both = decide([contrary, YES])
    assert both.verdict == "inconclusive"
    assert "1 on the other (0 after widening for their number)" in both.summary
    missing = decide([YES, NO, GONE], 0.9).summary
    assert missing.startswith("1 of 2 intervals lie on the claimed side, 1 on the other (1 after")
    assert "1 is missing" in missing
    assert decide([GONE, GONE]).summary == "no run."


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
