import numpy as np
import pytest

from minseg.report import tables
from minseg.study.paper import paper_scores
from tests.report.conftest import counted_result


def test_dataset_facts(dataset):
    facts = tables.dataset_table(dataset)[""]
    assert facts["mines"] == "14"
    assert facts["years"] == "2019 to 2020"
    assert "synthetic" in facts["kind"]
    assert facts["content hash"] == dataset.digest


def test_parts(dataset):
    parts = tables.part_table(dataset)
    assert parts["mines"].sum() == 14
    assert parts.loc["train", "scenes used"] == 2 * parts.loc["train", "mines"]


def test_overlaps_match_a_count_by_hand(tmp_path, dataset):
    found = tables.overlap_table(dataset)
    assert list(found.index) == ["excavation", "preparatory work area"]
    assert np.diag(found).tolist() == [1, 1]
    assert found.loc["excavation", "preparatory work area"] == 0  # pit and strip lie apart


def test_scores_stand_beside_the_papers(perfect_run):
    table = tables.score_table({"network": [perfect_run]}, "standard")
    expected = perfect_run.scores()
    assert table.loc["network", "IoU"] == f"{expected['iou']:.3f}"
    assert table.loc["network", "precision"] == "1.000"
    assert table.loc["network", "IoU, spread over seeds"] == "one seed"
    low, high = (
        float(x) for x in table.loc["network", "IoU, 95 % interval over mines"].split(" to ")
    )
    assert low <= expected["iou"] <= high
    published = table.loc["paper, Table 3 (its own mines)"]
    assert published["IoU"] == f"{paper_scores('model1', 'RGB')['iou']:.3f}"
    assert published["IoU, spread over seeds"] == "not given"


def test_the_interval_is_that_of_the_mean_over_seeds(tmp_path):
    seeds = [{"a": 0.2, "b": 0.8, "c": 0.5}, {"a": 0.8, "b": 0.2, "c": 0.5}]
    result = counted_result(tmp_path, "model1", "RGB", seeds)
    table = tables.score_table({"network": result.runs}, "paper")
    value, between, spread = table.loc[
        "network", ["IoU", "IoU, 95 % interval over mines", "IoU, spread over seeds"]
    ]
    # What one seed finds more the other finds less: whatever the mines, the mean is the same.
    assert between == f"{value} to {value}"
    assert spread == "0.000"


def test_mine_scores_name_every_model_and_mine(perfect_run):
    rows = tables.mine_scores({"a": perfect_run, "b": perfect_run})
    assert len(rows) == 2 * perfect_run.counts.query("part == 'test'")["mine"].nunique()
    assert set(rows["model"]) == {"a", "b"}


def test_per_class_scores(perfect_run):
    table = tables.per_class_table({"network": perfect_run})
    expected = perfect_run.scores()["per_class"]["iou"]
    assert table["network", "IoU"].tolist() == pytest.approx(expected.round(3).tolist())


def test_provenance(perfect_run):
    row = tables.provenance_table([perfect_run]).loc["abc"]
    assert row["code"] == "01234567 (changed since)"
    assert row["minutes"] == "1.5"
