"""A web server on this machine, of any files or of a made catalogue, that fails on demand."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from minseg.synthetic.server import CatalogueHandler, listening


@dataclass
class Loopback:
    """What a server has, and how it answers; tests change it while it runs."""

    folder: Path
    url: str = ""
    answers: dict[str, Callable[[dict], object]] = field(default_factory=dict)
    """Path to what gives the JSON answer to a request's body."""
    change: Callable[[dict], dict] = lambda item: item
    """What becomes of an item of a made catalogue before it is sent."""
    failures: dict[str, list] = field(default_factory=dict)
    """Path to what its next answers are instead: a status, "cut" = half of the bytes, or None."""
    refuse: Callable[[str, Mapping[str, str]], int] = lambda address, headers: 0
    """Status to refuse a request with, by its address and headers; 0 where it is answered."""
    refusal: bytes = b""
    """What a refused request is told."""
    requests: list[str] = field(default_factory=list)
    bytes_sent: int = 0

    @property
    def files_asked(self) -> list[str]:
        """Requests of files of a made catalogue."""
        return [request for request in self.requests if "/files/" in request]


@contextmanager
def serving(folder: Path) -> Iterator[Loopback]:
    state = Loopback(folder)
    with listening(partial(behaving(state), folder=folder, items=[])) as state.url:
        yield state


def behaving(state: Loopback) -> partial:
    """Make what `minseg.synthetic.server.serve` takes to answer so."""
    return partial(_Handler, state=state)


class _Handler(CatalogueHandler):
    def __init__(self, *arguments, state, **options):
        self.state = state
        super().__init__(*arguments, **options)

    def do_GET(self):  # noqa: N802
        state, path = self.state, urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state.requests.append(f"{self.command} {path}")
        query = json.loads(body or "{}")
        refused = state.refuse(self.path, self.headers)
        pending = state.failures.get(path) if self.command != "HEAD" and not refused else None
        failure = pending.pop(0) if pending else None
        self.cut = failure == "cut"
        if refused or isinstance(failure, int):
            self.send_response(refused or failure)
            self.send_header("Content-Length", str(len(state.refusal)))
            self.end_headers()
            self.wfile.write(state.refusal if self.command != "HEAD" else b"")
        elif path in state.answers:
            self.answer(state.answers[path](query))
        elif self.items and path == "/search":
            self.answer(self.search(query))
        elif self.items:
            super().do_GET()
        else:
            self.send_file(state.folder / path.lstrip("/"))

    do_HEAD = do_POST = do_GET  # noqa: N815

    def addressed(self, item):
        return self.state.change(super().addressed(item))

    def send_body(self, content):
        self.state.bytes_sent += len(content)
        super().send_body(content[: len(content) // 2] if self.cut else content)
        self.close_connection = self.close_connection or self.cut
