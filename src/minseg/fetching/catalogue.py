"""Scenes that a catalogue has of a place: polite searches of a STAC API."""

import datetime
import threading
from typing import TYPE_CHECKING, Any, Literal

from minseg.errors import MinsegError
from minseg.fetching.providers import Collection, Provider

if TYPE_CHECKING:
    import pystac
    from pystac_client.stac_api_io import StacApiIO

Kind = Literal["optical", "radar"]

TIMEOUT_S = 60.0
"""How long to wait for an answer, seconds."""

ATTEMPTS = 6
"""How often a request is sent at most: too many requests and server errors pass by themselves."""

BACKOFF_S = 1.0
"""The second attempt waits nothing, the next ones 2, 4, 8 ... times this, seconds."""

ITEMS_A_PAGE = 100

_OPENED = threading.local()
"""Catalogues whose landing page was read, so that not every search asks for it again."""


def search(
    provider: Provider,
    kind: Kind,
    bounds_lonlat: tuple[float, float, float, float],
    start: datetime.date,
    end: datetime.date,
) -> list["pystac.Item"]:
    """List the scenes of a box and a time.

    Parameters
    ----------
    provider : Provider
    kind : {"optical", "radar"}
    bounds_lonlat : tuple of float
        West, south, east, north in degrees; west > east where the box crosses the date line.
    start, end : datetime.date
        First and last day.

    Returns
    -------
    list of pystac.Item
        By date; addresses of assets unsigned (`minseg.fetching.sentinel` signs as it reads, so that
        no token is too old).

    Raises
    ------
    MinsegError
        If the catalogue does not answer, has no such collection, or `start` is after `end`.
    """
    collection = collection_of(provider, kind)
    if start > end:
        raise MinsegError(f"dates {start} to {end}: the first is after the last; swap them")
    query = {"datetime": f"{start:%Y-%m-%d}/{end:%Y-%m-%d}", "limit": ITEMS_A_PAGE}
    items: dict[str, pystac.Item] = {}
    for bbox in _boxes(bounds_lonlat):
        for item in _search(provider, collection, query | {"bbox": bbox}):
            items[item.id] = item
    return sorted(items.values(), key=lambda item: (date_of(item), item.id))


def find(provider: Provider, kind: Kind, item_id: str) -> "pystac.Item":
    """Return one scene by its id.

    Raises
    ------
    MinsegError
        If the catalogue does not answer or has no such scene.
    """
    collection = collection_of(provider, kind)
    items = _search(provider, collection, {"ids": [item_id]})
    # A server that does not know the parameter answers with others.
    found = [item for item in items if item.id == item_id]
    if not found:
        raise MinsegError(
            f"{item_id}: {provider.name} has no such item in {collection.name}; "
            "check the id (it differs between catalogues)"
        )
    return found[0]


def collection_of(provider: Provider, kind: Kind) -> Collection:
    """Return a provider's collection of a kind.

    Raises
    ------
    MinsegError
        If it has none.
    """
    collection = provider.optical if kind == "optical" else provider.radar
    if collection is None:
        raise MinsegError(f"{provider.name}: has no radar; add [radar] to its table or go without")
    return collection


def date_of(item: "pystac.Item") -> datetime.date:
    """Return the day of a scene (UTC)."""
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        raise MinsegError(f"{item.id}: has no date; leave this item out")
    return moment.astimezone(datetime.UTC).date()


def read_text(href: str) -> str:
    """Read a small text file by path or address, as patiently as a search.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    from pystac_client.exceptions import APIError

    try:
        return _connection().read_text(href)
    except APIError as error:
        raise OSError(_reason(error)) from None


def require_stac() -> None:
    """Refuse to go on without the packages of the extra ``stac``.

    Raises
    ------
    MinsegError
        With the command that installs them.
    """
    try:
        import planetary_computer  # noqa: F401
        import pystac_client  # noqa: F401
    except ImportError as error:
        raise MinsegError(
            f"reading catalogues needs the package {error.name}: run `pip install minseg[stac]`"
        ) from None


def _boxes(bounds: tuple[float, float, float, float]) -> list[tuple[float, float, float, float]]:
    """Split a box at the date line: not every server takes one with west > east."""
    west, south, east, north = bounds
    if west <= east:
        return [bounds]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _search(provider: Provider, collection: Collection, query: dict) -> list["pystac.Item"]:
    """Send a search; where nothing is found, make sure that the collection is there."""
    require_stac()
    from pystac import STACError
    from pystac_client import Client
    from pystac_client.exceptions import APIError

    try:
        opened = _OPENED.__dict__  # of this thread: a connection serves one at a time
        if provider.url not in opened:
            opened[provider.url] = Client.open(provider.url, stac_io=_connection())
        client = opened[provider.url]
        items = list(client.search(collections=[collection.name], **query).items())
        known = bool(items) or client.get_collection(collection.name) is not None
    except APIError as error:
        raise MinsegError(
            f"{provider.name}: {provider.url} gives no answer ({_reason(error)}); check --api "
            "and the network, or try again later"
        ) from None
    except (STACError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise MinsegError(
            f"{provider.name}: {provider.url} does not answer like a STAC API with item search "
            f"({_first_line(error)}); check --api"
        ) from None
    if not known:
        raise MinsegError(
            f"{provider.name}: {provider.url} has no collection {collection.name!r}; check --api "
            "or its table"
        )
    return items


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
    status = getattr(error, "status_code", None)
    text = _first_line(error)
    if status is not None:
        return f"HTTP {status}"
    return text.partition("Caused by ")[2].removesuffix(")") or text


def _first_line(error: Exception) -> str:
    """Return an error's first line, not too long."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
