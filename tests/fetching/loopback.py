"""A web server on this machine: files by ranges, made-up answers, and failures on demand."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


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

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answer({})

        def do_HEAD(self):
            self._answer({})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(json.loads(body))

        def _answer(self, body):
            path = urlsplit(self.path).path
            state.requests.append(f"{self.command} {path}")
            refused = state.refuse(self.path, self.headers)
            if refused:
                self._send(refused, state.refusal)
                return
            pending = state.failures.get(path) or []
            failure = pending.pop(0) if pending and self.command != "HEAD" else None
            if isinstance(failure, int):
                self._send(failure, b"{}")
            elif path in state.answers:
                self._send(200, json.dumps(state.answers[path](body)).encode())
            else:
                self._file(state.folder / path.lstrip("/"), failure == "cut")

        def _file(self, path, cut):
            if not path.is_file():
                self._send(404, b"not here")
                return
            data = path.read_bytes()
            wanted = self.headers.get("Range")
            if wanted is None:
                self._send(200, data, cut=cut)
                return
            first, last = wanted.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last or len(data) - 1), len(data) - 1) + 1
            if start >= len(data):
                self._send(416, b"")
                return
            span = f"bytes {start}-{stop - 1}/{len(data)}"
            self._send(206, data[start:stop], {"Content-Range": span}, cut)

        def _send(self, status, data, headers=None, cut=False):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            self.send_header("Accept-Ranges", "bytes")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            data = data[: len(data) // 2] if cut else data
            state.bytes_sent += len(data)
            self.wfile.write(data)
            if cut:
                self.close_connection = True

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
