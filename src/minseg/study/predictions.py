"""What a run predicted for a test scene, beside what is annotated there."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rasterio.windows import Window

from minseg.data.bands import parse_bands
from minseg.data.dataset import Dataset
from minseg.data.labels import IGNORE, task_target
from minseg.data.raster import Grid, grid_of, open_raster
from minseg.errors import MinsegError
from minseg.maps.class_map import ClassMap, read_class_map, write_class_map
from minseg.study.runs import Run


@dataclass(frozen=True)
class ScenePrediction:
    """The tested part of a scene: what a run said, and what the annotators did."""

    scene: pd.Series
    """Row of the scene table."""
    window: Window
    """The tested part, within the scene."""
    grid: Grid
    """Grid of that part."""
    prediction: np.ndarray
    """uint8 (height, width): 0 background, 1 … the task's classes."""
    target: np.ndarray
    """uint8 (height, width): the same, and 255 where nothing was counted."""
    labels: np.ndarray
    """uint16 (height, width): bit k = class k of Table 1, all classes that were annotated."""


def scene_prediction(run: Run, dataset: Dataset, mine: str) -> ScenePrediction:
    """Read a run's stored prediction of a test mine, and the dataset that it was tested on."""
    tested = run.counts_of("test").drop_duplicates("mine").set_index("mine")["scene"]
    if mine not in tested.index:
        raise MinsegError(
            f"{run.path}: no prediction of mine {mine!r}; test mines are {', '.join(tested.index)}"
        )
    row = find_scene(dataset, str(tested[mine]))
    path = run.path / "predictions" / f"{row['scene']}.tif"
    with open_raster(path) as source:
        grid, prediction = grid_of(source), source.read(1)
    whole = dataset.grid(row)
    column, top = ~whole.transform @ (grid.transform.c, grid.transform.f)
    window = Window(round(column), round(top), grid.width, grid.height)
    inside = (
        0 <= window.col_off <= whole.width - grid.width
        and 0 <= window.row_off <= whole.height - grid.height
    )
    if not (inside and whole.window(window).matches(grid)):
        raise MinsegError(
            f"{path}: lies on another grid than scene {row['scene']!r} of {dataset.path}; "
            "name the dataset that the run was tested on"
        )
    labels = dataset.read_labels(row, window)
    _, valid = dataset.read_inputs(row, parse_bands(run.config.bands), window)
    target = np.where(valid, task_target(labels, run.task), IGNORE).astype(np.uint8)
    return ScenePrediction(row, window, grid, prediction, target, labels)


def find_scene(dataset: Dataset, scene: str) -> pd.Series:
    """Return a row of the scene table, or refuse an unknown scene."""
    rows = dataset.scenes[dataset.scenes["scene"] == scene]
    if rows.empty:
        raise MinsegError(f"{dataset.path}: has no scene {scene!r}; scenes.csv lists them")
    return rows.iloc[0]


def scene_maps(run: Run, dataset: Dataset, scenes: Sequence[str]) -> dict[str, ClassMap]:
    """Return the class maps that a run's network draws of scenes, of any year.

    Only predicting loads torch: a page whose maps are kept does without. 255 where the image has no
    data; a scene of a mine that the run was trained on is refused.
    """
    folder = run.path / "scene_maps" / dataset.digest  # the images decide what is predicted
    maps = {scene: folder / f"{scene}.tif" for scene in scenes}
    missing = [scene for scene, path in maps.items() if not path.is_file()]
    predicted = {}
    if missing:
        from minseg.study.execution import predict_scenes_of  # loads torch

        predicted = predict_scenes_of(run, dataset, missing)
        with suppress(MinsegError):  # a run store may be open for reading only
            for scene, one in predicted.items():
                write_class_map(maps[scene], one.classes, one.grid, one.task)
    return {
        scene: predicted[scene] if scene in predicted else read_class_map(path)
        for scene, path in maps.items()
    }
