"""The scenes taken for a mine's years, kept on disk with all that they were chosen from."""

import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pandera.pandas as pa

from minseg.atomic import write_text
from minseg.data.raster import Grid
from minseg.data.tables import read_table
from minseg.errors import MinsegError, summarise
from minseg.fetching.catalogue import Found, Kind, find, require_answer, search
from minseg.fetching.items import date_of, relative_orbit_of, tile_of
from minseg.fetching.providers import Provider
from minseg.fetching.scene_choice import RULES, choose_optical, choose_radar

if TYPE_CHECKING:
    import pystac

Pins = Mapping[tuple[str, int, Kind], str]
"""Mine, year and kind to the id of the item to take, whatever the rules say."""

LEFT_OUT = "left out: "
"""How the reason of an item begins that cannot be used, whatever it may show."""


def parse_pins(texts: Iterable[str]) -> dict[tuple[str, int, Kind], str]:
    """Read ``MINE:YEAR=ITEM`` (Sentinel-2) and ``MINE:YEAR:radar=ITEM``.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    dict of (mine, year, kind) to str

    Raises
    ------
    MinsegError
        If a text is not of this form, or pins one scene twice.
    """
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
    """Read a table of pins (CSV): mine, year, item, and kind if some are of radar scenes.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of (mine, year, kind) to str

    Raises
    ------
    MinsegError
        If a column is missing, a value is wrong, or one scene is pinned twice.
    """
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

    optical: "pystac.Item | None"
    radar: "pystac.Item | None"
    candidates: tuple[dict[str, Any], ...]
    """Every item that was there, with kind, values, chosen and reason."""
    failure: str = ""
    """Why the year could not be chosen as it should be; not kept, for it is tried again."""

    def is_settled(self, mine: str, year: int, pins: Pins) -> bool:
        """Whether there is a scene, nothing went wrong, and no other is pinned."""
        taken: dict[Kind, pystac.Item | None] = {"optical": self.optical, "radar": self.radar}
        if self.optical is None or self.failure:
            return False
        return all(
            pins.get((mine, year, kind)) in (None, item.id if item else "")
            for kind, item in taken.items()
        )


def choose_mine(
    mine: str,
    grid: Grid,
    years: Sequence[int],
    provider: Provider,
    pins: Pins,
    earlier: Mapping[int, YearChoice],
) -> dict[int, YearChoice]:
    """Choose the scenes of a mine's years, alike in season, tile and radar orbit.

    Parameters
    ----------
    mine : str
    grid : Grid
        The mine's box.
    years : sequence of int
    provider : Provider
    pins : mapping
    earlier : mapping of int to YearChoice
        What was chosen before; it stays where it is settled and sets season, tile and orbit.

    Returns
    -------
    dict of int to YearChoice
        A year that fails keeps what it had before, and tells why in `failure`.

    Raises
    ------
    MinsegError
        If the catalogue does not answer, or every year fails.
    """
    require_answer(provider)
    chosen = {y: c for y, c in earlier.items() if y in years and c.is_settled(mine, y, pins)}
    open_years = [year for year in sorted(years) if year not in chosen]
    for year in open_years:
        like = next((choice.optical for choice in chosen.values() if choice.optical), None)
        try:
            chosen[year] = _choose_optical(
                mine, year, grid, provider, pins, earlier.get(year), like
            )
        except MinsegError as error:
            chosen[year] = _failed(earlier.get(year), error)
    if provider.radar is not None:
        _add_radar(chosen, open_years, mine, grid, provider, pins, earlier)
    if chosen and all(choice.failure and not choice.optical for choice in chosen.values()):
        raise MinsegError(summarise(list(dict.fromkeys(c.failure for c in chosen.values()))))
    return dict(sorted(chosen.items()))


def _choose_optical(
    mine: str,
    year: int,
    grid: Grid,
    provider: Provider,
    pins: Pins,
    earlier: YearChoice | None,
    like: "pystac.Item | None",
) -> YearChoice:
    """Choose the optical scene of a year, like that of another year."""
    pinned = pins.get((mine, year, "optical"))
    if pinned is not None:  # a year's items are megabytes that a pin makes needless
        found = Found([_find_of_year(provider, "optical", pinned, year)], {})
    else:
        whole_year = datetime.date(year, 1, 1), datetime.date(year, 12, 31)
        found = search(provider, "optical", grid.bounds_lonlat, *whole_year)
    choice = choose_optical(
        found.items,
        grid,
        provider,
        day_of_year=date_of(like).timetuple().tm_yday if like else None,
        tile=tile_of(like) if like else "",
        pinned=pinned,
    )
    rows = _rows(choice.table, found.left_out, mine, year, "optical")
    if pinned is not None and earlier is not None:
        rows += _set_aside(earlier, pinned)
    return YearChoice(choice.item, None, rows)


def _find_of_year(provider: Provider, kind: Kind, pinned: str, year: int) -> "pystac.Item":
    """Find a pinned item; refuse one that would show another year than its name says."""
    item = find(provider, kind, pinned)
    if date_of(item).year != year:
        raise MinsegError(
            f"{pinned}: is pinned for {year} and was taken on {date_of(item)}; pin an item of "
            f"{year}"
        )
    return item


def _failed(earlier: YearChoice | None, error: MinsegError) -> YearChoice:
    """Leave a year as it was before, and tell what went wrong."""
    return replace(earlier or YearChoice(None, None, ()), failure=str(error))


def _add_radar(
    chosen: dict[int, YearChoice],
    open_years: Sequence[int],
    mine: str,
    grid: Grid,
    provider: Provider,
    pins: Pins,
    earlier: Mapping[int, YearChoice],
) -> None:
    """Add the nearest radar scene of one relative orbit to the years that have none yet."""
    around = datetime.timedelta(days=RULES.largest_days_apart)
    found: dict[int, tuple[datetime.date, Found]] = {}
    for year in open_years:
        optical, pinned = chosen[year].optical, pins.get((mine, year, "radar"))
        if optical is None or chosen[year].failure:
            continue
        date = date_of(optical)
        try:
            there = search(provider, "radar", grid.bounds_lonlat, date - around, date + around)
            if pinned is not None and pinned not in {item.id for item in there.items}:
                there.items.append(_find_of_year(provider, "radar", pinned, year))
            found[year] = date, there
        except MinsegError as error:
            chosen[year] = _failed(earlier.get(year), error)
    orbits = [relative_orbit_of(c.radar) for c in chosen.values() if c.radar is not None]
    orbit = orbits[0] if orbits else _steadiest_orbit(found.values(), grid, provider)
    for year, (date, there) in found.items():
        choice = choose_radar(
            there.items,
            grid,
            provider,
            date=date,
            relative_orbit=orbit,
            pinned=pins.get((mine, year, "radar")),
        )
        rows = chosen[year].candidates
        rows += _rows(choice.table, there.left_out, mine, year, "radar")
        chosen[year] = replace(chosen[year], radar=choice.item, candidates=rows)


def _steadiest_orbit(
    found: Iterable[tuple[datetime.date, Found]], grid: Grid, provider: Provider
) -> int | None:
    """Return the relative orbit that serves most years, of those the nearest in time."""
    years = list(found)
    orbits = {relative_orbit_of(item) for _, there in years for item in there.items} - {None}

    def rank(orbit: int) -> tuple[int, int, int]:
        served = []
        for date, there in years:
            item = choose_radar(there.items, grid, provider, date=date, relative_orbit=orbit).item
            if item is not None:
                served.append(abs((date_of(item) - date).days))
        return -len(served), sum(served), orbit

    return min((orbit for orbit in orbits if orbit is not None), key=rank, default=None)


def _set_aside(before: YearChoice, pinned: str) -> tuple[dict[str, Any], ...]:
    """Keep what was known of a year's other optical scenes before one of them was pinned."""
    return tuple(
        row | {"chosen": False, "reason": f"{pinned} is pinned"}
        for row in before.candidates
        if row["kind"] == "optical" and row["item"] != pinned
    )


def _rows(
    table: pd.DataFrame, left_out: Mapping[str, str], mine: str, year: int, kind: Kind
) -> tuple[dict[str, Any], ...]:
    """Turn a table of candidates, and what cannot be one, into rows that JSON can hold."""
    table = table.assign(date=table["date"].astype(str))
    rows = json.loads(table.to_json(orient="records"))
    rows += [
        {"item": item, "date": "", "chosen": False, "reason": LEFT_OUT + fault}
        for item, fault in left_out.items()
    ]
    return tuple({"mine": mine, "year": year, "kind": kind} | row for row in rows)


def write_choices(path: Path, choices: Mapping[int, YearChoice]) -> None:
    """Keep what was chosen, with the whole STAC items, so that it stays as catalogues grow."""
    years = {
        str(year): {
            "optical": _as_dict(choice.optical),
            "radar": _as_dict(choice.radar),
            "candidates": list(choice.candidates),
        }
        for year, choice in choices.items()
    }
    write_text(path, json.dumps(years, indent=1, ensure_ascii=False) + "\n")


def read_choices(path: Path) -> dict[int, YearChoice]:
    """Read what was chosen before; nothing if the file is not there."""
    if not path.is_file():
        return {}
    try:
        years = json.loads(path.read_text(encoding="utf-8"))
        return {
            int(year): YearChoice(
                _as_item(choice["optical"]),
                _as_item(choice["radar"]),
                tuple(choice["candidates"]),
            )
            for year, choice in years.items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise MinsegError(
            f"{path}: is damaged ({error}); remove this file, and its scenes are chosen anew"
        ) from None


def _as_dict(item: "pystac.Item | None") -> dict | None:
    """Write an item without asking the network for its links."""
    return None if item is None else item.to_dict(transform_hrefs=False)


def _as_item(value: dict | None) -> "pystac.Item | None":
    """Read an item."""
    import pystac

    return None if value is None else pystac.Item.from_dict(value)
