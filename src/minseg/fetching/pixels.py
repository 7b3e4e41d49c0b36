"""The bands of a scene, read over the network onto a grid: only the part that is needed."""

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.windows import Window

from minseg.data.radiometry import (
    LARGEST_REFLECTANCE,
    REFLECTANCE_SCALE,
    power_to_db,
    radar_channels,
    require_backscatter,
    require_reflectance,
)
from minseg.data.raster import Grid, valid_pixels, warped
from minseg.errors import MinsegError, first_line
from minseg.fetching.catalogue import collection_of, processing_baseline
from minseg.fetching.providers import (
    REFUSED,
    SCENE_CLASSES,
    Collection,
    Provider,
    can_sign_anew,
    environment,
    gdal_path,
    refusal,
    signed,
    status_of,
)

if TYPE_CHECKING:
    import pystac

LAST_CLASS = 11  # of Sen2Cor's scene classification, from 0 on

# From this processing baseline on, ESA adds so much to the numbers of Sentinel-2, so that
# reflectances below zero can be stored.
OFFSET_BASELINE, OFFSET = 4.0, 1000

SUBTRACTED_TWICE_SHARE = 0.05
"""Share of pixels with no reflectance in blue and green above which 1000 was subtracted twice:
water, shadow and plants, the darkest that a scene has, still reflect 0.005 to 0.05 of both."""

NOT_SUBTRACTED_FLOOR = 0.09
"""Reflectance that every band's darkest hundredth exceeds where 1000 was not subtracted: few
places are without shadow, water or plants, one of which is below 0.05 in some band."""

READ_ATTEMPTS = 3  # to open and read a raster, over GDAL's own retries
PAUSE_S = 2.0  # before the second attempt, doubled before each further one

# Where GDAL 3.10 caches nothing, threads that read one address at a time wait for ever: scenes of
# neighbouring mines do. With its cache it would give what a cut connection left, again and again.
_LOCKS = tuple(threading.Lock() for _ in range(256))


def read_optical(
    item: "pystac.Item", provider: Provider, grid: Grid, beside: Iterable["pystac.Item"] = ()
) -> np.ndarray:
    """Read a Sentinel-2 scene's bands on a grid; what it lacks from the tiles beside it.

    Gives reflectance × 10 000, uint16 (bands, height, width), in the order of
    ``provider.optical.bands``; 0 = missing. Show `offset_problem` of it to the user.
    """
    optical = _read_bands(item, provider, grid)
    for other in beside:
        missing = optical[0] == 0
        if missing.any():
            np.copyto(optical, _read_bands(other, provider, grid), where=missing)
    with _advising("choose another item, or correct the API's table"):
        require_reflectance(_some(optical, optical[0] > 0) * REFLECTANCE_SCALE, item.id)
    return optical


def _read_bands(item: "pystac.Item", provider: Provider, grid: Grid) -> np.ndarray:
    """Read what a scene alone has of a grid."""
    collection = provider.optical
    offset = reflectance_offset(item, collection)
    optical = np.empty((len(collection.bands), grid.height, grid.width), np.uint16)
    valid = np.ones((grid.height, grid.width), bool)
    assets = [Asset(item, collection.assets[band], provider) for band in collection.bands]
    for layer, asset in zip(optical, assets, strict=True):
        numbers, here = asset.read(grid, collection.nodata)
        # As `encode_reflectance` does: what is not above zero becomes 1, for 0 is missing.
        layer[:] = np.clip(numbers.astype(np.int32) - offset, 1, round(LARGEST_REFLECTANCE * 1e4))
        valid &= here
    optical[:, ~valid] = 0
    return optical


def read_scene_classes(item: "pystac.Item", provider: Provider, grid: Grid) -> np.ndarray:
    """Read Sen2Cor's scene classification (uint8) on a grid: 0 missing, 3 shadow, 11 snow ..."""
    asset = Asset(item, provider.optical.assets[SCENE_CLASSES], provider)
    classes, valid = asset.read(grid, 0)
    if (classes[valid] > LAST_CLASS).any():
        raise asset.fault(
            f"holds {classes[valid].max()}, which is no class of Sen2Cor (0 to {LAST_CLASS}); "
            "choose another item, or correct the API's table"
        )
    return np.where(valid, classes, 0).astype(np.uint8)


def read_radar(item: "pystac.Item", provider: Provider, grid: Grid) -> np.ndarray:
    """Read VV, VH and VV/(10·VH) on a grid: float32 dB (3, height, width), NaN = missing."""
    collection = collection_of(provider, "radar")
    assets = [Asset(item, collection.assets[channel], provider) for channel in ("VV", "VH")]
    powers = (asset.read(grid, collection.nodata) for asset in assets)
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
    """Tell by the dark pixels whether the offset was subtracted twice or never; empty if once."""
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


@dataclass(frozen=True)
class Asset:
    """A raster of a catalogue's item, and how it is reached; refused where the item has none."""

    item: "pystac.Item"
    key: str
    provider: Provider

    def __post_init__(self) -> None:
        if self.key not in self.item.assets or self.href is None:
            raise MinsegError(
                f"{self.item.id}: has no asset {self.key}; choose another item, or correct the "
                f"API's table (the item has {', '.join(sorted(self.item.assets))})"
            )

    @property
    def href(self) -> str | None:
        """The address, unsigned."""
        return self.item.assets[self.key].get_absolute_href()

    def fault(self, what: str) -> MinsegError:
        """Tell what is wrong with it."""
        return MinsegError(f"{self.item.id}: asset {self.key} {what}")

    def read(self, grid: Grid, nodata: float) -> tuple[np.ndarray, np.ndarray]:
        """Read its first band on a grid by nearest neighbour, over the network mostly.

        Gives its values, in the file's type, and whether each is valid: not `nodata`, not the
        file's own, and not outside of it.
        """
        href = str(self.href)
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                with (
                    _LOCKS[hash(href) % len(_LOCKS)],
                    environment(self.provider),
                    rasterio.open(gdal_path(signed(href, self.provider))) as source,
                ):
                    if source.crs is not None or source.gcps[0] or attempt == READ_ATTEMPTS:
                        return self._onto(grid, source, nodata)
                    # GDAL takes a header that a broken connection cut short for whole. Its last
                    # tags are missing then: those that locate it, and those of its tiles, which
                    # read as nodata without an error. So only the last attempt believes it.
                    continue
            except (RasterioError, CPLE_BaseError, OSError) as error:
                status, reason = status_of(error), _reason(error, href)
            withheld = status in REFUSED and not can_sign_anew(self.provider)
            absent = status in (404, 410) or "No such file or directory" in reason
            if attempt == READ_ATTEMPTS or withheld or absent:
                break
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        advice = "" if status in REFUSED else "; try again later or choose another item"
        raise self.fault(f"cannot be read: {reason}{refusal(status, self.provider)}{advice}")

    def _onto(
        self, grid: Grid, source: rasterio.DatasetReader, nodata: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bring the open raster's first band to a grid, with its validity."""
        crs, transform = self.location(source)
        fill = nodata if source.nodata is None else source.nodata
        window = _whole_pixels(source, transform, grid) if crs == grid.crs else None
        if window is not None:  # cheaper than to warp
            values = source.read(1, window=window, out_shape=(grid.height, grid.width))
        else:
            own = {"src_crs": crs, "src_transform": transform, "src_nodata": fill, "nodata": fill}
            with warped(source, grid, **own) as moved:
                values = moved.read(1)
        return values, valid_pixels(values[None], [fill]) & valid_pixels(values[None], [nodata])

    def location(self, source: rasterio.DatasetReader) -> tuple[CRS, Affine]:
        """Tell where the raster lies, by its own tags or, scaled to it, the item's ``proj:``."""
        if source.gcps[0]:  # what catalogues say of such files is made up
            raise self.fault(
                "is located by ground control points, without terrain, as Sentinel-1 GRD is; "
                "choose a terrain-corrected collection (RTC), or leave radar out with --no-radar"
            )
        fields = {**self.item.properties, **self.item.assets[self.key].extra_fields}
        crs, transform = source.crs, source.transform
        nowhere = "has no {}, in the file or in the item; choose another item"
        if crs is None:
            code = fields.get("proj:code") or fields.get("proj:epsg")  # pystac turns epsg into code
            if code is None:
                raise self.fault(nowhere.format("coordinate reference system (proj:code)"))
            try:
                crs = CRS.from_user_input(code)
            except CRSError:
                what = f"usable coordinate reference system ({code!r})"
                raise self.fault(nowhere.format(what)) from None
        if transform == Affine.identity():
            numbers, shape = fields.get("proj:transform"), fields.get("proj:shape")
            if not numbers or not shape:
                raise self.fault(nowhere.format("position (proj:transform and proj:shape)"))
            scale = Affine.scale(shape[1] / source.width, shape[0] / source.height)
            transform = Affine(*numbers[:6]) @ scale
        return crs, transform


def _whole_pixels(source: rasterio.DatasetReader, transform: Affine, grid: Grid) -> Window | None:
    """Return the part of a raster that a grid divides into whole pixels; None if it does not."""
    place = ~transform @ grid.transform
    exact = np.array([place.c, place.f, place.a * grid.width, place.e * grid.height])
    left, top, width, height = np.rint(exact).astype(int).tolist()
    aligned = place.b == place.d == 0 and np.abs(exact - [left, top, width, height]).max() < 1e-6
    across = left >= 0 and 0 < width <= min(grid.width, source.width - left)
    down = top >= 0 and 0 < height <= min(grid.height, source.height - top)
    return Window(left, top, width, height) if aligned and across and down else None


def _reason(error: Any, href: str) -> str:
    """Return the first cause of an error, without the address and what signs it."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = first_line(error)
    for name in (href, href.partition("://")[2]):
        text = text.replace(name, "...") if name else text
    return re.sub(r"\?\S+", "", text)[:200]
