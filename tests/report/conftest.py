"""Run folders made by hand: no model, known predictions or known counts."""

import json

import numpy as np
import pandas as pd
import pytest
from rasterio.windows import Window

from minseg.data.labels import IGNORE, parse_task
from minseg.learning.inference import EvaluationScene, count_scenes, counts_table
from minseg.maps.class_map import write_class_map
from minseg.study.config import RunConfig
from minseg.study.runs import Run
from minseg.study.tables import Entry, Result
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
        tables.append(table.assign(part=part, epochs=config.epochs))
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


def counted_run(folder, config, iou_of_mine, absent=()):
    """A run of nothing but counts: each class of a mine has the IoU given, absent ones no truth."""
    union = 2000
    rows = []
    for mine, iou in iou_of_mine.items():
        tp = round(union * iou)
        wrong = (union - tp) // 2  # as many false positives as negatives
        for name in parse_task(config.task).target_names:
            counts = (tp, wrong, wrong, 100_000) if name not in absent else (0, 0, 0, 100_000)
            rows.append((config.epochs, "test", f"{mine}-2020", mine, name, *counts))
    columns = ["epochs", "part", "scene", "mine", "class", "tp", "fp", "fn", "tn"]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.model_dump_json())
    pd.DataFrame(rows, columns=columns).to_csv(folder / "counts.csv", index=False)
    return Run(folder)


def counted_result(folder, task, row, ious_of_mine, bands="RGB", absent=()):
    """The result of a row: a run for each mapping of mine to IoU, that is for each seed."""
    config = RunConfig(task=task, bands=bands)
    runs = tuple(
        counted_run(folder / f"{task}-{row}-{seed}", config.replace(seed=seed), ious, absent)
        for seed, ious in enumerate(ious_of_mine)
    )
    return Result(Entry(task, row, config), runs)


def draw(figure):
    """Draw and give the figure back: some mistakes show only then."""
    assert figure._repr_png_().startswith(b"\x89PNG")
    return figure


def entries(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def notes(axes):
    return [text.get_text() for text in axes.texts]


def row_names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]
