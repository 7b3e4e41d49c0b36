import pandas as pd
import pytest

from minseg.audit.power import paper_mine_spreads
from minseg.report import power as pages
from tests.report.conftest import draw, markers, row_names, texts

ENOUGH, TOO_FEW = "#0072b2", "#d55e00"


@pytest.fixture
def spreads():
    index = pd.Index(["model1", "model2"], name="task")
    columns = {"pairs": 10, "low": 0.02, "high": [0.1, 0.02], "spread": [0.05, 0.02]}
    return pd.DataFrame(columns | {"resolvable": 0.01}, index=index)


@pytest.fixture
def needed(spreads):
    return pages.needed_mines(spreads, spreads)


def test_needed_mines_are_coloured_by_what_the_row_has(needed, synthetic):
    figure = draw(pages.needed_figure(needed))
    first = needed[needed["task"] == "model1"].set_index("row")
    axes = figure.axes[0]
    finite = first[first["needed"] < float("inf")]
    for colour, enough in ((ENOUGH, True), (TOO_FEW, False)):
        expected = finite.loc[finite["enough"] == enough, "needed"]
        dots = {row_names(axes)[int(row)]: number for number, row in markers(axes, colour)}
        assert dots == expected.to_dict()
    assert texts(axes) == ["printed as equal"]
    assert axes.get_xscale() == "log"
    assert row_names(axes)[:4] == ["best − second", "best − last", "best − RGB", "RR"]
    assert list(axes.lines[0].get_xdata()) == [38, 38]
    assert figure.get_suptitle() == "SYNTHETIC"


def test_answer_counts_the_differences_that_have_their_mines(needed, spreads, synthetic):
    first, second = pages.power_answer(needed, spreads).splitlines()
    assert f"{needed['enough'].sum()} of {len(needed)} printed differences" in first
    assert "on synthetic mines" in first
    assert second.endswith("resolve: **0.010** (Model 1), **0.010** (Model 2).")


def test_nothing_needed_is_said(needed, spreads):
    assert "nothing to compute" in pages.needed_table(needed.iloc[:0]).to_html()
    assert "nothing to compute" in pages.power_answer(needed.iloc[:0], spreads)
    assert texts(draw(pages.needed_figure(needed.iloc[:0]))) == ["no runs to show"]


def test_needed_mines_as_a_table(needed):
    shown = pages.needed_table(needed)
    table = shown.data
    assert table.loc["best − second", "Model 1"].tolist() == ["+0.011", "38", "160"]
    assert table.loc["AVG RR+MO+CL", ("Model 1", "needs")] == "no number"
    assert table.loc["RR", ("Model 1", "needs")] == "&lt; 10"
    assert table.loc["best − RGB", "Model 2"].tolist() == ["–", "–", "–"]  # RGB is best
    assert "font-weight: bold" in shown.to_html()


def test_spreads_as_tables(spreads, synthetic):
    found = pages.spread_table(spreads)
    assert found.loc["Model 1"].tolist() == [10, "0.020 to 0.100", "0.050", "0.010"]
    assert found.columns.name == "synthetic"
    own = pages.paper_spread_table(paper_mine_spreads())
    assert own.columns.name is None  # the paper's mines are no drawings
    assert own.index.tolist() == ["Model 1", "Model 2", "Model 3"]
    assert own["correlation needed"].str.fullmatch(r"0\.9\d{3}").all()
