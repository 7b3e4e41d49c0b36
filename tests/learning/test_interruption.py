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

from minseg import MinsegError
from minseg.data.images import ImageReading
from minseg.learning.training import HISTORY_COLUMNS
from minseg.maps.prediction import predict_raster
from minseg.study.execution import run
from minseg.study.runs import RunStore, run_key
from tests.conftest import TINY, names
from tests.learning.slow_segmenter import TILING, segmenter_of

CONFIG = TINY.replace(epochs=12)
TRAINING = """
import sys, time
from pathlib import Path
from minseg.data.dataset import open_dataset
from minseg.learning import training
from minseg.study.config import RunConfig
from minseg.study.execution import run
from minseg.study.runs import RunStore
training.CHECKPOINT_EVERY_S = -1
config, dataset, store = sys.argv[1:]
save = training._State.save
def save_and_wait(state, path):
    save(state, path)
    if state.epoch == 3:
        (Path(dataset).parent / "waiting").touch()
        time.sleep(100_000)
training._State.save = save_and_wait
run(RunConfig.model_validate_json(config), open_dataset(dataset), RunStore(Path(store)))
"""
PREDICTION = """
import sys, time
from pathlib import Path
from minseg.maps import prediction
from tests.learning.slow_segmenter import TILING, segmenter_of
image, output, probabilities, enough = sys.argv[1:]
finish = prediction._finish
def finish_and_wait(*arguments):
    made = finish(*arguments)  # nothing but renaming is left
    (made.parent / "waiting").touch()
    time.sleep(100_000)
prediction._finish = finish_and_wait
prediction.predict_raster(
    segmenter_of(int(enough)),
    Path(image),
    Path(output),
    probabilities=Path(probabilities),
    tiling=TILING,
)
"""


def kill_when(moment, program, *arguments):
    """Run a program and kill it, with no chance to clean up, as soon as something holds."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], cwd=root)
    try:
        while not moment():
            assert process.poll() is None, "the program ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_run_killed_while_training_goes_on_to_the_same_end(dataset, tmp_path):
    killed, whole = RunStore(tmp_path / "killed"), RunStore(tmp_path / "whole")
    key = run_key(CONFIG, dataset)
    checkpoint = killed.path / f".{key}.partial" / "checkpoint.safetensors"
    waiting = dataset.path.parent / "waiting"
    kill_when(waiting.exists, TRAINING, CONFIG.model_dump_json(), dataset.path, killed.path)
    assert killed.find(key) is None
    with safe_open(checkpoint, "pt") as file:
        finished = json.loads(file.metadata()["history"])
    assert len(finished) == 3

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


@pytest.fixture
def image_and_classes(write_tif):
    classes = np.random.default_rng(0).integers(0, 2, (300, 200))
    numbers = np.where(classes, 3000, 1000).astype(np.uint16)[np.newaxis]
    return write_tif("in/image.tif", numbers, descriptions=["B02"], scales=(1e-4,)), classes


def test_a_killed_prediction_goes_on_where_it_was_to_the_same_bytes(image_and_classes, tmp_path):
    image, classes = image_and_classes
    output, whole = tmp_path / "out" / "map.tif", tmp_path / "whole" / "map.tif"
    told = []
    note = tmp_path / "out" / ".map.tif.partial" / "progress.json"

    def predict(segmenter, path):
        beside = path.with_name("p.tif")
        predict_raster(
            segmenter, image, path, probabilities=beside, tiling=TILING, tell=told.append
        )

    def half_done():
        # Five rows of three tiles begin at 0, 64, 128, 192 and 224; it waits in the third.
        if not note.exists() or json.loads(note.read_text())["progress"]["rows"] < 128:
            return False
        with pytest.raises(MinsegError, match="another program is writing it now"):
            predict(segmenter_of(), output)
        return True

    kill_when(half_done, PREDICTION, image, output, output.with_name("p.tif"), 7)
    assert names(output.parent) == [".map.tif.partial", ".p.tif.partial"]

    segmenter = segmenter_of()
    predict(segmenter, output)
    assert told == ["goes on at row 128 of 300, where it was interrupted"]
    assert segmenter.network.tiles == 12  # the second row again, since it reaches into the third
    predict(segmenter_of(), whole)
    made = ["map.qml", "map.tif", "map.tif.aux.xml", "p.tif"]
    assert names(output.parent) == names(whole.parent) == made
    for name in made:
        assert output.with_name(name).read_bytes() == whole.with_name(name).read_bytes()
    assert np.array_equal(_read(output)[0], classes)


def test_an_older_map_stays_whole_until_the_new_one_is(image_and_classes, write_tif, tmp_path):
    image, classes = image_and_classes
    output = tmp_path / "out" / "map.tif"
    probabilities = output.with_name("p.tif")
    old = write_tif("in/old.tif", np.full((1, 40, 40), 9, np.uint16), descriptions=["B02"])
    reading = ImageReading(scale=0.01)
    predict_raster(segmenter_of(), old, output, probabilities=probabilities, reading=reading)
    before = {path: path.read_bytes() for path in output.parent.iterdir()}

    waiting = output.parent / ".map.tif.partial" / "waiting"
    kill_when(waiting.exists, PREDICTION, image, output, probabilities, -1)
    assert {path: path.read_bytes() for path in before} == before

    segmenter = segmenter_of()
    predict_raster(segmenter, image, output, probabilities=probabilities, tiling=TILING)
    assert segmenter.network.tiles == 0
    assert np.array_equal(_read(output)[0], classes)
    assert names(output.parent) == ["map.qml", "map.tif", "map.tif.aux.xml", "p.tif"]


CLEANED_PRODUCTS = """
import sys, time
from pathlib import Path
from minseg.maps import prediction
from minseg.maps.cleaning import Cleaning
from tests.learning.slow_segmenter import segmenter_of
image, output, polygons, waits = sys.argv[1:]
clean = prediction.clean
def clean_and_wait(found, cleaning):
    if waits == "wait":
        (Path(output).parent / ".map.tif.partial" / "waiting").touch()
        time.sleep(100_000)
    return clean(found, cleaning)
prediction.clean = clean_and_wait
segmenter = segmenter_of()
prediction.predict_raster(
    segmenter, Path(image), Path(output), polygons=Path(polygons), cleaning=Cleaning(2)
)
print(segmenter.network.tiles)
"""


def test_a_map_killed_while_cleaned_has_no_name_and_no_tile_is_predicted_again(
    image_and_classes, tmp_path
):
    image, _ = image_and_classes
    output, polygons = tmp_path / "out" / "map.tif", tmp_path / "gis" / "mine.gpkg"
    arguments = image, output, polygons
    waiting = output.parent / ".map.tif.partial" / "waiting"
    kill_when(waiting.exists, CLEANED_PRODUCTS, *arguments, "wait")
    assert names(output.parent) == [".map.tif.partial"]
    assert not polygons.parent.exists() or names(polygons.parent) == []

    command = [sys.executable, "-c", CLEANED_PRODUCTS, *map(str, arguments), "no"]
    root = Path(__file__).parents[2]
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert again.stdout.splitlines() == ["0"]
    assert names(output.parent) == ["map.qml", "map.tif", "map.tif.aux.xml"]
    assert names(polygons.parent) == ["mine.gpkg", "mine.qml"]


def _read(path):
    with rasterio.open(path) as source:
        return source.read()
