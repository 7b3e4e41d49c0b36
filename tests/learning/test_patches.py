import os
from dataclasses import replace

import numpy as np
import psutil
import pytest
import rasterio
import torch
from rasterio.windows import Window
from sklearn.utils.class_weight import compute_class_weight

from minseg import MinsegError
from minseg.data.labels import IGNORE, IGNORE_BITS, TASKS, encode_bits
from minseg.data.radiometry import training_statistics
from minseg.learning import patches as patches_module
from minseg.learning.options import TrainingOptions
from minseg.learning.patches import TrainingPatches, change_colours, read_patch
from tests.conftest import OPTICAL, SIDE, mine_rows, scene_of, write_scenes, write_small_dataset

MODEL1 = TASKS["model1"]
BANDS = ("B04", "VV", "B02")
PLACES = ("B02", "B03", "B04")
"""Bands that say where a pixel of `positions` is: its row, its column, its scene."""


def patches_of(dataset, bands=BANDS, **settings):
    settings = {"crop": 32, "batch_size": 5, "seed": 3} | settings
    return TrainingPatches(dataset, MODEL1, training_statistics(dataset, bands), **settings)


def epoch_of(patches, epoch=0):
    """All crops of an epoch: inputs (crops, bands, h, w) and target (crops, h, w)."""
    inputs, target = zip(*patches.batches(epoch), strict=True)
    return torch.cat(inputs), torch.cat(target)


def class_at(scene, row, column):
    """The class that the dataset of positions has at a place, 0 to 2."""
    return (3 * scene + row * column + row // 7 + 2 * (column // 5)) % 3


@pytest.fixture(scope="module")
def positions(tmp_path_factory):
    row, column = np.indices((SIDE, SIDE))

    def scene(k):
        classes = class_at(k, row, column)
        return replace(
            scene_of(k, radar=False),
            optical=(np.stack([row, column, np.full_like(row, k)]) + 1).astype(np.uint16),
            optical_bands=PLACES,
            labels=encode_bits({"excavation": classes == 1, "preparatory work area": classes == 2}),
        )

    path = tmp_path_factory.mktemp("made") / "positions"
    return write_scenes(path, mine_rows(4), map(scene, range(4)))


def places_of(patches, inputs):
    """Turn inputs back into rows, columns and scene numbers: each int (crops, h, w)."""
    mean = torch.tensor(patches.statistics.mean)[:, None, None]
    deviation = torch.tensor(patches.statistics.deviation)[:, None, None]
    numbers = (inputs * deviation + mean) * 1e4 - 1
    assert (numbers - numbers.round()).abs().max() < 0.1
    return numbers.round().int().unbind(1)


def orientation_of(row, column):
    """Which way a crop was flipped and turned, from the rows and columns that it shows."""
    transposed = bool(row[0, 0] == row[1, 0])
    if transposed:
        row, column = row.T, column.T
    return transposed, int(row[1, 0] - row[0, 0]), int(column[0, 1] - column[0, 0])


@pytest.mark.parametrize("resident", [True, False])
def test_crops_are_windows_of_the_scenes_in_all_eight_orientations(positions, resident):
    settings = {"crops_per_scene": 32, "batch_size": 8, "resident": resident}
    patches = patches_of(positions, PLACES, **settings)
    inputs, target = epoch_of(patches)
    rows, columns, scenes = places_of(patches, inputs)
    orientations = []
    for row, column, scene, found in zip(rows, columns, scenes, target, strict=True):
        assert len(scene.unique()) == 1
        # 1024 different places within 32 rows and 32 columns are a whole window.
        assert len((row * SIDE + column).unique()) == 32 * 32
        assert row.max() - row.min() == column.max() - column.min() == 31
        assert torch.equal(found, class_at(scene, row, column).to(torch.uint8))
        orientations.append(orientation_of(row, column))
    assert set(orientations) == {(t, d, r) for t in (False, True) for d in (-1, 1) for r in (-1, 1)}


def test_every_scene_is_taken_equally_often_and_every_corner_can_be(positions):
    patches = patches_of(positions, PLACES, crop=62, crops_per_scene=40, batch_size=16)
    inputs, _ = epoch_of(patches)
    rows, columns, scenes = places_of(patches, inputs)
    taken = scenes[:, 0, 0].bincount()
    assert taken[taken > 0].tolist() == [40] * len(patches.scenes)
    corners = set(zip(rows.amin((1, 2)).tolist(), columns.amin((1, 2)).tolist(), strict=True))
    assert corners == {(row, column) for row in range(3) for column in range(3)}


def test_orientations_are_drawn_anew_in_every_epoch(positions):
    patches = patches_of(positions, PLACES, crop=64, crops_per_scene=16)
    rows, columns, _ = places_of(patches, torch.cat([epoch_of(patches, k)[0] for k in (0, 1)]))
    drawn = [orientation_of(row, column) for row, column in zip(rows, columns, strict=True)]
    assert drawn[: len(drawn) // 2] != drawn[len(drawn) // 2 :]


def test_seed_and_epoch_decide_everything(dataset):
    patches = patches_of(dataset)
    first, _ = epoch_of(patches, 4)
    torch.rand(100)
    epoch_of(patches, 0)
    for same in (patches, patches_of(dataset)):
        assert torch.equal(first, epoch_of(same, 4)[0])
    for other in (epoch_of(patches, 5), epoch_of(patches_of(dataset, seed=4), 4)):
        assert not torch.equal(first, other[0])


@pytest.mark.parametrize(("size", "number"), [(5, 3), (30, 1)])  # of 12 scenes
def test_last_batch_is_filled_with_more_crops(dataset, size, number):
    patches = patches_of(dataset, batch_size=size)
    batches = list(patches.batches(0))
    assert len(batches) == len(patches) == number
    for inputs, target in batches:
        assert (inputs.shape, inputs.dtype) == ((size, 3, 32, 32), torch.float32)
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert (target.shape, target.dtype) == ((size, 32, 32), torch.uint8)


@pytest.mark.parametrize(("free_bytes", "kept"), [(10**9, True), (10**4, False)])
def test_scenes_are_kept_on_the_device_if_they_fit(dataset, monkeypatch, free_bytes, kept):
    monkeypatch.setattr(patches_module, "room_for_scenes", lambda device: free_bytes)
    assert (patches_of(dataset).resident is not None) == kept


@pytest.mark.parametrize("workers", [1, 2, 4, 16])
def test_workers_of_a_machine_take_no_more_than_half_of_its_free_memory(monkeypatch, workers):
    cores, free = 16, psutil.virtual_memory()._replace(available=10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores // workers)
    room = patches_module.room_for_scenes(torch.device("cpu"))
    assert room == pytest.approx(10**9 * min(1 / 4, 1 / 2 / workers))


def test_read_patch_is_the_standardised_window_of_the_dataset(dataset):
    scene = dataset.scenes_of("train").iloc[3]
    statistics = training_statistics(dataset, BANDS)
    window = Window(7, 11, 20, 30)
    inputs, target = read_patch(dataset, scene, MODEL1, statistics, window)
    assert inputs.dtype == torch.float16
    values, _ = dataset.read_inputs(scene, BANDS)
    for k in range(len(BANDS)):
        expected = (values[k, 11:41, 7:27] - statistics.mean[k]) / statistics.deviation[k]
        assert inputs[k].float().numpy() == pytest.approx(expected, abs=4e-3)
    assert np.array_equal(target.numpy(), dataset.read_target(scene, MODEL1)[11:41, 7:27])


@pytest.mark.parametrize("resident", [True, False])
def test_missing_pixels_are_zero_and_ignored(own_dataset, resident):
    for _, scene in own_dataset.scenes.iterrows():
        with rasterio.open(own_dataset.path / scene["optical"], "r+") as file:
            file.write(np.zeros((1, 30), np.uint16), OPTICAL.index("B04") + 1, window=_row(20))
        with rasterio.open(own_dataset.path / scene["radar"], "r+") as file:
            file.write(np.full((1, 30), np.nan, np.float32), 1, window=_row(40))
    patches = patches_of(own_dataset, crop=64, batch_size=1, resident=resident)
    inputs, target = epoch_of(patches, epoch=1)
    missing = (inputs == 0).all(dim=1)
    assert missing.sum(dim=(1, 2)).tolist() == [60] * len(inputs)
    assert (target[missing] == IGNORE).all()
    # The last column was never annotated, but its pixels are there.
    assert (target == IGNORE).sum(dim=(1, 2)).tolist() == [60 + SIDE] * len(inputs)
    assert inputs.isfinite().all()


@pytest.mark.parametrize("resident", [True, False])
def test_scenes_of_which_nobody_annotated_a_pixel_that_is_there_are_refused(own_dataset, resident):
    for _, scene in own_dataset.scenes.iterrows():
        with rasterio.open(own_dataset.path / scene["labels"], "r+") as file:
            labels = file.read()
            labels[:, 10:] = IGNORE_BITS
            file.write(labels)
    assert patches_of(own_dataset, resident=resident)
    for _, scene in own_dataset.scenes.iterrows():
        with rasterio.open(own_dataset.path / scene["optical"], "r+") as file:
            file.write(
                np.zeros((file.count, 10, file.width), np.uint16),
                window=Window(0, 0, file.width, 10),
            )
    with pytest.raises(MinsegError, match="no train pixel is annotated; nothing can be learnt"):
        patches_of(own_dataset, resident=resident)


@pytest.mark.parametrize("resident", [True, False])
def test_balanced_weights_are_those_of_scikit_learn(dataset, resident):
    train = [scene for _, scene in dataset.scenes_of("train").iterrows()]
    pixels = np.concatenate([dataset.read_target(scene, MODEL1).ravel() for scene in train])
    known = pixels[pixels != IGNORE]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=known)
    assert patches_of(dataset, resident=resident).class_weights().numpy() == pytest.approx(expected)


def _row(row):
    return Window(10, row, 30, 1)


@pytest.mark.parametrize(("side", "crop", "fitting"), [(100, 512, 96), (40, 64, 32), (24, 32, 0)])
def test_scenes_smaller_than_the_crop_are_refused_with_a_crop_if_one_fits(
    tmp_path, side, crop, fitting
):
    small = write_small_dataset(tmp_path / "small", count=4, years=(2020,), side=side)
    mend = rf"--set crop={fitting}\b" if fitting else "leave it out"
    with pytest.raises(MinsegError, match=rf"{side}×{side} pixels.*smaller than the crop.*{mend}"):
        patches_of(small, crop=crop)
    if fitting:
        TrainingOptions(crop=fitting)
        assert next(patches_of(small, crop=fitting).batches(0))[0].shape[-1] == fitting


@pytest.mark.parametrize("resident", [True, False])
def test_processes_that_train_together_share_out_each_batch(dataset, resident):
    settings = {"batch_size": 2, "crops_per_scene": 2}
    whole = patches_of(dataset, resident=True, **settings)
    shares = [patches_of(dataset, resident=resident, share=(k, 2), **settings) for k in (0, 1)]
    assert len(whole) > 2 * patches_module.BATCHES_AHEAD
    for batch, *parts in zip(whole.batches(3), *(one.batches(3) for one in shares), strict=True):
        for together, first, second in zip(batch, *parts, strict=True):
            assert torch.equal(together[0::2], first)
            assert torch.equal(together[1::2], second)


def test_colours_change_by_what_was_drawn_together_and_apart():
    inputs = torch.tensor([1.0, 2.0, 3.0, 0.0]).reshape(1, 4, 1, 1)
    change = torch.tensor([[[0.4, 0.2, 0.0, 0.4, 0.2]], [[0.2, 0.0, -0.2, 0.2, 0.2]]])
    optical = torch.tensor([True, True, False, True])
    found = change_colours(inputs, change, optical).flatten()
    # 1 × 1.3 + 0.1; 2 × 1.2 + 0; radar; missing
    assert found.numpy() == pytest.approx([1.4, 2.4, 3.0, 0.0])


def test_colours_change_within_their_limit_and_leave_places_labels_and_radar(dataset):
    plain, target = epoch_of(patches_of(dataset))
    changed, same_target = epoch_of(patches_of(dataset, colour=0.3))
    assert torch.equal(target, same_target)
    assert torch.equal(changed[:, 1], plain[:, 1])  # VV
    difference = (changed - plain)[:, [0, 2]]
    assert 0 < difference.abs().max() <= (0.3 * (1 + plain[:, [0, 2]].abs())).max()
    assert len(difference.mean(dim=(2, 3)).unique()) == 2 * len(plain)  # each crop its own
