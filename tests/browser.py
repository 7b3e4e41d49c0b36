"""A real browser without a window, driven through its DevTools protocol, that has no network."""

import asyncio
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Turns on every layer of every map in the page, one after the other, and says whether it came.
LOOK = """
(async () => {
    const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
    const until = async (condition) => {
        for (let k = 0; k < 250 && !condition(); k++) await pause();
        return Boolean(condition());
    };
    const loaded = (image) => image.complete && image.naturalWidth > 0;
    const maps = [];
    for (const frame of document.querySelectorAll("iframe[srcdoc]")) {
        const inside = () => frame.contentDocument;
        await until(() => inside().querySelector(".leaflet-control-layers"));
        const labels = [...inside().querySelectorAll(".leaflet-control-layers label")];
        const layers = {};
        for (const label of labels) {
            const name = label.textContent.trim();
            const selector = label.querySelector("input");
            if (selector.checked && selector.type === "checkbox") selector.click();
            const before = inside().querySelectorAll("path").length;
            if (!selector.checked) selector.click();
            layers[name] = await until(() => {
                if (name === "OpenStreetMap") return inside().querySelector(".leaflet-tile");
                const over = ".leaflet-overlay-pane img";
                if (name === "image only") return !inside().querySelector(over);
                const images = [...inside().querySelectorAll("img.leaflet-image-layer")];
                const own = images.find((image) => image.alt === name);
                return own ? loaded(own) : inside().querySelectorAll("path").length > before;
            });
        }
        const text = (part) => inside().querySelector(part)?.innerText ?? null;
        const region = inside().querySelector(".leaflet-container");
        maps.push({
            title: frame.title, height: frame.clientHeight, layers,
            legend: text(".legend"), scale: text(".leaflet-control-scale"), mark: text(".mark"),
            attribution: text(".leaflet-control-attribution"),
            label: region?.getAttribute("aria-label"), role: region?.getAttribute("role"),
        });
    }
    const images = [...document.images].filter((image) => !image.src.startsWith("http"));
    for (const image of images) image.loading = "eager";
    await until(() => images.every(loaded));
    const column = document.querySelector("article") ?? document.body;
    const right = column.getBoundingClientRect().right + 1;
    const runsOut = (part) => part.getBoundingClientRect().right > right
        || (part.tagName === "PRE" && part.scrollWidth > part.clientWidth + 1);
    const wide = [...column.querySelectorAll("pre, table, img, svg, iframe")].filter(runsOut);
    return {
        maps, broken: images.filter((image) => !loaded(image)).map((image) => image.src),
        wide: wide.map((part) => `${part.tagName}: ${(part.innerText ?? "").slice(0, 60)}`),
    };
})()
"""


@dataclass
class Page:
    """What a browser found in a page."""

    maps: list[dict]
    """Title, height, layers (name to whether it was drawn), legend, scale, mark, attribution."""
    broken: list[str]
    """Images of the page's own that did not load."""
    wide: list[str]
    """What runs out of its column: code, tables and pictures, by their beginning."""
    errors: list[str] = field(default_factory=list)
    """Script errors, in the page or in a map."""
    requests: list[str] = field(default_factory=list)
    """Addresses on the network that a map asked for."""
    answer: object = None
    """Value of the question asked."""


class Browser:
    """A browser that listens on a port of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def visit(self, path: Path, question: str = "null") -> Page:
        """Open a page, look at its maps, and evaluate a JavaScript expression in it."""
        return asyncio.run(self._visit(path, question))

    async def _visit(self, path: Path, question: str) -> Page:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new", method="PUT")
        with urllib.request.urlopen(request) as reply:
            target = json.load(reply)
        socket = await websocket_connect(
            target["webSocketDebuggerUrl"], max_message_size=2**28, ping_interval=None
        )
        tab = Tab(socket)
        for domain in ("Page", "Runtime", "Network"):
            await tab.command(f"{domain}.enable")
        opened = await tab.command("Page.navigate", url=path.absolute().as_uri())
        assert "errorText" not in opened, f"{path}: {opened}"
        await tab.event("Page.loadEventFired")
        page = Page(**await tab.evaluate(LOOK), answer=await tab.evaluate(question))
        page.errors += tab.errors
        page.requests += tab.requests
        await tab.command("Page.close")
        socket.close()
        return page


class Tab:
    """One page's side of the protocol."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket
        self.count = 0
        self.errors: list[str] = []
        self.requests: list[str] = []

    async def command(self, method: str, **parameters: object) -> dict:
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        await self.socket.write_message(json.dumps(message))
        while True:
            answer = await self.message()
            if answer.get("id") == self.count:
                return answer["result"]

    async def event(self, method: str) -> None:
        while (await self.message()).get("method") != method:
            pass

    async def evaluate(self, expression: str) -> object:
        found = await self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def message(self) -> dict:
        """Read a message, and keep what it tells of the page."""
        text = await self.socket.read_message()
        assert text is not None, "the browser has gone"
        message = json.loads(text)
        details = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = details["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.errors.append(f"{details['text']} {thrown} {details.get('url', '')}")
        if message.get("method") == "Network.requestWillBeSent":
            address, by = details["request"]["url"], details["documentURL"]
            if address.startswith("http") and by == "about:srcdoc":
                self.requests.append(address)
        return message


@contextmanager
def open_browser(scratch: Path) -> Iterator[Browser]:
    """Start a browser that reaches no server; skip the test where none is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser to look with: install one of {', '.join(NAMES)}")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--window-size=1300,900",
        f"--user-data-dir={scratch}",
        "--remote-debugging-port=0",
    ]
    process = subprocess.Popen([program, *options], stderr=subprocess.DEVNULL)
    try:
        yield Browser(_port(scratch / "DevToolsActivePort", process))
    finally:
        process.terminate()
        process.wait()


def _port(path: Path, process: subprocess.Popen) -> int:
    """Wait for the browser to write where it listens."""
    while not (path.is_file() and path.read_text().count("\n")):
        assert process.poll() is None, "the browser did not start"
        time.sleep(0.1)
    return int(path.read_text().splitlines()[0])
