"""Pixels of a Sentinel scene on a mine's grid: reflectance of Sentinel-2, decibels of Sentinel-1.

The fusion of section 2.1 and Figure 1: every band by nearest neighbour on one grid of 10 m.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from minseg.data.radiometry import (
    LARGEST_REFLECTANCE,
    power_to_db,
    radar_channels,
    require_backscatter,
    require_reflectance,
)
from minseg.data.raster import Grid
from minseg.data.reading import REFLECTANCE_SCALE
from minseg.errors import MinsegError
from minseg.fetching.assets import asset_href, onto_grid, read_asset
from minseg.fetching.catalogue import collection_of
from minseg.fetching.items import processing_baseline
from minseg.fetching.providers import SCENE_CLASSES, Collection, Provider

if TYPE_CHECKING:
    import pystac

LAST_CLASS = 11
"""Of Sen2Cor's scene classification, from 0 on."""

OFFSET_BASELINE = 4.0
"""Processing baseline from which on ESA adds 1000 to the numbers of Sentinel-2."""

OFFSET = 1000
"""What is added, so that reflectances below zero can be stored."""

SUBTRACTED_TWICE_SHARE = 0.05
"""Share of pixels with no reflectance in blue and green above which 1000 was subtracted twice:
water, shadow and plants, the darkest that a scene has, still reflect 0.005 to 0.05 of both."""

NOT_SUBTRACTED_FLOOR = 0.09
"""Reflectance that every band's darkest hundredth exceeds where 1000 was not subtracted: few
places are without shadow, water or plants, one of which is below 0.05 in some band."""


def read_optical(item: "pystac.Item", provider: Provider, grid: Grid) -> np.ndarray:
    """Read a Sentinel-2 scene's bands on a grid.

    Parameters
    ----------
    item : pystac.Item
    provider : Provider
    grid : Grid

    Returns
    -------
    uint16 ndarray (bands, height, width)
        Reflectance × 10 000 in the order of ``provider.optical.bands`` (all 12 of
        `minseg.data.bands.OPTICAL_BANDS`, unless a table names fewer); 0 = missing. Show
        `offset_problem` of it to the user.

    Raises
    ------
    MinsegError
        If a band is missing or cannot be read, the offset is unknown, no pixel is valid, or the
        numbers cannot be reflectance.
    """
    collection = provider.optical
    offset = reflectance_offset(item, collection)
    optical = np.empty((len(collection.bands), grid.height, grid.width), np.uint16)
    valid = np.ones((grid.height, grid.width), bool)
    for band in collection.bands:  # all of them, before any is read
        asset_href(item, collection.assets[band])
    for layer, band in zip(optical, collection.bands, strict=True):
        numbers, here = _read_band(item, collection.assets[band], provider, grid, collection.nodata)
        # As `encode_reflectance` does: what is not above zero becomes 1, for 0 is missing.
        layer[:] = np.clip(numbers.astype(np.int32) - offset, 1, round(LARGEST_REFLECTANCE * 1e4))
        valid &= here
    if not valid.all():
        optical[:, ~valid] = 0
    with _advising("choose another item, or correct the API's table"):
        require_reflectance(_some(optical, valid) * REFLECTANCE_SCALE, item.id)
    return optical


def read_scene_classes(item: "pystac.Item", provider: Provider, grid: Grid) -> np.ndarray:
    """Read Sen2Cor's scene classification on a grid.

    Returns
    -------
    uint8 ndarray (height, width)
        0 missing, 3 cloud shadow, 8 and 9 cloud, 10 cirrus, 11 snow ...

    Raises
    ------
    MinsegError
        If it cannot be read.
    """
    key = provider.optical.assets[SCENE_CLASSES]
    classes, valid = _read_band(item, key, provider, grid, 0)
    if (classes[valid] > LAST_CLASS).any():
        raise MinsegError(
            f"{item.id}: asset {key} holds {classes[valid].max()}, which is no class of Sen2Cor (0 "
            f"to {LAST_CLASS}); choose another item, or correct the API's table"
        )
    return np.where(valid, classes, 0).astype(np.uint8)


def read_radar(item: "pystac.Item", provider: Provider, grid: Grid) -> np.ndarray:
    """Read a Sentinel-1 scene's channels on a grid.

    Parameters
    ----------
    item : pystac.Item
    provider : Provider
    grid : Grid

    Returns
    -------
    float32 ndarray (3, height, width)
        VV, VH and VV/(10·VH), dB; NaN = missing.

    Raises
    ------
    MinsegError
        If a channel is missing or cannot be read, no pixel is valid, or its numbers are no power.
    """
    collection = collection_of(provider, "radar")
    for channel in ("VV", "VH"):
        asset_href(item, collection.assets[channel])
    powers = (
        _read_band(item, collection.assets[channel], provider, grid, collection.nodata)
        for channel in ("VV", "VH")
    )
    channels = radar_channels(*(power_to_db(np.where(ok, power, np.nan)) for power, ok in powers))
    if not np.isfinite(channels).any():
        raise MinsegError(f"{item.id}: no valid radar pixel in the box; choose another item")
    with _advising("is it linear power? Choose another item, or correct the API's table"):
        known = np.isfinite(channels).all(axis=0)
        require_backscatter(channels[:2, known], ("VV", "VH"), item.id)
    return channels


def reflectance_offset(item: "pystac.Item", collection: Collection) -> int:
    """Tell what is to be subtracted from a scene's numbers: 1000 or nothing.

    Decided by the item's processing baseline and the provider's rule, never by the date, since
    old scenes are processed again, and never by ``raster:bands``, which is wrong at times.

    Parameters
    ----------
    item : pystac.Item
    collection : Collection

    Returns
    -------
    int

    Raises
    ------
    MinsegError
        If the item does not tell its processing baseline.
    """
    if collection.offset == "applied":
        return 0
    if collection.offset == "flag" and item.properties.get(collection.offset_flag) is True:
        return 0
    baseline = processing_baseline(item)
    if baseline is None:
        raise MinsegError(
            f"{item.id}: tells no processing baseline, so that it is unknown whether its numbers "
            "hold the offset of 1000; choose another item, or say so in the API's table (offset)"
        )
    return OFFSET if baseline >= OFFSET_BASELINE else 0


def offset_problem(optical: np.ndarray, bands: tuple[str, ...]) -> str:
    """Judge by its dark pixels whether a scene's offset was subtracted once, as it should be.

    Parameters
    ----------
    optical : uint16 ndarray (bands, height, width)
        As `read_optical` gives it.
    bands : tuple of str
        Its bands.

    Returns
    -------
    str
        The problem in one line; empty where there is none to see.
    """
    pixels = _some(optical, np.all(optical > 0, axis=0))
    if not pixels.size:
        return ""
    if {"B02", "B03"} <= set(bands):
        dark = (pixels[[bands.index("B02"), bands.index("B03")]] <= 1).all(axis=0)
        if dark.mean() > SUBTRACTED_TWICE_SHARE:
            return (
                f"{dark.mean():.0%} of the pixels reflect nothing in blue and green: the offset "
                "of 1000 seems to be subtracted twice; compare with another item or provider"
            )
    floor = np.percentile(pixels, 1, axis=1).min() / 10_000
    if floor > NOT_SUBTRACTED_FLOOR:
        return (
            f"the darkest hundredth of the pixels still reflects {floor:.2f} in every band: the "
            "offset of 1000 may not be subtracted (or all is bright, as over desert); compare "
            "with another item or provider"
        )
    return ""


@contextmanager
def _advising(advice: str) -> Iterator[None]:
    """Give a refusal the advice that helps here: fetching has no options of units and scales."""
    try:
        yield
    except MinsegError as error:
        raise MinsegError(f"{str(error).partition('; ')[0]}; {advice}") from None


def _some(optical: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return some valid pixels of all bands, (bands, pixels): enough to judge by."""
    indices = np.flatnonzero(valid)
    return optical.reshape(len(optical), -1)[:, indices[:: max(1, indices.size // 10_000)]]


def _read_band(
    item: "pystac.Item", key: str, provider: Provider, grid: Grid, nodata: float
) -> tuple[np.ndarray, np.ndarray]:
    """Read an asset's values and their validity on a grid."""
    return read_asset(
        item, key, provider, lambda source: onto_grid(source, item, key, grid, nodata)
    )
