"""Folders of images and masks that people already have → a dataset folder."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.dataset import Dataset
from minseg.data.images import RADAR_TO_DB, Image
from minseg.data.labels import CLASS_NAMES, IGNORE_BITS, class_bit
from minseg.data.mines import MINE_TABLE
from minseg.data.radiometry import encode_reflectance, radar_channels
from minseg.data.raster import open_raster, read_grid, read_window, require_located
from minseg.data.writing import SceneRasters, write_dataset
from minseg.errors import MinsegError
from minseg.progress import progress

SPECIAL_VALUES = ("background", "ignore")
"""What a mask value may mean besides a class of Table 1."""


_OPTICAL = tuple(band.name for band in OPTICAL_BANDS)


@dataclass(frozen=True)
class ImageFolders:
    """What the files to import mean."""

    images: str
    """Pattern of the optical images; ``*`` stands for the scene's key."""
    masks: str
    """Pattern of the masks; ``*`` stands for the same key."""
    classes: Mapping[int, str]
    """Mask value to class name of Table 1, ``background`` or ``ignore``; 0 is background."""
    bands: tuple[str, ...] | None = None
    """Bands to import, by name, or by position where the file has no names; None = all named."""
    scale: float | None = None
    """Reflectance of one digital number; None = the file's own scale tag."""
    offset: float | None = None
    """Reflectance at digital number zero; None = the file's own offset tag, or 0."""
    nodata: float | None = None
    """Digital number of missing pixels; None = the file's own tag."""
    radar: str | None = None
    """Pattern of the radar images (bands VV and VH on the same grid)."""
    radar_unit: str = "db"
    """What radar pixels hold: ``db``, ``power`` or ``amplitude``."""


def import_dataset(
    path: Path,
    folders: ImageFolders,
    table: Path,
    *,
    name: str | None = None,
    provenance: str = "imported by minseg",
    licence: str = "not stated",
    split_seed: int = 0,
) -> Dataset:
    """Make a dataset folder from folders of images and masks.

    Parameters
    ----------
    path : Path
        Dataset folder to make.
    folders : ImageFolders
    table : Path
        CSV with a row per scene. Its first column holds the scene's key (what ``*`` stands for);
        `mine` (or `site`) names the mine, so that scenes of one mine stay in one part of the
        split; year, date, and the columns of ``mines.csv`` are taken where they are there.
    name, provenance, licence : str
        Recorded in ``dataset.json``.
    split_seed : int
        Seed of the split by mine.

    Returns
    -------
    Dataset

    Raises
    ------
    MinsegError
        If files do not pair up, lie on different grids, have no coordinate reference system or
        no valid pixel, or hold mask values nobody mapped.
    """
    _check_classes(folders.classes)
    if folders.radar_unit not in RADAR_TO_DB:
        raise MinsegError(
            f"radar unit {folders.radar_unit!r} is unknown; use {', '.join(RADAR_TO_DB)}"
        )
    scenes = _read_scene_list(table)
    files = _pair_files(folders, scenes)
    _require_same_bands(folders, [pair["image"] for pair in files.values()])
    meanings = set(folders.classes.values())
    return write_dataset(
        path,
        name=name or Path(path).name,
        mines=_mine_table(scenes),
        scenes=_read_scenes(folders, scenes, files),
        class_names=[name for name in CLASS_NAMES if name in meanings],
        provenance=provenance,
        licence=licence,
        synthetic=False,
        split_seed=split_seed,
    )


def _check_classes(classes: Mapping[int, str]) -> None:
    """Refuse a class mapping that names no class of Table 1."""
    for value, meaning in classes.items():
        if meaning not in CLASS_NAMES and meaning not in SPECIAL_VALUES:
            raise MinsegError(
                f"mask value {value}: unknown class {meaning!r}; use {', '.join(CLASS_NAMES)}, "
                f"or {' or '.join(SPECIAL_VALUES)}"
            )
    if not any(meaning in CLASS_NAMES for meaning in classes.values()):
        raise MinsegError('no class mapped; say what mask values mean, e.g. --classes 1="dam"')


def _read_scene_list(table: Path) -> pd.DataFrame:
    """Read the user's table into columns key, mine, year, date and what else is there."""
    if not Path(table).is_file():
        raise MinsegError(f"{table}: no such file; give a CSV with a row per scene")
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    if rows.empty:
        raise MinsegError(f"{table}: the table is empty; it needs a row per scene")
    rows = rows.rename(columns={rows.columns[0]: "key"})
    if rows["key"].duplicated().any():
        twice = rows.loc[rows["key"].duplicated(), "key"].iloc[0]
        raise MinsegError(f"{table}: {twice!r} stands twice in the first column, the scene's key")
    mine = next((column for column in ("mine", "site") if column in rows), "key")
    safe = rows[mine].str.strip().str.replace(r"[^\w.-]+", "-", regex=True)
    rows["name"] = rows.get("name", f"{mine} " + rows[mine])
    # A bare number would sort and read badly as a folder name.
    rows["mine"] = safe.where(~safe.str.fullmatch(r"\d+"), f"{mine}-" + safe.str.zfill(3))
    for column in ("year", "date"):
        rows[column] = rows.get(column, "")
    return rows


def _mine_table(scenes: pd.DataFrame) -> pd.DataFrame:
    """Gather the mine table from the first scene of each mine."""
    mines = scenes.drop_duplicates("mine").reset_index(drop=True)
    for column, wanted in MINE_TABLE.columns.items():
        if wanted.required and column not in mines:
            mines[column] = np.nan if column in ("longitude", "latitude") else ""
    return mines


def _pair_files(folders: ImageFolders, scenes: pd.DataFrame) -> dict[str, dict[str, Path]]:
    """Find each scene's image, mask and radar file by what ``*`` stands for."""
    patterns = {"image": folders.images, "mask": folders.masks}
    if folders.radar:
        patterns["radar"] = folders.radar
    found = {kind: _match(pattern) for kind, pattern in patterns.items()}
    for kind, files in found.items():
        missing = [key for key in scenes["key"] if key not in files]
        if missing:
            raise MinsegError(
                f"{kind} of scene {missing[0]!r} not found under {patterns[kind]!r} "
                f"({len(missing)} missing); check the pattern and the table's first column"
            )
    return {key: {kind: found[kind][key] for kind in patterns} for key in scenes["key"]}


def _match(pattern: str) -> dict[str, Path]:
    """Map what the one ``*`` of a pattern stands for to the file."""
    if pattern.count("*") != 1:
        raise MinsegError(
            f"pattern {pattern!r}: needs exactly one * where the scene's key stands; quote it"
        )
    key = re.compile("(.*)".join(re.escape(part) for part in pattern.split("*")))
    files = {}
    escaped = "*".join(map(glob.escape, pattern.split("*")))  # brackets in names are no pattern
    for name in sorted(glob.glob(escaped)):  # noqa: PTH207  (the pattern may be absolute)
        match = key.fullmatch(name)
        if match:
            files[match[1]] = Path(name)
    return files


def _require_same_bands(folders: ImageFolders, images: Sequence[Path]) -> None:
    """Refuse images of which one has bands that another lacks, before any is read."""
    found = {}
    for path in images:
        with open_raster(path) as source:
            found[path] = tuple(_optical_image(source, folders).indexes)
    common = [name for name in _OPTICAL if all(name in bands for bands in found.values())]
    for path, bands in found.items():
        extra = [band for band in bands if band not in common]
        if extra:
            other = next(path for path, bands in found.items() if extra[0] not in bands)
            raise MinsegError(
                f"{path}: has band {extra[0]}, which {other} lacks; import what all have"
                + (f", with --bands {','.join(common)}" if common else "")
            )


def _optical_image(source: rasterio.DatasetReader, folders: ImageFolders) -> Image:
    """Work out what the optical bands of an open file are."""
    image = Image.of(
        source, folders.bands, folders.scale, folders.offset, folders.nodata, needed=_OPTICAL
    )
    if not image.indexes:
        raise MinsegError(f"{source.name}: has no optical band to import; radar has --radar")
    return image


def _read_scenes(
    folders: ImageFolders, scenes: pd.DataFrame, files: Mapping[str, Mapping[str, Path]]
) -> Iterator[SceneRasters]:
    """Read the scenes one after the other."""
    for row in progress(scenes.to_dict("records"), "importing scenes"):
        image, mask = files[row["key"]]["image"], files[row["key"]]["mask"]
        grid = read_grid(image)
        require_located(grid, image)
        for kind, other in files[row["key"]].items():
            if not read_grid(other).matches(grid):
                raise MinsegError(
                    f"{other}: the {kind} is on another grid than {image}; bring both to one "
                    "size, transform and coordinate reference system"
                )
        optical, bands = read_optical(image, folders)
        yield SceneRasters(
            scene=re.sub(r"[^\w.-]+", "-", f"{row['mine']}-{row['key']}"),
            mine=row["mine"],
            year=int(row["year"]) if row["year"] else None,
            date=row["date"],
            grid=grid,
            optical=optical,
            optical_bands=bands,
            radar=read_radar(files[row["key"]]["radar"], folders) if folders.radar else None,
            labels=read_mask(mask, folders.classes),
        )


def read_optical(path: Path, folders: ImageFolders) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read an optical image in the dataset's form.

    Parameters
    ----------
    path : Path
    folders : ImageFolders
        Its bands, scale, offset and nodata.

    Returns
    -------
    optical : uint16 ndarray (bands, height, width)
        Reflectance × 10 000, 0 = missing.
    bands : tuple of str
        Names, in the order of `BANDS`.

    Raises
    ------
    MinsegError
        If a band is missing or the values cannot be reflectance.
    """
    with open_raster(path) as source:
        image = _optical_image(source, folders)
        bands = tuple(name for name in _OPTICAL if name in image.indexes)
        image.examine()
        reflectance, valid = image.read(bands)
    return encode_reflectance(reflectance, valid, str(path)), bands


def read_radar(path: Path, folders: ImageFolders) -> np.ndarray:
    """Read VV and VH by name and return the three radar channels in dB.

    Returns
    -------
    float32 ndarray (3, height, width)
        VV, VH, VV/(10·VH); NaN where missing.
    """
    with open_raster(path) as source:
        image = Image.of(source, ("VV", "VH"), radar_unit=folders.radar_unit)
        image.examine()
        in_db, valid = image.read(("VV", "VH"))
    return radar_channels(*np.where(valid, in_db, np.nan))


def read_mask(path: Path, classes: Mapping[int, str]) -> np.ndarray:
    """Read a mask of class values as a bit mask.

    Parameters
    ----------
    path : Path
    classes : mapping of int to str
        Mask value to class name, ``background`` or ``ignore``; 0 is background unless mapped, and
        the file's nodata value is ignored unless mapped.

    Returns
    -------
    uint16 ndarray (height, width)
        Bit k = class k of Table 1; 65535 = ignore.

    Raises
    ------
    MinsegError
        If the mask holds a value that nobody mapped.
    """
    with open_raster(path) as source:
        values = read_window(source, [1])[0][0]
        meaning = {0: "background"}
        if source.nodata is not None and source.nodata != 0:
            meaning[int(source.nodata)] = "ignore"
    meaning.update(classes)
    found = np.unique(values)
    unmapped = [f"{value:g}" for value in found if value not in meaning]
    if unmapped:
        raise MinsegError(
            f"{path}: mask value(s) {', '.join(unmapped)} nobody mapped; "
            'add e.g. --classes 2="dam" or --classes 2=ignore'
        )
    bits = np.zeros(values.shape, np.uint16)
    codes = {"background": 0, "ignore": IGNORE_BITS}
    for value in found:
        name = meaning[int(value)]
        bits[values == value] = codes[name] if name in codes else class_bit(name)
    return bits
