"""QGIS styles (``.qml``): names, colours and legend of polygons and class maps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from matplotlib.colors import to_rgb

from minseg.atomic import write_text
from minseg.data.labels import Task

CLASS_FIELD = "class"
"""Attribute of a polygon by which it is coloured."""

FILL_ALPHA = 140
"""Opacity of a polygon's fill, of 255: the image below shows through."""

OUTLINE_WIDTH_MM = 0.4

_QGIS_VERSION = "3.22.0"  # the long-term release whose form of a style is written


def write_style(
    path: Path,
    field: str,
    categories: Mapping[str, tuple[str, str]],
    palette: Mapping[int, tuple[str, str]] | None = None,
) -> None:
    """Write a QGIS style that colours polygons by a field: value to label and colour.

    QGIS applies it by itself to a file of the same name in the same folder. With a palette, value
    to label and colour, it colours a class map too.
    """
    root = Element("qgis", version=_QGIS_VERSION, styleCategories="Symbology")
    if palette:
        _add_palette(root, palette)
    _add_categories(root, field, categories)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    write_text(path, f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}\n")


def write_task_style(path: Path, task: Task, values: Iterable[int] | None = None) -> None:
    """Write the QGIS style of a task's polygons and of its class map, for the values it has.

    One file serves both, so that ``mine.tif`` and ``mine.gpkg`` may lie side by side: of a style
    QGIS reads the part that fits the layer. The background of the class map is transparent, and
    no data always are.
    """
    classes = zip(task.target_names[1:], task.target_colours[1:], strict=True)
    values = range(0 if task.overlapping else task.num_classes) if values is None else values
    categories = {name: (name, colour) for name, colour in classes}
    write_style(path, CLASS_FIELD, categories, {value: task.legend(value) for value in values})


def _add_categories(root: Element, field: str, categories: Mapping[str, tuple[str, str]]) -> None:
    """Add the part that QGIS reads for a vector layer."""
    renderer = SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=field, symbollevels="0", forceraster="0"
    )
    listed, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for number, (value, (label, colour)) in enumerate(categories.items()):
        name = str(number)
        named = {"symbol": name, "value": value, "label": label}
        SubElement(listed, "category", named, render="true", type="string")
        _add_symbol(symbols, name, colour)


def _add_symbol(symbols: Element, name: str, colour: str) -> None:
    """Add a translucent fill with an outline of the same colour."""
    symbol = SubElement(
        symbols, "symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0"
    )
    layer = SubElement(
        symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0", **{"pass": "0"}
    )
    options = SubElement(layer, "Option", type="Map")
    rgb = ",".join(str(round(255 * level)) for level in to_rgb(colour))
    for key, value in {
        "color": f"{rgb},{FILL_ALPHA}",
        "joinstyle": "bevel",
        "outline_color": f"{rgb},255",
        "outline_style": "solid",
        "outline_width": str(OUTLINE_WIDTH_MM),
        "outline_width_unit": "MM",
        "style": "solid",
    }.items():
        SubElement(options, "Option", name=key, type="QString", value=value)
        SubElement(layer, "prop", k=key, v=value)  # what QGIS before 3.18 reads


def _add_palette(root: Element, values: Mapping[int, tuple[str, str]]) -> None:
    """Add the part that QGIS reads for a raster layer."""
    opaque = {"opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    pipe = SubElement(root, "pipe")
    renderer = SubElement(pipe, "rasterrenderer", opaque, type="paletted", band="1")
    palette = SubElement(renderer, "colorPalette")
    for value, (name, colour) in values.items():
        named = {"value": str(value), "label": name, "color": colour.lower()}
        SubElement(palette, "paletteEntry", named, alpha="255" if value else "0")
