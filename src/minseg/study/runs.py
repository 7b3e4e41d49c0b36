"""The run store: one folder a run, keyed by its content; read here without torch."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from minseg.data.dataset import Dataset
from minseg.data.labels import Task, parse_task
from minseg.data.radiometry import ChannelStatistics
from minseg.errors import MinsegError
from minseg.learning.metrics import Scores, scores
from minseg.study.config import RunConfig

COUNT_COLUMNS = ["tp", "fp", "fn", "tn"]


def run_key(config: RunConfig, dataset: Dataset) -> str:
    """Return the name of a run: a hexadecimal hash of its configuration, data and split."""
    content = {
        "config": config.model_dump(),
        "dataset": dataset.digest,
        "split": dataset.split_digest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


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
        return json.loads((self.path / "provenance.json").read_text(encoding="utf-8"))

    @cached_property
    def statistics(self) -> ChannelStatistics:
        """How the inputs are standardised."""
        facts = json.loads((self.path / "statistics.json").read_text(encoding="utf-8"))
        return ChannelStatistics(**{name: tuple(values) for name, values in facts.items()})

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch; empty for a run without epochs."""
        return pd.read_csv(self.path / "history.csv")

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Rows part, scene, mine, class, tp, fp, fn, tn: every score is computed from these."""
        return pd.read_csv(self.path / "counts.csv", dtype={"scene": str, "mine": str})

    @property
    def task(self) -> Task:
        """What the model tells apart."""
        return parse_task(self.config.task)

    def scores(self, part: str = "test", convention: str = "standard") -> Scores:
        """Score the run from its stored counts.

        Parameters
        ----------
        part : {"validation", "test"}
        convention : str
            See `minseg.learning.metrics.scores`.
        """
        return scores(counts_array(self._rows(part), self.task), convention, self.task.target_names)

    def scores_by_mine(self, part: str = "test", convention: str = "standard") -> pd.DataFrame:
        """Score each mine by itself.

        Returns
        -------
        pandas.DataFrame
            Indexed by mine: scene, iou, recall, precision, accuracy. NaN where a mine has none
            of the classes, in truth or in prediction.
        """
        rows = {}
        for (mine, scene), counts in self._rows(part).groupby(["mine", "scene"], sort=False):
            found = scores(counts_array(counts, self.task), convention)
            rows[mine] = {"scene": scene} | {
                name: found[name] for name in ("iou", "recall", "precision", "accuracy")
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("mine")

    def _rows(self, part: str) -> pd.DataFrame:
        """Return the counts of one part."""
        rows = self.counts[self.counts["part"] == part]
        if rows.empty:
            raise MinsegError(f"{self.path}: no counts of part {part!r}; it has validation, test")
        return rows


def counts_array(rows: pd.DataFrame, task: Task) -> np.ndarray:
    """Turn rows of counts into an int64 array (scenes, num_classes, 4): TP, FP, FN, TN."""
    order = {name: k for k, name in enumerate(task.target_names)}
    ordered = rows.assign(number=rows["class"].map(order)).sort_values(["scene", "number"])
    return ordered[COUNT_COLUMNS].to_numpy(np.int64).reshape(-1, task.num_classes, 4)


@dataclass(frozen=True)
class RunStore:
    """A folder of runs."""

    path: Path

    def find(self, key: str) -> Run | None:
        """Return the finished run of a key, or None."""
        return Run(self.path / key) if (self.path / key / "config.json").is_file() else None

    def __iter__(self) -> Iterator[Run]:
        """Yield all finished runs."""
        for config in sorted(self.path.glob("[0-9a-f]*/config.json")):
            yield Run(config.parent)

    @contextmanager
    def claim(self, key: str) -> Iterator[Path | None]:
        """Lock a run and give the folder to work in, or None if the run is there already.

        The folder is hidden and survives a kill, so that the work can be taken up again; it
        becomes the run when the block ends without an error. The operating system frees the
        lock of a killed process.

        Parameters
        ----------
        key : str

        Yields
        ------
        Path or None
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / f".{key}.lock").touch()
        except OSError as error:
            raise MinsegError(
                f"{self.path}: cannot write runs here ({error.strerror}); choose another folder "
                "with --runs"
            ) from None
        with self._lock(key):
            if self.find(key):
                yield None
                return
            work = self.path / f".{key}.partial"
            work.mkdir(exist_ok=True)
            for half_written in work.glob(".*"):  # files that a kill cut off
                half_written.unlink()
            yield work
            work.rename(self.path / key)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the run's lock; say so where another process makes us wait."""
        lock = FileLock(self.path / f".{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"run {key} is being made by another process; waiting", file=sys.stderr)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def open_run(path: Path | str) -> Run:
    """Open a finished run's folder.

    Raises
    ------
    MinsegError
        If it is no finished run.
    """
    path = Path(path)
    missing = [
        name
        for name in ("config.json", "provenance.json", "counts.csv")
        if not (path / name).is_file()
    ]
    if missing:
        raise MinsegError(
            f"{path}: is no finished run ({', '.join(missing)} missing); "
            "`minseg train` prints the folder of the run it made"
        )
    return Run(path)
