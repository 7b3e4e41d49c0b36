import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from minseg.data.mines import MINE_TABLE, MINE_TYPES, RAW_MATERIALS, split_mines, validate_table
from minseg.synthetic.register import CASES, assign_cases, synthetic_mines
from tests.synthetic.conftest import draw, mask


def test_mine_table_is_valid_and_has_every_kind_of_mine(mines):
    assert validate_table(mines, MINE_TABLE, "mines")[1] == []
    kinds = set(zip(mines["raw_material"], mines["mine_type"], strict=True))
    assert kinds == {(raw, kind) for raw in RAW_MATERIALS for kind in MINE_TYPES}
    coal = mines[mines["raw_material"] == "CL"]
    assert (coal["mine_type"] == "OC").mean() > 0.5


def test_mines_lie_apart():
    table = synthetic_mines(150, seed=1)
    places = table[["longitude", "latitude"]].to_numpy()
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert distances[~np.eye(len(table), dtype=bool)].min() >= 0.2


def with_cases(num_mines, seed):
    mines = synthetic_mines(num_mines, seed)
    split = split_mines(mines, seed)
    return assign_cases(mines, split, seed).merge(split, on="mine")


@pytest.mark.parametrize("seed", range(4))
def test_each_case_stands_once_in_test_and_validation_and_where_it_fits(seed):
    table = with_cases(100, seed)
    counts = table.groupby(["part", "case"]).size().unstack(fill_value=0)
    for case in CASES:
        assert counts.loc["test", case.name] == counts.loc["validation", case.name] == 1
        assert counts.loc["train", case.name] == (0 if case.name == "snow" else 5)
        kinds = set(table.loc[table["case"] == case.name, "raw_material"])
        assert case.raw_material is None or kinds == {case.raw_material}
    assert (table.loc[table["case"] == "snow", "latitude"].abs() > 44).all()


@pytest.mark.parametrize("num_mines", [3, 8, 12, 20, 40, 61])
def test_at_most_a_third_of_a_part_is_special(num_mines):
    table = with_cases(num_mines, seed=0)
    assert ((table["case"] != "").groupby(table["part"]).mean() <= 1 / 3).all()
    assert set(table["case"]) <= {"", *(case.name for case in CASES)}


def test_cases_follow_from_the_seed_and_make_a_valid_table():
    mines = synthetic_mines(60, seed=2)
    pd.testing.assert_frame_equal(synthetic_mines(60, seed=2), mines)
    assert not synthetic_mines(60, seed=3).equals(mines)
    split = split_mines(mines, seed=2)
    one, again, other = (assign_cases(mines, split, seed) for seed in (2, 2, 3))
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)
    pd.testing.assert_frame_equal(one.drop(columns="case"), mines)
    assert validate_table(one, MINE_TABLE, "mines")[1] == []


def both(mines, case, raw_material=None, year=2021):
    """Scenes of some mines as ordinary ones, and as a case."""
    chosen = mines if raw_material is None else mines[mines["raw_material"] == raw_material]
    rows = [row for _, row in chosen.head(6).iterrows()]
    special = [pd.concat([row, pd.Series({"case": case})]) for row in rows]
    return [draw(row, year) for row in rows], [draw(row, year) for row in special]


def reflectance(scene, band):
    return scene.optical[band] / 10_000


def areas_px(pieces):
    numbered, _ = ndimage.label(pieces)
    return np.bincount(numbered.ravel())[1:]


def test_snow_at_the_end_of_winter_brightens_the_last_year_and_darkens_its_short_waves(mines):
    def snow_index(scene):
        green, short_wave = reflectance(scene, 2), reflectance(scene, 10)
        return (green - short_wave) / (green + short_wave)

    latitudes = mines["latitude"].head(6)
    assert (latitudes > 0).nunique() == 2
    for latitude, plain, snowy in zip(latitudes, *both(mines, "snow"), strict=True):
        assert int(snowy.date[5:7]) in ((3, 4) if latitude > 0 else (9, 10))
        assert reflectance(snowy, 3).mean() > 2 * reflectance(plain, 3).mean()
        assert snow_index(snowy).mean() > snow_index(plain).mean() + 0.4
        assert 0.2 < (snow_index(snowy) > 0.4).mean() < 0.95  # patchy
        np.testing.assert_array_equal(snowy.labels, plain.labels)
    for plain, early in zip(*both(mines, "snow", year=2019), strict=True):
        np.testing.assert_array_equal(early.optical, plain.optical)


def test_multi_pit_has_several_excavations(mines):
    for plain, several in zip(*both(mines, "multi-pit", "RR"), strict=True):
        assert (areas_px(mask(plain, "excavation")) >= 20).sum() <= 2
        assert (areas_px(mask(several, "excavation")) >= 20).sum() >= 3


def test_patchwork_is_many_small_reddish_excavations_in_green_country(mines):
    for plain, patchwork in zip(*both(mines, "patchwork", "MO"), strict=True):
        areas = areas_px(mask(patchwork, "excavation"))
        assert (areas >= 5).sum() >= 8 > (areas_px(mask(plain, "excavation")) >= 5).sum()
        assert np.median(areas) < 0.03 * patchwork.labels.size
        red, blue = (reflectance(patchwork, band)[mask(patchwork, "excavation")] for band in (3, 1))
        assert red.mean() > 2 * blue.mean()
        country = patchwork.labels == 0
        red, infrared = (reflectance(patchwork, band)[country] for band in (3, 7))
        assert ((infrared - red) / (infrared + red)).mean() > 0.4


def test_flooded_pit_is_water_that_nobody_labels(mines):
    def unlabelled_water(scene):
        return ((reflectance(scene, 7) < 0.04) & (scene.labels == 0)).mean()

    scenes = both(mines, "flooded pit")
    ordinary, flooded = (np.array([unlabelled_water(scene) for scene in each]) for each in scenes)
    assert ordinary.mean() < 0.03
    assert (flooded - ordinary).min() > 0.005 and np.median(flooded - ordinary) > 0.03


def test_wet_dam_looks_like_the_slurry_behind_it(mines):
    def contrast(scene):
        dam, slurry = mask(scene, "dam"), mask(scene, "tailing storage facility")
        beside = slurry & (ndimage.distance_transform_edt(~dam) < 4)
        seen = reflectance(scene, [2, 3, 7, 10])
        return np.abs(seen[:, dam].mean(axis=1) - seen[:, beside].mean(axis=1)).mean()

    ordinary, wet = both(mines, "wet dam", "MO")
    assert all(mask(scene, "tailing storage facility").any() for scene in wet)
    dry = np.median([contrast(scene) for scene in ordinary if mask(scene, "dam").any()])
    assert np.median([contrast(scene) for scene in wet]) < 0.7 * dry
