"""Numbers from our runs that claims are about, each with its interval over the test mines."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from minseg.audit.claims_contrasts import Contrast, title
from minseg.audit.claims_evidence import (
    BANDS_TABLE,
    SPLITS_TABLE,
    Evidence,
    Tested,
    UntestableError,
)
from minseg.audit.claims_verdicts import ABOVE_ZERO, Effect, Missing, Region
from minseg.errors import MinsegError
from minseg.learning.intervals import bootstrap, interval
from minseg.learning.metrics import METRICS
from minseg.study.error_shares import pooled
from minseg.study.experiments import GROUPS, Result
from minseg.study.mine_claims import NEAR_ZERO_IOU
from minseg.study.runs import Run, counted_mines, counts_array

_IOU = METRICS.index("iou")


def evaluate(contrast: Contrast, evidence: Evidence) -> Effect | Missing:
    """Do a contrast's arithmetic on our scores, the same resamples of the mines on each side.

    Parameters
    ----------
    contrast : Contrast
    evidence : Evidence

    Returns
    -------
    Effect or Missing
        Not paired, and then between independent resamples, where sides have different mines.
    """
    try:
        terms = [
            (sign, evidence.find(cell.table, cell.keys), METRICS.index(cell.keys["metric"]))
            for sign, cell in contrast.cells
        ]
    except UntestableError as reason:
        return Missing(contrast.name, str(reason))
    return effect_of_draws(
        contrast.name,
        draws=np.sum([sign * one.scored.resampled[:, k] for sign, one, k in terms], axis=0),
        by_seed=np.sum([sign * one.by_seed[:, k] for sign, one, k in terms], axis=0),
        claimed=contrast.claimed,
        mines=min(len(set(one.mines)) for _, one, _ in terms),
        paired=len({one.mines for _, one, _ in terms}) == 1,
        signed=len(terms) > 1,
    )


def effect_of_draws(
    name: str,
    draws: np.ndarray,
    by_seed: np.ndarray,
    claimed: Region,
    mines: int,
    paired: bool = True,
    signed: bool = True,
) -> Effect | Missing:
    """Make an effect of its resamples and its values by seed.

    Parameters
    ----------
    name : str
    draws : float ndarray (resamples,)
    by_seed : float ndarray (seeds,)
    claimed : Region
    mines : int
    paired, signed : bool
        See `Effect`.

    Returns
    -------
    Effect or Missing
        Missing where any number is undefined.
    """
    if np.isnan([*by_seed, *interval(draws)]).any():
        return Missing(name, "the test mines hold nothing to score")
    return Effect(name, draws, tuple(map(float, by_seed)), claimed, mines, paired, signed)


def class_difference(
    evidence: Evidence, model: str, name: str, metric: str, other: str
) -> Effect | Missing:
    """Take one metric of a class from another."""
    what = f"{title(model)}, {name}, pooled over mines: {title(metric)} − {title(other)}"
    k, reference = METRICS.index(metric), METRICS.index(other)
    try:
        by_seed, draws, mines = _class_scores(evidence.general(model), name)
    except UntestableError as reason:
        return Missing(what, str(reason))
    return effect_of_draws(
        what,
        draws[:, k] - draws[:, reference],
        by_seed[:, k] - by_seed[:, reference],
        ABOVE_ZERO,
        mines,
    )


def gain_of_class(
    evidence: Evidence, model: str, name: str, row: str, reference: str
) -> Effect | Missing:
    """Take the IoU of a class with some bands from that with others."""
    what = f"{title(model)}, IoU of {name}: {row} − {reference}"
    try:
        sides = []
        for bands in (row, reference):
            evidence.find(BANDS_TABLE, {"model": model, "bands": bands})
            result = evidence.results[BANDS_TABLE, model, bands]
            sides.append(_class_scores(result, name))
    except UntestableError as reason:
        return Missing(what, str(reason))
    (ours, our_draws, mines), (theirs, their_draws, _) = sides
    draws = our_draws[:, _IOU] - their_draws[:, _IOU]
    return effect_of_draws(what, draws, ours[:, _IOU] - theirs[:, _IOU], ABOVE_ZERO, mines)


def near_zero_share(evidence: Evidence, model: str, name: str, at_most: float) -> Effect | Missing:
    """Return the share of the test mines in which a class has an IoU close to 0."""
    what = f"share of the mines with an IoU of {name} below {NEAR_ZERO_IOU:g}"
    shares, draws, mines = [], [], []
    try:
        result = evidence.general(model)
        for run in result.runs:
            counts, names = _class_counts(result, run, name)
            union = counts[:, 1, :3].sum(axis=1)
            low = (counts[:, 1, 0] < NEAR_ZERO_IOU * union).astype(float)
            found = pooled(pd.Series(low, names), pd.Series(union > 0, names).astype(int))
            shares.append(found.value)
            draws.append(found.draws)
            mines.append(len(found.mines))
        if min(mines) < 2:
            raise UntestableError(f"{min(mines)} test mines hold {name} or a prediction of it")
    except UntestableError as reason:
        return Missing(what, str(reason))
    claimed = Region(high=at_most)
    return effect_of_draws(
        what, np.mean(draws, axis=0), np.array(shares), claimed, min(mines), signed=False
    )


def measured_claim(
    evidence: Evidence, model: str, measure: str, claimed: Region
) -> Effect | Missing:
    """Take what a measure of section 4 is held against from it, both on the same resamples."""
    try:
        rows = evidence.section4(model).to_dict("records")
        found = [row for row in rows if row["id"] == measure]
        if not found:
            raise UntestableError(f"the labels here do not tell of {measure}")
        (row,) = found
        if row["mines"] < 2:
            raise UntestableError(f"too few test mines bear on “{row['claim'].lower()}”")
    except UntestableError as reason:
        return Missing(measure, str(reason))
    name = f"{row['measured']} ({row['value']:.3f}) less {row['beside']} ({row['other']:.3f})"
    by_seed = np.array([row["difference"]])  # of the first seed, whose predictions are looked at
    return effect_of_draws(name, row["draws"], by_seed, claimed, int(row["mines"]))


def gain_of_epochs(evidence: Evidence, model: str) -> Effect | Missing:
    """Take the IoU at the first epoch count from that at the last, the mean over trials."""
    what = f"{title(model)}, IoU, last minus first epoch count"
    try:
        found = evidence.candidates(model)
    except UntestableError as reason:
        return Missing(what, str(reason))
    if len(found.mines) < 2:
        return Missing(what, "a single test mine")
    epochs = found.table.drop_duplicates(["run", "epochs"]).groupby("run")["epochs"]
    first, last = epochs.idxmin(), epochs.idxmax()
    gains = [found.resampled(b) - found.resampled(a) for a, b in zip(first, last, strict=True)]
    draws = np.mean(gains, axis=0)
    iou = found.table["test_iou"]
    mean = np.array([(iou[last].to_numpy() - iou[first].to_numpy()).mean()])
    number = f"{len(first)} complete trial{'s' * (len(first) > 1)}"
    return effect_of_draws(f"{what}, mean over {number}", draws, mean, ABOVE_ZERO, len(found.mines))


def gain_of_tuning(evidence: Evidence, model: str) -> Effect | Missing:
    """Take the test IoU of the untuned settings from that of the trial that validation chooses.

    Both are trials of one search, of the same schedule and no more epochs than the untuned.
    """
    what = f"{title(model)}, IoU, chosen trial minus untuned"
    try:
        found = evidence.candidates(model)
    except UntestableError as reason:
        return Missing(what, str(reason))
    if len(found.mines) < 2:
        return Missing(what, "a single test mine")
    gain = found.gain()
    if gain is None:
        return Missing(what, "the search did not try the untuned settings")
    name = f"{what} (of {found.table['run'].nunique()} complete)"
    return effect_of_draws(name, gain[1], np.array([gain[0]]), ABOVE_ZERO, len(found.mines))


def volume_correlation(evidence: Evidence, model: str) -> Effect | Missing:
    """Correlate the number of training scenes with the lead over the general model."""
    what = (
        f"{title(model)}: rank correlation of training scenes with the lead over the general model"
    )
    dataset, images = evidence.study.dataset, []
    pairs: list[tuple[Tested, Tested]] = []
    try:
        for subset in (code for codes in GROUPS.values() for code in codes):
            found = [
                evidence.find(SPLITS_TABLE, {"model": model, "split": row})
                for row in (subset, f"G{subset}")
            ]
            pairs.append((found[0], found[1]))
            images.append(len(dataset.subset(subset).scenes_of("train")))
    except (UntestableError, MinsegError) as reason:
        return Missing(what, str(reason))
    gaps = np.stack(
        [a.scored.resampled[:, _IOU] - b.scored.resampled[:, _IOU] for a, b in pairs], 1
    )
    of_seeds = np.stack([a.by_seed[:, _IOU] - b.by_seed[:, _IOU] for a, b in pairs], axis=1)
    mines = min(one.fewest for pair in pairs for one in pair)
    return effect_of_draws(
        what, _spearman(gaps, images), _spearman(of_seeds, images), ABOVE_ZERO, mines
    )


def _class_counts(result: Result, run: Run, name: str) -> tuple[np.ndarray, list[str]]:
    """Return counts (scenes, 2, 4) of the background and one class, and the scenes' mines."""
    rows = result.counts(run)
    if name not in run.task.target_names:
        raise UntestableError(f"{run.config.task} does not predict {name}")
    counts = counts_array(rows, run.task)[:, [0, run.task.target_names.index(name)]]
    if not counts[:, 1, [0, 2]].any():
        raise UntestableError(f"no test scene holds {name}")
    return counts, counted_mines(rows)


def _class_scores(result: Result, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return pooled scores of one class: by seed (seeds, 4), resampled (draws, 4); and mines."""
    by_seed, draws, mines = [], [], 0
    for run in result.runs:
        counts, names = _class_counts(result, run, name)
        mines = int(counts[:, 1, [0, 2]].any(axis=1).sum())  # others say nothing of recall
        tp, fp, fn, _ = counts[:, 1].sum(axis=0)
        ratios = [tp / max(whole, 1) for whole in (tp + fp + fn, tp + fn, tp + fp)]
        by_seed.append([*ratios, np.nan])  # accuracy of a single class is not asked for
        draws.append(bootstrap(counts, names, "standard"))
    if mines < 2:
        raise UntestableError(f"a single test mine holds {name}")
    return np.array(by_seed), np.mean(draws, axis=0), mines


def _spearman(values: np.ndarray, beside: Sequence[float]) -> np.ndarray:
    """Return the rank correlation of each row of values (rows, n) with n numbers."""
    ranks = rankdata(values, axis=1) - (values.shape[1] + 1) / 2
    against = rankdata(beside) - (len(beside) + 1) / 2
    length = np.sqrt((ranks**2).sum(axis=1) * (against**2).sum())
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(values).any(axis=1), np.nan, ranks @ against / length)
