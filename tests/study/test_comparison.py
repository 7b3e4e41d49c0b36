import numpy as np
import pytest

from minseg.learning.intervals import RESAMPLES, interval
from minseg.learning.metrics import CONVENTIONS, METRICS, scores
from minseg.study.comparison import (
    DIFFERENCE_COLUMNS,
    SCORE_COLUMNS,
    average,
    chosen_rows,
    difference_table,
    score_table,
    scored,
    scored_rows,
    validation_iou,
)
from minseg.study.config import RunConfig
from minseg.study.experiments import GROUPS, Entry, Result
from minseg.study.runs import counts_array
from tests.study.made_runs import excavation, write_run

CONFIG = RunConfig(task="model1", bands="RGB", epochs=2)
HITS = {"m0": 2, "m1": 9, "m2": 5, "m3": 4}
IOU = METRICS.index("iou")


@pytest.fixture
def result_of(tmp_path):
    """From excavation hits by test mine, of one or more seeds, to an entry's result."""

    def make(*seeds, row="RGB", mines=None, false=0):
        runs = []
        for seed, hits in enumerate(seeds):
            tested = {mine: excavation(number, false) for mine, number in hits.items()}
            found = {2: {"validation": {"v": excavation(10)}, "test": tested}}
            folder = tmp_path / f"{row}-{seed}-{len(list(tmp_path.iterdir()))}"
            runs.append(write_run(folder, CONFIG.replace(seed=seed), found))
        return Result(Entry("model1", row, CONFIG, mines), tuple(runs))

    return make


def no_paper(task, row):
    return None


def test_scores_are_means_over_seeds_of_scores_over_pooled_mines(result_of):
    found = scored(result_of({"m0": 4, "m1": 6}, {"m0": 8, "m1": 8}), "standard")
    assert (found.task, found.row, found.num_mines) == ("model1", "RGB", 2)
    # Excavation alone is there: IoU = recall = hits / 10, nothing is false.
    assert dict(zip(METRICS, found.values, strict=True)) == pytest.approx(
        {"iou": (0.5 + 0.8) / 2, "recall": 0.65, "precision": 1, "accuracy": (0.95 + 0.98) / 2}
    )
    assert dict(zip(METRICS, found.spread, strict=True)) == pytest.approx(
        {"iou": 0.3, "recall": 0.3, "precision": 0, "accuracy": 0.03}
    )
    assert found.absent == ("preparatory work area",)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_scores_agree_with_those_of_the_runs(result_of, convention):
    result = result_of(HITS, false=2)
    expected = result.runs[0].scores(convention=convention)
    found = scored(result, convention)
    assert found.values == pytest.approx([expected[metric] for metric in METRICS])
    assert (found.spread == 0).all()
    validation = scored(result, convention, "validation")
    assert validation.num_mines == 1
    assert validation.values[IOU] == result.runs[0].scores("validation", convention)["iou"]


def test_only_the_mines_of_an_entry_count(result_of):
    result = result_of(HITS, mines=("m1", "m3", "of another part"))
    found = scored(result, "standard")
    assert found.num_mines == 2
    assert found.values[IOU] == pytest.approx((9 + 4) / 20)
    alone = scored(result_of({"m1": 9, "m3": 4}), "standard")
    assert (found.resampled == alone.resampled).all()


def test_resamples_are_means_over_seeds_of_the_same_resamples(result_of):
    other = {mine: 10 - hits for mine, hits in HITS.items()}
    both, one, two = (scored(result_of(*s), "standard") for s in ([HITS, other], [HITS], [other]))
    assert both.resampled.shape == (RESAMPLES, 4)
    assert both.resampled == pytest.approx((one.resampled + two.resampled) / 2)
    # Where one seed finds more the other finds less: the mean is the same with any mines.
    assert both.resampled[:, IOU] == pytest.approx(np.full(RESAMPLES, 0.5))
    assert one.resampled[:, IOU].std() > 0.05


def test_averages_weigh_each_row_the_same(result_of):
    rows = [
        scored(result_of({"m0": 2}, {"m0": 4}, row="RR"), "standard"),
        scored(result_of({"m1": 8, "m2": 6}, {"m1": 8, "m2": 8}, row="MO"), "standard"),
    ]
    found = average(rows, "AVG")
    assert (found.task, found.row, found.num_mines) == ("model1", "AVG", 3)
    assert found.values[IOU] == pytest.approx((0.3 + 0.75) / 2)
    assert found.spread[IOU] == pytest.approx((0.2 + 0.1) / 2)
    assert found.resampled == pytest.approx((rows[0].resampled + rows[1].resampled) / 2)
    assert found.absent == ("preparatory work area",)


def test_rows_are_averaged_where_all_their_parts_have_runs(result_of):
    codes = GROUPS["GM"]
    rows = [result_of({f"m-{code}": k}, row=code) for k, code in enumerate(codes, 3)]
    rows += [result_of({f"m-{code}": k}, row=f"G{code}") for k, code in enumerate(codes[:2], 3)]
    rows.append(Result(Entry("model1", "GCL", CONFIG), problem="no run"))
    found = scored_rows(rows, "standard")
    assert [one.row for one in found] == ["RR", "MO", "CL", "GRR", "GMO", "AVG RR+MO+CL"]
    assert found[-1].values[IOU] == pytest.approx((0.3 + 0.4 + 0.5) / 3)


def test_score_table_sets_each_score_beside_the_papers(result_of):
    rows = [scored(result_of(HITS, row=row), "standard") for row in ("RGB", "M")]
    published = {"iou": 0.7, "recall": 0.8, "precision": 0.9, "accuracy": 0.99}
    table = score_table(rows, lambda task, row: published if row == "M" else None)
    assert list(table.columns) == SCORE_COLUMNS
    assert table["row"].tolist() == ["RGB"] * 4 + ["M"] * 4
    assert table["metric"].tolist() == list(METRICS) * 2
    assert table["paper"][:4].isna().all()
    assert table["paper"][4:].tolist() == list(published.values())
    iou = table.iloc[4 + IOU]
    assert iou["value"] == pytest.approx(0.5)
    assert (iou["low"], iou["high"]) == interval(rows[1].resampled[:, IOU])
    assert 0.2 <= iou["low"] < 0.4 < 0.6 < iou["high"] <= 0.9
    assert set(table["mines"]) == {4}
    assert set(table["absent"]) == {"preparatory work area"}


def test_differences_are_paired_over_mines(result_of):
    better = {mine: hits + 1 for mine, hits in HITS.items()}
    rows = [
        scored(result_of(better, row="M"), "standard"),
        scored(result_of(dict(reversed(HITS.items())), row="RGB"), "standard"),
    ]
    paper = {"RGB": {"iou": 0.4, "recall": 0.5}, "M": {"iou": 0.7}}
    table = difference_table(rows, {"M": "RGB"}, lambda task, row: paper[row])
    assert list(table.columns) == DIFFERENCE_COLUMNS
    assert table["metric"].tolist() == list(METRICS)
    iou = table.iloc[IOU]
    assert (iou["row"], iou["reference"]) == ("M", "RGB")
    # One pixel more of ten in every mine is a tenth with any mines, wide as both intervals are.
    assert iou[["difference", "low", "high"]].tolist() == pytest.approx([0.1] * 3)
    assert iou["paper"] == pytest.approx(0.3)
    assert np.isnan(table["paper"][METRICS.index("recall")])
    low, high = interval(rows[1].resampled[:, IOU])
    assert high - low > 0.2


def test_differences_are_told_from_zero_by_one_rule_for_many(result_of):
    def rows_of(mines, *gains):
        hits = {f"m{k}": 2 + k % 3 for k in range(mines)}
        better = ({mine: n + gain for mine, n in hits.items()} for gain in gains)
        rows = {f"R{k}": one for k, one in enumerate(better)}
        return [
            scored(result_of(one, row=row), "standard")
            for row, one in (rows | {"RGB": hits}).items()
        ]

    def told(mines, *gains):
        to_rgb = {f"R{k}": "RGB" for k in range(len(gains))}
        table = difference_table(rows_of(mines, *gains), to_rgb, no_paper)
        iou = table[table["metric"] == "iou"]
        assert set(iou["comparisons"]) == {len(gains)}
        assert (iou["widened_low"] <= iou["low"]).all() and (
            iou["widened_high"] >= iou["high"]
        ).all()
        return iou["told"].tolist()

    assert told(6, 1) == [True]
    assert told(6, 1, 0) == [False, False]  # two comparisons take seven mines
    assert told(7, 1, 0) == [True, False]
    assert told(1, 3) == [False]


def test_the_validation_part_chooses_rows(tmp_path):
    def result(row, validation, test):
        found = {2: {"validation": {"v": excavation(validation)}, "test": {"m": excavation(test)}}}
        run = write_run(tmp_path / row, CONFIG, found)
        return Result(Entry("model1", row, CONFIG), (run,))

    results = [result("RGB", 8, 3), result("M", 5, 9)]
    results.append(Result(Entry("model2", "M", CONFIG), problem="no run"))
    assert chosen_rows(results) == {"model1": "RGB"}
    assert validation_iou(results[0]) == pytest.approx(0.8)
    assert chosen_rows([]) == {}


def test_differences_need_both_sides_of_one_task(result_of):
    rows = [scored(result_of(HITS, row=row), "standard") for row in ("M", "R+N")]
    for references in ({"M": "RGB"}, {"RGB": "M"}, {}):
        table = difference_table(rows, references, no_paper)
        assert table.empty
        assert list(table.columns) == DIFFERENCE_COLUMNS
    table = difference_table(rows, {"M": "R+N"}, no_paper)
    assert (table["difference"] == 0).all()
    assert table["paper"].isna().all()


def test_class_that_only_one_mine_holds_is_not_absent(result_of, tmp_path):
    with_strip = [[80, 0, 5, 15], [5, 0, 5, 90], [5, 5, 0, 90]]
    tested = {"m0": excavation(3), "m1": with_strip}
    found = {2: {"validation": {"v": excavation(1)}, "test": tested}}
    run = write_run(tmp_path / "strip", CONFIG, found)
    row = scored(Result(Entry("model1", "RGB", CONFIG), (run,)), "standard")
    assert row.absent == ()
    expected = scores(counts_array(run.counts_of("test"), run.task))
    assert row.values[IOU] == pytest.approx(expected["iou"]) == pytest.approx((8 / 20 + 0.5) / 2)
