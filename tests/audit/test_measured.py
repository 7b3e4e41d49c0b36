"""What our runs say: the rule of the verdict, and numbers from runs written by hand."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from minseg import MinsegError
from minseg.audit.ledger import against_runs, judge
from minseg.audit.measured import Effect, Missing, decide, gather
from minseg.audit.power import needed_mines
from minseg.audit.printed import ABOVE_ZERO, Region
from minseg.scoring.intervals import bootstrap, interval
from minseg.study.runs import Run, run_key
from minseg.study.tables import Entry, Result
from minseg.study.tuning import Search, SearchSpace
from tests.audit.counted_results import CONFIG, many_mines, mines_of, result_of_hits, study_of
from tests.study.made_runs import excavation, write_run

WORSE, BETTER = [2, 4, 3, 2, 4, 3, 2, 4], [5, 6, 6, 4, 8, 6, 5, 7]


@pytest.fixture(scope="module")
def mines(tmp_path_factory):
    return many_mines(tmp_path_factory.mktemp("mines"))


@pytest.fixture
def study(mines, tmp_path):
    return study_of(mines, tmp_path)


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
    counts = {
        name: np.array([excavation(k) for k in hits])
        for name, hits in (("a", WORSE), ("b", BETTER))
    }
    names = [f"m{k}" for k in range(8)]
    other = interval(
        bootstrap(counts["b"], names, "standard")[:, 0]
        - bootstrap(counts["a"], names, "standard")[:, 0]
    )
    assert effect.ends == pytest.approx(other, abs=0.02)  # other draws
    assert found.verdict == "not testable here"
    assert [one.name for one in found.missing] == ["Model 3, IoU: M+S − RGB"]
    assert "it was not run" in found.missing[0].reason


def five(best, rest, **others):
    return {"RGB": [rest], "R_N": [rest], "R_N_S": [rest], "M": [rest], "M_S": [rest]} | {
        best: [others.pop("hits")]
    }


def test_supported_contradicted_and_inconclusive(banded, claims):
    claim = claims["bands-model1-m"]
    assert against_runs(claim, banded(**five("M", WORSE, hits=BETTER))).verdict == "supported"
    assert against_runs(claim, banded(**five("M", BETTER, hits=WORSE))).verdict == "contradicted"
    uneven = [9, 1, 2, 3, 4, 2, 9, 1]
    open_one = against_runs(claim, banded(**five("M", WORSE, hits=uneven)))
    assert open_one.verdict == "inconclusive"
    assert "test mines, not 8" in open_one.decides


def test_one_stored_count_changes_the_verdict_it_should(banded, study, claims):
    claim, other = claims["bands-model1-m"], claims["conclusions-rgb-sufficient"]
    results = five("M", WORSE, hits=BETTER)
    evidence = banded(**results)
    assert against_runs(claim, evidence).verdict == "supported"
    before = against_runs(other, evidence)
    # The run with radar now finds 60 excavation pixels in one mine, in place of 2.
    path = study.store.path / "RNS-0" / "counts.csv"
    rows = pd.read_csv(path)
    changed = rows.index[(rows["part"] == "test") & (rows["class"] == "excavation")][0]
    rows.loc[changed, "tp"] = 60
    rows.to_csv(path, index=False)
    fresh = [
        Result(one.entry, tuple(Run(run.path) for run in one.runs))
        for one in evidence.results.values()
    ]
    again = gather(study, fresh, [], "standard")
    assert against_runs(claim, again).verdict == "inconclusive"
    assert against_runs(other, again) == before  # it does not rest on that run


def test_seeds_are_averaged_and_their_spread_is_told(banded, claims):
    evidence = banded(RGB=[WORSE, WORSE], M=[BETTER, [k + 1 for k in BETTER]])
    (effect,) = against_runs(claims["bands-multiclass-need"], evidence).effects
    assert effect.by_seed == pytest.approx((23 / 80, 31 / 80))
    assert effect.value == pytest.approx(27 / 80)
    assert effect.spread == pytest.approx(0.1)


def test_what_cannot_be_tested_says_why(study, claims):
    lacking = result_of_hits(study, [], "M", problem="the dataset has no band B01")
    result = result_of_hits(study, [WORSE], "RGB")
    evidence = gather(study, [result, lacking], [], "standard")
    claim = claims["bands-model1-m"]
    assert "the dataset has no band B01" in against_runs(claim, evidence).summary
    named = against_runs(claims["mines-noranda-recall"], evidence)
    assert (named.verdict, named.effects) == ("not testable here", ())
    assert "single mines by name" in named.summary


def test_splits_are_tested_on_the_mines_of_their_subset(study, claims):
    mines = tuple(mines_of(study.dataset))
    rows = {
        "RR": (WORSE, mines),
        "GRR": (BETTER, mines),
        "OP": (WORSE, mines[:1]),
        "GOP": (BETTER, mines[:1]),
    }
    splits = []
    for row, (hits, of_subset) in rows.items():
        result = result_of_hits(study, [hits], "RGB", row)
        entry = Entry("model1", row, result.entry.config, of_subset)
        splits.append(Result(entry, result.runs))
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


SPACE = SearchSpace(
    learning_rate=(1e-3,),
    batch_size=(4,),
    epochs=(4, 6, 8),
    crop=(32,),
    optimiser=("adam",),
    encoder=("resnet18",),
    architecture=("unet",),
    loss=("focal", "jaccard"),
)


def trial(search, loss, of_epochs, validation):
    """A complete trial: hits in every test mine at each epoch count."""
    parameters = {name: values[0] for name, values in SPACE.sampled.items()} | {"loss": loss}
    search.trials.enqueue_trial(parameters)
    asked = search.trials.ask()
    for name, values in SPACE.sampled.items():
        asked.suggest_categorical(name, values)
    config, dataset = search.config(parameters), search.dataset
    key = run_key(config, dataset)
    asked.set_user_attr("run", key)
    search.trials.tell(asked, max(validation))
    mines = mines_of(dataset)
    found = {
        epochs: {"test": {mine: excavation(k) for mine, k in zip(mines, hits, strict=True)}}
        for epochs, hits in of_epochs.items()
    }
    curve = np.interp(range(1, 9), list(of_epochs), validation)
    write_run(search.store.path / key, config, found, curve)


@pytest.fixture
def search(study):
    fixed = {"bands": "M", "epochs": 8, "score_epochs": (4, 6), "checkpoint": "last"}
    untuned = {name: values[0] for name, values in SPACE.sampled.items()}
    base = CONFIG.replace(**fixed, **untuned)
    journal = str(study.store.path / "made.journal")
    made = Search("made", journal, base, SPACE, study.dataset, study.store, default_epochs=6)
    trial(made, "focal", {4: WORSE, 6: WORSE, 8: BETTER}, (0.3, 0.4, 0.6))
    trial(made, "jaccard", {4: WORSE, 6: [9] * 8, 8: BETTER}, (0.3, 0.8, 0.6))
    return made


def test_trials_of_the_search_tell_of_epochs_and_of_tuning(study, claims, search):
    plain = result_of_hits(study, [[5, 6, 5, 4, 5, 5, 5, 5]], "M", epochs=8)
    evidence = gather(study, [plain], [], "standard", {"model1": search})
    longer = against_runs(claims["tuning-epochs"], evidence)
    assert longer.effects[0].value == pytest.approx((sum(BETTER) - sum(WORSE)) / 80)
    assert "mean over 2 complete trials" in longer.effects[0].name
    tuned = against_runs(claims["tuning-critical"], evidence)
    assert tuned.effects[0].value == pytest.approx(0.9 - sum(WORSE) / 80)  # six epochs both
    assert tuned.effects[0].ends[0] > 0
    assert tuned.verdict == "not testable here"  # the other models were not searched


def test_whatever_else_lies_in_the_store_changes_no_verdict(study, claims, search):
    plain = result_of_hits(study, [[5, 6, 5, 4, 5, 5, 5, 5]], "M", epochs=8)
    alone = gather(study, [plain], [], "standard")
    for name in ("tuning-epochs", "tuning-critical"):
        found = against_runs(claims[name], alone)
        assert found.verdict == "not testable here" and not found.effects
        assert "no search for hyperparameters of model1 is stored" in found.summary


def test_no_claim_is_judged_on_unequal_budgets(study, claims, search):
    plain = result_of_hits(study, [[5, 6, 5, 4, 5, 5, 5, 5]], "M", epochs=8)

    def tuned(untuned_epochs):
        searched = replace(search, default_epochs=untuned_epochs)
        evidence = gather(study, [plain], [], "standard", {"model1": searched})
        return against_runs(claims["tuning-critical"], evidence)

    assert (
        tuned(4).effects[0].value == 0
    )  # the trial that is best after six epochs may not be taken
    assert "did not try the untuned settings" in tuned(5).missing[0].reason


def test_subsets_that_share_mines_are_drawn_once(study, claims):
    """Two subsets of the same mines and the same lead: their draws are the same."""
    mines = tuple(mines_of(study.dataset))
    splits = []
    for row, hits, of_subset in (
        *(("RR", BETTER, mines), ("GRR", WORSE, mines)),
        *(("OP", BETTER, mines[:5]), ("GOP", WORSE, mines[:5])),
        *(("CL", BETTER, mines[:5]), ("GCL", WORSE, mines[:5])),
    ):
        result = result_of_hits(study, [hits], "RGB", row)
        splits.append(Result(Entry("model1", row, result.entry.config, of_subset), result.runs))
    evidence = gather(study, [], splits, "standard")
    drawn = {
        row: evidence.find(4, {"model": "model1", "split": row}).resampled[:, 0]
        for row in ("RR", "OP", "CL")
    }
    known = ~np.isnan(drawn["OP"])
    assert (drawn["OP"][known] == drawn["CL"][known]).all()
    assert np.corrcoef(drawn["RR"][known], drawn["OP"][known])[0, 1] > 0.5


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("provenance.json", '"dataset_hash": "', '"dataset_hash": "x', "counts are of other data"),
        ("provenance.json", '"split_hash": "', '"split_hash": "x', "counts are of other data"),
        (
            "config.json",
            '"task": "model1"',
            '"task": "model2"',
            "is of task 'model2', not 'model1'",
        ),
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
    ledger = judge(chosen, banded(**five("M", WORSE, hits=BETTER)))
    assert list(ledger.table()["runs"]) == ["supported", "not testable here"]
    assert ledger.table()["synthetic"].all()
    assert ledger.evidence_about_real_mines == 0
    assert ledger.counts("runs").loc["3.1 Band configuration", "supported"] == 1
    real = ledger.__class__(ledger.judged, "d", False)
    assert real.evidence_about_real_mines == 1


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
