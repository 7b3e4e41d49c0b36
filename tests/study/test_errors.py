import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import jaccard_score, precision_score, recall_score

from minseg import MinsegError
from minseg.data.labels import IGNORE_BITS, encode_bits
from minseg.data.radiometry import ChannelStatistics
from minseg.maps.regions import find_components
from minseg.scoring.intervals import bootstrap, interval
from minseg.scoring.metrics import METRICS
from minseg.study.errors import (
    ALL_CLASSES,
    CONDITIONS,
    NO_CLASS,
    OTHER_CLASS,
    SMALL_OBJECT,
    SNOW,
    UNEXPLAINED,
    UNFAMILIAR,
    WATER,
    WATERFALL,
    WITHIN_1_PX,
    WITHIN_2_PX,
    best_median_worst,
    boundary_distance_px,
    choose_mines,
    condition_shares,
    explain,
    find_objects,
    mine_scores,
    pooled,
    spectral_distances,
)
from minseg.study.runs import scene_prediction
from tests.study.predicted import (
    BANDS,
    DUMP,
    EVERYWHERE,
    GROUND,
    PIT,
    SIDE,
    STRIP,
    rectangle,
    write_mines,
)
from tests.study.predicted import SNOW as SNOW_LOOK
from tests.study.predicted import WATER as WATER_LOOK


def pits_with(*ious):
    """Test mines with a pit of 12 by 12 pixels, of which some rows are found and no more."""
    return [{"excavation": rectangle(4, 4, round(12 * iou), 12)} for iou in ious]


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


def test_few_mines_and_ties(make):
    run, mines = make(pits_with(0.5))
    assert choose_mines(run, mines) == {"mine-4": "best IoU; median IoU; worst IoU"}
    by_mine = pd.DataFrame({"iou": [0.1, 0.9, float("nan"), 0.5]}, index=list("abcd"))
    assert best_median_worst(by_mine) == {"best": "b", "median": "d", "worst": "a"}
    assert best_median_worst(by_mine.loc[["c"]]) == {}


@pytest.fixture
def make_explanations(make):
    """From labels and predictions of the test mines to what explains the errors."""

    def make_explanations(task, labels, predictions, **dataset):
        run, mines = make(predictions, labels, task, **dataset)
        explanations = explain(run, mines)
        # The errors are those that the run was scored by.
        counted = run.counts_of("test").set_index(["mine", "class"])
        errors = explanations.conditions.groupby(["mine", "class"])["errors"].first()
        expected = (counted["fp"] + counted["fn"]).loc[errors.index]
        assert errors.tolist() == expected.tolist()
        return explanations

    return make_explanations


def line(explanations, condition, mine="mine-4", class_name="excavation"):
    """The numbers of one condition, in pixels."""
    table = explanations.conditions
    chosen = (table["mine"] == mine) & (table["class"] == class_name)
    return table[chosen & (table["condition"] == condition)].iloc[0]


def confusion(explanations, other, error="false positive", by="annotated", class_name="excavation"):
    table = explanations.confusions
    chosen = (table["error"] == error) & (table["by"] == by) & (table["class"] == class_name)
    row = table[chosen & (table["other"] == other)].iloc[0]
    return row[["errors", "errors_there", "pixels", "pixels_there"]].tolist()


@pytest.mark.parametrize(
    ("rows", "errors", "near", "further"),
    [(1, 24, 24, 0), (2, 48, 26, 22)],  # 12 + 12 of 48, and beside a lower corner
)
def test_errors_of_a_shifted_prediction_are_at_the_boundary(
    make_explanations, rows, errors, near, further
):
    shifted = {"excavation": rectangle(4 + rows, 4, 12, 12)}
    found = make_explanations("excavation", [{"excavation": PIT}], [shifted])
    within = line(found, WITHIN_1_PX)
    assert within["errors"] == errors == line(found, WITHIN_2_PX)["errors_there"]
    assert within["errors_there"] == within["errors_first"] == near
    assert line(found, WITHIN_2_PX)["errors_first"] == further
    # Rows of 12 on either side of four edges, without the outer corners.
    assert within["pixels_there"] == 4 * 12 + (12 * 12 - 10 * 10)
    assert within["pixels"] == SIDE**2


def test_false_positives_are_traced_to_classes_that_the_model_does_not_know(make_explanations):
    labels = {"excavation": PIT, "dumping ground": DUMP, "dam": rectangle(20, 4, 8, 1)}
    predicted = {"excavation": PIT | rectangle(20, 4, 8, 4) | rectangle(28, 20, 2, 4)}
    found = make_explanations("model1", [labels], [predicted])
    outside = SIDE**2 - 144
    assert confusion(found, "dumping ground") == [40, 32, outside, 64]
    assert confusion(found, "dam") == [40, 8, outside, 8]  # lies on the dump: both count
    assert confusion(found, NO_CLASS) == [40, 8, outside, outside - 64]
    assert confusion(found, "tailing storage facility") == [40, 0, outside, 0]
    assert line(found, OTHER_CLASS)["errors_there"] == 32


def test_missed_pixels_are_traced_to_predictions_and_to_what_lies_there(make_explanations):
    labels = {"excavation": PIT, "preparatory work area": DUMP, "stockpile": rectangle(20, 4, 2, 8)}
    predicted = {"excavation": PIT | rectangle(20, 4, 3, 8)}
    found = make_explanations("model1", [labels], [predicted])
    strip = {"class_name": "preparatory work area", "error": "false negative"}
    outside = SIDE**2 - 64
    assert confusion(found, "excavation", by="predicted", **strip) == [64, 24, outside, 144]
    assert confusion(found, "background", by="predicted", **strip) == [64, 40, outside, 816]
    assert confusion(found, "stockpile", **strip) == [64, 16, 64, 16]
    assert confusion(found, NO_CLASS, **strip)[1] == 0


def test_pixels_without_labels_or_image_count_nowhere(make_explanations):
    labels = encode_bits({"excavation": PIT})
    labels[:, 20:] = IGNORE_BITS
    hole = rectangle(0, 0, 2, 20)
    everywhere = {"excavation": EVERYWHERE}
    found = make_explanations(
        "model1", [labels], [everywhere], looks={0: [(hole, [0] * len(BANDS))]}
    )
    known = 20 * SIDE - 40
    assert line(found, WITHIN_1_PX)["pixels"] == known
    assert line(found, WITHIN_1_PX)["errors"] == known - 144
    assert confusion(found, NO_CLASS) == [known - 144] * 4


def test_snow_and_water_in_the_scene_and_among_the_errors(make_explanations):
    snow, lake = rectangle(0, 20, 8, 12), rectangle(20, 20, 4, 4)
    predicted = {"excavation": PIT | rectangle(0, 20, 4, 12) | rectangle(20, 20, 4, 2)}
    looks = {0: [(snow, SNOW_LOOK), (lake, WATER_LOOK)]}
    found = make_explanations("excavation", [{"excavation": PIT}], [predicted], looks=looks)
    for name, look, there, errors in ((SNOW, "snow", 96, 48), (WATER, "water", 16, 8)):
        assert line(found, name)["pixels_there"] == there
        assert line(found, name)["errors_there"] == errors
        assert found.scenes.loc["mine-4", look] == there / SIDE**2


def test_classes_nobody_annotated_and_bands_not_there_are_unknown_and_not_zero(make_explanations):
    found = make_explanations(
        "excavation",
        [{"excavation": PIT}],
        [{"excavation": PIT | rectangle(20, 4, 8, 4)}],
        class_names=("excavation",),
        bands=("B02", "B03", "B04", "B08"),  # snow shows in short-wave infrared
    )
    assert np.isnan(confusion(found, "dam")[1])
    assert confusion(found, NO_CLASS)[1] == 32
    other = line(found, OTHER_CLASS)
    assert np.isnan([other["errors_there"], other["errors_first"], other["pixels_there"]]).all()
    assert found.annotated == ("excavation",)
    assert np.isnan(found.scenes.loc["mine-4", "snow"])
    assert found.scenes.loc["mine-4", "water"] == 0
    assert np.isnan(line(found, SNOW)["errors_there"])
    assert line(found, WATER)["errors_there"] == 0


def test_missed_small_object(make_explanations):
    pond = rectangle(24, 24, 2, 2)
    both = {"excavation": PIT | pond | rectangle(18, 4, 10, 10)}  # the last has no less than 1 ha
    found = make_explanations("excavation", [both], [{"excavation": PIT}])
    table = found.objects.sort_values("area_ha")
    assert table["area_ha"].tolist() == pytest.approx([0.04, 1.0, 1.44], rel=1e-3)  # on the ground
    assert table["detected"].tolist() == [0, 0, 1]
    assert line(found, SMALL_OBJECT)[["errors_there", "pixels_there"]].tolist() == [4, 4]


def test_waterfall_gives_each_error_to_the_first_condition_that_holds(make_explanations):
    labels = {"excavation": PIT, "dumping ground": DUMP}
    predicted = PIT | DUMP | rectangle(16, 4, 1, 12) | rectangle(22, 22, 4, 4)
    looks = {0: [(DUMP, SNOW_LOOK), (rectangle(22, 22, 4, 2), SNOW_LOOK)]}
    found = make_explanations("excavation", [labels], [{"excavation": predicted}], looks=looks)
    first = {name: line(found, name)["errors_first"] for name in WATERFALL}
    expected = dict.fromkeys(WATERFALL, 0) | {WITHIN_1_PX: 12, OTHER_CLASS: 64, SNOW: 8}
    assert first == expected  # the dump's snow went to its class; 8 errors remain
    assert line(found, SNOW)["errors"] == 12 + 64 + 16
    assert line(found, SNOW)["errors_there"] == 72
    assert set(found.conditions["condition"]) == set(CONDITIONS)


def test_all_of_an_unfamiliar_scene_is_unfamiliar(make_explanations):
    strange = {1: [(EVERYWHERE, np.array(GROUND) * 3)]}
    found = make_explanations("excavation", [{"excavation": PIT}] * 2, [{}, {}], looks=strange)
    assert line(found, UNFAMILIAR, "mine-5")["errors_there"] == 144
    assert found.scenes.loc["mine-5", "percentile"] == 1
    one = found.of_mine("mine-5")
    assert {*one.conditions["mine"], *one.confusions["mine"], *one.scenes.index} == {"mine-5"}


def test_merged_classes_have_no_other_ground_than_none(make_explanations):
    labels = {"excavation": PIT, "dumping ground": DUMP}
    predicted = {"total transformed area": PIT | rectangle(24, 24, 4, 4)}
    found = make_explanations("model4", [labels], [predicted])
    table = found.confusions[found.confusions["by"] == "annotated"]
    assert set(table["other"]) == {NO_CLASS}
    assert line(found, WITHIN_1_PX, class_name="total transformed area")["errors"] == 64 + 16


def test_interval_of_a_share_is_that_of_a_recall_and_one_mine_has_none():
    there = pd.Series({"a": 30, "b": 2, "c": 11, "d": 0})
    whole = pd.Series({"a": 40, "b": 20, "c": 12, "d": 7})
    counts = np.zeros((4, 2, 4), np.int64)
    counts[:, 1, 0], counts[:, 1, 2] = there, whole - there
    found = pooled(there, whole)
    resampled = bootstrap(counts, list(there.index), "standard")
    assert found.interval == pytest.approx(interval(resampled[:, METRICS.index("recall")]))
    assert 0 < found.interval[0] < found.value == 43 / 79 < found.interval[1] < 1
    assert found.mines == ("a", "b", "c", "d")
    nothing = pooled(pd.Series({"a": 0}), pd.Series({"a": 0}))
    assert np.isnan(nothing.value) and nothing.mines == ()
    one = pooled(pd.Series({"a": 1, "b": np.nan}), pd.Series({"a": 4, "b": 4}))
    assert (one.value, one.mines) == (0.25, ("a",))
    assert np.isnan(one.interval).all()
    several = pooled(pd.Series([1, 2], index=["a", "a"]), pd.Series([2, 4], index=["a", "a"]))
    assert (several.value, several.mines) == (0.5, ("a",))  # rows of one mine go together


def test_shares_and_rates_of_a_condition(make_explanations):
    """One mine with all errors at the boundary, one with all on the dump and a missed strip."""
    strip = {"preparatory work area": rectangle(4, 20, 12, 4)}
    labels = [{"excavation": PIT, "dumping ground": DUMP} | strip] * 2
    predictions = [
        {"excavation": PIT | rectangle(16, 4, 2, 12)} | strip,
        {"excavation": PIT | rectangle(22, 4, 6, 8)},
    ]
    explanations = make_explanations("model1", labels, predictions)
    table = condition_shares(explanations).set_index(["class", "condition"])
    dump = table.loc[("excavation", OTHER_CLASS)]
    assert dump["value"] == 48 / 72
    # All of one mine's errors, none of the other's.
    assert (dump["low"], dump["high"]) == pytest.approx((0, 1), abs=0.01)
    assert dump["pixel_share"] == (64 + 48) / 32**2
    assert dump["rate_inside"] == 48 / (2 * 112)
    assert dump["rate_outside"] == 24 / (2 * 912)
    assert table.loc[("excavation", WITHIN_1_PX), "first_share"] == 12 / 72
    both = table.loc[(ALL_CLASSES, OTHER_CLASS)]
    assert both["value"] == 48 / (72 + 48)  # the missed strip carries no other class
    first = table["first_share"].groupby(level="class").sum()
    assert first.to_numpy() == pytest.approx(1)
    assert table.loc[("excavation", UNEXPLAINED), "first_share"] == pytest.approx(0)


def test_distance_to_the_boundary_is_that_of_all_pairs_of_pixels_and_endless_without_one():
    random = np.random.default_rng(0)
    truth = random.random((9, 11)) < 0.3
    known = random.random((9, 11)) < 0.8
    distance_px = boundary_distance_px(truth, known)
    places = [np.argwhere(known & ~truth), np.argwhere(known & truth)]
    for place in np.argwhere(known):
        others = places[0] if truth[tuple(place)] else places[1]
        nearest = np.sqrt(((others - place) ** 2).sum(axis=1)).min()
        assert distance_px[tuple(place)] == pytest.approx(nearest)
    nothing, half = np.zeros((8, 8), bool), np.arange(8) < np.full((8, 1), 4)
    assert np.isinf(boundary_distance_px(nothing, ~nothing)).all()
    assert np.isinf(boundary_distance_px(~nothing, ~nothing)).all()
    assert np.isinf(boundary_distance_px(half, half)[half]).all()  # the rest was never looked at
    assert set(boundary_distance_px(half, ~nothing)[0]) == {1, 2, 3, 4}


def test_objects_with_their_area_and_what_was_found_of_them():
    small, large, at_rim = rectangle(2, 2, 2, 2), rectangle(10, 10, 10, 10), rectangle(0, 28, 3, 3)
    corner = rectangle(4, 4, 1, 1)  # meets the small one at a corner: an object of its own
    predicted = rectangle(10, 10, 10, 4)
    number, objects = find_objects(small | corner | large | at_rim, predicted, EVERYWHERE, 0.01)
    table = objects.sort_values("area_ha").reset_index(drop=True)
    assert table["area_ha"].tolist() == pytest.approx([0.01, 0.04, 0.09, 1.0])
    assert table["detected"].tolist() == pytest.approx([0, 0, 0, 0.4])
    assert table["cut"].tolist() == [False, False, True, False]
    for row, area_ha in enumerate(objects["area_ha"]):
        assert (number == row + 1).sum() * 0.01 == pytest.approx(area_ha)


def test_objects_are_those_of_the_maps_and_may_go_on_into_unknown_ground():
    random = np.random.default_rng(0)
    truth = random.random((40, 40)) < 0.4
    number, _ = find_objects(truth, truth, np.ones_like(truth), 1)
    components = find_components(truth.astype(np.uint8))
    assert np.array_equal(number, components.paint(components.component + 1))
    known, at_corner, truth = ~rectangle(0, 12, 32, 20), EVERYWHERE.copy(), rectangle(10, 10, 2, 2)
    at_corner[12, 12] = False
    assert find_objects(truth, truth, known, 1)[1]["cut"].tolist() == [True]
    assert find_objects(truth, truth, at_corner, 1)[1]["cut"].tolist() == [False]
    assert find_objects(truth & ~truth, truth, known, 1)[1].empty


def test_spectral_distance_to_the_nearest_training_mine(tmp_path):
    far = [(EVERYWHERE, np.array(GROUND) * 2)]
    # Training mines 0, 1, 2 have 1, 1.02 and 1.04 times the ground's reflectance.
    near = [(EVERYWHERE, np.array(GROUND) * 1.05)]
    mines = write_mines(tmp_path / "d", [{}, {}], looks={0: near, 1: far})
    statistics = ChannelStatistics(("B04", "B03"), (0.0, 0.0), (0.01, 0.02))
    table = spectral_distances(mines, mines.scenes_of("test"), statistics)
    # Mean squares over the two bands of differences in standard deviations.
    unit = np.sqrt(((0.1 / 0.01) ** 2 + (0.08 / 0.02) ** 2) / 2)
    assert table["distance"].tolist() == pytest.approx([0.01 * unit, 0.96 * unit], rel=2e-2)
    assert table["percentile"].tolist() == [0, 1]
