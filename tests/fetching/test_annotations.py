import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.labels import IGNORE_BITS, decode_bits
from minseg.data.raster import Grid
from minseg.fetching.annotations import (
    PolygonFields,
    rasterise,
    read_annotations,
    read_features,
)
from minseg.fetching.plan import BoxRule, mine_box
from tests.conftest import mine_rows

GRID = Grid(60, 80, Affine(10, 0, 500_000, 0, -10, 5_000_000), CRS.from_epsg(32634))


def square(column, row, side=10):
    """A square in pixels of GRID, a little off the pixels' edges."""
    x, y = GRID.transform @ (column, row)
    return shapely.box(x + 0.5, y - 10 * side + 0.5, x + 10 * side + 0.5, y + 0.5)


def mines(*positions):
    table = mine_rows(len(positions))
    table["longitude"], table["latitude"] = zip(*positions, strict=True)
    table["name"] = [f"Mine {k}" for k in range(len(positions))]
    return table


HERE = mines((21.0, 45.15))


def written(tmp_path, shapes, crs=GRID.crs, name="polygons.gpkg", **columns):
    path = tmp_path / name
    columns = columns or {"class": ["excavation"] * len(shapes)}
    gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs).to_file(path)
    return path


def read(path, table=HERE, **fields):
    return read_annotations(path, table, PolygonFields(**fields))


def test_a_pixel_is_of_a_polygon_that_its_centre_lies_in(tmp_path):
    random = np.random.default_rng(0)
    angles, radii_m = np.linspace(0, 6, 25), 250 * random.uniform(0.3, 1, 25)
    corners = np.column_stack([radii_m * np.cos(angles), radii_m * np.sin(angles)])
    blob = shapely.Polygon(corners + GRID.transform @ (40, 30))
    x, y = GRID.transform @ (0, 0)
    across = shapely.box(x + 13.5, y - 400, x + 16.5, y)  # 3 m wide round the centres of column 1
    beside = shapely.box(x + 31, y - 400, x + 34, y)  # touches column 3, not its centres
    shapes = [blob, square(70, 2, 15), across, beside]
    bits = rasterise(read(written(tmp_path, shapes)).polygons, GRID)
    columns, rows = np.meshgrid(np.arange(GRID.width) + 0.5, np.arange(GRID.height) + 0.5)
    inside = shapely.contains_xy(shapely.union_all(shapes), *GRID.places(columns, rows))
    assert (decode_bits(bits, "excavation") == inside).all()
    assert bits[:40, 1].all() and not bits[:, 2:4].any()


def test_classes_overlap_whatever_their_order(tmp_path):
    shapes, names = [square(10, 10, 20), square(20, 20, 20)], ["dam", "excavation"]
    path = written(tmp_path, shapes, **{"class": names})
    polygons = read(path).polygons
    found = [rasterise(polygons.iloc[order], GRID) for order in ([0, 1], [1, 0])]
    assert (found[0] == found[1]).all()
    both = decode_bits(found[0], "dam") & decode_bits(found[0], "excavation")
    assert both.sum() == 100 and decode_bits(found[0], "dam").sum() == 400


def test_both_sides_of_the_date_line_are_burnt(tmp_path):
    sides = [shapely.box(179.99, -17.01, 180, -17), shapely.box(-180, -17.01, -179.98, -17)]
    path = written(tmp_path, sides, "EPSG:4326", **{"class": ["dam", "excavation"]})
    table = mines((179.99, -17.0))
    grid = mine_box(shapely.union_all(sides), BoxRule(300, 600))
    bits = rasterise(read(path, table).polygons, grid)
    west, east = (decode_bits(bits, name).sum() for name in ("dam", "excavation"))
    assert west == pytest.approx(1064 * 1107 / 100, rel=0.02)  # a hundredth of a degree, in pixels
    assert east == pytest.approx(2 * west, rel=0.02)


def test_longitudes_beyond_180_are_those_a_turn_back(tmp_path):
    def bits(west, east, place):
        path = written(tmp_path, [shapely.box(west, -25, east, -24.99)], "EPSG:4326")
        found = read(path, mines((place, -25.0))).polygons
        assert np.abs(found.total_bounds).max() <= 180
        return rasterise(found, mine_box(shapely.box(west, -25, east, -24.99), BoxRule(300, 600)))

    for place, east in ((-70.0, 290.0), (-179.98, 180.02), (179.99, -180.01)):
        expected = bits(place - 0.01, place, place)
        assert expected.any() and (bits(east - 0.01, east, place) == expected).all()
    over = bits(179.99, 180.01, 180.0)
    assert np.count_nonzero(over) == pytest.approx(2 * np.count_nonzero(expected), rel=0.02)


def test_ground_on_the_other_side_of_the_globe_disturbs_nothing(tmp_path):
    pit, seen = shapely.box(-70, -25, -69.99, -24.99), shapely.box(-70.05, -25.05, -69.995, -24)
    grid = mine_box(pit, BoxRule(300, 600))
    found = []
    for ground in (shapely.box(-75, -30, -65, -20), shapely.box(-180, -90, 180, 90)):
        shapes = [pit, ground.difference(seen)]
        path = written(tmp_path, shapes, "EPSG:4326", **{"class": ["dam", "ignore"]})
        found.append(rasterise(read(path, mines((-70.0, -25.0))).polygons, grid))
    assert (found[0] == found[1]).all() and (found[0] == IGNORE_BITS).mean() > 0.4


def test_values_are_mapped_and_ignore_hides_classes(tmp_path):
    path = written(
        tmp_path, [square(0, 0), square(5, 0), square(30, 30), square(50, 40)], kind=[1, 9, 2, 3]
    )
    classes = {"1": "excavation", "2": "dam", "3": "background", "9": "ignore"}
    found = read(path, class_field="kind", classes=classes)
    assert found.class_names == ("excavation", "dam")
    bits = rasterise(found.polygons, GRID)
    assert (bits == IGNORE_BITS).sum() == 100
    assert decode_bits(bits, "excavation").sum() == 50 and (bits > 0).sum() == 250
    with pytest.raises(MinsegError, match=r"holds '2'; '3'; '9'.*--classes pit=excavation"):
        read(path, class_field="kind", classes={"1": "excavation"})
    with pytest.raises(MinsegError, match=r"nowhere holds '02'; correct --classes"):
        read(path, class_field="kind", classes={"02": "dam", "*": "excavation"})
    numbered = read(path, class_field="kind", classes={1: "excavation", 2.0: "dam", "*": "ignore"})
    assert numbered.class_names == ("excavation", "dam")
    everything = read(path, class_field="nothing", classes={"*": "excavation"})
    assert (rasterise(everything.polygons, GRID) > 0).sum() == 350


def test_invalid_polygons_are_repaired_and_told(tmp_path):
    x, y = GRID.transform @ (20, 20)
    bow = shapely.Polygon([(x, y), (x + 200, y - 200), (x + 200, y), (x, y - 200)])
    found = read(written(tmp_path, [bow, shapely.Point(x, y), square(0, 0)]))
    assert found.polygons.is_valid.all() and len(found.polygons) == 2
    assert "1 invalid polygon(s) repaired: number 1 (Self-intersection" in found.notes[0]
    assert "1 feature(s) without area left out: number 2" in found.notes[1]
    area_m2 = found.polygons.to_crs(GRID.crs).area.iloc[0]
    assert area_m2 == pytest.approx(2 * 200 * 100 / 2, rel=1e-3)


def test_years_choose_polygons_and_an_empty_year_holds_always(tmp_path):
    path = written(
        tmp_path,
        [square(0, 0), square(20, 0), square(40, 0)],
        **{"class": ["dam"] * 3, "drawn": [2019, 2021, None]},
    )
    found = read(path, year_field="drawn")
    assert len(found.of_year(2019)) == 2 and len(found.of_year(2020)) == 1
    assert found.years_of("mine-0", (2018, 2019)) == (2018, 2019)
    columns = {"class": ["dam"], "drawn": ["2019"]}
    path = written(tmp_path, [square(0, 0)], name="d.gpkg", **columns)
    dated = read(path, year_field="drawn")
    assert dated.years_of("mine-0", (2018, 2019)) == (2019,)
    with pytest.raises(MinsegError, match="holds 'dam', which is no year"):
        read(path, year_field="class")


def test_files_that_are_no_polygons_are_refused(tmp_path):
    path = written(tmp_path, [square(0, 0)], name="two.gpkg")
    with pytest.raises(MinsegError, match="but no polygon"):
        read(written(tmp_path, [shapely.Point(5e5, 5e6)], name="points.gpkg"))
    gpd.read_file(path).to_file(path, layer="other")
    with pytest.raises(MinsegError, match="name one of its layers: two, other"):
        read(path)
    assert len(read(path, layer="other").polygons) == 1


@pytest.mark.filterwarnings("error")
def test_tables_beside_the_polygons_and_measures_of_corners_change_nothing(tmp_path):
    path = tmp_path / "a.gpkg"
    styles = pd.DataFrame({"styleName": ["mine"]})
    pyogrio.write_dataframe(styles, path, layer="layer_styles")
    written(tmp_path, [square(0, 0)], name="a.gpkg")
    assert len(read(path).polygons) == 1
    with pytest.raises(MinsegError, match="is a table without geometries"):
        read(path, layer="layer_styles")
    (tmp_path / "m.csv").write_text(f'WKT,class\n"{square(0, 0).wkt}",dam\n')
    measured = tmp_path / "m.vrt"
    measured.write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="m"><SrcDataSource relativeToVRT="1">m.csv'
        "</SrcDataSource><GeometryType>wkbPolygonZM</GeometryType><LayerSRS>EPSG:32634</LayerSRS>"
        '<GeometryField encoding="WKT" field="WKT"/></OGRVRTLayer></OGRVRTDataSource>'
    )
    assert read(measured).class_names == ("dam",)


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


def behind_a_wrong_cpg(path):
    table().to_file(path, encoding="cp1252")
    path.with_suffix(".cpg").write_text("UTF-8")


def in_latin(path):
    text = json.dumps(json.loads(table().to_json()), ensure_ascii=False)
    path.write_bytes(text.encode("cp1252"))


def ringed(change):
    return lambda path: with_ring(path, change)


def in_system(crs):
    return lambda path: table().set_crs(crs, allow_override=True).to_file(path)


ENCODING = "not in the encoding that it states (utf-8, byte 0xf6).*"


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("x.shp", behind_a_wrong_cpg, ENCODING + "ogr2ogr -oo"),
        ("x.geojson", in_latin, ENCODING + "iconv -f CP1252"),
        ("x.geojson", ringed(lambda ring: ring.__delitem__(slice(1, None))), "1 cannot be read"),
        ("x.geojson", ringed(lambda ring: ring[1].__setitem__(0, np.nan)), "1 have a corner that"),
        ("x.geojson", ringed(lambda ring: ring[1].__setitem__(1, np.inf)), "1 have a corner that"),
        ("x.gpkg", in_system(LOCAL), "mine grid, is a local one"),
        ("x.gpkg", in_system(None), "no coordinate reference system"),
        ("x.gpkg", lambda path: table().iloc[:0].to_file(path), "holds no polygons"),
        ("x.csv", "lon,lat\n1,2\n", "ogr2ogr -oo X_POSSIBLE_NAMES=lon"),
        ("x.geojson", "hello", "cannot be read as polygons"),
    ],
)
def test_what_cannot_be_read_as_it_was_meant_is_one_line(tmp_path, name, write, said):
    path = tmp_path / name
    path.write_text(write) if isinstance(write, str) else write(path)
    with pytest.raises(MinsegError, match=r"/x\.\w+: ") as error:
        read_features(path, "polygons", [])
    for part in said.split(".*"):
        assert part in str(error.value)


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
