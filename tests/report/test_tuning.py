from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from minseg.report import tuning as pages
from minseg.study.paper import paper_table
from minseg.study.runs import RunStore, run_key
from minseg.study.selection import Candidates, candidates, untuned_run
from minseg.study.study import Study
from minseg.study.tuning import open_search
from tests.report.conftest import draw, overlapping_texts, row_names, texts, titles
from tests.study.made_runs import complete_trial, excavation, made_search, prune_trial, write_run

# Validation IoU, and excavation pixels of ten found in each test mine, after 1, 2 and 3 epochs.
STEADY = ((0.5, 0.6, 0.55), (4, 5, 4), {})
LUCKY = ((0.4, 0.45, 0.58), (6, 6, 7), {"learning_rate": 2e-3, "loss": "focal"})
MODELS = ["model1", "model2", "model3", "model4"]


@pytest.fixture
def make_search(tmp_path, dataset):
    """A search of known trials in a real storage, and a pruned one."""

    def make(*trials, mines=4):
        search = made_search(tmp_path, dataset)
        for curve, hits, changes in trials:
            complete_trial(search, curve, [[number] * mines for number in hits], **changes)
        prune_trial(search, [0.1])
        return search

    return make


def choices(search, convention="standard"):
    return {"model2": candidates(search, convention)}


NONE = dict.fromkeys(MODELS)
"""No model has a run in Table 3."""


def test_hyperparameters_chosen_on_validation_stand_beside_the_printed(make_search, synthetic):
    search = make_search(STEADY, LUCKY)
    searches = dict.fromkeys([*MODELS, "excavation"], search)
    table = pages.hyperparameter_table(dict.fromkeys(searches, candidates(search))).data
    assert list(table) == list(pages.HYPERPARAMETER_TITLES.values())
    chosen = ["1 × 10⁻³", "4", "2", "32", "adam", "resnet18", "unet", "jaccard"]
    assert table.loc["Model 2", "ours"].tolist() == chosen
    tried = ["1 × 10⁻³, 2 × 10⁻³, 3 × 10⁻³", "4", "1, 2, 3", "32, 64", "adam", "resnet18", "unet"]
    assert pages.tried_table(searches)["values tried"].tolist() == [*tried, "jaccard, focal"]
    printed = paper_table(5).pivot(index="hyperparameter", columns="model", values="printed")
    for task in MODELS:
        for name, title in pages.HYPERPARAMETER_TITLES.items():
            ours = table.loc[(f"Model {task[-1]}", "paper"), title]
            assert ours == printed.loc[name, task].lower()
    # The paper has tuned no such task.
    assert table.index[-1] == ("excavation", "ours")
    assert list(table.index.names) == ["synthetic", ""]


def test_scores_of_what_validation_chose_and_what_choosing_on_test_adds(make_search, synthetic):
    search = make_search(STEADY, LUCKY)
    searches, found = {"model2": search}, choices(search)
    # All mines are alike, and the untuned settings were not tried.
    row = ["RGB", "0.600", "0.500 (0.500)", "–", "–", "3 (1)"]
    assert pages.search_table(searches, found, NONE).loc["Model 2"].tolist() == row
    gain, over, added = pages.answer(found, NONE).splitlines()
    assert over.endswith(": Model 2 –.") and gain.endswith(": Model 2 –.")
    assert "settings on synthetic mines**" in gain
    assert added.endswith(": Model 2 +0.200.")
    table = pages.flattery_table(found)
    assert table.columns.name == "synthetic"
    # Mines that are all alike say of each other what they say of themselves.
    assert table.loc["Model 2"].tolist() == ["0.500", "0.700", "+0.200", "+0.000", 6, 4]
    paper = choices(search, "paper")
    row = pages.search_table(searches, paper, NONE).loc["Model 2"]
    assert row["validation IoU"] == "0.600"
    chosen = search.run_of(search.finished()[0]).scores("test", "paper", epochs=2)["iou"]
    tested = row["test IoU, 95 % interval over mines"].partition(" ")[0]
    assert tested == f"{chosen:.3f}" != "0.500"


def test_the_run_of_table_3_stands_beside_its_search(make_search, tmp_path, dataset):
    study = Study("demo", dataset, (0,), RunStore(tmp_path / "study"))
    opened = open_search(study, "model1", "RGB")
    config = study.config(task="model1", bands="RGB")
    assert config.schedule != opened.base.schedule
    assert untuned_run(study, opened) is None
    tested = {f"m{k}": excavation(7) for k in range(4)}
    parts = {"validation": {"v": excavation(7)}, "test": tested}
    write_run(study.store.path / run_key(config, dataset), config, {10: parts})
    searches, found = {"model1": opened}, {"model1": candidates(make_search(STEADY))}
    plain = {"model1": untuned_run(study, opened)}
    row = pages.search_table(searches, found, plain).loc["Model 1"]
    assert row["over the run of Table 3, 95 % interval"] == "−0.200 (−0.200)"
    _, over, _ = pages.answer(found, plain).splitlines()
    assert over.endswith("fall: Model 1 −0.200 (−0.200).")


def test_it_is_said_where_the_choice_is_the_untuned_training_at_another_epoch(make_search):
    found = replace(candidates(make_search(STEADY, LUCKY)), by_default=2)
    gain = "+0.100 (+0.100)"
    told = f"{gain}, of the same training after 2 instead of 3 epochs."
    assert told in pages.answer({"model2": found}, NONE)
    other = replace(found, table=found.table.assign(run=range(len(found.table))))
    assert f"{gain}." in pages.answer({"model2": other}, NONE)


def test_few_mines_are_not_made_to_say_more(make_search):
    search = make_search(STEADY, mines=1)
    found = choices(search)
    table = pages.search_table({"model2": search}, found, NONE)
    assert table.iloc[0, 2].endswith("(a single test mine)")
    flattery = pages.flattery_table(found).loc["Model 2"]
    assert flattery["flattery of selecting and reporting on the same mines"] == "–"
    assert flattery["difference"] == "+0.000"


def test_effort_has_shares_and_a_total():
    table = pages.effort_table([("Table 3", 100, 100), ("Table 4", 0, 0), ("Table 5", 900, 225)])
    assert table.index.tolist() == ["Table 3", "Table 5", "total"]
    assert table["epochs trained"].tolist() == [100, 225, 325]
    assert table["epochs, read literally"].tolist() == [100, 900, 1000]
    assert table["share"].tolist() == ["100%", "25%", "32%"]
    assert pages.effort_table([]).loc["total", "share"] == "–"


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


def made_candidates(*scores):
    """Candidates of given validation and test IoU; the figure needs no counts."""
    table = pd.DataFrame(scores, columns=["validation_iou", "test_iou"])
    return Candidates(table, np.zeros((len(table), 1, 2, 4), np.int64), ["a"], "standard")


SEVERAL = made_candidates((0.2, 0.25), (0.6, 0.4), (0.5, 0.45), (0.3, 0.3))


def points(axes, label):
    (found,) = (one for one in axes.collections if one.get_label() == label)
    return found.get_offsets().tolist()


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def test_best_so_far_rises_with_complete_trials_alone():
    figure = pages.search_figure({"model1": TRIALS})
    (axes,) = figure.axes
    assert titles(figure) == ["Model 1: best 0.700 in trial 3"]
    assert points(axes, "complete") == [[0, 0.5], [1, 0.4], [3, 0.7]]
    assert points(axes, "pruned, at its last value") == [[2, 0.9], [5, 0.2]]
    pruned, complete = axes.collections
    assert len(pruned.get_facecolor()) == 0  # open
    assert pruned.get_sizes()[0] < complete.get_sizes()[0]
    best = axes.lines[0]
    assert best.get_drawstyle() == "steps-post"
    assert best.get_xydata().tolist() == [[0, 0.5], [1, 0.5], [3, 0.7], [5, 0.7]]
    without = pages.search_figure({"model1": TRIALS[TRIALS["state"] == "pruned"]})
    assert titles(without) == ["Model 1: no complete trial"]


def test_importances_are_bars_in_one_order_for_all_models():
    first = pd.Series({"loss": 0.4, "crop": 0.6})
    figure = pages.importance_figure({"model1": first, "model2": IMPORTANCES})
    left, right = panels(figure)
    assert row_names(left) == ["loss", "image size", "backbone"]  # by the mean: 0.55, 0.4, 0.05
    assert [bar.get_width() for bar in left.patches] == [0.4, 0.6, 0.0]
    assert [bar.get_width() for bar in right.patches] == [0.7, 0.2, 0.1]
    assert left.yaxis_inverted()


@pytest.mark.parametrize("others", [{}, {"model1": IMPORTANCES}])
def test_a_model_without_importances_says_so(others):
    importances = {**others, "dam": NOTHING}
    figure = pages.importance_figure(importances)
    empty = panels(figure)[-1]
    assert texts(empty) == ["too few\ncomplete trials,\nor all alike"]
    assert len(empty.patches) == 0
    assert overlapping_texts(figure) == []


def test_both_choices_are_marked_and_their_difference_named():
    axes = pages.selection_figure({"model3": SEVERAL}).axes[0]
    assert points(axes, "candidate") == [[0.2, 0.25], [0.6, 0.4], [0.5, 0.45], [0.3, 0.3]]
    assert points(axes, "chosen on validation") == [[0.6, 0.4]]
    assert points(axes, "chosen on test") == [[0.5, 0.45]]
    assert axes.get_title("left") == "Model 3: choosing on test adds 0.050"
    colours = {c.get_label(): to_hex(c.get_facecolor()[0]) for c in axes.collections}
    assert colours["chosen on validation"] == "#e69f00"
    assert colours["chosen on test"] == "#009e73"
    assert (axes.get_xlim(), axes.get_aspect()) == (axes.get_ylim(), 1)
    low, high = axes.get_xlim()
    assert low < 0.2 < 0.6 < high
    single = pages.selection_figure({"model1": made_candidates((0.5, 0.5))})
    assert titles(single) == ["Model 1: choosing on test adds 0.000"]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("figure_of", "content"),
    [
        (pages.search_figure, TRIALS),
        (pages.importance_figure, IMPORTANCES),
        (pages.selection_figure, SEVERAL),
    ],
)
def test_a_panel_a_model_and_nothing_overlaps(figure_of, content, number, synthetic):
    models = dict.fromkeys(MODELS[:number], content)
    figure = figure_of(models)
    assert len(panels(figure)) == number
    assert [axes.get_title("left").split(":")[0] for axes in panels(figure)] == [
        f"Model {k + 1}" for k in range(number)
    ]
    assert figure.get_suptitle() == "SYNTHETIC"
    assert overlapping_texts(draw(figure)) == []


def test_long_names_of_classes_are_broken():
    names = "excavation,dumping ground,exploitation slope,transportation slope"
    for figure_of, content in ((pages.search_figure, TRIALS), (pages.selection_figure, SEVERAL)):
        figure = figure_of({names: content, f"{names},dam": content})
        assert overlapping_texts(figure) == []
    many = dict.fromkeys([names, f"{names},dam", "model1", "model2"], IMPORTANCES)
    assert overlapping_texts(pages.importance_figure(many)) == []
