"""UTM as Sentinel-2 uses it: the zone of a place, and where the edges of 60 m pixels lie."""

from rasterio.crs import CRS

from minseg.errors import MinsegError

COARSEST_M = 60
"""Side of the coarsest band's pixels; corners at their edges make repeating them exact."""

_FALSE_NORTHING_M = 10_000_000
_NORTHERNMOST, _SOUTHERNMOST = 84.0, -80.0  # degrees: where UTM ends


def utm_crs(longitude: float, latitude: float) -> CRS:
    """Return the UTM zone of a place, north or south.

    Parameters
    ----------
    longitude, latitude : float
        Degrees (WGS 84). The plain zones of six degrees; Norway's exceptions are not made.

    Raises
    ------
    MinsegError
        Near the poles, where UTM ends.
    """
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
