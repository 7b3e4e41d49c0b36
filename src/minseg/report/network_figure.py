"""A network drawn from its recorded stages: encoder down, decoder up, skips across (Figure 4)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path

from minseg.errors import MinsegError
from minseg.report.style import ReportFigure, colour_patches, in_style

PART_COLOURS: dict[str, str] = {
    "input and output": "#999999",
    "encoder": "#56B4E9",
    "decoder": "#E69F00",
}
"""Colours of the boxes, by what the stage belongs to."""

SKIP_COLOUR = "#009E73"

_WIDTH_IN, _LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 7.6, 0.95, 0.15, 0.6, 0.45
_ROW_GAP_IN, _ARC_IN = 0.46, 0.3
_TALLEST_IN = 0.85
_FLOW_COLOUR = "#777777"


@dataclass(frozen=True)
class _Box:
    """Where a stage is drawn: its middle, and its size, inches from the upper left."""

    x: float
    y: float
    width: float
    height: float


@in_style()
def network_figure(anatomy: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw a network as boxes, each the output of a stage, and arrows (Figure 4).

    Rows are image sizes, the full one on top; columns follow the order of computation. The height
    of a box falls with the size of the image, its width grows with the logarithm of the number of
    channels, which is written below it.

    Parameters
    ----------
    anatomy : sequence of mappings
        Stages with name, part, channels, height, width, sources
        (`minseg.learning.anatomy.network_anatomy`, `minseg.study.runs.Run.anatomy`).
    title : str
        Above the figure, such as `RunConfig.title`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MinsegError
        If there are no stages.
    """
    if not anatomy:
        raise MinsegError(
            f"{title}: no network is described; the per-pixel baseline has none, and a run made "
            "before networks were recorded is made again after its folder is removed"
        )
    sizes = sorted({(stage["height"], stage["width"]) for stage in anatomy}, reverse=True)
    columns = _columns(anatomy)
    heights_in = [_TALLEST_IN * (height / sizes[0][0]) ** 0.4 for height, _ in sizes]
    tops_in = [_TOP_IN + sum(heights_in[:row]) + row * _ROW_GAP_IN for row in range(len(sizes))]
    total_in = tops_in[-1] + heights_in[-1] + _ROW_GAP_IN + _BOTTOM_IN

    figure = ReportFigure(figsize=(_WIDTH_IN, total_in))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH_IN), ylim=(total_in, 0))
    axes.set_axis_off()
    axes.text(0.1, 0.12, title, fontsize=10, fontweight="bold", va="top")
    for (height, width), top_in, height_in in zip(sizes, tops_in, heights_in, strict=True):
        text = f"{height} × {width}"
        axes.text(0.1, top_in + height_in / 2, text, va="center", color="#555555")
    pitch_in = (_WIDTH_IN - _LEFT_IN - _RIGHT_IN) / (max(columns.values()) + 1)
    boxes = {}
    for stage in anatomy:
        row = sizes.index((stage["height"], stage["width"]))
        boxes[stage["name"]] = _Box(
            _LEFT_IN + (columns[stage["name"]] + 0.5) * pitch_in,
            tops_in[row] + heights_in[row] / 2,
            pitch_in * (0.12 + 0.045 * math.log2(stage["channels"])),
            heights_in[row],
        )
    _draw_boxes(axes, anatomy, boxes)
    _draw_links(axes, anatomy, boxes)
    _legend(figure)
    return figure


def _columns(anatomy: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Place each stage right of all that it follows from, in a cell of its own."""
    columns: dict[str, int] = {}
    taken = set()
    for stage in anatomy:
        column = 1 + max((columns[source] for source in stage["sources"]), default=-1)
        while (stage["height"], column) in taken:
            column += 1
        taken.add((stage["height"], column))
        columns[stage["name"]] = column
    return columns


def _draw_boxes(
    axes: Axes, anatomy: Sequence[Mapping[str, Any]], boxes: Mapping[str, _Box]
) -> None:
    """Draw every stage, with its number of channels below."""
    for stage in anatomy:
        box = boxes[stage["name"]]
        colour = PART_COLOURS.get(stage["part"], PART_COLOURS["input and output"])
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        axes.add_patch(
            Rectangle(corner, box.width, box.height, facecolor=colour, edgecolor="#444444")
        )
        # White below the number, for arrows that pass there.
        axes.text(
            box.x,
            box.y + box.height / 2 + 0.04,
            f"{stage['channels']}",
            ha="center",
            va="top",
            fontsize=7.5,
            zorder=3,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
        if stage["part"] in ("input", "output"):
            axes.text(
                box.x, corner[1] - 0.05, stage["part"], ha="center", va="bottom", fontsize=7.5
            )


def _draw_links(
    axes: Axes, anatomy: Sequence[Mapping[str, Any]], boxes: Mapping[str, _Box]
) -> None:
    """Draw an arrow for every link, over the boxes of the row where some lie between."""
    last_encoder = [stage["name"] for stage in anatomy if stage["part"] == "encoder"][-1:]
    encoder = {stage["name"] for stage in anatomy if stage["part"] == "encoder"}
    for stage in anatomy:
        end = boxes[stage["name"]]
        for source in stage["sources"]:
            start = boxes[source]
            same_row = start.y == end.y
            skips = same_row and stage["part"] == "decoder" and source in encoder
            between = [box for box in boxes.values() if box.y == end.y and start.x < box.x < end.x]
            if same_row and between:
                path = _arc(start, end, len(between))
            else:
                path = Path([(start.x + start.width / 2, start.y), (end.x - end.width / 2, end.y)])
            is_skip = skips and source not in last_encoder
            axes.add_patch(
                FancyArrowPatch(
                    path=path,
                    arrowstyle="-|>",
                    mutation_scale=7,
                    linewidth=1.2 if is_skip else 0.9,
                    linestyle=(0, (4, 1.5)) if is_skip else "-",
                    color=SKIP_COLOUR if is_skip else _FLOW_COLOUR,
                    shrinkA=0,
                    shrinkB=0,
                )
            )


def _arc(start: _Box, end: _Box, num_between: int) -> Path:
    """Return a curve from the top of a box to the top of another one of its row.

    The more boxes lie between the higher it rises, but never to the row above.
    """
    top = start.y - start.height / 2
    rise = _ARC_IN * (1 - 0.6**num_between)
    peak = top - rise / 0.75  # a cubic rises to three quarters of its hull
    left, right = start.x + start.width / 4, end.x - end.width / 4
    return Path(
        [(left, top), (left, peak), (right, peak), (right, top)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )


def _legend(figure: Figure) -> None:
    """Explain colours, lines and numbers below the drawing."""
    lines = [
        Line2D([], [], color=_FLOW_COLOUR, label="features"),
        Line2D([], [], color=SKIP_COLOUR, linestyle=(0, (4, 1.5)), label="skip connection"),
    ]
    figure.legend(
        handles=[*colour_patches(PART_COLOURS), *lines],
        title="below a box: its channels · at the left: height × width, pixels",
        loc="lower center",
        ncols=5,
        borderaxespad=0.6,
    )
