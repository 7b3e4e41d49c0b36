from itertools import pairwise
from math import inf, sqrt

import numpy as np
import pandas as pd
import pytest

from minseg.audit import power
from minseg.scoring.intervals import bootstrap, interval
from minseg.study.config import RunConfig
from minseg.study.paper import paper_table
from minseg.study.tables import Result, scored_rows
from tests.study.made_runs import made_result

CONFIG = RunConfig(task="excavation", bands="RGB", epochs=2)
UNION = 10_000


def counted(ious):
    """Counts (mines, 2, 4) of one class of which each mine has the IoU given."""
    hits = np.rint(UNION * np.clip(ious, 0, 1)).astype(int)
    missed = UNION - hits
    nothing = np.zeros_like(hits)
    background = np.stack([nothing + UNION, missed, nothing, hits], axis=1)
    return np.stack([background, np.stack([hits, nothing, missed, nothing + UNION], axis=1)], 1)


def two_models(random, num_mines, difference, spread):
    """Counts of two models; their IoU differs by `difference` on average, by mine more or less.

    The union is the same in every mine, so that the IoU of the pool is the mean over mines.
    """
    first = random.normal(0.5, 0.1, num_mines)
    return counted(first + random.normal(difference, spread, num_mines)), counted(first)


def resampled_difference(one, other):
    names = [f"m{k:03d}" for k in range(len(one))]
    return bootstrap(one, names, "standard")[:, 0] - bootstrap(other, names, "standard")[:, 0]


def result_of(folder, row, ious, task="excavation"):
    tested = {f"m{k}": counts.tolist() for k, counts in enumerate(counted(np.asarray(ious)))}
    return made_result(folder, row, CONFIG.replace(task=task), tested)


def test_a_difference_of_the_smallest_size_is_found_four_times_in_five(monkeypatch):
    monkeypatch.setattr("minseg.scoring.intervals.RESAMPLES", 400)
    random = np.random.default_rng(0)
    spread, num_mines = 0.05, 38
    difference = power.smallest_difference(spread, num_mines)
    found = []
    for _ in range(400):
        low, high = interval(
            resampled_difference(*two_models(random, num_mines, difference, spread))
        )
        found.append(low > 0 or high < 0)
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)  # three standard errors of 400 draws
    assert abs(power.STANDARD_ERRORS - 2.8016) < 1e-4


def test_needed_mines_and_smallest_difference_undo_each_other():
    for num_mines in (1, 38, 500):
        assert power.needed_mines(power.smallest_difference(0.1, num_mines), 0.1) == num_mines
    assert power.needed_mines(-0.01, 0.1) == power.needed_mines(0.01, 0.1)
    assert power.needed_mines(0.01, 0.2) == pytest.approx(4 * power.needed_mines(0.01, 0.1), abs=4)
    assert power.needed_mines(0, 0.1) == inf
    assert np.isnan(power.needed_mines(0.1, np.nan))
    of_difference = 0.2 * sqrt(2 * (1 - power.needed_correlation(0.05, 0.2)))
    assert power.smallest_difference(of_difference) == pytest.approx(0.05)
    assert power.needed_correlation(5, 0.2) == -1


def test_spread_over_mines_is_the_standard_deviation_whatever_their_number():
    random = np.random.default_rng(1)
    for num_mines in (6, 40):
        one, other = two_models(random, num_mines, 0.02, 0.05)
        differences = (one[:, 1, 0] - other[:, 1, 0]) / UNION
        found = power.mine_spread(resampled_difference(one, other), num_mines)
        assert found == pytest.approx(differences.std(ddof=1), rel=0.05)
    assert np.isnan(power.mine_spread(np.array([0.1, 0.1]), 1))
    assert np.isnan(power.mine_spread(np.array([np.nan]), 5))


def test_pairs_of_band_configurations(tmp_path):
    ious = {"RGB": [0.5, 0.6, 0.4, 0.7], "R+N": [0.6, 0.7, 0.5, 0.8], "M": [0.5, 0.9, 0.2, 0.7]}
    results = [result_of(tmp_path, row, values) for row, values in ious.items()]
    other_task = result_of(tmp_path, "RGB", ious["RGB"], "dam")
    none = Result(other_task.entry, (), "none")
    found = power.band_pairs(scored_rows([*results, other_task, none], "standard"))
    pairs = [(one.row, other.row) for one, other in found]
    assert pairs == [("RGB", "R+N"), ("RGB", "M"), ("R+N", "M")]
    summed = power.task_spreads(found).loc["excavation"]
    assert summed["pairs"] == 3
    assert summed["low"] == pytest.approx(0, abs=1e-9)  # RGB to R+N: the same gain in every mine
    apart = [np.std(np.subtract(ious["M"], ious[row]), ddof=1) for row in ("RGB", "R+N")]
    assert summed["high"] == pytest.approx(max(apart), rel=0.05)
    assert summed["spread"] == pytest.approx(np.sqrt(np.sum(np.square(apart)) / 3), rel=0.05)
    assert summed["resolvable"] == pytest.approx(
        power.STANDARD_ERRORS * summed["spread"] / sqrt(38)
    )


def test_pairs_of_targeted_and_general_models(tmp_path):
    better, worse = [0.5, 0.6, 0.4, 0.7], [0.4, 0.6, 0.1, 0.7]
    ious = {"RR": worse, "MO": worse, "GMO": worse, "GRR": better, "CL": better, "GCL": better}
    results = [result_of(tmp_path, row, values) for row, values in ious.items()]
    rows = scored_rows(results, "standard")
    assert {"AVG RR+MO+CL", "AVG GM"} <= {one.row for one in rows}  # no pair of their own
    pairs = [(one.row, other.row) for one, other in power.split_pairs(rows)]
    assert pairs == [("RR", "GRR"), ("MO", "GMO"), ("CL", "GCL")]


def test_single_scores_and_too_few_mines(tmp_path):
    ious = [0.2, 0.4, 0.6, 0.8]
    rows = scored_rows([result_of(tmp_path, "RGB", ious)], "standard")
    (line,) = power.single_spreads(rows).itertuples()
    assert line.iou == pytest.approx(0.5)
    assert line.spread == pytest.approx(np.std(ious, ddof=1), rel=0.05)
    assert line.half_width == pytest.approx(1.96 * line.spread / sqrt(38), rel=1e-3)
    few = scored_rows([result_of(tmp_path, row, ious[:3]) for row in ("R+N", "M")], "standard")
    assert power.single_spreads(few).empty
    spreads = power.task_spreads(power.band_pairs(few))
    assert spreads.empty
    assert power.with_needed(power.paper_differences(), spreads, 3).empty


def test_differences_of_the_print():
    found = power.paper_differences().set_index(["table", "task", "row"])
    assert found.loc[(3, "model1", "best − second"), "difference"] == pytest.approx(0.011)
    assert found.loc[(3, "model2", "best − second"), "difference"] == pytest.approx(0.001)
    assert (3, "model2", "best − RGB") not in found.index  # RGB is printed as best
    assert found.loc[(4, "model1", "RR"), "difference"] == pytest.approx(0.116)
    assert found.loc[(4, "model1", "RR"), "mines"] == 21
    assert found.loc[(4, "model1", "AVG RR+MO+CL"), "mines"] == 21 + 11 + 7
    assert (found.loc[3]["difference"] > 0).all()
    assert found.loc[(3, "model1", "best − last"), "mines"] == 38


def test_needed_mines_of_the_paper_follow_the_spread():
    spreads = pd.DataFrame(
        {"low": [0.01], "spread": [0.05], "high": [0.1]}, index=pd.Index(["model1"], name="task")
    )
    paper = power.paper_differences()
    found = power.with_needed(paper, spreads, 3).set_index("row")
    assert set(found["task"]) == {"model1"}
    second = found.loc["best − second"]
    assert second["needed"] == np.ceil((power.STANDARD_ERRORS * 0.05 / 0.011) ** 2)
    assert not second["enough"]
    assert found.loc["best − last", "enough"]
    for _, line in found.iterrows():
        three = [line["needed_low"], line["needed"], line["needed_high"]]
        assert all(one <= other for one, other in pairwise(three))
    average = power.with_needed(paper, spreads, 4).set_index("row").loc["AVG RR+MO+CL"]
    assert average["needed"] == inf  # printed as equal
    assert not average["enough"]


def test_the_papers_own_mines():
    found = power.paper_mine_spreads()
    excavation = paper_table(6).query("metric == 'iou' and `class` == 'excavation'")["value"]
    assert found.loc["model1", "spread"] == pytest.approx(excavation.std())
    assert found["mines"].to_dict() == {"model1": 5, "model2": 4, "model3": 3}
    assert found["correlation"].between(0.98, 1).all()
