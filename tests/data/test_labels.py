import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.labels import (
    ALL,
    ANNOTATED_NAMES,
    CLASS_NAMES,
    CLASSES,
    EXTENT,
    IGNORE,
    IGNORE_BITS,
    PRIORITY,
    TASKS,
    class_bit,
    decode_bits,
    encode_bits,
    overlapping_pixels,
    parse_task,
    partial_answers,
    task_target,
    uppermost,
)


def test_ten_classes_have_their_own_bit_name_and_colour():
    assert len(CLASSES) == 10
    assert [c.id for c in CLASSES] == list(range(10))
    assert len({c.name for c in CLASSES}) == len({c.colour for c in CLASSES}) == 10
    assert sorted(PRIORITY) == sorted(CLASS_NAMES)


def test_models_1_to_3_share_no_class_and_together_hold_all():
    names = [name for key in ("model1", "model2", "model3") for name in TASKS[key].class_names]
    assert sorted(names) == sorted(CLASS_NAMES)
    # The paper counts the background: Model 1 predicts three classes, Model 3 eight.
    assert [TASKS[f"model{k}"].num_classes for k in (1, 2, 3, 4)] == [3, 2, 8, 2]


def test_bits_round_trip_with_overlaps():
    random = np.random.default_rng(0)
    masks = {name: random.random((6, 7)) < 0.4 for name in CLASS_NAMES}
    bits = encode_bits(masks)
    assert bits.dtype == np.uint16
    for name, mask in masks.items():
        assert (decode_bits(bits, name) == mask).all()


def test_ignored_pixels_are_no_class_and_255_in_the_target():
    bits = np.array([[IGNORE_BITS, 1, 0]], np.uint16)
    assert not decode_bits(bits, "dam")[0, 0]
    assert task_target(bits, TASKS["model1"]).tolist() == [[IGNORE, 1, 0]]
    assert task_target(bits, TASKS["model4"]).tolist() == [[IGNORE, 1, 0]]
    each = (1 << np.arange(10)).astype(np.uint16)[None]
    assert (task_target(each, TASKS["model4"]) == 1).all()


def test_overlap_goes_to_the_later_class_of_the_priority():
    both = encode_bits({"tailing storage facility": np.array([[True]]), "dam": np.array([[True]])})
    task = TASKS["model3"]
    assert task.target_names[task_target(both, task)[0, 0]] == "dam"
    assert overlapping_pixels(both, task.class_names) == 1
    assert overlapping_pixels(both, ("dam",)) == 0


def test_task_from_class_names_is_the_same_in_any_order():
    task = parse_task("dam, excavation")
    assert task == parse_task("Excavation,Dam")
    assert task.target_names == ("background", "excavation", "dam")


def test_overlapping_classes_keep_their_bits_and_all_of_them_have_one_name():
    task = parse_task("Dam + excavation")
    assert (task.name, task.title) == ("excavation+dam", "excavation + dam")
    assert parse_task("all") is parse_task("+".join(CLASS_NAMES)) is ALL
    assert task.output_names == task.target_names[1:] == ("excavation", "dam")
    one, other = class_bit("excavation"), class_bit("dam")
    bits = np.array([[IGNORE_BITS, one | other | 2, 2, one | 1 << 10]], np.uint16)
    target = task_target(bits, task)
    assert target.dtype == task.dtype == np.uint16
    assert target.tolist() == [[task.ignore, one | other, 0, one]]
    masks = {name: task.mask(target, name).tolist()[0] for name in task.target_names}
    assert masks["background"] == [False, False, True, False]
    assert masks["excavation"] == [False, True, False, True]
    assert masks["dam"] == [False, True, False, False]
    drawn, meaning = uppermost(target, task)
    assert drawn.tolist() == [[IGNORE, 2, 0, 1]]
    assert [task.legend(value)[0] for value in (0, one, one | other)] == [
        "background", "excavation", "excavation + dam",
    ]  # fmt: skip
    assert task.legend(one | other)[1] == meaning.target_colours[2]


@pytest.mark.parametrize("text", ["model5", "pit", "dam,dam", "dam+dam", "dam+", ""])
def test_unknown_task_is_one_clear_line(text):
    with pytest.raises(MinsegError):
        parse_task(text)


def test_whole_areas_have_a_bit_of_their_own_and_serve_model_4_alone():
    assert class_bit(EXTENT.name) == 1 << 10 and len(ANNOTATED_NAMES) == 11
    outline = encode_bits({EXTENT.name: np.array([[True, False]])})
    assert decode_bits(outline, EXTENT.name).tolist() == [[True, False]]
    assert task_target(outline, TASKS["model4"]).tolist() == [[1, 0]]
    assert not any(task_target(outline, TASKS[f"model{k}"]).any() for k in (1, 2, 3))
    assert TASKS["model4"].not_annotated([EXTENT.name]) == ()
    assert TASKS["model4"].not_annotated(CLASS_NAMES) == ()
    assert TASKS["model4"].not_annotated(CLASS_NAMES[1:]) == ("excavation",)
    assert TASKS["model2"].not_annotated([EXTENT.name]) == ("dumping ground",)


def test_partial_labels_answer_a_part_of_a_model_and_tell_of_it():
    drawn = ("excavation", "dumping ground", "dam", EXTENT.name)
    assert {name: task.on(drawn).name for name, task in (TASKS | {"all": ALL}).items()} == {
        "model1": "excavation",
        "model2": "model2",
        "model3": "dam",
        "model4": "model4",
        "all": "excavation+dumping ground+dam",
    }
    assert all(task.on(CLASS_NAMES) is task for task in (*TASKS.values(), ALL))
    for whole, looked_for in ((TASKS["model3"], "excavation"), (ALL, EXTENT.name)):
        assert whole.on([looked_for]) is whole  # to be refused
    for asked in (parse_task("excavation,stockpile"), parse_task("excavation+stockpile")):
        assert asked.on(drawn) is asked
    assert partial_answers(CLASS_NAMES) == []
    told = partial_answers(drawn)
    assert told[0] == "Model 1 as excavation (nobody looked for preparatory work area)"
    assert told[1] == "Model 2 whole" and "union" in told[3]
    assert partial_answers(["dam"])[3] == "Model 4 not at all"
    assert "outlines" in partial_answers([EXTENT.name])[3]
    with pytest.raises(MinsegError, match="unknown 'total transformed area'; use model1"):
        parse_task(EXTENT.name)
