"""Scenes that a catalogue has of a place: polite searches of a STAC API."""

import datetime
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from minseg.data.dateline import split_box
from minseg.errors import MinsegError
from minseg.fetching.access import ATTEMPTS, TIMEOUT_S, refusal, status_of
from minseg.fetching.items import date_of, read_item
from minseg.fetching.providers import Collection, Provider

if TYPE_CHECKING:
    import pystac
    from pystac_client import Client, ItemSearch
    from pystac_client.stac_api_io import StacApiIO

Kind = Literal["optical", "radar"]

BACKOFF_S = 1.0
"""The second attempt waits nothing, the next ones 2, 4, 8 ... times this, seconds."""

ITEMS_A_PAGE = 100


class _Opened(threading.local):
    """Catalogues whose landing page this thread has read: a connection serves one at a time."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}


_OPENED = _Opened()


@dataclass(frozen=True)
class Found:
    """What a catalogue has of a place and time."""

    items: list["pystac.Item"]
    """By date; addresses of assets unsigned (`minseg.fetching.assets` signs as it reads, so that no
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
    Found

    Raises
    ------
    MinsegError
        If the catalogue does not answer, has no such collection, gives one page again and again, or
        `start` is after `end`.
    """
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


def find(provider: Provider, kind: Kind, item_id: str) -> "pystac.Item":
    """Return one scene by its id.

    Raises
    ------
    MinsegError
        If the catalogue does not answer or has no such scene.
    """
    collection = collection_of(provider, kind)
    with _asking(provider) as client:
        # A server that does not know the parameter answers with all that it has.
        found = client.search(collections=[collection.name], ids=[item_id], max_items=ITEMS_A_PAGE)
        sent = (value for value in _features(found, provider) if _id_of(value) == item_id)
        value = next(sent, None)
        if value is None:
            _require_collection(client, provider, collection)
    if value is None:
        raise MinsegError(
            f"{item_id}: {provider.name} has no such item in {collection.name}; "
            "check the id (it differs between catalogues)"
        )
    item, fault = read_item(value, collection)
    if item is None:
        raise MinsegError(f"{item_id}: {fault}; pin another item")
    return item


def require_answer(provider: Provider) -> None:
    """Refuse to go on with a catalogue that does not answer.

    Raises
    ------
    MinsegError
        With the reason.
    """
    with _asking(provider):
        pass


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
    """Open a catalogue, and tell in one line what goes wrong as it is asked.

    Only requests belong into the block: what they give is read by `read_item`.
    """
    require_stac()
    from pystac import STACError, STACTypeError
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import DoesNotConformTo

    try:
        if provider.url not in _OPENED.clients:
            _OPENED.clients[provider.url] = Client.open(provider.url, stac_io=_connection())
        yield _OPENED.clients[provider.url]
    except APIError as error:
        raise MinsegError(
            f"{provider.name}: {provider.url} gives no answer "
            f"({_reason(error)}){refusal(status_of(error), provider)}; check --api and the "
            "network, or try again later"
        ) from None
    except (
        STACError,
        STACTypeError,
        ClientTypeError,
        DoesNotConformTo,
        AttributeError,
        KeyError,
        NotImplementedError,
        TypeError,
        ValueError,
    ) as error:
        raise MinsegError(
            f"{provider.name}: {provider.url} does not answer like a STAC API with item search "
            f"({_first_line(error)}); check --api"
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
    status = getattr(error, "status_code", None)
    text = _first_line(error)
    if status is not None:
        return f"HTTP {status}"
    return text.partition("Caused by ")[2].removesuffix(")") or text


def _first_line(error: Exception) -> str:
    """Return an error's first line, not too long."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
