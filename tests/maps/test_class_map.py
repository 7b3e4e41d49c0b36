import json
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from affine import Affine
from matplotlib.colors import to_hex
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.labels import TASKS, parse_task, task_target
from minseg.data.raster import Grid
from minseg.maps.class_map import (
    FILL_ALPHA,
    TASK_TAG,
    ClassMap,
    read_class_map,
    values_present,
    write_class_map,
    write_style,
    write_task_style,
)
from minseg.maps.polygons import vectorise, write_polygons
from tests.conftest import grid_at

MODEL3 = TASKS["model3"]
DEGREES = Grid(90, 130, Affine(1e-4, 0, 15, 0, -1e-4, 50), CRS.from_epsg(4326))


def class_numbers(task, height, width):
    numbers = np.random.default_rng(0).integers(0, task.num_classes, (height, width))
    if task.overlapping:
        numbers = task_target(np.random.default_rng(0).integers(0, 1024, (height, width)), task)
    numbers[:7] = task.ignore
    return numbers.astype(task.dtype)


@pytest.mark.parametrize(
    "name", ["model1", "model3", "model4", "dam,excavation", "all", "dam+excavation"]
)
def test_what_was_written_is_read(tmp_path, name):
    task = parse_task(name)
    classes = class_numbers(task, 90, 130)
    write_class_map(tmp_path / "new" / "map.tif", classes, DEGREES, task)
    found = read_class_map(tmp_path / "new" / "map.tif")
    assert np.array_equal(found.classes, classes)
    assert found.classes.dtype == task.dtype
    assert found.task == task
    assert found.grid.matches(DEGREES)


@pytest.mark.parametrize("name", ["model1", "dam+excavation"])
def test_a_map_seen_from_afar_holds_no_class_that_is_not_there(tmp_path, name):
    task, path = parse_task(name), tmp_path / "map.tif"
    write_class_map(path, class_numbers(task, 1024, 1024), grid_at(0, 1024), task)
    with rasterio.open(path) as source:
        assert source.overviews(1) == [2]
        assert set(np.unique(source.read(1, out_shape=(512, 512)))) <= set(
            np.unique(source.read(1))
        )


def damage(path, **changes):
    """Write a class map anew with some of its properties changed."""
    with rasterio.open(path) as source:
        task = changes.pop("task", source.tags()[TASK_TAG])
        kept = {key: source.profile[key] for key in ("height", "width", "transform", "crs")}
        numbers = source.read(1)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8"} | kept | changes
    with rasterio.open(path, "w", **profile) as target:
        for band in target.indexes:
            target.write(numbers.astype(profile["dtype"]), band)
        if task:
            target.update_tags(**{TASK_TAG: task})


DAMAGES = {
    "two bands": ({"count": 2}, r"is no class map \(has 2 band"),
    "floats": ({"dtype": "float32"}, r"of float32 for one of uint8"),
    "no tag": ({"task": None}, r"is no class map \(tag"),
    "background as no data": ({"nodata": 0}, "its no data is 0 for 255"),
    "a task of another program": ({"task": "trees"}, r"map.tif: is no class map .*'trees'"),
    "nowhere": ({"crs": None}, "has no coordinate reference system"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_other_rasters_are_refused_in_one_line(tmp_path, case):
    changes, message = DAMAGES[case]
    path = tmp_path / "map.tif"
    write_class_map(path, class_numbers(TASKS["model1"], 64, 64), grid_at(0), TASKS["model1"])
    damage(path)
    read_class_map(path)  # what follows is due to the damage alone
    damage(path, **dict(changes))
    with pytest.raises(MinsegError, match=message):
        read_class_map(path)


def test_bits_of_another_task_and_class_numbers_are_no_map_of_overlapping_classes(tmp_path):
    path, task = tmp_path / "map.tif", parse_task("dam+excavation")
    write_class_map(path, class_numbers(task, 64, 64), grid_at(0), task)
    with rasterio.open(path) as source:
        assert (source.nodata, source.tags()["BIT_8"]) == (65535, "dam")
        assert values_present(path) == [0, 1, 256, 257]
    damage(path, dtype="uint16")
    read_class_map(path)
    damage(path, dtype="uint16", task="excavation+stockpile")
    with pytest.raises(MinsegError, match=r"which is no class of excavation\+stockpile"):
        read_class_map(path)
    damage(path, task="excavation+dam")
    with pytest.raises(MinsegError, match=r"of uint8 for one of uint16"):
        read_class_map(path)


def test_what_a_mask_hides_is_no_data(tmp_path):
    path = tmp_path / "map.tif"
    write_class_map(path, np.ones((64, 64), np.uint8), grid_at(0), TASKS["model1"])
    damage(path)
    shown = np.arange(64)[:, None] * np.ones(64) > 20
    with rasterio.open(path, "r+") as target:
        target.write_mask(shown)
    assert np.array_equal(read_class_map(path).classes, np.where(shown, 1, 255))


def test_reading_takes_little_more_than_a_byte_a_pixel(tmp_path):
    for name, side in (("small.tif", 100), ("large.tif", 6000)):
        zeros = np.zeros((side, side), np.uint8)
        write_class_map(tmp_path / name, zeros, grid_at(0, side), TASKS["model1"])
    program = (
        "from pathlib import Path; from minseg.maps.class_map import *;"
        "from minseg.learning.device import peak_memory_mib as peak;"
        "read_class_map(Path('small.tif')); before = peak();"
        "read_class_map(Path('large.tif')); print((peak() - before) * 2**20)"
    )
    command, how = [sys.executable, "-c", program], {"capture_output": True, "text": True}
    answer = subprocess.run(command, cwd=tmp_path, check=True, **how)
    assert int(answer.stdout) < 2.5 * 6000**2  # its numbers, and GDAL's cache of them


def read_style(path):
    """Field, and (value, label, fill, opacity of the fill) of each category, as QGIS has them."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE qgis ")
    renderer = ElementTree.fromstring(text).find("renderer-v2")
    assert renderer.get("type") == "categorizedSymbol"
    symbols = {symbol.get("name"): symbol for symbol in renderer.find("symbols")}
    found = []
    for category in renderer.find("categories"):
        symbol = symbols[category.get("symbol")]
        assert (symbol.get("type"), category.get("render")) == ("fill", "true")
        layer = symbol.find("layer")
        assert layer.get("class") == "SimpleFill"
        options = {option.get("name"): option.get("value") for option in layer.iter("Option")}
        properties = {prop.get("k"): prop.get("v") for prop in layer.iter("prop")}
        assert properties.items() <= options.items()  # older and newer QGIS see the same
        *rgb, alpha = map(int, properties["color"].split(","))
        colour = to_hex([level / 255 for level in rgb])
        found.append((category.get("value"), category.get("label"), colour, alpha))
    return renderer.get("attr"), found


def test_categories_are_written_as_given(tmp_path):
    path, labels = tmp_path / "new" / "change.qml", ("gained <2 years> & more", "verloren: é")
    write_style(path, "change", {"gained": (labels[0], "#D55E00"), "lost": (labels[1], "blue")})
    field, categories = read_style(path)
    assert field == "change"
    assert categories == [
        ("gained", labels[0], "#d55e00", FILL_ALPHA),
        ("lost", labels[1], "#0000ff", FILL_ALPHA),
    ]


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_tasks_style_names_and_colours_polygons_and_pixels(tmp_path, task):
    path = tmp_path / "mine.qml"
    write_task_style(path, task)
    colours = [colour.lower() for colour in task.target_colours]
    field, categories = read_style(path)
    assert field == "class"
    assert categories == [
        (name, name, colour, FILL_ALPHA)
        for name, colour in zip(task.target_names[1:], colours[1:], strict=True)
    ]
    renderer = ElementTree.parse(path).getroot().find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    palette = [
        tuple(entry.get(key) for key in ("value", "label", "color", "alpha"))
        for entry in renderer.find("colorPalette")
    ]
    assert palette == [
        (str(value), name, colours[value], "255" if value else "0")
        for value, name in enumerate(task.target_names)
    ]


QGIS_PROGRAM = """
import json, os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from qgis.core import QgsApplication, QgsRasterLayer, QgsVectorLayer

folder = sys.argv[1]
application = QgsApplication([], False)
application.initQgis()
layers = {
    "polygons": QgsVectorLayer(folder + "/mine.gpkg", "polygons", "ogr"),
    "map": QgsRasterLayer(folder + "/mine.tif", "map"),
}
renderer = layers["polygons"].renderer()
found = {
    "types": [layer.renderer().type() for layer in layers.values()],
    "legend": [[c.value(), c.label(), c.symbol().color().name()] for c in renderer.categories()],
    "palette": [[c.value, c.label, c.color.name()] for c in layers["map"].renderer().classes()],
}
print(json.dumps(found), flush=True)
os._exit(0)  # leaving it to Python ends in a crash of the layers
"""


def test_qgis_shows_names_and_colours_by_itself(tmp_path):
    for python in ("/usr/bin/python3", shutil.which("python3")):
        look = [str(python), "-c", "import qgis.core"]
        if python and subprocess.run(look, capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("QGIS is not installed here; the other tests read the style's XML")
    classes = np.repeat(np.arange(8, dtype=np.uint8), 8)[None, :].repeat(64, axis=0)  # stripes
    write_class_map(tmp_path / "mine.tif", classes, grid_at(0), MODEL3)
    write_polygons(vectorise(ClassMap(classes, grid_at(0), MODEL3)), tmp_path / "mine.gpkg", MODEL3)
    program = [python, "-c", QGIS_PROGRAM, str(tmp_path)]
    answer = subprocess.run(program, capture_output=True, text=True)
    found = json.loads(answer.stdout.splitlines()[-1])
    colours = [colour.lower() for colour in MODEL3.target_colours]
    entries = [*zip(MODEL3.target_names, colours, strict=True)]
    assert found["types"] == ["categorizedSymbol", "paletted"]
    assert found["legend"] == [[name, name, colour] for name, colour in entries[1:]]
    assert found["palette"] == [[k, name, colour] for k, (name, colour) in enumerate(entries)]
