"""What a fetched scene was made of, and the files that keep it: a manifest and all candidates."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd

from minseg.atomic import replace_when_done, write_text
from minseg.data.bands import RADAR_NAMES
from minseg.data.labels import overlapping_pixels
from minseg.data.writing import SceneRasters, scene_row, write_rasters
from minseg.errors import summarise
from minseg.fetching.annotations import rasterise
from minseg.fetching.catalogue import date_of, processing_baseline, relative_orbit_of
from minseg.fetching.choice import LEAST_COVERAGE, LEFT_OUT, YearChoice
from minseg.fetching.pixels import offset_problem, read_optical, read_radar
from minseg.fetching.plan import FetchRequest, MinePlan

MANIFEST = "fetch.json"
"""Arguments, and of each scene its items, baseline, orbit, dates and checksums."""

CANDIDATES = "candidates.csv"
"""Every item that was there for a mine and year, and why it was taken or not."""

SYNTHETIC_PROPERTY = "minseg:synthetic"
"""Property of an item that tells that its pixels are made, not observed."""


def scene_folder(path: Path, mine: str, year: int) -> Path:
    """Return the folder of a scene."""
    return path / "scenes" / mine / str(year)


def scene_record(
    beside: Path, scene: SceneRasters, choice: YearChoice, request: FetchRequest
) -> dict[str, Any]:
    """Tell what a scene was made of."""
    optical, radar = choice.optical, choice.radar
    assert optical is not None
    problem = offset_problem(scene.optical, scene.optical_bands)
    return {
        "row": scene_row(scene_folder(Path(), scene.mine, int(scene.year or 0)), scene),
        "provider": request.provider.name,
        "optical": {
            "item": optical.id,
            "date": scene.date,
            "baseline": processing_baseline(optical),
            **({"beside": [item.id for item in choice.beside]} if choice.beside else {}),
        },
        "radar": radar
        and {
            "item": radar.id,
            "date": date_of(radar).isoformat(),
            "relative_orbit": relative_orbit_of(radar),
            "orbit_state": radar.properties.get("sat:orbit_state", ""),
        },
        "bands": [*scene.optical_bands, *(RADAR_NAMES if radar is not None else ())],
        "synthetic": bool(optical.properties.get(SYNTHETIC_PROPERTY, False)),
        "overlapping_pixels": overlapping_pixels(scene.labels, request.annotations.class_names),
        "problems": [problem] if problem else [],
        "sha256": {file.name: checksum(file) for file in sorted(beside.glob("*.tif"))},
    }


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file, empty where it is not there."""
    if not file.is_file():
        return ""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def record_notes(records: Sequence[Mapping[str, Any]], wants_radar: bool) -> list[str]:
    """Tell what a user should look at in the scenes that are there."""
    notes = [f"{it['row']['scene']}: {problem}" for it in records for problem in it["problems"]]
    without_radar = [it["row"]["scene"] for it in records if it["radar"] is None]
    overlapping = [it["overlapping_pixels"] for it in records if it["overlapping_pixels"]]
    if without_radar and wants_radar:
        notes.append(
            f"{len(without_radar)} scene(s) without radar: {summarise(without_radar)}; "
            f"{CANDIDATES} tells why"
        )
    if overlapping:
        notes.append(
            f"polygons of several classes overlap on {sum(overlapping)} pixels of "
            f"{len(overlapping)} scene(s); each class is kept"
        )
    return notes


def candidate_rows(chosen: Mapping[str, Mapping[int, YearChoice]]) -> list[dict[str, Any]]:
    """Return every item that was there for any mine and year."""
    return [row for years in chosen.values() for year in years.values() for row in year.candidates]


def catalogue_notes(chosen: Mapping[str, Mapping[int, YearChoice]]) -> list[str]:
    """Tell which items of the catalogue cannot be used, and why."""
    told = {
        row["item"]: f"{row['item']} ({row['reason'].removeprefix(LEFT_OUT)})"
        for row in candidate_rows(chosen)
        if row["reason"].startswith(LEFT_OUT)
    }
    if not told:
        return []
    return [
        f"{len(told)} item(s) of the catalogue left out: {summarise(list(told.values()), 3)}; "
        f"{CANDIDATES} lists them"
    ]


def why_none(choice: YearChoice) -> str:
    """Tell why a year has no scene."""
    if not choice.candidates:
        return "the catalogue has no scene of this year; try another --api"
    best = choice.candidates[0]
    covered = [row["coverage"] for row in choice.candidates if pd.notna(row.get("coverage"))]
    if covered and max(covered) < LEAST_COVERAGE:
        return (
            f"none of the {len(covered)} scene(s) looked at covers {LEAST_COVERAGE:.0%} of "
            f"the box, the best {max(covered):.0%}: a scene is what one overpass shows; lay a "
            "smaller box (--margin-m, --smallest-m, in a new folder), or --pin one of "
            f"{CANDIDATES} anyway"
        )
    return (
        f"no usable scene among {len(choice.candidates)}; the best, {best['item']}: "
        f"{best['reason']}; {CANDIDATES} lists all, and --pin takes one anyway"
    )


def write_manifest(
    path: Path,
    request: FetchRequest,
    chosen: Mapping[str, Mapping[int, YearChoice]],
    records: Sequence[Mapping[str, Any]],
    failures: Sequence[str],
    notes: Sequence[str],
) -> None:
    """Write what was fetched from where, and the table of candidates."""
    rows = candidate_rows(chosen)
    if rows:
        write_text(path / CANDIDATES, pd.DataFrame(rows).to_csv(index=False))
    manifest = {
        "arguments": request.arguments(),
        "scenes": list(records),
        "failures": sorted(failures),
        "notes": list(notes),
    }
    write_text(path / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def make_scene(
    path: Path,
    plan: MinePlan,
    year: int,
    choice: YearChoice,
    request: FetchRequest,
    reading: AbstractContextManager,
) -> dict[str, Any]:
    """Read and write a scene's rasters, labels and record; its folder appears when all is there."""
    assert choice.optical is not None
    with reading:
        optical = read_optical(choice.optical, request.provider, plan.grid, choice.beside)
        radar = read_radar(choice.radar, request.provider, plan.grid) if choice.radar else None
    folder = scene_folder(path, plan.mine, year)
    scene = SceneRasters(
        scene=f"{plan.mine}-{year}",
        mine=plan.mine,
        year=year,
        date=date_of(choice.optical).isoformat(),
        grid=plan.grid,
        optical=optical,
        optical_bands=request.provider.optical.bands,
        radar=radar,
        labels=rasterise(request.annotations.of_year(year), plan.grid),
    )
    with replace_when_done(folder) as beside:
        beside.mkdir(parents=True)
        write_rasters(beside, scene)
        record = scene_record(beside, scene, choice, request)
        write_text(beside / "scene.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        if folder.exists():  # of another item, or damaged
            old = folder.with_name(f".{folder.name}.old.partial")
            folder.rename(old)
            shutil.rmtree(old)
    return record


def kept_record(
    path: Path, mine: str, year: int, choice: YearChoice
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the record of a scene that is there as chosen, or None, and which files changed."""
    folder = scene_folder(path, mine, year)
    try:
        record = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
        items = [source and source["item"] for source in (record["optical"], record["radar"])]
        items += record["optical"].get("beside", [])
        rasters = ["labels.tif", "optical.tif", *(["radar.tif"] if record["radar"] else [])]
        checksums = {name: record["sha256"][name] for name in rasters}
    except FileNotFoundError:
        return None, []
    except (ValueError, KeyError, TypeError):  # as good as no record
        return None, ["scene.json"]
    chosen = choice.optical, choice.radar, *choice.beside
    if items != [item and item.id for item in chosen]:
        return None, []
    changed = [name for name in rasters if checksum(folder / name) != checksums[name]]
    return (None if changed else record), changed
