"""Checking a dataset folder: every problem of its tables and rasters, one line each."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from minseg.data.bands import BANDS
from minseg.data.dataset import (
    REFLECTANCE_SCALE,
    Dataset,
    footprints,
    load_tables,
    possible,
    read_bits,
    require_format,
    scene_grids,
)
from minseg.data.labels import IGNORE_BITS, class_bit
from minseg.data.mines import leakage_problems
from minseg.data.radiometry import require_backscatter, require_reflectance
from minseg.data.raster import grid_of, open_raster, read_window, require_located
from minseg.errors import MinsegError
from minseg.progress import progress


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
    for _, scene in progress(dataset.scenes.iterrows(), "checking scenes", len(dataset.scenes)):
        problems += scene_problems(dataset, scene)
    if not problems:
        problems += leakage_problems(dataset.split, footprints(scene_grids(dataset)))
        labels = (dataset.read_labels(scene) for _, scene in dataset.scenes.iterrows())
        if not any(((bits > 0) & (bits != IGNORE_BITS)).any() for bits in labels):
            problems.append(f"{path}: no label holds any class; import it with other --classes")
    return problems


def scene_problems(dataset: Dataset, scene: pd.Series) -> list[str]:
    """Find every problem of one scene's rasters."""
    problems = []
    grids = {}
    for kind in ("optical", "radar", "labels"):
        if not scene[kind]:
            continue
        path = dataset.path / scene[kind]
        try:
            with open_raster(path) as source:
                grids[kind] = grid_of(source)
                require_located(grids[kind], path)
                require_format(source, kind)
                values, valid = read_window(source, source.indexes)
                names = source.descriptions
            labels = read_bits(path) if kind == "labels" else None
        except MinsegError as error:
            problems.append(str(error))
            continue
        if labels is not None:
            problems += _label_problems(labels, dataset, path)
        else:
            problems += _band_problems(names, kind, dataset, path)
            problems += _value_problems(values[:, valid], names, kind, path)
    if not all(one.matches(other) for one, other in pairwise(grids.values())):
        problems.append(
            f"scene {scene['scene']!r}: its rasters are on different grids; import it again"
        )
    return problems


def _band_problems(names: tuple[str, ...], kind: str, dataset: Dataset, path: Path) -> list[str]:
    """Check that a file has the bands the description promises of its kind."""
    promised = {
        band for band in dataset.description.bands if BANDS[band].is_radar == (kind == "radar")
    }
    missing = sorted(promised - set(names))
    return [f"{path}: band {band} of dataset.json is missing" for band in missing]


def _value_problems(values: np.ndarray, names: tuple[str, ...], kind: str, path: Path) -> list[str]:
    """Check that valid pixels (bands, pixels) hold reflectance, or decibels."""
    if not values.size:
        return [f"{path}: no pixel has a value in every band"]
    try:
        if kind == "optical":
            require_reflectance(values * REFLECTANCE_SCALE, str(path))
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
