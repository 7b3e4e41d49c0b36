"""The ground that the scenes of a mine show: a box round its polygons, on a 10 m grid."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from rasterio.warp import transform as warp_points
from shapely.geometry.base import BaseGeometry

from minseg.data.dataset import footprints
from minseg.data.grid import COARSEST_M, equator_m, seen_from, split_box, utm_crs
from minseg.data.mines import MINE_TABLE, folder_problems, read_table, require_enough, split_mines
from minseg.data.raster import Grid
from minseg.errors import MinsegError, summarise
from minseg.fetching.annotations import Annotations
from minseg.fetching.providers import Provider

PIXEL_M = 10
"""Ground sample distance of a dataset (section 2.1), metres."""

_ROUNDING_M = 0.01  # what a way through degrees and back may shift a corner


@dataclass(frozen=True)
class BoxRule:
    """How large the box of a mine is."""

    margin_m: float = 1000.0
    """Ground shown round the outermost polygons, metres."""
    smallest_m: float = 5160.0
    """Least width and height, metres; by default room for the paper's patches of 512 px."""
    largest_m: float = 30_000.0
    """Most width and height, metres; larger extents are mistakes in the polygons, as a rule."""

    def __post_init__(self) -> None:
        if not (0 <= self.margin_m < self.largest_m and 0 < self.smallest_m <= self.largest_m):
            raise MinsegError(
                f"box of margin {self.margin_m:g} m, {self.smallest_m:g} to {self.largest_m:g} m: "
                "give a margin of 0 or more, and a smallest side above 0 and up to the largest"
            )


def mine_box(outline: BaseGeometry, rule: BoxRule) -> Grid:
    """Return the 10 m grid of a mine's scenes, in the UTM zone of the box's centre.

    The box holds all of the `outline` (degrees, over the date line too). Corners are at multiples
    of 60 m from the equator and from the zone's false origin in the west, as those of Sentinel-2's
    60 m pixels.
    """
    points = shapely.get_coordinates(outline)
    seen = seen_from(points[:, 0], points[0, 0])
    centre = (seen.min() + seen.max()) / 2, (points[:, 1].min() + points[:, 1].max()) / 2
    crs = utm_crs(seen_from(centre[0], 0.0), centre[1])
    xs, ys = warp_points("EPSG:4326", crs, points[:, 0], points[:, 1])
    left, width = _side(min(xs), max(xs), rule)
    equator = equator_m(crs)
    bottom, height = _side(min(ys) - equator, max(ys) - equator, rule)
    return Grid(
        height // PIXEL_M,
        width // PIXEL_M,
        Affine(PIXEL_M, 0, left, 0, -PIXEL_M, equator + bottom + height),
        crs,
    )


def _side(low: float, high: float, rule: BoxRule) -> tuple[int, int]:
    """Return where a side starts and how long it is, in metres: multiples of 60."""
    needed = high - low + 2 * rule.margin_m
    if needed > rule.largest_m:
        raise MinsegError(
            f"polygons reach over {(high - low) / 1000:.1f} km, with margins more than the largest "
            f"box of {rule.largest_m / 1000:g} km; check which polygons belong to the mine, make "
            "two mines of it, or allow a larger box"
        )
    first = math.floor((low - rule.margin_m + _ROUNDING_M) / COARSEST_M)
    last = math.ceil((high + rule.margin_m - _ROUNDING_M) / COARSEST_M)
    lacking = max(0, math.ceil(rule.smallest_m / COARSEST_M) - (last - first))
    first, last = first - lacking // 2, last + lacking - lacking // 2
    return first * COARSEST_M, (last - first) * COARSEST_M


def boxes_of(
    outlines: Mapping[str, BaseGeometry], rule: BoxRule
) -> tuple[dict[str, Grid], list[str]]:
    """Lay a box round each mine's outline; tell where none can be laid."""
    boxes, problems = {}, []
    for mine, outline in outlines.items():
        try:
            boxes[mine] = mine_box(outline, rule)
        except MinsegError as error:
            problems.append(f"mine {mine!r}: {error}")
    return boxes, problems


def in_boxes(polygons: gpd.GeoDataFrame, boxes: Mapping[str, Grid]) -> np.ndarray:
    """Return where polygons lie in or a little beside some mine's box."""
    tree, near = shapely.STRtree(list(polygons.geometry)), np.zeros(len(polygons), bool)
    for grid in boxes.values():
        for bounds in split_box(grid.bounds_lonlat):
            near[tree.query(shapely.box(*bounds).buffer(0.1))] = True
    return near


FIRST_YEAR = 2015
"""Sentinel-2 began in this year."""


@dataclass(frozen=True)
class MinePlan:
    """The scenes wanted of a mine."""

    mine: str
    grid: Grid
    years: tuple[int, ...]


@dataclass(frozen=True)
class FetchRequest:
    """What a dataset is to be made of; the same request goes on where it was."""

    mines: pd.DataFrame
    """Mine table."""
    annotations: Annotations
    years: tuple[int, ...]
    provider: Provider
    rule: BoxRule = field(default_factory=BoxRule)

    def arguments(self) -> dict[str, object]:
        """Return what must not change from one run on a folder to the next."""
        polygons = self.annotations.polygons
        drawn = polygons.drop(columns="geometry").assign(shape=polygons.geometry.to_wkb(hex=True))
        table = self.mines[[column for column in MINE_TABLE.columns if column in self.mines]]
        collections = [c for c in (self.provider.optical, self.provider.radar) if c]
        # All that decides what pixels mean; how they are reached may change.
        pixels = _digest(json.dumps([asdict(c) for c in collections], sort_keys=True))
        return {
            "api": " ".join([self.provider.name, *(c.name for c in collections), pixels]),
            "years": list(self.years),
            "mines": _digest(table.to_csv(index=False)),
            "polygons": _digest(drawn.to_csv(index=False)),
            "classes": list(self.annotations.class_names),
            "box": asdict(self.rule),
        }


def read_mines(path: Path) -> pd.DataFrame:
    """Read a mine list; refuse wrong values and names that are no safe folder on every system."""
    table, problems = read_table(Path(path), MINE_TABLE)
    if not problems:
        problems = folder_problems({mine: mine for mine in table["mine"]}, str(path))
    if problems:
        raise MinsegError(summarise(problems))
    return table


def plan_mines(request: FetchRequest) -> tuple[list[MinePlan], list[str]]:
    """Lay out boxes and years of the mines that have polygons, and note which years have none.

    Nobody looked where there are none, so their scenes teach nothing. Impossible years and boxes
    are refused, and fewer than three separate mines.
    """
    if not request.years or min(request.years) < FIRST_YEAR or max(request.years) > 2100:
        raise MinsegError(
            f"--years {', '.join(map(str, request.years)) or '(none)'}: Sentinel-2 began in "
            f"{FIRST_YEAR}; give years such as 2016-2022"
        )
    years_of, outlines = {}, {}
    lacking: dict[str, list[str]] = {}
    for mine in request.mines["mine"]:
        polygons = request.annotations.of_mine(mine)
        years = request.annotations.years_of(mine, request.years)
        missing = ", ".join(str(year) for year in request.years if year not in years)
        if len(polygons) and missing:
            lacking.setdefault(missing, []).append(mine)
        if years:
            years_of[mine], outlines[mine] = years, polygons.geometry.union_all()
    boxes, problems = boxes_of(outlines, request.rule)
    if problems:
        raise MinsegError(summarise(problems))
    plans = [MinePlan(mine, grid, years_of[mine]) for mine, grid in boxes.items()]
    notes = [
        f"no polygons of {years}, left out: {summarise(mines)}" for years, mines in lacking.items()
    ]
    why = summarise([*request.annotations.notes, *notes] or ["add mines and polygons"])
    require_enough(len(plans), "mine(s) with polygons", why)
    table = request.mines[request.mines["mine"].isin([plan.mine for plan in plans])]
    split_mines(table, 0, footprints((plan.mine, plan.grid) for plan in plans))
    return plans, notes


def _digest(text: str) -> str:
    """Return a short hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
