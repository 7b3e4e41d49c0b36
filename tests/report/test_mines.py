import numpy as np
import pandas as pd
import pytest

from minseg.report.mines import (
    CONDITION_COLOURS,
    claim_table,
    condition_figure,
    condition_table,
    explanation_table,
    limits,
    mine_table,
    object_figure,
    paper_mine_table,
    same_mine,
    scene_line,
    why_figure,
)
from minseg.study.errors import (
    CONDITIONS,
    SNOW,
    UNEXPLAINED,
    WITHIN_1_PX,
    choose_mines,
    claims,
    condition_shares,
    explain,
    mine_scores,
)
from tests.report.conftest import draw, entries, notes, row_names
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


PIT_EXPLANATION_FIGURES, DUMP_EXPLANATION_FIGURES, PONDS = (
    rectangle(4, 4, 12, 12),
    rectangle(20, 4, 8, 8),
    rectangle(26, 26, 2, 2),
)


@pytest.fixture
def make_explanation_figures(tmp_path):
    def make_explanation_figures(predictions, task="model1", **dataset):
        labels = {
            "excavation": PIT_EXPLANATION_FIGURES | PONDS,
            "dumping ground": DUMP_EXPLANATION_FIGURES,
        }
        mines = write_mines(tmp_path / "d", [labels] * len(predictions), **dataset)
        return explain(write_predictions(tmp_path / "run", mines, task, predictions), mines)

    return make_explanation_figures


SHIFTED = {"excavation": rectangle(5, 4, 12, 12) | rectangle(20, 4, 8, 4)}


def test_why_on_one_mine(make_explanation_figures):
    figure = draw(
        why_figure(make_explanation_figures([SHIFTED]), "mine-4", "A mine", synthetic=True)
    )
    ground, boundary, sizes = figure.axes
    assert row_names(ground) == ["excavation"]
    columns = [label.get_text() for label in ground.get_xticklabels()]
    assert columns == ["dumping ground", "no annotated class"]
    assert ground.images[0].get_array().tolist() == [pytest.approx([32 / 44, 12 / 44])]
    widths = [bars[0].get_width() for bars in boundary.containers]
    # 24 of 60 errors at the pit's edge and the 2 × 2 object within 1 px of its own; the dump far.
    assert widths == pytest.approx([28 / 60, 0, 32 / 60])
    places = sizes.collections[0].get_offsets()
    assert sorted(map(tuple, places.round(2).tolist())) == [(0.04, 0.0), (1.44, 0.92)]
    assert any(text.get_text() == "SYNTHETIC" for text in figure.texts)


def test_why_without_errors_and_without_false_positives(make_explanation_figures):
    found = make_explanation_figures(
        [{"excavation": PIT_EXPLANATION_FIGURES | PONDS}, {"excavation": PIT_EXPLANATION_FIGURES}]
    )
    ground, boundary, _ = draw(why_figure(found, "mine-4", "")).axes
    assert notes(boundary) == ["no errors"]
    assert "no false positives" in notes(ground)
    ground, boundary, _ = draw(why_figure(found, "mine-5", "")).axes
    assert notes(boundary) == []
    assert "no false positives" in notes(ground)


def test_conditions_over_all_mines(make_explanation_figures):
    shares = condition_shares(
        make_explanation_figures([SHIFTED, {"excavation": PIT_EXPLANATION_FIGURES}])
    )
    left, right = draw(condition_figure(shares)).axes
    assert row_names(left) == list(CONDITIONS)
    assert row_names(right) == ["all classes", "excavation", "preparatory work area"]
    assert notes(right) == ["no errors"]
    assert entries(right) == [*CONDITIONS[:-1], UNEXPLAINED]
    ends = [sum(bars[row].get_width() for bars in right.containers) for row in range(3)]
    assert ends == pytest.approx([1, 1, 0])
    dots = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "o"]
    of_all = shares[shares["class"] == "all classes"].set_index("condition")["value"]
    assert dots == pytest.approx(of_all[list(CONDITIONS)].tolist())


def test_what_the_dataset_cannot_tell_is_said_in_the_figure(make_explanation_figures):
    found = make_explanation_figures([SHIFTED], bands=("B02", "B03", "B04"))
    left = draw(condition_figure(condition_shares(found))).axes[0]
    assert notes(left) == ["cannot be told here"] * 2  # snow and water
    assert set(CONDITION_COLOURS) == {*CONDITIONS, UNEXPLAINED}


def test_objects_by_size(make_explanation_figures):
    found = make_explanation_figures([SHIFTED] * 5)
    axes = draw(object_figure(found.objects, synthetic=True)).axes[0]
    assert axes.get_xscale() == "log"
    assert len(axes.collections[0].get_offsets()) == 10
    steps = [
        line for line in axes.lines if np.ptp(line.get_xdata()) > 0 and len(line.get_xdata()) == 2
    ]
    shares = {round(line.get_ydata()[0], 3) for line in steps if line.get_linewidth() > 2}
    assert shares == {0.0, 1.0}  # five small ones missed, five large ones found


def test_no_objects_at_all(make_explanation_figures):
    found = make_explanation_figures([{}], task="stockpile")
    assert found.objects.empty
    axes = draw(object_figure(found.objects)).axes[0]
    assert "none there" in notes(axes)
    draw(condition_figure(condition_shares(found)))
