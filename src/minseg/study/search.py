"""One hyperparameter search: its space, its trials, and the storage that keeps them."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from minseg.atomic import hold, replace_when_done
from minseg.data.dataset import Dataset
from minseg.errors import MinsegError
from minseg.study.config import RunConfig
from minseg.study.runs import Run, RunStore

optuna.logging.set_verbosity(optuna.logging.ERROR)

LOCKED_WITHIN_S = 30
"""Seconds that a database may stay locked by another program."""


class SearchSpace(BaseModel):
    """Values that are tried; defaults = section 2.4.3."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    learning_rate: tuple[float, ...] = (1e-4, 3e-4, 6e-4)
    """Constant over a training."""
    batch_size: tuple[int, ...] = (4, 8, 16)
    """Crops per step."""
    epochs: tuple[int, ...] = (100, 150, 200)
    """Epoch counts that every training is scored at; it goes on to the last."""
    crop: tuple[int, ...] = (128, 256, 512)
    """Side of the training crop, pixels (the paper's input image size)."""
    optimiser: tuple[str, ...] = ("sgd", "adam", "adamw")
    """The three of section 2.4.3."""
    encoder: tuple[str, ...] = ("resnet50", "vgg16", "efficientnet-b0")
    """The paper says only efficientnet; b0 is our choice."""
    architecture: tuple[str, ...] = ("linknet", "unet++", "deeplabv3+", "fpn", "unet")
    """Combinations with an encoder that cannot be built are skipped."""
    loss: tuple[str, ...] = ("jaccard", "tversky", "focal", "crossentropy")
    """The four of section 2.4.3."""

    @property
    def sampled(self) -> dict[str, tuple]:
        """What is drawn for each trial: everything but the epochs."""
        return {name: values for name, values in self if name != "epochs"}


SPACES: dict[str, SearchSpace] = {
    "paper": SearchSpace(),
    # The same dimensions, at sizes that two CPU cores can search.
    "demo": SearchSpace(
        learning_rate=(1e-3, 2e-3, 4e-3),
        batch_size=(8, 16, 32),
        epochs=(4, 7, 10),
        crop=(32, 64),
        encoder=("tu-mobilenetv3_small_050", "tu-test_resnet", "tu-regnetx_002"),
    ),
}
"""Search spaces by profile. Each holds the profile's own settings, which are the first trial."""


@dataclass(frozen=True)
class Search:
    """One Optuna study: what is searched, on which data, and where its trials are kept."""

    name: str
    """Hash of all that decides the outcome but the number of trials."""
    storage: str
    base: RunConfig
    """What the trials have in common."""
    space: SearchSpace
    dataset: Dataset
    store: RunStore
    default_epochs: int = 0
    """Epochs of a training that is not tuned."""

    @property
    def default(self) -> dict[str, Any] | None:
        """The hyperparameters that are not tuned, if the space holds them: the first trial."""
        found = {name: getattr(self.base, name) for name in self.space.sampled}
        held = all(found[name] in values for name, values in self.space.sampled.items())
        return found if held and self.default_epochs in self.space.epochs else None

    @cached_property
    def trials(self) -> optuna.Study:
        """The Optuna study."""
        # A third goes on here, and again after three times as many epochs.
        pruner = optuna.pruners.SuccessiveHalvingPruner(self.first_rung, 3)
        with self.readable_errors():
            storage = _open_storage(self.storage)
            with suppress(KeyError):  # one that is there may be read where nothing can be written
                return optuna.load_study(study_name=self.name, storage=storage, pruner=pruner)
            return optuna.create_study(
                study_name=self.name,
                storage=storage,
                pruner=pruner,
                direction="maximize",
                load_if_exists=True,
            )

    @property
    def first_rung(self) -> int:
        """Epochs that every trial trains before it may be stopped: a ninth, rounded up."""
        return -(-self.space.epochs[-1] // 9)

    def known(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in some states, all of them by default."""
        with self.readable_errors():
            return self.trials.get_trials(deepcopy=False, states=states or None)

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that are over, complete or pruned; failed ones do not count."""
        return self.known(TrialState.COMPLETE, TrialState.PRUNED)

    def run_of(self, trial: FrozenTrial) -> Run:
        """Return the run of a complete trial.

        Raises
        ------
        MinsegError
            If it is not in the run store.
        """
        found = self.store.find(trial.user_attrs["run"])
        if found is None:
            raise MinsegError(
                f"{self.store.path}: has no run {trial.user_attrs['run']}, which trial "
                f"{trial.number} in {self.place} made; use the run store of that search, or "
                "remove the storage and search again"
            )
        return found

    def config(self, parameters: Mapping[str, Any]) -> RunConfig:
        """Return the configuration of a trial's training."""
        return self.base.replace(**parameters)

    @property
    def place(self) -> str:
        """The storage as it may be shown: without a password."""
        with suppress(ArgumentError):
            return make_url(self.storage).render_as_string(hide_password=True)
        return self.storage

    @property
    def in_database(self) -> bool:
        """Whether the storage is a database, not a journal."""
        return "://" in self.storage

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other programs from starting trials meanwhile."""
        lock = self.store.path / "tuning" / f".{self.name}.lock"
        held = f"search {self.name} is being gone on with by another process"
        with self.readable_errors(), hold(lock, held):
            yield

    @contextmanager
    def readable_errors(self) -> Iterator[None]:
        """Turn what a storage raises into a line."""
        try:
            yield
        # RuntimeError: written by an older or newer Optuna. ImportError: no driver.
        except (
            OSError,
            RuntimeError,
            ImportError,
            json.JSONDecodeError,
            StorageInternalError,
            SQLAlchemyError,
        ) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise MinsegError(
                f"tuning storage {self.place}: {reason}; wait until other programs have released "
                "it, or name another; finished trials are kept"
            ) from None

    def __getstate__(self) -> dict:
        """Leave the connection to the storage behind when going to a worker."""
        return {name: value for name, value in self.__dict__.items() if name != "trials"}


def absolute(storage: str) -> str:
    """Name a storage so that workers in other folders find it too."""
    if "://" not in storage:
        return str(Path(storage).absolute())
    kind, file = storage.split("://", 1)
    relative = kind.startswith("sqlite") and file[1:] and not file.startswith("//")
    return f"{kind}:///{Path(file[1:]).absolute()}" if relative else storage


def _open_storage(place: str) -> optuna.storages.BaseStorage:
    """Open a database by its URL, or a journal by its path."""
    if "://" in place:
        arguments = {"timeout": LOCKED_WITHIN_S} if place.startswith("sqlite") else {}
        return optuna.storages.RDBStorage(place, engine_kwargs={"connect_args": arguments})
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(Journal(place))


class Journal(JournalFileBackend):
    """A journal of whole lines, whatever a full disk or a kill did to one.

    Optuna by itself reads no journal any more that was written on behind a cut.
    """

    def __init__(self, path: str) -> None:
        self._path, self._turn = Path(path), JournalFileOpenLock(path)
        super().__init__(path, self._turn)
        if _mended(self._path.read_bytes()) is None:
            return
        with self._alone():
            whole = _mended(self._path.read_bytes())
            if whole is not None:
                with replace_when_done(self._path) as beside:
                    beside.write_bytes(whole)
                    shutil.copymode(self._path, beside)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from writing meanwhile."""
        self._turn.acquire()
        try:
            yield
        finally:
            self._turn.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines, all or none."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._alone(), self._path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                while lines:
                    lines = lines[file.write(lines) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise


_RECORD = b'{"op_code":'
"""What a line of a journal begins with."""


def _mended(journal: bytes) -> bytes | None:
    """Return a journal without what was cut off; None if nothing was, or if it is no journal."""
    lines = journal.splitlines(keepends=True)
    kept = [_whole(line) for line in lines]
    return None if kept == lines or not lines[0].startswith(_RECORD) else b"".join(kept)


def _whole(line: bytes) -> bytes:
    """Return the record that a line ends with, maybe behind one cut off; nothing if this is cut."""
    record = line[max(line.rfind(_RECORD), 0) :]
    try:
        json.loads(record)
    except ValueError:
        return b""
    return record if record.endswith(b"\n") else b""
