"""How bands of several resolutions become one input, drawn from a scene (Figure 1)."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator
from rasterio.windows import Window

from minseg.data.bands import BANDS
from minseg.data.dataset import Dataset
from minseg.data.labels import IGNORE, Task
from minseg.data.mines import RAW_MATERIALS
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.report.scenes import NOT_ANNOTATED, paint, stretch
from minseg.report.style import (
    OTHER_STYLE,
    PART_STYLES,
    ReportFigure,
    colour_patches,
    in_style,
    mark_synthetic,
)

WIDEST_PX = 128
"""Side of the middle of a scene that is shown if it has bands coarser than its grid, pixels.

In more their pixels would not be seen. A scene without such bands is shown whole.
"""


@dataclass(frozen=True)
class Source:
    """Bands of one satellite and ground sample distance, and the pictures that stand for them."""

    satellite: str
    gsd_m: int
    colour: str
    pictures: tuple[tuple[str, ...], ...]
    """Three bands shown as red, green and blue, or one shown in grey."""

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands of this satellite and ground sample distance."""
        return tuple(
            name
            for name, band in BANDS.items()
            if band.native_gsd_m == self.gsd_m and band.is_radar == (self.satellite == "Sentinel-1")
        )


SOURCES: tuple[Source, ...] = (
    Source("Sentinel-2", 10, "#0072B2", (("B04", "B03", "B02"), ("B08",))),
    Source("Sentinel-2", 20, "#E69F00", (("B12", "B8A", "B05"), ("B11",))),
    Source("Sentinel-2", 60, "#009E73", (("B01",), ("B09",))),
    Source("Sentinel-1", 10, "#CC79A7", (("VV",), ("VH",), ("VV/(10·VH)",))),
)
"""Rows of the figure, top to bottom."""

# Inches.
_WIDTH_IN, _TOP_IN, _ROW_IN = 7.6, 0.4, 1.42
_PICTURE_IN, _GAP_IN, _LEFT_IN = 0.95, 0.08, 0.1
_STACK_LEFT_IN, _TILE_IN, _STACK_IN = 3.62, 1.2, 1.95
_LABELS_LEFT_IN, _LABELS_IN, _LEGEND_LINE_IN = 5.95, 1.5, 0.18
_SMALL = 7.5  # points


@dataclass(frozen=True)
class _Channel:
    """One band of the scene."""

    values: np.ndarray
    valid: np.ndarray
    source: Source


@in_style()
def fusion_figure(dataset: Dataset, scene: str) -> Figure:
    """Draw how the bands of a scene, each at its own resolution, become one input (Figure 1).

    Parameters
    ----------
    dataset : Dataset
    scene : str

    Returns
    -------
    matplotlib.figure.Figure
        At the left real pictures, a row per satellite and native ground sample distance that the
        scene has bands of; then all its channels, stacked on one grid; then the labels.

    Raises
    ------
    MinsegError
        If there is no such scene.
    """
    row = _row(dataset, scene)
    grid, window = _shown(dataset.grid(row), dataset.description.bands)
    channels = _channels(dataset, row, window)
    present = [one.source for one in channels.values()]
    sources = [source for source in SOURCES if source in present]
    task = Task("annotated", dataset.description.class_names)
    target = dataset.read_target(row, task, window)
    legend = {
        name: colour
        for value, (name, colour) in enumerate(
            zip(task.target_names, task.target_colours, strict=True)
        )
        if value > 0 and np.any(target == value)
    } | (NOT_ANNOTATED if np.any(target == IGNORE) else {})

    rows_in, legend_in = len(sources) * _ROW_IN, 0.15 + len(legend) * _LEGEND_LINE_IN
    middle_in = _TOP_IN + max(rows_in / 2, _STACK_IN / 2 + 0.3)
    height_in = middle_in + max(rows_in / 2, _STACK_IN / 2 + 0.6, _LABELS_IN / 2 + legend_in) + 0.1
    figure = ReportFigure(figsize=(_WIDTH_IN, height_in))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH_IN), ylim=(height_in, 0))  # inches, downwards
    axes.set_axis_off()
    axes.text(_LEFT_IN, 0.1, f"scene {scene}", fontsize=10, fontweight="bold", va="top")

    for k, source in enumerate(sources):
        offset = k - (len(sources) - 1) / 2  # in rows from the middle one
        _draw_source(axes, source, channels, middle_in + (offset - 0.5) * _ROW_IN, grid)
        y_in, num_pictures = middle_in + offset * _ROW_IN, len(_pictured(source, channels))
        right_in = _LEFT_IN + num_pictures * (_PICTURE_IN + _GAP_IN)
        bend = (_LEFT_IN + 3 * (_PICTURE_IN + _GAP_IN), y_in)
        end = (_STACK_LEFT_IN - 0.06, middle_in + 0.3 * _TILE_IN + offset * 0.25)
        _arrow(axes, [(right_in, y_in), bend, end], source.colour)
    _draw_stack(axes, channels, grid, middle_in)
    beside = _STACK_LEFT_IN + _STACK_IN
    ends_in = (beside + 0.06, _LABELS_LEFT_IN - 0.06)
    _arrow(axes, [(x_in, middle_in) for x_in in ends_in], "#777777")

    fills = dict(list(enumerate(task.target_colours))[1:]) | {IGNORE: "#FFFFFF"}
    ground = _picture(channels, _pictured(sources[0], channels)[0])
    painted = paint(ground, target, fills)
    top_in = middle_in - _LABELS_IN / 2
    axes.text(_LABELS_LEFT_IN, top_in - 0.07, "labels on that grid", va="bottom")
    _place(axes, painted, _LABELS_LEFT_IN, top_in, _LABELS_IN, grid)
    figure.legend(
        handles=colour_patches(legend),
        loc="upper left",
        bbox_to_anchor=(
            _LABELS_LEFT_IN / _WIDTH_IN,
            1 - (top_in + _LABELS_IN + 0.12) / height_in,
        ),
        fontsize=_SMALL,
    )
    mark_synthetic(figure, dataset.synthetic)
    return figure


def _row(dataset: Dataset, scene: str) -> pd.Series:
    """Find a row of the scene table."""
    rows = dataset.scenes[dataset.scenes["scene"] == scene]
    if rows.empty:
        raise MinsegError(f"{dataset.path}: has no scene {scene!r}; scenes.csv lists them")
    return rows.iloc[0]


def _shown(grid: Grid, bands: Sequence[str]) -> tuple[Grid, Window]:
    """Return the part of a grid that is shown."""
    height, width = grid.height, grid.width
    if _coarser(bands, grid):
        height, width = min(height, WIDEST_PX), min(width, WIDEST_PX)
    window = Window((grid.width - width) // 2, (grid.height - height) // 2, width, height)
    return grid.window(window), window


def _coarser(bands: Iterable[str], grid: Grid) -> bool:
    """Tell whether pixels of some bands were repeated to fill a grid, whose size may be rough."""
    return any(BANDS[band].native_gsd_m > 1.5 * grid.pixel_size_m[0] for band in bands)


def _channels(dataset: Dataset, row: pd.Series, window: Window) -> dict[str, _Channel]:
    """Read every band that the scene has, source by source."""
    channels = {}
    for source in SOURCES:
        file = "radar" if source.satellite == "Sentinel-1" else "optical"
        bands = [band for band in source.bands if band in dataset.description.bands]
        if bands and row[file]:
            inputs, valid = dataset.read_inputs(row, bands, window)
            for band, values in zip(bands, inputs, strict=True):
                channels[band] = _Channel(values, valid, source)
    return channels


def _pictured(source: Source, channels: Mapping[str, _Channel]) -> list[tuple[str, ...]]:
    """Return the bands of a source's pictures, or of one in grey if those are not there."""
    there = [bands for bands in source.pictures if set(bands) <= channels.keys()]
    return there or [(next(band for band in source.bands if band in channels),)]


def _picture(channels: Mapping[str, _Channel], bands: Sequence[str]) -> np.ndarray:
    """Stretch bands of one source: float32 (height, width, 3)."""
    return stretch(np.stack([channels[band].values for band in bands]), channels[bands[0]].valid)


def _draw_source(
    axes: Axes, source: Source, channels: Mapping[str, _Channel], top_in: float, grid: Grid
) -> None:
    """Draw a row: the names of all bands, and the pictures with their bands."""
    names = ", ".join(band for band in source.bands if band in channels)
    title = f"{source.satellite}, {source.gsd_m} m: {names}"
    axes.plot(
        [_LEFT_IN + 0.02] * 2, [top_in + 0.06, top_in + 0.19], color=source.colour, linewidth=4
    )
    axes.text(_LEFT_IN + 0.08, top_in + 0.2, title, va="bottom", fontsize=8)
    for k, bands in enumerate(_pictured(source, channels)):
        left_in = _LEFT_IN + k * (_PICTURE_IN + _GAP_IN)
        bottom_in = _place(
            axes, _picture(channels, bands), left_in, top_in + 0.25, _PICTURE_IN, grid
        )
        caption = "/".join(bands)
        axes.text(left_in, bottom_in + 0.03, caption, va="top", fontsize=7, color="#555555")


def _draw_stack(axes: Axes, channels: Mapping[str, _Channel], grid: Grid, middle_in: float) -> None:
    """Draw all channels as tiles one behind the other, the first in front at the lower left."""
    step_in = min((_STACK_IN - _TILE_IN) / max(len(channels) - 1, 1), 0.15)
    reach_in = step_in * (len(channels) - 1)
    top_in = middle_in + (reach_in - _TILE_IN) / 2  # of the tile in front
    for k, (band, channel) in reversed(list(enumerate(channels.items()))):
        left_in, tile_top_in = _STACK_LEFT_IN + k * step_in, top_in - k * step_in
        _place(
            axes, _picture(channels, [band]), left_in, tile_top_in, _TILE_IN, grid, channel.source
        )
    size_m = grid.pixel_size_m[0]
    number = f"{len(channels)} channel" + ("s" if len(channels) > 1 else "")
    above_in, below_in = top_in - reach_in - 0.07, top_in + _TILE_IN + 0.07
    axes.text(_STACK_LEFT_IN, above_in, f"{number} on one {size_m:.3g} m grid", va="bottom")
    text = f"{grid.height} × {grid.width} pixels"
    if _coarser(channels, grid):
        text += "\ncoarse pixels repeated\n(nearest neighbour)"
    axes.text(_STACK_LEFT_IN, below_in, text, va="top", fontsize=_SMALL, color="#555555")


def _place(
    axes: Axes,
    picture: np.ndarray,
    left_in: float,
    top_in: float,
    side_in: float,
    grid: Grid,
    source: Source | None = None,
) -> float:
    """Draw a picture in a square box, true to its shape on the ground; return its lower end."""
    pixel_width_m, pixel_height_m = grid.pixel_size_m
    ratio = grid.height * pixel_height_m / (grid.width * pixel_width_m)
    width_in, height_in = side_in * min(1, 1 / ratio), side_in * min(1, ratio)
    extent = (left_in, left_in + width_in, top_in + height_in, top_in)
    axes.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", zorder=1)
    colour, line = (source.colour, 1.3) if source else ("#777777", 0.6)
    axes.add_patch(
        Rectangle(
            (left_in, top_in),
            width_in,
            height_in,
            facecolor="none",
            edgecolor=colour,
            linewidth=line,
            zorder=1,
        )
    )
    return top_in + height_in


def _arrow(axes: Axes, points: Sequence[tuple[float, float]], colour: str) -> None:
    """Draw an arrow along points."""
    axes.add_patch(
        FancyArrowPatch(
            path=Path(points), arrowstyle="-|>", mutation_scale=10, color=colour, linewidth=1.3
        )
    )


WORLD = (-180.0, 180.0, -60.0, 85.0)
"""West, east, south, north of the world map, degrees: no mine is farther south."""

REGION_SPAN = 60.0
"""Mines that span less than this, degrees, are shown on a map of their region."""

LEAST_SPAN = 25.0
"""Height of the smallest region, degrees: less would show no coast, or too coarse a one."""

_WIDTH_IN_MINE_MAP = 7.2


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
    map_height_in = (_WIDTH_IN_MINE_MAP - 0.6) * (north - south) * stretch_north / (east - west)

    figure = ReportFigure(figsize=(_WIDTH_IN_MINE_MAP, map_height_in + 1.0), layout="constrained")
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
