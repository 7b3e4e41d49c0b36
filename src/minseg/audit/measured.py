"""What our runs have to say about the paper's statements: numbers with resamples, and verdicts."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from minseg.audit.power import POWER, mine_spread, needed_mines
from minseg.audit.printed import ABOVE_ZERO, BELOW_ZERO, CONTRASTS, Contrast, Region, Rows, title
from minseg.errors import MinsegError
from minseg.scoring.intervals import bootstrap, fewest_mines, interval, widened
from minseg.scoring.metrics import IOU, METRICS, ratios
from minseg.study.config import RunConfig
from minseg.study.errors import explain, pooled
from minseg.study.runs import Run, counted_mines, counts_array
from minseg.study.section4 import NEAR_ZERO_IOU, claims
from minseg.study.selection import Candidates, candidates
from minseg.study.study import Study
from minseg.study.tables import GROUPS, PAPER_BANDS, Result, Scored, scored_rows
from minseg.study.tuning import Search

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE, UNTESTABLE = "inconclusive", "not testable here"
RUN_VERDICTS: tuple[str, ...] = (SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNTESTABLE)
"""What our runs on a dataset say of a claim."""

MANY_MINES = 10_000
"""Beyond so many mines an estimate says no more than “very many”."""


@dataclass(frozen=True)
class Effect:
    """One number from our runs in resamples of the test mines, and where it is claimed."""

    name: str
    draws: np.ndarray = field(repr=False, compare=False)
    """The number for resamples of the mines."""
    by_seed: tuple[float, ...]
    """The same number for each seed."""
    claimed: Region
    mines: int
    """Test mines that it rests on."""
    paired: bool = True
    """Whether both sides were tested on the same mines."""
    signed: bool = True
    """Whether it is a difference."""

    def __post_init__(self) -> None:
        """Refuse numbers that are not known."""
        if self.mines < 2:
            raise UntestableError("a single test mine")
        if np.isnan([*self.by_seed, *self.ends]).any():
            raise UntestableError("the test mines hold nothing to score")

    @property
    def value(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.by_seed))

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The 95 % interval over mines."""
        return interval(self.draws)

    @property
    def spread(self) -> float:
        """Largest minus smallest value over the seeds; NaN with fewer than two."""
        return max(self.by_seed) - min(self.by_seed) if len(self.by_seed) > 1 else math.nan

    @property
    def inside(self) -> bool:
        """Whether the whole interval lies where the claim puts it, and enough mines say so."""
        low, high = self.ends
        return self.mines >= fewest_mines() and self.claimed.low < low and high < self.claimed.high

    def outside(self, comparisons: int = 1) -> bool:
        """Tell whether the whole interval lies where the claim excludes it.

        Widened for the number of comparisons, so that one of many does not refute by chance.
        """
        low, high = widened(self.draws, comparisons)
        beyond = high < self.claimed.low or low > self.claimed.high
        return beyond and self.mines >= fewest_mines(comparisons)

    def mines_needed(self, comparisons: int = 1) -> float:
        """Return about how many mines would show its side of the nearest edge; infinite on it."""
        edges = [edge for edge in (self.claimed.low, self.claimed.high) if math.isfinite(edge)]
        distance = min(abs(self.value - edge) for edge in edges)
        needed = needed_mines(distance, mine_spread(self.draws, self.mines), comparisons)
        return max(needed, fewest_mines(comparisons))


@dataclass(frozen=True)
class Missing:
    """A number that a claim asks for and that the runs do not give."""

    name: str
    reason: str


@dataclass(frozen=True)
class RunFinding:
    """What our runs say of a claim."""

    verdict: str
    """One of `RUN_VERDICTS`."""
    summary: str
    """The reason in one sentence, its numbers computed."""
    effects: tuple[Effect, ...] = ()
    missing: tuple[Missing, ...] = ()
    decides: str = ""
    """What it would take, where the runs do not decide."""


def decide(found: Sequence[Effect | Missing], share: float = 1.0) -> RunFinding:
    """Reach a verdict on our numbers.

    A claim is supported only where whole intervals lie on the claimed side, contradicted only
    where whole intervals, widened for their number, lie on the other.
    """
    effects = tuple(one for one in found if isinstance(one, Effect))
    missing = tuple(one for one in found if isinstance(one, Missing))
    inside = sum(one.inside for one in effects)
    outside = sum(one.outside(len(effects)) for one in effects)
    if effects and inside >= share * len(found):
        verdict = SUPPORTED
    elif outside > (1 - share) * len(found) + 1e-9:
        verdict = CONTRADICTED
    else:
        verdict = UNTESTABLE if missing or not effects else INCONCLUSIVE
    return RunFinding(
        verdict,
        _summary(effects, missing, inside, outside, share),
        effects,
        missing,
        _what_decides(effects, share) if verdict == INCONCLUSIVE else "",
    )


def _summary(
    effects: tuple[Effect, ...],
    missing: tuple[Missing, ...],
    inside: int,
    outside: int,
    share: float,
) -> str:
    """Count what lies where."""
    if not effects:
        reasons = dict.fromkeys(one.reason for one in missing)
        return "; ".join(reasons) + "." if reasons else "There is nothing to compare."
    number = len(effects)
    what = "interval lies" if number == 1 else "intervals lie"
    beyond = sum(one.outside() for one in effects)
    text = f"{inside} of {number} {what} on the claimed side, {beyond} on the other"
    text += f" ({outside} after widening for their number)" if number > 1 and beyond else ""
    text += f"; {len(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing else ""
    few = min(one.mines for one in effects)
    if few < fewest_mines():
        text += f"; with {few} mines an interval decides nothing (it takes {fewest_mines()})"
    return text + ("." if share == 1 else f"; at least {share:.0%} are asked for.")


def _what_decides(effects: tuple[Effect, ...], share: float) -> str:
    """Say how many mines would decide an inconclusive claim, if the effects stay as they are."""
    number = len(effects)
    contrary = [one for one in effects if not one.claimed.holds(one.value)]
    favourable = [one for one in effects if one.claimed.holds(one.value) and not one.inside]
    to_support = math.ceil(share * number - 1e-9) - sum(one.inside for one in effects)
    to_contradict = math.floor((1 - share) * number + 1e-9) + 1
    verdict, found, comparisons, decisive = "contradict", contrary, number, to_contradict
    if len(favourable) >= to_support:
        verdict, found, comparisons, decisive = "support", favourable, 1, to_support
    last = sorted(found, key=lambda one: one.mines_needed(comparisons))[decisive - 1]
    needed = last.mines_needed(comparisons)
    which = f"; it hangs on {last.name}" if number > 1 else ""
    if math.isinf(needed):
        return f"No number of mines: the effect lies on the edge of what is claimed{which}."
    needed = max(needed, last.mines + 1)
    text = f"about {_rounded(needed):,}" if needed <= MANY_MINES else f"more than {MANY_MINES:,}"
    return (
        f"If the effects stay what they are, {text} test mines, not {last.mines}, would "
        f"{verdict} it with {POWER:.0%} power{which}."
    )


def _rounded(number: float) -> int:
    """Round up to two significant digits: the estimate is no better."""
    step = 10 ** max(math.floor(math.log10(max(number, 1))) - 1, 0)
    return math.ceil(number / step - 1e-9) * step


# What claims are tested on -----------------------------------------------------------------------

BANDS_TABLE, SPLITS_TABLE = 3, 4
"""Numbers of the tables that our runs have rows of."""


class UntestableError(Exception):
    """Why a number that a claim asks for cannot be had here; becomes part of its verdict."""


@dataclass(frozen=True)
class Evidence:
    """All that claims are tested on: a study's results of Tables 3 and 4, and its searches."""

    study: Study
    convention: str
    tested: Mapping[tuple[int, str, str], Scored]
    """Our scores in the place of a printed row, by table, task and row."""
    results: Mapping[tuple[int, str, str], Result]
    searches: Mapping[str, Search]
    """Searches for hyperparameters, by task."""
    _section4: dict[str, pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    def find(self, table: int, keys: Mapping[str, str]) -> Scored:
        """Return our scores in the place of a printed cell, if they rest on several mines."""
        row = keys.get("bands") or keys.get("split")
        if table not in (BANDS_TABLE, SPLITS_TABLE) or row is None:
            raise UntestableError(f"Table {table} is about the paper's own mines and trials")
        place = (table, keys["model"], row)
        if place not in self.tested:
            result = self.results.get(place)
            reason = result.problem if result and result.problem else "it was not run"
            raise UntestableError(f"no result for {keys['model']}, {row}: {reason}")
        found = self.tested[place]
        if found.fewest < 2:
            raise UntestableError(f"{keys['model']}, {row} rests on a single test mine")
        return found

    def general(self, task: str) -> Result:
        """Return the result of a model with the bands that the paper settles on, on all mines."""
        result = self.results.get((BANDS_TABLE, task, PAPER_BANDS[task]))
        if result is None or not result.runs:
            reason = result.problem if result else "it was not run"
            raise UntestableError(f"no run of {task} with {PAPER_BANDS[task]}: {reason}")
        return result

    def section4(self, task: str) -> pd.DataFrame:
        """Return what section 4 says of errors, measured (`minseg.study.section4.claims`).

        From the stored predictions of the first seed; counted once for each task.
        """
        if task not in self._section4:
            run = self.general(task).runs[0]
            try:
                explained = explain(run, self.study.dataset)
            except MinsegError as error:  # stored without its predictions
                raise UntestableError(str(error)) from None
            self._section4[task] = claims(run, explained)
        return self._section4[task]

    def candidates(self, task: str) -> Candidates:
        """Return the models that the search of a task could choose."""
        if task not in self.searches:
            raise UntestableError(f"no search for hyperparameters of {task} is stored")
        try:
            return candidates(self.searches[task], self.convention)
        except MinsegError as error:
            raise UntestableError(str(error)) from None


def gather(
    study: Study,
    bands: Sequence[Result],
    splits: Sequence[Result],
    convention: str,
    searches: Mapping[str, Search] | None = None,
) -> Evidence:
    """Score the results of Tables 3 and 4 as evidence.

    Nothing else counts: what more lies in the run store changes no verdict.

    Parameters
    ----------
    study : Study
    bands, splits : sequence of Result
        `minseg.study.tables.results` of `band_entries` and `split_entries`.
    convention : str
        See `minseg.scoring.metrics.scores`.
    searches : mapping of task to Search, optional
        The study's own searches for hyperparameters (`minseg.study.tuning.stored_searches`).

    Returns
    -------
    Evidence

    Raises
    ------
    MinsegError
        If stored counts are of another task, split or dataset.
    """
    tested: dict[tuple[int, str, str], Scored] = {}
    results: dict[tuple[int, str, str], Result] = {}
    for table, of_table in ((BANDS_TABLE, bands), (SPLITS_TABLE, splits)):
        for result in of_table:
            results[table, result.entry.task, result.entry.row] = result
            for run in result.runs:
                require_own_counts(run, result.entry.config, study)
        for one in scored_rows(of_table, convention):
            tested[table, one.task, one.row] = one
    return Evidence(study, convention, tested, results, searches or {})


def require_own_counts(run: Run, config: RunConfig, study: Study) -> None:
    """Refuse stored counts that are not what they are taken for."""
    mend = "delete the folder, and the run is made again"
    expected = config.replace(seed=run.config.seed)
    for (name, stored), (_, wanted) in zip(run.config, expected, strict=True):
        if stored != wanted:
            place = run.path / "config.json"
            raise MinsegError(f"{place}: is of {name} {stored!r}, not {wanted!r}; {mend}")
    dataset = study.dataset
    for name, ours in (("dataset_hash", dataset.digest), ("split_hash", dataset.split_digest)):
        if run.provenance.get(name) != ours:
            raise MinsegError(
                f"{run.path / 'provenance.json'}: {name} is {run.provenance.get(name)}, of "
                f"{dataset.path} it is {ours}: the counts are of other data; {mend}"
            )
    rows, parts = run.counts, dict(zip(dataset.split["mine"], dataset.split["part"], strict=True))
    right_class = rows["class"].isin(run.task.target_names)
    right_mine = rows["mine"].map(parts) == rows["part"]
    for column, right in (("class", right_class), ("mine", right_mine)):
        if not right.all():
            row = rows[~right].iloc[0]
            what = f"task {run.config.task}" if column == "class" else f"part {row['part']}"
            raise MinsegError(
                f"{run.path / 'counts.csv'}:{rows.index[~right][0] + 2}: {column} {row[column]!r} "
                f"is not of {what}; {mend}"
            )


# Our numbers in the place of printed ones --------------------------------------------------------


def evaluate(evidence: Evidence, contrast: Contrast) -> Effect:
    """Do a contrast's arithmetic on our scores, the same resamples of the mines on each side.

    Not paired where the sides have different mines.
    """
    terms = [
        (sign, evidence.find(cell.table, cell.keys), METRICS.index(cell.keys["metric"]))
        for sign, cell in contrast.cells
    ]
    return Effect(
        contrast.name,
        draws=np.sum([sign * one.resampled[:, k] for sign, one, k in terms], axis=0),
        by_seed=tuple(np.sum([sign * one.by_seed[:, k] for sign, one, k in terms], axis=0)),
        claimed=contrast.claimed,
        mines=min(len(set(one.mines)) for _, one, _ in terms),
        paired=len({one.mines for _, one, _ in terms}) == 1,
        signed=len(terms) > 1,
    )


def class_difference(
    evidence: Evidence, model: str, *, name: str, metric: str, other: str
) -> Effect:
    """Take one metric of a class from another."""
    what = f"{title(model)}, {name}, pooled over mines: {title(metric)} − {title(other)}"
    k, reference = METRICS.index(metric), METRICS.index(other)
    by_seed, draws, mines = _class_scores(evidence.general(model), name)
    differences = tuple(by_seed[:, k] - by_seed[:, reference])
    return Effect(what, draws[:, k] - draws[:, reference], differences, ABOVE_ZERO, mines)


def gain_of_class(evidence: Evidence, name: str, *, model: str, row: str, reference: str) -> Effect:
    """Take the IoU of a class with some bands from that with others."""
    sides = []
    for bands in (row, reference):
        evidence.find(BANDS_TABLE, {"model": model, "bands": bands})
        sides.append(_class_scores(evidence.results[BANDS_TABLE, model, bands], name))
    (ours, our_draws, mines), (theirs, their_draws, _) = sides
    what = f"{title(model)}, IoU of {name}: {row} − {reference}"
    draws = our_draws[:, IOU] - their_draws[:, IOU]
    return Effect(what, draws, tuple(ours[:, IOU] - theirs[:, IOU]), ABOVE_ZERO, mines)


def near_zero_share(evidence: Evidence, model: str, *, name: str, at_most: float) -> Effect:
    """Return the share of the test mines in which a class has an IoU close to 0."""
    result, shares = evidence.general(model), []
    for run in result.runs:
        counts, names = _class_counts(result, run, name)
        union = counts[:, 1, :3].sum(axis=1)
        low = (counts[:, 1, 0] < NEAR_ZERO_IOU * union).astype(float)
        shares.append(pooled(pd.Series(low, names), pd.Series(union > 0, names).astype(int)))
    what = f"share of the mines with an IoU of {name} below {NEAR_ZERO_IOU:g}"
    draws = np.mean([one.draws for one in shares], axis=0)
    mines = min(len(one.mines) for one in shares)
    values = tuple(one.value for one in shares)
    return Effect(what, draws, values, Region(high=at_most), mines, signed=False)


def measured_claim(
    evidence: Evidence, model: str, *, measure: str, side: Literal["above", "below"]
) -> Effect:
    """Take what a measure of section 4 is held against from it, both on the same resamples.

    Of the first seed, whose predictions are looked at.
    """
    rows = evidence.section4(model).to_dict("records")
    found = [row for row in rows if row["id"] == measure]
    if not found:
        raise UntestableError(f"the labels here do not tell of {measure}")
    (row,) = found
    if row["mines"] < 2:
        raise UntestableError(f"too few test mines bear on “{row['claim'].lower()}”")
    name = f"{row['measured']} ({row['value']:.3f}) less {row['beside']} ({row['other']:.3f})"
    claimed = ABOVE_ZERO if side == "above" else BELOW_ZERO
    return Effect(name, row["draws"], (row["difference"],), claimed, int(row["mines"]))


def gain_of_epochs(evidence: Evidence, model: str) -> Effect:
    """Take the IoU at the first epoch count from that at the last, the mean over trials.

    One training scored at several lengths differs in nothing else. The trials that the search
    stopped early have no later scores and are not among them.
    """
    found = evidence.candidates(model)
    epochs = found.table.drop_duplicates(["run", "epochs"]).groupby("run")["epochs"]
    first, last = epochs.idxmin(), epochs.idxmax()
    gains = [found.resampled(b) - found.resampled(a) for a, b in zip(first, last, strict=True)]
    iou = found.table["test_iou"]
    mean = (iou[last].to_numpy() - iou[first].to_numpy()).mean()
    number = f"{len(first)} complete trial{'s' * (len(first) > 1)}"
    what = f"{title(model)}, IoU, last minus first epoch count, mean over {number}"
    return Effect(what, np.mean(gains, axis=0), (mean,), ABOVE_ZERO, len(found.mines))


def gain_of_tuning(evidence: Evidence, model: str) -> Effect:
    """Take the test IoU of the untuned settings from that of the trial that validation chooses.

    Both are trials of one search, of the same schedule and no more epochs than the untuned.
    """
    found = evidence.candidates(model)
    gain = found.gain()
    if gain is None:
        raise UntestableError("the search did not try the untuned settings")
    number = f"{found.table['run'].nunique()} complete"
    what = f"{title(model)}, IoU, chosen trial minus untuned (of {number})"
    return Effect(what, gain[1], (gain[0],), ABOVE_ZERO, len(found.mines))


def volume_correlation(evidence: Evidence, model: str) -> Effect:
    """Correlate the number of training scenes with the lead over the general model."""
    codes = [code for codes in GROUPS.values() for code in codes]
    pairs = [
        [evidence.find(SPLITS_TABLE, {"model": model, "split": row}) for row in (code, f"G{code}")]
        for code in codes
    ]
    images = [len(evidence.study.dataset.subset(code).scenes_of("train")) for code in codes]
    leads = [a.resampled[:, IOU] - b.resampled[:, IOU] for a, b in pairs]
    of_seeds = [a.by_seed[:, IOU] - b.by_seed[:, IOU] for a, b in pairs]
    draws, by_seed = (_spearman(np.stack(gaps, axis=1), images) for gaps in (leads, of_seeds))
    mines = min(one.fewest for pair in pairs for one in pair)
    what = "rank correlation of training scenes with the lead over the general model"
    return Effect(f"{title(model)}: {what}", draws, tuple(by_seed), ABOVE_ZERO, mines)


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
        by_seed.append(ratios(counts[:, 1].sum(axis=0), 0.0))
        draws.append(bootstrap(counts, names, "standard"))
    if mines < 2:
        raise UntestableError(f"a single test mine holds {name}")
    return np.array(by_seed), np.mean(draws, axis=0), mines


def _spearman(values: np.ndarray, beside: Sequence[float]) -> np.ndarray:
    """Return the rank correlation of each row of values (rows, n) with n numbers."""
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy() - (values.shape[1] + 1) / 2
    against = pd.Series(beside).rank().to_numpy() - (len(beside) + 1) / 2
    length = np.sqrt((ranks**2).sum(axis=1) * (against**2).sum())
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(values).any(axis=1), np.nan, ranks @ against / length)


RunTest = Callable[..., list["Effect | Missing"]]
"""From a claim's rows, the evidence and parameters to our numbers."""


def _known(
    measure: Callable[..., Effect], evidence: Evidence, one: Any, what: str, /, **parameters: Any
) -> Effect | Missing:
    """Take a number, or say why it cannot be had."""
    try:
        return measure(evidence, one, **parameters)
    except UntestableError as reason:
        return Missing(what, str(reason))


def _called_as(test: RunTest, build: Callable, skipped: int, *given: str) -> RunTest:
    """Say how a test is called: our arguments, in place of the first ones, and its own."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    ours = [inspect.Parameter(name, kind, annotation=Sequence[str]) for name in given]
    own = list(inspect.signature(build).parameters.values())[skipped:]
    test.__signature__ = inspect.Signature([*ours, *own])  # type: ignore[attr-defined]
    return test


def _of_contrasts(build: Callable[..., Iterable[Contrast]]) -> RunTest:
    """Make a test of our runs from comparisons."""

    def test(rows: Rows, evidence: Evidence, **parameters: object) -> list[Effect | Missing]:
        return [_known(evaluate, evidence, one, one.name) for one in build(rows, **parameters)]

    return _called_as(test, build, 1, "rows", "evidence")


def _of_each(measure: Callable[..., Effect], of: str) -> RunTest:
    """Make a test from a number that is taken for each of several, such as models."""

    def test(rows: Rows, evidence: Evidence, **parameters: Any) -> list[Effect | Missing]:
        each = parameters.pop(of)
        return [_known(measure, evidence, one, title(one), **parameters) for one in each]

    return _called_as(test, measure, 2, "rows", "evidence", of)


RUN_TESTS: dict[str, RunTest] = {
    **{name: _of_contrasts(build) for name, build in CONTRASTS.items()},
    "class_metric_above": _of_each(class_difference, "models"),
    "class_gain": _of_each(gain_of_class, "names"),
    "near_zero": _of_each(near_zero_share, "models"),
    "mine_claim": _of_each(measured_claim, "models"),
    "longer_training": _of_each(gain_of_epochs, "models"),
    "tuning_gain": _of_each(gain_of_tuning, "models"),
    "volume_helps": _of_each(volume_correlation, "models"),
}
"""Tests by the names that the ledger calls them."""
