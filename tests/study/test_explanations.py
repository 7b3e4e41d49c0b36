import numpy as np
import pytest

from minseg.data.labels import IGNORE_BITS, encode_bits
from minseg.study.explanations import (
    CONDITIONS,
    NO_CLASS,
    OTHER_CLASS,
    SMALL_OBJECT,
    SNOW,
    UNFAMILIAR,
    WATER,
    WATERFALL,
    WITHIN_1_PX,
    WITHIN_2_PX,
    explain,
)
from tests.study.predicted import (
    BANDS,
    GROUND,
    SIDE,
    rectangle,
    write_mines,
    write_predictions,
)
from tests.study.predicted import SNOW as SNOW_LOOK
from tests.study.predicted import WATER as WATER_LOOK

PIT, DUMP = rectangle(4, 4, 12, 12), rectangle(20, 4, 8, 8)


@pytest.fixture
def make(tmp_path):
    """From labels and predictions of the test mines to what explains the errors."""

    def make(task, labels, predictions, **dataset):
        mines = write_mines(tmp_path / "d", labels, **dataset)
        run = write_predictions(tmp_path / "run", mines, task, predictions)
        explanations = explain(run, mines)
        # The errors are those that the run was scored by.
        counted = run.counts_of("test").set_index(["mine", "class"])
        errors = explanations.conditions.groupby(["mine", "class"])["errors"].first()
        expected = (counted["fp"] + counted["fn"]).loc[errors.index]
        assert errors.tolist() == expected.tolist()
        return explanations

    return make


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


def test_of_a_shifted_prediction_all_error_is_at_the_boundary(make):
    shifted = {"excavation": rectangle(5, 4, 12, 12)}
    near = line(make("excavation", [{"excavation": PIT}], [shifted]), WITHIN_1_PX)
    assert near["errors"] == near["errors_there"] == near["errors_first"] == 24
    # Rows of 12 on either side of four edges, without the outer corners.
    assert near["pixels_there"] == 4 * 12 + (12 * 12 - 10 * 10)
    assert near["pixels"] == SIDE**2


def test_of_a_prediction_shifted_by_two_half_the_error_is_within_one_pixel(make):
    shifted = {"excavation": rectangle(6, 4, 12, 12)}
    found = make("excavation", [{"excavation": PIT}], [shifted])
    assert line(found, WITHIN_1_PX)["errors_there"] == 26  # 12 + 12, and beside a lower corner
    assert line(found, WITHIN_2_PX)["errors_there"] == 48
    assert line(found, WITHIN_2_PX)["errors_first"] == 22


def test_false_positives_are_traced_to_classes_that_the_model_does_not_know(make):
    labels = {"excavation": PIT, "dumping ground": DUMP, "dam": rectangle(20, 4, 8, 1)}
    predicted = {"excavation": PIT | rectangle(20, 4, 8, 4) | rectangle(28, 20, 2, 4)}
    found = make("model1", [labels], [predicted])
    outside = SIDE**2 - 144
    assert confusion(found, "dumping ground") == [40, 32, outside, 64]
    assert confusion(found, "dam") == [40, 8, outside, 8]  # lies on the dump: both count
    assert confusion(found, NO_CLASS) == [40, 8, outside, outside - 64]
    assert confusion(found, "tailing storage facility") == [40, 0, outside, 0]
    assert line(found, OTHER_CLASS)["errors_there"] == 32


def test_missed_pixels_are_traced_to_predictions_and_to_what_lies_there(make):
    labels = {"excavation": PIT, "preparatory work area": DUMP, "stockpile": rectangle(20, 4, 2, 8)}
    predicted = {"excavation": PIT | rectangle(20, 4, 3, 8)}
    found = make("model1", [labels], [predicted])
    strip = {"class_name": "preparatory work area", "error": "false negative"}
    outside = SIDE**2 - 64
    assert confusion(found, "excavation", by="predicted", **strip) == [64, 24, outside, 144]
    assert confusion(found, "background", by="predicted", **strip) == [64, 40, outside, 816]
    assert confusion(found, "stockpile", **strip) == [64, 16, 64, 16]
    assert confusion(found, NO_CLASS, **strip)[1] == 0


def test_classes_that_nobody_annotated_are_unknown_and_not_zero(make):
    predicted = {"excavation": PIT | rectangle(20, 4, 8, 4)}
    found = make("excavation", [{"excavation": PIT}], [predicted], class_names=("excavation",))
    assert np.isnan(confusion(found, "dam")[1])
    assert confusion(found, NO_CLASS)[1] == 32
    other = line(found, OTHER_CLASS)
    assert np.isnan([other["errors_there"], other["errors_first"], other["pixels_there"]]).all()
    assert found.annotated == ("excavation",)


def test_pixels_without_labels_or_image_count_nowhere(make):
    labels = encode_bits({"excavation": PIT})
    labels[:, 20:] = IGNORE_BITS
    hole = rectangle(0, 0, 2, 20)
    everywhere = {"excavation": np.ones((SIDE, SIDE), bool)}
    found = make("model1", [labels], [everywhere], looks={0: [(hole, [0] * len(BANDS))]})
    known = 20 * SIDE - 40
    assert line(found, WITHIN_1_PX)["pixels"] == known
    assert line(found, WITHIN_1_PX)["errors"] == known - 144
    assert confusion(found, NO_CLASS) == [known - 144] * 4


def test_snow_and_water_in_the_scene_and_among_the_errors(make):
    snow, lake = rectangle(0, 20, 8, 12), rectangle(20, 20, 4, 4)
    predicted = {"excavation": PIT | rectangle(0, 20, 4, 12) | rectangle(20, 20, 4, 2)}
    looks = {0: [(snow, SNOW_LOOK), (lake, WATER_LOOK)]}
    found = make("excavation", [{"excavation": PIT}], [predicted], looks=looks)
    for name, look, there, errors in ((SNOW, "snow", 96, 48), (WATER, "water", 16, 8)):
        assert line(found, name)["pixels_there"] == there
        assert line(found, name)["errors_there"] == errors
        assert found.scenes.loc["mine-4", look] == there / SIDE**2


def test_without_short_wave_infrared_snow_is_unknown(make):
    found = make("excavation", [{"excavation": PIT}], [{}], bands=("B02", "B03", "B04", "B08"))
    assert np.isnan(found.scenes.loc["mine-4", "snow"])
    assert found.scenes.loc["mine-4", "water"] == 0
    assert np.isnan(line(found, SNOW)["errors_there"])
    assert line(found, WATER)["errors_there"] == 0


def test_missed_small_object(make):
    pond = rectangle(24, 24, 2, 2)
    both = {"excavation": PIT | pond | rectangle(18, 4, 10, 10)}  # the last has no less than 1 ha
    found = make("excavation", [both], [{"excavation": PIT}])
    table = found.objects.sort_values("area_ha")
    assert table["area_ha"].tolist() == pytest.approx([0.04, 1.0, 1.44], rel=1e-3)  # on the ground
    assert table["detected"].tolist() == [0, 0, 1]
    assert line(found, SMALL_OBJECT)[["errors_there", "pixels_there"]].tolist() == [4, 4]


def test_waterfall_gives_each_error_to_the_first_condition_that_holds(make):
    labels = {"excavation": PIT, "dumping ground": DUMP}
    predicted = PIT | DUMP | rectangle(16, 4, 1, 12) | rectangle(22, 22, 4, 4)
    looks = {0: [(DUMP, SNOW_LOOK), (rectangle(22, 22, 4, 2), SNOW_LOOK)]}
    found = make("excavation", [labels], [{"excavation": predicted}], looks=looks)
    first = {name: line(found, name)["errors_first"] for name in WATERFALL}
    expected = dict.fromkeys(WATERFALL, 0) | {WITHIN_1_PX: 12, OTHER_CLASS: 64, SNOW: 8}
    assert first == expected  # the dump's snow went to its class; 8 errors remain
    assert line(found, SNOW)["errors"] == 12 + 64 + 16
    assert line(found, SNOW)["errors_there"] == 72
    assert set(found.conditions["condition"]) == set(CONDITIONS)


def test_all_of_an_unfamiliar_scene_is_unfamiliar(make):
    strange = {1: [(np.ones((SIDE, SIDE), bool), np.array(GROUND) * 3)]}
    found = make("excavation", [{"excavation": PIT}] * 2, [{}, {}], looks=strange)
    assert line(found, UNFAMILIAR, "mine-5")["errors_there"] == 144
    assert found.scenes.loc["mine-5", "percentile"] == 1
    one = found.of_mine("mine-5")
    assert {*one.conditions["mine"], *one.confusions["mine"], *one.scenes.index} == {"mine-5"}


def test_merged_classes_have_no_other_ground_than_none(make):
    labels = {"excavation": PIT, "dumping ground": DUMP}
    predicted = {"total transformed area": PIT | rectangle(24, 24, 4, 4)}
    found = make("model4", [labels], [predicted])
    table = found.confusions[found.confusions["by"] == "annotated"]
    assert set(table["other"]) == {NO_CLASS}
    assert line(found, WITHIN_1_PX, class_name="total transformed area")["errors"] == 64 + 16
