"""A finished run with what it predicted, the store of runs, and where one comes from."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any, Self

import numpy as np
import pandas as pd
from rasterio.windows import Window

from minseg.atomic import hold
from minseg.data.bands import parse_bands
from minseg.data.dataset import Dataset
from minseg.data.labels import Task, parse_task, task_target, uppermost
from minseg.data.radiometry import ChannelStatistics
from minseg.data.raster import Grid, grid_of, open_raster
from minseg.errors import MinsegError
from minseg.learning.device import peak_memory_mib
from minseg.learning.options import installed_version, named_start
from minseg.scoring.metrics import METRICS, Scores, scores
from minseg.study.config import PIXEL_FOREST, RunConfig

PACKAGES = (
    "minseg",
    "torch",
    "segmentation-models-pytorch",
    "lightning-fabric",
    "rasterio",
    "numpy",
    "pandas",
    "scikit-learn",
)
"""Packages whose versions can change a result."""


def describe_origin(dataset: Dataset, trained_on: Dataset, seed: int) -> dict:
    """Gather what a run starts from: code, data, packages, machine."""
    commit, dirty = git_state(Path(__file__))
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "dataset": dataset.description.name,
        "synthetic": dataset.synthetic,
        "dataset_provenance": dataset.description.provenance,
        "dataset_licence": dataset.description.licence,
        "dataset_hash": dataset.digest,
        "split_hash": dataset.split_digest,
        "parts": dict(zip(trained_on.split["mine"], trained_on.split["part"], strict=True)),
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "cpu_cores": cpu_cores(),
        "seed": seed,
    }


def describe_effort(device: str, wall_time_s: float) -> dict:
    """Gather what a run took; `wall_time_s` is of the last stretch where it was interrupted."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "wall_time_s": round(wall_time_s, 1),
        "peak_memory_mib": peak_memory_mib(),
    }


def cpu_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def git_state(source: Path) -> tuple[str | None, bool | None]:
    """Return the commit of a file of the code and whether the code was changed since.

    None where no repository tracks the file: one that only surrounds it, as one that holds the
    virtual environment it is installed in, knows nothing of it.
    """
    # Within a hook of some repository, git's variables name that one.
    environment = {k: value for k, value in os.environ.items() if not k.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(source.parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", source.name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


COUNT_COLUMNS = ["tp", "fp", "fn", "tn"]

SHIPPED_VARIABLE = "MINSEG_SHIPPED"
"""Environment variable that says ``off`` where the shipped runs are not to be used."""

RUN_FILES: dict[str, str] = {
    "config.json": "config",
    "provenance.json": "provenance",
    "statistics.json": "statistics",
    "history.csv": "history",
    "counts.csv": "counts",
}
"""File to the property of `Run` that reads it; a network's weights are not needed for scores."""

COST = "cost.json"
"""What a page had measured of a run."""

FILES_OF_SOME: dict[str, str] = {"network.json": "anatomy", COST: "cost"}
"""The same of files that not every run has."""

ADDED_LATER = (
    *("encoder_rate", "standardise", "colour", "coarsen", "orientations"),
    *("class_weights", "weight_decay", "patience"),
)
"""Settings that are no part of a key at their default, so that earlier runs keep theirs."""


def run_key(config: RunConfig, dataset: Dataset) -> str:
    """Return a run's name: hash of configuration (weights by their content), dataset and split."""
    fields = RunConfig.model_fields
    later = {name for name in ADDED_LATER if getattr(config, name) == fields[name].default}
    choices = config.model_dump(exclude=later)
    if config.weights and config.weights.lower().endswith(".safetensors"):
        choices["weights"] = _digest(Path(config.weights))
    elif start := named_start(config.encoder, config.weights):
        choices["weights"] = start.sha256
    content = {"config": choices, "dataset": dataset.digest, "split": dataset.split_digest}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def kind_of(config: RunConfig) -> Hashable:
    """Return what runs on one dataset that take about as long have in common."""
    if config.architecture == PIXEL_FOREST:
        return PIXEL_FOREST
    if config.score_epochs:  # trials of a search
        return config.epochs, config.score_epochs
    return config.epochs, config.architecture, config.encoder, config.crop


def _digest(path: Path) -> str:
    """Return the hash of a weights file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MinsegError(
            f"{path}: cannot be read ({error.strerror}); check the path of the weights"
        ) from None


def require(config: RunConfig, dataset: Dataset) -> Dataset:
    """Return the mines a run is about, of a dataset that has its classes, bands and subset."""
    dataset.require(parse_task(config.task), parse_bands(config.bands))
    return dataset.subset(config.subset) if config.subset else dataset


@dataclass(frozen=True)
class Run:
    """A finished run: one trained model with its evaluation."""

    path: Path

    @property
    def key(self) -> str:
        """Name of the run's folder."""
        return self.path.name

    @cached_property
    def config(self) -> RunConfig:
        """What was run."""
        return RunConfig.model_validate_json((self.path / "config.json").read_bytes())

    @cached_property
    def provenance(self) -> dict:
        """Where it comes from: code, data, packages, device, time."""
        return self._facts("provenance.json")

    @cached_property
    def statistics(self) -> ChannelStatistics:
        """How the inputs are standardised."""
        facts = self._facts("statistics.json")
        return ChannelStatistics(**{name: tuple(values) for name, values in facts.items()})

    @cached_property
    def anatomy(self) -> list[dict]:
        """Stages of the network (`minseg.learning.models.network_anatomy`); none for a forest."""
        return self._facts("network.json") if (self.path / "network.json").is_file() else []

    @property
    def cost(self) -> dict[str, float]:
        """What its network costs (`minseg.study.execution.measure_cost`), if it was measured."""
        return self._facts(COST) if (self.path / COST).is_file() else {}

    def _facts(self, name: str) -> Any:
        """Read a JSON file."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch; empty for a run without epochs."""
        return pd.read_csv(self.path / "history.csv")

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Rows epochs, part, scene, mine, class, tp, fp, fn, tn: all scores come from these."""
        path, texts = self.path / "counts.csv", {"scene": str, "mine": str}  # a mine may be "NA"
        return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values="")

    @property
    def task(self) -> Task:
        """What the model tells apart."""
        return parse_task(self.config.task)

    def counts_of(self, part: str = "test", epochs: int | None = None) -> pd.DataFrame:
        """Return the rows of counts of validation or test, at one of `score_epochs` or the end."""
        counted, wanted = self.counts, epochs or self.config.epochs
        rows = counted[(counted["part"] == part) & (counted["epochs"] == wanted)]
        if rows.empty:
            parts, lengths = (", ".join(map(str, counted[c].unique())) for c in ("part", "epochs"))
            raise MinsegError(
                f"{self.path}: no counts of part {part!r} at {wanted} epochs; "
                f"it has {parts} at {lengths}"
            )
        return rows

    @cached_property
    def tested(self) -> pd.Series:
        """Scene that each test mine (index) was tested on."""
        return counted_scenes(self.counts_of("test"))

    def scores(
        self, part: str = "test", convention: str = "standard", epochs: int | None = None
    ) -> Scores:
        """Score the run from its stored counts, see `minseg.scoring.metrics.scores`."""
        counts = counts_array(self.counts_of(part, epochs), self.task)
        return scores(counts, convention, self.task.target_names)

    def scores_by_mine(self, part: str = "test", convention: str = "standard") -> pd.DataFrame:
        """Score each mine (index) by itself, with its scene; NaN where none of the classes is."""
        rows = self.counts_of(part)
        table = counted_scenes(rows).to_frame()
        found = [scores(one[np.newaxis], convention) for one in counts_array(rows, self.task)]
        for name in METRICS:
            table[name] = [one[name] for one in found]  # type: ignore[literal-required]
        return table

    def require_whole(self) -> None:
        """Refuse a folder that was damaged after the run was finished."""
        some = [name for name in FILES_OF_SOME if (self.path / name).is_file()]
        problem = next(filter(None, map(self._damage, [*RUN_FILES, *some])), None) or self._gap()
        if problem:
            raise MinsegError(
                f"{self.path}: {problem}; delete the folder, and the run is made again"
            )

    def lacks(self, what: str) -> MinsegError:
        """Tell that a run keeps no weights or predictions, which scores need none of."""
        return MinsegError(
            f"{self.path}: keeps no {what}, as most shipped runs and the trials of a search; to "
            f"make it anew, delete the folder and ask for the run with {SHIPPED_VARIABLE}=off, on "
            "a page or by `minseg train`"
        )

    def _damage(self, name: str) -> str | None:
        """Say what is wrong with a file by itself."""
        path = self.path / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            if not path.read_bytes().endswith(b"\n"):
                return f"{name} is cut off"
            getattr(self, (RUN_FILES | FILES_OF_SOME)[name])
        except (MinsegError, OSError, ValueError, TypeError, AttributeError) as error:
            return f"{name} cannot be read ({shorten(str(error), 120)})"
        return None

    def _gap(self) -> str | None:
        """Say which of the files that can be read does not hold all that it should."""
        config = self.config
        lengths = {*(n for n in config.score_epochs if n < config.epochs), config.epochs}
        try:
            parts = self.provenance["parts"].items()
        except (KeyError, TypeError, AttributeError):
            return "provenance.json lacks the split"
        evaluated = [(part, mine) for mine, part in parts if part != "train"]
        expected = {(length, *scene) for length in lengths for scene in evaluated}
        columns = ["epochs", "part", "mine", "class", *COUNT_COLUMNS]
        counted = self.counts.reindex(columns=columns).dropna()
        num_classes = counted.groupby(["epochs", "part", "mine"])["class"].nunique()
        complete = num_classes[num_classes == self.task.num_classes].index
        if not expected or set(complete) != expected:
            return "counts.csv lacks rows or columns"
        if config.architecture == PIXEL_FOREST:
            return None if self.history.empty else "history.csv has rows"
        ious = list(pd.to_numeric(self.history.get("validation_iou", []), errors="coerce"))
        ended = config.is_over(ious) and not config.is_over(ious[:-1])
        return None if ended else "history.csv lacks rows"


@dataclass(frozen=True)
class Outcome:
    """What became of one configuration: a run, or the reason why there is none."""

    config: RunConfig
    run: Run | None
    problem: str | None = None


def counts_array(rows: pd.DataFrame, task: Task) -> np.ndarray:
    """Turn rows of counts into an int64 array (scenes, num_classes, 4): TP, FP, FN, TN."""
    order = {name: k for k, name in enumerate(task.target_names)}
    ordered = rows.assign(number=rows["class"].map(order)).sort_values(["scene", "number"])
    return ordered[COUNT_COLUMNS].to_numpy(np.int64).reshape(-1, task.num_classes, 4)


def counted_scenes(rows: pd.DataFrame) -> pd.Series:
    """Return the scene of each mine (index) of `counts_array`, in its order."""
    return rows.drop_duplicates("scene").sort_values("scene").set_index("mine")["scene"]


def counted_mines(rows: pd.DataFrame) -> list[str]:
    """Return the mines of the scenes of `counts_array`, in its order."""
    return list(counted_scenes(rows).index)


@dataclass(frozen=True)
class RunStore:
    """A folder of runs."""

    path: Path
    shipped: Path | None = None
    """A pack (`minseg.study.pack`) of runs that come into the folder once one is asked for."""

    def find(self, key: str) -> Run | None:
        """Return the finished run of a key, or None; a damaged one is refused."""
        if not self.holds(key):
            return None
        run = Run(self.path / key)
        run.require_whole()
        return run

    def holds(self, name: str) -> bool:
        """Tell whether a run or a file of the folder is there, unpacked now if it is shipped."""
        if not (self.path / name).exists() and self.shipped and self.shipped.is_file():
            from minseg.study.pack import read_manifest, unpack_runs

            packed = read_manifest(self.shipped)
            if name in packed.runs or name in packed.files:
                unpack_runs(self.shipped, self, keep_other=True)
        return (self.path / name).exists()

    def absolute(self) -> Self:
        """Name the folder so that workers in other folders find it too."""
        return replace(self, path=self.path.absolute())

    def __iter__(self) -> Iterator[Run]:
        """Yield all finished runs."""
        for config in sorted(self.path.glob("[0-9a-f]*/config.json")):
            yield Run(config.parent)

    def outdated(self, dataset: Dataset) -> int:
        """Count the runs on another content of a dataset: its name, but not its hash."""
        origins: dict[str, Any] = {}
        if self.shipped and self.shipped.is_file():
            from minseg.study.pack import read_manifest

            origins |= read_manifest(self.shipped).runs
        for run in self:
            with suppress(OSError, ValueError):  # whoever asks for it is told
                origins[run.key] = run.provenance
        return sum(
            isinstance(origin, dict)
            and origin.get("dataset") == dataset.description.name
            and origin.get("dataset_hash") != dataset.digest
            for origin in origins.values()
        )

    def times_s(self, dataset: Dataset) -> dict[Hashable, list[float]]:
        """Return how long the runs on a dataset took, seconds, by their `kind_of`."""
        found: dict[Hashable, list[float]] = {}
        for run in self:
            with suppress(MinsegError, OSError, ValueError, KeyError, TypeError):
                seconds = float(run.provenance["wall_time_s"])
                if run.provenance["dataset_hash"] == dataset.digest:
                    found.setdefault(kind_of(run.config), []).append(seconds)
        return found

    @contextmanager
    def claim(self, key: str) -> Iterator[Path | None]:
        """Lock a run and give the folder to work in, or None if the run is there already.

        The folder is hidden and survives a kill, so that the work can be taken up again; it
        becomes the run when the block ends without an error. The operating system frees the
        lock of a killed process.
        """
        with self._lock(key):
            if self.find(key):
                yield None
                return
            work = self.path / f".{key}.partial"
            work.mkdir(exist_ok=True)
            for half_written in list(work.rglob(".*")):  # what a kill cut off
                if half_written.is_dir():
                    shutil.rmtree(half_written)
                else:
                    half_written.unlink(missing_ok=True)
            yield work
            if (self.path / key).exists():  # unpacked meanwhile
                shutil.rmtree(work)
            else:
                work.rename(self.path / key)

    def discard(self, key: str) -> None:
        """Throw away the unfinished work on a run."""
        with self._lock(key):
            shutil.rmtree(self.path / f".{key}.partial", ignore_errors=True)

    def _lock(self, key: str) -> AbstractContextManager[object]:
        """Hold the run's lock."""
        try:
            held = f"run {key} is being made by another process"
            return hold(self.path / f".{key}.lock", held)
        except OSError as error:
            raise MinsegError(
                f"{self.path}: cannot write runs here ({error.strerror or error}); choose another "
                "folder with --runs"
            ) from None


def stored_outcome(config: RunConfig, dataset: Dataset, store: RunStore) -> Outcome | None:
    """Return what is known without work: the stored run, or why there can be none."""
    try:
        require(config, dataset)
        found = store.find(run_key(config, dataset))
    except MinsegError as error:
        return Outcome(config, None, str(error))
    return Outcome(config, found) if found else None


def open_run(path: Path | str) -> Run:
    """Open a finished run's folder, or refuse what is none."""
    run = Run(Path(path))
    if not (run.path / "config.json").is_file():
        raise MinsegError(
            f"{path}: is no finished run (config.json is missing); "
            "`minseg train` prints the folder of the run it made"
        )
    run.require_whole()
    return run


@dataclass(frozen=True)
class ScenePrediction:
    """The tested part of a scene: what a run said, and what the annotators did."""

    scene: pd.Series
    """Row of the scene table."""
    window: Window
    """The tested part, within the scene."""
    grid: Grid
    """Grid of that part."""
    task: Task
    """What the run tells apart."""
    prediction: np.ndarray
    """Raster of the task (height, width)."""
    target: np.ndarray
    """Raster of the task (height, width): ignored where nothing was counted."""
    labels: np.ndarray
    """uint16 (height, width): bit k = class k of Table 1, all classes that were annotated."""

    @property
    def known(self) -> np.ndarray:
        """Return what was counted: bool (height, width)."""
        return self.target != self.task.ignore

    def predicted(self, name: str) -> np.ndarray:
        """Return where a class is predicted: bool (height, width)."""
        return self.task.mask(self.prediction, name)

    def true(self, name: str) -> np.ndarray:
        """Return where a class is annotated: bool (height, width)."""
        return self.task.mask(self.target, name)

    def uppermost(self) -> "ScenePrediction":
        """Return it as it is drawn: one class a pixel (`minseg.data.labels.uppermost`)."""
        prediction, task = uppermost(self.prediction, self.task)
        return replace(
            self, task=task, prediction=prediction, target=uppermost(self.target, self.task)[0]
        )


def scene_prediction(run: Run, dataset: Dataset, mine: str) -> ScenePrediction:
    """Read a run's stored prediction of a test mine, and the dataset that it was tested on."""
    if mine not in run.tested:
        raise MinsegError(
            f"{run.path}: no prediction of mine {mine!r}; test mines are "
            f"{', '.join(run.tested.index)}"
        )
    if not (run.path / "predictions").is_dir():
        raise run.lacks("predictions")
    row = find_scene(dataset, str(run.tested[mine]))
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
    target = task_target(labels, run.task)
    target[~valid] = run.task.ignore
    return ScenePrediction(row, window, grid, run.task, prediction, target, labels)


def find_scene(dataset: Dataset, scene: str) -> pd.Series:
    """Return a row of the scene table, or refuse an unknown scene."""
    rows = dataset.scenes[dataset.scenes["scene"] == scene]
    if rows.empty:
        raise MinsegError(f"{dataset.path}: has no scene {scene!r}; scenes.csv lists them")
    return rows.iloc[0]
