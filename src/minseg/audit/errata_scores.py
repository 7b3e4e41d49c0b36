"""Errata inside the tables of scores: _averages, meanings, headings (Tables 3 to 8)."""

import itertools

import numpy as np

from minseg.audit.erratum import (
    ACCURATE,
    CONSISTENT,
    CONTRADICTION,
    NOT_STATED,
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
from minseg.study.experiments import AVERAGES, GENERAL_OF, GROUPS, MODELS, PAPER_BANDS
from minseg.study.paper import ROUNDING


def _averages(paper: PrintedPaper) -> Erratum:
    """AVG rows of Table 4, against the three rows that each is the mean of."""
    rows: list[Row] = []
    for average, model, metric in itertools.product(AVERAGES, MODELS, METRICS):
        mean = np.mean([paper.splits[row, model, metric] for row in AVERAGES[average]])
        printed = paper.splits[average, model, metric]
        if abs(printed - mean) > ROUNDING + ACCURATE:
            rows.append(
                {"row": average, "model": model_name(model), "metric": metric}
                | {"printed": printed, "mean of its rows": f"{mean:.4f}"}
                # Rows and mean are each rounded, so that twice the rounding is possible.
                | {"odd": abs(printed - mean) > 2 * ROUNDING + ACCURATE}
            )
    cells = len(AVERAGES) * len(MODELS) * len(METRICS)
    wrong = sum(row["odd"] for row in rows)
    return Erratum(
        "averages",
        "AVG rows of Table 4",
        "section 3.2; Table 4",
        "AVG rows are the means of the three rows before them.",
        f"{cells - len(rows)} of {cells} cells are the mean of the printed rows. "
        f"{len(rows) - wrong} are 0.001 off, as happens if the mean was taken before the rows were "
        f"rounded; {wrong} cannot be explained so.",
        CONTRADICTION if wrong else CONSISTENT,
        "The AVG rows are plain means of three rows, whatever the number of mines in each.",
        table_of(rows),
    )


def _average_weights(paper: PrintedPaper) -> Erratum:
    """Means over subsets, each counted alike or by its test images."""
    rows: list[Row] = []
    for codes, model in itertools.product(GROUPS.values(), MODELS):
        weights = [paper.images[code, model, "test"] for code in codes]
        gains = [
            difference(
                paper.splits[code, model, "iou"], paper.splits[GENERAL_OF[code], model, "iou"]
            )
            for code in codes
        ]
        plain, weighted = float(np.mean(gains)), float(np.average(gains, weights=weights))
        rows.append(
            {"subsets": "+".join(codes), "model": model_name(model)}
            | {"test images": "+".join(map(str, weights))}
            | {"targeted − general, plain": f"{plain:+.4f}"}
            | {"weighted by test images": f"{weighted:+.4f}"}
            | {"odd": _sign(plain) != _sign(weighted)}
        )
    changed = [f"{row['model']} {row['subsets']}" for row in rows if row["odd"]]
    return Erratum(
        "average-weights",
        "The weight of a subset in AVG",
        "section 3.2; Tables 2, 4",
        "AVG rows stand for using three targeted models instead of one general model.",
        "A plain mean counts the smallest subset as much as the largest. Weighted by test images, "
        f"the sign of the difference in IoU changes for: {listed(changed)}. A difference below "
        "0.001 counts as none.",
        NOT_STATED if changed else CONSISTENT,
        "What three models are worth in use depends on how many mines each would serve.",
        table_of(rows),
    )


def _whole_between_subsets(paper: PrintedPaper) -> Erratum:
    """Hold the general model's score on all test mines against those on their three parts."""
    rows: list[Row] = []
    for model, codes, metric in itertools.product(MODELS, GROUPS.values(), METRICS):
        parts = [paper.splits[GENERAL_OF[code], model, metric] for code in codes]
        whole = paper.bands[PAPER_BANDS[model], model, metric]
        outside = max(min(parts) - whole, whole - max(parts))
        if outside > 2 * ROUNDING + ACCURATE:
            rows.append(
                {"model": model_name(model), "metric": metric}
                | {"Table 3, all test mines": whole, "subsets": "+".join(codes)}
                | {"Table 4, general, from": min(parts), "to": max(parts)}
            )
    cells = len(MODELS) * len(GROUPS) * len(METRICS)
    return Erratum(
        "whole-between-subsets",
        "The general model on all mines and on their parts",
        "section 2.4.2; Tables 3, 4",
        "The general model, with the bands chosen in Table 3, is tested on each subset of the test "
        "mines.",
        "A mean over all test mines lies between the means over three groups of them. "
        f"In {len(rows)} of {cells} cases Table 3 has a score outside of the three.",
        NOT_STATED if rows else CONSISTENT,
        "Where it does not, the general models of Table 4 are others than those of Table 3, or "
        "tested on other mines, or scores are not means over mines; the two tables should not be "
        "joined.",
        table_of(rows),
    )


def _two_general_models(paper: PrintedPaper) -> Erratum:
    """Compare GM and GS, both trained and tested on all mines."""
    rows: list[Row] = []
    for model in MODELS:
        row: Row = {"model": model_name(model)}
        for group, codes in GROUPS.items():
            weights = [paper.images[code, model, "test"] for code in codes]
            row[f"{group}, test images"] = sum(weights)
            for metric in METRICS:
                scores = [paper.splits[GENERAL_OF[code], model, metric] for code in codes]
                row[f"{group} {metric_name(metric)}"] = f"{np.average(scores, weights=weights):.3f}"
        rows.append(row)
    one, other = GROUPS
    gaps = {
        metric: max(
            abs(float(row[f"{one} {metric}"]) - float(row[f"{other} {metric}"])) for row in rows
        )
        for metric in map(metric_name, METRICS)
    }
    leads = [_lead(paper, model) for model in MODELS]
    apart = max(gaps.values()) > 2 * ROUNDING + ACCURATE
    return Erratum(
        "two-general-models",
        "Two general models",
        "section 2.4.2; Tables 2, 4",
        "GM and GS are each trained on the merged set, and tested on its parts: the raw materials "
        "and the mine types.",
        "Weighted by test images, the parts give back a mean over all test mines. The two differ "
        "by "
        + ", ".join(f"up to {gap:.3f} in {metric}" for metric, gap in gaps.items())
        + ". For comparison: in Table 3 the best bands lead the second best in IoU by "
        + f"{min(leads):.3f} to {max(leads):.3f}.",
        NOT_STATED if apart else CONSISTENT,
        "If both are a general model on all test mines, what sets them apart is the chance of a "
        "training or of which mines count, and a lead of that size elsewhere may be chance too.",
        table_of(rows),
    )


def _lead(paper: PrintedPaper, model: str) -> float:
    """Return by how much the best bands lead the second best in IoU (Table 3)."""
    values = sorted(
        value
        for (_, name, metric), value in paper.bands.items()
        if (name, metric) == (model, "iou")
    )
    return difference(values[-1], values[-2])


def _mine_accuracy(paper: PrintedPaper) -> Erratum:
    """Accuracy means one thing in Tables 6 to 8 and another in Tables 3 and 4."""
    rows: list[Row] = []
    for number, table in paper.mines.items():
        gap = (table["accuracy"] - table["iou"]).abs()
        rows.append(
            {"table": f"Table {number}", "rows": len(table)}
            | {"accuracy = IoU": int((gap < 2 * ROUNDING + ACCURATE).sum())}
            | {"of these, off by rounding": int(((gap > ACCURATE) & (gap <= 0.0011)).sum())}
        )
    for number, scores in ((3, paper.bands), (4, paper.splits)):
        pairs = [
            (value, scores[row, model, "accuracy"])
            for (row, model, metric), value in scores.items()
            if metric == "iou"
        ]
        rows.append(
            {"table": f"Table {number}", "rows": len(pairs)}
            | {"accuracy = IoU": sum(abs(a - b) < 2 * ROUNDING + ACCURATE for a, b in pairs)}
            | {"of these, off by rounding": 0}
        )
    shares = [row["accuracy = IoU"] / row["rows"] for row in rows]
    same = len({round(share) for share in shares}) == 1
    return Erratum(
        "mine-accuracy",
        "Two meanings of accuracy",
        "section 3; Tables 3, 4 against 6–8",
        "Accuracy is named as a common binary metric, without a formula.",
        f"In Tables 6–8 accuracy is IoU in {sum(row['accuracy = IoU'] for row in rows[:3])} of "
        f"{sum(row['rows'] for row in rows[:3])} rows, so true negatives are left out; in Tables 3 "
        f"and 4 it is IoU in {sum(row['accuracy = IoU'] for row in rows[3:])} of "
        f"{sum(row['rows'] for row in rows[3:])}.",
        CONSISTENT if same else NOT_STATED,
        "With true negatives, an accuracy near 1 says mostly that mines cover little of an image. "
        "Where the meanings differ, accuracies of the two groups of tables cannot be compared.",
        table_of(rows),
    )


def _headings(paper: PrintedPaper) -> Erratum:
    """Headings of Table 5."""
    heads = paper.tuned[["printed_model", "model"]].drop_duplicates()
    rows: list[Row] = [
        {"column": k, "heading": line["printed_model"], "by its place": model_name(line["model"])}
        | {"odd": line["printed_model"] != model_name(line["model"])}
        for k, line in enumerate(heads.to_dict("records"), 1)
    ]
    odd = [str(row["column"]) for row in rows if row["odd"]]
    return Erratum(
        "headings",
        "Headings of Table 5",
        "Table 5",
        f"The columns are headed {listed(row['heading'] for row in rows)}.",
        f"Columns that are headed otherwise than their place says: {listed(odd)}.",
        CONTRADICTION if odd else CONSISTENT,
        "Which hyperparameters belong to the model of all labels has to be guessed; we read the "
        "columns in order.",
        table_of(rows),
    )


def _captions(paper: PrintedPaper) -> Erratum:
    """Numbers of locations in Tables 6 to 8."""
    rows: list[Row] = [
        {
            "table": f"Table {number}",
            "caption": round(paper.said(f"caption_locations_table{number}")),
        }
        | {"text": round(paper.said(f"text_locations_table{number}"))}
        | {"rows show": int(table["location"].nunique())}
        for number, table in paper.mines.items()
    ]
    for row in rows:
        row["odd"] = len({row["caption"], row["text"], row["rows show"]}) > 1
    odd = [str(row["table"]) for row in rows if row["odd"]]
    return Erratum(
        "captions",
        "Locations in Tables 6 to 8",
        "section 4; captions of Tables 6–8",
        "Captions and text say how many locations are shown.",
        f"Caption, text and rows differ in: {listed(odd)}.",
        CONTRADICTION if odd else CONSISTENT,
        "No score depends on it.",
        table_of(rows),
    )


def _sign(value: float) -> int:
    """Return the sign of a difference, 0 for one that rounding can make."""
    return 0 if abs(value) < 2 * ROUNDING else int(np.sign(value))


SCORE_ERRATA: tuple[Check, ...] = (
    _averages,
    _average_weights,
    _whole_between_subsets,
    _two_general_models,
    _mine_accuracy,
    _headings,
    _captions,
)
"""Checks of arithmetic within the tables, in the order of the page."""
