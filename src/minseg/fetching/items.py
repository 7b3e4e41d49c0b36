"""What catalogue items tell of Sentinel scenes, under the names that catalogues give it."""

import re
from typing import TYPE_CHECKING

import shapely

from minseg.data.dateline import shape_seen_from, whole_box
from minseg.data.raster import Grid
from minseg.fetching.catalogue import date_of

if TYPE_CHECKING:
    import pystac


def processing_baseline(item: "pystac.Item") -> float | None:
    """Return the version of ESA's processor that a Sentinel-2 scene comes from, such as 5.09.

    Copernicus names it ``processing:version``; older catalogues only in names of the product.
    """
    properties = item.properties
    for name in ("s2:processing_baseline", "processing:version"):
        match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", str(properties.get(name, "")))
        if match:
            return float(match[0])
    for text in (
        properties.get("s2:product_uri"),
        properties.get("sentinel:product_id"),
        properties.get("s2:datatake_id"),
        item.id,
    ):
        match = re.search(r"_N(\d\d)\.?(\d\d)(?=[_.]|$)", str(text))
        if match:
            return float(f"{match[1]}.{match[2]}")
    return None


def relative_orbit_of(item: "pystac.Item") -> int | None:
    """Return the relative orbit of a Sentinel-1 scene; None where the item does not tell it."""
    orbit = item.properties.get("sat:relative_orbit")
    return None if orbit is None else int(orbit)


def tile_of(item: "pystac.Item") -> str:
    """Return the tile of a Sentinel-2 item, such as 33TWM, under whatever name it is told."""
    properties = item.properties
    for text in (properties.get("s2:mgrs_tile"), properties.get("grid:code"), item.id):
        match = re.search(r"(?:^|MGRS-|_T?)(\d{1,2}[C-X][A-Z]{2})(?:_|$)", str(text))
        if match:
            return match[1].zfill(5)
    return ""


def datatake_of(item: "pystac.Item") -> tuple[str, str]:
    """Return what items of the same pixels share, whatever processed them: datatake and tile."""
    properties, tile = item.properties, tile_of(item)
    identifier = properties.get("s2:datatake_id") or properties.get("eopf:datatake_id")
    if identifier:
        return re.sub(r"_N\d\d\.\d\d$", "", str(identifier)), tile
    if not tile:
        return item.id, ""
    # One satellite comes over a tile at most once a day.
    return f"{str(properties.get('platform', '')).lower()} {date_of(item)}", tile


def footprint_share(item: "pystac.Item", grid: Grid) -> float:
    """Return the share of a box that a scene's footprint covers."""
    if item.geometry is None:
        return 0.0
    box = shapely.box(*whole_box(grid.bounds_lonlat))
    footprint = shape_seen_from(shapely.geometry.shape(item.geometry), box.centroid.x)
    return float(box.intersection(footprint).area / box.area)
