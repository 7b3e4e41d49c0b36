"""UTM as Sentinel-2 uses it: the zone of a place, and where the edges of 60 m pixels lie."""

from typing import TypeVar

import numpy as np
import shapely
from rasterio.crs import CRS
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from minseg.errors import MinsegError

COARSEST_M = 60
"""Side of the coarsest band's pixels; corners at their edges make repeating them exact."""

_FALSE_NORTHING_M = 10_000_000
_NORTHERNMOST, _SOUTHERNMOST = 84.0, -80.0  # degrees: where UTM ends


def utm_crs(longitude: float, latitude: float) -> CRS:
    """Return the plain UTM zone of six degrees of a place; refuse the poles, where UTM ends."""
    if not _SOUTHERNMOST <= latitude <= _NORTHERNMOST:
        raise MinsegError(
            f"latitude {latitude:g}: UTM ends at {_SOUTHERNMOST:g} and {_NORTHERNMOST:g} degrees; "
            "leave this mine out, or mend its position"
        )
    zone = int((longitude + 180) % 360 // 6) + 1
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def equator_m(crs: CRS) -> int:
    """Return the northing of the equator, from which the edges of pixels are counted.

    South of it northings begin at 10,000,000 m, which is no multiple of 60 m.
    """
    return _FALSE_NORTHING_M if 32700 < (crs.to_epsg() or 0) <= 32760 else 0


Bounds = tuple[float, float, float, float]

Longitudes = TypeVar("Longitudes", float, np.ndarray)


def seen_from(longitudes: Longitudes, longitude: float) -> Longitudes:
    """Return longitudes as counted from a place: at most half a turn from it, maybe beyond 180."""
    return longitude + (longitudes - longitude + 180) % 360 - 180


def shape_seen_from(shape: BaseGeometry, longitude: float) -> BaseGeometry:
    """Return a shape (degrees) as it lies from a longitude, whole and valid across the date line.

    Parts may end at the date line or run over it (178 to -178), none wider than half a turn.
    """
    parts = [_part_seen_from(part, longitude) for part in shapely.get_parts(shape)]
    return shapely.union_all([shapely.make_valid(part) for part in parts])


def ground_within(longitudes: np.ndarray, latitudes: np.ndarray) -> BaseGeometry:
    """Return the ground within a ring (degrees), cut in two where the date line crosses it."""
    if np.ptp(longitudes) < 180 and np.abs(longitudes).max() <= 180:
        return shapely.Polygon(np.column_stack([longitudes, latitudes]))
    ring = np.column_stack([seen_from(longitudes, longitudes[0]), latitudes])
    return on_globe(shapely.make_valid(shapely.Polygon(ring)))


def on_globe(shape: BaseGeometry) -> BaseGeometry:
    """Return a valid shape (degrees) cut at the date line, what lies beyond it a turn back."""
    globe = shapely.box(-180, -90, 180, 90)
    turned = [translate(shape, turn).intersection(globe) for turn in (-360, 0, 360)]
    return shapely.union_all([part for part in shapely.get_parts(turned) if part.area > 0])


def whole_box(bounds: Bounds) -> Bounds:
    """Return west, south, east, north with west < east, beyond 180 over the date line."""
    west, south, east, north = bounds
    return west, south, east + 360 if west > east else east, north


def split_box(bounds: Bounds) -> list[Bounds]:
    """Split west, south, east, north at the date line where west > east."""
    west, south, east, north = bounds
    if west <= east:
        return [bounds]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _part_seen_from(part: BaseGeometry, longitude: float) -> BaseGeometry:
    """Make a part whole, as seen from its own first corner, and put it where it lies."""
    first = float(shapely.get_coordinates(part)[0, 0])
    whole = shapely.transform(
        part, lambda places: np.column_stack([seen_from(places[:, 0], first), places[:, 1]])
    )
    centre = (whole.bounds[0] + whole.bounds[2]) / 2
    return translate(whole, seen_from(centre, longitude) - centre)
