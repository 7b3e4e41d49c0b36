"""What explains a run's errors on the test mines (sections 4.1 to 4.3), counted from its stored
predictions and from all classes that the dataset's labels hold, the task's and others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from minseg.data.dataset import Dataset
from minseg.data.labels import CLASS_NAMES, IGNORE, class_bit, decode_bits
from minseg.maps.areas import HECTARE_M2, central_pixel_area_m2
from minseg.study import conditions
from minseg.study.mine_scores import hard_cases
from minseg.study.predictions import ScenePrediction, scene_prediction
from minseg.study.runs import Run, require

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
