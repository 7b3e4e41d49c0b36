import pandas as pd
import pytest

from minseg.audit.averaging import paper_rows, with_identity
from minseg.report import averaging as pages
from minseg.study.paper import ROUNDING
from tests.report.conftest import draw, legend, markers, row_names, texts, titles

BREAKS, KEEPS = "#d55e00", "#0072b2"


def test_rows_that_break_the_identity_are_marked():
    paper = with_identity(paper_rows(), ROUNDING)
    figure = draw(pages.identity_figure(paper))
    assert titles(figure) == [f"Model {k}: {n} of 17" for k, n in enumerate((15, 0, 17, 0), 1)]
    third = paper[paper["task"] == "model3"].set_index("row")
    found = markers(figure.axes[2], BREAKS)
    names = row_names(figure.axes[0])
    assert {names[int(row)]: iou for iou, row in found} == pytest.approx(third["iou"].to_dict())
    assert markers(figure.axes[2], KEEPS) == []
    bars = [bar.get_width() for bar in figure.axes[2].patches]
    assert bars == pytest.approx(third["bound"][names].tolist())


def test_patterns_of_two_conventions(synthetic):
    paper = with_identity(paper_rows(), ROUNDING)
    rows = paper[(paper["task"] == "model3") & (paper["table"] == 3)]
    figure = draw(pages.pattern_figure(rows, {"standard": rows, "paper": rows.assign(iou=0.2)}))
    (axes,) = figure.axes
    expected = zip(rows["bound"], rows["iou"], strict=True)
    assert markers(axes, KEEPS) == sorted(expected, key=lambda place: place[1])
    assert legend(figure)[:3] == ["ours, standard", "ours, paper", "paper, Table 3"]
    assert figure.get_suptitle() == "SYNTHETIC"
    other = rows.assign(task="dam")
    (axes,) = draw(pages.pattern_figure(paper, {"standard": other})).axes
    assert axes.get_title(loc="left") == "dam"


def made_ranks(**ranks):
    lines = [
        ("model1", name, row, 0.5, rank)
        for row, of_row in ranks.items()
        for name, rank in zip(["standard", "paper"], of_row, strict=True)
    ]
    return pd.DataFrame(lines, columns=["task", "convention", "row", "iou", "rank"])


def test_ranks_are_lines_named_at_their_end_and_a_single_row_has_none():
    (axes,) = draw(pages.rank_figure(made_ranks(RGB=(1, 2.5), M=(2, 2.5), S=(3, 1)))).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[1, 2.5], [2, 2.5], [3, 1]]
    ends = {text.get_text(): text for text in axes.texts}
    assert ends["RGB"].xy == ends["M"].xy == (1, 2.5)
    assert not ends["RGB"].get_window_extent().overlaps(ends["M"].get_window_extent())
    assert texts(draw(pages.rank_figure(made_ranks(RGB=(1, 1))))) == ["no runs to show"]


def test_tables_of_the_print():
    paper = paper_rows()
    excluded = pages.excluded_table(paper)["Model 3"].tolist()
    assert excluded == [f"{rows} of 17" for rows in (17, 17, 11, 17)]
    ours = pd.DataFrame({"task": ["model3", "dam"], "empty": 0.4, "not_annotated": [0.5, 0.6]})
    shares = pages.empty_table(paper[paper["table"] == 3], ours)
    implied = ["0.39 to 0.45", "0.57 to 0.61", "0.55 to 0.62"]
    assert shares.loc["Model 3"].tolist() == [*implied, "0.40", "0.50"]
    assert shares.loc["dam"].tolist() == ["–", "–", "–", "0.40", "0.60"]


def test_equal_conventions_share_a_line():
    distances = pd.DataFrame(
        {"distance": [0.1, 0.1, 0.2], "agreeing": 3, "rows": 5, "model1": [2, 2, 1]},
        index=["first", "second", "third"],
    )
    found = pages.distance_table(distances)
    assert found.index.tolist() == ["first (and 1 more)", "third"]
    assert found.iloc[0].tolist() == ["0.100", "3 of 5 rows", "2"]
    assert len(pages.distance_table(distances, first=1)) == 1


def test_answer_says_what_breaks_and_whether_the_convention_matters(synthetic):
    printed = with_identity(paper_rows(), ROUNDING)
    ious = {"standard": (0.6, 0.5), "paper": (0.6, 0.7)}
    lines = [
        (name, "model1", row, iou)
        for name, pair in ious.items()
        for row, iou in zip(["RGB", "M"], pair, strict=True)
    ]
    ours = pd.DataFrame(lines, columns=["convention", "task", "row", "iou"])
    first, second = pages.averaging_answer(printed, ours).splitlines()
    assert "in 32 of 68 rows" in first
    assert "synthetic" in second and "best in 1 of 1 models" in second and "−1.0" in second
    assert "nothing to rank" in pages.averaging_answer(printed, ours[ours["row"] == "M"])
