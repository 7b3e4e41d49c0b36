"""A dataset folder: opening and checking it, and reading its scenes' files by their bands."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import rasterio
import shapely
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.warp import transform as warp_points
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from minseg.data.bands import BANDS
from minseg.data.grid import ground_within
from minseg.data.labels import (
    ANNOTATED_NAMES,
    EXTENT,
    IGNORE_BITS,
    Task,
    class_bit,
    decode_bits,
    task_target,
)
from minseg.data.mines import (
    MINE_TABLE,
    MINE_TYPES,
    PARTS,
    RAW_MATERIALS,
    SCENE_TABLE,
    SPLIT_TABLE,
    date_problems,
    leakage_problems,
    read_table,
    split_problems,
)
from minseg.data.radiometry import (
    REFLECTANCE_SCALE,
    possible,
    require_backscatter,
    require_reflectance,
)
from minseg.data.raster import (
    Grid,
    grid_of,
    open_raster,
    read_dataset_mask,
    read_grid,
    read_window,
    require_located,
    valid_pixels,
)
from minseg.errors import MinsegError, require_word, summarise
from minseg.progress import progress

SMALL_FILE_BYTES = 2**19
"""Size on disk up to which a scene's file is kept in memory once it was read."""

SMALL_UNPACKED_BYTES = 2**20
"""Size of its pixels up to which it is: labels of a whole tile may be a small file, too."""

KEPT_FILES = 1024
"""Number of files kept there, those used last."""

_FORMATS = {
    "optical": ("uint16", (REFLECTANCE_SCALE, 1.0), "reflectance × 10 000 as uint16"),
    "radar": ("float32", (1.0,), "decibels as float32"),
    "labels": ("uint16", (1.0,), "one band of uint16, a bit mask"),
}
"""Of each file of a scene: type, scale tags it may have, and what its numbers are. Programs that
write a file anew often leave the tag out, which changes no number."""

FORMAT_VERSION = 1


class Description(BaseModel):
    """What ``dataset.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    format_version: int = FORMAT_VERSION
    class_names: tuple[str, ...]
    """Classes of Table 1, or whole mining areas (`minseg.data.labels.EXTENT`), that the annotators
    looked for; the others were never looked for."""
    bands: tuple[str, ...]
    """Channels that the scenes have."""
    provenance: str
    licence: str
    synthetic: bool


@dataclass(frozen=True)
class Dataset:
    """An opened dataset folder."""

    path: Path
    description: Description
    mines: pd.DataFrame
    scenes: pd.DataFrame
    split: pd.DataFrame

    @cached_property
    def digest(self) -> str:
        """Hash of tables, description and rasters, but not of the split: 16 hexadecimal digits."""
        whole = hashlib.sha256()
        columns = self.scenes[["optical", "radar", "labels"]].to_numpy().ravel()
        try:
            for name in ("dataset.json", "mines.csv", "scenes.csv"):
                whole.update((self.path / name).read_bytes())
            for relative in sorted(filter(None, columns)):
                with (self.path / relative).open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise MinsegError(
                f"{error.filename}: cannot be read ({error.strerror}); "
                f"`minseg dataset check {self.path}` names all problems"
            ) from None
        return whole.hexdigest()[:16]

    @cached_property
    def split_digest(self) -> str:
        """Hash of the split, of which mine is in which part: 16 hexadecimal digits."""
        rows = sorted(zip(self.split["mine"], self.split["part"], strict=True))
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    @property
    def synthetic(self) -> bool:
        """Whether the scenes are made, not observed."""
        return self.description.synthetic

    def scenes_of(self, part: str) -> pd.DataFrame:
        """Return the scenes of a part (section 2.3).

        Training takes the whole time series of its mines; validation and test take one scene a
        mine, so that each mine counts once. The paper does not say which: we take the latest.

        Parameters
        ----------
        part : {"train", "validation", "test"}

        Returns
        -------
        pandas.DataFrame
            Rows of the scene table, ordered by mine, date (or year) and scene.

        Raises
        ------
        MinsegError
            If there is no such part.
        """
        require_word("part", part, PARTS)
        mines = self.split.loc[self.split["part"] == part, "mine"]
        chosen = self.scenes[self.scenes["mine"].isin(mines)]
        years = chosen["year"].astype("string").fillna("")
        when = chosen["date"].where(chosen["date"] != "", years)
        chosen = chosen.assign(when=when).sort_values(["mine", "when", "scene"])
        chosen = chosen.drop(columns="when")
        if part != "train":
            chosen = chosen.drop_duplicates("mine", keep="last")
        return chosen.reset_index(drop=True)

    def subset(self, code: str) -> "Dataset":
        """Return this dataset with only the mines of one raw material or mine type.

        The split stays: each remaining mine is in the part it was in (section 2.4.2).

        Parameters
        ----------
        code : str
            RR, MO, CL, OC, OP or MT.

        Raises
        ------
        MinsegError
            If a part has no such mine.
        """
        require_word("subset", code, [*RAW_MATERIALS, *MINE_TYPES])
        column = "raw_material" if code in RAW_MATERIALS else "mine_type"
        mines = self.mines[self.mines[column] == code]
        if mines.empty:
            raise MinsegError(f"subset {code!r}: no mine has {column} {code}; fill it in mines.csv")
        scenes = self.scenes[self.scenes["mine"].isin(mines["mine"])]
        split = self.split[self.split["mine"].isin(mines["mine"])]
        empty = [part for part in PARTS if part not in set(split["part"])]
        if empty:
            raise MinsegError(
                f"{self.path}: subset {code} has no mine in {' and '.join(empty)}; "
                "add mines, or draw another split: minseg dataset split"
            )
        return replace(self, mines=mines, scenes=scenes, split=split)

    def require(self, task: Task, bands: Sequence[str]) -> None:
        """Refuse a task whose classes nobody annotated here, or bands that are not there."""
        absent = task.not_annotated(self.description.class_names)
        if absent:
            partly = task.on(self.description.class_names)
            raise MinsegError(
                f"{self.path}: task {task.name!r} needs {', '.join(absent)}, which nobody "
                f"annotated here; annotated are: {', '.join(self.description.class_names)}"
                + (f"; of it they answer {partly.name!r}" if partly != task else "")
            )
        missing = [band for band in bands if band not in self.description.bands]
        if missing:
            raise MinsegError(
                f"{self.path}: has no band {', '.join(missing)}; "
                f"it has: {', '.join(self.description.bands)}"
            )

    def grid(self, scene: pd.Series) -> Grid:
        """Return the grid that all rasters of a scene share."""
        path = self.path / scene["labels"]
        small = _small_file(path, "labels")
        return small.grid if small else read_grid(path)

    def read_inputs(
        self, scene: pd.Series, bands: Sequence[str], window: Window | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the chosen channels of a scene.

        Parameters
        ----------
        scene : pandas.Series
            Row of the scene table.
        bands : sequence of str
            Channels, in the order wanted.
        window : rasterio.windows.Window, optional
            Part of the scene; all of it by default.

        Returns
        -------
        inputs : float32 ndarray (bands, height, width)
            Reflectance (optical) and dB (radar); 0 where not valid.
        valid : bool ndarray (height, width)
            Pixels at which every chosen band has a value.

        Raises
        ------
        MinsegError
            If a file is missing or damaged, or lacks a band.
        """
        layers: dict[str, np.ndarray] = {}
        valid = np.array(True)
        for path, names in self.files_with(scene, bands).items():
            values, good = read_named(path, names, window)
            layers.update(zip(names, values, strict=True))
            valid = valid & good
        inputs = np.stack([layers[band] for band in bands])  # (bands, height, width)
        return np.where(valid, inputs, np.float32(0)), valid

    def files_with(self, scene: pd.Series, bands: Sequence[str]) -> dict[Path, list[str]]:
        """Tell which files of a scene have which of the bands; refuse a scene that lacks one."""
        files = {}
        for kind in ("optical", "radar"):
            names = [band for band in bands if BANDS[band].is_radar == (kind == "radar")]
            if names and not scene[kind]:
                raise MinsegError(
                    f"scene {scene['scene']!r} has no {kind} file; choose bands without it"
                )
            if names:
                files[self.path / scene[kind]] = names
        return files

    def read_labels(self, scene: pd.Series, window: Window | None = None) -> np.ndarray:
        """Read a scene's labels: uint16 (height, width), bit k = class k, 65535 = ignore.

        What a mask in the file hides is ignored.
        """
        path = self.path / scene["labels"]
        if small := _small_file(path, "labels"):
            return small.part([0], window)[0][0]
        with open_raster(path) as source:
            require_format(source, "labels")
            return _shown_bits(source, window)

    def read_target(self, scene: pd.Series, task: Task, window: Window | None = None) -> np.ndarray:
        """Read a scene's target for a task (height, width), as `task_target` makes it."""
        return task_target(self.read_labels(scene, window), task)

    def class_shares(self) -> pd.DataFrame:
        """Return the share of annotated pixels that each class covers.

        Returns
        -------
        pandas.DataFrame
            Indexed by the annotated class names, one column per part, values 0 to 1.
        """
        names = self.description.class_names
        shares = pd.DataFrame(index=pd.Index(names, name="class"))
        for part in PARTS:
            scenes = [self.read_labels(row).ravel() for _, row in self.scenes_of(part).iterrows()]
            labels = np.concatenate(scenes)
            known = labels[labels != IGNORE_BITS]
            # Of whole mining areas all that was drawn is part, as Model 4 learns it.
            there = [known != 0 if n == EXTENT.name else decode_bits(known, n) for n in names]
            shares[part] = [np.count_nonzero(mask) / max(known.size, 1) for mask in there]
        return shares


def open_dataset(path: Path | str) -> Dataset:
    """Open a dataset folder and check its tables; `check_dataset` also reads every raster.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    Dataset

    Raises
    ------
    MinsegError
        If the folder is no dataset, or its tables have problems (all of them are named).
    """
    path = Path(path)
    dataset, problems = load_tables(path)
    if problems or dataset is None:
        raise MinsegError(f"{path} is not a sound dataset: {summarise(problems)}")
    return dataset


def check_dataset(path: Path | str) -> list[str]:
    """Find every problem of a dataset folder.

    The tables, the split and its leakage (section 2.3), and each scene's rasters: that they are
    whole, share one grid with a coordinate reference system, hold the bands the description
    promises, have valid pixels, and carry no class that nobody annotated.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    list of str
        One line per problem; empty for a sound dataset.
    """
    dataset, problems = load_tables(Path(path))
    if dataset is None:
        return problems
    located = []
    for _, scene in progress(dataset.scenes.iterrows(), "checking scenes", len(dataset.scenes)):
        grids, found = _check_scene(dataset, scene)
        located += [(scene["mine"], grid) for grid in grids]
        problems += found
    leaks = leakage_problems(dataset.split, footprints(located))
    if not problems:
        labels = (dataset.read_labels(scene) for _, scene in dataset.scenes.iterrows())
        if not any(((bits > 0) & (bits != IGNORE_BITS)).any() for bits in labels):
            problems.append(f"{path}: no label holds any class; import it with other --classes")
    return problems + leaks


def load_tables(path: Path) -> tuple[Dataset | None, list[str]]:
    """Read a folder's description and tables: a dataset, or None and every problem, a line each."""
    if not (path / "dataset.json").is_file():
        return None, [
            f"{path}: no dataset.json; make a dataset with `minseg dataset import` or `synth`"
        ]
    try:
        description = Description.model_validate_json((path / "dataset.json").read_bytes())
    except ValidationError as error:
        places = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors()]
        return None, [": ".join(filter(None, (f"{path / 'dataset.json'}", *it))) for it in places]
    problems = _description_problems(description, path / "dataset.json")
    mines, mine_problems = read_table(path / "mines.csv", MINE_TABLE)
    scenes, scene_problems = read_table(path / "scenes.csv", SCENE_TABLE)
    split, split_table_problems = read_table(path / "split.csv", SPLIT_TABLE)
    problems += mine_problems + scene_problems + split_table_problems
    if problems:
        return None, problems
    strangers = sorted(set(scenes["mine"]) - set(mines["mine"]))
    problems += [f"scenes.csv: mine {mine!r} is not in mines.csv" for mine in strangers]
    idle = sorted(set(mines["mine"]) - set(scenes["mine"]))
    problems += [f"mines.csv: mine {mine!r} has no scene; remove it or add one" for mine in idle]
    problems += date_problems(scenes, "scenes.csv") + split_problems(split, mines)
    if problems:
        return None, problems
    # The path serves workers in other folders too.
    return Dataset(path.absolute(), description, mines, scenes, split), []


def _description_problems(description: Description, path: Path) -> list[str]:
    """Check the names that ``dataset.json`` uses."""
    problems = [
        f"{path}: {name!r} is no class of Table 1"
        for name in description.class_names
        if name not in ANNOTATED_NAMES
    ]
    problems += [
        f"{path}: {band!r} is no band; bands are {', '.join(BANDS)}"
        for band in description.bands
        if band not in BANDS
    ]
    if description.format_version != FORMAT_VERSION:
        problems.append(
            f"{path}: format version {description.format_version}; this program reads "
            f"{FORMAT_VERSION}, make the dataset again"
        )
    return problems


def _check_scene(dataset: Dataset, scene: pd.Series) -> tuple[list[Grid], list[str]]:
    """Return the grids of one scene's rasters, where they lie somewhere, and every problem."""
    problems: list[str] = []
    grids = []
    for kind in ("optical", "radar", "labels"):
        if not scene[kind]:
            continue
        path = dataset.path / scene[kind]
        try:
            with open_raster(path) as source:
                file = _read_whole(source, kind)
            require_located(file.grid, path)
        except MinsegError as error:
            problems.append(str(error))
            continue
        grids.append(file.grid)
        if kind == "labels":
            problems += _label_problems(file.values[0], dataset, path)
        else:
            problems += [
                f"{path}: band {band} of dataset.json is missing"
                for band in dataset.description.bands
                if BANDS[band].is_radar == (kind == "radar") and band not in file.names
            ]
            values, valid = file.part(range(len(file.names)))
            pixels = values.reshape(len(values), -1) if valid.all() else values[:, valid]
            problems += _value_problems(pixels, file.names, kind, path)
    if not all(one.matches(other) for one, other in pairwise(grids)):
        problems.append(
            f"scene {scene['scene']!r}: its rasters are on different grids; import it again"
        )
    return grids, problems


def _value_problems(values: np.ndarray, names: tuple[str, ...], kind: str, path: Path) -> list[str]:
    """Check that valid pixels (bands, pixels) hold reflectance, or decibels."""
    if not values.size:
        return [f"{path}: no pixel has a value in every band"]
    try:
        if kind == "optical":
            require_reflectance(values * np.float32(REFLECTANCE_SCALE), str(path))
            return []
        fits = possible(values, "VV").all(axis=0)
        bands = [name for name in ("VV", "VH") if name in names]
        decibels = values[[names.index(name) for name in bands]]
        require_backscatter(decibels[:, fits], bands, str(path))
    except MinsegError as error:
        return [str(error)]
    strange = np.sum(~fits)
    return [f"{path}: {strange} pixels hold no decibels; they count as missing"] if strange else []


def _label_problems(labels: np.ndarray, dataset: Dataset, path: Path) -> list[str]:
    """Check that labels are bit masks of annotated classes, and that somebody looked."""
    allowed = sum(class_bit(name) for name in dataset.description.class_names)
    known = labels[labels != IGNORE_BITS]
    if not known.size:
        return [f"{path}: every pixel is marked as not annotated"]
    strange = np.bitwise_or.reduce(known) & ~np.uint16(allowed)
    if strange:
        bits = [bit for bit in range(16) if strange >> bit & 1]
        return [f"{path}: bits {bits} are set, but dataset.json annotates no such class"]
    return []


def read_named(
    path: Path, bands: Sequence[str], window: Window | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read bands of ``optical.tif`` or ``radar.tif`` as float32, and where valid."""
    kind = "radar" if BANDS[bands[0]].is_radar else "optical"
    if small := _small_file(path, kind):
        values, valid = small.part(_positions(path, small.names, bands), window)
    else:
        with open_raster(path) as source:
            require_format(source, kind)
            positions = _positions(path, source.descriptions, bands)
            values, valid = read_window(source, [position + 1 for position in positions], window)
    if kind == "optical":
        return values.astype(np.float32) * np.float32(REFLECTANCE_SCALE), valid
    for layer, band in zip(values, bands, strict=True):
        valid = valid & possible(layer, band)
    return values, valid


def _shown_bits(source: rasterio.DatasetReader, window: Window | None = None) -> np.ndarray:
    """Read labels, ignored where a mask hides them."""
    (bits,), _ = read_window(source, [1], window)
    shown = read_dataset_mask(source, 1, window)
    return bits if shown is None else np.where(shown, bits, np.uint16(IGNORE_BITS))


def require_format(source: rasterio.DatasetReader, kind: str) -> None:
    """Refuse a scene's file (optical, radar or labels) that was written anew in another form."""
    dtype, scales, what = _FORMATS[kind]
    found = {
        "type": (source.dtypes, (dtype,)),
        "scale": (source.scales, scales),
        "offset": (source.offsets, (0.0,)),
        "nodata value": (source.nodatavals if kind == "optical" else (), (0.0,)),
        "number of bands": ((source.count,) if kind == "labels" else (), (1,)),
    }
    for name, (values, promised) in found.items():
        strange = [value for value in values if value not in promised]
        if strange:
            raise MinsegError(
                f"{source.name}: has {name} {strange[0]}, not {promised[0]}; a dataset has {what}: "
                "make it again with `minseg dataset import`"
            )


class _File(NamedTuple):
    """What a scene's file holds, as stored."""

    grid: Grid
    names: tuple[str, ...]
    nodata: tuple[float | None, ...]
    values: np.ndarray
    """(bands, height, width)."""
    shown: np.ndarray | None
    """bool (height, width): its mask."""

    def part(
        self, positions: Sequence[int], window: Window | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a copy of bands, counted from 0, and where all of them are valid."""
        inside = window.crop(*self.values.shape[1:]).toslices() if window else np.s_[:, :]
        values = self.values[(positions, *inside)]
        valid = valid_pixels(values, [self.nodata[position] for position in positions])
        return values, valid if self.shown is None else valid & self.shown[inside]


def _read_whole(source: rasterio.DatasetReader, kind: str) -> _File:
    """Read all of a scene's file."""
    require_format(source, kind)
    if kind == "labels":
        values, shown = _shown_bits(source)[np.newaxis], None
    else:
        values, shown = read_window(source, source.indexes)[0], read_dataset_mask(source)
    return _File(grid_of(source), source.descriptions, source.nodatavals, values, shown)


def _small_file(path: Path, kind: str) -> _File | None:
    """Return what a small file holds, from memory if it was read before; None if it is large.

    A worker that makes many runs in a row reads the same scenes again and again, and so does a page
    that compares many runs.
    """
    try:
        state = path.stat()
    except OSError:
        raise MinsegError(f"{path}: no such file; check the path") from None
    return _kept(path, kind, state.st_mtime_ns) if state.st_size <= SMALL_FILE_BYTES else None


@lru_cache(KEPT_FILES)
def _kept(path: Path, kind: str, _changed_ns: int) -> _File | None:
    """Read a file whole unless its pixels are many; written anew, it is another one."""
    with open_raster(path) as source:
        pixel_bytes = sum(np.dtype(dtype).itemsize for dtype in source.dtypes)
        if source.width * source.height * pixel_bytes > SMALL_UNPACKED_BYTES:
            return None
        return _read_whole(source, kind)


def _positions(path: Path, names: Sequence[str], bands: Sequence[str]) -> list[int]:
    """Find bands by name, counted from 0."""
    missing = [band for band in bands if band not in names]
    if missing:
        raise MinsegError(f"{path}: has no band {', '.join(missing)}; it has {names}")
    return [names.index(band) for band in bands]


def footprint(grid: Grid) -> BaseGeometry:
    """Return the ground a grid covers in degrees (WGS 84), in two parts at the date line."""
    lonlat = warp_points(grid.crs, "EPSG:4326", *grid.outline(9))
    return ground_within(*map(np.array, lonlat))


def footprints(grids: Iterable[tuple[str, Grid]]) -> dict[str, BaseGeometry]:
    """Return the ground in degrees (WGS 84) that each mine's scenes, (mine, Grid), cover."""
    shapes: dict[str, list[BaseGeometry]] = {}
    for mine, grid in grids:
        shapes.setdefault(mine, []).append(footprint(grid))
    return {mine: shapely.union_all(parts) for mine, parts in shapes.items()}
