"""Errata about what the prose says of targeted and general models (sections 3.2 and 6; Table 4)."""

from collections.abc import Iterator

import numpy as np

from minseg.audit.errata_bands import THIRD_DECIMAL
from minseg.audit.erratum import (
    CONSISTENT,
    CONTRADICTION,
    IMPRECISE,
    Check,
    Erratum,
    PrintedPaper,
    Row,
    difference,
    listed,
    metric_name,
    model_name,
    table_of,
)
from minseg.learning.metrics import METRICS
from minseg.study.experiments import AVERAGES, GENERAL_OF, GROUPS, MODELS

NEARLY_ALL = 0.9
"""From this share on, something is the case in nearly all cases."""

RESULT_EXCEPTIONS = ("RR", "OP")
"""Subsets that section 3.2 names as exceptions."""

CONCLUSION_EXCEPTIONS = ("RR", "OC")
"""Subsets that section 6 names as exceptions, of Model 1."""

SUBSETS = tuple(row for row in GENERAL_OF if row not in AVERAGES)
"""Rows of Table 4 about targeted models on one subset."""


def gain(paper: PrintedPaper, row: str, model: str, metric: str) -> float:
    """Return by how much a targeted model is better than the general one (Table 4).

    Parameters
    ----------
    paper : PrintedPaper
    row : str
        A subset such as RR, or an AVG row of targeted models.
    model, metric : str

    Returns
    -------
    float
        Negative where the general model is better on the same mines.
    """
    return difference(
        paper.splits[row, model, metric], paper.splits[GENERAL_OF[row], model, metric]
    )


def _single_superior(paper: PrintedPaper) -> Erratum:
    """Hold “in all instances a single model is superior” against the AVG rows."""
    pairs = [row for row in GENERAL_OF if row in AVERAGES]
    rows = list(_gain_rows(paper, pairs, MODELS, METRICS))
    better = [row for row in rows if row["value"] > 0]
    equal = sum(row["value"] == 0 for row in rows)
    of_iou = sum(row["metric"] == "iou" for row in better)
    return Erratum(
        "single-superior",
        "A single model superior in all instances",
        "section 3.2; Table 4, AVG rows",
        "In every comparison of AVG rows a single model is said to be superior.",
        f"Three targeted models are better in {len(better)} of {len(rows)} cells, {of_iou} of them "
        f"in IoU, and equal in {equal}.",
        CONTRADICTION if better else IMPRECISE if equal else CONSISTENT,
        "Whether one model is to be preferred rests on the size of these differences, for which "
        "there are no intervals.",
        table_of(_shown(row) for row in rows if row["value"] >= 0),
    )


def _nearly_all_cases(paper: PrintedPaper) -> Erratum:
    """General models outperform targeted ones in nearly all cases across all metrics."""
    rows = list(_gain_rows(paper, SUBSETS, MODELS, METRICS))
    better = [row for row in rows if row["value"] > 0]
    equal = sum(row["value"] == 0 for row in rows)
    cases = [
        all(gain(paper, subset, model, metric) < 0 for metric in METRICS)
        for subset in SUBSETS
        for model in MODELS
    ]
    of_iou = [row["value"] < 0 for row in rows if row["metric"] == "iou"]
    verdict = IMPRECISE if np.mean(of_iou) > 0.5 else CONTRADICTION
    if np.mean(cases) >= NEARLY_ALL:
        verdict = CONSISTENT
    return Erratum(
        "nearly-all-cases",
        "General models better in nearly all cases, across all metrics",
        "section 3.2; Table 4",
        "General models are said to outperform targeted ones in nearly all cases, across all the "
        "metrics.",
        f"The general model is better in all four metrics in {sum(cases)} of {len(cases)} cases, "
        f"and in IoU in {sum(of_iou)}. Of the single cells, {len(better)} of {len(rows)} have the "
        f"targeted model ahead and {equal} neither.",
        verdict,
        "Where the four metrics point different ways, which model is better depends on the use.",
        table_of(_shown(row) for row in better),
    )


def _exceptions(paper: PrintedPaper) -> Erratum:
    """Section 3.2 names RR and OP as exceptions, section 6 RR and OC."""
    named = dict.fromkeys([*RESULT_EXCEPTIONS, *CONCLUSION_EXCEPTIONS])
    rows: list[Row] = []
    for subset in named:
        gains = {metric: gain(paper, subset, "model1", metric) for metric in METRICS}
        rows.append(
            {"subset": subset, "section 3.2": _mark(subset in RESULT_EXCEPTIONS)}
            | {"section 6": _mark(subset in CONCLUSION_EXCEPTIONS)}
            | {metric: f"{value:+.3f}" for metric, value in gains.items()}
            | {"odd": gains["iou"] <= 0}
        )
    worse = {str(row["subset"]) for row in rows if row["odd"]}
    return Erratum(
        "exceptions",
        "Which subsets are the exceptions",
        "section 3.2 against section 6; Table 4, Model 1",
        f"Targeted models are said to do better on {' and '.join(RESULT_EXCEPTIONS)} (results), on "
        f"{' and '.join(CONCLUSION_EXCEPTIONS)} with Model 1 (conclusions).",
        f"Of these, Model 1 is no better than the general model in IoU on: {listed(worse)}.",
        CONTRADICTION if worse else CONSISTENT,
        "Opencast and open-pit differ in two letters, and the conclusion is the one that will be "
        "cited.",
        table_of(rows),
    )


def _larger_samples(paper: PrintedPaper) -> Erratum:
    """Hold “larger samples” against Table 2."""
    rows: list[Row] = []
    for codes in GROUPS.values():
        counts = {code: paper.images[code, "model1", "train"] for code in codes}
        for code in codes:
            if code in (*RESULT_EXCEPTIONS, *CONCLUSION_EXCEPTIONS):
                rows.append(
                    {"subset": code, "training images of Model 1": counts[code]}
                    | {
                        "others of its group": listed(
                            f"{c} {n}" for c, n in counts.items() if c != code
                        )
                    }
                    | {"section 3.2": _mark(code in RESULT_EXCEPTIONS)}
                    | {"section 6": _mark(code in CONCLUSION_EXCEPTIONS)}
                    | {"odd": counts[code] < max(counts.values())}
                )
    smaller = [str(row["subset"]) for row in rows if row["odd"]]
    return Erratum(
        "larger-samples",
        "Exceptions by larger samples",
        "section 3.2, section 6; Table 2",
        "The exceptions are put down to their larger sample sizes.",
        f"Among those named, these are not the largest of their group: {listed(smaller)}.",
        CONTRADICTION if smaller else CONSISTENT,
        "The explanation fits the subsets of section 3.2; for one that is small it would be an "
        "argument against.",
        table_of(rows),
    )


def _both_smaller_better(paper: PrintedPaper) -> Erratum:
    """For Model 1, both smaller models are better."""
    rows = list(_gain_rows(paper, RESULT_EXCEPTIONS, ("model1",), METRICS))
    worse = [row for row in rows if row["value"] <= 0]
    by_iou = not any(row["metric"] == "iou" for row in worse)
    return Erratum(
        "both-smaller-better",
        "Both smaller models better, for Model 1",
        "section 3.2; Table 4",
        f"On {' and '.join(RESULT_EXCEPTIONS)} the targeted Model 1 is said to give better "
        "results.",
        f"It does in {len(rows) - len(worse)} of {len(rows)} cells, not in: "
        f"{listed(row['row'] + ' ' + metric_name(row['metric']) for row in worse)}.",
        IMPRECISE if worse and by_iou else CONTRADICTION if worse else CONSISTENT,
        "More IoU beside less precision means that the targeted model finds more and alarms "
        "falsely more often.",
        table_of(_shown(row) | {"odd": row["value"] <= 0} for row in rows),
    )


def _largest_in_recall(paper: PrintedPaper) -> Erratum:
    """For Models 2 and 3 the largest differences are in recall."""
    rows: list[Row] = []
    for model in ("model2", "model3"):
        for subset in RESULT_EXCEPTIONS:
            gains = {metric: gain(paper, subset, model, metric) for metric in METRICS}
            largest = max(gains, key=lambda metric: abs(gains[metric]))
            rows.append(
                {"subset": subset, "model": model_name(model)}
                | {metric: f"{value:+.3f}" for metric, value in gains.items()}
                | {"largest": largest, "odd": largest != "recall"}
            )
    odd = sum(row["odd"] for row in rows)
    return Erratum(
        "largest-in-recall",
        "Largest differences in recall",
        "section 3.2; Table 4",
        f"On {' and '.join(RESULT_EXCEPTIONS)} Models 2 and 3 are said to differ most in recall.",
        f"The largest of the four differences is that of recall in {len(rows) - odd} of "
        f"{len(rows)} cases.",
        CONSISTENT if not odd else IMPRECISE if odd < len(rows) else CONTRADICTION,
        "Differences of recall and of precision mean different errors: mine missed, or ground "
        "taken for mine.",
        table_of(rows),
    )


def _negligible_for_model4(paper: PrintedPaper) -> Erratum:
    """Model 4 differs negligibly on the exceptions."""
    rows = list(_gain_rows(paper, RESULT_EXCEPTIONS, ("model4",), METRICS))
    large = [row for row in rows if abs(row["value"]) >= THIRD_DECIMAL]
    most = max(rows, key=lambda row: abs(row["value"]))
    beside = gain(paper, "OP", "model2", "iou")
    return Erratum(
        "negligible-for-model4",
        "Negligible differences for Model 4",
        "section 3.2; Table 4",
        f"On {' and '.join(RESULT_EXCEPTIONS)} Model 4 is said to differ negligibly in all "
        "metrics.",
        f"{len(large)} of {len(rows)} differences reach 0.01, the largest is {most['value']:+.3f} "
        f"({most['row']}, {metric_name(most['metric'])}). For comparison, OP with Model 2 differs "
        f"in IoU by {beside:+.3f}.",
        IMPRECISE if large else CONSISTENT,
        "Where a difference becomes one worth speaking of should be the same for all models; "
        "without intervals nobody can say where.",
        table_of(_shown(row) | {"odd": row in large} for row in rows),
    )


def _mine_type_models(paper: PrintedPaper) -> Erratum:
    """Models for a mine type did not outperform the general model."""
    rows = list(_gain_rows(paper, GROUPS["GS"], MODELS, ("iou",)))
    better = [row for row in rows if row["value"] > 0]
    return Erratum(
        "mine-type-models",
        "Models for one mine type never better",
        "section 6; Table 4",
        "Models trained for one mine type are said not to outperform the general model, next to "
        "the sentence that two targeted models did so significantly.",
        f"In IoU they do in {len(better)} of {len(rows)} cells: "
        f"{listed(row['row'] + ' ' + row['model'] for row in better)}.",
        CONTRADICTION if better else CONSISTENT,
        "Without intervals neither the tendency nor an exception to it can be called significant.",
        table_of(_shown(row) | {"odd": row in better} for row in rows),
    )


def _iou_range(paper: PrintedPaper) -> Erratum:
    """IoU stays within 0.65 to 0.75 despite mine type and material."""
    low, high = paper.said("iou_from"), paper.said("iou_to")
    tested = [row for pair in GENERAL_OF.items() for row in pair]
    rows: list[Row] = []
    for model in MODELS:
        single = [paper.splits[r, model, "iou"] for r in tested if r not in AVERAGES]
        means = [paper.splits[r, model, "iou"] for r in tested if r in AVERAGES]
        rows.append(
            {"model": model_name(model), "rows": len(single), "lowest": min(single)}
            | {"highest": max(single), "outside": _outside(single, low, high)}
            | {"AVG rows": len(means), "AVG rows outside": _outside(means, low, high)}
            | {"odd": _outside(single, low, high) > 0}
        )
    outside, cells = sum(row["outside"] for row in rows), sum(row["rows"] for row in rows)
    verdict = CONTRADICTION if 2 * outside > cells else IMPRECISE if outside else CONSISTENT
    return Erratum(
        "iou-range",
        f"IoU between {low:g} and {high:g}",
        "abstract; Table 4",
        f"Whatever the mine type or material, IoU is said to remain between {low:g} and {high:g}.",
        f"{outside} of {cells} values of Table 4 lie outside, from "
        f"{min(row['lowest'] for row in rows):.3f} to {max(row['highest'] for row in rows):.3f}; "
        f"of the AVG rows {sum(row['AVG rows outside'] for row in rows)} of "
        f"{sum(row['AVG rows'] for row in rows)}.",
        verdict,
        "Who plans with these models should expect the spread of Table 4, and look up the row that "
        "is about the mines in question.",
        table_of(rows),
    )


def _small_quarries(paper: PrintedPaper) -> Erratum:
    """Rock quarries have lower metrics than ore and coal mines."""
    rows: list[Row] = []
    for model in MODELS:
        scores = {code: paper.splits[GENERAL_OF[code], model, "iou"] for code in GROUPS["GM"]}
        lowest = min(scores, key=lambda code: scores[code])
        rows.append(
            {"model": model_name(model)}
            | {f"IoU, {GENERAL_OF[code]}": score for code, score in scores.items()}
            | {"lowest": lowest, "odd": lowest != "RR"}
        )
    against = [str(row["model"]) for row in rows if row["odd"]]
    return Erratum(
        "small-quarries",
        "Lower metrics in rock quarries",
        "section 5.4; Table 4",
        "Small objects such as rock quarries, smaller than ore or coal mines, are said to have "
        "lower metrics.",
        f"In IoU the general model is not lowest on rock raw materials for: {listed(against)}.",
        CONSISTENT if not against else IMPRECISE if len(against) < len(rows) else CONTRADICTION,
        "The statement leads to the wish for images of higher resolution; for which labels it "
        "holds says where they would help.",
        table_of(rows),
    )


def _gain_rows(
    paper: PrintedPaper,
    rows: tuple[str, ...] | list[str],
    models: tuple[str, ...],
    metrics: tuple[str, ...],
) -> Iterator[Row]:
    """Return the comparisons of targeted with general models, one a cell."""
    for row in rows:
        for model in models:
            for metric in metrics:
                yield {
                    "row": row,
                    "model": model_name(model),
                    "metric": metric,
                    "targeted": paper.splits[row, model, metric],
                    "general": paper.splits[GENERAL_OF[row], model, metric],
                    "value": gain(paper, row, model, metric),
                }


def _shown(row: Row) -> Row:
    """Return a comparison as a reader sees it."""
    shown = {name: value for name, value in row.items() if name != "value"}
    return shown | {"difference": f"{row['value']:+.3f}"}


def _outside(values: list[float], low: float, high: float) -> int:
    """Count values outside of a range."""
    return sum(not low <= value <= high for value in values)


def _mark(named: bool) -> str:
    """Write whether something is named."""
    return "named" if named else ""


SPLIT_ERRATA: tuple[Check, ...] = (
    _single_superior,
    _nearly_all_cases,
    _exceptions,
    _larger_samples,
    _both_smaller_better,
    _largest_in_recall,
    _negligible_for_model4,
    _mine_type_models,
    _iou_range,
    _small_quarries,
)
"""Checks of targeted and general models, in the order of the page."""
