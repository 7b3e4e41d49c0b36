"""The folder that a fetch works in: its own, alone, and for one set of arguments."""

import json
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rasterio.errors import NotGeoreferencedWarning

from minseg.atomic import cannot_write, hold, write_text
from minseg.data.dataset import Dataset, open_dataset
from minseg.data.mines import PARTS, require_seed
from minseg.data.writing import write_tables
from minseg.errors import MinsegError, first_line, summarise
from minseg.fetching.catalogue import require_stac
from minseg.fetching.choice import Pins, YearChoice, choose_mine, read_choices, write_choices
from minseg.fetching.plan import FetchRequest, MinePlan, plan_mines
from minseg.fetching.providers import Provider
from minseg.fetching.scene import (
    MANIFEST,
    catalogue_notes,
    kept_record,
    make_scene,
    record_notes,
    why_none,
    write_manifest,
)
from minseg.progress import progress


@contextmanager
def own_folder(path: Path, arguments: Mapping[str, object]) -> Iterator[None]:
    """Lock a folder that is new or was begun with the same arguments; clear what a kill left.

    Where nothing was chosen in the block, all that it wrote is taken back.
    """
    manifest = path / MANIFEST
    strange = [inner for inner in path.glob("*") if not inner.name.startswith(".")]
    if not manifest.is_file() and (strange or path.is_file()):
        raise MinsegError(
            f"{path}: exists and was not begun by `minseg dataset fetch`; name a new folder"
        )
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    held = f"{path}: another program is fetching into it now; wait for it"
    try:
        lock = hold(path / ".fetch.lock", held, wait=False)
    except OSError as error:
        raise cannot_write(manifest, error) from None
    with lock:
        try:
            if _anything_chosen(path):
                _require_same(manifest, arguments)
            else:
                write_text(manifest, json.dumps({"arguments": arguments}, indent=1) + "\n")
            for left in [*path.glob(".*.partial*"), *path.glob("*/.*.partial*")]:
                left.unlink()
            for left in path.glob("scenes/*/.*.partial"):
                shutil.rmtree(left)
            yield
        finally:
            if not _anything_chosen(path):  # so another command may begin anew
                with suppress(OSError):  # what somebody else put there stays
                    manifest.unlink(missing_ok=True)
                    (path / ".fetch.lock").unlink(missing_ok=True)
                    for folder in (path / "choices", *new):
                        if folder.is_dir():
                            folder.rmdir()


def _anything_chosen(path: Path) -> bool:
    """Whether a folder holds more of an earlier run than its arguments."""
    return any(any(path.glob(found)) for found in ("choices/*.json", "scenes/*/*/scene.json"))


def _require_same(manifest: Path, arguments: Mapping[str, object]) -> None:
    """Refuse arguments that would mix two datasets in one folder."""
    try:
        begun = dict(json.loads(manifest.read_text(encoding="utf-8"))["arguments"])
    except (ValueError, KeyError, TypeError):
        raise MinsegError(
            f"{manifest}: is damaged, and nothing else tells what the folder was begun with; "
            f"remove the whole folder {manifest.parent}, or name a new one"
        ) from None
    changed = [name for name, value in arguments.items() if begun.get(name) != value]
    if changed:
        raise MinsegError(
            f"{manifest.parent}: was begun with other {', '.join(changed)}; give the same ones to "
            "go on, or name a new folder"
        )


PACKERS = 2  # scenes that are compressed and written while others are read

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Fetched:
    """What came of a run."""

    dataset: Dataset | None
    """None where too few mines are there for a split."""
    failures: tuple[str, ...]
    """Scenes that are not there, and why; the same command tries them again."""
    notes: tuple[str, ...]
    """What a user should look at."""


def fetch_dataset(
    path: Path,
    request: FetchRequest,
    *,
    pins: Pins | None = None,
    workers: int = 4,
    licence: str = "not stated",
    split_seed: int = 0,
) -> Fetched:
    """Make a dataset folder from a catalogue, or go on with one.

    For each mine and year the most usable Sentinel-2 scene and the nearest Sentinel-1 scene are
    read on the mine's 10 m grid (section 2.1), and the polygons burnt beside them. Where a scene
    cannot be had, the others go on. Each shows one overpass, whose tiles are put
    together where none shows the whole box: a box of which no overpass shows 90 % has no scene, and
    one of which no radar frame does no radar.

    Parameters
    ----------
    path : Path
        Dataset folder; new, or one that this request began. A scene of which a file was changed
        since is made again: mend polygons, not ``labels.tif``.
    request : FetchRequest
    pins : mapping of (mine, year, kind) to item id, optional
        Items to take whatever the rules say; a scene that is there with another is made again.
    workers : int
        Mines or scenes that are read at once; as many scenes and `PACKERS` more are in memory.
    licence : str
        Of the polygons; recorded beside that of the Sentinel data.
    split_seed : int
        Seed of the split by mine, which is drawn over the mines that have scenes.

    Returns
    -------
    Fetched

    Raises
    ------
    MinsegError
        If the request makes no dataset, the folder belongs to another, or nothing can be had.
    """
    path, pins = Path(path), pins or {}
    require_stac()
    if workers < 1:
        raise MinsegError(f"--workers {workers}: give 1 or more")
    require_seed(split_seed)
    plans, notes = plan_mines(request)
    _require_wanted(pins, plans, request.provider)
    with own_folder(path, request.arguments()):
        chosen, failures = _choose_all(path, plans, request.provider, pins, workers)
        wanted = {(p.mine, y): (p, c) for p in plans for y, c in chosen.get(p.mine, {}).items()}
        failures += [
            f"{mine} {year}: {choice.failure or why_none(choice)}"
            for (mine, year), (_, choice) in wanted.items()
            if choice.failure or choice.optical is None
        ]
        wanted = {key: value for key, value in wanted.items() if value[1].optical is not None}
        records: dict[tuple[str, int], dict[str, Any]] = {}
        damaged: list[str] = []
        # So many read from the network at once; meanwhile others pack what they have read.
        reading = threading.BoundedSemaphore(workers)

        def fetch(key: tuple[str, int]) -> dict[str, Any]:
            plan, choice = wanted[key]
            record, changed = kept_record(path, *key, choice)
            if record is not None:
                return record
            if changed:
                damaged.append(f"{plan.mine} {key[1]} ({', '.join(changed)})")
            return make_scene(path, plan, key[1], choice, request, reading)

        done = _in_parallel(fetch, list(wanted), workers + PACKERS)
        for key, record, error in progress(done, "fetching scenes", len(wanted)):
            if record is not None:
                records[key] = record
            else:
                failures.append(f"{key[0]} {key[1]}: {error}")
        there = [records[key] for key in wanted if key in records]
        wants_radar = request.provider.radar is not None
        notes = [*request.annotations.notes, *notes, *catalogue_notes(chosen)]
        notes += record_notes(there, wants_radar)
        if damaged:
            notes.append(f"not as fetched, so fetched again: {summarise(sorted(damaged))}")
        dataset = _finish(path, request, plans, there, failures, licence, split_seed)
        write_manifest(path, request, chosen, there, failures, notes)
    return Fetched(dataset, tuple(sorted(failures)), tuple(notes))


def _choose_all(
    path: Path, plans: Sequence[MinePlan], provider: Provider, pins: Pins, workers: int
) -> tuple[dict[str, Mapping[int, YearChoice]], list[str]]:
    """Choose the scenes of every mine that is not settled; give up if no mine can be served."""
    files = {plan.mine: path / "choices" / f"{plan.mine}.json" for plan in plans}
    earlier = {plan.mine: read_choices(files[plan.mine]) for plan in plans}
    chosen: dict[str, Mapping[int, YearChoice]] = {
        m: there for m, there in earlier.items() if there
    }

    def choose(plan: MinePlan) -> dict[int, YearChoice]:
        choices = choose_mine(plan, provider, pins, earlier[plan.mine])
        if choices != earlier[plan.mine]:
            write_choices(files[plan.mine], choices)
        return choices

    failures: list[str] = []
    done = _in_parallel(choose, plans, workers)
    for plan, choices, error in progress(done, "choosing scenes, mine by mine", len(plans)):
        if choices is not None:
            chosen[plan.mine] = choices
        else:
            failures.append(f"{plan.mine}: {error}")
        if not chosen and len(failures) >= min(workers, len(plans)):
            raise MinsegError(f"{failures[0]}; so far no mine could be served")
    return {plan.mine: chosen[plan.mine] for plan in plans if plan.mine in chosen}, failures


def _finish(
    path: Path,
    request: FetchRequest,
    plans: Sequence[MinePlan],
    records: Sequence[Mapping[str, Any]],
    failures: list[str],
    licence: str,
    split_seed: int,
) -> Dataset | None:
    """Write the tables over the scenes that are there; without enough of them say so."""
    grids = {plan.mine: plan.grid for plan in plans}
    rows = [record["row"] for record in records]
    there = {row["mine"] for row in rows}
    if len(there) < len(PARTS):
        failures.append(f"{len(there)} mine(s) have scenes; a dataset needs {len(PARTS)} or more")
        return None
    try:
        write_tables(
            path,
            request.mines[request.mines["mine"].isin(there)].reset_index(drop=True),
            rows,
            [(row["mine"], grids[row["mine"]]) for row in rows],
            {band for record in records for band in record["bands"]},
            split_seed,
            name=path.resolve().name,
            class_names=request.annotations.class_names,
            provenance=f"Fetched by minseg from {request.provider.name}; {MANIFEST} lists items",
            licence=f"Sentinel images: Copernicus data, free and open; polygons: {licence}",
            synthetic=any(record["synthetic"] for record in records),
        )
    except MinsegError as error:  # the scenes stay, and the manifest tells
        failures.append(f"no dataset yet: {error}")
        return None
    return open_dataset(path)


def _require_wanted(pins: Pins, plans: Sequence[MinePlan], provider: Provider) -> None:
    """Refuse pins of scenes nobody wants."""
    wanted = {(plan.mine, year) for plan in plans for year in plan.years}
    for mine, year, kind in pins:
        if (mine, year) not in wanted:
            raise MinsegError(
                f"--pin {mine}:{year}: no such mine with polygons, or year not asked for"
            )
        if kind == "radar" and provider.radar is None:
            raise MinsegError(
                f"--pin {mine}:{year}:radar: no radar is fetched; leave the pin out, or fetch "
                "with radar"
            )


def _in_parallel(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, Result | None, str]]:
    """Do jobs side by side; give each with its result, or what went wrong in one line."""
    # rasterio hides this warning, but not safely from thread to thread.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        waiting: dict[Future, Job] = {pool.submit(work, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                error = future.exception()
                if error is None:
                    yield waiting[future], future.result(), ""
                elif isinstance(error, MinsegError):
                    yield waiting[future], None, str(error)
                else:  # one strange scene must not stop a night's work
                    told = f"unforeseen {type(error).__name__}: {first_line(error)}"
                    yield waiting[future], None, told
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
