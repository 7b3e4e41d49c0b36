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
import pyproj
import pytest
import rasterio
import shapely
from filelock import FileLock
from rasterio.windows import Window

from minseg import MinsegError, open_dataset
from minseg.data.dataset import check_dataset
from minseg.data.writing import resplit
from minseg.fetching.annotations import PolygonFields, read_annotations
from minseg.fetching.choice import parse_pins, read_pins
from minseg.fetching.dataset import fetch_dataset
from minseg.fetching.plan import BoxRule, FetchRequest, plan_mines, read_mines
from minseg.fetching.providers import provider_for
from minseg.synthetic.catalogue import write_demo_catalogue
from minseg.synthetic.dataset import render_scene
from minseg.synthetic.server import serve
from tests.conftest import names
from tests.fetching.stac_server import Behaviour, behaving

YEARS = (2019, 2022)
SIZE = 96
RULE = BoxRule(margin_m=0.0, smallest_m=600.0)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue") / "made"
    return write_demo_catalogue(folder, num_mines=3, years=YEARS, size=SIZE)


@pytest.fixture
def behaviour():
    return Behaviour()


@pytest.fixture
def api(catalogue, behaviour):
    with serve(catalogue.folder, behaving(behaviour)) as table:
        yield table


def request_of(catalogue, api, years=YEARS):
    mines = read_mines(catalogue.mines)
    fields = PolygonFields(year_field="year", mine_field="mine")
    polygons = read_annotations(catalogue.polygons, mines, fields)
    return FetchRequest(mines, polygons, years, provider_for(api), RULE)


@pytest.fixture(scope="module")
def fetched(catalogue, tmp_path_factory):
    path = tmp_path_factory.mktemp("fetched") / "mines"
    with serve(catalogue.folder) as api:
        return fetch_dataset(path, request_of(catalogue, api))


def checksums(path):
    """Of everything in a fetched folder; items name the server's port, which is left out."""
    return {
        str(file.relative_to(path)): hashlib.sha256(
            re.sub(rb"127\.0\.0\.1:\d+", b"server", file.read_bytes())
        ).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def test_a_fetched_scene_is_what_was_drawn(catalogue, fetched):
    dataset = fetched.dataset
    assert fetched.failures == () and check_dataset(dataset.path) == []
    assert dataset.synthetic and len(dataset.scenes) == 6
    mines = read_mines(catalogue.mines).set_index("mine", drop=False)
    for _, scene in dataset.scenes.iterrows():
        drawn = render_scene(mines.loc[scene["mine"]], scene["year"], YEARS, SIZE, seed=0)
        grid = dataset.grid(scene)
        left, top = (~drawn.grid.transform) @ (grid.transform.c, grid.transform.f)
        window = Window(round(left), round(top), grid.width, grid.height)
        assert grid.matches(drawn.grid.window(window))
        cut = window.toslices()
        inputs, valid = dataset.read_inputs(scene, dataset.description.bands)
        assert valid.all()
        assert (np.rint(inputs[:12] * 1e4) == drawn.optical[(slice(None), *cut)]).all()
        assert inputs[12:] == pytest.approx(drawn.radar[(slice(None), *cut)], abs=1e-3)
        labels = drawn.labels.copy()
        assert (dataset.read_labels(scene) == labels[cut]).all()
        assert np.count_nonzero(labels) == np.count_nonzero(labels[cut])


def test_manifest_and_candidates_tell_what_was_taken_and_why(fetched):
    path = fetched.dataset.path
    scenes = json.loads((path / "fetch.json").read_text())["scenes"]
    assert {scene["optical"]["baseline"] for scene in scenes} == {2.12, 4.0}  # both offset rules
    for scene in scenes:
        assert scene["optical"]["item"].endswith("_clear")
        assert scene["radar"]["relative_orbit"] == 51  # 124 is nearer in 2019, but not in 2022
        folder = (path / scene["row"]["optical"]).parent
        for name, checksum in scene["sha256"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum
    table = pd.read_csv(path / "candidates.csv")
    assert (table.groupby(["mine", "year", "kind"])["chosen"].sum() == 1).all()
    assert table["reason"].str.len().gt(0).all()
    assert table.loc[table["item"].str.endswith("_half"), "coverage"].max() < 0.9


def test_run_again_it_asks_for_nothing(catalogue, fetched, api, behaviour, tmp_path):
    path = shutil.copytree(fetched.dataset.path, tmp_path / "mines")
    before = checksums(path)
    again = fetch_dataset(path, request_of(catalogue, api))
    assert again.dataset.digest == fetched.dataset.digest
    assert behaviour.files == [] and checksums(path) == before


def test_a_pin_overrides_the_choice_of_its_scene_only(catalogue, fetched, api, tmp_path):
    path = shutil.copytree(fetched.dataset.path, tmp_path / "mines")
    before = checksums(path)
    table = pd.read_csv(path / "candidates.csv")
    cloudy = table[table["item"].str.endswith("_cloudy")].iloc[0]
    pins = parse_pins([f"{cloudy['mine']}:{cloudy['year']}={cloudy['item']}"])
    request = request_of(catalogue, api)
    assert not fetch_dataset(path, request, pins=pins).failures
    after = checksums(path)
    changed = {name for name in before if before[name] != after.get(name)}
    folder = f"scenes/{cloudy['mine']}/{cloudy['year']}/"
    assert {f"{folder}optical.tif", f"{folder}scene.json"} <= changed
    assert all(name.startswith(folder) for name in changed if name.startswith("scenes/"))
    again = pd.read_csv(path / "candidates.csv")
    assert sorted(again["item"]) == sorted(table["item"])  # the others stay listed
    chosen = again[(again["mine"] == cloudy["mine"]) & (again["year"] == cloudy["year"])]
    assert set(chosen.loc[chosen["kind"] == "optical", "chosen"]) == {True, False}
    fetch_dataset(path, request)  # without the pin, the scene that is there stays
    assert checksums(path) == after


def test_a_scene_that_fails_is_named_and_tried_again(catalogue, fetched, api, behaviour, tmp_path):
    path, request = tmp_path / "mines", request_of(catalogue, api)
    behaviour.missing = "20190719_051_VV"
    mine, year = "synthetic-002", 2019
    first = fetch_dataset(path, request)
    assert len(first.failures) == 1 and first.failures[0].startswith(f"{mine} {year}: ")
    assert len(first.dataset.scenes) == 5 and not (path / "scenes" / mine / str(year)).exists()
    assert json.loads((path / "fetch.json").read_text())["failures"] == list(first.failures)
    behaviour.missing = ""
    assert fetch_dataset(path, request).failures == ()
    assert checksums(path) == checksums(fetched.dataset.path)


def test_a_busy_server_and_broken_connections_change_nothing(
    catalogue, fetched, api, behaviour, tmp_path
):
    path, request = tmp_path / "mines", request_of(catalogue, api)
    behaviour.busy, behaviour.cuts = [429, 500], 2
    assert fetch_dataset(path, request).failures == ()
    assert behaviour.busy == [] and behaviour.cuts == 0
    assert checksums(path) == checksums(fetched.dataset.path)


def test_killed_at_several_moments_it_goes_on(catalogue, fetched, api, behaviour, tmp_path):
    path = tmp_path / "mines"
    command = [
        *(sys.executable, "-c", "from minseg.cli import main; main()", "dataset", "fetch"),
        *(path, "--mines", catalogue.mines, "--polygons", catalogue.polygons),
        *("--years", "2019,2022", "--api", api, "--year-field", "year", "--mine-field", "mine"),
        *("--margin-m", RULE.margin_m, "--smallest-m", RULE.smallest_m),
    ]
    command = [str(part) for part in command]
    # Each of these runs reads more files than that: the first dies choosing, the others reading.
    for files_until_killed in (4, 60, 40):
        behaviour.files.clear()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            behaviour.on_file = lambda number, last=files_until_killed, it=process: (
                it.kill() if number == last else None
            )
        assert process.returncode == -9
        for scene in path.glob("scenes/*/[0-9]*"):  # whatever is there is whole
            record = json.loads((scene / "scene.json").read_text())
            assert set(record["sha256"]) == {"labels.tif", "optical.tif", "radar.tif"}
            for name, checksum in record["sha256"].items():
                assert hashlib.sha256((scene / name).read_bytes()).hexdigest() == checksum
    behaviour.on_file = lambda number: None
    assert subprocess.run(command, check=False).returncode == 0
    assert checksums(path) == checksums(fetched.dataset.path)
    assert not list(path.rglob("*.partial*"))


def test_scenes_that_are_not_as_fetched_are_fetched_again(catalogue, api, behaviour, tmp_path):
    path, request = tmp_path / "mines", request_of(catalogue, api)
    notes, before = fetch_dataset(path, request).notes, checksums(path)
    behaviour.files.clear()
    first, second, third = (path / "scenes" / f"synthetic-00{k}" / "2019" for k in (1, 2, 3))
    (first / "optical.tif").unlink()
    cut = (second / "labels.tif").read_bytes()
    (second / "labels.tif").write_bytes(cut[: len(cut) // 2])
    (third / "scene.json").write_text((third / "scene.json").read_text()[:-40])
    again = fetch_dataset(path, request)
    assert again.failures == ()
    assert again.notes[-1] == (
        "not as fetched, so fetched again: synthetic-001 2019 (optical.tif); "
        "synthetic-002 2019 (labels.tif); synthetic-003 2019 (scene.json)"
    )
    assert {re.search(r"_(\d{4})\d{4}_", file)[1] for file in behaviour.files} == {"2019"}
    behaviour.files.clear()
    assert fetch_dataset(path, request).notes == notes
    assert behaviour.files == [] and checksums(path) == before


@pytest.mark.parametrize("text", ["", "{", '{"arguments": {"api": "demo', "[]", "{}"])
def test_a_damaged_manifest_is_one_line(catalogue, fetched, api, tmp_path, text):
    path = shutil.copytree(fetched.dataset.path, tmp_path / "mines")
    (path / "fetch.json").write_text(text)
    with pytest.raises(
        MinsegError, match=r"fetch\.json: is damaged.*remove the whole folder"
    ) as told:
        fetch_dataset(path, request_of(catalogue, api))
    assert "\n" not in str(told.value) and open_dataset(path).digest == fetched.dataset.digest


def test_what_decides_pixels_is_an_argument_and_how_they_are_reached_is_not(
    catalogue, fetched, api, behaviour
):
    path, request = fetched.dataset.path, request_of(catalogue, api)
    provider = request.provider
    other = replace(provider, access="by foot", gdal={"GDAL_HTTP_TIMEOUT": "30"})
    assert fetch_dataset(path, replace(request, provider=other)).failures == ()
    for changed in (
        {"offset": "applied"},
        {"nodata": 1.0},
        {"assets": provider.optical.assets | {"B02": "B03"}},
    ):
        other = replace(provider, optical=replace(provider.optical, **changed))
        with pytest.raises(MinsegError, match="begun with other api"):
            fetch_dataset(path, replace(request, provider=other))


def test_while_one_fetch_is_at_work_another_is_refused(catalogue, fetched, api):
    path = fetched.dataset.path
    before = checksums(path)
    with (
        FileLock(path / ".fetch.lock"),
        pytest.raises(MinsegError, match="another program is fetching into it now; wait"),
    ):
        fetch_dataset(path, request_of(catalogue, api))
    assert checksums(path) == before


def test_mines_that_share_ground_are_in_one_part(catalogue, api, tmp_path):
    mines = read_mines(catalogue.mines)
    twin = mines.iloc[[0]].assign(mine="twin", name="Twin")
    request = request_of(catalogue, api, (2019,))
    drawn = request.annotations.polygons
    drawn = pd.concat([drawn, drawn[drawn["mine"] == mines["mine"][0]].assign(mine="twin")])
    request = replace(
        request,
        mines=pd.concat([mines, twin], ignore_index=True),
        annotations=replace(request.annotations, polygons=drawn),
    )
    dataset = fetch_dataset(tmp_path / "mines", request).dataset
    assert len(dataset.scenes) == 4 and check_dataset(dataset.path) == []
    for seed in range(8):
        part = resplit(dataset, seed).split.set_index("mine")["part"]
        assert part["twin"] == part[mines["mine"][0]] and part.nunique() == 3


def test_other_arguments_or_a_foreign_folder_are_refused(catalogue, fetched, api, dataset):
    path, request = fetched.dataset.path, request_of(catalogue, api)
    with pytest.raises(MinsegError, match="begun with other years"):
        fetch_dataset(path, replace(request, years=(2019,)))
    with pytest.raises(MinsegError, match="begun with other box"):
        fetch_dataset(path, replace(request, rule=BoxRule()))
    with pytest.raises(MinsegError, match="not begun by"):
        fetch_dataset(dataset.path, request)
    assert open_dataset(path).digest == fetched.dataset.digest


def test_a_year_without_scenes_is_reported_and_the_rest_goes_on(catalogue, api, tmp_path):
    request = request_of(catalogue, api)
    annotations = replace(
        request.annotations, polygons=request.annotations.polygons.assign(year=pd.NA)
    )
    found = fetch_dataset(
        tmp_path / "mines", replace(request, annotations=annotations, years=(2018, 2019))
    )
    assert len(found.dataset.scenes) == 3 and len(found.failures) == 3
    assert all("2018: the catalogue has no scene" in failure for failure in found.failures)


def test_a_box_that_no_tile_covers_has_no_scene_and_is_told_so(catalogue, tmp_path):
    items = json.loads((catalogue.folder / "items.json").read_text())
    whole = [f"S2_synthetic-002_2019{day}" for day in ("0716_clear", "0721_cloudy")]
    left = [item for item in items if item["id"] not in whole]
    assert len(left) == len(items) - 2
    (tmp_path / "items.json").write_text(json.dumps(left))
    (tmp_path / "files").symlink_to(catalogue.folder / "files")
    with serve(tmp_path) as api:
        (failure,) = fetch_dataset(tmp_path / "mines", request_of(catalogue, api)).failures
    assert failure.startswith(
        "synthetic-002 2019: none of the 1 scene(s) looked at covers 90% of the box"
    )
    assert "the best 5" in failure and "--margin-m" in failure


def test_a_mine_over_two_tiles_is_as_if_one_showed_it(catalogue, fetched, tmp_path):
    items = json.loads((catalogue.folder / "items.json").read_text())
    (tmp_path / "files").mkdir()
    for file in (catalogue.folder / "files").iterdir():
        (tmp_path / "files" / file.name).symlink_to(file)
    (clear,) = [item for item in items if item["id"].startswith("S2_synthetic-002_20190716_clear")]
    items.remove(clear)
    with rasterio.open(tmp_path / "files" / clear["assets"]["B01"]["href"]) as source:
        middle = source.width // 2  # 60 m pixels
    west, south, east, north = clear["bbox"]
    at = west + middle / source.width * (east - west)
    halves = {
        "west": (0, middle, shapely.box(west, south, at, north), "33TWM"),
        "east": (middle, source.width, shapely.box(at, south, east, north), "33TXM"),
    }
    for name, (start, stop, ring, tile) in halves.items():
        about = {"s2:mgrs_tile": tile, "s2:datatake_id": "GS2A_1_N02.12"}
        half = clear | {
            "id": f"{clear['id']}-{name}",
            "geometry": shapely.geometry.mapping(ring),
            "properties": clear["properties"] | about,
            "assets": {},
        }
        for key, asset in clear["assets"].items():
            href = f"{name}_{asset['href']}"
            with rasterio.open(tmp_path / "files" / asset["href"]) as whole:
                pixels = 60 // int(whole.transform.a)
                window = Window(start * pixels, 0, (stop - start) * pixels, whole.height)
                place = {"width": window.width, "transform": whole.window_transform(window)}
                with rasterio.open(
                    tmp_path / "files" / href, "w", **whole.profile | place
                ) as target:
                    target.write(whole.read(window=window))
            half["assets"][key] = asset | {"href": href}
        items.append(half)
    (tmp_path / "items.json").write_text(json.dumps(items))
    path = tmp_path / "mines"
    with serve(tmp_path) as api:
        request = request_of(catalogue, api)
        assert fetch_dataset(path, request).failures == ()
        before = checksums(path)
        assert fetch_dataset(path, request).failures == () and checksums(path) == before
    scene = Path("scenes/synthetic-002/2019")
    record = json.loads((path / scene / "scene.json").read_text())["optical"]
    assert {record["item"], *record["beside"]} == {f"{clear['id']}-{name}" for name in halves}
    for name in ("optical.tif", "labels.tif"):
        whole = fetched.dataset.path / scene / name
        assert (path / scene / name).read_bytes() == whole.read_bytes()


def test_without_an_answer_it_is_one_line(catalogue, tmp_path):
    with serve(catalogue.folder) as api:
        request = request_of(catalogue, api)
    with pytest.raises(MinsegError, match="gives no answer"):
        fetch_dataset(tmp_path / "new" / "mines", request)
    assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(MinsegError, match="gives no answer"):
        fetch_dataset(tmp_path / "there", request)
    assert names(tmp_path / "there") == []


def test_a_folder_in_which_nothing_was_chosen_takes_other_arguments(catalogue, api, tmp_path):
    path, request = tmp_path / "mines", request_of(catalogue, api, (2019,))
    path.mkdir()
    (path / "fetch.json").write_text('{"arguments": {"api": "another"}}')  # as a kill leaves it
    assert fetch_dataset(path, request).failures == ()
    with pytest.raises(MinsegError, match="begun with other years"):
        fetch_dataset(path, request_of(catalogue, api))


def test_plans_that_make_no_dataset_are_refused(catalogue, fetched, api):
    request = request_of(catalogue, api)
    with pytest.raises(MinsegError, match="began in 2015"):
        plan_mines(replace(request, years=(2010, 2019)))
    with pytest.raises(MinsegError, match="at least 3"):
        plan_mines(replace(request, years=(2020,)))
    with pytest.raises(MinsegError, match=r"synthetic-001.*reach over"):
        plan_mines(replace(request, rule=BoxRule(0, 60, 300)))
    _, notes = plan_mines(replace(request, years=(2019, 2020)))
    assert notes == ["no polygons of 2020, left out: synthetic-001; synthetic-002; synthetic-003"]


@pytest.mark.parametrize("pin", ["bor", "bor:2019", "bor:x=1", "bor:2019:lidar=1", "=1", "a:1="])
def test_a_pin_that_cannot_be_read_is_refused(pin):
    with pytest.raises(MinsegError, match="write MINE:YEAR=ITEM"):
        parse_pins([pin])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("mine,year\nbor,2019", "column 'item' is missing"),
        ("mine,year,item\nbor,soon,x", "column 'year': 'soon'"),
        ("mine,year,item\nbor,2019,", "column 'item'"),
        ("mine,year,item,kind\nbor,2019,x,lidar", "column 'kind': 'lidar'"),
        ("mine,year,item\nbor,2019,x\nbor,2019,y", "bor 2019 optical is pinned twice"),
    ],
)
def test_a_table_of_pins_that_cannot_be_read_is_refused(tmp_path, rows, message):
    path = tmp_path / "pins.csv"
    path.write_text(rows)
    with pytest.raises(MinsegError, match=message):
        read_pins(path)


def test_a_table_of_pins_says_the_same_as_pins_on_the_command_line(tmp_path):
    path = tmp_path / "pins.csv"
    path.write_text("mine,year,item\nbor,2019,x\n")
    assert read_pins(path) == parse_pins(["bor:2019=x"])
    path.write_text("mine,year,kind,item\nbor,2019,radar,x\n")
    assert read_pins(path) == parse_pins(["bor:2019:radar=x"])


def test_a_pin_that_nobody_wants_or_has_is_refused(catalogue, api, tmp_path):
    request = request_of(catalogue, api)
    with pytest.raises(MinsegError, match="no such mine"):
        fetch_dataset(tmp_path / "a", request, pins=parse_pins(["bor:2019=x"]))
    found = fetch_dataset(tmp_path / "b", request, pins=parse_pins(["synthetic-001:2019=x"]))
    (failure,) = found.failures  # the mine's other year and the other mines go on
    assert failure.startswith("synthetic-001 2019: x: demo has no such item")
    assert len(found.dataset.scenes) == 5


def test_the_mines_of_the_paper_can_be_read():
    mines = read_mines(Path(__file__).parents[2] / "data" / "mines.csv")
    assert len(mines) == 14
    assert mines["source"].str.contains("general knowledge|guess").all()


def test_checked_positions_of_the_papers_mines_are_where_the_list_has_them(shared_data):
    mines = read_mines(Path(__file__).parents[2] / "data" / "mines.csv").set_index("mine")
    points = json.loads((shared_data / "icmm_mines" / "mines.geojson").read_text())["features"]
    said = mines["source"].str.extract(r"checked against [^(]+\((?P<name>[^,]+), (?P<km>[.\d]+) km")
    said = said.dropna()
    assert len(said) == 7
    geod = pyproj.Geod(ellps="WGS84")
    for mine, (name, km) in said.iterrows():
        (listed,) = [p for p in points if p["properties"]["name"] == name]
        position = mines.loc[mine, ["longitude", "latitude"]]
        *_, metres = geod.inv(*position, *listed["geometry"]["coordinates"][:2])
        assert metres / 1000 == pytest.approx(float(km), abs=0.1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("..", "but no dots alone"),
        (".hidden", "begin it with a letter or digit"),
        ("a/b", "give letters, digits"),
        ("a b", "give letters, digits"),
        ("bor.", "end it with a letter or digit"),
        ("CON", "'CON' cannot name a folder on Windows, which keeps this name for itself"),
        ("nul.pit", "rename it"),
        ("Lpt1", "rename it"),
        ("b" * 101, "takes more than 100 bytes"),
        ("ж" * 51, "takes more than 100 bytes"),
        ("Synthetic-002", "mines 'Synthetic-002' and 'synthetic-002' would share the folder"),
    ],
)
def test_a_name_that_is_no_safe_folder_is_refused(catalogue, tmp_path, name, message):
    table = pd.read_csv(catalogue.mines, keep_default_na=False)
    table.loc[0, "mine"] = name
    table.to_csv(tmp_path / "mines.csv", index=False)
    with pytest.raises(MinsegError, match=rf"mines\.csv.*{message}") as told:
        read_mines(tmp_path / "mines.csv")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["b" * 100, "console", "com0", "Bor.2", "Борский"])
def test_a_name_that_is_safe_is_taken(catalogue, tmp_path, name):
    table = pd.read_csv(catalogue.mines, keep_default_na=False)
    table.loc[0, "mine"] = name
    table.to_csv(tmp_path / "mines.csv", index=False)
    assert read_mines(tmp_path / "mines.csv")["mine"][0] == name
