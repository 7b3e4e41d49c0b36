import datetime

import numpy as np
import pystac
import pytest
from affine import Affine
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.raster import Grid
from minseg.fetching import catalogue
from minseg.fetching import choice as rules
from minseg.fetching.choice import (
    YearChoice,
    choose_mine,
    choose_optical,
    choose_radar,
    parse_pins,
    read_choices,
    read_pins,
    relative_orbit_of,
    take_optical,
    write_choices,
)
from minseg.fetching.plan import plan_mines
from minseg.fetching.providers import PROVIDERS
from tests.fetching.conftest import PROVIDER
from tests.fetching.scenes import BESIDE, BOX, WEST, item, scene_classes, tif

WHOLE = (14.9, 46.8, 15.2, 47.1)
JULY = datetime.date(2020, 7, 1)


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


def optical(*items, **like):
    return choose_optical(items, BOX, PROVIDER, **like)


BROKEN = item("broken", "2020-07-01", {"SCL": "/no/such.tif"}, s2__processing_baseline="05.00")


def of(choice, column):
    """Values or reasons of the candidates by their ids."""
    return {row["item"]: row[column] for row in choice.candidates}


def test_the_box_decides_and_not_the_tile(scene):
    # The box is rows 36 to 131 of 240: cloud in the tile's top eighth is not in it.
    beside = scene("beside", parts={9: 0.14}, eo__cloud_cover=14.0)
    over = scene("over", parts={4: 0.3, 9: 0.06}, eo__cloud_cover=6.0)
    choice = optical(over, beside)
    assert choice.item is beside and of(choice, "chosen") == {"beside": True, "over": False}
    assert of(choice, "bad_share")["beside"] == 0
    # Cloud in rows 72 to 86.4, on the grid of 20 m: rows 72 to 86 and a part of the next two.
    assert of(choice, "cloud_share")["over"] == pytest.approx(14.4 / 96, abs=0.01)
    assert of(choice, "reason")["over"] == "beside ranks before it"


@pytest.mark.parametrize(
    ("value", "column"),
    [*((v, "cloud_share") for v in (8, 9, 10)), (3, "shadow_share"), (11, "snow_share")],
)
def test_cloud_shadow_and_snow_count_as_bad(scene, value, column):
    choice = optical(scene("bad", parts={value: 1}), scene("good"), day_of_year=183)
    assert choice.item.id == "good"
    assert of(choice, "bad_share")["bad"] == of(choice, column)["bad"] == 1
    assert "100% of the box hidden" in of(choice, "reason")["bad"]


def test_scenes_that_show_too_little_are_not_taken_and_say_why(scene):
    overcast = scene("overcast", parts={9: 1})
    dark = scene("dark", eo__cloud_cover=93.0)
    half = scene("half", parts={0: 0.35})  # rows 0 to 83: half of the box
    choice = optical(overcast, dark, half)
    assert choice.item is None and not any(of(choice, "chosen").values())
    reasons = of(choice, "reason")
    assert reasons.pop("overcast").startswith("100% of the box hidden (cloud 100%")
    assert reasons == {"dark": "93 % of the tile under cloud", "half": "covers 50% of the box"}


def test_of_equally_clear_scenes_the_day_of_year_decides_over_the_turn_of_the_year(scene):
    july, december = scene("july", "2020-07-01"), scene("december", "2020-12-28")
    assert optical(july, december, day_of_year=3).item is december
    assert optical(july, december, day_of_year=200).item is july
    # A hundredth more cloud does not outweigh the season; a tenth does.
    for cloud, taken in ((0.004, "december"), (0.04, "july")):
        december = scene("december", "2020-12-28", {4: 0.3, 9: cloud})
        assert optical(july, december, day_of_year=3).item.id == taken


def test_of_copies_of_one_datatake_only_the_newest_baseline_competes(scene):
    take = {"s2__datatake_id": "GS2A_20200701T1_1_N02.14"}
    old = scene("old", baseline="02.14", **take)
    new = scene("new", parts={9: 0.2}, s2__datatake_id="GS2A_20200701T1_1_N05.00")
    other_tile = scene("other", parts={9: 1}, s2__mgrs_tile="33TWN", **take)
    choice = optical(old, new, other_tile)
    assert choice.item is new and of(choice, "reason")["old"] == "processed again as new"
    assert "hidden" in of(choice, "reason")["other"]  # its pixels are others


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
    for like, expected in (("", "33TVM-07"), ("33TWN", "33TWN-07"), ("32TQT", "33TVM-07")):
        assert optical(*items, day_of_year=183, tile=like).item.id == expected
    assert optical(*items[:2], day_of_year=183, tile="33TWN").item.id == "32TQT-07"
    # A scene that tells no tile tells its projection, perhaps.
    untold = scene("0", "2020-07-01", proj__code="EPSG:32633")
    assert optical(items[1], untold, day_of_year=183).item.id == "0"


def test_granules_of_one_datatake_on_either_side_of_a_border_compete(scene):
    # ESA cuts a datatake into datastrips; where one ends in a tile there are two items of it.
    datatake = {"s2__datatake_id": "GS2A_20200701T1_1_N05.09", "s2__mgrs_tile": "33TWN"}
    covering = scene("S2A_33TWN_20200701_0_L2A", **datatake)
    rest = scene("S2A_33TWN_20200701_1_L2A", parts={0: 0.35}, **datatake)
    for items in ([covering, rest], [rest, covering]):
        choice = optical(*items)
        assert choice.item is covering
        assert of(choice, "reason")[rest.id] == "covers 50% of the box"


@pytest.mark.parametrize("zones", BESIDE)
def test_tiles_of_one_overpass_are_put_together_where_none_shows_the_box(
    tmp_path, zones, monkeypatch
):
    items = {}
    beside = "32TQT" if zones == "two zones" else "33TXM"
    for name, tile, value, grid in (("B", BESIDE[zones], 9, beside), ("A", WEST, 4, "33TWM")):
        classes = np.full((tile.height // 2, tile.width // 2), value, np.uint8)
        path = tif(tmp_path / f"{name}.tif", classes, tile.transform @ Affine.scale(2), tile.crs)
        about = {"s2__datatake_id": "GS2A_20200701T1_1_N05.09", "eo__cloud_cover": 5.0}
        about |= {"s2__processing_baseline": "05.09", "s2__mgrs_tile": grid}
        items[name] = item(name, "2020-07-01", {"SCL": str(path)}, tile.bounds_lonlat, **about)
    monkeypatch.setattr(rules, "LARGEST_BAD_SHARE", 0.7)
    first, second = ("A", "B") if zones == "two zones" else ("B", "A")  # own zone, largest share
    choice = optical(*items.values())
    assert choice.item is items[first] and choice.beside == (items[second],)
    assert of(choice, "coverage")[first] == 1
    assert of(choice, "reason") == {
        first: "best by what the box shows",
        second: f"put together with {first}",
    }
    cloud = of(choice, "cloud_share")[first]
    assert cloud == pytest.approx(0.5 if first == "A" else 54 / 84, abs=0.01)
    taken = YearChoice(choice.item, beside=choice.beside)
    assert taken.is_settled("bor", 2020, {})
    assert not taken.is_settled("bor", 2020, {("bor", 2020, "optical"): first})


def test_scenes_beside_the_box_take_no_slot_of_those_looked_at(scene, monkeypatch):
    beside, corner = (scene(name, eo__cloud_cover=0.0) for name in ("beside", "corner"))
    west, _, east, north = BOX.bounds_lonlat
    for one, edge in ((beside, west - 0.001), (corner, west + 0.3 * (east - west))):
        ring = [[14, 46], [edge, 46], [edge, north + 1], [14, north + 1], [14, 46]]
        one.geometry = {"type": "Polygon", "coordinates": [ring]}
    unknown, cloudier = scene("unknown", eo__cloud_cover=20.0), scene("more", eo__cloud_cover=42.0)
    unknown.geometry = None  # a catalogue that draws no footprint says nothing against a scene
    monkeypatch.setattr(rules, "MOST_LOOKED_AT", 1)
    choice = optical(cloudier, beside, corner, unknown)
    assert choice.item is unknown
    reasons = of(choice, "reason")
    assert reasons["beside"] == "its footprint covers 0% of the box"
    assert reasons["corner"] == "its footprint covers 30% of the box"
    assert reasons["more"].startswith("not looked at")


def test_a_pinned_item_is_taken_whatever_it_shows(scene):
    white = scene("white", parts={9: 1}, eo__cloud_cover=99.0)
    for one, share in ((white, 1), (BROKEN, None)):
        choice = take_optical(one, BOX, PROVIDER)
        assert choice.item is one and choice.beside == ()
        assert (of(choice, "bad_share"), of(choice, "reason")) == (
            {one.id: share},
            {one.id: "pinned"},
        )


def test_a_scene_that_cannot_be_judged_is_left_out_but_not_if_it_is_the_only_one(scene):
    choice = optical(BROKEN, scene("good"))
    assert choice.item.id == "good" and "SCL cannot be read" in of(choice, "reason")["broken"]
    with pytest.raises(MinsegError, match="broken: asset SCL cannot be read"):
        optical(BROKEN)


def test_nothing_found_is_no_choice():
    for choice in (optical(), choose_radar([], BOX, PROVIDER, date=JULY)):
        assert (choice.item, choice.candidates) == (None, [])


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
    assert choose_radar(items, BOX, PROVIDER, date=JULY).item.id == "near"
    choice = choose_radar(items, BOX, PROVIDER, date=JULY, relative_orbit=22)
    assert relative_orbit_of(choice.item) == 22
    assert of(choice, "reason") == {
        "before": "nearest in time to the optical scene",
        "after": "before ranks before it",
        "near": "the mine's other years are from relative orbit 22",
        "beside": "covers 0% of the box",
        "single": "has no VH",
        "late": "62 days from the optical scene",
    }
    assert choose_radar(items, BOX, PROVIDER, date=JULY, relative_orbit=7).item is None
    choice = choose_radar(items, BOX, PROVIDER, date=JULY, pinned="late")
    assert choice.item.id == "late" and of(choice, "reason")["near"] == "late is pinned"


def test_a_box_on_the_date_line_is_covered_by_footprints_on_its_sides():
    # Zone 1 begins at 180 degrees; the box lies half in zone 60, in coordinates of zone 1.
    box = Grid(60, 60, Affine(10, 0, 180_500, 0, -10, 8_100_000), CRS.from_epsg(32701))
    west, _, east, _ = box.bounds_lonlat
    assert west > east

    def ring(left, right):
        return [[[left, -20], [right, -20], [right, -16], [left, -16], [left, -20]]]

    east_side = radar("east", "2020-07-01", bounds=(-180, -20, -178, -16))
    both = radar("both", "2020-07-05")
    both.geometry = {"type": "MultiPolygon", "coordinates": [ring(178, 180), ring(-180, -178)]}
    choice = choose_radar([east_side, both], box, PROVIDER, date=JULY)
    assert choice.item is both and 0 < of(choice, "coverage")["east"] < 0.9
    # Some catalogues draw the same footprint as one ring that runs over the line.
    wrapped = radar("wrapped", "2020-07-05")
    wrapped.geometry = {"type": "Polygon", "coordinates": ring(178, -178)}
    for place, share in ((box, 1), (BOX, 0)):
        choice = choose_radar([wrapped], place, PROVIDER, date=JULY)
        assert of(choice, "coverage") == {"wrapped": share}


@pytest.mark.parametrize(
    ("name", "provider", "told"),
    [
        ("planetary_computer_s2_l2a.json", "planetary-computer", ("06VVN", 2.12)),
        ("s2_l2a_pb0400.json", "earth-search", ("34LBQ", 4.0)),
        ("earthsearch_v0_s2_l2a.json", None, ("28QCH", 2.14)),
        ("earthsearch_S2B_33TWM_20230813/S2B_33TWM_20230813_0_L2A.json", "earth-search",
         ("33TWM", 5.09)),
        ("s1_grd.json", None, 59),
        ("s1_rtc_aws.json", None, 121),
    ],
)  # fmt: skip
def test_real_items_tell_tile_baseline_and_orbit_and_have_our_assets(
    shared_data, name, provider, told
):
    one = pystac.Item.from_file(shared_data / "stac_items" / name)
    if name.startswith("s1"):
        assert relative_orbit_of(one) == told
    else:
        wanted = set(PROVIDERS[provider].optical.assets.values()) if provider else set()
        assert wanted <= set(one.assets)
        one.assets.clear()
        (row,) = take_optical(one, BOX, PROVIDER).candidates
        assert (row["tile"], row["baseline"]) == told


@pytest.mark.parametrize(
    "pin", ["bor", "bor:2019", "bor:x=1", "bor:2019:lidar=1", "a:1:radar:x=1", "a:1="]
)
def test_a_pin_that_cannot_be_read_is_refused(pin):
    with pytest.raises(MinsegError, match="write MINE:YEAR=ITEM"):
        parse_pins([pin])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
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
    assert read_pins(path) == parse_pins([" bor:2019=x "]) == {("bor", 2019, "optical"): "x"}
    path.write_text("mine,year,kind,item\nbor,2019,radar,x\n")
    assert read_pins(path) == parse_pins(["bor:2019:radar=x"])
    with pytest.raises(MinsegError, match="bor 2019 has another radar pin"):
        parse_pins(["bor:2019:radar=x", "bor:2019:radar=y"])


@pytest.fixture
def choose(request_):
    """Choose the scenes of the first mine."""
    plan = plan_mines(request_)[0][0]

    def choose(pins=(), earlier=None):
        return choose_mine(plan, request_.provider, parse_pins(pins), earlier or {})

    return choose


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
    (tmp_path / "mine.json").write_text("{")
    with pytest.raises(MinsegError, match=r"mine\.json: is damaged .*; remove this file"):
        read_choices(tmp_path / "mine.json")


@pytest.mark.parametrize("kind", ["", ":radar"])
def test_what_is_there_stays_where_a_pin_fails(choose, kind):
    before = choose()
    after = choose(pins=[f"synthetic-001:2019{kind}=x"], earlier=before)
    assert "no such item" in after[2019].failure
    assert after[2019].optical.id == before[2019].optical.id
    assert not after[2019].is_settled("synthetic-001", 2019, {})
    assert after[2022] == before[2022]


def test_a_year_whose_radar_cannot_be_searched_fails_alone(choose, behaviour):
    # Two searches of optical scenes are answered, and then no attempt at one of radar.
    behaviour.failures["/search"] = [None, None, *[500] * catalogue.ATTEMPTS]
    choices = choose()
    assert "HTTP 500" in choices[2019].failure or "500 error" in choices[2019].failure
    assert choices[2019].optical is None  # or it would be taken for a year that has no radar
    assert choices[2022].radar is not None and choices[2022].failure == ""


def test_where_every_year_fails_the_mine_does(choose, behaviour):
    behaviour.refuse = lambda address, headers: 401 if "search" in address else 0
    with pytest.raises(MinsegError, match=r"HTTP 401\): a token"):
        choose()


@pytest.mark.parametrize("kind", ["optical", "radar"])
def test_a_pin_of_another_year_is_refused_in_one_line(choose, kind):
    other = getattr(choose()[2022], kind)
    choices = choose(pins=[f"synthetic-001:2019:{kind}={other.id}"])
    said = f"{other.id}: is pinned for 2019 and was taken on {other.datetime:%Y-%m-%d}; pin an item"
    assert choices[2019].failure == f"{said} of 2019"
    assert choices[2022].failure == ""
