import json

import geopandas as gpd
import pytest
import shapely

from minseg import MinsegError
from minseg.fetching.features import read_features

SQUARES = [shapely.box(15 + k, 46, 15.1 + k, 46.1) for k in range(2)]
LOCAL = 'LOCAL_CS["mine grid",UNIT["metre",1]]'


def table(**columns):
    columns = {"class": ["excavation", "Größe"], "geometry": SQUARES} | columns
    return gpd.GeoDataFrame(columns, crs="EPSG:4326")


def with_ring(path, change):
    """Write GeoJSON whose first ring is changed."""
    whole = json.loads(table().to_json())
    change(whole["features"][0]["geometry"]["coordinates"][0])
    path.write_text(json.dumps(whole))


def behind_a_wrong_cpg(folder):
    table().to_file(folder / "x.shp", encoding="cp1252")
    (folder / "x.cpg").write_text("UTF-8")
    return folder / "x.shp"


def in_latin(folder):
    text = json.dumps(json.loads(table().to_json()), ensure_ascii=False)
    (folder / "x.geojson").write_bytes(text.encode("cp1252"))
    return folder / "x.geojson"


def ringed(change):
    def make(folder):
        with_ring(folder / "x.geojson", change)
        return folder / "x.geojson"

    return make


def saved(name, write):
    def make(folder):
        write(folder / name)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (behind_a_wrong_cpg, "not in the encoding that it states (utf-8, byte 0xf6).*ogr2ogr -oo"),
        (in_latin, "not in the encoding that it states (utf-8, byte 0xf6).*iconv -f CP1252"),
        (ringed(lambda ring: ring.__delitem__(slice(1, None))), "number 1 cannot be read"),
        (ringed(lambda ring: ring[1].__setitem__(0, float("nan"))), "number 1 have a corner that"),
        (ringed(lambda ring: ring[1].__setitem__(1, float("inf"))), "number 1 have a corner that"),
        (
            saved("x.gpkg", lambda path: table().set_crs(LOCAL, allow_override=True).to_file(path)),
            "mine grid, is a local one",
        ),
        (
            saved("x.gpkg", lambda path: table().set_crs(None, allow_override=True).to_file(path)),
            "no coordinate reference system",
        ),
        (saved("x.gpkg", lambda path: table().iloc[:0].to_file(path)), "holds no polygons"),
        (saved("x.csv", lambda path: path.write_text("lon,lat\n1,2\n")), "a table without geom"),
        (saved("x.geojson", lambda path: path.write_text("hello")), "cannot be read as polygons"),
        (saved("x.gpkg", lambda path: None), "no such file"),
    ],
)
def test_what_cannot_be_read_as_it_was_meant_is_one_line(tmp_path, make, said):
    path = make(tmp_path)
    with pytest.raises(MinsegError, match=r"/x\.\w+: ") as error:
        read_features(path, "polygons", [])
    for part in said.split(".*"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("error")
def test_an_open_ring_is_closed_and_told(tmp_path):
    with_ring(tmp_path / "x.geojson", lambda ring: ring.pop())
    notes = []
    read = read_features(tmp_path / "x.geojson", "polygons", notes)
    assert read.geometry.iloc[0].equals(SQUARES[0]) and read.geometry.iloc[1].equals(SQUARES[1])
    assert notes == [f"{tmp_path / 'x.geojson'}: polygon(s) with open rings closed: number 1"]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:4979"])
def test_any_reference_system_becomes_degrees_and_heights_are_left_away(tmp_path, crs):
    high = shapely.force_3d(SQUARES, 300.0)
    table(geometry=high).to_crs(crs).to_file(tmp_path / "x.gpkg")
    read = read_features(tmp_path / "x.gpkg", "polygons", [])
    assert not read.has_z.any()
    assert read.geometry.geom_equals_exact(gpd.GeoSeries(SQUARES, crs="EPSG:4326"), 1e-9).all()
