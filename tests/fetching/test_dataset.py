import copy
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from filelock import FileLock
from rasterio.windows import Window

from minseg import MinsegError, open_dataset
from minseg.data.dataset import check_dataset
from minseg.fetching.choice import parse_pins
from minseg.fetching.dataset import fetch_dataset
from minseg.fetching.plan import BoxRule, read_mines
from minseg.synthetic.dataset import render_scene
from minseg.synthetic.server import serve
from tests.fetching.conftest import checksums, request_of


@pytest.fixture
def path(fetched, tmp_path):
    """A copy of what was fetched."""
    return shutil.copytree(fetched.dataset.path, tmp_path / "mines")


def spoiled(made, folder, spoil):
    """Copy a catalogue of which items (by id) and files are changed."""
    shutil.copytree(made.folder, folder)
    items = {item["id"]: item for item in json.loads((folder / "items.json").read_text())}
    spoil(items, folder / "files")
    (folder / "items.json").write_text(json.dumps(list(items.values())))
    return folder


def of(items, mine, year, name):
    """The optical item of a mine and year whose id ends so."""
    (found,) = [key for key in items if re.match(f"S2_{mine}_{year}.*_{name}$", key)]
    return items[found]


def assert_whole(scene):
    """Every raster is what the scene's record says."""
    record = json.loads((scene / "scene.json").read_text())
    assert set(record["sha256"]) == {"labels.tif", "optical.tif", "radar.tif"}
    for name, checksum in record["sha256"].items():
        assert hashlib.sha256((scene / name).read_bytes()).hexdigest() == checksum


def test_a_fetched_scene_is_what_was_drawn(made, fetched):
    dataset = fetched.dataset
    assert fetched.failures == () and check_dataset(dataset.path) == []
    assert dataset.synthetic and len(dataset.scenes) == 6
    mines = read_mines(made.mines).set_index("mine", drop=False)
    for _, scene in dataset.scenes.iterrows():
        drawn = render_scene(mines.loc[scene["mine"]], scene["year"], made.years, 96, seed=0)
        grid = dataset.grid(scene)
        left, top = (~drawn.grid.transform) @ (grid.transform.c, grid.transform.f)
        window = Window(round(left), round(top), grid.width, grid.height)
        assert grid.matches(drawn.grid.window(window))
        cut = window.toslices()
        inputs, valid = dataset.read_inputs(scene, dataset.description.bands)
        assert valid.all()
        assert (np.rint(inputs[:12] * 1e4) == drawn.optical[(slice(None), *cut)]).all()
        assert inputs[12:] == pytest.approx(drawn.radar[(slice(None), *cut)], abs=1e-3)
        assert (dataset.read_labels(scene) == drawn.labels[cut]).all()
        assert np.count_nonzero(drawn.labels) == np.count_nonzero(drawn.labels[cut])


def test_manifest_and_candidates_tell_what_was_taken_and_why(fetched):
    path = fetched.dataset.path
    scenes = json.loads((path / "fetch.json").read_text())["scenes"]
    assert {scene["optical"]["baseline"] for scene in scenes} == {2.12, 4.0}  # both offset rules
    for scene in scenes:
        assert scene["optical"]["item"].endswith("_clear")
        assert scene["radar"]["relative_orbit"] == 51  # 124 is nearer in 2019, but not in 2022
        assert_whole((path / scene["row"]["optical"]).parent)
    table = pd.read_csv(path / "candidates.csv")
    assert (table.groupby(["mine", "year", "kind"])["chosen"].sum() == 1).all()
    assert table["reason"].str.len().gt(0).all()
    assert table.loc[table["item"].str.endswith("_half"), "coverage"].max() < 0.9


def test_run_again_it_asks_for_nothing(request_, fetched, path, behaviour):
    before = checksums(path)
    assert fetch_dataset(path, request_).dataset.digest == fetched.dataset.digest
    assert behaviour.files_asked == [] and checksums(path) == before


def test_a_pin_overrides_the_choice_of_its_scene_only(request_, path):
    before = checksums(path)
    table = pd.read_csv(path / "candidates.csv")
    cloudy = table[table["item"].str.endswith("_cloudy")].iloc[0]
    pins = parse_pins([f"{cloudy['mine']}:{cloudy['year']}={cloudy['item']}"])
    assert not fetch_dataset(path, request_, pins=pins).failures
    after = checksums(path)
    changed = {name for name in before if before[name] != after.get(name)}
    folder = f"scenes/{cloudy['mine']}/{cloudy['year']}/"
    assert {f"{folder}optical.tif", f"{folder}scene.json"} <= changed
    assert all(name.startswith(folder) for name in changed if name.startswith("scenes/"))
    again = pd.read_csv(path / "candidates.csv")
    assert sorted(again["item"]) == sorted(table["item"])  # the others stay listed
    chosen = again[(again["mine"] == cloudy["mine"]) & (again["year"] == cloudy["year"])]
    assert set(chosen.loc[chosen["kind"] == "optical", "chosen"]) == {True, False}
    fetch_dataset(path, request_)  # without the pin, the scene that is there stays
    assert checksums(path) == after


def test_a_pin_of_radar_leaves_the_optical_scene_and_is_refused_without_radar(request_, path):
    whole = pd.read_csv(path / "candidates.csv")
    table = whole.query("mine == 'synthetic-001' and year == 2019").set_index("item")
    (cloudy,), (radar,) = (table.filter(like=name, axis=0).index for name in ("cloudy", "_124"))
    fetch_dataset(path, request_, pins=parse_pins([f"synthetic-001:2019={cloudy}"]))
    pins = parse_pins([f"synthetic-001:2019:radar={radar}"])
    assert fetch_dataset(path, request_, pins=pins).failures == ()
    record = json.loads((path / "scenes/synthetic-001/2019/scene.json").read_text())
    assert (record["optical"]["item"], record["radar"]["item"]) == (cloudy, radar)
    assert sorted(pd.read_csv(path / "candidates.csv")["item"]) == sorted(whole["item"])
    without = replace(request_, provider=replace(request_.provider, radar=None))
    with pytest.raises(MinsegError, match="--pin synthetic-001:2019:radar: no radar is fetched"):
        fetch_dataset(path, without, pins=pins)


@pytest.mark.parametrize("kind", ["optical", "radar"])
def test_a_mine_whose_pins_are_not_there_does_not_stop_the_others(request_, tmp_path, kind):
    pins = parse_pins([f"synthetic-001:{year}:{kind}=gone" for year in (2019, 2022)])
    found = fetch_dataset(tmp_path / "mines", request_, pins=pins, workers=1)
    few, *failures = found.failures
    assert few.startswith("2 mine(s) have scenes")
    for year, failure in zip((2019, 2022), failures, strict=True):
        assert failure.startswith(f"synthetic-001 {year}: gone: demo has no such item")
    assert len(list((tmp_path / "mines" / "scenes").glob("*/*/scene.json"))) == 4


def test_a_scene_that_fails_is_named_and_tried_again(request_, fetched, behaviour, tmp_path):
    path, missing = tmp_path / "mines", re.compile("S1_synthetic-002_2019.*_051_VV")
    behaviour.refuse = lambda address, headers: 404 if missing.search(address) else 0
    first = fetch_dataset(path, request_)
    assert len(first.failures) == 1 and first.failures[0].startswith("synthetic-002 2019: ")
    assert len(first.dataset.scenes) == 5 and not (path / "scenes/synthetic-002/2019").exists()
    assert json.loads((path / "fetch.json").read_text())["failures"] == list(first.failures)
    behaviour.refuse = lambda address, headers: 0
    assert fetch_dataset(path, request_).failures == ()
    assert checksums(path) == checksums(fetched.dataset.path)


def test_killed_at_several_moments_it_goes_on(made, fetched, api, behaviour, tmp_path):
    path = tmp_path / "mines"
    command = [
        *(sys.executable, "-c", "from minseg.cli import main; main()", "dataset", "fetch"),
        *(path, "--mines", made.mines, "--polygons", made.polygons, "--margin-m", 0),
        *("--years", "2019,2022", "--api", api, "--year-field", "year", "--mine-field", "mine"),
        *("--smallest-m", 600),
    ]
    command = [str(part) for part in command]
    # Each of these runs reads more files than that: the first dies choosing, the others reading.
    for files_until_killed in (4, 60, 40):
        behaviour.requests.clear()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:

            def kill(address, headers, last=files_until_killed, it=process):
                if len(behaviour.files_asked) >= last:
                    it.kill()
                return 0

            behaviour.refuse = kill
        assert process.returncode == -9
        for scene in path.glob("scenes/*/[0-9]*"):
            assert_whole(scene)
    behaviour.refuse = lambda address, headers: 0
    assert subprocess.run(command, check=False).returncode == 0
    assert checksums(path) == checksums(fetched.dataset.path)
    assert not list(path.rglob("*.partial*"))


def test_scenes_that_are_not_as_fetched_are_fetched_again(request_, behaviour, tmp_path):
    path = tmp_path / "mines"
    notes, before = fetch_dataset(path, request_).notes, checksums(path)
    behaviour.requests.clear()
    first, second, third = (path / "scenes" / f"synthetic-00{k}" / "2019" for k in (1, 2, 3))
    (first / "optical.tif").unlink()
    cut = (second / "labels.tif").read_bytes()
    (second / "labels.tif").write_bytes(cut[: len(cut) // 2])
    (third / "scene.json").write_text((third / "scene.json").read_text()[:-40])
    again = fetch_dataset(path, request_)
    assert again.failures == ()
    assert again.notes[-1] == (
        "not as fetched, so fetched again: synthetic-001 2019 (optical.tif); "
        "synthetic-002 2019 (labels.tif); synthetic-003 2019 (scene.json)"
    )
    assert {re.search(r"_(\d{4})\d{4}_", file)[1] for file in behaviour.files_asked} == {"2019"}
    assert fetch_dataset(path, request_).notes == notes
    assert checksums(path) == before


@pytest.mark.parametrize("text", ["", "{", '{"arguments": {"api": "demo', "[]", "{}"])
def test_a_damaged_manifest_is_one_line(request_, fetched, path, text):
    (path / "fetch.json").write_text(text)
    said = r"fetch\.json: is damaged.*remove the whole folder"
    with pytest.raises(MinsegError, match=said):
        fetch_dataset(path, request_)
    assert open_dataset(path).digest == fetched.dataset.digest


def test_other_arguments_or_a_foreign_folder_are_refused(request_, fetched, dataset):
    path, provider = fetched.dataset.path, request_.provider
    before = checksums(path)
    optical = provider.optical
    swapped = {"assets": optical.assets | {"B02": "B03"}}
    for other in ({"offset": "applied"}, {"nodata": 1.0}, swapped):
        changed = replace(provider, optical=replace(optical, **other))
        with pytest.raises(MinsegError, match="begun with other api"):
            fetch_dataset(path, replace(request_, provider=changed))
    for other, said in (({"years": (2019,)}, "years"), ({"rule": BoxRule()}, "box")):
        with pytest.raises(MinsegError, match=f"begun with other {said}"):
            fetch_dataset(path, replace(request_, **other))
    with pytest.raises(MinsegError, match="not begun by"):
        fetch_dataset(dataset.path, request_)
    held = pytest.raises(MinsegError, match="another program is fetching into it now; wait")
    with FileLock(path / ".fetch.lock"), held:
        fetch_dataset(path, request_)
    # How pixels are reached is no argument.
    by_foot = replace(provider, access="by foot", gdal={"GDAL_HTTP_TIMEOUT": "30"})
    assert fetch_dataset(path, replace(request_, provider=by_foot)).failures == ()
    assert checksums(path) == before


def test_what_can_be_had_of_a_faulty_catalogue_is_a_sound_dataset_and_the_rest_is_told(
    made, tmp_path
):
    def spoil(items, files):
        # The numbers are reflectance already; the item says that 1000 is in them.
        about = of(items, "synthetic-001", 2019, "clear")["properties"]
        about["s2:processing_baseline"] = "04.00"
        del of(items, "synthetic-001", 2022, "clear")["assets"]["B11"]
        cut = files / of(items, "synthetic-002", 2019, "clear")["assets"]["B04"]["href"]
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
        for name in ("clear", "cloudy", "half"):
            cloud = files / of(items, "synthetic-003", 2019, name)["assets"]["SCL"]["href"]
            with rasterio.open(cloud, "r+") as target:
                target.write(np.full_like(target.read(), 9))

    folder, path = spoiled(made, tmp_path / "spoiled", spoil), tmp_path / "mines"
    with serve(folder) as api:
        found = fetch_dataset(path, request_of(made, api))
    assert check_dataset(path) == []
    there = sorted(found.dataset.scenes["scene"])
    assert there == ["synthetic-001-2019", "synthetic-002-2022", "synthetic-003-2022"]
    notes = [note for note in found.notes if "subtracted" in note]
    assert len(notes) == 1 and notes[0].startswith("synthetic-001-2019: ")
    lacking, cut, cloud = found.failures
    assert re.match(r"synthetic-001 2022: S2_.*_clear: has no asset B11; choose another", lacking)
    assert re.match(r"synthetic-002 2019: S2_.*_clear: asset B04 cannot be read: ", cut)
    said = "synthetic-003 2019: no usable scene among 3; the best, .* hidden .cloud 100%"
    assert re.match(said, cloud)
    assert all("\n" not in text for text in (*found.failures, *found.notes))
    assert not (path / "scenes" / "synthetic-002" / "2019").exists()


def test_a_box_that_no_tile_covers_has_no_scene_and_too_few_mines_are_no_dataset(made, tmp_path):
    def spoil(items, files):
        for name in ("clear", "cloudy"):
            del items[of(items, "synthetic-002", 2019, name)["id"]]

    with serve(spoiled(made, tmp_path / "spoiled", spoil)) as api:
        found = fetch_dataset(tmp_path / "mines", request_of(made, api, (2019,)))
    few, uncovered = found.failures
    assert few == "2 mine(s) have scenes; a dataset needs 3 or more" and found.dataset is None
    said = "synthetic-002 2019: none of the 1 scene(s) looked at covers 90% of the box, the best 5"
    assert uncovered.startswith(said) and "--margin-m" in uncovered


def test_a_mine_over_two_tiles_is_as_if_one_showed_it(made, fetched, tmp_path):
    whole = []

    def spoil(items, files):
        clear = of(items, "synthetic-002", 2019, "clear")
        whole.append(items.pop(clear["id"])["id"])
        west, south, east, north = clear["bbox"]
        middle = (west + east) / 2
        for name, ring, tile in (
            ("west", shapely.box(west, south, middle, north), "33TWM"),
            ("east", shapely.box(middle, south, east, north), "33TXM"),
        ):
            half = copy.deepcopy(clear) | {"id": f"{clear['id']}-{name}"}
            half["geometry"] = shapely.geometry.mapping(ring)
            half["properties"] |= {"s2:mgrs_tile": tile, "s2:datatake_id": "GS2A_1_N02.12"}
            for asset in half["assets"].values():
                path = shutil.copy(files / asset["href"], files / f"{name}_{asset['href']}")
                asset["href"] = path.name
                with rasterio.open(path, "r+") as target:
                    numbers = target.read()
                    edge = numbers.shape[2] // 2  # what the other tile shows is missing
                    numbers[..., slice(edge, None) if name == "west" else slice(edge)] = 0
                    target.write(numbers)
            items[half["id"]] = half

    path, scene = tmp_path / "mines", Path("scenes/synthetic-002/2019")
    with serve(spoiled(made, tmp_path / "spoiled", spoil)) as api:
        request = request_of(made, api)
        assert fetch_dataset(path, request).failures == ()
        before = checksums(path)
        assert fetch_dataset(path, request).failures == () and checksums(path) == before
    record = json.loads((path / scene / "scene.json").read_text())["optical"]
    assert {record["item"], *record["beside"]} == {
        f"{whole[0]}-{name}" for name in ("west", "east")
    }
    for found in (path / scene).glob("[ol]*.tif"):
        assert found.read_bytes() == (fetched.dataset.path / scene / found.name).read_bytes()


def test_a_folder_in_which_nothing_was_chosen_takes_other_arguments(made, api, tmp_path):
    path, request = tmp_path / "mines", request_of(made, api, (2019,))
    path.mkdir()
    (path / "fetch.json").write_text('{"arguments": {"api": "another"}}')  # as a kill leaves it
    assert fetch_dataset(path, request).failures == ()
    with pytest.raises(MinsegError, match="begun with other years"):
        fetch_dataset(path, request_of(made, api))
