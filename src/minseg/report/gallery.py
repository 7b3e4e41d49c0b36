"""Pictures of a dataset's scenes and of a run's stored predictions."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from minseg.data.dataset import Dataset
from minseg.data.labels import ANNOTATED_NAMES, Task, decode_bits
from minseg.report.overlays import annotation_figure, overlay_figure
from minseg.study.mine_scores import best_median_worst as best_median_worst
from minseg.study.predictions import find_scene, scene_prediction
from minseg.study.runs import Run

DISPLAY_BANDS = ("B04", "B03", "B02")
"""Bands shown as red, green and blue."""


def example_scene(dataset: Dataset, part: str = "train") -> str:
    """Return the scene of a part with the most classes; of several, the one with most labels."""

    def richness(scene: pd.Series) -> tuple[int, int]:
        labels = dataset.read_labels(scene)
        pixels = [int(np.count_nonzero(decode_bits(labels, name))) for name in ANNOTATED_NAMES]
        return sum(count > 0 for count in pixels), sum(pixels)

    scenes = [scene for _, scene in dataset.scenes_of(part).iterrows()]
    return max(scenes, key=richness)["scene"]


def annotated_scene(dataset: Dataset, scene: str) -> Figure:
    """Draw a scene and its annotation, as the paper's Figure 3."""
    row = find_scene(dataset, scene)
    image, _ = dataset.read_inputs(row, display_bands(dataset.description.bands))
    title = scene_title(dataset, row)
    return annotation_figure(
        image, dataset.read_labels(row), dataset.grid(row), title, dataset.synthetic
    )


def overlay(run: Run, dataset: Dataset, mine: str) -> Figure:
    """Draw image, truth, a run's stored prediction and their agreement for one test mine.

    Parameters
    ----------
    run : Run
    dataset : Dataset
        The one it was tested on.
    mine : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MinsegError
        If the run has no prediction of that mine.
    """
    tested = scene_prediction(run, dataset, mine)
    image, _ = dataset.read_inputs(
        tested.scene, display_bands(dataset.description.bands), tested.window
    )
    by_mine = run.scores_by_mine()
    scores = {name: float(by_mine[name][mine]) for name in ("iou", "recall", "precision")}
    return overlay_figure(
        image,
        tested.target,
        tested.prediction,
        run.task,
        tested.grid,
        f"{scene_title(dataset, tested.scene)}: {task_title(run.task)}",
        scores,
        dataset.synthetic,
    )


def task_title(task: Task) -> str:
    """Return a task's name for a reader: ``Model 1``, or its classes."""
    return task.name.replace("model", "Model ")


def display_bands(bands: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bands to show: red, green and blue, or the first one there is."""
    return DISPLAY_BANDS if set(DISPLAY_BANDS) <= set(bands) else bands[:1]


def scene_title(dataset: Dataset, scene: pd.Series) -> str:
    """Name a scene: its mine, and the year if it is known."""
    name = dataset.mines.set_index("mine").loc[scene["mine"], "name"]
    year = scene["year"]
    return str(name) if pd.isna(year) else f"{name}, {year}"
