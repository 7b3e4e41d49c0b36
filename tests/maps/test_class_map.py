import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.labels import TASKS, parse_task, task_target
from minseg.data.raster import Grid
from minseg.maps.class_map import TASK_TAG, read_class_map, values_present, write_class_map
from tests.conftest import grid_at

DEGREES = Grid(90, 130, Affine(1e-4, 0, 15, 0, -1e-4, 50), CRS.from_epsg(4326))


def class_numbers(task, height, width):
    numbers = np.random.default_rng(0).integers(0, task.num_classes, (height, width))
    if task.overlapping:
        numbers = task_target(np.random.default_rng(0).integers(0, 1024, (height, width)), task)
    numbers[:7] = task.ignore
    return numbers.astype(task.dtype)


@pytest.mark.parametrize(
    "name", ["model1", "model3", "model4", "dam,excavation", "all", "dam+excavation"]
)
def test_what_was_written_is_read(tmp_path, name):
    task = parse_task(name)
    classes = class_numbers(task, 90, 130)
    write_class_map(tmp_path / "new" / "map.tif", classes, DEGREES, task)
    found = read_class_map(tmp_path / "new" / "map.tif")
    assert np.array_equal(found.classes, classes)
    assert found.classes.dtype == task.dtype
    assert found.task == task
    assert found.grid.matches(DEGREES)


def damage(path, **changes):
    """Write a class map anew with some of its properties changed."""
    with rasterio.open(path) as source:
        task = changes.pop("task", source.tags()[TASK_TAG])
        kept = {key: source.profile[key] for key in ("height", "width", "transform", "crs")}
        numbers = source.read(1)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8"} | kept | changes
    with rasterio.open(path, "w", **profile) as target:
        for band in target.indexes:
            target.write(numbers.astype(profile["dtype"]), band)
        if task:
            target.update_tags(**{TASK_TAG: task})


DAMAGES = {
    "two bands": ({"count": 2}, r"is no class map \(has 2 band"),
    "floats": ({"dtype": "float32"}, r"of float32 for one of uint8"),
    "no tag": ({"task": None}, r"is no class map \(tag"),
    "background as no data": ({"nodata": 0}, "its no data is 0 for 255"),
    "a task of another program": ({"task": "trees"}, r"map.tif: is no class map .*'trees'"),
    "nowhere": ({"crs": None}, "has no coordinate reference system"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_other_rasters_are_refused_in_one_line(tmp_path, case):
    changes, message = DAMAGES[case]
    path = tmp_path / "map.tif"
    write_class_map(path, class_numbers(TASKS["model1"], 64, 64), grid_at(0), TASKS["model1"])
    damage(path)
    read_class_map(path)  # what follows is due to the damage alone
    damage(path, **dict(changes))
    with pytest.raises(MinsegError, match=message):
        read_class_map(path)


def test_bits_of_another_task_and_class_numbers_are_no_map_of_overlapping_classes(tmp_path):
    path, task = tmp_path / "map.tif", parse_task("dam+excavation")
    write_class_map(path, class_numbers(task, 64, 64), grid_at(0), task)
    with rasterio.open(path) as source:
        assert (source.nodata, source.tags()["BIT_8"]) == (65535, "dam")
        assert values_present(path) == [0, 1, 256, 257]
    damage(path, dtype="uint16")
    read_class_map(path)
    damage(path, dtype="uint16", task="excavation+stockpile")
    with pytest.raises(MinsegError, match=r"which is no class of excavation\+stockpile"):
        read_class_map(path)
    damage(path, task="excavation+dam")
    with pytest.raises(MinsegError, match=r"of uint8 for one of uint16"):
        read_class_map(path)


def test_what_a_mask_hides_is_no_data(tmp_path):
    path = tmp_path / "map.tif"
    write_class_map(path, np.ones((64, 64), np.uint8), grid_at(0), TASKS["model1"])
    damage(path)
    shown = np.arange(64)[:, None] * np.ones(64) > 20
    with rasterio.open(path, "r+") as target:
        target.write_mask(shown)
    assert np.array_equal(read_class_map(path).classes, np.where(shown, 1, 255))


def test_reading_takes_little_more_than_a_byte_a_pixel(tmp_path):
    for name, side in (("small.tif", 100), ("large.tif", 6000)):
        zeros = np.zeros((side, side), np.uint8)
        write_class_map(tmp_path / name, zeros, grid_at(0, side), TASKS["model1"])
    program = (
        "from pathlib import Path; from minseg.maps.class_map import *;"
        "from minseg.learning.device import peak_memory_mib as peak;"
        "read_class_map(Path('small.tif')); before = peak();"
        "read_class_map(Path('large.tif')); print((peak() - before) * 2**20)"
    )
    command, how = [sys.executable, "-c", program], {"capture_output": True, "text": True}
    answer = subprocess.run(command, cwd=tmp_path, check=True, **how)
    assert int(answer.stdout) < 2.5 * 6000**2  # its numbers, and GDAL's cache of them
