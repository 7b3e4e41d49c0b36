from pathlib import Path

import pytest

from minseg import MinsegError
from minseg.data.dataset import open_dataset
from tests.conftest import write_small_dataset


@pytest.fixture
def mixed(tmp_path):
    """Nine mines of three kinds, three of a kind; the third kind has no test mine."""
    dataset = write_small_dataset(
        tmp_path / "mixed",
        9,
        raw_material=["RR", "MO", "CL"] * 3,
        mine_type=["OP"] * 8 + [""],
    )
    dataset.split["part"] = ["train"] * 3 + ["validation"] * 3 + ["test", "test", "train"]
    return dataset


def test_subset_keeps_the_part_of_each_of_its_mines(mixed):
    subset = mixed.subset("MO")
    assert list(subset.mines["mine"]) == ["mine-1", "mine-4", "mine-7"]
    assert subset.split.to_dict("list") == {
        "mine": ["mine-1", "mine-4", "mine-7"],
        "part": ["train", "validation", "test"],
    }
    assert set(subset.scenes["mine"]) == set(subset.mines["mine"])
    assert list(subset.scenes_of("train")["scene"]) == ["mine-1-2019", "mine-1-2020"]
    assert list(subset.scenes_of("test")["scene"]) == ["mine-7-2020"]
    assert len(mixed.mines) == 9
    assert len(mixed.scenes) == 18


def test_subset_by_mine_type_leaves_out_mines_of_no_type(mixed):
    assert set(mixed.mines["mine"]) - set(mixed.subset("OP").mines["mine"]) == {"mine-8"}


def test_subset_that_a_part_lacks_is_refused(mixed):
    with pytest.raises(MinsegError, match="subset CL has no mine in test; add mines, or"):
        mixed.subset("CL")
    with pytest.raises(MinsegError, match="no mine has mine_type OC"):
        mixed.subset("OC")
    with pytest.raises(MinsegError, match="unknown subset 'XX'"):
        mixed.subset("XX")


def test_path_holds_from_any_folder(own_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(own_dataset.path.parent)
    relative = open_dataset(Path(own_dataset.path.name))
    monkeypatch.chdir(tmp_path.parent)
    assert relative.digest == own_dataset.digest


@pytest.mark.parametrize("name", ["mines.csv", "labels"])
def test_hash_of_a_dataset_with_a_missing_file_is_refused(own_dataset, name):
    path = own_dataset.path / (name if name.endswith("csv") else own_dataset.scenes[name][2])
    path.unlink()
    with pytest.raises(MinsegError, match=r"cannot be read.*minseg dataset check") as error:
        _ = own_dataset.digest
    assert str(error.value).startswith(f"{path}: ")
