import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.labels import CLASS_NAMES, EXTENT, Task, class_bit
from minseg.maps.class_map import ClassMap
from minseg.report.one_or_four import compare, contradictions
from minseg.study.study import open_study
from tests.conftest import grid_at


def test_contradictions_are_found_where_they_are_drawn():
    task = Task("all and the area", (*CLASS_NAMES, EXTENT.name), overlapping=True)
    names = ("excavation", "exploitation slope", "dam", "tailing storage facility", EXTENT.name)
    pit, slope, dam, tailings, area = map(class_bit, names)
    bits = np.zeros((40, 40), np.uint16)
    bits[2:6, :8] = pit | slope | area
    bits[2:6, 8:10] = slope | area  # 8 of 40 px of slopes outside
    bits[20:24, :8], bits[24, :8] = tailings | area, dam | area
    bits[36, 30:35] = dam  # beside no tailings, and outside of the area
    bits[30, 5:8] = area  # made of nothing
    bits[39] = task.ignore
    found = {
        rule: (int(broken.sum()), int(about.sum()))
        for rule, broken, about in contradictions(ClassMap(bits, grid_at(0, 40), task))
    }
    assert found == {
        "preparatory work area away from any excavation": (0, 0),
        "dam away from any tailing storage facility": (5, 13),
        "exploitation slope outside an excavation": (8, 40),
        "transportation slope outside an excavation": (0, 0),
        f"a class outside the {EXTENT.name}": (5, 85),
        f"{EXTENT.name} without a class": (3, 83),
    }


def test_labels_that_serve_neither_side_are_told(dataset, tmp_path):
    with pytest.raises(MinsegError, match=r"nothing to compare: .* has no band"):
        compare(open_study("demo", dataset.path, runs=tmp_path), bands="M")
