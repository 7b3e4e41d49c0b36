import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from minseg.data.labels import parse_task
from minseg.report.tuning import (
    HYPERPARAMETER_TITLES,
    effort_table,
    flattery_table,
    hyperparameter_table,
    importance_figure,
    search_figure,
    search_table,
    selection_figure,
)
from minseg.study.config import RunConfig
from minseg.study.paper import paper_table
from minseg.study.runs import RunStore
from minseg.study.selection import Candidates
from minseg.study.tuning import Search, SearchSpace
from tests.report.test_training import overlapping_texts

SPACE = SearchSpace(
    learning_rate=(3e-4, 1.5e-3),
    batch_size=(4,),
    epochs=(1, 2, 3),
    crop=(32, 64),
    optimiser=("adam", "sgd"),
    encoder=("resnet18",),
    architecture=("unet", "fpn"),
    loss=("focal",),
)
DRAWN = {
    "learning_rate": 3e-4,
    "batch_size": 4,
    "crop": 64,
    "optimiser": "adam",
    "encoder": "resnet18",
    "architecture": "fpn",
    "loss": "focal",
}
# Trial: parameters, and validation and test IoU after 1, 2 and 3 epochs.
STEADY = (DRAWN, (0.5, 0.6, 0.55), (0.4, 0.5, 0.45))
LUCKY = (
    {**DRAWN, "learning_rate": 1.5e-3, "optimiser": "sgd"},
    (0.4, 0.45, 0.58),
    (0.6, 0.62, 0.7),
)


def write_run(path, config, validation, test, mines):
    """A run whose every mine has the IoU given, at each epoch count; the background has 0.9."""
    rows = []
    for epochs, iou in zip(SPACE.epochs, test, strict=True):
        for mine in mines:
            for name in parse_task(config.task).target_names:
                tp = 900 if name == "background" else round(1000 * iou)
                rows.append((epochs, "test", mine, mine, name, tp, 0, 1000 - tp, 5000))
    path.mkdir(parents=True)
    (path / "config.json").write_text(config.model_dump_json() + "\n")
    (path / "provenance.json").write_text(
        json.dumps({"parts": dict.fromkeys(mines, "test")}) + "\n"
    )
    statistics = {"bands": ["B04"], "mean": [0.0], "deviation": [1.0]}
    (path / "statistics.json").write_text(json.dumps(statistics) + "\n")
    columns = ["epochs", "part", "scene", "mine", "class", "tp", "fp", "fn", "tn"]
    pd.DataFrame(rows, columns=columns).to_csv(path / "counts.csv", index=False)
    history = pd.DataFrame({"epoch": SPACE.epochs, "validation_iou": validation})
    history.to_csv(path / "history.csv", index=False)


@pytest.fixture
def make_search(tmp_path, dataset):
    """A search of known trials in a real storage, and a pruned one."""

    def make(task, trials, mines="abcd"):
        folder = tmp_path / task
        base = RunConfig(task=task, epochs=3, score_epochs=(1, 2))
        store = RunStore(folder / "runs")
        search = Search(task, str(folder / "journal"), base, SPACE, dataset, store)
        choices = {n: CategoricalDistribution(values) for n, values in SPACE.sampled.items()}
        for number, (parameters, validation, test) in enumerate(trials):
            write_run(store.path / f"{number}", search.config(parameters), validation, test, mines)
            search.trials.add_trial(
                create_trial(
                    params=parameters,
                    distributions=choices,
                    value=max(validation),
                    user_attrs={"run": f"{number}"},
                )
            )
        pruned = create_trial(
            params=DRAWN,
            distributions=choices,
            state=TrialState.PRUNED,
            intermediate_values={1: 0.1},
        )
        search.trials.add_trial(pruned)
        return search

    return make


def test_hyperparameters_are_those_that_validation_chose_beside_the_printed_ones(make_search):
    table = hyperparameter_table({"model2": make_search("model2", [STEADY, LUCKY])})
    assert list(table.index) == list(HYPERPARAMETER_TITLES.values())
    assert table["Model 2", "ours"].to_dict() == {
        "learning rate": "3 × 10⁻⁴",
        "batch size": "4",
        "epochs": "2",
        "image size": "64",
        "optimiser": "adam",
        "backbone": "resnet18",
        "architecture": "fpn",
        "loss": "focal",
    }
    assert table["values tried", ""].to_dict() == {
        "learning rate": "3 × 10⁻⁴, 1.5 × 10⁻³",
        "batch size": "4",
        "epochs": "1, 2, 3",
        "image size": "32, 64",
        "optimiser": "adam, sgd",
        "backbone": "resnet18",
        "architecture": "unet, fpn",
        "loss": "focal",
    }


def test_the_papers_columns_read_as_printed(make_search):
    tasks = ("model1", "model2", "model3", "model4")
    table = hyperparameter_table({task: make_search(task, [STEADY]) for task in tasks})
    printed = paper_table(5).pivot(index="hyperparameter", columns="model", values="printed")
    for task in tasks:
        for name, title in HYPERPARAMETER_TITLES.items():
            ours = table[f"Model {task[-1]}", "paper"][title]
            assert ours == printed.loc[name, task].lower()


def test_a_task_that_the_paper_has_not_tuned_has_no_column_of_it(make_search):
    table = hyperparameter_table({"excavation": make_search("excavation", [STEADY])})
    assert list(table.columns) == [("excavation", "ours"), ("values tried", "")]
    assert list(table.columns.names) == ["", "synthetic"]


def test_search_table_scores_what_validation_chose_and_counts_trials(make_search):
    row = search_table({"model2": make_search("model2", [STEADY, LUCKY])}).loc["Model 2"]
    assert row.to_dict() == {
        "bands": "RGB",
        "validation IoU": "0.600",
        "test IoU": "0.500",
        "test IoU, 95 % interval over mines": "0.500 to 0.500",  # all mines are alike
        "gain over the untuned, 95 % interval": "–",  # which were not tried
        "trials, complete": 2,
        "trials, pruned": 1,
    }


def test_flattery_is_what_choosing_on_test_adds(make_search):
    table = flattery_table({"model2": make_search("model2", [STEADY, LUCKY])})
    assert table.columns.name == "synthetic"
    assert table.loc["Model 2"].to_dict() == {
        "test IoU, chosen on validation": "0.500",
        "test IoU, chosen on test": "0.700",
        "difference": "+0.200",
        # Mines that are all alike say of each other what they say of themselves.
        "flattery of selecting and reporting on the same mines": "+0.000",
        "candidates": 6,
        "test mines": 4,
    }


def test_few_mines_are_not_made_to_say_more(make_search):
    searches = {"model2": make_search("model2", [STEADY], "a")}
    assert search_table(searches).iloc[0, 3] == "a single test mine"
    flattery = flattery_table(searches).loc["Model 2"]
    assert flattery["flattery of selecting and reporting on the same mines"] == "–"
    assert flattery["difference"] == "+0.000"


def test_the_convention_reaches_the_scores(make_search):
    searches = {"model2": make_search("model2", [STEADY, LUCKY])}
    row = search_table(searches, "paper").loc["Model 2"]
    assert row["validation IoU"] == "0.600"
    assert row["test IoU"] == "0.700"  # the mean of the class's 0.5 and the background's 0.9
    flattery = flattery_table(searches, "paper").loc["Model 2"]
    assert flattery["difference"] == "+0.100"


def test_effort_has_shares_and_a_total():
    table = effort_table([("Table 3", 100, 100), ("Table 5", 900, 225)])
    assert table.index.tolist() == ["Table 3", "Table 5", "total"]
    assert table["epochs trained"].tolist() == [100, 225, 325]
    assert table["epochs, read literally"].tolist() == [100, 900, 1000]
    assert table["share"].tolist() == ["100%", "25%", "32%"]


def test_effort_of_nothing_has_no_share():
    assert effort_table([]).loc["total", "share"] == "–"


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
