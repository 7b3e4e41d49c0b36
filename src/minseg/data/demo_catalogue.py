"""A catalogue of made-up Sentinel scenes on this computer, to learn and test fetching without any.

It answers as Planetary Computer does: the same asset names, an offset of 1000 in the numbers from
processing baseline 04.00 on, radar as linear power. The mines are those of
`minseg.data.synthetic`, each item says so, and a dataset fetched from them is marked synthetic.
"""

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from rasterio.features import shapes

from minseg.atomic import replace_when_done
from minseg.data.annotations import PolygonFields
from minseg.data.bands import OPTICAL_BANDS
from minseg.data.boxes import BoxRule
from minseg.data.dataset import footprint
from minseg.data.fetching import SYNTHETIC_PROPERTY
from minseg.data.labels import CLASS_NAMES, decode_bits
from minseg.data.mineregister import synthetic_mines
from minseg.data.providers import PROVIDERS
from minseg.data.raster import Grid, raster_profile
from minseg.data.synthetic import render_scene
from minseg.data.writing import SceneRasters

LIKE = PROVIDERS["planetary-computer"]
"""The catalogue whose form is copied."""

FIELDS = PolygonFields(year_field="year", mine_field="mine")
"""What the fields of the polygons mean."""

BOX = BoxRule(margin_m=0.0, smallest_m=600.0)
"""Boxes that the small made scenes fill."""

OFFSET = 1000
"""Added to the numbers of new processing baselines."""

_CLOUD, _GROUND = 9, 5  # of Sen2Cor's classes


@dataclass(frozen=True)
class DemoCatalogue:
    """Where the made things lie."""

    folder: Path
    mines: Path
    """Mine list (CSV)."""
    polygons: Path
    """GeoPackage with the fields mine, class and year."""
    years: tuple[int, ...]


def write_demo_catalogue(
    folder: Path,
    num_mines: int = 4,
    years: Sequence[int] = (2019, 2022),
    size: int = 192,
    seed: int = 0,
) -> DemoCatalogue:
    """Draw mines, and write items, rasters, a mine list and polygons; nothing if they are there.

    Of each mine and year there is a clear, a cloudy and a half-covered Sentinel-2 scene, and three
    Sentinel-1 scenes of two relative orbits.

    Parameters
    ----------
    folder : Path
    num_mines : int
    years : sequence of int
    size : int
        Side of a scene, pixels of 10 m; a multiple of 6. Mines fill it: fetch them with `BOX`.
    seed : int

    Returns
    -------
    DemoCatalogue
    """
    folder = Path(folder)
    made = DemoCatalogue(
        folder, folder / "mines.csv", folder / "polygons.gpkg", tuple(sorted(set(years)))
    )
    if folder.exists():
        return made
    with replace_when_done(folder) as beside:
        (beside / "files").mkdir(parents=True)
        mines = synthetic_mines(num_mines, seed)
        items, drawn = [], []
        for _, mine in mines.iterrows():
            for year in made.years:
                scene = render_scene(mine, year, made.years, size, seed)
                items += _optical_items(beside, scene) + _radar_items(beside, scene)
                drawn.append(_outlines(scene))
        mines.to_csv(beside / "mines.csv", index=False)
        pd.concat(drawn).to_file(beside / "polygons.gpkg", driver="GPKG")
        (beside / "items.json").write_text(json.dumps(items), encoding="utf-8")
    return made


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
    with _Server(("127.0.0.1", 0), answer) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        table = Path(folder) / "demo.toml"
        table.write_text(
            f'like = "{LIKE.name}"\nname = "demo"\nurl = "{url}"\nsigning = "none"\naccess = ""\n',
            encoding="utf-8",
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield str(table)
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
        """Answer a request for a page, a search or a file."""
        path, query = urlsplit(self.path).path.strip("/"), parse_qs(urlsplit(self.path).query)
        if path == "":
            self.answer(self.landing_page())
        elif path == "search":
            self.answer(self.search({key: value[0] for key, value in query.items()}))
        elif path.startswith("files/"):
            self.send_file(path)
        elif path.removeprefix("collections/") in (LIKE.optical.name, _radar_name()):
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
        links = [
            {"rel": "self", "href": self.url, "type": "application/json"},
            {"rel": "root", "href": self.url, "type": "application/json"},
            {"rel": "data", "href": f"{self.url}/collections", "type": "application/json"},
            *(
                {"rel": "search", "href": f"{self.url}/search", "method": method,
                 "type": "application/geo+json"}
                for method in ("GET", "POST")
            ),
        ]  # fmt: skip
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "demo",
            "description": "Made-up Sentinel scenes",
            "conformsTo": [f"{core}/core", f"{core}/collections", f"{core}/item-search"],
            "links": links,
        }

    def collection(self, name: str) -> dict:
        """Return a collection."""
        extent = {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]},
        }
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "description": "Made-up Sentinel scenes",
            "license": "CC0-1.0",
            "extent": extent,
            "links": [],
        }

    def search(self, query: dict) -> dict:
        """Find items by collection, id, box and time."""
        found = self.items
        names = _listed(query.get("collections"))
        if names:
            found = [item for item in found if item["collection"] in names]
        identifiers = _listed(query.get("ids"))
        if identifiers:
            found = [item for item in found if item["id"] in identifiers]
        if query.get("bbox"):
            box = shapely.box(*map(float, _listed(query["bbox"])))
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
        itself = {
            "rel": "self",
            "href": f"{self.url}/collections/{item['collection']}/items/{item['id']}",
        }
        return item | {"assets": assets, "links": [itself]}

    def answer(self, page: dict) -> None:
        """Send JSON."""
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, path: str) -> None:
        """Send a file, or the range of it that is asked for."""
        file = self.folder / "files" / Path(path).name
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


def _optical_items(folder: Path, scene: SceneRasters) -> list[dict]:
    """Write a clear, a cloudy and a half-covered scene, some days apart."""
    day = date.fromisoformat(scene.date)
    sides = scene.optical.shape[1:]
    clear = np.full(sides, _GROUND, np.uint8)
    cloudy = clear.copy()
    cloudy[sides[0] // 4 : sides[0] * 3 // 4, sides[1] // 4 : sides[1] * 3 // 4] = _CLOUD
    half = clear.copy()
    half[:, : sides[1] // 2] = 0
    return [
        _optical_item(folder, scene, day + timedelta(shift), name, classes)
        for name, shift, classes in (("clear", 0, clear), ("cloudy", 5, cloudy), ("half", 10, half))
    ]


def _optical_item(
    folder: Path, scene: SceneRasters, day: date, name: str, classes: np.ndarray
) -> dict:
    """Write one Sentinel-2 scene."""
    baseline = "04.00" if day.year >= 2022 else "02.12"
    numbers = np.where(classes == _CLOUD, 9000, scene.optical).astype(np.uint16)
    numbers = numbers + np.uint16(OFFSET if baseline >= "04" else 0)
    numbers[:, classes == 0] = 0
    layers = dict(zip(scene.optical_bands, numbers, strict=True))
    identifier = f"S2_{scene.mine}_{day:%Y%m%d}_{name}"
    gsd_m = {band.name: band.native_gsd_m for band in OPTICAL_BANDS} | {"SCL": 20}
    assets = {
        band: _write(folder, f"{identifier}_{band}.tif", values, scene.grid, gsd_m[band], 0)
        for band, values in (layers | {"SCL": classes}).items()
    }
    properties = {
        "eo:cloud_cover": 100 * float((classes == _CLOUD).mean()),
        "s2:processing_baseline": baseline,
    }
    return _item(identifier, LIKE.optical.name, scene.grid, day, properties, assets)


def _radar_items(folder: Path, scene: SceneRasters) -> list[dict]:
    """Write three Sentinel-1 scenes: two of one relative orbit, one of another, nearer in time."""
    assert scene.radar is not None
    power = np.nan_to_num(10 ** (scene.radar[:2] / 10), nan=-32768).astype(np.float32)
    items = []
    for shift, orbit, state in (
        (3, 51, "ascending"),
        (-9, 51, "ascending"),
        (1, 124, "descending"),
    ):
        if orbit == 124 and scene.year is not None and scene.year % 2 == 0:
            continue  # this orbit misses some years
        day = date.fromisoformat(scene.date) + timedelta(shift)
        identifier = f"S1_{scene.mine}_{day:%Y%m%d}_{orbit:03d}"
        assets = {
            channel.lower(): _write(
                folder, f"{identifier}_{channel}.tif", values, scene.grid, 10, -32768
            )
            for channel, values in zip(("VV", "VH"), power, strict=True)
        }
        properties = {"sat:relative_orbit": orbit, "sat:orbit_state": state}
        items.append(_item(identifier, _radar_name(), scene.grid, day, properties, assets))
    return items


def _radar_name() -> str:
    """Return the name of the radar collection."""
    assert LIKE.radar is not None
    return LIKE.radar.name


def _item(
    identifier: str,
    collection: str,
    grid: Grid,
    day: date,
    properties: dict,
    assets: dict[str, dict],
) -> dict:
    """Return a STAC item; addresses of assets are file names until they are served."""
    ground = footprint(grid)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": identifier,
        "collection": collection,
        "geometry": shapely.geometry.mapping(ground),
        "bbox": list(ground.bounds),
        "properties": {
            "datetime": f"{day}T10:30:00Z",
            "proj:code": f"EPSG:{grid.crs.to_epsg() if grid.crs else None}",
            SYNTHETIC_PROPERTY: True,
            **properties,
        },
        "assets": assets,
        "links": [],
    }


def _write(
    folder: Path, name: str, values: np.ndarray, grid: Grid, gsd_m: int, nodata: float
) -> dict:
    """Write a band at its own ground sample distance; return the asset."""
    step = gsd_m // 10
    own = values[::step, ::step]  # the pixels of coarse bands are blocks of the scene's
    coarse = replace(
        grid,
        height=own.shape[0],
        width=own.shape[1],
        transform=grid.transform @ Affine.scale(step),
    )
    with rasterio.open(
        folder / "files" / name, "w", **raster_profile(coarse, 1, own.dtype, nodata)
    ) as target:
        target.write(own, 1)
    return {
        "href": name,
        "type": "image/tiff; application=geotiff",
        "proj:shape": list(own.shape),
        "proj:transform": list(coarse.transform)[:6],
    }


def _outlines(scene: SceneRasters) -> gpd.GeoDataFrame:
    """Trace the labels of a scene, class by class."""
    rows = [
        {
            "mine": scene.mine,
            "class": name,
            "year": scene.year,
            "geometry": shapely.union_all(parts),
        }
        for name in CLASS_NAMES
        for mask in [decode_bits(scene.labels, name).astype(np.uint8)]
        for parts in [
            [
                shapely.geometry.shape(outline)
                for outline, value in shapes(mask, mask > 0, transform=scene.grid.transform)
                if value
            ]
        ]
        if parts
    ]
    return gpd.GeoDataFrame(rows, crs=scene.grid.crs).to_crs("EPSG:4326")


def _listed(value: object) -> list[str]:
    """Read a list, or text with commas."""
    if not value:
        return []
    return value.split(",") if isinstance(value, str) else [str(each) for each in value]  # type: ignore[attr-defined]
