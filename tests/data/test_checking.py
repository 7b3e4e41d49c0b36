import json

import numpy as np
import pandas as pd
import pytest
import rasterio

from minseg import MinsegError
from minseg.data.checking import check_dataset
from minseg.data.labels import IGNORE, TASKS


def change(path, name, edit):
    table = pd.read_csv(path / name, keep_default_na=False)
    edit(table)
    table.to_csv(path / name, index=False)


def test_a_sound_dataset_has_no_problem(dataset):
    assert check_dataset(dataset.path) == []


def test_every_broken_raster_is_named(own_dataset):
    paths = [own_dataset.path / name for name in own_dataset.scenes["optical"]]
    paths[0].unlink()
    paths[1].write_bytes(b"no raster")
    with rasterio.open(paths[2], "r+") as source:
        source.write(np.zeros((source.count, source.height, source.width), np.uint16))
    with rasterio.open(paths[3], "r+") as source:
        source.transform = source.transform @ rasterio.Affine.translation(3, 0)
    text = check_dataset(own_dataset.path)
    assert len(text) == 4
    assert "no such file" in text[0]
    assert "cannot be read" in text[1]
    assert "no pixel has a value" in text[2]
    assert "different grids" in text[3]


def test_labels_of_a_class_nobody_annotated(own_dataset):
    path = own_dataset.path / own_dataset.scenes["labels"][0]
    with rasterio.open(path, "r+") as source:
        labels = source.read(1)
        labels[3, 3] |= 1 << 8
        source.write(labels, 1)
    assert "bits [8]" in check_dataset(own_dataset.path)[0]


def test_scene_nobody_annotated(own_dataset):
    path = own_dataset.path / own_dataset.scenes["labels"][0]
    with rasterio.open(path, "r+") as source:
        source.write(np.full((source.height, source.width), 65535, np.uint16), 1)
    assert "not annotated" in check_dataset(own_dataset.path)[0]


def rewrite(path, labels):
    """Write labels anew as they are, without our own writer."""
    with rasterio.open(path) as source:
        profile = {"crs": source.crs, "transform": source.transform, "driver": "GTiff"}
    count, height, width = labels.shape
    profile |= {"count": count, "height": height, "width": width, "dtype": labels.dtype}
    with rasterio.open(path, "w", **profile) as target:
        target.write(labels)


@pytest.mark.parametrize("change", [lambda a: a.astype(np.float32), lambda a: a.repeat(2, 0)])
def test_labels_that_are_no_bit_mask_are_no_labels(own_dataset, change):
    path = own_dataset.path / own_dataset.scenes["labels"][0]
    rewrite(path, change(own_dataset.read_labels(own_dataset.scenes.iloc[0])[np.newaxis]))
    assert ["one band of uint16" in problem for problem in check_dataset(own_dataset.path)] == [
        True
    ]
    with pytest.raises(MinsegError, match="one band of uint16"):
        own_dataset.read_target(own_dataset.scenes.iloc[0], TASKS["model1"])


def test_what_a_mask_hides_of_labels_is_not_annotated(own_dataset):
    scene = own_dataset.scenes.iloc[0]
    with rasterio.open(own_dataset.path / scene["labels"], "r+") as source:
        source.write_mask(np.arange(source.height)[:, None] * np.ones(source.width) > 9)
    target = own_dataset.read_target(scene, TASKS["model1"])
    assert (target[:10] == IGNORE).all()
    assert (target[10:, :-1] != IGNORE).all()


def test_labels_that_are_missing_are_told(own_dataset):
    (own_dataset.path / own_dataset.scenes["labels"][0]).unlink()
    assert ["no such file" in problem for problem in check_dataset(own_dataset.path)] == [True]


def test_radar_that_holds_no_decibels_is_told(own_dataset):
    with rasterio.open(own_dataset.path / own_dataset.scenes["radar"][0], "r+") as source:
        source.write(10 ** (source.read() / 10))
    (problem,) = check_dataset(own_dataset.path)
    assert "the median of VV would be 0.06" in problem


def test_labels_that_hold_no_class_anywhere_are_told(own_dataset):
    for name in own_dataset.scenes["labels"]:
        with rasterio.open(own_dataset.path / name, "r+") as source:
            source.write(np.zeros((1, source.height, source.width), np.uint16))
    assert ["no label holds any class" in line for line in check_dataset(own_dataset.path)] == [
        True
    ]


def test_promised_band_that_is_not_in_the_files(own_dataset):
    file = own_dataset.path / "dataset.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"bands": [*about["bands"], "B12"]}))
    problems = check_dataset(own_dataset.path)
    assert len(problems) == 4
    assert all("B12" in problem for problem in problems)


def test_unknown_names_in_the_description(own_dataset):
    file = own_dataset.path / "dataset.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"class_names": ["pit"], "bands": ["red"]}))
    text = "\n".join(check_dataset(own_dataset.path))
    assert "'pit' is no class" in text
    assert "'red' is no band" in text
    file.write_text(json.dumps(about | {"colour": "blue"}))
    assert "colour" in check_dataset(own_dataset.path)[0]


def test_leakage_by_ground(own_dataset):
    """Two mines of different parts whose scenes show the same place."""
    parts = own_dataset.split.set_index("part")["mine"]
    rows = own_dataset.scenes.set_index("mine")
    source, target = rows.loc[parts["test"]], rows.loc[parts["validation"]]
    for kind in ("optical", "radar", "labels"):
        (own_dataset.path / target[kind]).write_bytes(
            (own_dataset.path / source[kind]).read_bytes()
        )
    assert "same ground" in check_dataset(own_dataset.path)[0]


def test_mine_in_two_parts(own_dataset):
    def twice(split):
        split.loc[len(split)] = [
            split["mine"][0],
            "test" if split["part"][0] != "test" else "train",
        ]

    change(own_dataset.path, "split.csv", twice)
    assert "keep it in one part" in check_dataset(own_dataset.path)[0]
