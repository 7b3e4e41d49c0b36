import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from minseg.report.tuning_figures import importance_figure, search_figure, selection_figure
from minseg.study.selection import Candidates
from tests.report.test_network_figure import overlapping_texts

TRIALS = pd.DataFrame(
    [
        (3, "complete", 0.7),
        (0, "complete", 0.5),
        (1, "complete", 0.4),
        (2, "pruned", 0.9),  # the last value of a trial that did not end is no best
        (4, "pruned", np.nan),
        (5, "pruned", 0.2),
    ],
    columns=["trial", "state", "validation_iou"],
)
IMPORTANCES = pd.Series({"loss": 0.7, "crop": 0.2, "encoder": 0.1})
NOTHING = pd.Series(dtype=float)
MODELS = ["model1", "model2", "model3", "model4"]


def candidates(*scores):
    """Candidates of given validation and test IoU; the figure needs no counts."""
    table = pd.DataFrame(scores, columns=["validation_iou", "test_iou"])
    return Candidates(table, np.zeros((len(table), 1, 2, 4), np.int64), ["a"], "standard")


SEVERAL = candidates((0.2, 0.25), (0.6, 0.4), (0.5, 0.45), (0.3, 0.3))


def points(axes, label):
    found = [c for c in axes.collections if c.get_label() == label]
    assert len(found) == 1
    return np.asarray(found[0].get_offsets()).tolist()


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def test_best_so_far_rises_with_complete_trials_alone():
    axes = search_figure({"model1": TRIALS}).axes[0]
    assert axes.get_title("left") == "Model 1: best 0.700 in trial 3"
    assert points(axes, "complete") == [[0, 0.5], [1, 0.4], [3, 0.7]]
    assert points(axes, "pruned, at its last value") == [[2, 0.9], [5, 0.2]]
    best = axes.lines[0]
    assert best.get_drawstyle() == "steps-post"
    assert best.get_xdata().tolist() == [0, 1, 3, 5]
    assert best.get_ydata().tolist() == [0.5, 0.5, 0.7, 0.7]


def test_pruned_trials_are_open_and_smaller_than_complete_ones():
    axes = search_figure({"model1": TRIALS}).axes[0]
    pruned, complete = axes.collections
    assert len(pruned.get_facecolor()) == 0
    assert len(complete.get_facecolor()) == 1
    assert pruned.get_sizes()[0] < complete.get_sizes()[0]


def test_a_search_without_a_complete_trial_says_so():
    axes = search_figure({"model1": TRIALS[TRIALS["state"] == "pruned"]}).axes[0]
    assert axes.get_title("left") == "Model 1: no complete trial"


def test_importances_are_bars_in_one_order_for_all_models():
    first = pd.Series({"loss": 0.4, "crop": 0.6})
    figure = importance_figure({"model1": first, "model2": IMPORTANCES})
    left, right = panels(figure)
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["loss", "image size", "backbone"]  # by the mean: 0.55, 0.4, 0.05
    assert [bar.get_width() for bar in left.patches] == [0.4, 0.6, 0.0]
    assert [bar.get_width() for bar in right.patches] == [0.7, 0.2, 0.1]
    assert left.yaxis_inverted()


@pytest.mark.parametrize("others", [{}, {"model1": IMPORTANCES}])
def test_a_model_without_importances_says_so(others):
    importances = {**others, "dam": NOTHING}
    figure = importance_figure(importances)
    empty = panels(figure)[-1]
    assert [text.get_text() for text in empty.texts] == ["too few\ncomplete trials,\nor all alike"]
    assert len(empty.patches) == 0
    assert overlapping_texts(figure) == []


def test_both_choices_are_marked_and_their_difference_named():
    axes = selection_figure({"model3": SEVERAL}).axes[0]
    assert points(axes, "candidate") == [[0.2, 0.25], [0.6, 0.4], [0.5, 0.45], [0.3, 0.3]]
    assert points(axes, "chosen on validation") == [[0.6, 0.4]]
    assert points(axes, "chosen on test") == [[0.5, 0.45]]
    assert axes.get_title("left") == "Model 3: choosing on test adds 0.050"


def test_validation_and_test_have_one_scale():
    axes = selection_figure({"model3": SEVERAL}).axes[0]
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_aspect() == 1
    low, high = axes.get_xlim()
    assert low < 0.2
    assert high > 0.6


def test_a_single_candidate_is_both_choices():
    figure = selection_figure({"model1": candidates((0.5, 0.5))})
    assert figure.axes[0].get_title("left") == "Model 1: choosing on test adds 0.000"
    low, high = figure.axes[0].get_xlim()
    assert low < 0.5 < high


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("figure_of", "content"),
    [(search_figure, TRIALS), (importance_figure, IMPORTANCES), (selection_figure, SEVERAL)],
)
def test_a_panel_a_model_synthetic_ones_marked_and_nothing_overlaps(figure_of, content, number):
    models = dict.fromkeys(MODELS[:number], content)
    figure = figure_of(models, synthetic=True)
    assert len(panels(figure)) == number
    assert [axes.get_title("left").split(":")[0] for axes in panels(figure)] == [
        f"Model {k + 1}" for k in range(number)
    ]
    assert figure.get_suptitle() == "SYNTHETIC"
    assert figure_of(models).get_suptitle() == ""
    assert overlapping_texts(figure) == []
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_long_names_of_classes_are_broken():
    names = "excavation,dumping ground,exploitation slope,transportation slope"
    for figure_of, content in ((search_figure, TRIALS), (selection_figure, SEVERAL)):
        figure = figure_of({names: content, f"{names},dam": content})
        assert overlapping_texts(figure) == []
    many = dict.fromkeys([names, f"{names},dam", "model1", "model2"], IMPORTANCES)
    assert overlapping_texts(importance_figure(many)) == []


def test_parts_keep_their_colours():
    axes = selection_figure({"model3": SEVERAL}).axes[0]
    colours = {c.get_label(): to_hex(c.get_facecolor()[0]) for c in axes.collections}
    assert colours["chosen on validation"] == "#e69f00"
    assert colours["chosen on test"] == "#009e73"
