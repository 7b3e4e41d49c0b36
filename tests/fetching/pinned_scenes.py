"""A loopback catalogue that holds given Sentinel-2 items, with pixels that tell where they lie."""

import datetime
import json
import re
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.raster import Grid
from tests.fetching.scenes import item as stac_item
from tests.fetching.scenes import tif

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
        hrefs, clear = {}, {}

        for band, gsd_m in GSD_M.items():
            place, crs = Affine(gsd_m, 0, left, 0, -gsd_m, top), scene_crs(item)
            xs = np.arange(left + gsd_m / 2, right, gsd_m)
            ys = np.arange(top - gsd_m / 2, bottom, -gsd_m)
            values = number_at(band, xs[None, :], ys[:, None])
            values = (values + (1000 if baseline >= "04" else 0)).astype(np.uint16)
            if band == "SCL":
                values = np.full(values.shape, 5, np.uint8)
                clear[band] = f"{item}_clear.tif"
                tif(folder / "files" / clear[band], values, place, crs)
                values[:, : values.shape[1] // 2] = 9
            hrefs[band] = f"{item}_{band}.tif"
            tif(folder / "files" / hrefs[band], values, place, crs)
        ground = shapely.box(*transform_bounds(box.crs, "EPSG:4326", *box.bounds)).buffer(0.005)
        other = day + datetime.timedelta(1 if day.month == 1 else -1)
        about = {"s2__processing_baseline": baseline}
        for name, date, cloud, files in (
            (item, day, 30.0, hrefs),
            (f"{item}-clear", other, 0.0, hrefs | clear),
        ):
            one = stac_item(name, str(date), files, ground.bounds, eo__cloud_cover=cloud, **about)
            items.append(one.to_dict() | {"collection": "sentinel-2-l2a"})
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")
