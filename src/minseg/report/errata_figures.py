"""Charts of two errata: subsets that do not add up (Table 2), and who is ahead (Table 4)."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from minseg.audit.errata_images import subset_surplus
from minseg.audit.errata_splits import gain
from minseg.audit.erratum import PrintedPaper, model_name
from minseg.learning.metrics import METRICS
from minseg.report.style import PART_STYLES, ReportFigure, in_style
from minseg.study.experiments import AVERAGES, GENERAL_OF, GROUPS, MODELS

_SHORT = {"iou": "IoU", "recall": "Rec", "precision": "Prec", "accuracy": "Acc"}


@in_style()
def subset_figure(paper: PrintedPaper) -> Figure:
    """Show by how much the subsets of a group exceed all images (Table 2).

    Parameters
    ----------
    paper : PrintedPaper
        See `minseg.audit.erratum.read_printed`.

    Returns
    -------
    matplotlib.figure.Figure
        One row a group and model; per part, the sum of the subsets minus All, in percent of All.
    """
    cases = [(codes, model) for codes in GROUPS.values() for model in MODELS]
    figure = ReportFigure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    for row, (codes, model) in enumerate(cases):
        surplus = subset_surplus(paper, codes, model)
        for part, step in (("train", -0.27), ("validation", 0.0), ("test", 0.27)):
            colour, marker = PART_STYLES[part]
            share = surplus[part] / paper.images["All", model, part]
            axes.plot([0, share], [row + step] * 2, color=colour, linewidth=1.2)
            axes.scatter(share, row + step, 26, color=colour, marker=marker, zorder=3)
            axes.annotate(
                _signed(surplus[part]),
                (share, row + step),
                (6 if share >= 0 else -6, 0),
                textcoords="offset points",
                ha="left" if share >= 0 else "right",
                va="center",
                fontsize=7,
                color=colour,
            )
    axes.axvline(0, color="#555555", linewidth=1, zorder=1)
    left, right = axes.get_xlim()
    reach = 1.12 * max(-left, right, 0.01)
    axes.axvspan(0, reach, color="#F3EDE3", linewidth=0, zorder=0)
    axes.set_xlim(-reach, reach)
    axes.set_yticks(
        range(len(cases)), [f"{'+'.join(codes)}, {model_name(model)}" for codes, model in cases]
    )
    axes.set_ylim(len(cases) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.axhline(len(MODELS) - 0.5, color="#999999", linewidth=0.7)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("sum of the subsets − All, in percent of All (numbers: images)")
    axes.set_title("shaded: more images than there are")
    entries = [
        Line2D([], [], color=colour, marker=marker, label=part)
        for part, (colour, marker) in PART_STYLES.items()
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=3)
    return figure


@in_style()
def gain_figure(paper: PrintedPaper) -> Figure:
    """Show where targeted models are ahead of the general one (Table 4).

    Parameters
    ----------
    paper : PrintedPaper
        See `minseg.audit.erratum.read_printed`.

    Returns
    -------
    matplotlib.figure.Figure
        One row a subset, one column a model and score; the difference in thousandths, framed where
        the targeted model is ahead.
    """
    rows = list(GENERAL_OF)
    columns = [(model, metric) for model in MODELS for metric in METRICS]
    values = np.array([[gain(paper, row, *column) for column in columns] for row in rows])
    figure = ReportFigure(figsize=(7.4, 3.5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="PuOr_r", vmin=-0.2, vmax=0.2, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) > 0.12
        axes.text(
            column,
            row,
            _signed(round(1000 * value)),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "#222222",
        )
        if value > 0:
            frame = Rectangle((column - 0.43, row - 0.43), 0.86, 0.86)
            frame.set(fill=False, edgecolor="#222222", linewidth=1.3, zorder=3)
            axes.add_patch(frame)
    for edge in range(len(METRICS), len(columns), len(METRICS)):
        axes.axvline(edge - 0.5, color="white", linewidth=4, zorder=1)
    for row, name in enumerate(rows[:-1]):
        if name in AVERAGES:  # Table 4 closes a group of subsets with its mean
            axes.axhline(row + 0.5, color="white", linewidth=4, zorder=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), [_SHORT[metric] for _, metric in columns], fontsize=7.5)
    axes.tick_params(length=0)
    above = axes.secondary_xaxis("top")
    middle = (len(METRICS) - 1) / 2
    above.set_xticks(
        [middle + k * len(METRICS) for k in range(len(MODELS))], [model_name(m) for m in MODELS]
    )
    above.tick_params(length=0)
    for sides in (axes.spines, above.spines):
        sides[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="both", pad=0.02)
    bar.set_label("targeted − general")
    bar.outline.set_visible(False)
    figure.supxlabel("in thousandths; framed: the targeted model is ahead", fontsize=8.5)
    return figure


def _signed(number: int) -> str:
    """Write a number with its sign, zero without."""
    return f"{number:+d}".replace("-", "−") if number else "0"
