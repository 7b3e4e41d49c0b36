import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import jaccard_score, precision_score, recall_score

from minseg import MinsegError
from minseg.study.mine_scores import best_median_worst, choose_mines, mine_scores
from minseg.study.predictions import scene_prediction
from tests.study.predicted import rectangle, write_mines, write_predictions

PIT, STRIP = rectangle(4, 4, 12, 12), rectangle(4, 16, 12, 3)


def pits_with(*ious):
    """Test mines with a pit of 12 by 12 pixels, of which some rows are found and no more."""
    return [{"excavation": rectangle(4, 4, round(12 * iou), 12)} for iou in ious]


@pytest.fixture
def make(tmp_path):
    def make(predictions, labels=None, **columns):
        labels = labels or [{"excavation": PIT}] * len(predictions)
        mines = write_mines(tmp_path / "d", labels, **columns)
        return write_predictions(tmp_path / "run", mines, "model1", predictions), mines

    return make


def test_scores_of_a_class_on_a_mine_are_those_of_scikit_learn(make):
    labels = [{"excavation": PIT, "preparatory work area": STRIP}]
    predicted = {"excavation": rectangle(6, 4, 12, 13), "preparatory work area": STRIP}
    run, mines = make([predicted], labels)
    table = mine_scores(run).set_index("class")
    one = scene_prediction(run, mines, "mine-4")
    for k, name in enumerate(run.task.target_names[1:], start=1):
        truth, found = (array.ravel() == k for array in (one.target, one.prediction))
        assert table.loc[name, "iou"] == pytest.approx(jaccard_score(truth, found))
        assert table.loc[name, "recall"] == pytest.approx(recall_score(truth, found))
        assert table.loc[name, "precision"] == pytest.approx(precision_score(truth, found))
        assert table.loc[name, "accuracy"] == table.loc[name, "iou"]
    assert set(table["scene"]) == {"mine-4-2020"}


def test_what_is_not_there_has_no_score(make):
    run, _ = make([{}, {"preparatory work area": STRIP}])
    table = mine_scores(run).set_index(["mine", "class"])
    missed, absent = table.loc[("mine-4", "excavation")], ("mine-4", "preparatory work area")
    assert (missed["iou"], missed["recall"]) == (0, 0)
    assert np.isnan(missed["precision"])
    assert table.loc[absent, ["iou", "recall", "precision", "accuracy"]].isna().all()
    invented = table.loc[("mine-5", "preparatory work area")]
    assert (invented["iou"], invented["precision"]) == (0, 0)
    assert np.isnan(invented["recall"])


def test_picks_and_ties():
    by_mine = pd.DataFrame({"iou": [0.1, 0.9, float("nan"), 0.5]}, index=list("abcd"))
    assert best_median_worst(by_mine) == {"best": "b", "median": "d", "worst": "a"}
    assert best_median_worst(by_mine.loc[["c"]]) == {}
    assert set(best_median_worst(by_mine.loc[["a"]]).values()) == {"a"}


def test_best_median_worst_and_hard_cases_are_shown(make):
    case = ["", "", "", "snow", "", "snow", "", "multi-pit", "", "wet dam"]
    labels = [{"excavation": PIT}] * 5 + [{"dam": PIT}]
    run, mines = make([*pits_with(0.5, 1, 0.75, 0.25, 0), {}], labels)
    mines.mines["case"] = case
    assert choose_mines(run, mines) == {
        "mine-5": "best IoU; snow",
        "mine-4": "median IoU",
        "mine-8": "worst IoU",
        "mine-7": "multi-pit",
        # mine-9 is a hard case, but has none of the task's classes; mine-3 is no test mine.
    }
    assert choose_mines(run, mines, ["mine-7", "mine-6"]) == {
        "mine-7": "asked for; multi-pit",
        "mine-6": "asked for",
    }
    with pytest.raises(MinsegError, match="mine 'mine-3' is no test mine of this run; test mines"):
        choose_mines(run, mines, ["mine-3", "mine-6"])


def test_few_mines_and_none_marked(make):
    run, mines = make(pits_with(0.5))
    assert choose_mines(run, mines) == {"mine-4": "best IoU; median IoU; worst IoU"}
