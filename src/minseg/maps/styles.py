"""QGIS styles (``.qml``): names, colours and legend of polygons and class maps."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from matplotlib.colors import to_rgb

from minseg.atomic import write_text
from minseg.data.labels import Task

FILL_ALPHA = 140
"""Opacity of a polygon's fill, of 255: the image below shows through."""

_TEXTS = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_style(
    path: Path,
    field: str,
    categories: Mapping[str, tuple[str, str]],
    palette: Mapping[int, tuple[str, str]] | None = None,
) -> None:
    """Write a QGIS style that colours polygons by a field: value to label and colour.

    QGIS applies it by itself to a file of the same name beside it. A palette colours a class map.
    """
    text = _TEXTS.get_template("style.qml").render(
        field=field,
        categories=categories,
        palette=palette,
        rgb=lambda colour: ",".join(str(round(255 * level)) for level in to_rgb(colour)),
        fill_alpha=FILL_ALPHA,
    )
    write_text(path, f"{text}\n")


def write_task_style(path: Path, task: Task, values: Iterable[int] | None = None) -> None:
    """Write the QGIS style of a task's polygons and of its class map, for the values it has.

    One file serves both, so that ``mine.tif`` and ``mine.gpkg`` may lie side by side. The map's
    background is transparent, and no data always are.
    """
    classes = zip(task.target_names[1:], task.target_colours[1:], strict=True)
    values = range(0 if task.overlapping else task.num_classes) if values is None else values
    categories = {name: (name, colour) for name, colour in classes}
    write_style(path, "class", categories, {value: task.legend(value) for value in values})
