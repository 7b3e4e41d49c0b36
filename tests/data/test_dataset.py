import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from minseg import MinsegError
from minseg.data import dataset as reading
from minseg.data.dataset import check_dataset, open_dataset, read_named
from minseg.data.labels import IGNORE, TASKS
from tests.conftest import write_small_dataset


def test_mask_of_a_scenes_file_hides_pixels_whether_it_is_kept_in_memory_or_not(write_tif):
    numbers = np.full((2, 8, 8), 1000, np.uint16)
    numbers[1, 7] = 0
    path = write_tif("optical.tif", numbers, nodata=0, descriptions=["B02", "B03"])
    shown = np.arange(8) * np.ones((8, 1)) > 2
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
        target.write_mask(shown)
    for window in (None, Window(0, 0, 8, 8)):
        assert np.array_equal(read_named(path, ["B02"], window)[1], shown)
        assert np.array_equal(read_named(path, ["B03"], window)[1], shown & (numbers[1] > 0))


REWRITTEN = {
    "optical float32": ("optical", np.float32, {}, "has type float32, not uint16"),
    "optical scaled": ("optical", np.uint16, {"scales": 0.01}, "has scale 0.01, not 0.0001"),
    "optical moved": ("optical", np.uint16, {"offsets": -0.1}, "has offset -0.1, not 0.0"),
    "optical without nodata": ("optical", np.uint16, {"nodata": None}, "has nodata value None"),
    "radar int16": ("radar", np.int16, {"nodata": -32768}, "has type int16, not float32"),
    "radar scaled": ("radar", np.float32, {"scales": 0.1}, "has scale 0.1, not 1.0"),
    "labels uint8": ("labels", np.uint8, {"nodata": None}, "has type uint8, not uint16"),
    "labels of three bands": ("labels", np.uint16, {"count": 3}, "has number of bands 3, not 1"),
}


def rewrite(path, dtype, scales=None, offsets=None, **profile):
    """Write a file anew as another program does: what is not asked for stays."""
    with rasterio.open(path) as source:
        values, names = source.read().astype(dtype), source.descriptions
        changed = source.profile | {"dtype": dtype} | profile
        kept = scales or source.scales[0], offsets or source.offsets[0]
    count = changed["count"]
    with rasterio.open(path, "w", **changed) as target:
        target.write(np.resize(values, (count, *values.shape[1:])))
        target.descriptions = (*names, None, None)[:count]
        target.scales, target.offsets = (kept[0],) * count, (kept[1],) * count


@pytest.mark.parametrize("case", REWRITTEN)
def test_a_scenes_file_of_another_form_is_refused_and_found(own_dataset, case):
    kind, dtype, changes, message = REWRITTEN[case]
    scene = own_dataset.scenes.iloc[0]
    rewrite(own_dataset.path / scene[kind], dtype, **changes)
    (problem,) = check_dataset(own_dataset.path)
    assert message in problem
    for window in (None, Window(0, 0, 8, 8)):
        with pytest.raises(MinsegError, match=message):
            if kind == "labels":
                own_dataset.read_labels(scene, window)
            else:
                own_dataset.read_inputs(scene, ["VV" if kind == "radar" else "B02"], window)


def test_a_scenes_file_whose_scale_tag_was_lost_is_read_as_before(own_dataset):
    scene = own_dataset.scenes.iloc[0]
    before, _ = own_dataset.read_inputs(scene, ["B02"])
    rewrite(own_dataset.path / scene["optical"], np.uint16, scales=1.0)
    assert np.array_equal(own_dataset.read_inputs(scene, ["B02"])[0], before)
    assert check_dataset(own_dataset.path) == []


def test_a_small_file_of_many_pixels_is_read_by_windows(own_dataset, monkeypatch):
    scene, window = own_dataset.scenes.iloc[0], Window(3, 5, 9, 7)
    whole = own_dataset.read_labels(scene)
    reading._kept.cache_clear()
    monkeypatch.setattr(reading, "SMALL_UNPACKED_BYTES", whole.nbytes - 1)
    assert np.array_equal(own_dataset.read_labels(scene, window), whole[window.toslices()])
    assert own_dataset.grid(scene).width == whole.shape[1]
    assert check_dataset(own_dataset.path) == []


def test_an_image_in_memory_is_not_taken_for_labels(own_dataset):
    table = own_dataset.path / "scenes.csv"
    table.write_text(table.read_text().replace("labels.tif", "optical.tif"))
    wrong = open_dataset(own_dataset.path)
    wrong.read_inputs(wrong.scenes.iloc[0], ["B02"])
    with pytest.raises(MinsegError, match="dataset has one band of uint16"):
        wrong.read_labels(wrong.scenes.iloc[0])


@pytest.fixture
def mixed(tmp_path):
    """Nine mines of three kinds, three of a kind; the third kind has no test mine."""
    kinds = {"raw_material": ["RR", "MO", "CL"] * 3, "mine_type": ["OP"] * 8 + [""]}
    dataset = write_small_dataset(tmp_path / "mixed", 9, **kinds)
    dataset.split["part"] = ["train"] * 3 + ["validation"] * 3 + ["test", "test", "train"]
    return dataset


def test_subset_keeps_the_part_of_each_of_its_mines(mixed):
    subset = mixed.subset("MO")
    assert subset.split.to_dict("list") == {
        "mine": ["mine-1", "mine-4", "mine-7"],
        "part": ["train", "validation", "test"],
    }
    assert set(subset.scenes["mine"]) == set(subset.mines["mine"]) == set(subset.split["mine"])
    assert list(subset.scenes_of("train")["scene"]) == ["mine-1-2019", "mine-1-2020"]
    assert list(subset.scenes_of("test")["scene"]) == ["mine-7-2020"]
    assert (len(mixed.mines), len(mixed.scenes)) == (9, 18)
    # Mines of no type are in no subset of one.
    assert set(mixed.mines["mine"]) - set(mixed.subset("OP").mines["mine"]) == {"mine-8"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("CL", "subset CL has no mine in test; add mines, or"),
        ("OC", "no mine has mine_type OC"),
        ("XX", "unknown subset 'XX'"),
    ],
)
def test_subset_that_a_part_lacks_is_refused(mixed, code, message):
    with pytest.raises(MinsegError, match=message):
        mixed.subset(code)


def test_path_holds_from_any_folder(own_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(own_dataset.path.parent)
    relative = open_dataset(Path(own_dataset.path.name))
    monkeypatch.chdir(tmp_path.parent)
    assert relative.digest == own_dataset.digest


@pytest.mark.parametrize("name", ["mines.csv", "labels"])
def test_hash_of_a_dataset_with_a_missing_file_is_refused(own_dataset, name):
    path = own_dataset.path / (name if name.endswith("csv") else own_dataset.scenes[name][2])
    path.unlink()
    with pytest.raises(MinsegError, match=r"cannot be read.*minseg dataset check") as error:
        _ = own_dataset.digest
    assert str(error.value).startswith(f"{path}: ")


def test_every_broken_raster_is_named(own_dataset):
    paths = [own_dataset.path / name for name in own_dataset.scenes["optical"]]
    paths[0].unlink()
    paths[1].write_bytes(b"no raster")
    with rasterio.open(paths[2], "r+") as source:
        source.write(np.zeros((source.count, source.height, source.width), np.uint16))
    with rasterio.open(paths[3], "r+") as source:
        source.transform = source.transform @ rasterio.Affine.translation(3, 0)
    said = "no such file", "cannot be read", "no pixel has a value", "different grids"
    found = check_dataset(own_dataset.path)
    assert all(one in problem for one, problem in zip(said, found, strict=True))


def test_what_a_mask_hides_of_labels_is_not_annotated(own_dataset):
    scene = own_dataset.scenes.iloc[0]
    with rasterio.open(own_dataset.path / scene["labels"], "r+") as source:
        source.write_mask(np.arange(source.height)[:, None] * np.ones(source.width) > 9)
    target = own_dataset.read_target(scene, TASKS["model1"])
    assert (target[:10] == IGNORE).all()
    assert (target[10:, :-1] != IGNORE).all()


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
    (own_dataset.path / own_dataset.scenes["optical"][0]).unlink()  # whatever else is wrong
    first, second = check_dataset(own_dataset.path)
    assert "no such file" in first and "same ground" in second


def without_decibels(values):
    values[:, :2] = -9999
    return values


BROKEN = {
    "class nobody annotated": ("labels", lambda bits: bits | np.uint16(1 << 8), "bits [8]"),
    "nobody looked": ("labels", lambda bits: np.full_like(bits, 65535), "not annotated"),
    "power": ("radar", lambda db: 10 ** (db / 10), "the median of VV would be 0.06"),
    "no decibels": ("radar", without_decibels, "128 pixels hold no decibels"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_values_that_a_scene_cannot_have_are_told(own_dataset, case):
    kind, edit, message = BROKEN[case]
    scene = own_dataset.scenes.iloc[0]
    with rasterio.open(own_dataset.path / scene[kind], "r+") as source:
        source.write(edit(source.read()))
    (problem,) = check_dataset(own_dataset.path)
    assert message in problem
    if case == "no decibels":
        for window in (None, Window(0, 0, 64, 64)):
            assert not own_dataset.read_inputs(scene, ["VV"], window)[1][:2].any()


def test_labels_that_hold_no_class_anywhere_are_told(own_dataset):
    for name in own_dataset.scenes["labels"]:
        with rasterio.open(own_dataset.path / name, "r+") as source:
            source.write(np.zeros((1, source.height, source.width), np.uint16))
    (problem,) = check_dataset(own_dataset.path)
    assert "no label holds any class" in problem


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"bands": ["B02", "B12"]}, ["B12 of dataset.json is missing"] * 4),
        ({"class_names": ["pit"], "bands": ["red"]}, ["'pit' is no class", "'red' is no band"]),
        ({"colour": "blue"}, ["colour: "]),
        ({"format_version": 9}, ["format version 9"]),
        (None, ["dataset.json: Invalid JSON"]),
    ],
)
def test_what_a_description_cannot_say_is_told(own_dataset, changes, messages):
    file = own_dataset.path / "dataset.json"
    text = file.read_text()
    file.write_text(json.dumps(json.loads(text) | changes) if changes else text[:20])
    problems = check_dataset(own_dataset.path)
    assert len(problems) == len(messages)
    assert all(said in problem for said, problem in zip(messages, problems, strict=True))
