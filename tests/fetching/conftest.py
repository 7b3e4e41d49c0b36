"""Servers of made scenes, and datasets fetched from them."""

import hashlib
import re
from dataclasses import replace

import pytest

from minseg.fetching import catalogue, pixels, providers
from minseg.fetching.annotations import read_annotations
from minseg.fetching.dataset import fetch_dataset
from minseg.fetching.plan import FetchRequest, read_mines
from minseg.synthetic.catalogue import BOX, FIELDS
from minseg.synthetic.server import serve
from tests.fetching.loopback import Loopback, behaving, serving

PROVIDER = replace(providers.PROVIDERS["planetary-computer"], signing="none")


@pytest.fixture(scope="package", autouse=True)
def quick():
    """Nobody waits for a server that is busy."""
    options = {"GDAL_HTTP_RETRY_DELAY": "0.01", "GDAL_HTTP_MAX_RETRY": "2"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "PAUSE_S", 0.0)
        patch.setattr(catalogue, "BACKOFF_S", 0.01)
        patch.setattr(providers, "GDAL_OPTIONS", providers.GDAL_OPTIONS | options)
        yield


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as state:
        yield state


@pytest.fixture
def behaviour(made):
    return Loopback(made.folder)


@pytest.fixture
def api(made, behaviour):
    with serve(made.folder, behaving(behaviour)) as table:
        yield table


@pytest.fixture
def request_(made, api):
    return request_of(made, api)


@pytest.fixture(scope="session")
def fetched(made, tmp_path_factory):
    with serve(made.folder) as api:
        return fetch_dataset(tmp_path_factory.mktemp("fetched") / "mines", request_of(made, api))


def request_of(made, api, years=(2019, 2022)):
    mines = read_mines(made.mines)
    polygons = read_annotations(made.polygons, mines, FIELDS)
    return FetchRequest(mines, polygons, years, providers.provider_for(api), BOX)


def checksums(path):
    """Of everything in a fetched folder; items name the server's port, which is left out."""
    return {
        str(file.relative_to(path)): hashlib.sha256(
            re.sub(rb"127\.0\.0\.1:\d+", b"server", file.read_bytes())
        ).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }
