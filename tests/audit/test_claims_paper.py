import shutil

import pandas as pd
import pytest

from minseg import MinsegError
from minseg.audit.claims import read_claims, select
from minseg.audit.claims_ledger import against_paper
from minseg.audit.claims_paper import PAPER_TESTS
from minseg.study import paper


@pytest.fixture(scope="module")
def claims():
    return {one.id: one for one in read_claims()}


@pytest.fixture(scope="module")
def findings(claims):
    return {name: against_paper(one) for name, one in claims.items()}


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A copy of the printed tables, whose cells a test may change: line, old and new text."""
    folder = tmp_path / "paper"
    shutil.copytree(paper.PAPER_FOLDER, folder)
    monkeypatch.setattr(paper, "PAPER_FOLDER", folder)

    def change(number, row, old, new):
        path = folder / f"table{number}.csv"
        lines = path.read_text(encoding="utf-8").splitlines()
        (line,) = (k for k, text in enumerate(lines) if text == f"{row},{old}")
        lines[line] = f"{row},{new}"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return line + 1

    return change


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
        ("splits-model1-all", "fails", (6, 8)),
        ("splits-recall", "fails", (2, 4)),
        ("bands-rn-model2", "fails", (3, 4)),
        ("bands-model3-all", "holds", (12, 12)),
        ("bands-nir-all-metrics", "holds", (6, 8)),
        ("tuning-learning-rate", "fails", (3, 4)),
        ("conclusions-types-not-better", "fails", (10, 12)),
        ("discussion-splits-no-gain", "not decidable", (21, 24)),
        ("mines-rudnichny-best", "fails", (8, 9)),
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


@pytest.mark.parametrize(
    ("claim", "number", "row", "old", "new", "before", "after"),
    [
        ("bands-rn-model2", 3, "RGB,model2,iou", "0.644", "0.642", "fails", "holds"),
        ("bands-model1-m", 3, "M,model1,iou", "0.710", "0.690", "holds", "fails"),
        ("bands-nir-iou", 3, "R+N,model4,iou", "0.843", "0.833", "holds", "fails"),
        ("abstract-fusion", 3, "R+N+S,model1,iou", "0.699", "0.599", "not decidable", None),
        ("splits-model1-iou", 4, "OP,model1,iou", "0.739", "0.709", "holds", "fails"),
        ("splits-only-two-exceptions", 4, "MT,model4,iou", "0.828", "0.818", "fails", None),
        ("splits-only-two-exceptions", 4, "MT,model4,iou", "0.828", "0.808", "fails", "holds"),
        ("tuning-epochs", 5, "Model 2,model2,epochs,200", "200", "100", "holds", "fails"),
        (
            "mines-tunstead-missed",
            6,
            "Tunstead,excavation,recall",
            "0.522",
            "0.922",
            "holds",
            "fails",
        ),
        ("splits-sample-size", 2, "OP,model1,train", "639", "139", "holds", "fails"),
        ("abstract-images", 2, "All,model4,train", "1127", "2127", "fails", "holds"),
        ("conclusions-accuracy", 3, "RGB,model4,accuracy", "0.978", "0.958", "fails", "holds"),
    ],
)
def test_one_digit_changes_the_verdict_it_should_and_no_other_claim(
    claims, findings, tables, claim, number, row, old, new, before, after
):
    assert findings[claim].verdict == before
    line = tables(number, row, old, new)
    changed = {name: against_paper(one) for name, one in claims.items()}
    assert changed[claim].verdict == (after or before)
    assert changed[claim] != findings[claim]
    for name, one in claims.items():
        rests_on_it = any(
            ((rows["table"] == number) & (rows["line"] == line)).any() for rows in select(one)
        )
        if not rests_on_it:
            assert changed[name] == findings[name]


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
    assert PAPER_TESTS["close"](rows, of="bands", by=0.01).verdict == "fails"
    assert PAPER_TESTS["close"](rows, of="bands", by=0.0101).verdict == "holds"
    assert PAPER_TESTS["above"](rows, of="bands", pairs=[["RGB", "M"]], by=0.01).verdict == "fails"


def test_a_tie_is_not_above():
    rows = rows_of(RGB=0.7, M=0.7)
    assert PAPER_TESTS["highest"](rows, of="bands", row="M").verdict == "fails"
    assert PAPER_TESTS["no_gain"](rows, of="bands", pairs=[["M", "RGB"]]).verdict == "holds"


def test_rows_that_a_test_asks_for_in_vain():
    rows = rows_of(RGB=0.7, M=0.6)
    with pytest.raises(MinsegError, match="no rows to compare bands M and R"):
        PAPER_TESTS["above"](rows, of="bands", pairs=[["M", "RGB"], ["M", "R+N"]])
    with pytest.raises(MinsegError, match=r"bands R\+N: 0 of them among RGB, M"):
        PAPER_TESTS["highest"](rows, of="bands", row="R+N")


def test_a_wrong_parameter_is_told_with_the_ledger_s_line(claims):
    claim = claims["bands-model1-m"]
    wrong = claim.test_paper.model_copy(update={"parameters": {"of": "bands", "row": "N"}})
    with pytest.raises(MinsegError, match=r"claims\.yaml:\d+: bands N: 0 of them"):
        against_paper(claim.model_copy(update={"test_paper": wrong}))
