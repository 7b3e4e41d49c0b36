"""Where the mines are: a still map in degrees, with land from Natural Earth (Figure 2)."""

import json
import math
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from minseg.data.mines import RAW_MATERIALS
from minseg.report.style import OTHER_STYLE, PART_STYLES, ReportFigure, in_style, mark_synthetic

WORLD = (-180.0, 180.0, -60.0, 85.0)
"""West, east, south, north of the world map, degrees: no mine is farther south."""

REGION_SPAN = 60.0
"""Mines that span less than this, degrees, are shown on a map of their region."""

LEAST_SPAN = 25.0
"""Height of the smallest region, degrees: less would show no coast, or too coarse a one."""

_WIDTH_IN = 7.2


@in_style()
def mine_map_figure(mines: pd.DataFrame, synthetic: bool = False) -> Figure:
    """Show the mines on a map, one colour and marker a part (Figure 2).

    Parameters
    ----------
    mines : pandas.DataFrame
        Columns `longitude` and `latitude` (degrees, WGS 84; a mine without them is counted in the
        title, not drawn), `part`, and perhaps `raw_material`, which the title sums up.
    synthetic : bool
        Marks the figure as made from synthetic data.

    Returns
    -------
    matplotlib.figure.Figure
    """
    located = mines.dropna(subset=["longitude", "latitude"])
    west, east, south, north = _extent(located)
    # True to scale in the middle of a region; plain degrees for the world.
    stretch_north = 1.0 if east - west > 2 * REGION_SPAN else _stretch((south + north) / 2)
    map_height_in = (_WIDTH_IN - 0.6) * (north - south) * stretch_north / (east - west)

    figure = ReportFigure(figsize=(_WIDTH_IN, map_height_in + 1.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("#F4F8FB")
    axes.add_patch(PathPatch(_land(), facecolor="#E6E3DC", edgecolor="#A9A59B", linewidth=0.6))
    parts = located["part"].fillna("no part")
    ordered = sorted(parts.unique(), key=lambda part: [*PART_STYLES, part].index(part))
    for part in ordered:
        colour, marker = PART_STYLES.get(part, OTHER_STYLE)
        axes.scatter(
            located.loc[parts == part, "longitude"],
            located.loc[parts == part, "latitude"],
            s=42 if len(located) <= 60 else 18,
            color=colour,
            marker=marker,
            edgecolor="white",
            linewidth=0.5,
            label=f"{part} ({(parts == part).sum()})",
            zorder=3,
        )
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect(stretch_north)
    _degrees(axes)
    axes.set_title(_summary(mines, len(located)))
    if ordered:
        figure.legend(loc="outside lower center", ncols=len(ordered), borderaxespad=0.7)
    mark_synthetic(figure, synthetic)
    return figure


def _land() -> Path:
    """Read the land outlines, degrees, lakes cut out."""
    text = files("minseg.report").joinpath("land.geojson").read_text(encoding="utf-8")
    geometry = json.loads(text)["features"][0]["geometry"]
    rings = [Path(np.array(ring), closed=True) for land in geometry["coordinates"] for ring in land]
    return Path.make_compound_path(*rings)


def _stretch(latitude: float) -> float:
    """Return how much longer a degree of latitude is than one of longitude."""
    return 1 / max(math.cos(math.radians(latitude)), 0.3)


def _extent(located: pd.DataFrame) -> tuple[float, float, float, float]:
    """Choose west, east, south and north of the map, degrees."""
    if located.empty:
        return WORLD
    west, south = located[["longitude", "latitude"]].min()
    east, north = located[["longitude", "latitude"]].max()
    if max(east - west, north - south) >= REGION_SPAN:
        return WORLD[0], WORLD[1], min(WORLD[2], south - 5), max(WORLD[3], north + 3)
    width = 1.3 * (east - west)
    height = max(1.3 * (north - south), LEAST_SPAN)
    # From 3:2 to 2:1 on the ground, by widening.
    stretch_north = _stretch((south + north) / 2)
    width = max(width, 1.5 * height * stretch_north)
    height = max(height, width / stretch_north / 2)
    west, east = _slide((west + east) / 2, width, 180)
    south, north = _slide((south + north) / 2, height, 90)
    return west, east, south, north


def _slide(centre: float, span: float, limit: float) -> tuple[float, float]:
    """Return the ends of a span about a centre, moved so as to stay within ±limit."""
    span = min(span, 2 * limit)
    start = min(max(centre - span / 2, -limit), limit - span)
    return start, start + span


def _degrees(axes: Axes) -> None:
    """Label both axes in degrees with compass letters, over a light grid."""
    for axis, positive, negative in ((axes.xaxis, "E", "W"), (axes.yaxis, "N", "S")):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 5, 6, 10]))
        axis.set_major_formatter(FuncFormatter(partial(_degree_label, positive, negative)))
    axes.grid(linewidth=0.4, color="#D5D5D5")


def _degree_label(positive: str, negative: str, value: float, _position: int) -> str:
    """Write degrees with the letter of their side; zero has none."""
    return f"{abs(value):g}°" + (f" {positive if value > 0 else negative}" if value else "")


def _summary(mines: pd.DataFrame, num_located: int) -> str:
    """Count the mines, by raw material if it is given, and those without a place."""
    text = f"{len(mines)} mine{'' if len(mines) == 1 else 's'}"
    if "raw_material" in mines and len(mines):
        names = mines["raw_material"].map(RAW_MATERIALS).fillna("unknown material")
        text += ": " + ", ".join(f"{count} {name}" for name, count in names.value_counts().items())
    if num_located < len(mines):
        text += f"\n{len(mines) - num_located} without coordinates not shown"
    return text
