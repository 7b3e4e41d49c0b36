"""Which polygons lie near which places, and how far, for thousands of both all over the world."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import shapely

from minseg.data.dateline import seen_from
from minseg.data.raster import METRES_PER_DEGREE

EARTH_RADIUS_M = 6_371_009.0
"""Mean radius of the Earth."""


def pairs_within(
    longitudes: Iterable[float],
    latitudes: Iterable[float],
    shapes: Sequence[shapely.Geometry],
    reach_m: float,
) -> pd.DataFrame:
    """Find the pairs of a place and a polygon that lie within reach of each other.

    Distances are taken on the plane that touches the ellipsoid at the place: right to a thousandth
    within some tens of kilometres, over the date line too.

    Parameters
    ----------
    longitudes, latitudes : iterable of float
        Of the places, degrees (WGS 84).
    shapes : sequence of shapely geometry
        In degrees.
    reach_m : float

    Returns
    -------
    pandas.DataFrame
        Columns place and shape (positions in the sequences, from 0) and distance_m (0 where the
        place lies inside), ordered by place and shape.
    """
    tree = shapely.STRtree(shapes)
    found = [np.empty((0, 3))]
    for place, (longitude, latitude) in enumerate(zip(longitudes, latitudes, strict=True)):
        near = np.sort(tree.query(_window(longitude, latitude, reach_m), predicate="intersects"))
        seen = _from_above(tree.geometries[near], longitude, latitude)
        distances_m = shapely.distance(seen, shapely.Point(0, 0))
        rows = np.column_stack([np.full(len(near), place), near, distances_m])
        found.append(rows[distances_m <= reach_m])
    table = pd.DataFrame(np.concatenate(found), columns=["place", "shape", "distance_m"])
    return table.astype({"place": int, "shape": int, "distance_m": float})


def great_circle_m(
    longitudes: Iterable[float],
    latitudes: Iterable[float],
    other_longitudes: Iterable[float],
    other_latitudes: Iterable[float],
) -> np.ndarray:
    """Return how far places lie apart, over any distance.

    Parameters
    ----------
    longitudes, latitudes, other_longitudes, other_latitudes : iterable of float
        Degrees; as many of each.

    Returns
    -------
    float ndarray
        Metres on a sphere: right to half a hundredth.
    """
    west, south, east, north = (
        np.radians(np.asarray(list(angles), float))
        for angles in (longitudes, latitudes, other_longitudes, other_latitudes)
    )
    half = np.sin((north - south) / 2) ** 2
    half += np.cos(south) * np.cos(north) * np.sin((east - west) / 2) ** 2
    return 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(half.clip(0, 1)))


def _window(longitude: float, latitude: float, reach_m: float) -> shapely.Geometry:
    """Return a box in degrees that holds all in reach, also as seen across the date line."""
    north = 1.5 * reach_m / METRES_PER_DEGREE
    east = min(180.0, north / max(0.01, np.cos(np.radians(latitude))))
    return shapely.multipolygons(
        [
            shapely.box(centre - east, latitude - north, centre + east, latitude + north)
            for centre in (longitude - 360, longitude, longitude + 360)
        ]
    )


def _from_above(shapes: np.ndarray, longitude: float, latitude: float) -> np.ndarray:
    """Bring polygons to metres east and north of a place."""
    angle = np.radians(latitude)
    # A degree's length on the WGS 84 ellipsoid, as series in the latitude.
    north_m = 111_132.95 - 559.85 * np.cos(2 * angle) + 1.18 * np.cos(4 * angle)
    east_m = 111_412.88 * np.cos(angle) - 93.5 * np.cos(3 * angle) + 0.12 * np.cos(5 * angle)

    def project(points: np.ndarray) -> np.ndarray:
        east = seen_from(points[:, 0], longitude) - longitude
        return np.column_stack([east * east_m, (points[:, 1] - latitude) * north_m])

    return shapely.transform(shapes, project)
