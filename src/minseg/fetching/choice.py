"""Which of a catalogue's scenes to take: judged inside the mine's own box, reasons kept."""

import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from minseg.atomic import write_text
from minseg.data.mines import read_table
from minseg.data.raster import Grid
from minseg.errors import MinsegError, summarise
from minseg.fetching.catalogue import (
    Found,
    Kind,
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

WHOLE_SHARE = 0.999
"""Share of a box that counts as all of it: footprints are drawn coarsely."""


@dataclass(frozen=True)
class Choice:
    """The scene taken and the table of all that were there."""

    item: "pystac.Item | None"
    """The scene; None where none is usable."""
    table: pd.DataFrame
    """A row for each candidate, best first: `item`, its values, `chosen` and `reason`."""
    beside: tuple["pystac.Item", ...] = ()
    """Tiles of the same overpass that show what `item` lacks of the box, in this order."""


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
    ground, on either side of a border between datastrips. Where no tile of an overpass shows the
    whole box, its tiles are put together, one of the box's own projection first.

    `day_of_year` and `tile` are those of the mine's other years; a `pinned` item is taken alone,
    whatever it shows. `table` has the columns item, date, tile, projection, baseline,
    tile_cloud_percent, coverage, cloud_share, shadow_share, snow_share, bad_share, days_off,
    chosen, reason; shares are of the box and NaN where the scene was not looked at.
    """
    _require_pinned(items, pinned)
    own = f"EPSG:{grid.crs.to_epsg()}" if grid.crs else ""
    candidates = [_optical_values(item, day_of_year) for item in items]
    by_id = {item.id: item for item in items}
    beside: dict[str, list[pystac.Item]] = {}
    if pinned is not None:
        for row in candidates:
            row["reason"] = "" if row["item"] == pinned else f"{pinned} is pinned"
    else:
        _leave_out_older(candidates, items)
        beside = _put_together(candidates, items, grid, own, rules)
        _leave_out_cloudy(candidates, rules)
    failures = []
    for row in candidates:
        if row["reason"]:
            continue
        try:
            name = row["item"]
            beside[name] = _look_at(row, by_id[name], beside.get(name, []), grid, provider)
        except MinsegError as error:
            failures.append(str(error))
            row["reason"] = f"cannot be judged: {error}" if pinned is None else ""
    if pinned is None:  # else it is taken whether it could be judged or not
        if failures and all(row["reason"] for row in candidates):
            raise MinsegError(failures[0])
        _leave_out_bad(candidates, rules)
    candidates.sort(key=lambda row: _optical_rank(row, own, tile, rules))
    choice = _choice(candidates, by_id, "pinned" if pinned else "best by what the box shows")
    if choice.item is None:
        return choice
    return replace(choice, beside=tuple(beside.get(choice.item.id, ())))


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
    """Choose the Sentinel-1 scene nearest in time to the optical one, taken on `date`.

    Only scenes of `relative_orbit`, that of the mine's other years, are taken where it is given,
    since another looks from another side. `table` has the columns item, date, relative_orbit,
    orbit_state, coverage, days_apart, chosen, reason; coverage is of the box by the footprint.
    """
    _require_pinned(items, pinned)
    assets = collection_of(provider, "radar").assets
    candidates = []
    for item in items:
        row = {
            "item": item.id,
            "date": date_of(item),
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
        elif row["coverage"] < rules.least_coverage:
            row["reason"] = f"covers {row['coverage']:.0%} of the box"
        elif row["days_apart"] > rules.largest_days_apart:
            row["reason"] = f"{row['days_apart']} days from the optical scene"
        candidates.append(row)
    candidates.sort(
        key=lambda row: (
            row["reason"] != "",
            row["coverage"] < WHOLE_SHARE,
            row["days_apart"],
            row["item"],
        )
    )
    by_id = {item.id: item for item in items}
    why = "pinned" if pinned else "nearest in time to the optical scene"
    return _choice(candidates, by_id, why)


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


def _leave_out_older(candidates: list[dict], items: Sequence["pystac.Item"]) -> None:
    """Give copies of a datatake that are of an older baseline their reason."""
    newest: dict[tuple[str, str], dict] = {}
    datatakes = [datatake_of(item) for item in items]
    for row, datatake in zip(candidates, datatakes, strict=True):
        there = newest.setdefault(datatake, row)
        if (row["baseline"] or 0.0) > (there["baseline"] or 0.0):
            newest[datatake] = row
    for row, datatake in zip(candidates, datatakes, strict=True):
        newer = newest[datatake]
        if (row["baseline"] or 0.0) < (newer["baseline"] or 0.0):
            row["reason"] = f"processed again as {newer['item']}"


def _put_together(
    candidates: list[dict],
    items: Sequence["pystac.Item"],
    grid: Grid,
    own: str,
    rules: ChoiceRules,
) -> dict[str, list["pystac.Item"]]:
    """Put the tiles of an overpass together where none shows the box, behind the best of them.

    Those behind it, and scenes beside the box or mostly so, are given their reasons.
    """
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
            elif shown < rules.least_footprint:
                row["reason"] = f"its footprint covers {shown:.0%} of the box"
    return beside


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
    row: dict,
    item: "pystac.Item",
    beside: Iterable["pystac.Item"],
    grid: Grid,
    provider: Provider,
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
    row["coverage"] = 1 - _share(classes, NO_DATA)
    row["cloud_share"] = _share(classes, CLOUD)
    row["shadow_share"] = _share(classes, SHADOW)
    row["snow_share"] = _share(classes, SNOW)
    row["bad_share"] = _share(classes, BAD)
    return needed


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
        not row["coverage"] >= WHOLE_SHARE,
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


Pins = Mapping[tuple[str, int, Kind], str]
"""Mine, year and kind to the id of the item to take, whatever the rules say."""

LEFT_OUT = "left out: "
"""How the reason of an item begins that cannot be used, whatever it may show."""


def parse_pins(texts: Iterable[str]) -> dict[tuple[str, int, Kind], str]:
    """Read ``MINE:YEAR=ITEM`` (Sentinel-2) and ``MINE:YEAR:radar=ITEM``."""
    pins: dict[tuple[str, int, Kind], str] = {}
    for text in texts:
        place, _, item = text.partition("=")
        mine, year, kind = [*place.strip().split(":"), "optical", ""][:3]
        if (
            not mine
            or not re.fullmatch("[0-9]+", year)
            or kind not in ("optical", "radar")
            or not item.strip()
        ):
            raise MinsegError(f"--pin {text!r}: write MINE:YEAR=ITEM or MINE:YEAR:radar=ITEM")
        key: tuple[str, int, Kind] = (mine, int(year), "radar" if kind == "radar" else "optical")
        if key in pins:
            raise MinsegError(f"--pin {text!r}: {mine} {year} has another {kind} pin; give one")
        pins[key] = item.strip()
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

    What was chosen `earlier` stays where it is settled and sets season, tile and orbit. A year that
    fails keeps what it had before, and tells why in `failure`; where every year fails, or the
    catalogue does not answer, it is an error.
    """
    require_answer(provider)
    chosen = {
        y: c for y, c in earlier.items() if y in plan.years and c.is_settled(plan.mine, y, pins)
    }
    wanted = _Wanted(plan, provider, pins, earlier)
    open_years = [year for year in sorted(plan.years) if year not in chosen]
    for year in open_years:
        like = next((choice.optical for choice in chosen.values() if choice.optical), None)
        try:
            chosen[year] = wanted.optical(year, like)
        except MinsegError as error:
            chosen[year] = wanted.failed(year, error)
    if provider.radar is not None:
        wanted.add_radar(chosen, open_years)
    if chosen and all(choice.failure and not choice.optical for choice in chosen.values()):
        raise MinsegError(summarise(list(dict.fromkeys(c.failure for c in chosen.values()))))
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
        pinned = self.pins.get((self.plan.mine, year, "optical"))
        if pinned is not None:  # a year's items are megabytes that a pin makes needless
            found = Found([self._pinned("optical", pinned, year)], {})
        else:
            whole_year = datetime.date(year, 1, 1), datetime.date(year, 12, 31)
            found = search(self.provider, "optical", self.plan.grid.bounds_lonlat, *whole_year)
        choice = choose_optical(
            found.items,
            self.plan.grid,
            self.provider,
            day_of_year=date_of(like).timetuple().tm_yday if like else None,
            tile=tile_of(like) if like else "",
            pinned=pinned,
        )
        rows = self._rows(choice.table, found.left_out, year, "optical")
        if pinned is not None and year in self.earlier:  # keep what was known of the others
            rows += tuple(
                row | {"chosen": False, "reason": f"{pinned} is pinned"}
                for row in self.earlier[year].candidates
                if row["kind"] == "optical" and row["item"] != pinned
            )
        return YearChoice(choice.item, None, rows, choice.beside)

    def _pinned(self, kind: Kind, pinned: str, year: int) -> "pystac.Item":
        """Find a pinned item; refuse one that would show another year than its name says."""
        item = find(self.provider, kind, pinned)
        if date_of(item).year != year:
            raise MinsegError(
                f"{pinned}: is pinned for {year} and was taken on {date_of(item)}; pin an item of "
                f"{year}"
            )
        return item

    def failed(self, year: int, error: MinsegError) -> YearChoice:
        """Leave a year as it was before, and tell what went wrong."""
        return replace(self.earlier.get(year, YearChoice()), failure=str(error))

    def add_radar(self, chosen: dict[int, YearChoice], open_years: Sequence[int]) -> None:
        """Add the nearest radar scene of one relative orbit to the years that have none yet."""
        around = datetime.timedelta(days=RULES.largest_days_apart)
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
        orbit = orbits[0] if orbits else self._steadiest_orbit(list(found.values()))
        for year, (date, there) in found.items():
            choice = choose_radar(
                there.items,
                self.plan.grid,
                self.provider,
                date=date,
                relative_orbit=orbit,
                pinned=self.pins.get((self.plan.mine, year, "radar")),
            )
            rows = chosen[year].candidates
            rows += self._rows(choice.table, there.left_out, year, "radar")
            chosen[year] = replace(chosen[year], radar=choice.item, candidates=rows)

    def _steadiest_orbit(self, years: Sequence[tuple[datetime.date, Found]]) -> int | None:
        """Return the relative orbit that serves most years, of those the nearest in time."""
        orbits = {relative_orbit_of(item) for _, there in years for item in there.items} - {None}

        def rank(orbit: int) -> tuple[int, int, int]:
            served = []
            for date, there in years:
                item = choose_radar(
                    there.items, self.plan.grid, self.provider, date=date, relative_orbit=orbit
                ).item
                if item is not None:
                    served.append(abs((date_of(item) - date).days))
            return -len(served), sum(served), orbit

        return min((orbit for orbit in orbits if orbit is not None), key=rank, default=None)

    def _rows(
        self, table: pd.DataFrame, left_out: Mapping[str, str], year: int, kind: Kind
    ) -> tuple[dict[str, Any], ...]:
        """Turn a table of candidates, and what cannot be one, into rows that JSON can hold."""
        rows = json.loads(table.assign(date=table["date"].astype(str)).to_json(orient="records"))
        rows += [
            {"item": item, "date": "", "chosen": False, "reason": LEFT_OUT + fault}
            for item, fault in left_out.items()
        ]
        return tuple({"mine": self.plan.mine, "year": year, "kind": kind} | row for row in rows)


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
