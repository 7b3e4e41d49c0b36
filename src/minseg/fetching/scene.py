"""One scene of a dataset that is fetched: its pixels read, its folder put in place, whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from minseg.atomic import replace_when_done, write_text
from minseg.data.writing import SceneRasters, write_rasters
from minseg.fetching.annotations import rasterise
from minseg.fetching.choices import YearChoice
from minseg.fetching.items import date_of
from minseg.fetching.plan import FetchRequest, MinePlan
from minseg.fetching.providers import Provider
from minseg.fetching.records import checksum, scene_folder, scene_record
from minseg.fetching.sentinel import read_optical, read_radar


def read_scene(
    plan: MinePlan, choice: YearChoice, provider: Provider
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the scenes chosen for a mine and year on the mine's grid.

    Parameters
    ----------
    plan : MinePlan
    choice : YearChoice
        With an optical scene.
    provider : Provider

    Returns
    -------
    optical : uint16 ndarray (bands, height, width)
        Reflectance × 10 000, 0 = missing.
    radar : float32 ndarray (3, height, width) or None
        Decibels, NaN = missing; None where no radar scene was chosen.

    Raises
    ------
    MinsegError
        If a band cannot be read.
    """
    assert choice.optical is not None
    optical = read_optical(choice.optical, provider, plan.grid)
    radar = read_radar(choice.radar, provider, plan.grid) if choice.radar is not None else None
    return optical, radar


def write_scene(
    path: Path,
    plan: MinePlan,
    year: int,
    choice: YearChoice,
    request: FetchRequest,
    optical: np.ndarray,
    radar: np.ndarray | None,
) -> dict[str, Any]:
    """Write a scene's rasters, labels and record; its folder appears when all of it is there.

    Parameters
    ----------
    path : Path
        Dataset folder.
    plan : MinePlan
    year : int
    choice : YearChoice
        What `read_scene` has read.
    request : FetchRequest
    optical, radar : ndarray
        As `read_scene` gives them.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    MinsegError
        If it cannot be written.
    """
    assert choice.optical is not None
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
        record = scene_record(path, beside, scene, choice, request)
        write_text(beside / "scene.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        if folder.exists():  # of another item, or damaged
            old = folder.with_name(f".{folder.name}.old.partial")
            folder.rename(old)
            shutil.rmtree(old)
    return record


def kept_record(
    path: Path, mine: str, year: int, choice: YearChoice
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the record of a scene that is there, whole and of the items chosen.

    Parameters
    ----------
    path : Path
        Dataset folder.
    mine : str
    year : int
    choice : YearChoice

    Returns
    -------
    record : dict or None
        None where the scene is to be made, anew if need be.
    changed : list of str
        Files of it that are not what was written, which is why.
    """
    folder = scene_folder(path, mine, year)
    try:
        record = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
        items = [source and source["item"] for source in (record["optical"], record["radar"])]
        rasters = ["labels.tif", "optical.tif", *(["radar.tif"] if record["radar"] else [])]
        checksums = {name: record["sha256"][name] for name in rasters}
    except FileNotFoundError:
        return None, []
    except (ValueError, KeyError, TypeError):  # as good as no record
        return None, ["scene.json"]
    if items != [item and item.id for item in (choice.optical, choice.radar)]:
        return None, []
    changed = [name for name in rasters if checksum(folder / name) != checksums[name]]
    return (None if changed else record), changed
