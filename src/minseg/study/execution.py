"""Making one run, or loading the one that is there; opening a run's model."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import (
    LightningEnvironment,
    find_free_network_port,
)
from lightning_fabric.utilities.exceptions import MisconfigurationException
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from minseg.atomic import CannotWriteError, is_about_the_disk, write_text
from minseg.data.bands import parse_bands
from minseg.data.dataset import Dataset
from minseg.data.labels import Task, parse_task
from minseg.data.mines import PARTS
from minseg.data.radiometry import ChannelStatistics, training_statistics
from minseg.errors import MinsegError, first_line, require_word
from minseg.learning.baseline import fit_pixel_forest
from minseg.learning.device import fabric_devices, keep_freed_memory, resolve_precision
from minseg.learning.inference import (
    EvaluationScene,
    Segmenter,
    counts_table,
    evaluation_windows,
    load_scenes,
    predict_scene,
    predict_scenes,
)
from minseg.learning.models import (
    build_model,
    load_weights,
    network_anatomy,
    require_known,
    save_weights,
)
from minseg.learning.patches import TrainingPatches, read_patch, train_sizes
from minseg.learning.training import HISTORY_COLUMNS, LOG, AfterEpoch, train
from minseg.learning.weights import pretrained_file, standardised_as_trained, trained_inputs
from minseg.maps.class_map import ClassMap, write_class_map
from minseg.progress import progress, show_log
from minseg.scoring.metrics import scene_counts
from minseg.study.config import PIXEL_FOREST, RunConfig
from minseg.study.runs import (
    COST,
    COUNT_COLUMNS,
    Run,
    RunStore,
    describe_effort,
    describe_origin,
    find_scene,
    require,
    run_key,
)

# Fabric announces its precision at every start; the run's config says it already.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

CHECKPOINT = "checkpoint.safetensors"
"""File of an unfinished run."""

Models = Iterable[tuple[int, Callable[[EvaluationScene], np.ndarray]]]
"""Number of epochs, and a function from a scene to a raster of the task (height, width)."""


def run(
    config: RunConfig,
    dataset: Dataset,
    store: RunStore,
    after_epoch: AfterEpoch | None = None,
    devices: int = 1,
    device: str = "auto",
) -> Run:
    """Return the run of a configuration on a dataset: the stored one, or made now.

    With one device, `after_epoch` is that of `minseg.learning.training.train`; several graphics
    cards, or processes on a CPU, share each batch of one training. The device is one of
    `minseg.learning.device.fabric_devices`; no key depends on it.
    """
    scope = require(config, dataset)
    key = run_key(config, dataset)
    if found := store.find(key):  # no lock for what is there: the store may be read-only
        return found
    try:
        with store.claim(key) as folder:
            if folder is not None:
                fabric_devices(device, devices)
                _require_possible(config, scope, devices)
                statistics = _statistics(config, scope)
                work = _Work(config, scope, statistics, folder, devices, device)
                _make(work, dataset, after_epoch)
    except (OSError, SafetensorError, CannotWriteError) as error:
        full = not isinstance(error, OSError) or is_about_the_disk(error)
        hint = "free some space or choose another folder with --runs, and " if full else ""
        raise MinsegError(
            f"{store.path / key}: the run cannot be written ({error}); {hint}run again: it goes on "
            "from its last checkpoint"
        ) from None
    return Run(store.path / key)


@dataclass(frozen=True)
class _Work:
    """What is to be trained and evaluated, and the folder that it is written to."""

    config: RunConfig
    scope: Dataset
    """The mines that the run is about."""
    statistics: ChannelStatistics
    folder: Path
    devices: int
    device: str

    @property
    def task(self) -> Task:
        """What the model tells apart."""
        return parse_task(self.config.task)

    def scenes(self, part: str) -> list[EvaluationScene]:
        """Read what is evaluated of a part."""
        return load_scenes(self.scope, part, self.task, self.statistics, self.config.test_crop)

    def kept_at(self, epochs: int) -> Path:
        """Return the file of the weights at an earlier epoch count."""
        return self.folder / f"kept-at-{epochs}.safetensors"


def _statistics(config: RunConfig, scope: Dataset) -> ChannelStatistics:
    """Return how the inputs are standardised."""
    statistics = training_statistics(scope, parse_bands(config.bands))
    if config.standardise == "scenes":
        return statistics
    return standardised_as_trained(statistics, config.encoder, config.weights)


def _make(work: _Work, dataset: Dataset, after_epoch: AfterEpoch | None) -> None:
    """Train and evaluate, and write everything that a run's folder holds."""
    config, folder = work.config, work.folder
    keep_freed_memory()
    started, origin = time.monotonic(), describe_origin(dataset, work.scope, config.seed)
    if config.architecture == PIXEL_FOREST:
        models, device = _fit_baseline(work), "cpu"
    else:
        models, device = _train_network(work, after_epoch)
    _evaluate(work, models)
    facts = {name: list(values) for name, values in asdict(work.statistics).items()}
    _write_json(folder / "statistics.json", facts)
    effort = describe_effort(device, time.monotonic() - started)
    _write_json(folder / "provenance.json", origin | effort)
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    # Last of all, so that an interruption until here can be made good.
    for scratch in [folder / CHECKPOINT, *folder.glob("kept-at-*")]:
        scratch.unlink(missing_ok=True)


class _ThisMachine(LightningEnvironment):
    """The processes that this one starts, whatever a cluster's variables say of others."""

    @property
    def main_address(self) -> str:
        """Where the first of them is reached."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Port of the first of them, drawn once."""
        if self._main_port == -1:
            self._main_port = find_free_network_port()
        return self._main_port

    def node_rank(self) -> int:
        """Return the number of the machine."""
        return 0


def _fabric(device: str, devices: int = 1, **settings: Any) -> Fabric:
    """Return devices of this machine.

    By itself Fabric takes what SLURM, MPI or torchrun say for a division of this one training.
    """
    return Fabric(plugins=[_ThisMachine()], **fabric_devices(device, devices), **settings)


def _require_possible(config: RunConfig, scope: Dataset, devices: int) -> None:
    """Refuse what would fail after hours, before a raster is read."""
    for part in ("validation", "test"):
        for scene, _, _ in evaluation_windows(scope, part, config.test_crop):
            scope.files_with(scene, parse_bands(config.bands))
    if config.standardise == "start":
        start = pretrained_file(config.encoder, config.weights)
        told = trained_inputs(start) if start else {}
        if not any(told.get(band) for band in parse_bands(config.bands)):
            raise MinsegError(
                f"setting standardise = 'start': weights {config.weights!r} tell no mean and "
                f"spread of {config.bands}; use standardise=scenes, or a start that tells them"
            )
    if config.architecture == PIXEL_FOREST:
        return
    require_known(config.architecture, config.encoder)
    pretrained_file(config.encoder, config.weights)
    train_sizes(scope, config.crop)
    if config.batch_size % devices:
        raise MinsegError(
            f"{devices} devices cannot share batches of {config.batch_size} crops evenly; "
            f"e.g. --set batch_size={-(-config.batch_size // devices) * devices}"
        )


def open_segmenter(run: Run, device: str = "auto") -> Segmenter:
    """Load a run's network, ready to predict on a device, by default the fastest at hand."""
    config = run.config
    if config.architecture == PIXEL_FOREST:
        raise MinsegError(f"{run.path}: is the per-pixel baseline, which stores no model")
    if not (run.path / "weights.safetensors").is_file():
        raise run.lacks("weights")
    segmenter = _segmenter(config, run.statistics, _fabric(device).device)
    load_weights(segmenter.network, run.path / "weights.safetensors")
    segmenter.network.to(memory_format=torch.channels_last)
    return segmenter


def _segmenter(
    config: RunConfig,
    statistics: ChannelStatistics,
    device: torch.device,
    weights: str | None = None,
) -> Segmenter:
    """Build a configuration's network on a device; `weights` are those it starts from."""
    task = parse_task(config.task)
    network = build_model(
        config.architecture,
        config.encoder,
        statistics.bands,
        len(task.output_names),
        weights,
        config.coarsen,
    ).to(device)
    precision = resolve_precision(config.precision, device.type)
    return Segmenter(
        network, task, statistics, device, precision, config.orientations, config.coarsen
    )


def evaluate(run: Run, dataset: Dataset, part: str = "test") -> pd.DataFrame:
    """Count agreement on a part of a dataset, possibly another than the run was trained on."""
    require_word("part", part, PARTS)
    dataset.require(run.task, run.statistics.bands)
    mines = dataset.split.loc[dataset.split["part"] == part, "mine"]
    seen = _seen(run, dataset, mines) if part != "train" else []
    if seen:
        raise MinsegError(
            f"{run.path}: was trained on {len(seen)} mine(s) of part {part!r} of "
            f"{dataset.path} ({seen[0]}, …), which has another split now; train again"
        )
    segmenter = open_segmenter(run)
    scenes = load_scenes(dataset, part, run.task, run.statistics, run.config.test_crop)
    return counts_table(predict_scenes(segmenter, scenes), scenes, run.task)


def predict_scenes_of(run: Run, dataset: Dataset, scenes: Sequence[str]) -> dict[str, ClassMap]:
    """Map the classes of whole scenes with a run's network; ignored where the image has no data."""
    dataset.require(run.task, run.statistics.bands)
    rows = [find_scene(dataset, scene) for scene in scenes]
    seen = _seen(run, dataset, [row["mine"] for row in rows])
    if seen:
        raise MinsegError(
            f"{run.path}: was trained on mine {seen[0]}; what it predicts there says nothing of "
            "other mines, choose one of the validation or test part"
        )
    segmenter, maps = open_segmenter(run), {}
    for row in progress(rows, "predicting scenes"):
        inputs, _ = read_patch(dataset, row, run.task, run.statistics)
        _, valid = dataset.read_inputs(row, run.statistics.bands)
        classes = predict_scene(segmenter, inputs)
        classes[~valid] = run.task.ignore
        maps[row["scene"]] = ClassMap(classes, dataset.grid(row), run.task)
    return maps


def measure_cost(stored: Run, dataset: Dataset) -> dict[str, float]:
    """Measure parameters, the better of two epochs, the best of three times for the test scenes.

    What is measured is kept with the run. The epochs, each with its validation, are trained anew:
    those of stored runs tell of the machines that made them and of what else these did.
    """
    segmenter, config = open_segmenter(stored), stored.config
    scope = require(config, dataset)
    scenes = load_scenes(scope, "test", stored.task, stored.statistics, config.test_crop)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        predict_scenes(segmenter, scenes)
        times.append(time.perf_counter() - started)
    with TemporaryDirectory() as folder:
        short = run(config.replace(epochs=2, score_epochs=()), dataset, RunStore(Path(folder)))
        epoch_s = short.history["seconds"].min()
    parameters = sum(weight.numel() for weight in segmenter.network.parameters())
    cost = {"parameters": parameters, "epoch_s": epoch_s, "prediction_s": min(times)}
    with suppress(CannotWriteError, OSError):  # a run store may be open for reading only
        _write_json(stored.path / COST, cost)
    return cost


def _seen(run: Run, dataset: Dataset, mines: Iterable[str]) -> list[str]:
    """Return those of some mines of a dataset that the run was trained on."""
    origin = run.provenance
    if dataset.digest != origin["dataset_hash"]:
        return []
    return sorted({mine for mine in mines if origin["parts"].get(mine) == "train"})


def _fit_baseline(work: _Work) -> Models:
    """Fit the per-pixel forest; it has no epochs and its model is not stored."""
    pd.DataFrame(columns=HISTORY_COLUMNS).to_csv(work.folder / "history.csv", index=False)
    forest = fit_pixel_forest(work.scope, work.task, work.statistics, work.config.seed)
    return [(work.config.epochs, lambda scene: forest(scene.inputs))]


def _train_network(work: _Work, after_epoch: AfterEpoch | None) -> tuple[Models, str]:
    """Train a network on one device or several, and return it as it was kept."""
    devices, precision = work.devices, resolve_precision(work.config.precision, work.device)
    try:
        strategy = "ddp_spawn" if devices > 1 else "auto"
        fabric = _fabric(work.device, devices, strategy=strategy, precision=precision)
    except MisconfigurationException as error:
        raise MinsegError(f"{devices} devices: {first_line(error)}") from None
    if devices > 1:
        # As an argument of `launch`, Fabric would refuse a frozen dataclass.
        _launch(fabric, partial(_fit, work=work, logged=LOG.isEnabledFor(logging.INFO)))
        fabric = _fabric(work.device)
    else:
        _fit(fabric, work, after_epoch)
    name = f"{_device_name(fabric.device)}, {precision}"
    return _models(work, fabric.device), f"{devices} × {name}" if devices > 1 else name


def _launch(fabric: Fabric, fit: Callable[..., None]) -> None:
    """Train in a process for each device; what a user can mend there is told as anywhere."""
    try:
        fabric.launch(fit)
    except ProcessRaisedException as error:
        *_, told = str(error).rpartition(f"{MinsegError.__module__}.{MinsegError.__name__}: ")
        if told == str(error):
            raise
        raise MinsegError(told.strip()) from None
    except ProcessExitedException as error:
        raise MinsegError(
            f"one of the processes ended ({error}), as for want of memory; run again with fewer "
            "devices: it goes on from its last checkpoint"
        ) from None


def _fit(
    fabric: Fabric, work: _Work, after_epoch: AfterEpoch | None = None, logged: bool = False
) -> None:
    """Train a network, or go on training it; store its weights and learning curve.

    With several devices this runs in a process for each; the first one writes.
    """
    config, folder, first = work.config, work.folder, fabric.is_global_zero
    if not first:
        os.environ["MINSEG_PROGRESS"] = "off"
    elif logged:  # of which a process of its own does not know
        show_log()
    torch.manual_seed(config.seed)
    plain = config.replace(orientations=1)  # several would make each validation slower
    segmenter = _segmenter(plain, work.statistics, fabric.device, config.weights)
    patches = TrainingPatches(
        work.scope,
        work.task,
        work.statistics,
        crop=config.crop,
        batch_size=config.batch_size,
        crops_per_scene=config.crops_per_scene,
        seed=config.seed,
        device=fabric.device,
        share=(fabric.global_rank, fabric.world_size),
        colour=config.colour,
    )
    network, scenes = segmenter.network, work.scenes("validation")

    def validate(_: nn.Module) -> np.ndarray:
        targets = [scene.target for scene in scenes]
        return scene_counts(predict_scenes(segmenter, scenes), targets, work.task)

    def keep(epoch: int, iou: float, kept: dict[str, Tensor]) -> None:
        if epoch in config.score_epochs and first:
            save_weights(kept, work.kept_at(epoch))
        if after_epoch is not None:
            after_epoch(epoch, iou, kept)

    history = train(network, patches, validate, config, folder / CHECKPOINT, fabric, keep)
    if first:
        anatomy = network_anatomy(network, len(work.statistics.bands), config.crop)
        _write_json(folder / "network.json", anatomy)
        for epochs in config.score_epochs:
            if epochs > len(history):  # a training of so many would have stopped here, too
                save_weights(network.state_dict(), work.kept_at(epochs))
        save_weights(network.state_dict(), folder / "weights.safetensors", work.statistics)


def _models(work: _Work, device: torch.device) -> Models:
    """Yield the network as it was kept at each of the `score_epochs`, then at the end."""
    config = work.config
    segmenter = _segmenter(config, work.statistics, device)
    kept = {n: work.kept_at(n) for n in config.score_epochs if n < config.epochs}
    for epochs, path in (kept | {config.epochs: work.folder / "weights.safetensors"}).items():
        load_weights(segmenter.network, path)
        yield epochs, lambda scene: predict_scene(segmenter, scene.inputs)


def _evaluate(work: _Work, models: Models) -> None:
    """Count agreement on validation and test, and store the test predictions as class maps."""
    task, folder = work.task, work.folder
    parts = {part: work.scenes(part) for part in ("validation", "test")}
    tables = []
    for epochs, predict in models:
        for part, scenes in parts.items():
            predictions = [predict(scene) for scene in scenes]
            table = counts_table(predictions, scenes, task)
            tables.append(table.assign(epochs=epochs, part=part))
            if part == "test" and epochs == work.config.epochs:  # so that overlays need no model
                for scene, classes in zip(scenes, predictions, strict=True):
                    path = folder / "predictions" / f"{scene.scene}.tif"
                    write_class_map(path, classes, scene.grid, task)
    columns = ["epochs", "part", "scene", "mine", "class", *COUNT_COLUMNS]
    pd.concat(tables)[columns].to_csv(folder / "counts.csv", index=False)


def _device_name(device: torch.device) -> str:
    """Return the name of the hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.cpu.get_capabilities().get("cpu_name") or device.type


def _write_json(path: Path, content: Mapping | Sequence) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
