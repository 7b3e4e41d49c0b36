import numpy as np
import pytest
import shapely
from pyproj import Geod

from minseg import MinsegError
from minseg.fetching.owners import pairs_within
from tests.fetching.test_annotations import mines, read, square, written

GEOD = Geod(ellps="WGS84")


def all_round(longitude, latitude, far_m):
    """Places so far from one, by geodesics."""
    angles = range(0, 360, 30)
    return [shapely.Point(GEOD.fwd(longitude, latitude, angle, far_m)[:2]) for angle in angles]


@pytest.mark.parametrize("place", [(21.0, 45.0), (-70.0, -78.0), (31.0, 67.3), (179.99, 0.0)])
@pytest.mark.parametrize("far_m", [300.0, 9_900.0])
def test_distances_are_those_on_the_ellipsoid_also_across_the_date_line(place, far_m):
    found = pairs_within([place[0]], [place[1]], all_round(*place, far_m), 10_000)
    assert found["distance_m"].to_numpy() == pytest.approx(np.full(12, far_m), rel=1e-6)


def test_only_pairs_within_reach_are_listed_and_inside_is_zero():
    near, far = (shapely.MultiPoint(all_round(21, 45, far_m)) for far_m in (500, 10_100))
    shapes = [near, far, near.convex_hull]
    found = pairs_within([21.0, 100.0], [45.0, 45.0], shapes, 10_000)
    assert found[["place", "shape"]].to_numpy().tolist() == [[0, 0], [0, 2]]
    assert found["distance_m"].iloc[1] == 0
    assert pairs_within([], [], shapes, 1e4).empty


def test_a_polygon_belongs_to_the_nearest_mine_within_reach(tmp_path):
    table = mines((21.0, 45.15), (21.08, 45.15), (60, 10))
    far = shapely.box(700_000, 5_000_000, 700_100, 5_000_100)
    found = read(written(tmp_path, [square(0, 0), far]), table)
    assert found.polygons["mine"].tolist() == ["mine-0", ""]
    notes = " ".join(found.notes)
    assert "1 polygon(s) farther than 10 km" in notes and "1 polygon(s) near two mines" in notes
    assert "mine 'mine-1': no polygons" in notes and "mine 'mine-2': no polygons" in notes
    with pytest.raises(MinsegError, match="no polygon lies within 10 km"):
        read(written(tmp_path, [far], name="far.gpkg"), table)


def test_a_field_names_the_mine(tmp_path):
    table = mines((21.0, 45.15), (21.1, 45.15))
    path = written(
        tmp_path,
        [square(0, 0), square(20, 0), square(40, 0)],
        **{"class": ["dam"] * 3, "site": ["mine-1", "MINE 0", "Bor"]},
    )
    found = read(path, table, mine_field="site")
    assert found.polygons["mine"].tolist() == ["mine-1", "mine-0", ""]
    assert any("no mine of the table for 'Bor'" in note for note in found.notes)
    with pytest.raises(MinsegError, match="none of them is a mine"):
        read(path, table, mine_field="class")


def test_a_name_of_several_mines_is_refused_and_their_ids_are_taken(tmp_path):
    table = mines((21.0, 45.15), (21.02, 45.15), (21.04, 45.15)).assign(
        name=["North Pit", "north pit", ""]
    )
    shapes = [square(0, 0), square(20, 0), square(40, 0)]
    named = {"class": ["dam"] * 3, "site": ["North Pit", "mine-1", "mine-2"]}
    with pytest.raises(
        MinsegError, match=r"'north pit'.* 2 mines.*mine-0, mine-1; write these ids"
    ):
        read(written(tmp_path, shapes, **named), table, mine_field="site")
    named["site"] = ["mine-0", "MINE-1", None]  # nothing is not the name of a mine without name
    found = read(written(tmp_path, shapes, name="ids.gpkg", **named), table, mine_field="site")
    assert found.polygons["mine"].tolist() == ["mine-0", "mine-1", ""]


def test_polygons_far_from_the_mine_that_they_name_are_refused_unless_ignored(tmp_path):
    far = shapely.box(800_000, 5_000_000, 800_100, 5_000_100)  # ignored or background: anywhere
    columns = {"class": ["dam", "dam", "ignore", "background"], "m": "mine-0"}
    path = written(tmp_path, [square(0, 0), square(20, 0), far, far], **columns)
    assert len(read(path, mine_field="m").polygons) == 3
    read(path, mines((21.35, 45.15)), mine_field="m")  # 27 km: a district, or a poor position
    with pytest.raises(MinsegError, match=r"2 polygon.*'mine-0' \(31 km\).*position in the mine"):
        read(path, mines((21.4, 45.15)), mine_field="m")
