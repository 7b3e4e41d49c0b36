"""A loopback catalogue of made mines that can be busy, break off, and tell what was asked."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from minseg.synthetic.server import CatalogueHandler


@dataclass
class Behaviour:
    """How the server answers; tests change it while it runs."""

    busy: list[int] = field(default_factory=list)
    """Statuses to answer the next requests with: 429, 500 ..."""
    cuts: int = 0
    """How many of the next files to break off in the middle."""
    missing: str = ""
    """Files whose name this pattern is in are not found."""
    refuse: Callable[[dict], int] = lambda query: 0
    """Status to refuse a search with; 0 where it is answered."""
    change: Callable[[dict], dict] = lambda item: item
    """What becomes of an item before it is sent."""
    on_file: Callable[[int], None] = lambda number: None
    """Called with the number of each request of a file before it is answered."""
    files: list[str] = field(default_factory=list)
    """Paths of the files asked for."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def behaving(behaviour: Behaviour) -> type[CatalogueHandler]:
    """Make a handler of requests that behaves so."""

    class Handler(CatalogueHandler):
        def handle_busy(self) -> bool:
            with behaviour.lock:
                status = behaviour.busy.pop(0) if behaviour.busy else None
            if status:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_error(status)
            return status is not None

        def do_GET(self):  # noqa: N802
            if not self.handle_busy():
                super().do_GET()

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self):  # noqa: N802
            if not self.handle_busy():
                super().do_POST()

        def answer(self, page):
            status = page.pop("refused", 0)
            self.send_error(status) if status else super().answer(page)

        def search(self, query):
            return super().search(query) | {"refused": behaviour.refuse(query)}

        def addressed(self, item):
            return behaviour.change(super().addressed(item))

        def send_file(self, path):
            with behaviour.lock:
                behaviour.files.append(path)
                number = len(behaviour.files)
            behaviour.on_file(number)
            if behaviour.missing and re.search(behaviour.missing, path):
                self.send_error(404)
            else:
                super().send_file(path)

        def send_body(self, content):
            with behaviour.lock:
                cut = behaviour.cuts > 0
                behaviour.cuts -= cut
            super().send_body(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

    return Handler
