"""Web servers on this machine, of any files and of a made catalogue, that fail on demand."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from minseg.synthetic.server import CatalogueHandler, listening


@dataclass
class Loopback:
    folder: Path
    url: str = ""
    answers: dict[str, Callable[[dict], object]] = field(default_factory=dict)
    """Path to what gives the JSON answer to a request's body."""
    failures: dict[str, list] = field(default_factory=dict)
    """Path to what its next answers are instead: a status, or "cut" = half of the bytes."""
    refuse: Callable[[str, Mapping[str, str]], int] = lambda address, headers: 0
    """Status to refuse a request with, by its address and headers; 0 where it is answered."""
    refusal: bytes = b""
    """What a refused request is told."""
    requests: list[str] = field(default_factory=list)
    bytes_sent: int = 0


@contextmanager
def serving(folder: Path) -> Iterator[Loopback]:
    state = Loopback(folder)
    with listening(partial(_Handler, folder=folder, items=[], state=state)) as state.url:
        yield state


class _Handler(CatalogueHandler):
    def __init__(self, *arguments, state, **options):
        self.state = state
        super().__init__(*arguments, **options)

    def do_GET(self):  # noqa: N802
        state, path = self.state, urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state.requests.append(f"{self.command} {path}")
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
            self.answer(state.answers[path](json.loads(body or "{}")))
        else:
            self.send_file(state.folder / path.lstrip("/"))

    do_HEAD = do_POST = do_GET  # noqa: N815

    def send_body(self, content):
        self.state.bytes_sent += len(content)
        super().send_body(content[: len(content) // 2] if self.cut else content)
        self.close_connection = self.close_connection or self.cut


@dataclass
class Behaviour:
    """How the server of a made catalogue answers; tests change it while it runs."""

    missing: str = ""
    """Files whose name this pattern is in are not found."""
    refuse: Callable[[dict], int] = lambda query: 0
    """Status to refuse a search with; 0 where it is answered."""
    change: Callable[[dict], dict] = lambda item: item
    """What becomes of an item before it is sent."""
    on_file: Callable[[int], None] = lambda number: None
    """Called with the number of each request of a file before it is answered."""
    files: list[str] = field(default_factory=list)
    """Names of the files asked for."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def behaving(behaviour: Behaviour) -> type[CatalogueHandler]:
    """Make a handler of requests that behaves so."""

    class Handler(CatalogueHandler):
        def search(self, query):
            return {"refused": behaviour.refuse(query), **super().search(query)}

        def answer(self, page):
            status = page.pop("refused", 0)
            self.send_error(status) if status else super().answer(page)

        def addressed(self, item):
            return behaviour.change(super().addressed(item))

        def send_file(self, file):
            with behaviour.lock:
                behaviour.files.append(file.name)
                number = len(behaviour.files)
            behaviour.on_file(number)
            if behaviour.missing and re.search(behaviour.missing, file.name):
                self.send_error(404)
            else:
                super().send_file(file)

    return Handler
