import json

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from minseg import open_dataset
from minseg.data.writing import resplit
from minseg.fetching.plan import mine_box
from minseg.synthetic.catalogue import BOX
from minseg.synthetic.server import serve
from tests.conftest import mine_rows
from tests.fetching.loopback import Loopback, behaving
from tests.fetching.pinned_scenes import write_catalogue
from tests.fetching.test_recipes import write_icmm


def write_inputs(folder, longitudes, latitude):
    """Write a mine list and a dot drawn at each mine, as options of the command."""
    places = {"longitude": list(longitudes.values()), "latitude": latitude}
    table = mine_rows(len(longitudes), **places).assign(mine=list(longitudes))
    table.to_csv(folder / "mines.csv", index=False)
    dots = gpd.points_from_xy(table["longitude"], table["latitude"]).buffer(1e-4)
    outlines = gpd.GeoDataFrame({"class": "excavation", "geometry": dots}, crs="EPSG:4326")
    outlines.to_file(folder / "drawn.gpkg")
    return ["--mines", folder / "mines.csv", "--polygons", folder / "drawn.gpkg"]


@pytest.fixture
def options(made):
    with serve(made.folder) as api:
        yield {
            "--mines": made.mines,
            "--polygons": made.polygons,
            "--years": "2019",
            "--api": api,
            "--margin-m": 0,
            "--smallest-m": 600,
        }


def arguments(options, **changed):
    changed = {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return [part for pair in (options | changed).items() for part in pair]


def test_fetch_then_check_then_with_a_pin(minseg, options, tmp_path):
    status, out, err = minseg("dataset", "fetch", tmp_path / "mines", *arguments(options))
    assert status == 0 and "train 1 mines (1 scenes)" in out
    assert "overlap on" in err and "failed" not in err
    status, out, _ = minseg("dataset", "check", tmp_path / "mines")
    assert (status, out) == (0, f"{tmp_path / 'mines'}: no problem found\n")
    table = pd.read_csv(tmp_path / "mines" / "candidates.csv")
    items = table.loc[table["mine"] == "synthetic-001", "item"]
    cloudy, half = (items[items.str.endswith(name)].item() for name in ("_cloudy", "_half"))
    (tmp_path / "pins.csv").write_text(f"mine,year,item\nsynthetic-001,2019,{half}\n")
    given = arguments(options, pins=tmp_path / "pins.csv")
    pin = ["--pin", f"synthetic-001:2019={cloudy}"]
    for more, item in (([], half), (pin, cloudy)):  # --pin comes first
        assert minseg("dataset", "fetch", tmp_path / "mines", *given, *more)[0] == 0
        manifest = json.loads((tmp_path / "mines" / "fetch.json").read_text())
        assert item in [scene["optical"]["item"] for scene in manifest["scenes"]]


def test_a_failure_is_listed_the_status_tells_and_radar_that_nobody_wants_is_none(
    minseg, options, tmp_path
):
    given = [*arguments(options, years="2018-2019"), "--no-radar"]
    status, out, err = minseg("dataset", "fetch", tmp_path / "mines", *given)
    assert status == 1 and "train 1 mines (1 scenes)" in out
    assert err.count("2018: the catalogue has no scene") == 3
    assert err.count("failed: ") == 3 and "the same command tries again" in err
    assert "without radar" not in err  # for that is what was asked for
    assert not list((tmp_path / "mines").rglob("radar.tif"))
    assert set(pd.read_csv(tmp_path / "mines" / "candidates.csv")["kind"]) == {"optical"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"years": "2022-2016"}, "swap them"),
        *(({"years": years}, "write years such as") for years in ("soon", "2019,20200", "2016-")),
        ({"years": "2010"}, "Sentinel-2 began in 2015"),
        ({"mines": "none.csv"}, "no such file"),
        ({"polygons": "none.gpkg"}, "no such file"),
        ({"api": "nowhere"}, "--api nowhere: unknown"),
        ({"api": "https://stac.example.org"}, "PATH.toml"),
        ({"api": "no_such.toml"}, "no_such.toml"),
        ({"api": "earth-search"}, "no terrain-corrected radar; add --no-radar"),
        ({"class_field": "kind"}, "has no field 'kind'"),
        ({"classes": "pit"}, "write value=class name"),
        ({"classes": "dam=excavation"}, "no class of Table 1"),
        ({"layer": "none"}, "no layer 'none'"),
        ({"pin": "bor"}, "write MINE:YEAR=ITEM"),
        ({"pin": "bor:2019=x"}, "no such mine"),
        ({"pins": "none.csv"}, "no such file"),
        ({"workers": 0}, "give 1 or more"),
        ({"margin_m": -1}, "give a margin"),
        ({"smallest_m": 0}, "give a margin"),
        ({"largest_m": 100}, "give a margin"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(refused, options, tmp_path, changed, message):
    folder = tmp_path / "mines"
    given = arguments(options, **changed)
    assert message in refused("dataset", "fetch", folder, *given)
    assert not folder.exists()


@pytest.mark.parametrize("mine_field", [[], ["--mine-field", "mine"]])
def test_polygons_elsewhere_are_one_line(refused, options, made, tmp_path, mine_field):
    polygons = gpd.read_file(made.polygons)
    mixed_up = {
        "swapped": polygons.set_geometry(
            shapely.transform(polygons.geometry, lambda points: points[:, ::-1])
        ),
        "zone": polygons.to_crs("EPSG:32633").set_crs("EPSG:32654", allow_override=True),
        "metres": polygons.to_crs("EPSG:3857").set_crs("EPSG:4326", allow_override=True),
        "degrees": polygons.set_crs("EPSG:3857", allow_override=True),
    }
    for name, table in mixed_up.items():
        table.to_file(tmp_path / f"{name}.gpkg")
        given = [*arguments(options, polygons=tmp_path / f"{name}.gpkg"), *mine_field]
        err = refused("dataset", "fetch", tmp_path / "mines", *given)
        assert f"{name}.gpkg: " in err and "reference system" in err
        assert not (tmp_path / "mines").exists()


def test_malformed_items_are_left_out_and_told(minseg, options, made, tmp_path):
    def spoil(item):
        if item["id"].endswith("_cloudy"):
            item["properties"] = item["properties"] | {"eo:cloud_cover": "n/a"}
        return item

    with serve(made.folder, behaving(Loopback(made.folder, change=spoil))) as api:
        given = arguments(options, api=api)
        status, _, err = minseg("dataset", "fetch", tmp_path / "mines", *given)
    table = pd.read_csv(tmp_path / "mines" / "candidates.csv")
    told = table[table["item"].str.endswith("_cloudy")]
    assert status == 0 and len(told) == 3 and not told["chosen"].any()
    assert set(told["reason"]) == {"left out: its eo:cloud_cover is 'n/a'"}
    assert f"note: 3 item(s) of the catalogue left out: {told['item'].iloc[0]} (its eo" in err


def test_mines_on_both_sides_of_the_date_line_share_ground(minseg, tmp_path):
    places = {"west": 179.999, "east": -179.999, "a": 170, "b": 9}
    tiles = {"west": "60K", "east": "01K", "a": "59K", "b": "32K"}
    boxes = {
        f"S2A_MSIL2A_20190701T0_R1_T{tiles[mine]}AB_2019{mine}": mine_box(
            shapely.Point(x, -17), BOX
        )
        for mine, x in places.items()
    }
    write_catalogue(tmp_path / "made", boxes)
    given = [*write_inputs(tmp_path, places, -17.0), "--years", 2019, "--no-radar"]
    with serve(tmp_path / "made") as api:
        given += ["--api", api, "--margin-m", 0, "--smallest-m", 600]
        status, _, err = minseg("dataset", "fetch", tmp_path / "got", *given)
    assert status == 0 and "failed" not in err
    assert minseg("dataset", "check", tmp_path / "got")[0] == 0
    for seed in range(8):
        part = resplit(open_dataset(tmp_path / "got"), seed).split.set_index("mine")["part"]
        assert part["west"] == part["east"] and part.nunique() == 3


def test_boxes_that_are_one_are_told_before_the_work(minseg, tmp_path):
    api = tmp_path / "api.toml"
    api.write_text('like = "planetary-computer"\nurl = "http://127.0.0.1:9"\n')
    options = ["--years", 2019, "--api", api, "--smallest-m", 20_000]
    for beside, said in ((12.0, "gives no answer"), (15.01, "2 separate mine(s)")):
        given = write_inputs(tmp_path, {"a": 15.0, "b": beside, "c": 9.0}, 46.9)
        status, _, err = minseg("dataset", "fetch", tmp_path / "got", *given, *options)
        assert status == 1 and said in err and not (tmp_path / "got").exists()


def test_a_recipe_without_a_file_tells_where_to_get_it(minseg):
    status, out, err = minseg("dataset", "recipe", "tang")
    assert status == 0 and "failed" not in err
    assert "licence: CC BY 4.0" in out and "10.5281/zenodo.6806817" in out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["bing"], "use jasansky, maus, tang, cheng or lames"),
        (["maus", "none.gpkg"], "give --icmm"),
        (["maus", "none.gpkg", "--icmm", "none.geojson"], "none.geojson: no such file"),
        (["jasansky", "none.gpkg"], "none.gpkg: no such file"),
        (["tang", "a.gpkg", "--icmm", "mines.geojson", "--year", 20190], "--year 20190: Sentinel"),
        (["jasansky", "a.gpkg", "b.gpkg"], "takes one FILE"),
        (["jasansky", "a.gpkg", "--year", "2019"], "neither --year"),
    ],
)
def test_mistakes_in_recipes_are_one_line(refused, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    write_icmm(tmp_path, [(15, 46, "coal", "Mine")])
    assert message in refused("dataset", "recipe", *given)
