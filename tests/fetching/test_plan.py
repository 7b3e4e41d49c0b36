import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Geod

from minseg import MinsegError
from minseg.fetching.plan import BoxRule, mine_box, plan_mines, read_mines

SMALL = BoxRule(margin_m=300, smallest_m=600, largest_m=20_000)


@pytest.mark.parametrize("place", [(22.1, 44.1), (-77.37, 18.36), (150.84, -32.27), (30.4, 67.6)])
def test_box_is_snapped_and_holds_polygons_and_margin(place):
    longitude, latitude = place
    east = 0.01 / np.cos(np.radians(latitude))
    pit = shapely.box(longitude, latitude, longitude + 3 * east, latitude + 0.02)
    grid = mine_box(pit, SMALL)
    left, bottom, right, top = grid.bounds
    assert {left % 60, right % 60} == {0}
    # As the corners of real tiles: 5,000,040 in zone 33 north and 8,600,020 in zone 34 south.
    assert {bottom % 60, top % 60} == ({0} if latitude > 0 else {8_600_020 % 60})
    assert (grid.height % 6, grid.width % 6) == (0, 0)
    assert (grid.transform.a, grid.transform.e) == (10, -10)
    west, south, east, north = gpd.GeoSeries([pit], crs=4326).to_crs(grid.crs).total_bounds
    for space in (west - left, south - bottom, right - east, top - north):
        assert space + 0.02 >= 300 and space < 300 + 60.02


def test_the_smallest_box_lies_round_small_polygons():
    grid = mine_box(shapely.Point(22.1, 44.1), SMALL)
    assert grid.height * 10 == grid.width * 10 == 660  # a point at 300 m margin, snapped outwards
    assert grid.centre_lonlat == pytest.approx((22.1, 44.1), abs=0.001)
    assert mine_box(shapely.Point(22.1, 44.1), BoxRule()).width >= 512


def test_polygons_over_the_largest_box_are_refused():
    far = shapely.union_all([shapely.box(x, 44, x + 0.01, 44.01) for x in (22, 23)])
    with pytest.raises(MinsegError, match=r"reach over (79|8[01]).* km"):
        mine_box(far, SMALL)


def test_plans_that_make_no_dataset_are_refused(request_):
    for changed, said in (
        ({"years": (2020,)}, "at least 3"),
        ({"rule": BoxRule(0, 60, 300)}, "synthetic-001.*reach over"),
    ):
        with pytest.raises(MinsegError, match=said):
            plan_mines(replace(request_, **changed))
    _, notes = plan_mines(replace(request_, years=(2019, 2020)))
    assert notes == ["no polygons of 2020, left out: synthetic-001; synthetic-002; synthetic-003"]


PAPER = Path(__file__).parents[2] / "data" / "mines.csv"


def test_the_mines_of_the_paper_are_where_the_list_says_that_they_were_checked(shared_data):
    mines = read_mines(PAPER).set_index("mine")
    assert len(mines) == 14 and mines["source"].str.contains("general knowledge|guess").all()
    points = json.loads((shared_data / "icmm_mines" / "mines.geojson").read_text())["features"]
    said = mines["source"].str.extract(r"checked against [^(]+\((?P<name>[^,]+), (?P<km>[.\d]+) km")
    said = said.dropna()
    assert len(said) == 7
    for mine, (name, km) in said.iterrows():
        (listed,) = [p for p in points if p["properties"]["name"] == name]
        position = mines.loc[mine, ["longitude", "latitude"]]
        *_, metres = Geod(ellps="WGS84").inv(*position, *listed["geometry"]["coordinates"][:2])
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
        ("Cerovo", "mines 'Cerovo' and 'cerovo' would share the folder"),
        *((name, None) for name in ("b" * 100, "console", "com0", "Bor.2", "Борский")),
    ],
)
def test_a_name_is_that_of_a_safe_folder_or_refused(tmp_path, name, message):
    path, table = tmp_path / "mines.csv", pd.read_csv(PAPER, keep_default_na=False)
    table.loc[0, "mine"] = name
    table.to_csv(path, index=False)
    if message is None:
        assert read_mines(path)["mine"][0] == name
    else:
        with pytest.raises(MinsegError, match=rf"mines\.csv.*{message}"):
            read_mines(path)
