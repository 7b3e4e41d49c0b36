import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from minseg import MinsegError
from minseg.audit.ledger import NamedTest, against_paper, judge_print
from minseg.audit.paper_tests import PAPER_TESTS, compared
from minseg.audit.printed import PAPER_VERDICTS, Compared, weigh
from minseg.study.paper import PAPER_FOLDER, open_points, paper_statements
from minseg.study.tuning import SearchSpace

VERDICTS = pd.read_csv(Path(__file__).with_name("verdicts.csv")).set_index("id")
"""What the print says of every claim: the verdict, and how many comparisons are as claimed."""


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
    table = pd.read_csv(path, dtype=str)
    starts, lines = table.agg(",".join, axis=1), []
    for start, value in values.items():
        (row,) = table.index[starts.str.startswith(f"{start},")]
        table.loc[row, "images" if "images" in table else "value"] = value
        lines.append(row + 2)
    table.to_csv(path, index=False)
    return lines


def test_verdicts_on_the_print(findings):
    found = pd.DataFrame(
        {
            "verdict": one.verdict,
            "as_claimed": sum(comparison.as_claimed for comparison in one.comparisons),
            "comparisons": len(one.comparisons),
        }
        for one in findings.values()
    ).set_axis(pd.Index(findings, name="id"))
    pd.testing.assert_frame_equal(found, VERDICTS)
    numbers = found["verdict"].value_counts()[list(PAPER_VERDICTS)]
    assert list(numbers) == [37, 13, 25, 8, 12]


def test_arithmetic_is_made_of_the_printed_numbers(findings):
    found = findings["bands-rn-model2"]
    assert found.comparisons[0].name == "Model 2, IoU: R+N − RGB"
    assert found.comparisons[0].arithmetic == "0.643 − 0.644 = −0.001"
    assert "R+N − RGB (0.643 − 0.644 = −0.001)" in found.summary
    counted = findings["abstract-images"].comparisons[3]
    assert counted.arithmetic == "1,127 + 7 × (39 + 41) = 1,687, of which 1,207 were used"
    four_decimals = findings["mines-excavation-false-positives"].comparisons[1]
    assert four_decimals.arithmetic == "0.920 − 0.7161 = +0.2039"
    assert findings["data-channels"].comparisons[0].arithmetic == "printed 4, elsewhere 3 + 1 = 4"


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


CHANGES = {  # claim, file, changed rows with their numbers, and the verdict then
    ("bands-rn-model2", "table3", "RGB,model2,iou=0.642", "holds"),
    ("bands-model1-m", "table3", "M,model1,iou=0.690", "fails"),
    ("bands-nir-iou", "table3", "R+N,model4,iou=0.833", "fails"),
    ("abstract-fusion", "table3", "R+N+S,model1,iou=0.599", "not decidable"),
    ("splits-model1-iou", "table4", "OP,model1,iou=0.709", "fails"),
    ("splits-only-two-exceptions", "table4", "MT,model4,iou=0.818", "fails"),
    ("splits-only-two-exceptions", "table4", "MT,model4,iou=0.808", "holds"),
    ("tuning-epochs", "table5", "Model 2,model2,epochs=100", "fails"),
    ("mines-tunstead-missed", "table6", "Tunstead,excavation,recall=0.922", "fails"),
    ("splits-sample-size", "table2", "OP,model1,train=139", "fails"),
    ("abstract-images", "table2", "All,model4,train=2127", "holds"),
    ("abstract-images", "table2", "All,model4,train=1527", "not stated"),
    ("mines-test-areas", "table2", "All,model1,test=39", "fails"),
    ("data-split-ratio", "table2", "All,model1,test=98", "fails"),
    ("data-union-has-most", "table2", "OP,model1,train=649", "fails"),
    ("splits-averages", "table4", "AVG GS,model1,iou=0.719", "fails"),
    ("mines-one-class-iou", "table8", "Buenavista,tailing storage facility,iou=0.612", "holds"),
    ("mines-captions", "statements", "caption_locations_table7=4", "holds"),
    ("conclusions-accuracy", "table3", "RGB,model4,accuracy=0.958", "holds"),
    ("splits-model1-all", "table4", "RR,model1,precision=0.718;OP,model1,recall=0.565", "holds"),
    ("conclusions-rr-oc", "table4", "OC,model1,iou=0.629", "holds"),
    ("tuning-learning-rate", "table5", "Model 1,model4,learning_rate=0.0001", "holds"),
    ("data-trials-optimal", "statements", "trials=20000", "holds"),
    ("data-labels", "statements", "model1_classes=2;model3_classes=7", "holds"),
}


def test_a_changed_number_changes_the_verdict_it_should(claims, findings, folder):
    printed = {path: path.read_bytes() for path in folder.iterdir()}
    for claim, file, values, verdict in sorted(CHANGES):
        change(folder, file, dict(one.split("=") for one in values.split(";")))
        found = against_paper(claims[claim], folder)
        assert found.verdict == verdict, (claim, values)
        assert found != findings[claim]
        (folder / f"{file}.csv").write_bytes(printed[folder / f"{file}.csv"])


def test_a_changed_number_changes_no_claim_that_does_not_rest_on_it(claims, findings, folder):
    lines = change(folder, "table3", {"R+N,model4,iou": "0.833", "M,model1,iou": "0.690"})
    changed = 0
    for one in judge_print(tuple(claims.values()), folder).judged:
        rests_on_it = any(
            ((rows["table"] == 3) & rows["line"].isin(lines)).any() for rows in one.rows
        )
        same = one.paper == findings[one.claim.id]
        assert same or rests_on_it, one.claim.id
        changed += not same
    assert 1 < changed < len(claims) / 2


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
    share, both, binary = (
        against_paper(claims[f"results-{name}"], folder)
        for name in ("transformed-share", "more-of-both", "binary-iou")
    )
    assert share.verdict == "holds"
    for one in share.comparisons:
        low, high = map(float, one.arithmetic.split(" to "))
        assert low <= 0.2 <= high
    assert all(one.as_claimed for one in both.comparisons if one.name.startswith("Model 4: R"))
    names = {f"{bands}, Model 4" for bands in BANDS}
    ours = [one for one in binary.comparisons if one.name in names]
    assert len(ours) == 5 and all(one.as_claimed for one in ours)


def test_what_a_share_and_a_verdict_in_its_place_mean():
    rows = rows_of(RGB=0.7, M=0.6, S=0.5)
    tests = compared(PAPER_TESTS["above"](rows, of="bands", pairs=PAIRS))
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


def test_what_a_test_cannot_use_is_told_with_the_ledger_s_line(claims, folder):
    claim = claims["abstract-images"].model_copy(update={"finding": "{nothing} at all"})
    with pytest.raises(MinsegError, match=r"ledger\.yaml:\d+: test images or its finding names"):
        against_paper(claim)
    claim = claims["bands-model1-m"]
    wrong = NamedTest(test="highest", of="bands", row="N")
    with pytest.raises(MinsegError, match=r"ledger\.yaml:\d+: bands N: 0 of them"):
        against_paper(claim.model_copy(update={"test_paper": wrong}))
    rows = rows_of(RGB=0.7, M=0.6)
    with pytest.raises(MinsegError, match="no rows to compare bands M and R"):
        compared(PAPER_TESTS["above"](rows, of="bands", pairs=[["M", "RGB"], ["M", "R+N"]]))
    path = folder / "statements.csv"
    path.write_text(path.read_text("utf-8").replace("trials,section 3.3,200,trials\n", ""), "utf-8")
    with pytest.raises(MinsegError, match="has no such row with name 'trials'"):
        against_paper(claims["data-trials-optimal"], folder)


def test_open_points_say_what_follows(folder):
    points = open_points()
    assert len(points) >= 20
    assert points["place"].str.contains("section|Table").all()
    path = folder / "open_points.csv"
    path.write_text("place,point,consequence\nsection 2.4,Loss,\n")
    with pytest.raises(MinsegError, match="row 2 column 'consequence'"):
        open_points(folder)


def rows_of(**values):
    """Rows of Table 3: the IoU of Model 1 by bands."""
    lines = [
        {"table": 3, "line": k, "bands": name, "model": "model1", "metric": "iou", "value": value}
        for k, (name, value) in enumerate(values.items(), 2)
    ]
    return (pd.DataFrame(lines),)


def test_differences_of_printed_numbers_are_exact_and_a_tie_is_not_above():
    assert 0.757 - 0.747 > 0.01  # in binary fractions
    rows, tie, pairs = rows_of(RGB=0.757, M=0.747), rows_of(RGB=0.7, M=0.7), [["RGB", "M"]]
    for name, of_rows, parameters, verdict in (
        ("close", rows, {"by": 0.01}, "fails"),
        ("close", rows, {"by": 0.0101}, "holds"),
        ("above", rows, {"pairs": pairs, "by": 0.01}, "fails"),
        ("highest", tie, {"row": "M"}, "fails"),
        ("no_gain", tie, {"pairs": pairs}, "holds"),
    ):
        found = compared(PAPER_TESTS[name](of_rows, of="bands", **parameters))
        assert weigh(found).verdict == verdict, name
