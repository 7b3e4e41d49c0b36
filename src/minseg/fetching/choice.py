"""Which of a catalogue's scenes to take: judged inside the mine's own box, reasons kept."""

import datetime
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandera.pandas as pa

from minseg.atomic import write_text
from minseg.data.mines import read_table
from minseg.data.raster import Grid
from minseg.errors import MinsegError, summarise
from minseg.fetching.catalogue import (
    Found,
    Kind,
    UnfitItemError,
    collection_of,
    datatake_of,
    date_of,
    find,
    footprint_share,
    processing_baseline,
    projection_of,
    relative_orbit_of,
    require_answer,
    search,
    tile_of,
)
from minseg.fetching.pixels import read_scene_classes
from minseg.fetching.plan import MinePlan
from minseg.fetching.providers import Provider

if TYPE_CHECKING:
    import pystac

SHARES = {
    "cloud_share": (8, 9, 10),
    "shadow_share": (3,),
    "snow_share": (11,),
    "bad_share": (0, 1, 3, 8, 9, 10, 11),
}
"""Classes of Sen2Cor that each share of the box counts; bad is what hides the ground. Snow is one:
under it the paper's Cerovo failed. Some bright mine surfaces are called cloud; scenes are therefore
ranked, and any can be pinned."""

# Cloud over the whole tile (eo:cloud_cover) above which a scene is not looked at; those in one step
# of it are looked at by day of year, and so many at most, least cloud first.
LARGEST_TILE_CLOUD_PERCENT, TILE_CLOUD_STEP_PERCENT, MOST_LOOKED_AT = 60.0, 10.0, 16

# Share of the box under a scene's footprint below which it is not looked at, and that counts as all
# of it: footprints are drawn coarsely, but not so coarsely that less could show `LEAST_COVERAGE`.
LEAST_FOOTPRINT, WHOLE_SHARE = 0.5, 0.999

LEAST_COVERAGE = 0.9
"""Share of the box with pixels below which a scene is not taken."""

# Share of the box that is bad above which no scene is taken; those in one step of it are ranked by
# day of year.
LARGEST_BAD_SHARE, BAD_SHARE_STEP = 0.4, 0.02

LARGEST_DAYS_APART = 30  # between optical and radar scene


@dataclass(frozen=True)
class Choice:
    """The scene taken and all that were there."""

    item: "pystac.Item | None"
    """The scene; None where none is usable."""
    candidates: list[dict[str, Any]]
    """Best first: `item`, its values, `chosen` and `reason`; None where a value is not known."""
    beside: tuple["pystac.Item", ...] = ()
    """Tiles of the same overpass that show what `item` lacks of the box, in this order."""


def choose_optical(
    items: Sequence["pystac.Item"],
    grid: Grid,
    provider: Provider,
    *,
    day_of_year: int | None = None,
    tile: str = "",
) -> Choice:
    """Choose the Sentinel-2 scene that shows most of a mine's box.

    In this order: fully covered, least share of bad pixels, nearest to `day_of_year`, in the box's
    own projection (so that no pixel moves), of `tile`, newest processing baseline. Of scenes of one
    datatake and tile only those of the newest baseline compete; two of the same show different
    ground, on either side of a border between datastrips. Where no tile of an overpass shows the
    whole box, its tiles are put together, one of the box's own projection first.

    `day_of_year` and `tile` are those of the mine's other years. Shares of the candidates are of
    the box, and not known where a scene was not looked at.
    """
    own = f"EPSG:{grid.crs.to_epsg()}" if grid.crs else ""
    candidates = [_optical_values(item, day_of_year) for item in items]
    by_id = {item.id: item for item in items}
    _leave_out_older(candidates, items)
    beside = _put_together(candidates, items, grid, own)
    _leave_out_cloudy(candidates)
    failures = []
    for row in candidates:
        if row["reason"]:
            continue
        try:
            name = row["item"]
            beside[name] = _look_at(row, by_id[name], beside.get(name, []), grid, provider)
        except MinsegError as error:
            failures.append(str(error))
            row["reason"] = f"cannot be judged: {error}"
    if failures and all(row["reason"] for row in candidates):
        raise MinsegError(failures[0])
    for row in candidates:
        row["reason"] = row["reason"] or _fault(row)
    candidates.sort(key=lambda row: _optical_rank(row, own, tile))
    return _choice(candidates, by_id, "best by what the box shows", beside)


def take_optical(
    item: "pystac.Item", grid: Grid, provider: Provider, day_of_year: int | None = None
) -> Choice:
    """Take a pinned Sentinel-2 scene alone, whatever it shows and whether it can be judged."""
    row = _optical_values(item, day_of_year)
    with suppress(MinsegError):
        _look_at(row, item, (), grid, provider)
    return _choice([row], {item.id: item}, "pinned")


def choose_radar(
    items: Sequence["pystac.Item"],
    grid: Grid,
    provider: Provider,
    *,
    date: datetime.date,
    relative_orbit: int | None = None,
    pinned: str | None = None,
) -> Choice:
    """Choose the Sentinel-1 scene nearest in time to the optical one, taken on `date`.

    Only scenes of `relative_orbit`, that of the mine's other years, are taken where it is given,
    since another looks from another side; a `pinned` one of them is taken whatever it shows.
    """
    assets = collection_of(provider, "radar").assets
    candidates = []
    for item in items:
        row = {
            "item": item.id,
            "date": date_of(item).isoformat(),
            "relative_orbit": relative_orbit_of(item),
            "orbit_state": item.properties.get("sat:orbit_state", ""),
            "coverage": footprint_share(item, grid),
            "days_apart": abs((date_of(item) - date).days),
            "reason": "",
        }
        lacking = [channel for channel, key in assets.items() if key not in item.assets]
        if pinned is not None:
            row["reason"] = "" if item.id == pinned else f"{pinned} is pinned"
        elif lacking:
            row["reason"] = f"has no {' and no '.join(lacking)}"
        elif relative_orbit is not None and row["relative_orbit"] != relative_orbit:
            row["reason"] = f"the mine's other years are from relative orbit {relative_orbit}"
        elif row["coverage"] < LEAST_COVERAGE:
            row["reason"] = f"covers {row['coverage']:.0%} of the box"
        elif row["days_apart"] > LARGEST_DAYS_APART:
            row["reason"] = f"{row['days_apart']} days from the optical scene"
        candidates.append(row)

    def rank(row: dict) -> tuple:
        return row["reason"] != "", row["coverage"] < WHOLE_SHARE, row["days_apart"], row["item"]

    why = "pinned" if pinned else "nearest in time to the optical scene"
    return _choice(sorted(candidates, key=rank), {item.id: item for item in items}, why)


def _optical_values(item: "pystac.Item", day_of_year: int | None) -> dict:
    """Return what an optical item tells of itself."""
    date = date_of(item)
    day = date.timetuple().tm_yday
    off = abs(day - (day_of_year or day)) % 365
    cloud = item.properties.get("eo:cloud_cover")
    return {
        "item": item.id,
        "date": date.isoformat(),
        "tile": tile_of(item),
        "projection": projection_of(item),
        "baseline": processing_baseline(item),
        "tile_cloud_percent": math.nan if cloud is None else float(cloud),
        **dict.fromkeys(("coverage", *SHARES), math.nan),
        "days_off": min(off, 365 - off),  # over the turn of the year if that is nearer
        "reason": "",
    }


def _leave_out_older(candidates: list[dict], items: Sequence["pystac.Item"]) -> None:
    """Give copies of a datatake that are of an older baseline their reason."""
    copies: dict[tuple[str, str], list[dict]] = {}
    for row, item in zip(candidates, items, strict=True):
        copies.setdefault(datatake_of(item), []).append(row)
    for rows in copies.values():
        newest = max(rows, key=lambda row: row["baseline"] or 0.0)
        for row in rows:
            if (row["baseline"] or 0.0) < (newest["baseline"] or 0.0):
                row["reason"] = f"processed again as {newest['item']}"


def _put_together(
    candidates: list[dict], items: Sequence["pystac.Item"], grid: Grid, own: str
) -> dict[str, list["pystac.Item"]]:
    """Put tiles of an overpass together where none shows the box; leave out what lies beside it."""
    overpasses: dict[str, list[tuple[float, dict, pystac.Item]]] = {}
    for row, item in zip(candidates, items, strict=True):
        if row["reason"]:
            continue
        share = 1.0 if item.geometry is None else footprint_share(item, grid)
        overpasses.setdefault(datatake_of(item)[0], []).append((share, row, item))
    beside: dict[str, list[pystac.Item]] = {}
    for tiles in overpasses.values():
        # One that shows next to nothing may have no pixel there at all, and leads nothing.
        tiles.sort(key=lambda t: (t[0] < 0.05, t[1]["projection"] != own, -t[0], t[1]["item"]))
        _, first, _ = tiles[0]
        others = [tile for tile in tiles if tile[0] > 0 and tile[1]["tile"] != first["tile"]]
        if max(share for share, _, _ in tiles) >= WHOLE_SHARE:
            others = []
        beside[first["item"]] = [item for _, _, item in others]
        together = sum(share for share, _, _ in others)
        for share, row, _ in tiles:
            shown = min(1.0, share + together) if row is first else share
            if any(row is other for _, other, _ in others):
                row["reason"] = f"put together with {first['item']}"
            elif shown < LEAST_FOOTPRINT:
                row["reason"] = f"its footprint covers {shown:.0%} of the box"
    return beside


def _leave_out_cloudy(candidates: list[dict]) -> None:
    """Give reasons to what is not looked at, by the cloud over the whole tile."""
    for row in candidates:
        cloud = row["tile_cloud_percent"]
        if not row["reason"] and cloud > LARGEST_TILE_CLOUD_PERCENT:
            row["reason"] = f"{cloud:.0f} % of the tile under cloud"

    def rank(row: dict) -> tuple:
        cloud = np.nan_to_num(row["tile_cloud_percent"])
        return cloud // TILE_CLOUD_STEP_PERCENT, row["days_off"], cloud, row["item"]

    left = sorted((row for row in candidates if not row["reason"]), key=rank)
    for row in left[MOST_LOOKED_AT:]:
        row["reason"] = f"not looked at: {MOST_LOOKED_AT} have less cloud over the tile"


def _look_at(
    row: dict, item: "pystac.Item", beside: Iterable["pystac.Item"], grid: Grid, provider: Provider
) -> list["pystac.Item"]:
    """Judge a scene by its classification; return the tiles beside it that show what it lacks."""
    classes, needed = read_scene_classes(item, provider, grid), []
    for other in beside:
        missing = classes == 0
        if not missing.any():
            break
        found = read_scene_classes(other, provider, grid)[missing]
        if found.any():
            classes[missing] = found
            needed.append(other)
    row["coverage"] = 1 - float((classes == 0).mean())
    row |= {name: float(np.isin(classes, wanted).mean()) for name, wanted in SHARES.items()}
    return needed


def _fault(row: dict) -> str:
    """Tell why a scene shows too little of the box; empty where it does not."""
    if row["coverage"] < LEAST_COVERAGE:
        return f"covers {row['coverage']:.0%} of the box"
    if row["bad_share"] <= LARGEST_BAD_SHARE:
        return ""
    return (
        f"{row['bad_share']:.0%} of the box hidden (cloud {row['cloud_share']:.0%}, "
        f"shadow {row['shadow_share']:.0%}, snow {row['snow_share']:.0%})"
    )


def _optical_rank(row: dict, own: str, tile: str) -> tuple:
    """Return what optical scenes are sorted by, best first."""
    bad = row["bad_share"]
    return (
        row["reason"] != "",
        not row["coverage"] >= WHOLE_SHARE,
        math.inf if math.isnan(bad) else math.floor(bad / BAD_SHARE_STEP),
        row["days_off"],
        row["projection"] != own,
        row["tile"] != tile,
        -(row["baseline"] or 0.0),
        math.inf if math.isnan(bad) else bad,
        row["item"],
    )


def _choice(
    ranked: list[dict],
    by_id: dict[str, "pystac.Item"],
    why: str,
    beside: Mapping[str, Sequence["pystac.Item"]] | None = None,
) -> Choice:
    """Take the first candidate without a reason against it; give the others theirs."""
    chosen = ranked[0]["item"] if ranked and not ranked[0]["reason"] else None
    candidates = []
    for row in ranked:
        reason = row.pop("reason") or f"{chosen} ranks before it"
        taken = row["item"] == chosen
        plain = {name: _plain(value) for name, value in row.items()}
        candidates.append(plain | {"chosen": taken, "reason": why if taken else reason})
    if chosen is None:
        return Choice(None, candidates)
    return Choice(by_id[chosen], candidates, tuple((beside or {}).get(chosen, ())))


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a value, not longer than it need be."""
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, 10)


Pins = Mapping[tuple[str, int, Kind], str]
"""Mine, year and kind to the id of the item to take, whatever the rules say."""

LEFT_OUT = "left out: "  # begins the reason of an item that cannot be used


def parse_pins(texts: Iterable[str]) -> dict[tuple[str, int, Kind], str]:
    """Read ``MINE:YEAR=ITEM`` (Sentinel-2) and ``MINE:YEAR:radar=ITEM``."""
    pins: dict[tuple[str, int, Kind], str] = {}
    for text in texts:
        told = re.fullmatch(r"\s*([^:=]+):([0-9]+)(:optical|:radar)?\s*=\s*(\S.*?)\s*", text)
        if told is None:
            raise MinsegError(f"--pin {text!r}: write MINE:YEAR=ITEM or MINE:YEAR:radar=ITEM")
        mine, year, kind, item = told[1], int(told[2]), told[3], told[4]
        key: tuple[str, int, Kind] = (mine, year, "radar" if kind == ":radar" else "optical")
        if key in pins:
            raise MinsegError(f"--pin {text!r}: {mine} {year} has another {key[2]} pin; give one")
        pins[key] = item
    return pins


PIN_TABLE = pa.DataFrameSchema(
    {
        "mine": pa.Column(str, pa.Check.str_length(min_value=1)),
        "year": pa.Column(int),
        "item": pa.Column(str, pa.Check.str_length(min_value=1)),
        "kind": pa.Column(str, pa.Check.isin(["optical", "radar"]), required=False),
    },
    coerce=True,
)
"""Columns of a table of pins; `kind` may be left out, and is optical then."""


def read_pins(path: Path) -> dict[tuple[str, int, Kind], str]:
    """Read a table of pins (CSV): mine, year, item, and kind if some are of radar scenes."""
    table, problems = read_table(Path(path), PIN_TABLE)
    if problems:
        raise MinsegError(summarise(problems))
    pins: dict[tuple[str, int, Kind], str] = {}
    for row in table.to_dict("records"):
        key = row["mine"], row["year"], row.get("kind", "optical")
        if key in pins:
            raise MinsegError(f"{path}: {' '.join(map(str, key))} is pinned twice; keep one row")
        pins[key] = row["item"]
    return pins


@dataclass(frozen=True)
class YearChoice:
    """What was taken for one year of a mine."""

    optical: "pystac.Item | None" = None
    radar: "pystac.Item | None" = None
    candidates: tuple[dict[str, Any], ...] = ()
    """Every item that was there, with kind, values, chosen and reason."""
    beside: tuple["pystac.Item", ...] = ()
    """Tiles that show what `optical` lacks of the box."""
    failure: str = ""
    """Why the year could not be chosen as it should be; not kept, for it is tried again."""
    unfit_pin: bool = False
    """Whether the failure is that of a pinned item alone."""

    def is_settled(self, mine: str, year: int, pins: Pins) -> bool:
        """Whether there is a scene, nothing went wrong, and no other is pinned."""
        taken: dict[Kind, pystac.Item | None] = {"optical": self.optical, "radar": self.radar}
        alone = not self.beside or (mine, year, "optical") not in pins  # as a pinned item is taken
        if self.optical is None or self.failure or not alone:
            return False
        return all(
            pins.get((mine, year, kind)) in (None, item.id if item else "")
            for kind, item in taken.items()
        )


def choose_mine(
    plan: MinePlan, provider: Provider, pins: Pins, earlier: Mapping[int, YearChoice]
) -> dict[int, YearChoice]:
    """Choose the scenes of a mine's years, alike in season, tile and radar orbit.

    What was chosen `earlier` stays where it is settled. A year that fails keeps what it had before;
    where every year fails for more than an unfit pin, or the catalogue does not answer, it is an
    error.
    """
    chosen = {
        y: c for y, c in earlier.items() if y in plan.years and c.is_settled(plan.mine, y, pins)
    }
    wanted = _Wanted(plan, provider, pins, earlier)
    open_years = [year for year in sorted(plan.years) if year not in chosen]
    if not open_years:
        return chosen
    require_answer(provider)
    for year in open_years:
        like = next((choice.optical for choice in chosen.values() if choice.optical), None)
        try:
            chosen[year] = wanted.optical(year, like)
        except MinsegError as error:
            chosen[year] = wanted.failed(year, error)
    if provider.radar is not None:
        wanted.add_radar(chosen, open_years)
    unserved = [c.failure for c in chosen.values() if c.failure and not (c.optical or c.unfit_pin)]
    if unserved and len(unserved) == len(chosen):
        raise MinsegError(summarise(list(dict.fromkeys(unserved))))
    return dict(sorted(chosen.items()))


@dataclass(frozen=True)
class _Wanted:
    """What scenes are looked for, and where."""

    plan: MinePlan
    provider: Provider
    pins: Pins
    earlier: Mapping[int, YearChoice]

    def optical(self, year: int, like: "pystac.Item | None") -> YearChoice:
        """Choose the optical scene of a year, like that of another year."""
        grid, provider = self.plan.grid, self.provider
        day_of_year = date_of(like).timetuple().tm_yday if like else None
        pinned = self.pins.get((self.plan.mine, year, "optical"))
        before = self.earlier.get(year, YearChoice())
        rows_before = tuple(row for row in before.candidates if row["kind"] == "optical")
        if pinned is not None:  # a year's items are megabytes that a pin makes needless
            item = self._pinned("optical", pinned, year)
            choice = take_optical(item, grid, provider, day_of_year)
            rows = self._rows(choice, {}, year, "optical") + tuple(
                row | {"chosen": False, "reason": f"{pinned} is pinned"}
                for row in rows_before
                if row["item"] != pinned
            )
        elif before.optical is not None:  # another radar scene alone is pinned
            return YearChoice(before.optical, None, rows_before, before.beside)
        else:
            whole_year = datetime.date(year, 1, 1), datetime.date(year, 12, 31)
            found = search(provider, "optical", grid.bounds_lonlat, *whole_year)
            tile = tile_of(like) if like else ""
            choice = choose_optical(found.items, grid, provider, day_of_year=day_of_year, tile=tile)
            rows = self._rows(choice, found.left_out, year, "optical")
        return YearChoice(choice.item, None, rows, choice.beside)

    def _pinned(self, kind: Kind, pinned: str, year: int) -> "pystac.Item":
        """Find a pinned item; refuse one that would show another year than its name says."""
        item = find(self.provider, kind, pinned)
        if date_of(item).year != year:
            raise UnfitItemError(
                f"{pinned}: is pinned for {year} and was taken on {date_of(item)}; pin an item of "
                f"{year}"
            )
        return item

    def add_radar(self, chosen: dict[int, YearChoice], open_years: Sequence[int]) -> None:
        """Add the nearest radar scene of one relative orbit to the years that have none yet."""
        around = datetime.timedelta(days=LARGEST_DAYS_APART)
        found: dict[int, tuple[datetime.date, Found]] = {}
        for year in open_years:
            optical, pinned = chosen[year].optical, self.pins.get((self.plan.mine, year, "radar"))
            if optical is None or chosen[year].failure:
                continue
            date = date_of(optical)
            days = date - around, date + around
            try:
                there = search(self.provider, "radar", self.plan.grid.bounds_lonlat, *days)
                if pinned is not None and pinned not in {item.id for item in there.items}:
                    there.items.append(self._pinned("radar", pinned, year))
                found[year] = date, there
            except MinsegError as error:
                chosen[year] = self.failed(year, error)
        orbits = [relative_orbit_of(c.radar) for c in chosen.values() if c.radar is not None]
        nearest = partial(choose_radar, grid=self.plan.grid, provider=self.provider)
        orbit = orbits[0] if orbits else _steadiest_orbit(list(found.values()), nearest)
        for year, (date, there) in found.items():
            pinned = self.pins.get((self.plan.mine, year, "radar"))
            choice = nearest(there.items, date=date, relative_orbit=orbit, pinned=pinned)
            rows = self._rows(choice, there.left_out, year, "radar")
            rows = chosen[year].candidates + rows
            chosen[year] = replace(chosen[year], radar=choice.item, candidates=rows)

    def failed(self, year: int, error: MinsegError) -> YearChoice:
        """Keep what a year had before, and why it has nothing new."""
        before, unfit = self.earlier.get(year, YearChoice()), isinstance(error, UnfitItemError)
        return replace(before, failure=str(error), unfit_pin=unfit)

    def _rows(
        self, choice: Choice, left_out: Mapping[str, str], year: int, kind: Kind
    ) -> tuple[dict[str, Any], ...]:
        """List the candidates, and what cannot be one."""
        unusable = [
            {"item": item, "date": "", "chosen": False, "reason": LEFT_OUT + fault}
            for item, fault in left_out.items()
        ]
        place = {"mine": self.plan.mine, "year": year, "kind": kind}
        return tuple(place | row for row in choice.candidates + unusable)


def _steadiest_orbit(
    years: Sequence[tuple[datetime.date, Found]], nearest: Callable[..., Choice]
) -> int | None:
    """Return the relative orbit that serves most years, of those the nearest in time."""
    orbits = {relative_orbit_of(item) for _, there in years for item in there.items}

    def rank(orbit: int) -> tuple[int, int, int]:
        choices = [nearest(there.items, date=day, relative_orbit=orbit) for day, there in years]
        days = [choice.candidates[0]["days_apart"] for choice in choices if choice.item]
        return -len(days), sum(days), orbit

    return min((orbit for orbit in orbits if orbit is not None), key=rank, default=None)


def write_choices(path: Path, choices: Mapping[int, YearChoice]) -> None:
    """Keep what was chosen, with the whole STAC items, so that it stays as catalogues grow."""
    years = {}
    for year, choice in choices.items():
        # As dictionaries without asking the network for their links.
        items = [i and i.to_dict(transform_hrefs=False) for i in (choice.optical, choice.radar)]
        beside = [item.to_dict(transform_hrefs=False) for item in choice.beside]
        years[str(year)] = {
            "optical": items[0],
            "radar": items[1],
            "candidates": list(choice.candidates),
        } | ({"beside": beside} if beside else {})
    write_text(path, json.dumps(years, indent=1, ensure_ascii=False) + "\n")


def read_choices(path: Path) -> dict[int, YearChoice]:
    """Read what was chosen before; nothing if the file is not there."""
    from pystac import Item

    if not path.is_file():
        return {}
    try:
        years = json.loads(path.read_text(encoding="utf-8"))
        return {
            int(year): YearChoice(
                choice["optical"] and Item.from_dict(choice["optical"]),
                choice["radar"] and Item.from_dict(choice["radar"]),
                tuple(choice["candidates"]),
                tuple(Item.from_dict(item) for item in choice.get("beside", [])),
            )
            for year, choice in years.items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise MinsegError(
            f"{path}: is damaged ({error}); remove this file, and its scenes are chosen anew"
        ) from None
