import numpy as np
import pandas as pd
import pytest

from minseg.report.mine_tables import (
    claim_table,
    condition_table,
    explanation_table,
    limits,
    mine_table,
    paper_mine_table,
    same_mine,
    scene_line,
)
from minseg.study.error_shares import condition_shares
from minseg.study.explanations import SNOW, WITHIN_1_PX, explain
from minseg.study.mine_claims import claims
from minseg.study.mine_scores import choose_mines, mine_scores
from tests.study.predicted import rectangle, write_mines, write_predictions

PIT, DUMP = rectangle(4, 4, 12, 12), rectangle(20, 4, 8, 8)
NAMES = ["", "", "", "", "Agarak mine", "Elsewhere"]


@pytest.fixture
def make(tmp_path):
    def make(**dataset):
        labels = [{"excavation": PIT, "dumping ground": DUMP}] * 2
        mines = write_mines(tmp_path / "d", labels, name=NAMES, **dataset)
        predicted = {"excavation": rectangle(5, 4, 12, 12) | rectangle(20, 4, 8, 4)}
        run = write_predictions(tmp_path / "run", mines, "model1", [predicted, {}])
        return run, mines

    return make


def shown(run, mines):
    return mine_table(mine_scores(run), mines, "model1", choose_mines(run, mines))


def test_the_papers_row_stands_beside_the_same_mine_only(make):
    table = shown(*make(synthetic=False)).data
    assert table.loc[("Agarak mine", "excavation"), "paper"].to_list() == [
        0.674,
        0.92,
        0.7161,
        0.674,
    ]
    assert table.loc["Elsewhere", "paper"].isna().all(axis=None)
    # The task's other class is neither there nor predicted.
    assert table.index.to_list() == [("Agarak mine", "excavation"), ("Elsewhere", "excavation")]
    ours = table.loc[("Agarak mine", "excavation"), "ours"]
    assert ours.to_list() == pytest.approx([132 / 188, 132 / 144, 132 / 176, 132 / 188])
    assert table[("", "shown as")].to_list() == ["best IoU", "median IoU; worst IoU"]


def test_the_papers_row_never_stands_beside_a_synthetic_mine(make):
    styler = shown(*make())
    assert set(styler.data.columns.get_level_values(0)) == {"", "ours"}
    html = styler.to_html()
    assert "synthetic" in html
    assert "0.702" in html  # 132 / 188
    assert "–" in html  # precision of the mine in which nothing is predicted


@pytest.mark.parametrize(
    ("name", "location", "same"),
    [
        ("Globe–Miami Mining District", "Globe-Miami", True),
        ("Bor", "Bor Mine", True),
        ("Bor Mine", "Bor Mine", True),
        ("Borovichi", "Bor Mine", False),
        ("Miami", "Globe-Miami", False),
    ],
)
def test_names_of_the_same_mine(name, location, same):
    assert same_mine(name, location) == same


def test_the_papers_rows_as_printed():
    html = paper_mine_table("model1").to_html()
    assert "Table 6" in html
    for text in ("0.7161", "0.920", "Cordero Rojo", "#888888"):
        assert text in html
    assert paper_mine_table("dam").data.shape == (2, 4)
    assert paper_mine_table("stockpile").data.empty
    paper_mine_table("stockpile").to_html()


def test_what_explains_a_mine_in_words(make):
    run, mines = make()
    explanations = explain(run, mines)
    table = explanation_table(explanations, "mine-4")
    assert list(table.columns) == ["excavation"]  # the other class is neither there nor predicted
    text = table["excavation"]
    assert text["pixels in error"] == "5.5%"  # 56 of 1024
    # 32 of 44 false positives lie on the dump, 12 on nothing.
    assert text["false positives lie on"] == "dumping ground 73%, no annotated class 27%"
    assert text["missed pixels are predicted as"] == "background 100%"
    assert text[f"error {WITHIN_1_PX}"] == "43% (9.0%)"  # 24 of 56, 92 of 1024
    assert text["objects less than 50% found"] == "0 of 1; found: 1.4 ha"
    missed = explanation_table(explanations, "mine-5")["excavation"]
    assert missed["false positives lie on"] == "no such pixels"
    assert missed["objects less than 50% found"] == "1 of 1; missed: 1.4 ha"


def test_shares_and_claims_in_words(make):
    run, mines = make()
    explanations = explain(run, mines)
    table = condition_table(condition_shares(explanations), synthetic=True)
    assert table.columns.name == "synthetic"
    assert table.loc[("excavation", "on another mining class"), "share of the error"] == "16%"
    words = claim_table(claims(run, explanations))
    row = words.loc[("4.1", "False positives of excavations lie on dumps")]
    assert row["value"] == "73%"
    assert row["mines"] == 1
    assert row["95 % interval over mines"] == "–"
    assert row["beside"].endswith(": 7.3%")
    assert row["difference, points"] == "+65"  # of one mine, so without an interval
    assert claim_table(claims(run, explanations).iloc[:0]).empty


def test_what_cannot_be_told_is_said(make):
    run, mines = make(
        class_names=("excavation", "preparatory work area"), bands=("B02", "B03", "B04")
    )
    explanations = explain(run, mines)
    notes = limits(explanations)
    assert "Nobody annotated dumping ground, stockpile" in notes
    assert notes.count("The dataset lacks") == 2
    text = explanation_table(explanations, "mine-4")["excavation"]
    assert text[f"error {SNOW}"] == "cannot be told"
    assert "water –" in scene_line(explanations, "mine-4")


def test_nothing_to_say(make):
    run, mines = make()
    assert limits(explain(run, mines)) == ""
    assert isinstance(condition_table(condition_shares(explain(run, mines))), pd.DataFrame)
    assert not np.isnan(condition_shares(explain(run, mines))["first_share"].iloc[0])
