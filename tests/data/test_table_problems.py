import pandas as pd
import pytest

from minseg.data.mines import MINE_TABLE, SCENE_TABLE, SPLIT_TABLE, validate_table
from minseg.fetching.choices import PIN_TABLE

MINE = {
    "mine": "bor",
    "name": "Bor Mine",
    "country": "Serbia",
    "continent": "Europe",
    "longitude": "22.1",
    "latitude": "44.09",
    "raw_material": "MO",
    "mine_type": "OP",
}
SCENE = {
    "scene": "bor-2019",
    "mine": "bor",
    "year": "2019",
    "date": "2019-07-31",
    "optical": "optical.tif",
    "radar": "",
    "labels": "labels.tif",
}
PIN = {"mine": "bor", "year": "2019", "item": "S2A", "kind": "radar"}
SPLIT = {"mine": "bor", "part": "test"}


def problems_of(rows, schema=MINE_TABLE):
    return validate_table(pd.DataFrame(rows), schema, "table.csv")[1]


@pytest.mark.parametrize(
    ("row", "schema", "column", "value", "message"),
    [
        (MINE, MINE_TABLE, "mine", "a b", "'a b' cannot stand here; give letters, digits, _ . and"),
        (MINE, MINE_TABLE, "mine", "bor\n", "give letters, digits, _ . and - only"),
        (MINE, MINE_TABLE, "mine", "", "an empty cell cannot stand here; give letters"),
        (MINE, MINE_TABLE, "longitude", "abc", "'abc' cannot stand here; give a number from -180"),
        (MINE, MINE_TABLE, "longitude", "700", "700.0 cannot stand here; give a number from -180"),
        (MINE, MINE_TABLE, "latitude", "", "an empty cell cannot stand here; give a number from"),
        (MINE, MINE_TABLE, "latitude", "nan", "an empty cell cannot stand here; give a number"),
        (MINE, MINE_TABLE, "raw_material", "gold", "'gold' cannot stand here; give one of RR, MO"),
        (MINE, MINE_TABLE, "mine_type", "pit", "give one of OC, OP, MT, or nothing"),
        (MINE | {"case": ""}, MINE_TABLE, "case", "x" * 61, "give text of at most 60 characters"),
        (SCENE, SCENE_TABLE, "year", "soon", "'soon' cannot stand here; give a whole number from"),
        (SCENE, SCENE_TABLE, "year", "1066", "give a whole number from 1972 to 2100"),
        (SCENE, SCENE_TABLE, "date", "31.7.2019", "give a date such as 2019-07-31, or nothing"),
        (SCENE, SCENE_TABLE, "labels", "", "an empty cell cannot stand here; give text"),
        (PIN, PIN_TABLE, "year", "soon", "'soon' cannot stand here; give a whole number"),
        (PIN, PIN_TABLE, "item", "", "an empty cell cannot stand here; give text"),
        (PIN, PIN_TABLE, "kind", "lidar", "give one of optical, radar"),
        (SPLIT, SPLIT_TABLE, "part", "half", "give one of train, validation, test"),
    ],
)
def test_a_fault_is_one_line_that_says_what_to_write(row, schema, column, value, message):
    assert problems_of([row], schema) == []
    (line,) = problems_of([row | {column: value}], schema)
    assert line.startswith(f"table.csv: row 2 column {column!r}: ") and message in line


def test_a_value_that_may_stand_once_names_the_row_where_it_stands_first():
    rows = [MINE, MINE | {"mine": "cerovo"}, MINE, MINE]
    assert problems_of(rows) == [
        f"table.csv: row {row} column 'mine': 'bor' stands in row 2 already; each value may stand "
        "once, so rename or remove one"
        for row in (4, 5)
    ]


def test_all_faults_are_named_from_the_first_row_to_the_last():
    rows = [MINE | {"mine": f"m{k}"} for k in range(12)]
    rows[1] |= {"latitude": "91"}
    rows[2] |= {"longitude": "abc", "mine_type": "pit"}
    rows[0] |= {"longitude": "200"}  # another fault of a column with a cell that is no number
    table = pd.DataFrame(rows).drop(columns="country")
    problems = validate_table(table, MINE_TABLE, "t")[1]
    places = [problem.split(": ")[1] for problem in problems]
    assert places == [
        "column 'country' is missing",
        "row 2 column 'longitude'",
        "row 3 column 'latitude'",
        "row 4 column 'longitude'",
        "row 4 column 'mine_type'",
    ]
