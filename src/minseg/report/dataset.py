"""A dataset as page 01 shows it: tables, its bands as one input (Figure 1), and its classes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter
from rasterio.windows import Window

from minseg.data.bands import BANDS
from minseg.data.dataset import Dataset
from minseg.data.labels import IGNORE, Task, decode_bits
from minseg.data.mines import PARTS
from minseg.data.raster import Grid
from minseg.report import style
from minseg.report.scenes import NOT_ANNOTATED, class_colours, classes_present, paint, stretch
from minseg.study.runs import find_scene


def answer(dataset: Dataset, problems: Sequence[str]) -> str:
    """Say in Markdown what the dataset holds, how it is split, and whether it is sound."""
    mines = dataset.split["part"].value_counts()
    parts = ", ".join(f"{mines.get(part, 0)} {part}" for part in PARTS)
    found = f"{len(problems)} problem(s), listed below" if problems else "no problem"
    return (
        f"**Answer.** {len(dataset.mines)} {'synthetic ' * dataset.synthetic}mines ({parts}) in "
        f"{len(dataset.scenes)} scenes, "
        f"{len(dataset.description.class_names)} classes, {len(dataset.description.bands)} bands; "
        f"the check of all files finds {found}."
    )


def dataset_table(dataset: Dataset) -> pd.DataFrame:
    """Return what a dataset is and holds, one fact a row."""
    about = dataset.description
    years = dataset.scenes["year"].dropna()
    facts = {
        "name": about.name,
        "kind": "synthetic: made, not observed" if about.synthetic else "real imagery",
        "mines": f"{len(dataset.mines)}",
        "scenes": f"{len(dataset.scenes)}",
        "years": f"{years.min()} to {years.max()}" if len(years) else "not stated",
        "annotated classes": ", ".join(about.class_names),
        "bands": ", ".join(about.bands),
        "provenance": about.provenance,
        "licence": about.licence,
        "content hash": dataset.digest,
    }
    return pd.DataFrame({"": facts})


def part_table(dataset: Dataset) -> pd.DataFrame:
    """Return mines and scenes per part (section 2.3), with the share of all mines."""
    mines = dataset.split["part"].value_counts().reindex(PARTS, fill_value=0)
    return pd.DataFrame(
        {
            "mines": mines,
            "share of mines": (mines / mines.sum()).map("{:.0%}".format),
            "scenes used": [len(dataset.scenes_of(part)) for part in PARTS],
        }
    ).rename_axis("part")


def overlap_table(dataset: Dataset) -> pd.DataFrame:
    """Return what share of the row's train pixels carry the column's class too (section 2.2)."""
    names = dataset.description.class_names
    both = pd.DataFrame(0, index=list(names), columns=list(names))
    for _, scene in dataset.scenes_of("train").iterrows():
        labels = dataset.read_labels(scene)
        masks = np.stack([decode_bits(labels, name).ravel() for name in names]).astype(np.int64)
        both += masks @ masks.T  # pixels that carry both classes
    pixels = pd.Series(np.diag(both), index=both.index)
    occurring = pixels.index[pixels > 0]
    return both.loc[occurring, occurring].div(pixels[occurring], axis=0)


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


@style.in_style()
def fusion_figure(dataset: Dataset, scene: str) -> Figure:
    """Draw how the bands of a scene, each at its own resolution, become one input (Figure 1).

    At the left real pictures, a row per satellite and native ground sample distance that the scene
    has bands of; then all its channels, stacked on one grid; then the labels.
    """
    row = find_scene(dataset, scene)
    grid, window = _shown(dataset.grid(row), dataset.description.bands)
    channels = _channels(dataset, row, window)
    present = [one.source for one in channels.values()]
    sources = [source for source in SOURCES if source in present]
    task = Task("annotated", dataset.description.class_names)
    target = dataset.read_target(row, task, window)
    legend = classes_present(task, target)
    legend |= NOT_ANNOTATED if np.any(target == IGNORE) else {}

    rows_in, legend_in = len(sources) * _ROW_IN, 0.15 + len(legend) * _LEGEND_LINE_IN
    middle_in = _TOP_IN + max(rows_in / 2, _STACK_IN / 2 + 0.3)
    height_in = middle_in + max(rows_in / 2, _STACK_IN / 2 + 0.6, _LABELS_IN / 2 + legend_in) + 0.1
    figure = style.ReportFigure(figsize=(_WIDTH_IN, height_in))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH_IN), ylim=(height_in, 0))  # inches, downwards
    axes.set_axis_off()
    axes.text(_LEFT_IN, 0.1, f"scene {scene}", fontsize=10, fontweight="bold", va="top")

    for k, source in enumerate(sources):
        offset = k - (len(sources) - 1) / 2  # in rows from the middle one
        y_in = middle_in + offset * _ROW_IN
        right_in = _draw_source(axes, source, channels, y_in - 0.5 * _ROW_IN, grid)
        bend = (_LEFT_IN + 3 * (_PICTURE_IN + _GAP_IN), y_in)
        end = (_STACK_LEFT_IN - 0.06, middle_in + 0.3 * _TILE_IN + offset * 0.25)
        _arrow(axes, [(right_in, y_in), bend, end], source.colour)
    _draw_stack(axes, channels, grid, middle_in)
    beside = _STACK_LEFT_IN + _STACK_IN
    ends_in = (beside + 0.06, _LABELS_LEFT_IN - 0.06)
    _arrow(axes, [(x_in, middle_in) for x_in in ends_in], "#777777")

    ground = _picture(channels, _pictured(sources[0], channels)[0])
    painted = paint(ground, target, class_colours(task))
    top_in = middle_in - _LABELS_IN / 2
    axes.text(_LABELS_LEFT_IN, top_in - 0.07, "labels on that grid", va="bottom")
    _place(axes, painted, _LABELS_LEFT_IN, top_in, _LABELS_IN, grid)
    figure.legend(
        handles=style.colour_patches(legend),
        loc="upper left",
        bbox_to_anchor=(
            _LABELS_LEFT_IN / _WIDTH_IN,
            1 - (top_in + _LABELS_IN + 0.12) / height_in,
        ),
        fontsize=_SMALL,
    )
    style.mark_synthetic(figure, dataset.synthetic)
    return figure


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
) -> float:
    """Draw a row: the names of all bands, and the pictures with their bands; return its end."""
    names = ", ".join(band for band in source.bands if band in channels)
    title = f"{source.satellite}, {source.gsd_m} m: {names}"
    axes.plot(
        [_LEFT_IN + 0.02] * 2, [top_in + 0.06, top_in + 0.19], color=source.colour, linewidth=4
    )
    axes.text(_LEFT_IN + 0.08, top_in + 0.2, title, va="bottom", fontsize=8)
    left_in = _LEFT_IN
    for bands in _pictured(source, channels):
        picture, caption = _picture(channels, bands), "/".join(bands)
        bottom_in = _place(axes, picture, left_in, top_in + 0.25, _PICTURE_IN, grid)
        axes.text(left_in, bottom_in + 0.03, caption, va="top", fontsize=7, color="#555555")
        left_in += _PICTURE_IN + _GAP_IN
    return left_in


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
    frame = Rectangle((left_in, top_in), width_in, height_in, fill=False, edgecolor=colour)
    frame.set(linewidth=line, zorder=1)
    axes.add_patch(frame)
    return top_in + height_in


def _arrow(axes: Axes, points: Sequence[tuple[float, float]], colour: str) -> None:
    """Draw an arrow along points."""
    axes.add_patch(
        FancyArrowPatch(
            path=Path(points), arrowstyle="-|>", mutation_scale=10, color=colour, linewidth=1.3
        )
    )


LOG_FROM_RATIO = 100
"""Ratio of the largest share to the smallest from which the axis is logarithmic."""


@style.in_style()
def class_share_figure(shares: pd.DataFrame) -> Figure:
    """Show how much of the pixels each class covers, part by part.

    Parameters
    ----------
    shares : pandas.DataFrame
        Indexed by class name, one column per part, values 0 to 1 (`Dataset.class_shares`); NaN is
        unknown. The axis is logarithmic if the shares differ by more than `LOG_FROM_RATIO`.
    """
    values = shares.to_numpy(float)
    positive = values[values > 0]
    logarithmic = positive.size > 0 and positive.max() > LOG_FROM_RATIO * positive.min()
    thickness = 0.8 / len(shares.columns)
    height_in = 0.8 + len(shares) * max(0.25, 0.14 * len(shares.columns))

    figure = style.page_figure(7.2, height_in)
    axes = figure.add_subplot()
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(0.5 * positive.min(), min(1.0, 2 * positive.max()))
    for column, part in enumerate(shares.columns):
        offset = (column + 0.5) * thickness - 0.4
        rows = [row + offset for row in range(len(shares))]
        colour, _ = style.PART_STYLES[part]
        axes.barh(rows, shares[part].fillna(0), thickness * 0.92, color=colour, label=part)
        for row, share in zip(rows, shares[part], strict=True):
            if not share > 0:
                style.note_at_axis(axes, row, "unknown" if pd.isna(share) else "none")
    style.name_rows(axes, list(shares.index))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    axes.set_xlabel("share of pixels" + (" (logarithmic scale)" if logarithmic else ""))
    axes.grid(axis="x")
    style.legend_above(axes)
    return figure


@style.in_style()
def overlap_figure(overlaps: pd.DataFrame) -> Figure:
    """Show how far classes overlap: the shares of `overlap_table`."""
    side_in = 0.42 * max(len(overlaps), 3)
    figure = style.page_figure(side_in + 2.6, side_in + 1.7)
    axes = figure.add_subplot()
    style.write_shares(axes, overlaps, lambda s: (f"{s:.2f}" if s >= 0.005 else "< .01") * (s > 0))
    axes.set_title("share of the row's pixels that also carry the column's class")
    return figure
