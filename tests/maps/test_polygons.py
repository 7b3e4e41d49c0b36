import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from pyproj import Geod
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points
from scipy import ndimage

from minseg import MinsegError
from minseg.data.labels import TASKS
from minseg.data.raster import Grid, RowFile
from minseg.maps.class_map import ClassMap
from minseg.maps.polygons import LAYER, vectorise, write_polygons
from tests.conftest import grid_at, names
from tests.maps.conftest import require_agreement, speckled

MODEL1 = TASKS["model1"]
COLUMNS = ("class", "area_ha", "mean_probability")


def grid_of_size(height, width, transform, crs):
    return Grid(height, width, transform, CRS.from_user_input(crs))


PLACES = {
    "middle of a zone": (Affine(10, 0, 500_000, 0, -10, 5e6), "EPSG:32633"),
    "edge of a zone": (Affine(10, 0, 830_000, 0, -10, 100_000), "EPSG:32733"),
    "degrees, far north": (Affine(1e-3, 0, 15, 0, -1e-3, 70), "EPSG:4326"),
    "degrees, large": (Affine(0.05, 0, -70, 0, -0.05, 10), "EPSG:4326"),
    "Web Mercator": (Affine(10, 0, 2e6, 0, -10, 8e6), "EPSG:3857"),
    "feet": (Affine(30, 0, 2e6, 0, -30, 7e5), "EPSG:2225"),
    "rotated, oblong pixels": (
        Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(10, -20),
        "EPSG:32633",
    ),
    "across the 180th meridian": (Affine(10, 0, 166_000, 0, -10, 1_800_000), "EPSG:32601"),
}


def geodesic_area_ha(polygon, crs):
    """The area by the geodesics between the polygon's corners."""

    def area(ring):
        longitude, latitude = warp_points(crs, "EPSG:4326", *np.array(ring.coords).T)
        return abs(Geod(ellps="WGS84").polygon_area_perimeter(longitude, latitude)[0])

    return (area(polygon.exterior) - sum(area(hole) for hole in polygon.interiors)) / 1e4


@pytest.mark.parametrize("place", PLACES)
def test_areas_are_those_on_the_ground(place):
    grid = grid_of_size(60, 90, *PLACES[place])
    frame = vectorise(ClassMap(speckled(60, 90), grid, MODEL1))
    assert len(frame) > 100
    expected = [geodesic_area_ha(polygon, grid.crs) for polygon in frame.geometry]
    assert frame["area_ha"].to_numpy() == pytest.approx(expected, rel=1e-3, abs=2e-5)
    assert frame["area_ha"].sum() == pytest.approx(sum(expected), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_polygons_are_the_objects_of_the_map(seed):
    classes, grid = speckled(70, 90, seed), grid_of_size(70, 90, *PLACES["rotated, oblong pixels"])
    frame = vectorise(ClassMap(classes, grid, MODEL1))
    assert tuple(frame.columns) == (*COLUMNS, "geometry")
    assert frame.crs == grid.crs
    assert frame.geometry.is_valid.all()
    assert set(frame.geom_type) == {"Polygon"}
    expected = [ndimage.label(classes == value)[1] for value in (1, 2)]  # joined by sides
    found = frame["class"].value_counts()
    assert [found["excavation"], found["preparatory work area"]] == expected
    require_agreement(frame, ClassMap(classes, grid, MODEL1))


def write_probabilities(path, numbers, grid, task=MODEL1):
    rows = RowFile(path, path)
    rows.begin(grid, np.uint16, 65535, task.target_names, scale=1e-4)
    rows.keep(0, numbers)
    return path


def test_mean_probability_is_that_of_the_polygons_class(tmp_path):
    height, width = 1100, 60  # several strips
    classes, grid = speckled(height, width), grid_of_size(height, width, *PLACES["feet"])
    classes[100:1000, 30:33] = 2  # through the strips
    random = np.random.default_rng(1)
    numbers = random.integers(0, 10_001, (3, height, width)).astype(np.uint16)
    numbers[:, classes == 255] = 65535
    numbers[2, 500:600, 30:33] = 65535  # no data in the midst of an object
    path = write_probabilities(tmp_path / "p.tif", numbers, grid)
    frame = vectorise(ClassMap(classes, grid, MODEL1), path)
    expected = []
    labels = {k: ndimage.label(classes == k)[0] for k in (1, 2)}
    for polygon, name in zip(frame.geometry, frame["class"], strict=True):
        point = polygon.representative_point()
        column, row = (int(place) for place in ~grid.transform @ (point.x, point.y))
        k = MODEL1.target_names.index(name)
        inside = labels[k] == labels[k][row, column]
        values = numbers[k][inside]
        expected.append(values[values < 65535].mean() * 1e-4)
    assert len(expected) > 1000
    assert frame["mean_probability"].to_numpy() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("place", "task"), [(1, "model1"), (0, "model2")], ids=["another grid", "another task"]
)
def test_probabilities_of_another_map_are_refused(tmp_path, place, task):
    classes, names = np.ones((30, 30), np.uint8), TASKS[task].target_names
    numbers = np.zeros((len(names), 30, 30), np.uint16)
    path = write_probabilities(tmp_path / "p.tif", numbers, grid_at(place, 30), TASKS[task])
    with pytest.raises(MinsegError, match="no probabilities of this map"):
        vectorise(ClassMap(classes, grid_at(0, 30), MODEL1), path)


@pytest.mark.parametrize("value", [None, 0, 255])
def test_a_geopackage_has_one_layer_with_the_attributes(tmp_path, value):
    classes = speckled(40, 50) if value is None else np.full((40, 50), value, np.uint8)
    frame = vectorise(ClassMap(classes, grid_of_size(40, 50, *PLACES["feet"]), MODEL1))
    assert (len(frame) > 0) == (value is None)
    assert frame["mean_probability"].isna().all()  # none is claimed
    path = tmp_path / "new" / "mine.gpkg"
    write_polygons(frame, path, MODEL1)
    write_polygons(frame, path, MODEL1)  # again
    assert names(path.parent) == ["mine.gpkg", "mine.qml"]
    assert [name for name, _ in pyogrio.list_layers(path)] == [LAYER]
    info = pyogrio.read_info(path)
    assert tuple(info["fields"]) == COLUMNS
    assert tuple(info["ogr_types"]) == ("OFTString", "OFTReal", "OFTReal")
    assert (info["geometry_type"], info["features"]) == ("Polygon", len(frame))
    assert CRS.from_user_input(info["crs"]) == CRS.from_epsg(2225)
    read = pyogrio.read_dataframe(path)
    assert read["class"].to_list() == frame["class"].to_list()
    assert np.array_equal(read["area_ha"], frame["area_ha"])
    assert read.geometry.geom_equals(frame.geometry).all()


def test_polygons_without_area_are_left_out_and_an_older_geopackage_is_kept(tmp_path):
    path = tmp_path / "mine.gpkg"
    frame = vectorise(ClassMap(np.eye(3, dtype=np.uint8), grid_at(0, 3), MODEL1))
    frame.loc[0, "geometry"] = shapely.Polygon([(0, 0), (1, 1), (0, 0)])
    frame.loc[1, "area_ha"] = 0.0
    write_polygons(frame, path, MODEL1)
    assert pyogrio.read_info(path)["features"] == 1
    before = path.read_bytes()
    frame["fid"], frame["area_ha"] = 1, 1.0  # each feature needs a number of its own
    with pytest.raises(MinsegError, match="cannot be written"):
        write_polygons(frame, path, MODEL1)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["mine.gpkg", "mine.qml"]
