import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from rasterio.warp import transform as warp_points
from sklearn.ensemble import HistGradientBoostingClassifier

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.dataset import check_dataset, open_dataset
from minseg.data.labels import CLASS_NAMES, TASKS, overlapping_pixels
from minseg.data.mines import split_mines
from minseg.errors import MinsegError
from minseg.synthetic.dataset import (
    ANNOTATION_ERROR_PX,
    _annotate,
    render_scene,
    write_synthetic,
)  # fmt: skip
from tests.synthetic.conftest import draw, mask

YEARS = (2019, 2020, 2021)


def test_scene_follows_from_seed_mine_and_year(mines):
    mine = mines.iloc[0]
    one, again = (draw(mine, 2020, 64) for _ in range(2))
    others = [draw(mine, 2020, 64, seed=4), draw(mine, 2021, 64), draw(mines.iloc[1], 2020, 64)]
    for name in ("optical", "radar", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        for other in others:
            assert (getattr(one, name) != getattr(other, name)).any()


@pytest.mark.parametrize("size", [64, 100, 150])
def test_scene_has_the_size_asked_for(mines, size):
    scene = draw(mines.iloc[2], 2021, size)
    arrays = scene.optical, scene.radar, scene.labels
    shapes = [(12, size, size), (3, size, size), (size, size)]
    assert [array.shape for array in arrays] == shapes
    assert [array.dtype for array in arrays] == [np.uint16, np.float32, np.uint16]
    assert (scene.grid.height, scene.grid.width) == (size, size)


def test_grid_is_10_m_utm_around_the_mine(mines, scenes):
    for (_, mine), scene in zip(mines.iterrows(), scenes, strict=True):
        grid = scene.grid
        assert grid.pixel_size_m == (10, 10)
        assert grid.transform.c % 60 == 0
        assert grid.transform.f % 60 == (0 if mine["latitude"] >= 0 else 10_000_000 % 60)
        assert grid.crs.to_epsg() // 100 == (326 if mine["latitude"] > 0 else 327)
        (x,), (y,) = warp_points("EPSG:4326", grid.crs, [mine["longitude"]], [mine["latitude"]])
        assert 160_000 < x < 840_000  # inside its zone
        left, bottom, right, top = grid.bounds
        assert ((left + right) / 2, (bottom + top) / 2) == pytest.approx((x, y), abs=30)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_class_occurs_in_a_tenth_of_the_mines(scenes, name):
    assert sum(mask(scene, name).any() for scene in scenes) >= len(scenes) / 10


def test_slopes_lie_inside_the_excavation_and_classes_of_a_task_do_not_overlap(scenes):
    for scene in scenes:
        for name in ("exploitation slope", "transportation slope"):
            assert not (mask(scene, name) & ~mask(scene, "excavation")).any()
        for task in ("model1", "model2", "model3"):
            assert overlapping_pixels(scene.labels, TASKS[task].class_names) == 0


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        *((name, "excavation") for name in ("dumping ground", "stockpile", "infrastructure")),
        *((name, "dumping ground") for name in ("tailing storage facility", "dam")),
    ],
)
def test_parts_lie_inside_and_outside_larger_ones(scenes, part, whole):
    pairs = [(mask(scene, part), mask(scene, whole)) for scene in scenes]
    assert sum((one & other).any() for one, other in pairs) >= 2
    assert sum((one & ~other).any() for one, other in pairs) >= 2


def test_tailings_come_with_a_dam_and_mostly_with_metal_ores(mines, scenes):
    has_tailings = np.array([mask(s, "tailing storage facility").any() for s in scenes])
    has_dam = np.array([mask(s, "dam").any() for s in scenes])
    assert not (has_dam & ~has_tailings).any()
    assert has_dam.sum() >= 0.8 * has_tailings.sum()  # a scene's border may cut the dam off
    ore = (mines["raw_material"] == "MO").to_numpy()
    assert has_tailings[ore].mean() > 2 * has_tailings[~ore].mean()


def test_mines_only_grow_each_at_its_own_rate(mines):
    rates = []
    for _, mine in mines.head(6).iterrows():
        series = [draw(mine, year, 64) for year in YEARS]
        for before, after in pairwise(series):
            for name in ("excavation", "dumping ground"):
                # An internal dump does not shrink either: the front moves on, its back stays.
                assert not (mask(before, name) & ~mask(after, name)).any()
        areas = [mask(scene, "excavation").sum() for scene in series]
        assert areas[0] < areas[1] < areas[2]
        rates.append(areas[2] / areas[0])
    assert max(rates) > min(rates) + 0.1


def test_country_stays_from_year_to_year_but_for_speckle_of_the_stated_strength(mines):
    mine = mines[mines["raw_material"] == "RR"].iloc[0]
    before, after = (draw(mine, year) for year in YEARS[:2])
    background = (before.labels == 0) & (after.labels == 0)
    red = [scene.optical[3][background].astype(float) for scene in (before, after)]
    assert np.corrcoef(red)[0, 1] > 0.6
    assert (red[0] != red[1]).mean() > 0.5
    change_db = (before.radar[0] - after.radar[0])[background]
    # Standard deviation of 10 log10 of gamma(6) / 6 is 1.85 dB; of a difference, 2.6 dB.
    assert 2.3 < change_db.std() < 3.4


def test_values_are_plausible(scenes):
    for scene in scenes:
        assert scene.optical.min() >= 1 and scene.optical.max() <= 15_000
        vv_db, vh_db, ratio_db = scene.radar
        assert np.isfinite(scene.radar).all() and vv_db.min() > -45 and vv_db.max() < 20
        assert -16 < np.median(vv_db) < -7
        assert 4 < np.median(vv_db) - np.median(vh_db) < 12
        assert scene.date.startswith(f"{scene.year}-")
        np.testing.assert_array_equal(ratio_db, vv_db - vh_db - 10)  # VV/(10·VH)


def test_coarse_bands_come_in_blocks_of_their_native_pixels(scenes):
    for band, image in zip(OPTICAL_BANDS, scenes[0].optical, strict=True):
        side = band.native_gsd_m // 10
        blocks = image[: 96 // side * side, : 96 // side * side]
        blocks = blocks.reshape(96 // side, side, 96 // side, side)
        assert (blocks == blocks[:, :1, :, :1]).all()
        assert (np.diff(image[::side, ::side].astype(int)) != 0).mean() > 0.5


def test_materials_look_like_themselves(scenes):
    def mean(values, name):
        return np.mean([values(s)[mask(s, name)].mean() for s in scenes if mask(s, name).any()])

    def greenness(scene):
        red, infrared = scene.optical[[3, 7]].astype(float)
        return (infrared - red) / (infrared + red)

    def vv_db(scene):
        return scene.radar[0]

    background = np.mean([greenness(scene)[scene.labels == 0].mean() for scene in scenes])
    assert background > mean(greenness, "excavation") + 0.2
    assert mean(vv_db, "infrastructure") > mean(vv_db, "excavation") + 2
    assert mean(vv_db, "settling pond") < mean(vv_db, "excavation") - 3


def test_label_borders_are_displaced_by_the_stated_error():
    truth = np.repeat(np.arange(200, dtype=np.uint16)[:, None], 200, axis=1)
    drawn = _annotate(truth, np.random.default_rng(0))
    error_px = (drawn.astype(float) - truth)[10:-10]
    # Displacements are rounded to whole pixels, which adds a variance of 1/12.
    assert error_px.std() == pytest.approx(np.hypot(ANNOTATION_ERROR_PX, 12**-0.5), rel=0.1)


def test_colour_alone_does_not_solve_the_task(scenes):
    colours = np.stack([scene.optical[[3, 2, 1]] for scene in scenes]).transpose(0, 2, 3, 1)
    mined = np.stack([scene.labels > 0 for scene in scenes])
    train = slice(0, 28), slice(None, None, 4), slice(None, None, 4)
    classifier = HistGradientBoostingClassifier(max_iter=40, random_state=0)
    classifier.fit(colours[train].reshape(-1, 3), mined[train].ravel())
    found = classifier.predict(colours[28:].reshape(-1, 3))
    truth = mined[28:].ravel()
    iou = (found & truth).sum() / (found | truth).sum()
    assert 0.35 < iou < 0.75


def test_written_dataset_is_sound_and_repeatable(tmp_path):
    dataset = write_synthetic(tmp_path / "a", num_mines=4, years=(2021, 2019), size=64, seed=1)
    again = write_synthetic(tmp_path / "b", num_mines=4, years=(2019, 2021), size=64, seed=1)
    other = write_synthetic(tmp_path / "c", num_mines=4, years=(2019, 2021), size=64, seed=2)
    assert check_dataset(tmp_path / "a") == []
    about = dataset.description
    assert dataset.synthetic and about.class_names == CLASS_NAMES and len(about.bands) == 15
    assert list(dataset.scenes.groupby("mine").size()) == [2] * 4
    assert dataset.digest == again.digest != other.digest


def test_processors_without_vector_instructions_draw_the_same(tmp_path):
    # Else a run that others trained, whose key holds the dataset's digest, were not found here.
    found = np.show_config("dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("numpy uses no vector instructions on this machine")
    here = write_synthetic(tmp_path / "here", num_mines=8, size=64)
    there = tmp_path / "there"
    script = f"from minseg.synthetic.dataset import *; write_synthetic({str(there)!r}, 8, size=64)"
    plain = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    subprocess.run([sys.executable, "-c", script], env=plain, check=True)
    assert open_dataset(there).digest == here.digest


def test_written_dataset_marks_its_cases_after_the_split(tmp_path):
    dataset = write_synthetic(tmp_path / "dataset", num_mines=20, years=(2021,), size=64, seed=1)
    ordinary = dataset.mines.drop(columns="case")
    pd.testing.assert_frame_equal(dataset.split, split_mines(ordinary, seed=1))
    special = dataset.mines[dataset.mines["case"] != ""]
    assert len(special) >= 3
    mine = special.iloc[0]
    scene = dataset.scenes[dataset.scenes["mine"] == mine["mine"]].iloc[0]
    drawn = [render_scene(row, 2021, (2021,), 64, seed=1) for row in (mine, mine.drop("case"))]
    assert (dataset.read_labels(scene) == drawn[0].labels).all()
    assert (dataset.read_labels(scene) != drawn[1].labels).any()


@pytest.mark.parametrize("arguments", [{"num_mines": 2}, {"years": ()}, {"size": 32}, {"seed": -1}])
def test_impossible_datasets_are_refused(tmp_path, arguments):
    with pytest.raises(MinsegError, match="give 3 mines or more"):
        write_synthetic(tmp_path / "dataset", **arguments)
    assert not (tmp_path / "dataset").exists()
