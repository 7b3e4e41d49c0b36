from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from minseg import MinsegError
from minseg.scoring.intervals import RESAMPLES, interval
from minseg.scoring.metrics import CONVENTIONS, METRICS
from minseg.study import scheduling
from minseg.study.config import PROFILES, RunConfig
from minseg.study.runs import RunStore, run_key
from minseg.study.study import Study
from minseg.study.tables import (
    DIFFERENCE_COLUMNS,
    GENERAL_OF,
    GROUPS,
    MODELS,
    Entry,
    Result,
    band_entries,
    chosen_rows,
    difference_table,
    predicting_runs,
    results,
    scored,
    scored_rows,
    split_entries,
    validation_iou,
)
from tests.conftest import write_small_dataset
from tests.study.made_runs import excavation, excavations, made_result, write_run

TESTED = {"mine-6": excavation(2), "mine-7": excavation(8)}
FOUND = {"validation": {"mine-3": excavation(5)}, "test": TESTED}
NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Nine mines: every part has one of each raw material, and all are open-pit mines."""
    path = tmp_path_factory.mktemp("mixed") / "mines"
    dataset = write_small_dataset(path, 9, (2020,), raw_material=["RR", "MO", "CL"] * 3)
    parts = ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    return replace(dataset, split=dataset.split.assign(part=parts))


@pytest.fixture
def study(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv(scheduling.SCHEDULER_VARIABLE, NOWHERE)  # nothing is trained here
    monkeypatch.setattr(scheduling, "ANSWER_WITHIN_S", 0.2)
    return Study("demo", mixed, (3, 4), RunStore(tmp_path))


def store_runs(study, config):
    """Put a run of each seed into the store."""
    return tuple(
        write_run(
            study.store.path / run_key(config.replace(seed=seed), study.dataset),
            config.replace(seed=seed),
            {config.epochs: FOUND},
        )
        for seed in study.seeds
    )


def test_bands_table_has_every_task_with_every_configuration(study):
    entries = band_entries(study)
    assert [(e.task, e.row) for e in entries] == [
        (task, bands) for task in MODELS for bands in ("RGB", "R+N", "R+N+S", "M", "M+S")
    ]
    assert len({entry.config for entry in entries}) == 20
    assert all(entry.mines is None and entry.problem is None for entry in entries)
    expected = PROFILES["demo"].replace(task="model2", bands="M+S", seed=3)
    assert entries[9].config == expected
    (only,) = band_entries(study, ["excavation, dam"], ["B04,B03,B02"], epochs=7)
    assert (only.task, only.row) == (only.config.task, only.config.bands)
    assert (only.config.epochs, only.config.architecture) == (7, PROFILES["demo"].architecture)


def test_splits_table_tests_general_models_on_the_mines_of_each_subset(study):
    entries = split_entries(study, ["model1", "model4"], {"model1": "M"})
    codes = [code for group in GROUPS.values() for code in group]
    assert [(e.task, e.row) for e in entries] == [
        (task, row) for task in ("model1", "model4") for code in codes for row in (code, f"G{code}")
    ]
    by_row = {entry.row: entry for entry in entries if entry.task == "model1"}
    for code in codes:
        targeted, general = by_row[code], by_row[GENERAL_OF[code]]
        assert targeted.config.subset == code
        assert general.config.subset is None
        assert targeted.config.replace(subset=None) == general.config
        assert targeted.mines == general.mines
    assert by_row["MO"].mines == ("mine-1", "mine-4", "mine-7")
    forest, config = by_row["MO"].baseline(), by_row["MO"].config.baseline()
    assert forest == Entry("model1", "MO, per-pixel forest", config, by_row["MO"].mines)
    assert config.subset == "MO"
    assert len(by_row["GOP"].mines) == 9
    bands = Counter((entry.task, entry.config.bands) for entry in entries)
    assert bands == {("model1", "M"): 12, ("model4", "RGB"): 12}
    for row in ("OC", "GOC", "MT", "GMT"):
        assert f"no mine has mine_type {row[-2:]}" in by_row[row].problem
    assert by_row["GRR"].problem is None
    general = {e.config for e in split_entries(study) if e.row.startswith("G")}
    assert len(general) == 4
    assert general <= {entry.config for entry in band_entries(study)}  # trained once for both


def test_results_are_the_runs_of_every_seed(study):
    entries = split_entries(study, ["model1"], {}, architecture="linknet")
    entries += band_entries(study, ["model1"], ["RGB", "M"], architecture="linknet")
    expected = {}
    for entry in entries:
        if entry.row in ("MO", "GMO"):
            expected[entry.config] = store_runs(study, entry.config)
    found = {result.entry.row: result for result in results(study, [*entries[2:4], *entries[-2:]])}
    assert list(found) == ["MO", "GMO", "RGB", "M"]
    for row in ("MO", "GMO"):
        result = found[row]
        assert [run.config.seed for run in result.runs] == [3, 4]
        assert result.runs == expected[result.entry.config]
        assert set(result.counts(result.runs[0])["mine"]) == {"mine-7"}
    assert found["RGB"].runs == found["GMO"].runs  # one configuration, one run
    assert set(found["RGB"].counts(found["RGB"].runs[1])["mine"]) == {"mine-6", "mine-7"}
    assert found["M"].runs == ()
    assert "has no band" in found["M"].problem
    lacking = Entry("model1", "OC", study.config(), problem="no mine has mine_type OC")
    damaged = found["RGB"].runs[1].path / "history.csv"
    damaged.unlink()
    broken, unrun = results(study, [found["RGB"].entry, lacking])
    assert broken.runs == ()
    assert broken.problem.startswith(f"{damaged.parent}: history.csv is missing")
    assert unrun == Result(lacking, (), "no mine has mine_type OC")


CONFIG = RunConfig(task="model1", bands="RGB", epochs=2)
HITS = {"m0": 2, "m1": 9, "m2": 5, "m3": 4}
IOU = METRICS.index("iou")


@pytest.fixture
def result_of(tmp_path):
    """From excavation hits by test mine, of one or more seeds, to an entry's result."""

    def make(*seeds, row="RGB", mines=None, false=0):
        tested = (excavations(hits, false) for hits in seeds)
        return made_result(tmp_path, row, CONFIG, *tested, mines=mines)

    return make


def test_scores_are_means_over_seeds_of_scores_over_pooled_mines(result_of, tmp_path):
    found = scored(result_of({"m0": 4, "m1": 6}, {"m0": 8, "m1": 8}), "standard")
    assert (found.task, found.row, found.num_mines) == ("model1", "RGB", 2)
    # Excavation alone is there: IoU = recall = hits / 10, nothing is false.
    by_metric = dict(zip(METRICS, zip(found.values, found.spread, strict=True), strict=True))
    assert by_metric["iou"] == by_metric["recall"] == pytest.approx(((0.5 + 0.8) / 2, 0.3))
    assert by_metric["precision"] == pytest.approx((1, 0))
    assert by_metric["accuracy"] == pytest.approx(((0.95 + 0.98) / 2, 0.03))
    assert found.absent == ("preparatory work area",)
    # A class that only one mine holds is not absent.
    with_strip = [[80, 0, 5, 15], [5, 0, 5, 90], [5, 5, 0, 90]]
    tested = {"m0": excavation(3), "m1": with_strip}
    row = scored(made_result(tmp_path, "RGB", CONFIG, tested), "standard")
    assert row.absent == ()
    assert row.values[IOU] == pytest.approx((8 / 20 + 0.5) / 2)


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
    found = scored(result_of(HITS, mines=("m1", "m3", "of another part")), "standard")
    assert found.mines == ("m1", "m3")
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


def test_rows_are_averaged_each_weighing_the_same_where_all_their_parts_have_runs(result_of):
    codes = GROUPS["GM"]
    hits = [({f"m-{code}": k}, {f"m-{code}": 2 * k}) for k, code in enumerate(codes, 3)]
    hits[0][0]["m9"], hits[0][1]["m9"] = hits[0][0]["m-RR"], hits[0][1]["m-RR"]  # two mines
    rows = [result_of(*of_seeds, row=code) for of_seeds, code in zip(hits, codes, strict=True)]
    rows += [result_of(hits[k][0], row=f"G{code}") for k, code in enumerate(codes[:2])]
    rows.append(Result(Entry("model1", "GCL", CONFIG), problem="no run"))
    found = scored_rows(rows, "standard")
    assert [one.row for one in found] == ["RR", "MO", "CL", "GRR", "GMO", "AVG RR+MO+CL"]
    average = found[-1]
    assert average.by_seed[:, IOU] == pytest.approx([0.4, 0.8])
    assert (average.values[IOU], average.spread[IOU]) == pytest.approx((0.6, 0.4))
    assert average.resampled == pytest.approx(sum(one.resampled for one in found[:3]) / 3)
    assert (average.num_mines, average.fewest) == (4, 1)
    assert average.absent == ("preparatory work area",)


def test_differences_are_paired_over_mines(result_of):
    better = {mine: hits + 1 for mine, hits in HITS.items()}
    rows = [
        scored(result_of(better, row="M"), "standard"),
        scored(result_of(dict(reversed(HITS.items())), row="RGB"), "standard"),
    ]
    table = difference_table(rows, {"M": "RGB"}, 3)
    assert list(table.columns) == DIFFERENCE_COLUMNS
    assert table["metric"].tolist() == list(METRICS)
    iou = table.iloc[IOU]
    assert (iou["row"], iou["reference"]) == ("M", "RGB")
    # One pixel more of ten in every mine is a tenth with any mines, wide as both intervals are.
    assert iou[["difference", "low", "high"]].tolist() == pytest.approx([0.1] * 3)
    assert iou["paper"] == pytest.approx(0.710 - 0.694)
    low, high = interval(rows[1].resampled[:, IOU])
    assert high - low > 0.2
    for references in ({"M": "R+N"}, {"R+N": "M"}, {}):
        assert difference_table(rows, references, 3).empty
    assert difference_table(rows, {"M": "RGB"}, None)["paper"].isna().all()


def test_differences_are_told_from_zero_by_one_rule_for_many(result_of):
    def told(mines, *gains):
        hits = {f"m{k}": 2 + k % 3 for k in range(mines)}
        better = ({mine: n + gain for mine, n in hits.items()} for gain in gains)
        tested = {f"R{k}": one for k, one in enumerate(better)}
        references = dict.fromkeys(tested, "RGB")
        tested["RGB"] = hits
        rows = [scored(result_of(one, row=row), "standard") for row, one in tested.items()]
        table = difference_table(rows, references, None)
        iou = table[table["metric"] == "iou"]
        assert set(iou["comparisons"]) == {len(gains)}
        assert (iou["widened_low"] <= iou["low"]).all()
        assert (iou["widened_high"] >= iou["high"]).all()
        return iou["told"].tolist()

    assert told(6, 1) == [True]
    assert told(6, 1, 0) == [False, False]  # two comparisons take seven mines
    assert told(7, 1, 0) == [True, False]
    assert told(1, 3) == [False]


def test_the_validation_part_chooses_rows(tmp_path):
    def result(row, validation, test):
        found = {2: {"validation": {"v": excavation(validation)}, "test": {"m": excavation(test)}}}
        return Result(Entry("model1", row, CONFIG), (write_run(tmp_path / row, CONFIG, found),))

    results = [result("RGB", 8, 3), result("M", 5, 9)]
    results.append(Result(Entry("model2", "M", CONFIG), problem="no run"))
    assert chosen_rows(results) == {"model1": "RGB"}
    assert validation_iou(results[0]) == pytest.approx(0.8)
    assert chosen_rows([]) == {}


def test_pages_predict_with_the_first_seed_of_the_papers_bands(study):
    config = study.config(task="model1", bands="M")
    kept = [*store_runs(study, config), *store_runs(study, config.replace(bands="RGB"))]
    kept += store_runs(study, config.replace(subset="MO"))
    for run in kept:
        (run.path / "weights.safetensors").touch()
    store_runs(study, config.replace(epochs=9))  # without weights
    assert predicting_runs(study.store) == [kept[0].key]
    assert set(predicting_runs(study.store, every=True)) == {run.key for run in kept}
    (kept[1].path / "config.json").write_text("cut off")
    with pytest.raises(MinsegError, match=rf"{kept[1].path}: config\.json is cut off"):
        predicting_runs(study.store)
