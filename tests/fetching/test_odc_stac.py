"""The same pixels by odc-stac, which reads STAC items in its own way."""

import numpy as np
import odc.stac
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from minseg.data.bands import OPTICAL_BANDS
from minseg.fetching.pixels import read_optical, read_radar
from tests.fetching.conftest import PROVIDER
from tests.fetching.scenes import (
    BESIDE,
    BOX,
    TILE,
    WEST,
    item,
    numbers_at,
    tif,
)

BANDS = [band.name for band in OPTICAL_BANDS]


def by_odc_stac(scenes, bands, grid, data_type, nodata):
    """Bands of a day's items on a grid by nearest neighbour, their own numbers."""
    for scene in scenes:
        scene.collection_id = "any"
    told = {"assets": {"*": {"data_type": data_type, "nodata": nodata}}}
    box = GeoBox((grid.height, grid.width), grid.transform, grid.crs.to_epsg())
    loaded = odc.stac.load(
        scenes, bands=bands, geobox=box, groupby="solar_day", stac_cfg={"any": told}
    )
    return np.stack([loaded[band].values[0] for band in bands])


def test_radar_power_is_what_odc_stac_reads(server):
    random = np.random.default_rng(0)
    for channel in ("vv", "vh"):
        power = random.gamma(4, 0.02, (240, 240)).astype(np.float32)
        power[40:50, 60:70] = -32768
        power[60, 80] = 0  # no power either
        tif(server.folder / f"{channel}.tif", power, TILE.transform, nodata=-32768)
    hrefs = {channel: f"{server.url}/{channel}.tif" for channel in ("vv", "vh")}
    scene = item("S1A", "2020-07-02", hrefs)
    expected = by_odc_stac([scene], ["vv", "vh"], BOX, "float32", -32768)
    missing = ~(expected > 0)
    assert 0 < missing.mean() < 0.1
    channels = read_radar(scene, PROVIDER, BOX)
    assert channels.dtype == np.float32
    assert np.array_equal(np.isnan(channels[:2]), missing)
    assert channels[2] == pytest.approx(channels[0] - channels[1] - 10, abs=1e-4, nan_ok=True)
    power = 10 ** (channels[:2][~missing] / 10)
    assert power == pytest.approx(expected[~missing], rel=1e-5)


@pytest.mark.parametrize("zones", BESIDE)
def test_tiles_put_together_are_what_odc_stac_makes_of_them(server, zones):
    scenes = []
    for name, tile in (("A", WEST), ("B", BESIDE[zones])):
        for seed, band in enumerate(OPTICAL_BANDS):
            pixel = band.native_gsd_m // 10
            numbers = numbers_at(10, 100 * len(scenes) + seed)
            numbers = numbers[: tile.height // pixel, : tile.width // pixel]
            path = server.folder / f"{name}{band.name}.tif"
            tif(path, numbers, tile.transform @ Affine.scale(pixel), tile.crs)
        hrefs = {band: f"{server.url}/{name}{band}.tif" for band in BANDS}
        bounds = tile.bounds_lonlat
        scenes.append(item(name, "2020-07-01", hrefs, bounds, s2__processing_baseline="02.12"))
    first, second = scenes
    half = read_optical(first, PROVIDER, BOX)
    assert (half == 0).any(axis=0).mean() == 0.5
    optical = read_optical(first, PROVIDER, BOX, [second])
    expected = by_odc_stac(scenes, BANDS, BOX, "uint16", 0)
    assert (optical > 0).all() and np.array_equal(optical[half > 0], half[half > 0])
    # Between zones, pixels that lie on an edge may fall either way.
    assert np.mean(optical != expected) <= (0 if zones == "one zone" else 0.002)
