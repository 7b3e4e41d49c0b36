import shutil
from dataclasses import replace
from pathlib import PureWindowsPath

import numpy as np
import pandas as pd
import pytest
from rasterio.windows import Window

from minseg import MinsegError, open_dataset
from minseg.data.labels import IGNORE_BITS, parse_task
from minseg.data.raster import open_raster
from minseg.data.writing import resplit, scene_row
from tests.conftest import mine_rows, names, scene_of, write_scenes, write_small_dataset


def test_what_was_written_reads_back(dataset):
    scene = dataset.scenes.iloc[3]
    written = scene_of(int(scene["mine"][-1]), int(scene["year"]))
    inputs, valid = dataset.read_inputs(scene, ("B04", "VH", "B02"))
    assert inputs[0] == pytest.approx(written.optical[2] * 1e-4)
    assert inputs[1] == pytest.approx(written.radar[1])
    assert inputs[2] == pytest.approx(written.optical[0] * 1e-4)
    assert valid.all()
    with open_raster(dataset.path / scene["optical"]) as source:
        assert (source.descriptions, source.scales) == (written.optical_bands, (1e-4,) * 4)
    assert (dataset.read_labels(scene) == written.labels).all()
    assert dataset.grid(scene).matches(written.grid)
    assert dataset.mines["longitude"].between(13, 16).all()  # taken from the rasters
    assert dataset.mines["latitude"].between(45, 45.3).all()


def test_window_is_a_slice_of_the_whole(dataset):
    scene, task = dataset.scenes.iloc[0], parse_task("model1")
    window, part = Window(5, 9, 20, 10), (..., slice(9, 19), slice(5, 25))
    whole, _ = dataset.read_inputs(scene, ("B04",))
    assert (dataset.read_inputs(scene, ("B04",), window)[0] == whole[part]).all()
    assert (
        dataset.read_target(scene, task, window) == dataset.read_target(scene, task)[part]
    ).all()


def test_class_shares_match_a_count_by_hand(dataset):
    shares = dataset.class_shares()
    scenes = dataset.scenes_of("test")
    labels = np.stack([dataset.read_labels(scene) for _, scene in scenes.iterrows()])
    expected = ((labels & 1 > 0) & (labels != IGNORE_BITS)).sum() / (labels != IGNORE_BITS).sum()
    assert shares.loc["excavation", "test"] == pytest.approx(expected)


def test_digest_depends_on_content_and_not_on_place(tmp_path, dataset):
    again = write_small_dataset(tmp_path / "again")
    assert again.digest == dataset.digest
    other = resplit(again, seed=3)
    assert other.digest == dataset.digest
    assert other.split_digest != dataset.split_digest
    assert open_dataset(again.path).split_digest == other.split_digest
    shutil.copy(again.path / again.scenes["labels"][0], again.path / again.scenes["labels"][1])
    assert open_dataset(again.path).digest != dataset.digest


def broken_scenes():
    yield scene_of(0)
    raise MinsegError("broken")


@pytest.mark.parametrize(
    ("scenes", "count", "message"),
    [
        (broken_scenes(), 4, "broken"),
        ([scene_of(0), scene_of(0, 2021)], 1, "at least 3"),
    ],
)
def test_an_error_leaves_nothing(tmp_path, scenes, count, message):
    with pytest.raises(MinsegError, match=message):
        write_scenes(tmp_path / "new", mine_rows(count), scenes)
    assert names(tmp_path) == []


def test_scenes_of_one_year_are_kept_apart_and_one_without_radar_gives_none(tmp_path):
    scenes = [*(scene_of(k, radar=k > 0) for k in range(4)), replace(scene_of(1), scene="second")]
    found = write_scenes(tmp_path / "new", mine_rows(4), scenes)
    assert found.scenes["labels"].is_unique and len(found.scenes) == 5
    scene = found.scenes.set_index("mine", drop=False).loc["mine-0"]
    with pytest.raises(MinsegError, match="has no radar"):
        found.read_inputs(scene, ("VV",))


def test_opening_names_all_problems(own_dataset):
    mines = pd.read_csv(own_dataset.path / "mines.csv")
    mines.loc[0, "mine_type"] = "XX"
    mines.to_csv(own_dataset.path / "mines.csv", index=False)
    (own_dataset.path / "split.csv").unlink()
    with pytest.raises(MinsegError) as error:
        open_dataset(own_dataset.path)
    assert "'XX'" in str(error.value)
    assert "split.csv: no such file" in str(error.value)
    with pytest.raises(MinsegError, match=r"no dataset\.json"):
        open_dataset(own_dataset.path / "scenes")


def test_paths_of_a_scene_are_written_alike_on_every_system():
    row = scene_row(PureWindowsPath("scenes", "mine-0", "2019"), scene_of(0, 2019))
    assert row["labels"] == "scenes/mine-0/2019/labels.tif"
