import shutil

import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.labels import IGNORE, IGNORE_BITS, encode_bits
from minseg.study.change import scene_maps
from minseg.study.execution import run
from minseg.study.runs import Run, RunStore, find_scene, scene_prediction
from tests.conftest import TINY, write_small_dataset
from tests.study.predicted import rectangle, write_mines, write_predictions


def test_prediction_with_truth_and_all_labels(tmp_path):
    pit, dump = rectangle(4, 4, 10, 10), rectangle(20, 20, 5, 5)
    labels = encode_bits({"excavation": pit, "dumping ground": dump})
    labels[:, -1] = IGNORE_BITS
    mines = write_mines(tmp_path / "d", [labels], looks={0: [(rectangle(0, 0, 2, 2), [0] * 5)]})
    run = write_predictions(tmp_path / "run", mines, "model1", [{"excavation": dump}])
    one = scene_prediction(run, mines, "mine-4")
    assert one.scene["scene"] == "mine-4-2020"
    assert np.array_equal(one.prediction == 1, dump)
    assert np.array_equal(one.target == 1, pit)
    assert np.array_equal(one.target == IGNORE, (labels == IGNORE_BITS) | rectangle(0, 0, 2, 2))
    assert np.array_equal(one.labels, labels)


def test_what_does_not_fit_is_refused(tmp_path):
    mines = write_mines(tmp_path / "d", [{}])
    run = write_predictions(tmp_path / "run", mines, "model1", [{}])
    with pytest.raises(MinsegError, match="no prediction of mine 'mine-0'; test mines are mine-4"):
        scene_prediction(run, mines, "mine-0")
    elsewhere = run.path / "predictions" / "mine-4-2020.tif"
    other = write_mines(tmp_path / "other", [{}, {}])
    longer = write_predictions(tmp_path / "longer", other, "model1", [{}, {}])
    (longer.path / "predictions" / "mine-5-2020.tif").replace(elsewhere)
    with pytest.raises(MinsegError, match="another grid than scene 'mine-4-2020'"):
        scene_prediction(run, mines, "mine-4")
    elsewhere.unlink()
    with pytest.raises(MinsegError, match="no such file"):
        scene_prediction(run, mines, "mine-4")
    with pytest.raises(MinsegError, match="has no scene 'nowhere'"):
        find_scene(mines, "nowhere")


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
