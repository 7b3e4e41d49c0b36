from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from minseg.report import mines as pages
from minseg.study import errors, section4
from tests.report.conftest import draw, legend, row_names, texts
from tests.study.predicted import DUMP, PIT, rectangle, write_mines, write_predictions

SMALL_PIT = rectangle(26, 26, 2, 2)
SHIFTED = {"excavation": rectangle(5, 4, 12, 12) | rectangle(20, 4, 8, 4)}
NAMES = ["", "", "", "", "Agarak mine", "Elsewhere"]


@pytest.fixture
def make(tmp_path):
    """A run with the predictions given, and the mines, each with a pit, a dump and more."""

    def make(predictions=(SHIFTED, {}), task="model1", more=None, **dataset):
        labels = {"excavation": PIT if more is None else PIT | more, "dumping ground": DUMP}
        mines = write_mines(tmp_path / "d", [labels] * len(predictions), **dataset)
        return write_predictions(tmp_path / "run", mines, task, list(predictions)), mines

    return make


@pytest.fixture
def explained(make):
    """What explains the errors of the predictions given, on mines with a second, small pit."""
    return lambda *given, **dataset: errors.explain(*make(*given, more=SMALL_PIT, **dataset))


def shown(run, mines):
    return pages.mine_table(
        errors.mine_scores(run), mines, "model1", errors.choose_mines(run, mines)
    )


def test_the_papers_row_stands_beside_the_same_mine_only(make):
    table = shown(*make(synthetic=False, name=NAMES)).data
    printed = [0.674, 0.92, 0.7161, 0.674]
    assert table.loc[("Agarak mine", "excavation"), "paper"].to_list() == printed
    assert table.loc["Elsewhere", "paper"].isna().all(axis=None)
    # The task's other class is neither there nor predicted.
    assert table.index.to_list() == [("Agarak mine", "excavation"), ("Elsewhere", "excavation")]
    ours = table.loc[("Agarak mine", "excavation"), "ours"]
    assert ours.to_list() == pytest.approx([132 / 188, 132 / 144, 132 / 176, 132 / 188])
    assert table[("", "shown as")].to_list() == ["best IoU", "median IoU; worst IoU"]


def test_the_papers_row_never_stands_beside_a_synthetic_mine(make):
    styler = shown(*make(name=NAMES))
    assert set(styler.data.columns.get_level_values(0)) == {"", "ours"}
    html = styler.to_html()
    # 132 / 188, and the precision of the mine in which nothing is predicted
    assert "synthetic" in html and "0.702" in html and "–" in html


def test_mines_without_a_name_are_called_by_their_identifier(make):
    table = shown(*make()).data
    assert table.index.to_list() == [("mine-4", "excavation"), ("mine-5", "excavation")]


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
    assert pages.same_mine(name, location) == same


def test_the_papers_rows_as_printed():
    html = pages.paper_mine_table("model1").to_html()
    assert "Table 6" in html
    for text in ("0.7161", "0.920", "Cordero Rojo", "#888888"):
        assert text in html
    assert pages.paper_mine_table("dam").data.shape == (2, 4)
    assert pages.paper_mine_table("stockpile").data.empty
    pages.paper_mine_table("stockpile").to_html()


def test_a_mine_is_explained_in_words_and_two_sentences_and_all_of_them_in_two_lines(make):
    run, mines = make()
    explanations = errors.explain(run, mines)
    assert pages.limits(explanations) == ""
    table = pages.explanation_table(explanations, "mine-4")
    assert list(table.columns) == ["excavation"]  # the other class is neither there nor predicted
    text = table["excavation"]
    assert text["pixels in error"] == "5.5%"  # 56 of 1024
    # 32 of 44 false positives lie on the dump, 12 on nothing.
    assert text["false positives lie on"] == "dumping ground 73%, no annotated class 27%"
    assert text["missed pixels are predicted as"] == "background 100%"
    assert text[f"error {errors.WITHIN_1_PX}"] == "43% (9.0%)"  # 24 of 56, 92 of 1024
    assert text["objects less than 50% found"] == "0 of 1; found: 1.4 ha"
    missed = pages.explanation_table(explanations, "mine-5")["excavation"]
    assert missed["false positives lie on"] == "no such pixels"
    assert missed["objects less than 50% found"] == "1 of 1; missed: 1.4 ha"
    said = pages.mine_sentences(explanations, "mine-4")
    assert said.startswith(
        "Most errors are of excavation (5.5% of the pixels): false positives lie on dumping ground "
        "73%, no annotated class 27%; missed pixels are predicted as background 100%. Snow"
    )
    assert "of the pixels): missed pixels are" in pages.mine_sentences(explanations, "mine-5")
    score, wrong = pages.answer(run, errors.condition_shares(explanations)).splitlines()
    # 132 of 188 and 0 of 144 pixels; 24 of 56 and 80 of 144 errors are within 2 px.
    assert score.startswith("- **Score:** IoU 0.398 over all test mines, of single ones from 0.00 ")
    assert "52% of them lie within 2 px" in wrong
    # Of the other 96 errors 32 are on the dump, and nothing explains 64.
    assert wrong.endswith("the largest share lies under none of the conditions below (67%).")


def test_large_objects_are_written_in_hectares_not_in_powers_of_ten(explained):
    found = explained([SHIFTED])
    objects = pd.DataFrame({"area_ha": [123.0, 0.0231, 2345.0], "detected": [0.0, 0.9, 1.0]})
    objects = objects.assign(mine="mine-4", cut=False, **{"class": "excavation"})
    table = pages.explanation_table(replace(found, objects=objects), "mine-4")
    text = table.loc["objects less than 50% found", "excavation"]
    assert text == "1 of 3; missed: 120 ha; found: 0.023 to 2300 ha"


def test_shares_and_claims_in_words(make, synthetic):
    run, mines = make()
    explanations = errors.explain(run, mines)
    shares = errors.condition_shares(explanations)
    assert pages.answer(run, shares).startswith("- **Score on synthetic mines:** IoU")
    table = pages.condition_table(shares)
    assert table.columns.name == "synthetic"
    assert table.loc[("excavation", "on another mining class"), "share of the error"] == "16%"
    words = pages.claim_table(section4.claims(run, explanations))
    row = words.loc[("4.1", "False positives of excavations lie on dumps")]
    assert row["value"] == "73%"
    assert row["mines"] == 1
    assert row["95 % interval over mines"] == "–"
    assert row["beside"].endswith(": 7.3%")
    assert row["difference, points"] == "+65"  # of one mine, so without an interval
    assert pages.claim_table(section4.claims(run, explanations).iloc[:0]).empty


def test_what_cannot_be_told_is_said(explained):
    names = ("excavation", "preparatory work area")
    explanations = explained(class_names=names, bands=("B02", "B03", "B04"))
    notes = pages.limits(explanations)
    assert "Nobody annotated dumping ground, stockpile" in notes
    assert notes.count("The dataset lacks") == 2
    text = pages.explanation_table(explanations, "mine-4")["excavation"]
    assert text[f"error {errors.SNOW}"] == "cannot be told"
    assert "water –" in pages.mine_sentences(explanations, "mine-4")


def test_why_on_one_mine(explained, synthetic):
    figure = draw(pages.why_figure(explained([SHIFTED]), "mine-4"))
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
    assert texts(figure) == ["mine-4", "SYNTHETIC"]


def test_why_without_errors_and_without_false_positives(explained):
    found = explained([{"excavation": PIT | SMALL_PIT}, {"excavation": PIT}])
    ground, boundary, _ = draw(pages.why_figure(found, "mine-4")).axes
    assert texts(boundary) == ["no errors"]
    assert "no false positives" in texts(ground)
    ground, boundary, _ = draw(pages.why_figure(found, "mine-5")).axes
    assert texts(boundary) == []
    assert "no false positives" in texts(ground)


def test_conditions_over_all_mines(explained):
    shares = errors.condition_shares(explained([SHIFTED, {"excavation": PIT}]))
    left, right = draw(pages.condition_figure(shares)).axes
    assert row_names(left) == list(errors.CONDITIONS)
    assert row_names(right) == ["all classes", "excavation", "preparatory work area"]
    assert texts(right) == ["no errors"]
    assert legend(right) == [*errors.CONDITIONS[:-1], errors.UNEXPLAINED]
    ends = [sum(bars[row].get_width() for bars in right.containers) for row in range(3)]
    assert ends == pytest.approx([1, 1, 0])
    dots = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "o"]
    of_all = shares[shares["class"] == "all classes"].set_index("condition")["value"]
    assert dots == pytest.approx(of_all[list(errors.CONDITIONS)].tolist())
    assert set(pages.CONDITION_COLOURS) == {*errors.CONDITIONS, errors.UNEXPLAINED}


def test_objects_by_size(explained):
    found = explained([SHIFTED] * 5)
    axes = draw(pages.object_figure(found.objects)).axes[0]
    assert axes.get_xscale() == "log"
    assert len(axes.collections[0].get_offsets()) == 10
    steps = [
        line for line in axes.lines if np.ptp(line.get_xdata()) > 0 and len(line.get_xdata()) == 2
    ]
    shares = {round(line.get_ydata()[0], 3) for line in steps if line.get_linewidth() > 2}
    assert shares == {0.0, 1.0}  # five small ones missed, five large ones found


def test_what_is_not_there_is_said(explained):
    found = explained([{}], task="stockpile", bands=("B02", "B03", "B04"))
    assert found.objects.empty
    assert "none there" in texts(draw(pages.object_figure(found.objects)).axes[0])
    left = draw(pages.condition_figure(errors.condition_shares(found))).axes[0]
    assert texts(left).count("cannot be told here") == 2  # snow and water
