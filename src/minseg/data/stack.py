"""Where files lie with respect to each other, over the 180th meridian too."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.warp import transform as warp_points
from rasterio.windows import Window

from minseg.data.bands import BANDS, RADAR_NAMES, parse_file_bands
from minseg.data.grid import seen_from
from minseg.data.images import Image, ImageReading, band_indexes
from minseg.data.radiometry import radar_channels, require_brighter_vv
from minseg.data.raster import (
    Grid,
    grid_of,
    open_raster,
    place_of,
    read_window,
    require_located,
    warped,
)
from minseg.errors import MinsegError


def require_overlap(grids: Mapping[str, Grid], grid: Grid) -> None:
    """Refuse files, by their names, whose footprints and the grid have no place in common."""
    left, bottom, right, top = grid.bounds
    for name, other in grids.items():
        west, south, east, north = _bounds_seen_from(grid, other, name)
        left, bottom = max(left, west), max(bottom, south)
        right, top = min(right, east), min(top, north)
        if not (left < right and bottom < top):
            raise MinsegError(
                f"{name}: lies outside of the other files ({', '.join(grids)}); "
                "give files of one place"
            )


def crs_seen_from(grid: Grid, source: Grid) -> CRS:
    """Return a file's reference system, with its longitudes as the file counts them.

    GDAL looks for a place between -180 and 180 degrees, where a file that reaches over the 180th
    meridian, or counts to 360, has none.
    """
    assert source.crs is not None
    west, _, east, _ = source.bounds
    if not source.crs.is_geographic or not (_reaches_over(source) or _reaches_over(grid)):
        return source.crs
    return CRS.from_dict(source.crs.to_dict() | {"lon_wrap": (west + east) / 2})


def _reaches_over(grid: Grid) -> bool:
    """Whether a grid has longitudes beyond 180 degrees."""
    west, _, east, _ = grid.bounds
    return grid.crs is not None and grid.crs.is_geographic and (west < -180 or east > 180)


def _bounds_seen_from(grid: Grid, other: Grid, name: str) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of a file in the map coordinates of another grid."""
    try:
        x, y = warp_points(other.crs, grid.crs, *other.outline(21))  # edges may be bent there
        if not np.isfinite([x, y]).all():
            raise RasterioError("they lie nowhere there")
    except (RasterioError, CPLE_BaseError) as error:
        raise MinsegError(
            f"{name}: its coordinates cannot be brought to {grid.crs} ({error}); "
            "check its coordinate reference system"
        ) from None
    xs = np.asarray(x)
    if grid.crs is not None and grid.crs.is_geographic:
        xs = seen_from(xs, (grid.bounds[0] + grid.bounds[2]) / 2)
    return xs.min(), min(y), xs.max(), max(y)


PAPER_GSD_M = 10.0
"""Pixels that the paper brings all bands to (section 2.1), metres."""

GSD_TOLERANCE = 0.2
"""Share by which the pixels of a grid may differ from 10 m and the grid be kept."""

LONGEST_SIDE = 200_000
"""Pixels along a side of a grid that is made here, at most: 2,000 km at 10 m."""

_VV, _VH, _RATIO = RADAR_NAMES


@dataclass(frozen=True)
class ImageFile:
    """A file with some of an image's bands."""

    path: Path | str
    """Path, or what `minseg.data.raster.place_of` leaves as it is, such as ``https://…``."""
    bands: tuple[str, ...] | None = None
    """Its bands in the file's order, where it does not name them; ``-`` for one left out."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``PATH`` or ``BANDS=PATH``, such as ``B02=korba/blue.tif`` or ``VV,VH=s1.tif``."""
        bands, equals, path = text.partition("=")
        whole = place_of(text)
        if not equals or isinstance(whole, str) or whole.exists():
            return cls(whole)
        return cls(place_of(path), parse_file_bands(bands))


@dataclass(frozen=True)
class ImageStack:
    """Open files that together are one image."""

    grid: Grid
    """Where its pixels lie."""
    bands: tuple[str, ...]
    """Channels that `read` gives."""
    parts: tuple["_Part", ...]

    def read(
        self, window: Window | None = None, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the channels as float32 (bands, height, width), and where every file has a value."""
        layers: dict[str, np.ndarray] = {}
        valid = np.array(True)
        for part in self.parts:
            values, here = part.read(window, shape)
            layers |= zip(part.image.indexes, values, strict=True)
            valid = valid & here
        if _RATIO in self.bands and _RATIO not in layers:
            layers[_RATIO] = radar_channels(layers[_VV], layers[_VH])[2]
        return np.stack([layers[band] for band in self.bands]), valid

    def only(self, bands: Sequence[str]) -> "ImageStack":
        """Narrow to some of the channels, on the same grid; the others are not read."""
        needed = {
            band for name in bands for band in (name, *((_VV, _VH) if name == _RATIO else ()))
        }
        parts = []
        for part in self.parts:
            indexes = {band: k for band, k in part.image.indexes.items() if band in needed}
            if indexes:
                parts.append(replace(part, image=replace(part.image, indexes=indexes)))
        return replace(self, bands=tuple(bands), parts=tuple(parts))


@dataclass(frozen=True)
class _Part:
    """One file of a stack, on the stack's grid."""

    image: Image
    covered: int | None = None
    """Band that tells the file's footprint, where the file has no nodata value to tell it by."""

    def read(
        self, window: Window | None, shape: tuple[int, int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read all of the file's bands that are needed."""
        values, valid = self.image.read(tuple(self.image.indexes), window, shape)
        if self.covered is not None:
            footprint, _ = read_window(self.image.source, [self.covered], window, shape)
            valid = valid & (footprint[0] > 0)
        return values, valid


@contextmanager
def open_stack(
    files: Sequence[ImageFile], bands: Sequence[str], reading: ImageReading | None = None
) -> Iterator[ImageStack]:
    """Open files as one image of the wanted channels and check what their numbers mean.

    VV/(10·VH) is derived from VV and VH where no file has it, or where radar is no decibels yet.
    Files without any of the bands are left aside.
    """
    reading = reading or ImageReading()
    if len(files) > 1 and reading.bands is not None:
        raise MinsegError(
            "--bands is for one image; of several, write the bands before each path, "
            f"e.g. {','.join(reading.bands[:2])}={files[0].path}"
        )
    with ExitStack() as stack:
        sources = [stack.enter_context(open_raster(file.path)) for file in files]
        for file, source in zip(files, sources, strict=True):
            _require_north_up(grid_of(source), file.path)
        images = _images(files, sources, bands, reading)
        medians = {band: db for image in images for band, db in image.examine().items()}
        of = {band: image.source.name for image in images for band in image.indexes}
        where = f"{of.get('VV')} and {of.get('VH')}"
        require_brighter_vv(medians, where, f"VH={of.get('VV')}")
        grids = {image.source.name: grid_of(image.source) for image in images}
        optical = [
            image.source.name
            for image in images
            if not all(BANDS[band].is_radar for band in image.indexes)
        ]
        grid = common_grid([grids[name] for name in optical or grids], grids, reading.gsd_m)
        require_overlap(grids, grid)
        parts = tuple(part for image in images for part in _on_grid(image, grid, stack))
        yield ImageStack(grid, tuple(bands), parts)


def common_grid(
    candidates: Sequence[Grid], grids: Mapping[str, Grid], gsd_m: float | None = None
) -> Grid:
    """Choose the grid that files are brought to, among those of the optical files if any.

    Files that share a grid keep it. Otherwise it is the grid of the file with the smallest
    pixels if these are 10 m within 20 %, and else a grid of 10 m (or `gsd_m`) pixels in its
    coordinate reference system, from its upper left corner on.
    """
    finest = min(candidates, key=lambda grid: math.prod(grid.pixel_size_m))
    if gsd_m is None:
        alike = all(grid.matches(finest) for grid in grids.values())
        off = max(abs(side - PAPER_GSD_M) for side in finest.pixel_size_m)
        if alike or off <= GSD_TOLERANCE * PAPER_GSD_M:
            return finest
    gsd_m = gsd_m or PAPER_GSD_M
    _require_sensible(gsd_m, finest)
    across, down = (gsd_m / side for side in finest.pixel_size_m)
    if math.isclose(across, 1, rel_tol=1e-6) and math.isclose(down, 1, rel_tol=1e-6):
        return finest
    return Grid(
        max(1, math.ceil(finest.height / down - 1e-3)),  # not one more for a rounding error
        max(1, math.ceil(finest.width / across - 1e-3)),
        finest.transform @ Affine.scale(across, down),
        finest.crs,
    )


def _require_sensible(gsd_m: float, finest: Grid) -> None:
    """Refuse pixels of which an image would have far too many, or not even one."""
    across, down = finest.pixel_size_m
    width, height = finest.width * (across / gsd_m), finest.height * (down / gsd_m)
    if not 1 <= max(width, height) <= LONGEST_SIDE:
        raise MinsegError(
            f"pixels of {gsd_m:g} m would make an image of {height:.3g}×{width:.3g} pixels; give "
            f"--gsd-m a size nearer to that of the finest image, {min(across, down):.3g} m"
        )


def _require_north_up(grid: Grid, path: Path | str) -> None:
    """Refuse a file that is nowhere, or whose rows do not run from west to east."""
    require_located(grid, path)
    if grid.transform.b or grid.transform.d:
        raise MinsegError(
            f"{path}: its grid is rotated; bring it to rows from west to east, "
            f"e.g. `gdalwarp -r near {path} straight.tif`"
        )


def _images(
    files: Sequence[ImageFile],
    sources: Sequence[rasterio.DatasetReader],
    bands: Sequence[str],
    reading: ImageReading,
) -> list[Image]:
    """Find each band in one of the files."""
    named = [
        band_indexes(source, file.bands or reading.bands)
        for file, source in zip(files, sources, strict=True)
    ]
    there = [band for indexes in named for band in indexes]
    needed = set(bands)
    if _RATIO in needed and (_RATIO not in there or reading.radar_unit != "db"):
        needed = needed - {_RATIO} | {_VV, _VH}
    where = ", ".join(source.name for source in sources)
    missing = [band for band in BANDS if band in needed and band not in there]
    if missing:
        raise MinsegError(
            f"{where}: the model needs band {', '.join(missing)} "
            f"and the image has {', '.join(dict.fromkeys(there))}"
        )
    twice = [band for band in BANDS if band in needed and there.count(band) > 1]
    if twice:
        raise MinsegError(
            f"{where}: band {', '.join(twice)} is in two files; leave one out, or make one of "
            "files that lie side by side, `gdalbuildvrt ALL.vrt FILES`, given as BANDS=ALL.vrt"
        )
    return [
        Image.of(source, {band: k for band, k in indexes.items() if band in needed}, reading)
        for source, indexes in zip(sources, named, strict=True)
        if needed & set(indexes)
    ]


def _on_grid(image: Image, grid: Grid, stack: ExitStack) -> Iterator[_Part]:
    """Bring a file to a grid by nearest neighbour, window by window as it is read."""
    source = image.source
    if grid_of(source).matches(grid):
        yield _Part(image)
        return
    by_nodata: dict[str, dict[str, int]] = {}  # bands of a VRT may each have their own
    for band, index in image.indexes.items():
        by_nodata.setdefault(str(source.nodatavals[index - 1]), {})[band] = index
    crs = crs_seen_from(grid, grid_of(source))
    for indexes in by_nodata.values():
        nodata = source.nodatavals[next(iter(indexes.values())) - 1]
        # Ground outside is told by the nodata value, an alpha band, or one added for it.
        add_alpha = nodata is None and ColorInterp.alpha not in source.colorinterp
        own = {"src_nodata": nodata, "nodata": nodata, "add_alpha": add_alpha}
        moved = stack.enter_context(warped(source, grid, src_crs=crs, **own))
        part = replace(image, source=moved, indexes=indexes)
        yield _Part(part, moved.count if add_alpha else None)
