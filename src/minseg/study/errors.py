"""Shares of a whole that may be nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from minseg.data.dataset import Dataset
from minseg.data.labels import CLASS_NAMES, IGNORE, class_bit, decode_bits
from minseg.errors import MinsegError
from minseg.maps.regions import HECTARE_M2, central_pixel_area_m2
from minseg.scoring.intervals import RESAMPLES, draw_mines, interval
from minseg.study import conditions
from minseg.study.predictions import ScenePrediction, scene_prediction
from minseg.study.runs import Run, require


@overload
def ratio(part: float, whole: float) -> float: ...
@overload
def ratio(part: np.ndarray | pd.Series, whole: np.ndarray | pd.Series) -> np.ndarray: ...
def ratio(part: ArrayLike, whole: ArrayLike) -> float | np.ndarray:
    """Divide, with NaN where there is nothing to take a share of.

    Parameters
    ----------
    part, whole : float, or ndarray or pandas.Series
        Of shapes that go together.

    Returns
    -------
    float, or float64 ndarray
        NaN where `whole` is not above 0, or either is NaN.
    """
    parts, wholes = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    shares = np.full(parts.shape, np.nan)
    return np.divide(parts, wholes, out=shares, where=wholes > 0)[()]


def mine_scores(run: Run) -> pd.DataFrame:
    """Score each class of each test mine by itself, as in Tables 6 to 8.

    Their accuracy is not that of Tables 3 and 4: in every printed row it equals IoU to rounding,
    so it must be TP / (TP + FP + FN), without true negatives. It is kept as a column of its own to
    give the tables their printed shape, and says nothing beyond IoU.

    Parameters
    ----------
    run : Run

    Returns
    -------
    pandas.DataFrame
        Rows mine, scene, class, iou, recall, precision, accuracy, 0 to 1. NaN where nothing is
        defined: all four where a class is neither in the truth nor in the prediction, recall where
        it is not in the truth, precision where it is not predicted.
    """
    rows = run.counts_of("test")
    rows = rows[rows["class"] != run.task.target_names[0]].reset_index(drop=True)
    iou = ratio(rows["tp"], rows["tp"] + rows["fp"] + rows["fn"])
    return rows[["mine", "scene", "class"]].assign(
        iou=iou,
        recall=ratio(rows["tp"], rows["tp"] + rows["fn"]),
        precision=ratio(rows["tp"], rows["tp"] + rows["fp"]),
        accuracy=iou,
    )


def best_median_worst(by_mine: pd.DataFrame) -> dict[str, str]:
    """Pick the mines with the best, the median and the worst IoU.

    Parameters
    ----------
    by_mine : pandas.DataFrame
        Indexed by mine, with a column iou; mines without an IoU are passed over.

    Returns
    -------
    dict
        ``best``, ``median`` and ``worst`` to a mine, the same one where there are few; empty
        where no mine has an IoU.
    """
    ranked = by_mine["iou"].dropna().sort_values(ascending=False).index
    if not len(ranked):
        return {}
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def choose_mines(run: Run, dataset: Dataset, wanted: Sequence[str] = ()) -> dict[str, str]:
    """Choose the test mines to look at one by one.

    Parameters
    ----------
    run : Run
    dataset : Dataset
        The one it was tested on.
    wanted : sequence of str
        Mines by name. With none: the best, the median and the worst by IoU, and the marked hard
        cases (column `case` of the mine table) that hold any of the run's classes, in truth or in
        prediction.

    Returns
    -------
    dict of mine to str
        Why it is shown: ``asked for``, or e.g. ``worst IoU; snow``.

    Raises
    ------
    MinsegError
        If a mine is not among the run's test mines.
    """
    by_mine = run.scores_by_mine()
    unknown = [mine for mine in wanted if mine not in by_mine.index]
    if unknown:
        raise MinsegError(
            f"{run.path}: mine {', '.join(map(repr, unknown))} is no test mine of this run; "
            f"test mines are {', '.join(by_mine.index)}"
        )
    cases = hard_cases(dataset)
    if wanted:
        reasons = {mine: ["asked for"] for mine in wanted}
    else:
        reasons = {}
        for rank, mine in best_median_worst(by_mine).items():
            reasons.setdefault(mine, []).append(f"{rank} IoU")
        shown = by_mine.index[by_mine["iou"].notna()]
        reasons |= {mine: [] for mine in shown if mine in cases and mine not in reasons}
    return {
        mine: "; ".join([*why, *([cases[mine]] if mine in cases else [])])
        for mine, why in reasons.items()
    }


def hard_cases(dataset: Dataset) -> dict[str, str]:
    """Return what sets mines apart, of those that the mine table marks as special."""
    if "case" not in dataset.mines:
        return {}
    marked = dataset.mines[dataset.mines["case"] != ""]
    return dict(zip(marked["mine"], marked["case"], strict=True))


SMALL_OBJECT_HA = 1.0
"""Objects of a class below this area are small, hectares: 100 pixels of 10 m."""

UNFAMILIAR_PERCENTILE = 0.95
"""A scene is unfamiliar if it looks farther from the training mines than this share of them do
from each other."""

WITHIN_1_PX, WITHIN_2_PX = "within 1 px of a true boundary", "within 2 px of a true boundary"
OTHER_CLASS, SNOW, WATER = "on another mining class", "on snow-bright ground", "on water"
SMALL_OBJECT = f"in an object below {SMALL_OBJECT_HA:g} ha"
UNFAMILIAR = "in an unfamiliar scene"

CONDITIONS: tuple[str, ...] = (
    WITHIN_1_PX,
    WITHIN_2_PX,
    OTHER_CLASS,
    SNOW,
    WATER,
    SMALL_OBJECT,
    UNFAMILIAR,
)
"""Conditions of a pixel, which do not exclude each other."""

WATERFALL: tuple[str, ...] = CONDITIONS[:-1]
"""The order in which conditions are given an error, so that none is counted twice."""

NO_CLASS = "no annotated class"
"""Ground on which the annotators marked nothing."""

CONDITION_COLUMNS = [
    "mine",
    "class",
    "condition",
    "errors",
    "errors_there",
    "errors_first",
    "pixels",
    "pixels_there",
]
CONFUSION_COLUMNS = [
    "mine",
    "class",
    "error",
    "by",
    "other",
    "errors",
    "errors_there",
    "pixels",
    "pixels_there",
]
OBJECT_COLUMNS = ["mine", "class", "area_ha", "detected", "cut"]


@dataclass(frozen=True)
class Explanations:
    """Pixels of the test scenes, counted under everything that may explain an error."""

    class_names: tuple[str, ...]
    """The run's target classes."""
    annotated: tuple[str, ...]
    """Classes of Table 1 that somebody looked for in this dataset."""
    conditions: pd.DataFrame
    """Rows mine, class, condition, and numbers of pixels: errors (false positives and negatives),
    those under the condition, those of them that no earlier one of `WATERFALL` holds for, all
    counted pixels, and those under the condition. NaN where the condition cannot be known."""
    confusions: pd.DataFrame
    """Rows mine, class, error (``false positive`` or ``false negative``), by (``annotated`` or
    ``predicted``), other (a class, `NO_CLASS` or background), and numbers of pixels: all such
    errors, those on or as the other class, and for comparison all pixels that could have been such
    an error, and those of them on or as the other class. A pixel annotated with two other classes
    stands under both. NaN for classes that were never annotated."""
    objects: pd.DataFrame
    """Rows mine, class, area_ha, detected, cut (`minseg.study.conditions.Objects`)."""
    scenes: pd.DataFrame
    """Indexed by mine: scene, case, snow, water (shares of the tested part, NaN where a band is
    lacking), distance, nearest, percentile (`minseg.study.conditions.spectral_distances`)."""

    def of_mine(self, mine: str) -> "Explanations":
        """Return only what concerns one mine."""

        def part(table: pd.DataFrame) -> pd.DataFrame:
            return table[table["mine"] == mine]

        return replace(
            self,
            conditions=part(self.conditions),
            confusions=part(self.confusions),
            objects=part(self.objects),
            scenes=self.scenes.loc[[mine]],
        )


def explain(run: Run, dataset: Dataset) -> Explanations:
    """Count a run's errors on all test mines under everything that may explain them.

    Parameters
    ----------
    run : Run
    dataset : Dataset
        The one it was tested on.

    Returns
    -------
    Explanations

    Raises
    ------
    MinsegError
        If a prediction is missing or does not fit the dataset.
    """
    dataset = require(run.config, dataset)
    mines = list(run.counts_of("test")["mine"].unique())
    tested = {mine: scene_prediction(run, dataset, mine) for mine in mines}
    rows = pd.DataFrame([one.scene for one in tested.values()])
    distances = conditions.spectral_distances(dataset, rows, run.statistics)
    cases = hard_cases(dataset)
    scene_rows = {}
    condition_rows: list[dict] = []
    confusion_rows: list[dict] = []
    object_tables: list[pd.DataFrame] = []
    for mine, one in tested.items():
        known = one.target != IGNORE
        pixel_ha = central_pixel_area_m2(one.grid) / HECTARE_M2
        looks = _looks(dataset, one)
        far = distances.loc[one.scene["scene"]]
        scene_rows[mine] = {
            "scene": one.scene["scene"],
            "case": cases.get(mine, ""),
            "snow": _share(looks[SNOW], known),
            "water": _share(looks[WATER], known),
            **far,
        }
        unfamiliar = _everywhere(far["percentile"] > UNFAMILIAR_PERCENTILE, known)
        looks[UNFAMILIAR] = None if pd.isna(far["percentile"]) else unfamiliar
        for k, name in enumerate(run.task.target_names[1:], start=1):
            found = conditions.find_objects(one.target == k, one.prediction == k, known, pixel_ha)
            object_tables.append(found.table.assign(**{"mine": mine, "class": name}))
            own = (*run.task.class_names, name) if run.task.merged_name else (name,)
            others = [n for n in dataset.description.class_names if n not in own]
            masks = looks | _class_conditions(one, k, others, found)
            row = {"mine": mine, "class": name}
            condition_rows += [row | r for r in _condition_counts(one, k, masks)]
            confusion_rows += [row | r for r in _annotated_counts(one, k, own, others)]
            confusion_rows += [
                row | r for r in _predicted_counts(one, k, dict(enumerate(run.task.target_names)))
            ]
    return Explanations(
        run.task.target_names[1:],
        dataset.description.class_names,
        pd.DataFrame(condition_rows, columns=CONDITION_COLUMNS),
        pd.DataFrame(confusion_rows, columns=CONFUSION_COLUMNS),
        pd.concat(object_tables, ignore_index=True)[OBJECT_COLUMNS],
        pd.DataFrame.from_dict(scene_rows, orient="index").rename_axis("mine"),
    )


def _looks(dataset: Dataset, one: ScenePrediction) -> dict[str, np.ndarray | None]:
    """Find snow and water in a scene; None where the dataset lacks a band for it."""
    snow = wet = None
    there = set(dataset.description.bands)
    if there.issuperset(conditions.SNOW_BANDS):
        values, valid = dataset.read_inputs(one.scene, conditions.SNOW_BANDS, one.window)
        snow = conditions.snow_bright(*values) & valid
    if there.issuperset(conditions.WATER_BANDS):
        values, valid = dataset.read_inputs(one.scene, conditions.WATER_BANDS, one.window)
        wet = conditions.water(*values) & valid
        wet = wet if snow is None else wet & ~snow
    return {SNOW: snow, WATER: wet}


def _class_conditions(
    one: ScenePrediction, k: int, others: list[str], found: conditions.Objects
) -> dict[str, np.ndarray | None]:
    """Find the conditions that depend on the class; None where nobody annotated another one."""
    known = one.target != IGNORE
    distance_px = conditions.boundary_distance_px(one.target == k, known)
    small = found.table["area_ha"].lt(SMALL_OBJECT_HA) & ~found.table["cut"]
    return {
        WITHIN_1_PX: distance_px <= 1,
        WITHIN_2_PX: distance_px <= 2,
        OTHER_CLASS: _any_of(one.labels, others) if others else None,
        SMALL_OBJECT: np.isin(found.number, np.flatnonzero(small) + 1),
    }


def _any_of(labels: np.ndarray, names: list[str]) -> np.ndarray:
    """Tell where any of the classes is annotated."""
    return np.logical_or.reduce([decode_bits(labels, name) for name in names])


def _condition_counts(
    one: ScenePrediction, k: int, masks: Mapping[str, np.ndarray | None]
) -> Iterator[dict]:
    """Count pixels and errors of a class under each condition."""
    known = one.target != IGNORE
    wrong = known & ((one.prediction == k) != (one.target == k))
    left = wrong.copy()
    for name in CONDITIONS:
        there = masks[name]
        row = {"condition": name, "errors": wrong.sum(), "pixels": known.sum()}
        if there is None:
            yield row | dict.fromkeys(["errors_there", "errors_first", "pixels_there"], np.nan)
            continue
        in_order = name in WATERFALL
        yield row | {
            "errors_there": (wrong & there).sum(),
            "errors_first": (left & there).sum() if in_order else np.nan,
            "pixels_there": (known & there).sum(),
        }
        if in_order:
            left &= ~there


def _annotated_counts(
    one: ScenePrediction, k: int, own: tuple[str, ...], others: list[str]
) -> Iterator[dict]:
    """Count on which other classes of Table 1 the errors of a class fall."""
    known, truth, predicted = one.target != IGNORE, one.target == k, one.prediction == k
    bare = (one.labels & sum(class_bit(name) for name in (*own, *others))) == 0
    grounds: dict[str, np.ndarray | None] = {
        name: decode_bits(one.labels, name) if name in others else None
        for name in CLASS_NAMES
        if name not in own
    }
    for error, wrong, candidates in (
        ("false positive", known & predicted & ~truth, known & ~truth),
        ("false negative", truth & ~predicted, truth),
    ):
        for name, ground in (grounds | {NO_CLASS: bare}).items():
            yield _confusion(error, "annotated", name, wrong, candidates, ground)


def _predicted_counts(one: ScenePrediction, k: int, target_names: dict[int, str]) -> Iterator[dict]:
    """Count as what the missed pixels of a class were predicted."""
    known, truth = one.target != IGNORE, one.target == k
    wrong, candidates = truth & (one.prediction != k), known & ~truth
    for value, name in target_names.items():
        if value != k:
            there = one.prediction == value
            yield _confusion("false negative", "predicted", name, wrong, candidates, there)


def _confusion(
    error: str,
    by: str,
    other: str,
    wrong: np.ndarray,
    candidates: np.ndarray,
    there: np.ndarray | None,
) -> dict:
    """Count errors, and pixels that they are compared with, in one place."""
    return {
        "error": error,
        "by": by,
        "other": other,
        "errors": wrong.sum(),
        "errors_there": np.nan if there is None else (wrong & there).sum(),
        "pixels": candidates.sum(),
        "pixels_there": np.nan if there is None else (candidates & there).sum(),
    }


def _everywhere(value: bool, like: np.ndarray) -> np.ndarray:
    """Return a mask that says the same of every pixel."""
    return np.full(like.shape, value)


def _share(mask: np.ndarray | None, known: np.ndarray) -> float:
    """Return the share of the known pixels in a mask."""
    return float(mask[known].mean()) if mask is not None and known.any() else np.nan


ALL_CLASSES = "all classes"
"""Row that counts the errors of all classes together."""

UNEXPLAINED = "none of these"
"""What the conditions of the waterfall leave over."""

SHARE_COLUMNS = ["value", "low", "high", "mines"]


@dataclass(frozen=True)
class Pooled:
    """A share pooled over mines."""

    value: float
    draws: np.ndarray
    """The share in each resample of the mines."""
    mines: tuple[str, ...]
    """Mines that have anything of the whole."""


def pooled(there: pd.Series, whole: pd.Series) -> Pooled:
    """Pool a share over mines and over resamples of them.

    Parameters
    ----------
    there, whole : pandas.Series
        Numbers, indexed by mine; a mine may have several rows. Rows in which either is NaN are
        unknown and left out.
    """
    table = pd.DataFrame({"there": there, "whole": whole}).dropna().groupby(level=0).sum()
    table = table[table["whole"] > 0]
    if table.empty:
        return Pooled(np.nan, np.full(RESAMPLES, np.nan), ())
    value = float(table["there"].sum() / table["whole"].sum())
    drawn = draw_mines(list(table.index)) @ table.to_numpy(float)  # (resamples, 2)
    return Pooled(value, drawn[:, 0] / drawn[:, 1], tuple(table.index))


def share(there: pd.Series, whole: pd.Series) -> dict[str, float]:
    """Return a share pooled over mines, with its interval.

    Parameters
    ----------
    there, whole : pandas.Series
        Numbers, indexed by mine; a mine may have several rows. Rows in which either is NaN are
        unknown and left out.

    Returns
    -------
    dict
        value; low, high (95 % bootstrap interval over the mines, NaN of fewer than two); mines
        (how many have anything in `whole`). NaN where `whole` is nothing.
    """
    found = pooled(there, whole)
    low, high = interval(found.draws) if len(found.mines) > 1 else (np.nan, np.nan)
    return {"value": found.value, "low": low, "high": high, "mines": len(found.mines)}


def condition_shares(explanations: Explanations) -> pd.DataFrame:
    """Return how much of the error each condition covers, beside how much of the ground.

    Conditions do not exclude each other; `first_share` counts each error once, under the first of
    `minseg.study.errors.WATERFALL` that holds for it.

    Parameters
    ----------
    explanations : Explanations

    Returns
    -------
    pandas.DataFrame
        Rows class (with several classes, first `ALL_CLASSES`), condition (last `UNEXPLAINED`, of
        which only `first_share` is known); value, low, high (share of the error pixels under the
        condition, 95 % interval over mines), mines, pixel_share (share of all pixels under it),
        rate_inside, rate_outside (error pixels per pixel), first_share. NaN where the condition
        cannot be known.
    """
    table = explanations.conditions
    names = list(explanations.class_names)
    if len(names) > 1:
        together = table.assign(**{"class": ALL_CLASSES})
        table, names = pd.concat([together, table]), [ALL_CLASSES, *names]
    rows = []
    for name in names:
        of_class = table[table["class"] == name].set_index("mine")
        errors = of_class.loc[of_class["condition"] == CONDITIONS[0], "errors"].sum()
        first = {}
        for condition in CONDITIONS:
            lines = of_class[of_class["condition"] == condition]
            first[condition] = ratio(lines["errors_first"].sum(skipna=False), errors)
            rows.append(
                {"class": name, "condition": condition}
                | share(lines["errors_there"], lines["errors"])
                | _rates(lines)
                | {"first_share": first[condition]}
            )
        explained = [first[c] for c in WATERFALL if not np.isnan(first[c])]
        rest = 1 - sum(explained) if explained else np.nan
        rows.append({"class": name, "condition": UNEXPLAINED, "first_share": rest})
    return pd.DataFrame(rows)


def _rates(lines: pd.DataFrame) -> dict[str, float]:
    """Return the share of pixels under a condition, and error rates in and out of it."""
    total = lines.dropna(subset=["pixels_there"]).drop(columns=["class", "condition"]).sum()
    outside = total["pixels"] - total["pixels_there"]
    return {
        "pixel_share": ratio(total["pixels_there"], total["pixels"]),
        "rate_inside": ratio(total["errors_there"], total["pixels_there"]),
        "rate_outside": ratio(total["errors"] - total["errors_there"], outside),
    }


def confusion_shares(
    explanations: Explanations, error: str = "false positive", by: str = "annotated"
) -> pd.DataFrame:
    """Return on which ground the errors of each class fall, or as what they were predicted.

    Parameters
    ----------
    explanations : Explanations
    error : {"false positive", "false negative"}
    by : {"annotated", "predicted"}
        What is annotated there, or what is predicted there (false negatives only).

    Returns
    -------
    pandas.DataFrame
        Rows class, other; value, low, high (share of the errors, 95 % interval over mines), mines,
        reference (share of all pixels on which the class could be in error so). NaN for classes
        that were never annotated.
    """
    table = explanations.confusions
    table = table[(table["error"] == error) & (table["by"] == by)]
    rows = [
        {"class": name, "other": other} | confusion_share(lines)
        for (name, other), lines in table.groupby(["class", "other"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["class", "other", *SHARE_COLUMNS, "reference"])


def confusion_share(lines: pd.DataFrame) -> dict[str, float]:
    """Return the share of one kind of error, of one class and other class.

    Parameters
    ----------
    lines : pandas.DataFrame
        Rows of `Explanations.confusions`, one a mine.

    Returns
    -------
    dict
        As `share`, and the reference of `confusion_shares`.
    """
    by_mine = lines.set_index("mine")
    total = lines.dropna(subset=["pixels_there"])[["pixels", "pixels_there"]].sum()
    reference = ratio(total["pixels_there"], total["pixels"])
    return share(by_mine["errors_there"], by_mine["errors"]) | {"reference": reference}
