"""A run folder made by hand on the small dataset: no model, known predictions."""

import json

import numpy as np
import pandas as pd
import pytest
from rasterio.windows import Window

from minseg.data.labels import IGNORE
from minseg.learning.inference import EvaluationScene, count_scenes, counts_table
from minseg.learning.mapping import write_class_map
from minseg.study.config import RunConfig
from minseg.study.runs import Run
from tests.conftest import write_small_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Fourteen mines, two of them in the test part."""
    return write_small_dataset(tmp_path_factory.mktemp("report") / "squares", 14)


@pytest.fixture(scope="session")
def perfect_run(dataset, tmp_path_factory):
    """Predicts the truth, but nothing at all for the last test mine."""
    folder = tmp_path_factory.mktemp("runs") / "abc"
    config = RunConfig(task="model1", test_crop=48)
    run = Run(folder)
    folder.mkdir()
    (folder / "config.json").write_text(config.model_dump_json())
    tables = []
    for part in ("validation", "test"):
        scenes, predictions = [], []
        for _, row in dataset.scenes_of(part).iterrows():
            target = dataset.read_target(row, run.task)[8:56, 8:56]
            grid = dataset.grid(row).window(Window(8, 8, 48, 48))
            scenes.append(EvaluationScene(row["scene"], row["mine"], grid, None, target))
            predictions.append(np.where(target == IGNORE, 0, target).astype(np.uint8))
        if part == "test":
            predictions[-1][:] = 0
            for scene, classes in zip(scenes, predictions, strict=True):
                path = folder / "predictions" / f"{scene.scene}.tif"
                write_class_map(path, classes, scene.grid, run.task)
        table = counts_table(count_scenes(predictions, scenes, 3), scenes, run.task)
        tables.append(table.assign(part=part))
    pd.concat(tables).to_csv(folder / "counts.csv", index=False)
    origin = {
        "git_commit": "0123456789abcdef",
        "git_dirty": True,
        "dataset_hash": dataset.digest,
        "packages": {"torch": "2"},
        "device": "cpu",
        "cpu_cores": 2,
        "wall_time_s": 90,
    }
    (folder / "provenance.json").write_text(json.dumps(origin))
    return run
