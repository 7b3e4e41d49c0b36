"""The paper's Table 5 as a page shows it: what was searched, found, and gained by selecting."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from optuna.trial import TrialState
from pandas.io.formats.style import Styler

from minseg.report import style
from minseg.report.bands_splits import OURS, PAPER
from minseg.report.style import DASH, kind, made, model_title, number, signed, span
from minseg.scoring.intervals import interval
from minseg.study.paper import paper_hyperparameters, paper_table
from minseg.study.runs import Run
from minseg.study.selection import Candidates
from minseg.study.tuning import Search

HYPERPARAMETER_TITLES: dict[str, str] = {
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "epochs": "epochs",
    "crop": "image size",
    "optimiser": "optimiser",
    "encoder": "backbone",
    "architecture": "architecture",
    "loss": "loss",
}
"""Hyperparameters as a reader sees them, in the order of Table 5."""

TRIED = "values tried"

_BLUE, _GREY, _BEST = "#0072B2", "#888888", "#D55E00"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def answer(found: Mapping[str, Candidates], plain: Mapping[str, Run | None]) -> str:
    """Say in Markdown what tuning gains, and what choosing on test would add.

    `plain` are the runs of Table 3 (`minseg.study.selection.untuned_run`).
    """
    gains = "; ".join(
        f"{model_title(task)} {_gain(models)}{_same_training(models)}"
        for task, models in found.items()
    )
    over = "; ".join(
        f"{model_title(task)} {_over(models, plain[task])}" for task, models in found.items()
    )
    added = "; ".join(
        f"{model_title(task)} {signed(gain_on_test(models))}" for task, models in found.items()
    )
    return (
        f"- **Gain over the untuned settings{made()}** (test IoU, 95 % interval), both at constant "
        f"learning rates: {gains or DASH}.\n"
        f"- **Over the run of Table 3**, untuned, whose learning rate may fall: {over or DASH}.\n"
        f"- **Choosing on the test set would have added**: {added or DASH}."
    )


def hyperparameter_table(found: Mapping[str, Candidates]) -> Styler:
    """Show the hyperparameters found, beside the paper's (Table 5).

    Per model ours, which is what the validation part chooses, and the paper's, chosen on its test
    part, where it has such a model. The image size is the side of the training crop, pixels.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    in_paper = set(paper_table(5)["model"])
    for task, models in found.items():
        rows[model_title(task), OURS] = _texts(models.table.iloc[models.by_validation])
        if task in in_paper:
            rows[model_title(task), PAPER] = _texts(paper_hyperparameters(task))
    table = pd.DataFrame(rows, index=list(HYPERPARAMETER_TITLES.values())).T
    shown = style.text_table(table.rename_axis(index=[kind(), ""]))
    # Under a short head, its words would be cut to leave the others room.
    whole: list[Hashable] = [HYPERPARAMETER_TITLES[name] for name in ("encoder", "loss")]
    return shown.set_properties(subset=whole, **{"white-space": "nowrap"})


def tried_table(searches: Mapping[str, Search]) -> pd.DataFrame:
    """Return the values that were tried of each hyperparameter."""
    tried: dict[str, dict[Any, None]] = {name: {} for name in HYPERPARAMETER_TITLES}
    for search in searches.values():
        for name, values in search.space:
            tried[name].update(dict.fromkeys(values))
    texts = [", ".join(map(_text, tried[name])) for name in HYPERPARAMETER_TITLES]
    return pd.DataFrame({TRIED: texts}, index=list(HYPERPARAMETER_TITLES.values()))


def search_table(
    searches: Mapping[str, Search],
    found: Mapping[str, Candidates],
    plain: Mapping[str, Run | None],
) -> pd.DataFrame:
    """Return how good the models are that the validation part chose, and what was tried for them.

    The validation IoU is always `standard`. The gain is that over the untuned settings on the same
    epochs (`minseg.study.selection.Candidates.gain`); for `plain` see `answer`.
    """
    rows = {}
    for task, models in found.items():
        chosen = models.table.iloc[models.by_validation]
        low, high = models.test_interval(models.by_validation)
        states = [trial.state for trial in searches[task].finished()]
        several = len(set(models.mines)) > 1
        rows[model_title(task)] = {
            "bands": searches[task].base.bands,
            "validation IoU": number(chosen["validation_iou"]),
            "test IoU, 95 % interval over mines": (
                f"{number(chosen['test_iou'])} "
                f"({span(low, high) if several else 'a single test mine'})"
            ),
            "gain over the untuned, 95 % interval": _gain(models),
            "over the run of Table 3, 95 % interval": _over(models, plain[task]),
            "trials (pruned)": f"{len(states)} ({states.count(TrialState.PRUNED)})",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(columns=kind())


def flattery_table(found: Mapping[str, Candidates]) -> pd.DataFrame:
    """Return how much it flatters to select on the test part, as section 3.3 does.

    The difference between both choices has its share of luck with the validation part; the column
    beside it is what selecting and reporting on the same mines adds on average
    (`minseg.study.selection.Candidates.optimism`).
    """
    rows = {}
    for task, models in found.items():
        rows[model_title(task)] = {
            "test IoU, chosen on validation": number(_test_iou(models, models.by_validation)),
            "test IoU, chosen on test": number(_test_iou(models, models.by_test)),
            "difference": signed(gain_on_test(models)),
            "flattery of selecting and reporting on the same mines": signed(models.optimism()),
            "candidates": len(models.table),
            "test mines": len(set(models.mines)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(columns=kind())


def effort_table(rows: Sequence[tuple[str, int, int]]) -> pd.DataFrame:
    """Return how many epochs were trained, of those that a literal reading of the paper trains.

    Rows: name, epochs read literally, epochs trained (`minseg.study.selection.table_efforts`), of
    the tables that have runs; then their total.
    """
    rows = [row for row in rows if row[1]]
    total = ("total", sum(row[1] for row in rows), sum(row[2] for row in rows))
    columns = ["", "epochs, read literally", "epochs trained"]
    table = pd.DataFrame([*rows, total], columns=columns).set_index("").rename_axis(None)
    shares = table["epochs trained"] / table["epochs, read literally"]
    return table.assign(share=shares.map(lambda s: f"{s:.0%}" if np.isfinite(s) else DASH))


def gain_on_test(found: Candidates) -> float:
    """Return the test IoU of the model chosen on test minus that of the one on validation."""
    return _test_iou(found, found.by_test) - _test_iou(found, found.by_validation)


def _gain(found: Candidates) -> str:
    """Write what tuning gains, with its interval; a dash where untuned or several mines lack."""
    return _difference(found, found.gain())


def _over(found: Candidates, run: Run | None) -> str:
    """Write the same over a run."""
    return _difference(found, found.over(run) if run else None)


def _difference(found: Candidates, gain: tuple[float, np.ndarray] | None) -> str:
    if gain is None or len(set(found.mines)) < 2:
        return DASH
    low, high = interval(gain[1])
    return f"{signed(gain[0])} ({span(low, high, signed)})"


def _same_training(found: Candidates) -> str:
    """Say where only the epoch differs, so that the gain is how much one training wavers."""
    if found.by_default is None or found.within_budget in (None, found.by_default):
        return ""
    chosen, untuned = (found.table.iloc[k] for k in (found.within_budget, found.by_default))
    if chosen["run"] != untuned["run"]:
        return ""
    return f", of the same training after {chosen['epochs']} instead of {untuned['epochs']} epochs"


def _test_iou(found: Candidates, row: int) -> float:
    return float(found.table["test_iou"].iloc[row])


def _texts(values: Mapping[str, Any] | pd.Series) -> list[str]:
    # Room for the whole name: the table of values tried has the prefix of timm's encoders.
    return [_text(values[name]).removeprefix("tu-") for name in HYPERPARAMETER_TITLES]


def _text(value: object) -> str:
    """Write a value as Table 5 does: a learning rate as ``3 × 10⁻⁴``."""
    if not isinstance(value, float):
        return str(value)
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


@style.in_style()
def search_figure(trials: Mapping[str, pd.DataFrame]) -> Figure:
    """Show the course of searches: the validation IoU of each trial, and the best so far.

    From task to `minseg.study.selection.trial_table`; pruned trials are shown at the last value
    that they reported, if any.
    """
    if not trials:
        return style.nothing_figure()
    figure, panels = style.panel_grid(len(trials), 7.6, 0.5, 2.3, sharey=True)
    for axes, (task, table) in zip(panels, trials.items(), strict=True):
        table = table.dropna(subset=["validation_iou"]).sort_values("trial")
        complete = table[table["state"] == "complete"]
        pruned = table[table["state"] == "pruned"]
        ring: dict[str, Any] = {"facecolor": "none", "edgecolor": _GREY, "linewidth": 0.9}
        for lines, label, looks in (
            (pruned, "pruned, at its last value", ring | {"s": 12}),
            (complete, "complete", {"color": _BLUE, "s": 20}),
        ):
            axes.scatter(lines["trial"], lines["validation_iou"], label=label, **looks)
        text = "no complete trial"
        if len(complete):
            best = complete["validation_iou"].cummax().to_numpy()
            line = [*complete["trial"], table["trial"].max()], [*best, best[-1]]  # to the last one
            step: dict[str, Any] = {"where": "post", "linewidth": 1.4, "zorder": 1}
            axes.step(*line, color=_BEST, label="best so far", **step)
            winner = complete.iloc[complete["validation_iou"].argmax()]
            text = f"best {winner['validation_iou']:.3f} in trial {winner['trial']:.0f}"
        _set_title(axes, task, text)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(axis="y")
    _label_edges(panels, "trial", "validation IoU")
    return _finished(figure, panels)


@style.in_style()
def importance_figure(importances: Mapping[str, pd.Series]) -> Figure:
    """Show how much each hyperparameter mattered to the validation IoU, one panel a model.

    From task to `minseg.study.selection.importances`, empty where the trials say nothing. The
    hyperparameter that matters most on average is on top.
    """
    if not importances:
        return style.nothing_figure()
    table = pd.DataFrame(dict(importances)).fillna(0.0)
    table = table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    rows = max(len(table), 3)
    figure = style.page_figure(7.6, 0.8 + 0.3 * rows)
    panels = list(figure.subplots(1, len(importances), sharex=True, sharey=True, squeeze=False)[0])
    for axes, (task, shares) in zip(panels, importances.items(), strict=True):
        axes.set_title(textwrap.fill(model_title(task), 84 // len(importances)))
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MultipleLocator(0.5))
        if shares.empty:
            text = "too few\ncomplete trials,\nor all alike"
            axes.text(0.08, 0.5, text, transform=axes.transAxes, va="center", color="#777777")
            continue
        axes.barh(range(len(table)), table[task], 0.68, color=_BLUE)
        axes.bar_label(axes.containers[0], fmt="%.2f", padding=3, fontsize=7.5)
    names = [HYPERPARAMETER_TITLES.get(name, name) for name in table.index]
    panels[0].set_yticks(range(len(table)), names)
    panels[0].set_ylim(rows - 0.5, -0.5)  # the most important on top
    panels[0].set_xlim(0, min(1.0, table.to_numpy().max(initial=0.5)) * 1.25)
    figure.supxlabel("importance for the validation IoU (fANOVA; sums to 1)", fontsize=9)
    return figure


@style.in_style()
def selection_figure(found: Mapping[str, Candidates]) -> Figure:
    """Set the test IoU of all candidates against their validation IoU, with both choices marked."""
    if not found:
        return style.nothing_figure()
    figure, panels = style.panel_grid(len(found), 7.6 if len(found) > 1 else 4.8, 0.5, 3.3)
    for axes, (task, models) in zip(panels, found.items(), strict=True):
        table = models.table
        scores = table[["validation_iou", "test_iou"]].to_numpy(float)
        margin = 0.06 * max(float(np.nanmax(scores) - np.nanmin(scores)), 0.02)
        limits = float(np.nanmin(scores)) - margin, float(np.nanmax(scores)) + margin
        axes.plot(limits, limits, color="#BBBBBB", linewidth=1, label="test = validation", zorder=1)
        pale: dict[str, Any] = {"color": _BLUE, "alpha": 0.45, "linewidth": 0}
        axes.scatter(scores[:, 0], scores[:, 1], s=12, label="candidate", **pale)
        edge: dict[str, Any] = {"edgecolor": "#222222", "linewidth": 0.8, "zorder": 3}
        for row, part, size in (
            (models.by_validation, "validation", 75),
            (models.by_test, "test", 34),
        ):
            colour, marker = style.PART_STYLES[part]
            axes.axhline(scores[row, 1], color=colour, linewidth=1, linestyle=":", zorder=1)
            looks = edge | {"s": size, "color": colour, "marker": marker}
            axes.scatter(scores[row, 0], scores[row, 1], label=f"chosen on {part}", **looks)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        _set_title(axes, task, f"choosing on test adds {number(gain_on_test(models))}")
    _label_edges(panels, "validation IoU", "test IoU")
    return _finished(figure, panels)


def _set_title(axes: Axes, task: str, text: str) -> None:
    """Name a panel's model and say what it shows, in several lines if long."""
    axes.set_title(textwrap.fill(f"{model_title(task)}: {text}", 42))


def _label_edges(panels: list[Axes], below: str, left: str) -> None:
    """Name the axes at the left of each row and below each column."""
    for axes in panels[::2]:
        axes.set_ylabel(left)
    for axes in panels[-2:]:
        axes.set_xlabel(below)


def _finished(figure: Figure, panels: list[Axes]) -> Figure:
    """Add the legend that all panels share, and the mark."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    style.legend_at_foot(figure, list(entries.values()), 0 if figure.get_figwidth() > 6 else 2)
    return figure
