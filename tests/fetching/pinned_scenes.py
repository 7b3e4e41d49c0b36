"""A loopback catalogue that holds given Sentinel-2 items, with pixels that tell where they lie."""

import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.dataset import footprint
from minseg.data.labels import CLASSES
from minseg.data.raster import Grid
from minseg.fetching.annotations import Annotations, rasterise
from minseg.fetching.plan import MinePlan
from minseg.fetching.scene import SYNTHETIC_PROPERTY
from minseg.synthetic.catalogue import radar_name

GSD_M = {band.name: band.native_gsd_m for band in OPTICAL_BANDS} | {"SCL": 20}
ORDER = list(GSD_M)
SYNTHETIC = {SYNTHETIC_PROPERTY: True}


def number_at(band: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Reflectance × 10 000 that a band has at map coordinates: another one in each pixel."""
    columns, rows = (np.floor(axis / GSD_M[band]).astype(np.int64) for axis in (x, y))
    return 300 + (7 * columns + 13 * rows + 100 * ORDER.index(band)) % 2000


def scene_crs(item: str) -> CRS:
    """The projection of the tile that an item's id names."""
    zone, letter = re.search(r"_T(\d\d)([C-X])", item).groups()
    return CRS.from_epsg((32600 if letter >= "N" else 32700) + int(zone))


def expected(grid: Grid, item: str, band: str) -> np.ndarray:
    """What a band of an item is on a grid, by the definition of nearest neighbour."""
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    xs, ys = grid.transform @ (columns.ravel(), rows.ravel())
    xs, ys = transform(grid.crs, scene_crs(item), xs, ys)
    return number_at(band, np.array(xs), np.array(ys)).reshape(grid.height, grid.width)


def write_catalogue(folder: Path, scenes: dict[str, Grid]) -> None:
    """Write items and files for `minseg.synthetic.server.serve`.

    Each item's left half is cloudy; a clear one of the same year lies beside it, which any rule
    would take before it.
    """
    (folder / "files").mkdir(parents=True)
    items = []
    for item, box in scenes.items():
        day = datetime.datetime.strptime(item.split("_")[2][:8], "%Y%m%d").date()
        baseline = "05.00" if int(item.split("_")[-1][:4]) >= 2022 else "02.12"
        crs = scene_crs(item)
        bounds = transform_bounds(box.crs, crs, *box.bounds)
        left, bottom, right, top = (
            round(edge / 60) * 60 + out
            for edge, out in zip(bounds, (-600, -600, 600, 600), strict=True)
        )
        assets, clear = {}, {}
        for band, gsd_m in GSD_M.items():
            xs = np.arange(left + gsd_m / 2, right, gsd_m)
            ys = np.arange(top - gsd_m / 2, bottom, -gsd_m)
            values = number_at(band, xs[None, :], ys[:, None])
            values = (values + (1000 if baseline >= "04" else 0)).astype(np.uint16)
            if band == "SCL":
                values = np.full(values.shape, 5, np.uint8)
                clear[band] = write(folder, f"{item}_clear.tif", values, left, top, gsd_m, crs)
                values[:, : values.shape[1] // 2] = 9
            assets[band] = write(folder, f"{item}_{band}.tif", values, left, top, gsd_m, crs)
        properties = {"s2:processing_baseline": baseline, "eo:cloud_cover": 30.0}
        ground = shapely.box(*transform_bounds(box.crs, "EPSG:4326", *box.bounds)).buffer(0.005)
        items.append(stac_item(item, day, ground, properties, assets))
        other = day + datetime.timedelta(1 if day.month == 1 else -1)
        properties = properties | {"eo:cloud_cover": 0.0}
        items.append(stac_item(f"{item}-clear", other, ground, properties, assets | clear))
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")


def write_rendered(folder: Path, plans: Sequence[MinePlan], polygons: Annotations) -> None:
    """Write items that show planned mines as their polygons have them, each class its own colour.

    Ground that annotators were not sure about looks like one more class.
    """
    (folder / "files").mkdir(parents=True)
    random = np.random.default_rng(0)
    looks = np.clip(random.normal(1500, 600, (len(CLASSES) + 2, len(GSD_M))), 300, 4000)
    items = []
    for plan, year in [(one, year) for one in plans for year in one.years]:
        grid, day = plan.grid, datetime.date(year, 7, 1)
        bits = rasterise(polygons.of_year(year), grid)
        shown = np.zeros(bits.shape, int)
        for value in np.unique(bits[bits > 0]):
            shown[bits == value] = min(int(value).bit_length(), len(CLASSES) + 1)
        left, _, _, top = grid.bounds
        noise = random.normal(0, 60, bits.shape)
        assets = {}
        for number, (band, gsd_m) in enumerate(GSD_M.items()):
            values = (looks[shown, number] + noise)[:: gsd_m // 10, :: gsd_m // 10]
            values = np.full(values.shape, 5) if band == "SCL" else values
            kind = np.uint8 if band == "SCL" else np.uint16
            name = f"{plan.mine}_{year}_{band}.tif"
            assets[band] = write(folder, name, values.astype(kind), left, top, gsd_m, grid.crs)
        power = (0.1 + shown / 20 + noise / 1e4).astype(np.float32)
        radar = {
            name: write(folder, f"{plan.mine}_{year}_{name}.tif", power, left, top, 10, grid.crs)
            for name in ("vv", "vh")
        }
        ground = footprint(grid)
        told = {"s2:processing_baseline": "02.12", "eo:cloud_cover": 0.0}
        orbit = {"sat:relative_orbit": 51, "sat:orbit_state": "ascending"}
        items += [
            stac_item(f"S2_{plan.mine}_{year}", day, ground, told | SYNTHETIC, assets),
            stac_item(
                f"S1_{plan.mine}_{year}", day, ground, orbit | SYNTHETIC, radar, radar_name()
            ),
        ]
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")


def write(folder, name, values, left, top, gsd_m, crs):
    with rasterio.open(
        folder / "files" / name,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=Affine(gsd_m, 0, left, 0, -gsd_m, top),
        tiled=True,
        compress="deflate",
        nodata=0,
    ) as target:
        target.write(values, 1)
    return {"href": name, "type": "image/tiff; application=geotiff"}


def stac_item(item, day, ground, properties, assets, collection="sentinel-2-l2a"):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item,
        "collection": collection,
        "geometry": shapely.geometry.mapping(ground),
        "bbox": list(ground.bounds),
        "properties": {"datetime": f"{day}T10:30:00Z", **properties},
        "assets": assets,
        "links": [],
    }
