from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from scipy import ndimage

from minseg.data.labels import TASKS, parse_task
from minseg.data.raster import Grid
from minseg.maps.class_map import ClassMap
from minseg.maps.cleaning import (
    Cleaning,
    adjacency_rules,
    apply_adjacency,
    clean,
    drop_small,
    smooth,
)
from minseg.maps.polygons import vectorise
from tests.conftest import grid_at
from tests.maps.conftest import overlapping, speckled

MODEL1, MODEL3 = TASKS["model1"], TASKS["model3"]
PIT, AHEAD = 1, 2
"""Excavation and preparatory work area in Model 1."""


def drawn(text):
    """Read a map drawn with digits; a dot is background, a hash has no data."""
    rows = text.replace(".", "0").split()
    return np.array([[255 if c == "#" else int(c) for c in row] for row in rows], np.uint8)


def majority(classes, radius):
    """Majority smoothing pixel by pixel, as the words of `smooth` have it."""
    result = classes.copy()
    for row, column in np.argwhere(classes != 255):
        square = classes[
            max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1
        ]
        votes = np.bincount(square[square != 255], minlength=3)
        if votes[classes[row, column]] < votes.max():
            result[row, column] = votes.argmax()
    return result


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_smoothing_takes_the_majority_of_the_square(radius):
    classes = speckled(50, 70)
    assert np.array_equal(smooth(classes, radius), majority(classes, radius))


def test_smoothing_in_strips_leaves_no_seam():
    classes = speckled(2100, 60)
    whole = smooth(classes, 3)
    for top in (1000, 1030, 2040):  # the strips meet at multiples of 1024
        part = smooth(classes[top - 20 : top + 40], 3)
        assert np.array_equal(part[10:50], whole[top - 10 : top + 30])


def test_specks_and_holes_go_to_their_largest_neighbour():
    classes = drawn("""
        ..........#
        .1111111..#
        .1111111..#
        .11.1211.2#
        .1111111..#
        .1111111..#
        ..........#
        ......11..#
        ......11..#
        ##########2
    """)
    expected = drawn("""
        ..........#
        .1111111..#
        .1111111..#
        .1111111..#
        .1111111..#
        .1111111..#
        ..........#
        ......11..#
        ......11..#
        ##########.
    """)
    assert np.array_equal(drop_small(classes, 4), expected)
    expected[7:9, 6:8] = 0
    assert np.array_equal(drop_small(classes, 5), expected)
    assert np.array_equal(drop_small(classes, 1), classes)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 3)])
def test_a_minimum_beyond_the_map_leaves_background(shape):
    classes = np.full(shape, PIT, np.uint8)
    assert np.array_equal(drop_small(classes, classes.size), classes)
    assert not drop_small(classes, classes.size + 1).any()


@pytest.mark.parametrize("seed", range(3))
def test_no_object_below_the_minimum_is_left(seed):
    classes = speckled(120, 150, seed)
    dropped = drop_small(classes, 12)
    sizes = [np.bincount(ndimage.label(dropped == value)[0].ravel())[1:] for value in (PIT, AHEAD)]
    assert np.concatenate(sizes).min() >= 12
    assert ((dropped == 255) == (classes == 255)).all()
    assert (dropped != classes).mean() < 0.1


@pytest.mark.parametrize("distance_px", [1, 2])
def test_objects_stay_only_beside_what_they_belong_to(distance_px):
    classes = drawn("""
        2222.........
        .............
        1112222..2222
        111......2222
        111..........
        .............
        ....22.......
    """)
    expected = classes.copy()
    expected[2:4, 9:] = 0  # seven columns away
    if distance_px == 1:
        expected[0, :4] = expected[6] = 0
    found = apply_adjacency(ClassMap(classes, grid_at(0), MODEL1), distance_px)
    assert np.array_equal(found.classes, expected)
    assert found.task == MODEL1


def test_both_rules_of_the_paper_hold_and_other_classes_stay():
    names = ("excavation", "preparatory work area", "dam", "tailing storage facility", "stockpile")
    task = parse_task(",".join(names))
    pit, ahead, dam, tailings, pile = map(task.target_names.index, names)
    classes = np.zeros((20, 60), np.uint8)
    classes[2:6, :30] = np.repeat([pit, 0, tailings, 0, pit, pile], 5)
    classes[6:8, :30] = np.repeat([ahead, 0, dam, 0, dam, pile], 5)
    classes[2:6, 40:44], classes[2:6, 50:54] = ahead, dam  # beside nothing
    expected = classes.copy()
    expected[6:8, 20:25] = 0  # a dam beside a pit is beside the wrong thing
    expected[:, 40:] = 0
    found = apply_adjacency(ClassMap(classes, grid_at(0), task))
    assert np.array_equal(found.classes, expected)


def test_rules_need_both_classes():
    tasks = {"model1": True, "model2": False, "model3": True, "model4": False, "dam": False}
    assert {name: bool(adjacency_rules(parse_task(name))) for name in tasks} == tasks
    classes = np.eye(6, dtype=np.uint8)
    found = apply_adjacency(ClassMap(classes, grid_at(0), parse_task("dam")))
    assert np.array_equal(found.classes, classes)


def test_overlapping_classes_are_cleaned_each_by_itself_and_held_against_the_others():
    task = parse_task("excavation+dam+tailing storage facility")
    class_map, cleaning = overlapping(task, 60), Cleaning(1, 0.2)
    given = class_map.classes.copy()
    cleaned, missing = clean(class_map, cleaning), given == task.ignore
    for name in task.class_names:
        alone = np.where(missing, 255, task.mask(given, name)).astype(np.uint8)
        expected = clean(ClassMap(alone, class_map.grid, parse_task(name)), cleaning).classes
        assert np.array_equal(task.mask(cleaned.classes, name), expected == 1)
        assert not np.array_equal(alone, expected)
    assert np.array_equal(cleaned.missing, missing) and np.array_equal(class_map.classes, given)
    pit, dam, tailings = map(task.value, task.class_names)
    bits = np.zeros((20, 60), np.uint16)
    bits[2:6, :10], bits[4:6, :10], bits[6:8, :10] = tailings, tailings | dam, dam
    bits[2:6, 40:50] = pit | dam  # beside nothing
    expected = np.where(bits == pit | dam, pit, bits)
    assert np.array_equal(apply_adjacency(replace(class_map, classes=bits)).classes, expected)


def test_minimum_is_in_hectares_on_the_ground():
    degrees = Grid(60, 60, Affine(1e-4, 0, 15, 0, -1e-4, 60), CRS.from_epsg(4326))
    classes = np.zeros((60, 60), np.uint8)
    classes[5:15, 5:15], classes[30:34, 30:34] = PIT, PIT
    areas = vectorise(ClassMap(classes, degrees, MODEL1))["area_ha"]
    assert areas.to_list() == pytest.approx([0.62, 0.1], rel=0.02)  # half of that at the equator
    kept = [
        len(vectorise(clean(ClassMap(classes, degrees, MODEL1), Cleaning(minimum_ha=minimum))))
        for minimum in (0, 0.9 * areas[1], 1.1 * areas[1], 1.1 * areas[0])
    ]
    assert kept == [2, 2, 1, 0]


def test_nothing_is_done_by_default_and_the_map_given_stays():
    classes = speckled(50, 70)
    class_map = ClassMap(classes.copy(), grid_at(0), MODEL1)
    assert np.array_equal(clean(class_map, Cleaning()).classes, classes)
    cleaned = clean(class_map, Cleaning(1, 0.3, True))
    assert np.array_equal(class_map.classes, classes)
    assert not np.array_equal(cleaned.classes, classes)
    assert ((cleaned.classes == 255) == (classes == 255)).all()
    classes = np.zeros((60, 60), np.uint8)
    classes[20:22, 20:22] = PIT  # too small to count, and then nothing may lie beside it
    classes[22:40, 20:40] = AHEAD
    assert not clean(replace(class_map, classes=classes), Cleaning(0, 0.1, True)).classes.any()
