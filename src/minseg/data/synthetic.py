"""The embedded default dataset: made-up mines, so that everything runs without any download.

A mine is described by its row of the mine table; scenes follow from (seed, mine, year) alone.
The scenes are drawings with the class relations of Table 1 and section 2.2, the bands of section
2.1 and imprecise labels; scores on them say nothing about real mines.
"""

import datetime
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.dataset import Dataset
from minseg.data.labels import CLASS_NAMES, encode_bits
from minseg.data.landscape import BIOMES, make_landscape, noise, paint_landscape
from minseg.data.minelayout import plan_mine
from minseg.data.minesite import mine_at, paint_mine
from minseg.data.raster import Grid
from minseg.data.sensing import (
    BLOCK_PX,
    PIXEL_M,
    Surface,
    illumination,
    observe_optical,
    observe_radar,
    sun_position,
)
from minseg.data.writing import SceneRasters, write_dataset
from minseg.errors import MinsegError
from minseg.progress import progress

VERSION = 1
"""Changes whenever the same arguments would give other scenes."""

ANNOTATION_ERROR_PX = 1.0
"""Standard deviation of the displacement of label borders in each direction, pixels.

People draw borders imprecisely; so a perfect score is out of reach, as it is on real mines.
"""

SMALLEST_SIZE = 64
"""Scenes below this size have no room for the parts of a mine."""

_SNAP_M = BLOCK_PX * PIXEL_M
_PAD_PX = 2 * BLOCK_PX  # drawn around the scene and cut off, so that nothing ends at its border
_SPACING_DEGREES = 0.2
_RELIEF_M = {"OC": 12.0, "OP": 30.0, "MT": 75.0}

# Twenty mines of a dataset hold every combination of raw material and mine type: coal mostly in
# opencast, ore and rock mostly in open-pit mines.
_COMBINATIONS = (
    [("CL", "OC")] * 5
    + [("CL", "OP"), ("CL", "MT")]
    + [("MO", "OP")] * 4
    + [("MO", "OC"), ("MO", "MT")]
    + [("RR", "OP")] * 4
    + [("RR", "MT")] * 2
    + [("RR", "OC")]
)


@dataclass(frozen=True)
class Belt:
    """A region where mines are."""

    longitude: float
    latitude: float
    biome: str
    """Name in `minseg.data.landscape.BIOMES`."""


BELTS: tuple[Belt, ...] = (
    Belt(16.5, 51.2, "temperate"),
    Belt(9.5, 51.2, "temperate"),
    Belt(21.5, 44.3, "temperate"),
    Belt(35.5, 48.2, "steppe"),
    Belt(-5.8, 38.3, "savanna"),
    Belt(31.5, 67.3, "boreal"),
    Belt(59.5, 54.0, "boreal"),
    Belt(87.0, 54.0, "boreal"),
    Belt(111.5, 39.5, "steppe"),
    Belt(83.0, 23.0, "savanna"),
    Belt(114.5, -0.8, "tropical"),
    Belt(29.5, -25.8, "steppe"),
    Belt(26.8, -12.2, "savanna"),
    Belt(-110.5, 33.0, "arid"),
    Belt(-105.8, 43.8, "steppe"),
    Belt(-81.5, 38.2, "temperate"),
    Belt(-67.0, 52.8, "boreal"),
    Belt(-50.5, -6.2, "tropical"),
    Belt(-44.0, -19.5, "tropical"),
    Belt(-68.8, -23.5, "arid"),
    Belt(118.8, -22.8, "arid"),
    Belt(148.0, -23.2, "savanna"),
)
"""Mining regions of five continents, about their middle."""


def synthetic_mines(num_mines: int, seed: int) -> pd.DataFrame:
    """Make a mine table.

    Parameters
    ----------
    num_mines : int
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns of `minseg.data.mines.MINE_TABLE`. Mines lie at least 0.2 degrees apart; country
        and continent are empty, because no such mine exists.
    """
    rng = np.random.default_rng(seed)
    positions: list[tuple[float, float]] = []
    spread = 1.2
    while len(positions) < num_mines:
        belt = BELTS[rng.integers(len(BELTS))]
        spread *= 1.001  # so that room is found for any number of mines
        longitude, latitude = (
            round(middle + rng.uniform(-spread, spread), 4)
            for middle in (belt.longitude, belt.latitude)
        )
        east = np.cos(np.radians(latitude))
        if all(
            np.hypot((longitude - x) * east, latitude - y) >= _SPACING_DEGREES for x, y in positions
        ):
            positions.append((longitude, latitude))
    kinds: list[tuple[str, str]] = []
    while len(kinds) < num_mines:
        kinds += [_COMBINATIONS[index] for index in rng.permutation(len(_COMBINATIONS))]
    return pd.DataFrame(
        {
            "mine": [f"synthetic-{number:03d}" for number in range(1, num_mines + 1)],
            "name": [f"Synthetic mine {number}" for number in range(1, num_mines + 1)],
            "country": "",
            "continent": "",
            "longitude": [longitude for longitude, _ in positions],
            "latitude": [latitude for _, latitude in positions],
            "raw_material": [raw_material for raw_material, _ in kinds[:num_mines]],
            "mine_type": [mine_type for _, mine_type in kinds[:num_mines]],
        }
    )


def render_scene(
    mine: pd.Series, year: int, years: Sequence[int], size: int, seed: int
) -> SceneRasters:
    """Draw one mine in one year.

    Parameters
    ----------
    mine : pandas.Series
        Row of the mine table.
    year : int
        One of `years`.
    years : sequence of int
        The time series; the mine has its full extent in the last year and was smaller before,
        by a rate of its own.
    size : int
        Height and width, pixels of 10 m. The mine scales with it.
    seed : int

    Returns
    -------
    SceneRasters
        With all 12 optical and 3 radar channels, and labels for all ten classes.
    """
    inner = -(-size // BLOCK_PX) * BLOCK_PX  # whole blocks
    shape = (inner + 2 * _PAD_PX, inner + 2 * _PAD_PX)
    biome = BIOMES[_nearest_belt(mine).biome]

    def stream(purpose: str) -> np.random.Generator:
        return np.random.default_rng([seed, zlib.crc32(f"{mine['mine']}/{purpose}".encode())])

    land = make_landscape(stream("landscape"), shape, biome, _RELIEF_M[mine["mine_type"]])
    layout = stream("layout")
    plan = plan_mine(
        layout, mine["mine_type"], mine["raw_material"], biome, land.elevation_m, inner
    )
    growth_per_year = layout.uniform(0.03, 0.16)
    state = mine_at(plan, float(np.exp(-growth_per_year * (max(years) - year))))

    texture, weather = stream("texture"), stream(f"{year}")
    surface = Surface(
        noise(texture, shape, 1.0, 0.5), noise(texture, shape, 8, 2.2), noise(texture, shape, 12)
    )
    paint_landscape(surface, land, weather)
    paint_mine(surface, state, weather)
    elevation_m = land.elevation_m + state.relief_m
    date = _clear_day(mine["latitude"], year, weather)
    light = illumination(elevation_m, sun_position(mine["latitude"], date.timetuple().tm_yday))
    optical = observe_optical(surface, light, weather)
    radar = observe_radar(surface, elevation_m, weather)
    labels = _annotate(encode_bits(state.classes), stream("annotation"))
    cut = slice(_PAD_PX, _PAD_PX + size)
    return SceneRasters(
        scene=f"{mine['mine']}-{year}",
        mine=mine["mine"],
        year=year,
        date=date.isoformat(),
        grid=_grid(mine, size),
        optical=optical[:, cut, cut],
        optical_bands=tuple(band.name for band in OPTICAL_BANDS),
        radar=radar[:, cut, cut],
        labels=labels[cut, cut],
    )


def _nearest_belt(mine: pd.Series) -> Belt:
    return min(
        BELTS,
        key=lambda belt: np.hypot(
            belt.longitude - mine["longitude"], belt.latitude - mine["latitude"]
        ),
    )


def _clear_day(latitude: float, year: int, rng: np.random.Generator) -> datetime.date:
    """Return a summer day."""
    middle = 200 if latitude > 0 else 45
    return datetime.date(year, 1, 1) + datetime.timedelta(middle + int(rng.integers(-35, 36)))


def _annotate(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the labels as a person would: with displaced borders.

    All classes are displaced together, so what lay inside another class still does. All years
    share the displacement: annotators carry an outline on from image to image.
    """
    rows, columns = np.indices(bits.shape)
    down, right = (ANNOTATION_ERROR_PX * noise(rng, bits.shape, 9, 4) for _ in range(2))
    rows = np.clip(np.rint(rows + down).astype(int), 0, bits.shape[0] - 1)
    columns = np.clip(np.rint(columns + right).astype(int), 0, bits.shape[1] - 1)
    return bits[rows, columns]


def _grid(mine: pd.Series, size: int) -> Grid:
    """Return a 10 m grid in the mine's UTM zone, its corner at a multiple of 60 m."""
    zone = int((mine["longitude"] + 180) // 6) + 1
    crs = CRS.from_epsg((32600 if mine["latitude"] >= 0 else 32700) + zone)
    (x,), (y,) = warp_points("EPSG:4326", crs, [mine["longitude"]], [mine["latitude"]])
    half_m = size * PIXEL_M / 2
    left, top = (round(edge / _SNAP_M) * _SNAP_M for edge in (x - half_m, y + half_m))
    return Grid(size, size, Affine(PIXEL_M, 0, left, 0, -PIXEL_M, top), crs)


def write_synthetic(
    path: Path,
    num_mines: int = 60,
    years: Sequence[int] = (2019, 2021),
    size: int = 128,
    seed: int = 0,
) -> Dataset:
    """Write the synthetic dataset.

    Parameters
    ----------
    path : Path
        Folder to make.
    num_mines : int
    years : sequence of int
        One scene per mine and year.
    size : int
        Height and width of a scene, pixels of 10 m.
    seed : int
        The same arguments give the same dataset.

    Returns
    -------
    Dataset

    Raises
    ------
    MinsegError
        If an argument makes no dataset, or the folder exists with content.
    """
    years = sorted(set(years))
    if num_mines < 3 or not years or size < SMALLEST_SIZE or seed < 0:
        raise MinsegError(
            f"synthetic dataset of {num_mines} mines, {len(years)} years, {size} px, seed {seed}: "
            f"give 3 mines or more, one year or more, {SMALLEST_SIZE} px or more, seed 0 or more"
        )
    mines = synthetic_mines(num_mines, seed)

    def scenes() -> Iterator[SceneRasters]:
        rows = [row for _, row in mines.iterrows()]
        for mine in progress(rows, "drawing mines"):
            for year in years:
                yield render_scene(mine, year, years, size, seed)

    return write_dataset(
        path,
        name=f"synthetic mines (seed {seed})",
        mines=mines,
        scenes=scenes(),
        class_names=CLASS_NAMES,
        provenance=(
            f"Drawn by minseg.data.synthetic: {num_mines} mines, years "
            f"{', '.join(map(str, years))}, {size} px, seed {seed}. Not observed."
        ),
        licence="CC0-1.0",
        synthetic=True,
        split_seed=seed,
    )
