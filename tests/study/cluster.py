"""Dask schedulers and their workers: in this process, or programs that can be killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil
from distributed import Scheduler, SpecCluster, Worker

from minseg.study.runs import RunStore
from minseg.study.scheduling import HERE_ALONE

PRELOAD = """
from minseg.learning import training
training.CHECKPOINT_EVERY_S = -1
"""


def wait_until(moment: Callable[[], object]) -> object:
    """Return what a moment brings, once it is something."""
    while not (found := moment()):
        time.sleep(0.005)
    return found


@cache
def cluster_here() -> SpecCluster:
    """Start a scheduler whose one worker is a thread of this process."""
    workers = {0: {"cls": Worker, "options": HERE_ALONE | {"nthreads": 1, "memory_limit": 0}}}
    scheduler = {"cls": Scheduler, "options": HERE_ALONE | {"port": 0}}
    return SpecCluster(workers, scheduler, silence_logs=logging.ERROR)


class Cluster:
    """A scheduler on this machine; its workers write a checkpoint after every epoch."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.programs: list[subprocess.Popen] = []
        folder.mkdir()
        (folder / "preload.py").write_text(PRELOAD)
        facts = folder / "scheduler.json"
        # The programs end by themselves if the tests are killed.
        self.scheduler = self._start(
            "scheduler", "--port", 0, "--scheduler-file", facts, "--idle-timeout", "3h"
        )
        wait_until(lambda: facts.exists() and facts.read_text().endswith("}"))
        self.address = json.loads(facts.read_text())["address"]

    def start_worker(self, *options: object, ready: bool = True) -> subprocess.Popen:
        """Start a worker; one that is not `ready` loads torch with its first run."""
        preload = ["--preload", self.folder / "preload.py"] if ready else []
        return self._start(
            "worker", self.address, "--nthreads", 1, "--memory-limit", 0, *preload, *options,
            "--local-directory", self.folder, "--death-timeout", 600,
        )  # fmt: skip

    def _start(self, kind: str, *options: object) -> subprocess.Popen:
        command = ["-m", "dask", kind, *map(str, options), "--host", "127.0.0.1", "--no-dashboard"]
        with (self.folder / f"{kind}-{len(self.programs)}.log").open("w") as log:
            program = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.programs.append(program)
        return program

    def stop(self) -> None:
        for program in reversed(self.programs):
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)  # a nanny and its worker
            program.wait()


def trained_by(pid: int, store: RunStore) -> str | None:
    """Return the key of the run that a process has locked and written a checkpoint of."""
    try:
        opened = {Path(file.path) for file in psutil.Process(pid).open_files()}
    except psutil.Error:  # a worker that is just starting
        return None
    for checkpoint in store.path.glob(".*.partial/checkpoint.safetensors"):
        key = checkpoint.parent.name.removeprefix(".").removesuffix(".partial")
        if store.path / f".{key}.lock" in opened:
            return key
    return None
