"""Whether cleaning a class map brings it closer to the truth, measured on stored predictions."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from minseg.data.dataset import Dataset
from minseg.maps.class_map import ClassMap
from minseg.maps.cleaning import Cleaning, adjacency_rules, clean
from minseg.scoring.intervals import bootstrap, interval, told_from_zero
from minseg.scoring.metrics import IOU, scene_counts, scores
from minseg.study.runs import Run, ScenePrediction, scene_prediction

RULES: Mapping[str, Cleaning] = {
    "smoothing, 1 px": Cleaning(smooth_radius_px=1),
    "minimum size, 0.1 ha": Cleaning(minimum_ha=0.1),
    "adjacency": Cleaning(adjacency=True),
    "all together": Cleaning(smooth_radius_px=1, minimum_ha=0.1, adjacency=True),
}
"""Rules that are measured, one by one and together."""


def effects(runs: Sequence[Run], dataset: Dataset) -> pd.DataFrame:
    """Measure what each rule of `RULES` does to the IoU of a configuration on its test mines.

    The stored predictions are cleaned and scored again (convention ``standard``) on the pixels
    that the runs were scored on.

    Parameters
    ----------
    runs : sequence of Run
        Of one configuration, one a seed; they are averaged.
    dataset : Dataset
        The one they were tested on.

    Returns
    -------
    pandas.DataFrame
        A row for each rule (index): task, bands, iou (as predicted), difference (cleaned minus as
        predicted), low, high (95 % interval over mines of the paired difference), told (whether it
        is told from zero, `minseg.scoring.intervals.told_from_zero`, the rows being the comparisons
        and the mines those in which the rule changed anything). Adjacency has a row only for tasks
        with both classes of one of its rules.

    Raises
    ------
    MinsegError
        If a run's stored predictions are missing, or the dataset is not the one of the runs.
    """
    config, task = runs[0].config, runs[0].task
    mines = runs[0].counts_of("test")["mine"].unique()
    tested = [[scene_prediction(run, dataset, mine) for mine in mines] for run in runs]
    before = [_ious(scenes, [scene.prediction for scene in scenes]) for scenes in tested]
    rules = {
        name: rule
        for name, rule in RULES.items()
        if rule != Cleaning(adjacency=True) or adjacency_rules(task)
    }
    lines = {}
    for name, rule in rules.items():
        cleaned = [[_cleaned(scene, rule) for scene in scenes] for scenes in tested]
        after = [_ious(*pair) for pair in zip(tested, cleaned, strict=True)]
        gain = np.mean(after, axis=0) - np.mean(before, axis=0)
        low, high = interval(gain[1:])
        touched = {
            scene.scene["mine"]
            for pair in zip(tested, cleaned, strict=True)
            for scene, prediction in zip(*pair, strict=True)
            if np.any((prediction != scene.prediction) & scene.known)
        }
        lines[name] = {
            "task": task.name,
            "bands": config.bands,
            "iou": np.mean([old[0] for old in before]),
            "difference": gain[0],
            "low": low,
            "high": high,
            "told": told_from_zero(gain[1:], len(touched), len(rules)),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def _cleaned(scene: ScenePrediction, rule: Cleaning) -> np.ndarray:
    """Return the cleaned prediction of a scene."""
    return clean(ClassMap(scene.prediction, scene.grid, scene.task), rule).classes


def _ious(scenes: Sequence[ScenePrediction], predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean IoU of predictions, and after it that of resamples of the mines."""
    found = scene_counts(predictions, [scene.target for scene in scenes], scenes[0].task)
    resampled = bootstrap(found, [scene.scene["mine"] for scene in scenes], "standard")
    return np.append(scores(found, "standard")["iou"], resampled[:, IOU])
