"""Fetching from a STAC API that somebody else wrote: rustac, in its own process."""

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pandas as pd

from minseg.data.dataset import check_dataset
from minseg.fetching.dataset import fetch_dataset
from minseg.synthetic.catalogue import LIKE
from tests.fetching.conftest import checksums, request_of
from tests.fetching.loopback import serving

RUSTAC = Path(sys.executable).with_name("rustac")


@contextmanager
def rustac(folder, files_url):
    """Serve the items of a catalogue; the files come from another server, by ranges."""
    items = json.loads((folder / "items.json").read_text())
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = f"{files_url}/files/{asset['href']}"
        item["links"] = []
    page = folder / "page.json"
    page.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [RUSTAC, "serve", "--addr", address, "--create-collections", page]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://{address}", server)
        table = folder / "rustac.toml"
        table.write_text(
            f'like = "{LIKE.name}"\nurl = "http://{address}"\nsigning = "none"\naccess = ""\n'
        )
        yield str(table)
    finally:
        server.kill()
        server.wait()


def wait_for(url, server):
    while True:
        try:
            return urlopen(url).close()
        except OSError:  # it does not listen yet
            assert server.poll() is None, "rustac has stopped"
            time.sleep(0.1)


def test_a_foreign_server_gives_the_same_dataset(made, fetched, tmp_path):
    with serving(made.folder) as files, rustac(made.folder, files.url) as api:
        theirs = fetch_dataset(tmp_path / "theirs", request_of(made, api))
    assert theirs.failures == () and check_dataset(theirs.dataset.path) == []
    expected, found = (checksums(each.dataset.path) for each in (fetched, theirs))
    rasters = [name for name in expected if name.endswith(".tif")]
    assert len(rasters) == 18
    assert {name: found[name] for name in rasters} == {name: expected[name] for name in rasters}
    # It takes no filter by cloud: cloudy scenes come too, and are put aside here.
    candidates = pd.read_csv(theirs.dataset.path / "candidates.csv")
    cloudy = candidates[candidates["item"].str.contains("cloud")]
    assert len(cloudy) and not cloudy["chosen"].any()
