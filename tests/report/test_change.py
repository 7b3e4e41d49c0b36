from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from minseg.data.labels import IGNORE, TASKS
from minseg.maps.change import CHANGES
from minseg.maps.class_map import ClassMap
from minseg.report import change as pages
from minseg.report.scenes import OPACITY
from minseg.study import change
from minseg.study.cleaning import RULES
from minseg.study.study import open_study
from tests.conftest import write_small_dataset
from tests.report.conftest import draw, legend, row_names, segments, texts, titles


@pytest.fixture(scope="module")
def true(dataset):
    return change.annotated(dataset, TASKS["model1"], change.mines_with_two_years(dataset))


@pytest.fixture(scope="module")
def account(true):
    (mine, *_) = true
    return change.change_account(true, true, mine).assign(task="model1")


def of_task(one, task, value):
    """The same mine by another task: a square of one class, farther right in the later year."""
    maps = []
    for left in (10, 30):
        classes = np.zeros_like(one.before.classes)
        classes[20:40, left : left + 20] = value
        maps.append(ClassMap(classes, one.before.grid, TASKS[task]))
    return change.TwoYears(one.mine, one.years, one.scenes, *maps)


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
    figure = draw(pages.two_years_figure(dataset, [dumps, slopes]))
    assert titles(figure) == ["(a) 2019", "(a) 2019, predicted", "(b) 2020", "(b) 2020, predicted"]
    assert legend(figure) == ["dumping ground", "exploitation slope"]
    heading, mark = texts(figure)
    assert heading.endswith("2019 and 2020: Model 2, Model 3") and mark == "SYNTHETIC"
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
    nothing = change.TwoYears(one.mine, one.years, one.scenes, found.before, found.before)
    figure = draw(pages.change_figure(dataset, found, nothing))
    assert titles(figure) == ["2020", "mapped change", "annotated change"]
    assert legend(figure) == [*CHANGES, "not compared"]
    assert "dumping ground (Model 2)" in texts(figure)[0]
    for column, kind in ((15, "lost"), (32, "unchanged"), (45, "gained")):
        assert np.allclose(tint(figure.axes[1], 30, column), tinted(CHANGES[kind]), atol=0.02)
    assert np.allclose(tint(figure.axes[2], 30, 15), tinted(CHANGES["unchanged"]), atol=0.02)
    assert (figure.axes[1].images[0].get_array()[30, 62] == 255).all()


def test_areas_are_drawn_where_they_are(account, true):
    (axes,) = draw(pages.change_area_figure(account)).axes
    assert row_names(axes)[0] == "excavation, gained"
    drawn = {tuple(np.round(offset, 6)) for c in axes.collections for offset in c.get_offsets()}
    for k, row in account.reset_index(drop=True).iterrows():
        for name in ("mapped_ha", "adjusted_ha", "true_ha"):
            assert (round(row[name], 6), k) in drawn

    (mine, *_) = true
    alone = change.change_account({mine: true[mine]}, true, mine).assign(task="model1")
    draw(pages.change_area_figure(alone))
    assert "–" in pages.account_table(alone).to_html()
    found, _ = pages.answer(alone, pd.DataFrame()).splitlines()
    assert "and the floor of false change is unknown. The largest is" in found
    assert found.endswith(" ha mapped, unknown adjusted.")


def test_tables(account, true, synthetic):
    mapped = {"mapped_ha": [12.34, 12.34, 12.34, 0.0], "floor_high_ha": [20.0, 1.0, 1.0, 1.0]}
    account = account.assign(**mapped)
    html = pages.account_table(account).to_html()
    assert "12.34" in html
    assert html.count(">yes<") == 2
    assert html.count(">no<") == 2
    assert "synthetic" in html
    three = true | {"other": replace(next(iter(true.values())), mine="other")}
    checks = change.account_check(three, three).assign(task="model1")
    assert "3 of 3 mines" in pages.check_table(checks).to_html()
    assert "it takes three test mines" in pages.check_table(checks.iloc[:0]).to_html()
    assert "no mine with scenes of two years" in pages.account_table(account.iloc[:0]).to_html()
    found, trust = pages.answer(account, checks).splitlines()
    # Rows of 0 ha, on the map and in truth, count as no success.
    assert "of 4 gains and losses of a class 3 were mapped at all, and 2 of those exceed" in found
    assert "12.34 ha mapped" in found and "**Change on synthetic mines:** of 4" in found
    assert found.endswith(" ha adjusted.")
    changed = sum(checks["mines"])
    assert f"{changed} of {changed} ranges hold" in trust and 0 < changed < 12
    assert "too few mines" in pages.answer(account, checks.iloc[:0])


def test_mines_with_one_year_have_no_change(tmp_path):
    dataset = write_small_dataset(tmp_path / "squares", 8, years=(2020,))
    compared = change.compare_years(
        open_study("demo", dataset.path, runs=tmp_path / "runs"), [], {}
    )
    assert "no test mine has scenes of two years" in compared.notes[0]
    assert compared.at_hand() == compared.by_figure() == []
    said = pages.answer(change.accounts(compared), change.account_checks(compared))
    assert "No mine has scenes of two years" in said


CLEAR, OPEN = "#0072b2", "#8fbbd9"


def test_each_rule_is_a_row_with_its_difference_and_interval():
    lines = [(0.01, 0.005, 0.02), (0.0, 0.0, 0.0), (-0.02, -0.03, -0.01), (0.004, -0.001, 0.01)]
    table = pd.DataFrame(lines, list(RULES), ["difference", "low", "high"])
    table = table.assign(task="model1", bands="RGB", iou=0.456, told=[True, False, True, False])
    figure = draw(pages.cleaning_figure(table))
    (axes,) = figure.axes
    assert titles(figure) == ["Model 1, RGB: IoU 0.46 as predicted"]
    assert row_names(axes) == list(RULES)
    assert segments(axes) == [(0.005, 0.02), (0, 0), (-0.03, -0.01), (-0.001, 0.01)]
    assert axes.collections[-1].get_offsets().tolist() == [
        [x, k] for k, (x, *_) in enumerate(lines)
    ]
    colours = [to_hex(colour) for colour in axes.collections[-1].get_facecolor()]
    assert colours == [CLEAR, OPEN, CLEAR, OPEN]
    zero = next(line for line in axes.lines if list(line.get_xdata()) == [0, 0])
    assert to_hex(zero.get_color()) == "#555555"
