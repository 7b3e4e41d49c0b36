import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.labels import IGNORE, IGNORE_BITS, encode_bits
from minseg.study.runs import find_scene, scene_prediction
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
