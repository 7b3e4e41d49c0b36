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
def mapped(tmp_path_factory):
    """A dataset of two years, a run on it, and the scenes of a test mine."""
    folder = tmp_path_factory.mktemp("two_years")
    dataset = write_small_dataset(folder / "mines", 6, (2019, 2020))
    made = run(TINY.replace(epochs=1), dataset, RunStore(folder / "runs"))
    mine = dataset.split.loc[dataset.split["part"] == "test", "mine"].iloc[0]
    return dataset, made, [f"{mine}-2019", f"{mine}-2020"]


def test_maps_are_kept_and_need_no_network_again(mapped, tmp_path):
    dataset, made, scenes = mapped
    drawn = scene_maps(made, dataset, scenes)
    copy = Run(shutil.copytree(made.path, tmp_path / "copy"))
    (copy.path / "weights.safetensors").unlink()
    again = scene_maps(copy, dataset, scenes)
    for scene in scenes:
        assert np.array_equal(again[scene].classes, drawn[scene].classes)
        assert again[scene].grid.matches(drawn[scene].grid)
        assert again[scene].task == made.task
    other = write_small_dataset(tmp_path / "other", 6, (2019, 2020), side=96)
    assert scene_maps(made, other, scenes)[scenes[1]].grid.height == 96  # its own, not those kept
    kept = next(copy.path.glob(f"scene_maps/*/{scenes[1]}.tif"))
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(MinsegError, match=kept.name):
        scene_maps(copy, dataset, scenes)


def test_a_run_that_cannot_be_written_to_is_mapped_all_the_same(mapped, tmp_path):
    dataset, made, scenes = mapped
    copy = Run(shutil.copytree(made.path, tmp_path / "copy", ignore=lambda *_: ["scene_maps"]))
    (copy.path / "scene_maps").write_text("in the way")
    assert set(scene_maps(copy, dataset, scenes[1:])) == {scenes[1]}
