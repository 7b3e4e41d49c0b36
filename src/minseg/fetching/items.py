"""What catalogue items tell of Sentinel scenes, under the names that catalogues give it."""

import datetime
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.errors import ShapelyError

from minseg.data.dateline import shape_seen_from, whole_box
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.fetching.providers import Collection

if TYPE_CHECKING:
    import pystac

_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError)
"""What reading a value of another shape than it should have raises."""


def read_item(value: Any, collection: Collection) -> "tuple[pystac.Item | None, str]":
    """Read an item as a catalogue sends it.

    Parameters
    ----------
    value : object
        Of the answer's JSON, an object if all is well.
    collection : Collection
        Whose assets are wanted of it; others are kept where they have an address.

    Returns
    -------
    item : pystac.Item or None
        None where it cannot be used.
    fault : str
        Why not; empty where it can be.
    """
    import pystac

    fault = _shape_fault(value, collection)
    if fault:
        return None, fault
    assets = {key: asset for key, asset in value.get("assets", {}).items() if _has_address(asset)}
    try:
        item = pystac.Item.from_dict(value | {"assets": assets})
        date_of(item)
    except MinsegError:
        return None, "has no date"
    except Exception as error:  # pystac and dateutil have many names for it
        return None, f"is no sound STAC item ({(str(error).splitlines() or [''])[0]})"
    fault = _geometry_fault(item) or _number_fault(item) or _address_fault(item, collection)
    return (None, fault) if fault else (item, "")


def date_of(item: "pystac.Item") -> datetime.date:
    """Return the day of a scene (UTC, which times without a zone are taken to be)."""
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        raise MinsegError(f"{item.id}: has no date; leave this item out")
    return moment.astimezone(datetime.UTC).date() if moment.tzinfo else moment.date()


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


def projection_of(item: "pystac.Item") -> str:
    """Return a Sentinel-2 scene's projection, such as EPSG:32633, by its tile or as it says."""
    tile = tile_of(item)
    if tile:
        return f"EPSG:{(32600 if tile[2] >= 'N' else 32700) + int(tile[:2])}"
    said = item.properties.get("proj:code") or item.properties.get("proj:epsg")
    return f"EPSG:{said}" if isinstance(said, int) else str(said or "")


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


def _shape_fault(value: Any, collection: Collection) -> str:
    """Tell what keeps an answer's part from being an item at all."""
    if not isinstance(value, dict):
        return "is no STAC item"
    if not isinstance(value.get("id"), str):
        return "has no id in text"
    for name, kind in (("properties", dict), ("assets", dict), ("links", list)):
        if not isinstance(value.get(name, kind()), kind):
            return f"its {name} are {value[name]!r:.40}"
    assets = value.get("assets", {})
    for key in collection.assets.values():
        if key in assets and not _has_address(assets[key]):
            return f"its asset {key} has no address"
    return ""


def _has_address(asset: Any) -> bool:
    """Whether an asset tells where it lies."""
    return isinstance(asset, dict) and isinstance(asset.get("href"), str) and asset["href"] != ""


def _geometry_fault(item: "pystac.Item") -> str:
    """Tell what keeps a footprint from being one; items without any are not judged by it."""
    if item.geometry is None:
        return ""
    try:
        corners = shapely.get_coordinates(shapely.geometry.shape(item.geometry))
    except (ShapelyError, *_MALFORMED):
        return "its geometry cannot be read"
    return "" if len(corners) and np.isfinite(corners).all() else "its geometry is empty"


def _number_fault(item: "pystac.Item") -> str:
    """Tell which number that scenes are chosen by is none."""
    for name, low, high in (("eo:cloud_cover", 0, 100), ("sat:relative_orbit", 1, 999)):
        value = item.properties.get(name)
        try:
            sound = value is None or low <= float(value) <= high
        except _MALFORMED:
            sound = False
        if not sound:
            return f"its {name} is {value!r:.40}"
    return ""


def _address_fault(item: "pystac.Item", collection: Collection) -> str:
    """Tell which wanted asset has an address that nothing completes."""
    from pystac.utils import is_absolute_href

    itself = item.get_self_href()
    for key in collection.assets.values():
        asset = item.assets.get(key)
        if asset is None or is_absolute_href(asset.href):
            continue
        if itself is None or not is_absolute_href(itself):
            return (
                f"its asset {key} has the relative address {asset.href!r}, which needs a link of "
                "the item to itself (rel: self)"
            )
    return ""
