from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

from minseg.learning.metrics import METRICS
from minseg.report.comparison_figures import band_figure, difference_figure, split_figure
from minseg.report.comparisons import SPLIT_ROWS
from minseg.study.comparison import DIFFERENCE_COLUMNS, SCORE_COLUMNS
from minseg.study.experiments import FOREST_SUFFIX
from tests.report.conftest import draw, notes, row_names

TASKS = ["model1", "model2", "model3", "model4"]
BANDS = ["RGB", "R+N", "R+N+S", "M", "M+S"]
OURS, PALE, NONE, FOREST, TARGETED = "#0072b2", "#8fbbd9", "#8a8a8a", "#e69f00", "#d55e00"
PAPER, HOLLOW = "#444444", "#ffffff"


def score_lines(tasks, rows, seed=0):
    """A score table of random numbers."""
    random = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([tasks, rows, METRICS], names=["task", "row", "metric"])
    table = index.to_frame(index=False).assign(value=random.uniform(0.3, 0.9, len(index)))
    return table.assign(
        low=table["value"] - random.uniform(0.02, 0.1, len(table)),
        high=table["value"] + random.uniform(0.02, 0.1, len(table)),
        spread=0.0,
        mines=9,
        paper=random.uniform(0.5, 0.8, len(table)),
        absent="",
    )[SCORE_COLUMNS]


def without_run(scores, task, *rows):
    table = scores.copy()
    gone = (table["task"] == task) & table["row"].isin(rows)
    table.loc[gone, ["value", "low", "high"]] = np.nan
    table.loc[gone, "mines"] = 0
    return table


def differences(task="model1", **rows):
    """A difference table of IoU: row to difference, low, high, paper; one mine where low = high."""
    lines = [
        (
            *(task, row, "RGB", "iou", value, low, high),
            *(low - 0.01, high + 0.01, 16, low > 0.01 or high < -0.01),
            *(1 + 9 * (low < high), paper),
        )
        for row, (value, low, high, paper) in rows.items()
    ]
    return pd.DataFrame(lines, columns=DIFFERENCE_COLUMNS)


def iou(scores, task):
    return scores[(scores["task"] == task) & (scores["metric"] == "iou")].set_index("row")


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in draw(figure).axes}


def markers(axes, face, edge=None):
    """The places of markers, from the top row to the lowest."""
    found = [
        (y, x)
        for collection in axes.collections
        if isinstance(collection, PathCollection)
        and to_hex(collection.get_facecolor()[0]) == face
        and to_hex(collection.get_edgecolor()[0]) == (edge or face)
        for x, y in collection.get_offsets().filled(np.nan)
        if not np.isnan(x)
    ]
    return [x for _, x in sorted(found)]


def segments(axes):
    """The ends of horizontal lines, in the order of the rows."""
    return [
        tuple(segment[:, 0])
        for collection in axes.collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
        if len(segment)
    ]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def written(figure):
    """The boxes of all that is written in a figure, and what it says."""
    figure.draw_without_rendering()
    texts = [*figure.texts, *figure.legends[0].get_texts()]
    for axes in figure.axes:
        texts += [axes._left_title, axes.xaxis.label, *axes.texts]
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for place, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False):
                if min(low, high) <= place <= max(low, high) and text.get_visible():
                    texts.append(text)
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


def test_bands_stand_in_order_with_their_intervals_and_the_paper():
    scores = score_lines(TASKS, BANDS)
    figure = band_figure(scores)
    axes = panels(figure)["Model 3"]
    expected = iou(scores, "model3")
    assert list(panels(figure)) == ["Model 1", "Model 2", "Model 3", "Model 4"]
    assert row_names(axes) == BANDS
    assert axes.yaxis_inverted()  # the first configuration on top
    assert markers(axes, OURS) == expected["value"].tolist()
    assert markers(axes, HOLLOW, PAPER) == expected["paper"].tolist()
    assert segments(axes) == list(zip(expected["low"], expected["high"], strict=True))
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "IoU", "IoU"]


def test_the_interval_of_the_row_that_validation_chose_is_shaded():
    scores = score_lines(TASKS, BANDS)
    worst = iou(scores, "model3")["value"].idxmin()
    figure = band_figure(scores, chosen={"model3": worst, "model4": "no such row"})
    (shade,) = panels(figure)["Model 3"].patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(
        tuple(iou(scores, "model3").loc[worst, ["low", "high"]])
    )
    assert "chosen on validation" in legend(figure)
    assert list(panels(figure)["Model 4"].patches) == []
    assert "chosen on validation" not in legend(band_figure(scores))


def test_the_forest_is_a_third_marker():
    scores, forest = score_lines(TASKS, BANDS), score_lines(TASKS, BANDS, seed=1)
    figure = band_figure(scores, forest.assign(row=forest["row"] + FOREST_SUFFIX))
    axes = panels(figure)["Model 4"]
    assert markers(axes, FOREST) == iou(forest, "model4")["value"].tolist()
    assert "per-pixel forest" in legend(figure)
    assert "per-pixel forest" not in legend(band_figure(scores))


def test_rows_without_a_run_say_so_and_keep_the_papers_value():
    scores = without_run(score_lines(TASKS, BANDS), "model1", "M", "M+S")
    drawn = panels(band_figure(scores))
    assert notes(drawn["Model 1"]) == ["no run", "no run"]
    assert len(markers(drawn["Model 1"], OURS)) == 3
    assert len(markers(drawn["Model 1"], HOLLOW, PAPER)) == 5
    assert notes(drawn["Model 2"]) == []


def test_the_note_of_a_missing_run_stands_clear_of_the_lowest_value():
    scores = without_run(score_lines(TASKS, BANDS), "model1", "M")
    scores.loc[(scores["task"] == "model1") & (scores["row"] == "M"), "paper"] = 0.1
    axes = panels(band_figure(scores))["Model 1"]
    lowest_px, _ = axes.transData.transform((0.1, 3))
    assert axes.texts[0].get_window_extent().x1 < lowest_px - 5


def test_a_run_without_anything_to_score_is_undefined():
    scores = score_lines(["model1"], BANDS)
    scores.loc[scores["row"] == "M", ["value", "low", "high"]] = np.nan
    assert notes(panels(band_figure(scores))["Model 1"]) == ["undefined"]


def test_one_mine_has_no_interval_and_a_task_of_ones_own_no_paper():
    scores = score_lines(["excavation,dam"], BANDS[:2]).assign(mines=1, paper=np.nan)
    figure = band_figure(scores)
    (axes,) = panels(figure).values()
    assert axes.get_title(loc="left") == "excavation, dam"
    assert segments(axes) == []
    assert list(axes.patches) == []
    assert legend(figure) == ["ours, 95 % interval over mines"]


def test_a_figure_without_any_run_is_drawn():
    scores = score_lines(TASKS, BANDS)
    for task in TASKS:
        scores = without_run(scores, task, *BANDS)
    figure = draw(band_figure(scores.assign(paper=np.nan)))
    assert [len(notes(axes)) for axes in figure.axes] == [5, 5, 5, 5]


@pytest.mark.parametrize(
    "figure",
    [
        band_figure(pd.DataFrame(columns=SCORE_COLUMNS), synthetic=True),
        difference_figure(pd.DataFrame(columns=DIFFERENCE_COLUMNS), "M − RGB", synthetic=True),
        split_figure(pd.DataFrame(columns=SCORE_COLUMNS), synthetic=True),
    ],
)
def test_nothing_to_draw_is_said(figure):
    words = [text.get_text() for text in draw(figure).texts]
    assert words == ["no runs to show", "SYNTHETIC"]


def test_differences_are_dark_only_where_they_are_told_from_zero():
    table = differences(
        above=(0.1, 0.02, 0.2, 0.05),
        below=(-0.1, -0.2, -0.02, np.nan),
        across=(0.03, -0.1, 0.1, 0.0),
        touching=(0.04, 0.0, 0.1, 0.0),
        single=(0.2, 0.2, 0.2, -0.02),
        zero=(0.0, 0.0, 0.0, np.nan),
    )
    figure = difference_figure(table, "configuration − RGB", convention="paper")
    (axes,) = panels(figure).values()
    assert markers(axes, OURS) == [0.1, -0.1]
    assert markers(axes, PALE) == [0.03, 0.04]
    assert markers(axes, NONE) == [0.2, 0.0]  # not drawn as an interval that holds zero
    assert markers(axes, HOLLOW, PAPER) == [0.05, 0.0, 0.0, -0.02]
    drawn = {to_hex(line.get_color()): line for line in axes.lines if len(line.get_xdata()) == 2}
    assert list(drawn[PALE].get_xdata()) == [0.0, 0.1]
    assert axes.get_xlabel() == "difference in IoU (paper convention)\nconfiguration − RGB"
    assert legend(figure) == [
        "told from zero (thin: widened for 16 comparisons)",
        "not told from zero",
        "a single mine",
        "paper (its own mines)",
    ]


def test_a_mean_over_a_single_mine_has_no_interval_either():
    table = differences(
        RR=(-0.1, -0.2, -0.01, 0.1),
        MO=(-0.1, -0.2, -0.01, 0.1),
        CL=(0.3, 0.3, 0.3, 0.1),
        **{"AVG RR+MO+CL": (0.1, 0.05, 0.2, 0.1)},
    )
    (axes,) = panels(difference_figure(table, "targeted − general")).values()
    assert markers(axes, NONE) == [0.3, 0.1]


def test_differences_stand_in_the_printed_order_and_missing_ones_are_noted():
    numbers = (0.1, 0.05, 0.2, 0.1)
    rows = {"AVG RR+MO+CL": numbers, "MT": numbers, "RR": numbers}
    table = pd.concat([differences(**rows), differences("model2", RR=numbers)])
    drawn = panels(difference_figure(table, "targeted − general"))
    assert row_names(drawn["Model 1"]) == ["RR", "AVG RR+MO+CL", "MT"]
    assert notes(drawn["Model 2"]) == ["no run", "no run"]
    wanted = difference_figure(differences(M=numbers), "M − RGB", rows=["R+N", "M"])
    assert notes(panels(wanted)["Model 1"]) == ["no run"]


def test_splits_join_targeted_and_general():
    scores = score_lines(TASKS, SPLIT_ROWS)
    axes = panels(split_figure(scores))["Model 3"]
    expected = iou(scores, "model3")
    targeted = ["RR", "MO", "CL", "AVG RR+MO+CL", "MT", "OC", "OP", "AVG MT+OC+OP"]
    general = ["GRR", "GMO", "GCL", "AVG GM", "GMT", "GOC", "GOP", "AVG GS"]
    assert row_names(axes) == targeted
    assert markers(axes, TARGETED) == expected.loc[targeted, "value"].tolist()
    assert markers(axes, OURS) == expected.loc[general, "value"].tolist()
    assert markers(axes, HOLLOW, TARGETED) == expected.loc[targeted, "paper"].tolist()
    assert markers(axes, HOLLOW, OURS) == expected.loc[general, "paper"].tolist()
    ends = zip(expected.loc[targeted, "value"], expected.loc[general, "value"], strict=True)
    assert segments(axes)[:8] == list(ends)


def test_splits_say_which_side_has_no_run():
    scores = without_run(score_lines(["model1"], SPLIT_ROWS), "model1", "RR", "OC", "GOC", "GMT")
    axes = panels(split_figure(scores))["Model 1"]
    assert notes(axes) == ["no targeted run", "no general run", "no run"]
    places = [round(text.xy[1]) for text in axes.texts]
    assert [row_names(axes)[k] for k in places] == ["RR", "MT", "OC"]


@pytest.mark.parametrize("name", ["bands", "differences", "splits"])
def test_nothing_written_overlaps_or_is_cut_off(name):
    """Four tasks, gaps, and the longest words that are used."""
    looks = {"convention": "standard", "synthetic": True}
    if name == "bands":
        scores = without_run(score_lines(TASKS, BANDS), "model3", "RGB", "M+S")
        chosen = {"model1": "M"}
        figure = band_figure(scores, score_lines(TASKS, BANDS, seed=1), chosen, **looks)
    elif name == "splits":
        scores = without_run(score_lines(TASKS, SPLIT_ROWS), "model1", "RR", "OC", "GOC")
        figure = split_figure(scores, **looks)
    else:
        rows = [row for row in SPLIT_ROWS if "G" not in row.removeprefix("AVG")]
        table = pd.concat(
            differences(task, **{row: (0.01 * k, -0.02, 0.1, 0.02) for k, row in enumerate(rows)})
            for task in TASKS
        )
        figure = difference_figure(table.drop(index=[0, 3]), "targeted − general", **looks)
    boxes = written(figure)
    assert figure.get_size_inches()[0] <= 8
    assert len(boxes) > 20
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    for (one, box), (other, other_box) in combinations(boxes, 2):
        assert not box.overlaps(other_box), (one, other)


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_results_say_so_on_the_figure(synthetic):
    word = "SYNTHETIC" if synthetic else ""
    assert band_figure(score_lines(TASKS, BANDS), synthetic=synthetic).get_suptitle() == word
    assert split_figure(score_lines(TASKS, SPLIT_ROWS), synthetic=synthetic).get_suptitle() == word
    table = differences(M=(0.1, 0.0, 0.2, 0.1))
    assert difference_figure(table, "M − RGB", synthetic=synthetic).get_suptitle() == word
