"""What a killed prediction leaves behind, tried on real programs that are really killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minseg import MinsegError
from minseg.data.images import ImageReading
from minseg.maps.class_map import read_class_map
from minseg.maps.prediction import predict_raster
from tests.conftest import names
from tests.learning.slow_segmenter import TILING, segmenter_of

PREDICTION = """
import sys
from pathlib import Path
from minseg.maps import prediction
from minseg.maps.cleaning import Cleaning
from tests.learning.slow_segmenter import TILING, segmenter_of, wait_to_be_killed
waits, enough, image, output, probabilities, polygons = sys.argv[1:]
step = getattr(prediction, waits, None)
def wait_at_step(*arguments):
    made = step(*arguments) if waits == "_finish" else None  # nothing but renaming is left
    wait_to_be_killed()
if step:
    setattr(prediction, waits, wait_at_step)
segmenter = segmenter_of(int(enough))
more = {"polygons": Path(polygons), "cleaning": Cleaning(2)} if polygons else {"tiling": TILING}
more |= {"probabilities": Path(probabilities)} if probabilities else {}
prediction.predict_raster(segmenter, Path(image), Path(output), **more)
print(segmenter.network.tiles)
"""
ROOT = Path(__file__).parents[2]
MADE = ["map.qml", "map.tif", "map.tif.aux.xml", "p.tif"]


def kill_waiting(*arguments, meanwhile=lambda: None):
    """Run the program and kill it where it waits, with no chance to clean up."""
    command = [sys.executable, "-c", PREDICTION, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "waiting\n"
        meanwhile()
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.fixture
def image_and_classes(write_tif):
    classes = np.random.default_rng(0).integers(0, 2, (300, 200))
    numbers = np.where(classes, 3000, 1000).astype(np.uint16)[np.newaxis]
    return write_tif("in/image.tif", numbers, descriptions=["B02"], scales=(1e-4,)), classes


def test_a_killed_prediction_goes_on_where_it_was_to_the_same_bytes(image_and_classes, tmp_path):
    image, classes = image_and_classes
    output, whole, told = tmp_path / "out" / "map.tif", tmp_path / "whole" / "map.tif", []
    note = tmp_path / "out" / ".map.tif.partial" / "progress.json"

    def predict(segmenter, path):
        more = {"probabilities": path.with_name("p.tif"), "tiling": TILING, "tell": told.append}
        predict_raster(segmenter, image, path, **more)

    def half_done():
        # Five rows of three tiles begin at 0, 64, 128, 192 and 224; it waits in the third.
        assert json.loads(note.read_text())["progress"]["rows"] == 128
        with pytest.raises(MinsegError, match="another program is writing it now"):
            predict(segmenter_of(), output)

    kill_waiting("", 7, image, output, output.with_name("p.tif"), "", meanwhile=half_done)
    assert names(output.parent) == [".map.tif.partial", ".p.tif.partial"]

    segmenter = segmenter_of()
    predict(segmenter, output)
    assert told == ["goes on at row 128 of 300, where it was interrupted"]
    assert segmenter.network.tiles == 12  # the second row again, since it reaches into the third
    predict(segmenter_of(), whole)
    assert names(output.parent) == names(whole.parent) == MADE
    for name in MADE:
        assert output.with_name(name).read_bytes() == whole.with_name(name).read_bytes()
    assert np.array_equal(read_class_map(output).classes, classes)


@pytest.mark.kills
def test_an_older_map_stays_whole_until_the_new_one_is(image_and_classes, write_tif, tmp_path):
    image, classes = image_and_classes
    output = tmp_path / "out" / "map.tif"
    probabilities = output.with_name("p.tif")
    old = write_tif("in/old.tif", np.full((1, 40, 40), 9, np.uint16), descriptions=["B02"])
    reading = ImageReading(scale=0.01)
    predict_raster(segmenter_of(), old, output, probabilities=probabilities, reading=reading)
    before = {path: path.read_bytes() for path in output.parent.iterdir()}

    kill_waiting("_finish", -1, image, output, probabilities, "")
    assert {path: path.read_bytes() for path in before} == before

    segmenter = segmenter_of()
    predict_raster(segmenter, image, output, probabilities=probabilities, tiling=TILING)
    assert segmenter.network.tiles == 0
    assert np.array_equal(read_class_map(output).classes, classes)
    assert names(output.parent) == MADE


@pytest.mark.kills
def test_a_map_killed_while_cleaned_has_no_name_and_no_tile_is_predicted_again(
    image_and_classes, tmp_path
):
    image, _ = image_and_classes
    output, polygons = tmp_path / "out" / "map.tif", tmp_path / "gis" / "mine.gpkg"
    arguments = -1, image, output, "", polygons
    kill_waiting("clean", *arguments)
    assert names(output.parent) == [".map.tif.partial"]
    assert not polygons.parent.exists() or names(polygons.parent) == []

    command = [sys.executable, "-c", PREDICTION, "", *map(str, arguments)]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stdout.splitlines() == ["0"]
    assert names(output.parent) == ["map.qml", "map.tif", "map.tif.aux.xml"]
    assert names(polygons.parent) == ["mine.gpkg", "mine.qml"]
