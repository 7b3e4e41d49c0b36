import json

import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from minseg.data.labels import parse_task
from minseg.report.tuning_tables import (
    HYPERPARAMETER_TITLES,
    effort_table,
    flattery_table,
    hyperparameter_table,
    search_table,
)
from minseg.study.config import RunConfig
from minseg.study.paper import paper_table
from minseg.study.runs import RunStore
from minseg.study.search import Search, SearchSpace

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
