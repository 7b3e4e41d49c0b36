import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from sklearn.metrics import jaccard_score

from minseg.data.labels import IGNORE
from minseg.study.cleaning import RULES, effects
from minseg.study.config import RunConfig
from tests.conftest import write_small_dataset
from tests.study.predicted import write_predicting_run

CONFIG = RunConfig(task="model1", bands="B02,B03,B04")
PART = Window(4, 4, 56, 56)
"""The tested part of a scene."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Twenty mines, three of them in the test part: a pit with a strip beside it in each."""
    return write_small_dataset(tmp_path_factory.mktemp("effect") / "squares", 20, (2020,))


@pytest.fixture
def make(dataset, tmp_path):
    """From a name, what is made of the truth, and settings to a run."""
    return lambda name, predict, **changes: write_predicting_run(
        tmp_path / name, dataset, CONFIG.replace(**changes), predict, PART
    )


def with_specks(value, every=1):
    """Strew single wrong pixels of a class far from the objects, on every so-many-th mine."""

    def predict(truth, k):
        classes = truth.astype(np.uint8)
        if k % every == 0:
            for row, column in np.argwhere(np.ones((8, 8), bool)) * 7:
                near = truth[max(row - 5, 0) : row + 6, max(column - 5, 0) : column + 6]
                if not near.any():
                    classes[row, column] = value
        return classes

    return predict


def mean_iou(run, dataset):
    """The mean IoU over the classes present, by another library."""
    truths, predictions = [], []
    for _, row in dataset.scenes_of("test").iterrows():
        target = dataset.read_target(row, run.task, PART)
        with rasterio.open(run.path / "predictions" / f"{row['scene']}.tif") as source:
            predicted = source.read(1)
        truths.append(target[target != IGNORE])
        predictions.append(predicted[target != IGNORE])
    values = list(range(1, run.task.num_classes))
    return jaccard_score(
        np.concatenate(truths), np.concatenate(predictions), labels=values, average="macro"
    )


def test_rules_that_remove_what_is_wrong_gain_what_it_cost(dataset, make):
    run = make("specks", with_specks(2))
    lines = effects([run], dataset)
    assert list(lines.index) == list(RULES)
    before = mean_iou(run, dataset)
    assert before < 0.95
    assert lines["iou"].to_list() == pytest.approx([before] * 4)
    assert before == pytest.approx(run.scores()["iou"])
    # The specks are smaller than the minimum, and not beside a pit.
    for rule in ("minimum size, 0.1 ha", "adjacency"):
        assert lines.loc[rule, "difference"] == pytest.approx(1 - before)
        assert 0 < lines.loc[rule, "low"] <= 1 - before <= lines.loc[rule, "high"]
    # Smoothing removes them, and corners of the objects with them.
    assert 0 < lines.loc["smoothing, 1 px", "difference"] < 1 - before


def test_a_rule_that_takes_what_is_right_loses(dataset, make):
    def thin(truth, k):
        classes = np.where(truth == 2, 0, truth).astype(np.uint8)  # no strip …
        corner = np.argwhere(truth == 2)[0]
        classes[corner[0] : corner[0] + 3, corner[1]] = 2  # … but three pixels of it
        return classes

    lines = effects([make("thin", thin)], dataset)
    assert lines.loc["minimum size, 0.1 ha", "difference"] < 0
    assert lines.loc["minimum size, 0.1 ha", "high"] < 0
    assert lines.loc["adjacency", ["difference", "low", "high"]].to_list() == [0] * 3


def test_seeds_are_averaged(dataset, make):
    perfect = make("a", lambda truth, k: truth)
    specks = make("b", with_specks(2, every=2), seed=1)
    table = effects([perfect, specks], dataset)
    mean = (1 + mean_iou(specks, dataset)) / 2
    assert table.loc["adjacency", "iou"] == pytest.approx(mean)
    assert table.loc["adjacency", "difference"] == pytest.approx(1 - mean)
    # One mine of three has specks: where it weighs next to nothing, nothing is gained.
    assert table.loc["adjacency", "low"] == pytest.approx(0, abs=0.01)
    assert not table["told"].any()  # on three mines nothing is told from zero


def test_adjacency_is_left_out_where_no_rule_applies(dataset, make):
    run = make("pits", with_specks(1), task="excavation")
    assert list(effects([run], dataset).index) == [rule for rule in RULES if rule != "adjacency"]
