import json
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex

from minseg.data.labels import TASKS
from minseg.maps.class_map import ClassMap, write_class_map
from minseg.maps.polygons import vectorise, write_polygons
from minseg.maps.styles import FILL_ALPHA, write_style, write_task_style
from tests.conftest import grid_at

MODEL3 = TASKS["model3"]


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
