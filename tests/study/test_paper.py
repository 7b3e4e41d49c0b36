import pytest

from minseg import MinsegError
from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.study.paper import paper_scores, paper_table


def test_table_3_is_whole():
    table = paper_table(3)
    assert len(table) == 5 * 4 * 4
    assert not table.duplicated(["bands", "model", "metric"]).any()
    assert table["value"].between(0, 1).all()
    assert set(table["bands"]) == set(BAND_CONFIGURATIONS)
    # Sums of the printed columns, added up by hand from the paper.
    sums = table.groupby(["model", "metric"])["value"].sum().round(3)
    assert sums["model1", "iou"] == 3.408
    assert sums["model2", "precision"] == 3.749
    assert sums["model3", "recall"] == 1.498
    assert sums["model4", "accuracy"] == 4.808


def test_rows_of_table_3():
    assert paper_scores("model3", "RGB") == {
        "iou": 0.720,
        "recall": 0.311,
        "precision": 0.489,
        "accuracy": 0.987,
    }
    assert paper_scores("dam", "RGB") is None
    assert paper_scores("model1", "B04") is None


def test_missing_table():
    with pytest.raises(MinsegError, match=r"table99\.csv"):
        paper_table(99)
