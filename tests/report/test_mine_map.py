import json
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point, shape

from minseg.report.mine_map import WORLD, mine_map_figure

CHILE = pd.DataFrame(
    {
        "longitude": [-70.5, -69.1, -68.9],
        "latitude": [-33.1, -24.3, -22.3],
        "part": ["train", "test", "train"],
    }
)


def draw(figure):
    """Draw and give the figure back: some mistakes show only then."""
    assert figure._repr_png_().startswith(b"\x89PNG")
    return figure


def extent(figure):
    (axes,) = figure.axes
    return (*axes.get_xlim(), *axes.get_ylim())


def entries(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_parts_have_counts_and_shapes_of_their_own():
    mines = pd.concat([CHILE, CHILE.assign(part="validation")])
    figure = draw(mine_map_figure(mines))
    assert entries(figure) == ["train (2)", "validation (3)", "test (1)"]
    markers = figure.axes[0].collections
    assert [len(marker.get_offsets()) for marker in markers] == [2, 3, 1]
    assert len({marker.get_paths()[0].vertices.tobytes() for marker in markers}) == 3
    assert len({tuple(marker.get_facecolor()[0]) for marker in markers}) == 3


def test_near_mines_get_a_map_of_their_region():
    west, east, south, north = extent(draw(mine_map_figure(CHILE)))
    assert west < -71
    assert east > -68
    assert south < -34
    assert north > -22
    assert east - west < 60
    assert north - south < 60


@pytest.mark.parametrize("far", [(30.0, -25.0), (-60.0, 50.0)])
def test_mines_60_degrees_apart_get_the_world(far):
    mines = CHILE.copy()
    mines.loc[0, ["longitude", "latitude"]] = far
    assert extent(draw(mine_map_figure(mines))) == WORLD


@pytest.mark.parametrize(
    ("longitude", "latitude"), [(15.0, 52.0), (179.9, -17.0), (-179.9, 66.0), (20.0, 78.0)]
)
def test_one_mine_is_on_its_map(longitude, latitude):
    mine = pd.DataFrame({"longitude": [longitude], "latitude": [latitude], "part": ["test"]})
    west, east, south, north = extent(draw(mine_map_figure(mine)))
    assert -180 <= west < longitude < east <= 180
    assert -90 <= south < latitude < north <= 90
    assert entries(mine_map_figure(mine)) == ["test (1)"]


def test_a_mine_without_coordinates_or_part_is_counted():
    mines = CHILE.copy()
    mines.loc[0, "latitude"] = np.nan
    mines.loc[1, "part"] = np.nan
    figure = draw(mine_map_figure(mines))
    assert figure.axes[0].get_title(loc="left") == "3 mines\n1 without coordinates not shown"
    assert entries(figure) == ["train (1)", "no part (1)"]


def test_no_mines_at_all_leave_an_empty_world():
    figure = draw(mine_map_figure(CHILE.head(0)))
    assert extent(figure) == WORLD
    assert entries(figure) == []


def test_raw_materials_are_counted_in_the_title():
    figure = draw(mine_map_figure(CHILE.assign(raw_material=["MO", "", "MO"])))
    expected = "3 mines: 2 metallic ores, 1 unknown material"
    assert figure.axes[0].get_title(loc="left") == expected


def test_synthetic_mines_say_so_on_the_map():
    assert draw(mine_map_figure(CHILE, synthetic=True)).get_suptitle() == "SYNTHETIC"
    assert mine_map_figure(CHILE).get_suptitle() == ""


def test_land_is_small_sourced_and_where_land_is():
    text = files("minseg.report").joinpath("land.geojson").read_text(encoding="utf-8")
    document = json.loads(text)
    land = shape(document["features"][0]["geometry"])
    assert len(text) <= 80_000
    assert "Natural Earth" in document["source"]
    assert document["licence"] == "Public domain"
    assert land.is_valid
    assert land.contains_properly(Point(21.0, 52.2))  # Warsaw
    assert land.contains_properly(Point(133.9, -23.7))  # Alice Springs
    assert not land.contains(Point(-30, 30))  # the Atlantic
    assert not land.contains(Point(50.5, 42))  # the Caspian Sea, a hole
