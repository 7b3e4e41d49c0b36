import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from minseg import MinsegError
from minseg.data.mines import (
    MINE_TABLE,
    leakage_problems,
    overlapping_mines,
    split_mines,
    split_problems,
    subset,
)
from minseg.data.tables import read_table, validate_table


def mine_table(count, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "mine": [f"m{k:03d}" for k in range(count)],
            "name": "",
            "country": "",
            "continent": "",
            "longitude": random.uniform(-180, 180, count),
            "latitude": random.uniform(-60, 70, count),
            "raw_material": random.choice(["RR", "MO", "CL"], count, p=[0.5, 0.3, 0.2]),
            "mine_type": random.choice(["OC", "OP", "MT"], count, p=[0.2, 0.6, 0.2]),
        }
    )


@pytest.mark.parametrize("count", [3, 4, 7, 20, 39, 401])
def test_split_ratios(count):
    sizes = split_mines(mine_table(count), seed=1)["part"].value_counts()
    expected = max(1, round(0.15 * count))
    assert sizes["test"] == sizes["validation"] == expected
    assert sizes.sum() == count


def test_split_is_reproducible_and_differs_between_seeds():
    mines = mine_table(60)
    assert split_mines(mines, 5).equals(split_mines(mines, 5))
    assert not split_mines(mines, 5).equals(split_mines(mines, 6))


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


def test_touching_mines_do_not_overlap():
    assert overlapping_mines({"a": box(0, 0, 1, 1), "b": box(1, 0, 2, 1)}) == []


def test_too_few_mines_are_refused():
    with pytest.raises(MinsegError, match="at least 3"):
        split_mines(mine_table(1), 0)
    shapes = {mine: box(0, 0, 1, 1) for mine in mine_table(5)["mine"]}
    with pytest.raises(MinsegError, match="1 separate mine"):
        split_mines(mine_table(5), 0, shapes)


def test_leakage_by_ground_and_by_mine_is_found():
    mines = mine_table(3)
    split = pd.DataFrame(
        {"mine": ["m000", "m001", "m002"], "part": ["train", "validation", "test"]}
    )
    assert split_problems(split, mines) == []
    shapes = {"m000": box(0, 0, 2, 2), "m002": box(1, 1, 3, 3)}
    assert "same ground" in leakage_problems(split, shapes)[0]
    twice = pd.concat([split, pd.DataFrame({"mine": ["m000"], "part": ["test"]})])
    assert "m000" in split_problems(twice, mines)[0]
    assert "test and train" in split_problems(twice, mines)[0]


def test_split_problems_names_strangers_missing_mines_and_empty_parts():
    split = pd.DataFrame({"mine": ["m000", "zzz"], "part": ["train", "train"]})
    text = "\n".join(split_problems(split, mine_table(2)))
    for expected in ("'zzz' is not in mines.csv", "'m001' has no part", "'validation'", "'test'"):
        assert expected in text


def test_all_problems_of_a_table_are_named_at_once():
    mines = mine_table(5)
    mines["longitude"] = mines["longitude"].astype(object)
    mines.loc[0, "longitude"] = 700.0
    mines.loc[1, "raw_material"] = "gold"
    mines.loc[2, "mine"] = "m001"
    _, problems = validate_table(mines.drop(columns="country"), MINE_TABLE, "mines.csv")
    text = "\n".join(problems)
    for expected in ("'country' is missing", "700.0", "'gold'", "row 4"):
        assert expected in text


def test_cases_may_be_given_or_left_out():
    mines = mine_table(3)
    assert validate_table(mines, MINE_TABLE, "mines.csv")[1] == []
    cased = mines.assign(case=["", "snow", "dust storm"])
    assert validate_table(cased, MINE_TABLE, "mines.csv")[1] == []
    problems = validate_table(mines.assign(case=["", "x" * 61, ""]), MINE_TABLE, "mines.csv")[1]
    assert len(problems) == 1
    assert "row 3 column 'case'" in problems[0]


def test_missing_and_empty_tables(tmp_path):
    assert "no such file" in read_table(tmp_path / "mines.csv", MINE_TABLE)[1][0]
    (tmp_path / "mines.csv").write_text(",".join(MINE_TABLE.columns) + "\n")
    assert "empty" in read_table(tmp_path / "mines.csv", MINE_TABLE)[1][0]
    (tmp_path / "mines.csv").write_bytes(b"")
    assert "not a CSV" in read_table(tmp_path / "mines.csv", MINE_TABLE)[1][0]


def test_subsets():
    mines = mine_table(50)
    assert (subset(mines, "CL")["raw_material"] == "CL").all()
    assert (subset(mines, "MT")["mine_type"] == "MT").all()
    with pytest.raises(MinsegError, match="unknown subset"):
        subset(mines, "XX")
    with pytest.raises(MinsegError, match="no mine has"):
        subset(mines.assign(raw_material=""), "RR")
