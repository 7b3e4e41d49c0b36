"""GeoTIFFs: grids, windowed reads, and writing them whole or row by row."""

import ctypes
import errno
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from pyproj import Geod
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioIOError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as warp_points
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from minseg.atomic import cannot_write, replace_when_done
from minseg.errors import MinsegError

CACHE_BYTES = 256 * 2**20
"""Bound on GDAL's block cache where large rasters are read or written: by default it may grow to a
share of all memory."""

HTTP_OPTIONS = {
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",  # seconds, doubled each time
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",  # bytes a second ...
    "GDAL_HTTP_LOW_SPEED_TIME": "60",  # ... for so many seconds is no connection any more
}
"""How GDAL asks servers, retries included."""

ELSEWHERE_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no hunt for sidecar files
    # With more threads, GDAL 3.10 gives wrong pixels and no error where a server refuses.
    "GDAL_NUM_THREADS": "1",
}
"""How files that are not on this machine are opened."""

_GEOD = Geod(ellps="WGS84")

# GDAL raises what goes wrong; the libtiff it was built with also prints some of that.
with suppress(OSError, AttributeError):  # as where it is a part of GDAL, without a name
    ctypes.CDLL(rasterio._base.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    transform: Affine
    """Pixel (column, row) to map coordinates."""
    crs: CRS | None
    """Coordinate reference system; None for a picture that is nowhere."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in map coordinates (of the rotated box, its envelope)."""
        x, y = self.outline(2)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @property
    def bounds_lonlat(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees (WGS 84)."""
        return transform_bounds(self.crs, "EPSG:4326", *self.bounds)

    @property
    def centre_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre, degrees."""
        x, y = self.transform @ (self.width / 2, self.height / 2)
        longitude, latitude = warp_points(self.crs, "EPSG:4326", [x], [y])
        return longitude[0], latitude[0]

    @property
    def pixel_size_m(self) -> tuple[float, float]:
        """Width and height of a pixel on the ground, in metres, at the grid's centre.

        A map's metres are taken for such where they are but for 1 %, as in UTM; in Mercator they
        are not.
        """
        place = self.transform
        width, height = math.hypot(place.a, place.d), math.hypot(place.b, place.e)
        if self.crs is None:
            return width, height
        longitude, latitude = self.centre_lonlat
        x, y = place @ (self.width / 2, self.height / 2)
        ends = (x + place.a, x + place.b), (y + place.d, y + place.e)
        far = warp_points(self.crs, "EPSG:4326", *ends)
        across, down = _GEOD.inv([longitude] * 2, [latitude] * 2, *far)[2]
        if self.crs.is_geographic:
            return across, down
        factor = self.crs.linear_units_factor[1]
        return _ground_side(across, width * factor), _ground_side(down, height * factor)

    def outline(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y of a ring along the edges, of so many points a side, from the first."""
        edge = np.linspace(0, 1, points)[:-1]
        zero, one = np.zeros_like(edge), np.ones_like(edge)
        columns = np.concatenate([edge, one, 1 - edge, zero]) * self.width
        rows = np.concatenate([zero, edge, one, 1 - edge]) * self.height
        return self.places(columns, rows)

    def places(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y of places of the grid; a pixel's centre lies half a pixel in."""
        place = self.transform
        x, y = place.a * columns + place.b * rows, place.d * columns + place.e * rows
        return x + place.c, y + place.f

    def matches(self, other: "Grid") -> bool:
        """Whether both grids put every pixel in the same place (to a hundredth of a pixel)."""
        return self.difference(other) is None

    def difference(self, other: "Grid") -> str | None:
        """Say in what another grid differs, or None where they match."""
        if self.crs != other.crs:
            return f"coordinate reference system ({self.crs} and {other.crs})"
        sizes = [f"{grid.height}×{grid.width}" for grid in (self, other)]
        if sizes[0] != sizes[1]:
            return f"size ({sizes[0]} and {sizes[1]} pixels)"
        corners = [np.stack(grid.outline(2), axis=1) for grid in (self, other)]  # (4, 2) each
        pixel = max(abs(self.transform.a), abs(self.transform.b))
        apart = np.linalg.norm(corners[0] - corners[1], axis=1) >= 0.01 * pixel
        if apart[0]:
            told = ("{:.10g}, {:.10g}".format(*corner) for corner, *_ in corners)
            return f"position (first corner {' and '.join(told)})"
        return "pixel size or direction" if apart.any() else None

    def window(self, window: Window) -> "Grid":
        """Return the grid of a window of this one."""
        transform = rasterio.windows.transform(window, self.transform)
        return Grid(int(window.height), int(window.width), transform, self.crs)

    def thinned(self, side_px: int) -> "Grid":
        """Return a grid of the same ground with at most so many pixels a side."""
        step = max(1, math.ceil(max(self.height, self.width) / side_px))
        height, width = (math.ceil(side / step) for side in (self.height, self.width))
        scale = Affine.scale(self.width / width, self.height / height)
        return Grid(height, width, self.transform @ scale, self.crs)


def _ground_side(ground_m: float, map_m: float) -> float:
    """Return a side on the map where it is as long on the ground, and else that on the ground."""
    return map_m if math.isclose(ground_m, map_m, rel_tol=0.01) else ground_m


class ConnectionFailedError(MinsegError):
    """Pixels of a file elsewhere did not come; they may the next time."""


def place_of(name: Path | str) -> Path | str:
    """Return the path of a file; as it is, what GDAL alone finds: an address, or in an archive."""
    elsewhere = re.match(r"/vsi\w+/|(?!file:)[a-z0-9+.-]{2,}://", str(name), re.IGNORECASE)
    return str(name) if elsewhere else Path(name)


@contextmanager
def open_raster(path: Path | str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster for reading, by its path or `place_of` it, with errors told in one line."""
    path = place_of(path)
    local = isinstance(path, Path)
    if local and not Path(path).is_file():
        fault = "is a folder and no" if Path(path).is_dir() else "no such"
        raise MinsegError(f"{path}: {fault} file; check the path")
    try:
        with nullcontext() if local else rasterio.Env(**ELSEWHERE_OPTIONS):
            source = rasterio.open(path)
    except RasterioIOError as error:
        reason = str(error).replace(f"'{path}' ", "").replace(f"{path}: ", "").splitlines()[0]
        mend = "is it whole?" if local else "check the address, and keys that it may need"
        raise MinsegError(f"{path}: cannot be read as a raster ({reason}); {mend}") from None
    with source:
        if inside := source.subdatasets:
            raise MinsegError(
                f"{path}: holds {len(inside)} rasters; take out the one that is meant, e.g. "
                f"`gdal_translate {quote(inside[0])} one.tif`"
            )
        yield source


def grid_of(source: rasterio.DatasetReader) -> Grid:
    """Return the grid of an open raster."""
    return Grid(source.height, source.width, source.transform, source.crs)


def read_grid(path: Path) -> Grid:
    """Return the grid of a raster file."""
    with open_raster(path) as source:
        return grid_of(source)


def require_located(grid: Grid, path: Path | str) -> None:
    """Refuse a raster that lies nowhere, or without a coordinate reference system."""
    if _counts_pixels(grid):
        with open_raster(path) as source:
            by_points = source.gcps[0] or source.rpcs is not None
        if by_points:
            raise MinsegError(
                f"{path}: is placed by control points or a sensor model, not by a grid; bring it "
                f"to one, e.g. `gdalwarp -t_srs EPSG:32633 -tr 10 10 -r near {path} placed.tif`"
            )
        raise MinsegError(
            f"{path}: has no georeference, its coordinates count its own pixels; take it from a "
            f"file of the same pixels: `rio edit-info --like THAT.tif --crs like --transform like "
            f"{path}`"
        )
    if grid.crs is None:
        raise MinsegError(
            f"{path}: has no coordinate reference system; "
            f"assign it, e.g. `rio edit-info --crs EPSG:32633 {path}`"
        )
    if not _lies_on_earth(grid):
        raise MinsegError(
            f"{path}: its coordinates lie nowhere on the earth in its coordinate reference system; "
            f"assign the one it was made in, e.g. `rio edit-info --crs EPSG:32633 {path}`"
        )


def _counts_pixels(grid: Grid) -> bool:
    """Whether coordinates only number the pixels, as without any georeference."""
    across, down = grid.transform @ (0, 0), grid.transform @ (1, 1)
    steps = [abs(down[0] - across[0]), abs(down[1] - across[1])]
    return steps == [1, 1] and abs(across[0]) <= 1 and -1 <= across[1] <= grid.height + 1


def _lies_on_earth(grid: Grid) -> bool:
    """Whether corners, edges and centre of a grid have a longitude and a latitude."""
    if grid.crs is None or not (grid.crs.is_geographic or grid.crs.is_projected):
        return False  # as a building site's own system, or one through the earth's centre
    xs, ys = grid.outline(3)
    x, y = grid.transform @ (grid.width / 2, grid.height / 2)
    try:
        with rasterio.Env():  # else GDAL prints what it raises
            longitudes, latitudes = warp_points(grid.crs, "EPSG:4326", [*xs, x], [*ys, y])
    except (CRSError, CPLE_BaseError):
        return False
    # Longitudes may be counted from 0 to 360, or on beyond the 180th meridian.
    return bool(np.abs(longitudes).max() <= 360 and np.abs(latitudes).max() <= 90)


def read_window(
    source: rasterio.DatasetReader,
    indexes: Sequence[int],
    window: Window | None = None,
    shape: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read bands (numbers from 1) of a raster in its own type, and where all of them are valid.

    `shape` (height, width) thins the window: of each new pixel's ground, the value at its centre,
    of an overview where the file has some. Nodata, what is not finite, and what the file's mask or
    alpha band hides is not valid.
    """
    try:
        thin = (len(indexes), *shape) if shape else None
        values = source.read(list(indexes), window=window, out_shape=thin)
        shown = read_dataset_mask(source, indexes[0], window, shape)
    except RasterioIOError as error:
        if not isinstance(place_of(source.name), Path):
            raise ConnectionFailedError(
                f"{source.name}: cannot be read on ({error.__cause__ or error}); if the connection "
                "failed, try again later"
            ) from None
        raise MinsegError(f"{source.name}: damaged ({error}); fetch the file again") from None
    valid = valid_pixels(values, [source.nodatavals[index - 1] for index in indexes])
    return values, valid if shown is None else valid & shown


def read_dataset_mask(
    source: rasterio.DatasetReader,
    index: int = 1,
    window: Window | None = None,
    shape: tuple[int, int] | None = None,
) -> np.ndarray | None:
    """Read the mask or alpha band that hides pixels beside the nodata value; None without one."""
    if MaskFlags.per_dataset in source.mask_flag_enums[index - 1]:
        return source.read_masks(index, window=window, out_shape=shape) > 0
    # Where there is a nodata value too, GDAL heeds that alone.
    kinds = zip(source.indexes, source.colorinterp, strict=True)
    alpha = next((band for band, kind in kinds if kind == ColorInterp.alpha), None)
    return None if alpha is None else source.read(alpha, window=window, out_shape=shape) > 0


def warped(source: rasterio.DatasetReader, grid: Grid, **options: Any) -> WarpedVRT:
    """Bring a raster to a grid by nearest neighbour, window by window as it is read."""
    return WarpedVRT(
        source,
        crs=grid.crs,
        transform=grid.transform,
        width=grid.width,
        height=grid.height,
        resampling=Resampling.nearest,
        tolerance=1e-6,  # pixels; by default it may be an eighth off, and 0 is an error
        **options,
    )


def valid_pixels(values: np.ndarray, nodata: Sequence[float | None]) -> np.ndarray:
    """Tell where all bands (bands, height, width), each with its nodata, have a value."""
    valid = np.ones(values.shape[1:], bool)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values).all(axis=0)
    for layer, missing in zip(values, nodata, strict=True):
        if missing is not None:
            valid &= layer != missing  # of NaN, so does everything
    return valid


def write_geotiff(
    path: Path,
    array: np.ndarray,
    grid: Grid,
    *,
    nodata: float | None,
    descriptions: Sequence[str],
    scale: float = 1.0,
) -> None:
    """Write a tiled, compressed GeoTIFF of (bands, height, width), each band with a name.

    An older file of that name is replaced at the end; `scale` is the tag that turns stored values
    into physical ones.
    """
    profile = raster_profile(grid, array.shape[0], array.dtype, nodata)
    # Measured on twelve bands of reflectance: written in less time, and smaller, since each
    # band is alike in itself; more effort in deflating gains nothing.
    profile |= {"interleave": "band", "zlevel": 1}
    with replace_when_done(path) as beside, writing(path, beside):
        with rasterio.open(beside, "w", **profile) as target:
            target.write(array)
            target.descriptions = tuple(descriptions)
            target.scales = (scale,) * array.shape[0]
        require_whole(beside)


@contextmanager
def writing(path: Path, beside: Path) -> Iterator[None]:
    """Tell in one line what goes wrong while the file that the user named is written beside."""
    try:
        yield
    except (OSError, CPLE_BaseError, SystemError) as error:  # the last: GDAL gave no reason
        if getattr(error, "strerror", None) is None:
            hidden, named = (str(one.with_suffix("")) for one in (beside, path))
            error = OSError(str(error).partition(". To debug:")[0].replace(hidden, named))
        raise cannot_write(path, error) from None


def require_whole(path: Path) -> None:
    """Read a raster just written: GDAL says nothing where the disk is full at its last write."""
    with rasterio.open(path) as source:
        for _, window in source.block_windows():
            source.read(window=window)


def raster_profile(grid: Grid, count: int, dtype: np.dtype, nodata: float | None) -> dict:
    """Return rasterio's creation options for a tiled, deflated GeoTIFF on a grid."""
    return {
        "driver": "GTiff",
        "height": grid.height,
        "width": grid.width,
        "transform": grid.transform,
        "crs": grid.crs,
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "predictor": 3 if np.dtype(dtype).kind == "f" else 2,
        "BIGTIFF": "IF_SAFER",
    }


@dataclass(frozen=True)
class RowFile:
    """A file for the rows of a raster, uncompressed since it is copied once and dropped."""

    path: Path
    """Where it lies."""
    named: Path
    """The file that the user asked for, for errors to name."""

    def begin(
        self,
        grid: Grid,
        dtype: type,
        nodata: int,
        descriptions: tuple[str, ...],
        *,
        tags: Mapping[str, str] | None = None,
        scale: float | None = None,
        colours: Mapping[int, tuple[int, int, int, int]] | None = None,
    ) -> None:
        """Make the file, filled with no data: a full disk shows now."""
        profile = raster_profile(grid, len(descriptions), np.dtype(dtype), nodata)
        for option in ("tiled", "blockxsize", "blockysize", "compress", "predictor"):
            del profile[option]
        with writing(self.named, self.path):
            with rasterio.open(self.path, "w", **profile) as target:
                target.descriptions = descriptions
                target.update_tags(**(tags or {}))
                if scale is not None:
                    target.scales = (scale,) * len(descriptions)
                if colours:
                    target.write_colormap(1, colours)
            needed = grid.height * grid.width * len(descriptions) * np.dtype(dtype).itemsize
            if self.path.stat().st_size < needed:  # GDAL does not always say so
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def keep(self, row: int, rows: np.ndarray) -> None:
        """Write rows (bands, rows, width), close the file, and make sure that they are in it."""
        window = Window(0, row, rows.shape[2], rows.shape[1])
        with writing(self.named, self.path):
            with rasterio.open(self.path, "r+") as target:
                target.write(rows, window=window)
            with rasterio.open(self.path) as source:
                kept = source.read(window=window)
            if not np.array_equal(kept, rows):  # GDAL says nothing where its last write fails
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def to_cloud_optimized(
    source: Path,
    path: Path,
    *,
    named: Path,
    category_names: Sequence[str] | None = None,
) -> None:
    """Copy a GeoTIFF to a Cloud-Optimized one; one of classes with the names of its values.

    The names lie where GDAL keeps them, in ``<path>.aux.xml``; bits have none, and no file, and
    what is no classes has None. Errors call the file `named`.
    """
    # Measured on maps of classes: LZW is written in three quarters of the time, about as small.
    compress = "lzw" if category_names else "deflate"
    resampling = "average" if category_names is None else "nearest"
    options = {"compress": compress, "overview_resampling": resampling, "BIGTIFF": "IF_SAFER"}
    with replace_when_done(path) as beside, writing(named, beside):
        sidecar = Path(f"{beside}.aux.xml")
        try:
            rasterio.shutil.copy(source, beside, driver="COG", **options)
            require_whole(beside)
            if category_names:
                sidecar.write_bytes(_described(category_names))
                sidecar.replace(f"{path}.aux.xml")
        finally:
            sidecar.unlink(missing_ok=True)


def _described(category_names: Sequence[str]) -> bytes:
    """Return what GDAL reads as the names of band 1's values; rasterio cannot set them."""
    root = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    categories = ElementTree.SubElement(band, "CategoryNames")
    for name in category_names:
        ElementTree.SubElement(categories, "Category").text = name
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8")
