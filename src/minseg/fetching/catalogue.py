"""What catalogue items tell of Sentinel scenes, under the names that catalogues give it."""

import datetime
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import shapely
from shapely.errors import ShapelyError

from minseg.data.grid import shape_seen_from, split_box, whole_box
from minseg.data.raster import Grid
from minseg.errors import MinsegError, first_line
from minseg.fetching.providers import ATTEMPTS, TIMEOUT_S, Collection, Provider, refusal, status_of

if TYPE_CHECKING:
    import pystac
    from pystac_client import Client, ItemSearch
    from pystac_client.stac_api_io import StacApiIO

_STRANGE = (
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    NotImplementedError,
)
"""What reading a value of another shape than it should have raises."""


def read_item(value: Any, collection: Collection) -> "tuple[pystac.Item | None, str]":
    """Read an item with its assets that have an address, or tell why it cannot be used."""
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
        return None, f"is no sound STAC item ({first_line(error)})"
    fault = _value_fault(item) or _address_fault(item, collection)
    return (None, fault) if fault else (item, "")


def date_of(item: "pystac.Item") -> datetime.date:
    """Return the day of a scene (UTC, which times without a zone are taken to be)."""
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        raise MinsegError(f"{item.id}: has no date; leave this item out")
    return moment.astimezone(datetime.UTC).date() if moment.tzinfo else moment.date()


def processing_baseline(item: "pystac.Item") -> float | None:
    """Return the version of ESA's processor that a Sentinel-2 scene comes from, such as 5.09."""
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


def _value_fault(item: "pystac.Item") -> str:
    """Tell what that scenes are chosen by is none: a number, or a footprint if there is any."""
    try:
        ground = item.geometry and shapely.geometry.shape(item.geometry)
        corners = shapely.get_coordinates(ground)
    except (ShapelyError, *_STRANGE):
        return "its geometry cannot be read"
    if item.geometry is not None and not (len(corners) and np.isfinite(corners).all()):
        return "its geometry is empty"
    for name, low, high in (("eo:cloud_cover", 0, 100), ("sat:relative_orbit", 1, 999)):
        value = item.properties.get(name)
        try:
            sound = value is None or low <= float(value) <= high
        except _STRANGE:
            sound = False
        if not sound:
            return f"its {name} is {value!r:.40}"
    return ""


def _address_fault(item: "pystac.Item", collection: Collection) -> str:
    """Tell which wanted asset has an address that nothing completes."""
    for key in collection.assets.values():
        asset = item.assets.get(key)
        if asset is not None and asset.get_absolute_href() is None:
            return (
                f"its asset {key} has the relative address {asset.href!r}, which needs a link of "
                "the item to itself (rel: self)"
            )
    return ""


Kind = Literal["optical", "radar"]

BACKOFF_S = 1.0  # the second attempt waits nothing, the next ones 2, 4, 8 ... times this
ITEMS_A_PAGE = 100

_THREAD = threading.local()
"""Holds the catalogues whose landing page this thread has read: a connection serves one thread."""


@dataclass(frozen=True)
class Found:
    """What a catalogue has of a place and time."""

    items: list["pystac.Item"]
    """By date; addresses of assets unsigned (`minseg.fetching.pixels` signs as it reads, so that no
    token is too old)."""
    left_out: dict[str, str]
    """Ids of items that cannot be used, and why."""


def search(
    provider: Provider,
    kind: Kind,
    bounds_lonlat: tuple[float, float, float, float],
    start: datetime.date,
    end: datetime.date,
) -> Found:
    """List the scenes of a box (west > east over the date line) from a first to a last day."""
    collection = collection_of(provider, kind)
    if start > end:
        raise MinsegError(f"dates {start} to {end}: the first is after the last; swap them")
    sent: list[Any] = []
    with _asking(provider) as client:
        for bbox in split_box(bounds_lonlat):  # not every server takes one with west > east
            found = client.search(
                collections=[collection.name],
                bbox=bbox,
                datetime=f"{start:%Y-%m-%d}/{end:%Y-%m-%d}",
                limit=ITEMS_A_PAGE,
            )
            sent += _features(found, provider)
        if not sent:
            _require_collection(client, provider, collection)
    items: dict[str, pystac.Item] = {}
    left_out: dict[str, str] = {}
    for value in sent:
        item, fault = read_item(value, collection)
        if item is not None and not start <= date_of(item) <= end:
            fault = f"was taken on {date_of(item)}, which was not asked for"
        if item is None or fault:
            left_out[_id_of(value)] = fault
        else:
            items[item.id] = item
    return Found(sorted(items.values(), key=lambda item: (date_of(item), item.id)), left_out)


class UnfitItemError(MinsegError):
    """One item that was asked for by its id cannot be had, which says nothing of others."""


def find(provider: Provider, kind: Kind, item_id: str) -> "pystac.Item":
    """Return one scene by its id; refuse one that the catalogue does not have."""
    collection = collection_of(provider, kind)
    with _asking(provider) as client:
        # A server that does not know the parameter answers with all that it has.
        found = client.search(collections=[collection.name], ids=[item_id], max_items=ITEMS_A_PAGE)
        sent = (value for value in _features(found, provider) if _id_of(value) == item_id)
        value = next(sent, None)
        if value is None:
            _require_collection(client, provider, collection)
    if value is None:
        raise UnfitItemError(
            f"{item_id}: {provider.name} has no such item in {collection.name}; "
            "check the id (it differs between catalogues)"
        )
    item, fault = read_item(value, collection)
    if item is None:
        raise UnfitItemError(f"{item_id}: {fault}; pin another item")
    return item


def require_answer(provider: Provider) -> None:
    """Refuse to go on with a catalogue that does not answer."""
    with _asking(provider):
        pass


def collection_of(provider: Provider, kind: Kind) -> Collection:
    """Return a provider's collection of a kind; refuse one that it does not have."""
    collection = provider.optical if kind == "optical" else provider.radar
    if collection is None:
        raise MinsegError(f"{provider.name}: has no radar; add [radar] to its table or go without")
    return collection


def require_stac() -> None:
    """Refuse to go on without the packages of the extra ``stac``."""
    try:
        import planetary_computer  # noqa: F401
        import pystac_client  # noqa: F401
    except ImportError as error:
        raise MinsegError(
            f"reading catalogues needs the package {error.name}: run `pip install minseg[stac]`"
        ) from None


def _features(found: "ItemSearch", provider: Provider) -> Iterator[Any]:
    """Give what a search finds, page by page; refuse a page that holds nothing new."""
    seen: set[str] = set()
    for page in found.pages_as_dicts():
        names = {_id_of(value) for value in page["features"]}
        if names <= seen:
            raise MinsegError(
                f"{provider.name}: {provider.url} sends the same scenes page after page (its link "
                "to the next page leads back); take another --api"
            )
        seen |= names
        # pystac-client looks here for the next page, and trips over what is no link.
        links = page.get("links") or []
        page["links"] = [link for link in links if isinstance(link, dict) and "rel" in link]
        yield from page["features"]


def _id_of(value: Any) -> str:
    """Return the id of what should be an item."""
    identifier = value.get("id") if isinstance(value, dict) else None
    return identifier if isinstance(identifier, str) and identifier else "(without id)"


@contextmanager
def _asking(provider: Provider) -> "Iterator[Client]":
    """Open a catalogue, and tell in one line what goes wrong as it is asked; for requests only."""
    require_stac()
    from pystac import STACError, STACTypeError
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import DoesNotConformTo

    opened: dict[str, Client] = _THREAD.__dict__.setdefault("opened", {})
    try:
        if provider.url not in opened:
            opened[provider.url] = Client.open(provider.url, stac_io=_connection())
        yield opened[provider.url]
    except APIError as error:
        raise MinsegError(
            f"{provider.name}: {provider.url} gives no answer "
            f"({_reason(error)}){refusal(status_of(error), provider)}; check --api and the "
            "network, or try again later"
        ) from None
    except (*_STRANGE, STACError, STACTypeError, ClientTypeError, DoesNotConformTo) as error:
        raise MinsegError(
            f"{provider.name}: {provider.url} does not answer like a STAC API with item search "
            f"({first_line(error)[:300]}); check --api"
        ) from None


def _require_collection(client: "Client", provider: Provider, collection: Collection) -> None:
    """Refuse a collection that is not there, where nothing of it was found."""
    if client.get_collection(collection.name) is None:
        raise MinsegError(
            f"{provider.name}: {provider.url} has no collection {collection.name!r}; check --api "
            "or its table"
        )


def _connection() -> "StacApiIO":
    """Return a connection that waits and asks again where the server is busy."""
    from pystac_client.stac_api_io import StacApiIO
    from urllib3 import Retry

    retry = Retry(
        total=ATTEMPTS - 1,
        connect=2,  # without a network nothing gets better by waiting
        backoff_factor=BACKOFF_S,
        status_forcelist=[429, 500, 502, 503, 504],
        allowed_methods=None,  # a search is a POST, and safe to repeat
    )
    return StacApiIO(timeout=TIMEOUT_S, max_retries=retry)


def _reason(error: Any) -> str:
    """Tell in a few words why a server gave no answer."""
    if getattr(error, "status_code", None) is not None:
        return f"HTTP {error.status_code}"
    text = first_line(error)[:300]
    return text.partition("Caused by ")[2].removesuffix(")") or text
