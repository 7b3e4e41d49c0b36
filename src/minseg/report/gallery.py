"""Pictures of a dataset's scenes and of a run's stored predictions."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rasterio.windows import Window

from minseg.data.dataset import Dataset
from minseg.data.labels import CLASS_NAMES, Task, decode_bits
from minseg.data.raster import grid_of, open_raster
from minseg.errors import MinsegError
from minseg.report.overlays import annotation_figure, overlay_figure
from minseg.study.runs import Run

DISPLAY_BANDS = ("B04", "B03", "B02")
"""Bands shown as red, green and blue."""


def example_scene(dataset: Dataset, part: str = "train") -> str:
    """Return the scene of a part with the most classes; of several, the one with most labels."""

    def richness(scene: pd.Series) -> tuple[int, int]:
        labels = dataset.read_labels(scene)
        pixels = [int(np.count_nonzero(decode_bits(labels, name))) for name in CLASS_NAMES]
        return sum(count > 0 for count in pixels), sum(pixels)

    scenes = [scene for _, scene in dataset.scenes_of(part).iterrows()]
    return max(scenes, key=richness)["scene"]


def annotated_scene(dataset: Dataset, scene: str) -> Figure:
    """Draw a scene and its annotation, as the paper's Figure 3."""
    row = _scene(dataset, scene)
    image, _ = dataset.read_inputs(row, display_bands(dataset))
    title = _title(dataset, row)
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
    by_mine = run.scores_by_mine()
    if mine not in by_mine.index:
        raise MinsegError(
            f"{run.path}: no prediction of mine {mine!r}; test mines are listed in counts.csv"
        )
    row = _scene(dataset, str(by_mine.loc[mine, "scene"]))
    with open_raster(run.path / "predictions" / f"{row['scene']}.tif") as source:
        grid, prediction = grid_of(source), source.read(1)
    whole = dataset.grid(row)
    column, top = ~whole.transform @ (grid.transform.c, grid.transform.f)
    window = Window(round(column), round(top), grid.width, grid.height)
    image, _ = dataset.read_inputs(row, display_bands(dataset), window)
    target = dataset.read_target(row, run.task, window)
    scores = {name: float(by_mine[name][mine]) for name in ("iou", "recall", "precision")}
    title = f"{_title(dataset, row)}: {task_title(run.task)}"
    return overlay_figure(
        image, target, prediction, run.task, grid, title, scores, dataset.synthetic
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


def task_title(task: Task) -> str:
    """Return a task's name for a reader: ``Model 1``, or its classes."""
    return task.name.replace("model", "Model ")


def display_bands(dataset: Dataset) -> tuple[str, ...]:
    """Return the bands to show: red, green and blue, or the first one there is."""
    bands = dataset.description.bands
    return DISPLAY_BANDS if set(DISPLAY_BANDS) <= set(bands) else bands[:1]


def _scene(dataset: Dataset, scene: str) -> pd.Series:
    """Find a row of the scene table."""
    rows = dataset.scenes[dataset.scenes["scene"] == scene]
    if rows.empty:
        raise MinsegError(f"{dataset.path}: has no scene {scene!r}; scenes.csv lists them")
    return rows.iloc[0]


def _title(dataset: Dataset, scene: pd.Series) -> str:
    """Name a scene: its mine, and the year if it is known."""
    name = dataset.mines.set_index("mine").loc[scene["mine"], "name"]
    year = scene["year"]
    return str(name) if pd.isna(year) else f"{name}, {year}"
