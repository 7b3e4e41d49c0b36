import re

import pytest

from minseg.errors import MinsegError, filled
from minseg.fetching.annotations import PolygonFields
from minseg.fetching.plan import BoxRule


def test_a_dictionary_fills_the_fields_of_a_dataclass():
    classes = {1: "dam", "*": "excavation"}
    assert filled(PolygonFields, {"classes": classes}) == PolygonFields(classes=classes)
    assert filled(BoxRule, {"margin_m": "500"}) == BoxRule(margin_m=500.0)
    assert filled(BoxRule, {}) == BoxRule()


@pytest.mark.parametrize(
    ("kind", "values", "problem"),
    [
        (
            BoxRule,
            {"margin": 1},
            "unknown BoxRule field 'margin'; use margin_m, smallest_m or larg",
        ),
        (
            BoxRule,
            {"margin_m": "1 km"},
            "BoxRule margin_m = '1 km': Input should be a valid number",
        ),
        (BoxRule, {"margin_m": float("nan")}, "box of margin nan m"),
        (PolygonFields, {"classes": ["dam"]}, "PolygonFields classes = ['dam']: Input should be"),
        (PolygonFields, {"layer": 1, "class_field": 2}, "class_field = 2: Input should be a valid"),
    ],
)
def test_what_does_not_fit_is_one_line(kind, values, problem):
    with pytest.raises(MinsegError, match=re.escape(problem)) as refused:
        filled(kind, values)
    assert len(str(refused.value).splitlines()) == 1
