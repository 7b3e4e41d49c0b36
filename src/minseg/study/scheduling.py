"""Many runs at once, over the workers of a Dask client: this machine's, or a cluster's."""

import logging
import os
import sys
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import dask
import psutil
from distributed import Client, Future, Nanny, Scheduler, SpecCluster, as_completed, get_worker
from distributed.comm import CommClosedError

from minseg.data.dataset import Dataset
from minseg.errors import MinsegError
from minseg.progress import progress
from minseg.study.config import PROFILES, RunConfig
from minseg.study.runs import Outcome, RunStore, cpu_cores, kind_of, stored_outcome
from minseg.study.study import SCHEDULER_VARIABLE

PROCESSES_VARIABLE = "MINSEG_PROCESSES"
"""Environment variable with how many runs this machine makes at once; by default one a core."""

ANSWER_WITHIN_S = 15
"""Seconds that a scheduler may take to answer."""

WORKERS_WITHIN_S = 15
"""Seconds that its first worker may take."""

WORKER_MEMORY_BYTES = 2 * 2**30
"""Memory a worker of this machine should find free."""

HERE_ALONE = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Options of Dask's schedulers and workers that no other machine can reach: whoever does has them
execute what they like."""

_PROCESS = threading.Lock()


def run_all(
    configs: Sequence[RunConfig], dataset: Dataset, store: RunStore, scheduler: str | None = None
) -> list[Outcome]:
    """Return the stored runs of configurations, after making those that are missing.

    Equal configurations are one run. A run that cannot be made does not stop the others. A worker
    that dies loses nothing but the time since its run's last checkpoint: another takes the run up.
    The store is on a disk that all workers share; they are those of a Dask scheduler's address, by
    default ``$MINSEG_SCHEDULER``, else of this machine.
    """
    store = store.absolute()  # for workers in other folders
    outcomes = {config: stored_outcome(config, dataset, store) for config in dict.fromkeys(configs)}
    missing = [config for config, outcome in outcomes.items() if outcome is None]
    if missing:
        with connect(len(missing), scheduler) as client:
            tell_of_missing(missing, dataset, store, count_workers(client))
            futures = {
                client.submit(_make, config, dataset, store, pure=False): config
                for config in missing
            }
            done = as_completed(futures)
            for future in progress(done, "making runs", len(missing)):
                config = futures[future]
                outcomes[config] = outcome_of(future, config)
    return [outcome for config in configs if (outcome := outcomes[config])]


def tell_of_missing(
    configs: Sequence[RunConfig], dataset: Dataset, store: RunStore, at_once: int = 1
) -> None:
    """Say how many runs are made now and for about how long, and which of the stored do not serve.

    As long as similar runs on the dataset took, or those of a profile where they were measured.
    """
    if number := store.outdated(dataset):
        print(
            f"{store.path}: {number} run(s) are of an earlier content of dataset "
            f"{dataset.description.name!r} and not used",
            file=sys.stderr,
        )
    taken = {kind: fmean(times) for kind, times in store.times_s(dataset).items()}
    taken = (MEASURED_S if dataset.synthetic else {}) | taken
    expected = [seconds for config in configs if (seconds := _expected_s(config, taken))]
    told = "how long that takes is not known before one is there"
    if expected:  # of which the others may take as much
        at_once = min(at_once, len(configs))
        seconds = fmean(expected) * len(configs) / at_once
        told = f"about {_duration(seconds)} with {at_once} at once"
    print(f"{store.path}: {len(configs)} run(s) are missing and made now: {told}", file=sys.stderr)


MEASURED_S: dict[Hashable, float] = {
    kind_of(PROFILES["demo"]): 25.0,
    kind_of(PROFILES["laptop"]): 155.0,
    kind_of(PROFILES["laptop"].baseline()): 15.0,
}
"""Seconds of a run on the synthetic mines on one core of an AMD EPYC; targeted ones take less."""


def _expected_s(config: RunConfig, taken: Mapping[Hashable, float]) -> float | None:
    """Return how long a run may take; a trial of a search at most as long as any other."""
    kinds = kind_of(config), kind_of(config.replace(score_epochs=()))
    return next((taken[kind] for kind in kinds if kind in taken), None)


def _duration(seconds: float) -> str:
    """Write a time as one says it."""
    for unit, length_s in (("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def outcome_of(future: Future, config: RunConfig) -> Any:
    """Return what a finished future gives; whatever went wrong on the worker becomes a line."""
    try:
        return future.result()
    except Exception as error:  # of any kind: the others go on
        return Outcome(config, None, summary_of(error))


def summary_of(error: Exception) -> str:
    """Return one line about what went wrong on a worker."""
    if isinstance(error, CancelledError | CommClosedError):
        return (
            "the connection to the scheduler was lost; start it again and repeat this: work goes "
            "on from the last checkpoints"
        )
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return f"{type(error).__name__}: {reason}"


def _make(config: RunConfig, dataset: Dataset, store: RunStore) -> Outcome:
    """Make a run on a worker."""
    with one_at_a_time():
        from minseg.study import execution

        try:
            return Outcome(config, execution.run(config, dataset, store))
        except MinsegError as error:
            return Outcome(config, None, str(error))


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Give this worker's process to one training, with as many threads as the worker has.

    Two trainings in one process would share torch's random numbers, and neither could be repeated.
    """
    import torch

    with _PROCESS:
        os.environ["MINSEG_PROGRESS"] = "off"
        torch.set_num_threads(get_worker().state.nthreads)
        yield


@contextmanager
def connect(num_tasks: int, scheduler: str | None = None) -> Iterator[Client]:
    """Connect to a scheduler, or start workers here, at most one a task, until the block ends."""
    address = scheduler or os.environ.get(SCHEDULER_VARIABLE)
    if not address:
        with local_cluster(num_tasks) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(address, timeout=ANSWER_WITHIN_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise MinsegError(
            f"scheduler {address}: does not answer ({type(error).__name__}); start it with "
            f"`dask scheduler`, or unset {SCHEDULER_VARIABLE} to use this machine"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_WITHIN_S)
        except TimeoutError:
            raise MinsegError(
                f"scheduler {address}: has no workers; start some with "
                f"`dask worker {address} --nthreads 1`"
            ) from None
        try:
            yield client
        except (CancelledError, CommClosedError) as error:
            raise MinsegError(f"scheduler {address}: {summary_of(error)}") from None


def count_workers(client: Client) -> int:
    """Return how many workers there are; one, while the only one starts anew."""
    try:
        return max(1, len(client.nthreads()))
    except OSError:
        raise CommClosedError from None


def _processes() -> int | None:
    """Return the number of processes that the environment asks for, if it does."""
    text = os.environ.get(PROCESSES_VARIABLE)
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise MinsegError(f"{PROCESSES_VARIABLE}={text!r}: give a number of processes, as 2")
    return int(text) if text else None


@contextmanager
def local_cluster(num_tasks: int) -> Iterator[SpecCluster]:
    """Start a scheduler and workers here: one a graphics card, otherwise one a core.

    A worker has one thread: small networks gain little from more, and the sum is faster.
    """
    import torch

    num_gpus = torch.cuda.device_count()
    if num_gpus:
        # A cluster may have given us some of the machine's cards only.
        shown = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(num_gpus)))
        cards = shown.split(",")[: min(num_gpus, num_tasks)]
        environments = [{"CUDA_VISIBLE_DEVICES": card} for card in cards]
    else:
        fitting = psutil.virtual_memory().available // WORKER_MEMORY_BYTES
        wanted = _processes() or min(cpu_cores(), fitting)
        environments = [{} for _ in range(max(1, min(wanted, num_tasks)))]
    options = HERE_ALONE | {"nthreads": 1, "memory_limit": 0, "silence_logs": logging.ERROR}
    workers = {
        number: {"cls": Nanny, "options": options | {"env": environment}}
        for number, environment in enumerate(environments)
    }
    scheduler = {"cls": Scheduler, "options": HERE_ALONE | {"port": 0}}
    # By itself Dask ends workers that were silent for five minutes, as on a laptop that slept, and
    # may wait for new ones for ever. Of one that died here its nanny knows at once.
    patient = dask.config.set({"distributed.scheduler.worker-ttl": None})
    # Dask tells of every lost heartbeat, which a core busy with training misses now and then.
    with patient, SpecCluster(workers, scheduler, silence_logs=logging.ERROR) as cluster:
        yield cluster
