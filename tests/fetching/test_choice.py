import datetime
import json
from dataclasses import replace

import numpy as np
import pystac
import pytest
from affine import Affine
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.raster import Grid
from minseg.fetching import catalogue
from minseg.fetching import pixels as assets
from minseg.fetching.choice import (
    ChoiceRules,
    YearChoice,
    choose_mine,
    choose_optical,
    choose_radar,
    parse_pins,
    read_choices,
    relative_orbit_of,
    write_choices,
)
from minseg.fetching.dataset import fetch_dataset
from minseg.fetching.plan import plan_mines
from minseg.fetching.providers import PROVIDERS
from minseg.synthetic.catalogue import write_demo_catalogue
from minseg.synthetic.server import serve
from tests.fetching.scenes import BESIDE, BOX, TILE, WEST, item, scene_classes, tif
from tests.fetching.stac_server import Behaviour, behaving
from tests.fetching.test_dataset import request_of

PROVIDER = replace(PROVIDERS["planetary-computer"], signing="none")
WHOLE = (14.9, 46.8, 15.2, 47.1)


@pytest.fixture
def scene(tmp_path):
    """Make an optical item whose tile has given shares of Sen2Cor's classes, from its top."""

    def make(name, date="2020-07-01", parts=None, baseline="05.09", **properties):
        path = scene_classes(tmp_path / f"{name}.tif", parts or {})
        properties = {
            "s2__processing_baseline": baseline,
            "s2__datatake_id": name,
            "eo__cloud_cover": 5.0,
        } | properties
        return item(name, date, {"SCL": str(path)}, **properties)

    return make


def reasons(choice):
    return dict(zip(choice.table["item"], choice.table["reason"], strict=True))


def test_the_box_decides_and_not_the_tile(scene):
    # The box is rows 36 to 131 of 240: cloud in the tile's top eighth is not in it.
    beside = scene("beside", parts={9: 0.14}, eo__cloud_cover=14.0)
    over = scene("over", parts={4: 0.3, 9: 0.06}, eo__cloud_cover=6.0)
    choice = choose_optical([over, beside], BOX, PROVIDER)
    assert choice.item is beside
    table = choice.table.set_index("item")
    assert table.loc["beside", "bad_share"] == 0
    # Cloud in rows 72 to 86.4, on the grid of 20 m: rows 72 to 86 and a part of the next two.
    assert table.loc["over", "cloud_share"] == pytest.approx(14.4 / 96, abs=0.01)
    assert table["chosen"].tolist() == [True, False]
    assert reasons(choice)["over"] == "beside ranks before it"


@pytest.mark.parametrize(
    ("value", "column"),
    [(3, "shadow_share"), (8, "cloud_share"), (10, "cloud_share"), (11, "snow_share"), (1, None)],
)
def test_cloud_shadow_and_snow_count_as_bad(scene, value, column):
    choice = choose_optical(
        [scene("bad", parts={value: 1}), scene("good")], BOX, PROVIDER, day_of_year=183
    )
    assert choice.item.id == "good"
    row = choice.table.set_index("item").loc["bad"]
    assert row["bad_share"] == 1
    assert column is None or row[column] == 1
    assert "100% of the box hidden" in row["reason"]


def test_cloud_everywhere_gives_no_scene_and_says_why(scene):
    overcast = scene("overcast", parts={9: 1})
    dark = scene("dark", eo__cloud_cover=93.0)
    choice = choose_optical([overcast, dark], BOX, PROVIDER)
    assert choice.item is None
    assert not choice.table["chosen"].any()
    assert reasons(choice)["dark"] == "93 % of the tile under cloud"
    assert reasons(choice)["overcast"].startswith("100% of the box hidden (cloud 100%")


def test_a_scene_that_misses_part_of_the_box_is_not_taken(scene):
    half = scene("half", parts={0: 0.35})  # rows 0 to 83: half of the box
    choice = choose_optical([half], BOX, PROVIDER)
    assert choice.item is None
    assert reasons(choice) == {"half": "covers 50% of the box"}


def test_of_equally_clear_scenes_the_day_of_year_decides_over_the_turn_of_the_year(scene):
    items = [scene("july", "2020-07-01"), scene("december", "2020-12-28")]
    assert choose_optical(items, BOX, PROVIDER, day_of_year=3).item.id == "december"
    assert choose_optical(items, BOX, PROVIDER, day_of_year=200).item.id == "july"
    # A hundredth more cloud does not outweigh the season; a tenth does.
    items[1] = scene("december", "2020-12-28", {4: 0.3, 9: 0.004})
    assert choose_optical(items, BOX, PROVIDER, day_of_year=3).item.id == "december"
    items[1] = scene("december", "2020-12-28", {4: 0.3, 9: 0.04})
    assert choose_optical(items, BOX, PROVIDER, day_of_year=3).item.id == "july"


def test_of_copies_of_one_datatake_only_the_newest_baseline_competes(scene):
    datatakes = {"old": "GS2A_20200701T1_1_N02.14", "new": "GS2A_20200701T1_1_N05.00"}
    old, new = (
        scene(name, parts={9: 0.0 if name == "old" else 0.2}, s2__datatake_id=datatake)
        for name, datatake in datatakes.items()
    )
    old.properties["s2:processing_baseline"] = "02.14"
    tile = {"s2__mgrs_tile": "33TWN", "s2__datatake_id": datatakes["old"]}
    other_tile = scene("other", parts={9: 1}, **tile)
    choice = choose_optical([old, new, other_tile], BOX, PROVIDER)
    assert choice.item is new
    assert reasons(choice)["old"] == "processed again as new"
    assert "hidden" in reasons(choice)["other"]  # its pixels are others


def test_of_tiles_of_one_overpass_the_boxs_own_projection_comes_first_then_that_of_other_years(
    scene,
):
    # Read from another zone every pixel would be moved; from another tile none, but why change?
    tiles = ("32TQT", "33TWM", "33TVM", "33TWN")
    items = [
        scene(f"{tile}-{month}", f"2020-{month}-01", s2__mgrs_tile=tile, s2__datatake_id=month)
        for tile in tiles
        for month in ("06", "07")
    ]
    july = {"day_of_year": 183}
    assert choose_optical(items, BOX, PROVIDER, **july).item.id == "33TVM-07"
    assert choose_optical(items, BOX, PROVIDER, tile="33TWN", **july).item.id == "33TWN-07"
    assert choose_optical(items, BOX, PROVIDER, tile="32TQT", **july).item.id == "33TVM-07"
    assert choose_optical(items[:2], BOX, PROVIDER, tile="33TWN", **july).item.id == "32TQT-07"
    # A scene that tells no tile tells its projection, perhaps.
    untold = scene("0", "2020-07-01", proj__code="EPSG:32633")
    assert choose_optical([items[1], untold], BOX, PROVIDER, **july).item.id == "0"


def test_granules_of_one_datatake_on_either_side_of_a_border_compete(scene):
    # ESA cuts a datatake into datastrips; where one ends in a tile there are two items of it.
    datatake = {"s2__datatake_id": "GS2A_20200701T1_1_N05.09", "s2__mgrs_tile": "33TWN"}
    covering = scene("S2A_33TWN_20200701_0_L2A", s2__generation_time="2020-07-01", **datatake)
    rest = scene(
        "S2A_33TWN_20200701_1_L2A", parts={0: 0.35}, s2__generation_time="2020-07-02", **datatake
    )
    for items in ([covering, rest], [rest, covering]):
        choice = choose_optical(items, BOX, PROVIDER)
        assert choice.item is covering
        assert reasons(choice)[rest.id] == "covers 50% of the box"


@pytest.mark.parametrize("zones", BESIDE)
def test_tiles_of_one_overpass_are_put_together_where_none_shows_the_box(tmp_path, zones):
    items = {}
    for name, tile, value in (("B", BESIDE[zones], 9), ("A", WEST, 4)):
        classes = np.full((tile.height // 2, tile.width // 2), value, np.uint8)
        path = tif(tmp_path / f"{name}.tif", classes, tile.transform @ Affine.scale(2), tile.crs)
        about = {"s2__datatake_id": "GS2A_20200701T1_1_N05.09", "eo__cloud_cover": 5.0}
        about |= {"s2__processing_baseline": "05.09", "proj__code": f"EPSG:{tile.crs.to_epsg()}"}
        about["s2__mgrs_tile"] = {"A": "33TWM", "B": "33TXM"}[name]
        if zones == "two zones" and name == "B":
            about["s2__mgrs_tile"] = "32TQT"
        bounds = tile.bounds_lonlat
        items[name] = item(name, "2020-07-01", {"SCL": str(path)}, bounds, **about)
    rules = ChoiceRules(largest_bad_share=0.7)
    first, second = ("A", "B") if zones == "two zones" else ("B", "A")  # own zone, largest share
    choice = choose_optical(list(items.values()), BOX, PROVIDER, rules=rules)
    assert choice.item is items[first] and choice.beside == (items[second],)
    row = choice.table.set_index("item").loc[first]
    assert (row["coverage"], row["reason"]) == (1, "best by what the box shows")
    assert reasons(choice)[second] == f"put together with {first}"
    assert row["cloud_share"] == pytest.approx(0.5 if first == "A" else 54 / 84, abs=0.01)
    alone = choose_optical(list(items.values()), BOX, PROVIDER, pinned="A")
    assert alone.item is items["A"] and alone.beside == ()
    taken = YearChoice(choice.item, beside=choice.beside)
    assert taken.is_settled("bor", 2020, {})
    assert not taken.is_settled("bor", 2020, {("bor", 2020, "optical"): first})


def test_scenes_beside_the_box_take_no_slot_of_those_looked_at(scene):
    beside = scene("beside", eo__cloud_cover=0.0)
    corner = scene("corner", eo__cloud_cover=0.0)
    west, _, east, north = BOX.bounds_lonlat
    for one, edge in ((beside, west - 0.001), (corner, west + 0.3 * (east - west))):
        ring = [[14, 46], [edge, 46], [edge, north + 1], [14, north + 1], [14, 46]]
        one.geometry = {"type": "Polygon", "coordinates": [ring]}
    unknown = scene("unknown", eo__cloud_cover=20.0)
    unknown.geometry = None  # a catalogue that draws no footprint says nothing against a scene
    rules = ChoiceRules(most_looked_at=1)
    choice = choose_optical([beside, corner, unknown], BOX, PROVIDER, rules=rules)
    assert choice.item is unknown
    assert reasons(choice)["beside"] == "its footprint covers 0% of the box"
    assert reasons(choice)["corner"] == "its footprint covers 30% of the box"


def test_a_pinned_item_is_taken_whatever_it_shows(scene):
    items = [scene("clear"), scene("white", parts={9: 1}, eo__cloud_cover=99.0)]
    choice = choose_optical(items, BOX, PROVIDER, pinned="white")
    assert choice.item.id == "white"
    assert reasons(choice) == {"white": "pinned", "clear": "white is pinned"}
    with pytest.raises(MinsegError, match="green: is pinned and not among the 2 items"):
        choose_optical(items, BOX, PROVIDER, pinned="green")


def test_only_so_many_are_looked_at_least_cloud_over_the_tile_first(scene):
    items = [scene(f"S{cloud}", eo__cloud_cover=float(cloud)) for cloud in (42, 3, 25)]
    rules = ChoiceRules(most_looked_at=1)
    choice = choose_optical(items, BOX, PROVIDER, rules=rules)
    assert choice.item.id == "S3"
    assert reasons(choice)["S25"].startswith("not looked at")


def test_a_scene_that_cannot_be_judged_is_left_out_but_not_if_it_is_the_only_one(
    scene, monkeypatch
):
    monkeypatch.setattr(assets, "PAUSE_S", 0.0)
    broken = item("broken", "2020-07-01", {"SCL": "/no/such.tif"}, s2__processing_baseline="05.00")
    choice = choose_optical([broken, scene("good")], BOX, PROVIDER)
    assert choice.item.id == "good"
    assert "SCL cannot be read" in reasons(choice)["broken"]
    with pytest.raises(MinsegError, match="broken: asset SCL cannot be read"):
        choose_optical([broken], BOX, PROVIDER)


def test_nothing_found_is_no_choice():
    assert choose_optical([], BOX, PROVIDER).item is None
    choice = choose_radar([], BOX, PROVIDER, date=datetime.date(2020, 7, 1))
    assert choice.item is None
    assert choice.table.empty


def radar(name, date, orbit=22, bounds=WHOLE, hrefs=("vv", "vh")):
    return item(name, date, dict.fromkeys(hrefs, "x.tif"), bounds, sat__relative_orbit=orbit)


def test_radar_is_the_nearest_in_time_and_of_the_mines_orbit():
    items = [
        radar("before", "2020-06-25"),
        radar("near", "2020-07-03", orbit=95),
        radar("after", "2020-07-08"),
        radar("beside", "2020-07-01", bounds=(14.0, 46.8, 14.9, 47.1)),
        radar("single", "2020-07-01", hrefs=("vv",)),
        radar("late", "2020-09-01"),
    ]
    date = datetime.date(2020, 7, 1)
    assert choose_radar(items, BOX, PROVIDER, date=date).item.id == "near"
    choice = choose_radar(items, BOX, PROVIDER, date=date, relative_orbit=22)
    assert choice.item.id == "before"
    assert relative_orbit_of(choice.item) == 22
    assert reasons(choice) == {
        "before": "nearest in time to the optical scene",
        "after": "before ranks before it",
        "near": "the mine's other years are from relative orbit 22",
        "beside": "covers 0% of the box",
        "single": "has no VH",
        "late": "62 days from the optical scene",
    }
    assert choose_radar(items, BOX, PROVIDER, date=date, relative_orbit=7).item is None
    assert choose_radar(items, BOX, PROVIDER, date=date, pinned="late").item.id == "late"


def test_a_box_on_the_date_line_is_covered_by_footprints_on_its_sides():
    # Zone 1 begins at 180 degrees; the box lies half in zone 60, in coordinates of zone 1.
    box = Grid(60, 60, Affine(10, 0, 180_500, 0, -10, 8_100_000), CRS.from_epsg(32701))
    west, _, east, _ = box.bounds_lonlat
    assert west > east
    east_side = radar("east", "2020-07-01", bounds=(-180, -20, -178, -16))
    both = radar("both", "2020-07-05")
    both.geometry = {
        "type": "MultiPolygon",
        "coordinates": [
            [[[178, -20], [180, -20], [180, -16], [178, -16], [178, -20]]],
            [[[-180, -20], [-178, -20], [-178, -16], [-180, -16], [-180, -20]]],
        ],
    }
    date = datetime.date(2020, 7, 1)
    choice = choose_radar([east_side, both], box, PROVIDER, date=date)
    assert choice.item is both
    assert 0 < choice.table.set_index("item").loc["east", "coverage"] < 0.9
    # Some catalogues draw the same footprint as one ring that runs over the line.
    wrapped = radar("wrapped", "2020-07-05")
    ring = [[178, -20], [-178, -20], [-178, -16], [178, -16], [178, -20]]
    wrapped.geometry = {"type": "Polygon", "coordinates": [ring]}
    assert choose_radar([wrapped], box, PROVIDER, date=date).table["coverage"].tolist() == [1]
    assert choose_radar([wrapped], BOX, PROVIDER, date=date).table["coverage"].tolist() == [0]


def test_real_items_tell_their_tiles_baselines_and_orbits(shared_data):
    folder = shared_data / "stac_items"
    names = {
        "planetary_computer_s2_l2a.json": ("06VVN", 2.12),
        "s2_l2a_pb0400.json": ("34LBQ", 4.0),
        "earthsearch_v0_s2_l2a.json": ("28QCH", 2.14),
        "earthsearch_S2B_33TWM_20230813/S2B_33TWM_20230813_0_L2A.json": ("33TWM", 5.09),
    }
    items = [pystac.Item.from_file(folder / name) for name in names]
    pin = items[0].id
    for one in items:
        one.assets.pop("SCL", None), one.assets.pop("scl", None)
    table = choose_optical(items, TILE, PROVIDER, pinned=pin).table.set_index("item")
    for one, expected in zip(items, names.values(), strict=True):
        assert tuple(table.loc[one.id, ["tile", "baseline"]]) == expected
    assert relative_orbit_of(pystac.Item.from_file(folder / "s1_grd.json")) == 59
    assert relative_orbit_of(pystac.Item.from_file(folder / "s1_rtc_aws.json")) == 121


"""What goes wrong in one year of a mine, and what the others make of it."""

YEARS = (2019, 2022)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue") / "made"
    return write_demo_catalogue(folder, num_mines=3, years=YEARS, size=96)


@pytest.fixture
def behaviour():
    return Behaviour()


@pytest.fixture
def request_(made, behaviour, monkeypatch):
    monkeypatch.setattr(assets, "PAUSE_S", 0.0)
    monkeypatch.setattr(catalogue, "BACKOFF_S", 0.01)
    with serve(made.folder, behaving(behaviour)) as api:
        yield request_of(made, api)


@pytest.fixture
def choose(request_):
    """Choose the scenes of the first mine."""
    plan = plan_mines(request_)[0][0]

    def choose(pins=(), earlier=None, provider=request_.provider):
        return choose_mine(plan, provider, parse_pins(pins), earlier or {})

    return choose


def items_of(made):
    return {one["id"]: one for one in json.loads((made.folder / "items.json").read_text())}


def test_a_year_that_cannot_be_judged_fails_alone_and_is_tried_again(request_, behaviour, tmp_path):
    behaviour.missing = "S2_synthetic-002_2019.*SCL"
    found = fetch_dataset(tmp_path / "mines", request_)
    (failure,) = found.failures
    assert failure.startswith("synthetic-002 2019: ") and "SCL cannot be read" in failure
    assert len(found.dataset.scenes) == 5
    behaviour.missing = ""
    found = fetch_dataset(tmp_path / "mines", request_)
    assert found.failures == () and len(found.dataset.scenes) == 6


def test_a_failed_year_is_not_settled_and_its_failure_is_not_kept(choose, tmp_path):
    choices = choose(pins=["synthetic-001:2019=x"])
    assert choices[2019].optical is None and choices[2022].optical is not None
    assert choices[2022].radar is not None
    assert choices[2019].failure.startswith("x: demo has no such item")
    assert not choices[2019].is_settled("synthetic-001", 2019, {})
    write_choices(tmp_path / "mine.json", choices)
    again = read_choices(tmp_path / "mine.json")
    assert again[2019].failure == "" and not again[2019].is_settled("synthetic-001", 2019, {})
    assert choose(earlier=again)[2019].optical is not None


def test_what_is_there_stays_where_a_pin_fails(choose):
    before = choose()
    for pin, said in (
        ("synthetic-001:2019=x", "no such item"),
        ("synthetic-001:2019:radar=x", "no such item"),
    ):
        after = choose(pins=[pin], earlier=before)
        assert said in after[2019].failure
        assert after[2019].optical.id == before[2019].optical.id
        assert not after[2019].is_settled("synthetic-001", 2019, {})
        assert after[2022] == before[2022]


def test_a_year_whose_radar_cannot_be_searched_fails_alone(choose, behaviour):
    behaviour.refuse = lambda query: (
        500
        if query["collections"] == ["sentinel-1-rtc"] and query["datetime"].startswith("2019")
        else 0
    )
    choices = choose()
    assert "HTTP 500" in choices[2019].failure or "500 error" in choices[2019].failure
    assert choices[2019].optical is None  # or it would be taken for a year that has no radar
    assert choices[2022].radar is not None and choices[2022].failure == ""


def test_where_every_year_fails_the_mine_does(choose, behaviour):
    behaviour.busy = [401]
    with pytest.raises(MinsegError, match=r"HTTP 401\): a token"):  # the landing page: no year is
        choose()  # asked for at all
    assert behaviour.busy == []
    with pytest.raises(MinsegError, match=r"x: demo .*; y: demo"):
        choose(pins=["synthetic-001:2019=x", "synthetic-001:2022=y"])


def test_a_pin_of_another_year_is_refused_in_one_line(choose, made):
    other = next(name for name in items_of(made) if name.startswith("S2_synthetic-001_2022"))
    day = other.split("_")[2]
    choices = choose(pins=[f"synthetic-001:2019={other}"])
    assert choices[2019].failure == (
        f"{other}: is pinned for 2019 and was taken on {day[:4]}-{day[4:6]}-{day[6:]}; "
        "pin an item of 2019"
    )
    other = next(name for name in items_of(made) if name.startswith("S1_synthetic-001_2022"))
    choices = choose(pins=[f"synthetic-001:2019:radar={other}"])
    assert "is pinned for 2019 and was taken on 2022-" in choices[2019].failure
    assert choices[2022].failure == ""
