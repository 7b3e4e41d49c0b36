"""Writing a dataset folder, scene by scene, and drawing its split anew."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import pandas as pd

from minseg.atomic import replace_when_done, require_new_folder, write_text
from minseg.data.bands import BANDS, RADAR_NAMES
from minseg.data.dataset import Dataset, Description, footprints, open_dataset
from minseg.data.labels import ANNOTATED_NAMES, IGNORE_BITS
from minseg.data.mines import MINE_TABLE, SCENE_TABLE, split_mines, validate_table
from minseg.data.radiometry import REFLECTANCE_SCALE
from minseg.data.raster import Grid, write_geotiff
from minseg.errors import MinsegError, summarise


@dataclass(frozen=True)
class SceneRasters:
    """One scene to be written: a mine in one year, all rasters on one grid."""

    scene: str
    mine: str
    year: int | None
    """Year of the image, None if unknown."""
    date: str
    """ISO date of the optical image, or empty."""
    grid: Grid
    optical: np.ndarray
    """uint16 (bands, height, width), reflectance × 10 000, 0 = missing."""
    optical_bands: tuple[str, ...]
    radar: np.ndarray | None
    """float32 (3, height, width), dB: VV, VH, VV/(10·VH); NaN = missing."""
    labels: np.ndarray
    """uint16 (height, width), bit k = class k of Table 1; 65535 = nobody looked."""


class About(TypedDict):
    """What ``dataset.json`` is to say, as `Description` explains it."""

    name: str
    class_names: Collection[str]
    provenance: str
    licence: str
    synthetic: bool


def write_dataset(
    path: Path,
    *,
    mines: pd.DataFrame,
    scenes: Iterable[SceneRasters],
    split_seed: int = 0,
    **about: Unpack[About],
) -> Dataset:
    """Write a dataset folder, scene by scene (one in memory at a time); whole or not at all.

    A mine's missing longitude or latitude is taken from its first scene.
    """
    path = Path(path)
    require_new_folder(path)
    with replace_when_done(path) as beside:
        beside.mkdir(parents=True)
        rows, grids, bands = [], [], set[str]()
        for scene in scenes:
            rows.append(_write_scene(beside, scene))
            grids.append((scene.mine, scene.grid))
            bands.update(scene.optical_bands)
            bands.update(RADAR_NAMES if scene.radar is not None else ())
        write_tables(beside, mines, rows, grids, bands, split_seed, **about)
    return open_dataset(path)


def write_tables(
    path: Path,
    mines: pd.DataFrame,
    rows: Sequence[Mapping[str, object]],
    grids: Sequence[tuple[str, Grid]],
    bands: Collection[str],
    split_seed: int,
    **about: Unpack[About],
) -> None:
    """Write the tables and the description of a dataset whose rasters are there."""
    class_names = [name for name in ANNOTATED_NAMES if name in about["class_names"]]
    bands = [band for band in BANDS if band in bands]
    description = Description.model_validate({**about, "class_names": class_names, "bands": bands})
    table, scene_problems = validate_table(pd.DataFrame(rows), SCENE_TABLE, "scene table")
    mines, problems = validate_table(_with_positions(mines, grids), MINE_TABLE, "mine table")
    if problems or scene_problems:
        raise MinsegError(summarise(problems + scene_problems))
    split = split_mines(mines, split_seed, footprints(grids))
    # Without its description a folder is no dataset: it goes first and comes last.
    (path / "dataset.json").unlink(missing_ok=True)
    write_text(path / "mines.csv", mines.to_csv(index=False))
    write_text(path / "scenes.csv", table.to_csv(index=False))
    write_text(path / "split.csv", split.to_csv(index=False))
    write_text(path / "dataset.json", description.model_dump_json(indent=2) + "\n")


def _with_positions(mines: pd.DataFrame, grids: Sequence[tuple[str, Grid]]) -> pd.DataFrame:
    """Order the mine table's columns and fill missing positions from the scenes' centres."""
    centres = {mine: grid.centre_lonlat for mine, grid in reversed(grids)}
    mines = mines[[column for column in MINE_TABLE.columns if column in mines]].copy()
    for axis, column in enumerate(("longitude", "latitude")):
        mines[column] = pd.to_numeric(mines[column]).fillna(mines["mine"].map(centres).str[axis])
    return mines


def _write_scene(root: Path, scene: SceneRasters) -> dict[str, object]:
    """Write one scene's rasters; return its row of the scene table."""
    folder = root / "scenes" / scene.mine / str(scene.year or "undated")
    if folder.exists():  # several images of a mine in one year
        folder = folder.with_name(f"{folder.name}-{scene.scene}")
    folder.mkdir(parents=True)
    write_rasters(folder, scene)
    return scene_row(folder.relative_to(root), scene)


def write_rasters(folder: Path, scene: SceneRasters) -> None:
    """Write one scene's ``optical.tif``, ``radar.tif`` if it has radar, and ``labels.tif``."""
    grid, bands, bits = scene.grid, scene.optical_bands, scene.labels[np.newaxis]
    optical, radar, labels = (folder / f"{kind}.tif" for kind in ("optical", "radar", "labels"))
    scale = REFLECTANCE_SCALE
    write_geotiff(optical, scene.optical, grid, nodata=0, descriptions=bands, scale=scale)
    if scene.radar is not None:
        write_geotiff(radar, scene.radar, grid, nodata=np.nan, descriptions=RADAR_NAMES)
    write_geotiff(labels, bits, grid, nodata=IGNORE_BITS, descriptions=["class bits"])


def scene_row(relative: Path, scene: SceneRasters) -> dict[str, object]:
    """Return a scene's row of the scene table; `relative` is its folder, from the dataset's."""
    return {
        "scene": scene.scene,
        "mine": scene.mine,
        "year": scene.year,
        "date": scene.date,
        "optical": (relative / "optical.tif").as_posix(),
        "radar": (relative / "radar.tif").as_posix() if scene.radar is not None else "",
        "labels": (relative / "labels.tif").as_posix(),
    }


def resplit(dataset: Dataset, seed: int) -> Dataset:
    """Draw a new split by mine and write it to the folder's ``split.csv``."""
    grids = [(scene["mine"], dataset.grid(scene)) for _, scene in dataset.scenes.iterrows()]
    split = split_mines(dataset.mines, seed, footprints(grids))
    write_text(dataset.path / "split.csv", split.to_csv(index=False))
    return replace(dataset, split=split)
