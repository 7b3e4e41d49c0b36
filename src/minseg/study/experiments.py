"""Making a run, or loading the one that is there; opening a run's model."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from torch import nn

from minseg.atomic import write_text
from minseg.data.bands import parse_bands
from minseg.data.dataset import Dataset
from minseg.data.labels import Task, parse_task
from minseg.data.radiometry import ChannelStatistics, training_statistics
from minseg.errors import MinsegError
from minseg.learning.baseline import fit_pixel_forest
from minseg.learning.inference import (
    EvaluationScene,
    Segmenter,
    count_scenes,
    counts_table,
    load_scenes,
    predict_scene,
)
from minseg.learning.mapping import write_class_map
from minseg.learning.models import build_model, load_weights, save_weights
from minseg.learning.patches import TrainingPatches
from minseg.learning.training import HISTORY_COLUMNS, train
from minseg.study.config import PIXEL_FOREST, RunConfig
from minseg.study.provenance import describe_effort, describe_origin
from minseg.study.runs import Run, RunStore, run_key

# Fabric announces its precision at every start; the run's config says it already.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

PredictScene = Callable[[EvaluationScene], np.ndarray]
"""From a scene to its class numbers, uint8 (height, width)."""


def run(config: RunConfig, dataset: Dataset, store: RunStore) -> Run:
    """Return the run of a configuration on a dataset: the stored one, or made now.

    Parameters
    ----------
    config : RunConfig
    dataset : Dataset
    store : RunStore

    Returns
    -------
    Run

    Raises
    ------
    MinsegError
        If the dataset cannot serve the configuration.
    """
    task, bands = parse_task(config.task), parse_bands(config.bands)
    dataset.require(task, bands)
    key = run_key(config, dataset)
    with store.claim(key) as folder:
        if folder is not None:
            started, origin = time.monotonic(), describe_origin(dataset, config.seed)
            statistics = training_statistics(dataset, bands)
            if config.architecture == PIXEL_FOREST:
                predict, device = _fit_baseline(config, dataset, statistics, folder), "cpu"
            else:
                predict, device = _train_network(config, dataset, statistics, folder)
            _evaluate(config, dataset, statistics, predict, folder)
            facts = {name: list(values) for name, values in asdict(statistics).items()}
            _write_json(folder / "statistics.json", facts)
            effort = describe_effort(device, time.monotonic() - started)
            _write_json(folder / "provenance.json", origin | effort)
            write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
            (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return Run(store.path / key)


def open_segmenter(run: Run) -> Segmenter:
    """Load a run's network, ready to predict on the fastest device at hand.

    Parameters
    ----------
    run : Run

    Returns
    -------
    Segmenter

    Raises
    ------
    MinsegError
        If the run is a per-pixel baseline, or its weights do not fit.
    """
    config = run.config
    if config.architecture == PIXEL_FOREST:
        raise MinsegError(f"{run.path}: is the per-pixel baseline, which stores no model")
    bands = run.statistics.bands
    network = build_model(config.architecture, config.encoder, bands, run.task.num_classes, None)
    load_weights(network, run.path / "weights.safetensors")
    device = Fabric(accelerator="auto", devices=1).device
    network.to(device).to(memory_format=torch.channels_last)
    return Segmenter(network, run.task, run.statistics, device, config.precision)


def evaluate(run: Run, dataset: Dataset, part: str = "test") -> pd.DataFrame:
    """Evaluate a run's network on a part of a dataset, possibly another than it was trained on.

    Parameters
    ----------
    run : Run
    dataset : Dataset
    part : {"train", "validation", "test"}

    Returns
    -------
    pandas.DataFrame
        Rows scene, mine, class, tp, fp, fn, tn.

    Raises
    ------
    MinsegError
        If the part holds mines that the run was trained on, or the dataset lacks bands or classes.
    """
    dataset.require(run.task, run.statistics.bands)
    _refuse_leakage(run, dataset, part)
    segmenter = open_segmenter(run)
    scenes = load_scenes(dataset, part, run.task, run.statistics, run.config.test_crop)
    predictions = [predict_scene(segmenter, scene.inputs) for scene in scenes]
    return counts_table(count_scenes(predictions, scenes, run.task.num_classes), scenes, run.task)


def _refuse_leakage(run: Run, dataset: Dataset, part: str) -> None:
    """Refuse validation or test mines that the run has seen in training."""
    origin = run.provenance
    if part == "train" or dataset.digest != origin["dataset_hash"]:
        return
    mines = dataset.split.loc[dataset.split["part"] == part, "mine"]
    seen = sorted(mine for mine in mines if origin["parts"].get(mine) == "train")
    if seen:
        raise MinsegError(
            f"{run.path}: was trained on {len(seen)} mine(s) of part {part!r} of {dataset.path} "
            f"({seen[0]}, …), which has another split now; train again"
        )


def _fit_baseline(
    config: RunConfig, dataset: Dataset, statistics: ChannelStatistics, folder: Path
) -> PredictScene:
    """Fit the per-pixel forest; it has no epochs and its model is not stored."""
    pd.DataFrame(columns=HISTORY_COLUMNS).to_csv(folder / "history.csv", index=False)
    forest = fit_pixel_forest(dataset, parse_task(config.task), statistics, config.seed)
    return lambda scene: forest(scene.inputs)


def _train_network(
    config: RunConfig, dataset: Dataset, statistics: ChannelStatistics, folder: Path
) -> tuple[PredictScene, str]:
    """Train a network, or go on training it; store its weights and learning curve."""
    task = parse_task(config.task)
    fabric = Fabric(accelerator="auto", devices=1, precision=config.precision)
    torch.manual_seed(config.seed)
    network = build_model(
        config.architecture, config.encoder, statistics.bands, task.num_classes, config.weights
    ).to(fabric.device)
    patches = TrainingPatches(
        dataset,
        task,
        statistics,
        crop=config.crop,
        batch_size=config.batch_size,
        crops_per_scene=config.crops_per_scene,
        seed=config.seed,
        device=fabric.device,
    )
    segmenter = Segmenter(network, task, statistics, fabric.device, config.precision)
    scenes = load_scenes(dataset, "validation", task, statistics, config.test_crop)

    def validate(_: nn.Module) -> np.ndarray:
        predictions = [predict_scene(segmenter, scene.inputs) for scene in scenes]
        return count_scenes(predictions, scenes, task.num_classes)

    checkpoint = folder / "checkpoint.safetensors"
    history = train(network, patches, validate, config, checkpoint, fabric)
    history.to_csv(folder / "history.csv", index=False)
    save_weights(network, folder / "weights.safetensors")
    return lambda scene: predict_scene(segmenter, scene.inputs), _device_name(fabric.device)


def _evaluate(
    config: RunConfig,
    dataset: Dataset,
    statistics: ChannelStatistics,
    predict: PredictScene,
    folder: Path,
) -> None:
    """Count agreement on validation and test, and store the test predictions as class maps."""
    task = parse_task(config.task)
    tables = []
    for part in ("validation", "test"):
        scenes = load_scenes(dataset, part, task, statistics, config.test_crop)
        predictions = [predict(scene) for scene in scenes]
        table = counts_table(count_scenes(predictions, scenes, task.num_classes), scenes, task)
        tables.append(table.assign(part=part))
        if part == "test":
            _store_predictions(predictions, scenes, task, folder)
    columns = ["part", "scene", "mine", "class", "tp", "fp", "fn", "tn"]
    pd.concat(tables)[columns].to_csv(folder / "counts.csv", index=False)


def _store_predictions(
    predictions: Sequence[np.ndarray],
    scenes: Sequence[EvaluationScene],
    task: Task,
    folder: Path,
) -> None:
    """Write each scene's class map, so that overlays need no model."""
    for scene, classes in zip(scenes, predictions, strict=True):
        write_class_map(folder / "predictions" / f"{scene.scene}.tif", classes, scene.grid, task)


def _device_name(device: torch.device) -> str:
    """Return the name of the hardware."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
