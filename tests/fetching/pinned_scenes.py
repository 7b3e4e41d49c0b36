"""A loopback catalogue that holds given Sentinel-2 items, with pixels that tell where they lie."""

import datetime
import json
import re
from pathlib import Path

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.raster import Grid

GSD_M = {band.name: band.native_gsd_m for band in OPTICAL_BANDS} | {"SCL": 20}
ORDER = list(GSD_M)


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
        bounds = transform_bounds(box.crs, scene_crs(item), *box.bounds)
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
                clear[band] = write(folder, f"{item}_clear.tif", values, left, top, gsd_m, item)
                values[:, : values.shape[1] // 2] = 9
            assets[band] = write(folder, f"{item}_{band}.tif", values, left, top, gsd_m, item)
        properties = {"s2:processing_baseline": baseline, "eo:cloud_cover": 30.0}
        ground = shapely.box(*transform_bounds(box.crs, "EPSG:4326", *box.bounds)).buffer(0.005)
        items.append(stac_item(item, day, ground, properties, assets))
        other = day + datetime.timedelta(1 if day.month == 1 else -1)
        properties = properties | {"eo:cloud_cover": 0.0}
        items.append(stac_item(f"{item}-clear", other, ground, properties, assets | clear))
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")


def write(folder, name, values, left, top, gsd_m, item):
    with rasterio.open(
        folder / "files" / name,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=scene_crs(item),
        transform=Affine(gsd_m, 0, left, 0, -gsd_m, top),
        tiled=True,
        compress="deflate",
        nodata=0,
    ) as target:
        target.write(values, 1)
    return {"href": name, "type": "image/tiff; application=geotiff"}


def stac_item(item, day, ground, properties, assets):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item,
        "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(ground),
        "bbox": list(ground.bounds),
        "properties": {"datetime": f"{day}T10:30:00Z", **properties},
        "assets": assets,
        "links": [],
    }
