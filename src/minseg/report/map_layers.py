"""Pixels and polygons as layers of a web map: coloured, and laid on the Mercator of browsers."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from matplotlib.colors import to_rgb
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

from minseg.data.dateline import seen_from
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.report.pictures import OPACITY, stretch

EARTH_RADIUS_M = 6_378_137.0
"""Of the sphere that web maps take the Earth for."""

MAX_SIDE = 800
"""Longest side of an overlay, pixels; a larger raster is thinned, so that a page stays small."""

WEBP_QUALITY = 90
"""Of images: a tenth of the size of a PNG, and no difference to see."""

DEGREE_DECIMALS = 6
"""Decimals of coordinates in a page: a tenth of a metre."""


@dataclass(frozen=True)
class Overlay:
    """A picture that lies on a web map."""

    pixels: np.ndarray
    """uint8 (height, width, 4): red, green, blue and opacity; rows evenly spaced in Mercator."""
    bounds: tuple[tuple[float, float], tuple[float, float]]
    """(south, west) and (north, east) in degrees, west before east: beyond 180 where need be."""
    photograph: bool
    """Whether it may be packed with loss, as an image may and classes may not."""

    @property
    def address(self) -> str:
        """The picture itself as a ``data:`` address."""
        packed = BytesIO()
        options = {"quality": WEBP_QUALITY} if self.photograph else {"lossless": True}
        Image.fromarray(self.pixels).save(packed, "WEBP", **options)
        return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def image_pixels(image: np.ndarray) -> np.ndarray:
    """Stretch an image for display, see-through where it has no data.

    Parameters
    ----------
    image : float ndarray (bands, height, width)
        As in `minseg.report.pictures.stretch`.

    Returns
    -------
    uint8 ndarray (height, width, 4)
        Red, green, blue, opacity.
    """
    shown = image[:3] if len(image) >= 3 else image[:1]
    valid = np.isfinite(shown).all(axis=0) & (shown != 0).any(axis=0)
    colours = (255 * stretch(image, valid)).round()
    return np.dstack([colours, np.where(valid, 255, 0)]).astype(np.uint8)


def class_pixels(values: np.ndarray, colours: Mapping[int, str]) -> np.ndarray:
    """Colour a raster of class numbers, see-through where a value has no colour.

    Parameters
    ----------
    values : uint8 ndarray (height, width)
    colours : mapping of int to str
        Colour of a value.

    Returns
    -------
    uint8 ndarray (height, width, 4)
        Red, green, blue, opacity.
    """
    table = np.zeros((256, 4), np.uint8)
    for value, colour in colours.items():
        table[value] = [round(255 * level) for level in (*to_rgb(colour), OPACITY)]
    return table[values]


def lay_on_mercator(pixels: np.ndarray, grid: Grid, *, photograph: bool = False) -> Overlay:
    """Warp pixels to the Mercator map of web browsers, by nearest neighbour.

    The map is unrolled about the scene's own meridian, so that none is cut at 180 degrees.

    Parameters
    ----------
    pixels : uint8 ndarray (height, width, 4)
        Red, green, blue, opacity.
    grid : Grid
        Of the pixels.
    photograph : bool
        An image, not classes: averaged where it is thinned, and packed with a little loss.

    Returns
    -------
    Overlay
        At most `MAX_SIDE` pixels wide and high.

    Raises
    ------
    MinsegError
        If the grid is nowhere.
    """
    meridian = central_meridian(grid)
    mercator = _mercator(meridian)
    transform, width, height = calculate_default_transform(
        grid.crs, mercator, grid.width, grid.height, *grid.bounds
    )
    thinning = max(1.0, max(width, height) / MAX_SIDE)
    width, height = math.ceil(width / thinning), math.ceil(height / thinning)
    transform = transform @ Affine.scale(thinning)

    warped, _ = reproject(
        np.moveaxis(pixels, 2, 0),
        np.zeros((4, height, width), np.uint8),
        src_transform=grid.transform,
        src_crs=grid.crs,
        dst_transform=transform,
        dst_crs=mercator,
        resampling=Resampling.average if photograph and thinning > 1 else Resampling.nearest,
    )
    west, north = _degrees(transform @ (0, 0), meridian)
    east, south = _degrees(transform @ (width, height), meridian)
    bounds = ((south, west), (north, east))
    return Overlay(np.ascontiguousarray(np.moveaxis(warped, 0, 2)), bounds, photograph)


def polygon_features(polygons: gpd.GeoDataFrame, meridian: float) -> dict:
    """Turn polygons into GeoJSON in degrees, with all their columns as properties.

    Parameters
    ----------
    polygons : geopandas.GeoDataFrame
    meridian : float
        Longitude near the polygons, degrees: theirs are written within 180 degrees of it.

    Returns
    -------
    dict
        A GeoJSON feature collection, coordinates rounded to about 0.1 m.

    Raises
    ------
    MinsegError
        If the polygons are nowhere.
    """
    if polygons.crs is None:
        raise MinsegError(
            "the polygons have no coordinate reference system; assign one with `set_crs`"
        )

    def shorten(points: np.ndarray) -> np.ndarray:
        longitudes = seen_from(points[:, 0], meridian)
        return np.column_stack([longitudes, points[:, 1]]).round(DEGREE_DECIMALS)

    shapes = shapely.transform(polygons.geometry.to_crs("EPSG:4326").to_numpy(), shorten)
    facts = polygons.drop(columns=polygons.geometry.name).to_dict("records")
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": fact}
            for shape, fact in zip(shapes, facts, strict=True)
        ],
    }


def central_meridian(grid: Grid) -> float:
    """Return the longitude of a grid's centre, whole degrees.

    Raises
    ------
    MinsegError
        If the grid is nowhere.
    """
    if grid.crs is None:
        raise MinsegError(
            "the raster has no coordinate reference system, so it lies nowhere on a map; assign "
            "it, e.g. `rio edit-info --crs EPSG:32633 FILE`, or look at the still figures"
        )
    return float(round(grid.centre_lonlat[0]))


def _mercator(meridian: float) -> CRS:
    """Return EPSG:3857, counted from another meridian."""
    return CRS.from_proj4(
        f"+proj=merc +a={EARTH_RADIUS_M} +b={EARTH_RADIUS_M} +lat_ts=0 +lon_0={meridian} "
        "+x_0=0 +y_0=0 +k=1 +units=m +nadgrids=@null +wktext +no_defs"
    )


def _degrees(place_m: tuple[float, float], meridian: float) -> tuple[float, float]:
    """Return longitude and latitude of a place on the Mercator map."""
    x_m, y_m = place_m
    longitude = meridian + math.degrees(x_m / EARTH_RADIUS_M)
    return longitude, math.degrees(math.atan(math.sinh(y_m / EARTH_RADIUS_M)))
