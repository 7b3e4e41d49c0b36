"""Errata by identities that scores of one class must obey (Tables 3, 4 and 6 to 8)."""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from minseg.audit.averaging import with_identity
from minseg.audit.erratum import (
    ACCURATE,
    CONSISTENT,
    CONTRADICTION,
    NOT_STATED,
    Check,
    Erratum,
    PrintedPaper,
    Row,
    Scores,
    difference,
    listed,
    model_name,
    table_of,
)
from minseg.learning.metrics import METRICS
from minseg.study.experiments import AVERAGES, GENERAL_OF, MODELS
from minseg.study.paper import ROUNDING

_BINARY = ("model2", "model4")


def _iou_bound(paper: PrintedPaper) -> Erratum:
    """IoU <= min(precision, recall) under one averaging, in Tables 3 and 4."""
    rows: list[Row] = []
    for model in MODELS:
        lines = pd.DataFrame(_score_rows(paper, model), columns=["row", *METRICS])
        found = with_identity(lines, ROUNDING)
        broken = int(found["breaks"].sum())
        rows.append(
            {
                "model": model_name(model),
                "rows": len(found),
                "IoU above precision or recall": broken,
            }
            | {"largest excess": max(found["margin"].max(), 0.0), "odd": broken > 0}
        )
    total = sum(row["IoU above precision or recall"] for row in rows)
    return Erratum(
        "iou-bound",
        "Mean IoU above mean precision and recall",
        "section 3; Tables 3, 4",
        "Each score is the mean of its values over all classes.",
        "For one class IoU is at most precision and at most recall, and so are means over the same "
        f"classes. {total} of {sum(row['rows'] for row in rows)} rows (AVG rows left out) break "
        f"that, of {listed(row['model'] for row in rows if row['odd'])}.",
        CONTRADICTION if total else CONSISTENT,
        "Where a row breaks it, IoU was averaged by another rule than precision and recall, and "
        "they cannot be read side by side. Page 13 tries the rules that could give such numbers.",
        table_of(rows),
    )


def _binary_iou(paper: PrintedPaper) -> Erratum:
    """IoU of one class follows from its precision and recall."""
    rows: list[Row] = []
    for model in _BINARY:
        for row, iou, recall, precision, _ in _score_rows(paper, model):
            low, high = _iou_span(precision, recall)
            rows.append(
                {"row": row, "model": model_name(model), "recall": recall, "precision": precision}
                | {"IoU": iou, "IoU from these": f"{low:.3f} to {high:.3f}"}
                | {"odd": not _overlap((low, high), _span(iou))}
                | {"excess": round(iou - _iou(precision, recall), 3)}
            )
    odd = [row for row in rows if row["odd"]]
    of_model = [
        f"{sum(row['model'] == name for row in odd)} of "
        f"{sum(row['model'] == name for row in rows)} of {name}"
        for name in map(model_name, _BINARY)
    ]
    furthest = max(rows, key=lambda row: abs(row["excess"]))
    return Erratum(
        "binary-iou",
        "IoU of the binary models",
        "section 3; Tables 3, 4",
        "Models 2 and 4 have one class each.",
        "For one class, counted over all test pixels, IoU = 1 / (1/P + 1/R − 1). "
        f"{' and '.join(of_model)} rows differ from that by more than rounding; the furthest is "
        f"{furthest['row']} of {furthest['model']}, by {furthest['excess']:+.3f}.",
        NOT_STATED if odd else CONSISTENT,
        "Means over images need not obey the formula, and neither does IoU with the background "
        "averaged in. Which it was, the paper does not say (page 13).",
        table_of(rows),
    )


def _recall_and_precision_up(paper: PrintedPaper) -> Erratum:
    """Find pairs of rows with more recall and precision, yet less IoU or accuracy."""
    rows: list[Row] = []
    for model in _BINARY:
        lines = {row: values for row, *values in _score_rows(paper, model)}
        same_mines = [
            *itertools.permutations([row for row, _, _ in _in_table(paper.bands, model)], 2),
            *((row, other) for pair in _targeted_pairs() for row, other in (pair, pair[::-1])),
        ]
        for better, other in same_mines:
            gains = [difference(*pair) for pair in zip(lines[better], lines[other], strict=True)]
            iou, recall, precision, accuracy = gains
            # Two rounded values can differ by 0.001 without a difference.
            if min(recall, precision) >= 0 and min(iou, accuracy) < -2 * ROUNDING - ACCURATE:
                rows.append(
                    {"model": model_name(model), "row": better, "against": other}
                    | {"recall": f"{recall:+.3f}", "precision": f"{precision:+.3f}"}
                    | {"IoU": f"{iou:+.3f}", "accuracy": f"{accuracy:+.3f}"}
                )
    return Erratum(
        "recall-and-precision-up",
        "More recall and more precision, yet less IoU or accuracy",
        "Tables 3, 4, Models 2 and 4",
        "Rows tested on the same mines are compared by each of the four scores.",
        "For one class, counted over all test pixels, more recall at no less precision means more "
        f"IoU and more accuracy. {len(rows)} pairs of rows have the opposite.",
        NOT_STATED if rows else CONSISTENT,
        "If scores are means over images this can happen; else a row was tested on other mines or "
        "misprinted. RGB against R+N of Model 4 decides which of them is called best.",
        table_of(rows),
    )


def _transformed_share(paper: PrintedPaper) -> Erratum:
    """Compute the share of pixels that Model 4 should find, which is one number."""
    rows: list[Row] = []
    for row, _, recall, precision, accuracy in _in_table_3(paper, "model4"):
        corners = [
            _prevalence(*corner)
            for corner in itertools.product(_span(recall), _span(precision), _span(accuracy))
        ]
        rows.append(
            {"bands": row, "recall": recall, "precision": precision, "accuracy": accuracy}
            | {"share of transformed pixels": f"{min(corners):.3f} to {max(corners):.3f}"}
            | {"low": min(corners), "high": max(corners)}
        )
    apart = any(not _overlap(_ends(a), _ends(b)) for a, b in itertools.combinations(rows, 2))
    middle = float(np.median([row["low"] + row["high"] for row in rows]))
    furthest = max(rows, key=lambda row: abs(row["low"] + row["high"] - middle))
    for line in rows:
        line["odd"] = apart and line is furthest
    return Erratum(
        "transformed-share",
        "The share of transformed ground in the test images",
        "Table 3, Model 4",
        "All band configurations are tested on the same images, for one class.",
        "Counted over all test pixels, the share of that class is (1 − accuracy) / ((1 − R) + "
        f"R(1 − P)/P). It comes out from {min(row['low'] for row in rows):.3f} to "
        f"{max(row['high'] for row in rows):.3f}, though it cannot depend on the bands.",
        NOT_STATED if apart else CONSISTENT,
        "Small differences may come from averaging over images. The row furthest from the "
        "others (marked) asks for a check of its test images or its numbers.",
        table_of(rows).drop(columns=["low", "high"]),
    )


def _mine_iou(paper: PrintedPaper) -> Erratum:
    """IoU on single mines follows from precision and recall (Tables 6 to 8)."""
    rows: list[Row] = []
    for number, table in paper.mines.items():
        for line in table.to_dict("records"):
            low, high = _iou_span(line["precision"], line["recall"])
            rows.append(
                {"table": number}
                | {name: line[name] for name in ("location", "class", "recall", "precision", "iou")}
                | {"IoU from these": f"{low:.4f} to {high:.4f}"}
                | {"odd": not _overlap((low, high), _span(line["iou"]))}
            )
    odd = [f"{row['location']}, {row['class']}" for row in rows if row["odd"]]
    return Erratum(
        "mine-iou",
        "IoU on single mines",
        "Tables 6–8",
        "IoU, recall and precision of one class on one image are given.",
        f"IoU = 1 / (1/P + 1/R − 1) within rounding in {len(rows) - len(odd)} of {len(rows)} rows. "
        f"Not so: {listed(odd)}.",
        CONTRADICTION if odd else CONSISTENT,
        "Where a row breaks it, one of its three numbers is off. Where rows obey it, single "
        "classes are scored as usual, and only the averages need explaining.",
        table_of(rows),
    )


def _in_table(scores: Scores, model: str) -> Iterator[tuple[str, str, str]]:
    """Return the keys of a model's rows, one a row."""
    return (key for key in scores if key[1:] == (model, "iou"))


def _score_rows(
    paper: PrintedPaper, model: str
) -> Iterator[tuple[str, float, float, float, float]]:
    """Return row, IoU, recall, precision and accuracy of Tables 3 and 4, but not of AVG rows."""
    yield from _in_table_3(paper, model)
    for row, _, _ in _in_table(paper.splits, model):
        if row not in AVERAGES:
            iou, recall, precision, accuracy = (paper.splits[row, model, m] for m in METRICS)
            yield row, iou, recall, precision, accuracy


def _in_table_3(
    paper: PrintedPaper, model: str
) -> Iterator[tuple[str, float, float, float, float]]:
    """Return bands, IoU, recall, precision and accuracy of Table 3."""
    for row, _, _ in _in_table(paper.bands, model):
        iou, recall, precision, accuracy = (paper.bands[row, model, m] for m in METRICS)
        yield row, iou, recall, precision, accuracy


def _targeted_pairs() -> list[tuple[str, str]]:
    """Return each subset's row of Table 4 with that of the general model on the same mines."""
    return [pair for pair in GENERAL_OF.items() if pair[0] not in AVERAGES]


def _iou(precision: float, recall: float) -> float:
    """Return the IoU of one class."""
    return 1 / (1 / precision + 1 / recall - 1) if min(precision, recall) > 0 else 0.0


def _span(value: float) -> tuple[float, float]:
    """Return between what a printed value lies."""
    return max(value - ROUNDING, 0.0), min(value + ROUNDING, 1.0)


def _iou_span(precision: float, recall: float) -> tuple[float, float]:
    """Return between what the IoU of one class lies, from its printed precision and recall."""
    low, high = zip(_span(precision), _span(recall), strict=True)
    return _iou(*low), _iou(*high)


def _prevalence(recall: float, precision: float, accuracy: float) -> float:
    """Return the share of pixels of a class, from its scores over all pixels."""
    wrong = (1 - recall) + recall * (1 - precision) / max(precision, ROUNDING)
    return (1 - accuracy) / wrong if wrong > 0 else 0.0


def _ends(row: Row) -> tuple[float, float]:
    """Return the ends of a row's span."""
    return row["low"], row["high"]


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Tell whether two spans meet."""
    return max(one[0], other[0]) <= min(one[1], other[1]) + ACCURATE


IDENTITY_ERRATA: tuple[Check, ...] = (
    _iou_bound,
    _binary_iou,
    _recall_and_precision_up,
    _transformed_share,
    _mine_iou,
)
"""Checks of identities between scores, in the order of the page."""
