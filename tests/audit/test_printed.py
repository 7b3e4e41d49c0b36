import csv
import math
import shutil

import pandas as pd
import pytest

from minseg import MinsegError
from minseg.audit.ledger import against_paper, judge_print, read_claims, select
from minseg.audit.printed import PAPER_TESTS, PAPER_VERDICTS, Compared, weigh
from minseg.study.paper import PAPER_FOLDER, open_points, paper_statements
from minseg.study.tuning import SearchSpace


@pytest.fixture(scope="module")
def claims():
    return {one.id: one for one in read_claims()}


@pytest.fixture(scope="module")
def findings(claims):
    return {name: against_paper(one) for name, one in claims.items()}


@pytest.fixture
def folder(tmp_path):
    """A copy of the transcribed paper that a test may change."""
    return shutil.copytree(PAPER_FOLDER, tmp_path / "paper")


def change(folder, name, values):
    """Give rows of a file, named by their first cells, another last number; return the lines."""
    path = folder / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    column = header.index("images" if "images" in header else "value")
    changed = []
    for start, value in values.items():
        key = start.split(",")
        (number,) = (k for k, row in enumerate(rows) if row[: len(key)] == key)
        rows[number][column] = value
        changed.append(number + 2)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return changed


def numbers(finding):
    """How many comparisons are as claimed, and of how many."""
    return sum(one.as_claimed for one in finding.comparisons), len(finding.comparisons)


@pytest.mark.parametrize(
    ("claim", "verdict", "as_claimed"),
    [  # counted by hand from the print
        ("abstract-iou-range", "fails", (16, 48)),
        ("results-one-averaging", "fails", (36, 68)),  # Model 1 breaks it in 15 rows, Model 3 in 17
        ("splits-single-superior-all", "fails", (25, 32)),
        ("splits-only-two-exceptions", "fails", (15, 16)),
        ("splits-general-nearly-all", "holds in part", (66, 96)),
        ("splits-model1-all", "holds in part", (6, 8)),
        ("splits-recall", "holds in part", (2, 4)),
        ("splits-model4-negligible", "holds in part", (4, 8)),
        ("bands-rn-model2", "fails", (3, 4)),
        ("bands-model3-all", "holds", (12, 12)),
        ("bands-nir-all-metrics", "holds", (6, 8)),
        ("tuning-learning-rate", "fails", (3, 4)),
        ("conclusions-types-not-better", "fails", (10, 12)),
        ("discussion-splits-no-gain", "not decidable", (21, 24)),
        ("mines-rudnichny-best", "holds in part", (8, 9)),
    ],
)
def test_verdicts_on_the_print(findings, claim, verdict, as_claimed):
    found = findings[claim]
    assert (found.verdict, numbers(found)) == (verdict, as_claimed)


def test_arithmetic_is_made_of_the_printed_numbers(findings):
    found = findings["bands-rn-model2"]
    assert found.comparisons[0].name == "Model 2, IoU: R+N − RGB"
    assert found.comparisons[0].arithmetic == "0.643 − 0.644 = −0.001"
    assert "R+N − RGB (0.643 − 0.644 = −0.001)" in found.summary
    counted = findings["abstract-images"].comparisons[3]
    assert counted.arithmetic == "1,127 + 7 × (39 + 41) = 1,687, of which 1,207 were used"
    four_decimals = findings["mines-excavation-false-positives"].comparisons[1]
    assert four_decimals.arithmetic == "0.920 − 0.7161 = +0.2039"


AS_PRINTED = {
    "holds": {
        *("data-split-ratio", "data-channels", "mines-test-areas", "splits-averages"),
        *("bands-model3-all", "bands-nir-all-metrics", "tuning-epochs", "mines-cerovo-recall"),
        "splits-volume",
    },
    "holds in part": {
        *("data-images-a-mine", "data-labels", "data-radar-channels", "data-trials-optimal"),
        *("bands-rn-resolution", "mines-figure-order", "conclusions-accuracy"),
        "discussion-small-objects",
    },
    "fails": {
        *("abstract-images", "abstract-mines", "data-subsets-add-up", "bands-rn-all-metrics"),
        *("data-split-ratio-of-subsets", "tuning-headings", "mines-captions"),
        *("mines-one-class-iou", "abstract-channels-degrade", "conclusions-rr-oc"),
        *("conclusions-rr-oc-sample", "tuning-learning-rate", "bands-model1-others"),
    },
    "not stated": {
        *("data-union-has-most", "data-general-whole", "data-one-general-model"),
        *("results-one-accuracy", "results-binary-iou", "results-more-of-both"),
        *("results-transformed-share", "splits-average-weights"),
    },
    "not decidable": {"abstract-fusion", "discussion-splits-no-gain", "mines-snow"},
}


def test_verdicts_of_each_kind(findings):
    assert set(AS_PRINTED) == set(PAPER_VERDICTS)
    for verdict, names in AS_PRINTED.items():
        for name in names:
            assert findings[name].verdict == verdict, name
    not_stated = {name for name, one in findings.items() if one.verdict == "not stated"}
    assert not_stated == AS_PRINTED["not stated"]


def test_numbers_that_were_worked_out_by_hand(findings):
    said = {name: one.summary for name, one in findings.items()}
    assert "1,207" in said["abstract-images"] and "1,687" in said["abstract-images"]
    assert said["splits-averages"].startswith("62 cells are the mean")
    assert "14,580" in said["data-trials-optimal"] and "1.4%" in said["data-trials-optimal"]
    assert "Buenavista, tailing storage facility" in said["mines-one-class-iou"]
    assert "RR, Model 3; MT, Model 1" in said["data-split-ratio-of-subsets"]
    assert "R+N against RGB" in said["results-more-of-both"]
    assert said["results-transformed-share"].endswith("from the others: RGB, Model 4.")
    assert said["data-union-has-most"].startswith("In 4 cells")
    surplus = [o for o in findings["data-subsets-add-up"].comparisons if "Model 3" in o.name]
    assert [one.value for one in surplus if "test" in one.name] == [12, 1]


@pytest.mark.parametrize(
    ("claim", "file", "values", "before", "after"),
    [
        ("bands-rn-model2", "table3", {"RGB,model2,iou": "0.642"}, "fails", "holds"),
        ("bands-model1-m", "table3", {"M,model1,iou": "0.690"}, "holds", "fails"),
        ("bands-nir-iou", "table3", {"R+N,model4,iou": "0.833"}, "holds", "fails"),
        ("abstract-fusion", "table3", {"R+N+S,model1,iou": "0.599"}, "not decidable", None),
        ("splits-model1-iou", "table4", {"OP,model1,iou": "0.709"}, "holds", "fails"),
        ("splits-only-two-exceptions", "table4", {"MT,model4,iou": "0.818"}, "fails", None),
        ("splits-only-two-exceptions", "table4", {"MT,model4,iou": "0.808"}, "fails", "holds"),
        ("tuning-epochs", "table5", {"Model 2,model2,epochs": "100"}, "holds", "fails"),
        (
            "mines-tunstead-missed",
            "table6",
            {"Tunstead,excavation,recall": "0.922"},
            "holds",
            "fails",
        ),
        ("splits-sample-size", "table2", {"OP,model1,train": "139"}, "holds", "fails"),
        ("abstract-images", "table2", {"All,model4,train": "2127"}, "fails", "holds"),
        ("abstract-images", "table2", {"All,model4,train": "1527"}, "fails", "not stated"),
        ("mines-test-areas", "table2", {"All,model1,test": "39"}, "holds", "fails"),
        ("data-split-ratio", "table2", {"All,model1,test": "98"}, "holds", "fails"),
        ("data-union-has-most", "table2", {"OP,model1,train": "649"}, "not stated", "fails"),
        ("splits-averages", "table4", {"AVG GS,model1,iou": "0.719"}, "holds", "fails"),
        (
            *("mines-one-class-iou", "table8"),
            *({"Buenavista,tailing storage facility,iou": "0.612"}, "fails", "holds"),
        ),
        ("mines-captions", "statements", {"caption_locations_table7": "4"}, "fails", "holds"),
        (
            "conclusions-accuracy",
            "table3",
            {"RGB,model4,accuracy": "0.958"},
            "holds in part",
            "holds",
        ),
        (
            *("splits-model1-all", "table4"),
            {"RR,model1,precision": "0.718", "OP,model1,recall": "0.565"},
            *("holds in part", "holds"),
        ),
        ("conclusions-rr-oc", "table4", {"OC,model1,iou": "0.629"}, "fails", "holds"),
        (
            "tuning-learning-rate",
            "table5",
            {"Model 1,model4,learning_rate": "0.0001"},
            "fails",
            "holds",
        ),
        ("data-trials-optimal", "statements", {"trials": "20000"}, "holds in part", "holds"),
        (
            *("data-labels", "statements"),
            *({"model1_classes": "2", "model3_classes": "7"}, "holds in part", "holds"),
        ),
    ],
)
def test_a_changed_number_changes_the_verdict_it_should_and_no_other_claim(
    claims, findings, folder, claim, file, values, before, after
):
    assert findings[claim].verdict == before
    lines = change(folder, file, values)
    changed = {
        one.claim.id: one.paper for one in judge_print(tuple(claims.values()), folder).judged
    }
    assert changed[claim].verdict == (after or before)
    assert changed[claim] != findings[claim]
    table = int(file.removeprefix("table")) if file.startswith("table") else file
    for name, one in claims.items():
        rests_on_it = any(
            ((rows["table"] == table) & rows["line"].isin(lines)).any() for rows in select(one)
        )
        if not rests_on_it:
            assert changed[name] == findings[name]


def test_a_mended_heading(claims, folder):
    path = folder / "table5.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Model 1,model4", "Model 4,model4"), encoding="utf-8")
    assert against_paper(claims["tuning-headings"], folder).verdict == "holds"


def one_class_scores(tp, fp, fn, tn):
    """Scores of one class from its counts, as printed."""
    values = {
        "iou": tp / (tp + fp + fn),
        "recall": tp / (tp + fn),
        "precision": tp / (tp + fp),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
    }
    return {name: f"{value:.3f}" for name, value in values.items()}


BANDS = {
    "RGB": (182_000, 20_000),
    "R+N": (185_000, 21_000),
    "R+N+S": (187_000, 35_000),
    "M": (188_000, 32_000),
    "M+S": (186_000, 24_000),
}
"""True and false positives of five predictions."""


def test_scores_counted_over_all_pixels_pass_every_identity(claims, folder):
    """Five predictions of the same 200,000 of a million pixels, written as Model 4 of Table 3."""
    values = {
        f"{bands},model4,{metric}": text
        for bands, (tp, fp) in BANDS.items()
        for metric, text in one_class_scores(tp, fp, 200_000 - tp, 800_000 - fp).items()
    }
    change(folder, "table3", values)
    share = against_paper(claims["results-transformed-share"], folder)
    assert share.verdict == "holds"
    for one in share.comparisons:
        low, high = map(float, one.arithmetic.split(" to "))
        assert low <= 0.2 <= high
    both = against_paper(claims["results-more-of-both"], folder).comparisons
    assert all(one.as_claimed for one in both if one.name.startswith("Model 4: R"))
    binary = against_paper(claims["results-binary-iou"], folder).comparisons
    ours = [one for one in binary if one.name in {f"{bands}, Model 4" for bands in BANDS}]
    assert len(ours) == 5 and all(one.as_claimed for one in ours)


def test_what_a_share_and_a_verdict_in_its_place_mean():
    tests = PAPER_TESTS["above"](rows_of(RGB=0.7, M=0.6, S=0.5), of="bands", pairs=PAIRS)
    assert sum(one.as_claimed for one in tests.comparisons) == 2
    assert weigh(tests).verdict == "fails"
    assert weigh(tests, 0.6).verdict == "holds"
    assert weigh(tests, 1, "holds in part", 0.6).verdict == "holds in part"
    assert weigh(tests, 1, "holds in part", 0.7).verdict == "fails"
    assert weigh(tests, 1, "fails", 0, "{number} of {whole}, not {contrary}").summary == (
        "2 of 3, not Model 1, IoU: S − RGB"
    )
    assert weigh(Compared(tests.comparisons, verdict="not stated")).verdict == "not stated"


PAIRS = [["RGB", "M"], ["M", "S"], ["S", "RGB"]]


def test_the_search_space_is_that_of_the_search():
    known = paper_statements().set_index("name")["value"]
    tried = {
        name.removeprefix("tried_"): value for name, value in known.items() if "tried_" in name
    }
    assert tried == {name: len(values) for name, values in SearchSpace()}
    assert math.prod(tried.values()) == 14_580


def test_a_finding_that_names_no_fact_is_told_with_its_line(claims):
    claim = claims["abstract-images"].model_copy(update={"finding": "{nothing} at all"})
    with pytest.raises(MinsegError, match=r"ledger\.yaml:\d+: test images or its finding names"):
        against_paper(claim)


def test_a_missing_statement(claims, folder):
    path = folder / "statements.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("trials,section 3.3,200,trials\n", ""), encoding="utf-8")
    with pytest.raises(MinsegError, match="has no such row with name 'trials'"):
        against_paper(claims["data-trials-optimal"], folder)


def test_open_points_say_what_follows(folder):
    points = open_points()
    assert len(points) >= 20
    assert points["place"].str.contains("section|Table").all()
    path = folder / "open_points.csv"
    path.write_text("place,point,consequence\nsection 2.4,Loss,\n")
    with pytest.raises(MinsegError, match="row 2 column 'consequence': an empty cell"):
        open_points(folder)


def rows_of(**values):
    """Rows of Table 3: the IoU of Model 1 by bands."""
    lines = [
        {"table": 3, "line": k, "bands": name, "model": "model1", "metric": "iou", "value": value}
        for k, (name, value) in enumerate(values.items(), 2)
    ]
    return (pd.DataFrame(lines),)


def test_differences_of_printed_numbers_are_exact():
    assert 0.757 - 0.747 > 0.01  # in binary fractions
    rows = rows_of(RGB=0.757, M=0.747)
    assert weigh(PAPER_TESTS["close"](rows, of="bands", by=0.01)).verdict == "fails"
    assert weigh(PAPER_TESTS["close"](rows, of="bands", by=0.0101)).verdict == "holds"
    pairs = [["RGB", "M"]]
    assert weigh(PAPER_TESTS["above"](rows, of="bands", pairs=pairs, by=0.01)).verdict == "fails"


def test_a_tie_is_not_above():
    rows = rows_of(RGB=0.7, M=0.7)
    assert weigh(PAPER_TESTS["highest"](rows, of="bands", row="M")).verdict == "fails"
    assert weigh(PAPER_TESTS["no_gain"](rows, of="bands", pairs=[["M", "RGB"]])).verdict == "holds"


def test_rows_that_a_test_asks_for_in_vain():
    rows = rows_of(RGB=0.7, M=0.6)
    with pytest.raises(MinsegError, match="no rows to compare bands M and R"):
        PAPER_TESTS["above"](rows, of="bands", pairs=[["M", "RGB"], ["M", "R+N"]])
    with pytest.raises(MinsegError, match=r"bands R\+N: 0 of them among RGB, M"):
        PAPER_TESTS["highest"](rows, of="bands", row="R+N")


def test_a_wrong_parameter_is_told_with_the_ledger_s_line(claims):
    claim = claims["bands-model1-m"]
    wrong = claim.test_paper.model_copy(update={"parameters": {"of": "bands", "row": "N"}})
    with pytest.raises(MinsegError, match=r"ledger\.yaml:\d+: bands N: 0 of them"):
        against_paper(claim.model_copy(update={"test_paper": wrong}))
