import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import rasterio

from minseg.data.labels import IGNORE, TASKS, encode_bits, parse_task
from minseg.errors import MinsegError
from minseg.maps.change import change_areas
from minseg.maps.class_map import ClassMap
from minseg.study.change import (
    CATEGORIES,
    TwoYears,
    account_check,
    adjusted_areas,
    annotated,
    change_account,
    compare_years,
    cross_tables,
    false_change,
    mines_with_two_years,
    most_grown_mine,
    predicted,
    scene_maps,
    scenes_of_two_years,
)
from minseg.study.execution import predict_scenes_of, run
from minseg.study.runs import Run, RunStore
from minseg.study.study import Study
from tests.conftest import TINY, grid_at, mine_rows, scene_of, write_scenes, write_small_dataset


def test_scenes_of_two_years(many, own_dataset):
    assert list(scenes_of_two_years(many, "mine-0")["year"]) == [2019, 2020]
    assert list(scenes_of_two_years(many, "mine-0", [2019, 2020])["year"]) == [2019, 2020]
    for dataset, mine, years, message in (
        (many, "mine-0", [2019, 2021], r"two years \(2019 and 2021\), .* are of: 2019, 2020"),
        (many, "mine-0", [2020, 2019], "an earlier and a later"),
        (many, "x", (), "has no mine 'x'"),
        (own_dataset, "mine-0", (), "its scenes are of: 2020"),
    ):
        with pytest.raises(MinsegError, match=message):
            scenes_of_two_years(dataset, mine, years)
    assert mines_with_two_years(own_dataset) == []
    assert most_grown_mine(own_dataset, TASKS["model1"]) is None


def test_the_mine_that_grew_most(tmp_path):
    def scene(k, year):
        pit = np.zeros((64, 64), bool)
        pit[:, : 10 + 5 * (k % 5) * (year == 2020)] = True
        labels = encode_bits({"excavation": pit, "preparatory work area": ~pit & (k == 0)})
        return replace(scene_of(k, year), labels=labels)

    mines = mine_rows(14, raw_material="RR", mine_type="OP")
    scenes = (scene(k, year) for k in range(14) for year in (2019, 2020))
    grown = write_scenes(tmp_path / "grown", mines, scenes)
    tested = mines_with_two_years(grown)
    number = [int(mine.removeprefix("mine-")) for mine in tested]
    assert len({k % 5 for k in number}) > 1
    most = max(number, key=lambda k: k % 5)
    assert most_grown_mine(grown, parse_task("excavation")) == f"mine-{most}"


@pytest.fixture(scope="module")
def tiny_run(many, tmp_path_factory):
    return run(TINY.replace(epochs=1), many, RunStore(tmp_path_factory.mktemp("runs")))


def test_predictions_of_both_years_of_mines_not_seen_in_training(many, tiny_run):
    mines = mines_with_two_years(many)
    truth, rows = annotated(many, tiny_run.task, mines), many.scenes.set_index("scene")
    found = predicted(tiny_run, many, truth)
    assert list(found) == mines
    for mine, one in found.items():
        assert one.years == (2019, 2020)
        assert one.scenes == (f"{mine}-2019", f"{mine}-2020")
        assert not np.array_equal(one.before.classes, one.after.classes)
        true = truth[mine]
        assert true.scenes == one.scenes
        assert (true.before.classes[:, -1] == IGNORE).all()
        target = many.read_target(rows.loc[true.scenes[1]], tiny_run.task)
        assert np.array_equal(true.after.classes, target)
        # The run has stored what it predicts of the later year.
        with rasterio.open(tiny_run.path / "predictions" / f"{mine}-2020.tif") as stored:
            assert np.array_equal(one.after.classes, stored.read(1))
            assert one.after.grid.transform == stored.transform
    seen = many.split.loc[many.split["part"] == "train", "mine"].iloc[0]
    with pytest.raises(MinsegError, match=f"was trained on mine {seen}"):
        predicted(tiny_run, many, annotated(many, tiny_run.task, [seen]))


def test_pixels_without_an_image_have_no_prediction(tmp_path, tiny_run):
    gappy = write_small_dataset(tmp_path / "gappy", 3)
    path = gappy.path / gappy.scenes["optical"].iloc[0]
    with rasterio.open(path, "r+") as image:
        image.write(np.zeros((image.count, 10, 20), np.uint16), window=((5, 15), (7, 27)))
    scene = gappy.scenes["scene"].iloc[0]
    classes = predict_scenes_of(tiny_run, gappy, [scene])[scene].classes
    gap = np.zeros(classes.shape, bool)
    gap[5:15, 7:27] = True
    assert np.array_equal(classes == IGNORE, gap)


def test_maps_are_kept_and_need_no_network_again(many, tiny_run, tmp_path):
    scenes = list(scenes_of_two_years(many, mines_with_two_years(many)[0])["scene"])
    drawn = scene_maps(tiny_run, many, scenes)
    copy = Run(shutil.copytree(tiny_run.path, tmp_path / "copy"))
    (copy.path / "weights.safetensors").unlink()
    again = scene_maps(copy, many, scenes)
    for scene in scenes:
        assert np.array_equal(again[scene].classes, drawn[scene].classes)
        assert again[scene].grid.matches(drawn[scene].grid)
        assert again[scene].task == tiny_run.task
    other = write_small_dataset(tmp_path / "other", 14, side=96)
    assert scene_maps(tiny_run, other, scenes)[scenes[1]].grid.height == 96  # not those kept
    kept = next(copy.path.glob(f"scene_maps/*/{scenes[1]}.tif"))
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(MinsegError, match=kept.name):
        scene_maps(copy, many, scenes)
    # A run that cannot be written to is mapped all the same.
    shut = Run(shutil.copytree(tiny_run.path, tmp_path / "shut", ignore=lambda *_: ["scene_maps"]))
    (shut.path / "scene_maps").write_text("in the way")
    assert set(scene_maps(shut, many, scenes[1:])) == {scenes[1]}


def test_comparison_chooses_a_mine_and_says_what_is_missing(many, tiny_run):
    study = Study("demo", many, (0,), RunStore(tiny_run.path.parent))
    settings = tiny_run.config.model_dump(exclude={"task", "bands", "seed"})
    bands = {"model1": TINY.bands}
    compared = compare_years(study, ["model1", "model2"], bands, **settings)
    assert compared.mine == most_grown_mine(many, TASKS["model1"])
    assert set(compared.found["model1"]) == set(mines_with_two_years(many))
    assert len(compared.notes) == 1
    assert "model2" in compared.notes[0]
    ((found, true),) = compared.at_hand()
    assert (found.mine, true.mine) == (compared.mine, compared.mine)
    assert compared.by_figure() == [[found]]
    nothing = compare_years(study, ["model2"], {}, **settings)
    assert (nothing.mine, nothing.at_hand(), nothing.by_figure()) == (None, [], [])
    with pytest.raises(MinsegError, match="change needs two years"):
        compare_years(study, ["model1"], bands, "mine-0", [2018, 2020], **settings)


DUMPS = TASKS["model2"]
SIDE = 200


def two_years(before, after, mine="a", task=DUMPS):
    grid = grid_at(0, len(before))
    maps = (ClassMap(np.asarray(one, np.uint8), grid, task) for one in (before, after))
    return TwoYears(mine, (2019, 2021), (f"{mine}-2019", f"{mine}-2021"), *maps)


def growing(mine="a"):
    """A dump of 40 columns that moves on by 20."""
    before, after = np.zeros((2, SIDE, SIDE), np.uint8)
    before[:, 20:60] = 1
    after[:, 40:80] = 1
    return two_years(before, after, mine)


def flipped(true, share, seed=0):
    """The truth with a share of the pixels of each year turned round at random."""
    random = np.random.default_rng(seed)
    years = [
        np.where(random.random(one.classes.shape) < share, 1 - one.classes, one.classes)
        for one in (true.before, true.after)
    ]
    return two_years(*years, true.mine)


def crossed(**pixels):
    """Cross table of one class from (mines, predicted, true) numbers of pixels."""
    rows = [
        (mine, "dumping ground", *pair, number)
        for mine, table in pixels.items()
        for pair, number in zip(product(CATEGORIES, CATEGORIES), np.ravel(table), strict=True)
    ]
    return pd.DataFrame(rows, columns=["mine", "class", "predicted", "true", "pixels"])


def areas_of(stable, gained, lost, unchanged):
    areas = {"gained_ha": gained, "lost_ha": lost, "unchanged_ha": unchanged}
    whole = {"compared_ha": stable + sum(areas.values())}
    return pd.DataFrame(areas | whole, index=pd.Index(["dumping ground"], name="class"))


def row_of(table, change):
    return table.set_index("change").loc[change]


def test_cross_table_counts_every_pixel_with_data_and_annotation():
    true, found = growing(), flipped(growing(), 0.2)
    true.after.classes[:5] = IGNORE
    found.before.classes[-5:] = IGNORE
    table = cross_tables({"a": found}, {"a": true})
    assert table["pixels"].sum() == (SIDE - 10) * SIDE
    both = table.set_index(["predicted", "true"])["pixels"]
    known = np.s_[5:-5]
    gained = (found.before.classes[known] == 0) & (found.after.classes[known] == 1)
    was, became = true.before.classes[known] == 1, true.after.classes[known] == 1
    assert both["gained", "gained"] == np.count_nonzero(gained & ~was & became)
    assert both["gained", "lost"] == np.count_nonzero(gained & was & ~became)
    assert both["gained", "stable background"] == np.count_nonzero(gained & ~was & ~became)


def test_a_predictor_that_errs_at_random_has_a_floor_and_is_put_right():
    share, mines = 0.1, {mine: growing(mine) for mine in "bcde"}
    found = {mine: flipped(one, share, k) for k, (mine, one) in enumerate(mines.items())}
    table = cross_tables(found, mines)
    floor = false_change(table)
    # A pixel seems to change where exactly one of its two years is wrong, half the time to gain.
    assert np.allclose(floor["share"], share * (1 - share), rtol=0.02)
    assert ((floor["low"] <= floor["share"]) & (floor["share"] <= floor["high"])).all()
    assert (floor["high"] - floor["low"] < 0.01).all()
    own, true = flipped(growing(), share, 9), growing()
    mapped, truth = change_areas(own.before, own.after), change_areas(true.before, true.after)
    for change, rows in adjusted_areas(mapped, table).groupby("change"):
        true_ha = truth.loc["dumping ground", f"{change}_ha"]
        assert mapped.loc["dumping ground", f"{change}_ha"] > 1.5 * true_ha
        assert rows["adjusted_ha"].item() == pytest.approx(true_ha, rel=0.02)


def test_estimate_by_hand():
    # Rows: predicted background, gained, lost, class; columns: the same in truth.
    one = [[80, 10, 0, 10], [5, 15, 0, 0], [0, 0, 8, 2], [0, 5, 5, 40]]
    other = [[90, 0, 0, 10], [15, 5, 0, 0], [0, 0, 2, 8], [0, 0, 0, 50]]
    found = adjusted_areas(areas_of(100, 30, 10, 60), crossed(b=one, c=other))
    gained = 100 * 10 / 200 + 30 * 20 / 40 + 10 * 0 / 20 + 60 * 5 / 100
    lost = 100 * 0 / 200 + 30 * 0 / 40 + 10 * 10 / 20 + 60 * 5 / 100
    assert row_of(found, "gained")["adjusted_ha"] == pytest.approx(gained)
    assert row_of(found, "lost")["adjusted_ha"] == pytest.approx(lost)
    # The interval goes from one of the estimates with the shares of either mine alone to the other.
    either = 100 * 10 / 100 + 30 * 15 / 20 + 60 * 5 / 50, 30 * 5 / 20
    low, high = row_of(found, "gained")[["low_ha", "high_ha"]]
    assert (low, high) == pytest.approx((min(either), max(either)))
    floor = false_change(crossed(b=one, c=other))
    assert row_of(floor, "gained")["share"] == pytest.approx((5 + 15) / (137 + 173))
    assert row_of(floor, "lost")["share"] == pytest.approx((2 + 8) / (137 + 173))


def test_a_stratum_that_no_other_mine_has_and_one_other_mine():
    table = [[80, 10, 0, 10], [0, 0, 0, 0], [0, 0, 8, 2], [0, 5, 5, 40]]
    two = crossed(b=table, c=table)
    assert adjusted_areas(areas_of(100, 30, 10, 60), two)["adjusted_ha"].isna().all()
    without = adjusted_areas(areas_of(100, 0, 10, 60), two)
    assert row_of(without, "gained")["adjusted_ha"] == pytest.approx(100 * 0.1 + 60 * 0.1)
    one = crossed(b=[[80, 10, 0, 10], [5, 15, 0, 0], [0, 0, 8, 2], [0, 5, 5, 40]])
    assert false_change(one)[["low", "high"]].isna().all(axis=None)
    found = adjusted_areas(areas_of(100, 30, 10, 60), one)
    assert found[["low_ha", "high_ha"]].isna().all(axis=None)
    assert found["adjusted_ha"].notna().all()
    assert false_change(cross_tables({}, {})).empty


def test_account_takes_the_mine_at_hand_for_its_truth_only():
    true = {mine: growing(mine) for mine in "abc"}
    account = change_account(true, true, "a")
    assert list(account["change"]) == ["gained", "lost"]
    assert list(account["mines"]) == [2, 2]
    assert (account["mapped_ha"] > 30).all()
    for column in ("true_ha", "adjusted_ha", "low_ha", "high_ha"):
        assert np.allclose(account["mapped_ha"], account[column])
    assert (account[["floor_ha", "floor_high_ha"]] == 0).all(axis=None)

    nothing = two_years(true["a"].before.classes, true["a"].before.classes)
    account = change_account(true | {"a": nothing}, true, "a")
    assert (account[["mapped_ha", "adjusted_ha", "floor_ha"]] == 0).all(axis=None)
    assert (account["true_ha"] > 30).all()

    account = change_account(true | {"b": flipped(true["b"], 0.1)}, true, "a")
    compared_ha = change_areas(true["a"].before, true["a"].after)["compared_ha"].item()
    assert np.allclose(account["floor_ha"], compared_ha * 0.1 * 0.9 / 2, rtol=0.03)

    unknown = two_years(*np.full((2, SIDE, SIDE), IGNORE))
    alone = change_account({"a": true["a"]}, {"a": unknown}, "a")
    assert alone[["adjusted_ha", "low_ha", "floor_ha", "true_ha"]].isna().all(axis=None)
    assert list(alone["mines"]) == [0, 0]


def test_check_on_every_mine_in_turn():
    # Mines b to f err alike; g is predicted not to change at all.
    truth = {mine: growing(mine) for mine in "bcdefg"}
    found = {mine: flipped(one, 0.05, k) for k, (mine, one) in enumerate(truth.items())}
    found["g"] = two_years(truth["g"].before.classes, truth["g"].before.classes, "g")
    table = account_check(found, truth)
    assert list(table["mines"]) == [6, 6]
    accounts = pd.concat([change_account(found, truth, mine) for mine in truth])
    held = (accounts["low_ha"] < accounts["true_ha"]) & (accounts["true_ha"] < accounts["high_ha"])
    assert list(table["inside"]) == list(held.groupby(accounts["change"]).sum())
    assert table["inside"].between(3, 5).all()
    true_ha = change_areas(truth["b"].before, truth["b"].after)["gained_ha"].item()
    wrong_ha = [
        abs(change_areas(one.before, one.after)["gained_ha"].item() - true_ha)
        for one in found.values()
    ]
    assert row_of(table, "gained")["mapped_error_ha"] == pytest.approx(np.mean(wrong_ha))
    assert account_check({"b": found["b"]}, truth).empty
