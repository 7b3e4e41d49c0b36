"""From a mine list, polygons and a catalogue of Sentinel scenes to a dataset folder.

Nothing is lost by a kill: what was chosen lies in ``choices/<mine>.json``, and a scene counts once
its folder has its name. Run with the same arguments again, fetching goes on where it was.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from filelock import FileLock, Timeout
from rasterio.errors import NotGeoreferencedWarning
from tqdm import tqdm

from minseg.atomic import replace_when_done, write_text
from minseg.data.annotations import Annotations, rasterise
from minseg.data.bands import RADAR_BANDS
from minseg.data.boxes import BoxRule, mine_box
from minseg.data.catalogue import date_of, require_stac
from minseg.data.dataset import Dataset, open_dataset
from minseg.data.fetch_choices import Pins, YearChoice, choose_mine, read_choices, write_choices
from minseg.data.labels import overlapping_pixels
from minseg.data.mines import MINE_TABLE, PARTS, read_table
from minseg.data.providers import Provider
from minseg.data.raster import Grid
from minseg.data.scene_choice import relative_orbit_of
from minseg.data.sentinel import (
    calibration_problem,
    offset_problem,
    processing_baseline,
    read_optical,
    read_radar,
)
from minseg.data.writing import SceneRasters, scene_row, write_rasters, write_tables
from minseg.errors import MinsegError, summarise
from minseg.progress import progress

MANIFEST = "fetch.json"
"""Arguments, and of each scene its items, baseline, orbit, dates and checksums."""

CANDIDATES = "candidates.csv"
"""Every item that was there for a mine and year, and why it was taken or not."""

FIRST_YEAR = 2015
"""Sentinel-2 began in this year."""

SYNTHETIC_PROPERTY = "minseg:synthetic"
"""Property of an item that tells that its pixels are made, not observed."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class MinePlan:
    """The scenes wanted of a mine."""

    mine: str
    grid: Grid
    years: tuple[int, ...]


@dataclass(frozen=True)
class FetchRequest:
    """What a dataset is to be made of; the same request goes on where it was."""

    mines: pd.DataFrame
    """Mine table."""
    annotations: Annotations
    years: tuple[int, ...]
    provider: Provider
    rule: BoxRule = field(default_factory=BoxRule)

    def arguments(self) -> dict[str, object]:
        """Return what must not change from one run on a folder to the next."""
        polygons = self.annotations.polygons
        drawn = polygons.drop(columns="geometry").assign(shape=polygons.geometry.to_wkb(hex=True))
        table = self.mines[[column for column in MINE_TABLE.columns if column in self.mines]]
        collections = [c.name for c in (self.provider.optical, self.provider.radar) if c]
        return {
            "api": " ".join([self.provider.name, *collections]),
            "years": list(self.years),
            "mines": _digest(table.to_csv(index=False)),
            "polygons": _digest(drawn.to_csv(index=False)),
            "classes": list(self.annotations.class_names),
            "box": asdict(self.rule),
        }


@dataclass(frozen=True)
class Fetched:
    """What came of a run."""

    dataset: Dataset | None
    """None where too few mines are there for a split."""
    failures: tuple[str, ...]
    """Scenes that are not there, and why; the same command tries them again."""
    notes: tuple[str, ...]
    """What a user should look at."""


def read_mines(path: Path) -> pd.DataFrame:
    """Read a mine list.

    Raises
    ------
    MinsegError
        If a column is missing, a value is wrong, or a mine stands there twice.
    """
    table, problems = read_table(Path(path), MINE_TABLE)
    if not problems:
        problems = [
            f"{path}: mine {mine!r} cannot name a folder; begin it with a letter or digit"
            for mine in table["mine"]
            if not mine[0].isalnum()
        ]
    if problems:
        raise MinsegError(summarise(problems))
    return table


def plan_mines(request: FetchRequest) -> tuple[list[MinePlan], list[str]]:
    """Lay out boxes and years.

    Parameters
    ----------
    request : FetchRequest

    Returns
    -------
    plans : list of MinePlan
        Of the mines that have polygons.
    notes : list of str
        Mines and years without polygons: nobody looked there, so their scenes teach nothing.

    Raises
    ------
    MinsegError
        If a year is impossible, a box cannot be laid, or fewer than three mines remain.
    """
    if not request.years or min(request.years) < FIRST_YEAR or max(request.years) > 2100:
        raise MinsegError(
            f"--years {', '.join(map(str, request.years)) or '(none)'}: Sentinel-2 began in "
            f"{FIRST_YEAR}; give years such as 2016-2022"
        )
    plans, problems, notes = [], [], []
    for row in request.mines.to_dict("records"):
        polygons = request.annotations.of_mine(row["mine"])
        years = request.annotations.years_of(row["mine"], request.years)
        missing = [str(year) for year in request.years if year not in years]
        if len(polygons) and missing:
            notes.append(f"mine {row['mine']!r}: no polygons of {', '.join(missing)}; left out")
        if not years:
            continue
        try:
            shape = polygons.geometry.union_all()
            grid = mine_box(row["longitude"], row["latitude"], shape, request.rule)
        except MinsegError as error:
            problems.append(f"mine {row['mine']!r}: {error}")
            continue
        plans.append(MinePlan(row["mine"], grid, years))
    if problems:
        raise MinsegError(summarise(problems))
    if len(plans) < len(PARTS):
        raise MinsegError(
            f"{len(plans)} mine(s) with polygons: a split by mine needs at least {len(PARTS)}; "
            + summarise([*request.annotations.notes, *notes] or ["add mines and polygons"])
        )
    return plans, notes


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
    cannot be had, the others go on.

    Parameters
    ----------
    path : Path
        Dataset folder; new, or one that this request began.
    request : FetchRequest
    pins : mapping of (mine, year, kind) to item id, optional
        Items to take whatever the rules say; a scene that is there with another is made again.
    workers : int
        Mines or scenes in work at once; as many scenes are in memory.
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
    plans, notes = plan_mines(request)
    _require_known(pins, plans)
    with _own_folder(path, request.arguments()):
        chosen, failures = _choose_all(path, plans, request.provider, pins, workers)
        wanted = {(p.mine, y): (p, c) for p in plans for y, c in chosen.get(p.mine, {}).items()}
        failures += [
            f"{mine} {year}: {_why_none(choice)}"
            for (mine, year), (_, choice) in wanted.items()
            if choice.optical is None
        ]
        wanted = {key: value for key, value in wanted.items() if value[1].optical is not None}
        todo = [key for key, (_, choice) in wanted.items() if not _is_there(path, *key, choice)]

        def fetch(key: tuple[str, int]) -> None:
            plan, choice = wanted[key]
            _fetch_scene(path, plan, key[1], choice, request)

        done: tqdm = progress((), "fetching scenes", len(wanted), len(wanted) - len(todo))
        with done:
            for (mine, year), _, error in _in_parallel(fetch, todo, workers):
                done.update()
                if error:
                    failures.append(f"{mine} {year}: {error}")
        records = [
            json.loads((_folder(path, mine, year) / "scene.json").read_text(encoding="utf-8"))
            for (mine, year), (_, choice) in wanted.items()
            if _is_there(path, mine, year, choice)
        ]
        notes = [*request.annotations.notes, *notes, *_record_notes(records)]
        dataset = _finish(path, request, plans, records, failures, licence, split_seed)
        _write_manifest(path, request, chosen, records, failures, notes)
    return Fetched(dataset, tuple(sorted(failures)), tuple(notes))


def _choose_all(
    path: Path, plans: Sequence[MinePlan], provider: Provider, pins: Pins, workers: int
) -> tuple[dict[str, Mapping[int, YearChoice]], list[str]]:
    """Choose the scenes of every mine that is not settled; give up if no mine can be served."""
    files = {plan.mine: path / "choices" / f"{plan.mine}.json" for plan in plans}
    chosen: dict[str, Mapping[int, YearChoice]] = {
        p.mine: read_choices(files[p.mine]) for p in plans
    }
    chosen = {mine: choices for mine, choices in chosen.items() if choices}
    unsettled = [
        plan
        for plan in plans
        for there in [chosen.get(plan.mine, {})]
        if any(y not in there or not there[y].is_settled(plan.mine, y, pins) for y in plan.years)
    ]

    def choose(plan: MinePlan) -> dict[int, YearChoice]:
        there = chosen.get(plan.mine, {})
        choices = choose_mine(plan.mine, plan.grid, plan.years, provider, pins, there)
        write_choices(files[plan.mine], choices)
        return choices

    failures: list[str] = []
    done: tqdm = progress(
        (), "choosing scenes, mine by mine", len(plans), len(plans) - len(unsettled)
    )
    with done:
        for plan, choices, error in _in_parallel(choose, unsettled, workers):
            done.update()
            if choices is not None:
                chosen[plan.mine] = choices
            else:
                failures.append(f"{plan.mine}: {error}")
            if not chosen and len(failures) >= min(workers, len(plans)):
                raise MinsegError(f"{failures[0]}; so far no mine could be served")
    return {plan.mine: chosen[plan.mine] for plan in plans if plan.mine in chosen}, failures


def _fetch_scene(
    path: Path, plan: MinePlan, year: int, choice: YearChoice, request: FetchRequest
) -> None:
    """Read one scene and put its folder in place, whole."""
    assert choice.optical is not None
    provider, folder = request.provider, _folder(path, plan.mine, year)
    optical = read_optical(choice.optical, provider, plan.grid)
    radar = read_radar(choice.radar, provider, plan.grid) if choice.radar is not None else None
    scene = SceneRasters(
        scene=f"{plan.mine}-{year}",
        mine=plan.mine,
        year=year,
        date=date_of(choice.optical).isoformat(),
        grid=plan.grid,
        optical=optical,
        optical_bands=provider.optical.bands,
        radar=radar,
        labels=rasterise(request.annotations.of_year(year), plan.grid),
    )
    with replace_when_done(folder) as beside:
        beside.mkdir(parents=True)
        write_rasters(beside, scene)
        record = _record(path, beside, scene, choice, request)
        write_text(beside / "scene.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        if folder.exists():  # with another item
            old = folder.with_name(f".{folder.name}.old.partial")
            folder.rename(old)
            shutil.rmtree(old)


def _record(
    path: Path, beside: Path, scene: SceneRasters, choice: YearChoice, request: FetchRequest
) -> dict[str, Any]:
    """Tell what a scene was made of."""
    optical, radar = choice.optical, choice.radar
    assert optical is not None
    problems = [offset_problem(scene.optical, scene.optical_bands)]
    if radar is not None:
        problems.append(calibration_problem(radar, request.provider))
    return {
        "row": scene_row(_folder(path, scene.mine, int(scene.year or 0)).relative_to(path), scene),
        "provider": request.provider.name,
        "optical": {
            "item": optical.id,
            "date": scene.date,
            "baseline": processing_baseline(optical),
        },
        "radar": radar
        and {
            "item": radar.id,
            "date": date_of(radar).isoformat(),
            "relative_orbit": relative_orbit_of(radar),
            "orbit_state": radar.properties.get("sat:orbit_state", ""),
        },
        "bands": [*scene.optical_bands, *(b.name for b in RADAR_BANDS if radar is not None)],
        "synthetic": bool(optical.properties.get(SYNTHETIC_PROPERTY, False)),
        "overlapping_pixels": overlapping_pixels(scene.labels, request.annotations.class_names),
        "problems": [problem for problem in problems if problem],
        "sha256": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(beside.glob("*.tif"))
        },
    }


def _record_notes(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Tell what a user should look at in the scenes that are there."""
    notes, overlapping = [], {}
    for record in records:
        scene = record["row"]["scene"]
        notes += [f"{scene}: {problem}" for problem in record["problems"]]
        if record["radar"] is None:
            notes.append(f"{scene}: has no radar; {CANDIDATES} tells why")
        if record["overlapping_pixels"]:
            overlapping[scene] = record["overlapping_pixels"]
    if overlapping:
        notes.append(
            f"polygons of several classes overlap on {sum(overlapping.values())} pixels of "
            f"{len(overlapping)} scene(s); each class is kept"
        )
    return notes


def _why_none(choice: YearChoice) -> str:
    """Tell why a year has no scene."""
    if not choice.candidates:
        return "the catalogue has no scene of this year; try another --api"
    best = choice.candidates[0]
    return (
        f"no usable scene among {len(choice.candidates)}; the best, {best['item']}: "
        f"{best['reason']}; {CANDIDATES} lists all, and --pin takes one anyway"
    )


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
            name=path.resolve().name,
            mines=request.mines[request.mines["mine"].isin(there)].reset_index(drop=True),
            rows=rows,
            grids=[(row["mine"], grids[row["mine"]]) for row in rows],
            bands={band for record in records for band in record["bands"]},
            class_names=request.annotations.class_names,
            provenance=f"Fetched by minseg from {request.provider.name}; {MANIFEST} lists items",
            licence=f"Sentinel images: Copernicus data, free and open; polygons: {licence}",
            synthetic=any(record["synthetic"] for record in records),
            split_seed=split_seed,
        )
    except MinsegError as error:  # the scenes stay, and the manifest tells
        failures.append(f"no dataset yet: {error}")
        return None
    return open_dataset(path)


def _write_manifest(
    path: Path,
    request: FetchRequest,
    chosen: Mapping[str, Mapping[int, YearChoice]],
    records: Sequence[Mapping[str, Any]],
    failures: Sequence[str],
    notes: Sequence[str],
) -> None:
    """Write what was fetched from where, and the table of candidates."""
    rows = [row for mine in chosen for year in chosen[mine].values() for row in year.candidates]
    if rows:
        write_text(path / CANDIDATES, pd.DataFrame(rows).to_csv(index=False))
    manifest = {
        "arguments": request.arguments(),
        "scenes": list(records),
        "failures": sorted(failures),
        "notes": list(notes),
    }
    write_text(path / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def _own_folder(path: Path, arguments: Mapping[str, object]) -> Iterator[None]:
    """Lock a folder that is new or was begun with the same arguments; clear what a kill left."""
    manifest = path / MANIFEST
    if path.exists() and not manifest.is_file() and _visible(path):
        raise MinsegError(
            f"{path}: exists and was not begun by `minseg dataset fetch`; name a new folder"
        )
    lock = FileLock(path / ".fetch.lock")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise MinsegError(f"{path}: another program is fetching into it now; wait for it") from None
    except OSError as error:
        raise MinsegError(
            f"{path}: cannot write here ({error.strerror}); choose a folder you may write to"
        ) from None
    try:
        if manifest.is_file():
            _require_same(path, json.loads(manifest.read_text(encoding="utf-8")), arguments)
        else:
            write_text(manifest, json.dumps({"arguments": arguments}, indent=1) + "\n")
        for left in [*path.glob(".*.partial*"), *path.glob("*/.*.partial*")]:
            left.unlink()
        for left in path.glob("scenes/*/.*.partial"):
            shutil.rmtree(left)
        yield
    finally:
        lock.release()


def _visible(path: Path) -> bool:
    """Whether a path is a file, or a folder with something in it that is not hidden."""
    return not path.is_dir() or any(not inner.name.startswith(".") for inner in path.iterdir())


def _require_same(path: Path, manifest: Mapping, arguments: Mapping[str, object]) -> None:
    """Refuse arguments that would mix two datasets in one folder."""
    begun = manifest.get("arguments", {})
    changed = [name for name, value in arguments.items() if begun.get(name) != value]
    if changed:
        raise MinsegError(
            f"{path}: was begun with other {', '.join(changed)}; give the same ones to go on, or "
            "name a new folder"
        )


def _require_known(pins: Pins, plans: Sequence[MinePlan]) -> None:
    """Refuse pins of scenes nobody wants."""
    wanted = {(plan.mine, year) for plan in plans for year in plan.years}
    for mine, year, _ in pins:
        if (mine, year) not in wanted:
            raise MinsegError(
                f"--pin {mine}:{year}: no such mine with polygons, or year not asked for"
            )


def _is_there(path: Path, mine: str, year: int, choice: YearChoice) -> bool:
    """Whether a scene is whole and of the items chosen."""
    file = _folder(path, mine, year) / "scene.json"
    if not file.is_file():
        return False
    record = json.loads(file.read_text(encoding="utf-8"))
    items = [source and source["item"] for source in (record["optical"], record["radar"])]
    return items == [item and item.id for item in (choice.optical, choice.radar)]


def _folder(path: Path, mine: str, year: int) -> Path:
    """Return the folder of a scene."""
    return path / "scenes" / mine / str(year)


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
                yield waiting[future], *_outcome(future)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(future: "Future[Result]") -> tuple[Result | None, str]:
    """Return a job's result, or what went wrong."""
    try:
        return future.result(), ""
    except MinsegError as error:
        return None, str(error)
    except Exception as error:  # one strange scene must not stop a night's work
        reason = (str(error).splitlines() or [""])[0]
        return None, f"unforeseen {type(error).__name__}: {reason}"


def _digest(text: str) -> str:
    """Return a short hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
