"""What a notebook opens: a dataset, a profile, seeds, and the store that its runs are kept in."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minseg.atomic import cannot_write, hold
from minseg.data.dataset import Dataset, open_dataset
from minseg.data.labels import parse_task
from minseg.errors import MinsegError, summarise
from minseg.study.config import RunConfig, profile_config
from minseg.study.runs import (
    SHIPPED_VARIABLE,
    Outcome,
    Run,
    RunStore,
    require,
    run_key,
    stored_outcome,
)

SCHEDULER_VARIABLE = "MINSEG_SCHEDULER"
"""Environment variable with the address of a Dask scheduler to use instead of this machine."""

SYNTHETIC = "synthetic"
"""Name in place of a dataset's path: the embedded synthetic mines, made on first use."""


@dataclass(frozen=True)
class Study:
    """Everything the runs of a notebook share."""

    profile: str
    dataset: Dataset
    seeds: tuple[int, ...]
    store: RunStore

    def config(self, **changes: object) -> RunConfig:
        """Return the profile's configuration with the first seed and some fields changed.

        Where the dataset's labels are partial, a model of the paper is what they answer of it:
        `minseg.data.labels.Task.on`.
        """
        config = profile_config(self.profile, **{"seed": self.seeds[0], **changes})
        if config.seed not in self.seeds:
            known = ", ".join(map(str, self.seeds))
            raise MinsegError(f"setting seed = {config.seed}: seeds are {known}; change these")
        task = parse_task(config.task).on(self.dataset.description.class_names)
        return config.replace(task=task.name)

    def run(self, config: RunConfig, devices: int = 1, device: str = "auto") -> Run:
        """Return the stored run of a configuration, or make it now, on one device or several.

        `device` is one of `minseg.learning.device.fabric_devices`. Only making it loads torch: a
        book whose runs are stored builds without.
        """
        found = self.store.find(run_key(config, self.dataset))
        if found:
            return found
        from minseg.study import execution

        return execution.run(config, self.dataset, self.store, devices=devices, device=device)

    def run_all(self, configs: Sequence[RunConfig]) -> list[Outcome]:
        """Return what became of each configuration; missing runs are made, several at once.

        See `minseg.study.scheduling.run_all`; if none at all could be made, that is an error.
        """
        stored = (stored_outcome(config, self.dataset, self.store) for config in configs)
        outcomes = [outcome for outcome in stored if outcome]
        if len(outcomes) < len(configs):
            from minseg.study.scheduling import run_all  # Dask takes a second to import

            outcomes = run_all(configs, self.dataset, self.store)
        if not any(outcome.run for outcome in outcomes):
            self.raise_failures({outcome.config: str(outcome.problem) for outcome in outcomes})
        return outcomes

    def raise_failures(self, problems: Mapping[RunConfig, str]) -> None:
        """Raise why no run could be made, where the dataset could serve it.

        A page tells what its dataset lacks; one whose every run failed has nothing to tell.
        """
        failures: dict[str, None] = {}  # each reason once, in order
        for config, text in problems.items():
            with suppress(MinsegError):  # of what the dataset lacks
                require(config, self.dataset)
                failures[text] = None
        if failures:
            raise MinsegError(f"no run could be made: {summarise(list(failures))}")

    def runs(self, config: RunConfig) -> list[Run]:
        """Return one run per seed; told before any is made is how long that takes."""
        seeded = [config.replace(seed=seed) for seed in self.seeds]
        stored = {one: self.store.find(run_key(one, self.dataset)) for one in seeded}
        missing = [one for one, run in stored.items() if run is None]
        if missing:
            from minseg.study.scheduling import tell_of_missing

            tell_of_missing(missing, self.dataset, self.store)
        return [stored[one] or self.run(one) for one in seeded]


def open_study(
    profile: str = "laptop",
    dataset: str | Path = SYNTHETIC,
    seeds: Sequence[int] = (0,),
    runs: str | Path | None = None,
) -> Study:
    """Open a dataset and a run store to work with.

    Parameters
    ----------
    profile : {"laptop", "demo", "paper"}
        Where configurations start from.
    dataset : str or Path
        A dataset folder, or ``synthetic`` for the embedded default.
    seeds : sequence of int
        One run is made per seed.
    runs : str or Path, optional
        Folder of the run store; by default `default_store`.

    Returns
    -------
    Study

    Raises
    ------
    MinsegError
        If the profile or the dataset is unknown or unsound, or no seed is given.
    """
    profile_config(profile)
    if not seeds:
        raise MinsegError("seeds: none is given; name at least one, as [0]")
    opened = synthetic_dataset() if str(dataset) == SYNTHETIC else open_dataset(dataset)
    store = RunStore(Path(runs) if runs else default_store(), shipped_pack())
    return Study(profile, opened, tuple(seeds), store)


def shipped_pack() -> Path | None:
    """Return the pack of the study of the synthetic mines, where it is and is not turned off."""
    pack = Path(__file__).parents[1] / "results" / "synthetic.runs"
    return pack if pack.is_file() and os.environ.get(SHIPPED_VARIABLE) != "off" else None


def project_folder() -> Path:
    """Return minseg's checkout that the working directory is in, or the working directory."""
    here = Path.cwd()
    return next(filter(is_checkout, (here, *here.parents)), here)


def is_checkout(folder: Path) -> bool:
    """Tell whether a folder is a checkout of minseg: other projects have notebooks too."""
    project = folder / "pyproject.toml"
    if not (project.is_file() and (folder / "notebooks").is_dir()):
        return False
    lines = project.read_text(encoding="utf-8", errors="replace").splitlines()
    return 'name = "minseg"' in lines


def default_store() -> Path:
    """Return where runs are kept: ``$MINSEG_RUNS``, or ``runs`` in the checkout or folder."""
    return Path(os.environ.get("MINSEG_RUNS") or project_folder() / "runs")


def synthetic_dataset() -> Dataset:
    """Open the embedded synthetic dataset in ``data/synthetic``, making it on first use."""
    from minseg.synthetic.dataset import VERSION, write_synthetic

    folder = project_folder() / "data" / "synthetic" / f"version-{VERSION}"
    if folder.exists():  # which needs no lock, and so no place that can be written to
        return open_dataset(folder)
    try:
        lock = hold(Path(f"{folder}.lock"), f"{folder} is being made by another process")
    except OSError as error:
        raise cannot_write(folder, error) from None
    with lock:
        return open_dataset(folder) if folder.exists() else write_synthetic(folder)
