"""Made-up Sentinel items, and rasters of known pixels for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds

from minseg.data.bands import OPTICAL_BANDS
from minseg.data.raster import Grid

UTM = CRS.from_epsg(32633)
TILE = Grid(240, 240, Affine(10, 0, 499_980, 0, -10, 5_200_020), UTM)
"""The made-up tile at 10 m; 2.4 km, snapped to 60 m."""

BOX = Grid(96, 84, Affine(10, 0, 499_980 + 480, 0, -10, 5_200_020 - 360), UTM)
"""A mine's box in it, snapped to 60 m too."""


def in_zone(epsg: int, height: int = 84, width: int = 96) -> Grid:
    """A grid of another zone, from the box's upper left corner on."""
    crs = CRS.from_epsg(epsg)
    (x,), (y,) = transform(UTM, crs, [BOX.bounds[0]], [BOX.bounds[3]])
    left, top = 60 * round(x / 60), 60 * round(y / 60)
    return Grid(height, width, Affine(10, 0, left, 0, -10, top), crs)


WEST = replace(TILE, width=90)
"""A tile that shows the box's western half."""

_OTHER_ZONE = in_zone(32632, 240, 240)
BESIDE = {
    "one zone": replace(TILE, width=120, transform=TILE.transform @ Affine.translation(78, 0)),
    "two zones": replace(
        _OTHER_ZONE, transform=_OTHER_ZONE.transform @ Affine.translation(30, -60)
    ),
}
"""Tiles that show the rest of it."""


def tif(path: Path, values: np.ndarray, transform: Affine, crs=UTM, nodata=0, **options) -> Path:
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128} | options
    height, width = values.shape
    with rasterio.open(
        path, "w", "GTiff", width, height, 1, crs, transform, values.dtype, nodata, **options
    ) as target:
        target.write(values, 1)
    return path


def numbers_at(
    gsd_m: int, seed: int, low: int = 1200, high: int = 4000, tile: Grid = TILE
) -> np.ndarray:
    shape = tile.height * 10 // gsd_m, tile.width * 10 // gsd_m
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.uint16)


def optical_bands(folder: Path, assets=str, tile=TILE, seed=0) -> dict[str, np.ndarray]:
    """Write the 12 bands in their native pixels; their numbers by band."""
    numbers = {}
    for k, band in enumerate(OPTICAL_BANDS):
        gsd_m = band.native_gsd_m
        numbers[band.name] = numbers_at(gsd_m, seed + k, tile=tile)
        transform = tile.transform @ Affine.scale(gsd_m / 10)
        tif(folder / f"{assets(band.name)}.tif", numbers[band.name], transform, tile.crs)
    return numbers


def scene_classes(path: Path, parts: dict[int, float]) -> Path:
    """Write a classification in which each class fills a share of the tile, row by row."""
    side = TILE.height // 2
    classes = np.full(side * side, 4, np.uint8)
    start = 0
    for value, share in parts.items():
        stop = start + round(share * classes.size)
        classes[start:stop] = value
        start = stop
    return tif(path, classes.reshape(side, side), TILE.transform @ Affine.scale(2))


def item(item_id: str, date: str, hrefs: dict[str, str], bounds=None, **properties) -> pystac.Item:
    """An item with colons in its properties' names written as two underscores."""
    west, south, east, north = bounds or transform_bounds(UTM, "EPSG:4326", *TILE.bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return pystac.Item.from_dict(
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": item_id,
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [west, south, east, north],
            "properties": {"datetime": f"{date}T10:07:53Z"}
            | {name.replace("__", ":"): value for name, value in properties.items()},
            "links": [],
            "assets": {key: {"href": href} for key, href in hrefs.items()},
        }
    )
