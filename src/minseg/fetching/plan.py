"""What is to be fetched: mines, boxes and years, of which polygons and from which catalogue."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from minseg.data.dataset import footprints
from minseg.data.mines import MINE_TABLE, PARTS, folder_problems, split_mines
from minseg.data.raster import Grid
from minseg.data.tables import read_table
from minseg.errors import MinsegError, summarise
from minseg.fetching.annotations import Annotations
from minseg.fetching.boxes import PIXEL_M, BoxRule, mine_box, tile_share
from minseg.fetching.providers import Provider
from minseg.fetching.scene_choice import RULES

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
    """Read a mine list.

    Raises
    ------
    MinsegError
        If a column is missing, a value is wrong, a mine stands there twice, or its name is no safe
        name of a folder on every system.
    """
    table, problems = read_table(Path(path), MINE_TABLE)
    if not problems:
        problems = folder_problems({mine: mine for mine in table["mine"]}, str(path))
    if problems:
        raise MinsegError(summarise(problems))
    return table


def plan_mines(request: FetchRequest) -> tuple[list[MinePlan], list[str]]:
    """Lay out boxes and years.

    Parameters
    ----------
    request : FetchRequest

    Returns
    -------
    plans : list of MinePlan
        Of the mines that have polygons.
    notes : list of str
        Mines and years without polygons: nobody looked there, so their scenes teach nothing; and
        boxes that no Sentinel-2 tile shows as a whole.

    Raises
    ------
    MinsegError
        If a year is impossible, a box cannot be laid, or fewer than three separate mines remain.
    """
    if not request.years or min(request.years) < FIRST_YEAR or max(request.years) > 2100:
        raise MinsegError(
            f"--years {', '.join(map(str, request.years)) or '(none)'}: Sentinel-2 began in "
            f"{FIRST_YEAR}; give years such as 2016-2022"
        )
    plans, problems = [], []
    lacking: dict[str, list[str]] = {}
    for row in request.mines.to_dict("records"):
        polygons = request.annotations.of_mine(row["mine"])
        years = request.annotations.years_of(row["mine"], request.years)
        missing = ", ".join(str(year) for year in request.years if year not in years)
        if len(polygons) and missing:
            lacking.setdefault(missing, []).append(row["mine"])
        if not years:
            continue
        try:
            shape = polygons.geometry.union_all()
            grid = mine_box(row["longitude"], row["latitude"], shape, request.rule)
        except MinsegError as error:
            problems.append(f"mine {row['mine']!r}: {error}")
            continue
        plans.append(MinePlan(row["mine"], grid, years))
    if problems:
        raise MinsegError(summarise(problems))
    notes = [
        f"no polygons of {years}, left out: {summarise(mines)}" for years, mines in lacking.items()
    ]
    if len(plans) < len(PARTS):
        raise MinsegError(
            f"{len(plans)} mine(s) with polygons: a split by mine needs at least {len(PARTS)}; "
            + summarise([*request.annotations.notes, *notes] or ["add mines and polygons"])
        )
    table = request.mines[request.mines["mine"].isin([plan.mine for plan in plans])]
    split_mines(table, 0, footprints((plan.mine, plan.grid) for plan in plans))
    return plans, notes + [note for plan in plans for note in _tile_notes(plan)]


def _tile_notes(plan: MinePlan) -> list[str]:
    """Tell of a box that no Sentinel-2 tile shows as a whole."""
    share, grid = tile_share(plan.grid), plan.grid
    if share > 0.999:
        return []
    so = (
        "the rest of it will have no pixels"
        if share >= RULES.least_coverage
        else "no scene will be taken, unless one is pinned"
    )
    return [
        f"mine {plan.mine!r}: its box of {grid.width * PIXEL_M / 1000:.1f} × "
        f"{grid.height * PIXEL_M / 1000:.1f} km lies across Sentinel-2 tiles, of which none shows "
        f"more than {share:.0%}: {so}; lay a smaller box (--margin-m, --smallest-m), or make two "
        "mines of it"
    ]


def _digest(text: str) -> str:
    """Return a short hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
