import json
import re
from base64 import b64decode
from html import unescape
from io import BytesIO

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from bs4 import BeautifulSoup
from IPython.core.formatters import DisplayFormatter
from PIL import Image
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points
from shapely.geometry import box, shape

from minseg.data.labels import IGNORE, parse_task
from minseg.data.raster import Grid, grid_of
from minseg.errors import MinsegError
from minseg.maps.class_map import ClassMap
from minseg.maps.polygons import vectorise
from minseg.report import web_map as maps
from minseg.report.style import PART_STYLES
from tests.browser import open_browser
from tests.conftest import NASTY, write_small_dataset

TASK = parse_task("model1")
WHITE = {1: "#FFFFFF"}


def utm_grid(side=100, left=500_000, top=5_000_000, zone=32633):
    return Grid(side, side, Affine(10, 0, left, 0, -10, top), CRS.from_epsg(zone))


def squares(grid, first=(20, 40), second=(60, 70)):
    """Excavation, and preparatory work area beside it."""
    classes = np.zeros((grid.height, grid.width), np.uint8)
    classes[20:50, slice(*first)] = 1
    classes[20:50, slice(*second)] = 2
    return ClassMap(classes, grid, TASK)


def picture_of(grid, bands=3):
    return np.random.default_rng(0).uniform(0.02, 0.3, (bands, grid.height, grid.width))


def page_of(shown):
    """The document inside the frame that a notebook shows."""
    frame = shown._repr_html_()
    return unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])


def loads(page):
    """Addresses that a browser would fetch to show a document."""
    tags = BeautifulSoup(page, "html.parser").find_all(True)
    names = ("src", "data", "poster")
    found = [tag[name] for tag in tags for name in names if tag.has_attr(name)]
    found += [tag["href"] for tag in tags if tag.name == "link"]
    return found + re.findall(r"@import|url\((?!#)[^)]*\)", page)


def layer_names(page):
    control = page[page.index("base_layers :") : page.index("L.control.layers(")]
    return [json.loads(name) for name in re.findall(r'^\s+("[^"]*") :', control, re.M)]


def pixel_of(overlay, longitude, latitude):
    """Fractional column and row of a place, found by an oracle: PROJ's own EPSG:3857."""
    (south, west), (north, east) = overlay.bounds
    xs, ys = warp_points(
        "EPSG:4326", "EPSG:3857", [west, east, longitude], [south, north, latitude]
    )
    height, width, _ = overlay.pixels.shape
    return width * (xs[2] - xs[0]) / (xs[1] - xs[0]), height * (ys[1] - ys[2]) / (ys[1] - ys[0])


@pytest.mark.parametrize(
    "grid",
    [
        utm_grid(),
        utm_grid(zone=32733, top=7_000_000, left=300_000),
        Grid(80, 120, Affine(1e-4, 0, -44.1, 0, -1e-4, -20.1), CRS.from_epsg(4326)),
        Grid(90, 90, Affine(8, 6, 500_000, 6, -8, 7_500_000), CRS.from_epsg(32635)),
    ],
    ids=["north", "south", "degrees", "rotated"],
)
def test_an_overlay_lies_where_the_scene_lies(grid):
    spots = [(15, 15), (grid.height - 16, 15), (40, grid.width - 16), (grid.height // 2, 50)]
    for row, column in spots:
        values = np.zeros((grid.height, grid.width), np.uint8)
        values[row - 2 : row + 3, column - 2 : column + 3] = 1
        overlay = maps.lay_on_mercator(maps.class_pixels(values, WHITE), grid)
        rows, columns = np.nonzero(overlay.pixels[..., 3])
        x, y = grid.transform @ (column + 0.5, row + 0.5)
        (longitude,), (latitude,) = warp_points(grid.crs, "EPSG:4326", [x], [y])
        expected = pixel_of(overlay, longitude, latitude)
        assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(expected, abs=0.7)


def test_bounds_are_those_of_the_scene_and_a_large_one_is_thinned():
    grid = utm_grid(side=3000)
    overlay = maps.lay_on_mercator(maps.class_pixels(np.ones((3000, 3000), np.uint8), WHITE), grid)
    west, south, east, north = grid.bounds_lonlat
    expected = pytest.approx([south, west, north, east], abs=(east - west) / maps.MAX_SIDE)
    assert [*overlay.bounds[0], *overlay.bounds[1]] == expected
    assert max(overlay.pixels.shape) == maps.MAX_SIDE
    assert (overlay.pixels[..., 3] > 0).mean() > 0.9


def test_a_scene_across_the_antimeridian_stays_in_one_piece():
    (x,), (y,) = warp_points("EPSG:4326", "EPSG:32660", [180.0], [-17.0])
    grid = utm_grid(side=60, left=x - 300, top=y, zone=32660)
    overlay = maps.lay_on_mercator(maps.class_pixels(np.ones((60, 60), np.uint8), WHITE), grid)
    (_, west), (_, east) = overlay.bounds
    assert 0.005 < east - west < 0.01
    assert west < round(west) < east
    assert round(west) % 360 == 180
    assert (overlay.pixels[..., 3] > 0).mean() > 0.95
    shown = maps.polygon_features(
        vectorise(squares(grid, (20, 40), (45, 58))), maps.central_meridian(grid)
    )
    for feature in shown["features"]:
        left, _, right, _ = shape(feature["geometry"]).bounds
        assert west < left < right < east


def test_colours_and_gaps_survive_packing():
    grid = utm_grid()
    values = squares(grid).classes
    values[:10] = IGNORE
    overlay = maps.lay_on_mercator(maps.class_pixels(values, {1: "#CC6677", 2: "#999933"}), grid)
    kind, packed = overlay.address.split(",")
    assert kind == "data:image/webp;base64"
    opaque = overlay.pixels[..., 3] > 0
    unpacked = np.asarray(Image.open(BytesIO(b64decode(packed))))
    assert np.array_equal(unpacked[opaque], overlay.pixels[opaque])
    assert np.array_equal(unpacked[..., 3] > 0, opaque)
    colours = {tuple(colour) for colour in overlay.pixels[opaque][:, :3]}
    assert colours == {(0xCC, 0x66, 0x77), (0x99, 0x99, 0x33)}


def test_an_image_is_seen_through_where_it_has_no_data():
    image = picture_of(utm_grid())
    image[:, :10] = 0
    image[1, 50, 50] = np.nan
    opacity = maps.image_pixels(image)[..., 3]
    assert not opacity[:10].any()
    assert opacity[50, 50] == 0
    assert np.count_nonzero(opacity) == 90 * 100 - 1


def test_what_lies_nowhere_or_on_another_grid_is_refused():
    grid = Grid(50, 50, Affine.identity(), None)
    nowhere = gpd.GeoDataFrame({"class": ["excavation"]}, geometry=[box(0, 0, 1, 1)])
    with pytest.raises(MinsegError, match=r"no coordinate reference system.*rio edit-info"):
        maps.raster_map(ClassMap(np.zeros((50, 50), np.uint8), grid, TASK))
    with pytest.raises(MinsegError, match="polygons have no coordinate reference system"):
        maps.raster_map(squares(utm_grid()), polygons=nowhere)
    with pytest.raises(MinsegError, match="differ"):
        maps.change_map(squares(utm_grid()), squares(utm_grid(left=500_010)))


def test_a_page_loads_nothing_but_tiles(dataset, perfect_run):
    mine = perfect_run.scores_by_mine().index[0]
    one, other = squares(utm_grid()), squares(utm_grid(), (20, 45))
    shown = [
        maps.mine_locations_map(dataset),
        maps.prediction_map(perfect_run, dataset, mine),
        maps.change_map(one, other),
        maps.raster_map(one, picture_of(one.grid), vectorise(one)),
    ]
    tiles = "https://tile.openstreetmap.org/{z}/{x}/{y}.png"
    licence = "Redistributions in binary form must reproduce the above copyright notice"
    frame, _ = DisplayFormatter().format(shown[0])
    assert frame["text/html"].startswith('<iframe title="Map of the 14 mines of squares" ')
    for k, page in enumerate(map(page_of, shown)):
        assert loads(page) == []
        assert page.count("Leaflet 1.9.4") == 1 and licence in page
        # Places that were made up lie among no real ones.
        assert ("\\u003eSYNTHETIC\\u003c" in page) == (k < 2)
        own = page[page.index("L_NO_TOUCH = ") :]  # after Leaflet's own text
        links = set(re.findall(r"https?://[^\s\"'\\]+", own)) - {"https://leafletjs.com"}
        assert links == (set() if k < 2 else {tiles, "https://www.openstreetmap.org/copyright"})
        assert len(page) < 400_000


def test_mines_are_layers_of_their_parts_over_the_land(dataset):
    document = json.loads(maps._text("land.geojson"))
    land = shape(document["features"][0]["geometry"])
    assert "Natural Earth" in document["source"] and document["licence"] == "Public domain"
    assert land.is_valid and land.contains_properly(shapely.Point(21.0, 52.2))  # Warsaw
    assert not land.contains(shapely.Point(-30, 30))  # the Atlantic
    page = page_of(maps.mine_locations_map(dataset))
    assert layer_names(page) == ["train", "validation", "test"]
    sizes = dataset.split["part"].value_counts()
    for part, (colour, _) in PART_STYLES.items():
        assert f"{part} ({sizes[part]})" in page
        assert page.count(f'"part": "{part}"') == sizes[part]
        assert f'"fillColor": "{colour}"' in page
    assert page.count('"years": "2019, 2020"') == 14


def test_predictions_are_switched_over_the_image(dataset, perfect_run):
    mine = perfect_run.scores_by_mine()["iou"].idxmin()
    page = page_of(maps.prediction_map(perfect_run, dataset, mine))
    assert layer_names(page) == ["truth", "prediction", "agreement", "image only", "image"]
    assert "false negative" in page
    assert "false positive" not in page  # the run predicts nothing for that mine


def test_change_has_a_layer_for_each_class_present():
    one, other = squares(utm_grid()), squares(utm_grid(), (20, 45))
    images = (picture_of(one.grid), picture_of(one.grid))
    page = page_of(maps.change_map(one, other, images, synthetic=True))
    changes = ["change: excavation", "change: preparatory work area"]
    choices = ["before", "after", "image only"]
    assert layer_names(page) == [*changes, *choices, "image before", "image after"]
    empty = ClassMap(np.zeros_like(one.classes), one.grid, TASK)
    assert layer_names(page_of(maps.change_map(empty, empty, synthetic=True))) == choices


def test_change_of_a_class_that_lies_under_another_has_a_layer_too():
    task = parse_task("excavation+dam")
    classes = np.zeros((100, 100), np.uint16)
    classes[20:50, 20:40] = task.value("excavation") | task.value("dam")
    one = ClassMap(classes, utm_grid(), task)
    names = layer_names(page_of(maps.change_map(one, one)))
    assert names[:2] == ["change: excavation", "change: dam"]


def test_popups_of_polygons_say_what_is_known():
    class_map = squares(utm_grid())
    polygons = vectorise(class_map)
    page = page_of(maps.raster_map(class_map, polygons=polygons))
    assert '"area_ha": 6.0' in page
    assert "NaN" not in page[page.index("L.geoJson") :]  # no probabilities were kept
    page = page_of(maps.raster_map(class_map, polygons=polygons.assign(mean_probability=0.87654)))
    assert page.count('"mean_probability": 0.877') == 2
    empty = polygons.iloc[:0]
    assert "L.geoJson" not in page_of(maps.raster_map(class_map, polygons=empty))


def test_of_very_many_polygons_the_largest_are_drawn():
    class_map = squares(utm_grid())
    number = np.arange(maps.MOST_POLYGONS + 5)
    small = number % 300 == 7
    assert small.sum() == 7
    left, side = 500_000 + 10.0 * number, np.where(small, 1.0, 8.0)
    boxes = shapely.box(left, 0, left + side, side)
    names = np.where(small, TASK.target_names[2], TASK.target_names[1])
    polygons = gpd.GeoDataFrame({"class": names}, geometry=boxes, crs=class_map.grid.crs)
    page = page_of(maps.raster_map(class_map, polygons=polygons))
    assert "2000 largest of 2005 polygons" in layer_names(page)
    assert page.count('"class": "excavation"') == 1998
    assert page.count('"class": "preparatory work area"') == 2
    page = page_of(maps.raster_map(class_map, polygons=polygons.iloc[:2000]))
    assert "polygons" in layer_names(page)


def test_names_are_text_not_markup_and_no_template(tmp_path):
    """Branca compiles a finished script as a template once more."""
    wicked_columns = {"name": NASTY, "country": NASTY}
    dataset = write_small_dataset(tmp_path / "wicked", len(NASTY), (2020,), **wicked_columns)
    page = page_of(maps.mine_locations_map(dataset))
    shown = [json.loads(name) for name in re.findall(r'"mine": ("(?:[^"\\]|\\.)*")', page)]
    assert sorted(map(unescape, shown)) == sorted(NASTY)
    for wicked in NASTY:
        group = {wicked: {wicked: "#FFFFFF"}}
        title = maps.EmbeddedMap(wicked, group, synthetic=True, attribution=wicked)
        own = page_of(title.finish(((0, 0), (1, 1)))).partition("L_NO_TOUCH = ")[2]
        assert unescape(json.loads(re.search(r"addAttribution\((.*)\);", own)[1])) == wicked
        assert "<script>alert" not in title._repr_html_()


def test_in_a_browser(tmp_path):
    """Every layer is drawn, a wicked name does no harm, and a click opens a popup."""
    wicked = "<img src=x onerror='window.harmed = true'>{{7*7}}{#3{% raw %}&lt;`${1}`"
    dataset = write_small_dataset(tmp_path / "wicked", 8, (2020,), name=wicked)
    one, other = squares(utm_grid()), squares(utm_grid(), (20, 45))
    image = picture_of(one.grid)
    shown = [
        maps.mine_locations_map(dataset),
        maps.change_map(one, other, (image, image), synthetic=True),
        maps.raster_map(one, image, vectorise(one)),
    ]
    path = tmp_path / "page.html"
    path.write_text("<!doctype html>" + "".join(one._repr_html_() for one in shown))
    question = """(() => {
        const frame = document.querySelector("iframe");
        const inside = frame.contentDocument;
        const mine = inside.querySelector("path.leaflet-interactive");
        mine.dispatchEvent(new MouseEvent("click", {bubbles: true}));
        const text = inside.querySelector(".leaflet-popup-content").innerText;
        return [text, frame.contentWindow.harmed ?? false];
    })()"""
    with open_browser(tmp_path / "profile") as browser:
        page = browser.visit(path, question)
    assert page.errors == []
    assert page.broken == []
    assert {address.split("/")[2] for address in page.requests} == {"tile.openstreetmap.org"}
    assert [len(found["layers"]) for found in page.maps] == [3, 7, 4]
    for found in page.maps:
        assert all(found["layers"].values()), found
        assert found["title"] == found["label"]
        assert found["height"] == 480
        assert "m" in found["scale"]
        assert "Leaflet" in found["attribution"]
    assert "squares, none needed" in page.maps[0]["attribution"]
    assert [found["mark"] for found in page.maps] == ["SYNTHETIC", "SYNTHETIC", None]
    assert page.maps[2]["legend"].split("\n") == ["classes", *TASK.target_names[1:]]
    text, harmed = page.answer
    assert wicked in text
    assert "rock raw materials" in text
    assert not harmed


def test_a_real_site(shared_data):
    """A facility's outline lies on its pixels, and its page stays small."""
    chip = shared_data / "tailings_brazil" / "masks" / "mask_0.tif"
    with rasterio.open(chip) as source:
        class_map = ClassMap(
            source.read(1), grid_of(source), parse_task("tailing storage facility")
        )
    polygons = vectorise(class_map)
    overlay = maps.lay_on_mercator(maps.class_pixels(class_map.classes, WHITE), class_map.grid)
    shown = maps.polygon_features(polygons, maps.central_meridian(class_map.grid))
    expected = polygons.to_crs("EPSG:4326").geometry
    for feature, geometry in zip(shown["features"][:20], expected, strict=False):
        assert shape(feature["geometry"]).hausdorff_distance(geometry) < 1e-6
        digits = re.findall(r"\d+\.(\d+)", json.dumps(feature["geometry"]))
        assert max(map(len, digits)) <= 6
        inside = shape(feature["geometry"]).representative_point()
        column, row = pixel_of(overlay, inside.x, inside.y)
        assert overlay.pixels[round(row - 0.5), round(column - 0.5), 3] > 0
    assert len(page_of(maps.raster_map(class_map, polygons=polygons))) < 400_000
