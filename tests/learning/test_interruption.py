"""What a killed program leaves behind, tried on real programs that are really killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from minseg.learning.mapping import predict_raster
from minseg.learning.training import HISTORY_COLUMNS
from minseg.study.execution import run
from minseg.study.runs import RunStore, run_key
from tests.conftest import TINY, names
from tests.learning.slow_segmenter import segmenter_of

PATIENCE_S = 240
CONFIG = TINY.replace(epochs=12)
TRAINING = """
import sys
from pathlib import Path
from minseg.data.dataset import open_dataset
from minseg.learning import training
from minseg.study.config import RunConfig
from minseg.study.execution import run
from minseg.study.runs import RunStore
training.CHECKPOINT_EVERY_S = -1
config, dataset, store = sys.argv[1:]
run(RunConfig.model_validate_json(config), open_dataset(dataset), RunStore(Path(store)))
"""
PREDICTION = """
import sys
from pathlib import Path
from minseg.learning.mapping import predict_raster
from tests.learning.slow_segmenter import segmenter_of
image, output, pause_s = sys.argv[1:]
predict_raster(segmenter_of(float(pause_s)), Path(image), Path(output))
"""


def kill_when(moment, program, *arguments):
    """Run a program and kill it, with no chance to clean up, as soon as something holds."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], cwd=root)
    try:
        give_up = time.monotonic() + PATIENCE_S
        while not moment():
            assert process.poll() is None, "the program ended before it could be killed"
            assert time.monotonic() < give_up, "the program never came so far"
            time.sleep(0.001)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_run_killed_while_training_goes_on_to_the_same_end(dataset, tmp_path):
    killed, whole = RunStore(tmp_path / "killed"), RunStore(tmp_path / "whole")
    key = run_key(CONFIG, dataset)
    checkpoint = killed.path / f".{key}.partial" / "checkpoint.safetensors"
    kill_when(checkpoint.exists, TRAINING, CONFIG.model_dump_json(), dataset.path, killed.path)
    assert killed.find(key) is None
    with safe_open(checkpoint, "pt") as file:
        finished = json.loads(file.metadata()["history"])
    assert 1 <= len(finished) < CONFIG.epochs

    resumed, expected = run(CONFIG, dataset, killed), run(CONFIG, dataset, whole)

    # The seconds of the epochs before the kill show that these were not done again.
    seconds = [row[HISTORY_COLUMNS.index("seconds")] for row in finished]
    assert resumed.history["seconds"][: len(finished)].tolist() == pytest.approx(seconds, rel=1e-12)
    assert len(expected.history) == CONFIG.epochs
    one, other = (made.history.drop(columns="seconds") for made in (resumed, expected))
    assert one.equals(other)
    assert resumed.counts.equals(expected.counts)
    one, other = (load_file(made.path / "weights.safetensors") for made in (resumed, expected))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [name for name in names(killed.path) if name.endswith(".partial")] == []
    assert not (resumed.path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("older", "pause_s", "sign"),
    [
        pytest.param(False, 0.2, ".map.*/classes.tif", id="predicting"),
        pytest.param(True, 0.0, ".map.*.partial.tif", id="replacing an older map"),
    ],
)
def test_a_killed_prediction_leaves_no_half_map_and_can_be_repeated(
    write_tif, tmp_path, older, pause_s, sign
):
    def write_image(name, classes):
        numbers = np.where(classes, 3000, 1000).astype(np.uint16)
        return write_tif(name, numbers, descriptions=["B02"], scales=(1e-4,))

    output, before = tmp_path / "out" / "map.tif", None
    if older:
        predict_raster(segmenter_of(), write_image("in/old.tif", np.ones((1, 40, 40))), output)
        before = output.read_bytes()
    classes = np.random.default_rng(0).integers(0, 2, (1, 2000, 2000))
    image = write_image("in/image.tif", classes)

    kill_when(lambda: any(output.parent.glob(sign)), PREDICTION, image, output, pause_s)

    if not output.exists():
        assert before is None
    elif output.read_bytes() != before:  # the kill came after the last moment
        assert np.array_equal(_read(output), classes)
    predict_raster(segmenter_of(), image, output)
    assert np.array_equal(_read(output), classes)


def _read(path):
    with rasterio.open(path) as source:
        return source.read()
