import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from minseg.report.cleaning_figures import cleaning_figure
from minseg.study.cleaning_effect import EFFECT_COLUMNS, RULES
from tests.report.conftest import draw, notes, row_names

CLEAR, OPEN = "#0072b2", "#8fbbd9"
SMOOTHING, MINIMUM, ADJACENCY, ALL = RULES


def line(run, rule, difference, low, high, task="model1", bands="RGB"):
    return dict(
        zip(
            EFFECT_COLUMNS,
            (run, task, bands, rule, 1, 9, 0.456, difference, low, high, low > 0 or high < 0, 0.01),
            strict=True,
        )
    )


TABLE = pd.DataFrame(
    [
        line("b", SMOOTHING, -0.02, -0.03, -0.01, "model2", "M"),
        line("b", MINIMUM, 0.004, -0.001, 0.01, "model2", "M"),
        line("b", ALL, 0.001, -0.001, 0.01, "model2", "M"),
        line("a", SMOOTHING, 0.01, 0.005, 0.02),
        line("a", MINIMUM, 0.0, 0.0, 0.0),
        line("a", ADJACENCY, 0.02, 0.01, 0.03),
        line("a", ALL, 0.025, 0.01, 0.05),
    ]
)


def drawn(axes):
    """From row to (difference, low, high, colour)."""
    points = {
        round(y): (x, to_hex(dots.get_facecolor()[0]))
        for dots in axes.collections
        if not isinstance(dots, LineCollection)
        for x, y in dots.get_offsets()
    }
    spans = {
        round(segment[0, 1]): tuple(segment[:, 0])
        for lines in axes.collections
        if isinstance(lines, LineCollection)
        for segment in lines.get_segments()
    }
    return {row: (x, *spans[row], colour) for row, (x, colour) in points.items()}


def test_each_rule_is_a_row_with_its_difference_and_interval():
    second, first = draw(cleaning_figure(TABLE)).axes
    assert first.get_title(loc="left") == "Model 1, RGB: IoU 0.46 as predicted"
    assert second.get_title(loc="left") == "Model 2, M: IoU 0.46 as predicted"
    assert row_names(second) == list(RULES)  # the left panel, whose rows both have
    assert drawn(first) == {
        0: (0.01, 0.005, 0.02, CLEAR),
        1: (0, 0, 0, OPEN),
        2: (0.02, 0.01, 0.03, CLEAR),
        3: (0.025, 0.01, 0.05, CLEAR),
    }
    assert drawn(second) == {
        0: (-0.02, -0.03, -0.01, CLEAR),
        1: (0.004, -0.001, 0.01, OPEN),
        3: (0.001, -0.001, 0.01, OPEN),
    }
    assert (notes(first), notes(second)) == ([], ["does not apply"])


def test_the_zero_line_is_there_and_in_sight():
    helped = TABLE[TABLE["run"] == "a"].assign(low=0.01, difference=0.02, high=0.03)
    (axes,) = draw(cleaning_figure(helped)).axes
    zero = next(line for line in axes.lines if list(line.get_xdata()) == [0, 0])
    left, right = axes.get_xlim()
    assert left <= 0 < right
    assert to_hex(zero.get_color()) == "#555555"


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_results_say_so(synthetic):
    for table in (TABLE, TABLE.iloc[:0]):
        texts = [text.get_text() for text in draw(cleaning_figure(table, synthetic)).texts]
        title = cleaning_figure(table, synthetic).get_suptitle()
        assert (("SYNTHETIC" in texts) or (title == "SYNTHETIC")) == synthetic


def test_intervals_that_are_not_known_leave_the_difference():
    table = TABLE.assign(low=np.nan, high=np.nan)
    assert [axes.get_title(loc="left")[:7] for axes in draw(cleaning_figure(table)).axes] == [
        "Model 2",
        "Model 1",
    ]
