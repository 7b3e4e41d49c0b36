"""Folders of images and masks that people already have → a dataset folder."""

import glob
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd
import pandera.pandas as pa
import rasterio

from minseg.atomic import require_new_folder
from minseg.data.bands import OPTICAL_NAMES
from minseg.data.dataset import Dataset
from minseg.data.images import Image, ImageReading, band_indexes, channels_of
from minseg.data.labels import CLASS_NAMES, IGNORE_BITS, class_bit
from minseg.data.mines import (
    MINE_TABLE,
    SCENE_TABLE,
    date_problems,
    folder_problems,
    read_cells,
    require_enough,
    require_seed,
    validate_table,
)
from minseg.data.radiometry import encode_reflectance, radar_channels, require_backscatter
from minseg.data.raster import (
    Grid,
    open_raster,
    read_dataset_mask,
    read_grid,
    read_window,
    require_located,
)
from minseg.data.writing import SceneRasters, write_dataset
from minseg.errors import MinsegError, require_word, summarise
from minseg.progress import progress


@dataclass(frozen=True)
class ImageFolders:
    """What the files to import mean."""

    images: str
    """Pattern of the optical images; ``*`` stands for the scene's key."""
    masks: str
    """Pattern of the masks; ``*`` stands for the same key."""
    classes: Mapping[int, str]
    """Mask value to class name of Table 1, ``background`` or ``ignore``; 0 is background."""
    radar: str | None = None
    """Pattern of the radar images (bands VV and VH on the same grid)."""
    reading: ImageReading = field(default_factory=ImageReading)
    """What their numbers mean, and the bands to import: by name, or by position where the file has
    no names; None = all named."""


def import_dataset(
    path: Path,
    folders: ImageFolders,
    table: Path,
    *,
    name: str | None = None,
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
    name, licence : str
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
    require_new_folder(Path(path))
    require_seed(split_seed)
    scenes = read_scene_list(table)
    require_enough(scenes["mine"].nunique())
    files = _pair_files(folders, scenes)
    _require_same_bands(folders, [pair["image"] for pair in files.values()])
    _check_files(files, folders.classes)
    _check_positions(scenes, files, table)
    return write_dataset(
        path,
        name=name or Path(path).name,
        mines=_mine_table(scenes),
        scenes=_read_scenes(folders, scenes, files),
        class_names=set(folders.classes.values()),
        provenance="imported by minseg",
        licence=licence,
        synthetic=False,
        split_seed=split_seed,
    )


def _check_classes(classes: Mapping[int, str]) -> None:
    """Refuse a class mapping that names no class of Table 1."""
    allowed = [*CLASS_NAMES, "background", "ignore"]
    for value, meaning in classes.items():
        require_word(f"class of mask value {value}", meaning, allowed)
    if not any(meaning in CLASS_NAMES for meaning in classes.values()):
        raise MinsegError('no class mapped; say what mask values mean, e.g. --classes 1="dam"')


_SCENE_LIST = (
    MINE_TABLE.update_columns({name: {"nullable": True} for name in ("longitude", "latitude")})
    .update_columns({"mine": {"checks": pa.Check.str_length(min_value=1), "unique": False}})
    .add_columns({"key": pa.Column(str, pa.Check.str_length(min_value=1), unique=True)})
    .add_columns({name: SCENE_TABLE.columns[name] for name in ("year", "date")})
)

_OF_A_MINE = ["country", "continent", "raw_material", "mine_type", "case"]
"""Columns in which the scenes of a mine may not differ."""

LONGEST_SCENE_BYTES = 200
"""Of a scene's name, in UTF-8: a folder may carry it."""


def read_scene_list(table: Path) -> pd.DataFrame:
    """Read a user's table of scenes and refuse all that is wrong with it, before any raster."""
    cells = read_cells(table, ["site", *(name for name in _SCENE_LIST.columns if name != "key")])
    first = str(cells.columns[0])
    named = next((name for name in ("mine", "site") if name in cells), None)
    rows = cells.reindex(columns=list(_SCENE_LIST.columns), fill_value="")
    rows = rows.assign(key=cells[first], mine=cells[named or first])
    rows, problems = validate_table(rows, _SCENE_LIST, str(table))
    if problems:
        spelled = {"key": first, "mine": named or first}
        own = re.compile(r"(?<=column ')(key|mine)(?=')")
        raise MinsegError(summarise([own.sub(lambda m: spelled[m[0]], it) for it in problems]))
    rows["year"] = rows["year"].fillna(pd.to_numeric(rows["date"].str[:4]).astype("Int64"))
    folders = {mine: _folder_name(mine, named or "key") for mine in rows["mine"]}
    if "name" not in cells:
        rows["name"] = f"{named or 'key'} " + rows["mine"]
    if "case" not in cells:
        rows = rows.drop(columns="case")
    rows["mine"] = rows["mine"].map(folders)
    rows["scene"] = [_safe(f"{row.mine}-{row.key}") for row in rows.itertuples()]
    problems = folder_problems(folders, str(table)) + _row_problems(rows, str(table))
    if problems:
        raise MinsegError(summarise(problems))
    unused = [n for n in cells.columns[1:] if n not in _SCENE_LIST.columns and n != "site"]
    _tell_of_doubts(rows, named is not None, unused, table)
    return rows.reset_index(drop=True)


def _folder_name(mine: str, column: str) -> str:
    """Return a mine's name as that of a folder; a bare number would sort and read badly as one."""
    safe = _safe(mine).lstrip("-")
    return f"{column}-{safe.zfill(3)}" if re.fullmatch(r"\d+", safe) else safe


def _safe(name: str) -> str:
    """Put a hyphen for what no identifier of mines and scenes has."""
    return re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name))


def _row_problems(rows: pd.DataFrame, table: str) -> list[str]:
    """Find rows that contradict themselves or one another."""
    problems = date_problems(rows.assign(scene=rows["key"]), table)
    for scene, keys in rows.groupby(rows["scene"].str.casefold(), sort=False)["key"]:
        if len(keys) > 1:
            problems.append(
                f"{table}: scenes {' and '.join(map(repr, keys))} would have one name, {scene!r}; "
                "rename one"
            )
        if len(str(scene).encode()) > LONGEST_SCENE_BYTES:
            problems.append(
                f"{table}: scene {keys.iloc[0]!r} has too long a name with its mine "
                f"({LONGEST_SCENE_BYTES} bytes at most); shorten it"
            )
    for column in rows.columns.intersection(_OF_A_MINE):
        for mine, values in rows[rows[column] != ""].groupby("mine", sort=False)[column]:
            if values.nunique() > 1:
                found = " and ".join(map(repr, values.unique()))
                problems.append(
                    f"{table}: mine {mine!r} has {column} {found}; give all its rows one"
                )
    return problems


def _tell_of_doubts(rows: pd.DataFrame, mines_named: bool, unused: list[str], table: Path) -> None:
    """Say on standard error what was taken for granted, and may be meant otherwise."""
    notes = []
    if not mines_named:
        notes.append(
            "no column mine or site: each scene is taken for a mine of its own, and two scenes of "
            "one mine may come into train and test; name the mines if there are such scenes"
        )
    if unused:
        notes.append(
            f"not used: column {', '.join(unused)}; used are {', '.join(_SCENE_LIST.columns)}"
        )
    years = rows["year"].astype("string").fillna("")
    when = rows["date"].where(rows["date"] != "", years)
    latest = when == when.groupby(rows["mine"]).transform("max")
    several = rows.loc[latest, "mine"].value_counts()
    if tied := sorted(several.index[several > 1]):
        notes.append(
            f"several scenes of the latest date, or without one, of mine {summarise(tied, 3)}: "
            "validation and test take the one whose name comes last; give dates"
        )
    for note in notes:
        print(f"note: {table}: {note}", file=sys.stderr)


def _mine_table(scenes: pd.DataFrame) -> pd.DataFrame:
    """Gather the mine table: what the first of a mine's scenes says that says something."""
    given = scenes[[name for name in MINE_TABLE.columns if name in scenes]]
    mines = given.mask(given == "").groupby("mine", sort=False, as_index=False).first()
    return mines.fillna(dict.fromkeys(mines.columns.difference(["longitude", "latitude"]), ""))


def _pair_files(folders: ImageFolders, scenes: pd.DataFrame) -> dict[str, dict[str, Path]]:
    """Find each scene's image, mask and radar file by what ``*`` stands for."""
    patterns = {"image": folders.images, "mask": folders.masks, "radar": folders.radar}
    found = {kind: _match(pattern) for kind, pattern in patterns.items() if pattern}
    for kind, files in found.items():
        missing = [key for key in scenes["key"] if key not in files]
        if missing:
            raise MinsegError(
                f"{kind} of scene {missing[0]!r} not found under {patterns[kind]!r} "
                f"({len(missing)} missing); check the pattern and the table's first column"
            )
    if unlisted := sorted({*found["image"]} - {*scenes["key"]}):
        print(
            f"note: {len(unlisted)} image(s) have no row in the table and are left out: "
            f"{summarise(unlisted)}",
            file=sys.stderr,
        )
    return {key: {kind: files[key] for kind, files in found.items()} for key in scenes["key"]}


def _match(pattern: str) -> dict[str, Path]:
    """Map what the one ``*`` of a pattern stands for to the file."""
    if pattern.count("*") != 1:
        raise MinsegError(
            f"pattern {pattern!r}: needs exactly one * where the scene's key stands; quote it"
        )
    key = re.compile("(.*)".join(re.escape(part) for part in pattern.split("*")))
    escaped = "*".join(map(glob.escape, pattern.split("*")))  # brackets in names are no pattern
    there = sorted(glob.glob(escaped))  # noqa: PTH207  (the pattern may be absolute)
    return {match[1]: Path(name) for name in there if (match := key.fullmatch(name))}


def _require_same_bands(folders: ImageFolders, images: Sequence[Path]) -> None:
    """Refuse images of which one has bands that another lacks, before any is read."""
    found = {}
    for path in images:
        with open_raster(path) as source:
            found[path] = tuple(_optical_image(source, folders).indexes)
    common = [name for name in OPTICAL_NAMES if all(name in bands for bands in found.values())]
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
    there = band_indexes(source, folders.reading.bands)
    indexes = {name: there[name] for name in OPTICAL_NAMES if name in there}
    if not indexes:
        raise MinsegError(f"{source.name}: has no optical band to import; radar has --radar")
    return Image.of(source, indexes, folders.reading)


def _check_files(files: Mapping[str, Mapping[str, Path]], classes: Mapping[int, str]) -> None:
    """Refuse scenes whose files lie apart, and masks that mean nothing, before they are read."""
    there, hidden = set[int](), False
    for scene in progress(files.values(), "checking masks", len(files)):
        grid = read_grid(scene["image"])
        require_located(grid, scene["image"])
        for kind, path in scene.items():
            _require_grid(grid, scene["image"], kind, path)
        _, shown, found = _class_numbers(scene["mask"], classes)
        hidden = hidden or not shown.all()
        if all(classes.get(value) == "ignore" for value in found):
            raise MinsegError(f"{scene['mask']}: no pixel is annotated; leave this scene out")
        there.update(found)
    for value, meaning in classes.items():
        if meaning in CLASS_NAMES and value not in there:
            raise MinsegError(
                f"mask value {value} ({meaning}) occurs in no mask; the masks hold "
                f"{_listed(sorted(there))}: correct --classes, or leave the value out of it"
            )
    meanings = {classes.get(value, "background") for value in there}
    if hidden and not meanings & {"background", "ignore"}:
        raise MinsegError(
            f"the masks hold {_listed(sorted(there))} and no background, for what is no data was "
            "not annotated; where it is background, map its value, e.g. --classes "
            "255=background, or write 0 there"
        )


def _check_positions(
    scenes: pd.DataFrame, files: Mapping[str, Mapping[str, Path]], table: Path
) -> None:
    """Refuse a mine's position that is nowhere near its image, as swapped or 0, 0."""
    for row in scenes.dropna(subset=["longitude", "latitude"], how="all").to_dict("records"):
        place = read_grid(files[row["key"]]["image"]).centre_lonlat
        told = np.array([row["longitude"], row["latitude"]])
        longitude, latitude = np.where(np.isnan(told), place, told)
        east = (longitude - place[0] + 180) % 360 - 180
        if max(abs(east) * np.cos(np.radians(place[1])), abs(latitude - place[1])) > 1:
            raise MinsegError(
                f"{table}: scene {row['key']!r} lies at longitude {longitude:g}, latitude "
                f"{latitude:g}, but its image at {place[0]:.4f}, {place[1]:.4f}; correct "
                "the position, or leave it empty to take the image's"
            )


def _require_grid(grid: Grid, image: Path, kind: str, path: Path) -> None:
    """Refuse a file that does not lie on its image's grid, with the command that mends it."""
    other = read_grid(path)
    difference = grid.difference(other)
    if not difference:
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
        f"{difference}; bring it to the image's grid by nearest neighbour{how}"
    )


def _read_scenes(
    folders: ImageFolders, scenes: pd.DataFrame, files: Mapping[str, Mapping[str, Path]]
) -> Iterator[SceneRasters]:
    """Read the scenes one after the other."""
    for row in progress(scenes.to_dict("records"), "importing scenes"):
        image, mask = files[row["key"]]["image"], files[row["key"]]["mask"]
        optical, bands = read_optical(image, folders)
        yield SceneRasters(
            scene=row["scene"],
            mine=row["mine"],
            year=None if pd.isna(row["year"]) else int(row["year"]),
            date=row["date"],
            grid=read_grid(image),
            optical=optical,
            optical_bands=bands,
            radar=read_radar(files[row["key"]]["radar"], folders) if folders.radar else None,
            labels=read_mask(mask, folders.classes),
        )


def read_optical(path: Path, folders: ImageFolders) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read an optical image in the dataset's form: uint16 (bands, height, width), and its bands."""
    with open_raster(path) as source:
        image = _optical_image(source, folders)
        bands = tuple(image.indexes)
        image.examine()
        reflectance, valid = image.read(bands)
    return encode_reflectance(reflectance, valid, str(path)), bands


def read_radar(path: Path, folders: ImageFolders) -> np.ndarray:
    """Read VV and VH by name; return the three channels in dB, float32, NaN where missing."""
    bands = ("VV", "VH")
    with open_raster(path) as source:
        image = Image.of(source, band_indexes(source, bands), folders.reading)
        image.examine()
        decibels, valid = image.read(bands)
    require_backscatter(decibels[:, valid], bands, str(path))
    return radar_channels(*np.where(valid, decibels, np.nan))


def read_mask(path: Path, classes: Mapping[int, str]) -> np.ndarray:
    """Read a mask of class numbers as a bit mask, uint16 (height, width).

    Unless mapped, 0 is background, and the file's nodata value is ignored; if that is 0, only where
    another value is background. What is not finite, or hidden by a mask or alpha band, is ignored.
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
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return a mask's numbers, where they count, and which ones are found there, all mapped."""
    with open_raster(path) as source:
        band = _only_band(source)
        (numbers,), shown = read_window(source, [band])
        nodata = source.nodatavals[band - 1]
        background = nodata == 0 and "background" not in classes.values()
        if background or nodata in classes:  # what marks no data means something here
            mask = read_dataset_mask(source, band)
            shown |= (numbers == nodata) & (True if mask is None else mask)
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
    return numbers, shown, [int(value) for value in found]


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
