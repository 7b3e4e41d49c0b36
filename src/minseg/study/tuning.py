"""One hyperparameter search: its space, its trials, and the storage that keeps them."""

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from tqdm import tqdm

from minseg.atomic import hold, replace_when_done
from minseg.data.dataset import Dataset
from minseg.data.labels import parse_task
from minseg.errors import MinsegError, first_line, summarise
from minseg.progress import progress
from minseg.study.config import RunConfig
from minseg.study.runs import Outcome, Run, RunStore, require, run_key
from minseg.study.study import Study

if TYPE_CHECKING:  # Dask takes a second to import, and stored searches need none
    from distributed import Client, Future

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


# The same dimensions, at sizes that two CPU cores can search.
_SMALL = SearchSpace(
    learning_rate=(1e-3, 2e-3, 4e-3),
    batch_size=(8, 16, 32),
    epochs=(10, 20, 30),
    crop=(32, 64, 128),
    encoder=("tu-mobilenetv3_small_050", "tu-test_resnet", "tu-regnetx_002"),
)

SPACES: dict[str, SearchSpace] = {
    "paper": SearchSpace(),
    "laptop": _SMALL,
    "demo": _SMALL.model_copy(update={"epochs": (4, 7, 10), "crop": (32, 64)}),
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
        """Return the run of a complete trial, or tell that the run store lacks it."""
        found = self.store.find(trial.user_attrs["run"])
        if found is None:
            raise MinsegError(
                f"{self.store.path}: has no run {trial.user_attrs['run']}, which trial "
                f"{trial.number} in {self.place} made; use the run store of that search, or "
                "remove the storage and search again"
            )
        return found

    @property
    def place(self) -> str:
        """The storage as it may be shown: without a password."""
        with suppress(ArgumentError):
            return make_url(self.storage).render_as_string(hide_password=True)
        return self.storage

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
            reason = first_line(error.__cause__ or error)
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


def tune(
    study: Study,
    task: str,
    bands: str,
    trials: int,
    *,
    storage: str | None = None,
    scheduler: str | None = None,
    **settings: object,
) -> Search:
    """Search for the best hyperparameters, or go on searching, until there are enough trials.

    Trials that an interruption left unfinished are taken up again from their checkpoints. Several
    programs may call this at once with one storage and one run store: they share the trials. A
    trial that fails is told on standard error; it does not count, and this call makes no other in
    its place.

    Parameters
    ----------
    study : Study
        Its profile names the search space, its first seed starts sampling and training.
    task, bands : str
    trials : int
        Number of finished trials wanted, pruned ones among them.
    storage : str, optional
        An Optuna storage: a URL such as ``sqlite:////shared/tuning.db``, or the path of a journal
        file; by default a journal in the run store.
    scheduler : str, optional
        See `minseg.study.scheduling.run_all`.
    **settings
        Other fields of `RunConfig`.

    Returns
    -------
    Search

    Raises
    ------
    MinsegError
        If the storage or the scheduler cannot be used, the dataset cannot serve the task, or no
        trial at all could be trained.
    """
    search = open_search(study, task, bands, storage, **settings)
    if len(search.finished()) < trials:
        from minseg.study.scheduling import connect

        with connect(trials, scheduler) as client:
            _tell_of_trials([search], client, trials)
            _go_on(search, client, trials)
    return search


def tune_all(
    study: Study,
    tasks: Sequence[str],
    bands: Mapping[str, str],
    trials: int,
    scheduler: str | None = None,
    **settings: object,
) -> tuple[dict[str, Search], list[str]]:
    """Search for the best hyperparameters of several tasks, one after the other (Table 5).

    Parameters
    ----------
    study, scheduler, settings
        See `tune`.
    tasks : sequence of str
    bands : mapping of task to band configuration
        RGB for a task that is not named.
    trials : int
        Finished trials of each task.

    Returns
    -------
    searches : dict of task to Search
        Those with a finished trial.
    problems : list of str
        Why others are missing, one line each.

    Raises
    ------
    MinsegError
        If the scheduler cannot be used, or every search failed that the dataset can serve.
    """
    searches: dict[str, Search] = {}
    problems: dict[str, str] = {}
    for task in tasks:
        name = parse_task(task).name
        try:
            searches[name] = open_search(study, name, bands.get(name, "RGB"), None, **settings)
        except MinsegError as error:
            problems[name] = str(error)
    missing = [name for name, search in searches.items() if len(search.finished()) < trials]
    if missing:
        from minseg.study.scheduling import connect

        with connect(trials, scheduler) as client:
            _tell_of_trials([searches[name] for name in missing], client, trials)
            for name in missing:
                try:
                    _go_on(searches[name], client, trials)
                except MinsegError as error:
                    problems[name] = str(error)
    finished = {name: one for name, one in searches.items() if one.finished()}
    if not finished and "epochs" not in settings:  # which pages that show other runs may set
        study.raise_failures(
            {
                study.config(task=name, bands=bands.get(name, "RGB")): problem
                for name, problem in problems.items()
            }
        )
    return finished, [f"{name}: {problem}" for name, problem in problems.items()]


def stored_searches(
    study: Study, tasks: Sequence[str], bands: Mapping[str, str], **settings: object
) -> dict[str, Search]:
    """Return the searches of several tasks that have a finished trial, without a new one.

    See `tune_all`; a task whose search these settings or the dataset do not allow has none.
    """
    found = {}
    for name in (parse_task(task).name for task in tasks):
        with suppress(MinsegError):
            search = open_search(study, name, bands.get(name, "RGB"), None, **settings)
            if search.finished():
                found[name] = search
    return found


def open_search(
    study: Study, task: str, bands: str, storage: str | None = None, **settings: object
) -> Search:
    """Open a search, or begin one without trials; see `tune`."""
    space = SPACES[study.profile]
    if "epochs" in settings:
        counts = ", ".join(map(str, space.epochs))
        raise MinsegError(f"setting epochs: the search scores {counts} epochs; leave it out")
    fixed = {"schedule": "constant", "checkpoint": "last", "score_epochs": space.epochs[:-1]}
    base = study.config(
        **{**fixed, "task": task, "bands": bands, "epochs": space.epochs[-1], **settings}
    )
    for name, values in space.sampled.items():
        for value in values:
            base.replace(**{name: value})  # refused now rather than at some trial
    require(base, study.dataset)
    content = [space.model_dump(), run_key(base, study.dataset)]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    store = study.store.absolute()  # for workers in other folders
    search = Search(
        name=name,
        storage=absolute(storage or str(store.path / "tuning" / f"{name}.journal")),
        base=base,
        space=space,
        dataset=study.dataset,
        store=store,
        default_epochs=study.config().epochs,
    )
    if storage is None:
        store.holds(f"tuning/{name}.journal")
    if "://" in search.storage:
        with search.alone():  # two programs cannot both make the tables
            search.finished()
    search.finished()
    return search


def _tell_of_trials(searches: Sequence[Search], client: "Client", num_wanted: int) -> None:
    """Say how many trials are made now; those that are pruned take less."""
    from minseg.study.scheduling import count_workers, tell_of_missing

    bases = [one.base for one in searches for _ in range(num_wanted - len(one.finished()))]
    tell_of_missing(bases, searches[0].dataset, searches[0].store, count_workers(client))


def _go_on(search: Search, client: "Client", num_wanted: int) -> None:
    """Keep every worker busy with a trial until enough are finished, and tell what failed."""
    from distributed import wait

    from minseg.study.scheduling import count_workers

    flying: dict[Future, int] = {}  # future to trial number
    problems: list[str] = []
    bar: tqdm = progress((), "tuning", num_wanted, len(search.finished()))
    while True:
        while len(flying) < count_workers(client):
            trial = _next_trial(search, set(flying.values()), num_wanted - len(problems))
            if trial is None:
                break
            config = search.base.replace(**trial.params)
            future = client.submit(_run_trial, search, config, trial._trial_id, pure=False)
            flying[future] = trial.number
        if not flying:
            break
        for future in wait(list(flying), return_when="FIRST_COMPLETED").done:
            problem = _tell(search, flying.pop(future), future)
            problems += [problem] if problem else []
            bar.update()
    bar.close()
    if problems and not search.finished():
        raise MinsegError(f"no trial could be trained: {problems[0]}")
    if problems:
        reasons = summarise(list(dict.fromkeys(problems)))
        print(f"{len(problems)} trial(s) failed: {reasons}", file=sys.stderr)


def _next_trial(search: Search, mine: set[int], num_wanted: int) -> FrozenTrial | None:
    """Return a new trial, or an unfinished one that no future of ours works on, or None.

    An unfinished trial was left by an interruption, or belongs to another program that shares the
    storage; its run is locked in that case, and whoever comes second waits for the first.
    """
    with search.alone():
        unfinished = []
        for trial in search.known(TrialState.RUNNING):
            if "run" in trial.user_attrs:
                unfinished.append(trial)
            else:  # a kill came while its hyperparameters were drawn
                search.trials.tell(trial.number, state=TrialState.FAIL)
        num_finished = len(search.finished())
        if num_finished + len(unfinished) < num_wanted:
            return _ask(search)
    others = [trial for trial in unfinished if trial.number not in mine]
    return others[0] if others and num_finished < num_wanted else None


def _ask(search: Search) -> FrozenTrial:
    """Draw hyperparameters that can be built."""
    from minseg.learning.models import can_build

    space = search.space
    if not any(can_build(one, other) for one in space.architecture for other in space.encoder):
        raise MinsegError(
            f"none of {', '.join(space.architecture)} can be built on "
            f"{', '.join(space.encoder)}; search other architectures or encoders"
        )
    if search.default and not any("run" in trial.user_attrs for trial in search.known()):
        search.trials.enqueue_trial(search.default)
    while True:
        # Each trial draws by its own number, so that programs that share a storage, or one that
        # goes on, do not draw the same ones again.
        seed = search.base.seed + len(search.known())
        search.trials.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = search.trials.ask()
        parameters = {
            name: trial.suggest_categorical(name, values) for name, values in space.sampled.items()
        }
        if can_build(parameters["architecture"], parameters["encoder"]):
            trial.set_user_attr("run", run_key(search.base.replace(**parameters), search.dataset))
            return search.known()[trial.number]
        search.trials.tell(trial, state=TrialState.FAIL)


def _run_trial(search: Search, config: RunConfig, trial_id: int) -> Outcome | None:
    """Train one trial on a worker; None if it was pruned, or another program has ended it."""
    from minseg.study import execution
    from minseg.study.scheduling import one_at_a_time

    trial = optuna.trial.Trial(search.trials, trial_id)
    untuned = trial.params == search.default

    def report(epoch: int, iou: float, _: dict) -> None:
        stored = search.known()[trial.number]
        if stored.state.is_finished():
            raise optuna.TrialPruned
        if epoch not in stored.intermediate_values:
            trial.report(iou, epoch)
        if epoch < config.epochs and not untuned and trial.should_prune():
            # Told while the run is locked: a program that waits for it then leaves it at that.
            search.trials.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
            raise optuna.TrialPruned

    with one_at_a_time():
        try:
            run = execution.run(config, search.dataset, search.store, report)
        except (optuna.TrialPruned, UpdateFinishedTrialError):
            search.store.discard(run_key(config, search.dataset))
            return None
        except MinsegError as error:
            return Outcome(config, None, str(error))
    # Hundreds of trials would fill the disk; the best configuration can be trained again.
    (run.path / "weights.safetensors").unlink(missing_ok=True)
    return Outcome(config, run)


def _tell(search: Search, number: int, future: "Future") -> str | None:
    """Tell Optuna how a trial ended, and return why it failed, if it did."""
    from minseg.study.scheduling import outcome_of

    outcome = outcome_of(future, search.base)
    if outcome is None:
        return None
    problem, values = outcome.problem, []
    if outcome.run is not None:
        values = [v for v in validation_by_epochs(outcome.run).values() if not math.isnan(v)]
        problem = None if values else "no validation scene holds a class of the task"
    with search.readable_errors(), suppress(UpdateFinishedTrialError):  # another program told
        if problem:
            trial = optuna.trial.Trial(search.trials, search.known()[number]._trial_id)
            trial.set_user_attr("problem", problem)
            search.trials.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            search.trials.tell(number, max(values), skip_if_finished=True)
    return problem


def validation_by_epochs(run: Run) -> dict[int, float]:
    """Return a tuning run's validation IoU at each epoch count it was scored at."""
    history, config = run.history["validation_iou"], run.config
    # One that stopped early would have done so at every later count.
    return {n: float(history[:n].iloc[-1]) for n in (*config.score_epochs, config.epochs)}
