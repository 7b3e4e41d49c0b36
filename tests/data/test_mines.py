import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from minseg import MinsegError
from minseg.data.mines import (
    MINE_TABLE,
    PARTS,
    SCENE_TABLE,
    SPLIT_TABLE,
    leakage_problems,
    overlapping_mines,
    read_cells,
    read_table,
    split_mines,
    split_problems,
    validate_table,
)


def mine_table(count):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"mine": [f"m{k:03d}" for k in range(count)]})
    return table.assign(
        raw_material=random.choice(["RR", "MO", "CL"], count, p=[0.5, 0.3, 0.2]),
        mine_type=random.choice(["OC", "OP", "MT"], count, p=[0.2, 0.6, 0.2]),
    )


@pytest.mark.parametrize("count", [3, 4, 7, 20, 39, 401])
def test_split_has_its_ratios_and_is_another_for_another_seed(count):
    mines = mine_table(count)
    split = split_mines(mines, seed=1)
    sizes = split["part"].value_counts()
    assert sizes["test"] == sizes["validation"] == max(1, round(0.15 * count))
    assert sizes.sum() == count
    assert split_mines(mines, 1).equals(split)
    assert not all(split_mines(mines, seed).equals(split) for seed in range(2, 5))


def test_every_mine_can_get_into_the_test_part():
    mines = mine_table(20)
    tested = set()
    for seed in range(200):
        split = split_mines(mines, seed)
        tested |= set(split.loc[split["part"] == "test", "mine"])
    assert tested == set(mines["mine"])


def test_split_is_stratified_by_raw_material():
    mines = mine_table(400)
    for seed in range(5):
        split = split_mines(mines, seed).merge(mines, on="mine")
        share = (split["part"] == "test").groupby(split["raw_material"]).mean()
        # A random split of 80 coal mines has a standard deviation of .04; ours stays within .03.
        assert share.between(0.12, 0.18).all()


def test_overlapping_mines_go_to_one_part():
    mines = mine_table(30)
    shapes = {mine: box(k, 0, k + 0.5, 1) for k, mine in enumerate(mines["mine"])}
    shapes["m001"] = box(0.4, 0, 2.1, 1)  # chains m000, m001 and m002 together
    assert sorted(overlapping_mines(shapes)) == [("m000", "m001"), ("m001", "m002")]
    for seed in range(20):
        part = split_mines(mines, seed, shapes).set_index("mine")["part"]
        assert part["m000"] == part["m001"] == part["m002"]
        assert leakage_problems(part.reset_index(), shapes) == []
    assert overlapping_mines({"a": box(0, 0, 1, 1), "b": box(1, 0, 2, 1)}) == []  # they touch


def test_faults_of_a_split_are_named():
    split = pd.DataFrame({"mine": ["m000", "m001", "m002"], "part": [*PARTS]})
    assert split_problems(split, mine_table(3)) == []
    shapes = {"m000": box(0, 0, 2, 2), "m002": box(1, 1, 3, 3)}
    assert "same ground" in leakage_problems(split, shapes)[0]
    more = pd.DataFrame({"mine": ["m000", "zzz"], "part": ["test", "train"]})
    assert [*split_problems(pd.concat([split, more]), mine_table(4))] == [
        "split.csv: mine 'm000' is in test and train; keep it in one part",
        "split.csv: mine 'zzz' is not in mines.csv",
        "split.csv: mine 'm003' has no part",
    ]
    empty = split_problems(split.assign(part="train"), mine_table(3))
    assert empty == [f"split.csv: no mine is in part {part!r}" for part in PARTS[1:]]


MINE = {
    "mine": "bor", "name": "Bor Mine", "country": "Serbia", "continent": "Europe",
    "longitude": "22.1", "latitude": "44.09", "raw_material": "MO", "mine_type": "OP",
}  # fmt: skip
SCENE = {
    "scene": "bor-2019", "mine": "bor", "year": "2019", "date": "2019-07-31",
    "optical": "optical.tif", "radar": "", "labels": "labels.tif",
}  # fmt: skip
SPLIT = {"mine": "bor", "part": "test"}


def problems_of(rows, schema=MINE_TABLE):
    return validate_table(pd.DataFrame(rows), schema, "table.csv")[1]


@pytest.mark.parametrize(
    ("row", "schema", "column", "value", "message"),
    [
        (MINE, MINE_TABLE, "mine", "bor\n", "give letters, digits, _ . and - only"),
        (MINE, MINE_TABLE, "mine", "", "an empty cell cannot stand here; give letters"),
        (MINE, MINE_TABLE, "longitude", "abc", "'abc' cannot stand here; give a number from -180"),
        (MINE, MINE_TABLE, "longitude", "700", "700.0 cannot stand here; give a number from -180"),
        (MINE, MINE_TABLE, "latitude", "", "an empty cell cannot stand here; give a number from"),
        (MINE, MINE_TABLE, "latitude", "nan", "an empty cell cannot stand here; give a number"),
        (MINE, MINE_TABLE, "mine_type", "pit", "give one of OC, OP, MT, or nothing"),
        (MINE | {"case": ""}, MINE_TABLE, "case", "x" * 61, "give text of at most 60 characters"),
        (SCENE, SCENE_TABLE, "labels", "", "an empty cell cannot stand here; give a path"),
        (SCENE, SCENE_TABLE, "optical", "/data/a.tif", "give a path from the dataset's folder"),
        (SCENE, SCENE_TABLE, "optical", "C:\\data\\a.tif", "that stays in it"),
        (SCENE, SCENE_TABLE, "labels", "scenes/../../a.tif", "that stays in it"),
        (SCENE, SCENE_TABLE, "radar", "..", "that stays in it, or nothing"),
        (SCENE, SCENE_TABLE, "year", "²", "'²' cannot stand here; give a whole number from"),
        (SCENE, SCENE_TABLE, "year", "2019.5", "'2019.5' cannot stand here"),
        (SCENE, SCENE_TABLE, "date", "2019-02-30", "give a date such as 2019-07-31, or nothing"),
        (SCENE, SCENE_TABLE, "scene", "..", "but no dots alone"),
        (MINE, MINE_TABLE, "mine", ".", "but no dots alone"),
        (SPLIT, SPLIT_TABLE, "part", "half", "give one of train, validation, test"),
    ],
)
def test_a_fault_is_one_line_that_says_what_to_write(row, schema, column, value, message):
    assert problems_of([row], schema) == []
    (line,) = problems_of([row | {column: value}], schema)
    assert line.startswith(f"table.csv: row 2 column {column!r}: ") and message in line


def test_all_faults_are_named_from_the_first_row_to_the_last():
    rows = [MINE | {"mine": f"m{k}"} for k in range(12)]
    rows[1] |= {"latitude": "91"}
    rows[2] |= {"longitude": "abc", "mine_type": "pit"}
    rows[0] |= {"longitude": "200"}  # another fault of a column with a cell that is no number
    rows[3] |= {"mine": "m0"}
    table = pd.DataFrame(rows).drop(columns="country")
    problems = validate_table(table, MINE_TABLE, "t")[1]
    assert problems[-1].endswith(
        "'m0' stands in row 2 already; each value may stand once, so rename or remove one"
    )
    assert [problem.split(": ")[1] for problem in problems] == [
        "column 'country' is missing",
        "row 2 column 'longitude'",
        "row 3 column 'latitude'",
        "row 4 column 'longitude'",
        "row 4 column 'mine_type'",
        "row 5 column 'mine'",
    ]


def write(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "mines.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


HEADER, ROW = ",".join(MINE), ",".join(MINE.values())


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROW}\n",
        f"\ufeff{HEADER}\r\n{ROW}\r\n",
        f"{HEADER}\r{ROW}",
        f"{HEADER};;\n{ROW};;\n".replace(",", ";"),
        f"{HEADER}\n{ROW}\n".replace(",", "\t"),
        f"\n{HEADER},\n{ROW},\n,,,,,,,,\n\n",
        f"{HEADER}\n{ROW},\n",
        f"{HEADER.title().replace(',', ' , ')}\n{ROW.replace(',', ' , ')}\n",
        f"{HEADER.replace('_', ' ').upper()}\n{ROW}\n",
        f"{HEADER.replace('_', '-')}\n{ROW}\n",
    ],
)
def test_a_table_is_read_however_it_is_spelled(tmp_path, content):
    table, problems = read_table(write(tmp_path, content), MINE_TABLE)
    assert problems == []
    assert table.to_dict("records") == [MINE | {"longitude": 22.1, "latitude": 44.09}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (f"{HEADER}\nbor,Caf\xe9\n".encode("latin-1"), "line 2 is not UTF-8 text .byte 0xe9"),
        ("mine,name\nbor,Bor\n".encode("utf-16"), "not UTF-8 text"),
        ("mine,name\nbor,Bor\n".encode("utf-16-le"), "UTF-16"),
        (b"PK\x03\x04\x14\x00", "is a spreadsheet; save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a spreadsheet; save it as CSV"),
        (f"{HEADER}\n{ROW},more\n", "row 2 has 9 cells and the header 8"),
        (f"{HEADER}\n\nbor\n", "row 3 has 1 cells and the header 8"),
        (f'{HEADER}\n"{ROW}\n', "not a CSV table .row 2: "),
        (f",{HEADER}\n0,{ROW}\n", "column 1 has no name .an index"),
        (f"{HEADER}, Mine\n{ROW},x\n", "columns 'mine' and 'Mine' have one name"),
        (f"{HEADER},note,note\n{ROW},x,y\n", "columns 'note' and 'note' have one name"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(MinsegError, match=message) as told:
        read_cells(path, list(MINE_TABLE.columns))
    assert str(told.value).startswith(f"{path}: ")


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path):
    path = write(tmp_path, f"{HEADER}\n\n{ROW}\n,,,,,,,\n{ROW.replace('22.1', '222.1')}\n")
    problems = read_table(path, MINE_TABLE)[1]
    assert [problem.split(": ")[1] for problem in problems] == [
        "row 5 column 'longitude'",
        "row 5 column 'mine'",
    ]
    assert "the table is empty" in read_table(write(tmp_path, f"{HEADER}\n"), MINE_TABLE)[1][0]
    year = pd.DataFrame([SCENE | {"year": "2019.0"}])  # as a spreadsheet has it
    assert list(validate_table(year, SCENE_TABLE, "t")[0]["year"]) == [2019]
