"""Folders of images and masks that people already have → a dataset folder."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd
import rasterio

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.dataset import Dataset
from minseg.data.images import RADAR_TO_DB, Image, channels_of
from minseg.data.labels import CLASS_NAMES, IGNORE_BITS, class_bit
from minseg.data.mines import MINE_TABLE
from minseg.data.radiometry import encode_reflectance, radar_channels
from minseg.data.raster import (
    Grid,
    open_raster,
    read_dataset_mask,
    read_grid,
    read_window,
    require_located,
)
from minseg.data.writing import SceneRasters, write_dataset
from minseg.errors import MinsegError
from minseg.progress import progress

SPECIAL_VALUES = ("background", "ignore")
"""What a mask value may mean besides a class of Table 1."""


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
    _check_files(files, folders.classes)
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
    for name in sorted(glob.glob(pattern)):  # noqa: PTH207  (the pattern may be absolute)
        match = key.fullmatch(name)
        if match:
            files[match[1]] = Path(name)
    return files


def _check_files(files: Mapping[str, Mapping[str, Path]], classes: Mapping[int, str]) -> None:
    """Refuse scenes whose files lie apart, and masks that mean nothing, before they are read."""
    there = set[float]()
    for scene in progress(files.values(), "checking masks", len(files)):
        grid = read_grid(scene["image"])
        require_located(grid, scene["image"])
        for kind, path in scene.items():
            _require_grid(grid, scene["image"], kind, path)
        found = _class_numbers(scene["mask"], classes)[2]
        if all(classes.get(value) == "ignore" for value in found):
            raise MinsegError(f"{scene['mask']}: no pixel is annotated; leave this scene out")
        there.update(found)
    for value, meaning in classes.items():
        if meaning in CLASS_NAMES and value not in there:
            raise MinsegError(
                f"mask value {value} ({meaning}) occurs in no mask; the masks hold "
                f"{_listed(sorted(there))}: correct --classes, or leave the value out of it"
            )


def _require_grid(grid: Grid, image: Path, kind: str, path: Path) -> None:
    """Refuse a file that does not lie on its image's grid, with the command that mends it."""
    other = read_grid(path)
    if other.matches(grid):
        return
    here, like = quote(str(path)), quote(str(image))
    nowhere = other.crs is None or other.transform.is_identity
    if nowhere and (other.height, other.width) == (grid.height, grid.width):
        raise MinsegError(
            f"{path}: the {kind} does not say where it lies; if its pixels are those of {image}, "
            f"`rio edit-info --crs like --transform like --like {like} {here}`"
        )
    how = "" if other.crs is None else f", e.g. `rio warp {here} MOVED.tif --like {like}`"
    raise MinsegError(
        f"{path}: the {kind} is on another grid than {image}, for they differ in "
        f"{grid.difference(other)}; bring it to the image's grid by nearest neighbour{how}"
    )


def _read_scenes(
    folders: ImageFolders, scenes: pd.DataFrame, files: Mapping[str, Mapping[str, Path]]
) -> Iterator[SceneRasters]:
    """Read the scenes one after the other."""
    for row in progress(scenes.to_dict("records"), "importing scenes"):
        image, mask = files[row["key"]]["image"], files[row["key"]]["mask"]
        optical, bands = read_optical(image, folders)
        yield SceneRasters(
            scene=re.sub(r"[^\w.-]+", "-", f"{row['mine']}-{row['key']}"),
            mine=row["mine"],
            year=int(row["year"]) if row["year"] else None,
            date=row["date"],
            grid=read_grid(image),
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
        image = Image.of(source, folders.bands, folders.scale, folders.offset, folders.nodata)
        bands = tuple(band.name for band in OPTICAL_BANDS if band.name in image.indexes)
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
        values, valid = Image.of(source, ("VV", "VH")).read(("VV", "VH"))
    in_db = RADAR_TO_DB[folders.radar_unit](values)
    return radar_channels(*np.where(valid, in_db, np.nan))


def read_mask(path: Path, classes: Mapping[int, str]) -> np.ndarray:
    """Read a mask of class numbers as a bit mask.

    Parameters
    ----------
    path : Path
    classes : mapping of int to str
        Mask value to class name, ``background`` or ``ignore``. Unless mapped, 0 is background, and
        the file's nodata value is ignored; if that is 0, only where another value is background.

    Returns
    -------
    uint16 ndarray (height, width)
        Bit k = class k of Table 1; 65535 = ignore, also what is not finite, or hidden by the
        file's mask or alpha band.

    Raises
    ------
    MinsegError
        If the mask is not one band of class numbers, or holds a value that nobody mapped.
    """
    numbers, shown, found = _class_numbers(path, classes)
    bits = np.full(numbers.shape, IGNORE_BITS, np.uint16)
    for value in found:
        name = classes.get(value, "background")
        code = {"background": 0, "ignore": IGNORE_BITS}.get(name)
        bits[shown & (numbers == value)] = class_bit(name) if code is None else code
    return bits


def _class_numbers(
    path: Path, classes: Mapping[int, str]
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Return a mask's numbers, where they count, and which ones are found there, all mapped."""
    with open_raster(path) as source:
        band = _only_band(source)
        (numbers,), shown = read_window(source, [band])
        background = source.nodata == 0 and "background" not in classes.values()
        if background or source.nodata in classes:  # what marks no data means something here
            mask = read_dataset_mask(source, band)
            shown |= (numbers == source.nodata) & (True if mask is None else mask)
    found = np.unique(numbers[shown]).tolist()
    unmapped = [value for value in found if value not in classes and value != 0]
    if any(value % 1 for value in unmapped):
        raise MinsegError(
            f"{path}: holds {_listed(unmapped)}, not class numbers but what lies between them, as "
            "averaging and probabilities give; bring the mask to its grid by nearest neighbour"
        )
    if unmapped:
        first = f"--classes {unmapped[0]:.12g}"
        raise MinsegError(
            f"{path}: mask value(s) {_listed(unmapped)} nobody mapped; "
            f'add e.g. {first}="dam" or {first}=ignore'
        )
    return numbers, shown, found


def _only_band(source: rasterio.DatasetReader) -> int:
    """Return the number of a mask's one band; refuse colours, and a band for each class."""
    channels = channels_of(source)
    if len(channels) != 1:
        here = quote(source.name)
        how = (
            "of colours, or of a band a class, make one, e.g. 1 where band 1 is above 0 and 2 "
            'where band 2 is: `rio calc --not-masked --dtype uint8 "(+ (* 1 (> (read 1 1) 0)) '
            f'(* 2 (> (read 1 2) 0)))" {here} ONE.tif`'
        )
        bands = read_window(source, channels)[0]
        if (bands == bands[0]).all():
            how = f"these are alike, so keep one: `rio stack {here} --bidx 1 -o ONE.tif`"
        raise MinsegError(
            f"{source.name}: has {len(channels)} bands, and a mask has one, of class numbers; {how}"
        )
    if np.dtype(source.dtypes[channels[0] - 1]).kind not in "uif":
        raise MinsegError(f"{source.name}: its numbers are complex; give a mask of class numbers")
    return channels[0]


def _listed(values: Sequence[float]) -> str:
    """Write numbers out, a few of many."""
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(f"{value:.12g}" for value in values[:5]) + more
