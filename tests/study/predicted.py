"""Mines with labels drawn by hand, and runs whose stored predictions are drawn by hand."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rasterio.windows import Window

from minseg.data.bands import parse_bands
from minseg.data.dataset import Dataset, open_dataset
from minseg.data.labels import CLASS_NAMES, IGNORE, encode_bits, parse_task
from minseg.maps.class_map import write_class_map
from minseg.scoring.metrics import counts
from minseg.study.config import RunConfig
from minseg.study.runs import Run
from tests.conftest import mine_rows, scene_of, write_scenes
from tests.study.made_runs import write_run

SIDE = 32
BANDS = ("B02", "B03", "B04", "B08", "B11")
GROUND = (0.05, 0.08, 0.10, 0.20, 0.25)
SNOW = (0.80, 0.80, 0.80, 0.70, 0.10)
WATER = (0.05, 0.06, 0.03, 0.01, 0.005)


def rectangle(top, left, height, width, side=SIDE):
    mask = np.zeros((side, side), bool)
    mask[top : top + height, left : left + width] = True
    return mask


PIT, DUMP, STRIP = rectangle(4, 4, 12, 12), rectangle(20, 4, 8, 8), rectangle(4, 16, 12, 4)
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def write_mines(
    path: Path,
    test_labels: list,
    class_names=CLASS_NAMES,
    looks: Mapping[int, list] | None = None,
    bands=BANDS,
    synthetic=True,
    **columns: object,
) -> Dataset:
    """Three training mines, one for validation, and test mines with the labels given.

    A test mine's labels are a mapping of class to mask, or a bit mask. `looks` holds, for test
    mines, (mask, reflectance of `BANDS`) laid over the ground; test mine k is mine-{4 + k}.
    """
    scenes = []
    for k in range(4 + len(test_labels)):
        reflectance = np.empty((len(BANDS), SIDE, SIDE))
        reflectance[:] = np.array(GROUND)[:, None, None] * (1 + 0.02 * min(k, 4))
        for mask, values in (looks or {}).get(k - 4, ()):
            reflectance[:, mask] = np.array(values)[:, None]
        labels = test_labels[k - 4] if k >= 4 else {"excavation": rectangle(8, 8, 8, 8)}
        if not isinstance(labels, np.ndarray):
            empty = dict.fromkeys(["excavation"], np.zeros((SIDE, SIDE), bool))
            labels = encode_bits(empty | dict(labels))
        optical = np.rint(reflectance[[BANDS.index(band) for band in bands]] * 1e4)
        drawn = {"optical": optical.astype(np.uint16), "optical_bands": bands, "labels": labels}
        scenes.append(replace(scene_of(k, side=SIDE, radar=False), **drawn))
    about = {"name": "drawn", "class_names": class_names, "synthetic": synthetic}
    write_scenes(path, mine_rows(len(scenes), **columns), scenes, **about)
    parts = ["train"] * 3 + ["validation"] + ["test"] * len(test_labels)
    split = pd.DataFrame({"mine": [f"mine-{k}" for k in range(len(parts))], "part": parts})
    split.to_csv(path / "split.csv", index=False)
    return open_dataset(path)


def write_predictions(folder: Path, dataset: Dataset, task: str, predictions: list) -> Run:
    """Write a run that predicts what is given: for each test mine a mapping of class to mask."""
    config, names = RunConfig(task=task, bands="RGB", test_crop=0), parse_task(task).target_names

    def predict(truth: np.ndarray, k: int) -> np.ndarray:
        classes = np.zeros_like(truth)
        for name, mask in predictions[k].items():
            classes[mask] = names.index(name)
        return classes

    assert len(predictions) == len(dataset.scenes_of("test"))
    return write_predicting_run(folder, dataset, config, predict)


def write_predicting_run(
    folder: Path,
    dataset: Dataset,
    config: RunConfig,
    predict: Callable[[np.ndarray, int], np.ndarray],
    window: Window | None = None,
    **provenance: object,
) -> Run:
    """Write a run that predicts what is made of the truth (and of the test mine's number)."""
    task, tested = parse_task(config.task), {}
    for k, (_, row) in enumerate(dataset.scenes_of("test").iterrows()):
        target, grid = dataset.read_target(row, task, window), dataset.grid(row)
        _, valid = dataset.read_inputs(row, parse_bands(config.bands), window)
        target[~valid] = IGNORE
        classes = predict(np.where(target == IGNORE, 0, target), k).astype(np.uint8)
        path = folder / "predictions" / f"{row['scene']}.tif"
        write_class_map(path, classes, grid.window(window) if window else grid, task)
        tested[row["mine"]] = counts(classes[None], target[None], task.num_classes)[0].tolist()
    return write_run(folder, config, {config.epochs: {"test": tested}}, **provenance)
