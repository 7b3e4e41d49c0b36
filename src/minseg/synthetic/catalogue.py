"""A catalogue of made-up Sentinel scenes on this computer, to learn and test fetching without any.

It answers as Planetary Computer does; each item says that it is synthetic, and so is a dataset
fetched from it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from rasterio.features import shapes

from minseg.atomic import replace_when_done
from minseg.data.bands import OPTICAL_BANDS
from minseg.data.dataset import footprint
from minseg.data.labels import CLASS_NAMES, decode_bits
from minseg.data.raster import Grid, raster_profile
from minseg.data.writing import SceneRasters
from minseg.fetching.annotations import PolygonFields
from minseg.fetching.pixels import OFFSET
from minseg.fetching.plan import BoxRule
from minseg.fetching.providers import PROVIDERS
from minseg.fetching.scene import SYNTHETIC_PROPERTY
from minseg.synthetic.dataset import render_scene
from minseg.synthetic.register import synthetic_mines

LIKE = PROVIDERS["planetary-computer"]
"""The catalogue whose form is copied."""

OPTICAL, RADAR = (collection.name for collection in (LIKE.optical, LIKE.radar) if collection)
"""Names of its collections."""

FIELDS = PolygonFields(year_field="year", mine_field="mine")
"""What the fields of the polygons mean."""

BOX = BoxRule(margin_m=0.0, smallest_m=600.0)
"""Boxes that the small made scenes fill."""

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
        mines = synthetic_mines(num_mines, seed=0)
        items, drawn = [], []
        for _, mine in mines.iterrows():
            for year in made.years:
                scene = render_scene(mine, year, made.years, size, seed=0)
                items += _optical_items(beside, scene) + _radar_items(beside, scene)
                drawn.append(_outlines(scene))
        mines.to_csv(beside / "mines.csv", index=False)
        pd.concat(drawn).to_file(beside / "polygons.gpkg", driver="GPKG")
        (beside / "items.json").write_text(json.dumps(items), encoding="utf-8")
    return made


def _optical_items(folder: Path, scene: SceneRasters) -> list[dict]:
    """Write a clear, a cloudy and a half-covered scene, some days apart."""
    day = date.fromisoformat(scene.date)
    sides = scene.optical.shape[1:]
    clear, cloudy, half = (np.full(sides, _GROUND, np.uint8) for _ in range(3))
    cloudy[sides[0] // 4 : sides[0] * 3 // 4, sides[1] // 4 : sides[1] * 3 // 4] = _CLOUD
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
    return _item(identifier, OPTICAL, scene.grid, day, properties, assets)


def _radar_items(folder: Path, scene: SceneRasters) -> list[dict]:
    """Write three Sentinel-1 scenes: two of one relative orbit, one of another, nearer in time."""
    assert scene.radar is not None
    power = np.nan_to_num(10 ** (scene.radar[:2] / 10), nan=-32768).astype(np.float32)
    items = []
    orbits = [(3, 51, "ascending"), (-9, 51, "ascending"), (1, 124, "descending")]
    if scene.year is not None and scene.year % 2 == 0:
        orbits.pop()  # the other misses some years
    for shift, orbit, state in orbits:
        day = date.fromisoformat(scene.date) + timedelta(shift)
        identifier = f"S1_{scene.mine}_{day:%Y%m%d}_{orbit:03d}"
        assets = {
            channel.lower(): _write(
                folder, f"{identifier}_{channel}.tif", values, scene.grid, 10, -32768
            )
            for channel, values in zip(("VV", "VH"), power, strict=True)
        }
        properties = {"sat:relative_orbit": orbit, "sat:orbit_state": state}
        items.append(_item(identifier, RADAR, scene.grid, day, properties, assets))
    return items


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
    rows, place = [], scene.grid.transform
    for name in CLASS_NAMES:
        mask = decode_bits(scene.labels, name)
        outlines = shapes(mask.astype(np.uint8), mask, transform=place)
        parts = [shapely.geometry.shape(outline) for outline, _ in outlines]
        if parts:
            rows.append((scene.mine, name, scene.year, shapely.union_all(parts)))
    columns = ["mine", "class", "year", "geometry"]
    table = gpd.GeoDataFrame(rows, columns=columns, geometry="geometry", crs=scene.grid.crs)
    return table.to_crs("EPSG:4326")
