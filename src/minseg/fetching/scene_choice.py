"""Which of a catalogue's scenes to take: judged inside the mine's own box, reasons kept."""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.fetching.catalogue import collection_of
from minseg.fetching.items import (
    datatake_of,
    date_of,
    footprint_share,
    processing_baseline,
    projection_of,
    relative_orbit_of,
    tile_of,
)
from minseg.fetching.providers import Provider
from minseg.fetching.sentinel import read_scene_classes

if TYPE_CHECKING:
    import pystac

NO_DATA, SHADOW, SNOW = (0,), (3,), (11,)
CLOUD = (8, 9, 10)
BAD = (0, 1, 3, 8, 9, 10, 11)
"""Classes of Sen2Cor that hide the ground. Snow is one: under it the paper's Cerovo failed. Some
bright mine surfaces are called cloud; scenes are therefore ranked, and any can be pinned."""


@dataclass(frozen=True)
class ChoiceRules:
    """What makes a scene usable, and which differences count."""

    largest_tile_cloud_percent: float = 60.0
    """Cloud over the whole tile (``eo:cloud_cover``) above which a scene is not looked at."""
    most_looked_at: int = 16
    """Scenes of which the scene classification is read: least cloud over the tile first."""
    tile_cloud_step_percent: float = 10.0
    """Scenes whose tile-wide cloud falls in the same step are looked at by day of year."""
    least_footprint: float = 0.5
    """Share of the box under a scene's footprint below which it is not looked at: footprints are
    drawn coarsely, but not so coarsely that such a scene could show `least_coverage`."""
    least_coverage: float = 0.9
    """Share of the box with pixels below which a scene is not taken."""
    largest_bad_share: float = 0.4
    """Share of the box under cloud, shadow, snow or without pixels above which none is taken."""
    bad_share_step: float = 0.02
    """Scenes whose bad share falls in the same step are ranked by day of year."""
    largest_days_apart: int = 30
    """Days between radar and optical scene above which a radar scene is not taken."""


RULES = ChoiceRules()


@dataclass(frozen=True)
class Choice:
    """The scene taken and the table of all that were there."""

    item: "pystac.Item | None"
    """The scene; None where none is usable."""
    table: pd.DataFrame
    """A row for each candidate, best first: `item`, its values, `chosen` and `reason`."""


def choose_optical(
    items: Sequence["pystac.Item"],
    grid: Grid,
    provider: Provider,
    *,
    day_of_year: int | None = None,
    tile: str = "",
    pinned: str | None = None,
    rules: ChoiceRules = RULES,
) -> Choice:
    """Choose the Sentinel-2 scene that shows most of a mine's box.

    In this order: fully covered, least share of bad pixels, nearest to `day_of_year`, in the box's
    own projection (so that no pixel moves), of `tile`, newest processing baseline. Of scenes of one
    datatake and tile only those of the newest baseline compete; two of the same show different
    ground, on either side of a border between datastrips.

    Parameters
    ----------
    items : sequence of pystac.Item
        Of one year mostly.
    grid : Grid
        The mine's box.
    provider : Provider
    day_of_year : int, optional
        Of the mine's other years, 1 to 366.
    tile : str
        Of the mine's other years, such as 33TWM; empty where there are none yet.
    pinned : str, optional
        Id of the item to take whatever it shows.
    rules : ChoiceRules

    Returns
    -------
    Choice
        `table` has the columns item, date, tile, projection, baseline, tile_cloud_percent,
        coverage, cloud_share, shadow_share, snow_share, bad_share, days_off, chosen, reason; shares
        are of the box and NaN where the scene was not looked at.

    Raises
    ------
    MinsegError
        If `pinned` is not among the items, or the classification of no scene can be read.
    """
    _require_pinned(items, pinned)
    candidates = [_optical_values(item, day_of_year) for item in items]
    by_id = {item.id: item for item in items}
    if pinned is not None:
        for row in candidates:
            row["reason"] = "" if row["item"] == pinned else f"{pinned} is pinned"
    else:
        _leave_out_older(candidates, items)
        _leave_out_beside(candidates, items, grid, rules)
        _leave_out_cloudy(candidates, rules)
    failures = _look_at(candidates, by_id, grid, provider)
    if pinned is not None:
        for row in candidates:  # taken whether it could be judged or not
            row["reason"] = row["reason"] if row["item"] != pinned else ""
    elif failures and all(row["reason"] for row in candidates):
        raise MinsegError(failures[0])
    else:
        _leave_out_bad(candidates, rules)
    own = f"EPSG:{grid.crs.to_epsg()}" if grid.crs else ""
    ranked = sorted(candidates, key=lambda row: _optical_rank(row, own, tile, rules))
    return _choice(ranked, by_id, "pinned" if pinned else "best by what the box shows")


def choose_radar(
    items: Sequence["pystac.Item"],
    grid: Grid,
    provider: Provider,
    *,
    date: datetime.date,
    relative_orbit: int | None = None,
    pinned: str | None = None,
    rules: ChoiceRules = RULES,
) -> Choice:
    """Choose the Sentinel-1 scene nearest in time to the optical one.

    Parameters
    ----------
    items : sequence of pystac.Item
    grid : Grid
        The mine's box.
    provider : Provider
    date : datetime.date
        Of the optical scene.
    relative_orbit : int, optional
        Orbit of the mine's other years: no other is taken, since another looks from another side.
    pinned : str, optional
        Id of the item to take.
    rules : ChoiceRules

    Returns
    -------
    Choice
        `table` has the columns item, date, relative_orbit, orbit_state, coverage, days_apart,
        chosen, reason; coverage is of the box by the scene's footprint.

    Raises
    ------
    MinsegError
        If `pinned` is not among the items.
    """
    _require_pinned(items, pinned)
    assets = collection_of(provider, "radar").assets
    candidates = []
    for item in items:
        row = _radar_values(item, grid, date)
        lacking = [channel for channel, key in assets.items() if key not in item.assets]
        if pinned is not None:
            row["reason"] = "" if item.id == pinned else f"{pinned} is pinned"
        elif lacking:
            row["reason"] = f"has no {' and no '.join(lacking)}"
        elif relative_orbit is not None and row["relative_orbit"] != relative_orbit:
            row["reason"] = f"the mine's other years are from relative orbit {relative_orbit}"
        elif row["coverage"] < rules.least_coverage:
            row["reason"] = f"covers {row['coverage']:.0%} of the box"
        elif row["days_apart"] > rules.largest_days_apart:
            row["reason"] = f"{row['days_apart']} days from the optical scene"
        candidates.append(row)
    ranked = sorted(
        candidates,
        key=lambda row: (
            row["reason"] != "",
            row["coverage"] < 0.999,
            row["days_apart"],
            row["item"],
        ),
    )
    by_id = {item.id: item for item in items}
    return _choice(ranked, by_id, "pinned" if pinned else "nearest in time to the optical scene")


def days_between(day: int, other: int) -> int:
    """Return how far two days of a year are apart, over the turn of the year if that is nearer."""
    apart = abs(day - other) % 365
    return min(apart, 365 - apart)


def _require_pinned(items: Sequence["pystac.Item"], pinned: str | None) -> None:
    """Refuse a pinned item that is not there."""
    if pinned is not None and pinned not in {item.id for item in items}:
        raise MinsegError(
            f"{pinned}: is pinned and not among the {len(items)} items found; check the id, the "
            "year, and whether it is of this provider"
        )


def _optical_values(item: "pystac.Item", day_of_year: int | None) -> dict:
    """Return what an optical item tells of itself."""
    date = date_of(item)
    off = 0 if day_of_year is None else days_between(date.timetuple().tm_yday, day_of_year)
    cloud = item.properties.get("eo:cloud_cover")
    return {
        "item": item.id,
        "date": date,
        "tile": tile_of(item),
        "projection": projection_of(item),
        "baseline": processing_baseline(item),
        "tile_cloud_percent": math.nan if cloud is None else float(cloud),
        "coverage": math.nan,
        "cloud_share": math.nan,
        "shadow_share": math.nan,
        "snow_share": math.nan,
        "bad_share": math.nan,
        "days_off": off,
        "reason": "",
    }


def _radar_values(item: "pystac.Item", grid: Grid, date: datetime.date) -> dict:
    """Return what a radar item tells of itself."""
    return {
        "item": item.id,
        "date": date_of(item),
        "relative_orbit": relative_orbit_of(item),
        "orbit_state": item.properties.get("sat:orbit_state", ""),
        "coverage": footprint_share(item, grid),
        "days_apart": abs((date_of(item) - date).days),
        "reason": "",
    }


def _leave_out_older(candidates: list[dict], items: Sequence["pystac.Item"]) -> None:
    """Give copies of a datatake that are of an older baseline their reason."""
    newest: dict[tuple[str, str], dict] = {}
    for row, item in zip(candidates, items, strict=True):
        there = newest.setdefault(datatake_of(item), row)
        if (row["baseline"] or 0.0) > (there["baseline"] or 0.0):
            newest[datatake_of(item)] = row
    for row, item in zip(candidates, items, strict=True):
        newer = newest[datatake_of(item)]
        if (row["baseline"] or 0.0) < (newer["baseline"] or 0.0):
            row["reason"] = f"processed again as {newer['item']}"


def _leave_out_beside(
    candidates: list[dict], items: Sequence["pystac.Item"], grid: Grid, rules: ChoiceRules
) -> None:
    """Give scenes whose footprint lies beside the box, or mostly so, their reason."""
    for row, item in zip(candidates, items, strict=True):
        if row["reason"] or item.geometry is None:
            continue
        share = footprint_share(item, grid)
        if share < rules.least_footprint:
            row["reason"] = f"its footprint covers {share:.0%} of the box"


def _leave_out_cloudy(candidates: list[dict], rules: ChoiceRules) -> None:
    """Give reasons to what is not looked at, by the cloud over the whole tile."""
    for row in candidates:
        cloud = row["tile_cloud_percent"]
        if not row["reason"] and cloud > rules.largest_tile_cloud_percent:
            row["reason"] = f"{cloud:.0f} % of the tile under cloud"
    left = sorted(
        (row for row in candidates if not row["reason"]),
        key=lambda row: (
            np.nan_to_num(row["tile_cloud_percent"]) // rules.tile_cloud_step_percent,
            row["days_off"],
            np.nan_to_num(row["tile_cloud_percent"]),
            row["item"],
        ),
    )
    for row in left[rules.most_looked_at :]:
        row["reason"] = f"not looked at: {rules.most_looked_at} have less cloud over the tile"


def _look_at(
    candidates: list[dict], by_id: dict[str, "pystac.Item"], grid: Grid, provider: Provider
) -> list[str]:
    """Read the classification of each scene left; return what could not be read."""
    failures = []
    for row in candidates:
        if row["reason"]:
            continue
        try:
            classes = read_scene_classes(by_id[row["item"]], provider, grid)
        except MinsegError as error:
            failures.append(str(error))
            row["reason"] = f"cannot be judged: {error}"
            continue
        row["coverage"] = 1 - _share(classes, NO_DATA)
        row["cloud_share"] = _share(classes, CLOUD)
        row["shadow_share"] = _share(classes, SHADOW)
        row["snow_share"] = _share(classes, SNOW)
        row["bad_share"] = _share(classes, BAD)
    return failures


def _share(classes: np.ndarray, wanted: tuple[int, ...]) -> float:
    """Return the share of pixels of some classes."""
    return float(np.isin(classes, wanted).mean())


def _leave_out_bad(candidates: list[dict], rules: ChoiceRules) -> None:
    """Give reasons to scenes that show too little of the box."""
    for row in candidates:
        if row["reason"]:
            continue
        if row["coverage"] < rules.least_coverage:
            row["reason"] = f"covers {row['coverage']:.0%} of the box"
        elif row["bad_share"] > rules.largest_bad_share:
            row["reason"] = (
                f"{row['bad_share']:.0%} of the box hidden (cloud {row['cloud_share']:.0%}, "
                f"shadow {row['shadow_share']:.0%}, snow {row['snow_share']:.0%})"
            )


def _optical_rank(row: dict, own: str, tile: str, rules: ChoiceRules) -> tuple:
    """Return what optical scenes are sorted by, best first."""
    bad = row["bad_share"]
    return (
        row["reason"] != "",
        not row["coverage"] >= 0.999,
        math.inf if math.isnan(bad) else math.floor(bad / rules.bad_share_step),
        row["days_off"],
        row["projection"] != own,
        row["tile"] != tile,
        -(row["baseline"] or 0.0),
        math.inf if math.isnan(bad) else bad,
        row["item"],
    )


def _choice(ranked: list[dict], by_id: dict[str, "pystac.Item"], why: str) -> Choice:
    """Take the first candidate without a reason against it; give the others theirs."""
    chosen = ranked[0]["item"] if ranked and not ranked[0]["reason"] else None
    table = pd.DataFrame(ranked)
    if table.empty:
        return Choice(None, pd.DataFrame(columns=["item", "date", "chosen", "reason"]))
    table.insert(len(table.columns) - 1, "chosen", table["item"] == chosen)
    table["reason"] = [
        why if row["item"] == chosen else row["reason"] or f"{chosen} ranks before it"
        for row in ranked
    ]
    return Choice(by_id[chosen] if chosen is not None else None, table)
