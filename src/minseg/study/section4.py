"""What section 4 says of the classes (``section4.csv``), measured on a run's errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from minseg.scoring.intervals import RESAMPLES, interval
from minseg.study.errors import MISSED_BELOW, WITHIN_2_PX, Explanations, Pooled, pooled
from minseg.study.runs import Run

SNOWY_SHARE = 0.05
"""A scene is snowy if this share of its tested pixels is snow-bright."""

NEAR_ZERO_IOU = 0.05
"""An IoU below this is "close to 0"."""

PAPER_NEAR_ZERO, PAPER_AREAS = 3, 38
"""Mines of the paper with an IoU of excavation close to 0, of so many (section 4.1)."""

CLAIM_COLUMNS = [
    *("id", "section", "claim", "measured", "value", "low", "high", "mines", "beside", "other"),
    *("difference", "difference_low", "difference_high", "draws"),
]

Claim = dict[Any, Any]  # a row of section4.csv
Measured = tuple[Pooled, Pooled]
"""A value, and what it is compared with."""


def claims(run: Run, explanations: Explanations) -> pd.DataFrame:
    """Measure what section 4 says of the classes of a run (``section4.csv``) on all test mines.

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
    rows = []
    stated = pd.read_csv(Path(__file__).with_name("section4.csv"), dtype=str, keep_default_na=False)
    for claim in stated.to_dict("records"):
        if claim["class"] not in explanations.class_names:
            continue
        measured = _MEASURES[claim["measure"]](claim, run, explanations)
        if measured is None:
            continue
        value, other = measured
        draws, mines = value.draws - other.draws, min(len(value.mines), len(other.mines))
        areas = _whole_objects(explanations, claim["class"])["area_ha"]
        middle = "the median area" + ("" if areas.empty else f", {areas.median():.2g} ha,")
        words = claim | _WORDS | {"middle": middle, "within": WITHIN_2_PX}
        rows.append(
            [
                *(claim["id"], claim["section"], claim["claim"]),
                *(claim["measured"].format_map(words), value.value, *value.interval, mines),
                *(claim["beside"].format_map(words), other.value, value.value - other.value),
                *(interval(draws) if mines > 1 else (np.nan, np.nan)),
                draws,
            ]
        )
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS)


def _confusion_claim(claim: Claim, run: Run, explanations: Explanations) -> Measured | None:
    """Measure a claim about confusions, beside what blind errors would give."""
    table, named = explanations.confusions, ["class", "error", "by", "other"]
    lines = table[(table[named] == [claim[column] for column in named]).all(axis=1)]
    if lines.empty:  # the run does not tell the other class from the background
        return None
    lines = lines.set_index("mine")
    there = pooled(lines["errors_there"], lines["errors"])
    return there, pooled(lines["pixels_there"], lines["pixels"])


def _boundary_claim(claim: Claim, run: Run, explanations: Explanations) -> Measured:
    """Measure how much of the error of a class is at its boundary, beside that of another."""
    table = explanations.conditions
    table = table[table["condition"] == WITHIN_2_PX].set_index("mine")
    own, other = (table[table["class"] == claim[one]] for one in ("class", "other"))
    at_own = pooled(own["errors_there"], own["errors"])
    return at_own, pooled(other["errors_there"], other["errors"])


def _near_zero_claim(claim: Claim, run: Run, explanations: Explanations) -> Measured:
    """Count mines that a model hardly finds at all."""
    counts = _class_counts(run, claim["class"])
    near_zero = (counts["tp"] < NEAR_ZERO_IOU * counts["union"]).astype(int)
    printed = PAPER_NEAR_ZERO / PAPER_AREAS
    # The paper's mines are others than ours: a sample of its own, as small.
    drawn = np.random.default_rng(0).binomial(PAPER_AREAS, printed, RESAMPLES) / PAPER_AREAS
    paper = Pooled(printed, drawn, tuple(map(str, range(PAPER_AREAS))))
    return pooled(near_zero, (counts["union"] > 0).astype(int)), paper


def _snow_claim(claim: Claim, run: Run, explanations: Explanations) -> Measured:
    """Compare snowy mines with the others, or their recall with their precision."""
    snow, counts = explanations.scenes["snow"], _class_counts(run, claim["class"])
    snowy, others = (
        counts[counts.index.isin(snow.index[chosen])]
        for chosen in (snow >= SNOWY_SHARE, snow < SNOWY_SHARE)
    )
    if claim["measure"] == "snow":
        return pooled(snowy["tp"], snowy["union"]), pooled(others["tp"], others["union"])
    return pooled(snowy["tp"], snowy["truth"]), pooled(snowy["tp"], snowy["found"])


def _several_objects_claim(claim: Claim, run: Run, explanations: Explanations) -> Measured:
    """Compare the recall in mines of several large objects of a class with mines of one."""
    name, objects = claim["class"], explanations.objects
    large = objects[(objects["class"] == name) & (objects["area_ha"] >= 1)].groupby("mine").size()
    counts = _class_counts(run, name)
    several, one = (
        counts[counts.index.isin(large.index[chosen])] for chosen in (large >= 2, large == 1)
    )
    return pooled(several["tp"], several["truth"]), pooled(one["tp"], one["truth"])


def _small_objects_claim(claim: Claim, run: Run, explanations: Explanations) -> Measured:
    """Compare how many of the smaller half of the objects of a class are missed with the larger."""
    objects = _whole_objects(explanations, claim["class"])
    missed = (objects["detected"] < MISSED_BELOW).astype(int)
    small, one = objects["area_ha"] < objects["area_ha"].median(), pd.Series(1, index=objects.index)
    return pooled(missed[small], one[small]), pooled(missed[~small], one[~small])


_MEASURES: dict[str, Callable[[Claim, Run, Explanations], Measured | None]] = {
    "confusion": _confusion_claim,
    "boundary": _boundary_claim,
    "near zero": _near_zero_claim,
    "snow": _snow_claim,
    "snow recall": _snow_claim,
    "several objects": _several_objects_claim,
    "small objects": _small_objects_claim,
}

_WORDS = {
    "near_zero": NEAR_ZERO_IOU,
    "found": PAPER_NEAR_ZERO,
    "areas": PAPER_AREAS,
    "snowy": SNOWY_SHARE,
    "missed": MISSED_BELOW,
}
"""What texts of section4.csv name besides columns."""


def _whole_objects(explanations: Explanations, name: str) -> pd.DataFrame:
    """Return the objects of a class that lie within what was tested, indexed by mine."""
    objects = explanations.objects
    return objects[(objects["class"] == name) & ~objects["cut"].astype(bool)].set_index("mine")


def _class_counts(run: Run, name: str) -> pd.DataFrame:
    """Return tp, truth, found and union of one class in pixels, indexed by mine."""
    rows = run.counts_of("test")
    rows = rows[rows["class"] == name].set_index("mine")
    truth, found = rows["tp"] + rows["fn"], rows["tp"] + rows["fp"]
    union = truth + rows["fp"]
    return pd.DataFrame({"tp": rows["tp"], "truth": truth, "found": found, "union": union})
