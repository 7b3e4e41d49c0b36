"""The embedded default dataset: made-up mines, so that everything runs without any download.

Scenes are drawings that follow from a row of the mine table, the seed and the year alone; scores
on them say nothing about real mines.
"""

import datetime
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from affine import Affine
from rasterio.warp import transform as warp_points

from minseg.atomic import require_new_folder
from minseg.data.bands import OPTICAL_NAMES
from minseg.data.dataset import Dataset, footprints
from minseg.data.grid import COARSEST_M, equator_m, utm_crs
from minseg.data.labels import CLASS_NAMES, encode_bits
from minseg.data.mines import split_mines
from minseg.data.raster import Grid
from minseg.data.writing import SceneRasters, write_dataset
from minseg.errors import MinsegError
from minseg.progress import progress
from minseg.synthetic.landscape import (
    BIOMES,
    Landscape,
    noise,
    paint_landscape,
    paint_snow,
)
from minseg.synthetic.layout import Plan
from minseg.synthetic.register import assign_cases, biome_of, synthetic_mines
from minseg.synthetic.sensing import (
    BLOCK_PX,
    PIXEL_M,
    Surface,
    illumination,
    observe_optical,
    observe_radar,
    sun_position,
)
from minseg.synthetic.site import MineState, paint_mine

VERSION = 4
"""Changes whenever the same arguments would give other scenes, or the defaults change."""

ANNOTATION_ERROR_PX = 1.0
"""Standard deviation of the displacement of label borders in each direction, pixels.

People draw borders imprecisely; so a perfect score is out of reach, as it is on real mines.
"""

SMALLEST_SIZE = 64
"""Scenes below this size have no room for the parts of a mine."""

_PAD_PX = 2 * BLOCK_PX  # drawn around the scene and cut off, so that nothing ends at its border
_MINES_AHEAD = 16  # drawn on all cores while others are written
_RELIEF_M = {"OC": 12.0, "OP": 30.0, "MT": 75.0}


def render_scene(
    mine: pd.Series, year: int, years: Sequence[int], size: int, seed: int
) -> SceneRasters:
    """Draw one mine (a row of the mine table) in one of the years, full-grown in the last."""
    return _observe(_Site(mine, size, seed), year, max(years))


class _Site:
    """What the scenes of one mine have in common."""

    def __init__(self, mine: pd.Series, size: int, seed: int):
        self.mine, self.size, self.seed, self.case = mine, size, seed, mine.get("case", "")
        inner = -(-size // BLOCK_PX) * BLOCK_PX  # whole blocks
        shape = (inner + 2 * _PAD_PX, inner + 2 * _PAD_PX)
        kind, raw_material = mine["mine_type"], mine["raw_material"]
        biome = BIOMES["tropical" if self.case == "patchwork" else biome_of(mine)]
        self.land = Landscape(self.stream("landscape"), shape, biome, _RELIEF_M[kind])
        layout, elevation_m = self.stream("layout"), self.land.elevation_m
        self.growth_per_year = layout.uniform(0.03, 0.16)
        self.plan = Plan(layout, kind, raw_material, self.case, biome, elevation_m, inner)

    def stream(self, purpose: str) -> np.random.Generator:
        """Give the random numbers for one purpose."""
        name = f"{self.mine['mine']}/{purpose}"
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])


def _observe(site: _Site, year: int, last_year: int) -> SceneRasters:
    """Draw the scene of one year."""
    mine, land, weather = site.mine, site.land, site.stream(f"{year}")
    state = MineState(site.plan, float(np.exp(-site.growth_per_year * (last_year - year))))
    winter = site.case == "snow" and year == last_year
    date = _clear_day(mine["latitude"], year, winter, weather)
    elevation_m = land.elevation_m + state.relief_m
    light = illumination(elevation_m, sun_position(mine["latitude"], date.timetuple().tm_yday))

    texture, shape = site.stream("texture"), light.shape
    surface = Surface(
        noise(texture, shape, 1.0, 0.5), noise(texture, shape, 8, 2.2), noise(texture, shape, 12)
    )
    paint_landscape(surface, land, weather, winter=winter)
    paint_mine(surface, state, weather)
    if winter:
        worked = state.classes["excavation"] | state.classes["infrastructure"]
        paint_snow(surface, land, worked, light, weather)
    optical = observe_optical(surface, light, weather)
    radar = observe_radar(surface, elevation_m, weather)
    labels = _annotate(encode_bits(state.classes), site.stream("annotation"))
    cut = slice(_PAD_PX, _PAD_PX + site.size)
    return SceneRasters(
        scene=f"{mine['mine']}-{year}",
        mine=mine["mine"],
        year=year,
        date=date.isoformat(),
        grid=_grid(mine, site.size),
        optical=optical[:, cut, cut],
        optical_bands=OPTICAL_NAMES,
        radar=radar[:, cut, cut],
        labels=labels[cut, cut],
    )


def _clear_day(latitude: float, year: int, winter: bool, rng: np.random.Generator) -> datetime.date:
    """Return a day in summer, or at the end of winter."""
    northern = latitude > 0
    if winter:
        middle, spread = (95 if northern else 277), 20
    else:
        middle, spread = (200 if northern else 45), 35
    shift = int(rng.integers(-spread, spread + 1))
    return datetime.date(year, 1, 1) + datetime.timedelta(middle + shift)


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
    """Return a 10 m grid in the mine's UTM zone, its corner at one of Sentinel-2's 60 m pixels."""
    crs = utm_crs(mine["longitude"], mine["latitude"])
    equator = equator_m(crs)
    (x,), (y,) = warp_points("EPSG:4326", crs, [mine["longitude"]], [mine["latitude"]])
    half_m = size * PIXEL_M / 2
    left, top = (
        round(edge / COARSEST_M) * COARSEST_M for edge in (x - half_m, y + half_m - equator)
    )
    return Grid(size, size, Affine(PIXEL_M, 0, left, 0, -PIXEL_M, equator + top), crs)


def write_synthetic(
    path: Path,
    num_mines: int = 260,
    years: Sequence[int] = (2019, 2021),
    size: int = 128,
    seed: int = 0,
) -> Dataset:
    """Write the synthetic dataset, by default with as many test mines as the paper's, 39.

    The mines are split first; then some of each part become special cases
    (`minseg.synthetic.register.assign_cases`), which does not change the split.
    """
    years = sorted(set(years))
    known_years = years and years[0] >= 1972 and years[-1] <= 2100
    if num_mines < 3 or not known_years or size < SMALLEST_SIZE or seed < 0:
        raise MinsegError(
            f"synthetic dataset of {num_mines} mines, years {', '.join(map(str, years)) or 'none'},"
            f" {size} px, seed {seed}: give 3 mines or more, years from 1972 to 2100, "
            f"{SMALLEST_SIZE} px or more, seed 0 or more"
        )
    require_new_folder(Path(path))
    mines = synthetic_mines(num_mines, seed)
    grounds = footprints((mine["mine"], _grid(mine, size)) for _, mine in mines.iterrows())
    mines = assign_cases(mines, split_mines(mines, seed, grounds), seed)

    def draw(mine: pd.Series) -> list[SceneRasters]:
        site = _Site(mine, size, seed)
        return [_observe(site, year, max(years)) for year in years]

    def scenes() -> Iterator[SceneRasters]:
        rows = [row for _, row in mines.iterrows()]
        waiting: deque[Future[list[SceneRasters]]] = deque()
        with ThreadPoolExecutor() as pool:
            for mine in progress(rows, "drawing mines"):
                waiting.append(pool.submit(draw, mine))
                if len(waiting) > _MINES_AHEAD:
                    yield from waiting.popleft().result()
            for drawn in waiting:
                yield from drawn.result()

    return write_dataset(
        path,
        name=f"synthetic mines (seed {seed})",
        mines=mines,
        scenes=scenes(),
        class_names=CLASS_NAMES,
        provenance=(
            f"Drawn by minseg.synthetic.dataset: {num_mines} mines, years "
            f"{', '.join(map(str, years))}, {size} px, seed {seed}. Not observed."
        ),
        licence="CC0-1.0",
        synthetic=True,
        split_seed=seed,
    )
