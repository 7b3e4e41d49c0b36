"""Where a run comes from: code, data, packages, machine, time and memory."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from minseg.data.dataset import Dataset
from minseg.learning.memory import peak_memory_mib

PACKAGES = (
    "minseg",
    "torch",
    "segmentation-models-pytorch",
    "lightning",
    "rasterio",
    "numpy",
    "pandas",
    "scikit-learn",
)
"""Packages whose versions can change a result."""


def describe_origin(dataset: Dataset, trained_on: Dataset, seed: int) -> dict:
    """Gather what a run starts from: code, data, packages, machine.

    Parameters
    ----------
    dataset : Dataset
    trained_on : Dataset
        The dataset, or the subset of its mines that the run is about.
    seed : int

    Returns
    -------
    dict
        Ready for JSON.
    """
    commit, dirty = git_state(Path(__file__))
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "dataset": dataset.description.name,
        "synthetic": dataset.synthetic,
        "dataset_hash": dataset.digest,
        "split_hash": dataset.split_digest,
        "parts": dict(zip(trained_on.split["mine"], trained_on.split["part"], strict=True)),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu_cores": cpu_cores(),
        "seed": seed,
    }


def describe_effort(device: str, wall_time_s: float) -> dict:
    """Gather what a run took.

    Parameters
    ----------
    device : str
        Name of the hardware that trained.
    wall_time_s : float
        Seconds from start to end, of the last stretch where the work was interrupted.

    Returns
    -------
    dict
        Ready for JSON.
    """
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
    """Return the commit of the code and whether it was changed since.

    Parameters
    ----------
    source : Path
        A file of the code. A repository that only surrounds it, as one that holds the virtual
        environment it is installed in, knows nothing of it.

    Returns
    -------
    commit : str or None
        None where no repository tracks the file.
    dirty : bool or None
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


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
