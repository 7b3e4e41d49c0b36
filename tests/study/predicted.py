"""Mines with labels drawn by hand, and runs whose stored predictions are drawn by hand."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from minseg.data.bands import parse_bands
from minseg.data.dataset import Dataset, open_dataset
from minseg.data.labels import CLASS_NAMES, IGNORE, encode_bits, parse_task
from minseg.data.writing import SceneRasters
from minseg.learning.inference import EvaluationScene, count_scenes, counts_table
from minseg.maps.class_map import write_class_map
from minseg.study.config import RunConfig
from minseg.study.runs import Run
from tests.conftest import grid_at, mine_rows, write_scenes

SIDE = 32
BANDS = ("B02", "B03", "B04", "B08", "B11")
GROUND = (0.05, 0.08, 0.10, 0.20, 0.25)
SNOW = (0.80, 0.80, 0.80, 0.70, 0.10)
WATER = (0.05, 0.06, 0.03, 0.01, 0.005)


def rectangle(top, left, height, width, side=SIDE):
    mask = np.zeros((side, side), bool)
    mask[top : top + height, left : left + width] = True
    return mask


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
        optical = reflectance[[BANDS.index(band) for band in bands]]
        scenes.append(
            SceneRasters(
                scene=f"mine-{k}-2020",
                mine=f"mine-{k}",
                year=2020,
                date="2020-06-01",
                grid=grid_at(k, SIDE),
                optical=np.rint(optical * 1e4).astype(np.uint16),
                optical_bands=bands,
                radar=None,
                labels=labels,
            )
        )
    about = {"name": "drawn", "class_names": class_names, "synthetic": synthetic}
    write_scenes(path, mine_rows(len(scenes), **columns), scenes, **about)
    parts = ["train"] * 3 + ["validation"] + ["test"] * len(test_labels)
    split = pd.DataFrame({"mine": [f"mine-{k}" for k in range(len(parts))], "part": parts})
    split.to_csv(path / "split.csv", index=False)
    return open_dataset(path)


def write_predictions(folder: Path, dataset: Dataset, task: str, predictions: list) -> Run:
    """Write a run that predicts what is given: for each test mine a mapping of class to mask."""
    config = RunConfig(task=task, bands="RGB", test_crop=0)
    folder.mkdir(parents=True)
    scenes, drawn = [], []
    names = parse_task(task).target_names
    for (_, row), masks in zip(dataset.scenes_of("test").iterrows(), predictions, strict=True):
        target = dataset.read_target(row, parse_task(task))
        _, valid = dataset.read_inputs(row, parse_bands(config.bands))
        target[~valid] = IGNORE
        classes = np.zeros((SIDE, SIDE), np.uint8)
        for name, mask in masks.items():
            classes[mask] = names.index(name)
        scenes.append(EvaluationScene(row["scene"], row["mine"], dataset.grid(row), None, target))
        drawn.append(classes)
        path = folder / "predictions" / f"{row['scene']}.tif"
        write_class_map(path, classes, dataset.grid(row), parse_task(task))
    table = counts_table(count_scenes(drawn, scenes, len(names)), scenes, parse_task(task))
    table.assign(part="test", epochs=config.epochs).to_csv(folder / "counts.csv", index=False)
    (folder / "config.json").write_text(config.model_dump_json() + "\n")
    bands = parse_bands(config.bands)
    statistics = {"bands": bands, "mean": [0.1] * 3, "deviation": [0.01] * 3}
    (folder / "statistics.json").write_text(json.dumps(statistics) + "\n")
    return Run(folder)
