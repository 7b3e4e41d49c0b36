"""Tests of claims against the paper's printed rows: small functions, known by name."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pandas as pd

from minseg.audit.claims_arithmetic import EXACT, evaluate, printed
from minseg.audit.claims_contrasts import CONTRASTS, Contrast, Rows, groups, signature_of, title
from minseg.audit.claims_images import images, mines, volume_helps
from minseg.audit.claims_verdicts import (
    ABOVE_ZERO,
    HOLDS,
    UNDECIDABLE,
    Comparison,
    PaperFinding,
    Region,
    weigh,
)
from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.labels import parse_task
from minseg.study.paper import ROUNDING

PaperTest = Callable[..., PaperFinding]
"""From a claim's rows and its parameters to what they say."""


def _of_contrasts(build: Callable[..., Iterable[Contrast]]) -> PaperTest:
    """Make a test of printed values from comparisons."""

    def test(rows: Rows, *, share: float = 1.0, **parameters: object) -> PaperFinding:
        return weigh([evaluate(one) for one in build(rows, **parameters)], share)

    test.__signature__ = signature_of(build, "rows")  # type: ignore[attr-defined]
    return test


def no_gain(rows: Rows, *, of: str, pairs: list[list[str]]) -> PaperFinding:
    """Test that something did not *significantly* raise a metric.

    Where nothing rose this holds; where something did, printed means without any measure of their
    uncertainty cannot tell.
    """
    edge, words = Region(high=10.0**-EXACT), "not significantly above 0"
    found = [
        replace(evaluate(one), claimed=edge, expected=words)
        for one in CONTRASTS["above"](rows, of=of, pairs=pairs)
    ]
    rose = [one for one in found if not one.as_claimed]
    if not rose:
        return PaperFinding(HOLDS, f"None of {len(found)} values rose.", tuple(found))
    most = max(rose, key=lambda one: one.value)
    return PaperFinding(
        UNDECIDABLE,
        f"{len(rose)} of {len(found)} values rose, most {most.name} by {printed(most.value)}; "
        "the tables give no measure of uncertainty by which a rise would be significant or not.",
        tuple(found),
    )


def ranges_exceed(rows: Rows, *, of: str, by: float) -> PaperFinding:
    """Test that the values of each group span more than `by`."""
    found = []
    for group in groups(rows, of):
        values = pd.Series({name: cell.printed for name, cell in group.cells.items()})
        top, bottom = str(values.idxmax()), str(values.idxmin())
        span = round(values[top] - values[bottom], EXACT)
        arithmetic = f"{printed(values[top])} − {printed(values[bottom])} = {printed(span)}"
        name = f"{group.name}: highest ({title(top)}) − lowest ({title(bottom)})"
        found.append(Comparison(name, arithmetic, span, Region(low=by)))
    return weigh(found)


def largest_difference_in(rows: Rows, *, metric: str, pairs: list[list[str]]) -> PaperFinding:
    """Test that of all metrics one differs most between the splits of a pair."""
    found = []
    for row, reference in pairs:
        differences: dict[str, dict[str, float]] = {}
        for contrast in CONTRASTS["above"](rows, of="split", pairs=[[row, reference]]):
            keys = contrast.cells[0][1].keys
            differences.setdefault(keys["model"], {})[keys["metric"]] = evaluate(contrast).value
        for model, by_metric in differences.items():
            others = {name: abs(value) for name, value in by_metric.items() if name != metric}
            rival = max(others, key=lambda name: others[name])
            lead = round(abs(by_metric[metric]) - others[rival], EXACT)
            found.append(
                Comparison(
                    f"{title(model)}, {row} and {reference}: {metric} before {title(rival)}",
                    f"{printed(abs(by_metric[metric]))} − {printed(others[rival])} = "
                    f"{printed(lead, signed=True)}",
                    lead,
                    ABOVE_ZERO,
                )
            )
    return weigh(found)


def labels_need_bands(rows: Rows) -> PaperFinding:
    """Test that the best configuration has the more channels the more labels a model predicts."""
    best = []
    for group in groups(rows, "bands"):
        values = pd.Series({name: cell.printed for name, cell in group.cells.items()})
        model = next(iter(group.cells.values())).keys["model"]
        labels = parse_task(model).num_classes - 1
        bands = str(values.idxmax())
        best.append((labels, len(BAND_CONFIGURATIONS[bands]), title(model), bands))
    best.sort()
    found = [
        Comparison(
            f"{more[2]} ({more[0]} labels) against {fewer[2]} ({fewer[0]})",
            f"{more[3]}, {more[1]} channels − {fewer[3]}, {fewer[1]} channels = "
            f"{printed(more[1] - fewer[1], signed=True)}",
            more[1] - fewer[1],
            ABOVE_ZERO,
        )
        for k, fewer in enumerate(best)
        for more in best[k + 1 :]
        if more[0] > fewer[0]
    ]
    return weigh(found)


def every_value(rows: Rows, *, value: str) -> PaperFinding:
    """Test that each printed cell says one thing (Table 5)."""
    found = []
    for table in rows:
        for _, row in table.iterrows():
            same = float(str(row["value"]) == value)
            name = f"{title(row['model'])}, {row['hyperparameter'].replace('_', ' ')}"
            text = f"printed {row['printed']}"
            found.append(
                Comparison(name, text, same, Region(low=0.5), f"{value}, as a number", False)
            )
    return weigh(found)


def differ(rows: Rows) -> PaperFinding:
    """Test that the printed choices of the models are not all the same (Table 5)."""
    found = []
    for table in rows:
        for name, part in table.groupby("hyperparameter", sort=False):
            number = part["value"].nunique()
            listed = ", ".join(
                f"{title(m)} {p}" for m, p in zip(part["model"], part["printed"], strict=True)
            )
            text = f"{listed}: {number} different"
            name = str(name).replace("_", " ")
            found.append(Comparison(name, text, number, Region(low=1), "not all the same", False))
    return weigh(found)


def highest_rounds_to(rows: Rows, *, value: float, decimals: int) -> PaperFinding:
    """Test that the highest printed value is the one quoted, after rounding."""
    table = pd.concat(rows, ignore_index=True)
    top = table.iloc[int(table["value"].argmax())]
    what = ", ".join(
        title(str(top[name]))
        for name in ("bands", "split", "model", "metric")
        if pd.notna(top.get(name))
    )
    shown = round(float(top["value"]), decimals)
    half = 0.5 * 10.0**-decimals
    one = Comparison(
        "highest value",
        f"{printed(top['value'])}, rounded {shown:g} ({what})",
        shown,
        Region(value - half, value + half),
        f"{value:g}",
        drawable=False,
    )
    return weigh([one])


def mean_bounds(rows: Rows) -> PaperFinding:
    """Test the bound that one averaging puts on means: IoU is not above recall or precision."""
    found = []
    for group in groups(rows, "metric"):
        cells = group.cells
        iou, recall, precision = (cells[name].printed for name in ("iou", "recall", "precision"))
        bound = min(recall, precision)
        room = round(bound - iou, EXACT)
        found.append(
            Comparison(
                f"{group.name}: min(recall, precision) − IoU",
                f"min({printed(recall)}, {printed(precision)}) − {printed(iou)} = "
                f"{printed(room, signed=True)}",
                room,
                Region(low=-2 * ROUNDING),  # two rounded values may miss the bound by that
            )
        )
    return weigh(found)


PAPER_TESTS: dict[str, PaperTest] = {
    **{name: _of_contrasts(build) for name, build in CONTRASTS.items()},
    "no_gain": no_gain,
    "ranges_exceed": ranges_exceed,
    "largest_difference_in": largest_difference_in,
    "images": images,
    "mines": mines,
    "volume_helps": volume_helps,
    "labels_need_bands": labels_need_bands,
    "every_value": every_value,
    "differ": differ,
    "highest_rounds_to": highest_rounds_to,
    "mean_bounds": mean_bounds,
}
"""Tests by the names that the ledger calls them."""
