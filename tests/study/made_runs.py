"""Finished runs written by hand, so that what they score is known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from optuna.trial import TrialState

from minseg.data.bands import parse_bands
from minseg.data.dataset import Dataset
from minseg.data.labels import parse_task
from minseg.study.config import PIXEL_FOREST, RunConfig
from minseg.study.runs import COUNT_COLUMNS, Run, RunStore, run_key
from minseg.study.tables import Entry, Result
from minseg.study.tuning import Search, SearchSpace

SPACE = SearchSpace(
    learning_rate=(1e-3, 2e-3, 3e-3),
    batch_size=(4,),
    epochs=(1, 2, 3),
    crop=(32, 64),
    optimiser=("adam",),
    encoder=("resnet18",),
    architecture=("unet",),
    loss=("jaccard", "focal"),
)
"""What the searches that are written by hand try."""

DRAWN = {name: values[0] for name, values in SPACE.sampled.items()}
"""Hyperparameters of a trial, where nothing else is asked for."""


def excavation(hits: int, false: int = 0) -> list[list[int]]:
    """Counts (3, 4) of Model 1 in a mine of 100 pixels, 10 of them excavation, `hits` found.

    The task's other class is neither there nor predicted: IoU = hits / (10 + false).
    """
    missed = 10 - hits
    return [[90 - false, missed, false, hits], [hits, false, missed, 90 - false], [0, 0, 0, 100]]


def excavations(hits: Mapping[str, int], false: int = 0) -> dict[str, list]:
    """Counts by mine, from the hits in each."""
    return {mine: excavation(number, false) for mine, number in hits.items()}


def made_result(
    folder: Path,
    row: str,
    config: RunConfig,
    *tested: Mapping[str, Sequence],
    mines: tuple[str, ...] | None = None,
    validation: str = "v",
    **provenance: object,
) -> Result:
    """The result of a row: a run for each seed, from the counts by test mine."""
    runs = []
    for seed, counts in enumerate(tested):
        path = folder / f"{row}-{seed}-{len(list(folder.glob('*')))}"
        found = {"validation": {validation: next(iter(counts.values()))}, "test": counts}
        found = {config.epochs: found}
        runs.append(write_run(path, config.replace(seed=seed), found, **provenance))
    return Result(Entry(config.task, row, config, mines), tuple(runs))


def write_run(
    folder: Path,
    config: RunConfig,
    found: Mapping[int, Mapping[str, Mapping[str, Sequence]]],
    validation_iou: Sequence[float] | None = None,
    **provenance: object,
) -> Run:
    """Write a run folder.

    `found` holds, for each epoch count and part, the mines' counts (num_classes, 4), one scene a
    mine; `validation_iou` is the learning curve.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = parse_task(config.task).target_names
    rows = [
        (epochs, part, f"{mine}-2020", mine, name, *numbers)
        for epochs, parts in found.items()
        for part, mines in parts.items()
        for mine, counts in mines.items()
        for name, numbers in zip(names, counts, strict=True)
    ]
    columns = ["epochs", "part", "scene", "mine", "class", *COUNT_COLUMNS]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "counts.csv", index=False)
    curve = [0.5] * config.epochs if validation_iou is None else list(validation_iou)
    curve = [] if config.architecture == PIXEL_FOREST else curve
    history = pd.DataFrame({"epoch": range(1, len(curve) + 1), "validation_iou": curve})
    history.to_csv(folder / "history.csv", index=False)
    bands = parse_bands(config.bands)
    parts = {mine: part for _, part, _, mine, *_ in rows}
    numbers = [0.5] * len(bands)
    for name, content in {
        "statistics.json": {"bands": bands, "mean": numbers, "deviation": numbers},
        "provenance.json": {"seed": config.seed, "parts": parts, **provenance},
        "config.json": config.model_dump(),
    }.items():
        (folder / name).write_text(json.dumps(content) + "\n")
    return Run(folder)


def made_search(folder: Path, dataset: Dataset, **settings: object) -> Search:
    """Begin a search of `SPACE` in a journal and a run store of a folder."""
    fixed = {"epochs": 3, "score_epochs": (1, 2), "checkpoint": "last", "weights": None}
    base, journal = RunConfig(**fixed | settings), str(folder / "made.journal")
    return Search("made", journal, base, SPACE, dataset, RunStore(folder / "runs"))


def ask_trial(search: Search, **changes: object) -> tuple:
    """Start a trial with known hyperparameters; returns it and its configuration."""
    parameters = DRAWN | changes
    search.trials.enqueue_trial(parameters)
    trial = search.trials.ask()
    for name, values in SPACE.sampled.items():
        assert trial.suggest_categorical(name, values) == parameters[name]
    config = search.base.replace(**parameters)
    trial.set_user_attr("run", run_key(config, search.dataset))
    return trial, config


def complete_trial(
    search: Search, curve: Sequence[float], hits: Sequence[Sequence[int]], **changes: object
) -> None:
    """Add a complete trial by its validation curve, and its test hits at each epoch count."""
    trial, config = ask_trial(search, **changes)
    found = {
        epochs: {
            "validation": {"v": excavation(5)},
            "test": {f"m{k}": excavation(n) for k, n in enumerate(numbers)},
        }
        for epochs, numbers in enumerate(hits, 1)
    }
    write_run(search.store.path / trial.user_attrs["run"], config, found, curve)
    for epoch, iou in enumerate(curve, 1):
        trial.report(iou, epoch)
    search.trials.tell(trial, max(curve))


def prune_trial(search: Search, curve: Sequence[float], **changes: object) -> None:
    """Add a pruned trial by its validation curve."""
    trial, _ = ask_trial(search, **changes)
    for epoch, iou in enumerate(curve, 1):
        trial.report(iou, epoch)
    search.trials.tell(trial, state=TrialState.PRUNED)
