import shutil

import numpy as np
import pytest

from minseg import MinsegError
from minseg.study.execution import run
from minseg.study.runs import Run, RunStore
from minseg.study.scene_maps import scene_maps
from tests.conftest import TINY, write_small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("two_years") / "mines", 6, (2019, 2020))


@pytest.fixture
def tiny_run(dataset, tmp_path):
    return run(TINY.replace(epochs=1), dataset, RunStore(tmp_path / "runs"))


def test_maps_are_kept_and_need_no_network_again(dataset, tiny_run, tmp_path):
    mine = dataset.split.loc[dataset.split["part"] == "test", "mine"].iloc[0]
    scenes = [f"{mine}-2019", f"{mine}-2020"]
    drawn = scene_maps(tiny_run, dataset, scenes)
    copy = Run(shutil.copytree(tiny_run.path, tmp_path / "copy"))
    (copy.path / "weights.safetensors").unlink()
    again = scene_maps(copy, dataset, scenes)
    for scene in scenes:
        assert np.array_equal(again[scene].classes, drawn[scene].classes)
        assert again[scene].grid.matches(drawn[scene].grid)
        assert again[scene].task == tiny_run.task


def test_maps_of_other_images_are_not_taken(dataset, tiny_run, tmp_path):
    mine = dataset.split.loc[dataset.split["part"] == "test", "mine"].iloc[0]
    scene_maps(tiny_run, dataset, [f"{mine}-2020"])
    other = write_small_dataset(tmp_path / "other", 6, (2019, 2020), side=96)
    assert scene_maps(tiny_run, other, [f"{mine}-2020"])[f"{mine}-2020"].grid.height == 96


def test_damaged_map_is_told(dataset, tiny_run):
    mine = dataset.split.loc[dataset.split["part"] == "test", "mine"].iloc[0]
    scene_maps(tiny_run, dataset, [f"{mine}-2020"])
    (kept,) = tiny_run.path.glob("scene_maps/*/*.tif")
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(MinsegError, match=kept.name):
        scene_maps(tiny_run, dataset, [f"{mine}-2020"])


def test_a_run_that_cannot_be_written_to_is_mapped_all_the_same(dataset, tiny_run):
    (tiny_run.path / "scene_maps").write_text("in the way")
    mine = dataset.split.loc[dataset.split["part"] == "test", "mine"].iloc[0]
    assert set(scene_maps(tiny_run, dataset, [f"{mine}-2020"])) == {f"{mine}-2020"}
