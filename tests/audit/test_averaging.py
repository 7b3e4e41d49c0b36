import numpy as np
import pandas as pd
import pytest

from minseg.audit import averaging
from minseg.scoring.conventions import NAMED, PAPER, STANDARD, Convention, score
from minseg.study.config import RunConfig
from minseg.study.tables import Result
from tests.study.made_runs import excavations, made_result

CONFIG = RunConfig(task="model1", bands="RGB", epochs=2)
ONE_ZERO = Convention("one / zero", "macro-imagewise", False, 1.0, 0.0)
ONE_SKIPPED = Convention("one / skipped", "macro-imagewise", False, 1.0, None)
SKIPPED_ZERO = Convention("skipped / zero", "macro-imagewise", False, None, 0.0)


def result_of(folder, row, *seeds, false=0):
    """From excavation hits by mine, of one or more seeds, to an entry's result."""
    return made_result(folder, row, CONFIG, *(excavations(hits, false) for hits in seeds))


def test_rows_of_the_print_break_the_identity_in_the_models_of_several_classes_alone():
    rows = averaging.paper_rows()
    assert rows.groupby(["task", "table"]).size().tolist() == [5, 12] * 4
    assert not rows["row"].str.startswith("AVG").any()
    line = rows[(rows["task"] == "model3") & (rows["row"] == "RGB")].iloc[0]
    assert line[["iou", "recall", "precision", "accuracy"]].tolist() == [0.720, 0.311, 0.489, 0.987]
    breaks = averaging.with_identity(rows, averaging.ROUNDING).groupby("task")["breaks"].sum()
    assert breaks.to_dict() == {"model1": 15, "model2": 0, "model3": 17, "model4": 0}


def test_what_rounding_can_do_is_no_breach():
    close = pd.DataFrame({"iou": [0.501, 0.502], "recall": [0.5, 0.5], "precision": [0.6, 0.6]})
    assert averaging.with_identity(close, averaging.ROUNDING)["breaks"].tolist() == [False, True]


def test_hypotheses_exclude_what_the_arithmetic_says():
    counted = averaging.excluded_rows(averaging.paper_rows())
    assert list(counted.index) == [one.name for one in averaging.HYPOTHESES]
    one, background, rest, pooled = counted.index
    assert counted.loc[one].tolist() == [15, 0, 17, 0]
    assert counted.loc[background, "model3"] == 17  # RGB: (7 * .311 + 1) / 8 = .397 < .720
    of_table3 = averaging.excluded_rows(averaging.paper_rows().query("table == 3"))
    assert of_table3.loc[rest, "model3"] == 5
    assert (counted.loc[pooled] == 17).all()  # precision would equal recall


@pytest.mark.parametrize("absent", [2, 5, 9])
@pytest.mark.parametrize("convention", [ONE_ZERO, ONE_SKIPPED, SKIPPED_ZERO])
def test_no_fewer_absent_classes_can_give_the_scores(absent, convention):
    random, rule = np.random.default_rng(absent), convention.absent_rule
    for _ in range(20):
        counts = random.integers(0, 50, (10, 2, 4)) + 1
        counts[:absent, 1, :3] = 0
        found = averaging.least_empty_share(pd.DataFrame([score(counts, convention)]))[rule].iloc[0]
        assert found <= absent / 10 + 1e-12
    counts[absent:, 1, :3] = [7, 0, 7]  # half found, nothing false: IoU is the recall
    exact = averaging.least_empty_share(pd.DataFrame([score(counts, convention)]))[rule].iloc[0]
    assert exact == pytest.approx(absent / 10)


def test_scores_of_runs_are_means_over_seeds_and_absent_classes_are_counted(tmp_path):
    result = result_of(tmp_path, "RGB", {"a": 4, "b": 0}, {"a": 8, "b": 8})
    results = [result, Result(result.entry, (), "none")]
    found = averaging.convention_scores(results, [STANDARD, PAPER])
    names = found[["convention", "task", "row"]].to_numpy().tolist()
    assert names == [["standard", "model1", "RGB"], ["paper", "model1", "RGB"]]
    assert found["iou"].iloc[0] == pytest.approx((0.2 + 0.8) / 2)
    by_seed = [run.scores(convention="paper")["iou"] for run in result.runs]
    assert found["iou"].iloc[1] == pytest.approx(np.mean(by_seed))
    slots = averaging.empty_slots([result]).iloc[0]
    # The second of three classes, the background being one, in both mines.
    assert slots["empty"] == slots["not_annotated"] == pytest.approx(2 / 6)


def test_the_convention_that_made_the_scores_is_the_nearest(tmp_path):
    hits = [{"a": 3, "b": 9, "c": 6}, {"a": 8, "b": 2, "c": 7}]
    results = [
        result_of(tmp_path, row, one, false=2) for row, one in zip(["RGB", "M"], hits, strict=True)
    ]
    ours = averaging.convention_scores(results, [*NAMED, ONE_ZERO])
    for truth in (PAPER, ONE_ZERO, STANDARD):
        made = ours[ours["convention"] == truth.name].drop(columns="convention")
        shifted = made.assign(**{m: made[m] + 0.01 for m in ("iou", "recall", "precision")})
        # The scores differ, the pattern does not.
        found = averaging.pattern_distances(ours, shifted)
        assert found.index[0] == truth.name
        assert found["distance"].iloc[0] == pytest.approx(0, abs=1e-12)
        assert found["agreeing"].iloc[0] == found["rows"].iloc[0] == 2
        assert found["distance"].is_monotonic_increasing
    assert averaging.pattern_distances(ours, averaging.paper_rows().query("task == 'model4'")).empty


def test_rankings_under_two_conventions():
    ious = {"RGB": (0.5, 0.5), "R+N": (0.4, 0.8), "M": (0.3, 0.3)}
    wide = pd.DataFrame(ious, index=["standard", "paper"]).rename_axis("convention").reset_index()
    ours = wide.melt("convention", var_name="row", value_name="iou").assign(task="model1")
    found = averaging.ranking_changes(ours).set_index("convention")
    assert found.loc["standard", "tau"] == 1
    assert found.loc["paper", "tau"] == pytest.approx(1 / 3)  # one of three pairs is turned
    assert found["same_best"].tolist() == [True, False]
    order = averaging.ranks(ours)
    order = order.query("convention == 'paper'").set_index("row")["rank"]
    assert order.to_dict() == {"RGB": 2, "R+N": 1, "M": 3}
    assert averaging.ranking_changes(ours[ours["row"] == "RGB"]).empty
