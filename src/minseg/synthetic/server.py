"""The catalogue of made-up scenes as a STAC API on the loopback interface."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import shapely

from minseg.synthetic.catalogue import LIKE, OPTICAL, RADAR

_ABOUT = {"stac_version": "1.0.0", "description": "Made-up Sentinel scenes"}


@contextmanager
def serve(folder: Path, handler: type["CatalogueHandler"] | None = None) -> Iterator[str]:
    """Serve a catalogue on the loopback interface while the block runs.

    Parameters
    ----------
    folder : Path
        What `write_demo_catalogue` made.
    handler : type, optional
        Another way to answer.

    Yields
    ------
    str
        Path of the provider's table, to give as ``api``.
    """
    items = json.loads((Path(folder) / "items.json").read_text(encoding="utf-8"))
    answer = partial(handler or CatalogueHandler, folder=Path(folder), items=items)
    with listening(answer) as url:
        table = Path(folder) / "demo.toml"
        table.write_text(
            f'like = "{LIKE.name}"\nname = "demo"\nurl = "{url}"\nsigning = "none"\naccess = ""\n',
            encoding="utf-8",
        )
        yield str(table)


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests on the loopback interface while the block runs; give the address."""
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class _Server(ThreadingHTTPServer):
    """Takes it calmly where a client goes away."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of broken connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class CatalogueHandler(BaseHTTPRequestHandler):
    """Answers searches like a STAC API, and ranges of files like object storage."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: object, folder: Path, items: list[dict]) -> None:
        self.folder, self.items = folder, items
        super().__init__(*arguments)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """Address of the landing page."""
        assert isinstance(self.server, ThreadingHTTPServer)
        return f"http://127.0.0.1:{self.server.server_port}"

    def do_GET(self) -> None:
        """Answer a request for a page or a file."""
        path = urlsplit(self.path).path.strip("/")
        if path == "":
            self.answer(self.landing_page())
        elif path.startswith("files/"):
            self.send_file(self.folder / "files" / Path(path).name)
        elif path.removeprefix("collections/") in (OPTICAL, RADAR):
            self.answer(self.collection(path.removeprefix("collections/")))
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Answer a search."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if urlsplit(self.path).path.strip("/") == "search":
            self.answer(self.search(json.loads(body)))
        else:
            self.send_error(404)

    def landing_page(self) -> dict:
        """Return what the API can."""
        core = "https://api.stacspec.org/v1.0.0"
        search = {"href": f"{self.url}/search", "method": "POST", "type": "application/geo+json"}
        return _ABOUT | {
            "type": "Catalog",
            "id": "demo",
            "conformsTo": [f"{core}/core", f"{core}/collections", f"{core}/item-search"],
            "links": [
                {"rel": "self", "href": self.url},
                {"rel": "root", "href": self.url},
                {"rel": "data", "href": f"{self.url}/collections"},
                {"rel": "search", **search},
            ],
        }

    def collection(self, name: str) -> dict:
        """Return a collection."""
        extent = {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]},
        }
        about = {"type": "Collection", "id": name, "license": "CC0-1.0", "extent": extent}
        return _ABOUT | about | {"links": []}

    def search(self, query: dict) -> dict:
        """Find items by collection, id, box and time."""
        found = self.items
        for name, field in (("collections", "collection"), ("ids", "id")):
            if query.get(name):
                found = [item for item in found if item[field] in query[name]]
        if query.get("bbox"):
            box = shapely.box(*query["bbox"])
            found = [i for i in found if box.intersects(shapely.geometry.shape(i["geometry"]))]
        if query.get("datetime"):
            first, _, last = query["datetime"].partition("/")
            days = first[:10], (last or first)[:10]
            found = [i for i in found if days[0] <= i["properties"]["datetime"][:10] <= days[1]]
        return {
            "type": "FeatureCollection",
            "features": [self.addressed(item) for item in found],
            "links": [],
        }

    def addressed(self, item: dict) -> dict:
        """Return an item with the addresses of this server."""
        assets = {
            key: asset | {"href": f"{self.url}/files/{asset['href']}"}
            for key, asset in item["assets"].items()
        }
        address = f"{self.url}/collections/{item['collection']}/items/{item['id']}"
        return item | {"assets": assets, "links": [{"rel": "self", "href": address}]}

    def answer(self, page: dict) -> None:
        """Send JSON."""
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, file: Path) -> None:
        """Send a file, or the range of it that is asked for."""
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        wanted = self.headers.get("Range", "")
        start, end = 0, len(content) - 1
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or end), end)
        if start > end:
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "image/tiff")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(content[start : end + 1])

    def send_body(self, content: bytes) -> None:
        """Send the bytes of a file."""
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""
