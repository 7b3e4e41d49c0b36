from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb

from minseg.data.labels import IGNORE, TASKS
from minseg.maps.change import CHANGES
from minseg.maps.class_map import ClassMap
from minseg.report.change import (
    account_table,
    change_area_figure,
    change_figure,
    check_table,
    cleaning_figure,
    two_years_figure,
)
from minseg.report.scenes import OPACITY
from minseg.study.change import (
    TwoYears,
    account_check,
    annotated,
    change_account,
    mines_with_two_years,
)
from minseg.study.cleaning import EFFECT_COLUMNS, RULES
from tests.report.conftest import draw, notes, row_names


@pytest.fixture(scope="module")
def true(dataset):
    return annotated(dataset, TASKS["model1"], mines_with_two_years(dataset))


@pytest.fixture(scope="module")
def account(true):
    (mine, *_) = true
    return change_account(true, true, mine).assign(task="model1")


def of_task(one, task, value):
    """The same mine by another task: a square of one class, farther right in the later year."""
    maps = []
    for left in (10, 30):
        classes = np.zeros_like(one.before.classes)
        classes[20:40, left : left + 20] = value
        maps.append(ClassMap(classes, one.before.grid, TASKS[task]))
    return TwoYears(one.mine, one.years, one.scenes, *maps)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def entries(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def tint(panel, row, column):
    """The colour laid over the grey ground at a pixel, without the grey that shines through."""
    shown = panel.images[0].get_array()[row, column].astype(float) / 255
    return shown - shown.min()


def tinted(colour):
    rgb = OPACITY * np.array(to_rgb(colour))
    return rgb - rgb.min()


def test_both_years_with_the_predictions_of_several_models(dataset, true):
    (one, *_) = true.values()
    dumps, slopes = of_task(one, "model2", 1), of_task(one, "model3", 4)
    figure = draw(two_years_figure(dataset, [dumps, slopes]))
    assert titles(figure) == ["(a) 2019", "(a) 2019, predicted", "(b) 2020", "(b) 2020, predicted"]
    assert entries(figure) == ["dumping ground", "exploitation slope"]
    assert "2019 and 2020: Model 2, Model 3" in texts(figure)
    assert "SYNTHETIC" in texts(figure)
    assert any(line.get_label() == "scale bar" for line in figure.axes[0].lines)
    # The slope lies on top of the dump; both keep an outline.
    slope = TASKS["model3"].target_colours[4]
    for panel, inside, outside in ((1, 12, 45), (3, 45, 12)):
        assert np.allclose(tint(figure.axes[panel], 30, inside), tinted(slope), atol=0.02)
        assert np.allclose(tint(figure.axes[panel], 30, outside), 0, atol=0.02)
        assert len(figure.axes[panel].collections) == 2


def test_change_is_painted_by_its_kind(dataset, true):
    (one, *_) = true.values()
    found = of_task(one, "model2", 1)
    found.before.classes[20:40, 25:30] = 0
    found.before.classes[20:40, 30:35] = 1
    found.after.classes[:, 60:] = IGNORE
    nothing = TwoYears(one.mine, one.years, one.scenes, found.before, found.before)
    figure = draw(change_figure(dataset, found, nothing))
    assert titles(figure) == ["2020", "mapped change", "annotated change"]
    assert entries(figure) == [*CHANGES, "not compared"]
    assert "dumping ground (Model 2)" in texts(figure)
    for column, kind in ((15, "lost"), (32, "unchanged"), (45, "gained")):
        assert np.allclose(tint(figure.axes[1], 30, column), tinted(CHANGES[kind]), atol=0.02)
    assert np.allclose(tint(figure.axes[2], 30, 15), tinted(CHANGES["unchanged"]), atol=0.02)
    assert (figure.axes[1].images[0].get_array()[30, 62] == 255).all()


def test_areas_are_drawn_where_they_are(account):
    figure = draw(change_area_figure(account, synthetic=True))
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "excavation, gained"
    drawn = {tuple(np.round(offset, 6)) for c in axes.collections for offset in c.get_offsets()}
    for k, row in account.reset_index(drop=True).iterrows():
        for name in ("mapped_ha", "adjusted_ha", "true_ha"):
            assert (round(row[name], 6), k) in drawn
    assert "SYNTHETIC" in figure.get_suptitle()
    draw(change_area_figure(account.iloc[:0]))


def test_areas_without_another_mine(true):
    (mine, *_) = true
    alone = change_account({mine: true[mine]}, true, mine).assign(task="model1")
    draw(change_area_figure(alone))
    assert "–" in account_table(alone).to_html()


def test_tables(account, true):
    account = account.assign(mapped_ha=12.345, floor_high_ha=[20.0, 1.0, 1.0, 1.0])
    html = account_table(account, synthetic=True).to_html()
    assert "12.35" in html or "12.34" in html
    assert html.count(">yes<") == 3
    assert html.count(">no<") == 1
    assert "synthetic" in html
    three = true | {"other": replace(next(iter(true.values())), mine="other")}
    checks = account_check(three, three).assign(task="model1")
    assert "3 of 3 mines" in check_table(checks).to_html()
    assert "it takes three test mines" in check_table(checks.iloc[:0]).to_html()
    assert "no mine with scenes of two years" in account_table(account.iloc[:0]).to_html()


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
