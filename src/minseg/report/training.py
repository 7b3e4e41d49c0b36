"""A training as page 02 shows it: the network (Figure 4), its learning curve and its scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from pandas.io.formats.style import Styler

from minseg.errors import MinsegError
from minseg.report import style
from minseg.report.style import METRIC_TITLES, kind, made, number, span
from minseg.scoring.intervals import interval
from minseg.scoring.metrics import IOU, METRICS
from minseg.study.paper import paper_scores
from minseg.study.runs import Run
from minseg.study.tables import Entry, Result, scored

PART_COLOURS: dict[str, str] = {
    "input and output": "#999999",
    "encoder": "#56B4E9",
    "decoder": "#E69F00",
}
"""Colours of the boxes, by what the stage belongs to."""

_WIDTH_IN, _LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 7.6, 0.95, 0.15, 0.6, 0.45
_ROW_GAP_IN, _ARC_IN = 0.46, 0.3
_TALLEST_IN = 0.85

_FLOW: dict = {"color": "#777777", "linewidth": 0.9, "linestyle": "-", "mutation_scale": 7}
_SKIP = _FLOW | {"color": "#009E73", "linewidth": 1.2, "linestyle": (0, (4, 1.5))}
"""Looks of arrows: of features on their way, and past what lies between."""


@style.in_style()
def network_figure(anatomy: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw a network as boxes, each the output of a stage, and arrows (Figure 4).

    Rows are image sizes, the full one on top; columns follow the order of computation. The height
    of a box falls with the size of the image, its width grows with the logarithm of the number of
    channels, which is written below it.

    Parameters
    ----------
    anatomy : sequence of mappings
        Stages with name, part, channels, height, width, sources (`Run.anatomy`); none are refused.
    title : str
        Above the figure, such as `RunConfig.title`.
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

    figure = style.ReportFigure(figsize=(_WIDTH_IN, total_in))
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
        width_in = pitch_in * (0.12 + 0.045 * math.log2(stage["channels"]))
        left_in = _LEFT_IN + (columns[stage["name"]] + 0.5) * pitch_in - width_in / 2
        boxes[stage["name"]] = Bbox.from_bounds(left_in, tops_in[row], width_in, heights_in[row])
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
    axes: Axes, anatomy: Sequence[Mapping[str, Any]], boxes: Mapping[str, Bbox]
) -> None:
    """Draw every stage, with its number of channels below."""
    small: dict[str, Any] = {"ha": "center", "fontsize": 7.5}
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # for arrows that pass there
    for stage in anatomy:
        box = boxes[stage["name"]]
        colour = PART_COLOURS.get(stage["part"], PART_COLOURS["input and output"])
        axes.add_patch(
            Rectangle(box.p0, box.width, box.height, facecolor=colour, edgecolor="#444444")
        )
        middle, foot, channels = box.x0 + box.width / 2, box.y1 + 0.04, f"{stage['channels']}"
        axes.text(middle, foot, channels, va="top", zorder=3, bbox=white, **small)
        if stage["part"] in ("input", "output"):
            axes.text(middle, box.y0 - 0.05, stage["part"], va="bottom", **small)


def _draw_links(
    axes: Axes, anatomy: Sequence[Mapping[str, Any]], boxes: Mapping[str, Bbox]
) -> None:
    """Draw an arrow for every link, over the boxes of the row where some lie between."""
    encoder = [stage["name"] for stage in anatomy if stage["part"] == "encoder"]
    for stage in anatomy:
        end = boxes[stage["name"]]
        for source in stage["sources"]:
            start = boxes[source]
            same_row = start.y0 == end.y0
            # The deepest stage of the encoder has nothing to skip.
            skips = same_row and stage["part"] == "decoder" and source in encoder[:-1]
            in_row = (box for box in boxes.values() if box.y0 == end.y0)
            between = [box for box in in_row if start.x0 < box.x0 < end.x0]
            if same_row and between:
                path = _arc(start, end, len(between))
            else:
                heights = (box.y0 + box.height / 2 for box in (start, end))
                path = Path(list(zip((start.x1, end.x0), heights, strict=True)))
            looks = _SKIP if skips else _FLOW
            arrow = FancyArrowPatch(path=path, arrowstyle="-|>", shrinkA=0, shrinkB=0, **looks)
            axes.add_patch(arrow)


def _arc(start: Bbox, end: Bbox, num_between: int) -> Path:
    """Return a curve between tops of boxes, higher the more lie between, but below the next row."""
    top = start.y0
    rise = _ARC_IN * (1 - 0.6**num_between)
    peak = top - rise / 0.75  # a cubic rises to three quarters of its hull
    left, right = start.x1 - start.width / 4, end.x0 + end.width / 4
    return Path(
        [(left, top), (left, peak), (right, peak), (right, top)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )


def _legend(figure: Figure) -> None:
    """Explain colours, lines and numbers below the drawing."""
    lines = [
        Line2D([], [], color=_FLOW["color"], label="features"),
        Line2D([], [], color=_SKIP["color"], linestyle=_SKIP["linestyle"], label="skip connection"),
    ]
    figure.legend(
        handles=[*style.colour_patches(PART_COLOURS), *lines],
        title="below a box: its channels · at the left: height × width, pixels",
        loc="lower center",
        ncols=5,
        borderaxespad=0.6,
    )


_MODEL_STYLES = (("#0072B2", "o"), ("#E69F00", "s"))


@style.in_style()
def learning_curve_figure(history: pd.DataFrame) -> Figure:
    """Show loss and validation IoU over the epochs, with the best epoch marked.

    Parameters
    ----------
    history : pandas.DataFrame
        Columns `epoch`, `train_loss`, `validation_iou`; NaN where an epoch was not validated.
    """
    figure = style.page_figure(7.2, 4.4)
    above, below = figure.subplots(2, sharex=True)
    _curve(above, history, "train_loss", "train")
    _curve(below, history, "validation_iou", "validation")
    above.set_ylabel("loss")
    style.legend_above(above)
    below.set(xlabel="epoch", ylabel="validation IoU", ylim=(0, 1))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))

    validated = history.dropna(subset=["validation_iou"])
    if len(validated):
        best = validated.iloc[validated["validation_iou"].argmax()]
        for axes in (above, below):
            axes.axvline(best["epoch"], color="#555555", linestyle="--", linewidth=1, zorder=1)
        below.plot(best["epoch"], best["validation_iou"], "o", color="#555555", markersize=7)
        text = f"best: epoch {best['epoch']:g}, IoU {best['validation_iou']:.2f}"
        step = -5 if best["epoch"] > history["epoch"].mean() else 5
        looks = {"va": "baseline", "fontsize": 9, "color": "#222222"}
        style.note(below, text, (best["epoch"], 0.03), step, **looks)
    return figure


@style.in_style()
def score_figure(ious: pd.DataFrame) -> Figure:
    """Show each mine's IoU, a row a mine, with the first model and its best mine on top.

    Parameters
    ----------
    ious : pandas.DataFrame
        Indexed by mine, a column a model, 0 to 1, NaN where undefined (`mine_scores`). The means in
        the legend are over the mines that every model has an IoU for, so that they compare.
    """
    compared, first = ious.dropna(), ious.columns[0]
    table = ious.sort_values(first, ascending=False, na_position="last", kind="stable")

    figure = style.page_figure(7.2, 1.0 + 0.24 * max(len(table), 2))
    axes = figure.add_subplot()
    axes.hlines(range(len(table)), table.min(axis=1), table.max(axis=1), color="#BBBBBB", zorder=1)
    for model, (colour, marker) in zip(table, _MODEL_STYLES, strict=True):
        mean = compared[model].mean()
        axes.scatter(
            table[model],
            range(len(table)),
            # Open over filled, so that equal scores show both.
            facecolor=colour if model == first else "none",
            edgecolor=colour,
            linewidth=1.5,
            marker=marker,
            s=34,
            label=f"{model} (mean {mean:.2f})" if pd.notna(mean) else model,
        )
    for row, (_, scores) in enumerate(table.iterrows()):
        if scores.isna().all():
            style.note_at_axis(axes, row, "undefined")
    style.name_rows(axes, [str(mine) for mine in table.index])
    axes.set_xlim(-0.02, 1.02)
    left_out = len(table) - len(compared)
    axes.set_xlabel(f"IoU (means without {left_out} of {len(table)} mines)" if left_out else "IoU")
    axes.grid(axis="both")
    style.legend_above(axes)
    return figure


def _curve(axes: Axes, history: pd.DataFrame, column: str, part: str) -> None:
    """Draw one column over the epochs, bridging epochs without a value."""
    known = history.dropna(subset=[column])
    colour, marker = style.PART_STYLES[part]
    # Markers where points are few; in a long run they would hide the line.
    marker = marker if len(known) <= 30 else ""
    axes.plot(known["epoch"], known[column], color=colour, marker=marker, label=part)
    axes.grid(axis="y")


def answer(network: Run, forest: Run) -> str:
    """Say in Markdown how a network does beside its per-pixel baseline, over all and by mine."""
    ious = mine_scores({"network": network, "forest": forest}).dropna()
    ahead = int((ious["network"] > ious["forest"]).sum())
    return (
        f"**Answer{made()}.** On the test mines the network has IoU "
        f"{number(network.scores()['iou'])}, the per-pixel forest "
        f"{number(forest.scores()['iou'])}; mine by mine the network is ahead on {ahead} of "
        f"{len(ious)}."
    )


def score_table(models: Mapping[str, Sequence[Run]], convention: str) -> pd.DataFrame:
    """Set scores of several models beside each other, and beside the paper's.

    Parameters
    ----------
    models : mapping of str to sequence of Run
        Name of the model to its runs, one a seed; all of one task and band configuration.
    convention : str
        `standard` or `paper`, see `minseg.scoring.metrics.scores`.

    Returns
    -------
    pandas.DataFrame
        Per model the mean over its seeds, and for IoU the 95 % interval over mines of that mean
        and the spread over seeds. The paper's row (Table 3) is on its own test mines.
    """
    rows = {}
    for name, runs in models.items():
        config = runs[0].config
        found = scored(Result(Entry(config.task, name, config), tuple(runs)), convention)
        row = pd.Series(found.values, list(METRIC_TITLES.values())).map("{:.3f}".format)
        low, high = interval(found.resampled[:, IOU])
        several = found.num_mines > 1
        row["IoU, 95 % interval over mines"] = span(low, high) if several else "a single mine"
        spread = found.spread[IOU]
        row["IoU, spread over seeds"] = number(spread) if len(runs) > 1 else "one seed"
        rows[name] = row
    config = next(iter(models.values()))[0].config
    published = paper_scores(3, config.task, config.bands)
    if published:
        row = pd.Series({METRIC_TITLES[name]: number(published[name]) for name in METRICS})
        rows["paper, Table 3 (its own mines)"] = row
    corner = f"test, {convention}{', synthetic' * bool(kind())}"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(corner).fillna("not given")


def per_class_table(models: Mapping[str, Run]) -> pd.DataFrame:
    """Return each class's scores under the `standard` convention, models side by side."""
    tables = {
        name: run.scores()["per_class"][list(METRICS)[:3]].rename(columns=METRIC_TITLES)
        for name, run in models.items()
    }
    return pd.concat(tables, axis=1, names=[kind()]).round(3)


def mine_scores(models: Mapping[str, Run]) -> pd.DataFrame:
    """Return the IoU (`standard`) of each mine by itself (index), a column a model."""
    return pd.DataFrame({name: run.scores_by_mine()["iou"] for name, run in models.items()})


def provenance_table(runs: Sequence[Run]) -> Styler:
    """Show where runs come from: a row per run."""
    rows = []
    for run in runs:
        origin = run.provenance
        commit = (origin["git_commit"] or "not in git")[:8]
        row = {
            "run": run.key,
            "model": run.config.title,
            "seed": run.config.seed,
            "code": commit + (" (changed since)" if origin["git_dirty"] else ""),
            "trained on": f"{origin['device']}, {origin['cpu_cores']} cores",
            "minutes": f"{origin['wall_time_s'] / 60:.1f}",
        }
        rows.append(row)
    return style.text_table(pd.DataFrame(rows).set_index("run"))
