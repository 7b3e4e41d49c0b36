"""What section 4 of the paper says of errors on single mines, each measured on all test mines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from minseg.study.error_shares import condition_shares, confusion_share, share
from minseg.study.explanations import NO_CLASS, WITHIN_2_PX, Explanations
from minseg.study.runs import Run

SNOWY_SHARE = 0.05
"""A scene is snowy if this share of its tested pixels is snow-bright."""

MISSED_BELOW = 0.5
"""An object is missed if less than this share of it is detected."""

NEAR_ZERO_IOU = 0.05
"""An IoU below this is "close to 0"."""

CLAIM_COLUMNS = ["section", "claim", "measured", "value", "low", "high", "mines", "beside", "other"]


@dataclass(frozen=True)
class _Confusion:
    """A claim that errors of one class are due to another."""

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
    _Confusion(*line)
    for line in (
        ("4.1", "False positives of excavations lie on dumps", _EXCAVATION, _FP, _ON, _DUMP),
        (
            "4.1",
            "Missed preparatory areas are taken for excavation",
            _PREPARATION,
            _FN,
            _AS,
            _EXCAVATION,
        ),
        (
            "4.1",
            "False positives of preparatory areas are not mining",
            _PREPARATION,
            _FP,
            _ON,
            NO_CLASS,
        ),
        ("4.2", "False positives of dumps lie on excavations", _DUMP, _FP, _ON, _EXCAVATION),
        ("4.2", "Missed dumps are tailings", _DUMP, _FN, _ON, _TAILINGS),
        ("4.2", "False positives of dumps lie on tailings", _DUMP, _FP, _ON, _TAILINGS),
        ("4.3", "False positives of tailings lie on dumps", _TAILINGS, _FP, _ON, _DUMP),
        ("4.3", "Tailings are drawn over their dam", _TAILINGS, _FP, _ON, _DAM),
        ("4.3", "False positives of dams lie on untransformed ground", _DAM, _FP, _ON, NO_CLASS),
        ("4.3", "False positives of infrastructure are not mining", _PLANT, _FP, _ON, NO_CLASS),
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
        Rows section, claim (in our words), measured (what the value is), value, low, high (95 %
        interval over mines), mines (how many the value rests on), beside (what to compare it with)
        and other (that value). Claims about classes that the run does not predict are left out;
        values are NaN where labels or bands do not tell.
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
        found = confusion_share(lines)
        place = f"on {one.other}" if one.by == "annotated" else f"predicted as {one.other}"
        pool = (
            f"{one.name} pixels"
            if one.error == _FN and one.by == "annotated"
            else f"pixels without {one.name}"
        )
        yield _row(
            one.section,
            one.claim,
            f"share of the {one.error} pixels of {one.name} {place}",
            found,
            f"the same share of all {pool}",
            found["reference"],
        )


def _strip_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Measure how much of the error of thin strips is at their boundary."""
    name, beside = "preparatory work area", "excavation"
    if name not in explanations.class_names:
        return
    table = condition_shares(explanations)
    lines = table[table["condition"] == WITHIN_2_PX].set_index("class")
    yield _row(
        "4.1",
        "Preparatory areas are thin, and so inaccurate at their edges",
        f"share of the error pixels of {name} {WITHIN_2_PX}",
        lines[lines.index == name].iloc[0],
        f"the same for {beside}",
        float(lines["value"].get(beside, np.nan)),
    )


def _near_zero_claims(run: Run, explanations: Explanations) -> Iterator[dict]:
    """Count mines that a model hardly finds at all."""
    if "excavation" not in explanations.class_names:
        return
    counts = _class_counts(run, "excavation")
    union = counts["tp"] + counts["fp"] + counts["fn"]
    known = counts[union > 0]
    near_zero = (known["tp"] / union[union > 0] < NEAR_ZERO_IOU).astype(int)
    yield _row(
        "4.1",
        "Predictions are seldom absent or wholly wrong",
        f"share of the mines with an IoU of excavation below {NEAR_ZERO_IOU}",
        share(near_zero, pd.Series(1, index=near_zero.index)),
        "the paper's 3 of 38 mines with an IoU close to 0",
        3 / 38,
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
        "4.1",
        "Scenes with snow score lower",
        f"IoU of {name}, mines with at least {SNOWY_SHARE:.0%} snow-bright pixels",
        _share_of(counts["tp"], union, snowy),
        "the same, other mines",
        _share_of(counts["tp"], union, others)["value"],
    )
    yield _row(
        "4.1",
        "Snow spoils precision, not recall",
        f"recall of {name}, mines with at least {SNOWY_SHARE:.0%} snow-bright pixels",
        _share_of(counts["tp"], counts["tp"] + counts["fn"], snowy),
        "precision of the same mines",
        _share_of(counts["tp"], counts["tp"] + counts["fp"], snowy)["value"],
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
        "4.1",
        "In mines of several pits much is missed",
        f"recall of {name}, mines with two or more of at least 1 ha",
        _share_of(counts["tp"], truth, pits.index[pits >= 2]),
        "the same, mines with one",
        _share_of(counts["tp"], truth, pits.index[pits == 1])["value"],
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
        "4.3",
        "Small settling ponds are missed",
        f"share of the settling ponds below {below} that are less than {MISSED_BELOW:.0%} found",
        share(missed[small], one[small]),
        "the same, larger ponds",
        share(missed[~small], one[~small])["value"],
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


def _share_of(there: pd.Series, whole: pd.Series, mines: pd.Index) -> dict[str, float]:
    """Return a share pooled over some of the mines."""
    return share(there[there.index.isin(mines)], whole[whole.index.isin(mines)])


def _row(
    section: str,
    claim: str,
    measured: str,
    found: dict[str, float] | pd.Series,
    beside: str,
    other: float,
) -> dict:
    """Make a row of the claims."""
    numbers = {name: found[name] for name in ("value", "low", "high", "mines")}
    return (
        {"section": section, "claim": claim, "measured": measured}
        | numbers
        | {
            "beside": beside,
            "other": other,
        }
    )
