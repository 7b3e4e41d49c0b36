"""Where a run errs: mine by mine, and under which conditions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import ndimage

from minseg.data.dataset import Dataset
from minseg.data.labels import CLASS_NAMES, class_bit, decode_bits
from minseg.data.radiometry import ChannelStatistics
from minseg.errors import MinsegError
from minseg.maps.regions import HECTARE_M2, central_pixel_area_m2
from minseg.scoring.intervals import RESAMPLES, draw_mines, interval
from minseg.scoring.metrics import ratios
from minseg.study.runs import COUNT_COLUMNS, Run, ScenePrediction, require, scene_prediction

SMALL_OBJECT_HA = 1.0
"""Objects of a class below this area are small, hectares: 100 pixels of 10 m."""

UNFAMILIAR_PERCENTILE = 0.95
"""A scene is unfamiliar if it looks farther from the training mines than this share of them do
from each other."""

SNOW_BANDS = ("B03", "B04", "B11")
WATER_BANDS = ("B03", "B08")

SNOW_NDSI = 0.4
"""Snow-bright pixels have at least this normalised difference of green and short-wave infrared."""

SNOW_RED = 0.2
"""And at least this red reflectance, which water with its equally high index has not."""

WATER_NDWI = 0.0
"""Water pixels have more than this normalised difference of green and near infrared."""

MISSED_BELOW = 0.5
"""An object is missed if less than this share of it is detected."""

WITHIN_1_PX, WITHIN_2_PX = "within 1 px of a true boundary", "within 2 px of a true boundary"
OTHER_CLASS, SNOW, WATER = "on another mining class", "on snow-bright ground", "on water"
SMALL_OBJECT = f"in an object below {SMALL_OBJECT_HA:g} ha"
UNFAMILIAR = "in an unfamiliar scene"

WATERFALL = (WITHIN_1_PX, WITHIN_2_PX, OTHER_CLASS, SNOW, WATER, SMALL_OBJECT)
"""The order in which conditions are given an error, so that none is counted twice."""

CONDITIONS = (*WATERFALL, UNFAMILIAR)
"""Conditions of a pixel, which do not exclude each other."""

UNEXPLAINED = "none of these"
"""What the conditions of the waterfall leave over."""

NO_CLASS = "no annotated class"
"""Ground on which the annotators marked nothing."""

ALL_CLASSES = "all classes"
"""Row that counts the errors of all classes together."""


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
        Rows mine, class, iou, recall, precision, accuracy, 0 to 1. NaN where nothing is
        defined: all four where a class is neither in the truth nor in the prediction, recall where
        it is not in the truth, precision where it is not predicted.
    """
    rows = run.counts_of("test")
    rows = rows[rows["class"] != run.task.target_names[0]].reset_index(drop=True)
    iou, recall, precision, _ = ratios(rows[COUNT_COLUMNS].to_numpy(), np.nan, np.nan).T
    scores = {"iou": iou, "recall": recall, "precision": precision, "accuracy": iou}
    return rows[["mine", "class"]].assign(**scores)


def best_median_worst(by_mine: pd.DataFrame) -> dict[str, str]:
    """Name the mines (the index) with the best, the median and the worst IoU, if any has one."""
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
    cases = _hard_cases(dataset)
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


@dataclass(frozen=True)
class Explanations:
    """Pixels of the test scenes, counted under everything that may explain an error."""

    class_names: tuple[str, ...]
    """The run's target classes."""
    annotated: tuple[str, ...]
    """Classes of Table 1 that somebody looked for in this dataset."""
    conditions: pd.DataFrame
    """Rows mine, class, condition, and numbers of pixels: errors (false positives and negatives),
    errors_there (those under the condition), errors_first (those of them that no earlier one of
    `WATERFALL` holds for), pixels (all that are counted), pixels_there (those under the condition).
    NaN where the condition cannot be known."""
    confusions: pd.DataFrame
    """Rows mine, class, error (``false positive`` or ``false negative``), by (``annotated`` or
    ``predicted``), other (a class, `NO_CLASS` or background), and numbers of pixels: errors (all
    such), errors_there (those on or as the other class), and for comparison pixels (all that could
    have been such an error), and pixels_there (those of them on or as the other class). A pixel
    annotated with two other classes stands under both. NaN for classes never annotated."""
    objects: pd.DataFrame
    """Rows mine, class, area_ha, detected, cut (`find_objects`)."""
    scenes: pd.DataFrame
    """Indexed by mine: snow, water (shares of the tested part, NaN where a band is lacking),
    distance, percentile (`spectral_distances`)."""

    def of_mine(self, mine: str) -> "Explanations":
        """Return only what concerns one mine."""
        tables = {name: getattr(self, name) for name in ("conditions", "confusions", "objects")}
        parts: dict[str, Any] = {
            name: table[table["mine"] == mine] for name, table in tables.items()
        }
        return replace(self, **parts, scenes=self.scenes.loc[[mine]])


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
    distances = spectral_distances(dataset, rows, run.statistics)
    scene_rows = {}
    condition_rows: list[dict] = []
    confusion_rows: list[dict] = []
    object_tables: list[pd.DataFrame] = []
    for mine, one in tested.items():
        known = one.known
        pixel_ha = central_pixel_area_m2(one.grid) / HECTARE_M2
        looks = _looks(dataset, one)
        far = distances.loc[one.scene["scene"]]
        scene_rows[mine] = {
            "snow": _share(looks[SNOW], known),
            "water": _share(looks[WATER], known),
            **far,
        }
        unfamiliar = np.full(known.shape, far["percentile"] > UNFAMILIAR_PERCENTILE)
        looks[UNFAMILIAR] = None if pd.isna(far["percentile"]) else unfamiliar
        for name in run.task.target_names[1:]:
            row = {"mine": mine, "class": name}
            number, objects = find_objects(one.true(name), one.predicted(name), known, pixel_ha)
            object_tables.append(objects.assign(**row))
            own = (*run.task.class_names, name) if run.task.merged_name else (name,)
            others = [n for n in dataset.description.class_names if n not in own]
            small = objects["area_ha"].lt(SMALL_OBJECT_HA) & ~objects["cut"]
            looks[SMALL_OBJECT] = np.isin(number, np.flatnonzero(small) + 1)
            masks = looks | _class_conditions(one, name, others)
            condition_rows += [row | r for r in _condition_counts(one, name, masks)]
            confusion_rows += [row | r for r in _confusion_counts(one, name, own, others)]
    return Explanations(
        run.task.target_names[1:],
        dataset.description.class_names,
        pd.DataFrame(condition_rows),
        pd.DataFrame(confusion_rows),
        pd.concat(object_tables, ignore_index=True),
        pd.DataFrame.from_dict(scene_rows, orient="index").rename_axis("mine"),
    )


def condition_shares(explanations: Explanations) -> pd.DataFrame:
    """Return how much of the error each condition covers, beside how much of the ground.

    Conditions do not exclude each other; `first_share` counts each error once, under the first of
    `WATERFALL` that holds for it.

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
        first = {}
        for condition in CONDITIONS:
            lines = of_class[of_class["condition"] == condition]
            first[condition] = ratio(lines["errors_first"].sum(skipna=False), lines["errors"].sum())
            found = pooled(lines["errors_there"], lines["errors"])
            low, high = found.interval
            rows.append(
                {"class": name, "condition": condition}
                | {"value": found.value, "low": low, "high": high, "mines": len(found.mines)}
                | _rates(lines)
                | {"first_share": first[condition]}
            )
        rest = 1 - pd.Series(first).sum(min_count=1)
        rows.append({"class": name, "condition": UNEXPLAINED, "first_share": rest})
    return pd.DataFrame(rows)


def ratio(part: ArrayLike, whole: ArrayLike) -> Any:
    """Divide numbers, arrays or series; NaN where there is nothing to take a share of."""
    parts, wholes = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    shares = np.full(parts.shape, np.nan)
    return np.divide(parts, wholes, out=shares, where=wholes > 0)[()]


@dataclass(frozen=True)
class Pooled:
    """A share pooled over mines."""

    value: float
    draws: np.ndarray
    """The share in each resample of the mines."""
    mines: tuple[str, ...]
    """Mines that have anything of the whole."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval over the mines; NaN of fewer than two."""
        return interval(self.draws) if len(self.mines) > 1 else (np.nan, np.nan)


def pooled(there: pd.Series, whole: pd.Series) -> Pooled:
    """Pool a share over mines (the index, where one may stand in several rows).

    Rows in which either number is NaN are unknown and left out.
    """
    table = pd.DataFrame({"there": there, "whole": whole}).dropna().groupby(level=0).sum()
    table = table[table["whole"] > 0]
    if table.empty:
        return Pooled(np.nan, np.full(RESAMPLES, np.nan), ())
    value = float(table["there"].sum() / table["whole"].sum())
    drawn = draw_mines(list(table.index)) @ table.to_numpy(float)  # (resamples, 2)
    return Pooled(value, drawn[:, 0] / drawn[:, 1], tuple(table.index))


def boundary_distance_px(truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Measure how far each pixel's centre is from the nearest on the other side of a class's edge.

    1 for pixels that touch the boundary with an edge, on either side; infinite where there is none.
    No boundary runs between a class and ground nobody annotated.
    """
    inside, outside = truth & known, known & ~truth
    return np.where(inside, _distance_to(outside), _distance_to(inside))


def find_objects(
    truth: np.ndarray, predicted: np.ndarray, known: np.ndarray, pixel_ha: float
) -> tuple[np.ndarray, pd.DataFrame]:
    """Find the objects of a class, joined by their sides as the polygons of a map are.

    Returns int32 (height, width), 0 outside of objects, else the row of the table plus 1; and the
    table: area_ha, detected (share of the pixels that are predicted as the class), cut (whether the
    object goes on beyond the tested part or into ground nobody annotated).
    """
    number, count = ndimage.label(truth)
    pixels = np.bincount(number.ravel(), minlength=count + 1)[1:]
    detected = np.bincount(number[predicted], minlength=count + 1)[1:]
    # Known ground is eaten away from the sides of the scene and from unknown ground.
    rim = ~ndimage.binary_erosion(known)
    cut = np.isin(np.arange(1, count + 1), number[rim])
    return number, pd.DataFrame(
        {"area_ha": pixels * pixel_ha, "detected": detected / np.maximum(pixels, 1), "cut": cut}
    )


def spectral_distances(
    dataset: Dataset, scenes: pd.DataFrame, statistics: ChannelStatistics
) -> pd.DataFrame:
    """Measure how far scenes look from the training mines.

    Each mine stands for its latest scene, and each scene for its mean in every band, in standard
    deviations of the training pixels. The distance of two scenes is the root mean square of the
    differences over the bands. Returns, indexed by scene: distance (to the nearest training mine),
    percentile (share of the training mines that are as near or nearer to the nearest other one of
    them, 0 to 1). NaN where there is nothing to compare with.
    """
    train = dataset.scenes_of("train").drop_duplicates("mine", keep="last")
    known = np.array([_mean_look(dataset, row, statistics) for _, row in train.iterrows()])
    apart = _apart(known, known)
    np.fill_diagonal(apart, np.nan)
    own = np.array([np.nanmin(row) for row in apart if not np.isnan(row).all()])
    rows = {}
    for _, scene in scenes.iterrows():
        distances = _apart(_mean_look(dataset, scene, statistics)[np.newaxis], known)[0]
        found = not np.isnan(distances).all()
        distance = float(np.nanmin(distances)) if found else np.nan
        rows[scene["scene"]] = {
            "distance": distance,
            "percentile": float(np.mean(own <= distance)) if found and own.size else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("scene")


def _hard_cases(dataset: Dataset) -> dict[str, str]:
    """Return what sets mines apart, of those that the mine table marks as special."""
    if "case" not in dataset.mines:
        return {}
    marked = dataset.mines[dataset.mines["case"] != ""]
    return dict(zip(marked["mine"], marked["case"], strict=True))


def _looks(dataset: Dataset, one: ScenePrediction) -> dict[str, np.ndarray | None]:
    """Find snow and water in a scene by reflectance; None where the dataset lacks a band for it.

    Snow by Sentinel-2's rule without its elevation; it looks like water too, and is taken out.
    """
    snow = wet = None
    there = set(dataset.description.bands)
    if there.issuperset(SNOW_BANDS):
        (green, red, short_wave), valid = dataset.read_inputs(one.scene, SNOW_BANDS, one.window)
        bright = _normalised_difference(green, short_wave) >= SNOW_NDSI
        snow = bright & (red >= SNOW_RED) & valid
    if there.issuperset(WATER_BANDS):
        (green, near_infrared), valid = dataset.read_inputs(one.scene, WATER_BANDS, one.window)
        wet = (_normalised_difference(green, near_infrared) > WATER_NDWI) & valid
        wet = wet if snow is None else wet & ~snow
    return {SNOW: snow, WATER: wet}


def _class_conditions(
    one: ScenePrediction, name: str, others: list[str]
) -> dict[str, np.ndarray | None]:
    """Find the conditions that depend on the class; None where nobody annotated another one."""
    distance_px = boundary_distance_px(one.true(name), one.known)
    elsewhere = [decode_bits(one.labels, other) for other in others]
    return {
        WITHIN_1_PX: distance_px <= 1,
        WITHIN_2_PX: distance_px <= 2,
        OTHER_CLASS: np.logical_or.reduce(elsewhere) if elsewhere else None,
    }


def _condition_counts(
    one: ScenePrediction, class_name: str, masks: Mapping[str, np.ndarray | None]
) -> Iterator[dict]:
    """Count pixels and errors of a class under each condition."""
    known = one.known
    wrong = known & (one.predicted(class_name) != one.true(class_name))
    left = wrong.copy()
    for name in CONDITIONS:
        there = masks[name]
        yield {
            "condition": name,
            "errors_first": _count(left, there) if name in WATERFALL else np.nan,
            **_numbers(wrong, known, there),
        }
        if there is not None and name in WATERFALL:
            left &= ~there


def _confusion_counts(
    one: ScenePrediction, class_name: str, own: tuple[str, ...], others: list[str]
) -> Iterator[dict]:
    """Count on which other ground the errors of a class fall, and as what it is missed."""
    known, truth, predicted = one.known, one.true(class_name), one.predicted(class_name)
    missed = truth & ~predicted
    grounds: dict[str, np.ndarray | None] = {
        name: decode_bits(one.labels, name) if name in others else None
        for name in CLASS_NAMES
        if name not in own
    }
    grounds[NO_CLASS] = (one.labels & sum(class_bit(name) for name in (*own, *others))) == 0
    seen = {name: one.predicted(name) for name in one.task.target_names if name != class_name}
    for error, by, wrong, candidates, places in (
        ("false positive", "annotated", known & predicted & ~truth, known & ~truth, grounds),
        ("false negative", "annotated", missed, truth, grounds),
        ("false negative", "predicted", missed, known & ~truth, seen),
    ):
        for other, there in places.items():
            numbers = _numbers(wrong, candidates, there)
            yield {"error": error, "by": by, "other": other, **numbers}


def _numbers(
    wrong: np.ndarray, candidates: np.ndarray, there: np.ndarray | None
) -> dict[str, float]:
    """Count errors, and what may be one, all of them and those that lie in a mask."""
    return {
        "errors": wrong.sum(),
        "errors_there": _count(wrong, there),
        "pixels": candidates.sum(),
        "pixels_there": _count(candidates, there),
    }


def _count(pixels: np.ndarray, there: np.ndarray | None) -> float:
    """Count those of some pixels that lie in a mask; NaN where nobody knows."""
    return np.nan if there is None else (pixels & there).sum()


def _share(mask: np.ndarray | None, known: np.ndarray) -> float:
    """Return the share of the known pixels in a mask."""
    return float(mask[known].mean()) if mask is not None and known.any() else np.nan


def _rates(lines: pd.DataFrame) -> dict[str, float]:
    """Return the share of pixels under a condition, and error rates in and out of it."""
    total = lines.dropna(subset=["pixels_there"]).drop(columns=["class", "condition"]).sum()
    outside = total["pixels"] - total["pixels_there"]
    return {
        "pixel_share": ratio(total["pixels_there"], total["pixels"]),
        "rate_inside": ratio(total["errors_there"], total["pixels_there"]),
        "rate_outside": ratio(total["errors"] - total["errors_there"], outside),
    }


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest pixel of a mask, infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(~mask)


def _normalised_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (one - other) / (one + other), -1 where both are 0."""
    total = one + other
    return np.divide(one - other, total, out=np.full(total.shape, -1.0), where=total > 0)


def _mean_look(dataset: Dataset, scene: pd.Series, statistics: ChannelStatistics) -> np.ndarray:
    """Return the standardised mean of a scene in each band (bands,), NaN without valid pixels."""
    inputs, valid = dataset.read_inputs(scene, statistics.bands)
    if not valid.any():
        return np.full(len(statistics.bands), np.nan)
    mean = inputs.sum(axis=(1, 2), dtype=np.float64) / valid.sum()  # 0 where not valid
    return (mean - np.array(statistics.mean)) / np.array(statistics.deviation)


def _apart(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distances (ones, others) of looks (scenes, bands)."""
    return np.sqrt(((ones[:, np.newaxis] - others[np.newaxis]) ** 2).mean(axis=2))
