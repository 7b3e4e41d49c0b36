from dataclasses import replace

import numpy as np
import pytest
import rasterio

from minseg.data.labels import IGNORE, TASKS, encode_bits, parse_task
from minseg.data.writing import write_dataset
from minseg.errors import MinsegError
from minseg.study.execution import predict_scenes_of, run
from minseg.study.runs import RunStore
from minseg.study.study import Study
from minseg.study.two_years import (
    annotated,
    compare_years,
    mines_with_two_years,
    most_grown_mine,
    predicted,
    scenes_of_two_years,
)
from tests.conftest import TINY, mine_rows, scene_of, write_small_dataset


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Fourteen mines, two of them in the test part."""
    return write_small_dataset(tmp_path_factory.mktemp("years") / "squares", 14)


def test_scenes_of_two_years(wide, own_dataset):
    assert list(scenes_of_two_years(wide, "mine-0")["year"]) == [2019, 2020]
    assert list(scenes_of_two_years(wide, "mine-0", [2019, 2020])["year"]) == [2019, 2020]
    with pytest.raises(MinsegError, match=r"two years \(2019 and 2021\), .* are of: 2019, 2020"):
        scenes_of_two_years(wide, "mine-0", [2019, 2021])
    with pytest.raises(MinsegError, match="an earlier and a later"):
        scenes_of_two_years(wide, "mine-0", [2020, 2019])
    with pytest.raises(MinsegError, match="has no mine 'x'"):
        scenes_of_two_years(wide, "x")
    with pytest.raises(MinsegError, match="its scenes are of: 2020"):
        scenes_of_two_years(own_dataset, "mine-0")
    assert mines_with_two_years(own_dataset) == []
    assert most_grown_mine(own_dataset, TASKS["model1"]) is None


def test_the_mine_that_grew_most(tmp_path):
    def scene(k, year):
        pit = np.zeros((64, 64), bool)
        pit[:, : 10 + 5 * (k % 5) * (year == 2020)] = True
        labels = encode_bits({"excavation": pit, "preparatory work area": ~pit & (k == 0)})
        return replace(scene_of(k, year), labels=labels)

    grown = write_dataset(
        tmp_path / "grown",
        name="grown",
        mines=mine_rows(14, raw_material="RR", mine_type="OP"),
        scenes=(scene(k, year) for k in range(14) for year in (2019, 2020)),
        class_names=("excavation", "preparatory work area"),
        provenance="made by a test",
        licence="none needed",
        synthetic=True,
    )
    tested = mines_with_two_years(grown)
    number = [int(mine.removeprefix("mine-")) for mine in tested]
    assert len({k % 5 for k in number}) > 1
    most = max(number, key=lambda k: k % 5)
    assert most_grown_mine(grown, parse_task("excavation")) == f"mine-{most}"


@pytest.fixture(scope="module")
def tiny_run(wide, tmp_path_factory):
    return run(TINY.replace(epochs=1), wide, RunStore(tmp_path_factory.mktemp("runs")))


def test_predictions_of_both_years(wide, tiny_run):
    mines = mines_with_two_years(wide)
    found = predicted(tiny_run, wide, mines)
    assert list(found) == mines
    for mine, one in found.items():
        assert one.years == (2019, 2020)
        assert one.scenes == (f"{mine}-2019", f"{mine}-2020")
        assert not np.array_equal(one.before.classes, one.after.classes)
        # The run has stored what it predicts of the later year.
        with rasterio.open(tiny_run.path / "predictions" / f"{mine}-2020.tif") as stored:
            assert np.array_equal(one.after.classes, stored.read(1))
            assert one.after.grid.transform == stored.transform


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


def test_mines_seen_in_training_are_refused(wide, tiny_run):
    seen = wide.split.loc[wide.split["part"] == "train", "mine"].iloc[0]
    with pytest.raises(MinsegError, match=f"was trained on mine {seen}"):
        predicted(tiny_run, wide, [seen])
    with pytest.raises(MinsegError, match="has no scene 'x'"):
        predict_scenes_of(tiny_run, wide, ["x"])


def test_comparison_chooses_a_mine_and_says_what_is_missing(wide, tiny_run):
    study = Study("demo", wide, (0,), RunStore(tiny_run.path.parent))
    settings = tiny_run.config.model_dump(exclude={"task", "bands", "seed"})
    bands = {"model1": TINY.bands}
    compared = compare_years(study, ["model1", "model2"], bands, **settings)
    assert compared.mine == most_grown_mine(wide, TASKS["model1"])
    assert set(compared.found["model1"]) == set(mines_with_two_years(wide))
    assert len(compared.notes) == 1
    assert "model2" in compared.notes[0]
    ((found, true),) = compared.at_hand()
    assert (found.mine, true.mine) == (compared.mine, compared.mine)
    assert compared.by_figure() == [[found]]
    nothing = compare_years(study, ["model2"], {}, **settings)
    assert (nothing.mine, nothing.at_hand(), nothing.by_figure()) == (None, [], [])
    with pytest.raises(MinsegError, match="change needs two years"):
        compare_years(study, ["model1"], bands, "mine-0", [2018, 2020], **settings)


def test_annotation_of_both_years(wide):
    (true,) = annotated(wide, TASKS["model1"], ["mine-3"]).values()
    rows = wide.scenes.set_index("scene")
    for scene, found in zip(true.scenes, (true.before, true.after), strict=True):
        row = rows.loc[scene]
        assert np.array_equal(found.classes, wide.read_target(row, TASKS["model1"]))
    assert (true.before.classes[:, -1] == IGNORE).all()
