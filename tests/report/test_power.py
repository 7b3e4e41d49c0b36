import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from minseg.audit.power import paper_mine_spreads
from minseg.report.power import (
    needed_figure,
    needed_mines,
    needed_table,
    paper_spread_table,
    power_answer,
    spread_table,
)
from tests.report.conftest import draw, notes, row_names

ENOUGH, TOO_FEW = "#0072b2", "#d55e00"


@pytest.fixture
def spreads():
    index = pd.Index(["model1", "model2"], name="task")
    columns = {"pairs": 10, "low": 0.02, "high": [0.1, 0.02], "spread": [0.05, 0.02]}
    return pd.DataFrame(columns | {"resolvable": 0.01}, index=index)


@pytest.fixture
def needed(spreads):
    return needed_mines(spreads, spreads)


def dots(axes, colour):
    """Rows with a dot of a colour, and the number at it."""
    names = row_names(axes)
    return {
        names[int(row)]: number
        for one in axes.collections
        if isinstance(one, PathCollection) and to_hex(one.get_facecolor()[0]) == colour
        for number, row in one.get_offsets()
    }


def test_needed_mines_are_coloured_by_what_the_row_has(needed):
    figure = draw(needed_figure(needed, synthetic=True))
    first = needed[needed["task"] == "model1"].set_index("row")
    axes = figure.axes[0]
    finite = first[first["needed"] < float("inf")]
    for colour, enough in ((ENOUGH, True), (TOO_FEW, False)):
        expected = finite.loc[finite["enough"] == enough, "needed"]
        assert dots(axes, colour) == expected.to_dict()
    assert notes(axes) == ["printed as equal"]
    assert axes.get_xscale() == "log"
    assert row_names(axes)[:4] == ["best − second", "best − last", "best − RGB", "RR"]
    assert list(axes.lines[0].get_xdata()) == [38, 38]
    assert figure.get_suptitle() == "SYNTHETIC"


def test_answer_counts_the_differences_that_have_their_mines(needed, spreads):
    first, second = power_answer(needed, spreads, synthetic=True).splitlines()
    assert f"{needed['enough'].sum()} of {len(needed)} printed differences" in first
    assert "on synthetic mines" in first
    assert second.endswith("resolve: **0.010** (Model 1), **0.010** (Model 2).")


def test_nothing_needed_is_said(needed, spreads):
    assert "nothing to compute" in needed_table(needed.iloc[:0]).to_html()
    assert "nothing to compute" in power_answer(needed.iloc[:0], spreads, synthetic=False)
    words = [text.get_text() for text in draw(needed_figure(needed.iloc[:0])).texts]
    assert words == ["no runs to show"]


def test_needed_mines_as_a_table(needed):
    shown = needed_table(needed)
    table = shown.data
    assert table.loc["best − second", "Model 1"].tolist() == ["+0.011", "38", "160"]
    assert table.loc["AVG RR+MO+CL", ("Model 1", "needs")] == "no number"
    assert table.loc["RR", ("Model 1", "needs")] == "&lt; 10"
    assert table.loc["best − RGB", "Model 2"].tolist() == ["–", "–", "–"]  # RGB is best
    assert "font-weight: bold" in shown.to_html()


def test_spreads_as_tables(spreads):
    found = spread_table(spreads, synthetic=True)
    assert found.loc["Model 1"].tolist() == [10, "0.020 to 0.100", "0.050", "0.010"]
    assert found.columns.name == "synthetic"
    own = paper_spread_table(paper_mine_spreads())
    assert own.index.tolist() == ["Model 1", "Model 2", "Model 3"]
    assert own["correlation needed"].str.fullmatch(r"0\.9\d{3}").all()
