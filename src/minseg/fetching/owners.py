"""Which mine each polygon belongs to: the one that it names, or the nearest."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from minseg.errors import MinsegError, summarise
from minseg.fetching.distances import great_circle_m, pairs_within

REACH_M = 10_000.0
"""How far from a mine's position polygons still belong to it if no field names their mine, m.

Positions in public mine lists are often off by some kilometres.
"""

FARTHEST_M = 30_000.0
"""How far from a mine's position polygons may lie that name it, m: mining districts reach so far.

Farther ones are mistakes, by which scenes of another place would be fetched.
"""


def mines_by_name(
    values: pd.Series, path: Path, field: str, mines: pd.DataFrame, notes: list[str]
) -> pd.Series:
    """Find mines by what a field holds: their id or, where no mine has such an id, their name.

    Parameters
    ----------
    values : pandas.Series of str
        The field of each polygon; case does not matter.
    path : Path
    field : str
        Its name, for messages.
    mines : pandas.DataFrame
        Mine table.
    notes : list of str
        Appended to: values that are no mine of the table.

    Returns
    -------
    pandas.Series of str
        Ids; empty where the field holds no mine of the table.

    Raises
    ------
    MinsegError
        If a value is the name of several mines, or no value is a mine.
    """
    called = {mine.lower(): mine for mine in mines["mine"]}
    named = mines[mines["name"].str.strip() != ""].groupby(mines["name"].str.strip().str.lower())
    of_name = {name: list(same) for name, same in named["mine"]}
    for value in sorted(set(values.str.lower()) - set(called)):
        if len(of_name.get(value, ())) > 1:
            raise MinsegError(
                f"{path}: field {field!r} holds {value!r}, the name of "
                f"{len(of_name[value])} mines of the mine table: {', '.join(of_name[value])}; "
                "write these ids there instead"
            )
    known = {name: same[0] for name, same in of_name.items()} | called
    found = values.str.lower().map(known).fillna("")
    others = sorted(set(values[found == ""]))
    if len(others) == len(set(values)):
        raise MinsegError(
            f"{path}: field {field!r} holds {summarise(list(map(repr, others)), 3)}, and none of "
            "them is a mine or name of the mine table"
        )
    if others:
        notes.append(f"{path}: no mine of the table for {summarise(list(map(repr, others)))}")
    return found


def require_near(table: gpd.GeoDataFrame, path: Path, mines: pd.DataFrame) -> None:
    """Refuse polygons that name a mine and lie where it is not.

    Parameters
    ----------
    table : geopandas.GeoDataFrame
        Polygons in degrees with the column mine, which may be empty.
    path : Path
    mines : pandas.DataFrame
        Mine table.

    Raises
    ------
    MinsegError
        If one lies farther than `FARTHEST_M` from its mine's position.
    """
    drawn = table[table["mine"] != ""]
    place = drawn["mine"].map({mine: row for row, mine in enumerate(mines["mine"])}).to_numpy()
    pairs = pairs_within(mines["longitude"], mines["latitude"], list(drawn.geometry), FARTHEST_M)
    near = set(zip(pairs["place"], pairs["shape"], strict=True))
    far = [shape for shape in range(len(drawn)) if (place[shape], shape) not in near]
    if not far:
        return
    there = mines.iloc[place[far]]
    middles = drawn.geometry.iloc[far].representative_point()
    away_m = great_circle_m(there["longitude"], there["latitude"], middles.x, middles.y)
    worst = pd.Series(away_m, index=there["mine"]).groupby("mine", sort=False).max()
    told = [f"{mine!r} ({metres / 1000:.0f} km)" for mine, metres in worst.items()]
    raise MinsegError(
        f"{path}: {len(far)} polygon(s) lie farther than {FARTHEST_M / 1000:g} km from the mine "
        f"that they name: {summarise(told)}; check the file's reference system, whether longitude "
        "and latitude are swapped, and the mine's position in the mine list"
    )


def nearest_mines(
    table: gpd.GeoDataFrame, path: Path, mines: pd.DataFrame, notes: list[str]
) -> pd.Series:
    """Find for each polygon the nearest mine within `REACH_M`.

    Parameters
    ----------
    table : geopandas.GeoDataFrame
        Polygons in degrees.
    path : Path
    mines : pandas.DataFrame
        Mine table.
    notes : list of str
        Appended to: how many polygons have no mine, and how many several within reach.

    Returns
    -------
    pandas.Series of str
        Ids; empty where no mine is within reach.

    Raises
    ------
    MinsegError
        If no polygon is near any mine.
    """
    pairs = pairs_within(mines["longitude"], mines["latitude"], list(table.geometry), REACH_M)
    closest = pairs.sort_values("distance_m", kind="stable").drop_duplicates("shape")
    names = np.full(len(table), "", dtype=object)
    names[closest["shape"]] = mines["mine"].to_numpy()[closest["place"]]
    nearest = pd.Series(names, index=table.index)
    if (nearest == "").all():
        raise MinsegError(
            f"{path}: no polygon lies within {REACH_M / 1000:g} km of a mine of the table; check "
            "positions and reference system, or name the mine in a field (--mine-field)"
        )
    lost, shared = int((nearest == "").sum()), int((pairs["shape"].value_counts() > 1).sum())
    if lost:
        notes.append(f"{path}: {lost} polygon(s) farther than {REACH_M / 1000:g} km from all mines")
    if shared:
        notes.append(f"{path}: {shared} polygon(s) near two mines or more went to the nearest")
    return nearest
