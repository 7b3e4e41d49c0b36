"""Which polygons lie near which places, and how far, for thousands of both all over the world."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import Geod, Proj

from minseg.errors import MinsegError, summarise

REACH_M = 10_000.0
"""How far from a mine's position polygons still belong to it if no field names their mine, m:
positions in public mine lists are often off by some kilometres."""

FARTHEST_M = 30_000.0
"""How far from a mine's position polygons may lie that name it, m: mining districts reach so far;
by farther ones, which are mistakes, scenes of another place would be fetched."""


def pairs_within(
    longitudes: Iterable[float],
    latitudes: Iterable[float],
    shapes: Sequence[shapely.Geometry],
    reach_m: float,
) -> pd.DataFrame:
    """Find the pairs of a place (degrees) and a polygon that lie within reach of each other.

    Columns place and shape (positions from 0) and distance_m (0 inside), in their order.
    """
    tree = shapely.STRtree(shapes)
    found = [np.empty((0, 3))]
    for place, (longitude, latitude) in enumerate(zip(longitudes, latitudes, strict=True)):
        near = np.sort(tree.query(_window(longitude, latitude, reach_m), predicate="intersects"))
        # On this plane all distances from the place are right, over the date line too.
        plane = Proj(proj="aeqd", ellps="WGS84", lon_0=longitude, lat_0=latitude)
        seen = shapely.transform(tree.geometries[near], plane, interleaved=False)
        distances_m = shapely.distance(seen, shapely.Point(0, 0))
        rows = np.column_stack([np.full(len(near), place), near, distances_m])
        found.append(rows[distances_m <= reach_m])
    table = pd.DataFrame(np.concatenate(found), columns=["place", "shape", "distance_m"])
    return table.astype({"place": int, "shape": int, "distance_m": float})


def _window(longitude: float, latitude: float, reach_m: float) -> shapely.Geometry:
    """Return a box in degrees that holds all in reach, also as seen across the date line."""
    north = 1.5 * reach_m / 111_000  # a degree of latitude has about so many metres
    east = min(180.0, north / max(0.01, np.cos(np.radians(latitude))))
    return shapely.multipolygons(
        [
            shapely.box(centre - east, latitude - north, centre + east, latitude + north)
            for centre in (longitude - 360, longitude, longitude + 360)
        ]
    )


def nearest_within(
    table: gpd.GeoDataFrame, places: pd.DataFrame, ids: pd.Series, reach_m: float
) -> tuple[pd.Series, int]:
    """Find the id of each polygon's nearest place in reach, or ""; and how many have several."""
    pairs = pairs_within(places["longitude"], places["latitude"], list(table.geometry), reach_m)
    closest = pairs.sort_values("distance_m", kind="stable").drop_duplicates("shape")
    names = np.full(len(table), "", dtype=object)
    names[closest["shape"]] = ids.to_numpy()[closest["place"]]
    return pd.Series(names, index=table.index), int((pairs["shape"].value_counts() > 1).sum())


def mines_by_name(
    values: pd.Series, path: Path, field: str, mines: pd.DataFrame, notes: list[str]
) -> pd.Series:
    """Find mines by what a field holds: their id or, where no mine has such an id, their name.

    Empty where the field holds no mine of the table, which is noted. Case does not matter.
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
    """Refuse polygons (in degrees) that name a mine and lie where it is not."""
    drawn = table[table["mine"] != ""]
    place = drawn["mine"].map({mine: row for row, mine in enumerate(mines["mine"])}).to_numpy()
    pairs = pairs_within(mines["longitude"], mines["latitude"], list(drawn.geometry), FARTHEST_M)
    near = set(zip(pairs["place"], pairs["shape"], strict=True))
    far = [shape for shape in range(len(drawn)) if (place[shape], shape) not in near]
    if not far:
        return
    there = mines.iloc[place[far]]
    middles = drawn.geometry.iloc[far].representative_point()
    away_m = Geod(ellps="WGS84").inv(there["longitude"], there["latitude"], middles.x, middles.y)[2]
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
    """Find for each polygon (in degrees) the nearest mine within `REACH_M`, empty without one."""
    nearest, shared = nearest_within(table, mines, mines["mine"], REACH_M)
    if (nearest == "").all():
        raise MinsegError(
            f"{path}: no polygon lies within {REACH_M / 1000:g} km of a mine of the table; check "
            "positions and reference system, or name the mine in a field (--mine-field)"
        )
    lost = int((nearest == "").sum())
    if lost:
        notes.append(f"{path}: {lost} polygon(s) farther than {REACH_M / 1000:g} km from all mines")
    if shared:
        notes.append(f"{path}: {shared} polygon(s) near two mines or more went to the nearest")
    return nearest
