"""What section 4 of the paper says of errors on single mines, each measured on all test mines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from minseg.scoring.intervals import RESAMPLES, interval
from minseg.study.errors import NO_CLASS, WITHIN_2_PX, Explanations, Pooled, pooled
from minseg.study.runs import Run

SNOWY_SHARE = 0.05
"""A scene is snowy if this share of its tested pixels is snow-bright."""

MISSED_BELOW = 0.5
"""An object is missed if less than this share of it is detected."""

NEAR_ZERO_IOU = 0.05
"""An IoU below this is "close to 0"."""

PAPER_NEAR_ZERO, PAPER_AREAS = 3, 38
"""Mines of the paper with an IoU of excavation close to 0, of so many (section 4.1)."""

CLAIM_COLUMNS = [
    *("id", "section", "claim", "measured", "value", "low", "high", "mines", "beside", "other"),
    *("difference", "difference_low", "difference_high", "draws"),
]


@dataclass(frozen=True)
class _Confusion:
    """A claim that errors of one class are due to another."""

    id: str
    section: str
    claim: str
    name: str
    """The class in error."""
    error: str
    by: str
    other: str
    """What is annotated or predicted there."""


_FP, _FN = "false positive", "false negative"
_ON, _AS = "annotated", "predicted"
_EXCAVATION, _PREPARATION, _DUMP = "excavation", "preparatory work area", "dumping ground"
_TAILINGS, _DAM, _PLANT = "tailing storage facility", "dam", "infrastructure"
_CONFUSIONS = tuple(
    _Confusion(*texts, *errors)
    for texts, errors in (
        (
            ("excavation-on-dumps", "4.1", "False positives of excavations lie on dumps"),
            (_EXCAVATION, _FP, _ON, _DUMP),
        ),
        (
            (
                *("preparation-as-excavation", "4.1"),
                "Missed preparatory areas are taken for excavation",
            ),
            (_PREPARATION, _FN, _AS, _EXCAVATION),
        ),
        (
            (
                *("preparation-not-mining", "4.1"),
                "False positives of preparatory areas are not mining",
            ),
            (_PREPARATION, _FP, _ON, NO_CLASS),
        ),
        (
            ("dumps-on-excavation", "4.2", "False positives of dumps lie on excavations"),
            (_DUMP, _FP, _ON, _EXCAVATION),
        ),
        (
            ("dumps-as-tailings", "4.2", "Missed dumps are tailings"),
            (_DUMP, _FN, _ON, _TAILINGS),
        ),
        (
            ("dumps-on-tailings", "4.2", "False positives of dumps lie on tailings"),
            (_DUMP, _FP, _ON, _TAILINGS),
        ),
        (
            ("tailings-on-dumps", "4.3", "False positives of tailings lie on dumps"),
            (_TAILINGS, _FP, _ON, _DUMP),
        ),
        (
            ("tailings-on-dam", "4.3", "Tailings are drawn over their dam"),
            (_TAILINGS, _FP, _ON, _DAM),
        ),
        (
            ("dams-on-ground", "4.3", "False positives of dams lie on untransformed ground"),
            (_DAM, _FP, _ON, NO_CLASS),
        ),
        (
            ("plants-not-mining", "4.3", "False positives of infrastructure are not mining"),
            (_PLANT, _FP, _ON, NO_CLASS),
        ),
    )
)


def claims(run: Run, explanations: Explanations) -> pd.DataFrame:
    """Measure what section 4 says of the classes of a run.

    Parameters
    ----------
    run : Run
    explanations : Explanations
        Of that run.

    Returns
    -------
    pandas.DataFrame
        Rows id, section, claim (in our words), measured (what the value is), value, low, high (95 %
        interval over mines), mines (how many the value and the other rest on, the fewer of both),
        beside (what to compare it with), other (that value), difference (value minus other) with
        its interval, both sides on the same resamples of the mines, and draws (that difference in
        each). Claims about classes that the run does not predict are left out; numbers are NaN
        where labels or bands do not tell.
    """
    return pd.DataFrame(
        [row for measure in _MEASURES for row in measure(run, explanations)],
        columns=CLAIM_COLUMNS,
    )


def _confusion_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Measure the claims about confusions, beside what blind errors would give."""
    for one in _CONFUSIONS:
        if one.name not in explanations.class_names:
            continue
        table = explanations.confusions
        kind = (table["error"] == one.error) & (table["by"] == one.by)
        lines = table[kind & (table["class"] == one.name) & (table["other"] == one.other)]
        if lines.empty:  # the run does not tell the other class from the background
            continue
        lines = lines.set_index("mine")
        place = f"on {one.other}" if one.by == "annotated" else f"predicted as {one.other}"
        pool = (
            f"{one.name} pixels"
            if one.error == _FN and one.by == "annotated"
            else f"pixels without {one.name}"
        )
        yield _row(
            (one.id, one.section, one.claim),
            f"share of the {one.error} pixels of {one.name} {place}",
            pooled(lines["errors_there"], lines["errors"]),
            f"the same share of all {pool}",
            pooled(lines["pixels_there"], lines["pixels"]),
        )


def _strip_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Measure how much of the error of thin strips is at their boundary."""
    name, beside = "preparatory work area", "excavation"
    if name not in explanations.class_names:
        return
    table = explanations.conditions
    table = table[table["condition"] == WITHIN_2_PX].set_index("mine")
    strips, pits = (
        pooled(lines["errors_there"], lines["errors"])
        for lines in (table[table["class"] == one] for one in (name, beside))
    )
    yield _row(
        ("thin-strips", "4.1", "Preparatory areas are thin, and so inaccurate at their edges"),
        f"share of the error pixels of {name} {WITHIN_2_PX}",
        strips,
        f"the same for {beside}",
        pits,
    )


def _near_zero_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Count mines that a model hardly finds at all."""
    if "excavation" not in explanations.class_names:
        return
    counts = _class_counts(run, "excavation")
    union = counts["tp"] + counts["fp"] + counts["fn"]
    near_zero = (counts["tp"] < NEAR_ZERO_IOU * union).astype(int)
    printed = PAPER_NEAR_ZERO / PAPER_AREAS
    # The paper's mines are others than ours: a sample of its own, as small.
    drawn = np.random.default_rng(0).binomial(PAPER_AREAS, printed, RESAMPLES) / PAPER_AREAS
    yield _row(
        ("near-zero", "4.1", "Predictions are seldom absent or wholly wrong"),
        f"share of the mines with an IoU of excavation below {NEAR_ZERO_IOU}",
        pooled(near_zero, (union > 0).astype(int)),
        f"the paper's {PAPER_NEAR_ZERO} of {PAPER_AREAS} mines with an IoU close to 0",
        Pooled(printed, drawn, tuple(map(str, range(PAPER_AREAS)))),
    )


def _snow_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Compare snowy mines with the others."""
    name = "excavation"
    if name not in explanations.class_names:
        return
    snow = explanations.scenes["snow"]
    snowy, others = snow.index[snow >= SNOWY_SHARE], snow.index[snow < SNOWY_SHARE]
    counts = _class_counts(run, name)
    union = counts["tp"] + counts["fp"] + counts["fn"]
    yield _row(
        ("snow-iou", "4.1", "Scenes with snow score lower"),
        f"IoU of {name}, mines with at least {SNOWY_SHARE:.0%} snow-bright pixels",
        _share_of(counts["tp"], union, snowy),
        "the same, other mines",
        _share_of(counts["tp"], union, others),
    )
    yield _row(
        ("snow-recall", "4.1", "Snow spoils precision, not recall"),
        f"recall of {name}, mines with at least {SNOWY_SHARE:.0%} snow-bright pixels",
        _share_of(counts["tp"], counts["tp"] + counts["fn"], snowy),
        "precision of the same mines",
        _share_of(counts["tp"], counts["tp"] + counts["fp"], snowy),
    )


def _multi_pit_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Compare mines of several pits with those of one."""
    name = "excavation"
    if name not in explanations.class_names:
        return
    objects = explanations.objects
    pits = objects[(objects["class"] == name) & (objects["area_ha"] >= 1)].groupby("mine").size()
    counts = _class_counts(run, name)
    truth = counts["tp"] + counts["fn"]
    yield _row(
        ("several-pits", "4.1", "In mines of several pits much is missed"),
        f"recall of {name}, mines with two or more of at least 1 ha",
        _share_of(counts["tp"], truth, pits.index[pits >= 2]),
        "the same, mines with one",
        _share_of(counts["tp"], truth, pits.index[pits == 1]),
    )


def _pond_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Compare the smaller half of the settling ponds with the larger."""
    name = "settling pond"
    if name not in explanations.class_names:
        return
    ponds = explanations.objects
    ponds = ponds[(ponds["class"] == name) & ~ponds["cut"].astype(bool)].set_index("mine")
    missed = (ponds["detected"] < MISSED_BELOW).astype(int)
    one = pd.Series(1, index=ponds.index)
    middle_ha = ponds["area_ha"].median()
    small = ponds["area_ha"] < middle_ha
    below = "the median area" if ponds.empty else f"the median area, {middle_ha:.2g} ha,"
    yield _row(
        ("small-ponds", "4.3", "Small settling ponds are missed"),
        f"share of the settling ponds below {below} that are less than {MISSED_BELOW:.0%} found",
        pooled(missed[small], one[small]),
        "the same, larger ponds",
        pooled(missed[~small], one[~small]),
    )


_MEASURES: tuple[Callable[[Run, Explanations], Iterator[dict]], ...] = (
    _confusion_claims,
    _strip_claims,
    _near_zero_claims,
    _snow_claims,
    _multi_pit_claims,
    _pond_claims,
)


def _class_counts(run: Run, name: str) -> pd.DataFrame:
    """Return tp, fp, fn of one class, indexed by mine."""
    rows = run.counts_of("test")
    return rows[rows["class"] == name].set_index("mine")[["tp", "fp", "fn"]]


def _share_of(there: pd.Series, whole: pd.Series, mines: pd.Index) -> Pooled:
    """Return a share pooled over some of the mines."""
    some = there.index.isin(mines)
    return pooled(there[some], whole[some])


def _row(
    names: tuple[str, str, str], measured: str, value: Pooled, beside: str, other: Pooled
) -> dict:
    """Make a row of the claims."""
    draws = value.draws - other.draws
    low, high = interval(value.draws) if len(value.mines) > 1 else (np.nan, np.nan)
    mines = min(len(value.mines), len(other.mines))
    of_difference = interval(draws) if mines > 1 else (np.nan, np.nan)
    numbers = [value.value, low, high, mines, beside, other.value, value.value - other.value]
    return dict(
        zip(CLAIM_COLUMNS, [*names, measured, *numbers, *of_difference, draws], strict=True)
    )
