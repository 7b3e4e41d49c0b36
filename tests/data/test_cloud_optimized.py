import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from minseg import MinsegError
from minseg.data.cloud_optimized import to_cloud_optimized
from minseg.data.raster import Grid, write_geotiff
from tests.conftest import names

UTM = Grid(300, 400, Affine(10, 0, 500_000, 0, -10, 4_000_000), CRS.from_epsg(32633))


def test_cloud_optimized_class_map_for_gdal(tmp_path):
    classes = np.random.default_rng(0).integers(0, 3, (1, 300, 400)).astype(np.uint8)
    classes[0, :5] = 255
    source, path = tmp_path / "plain.tif", tmp_path / "cog.tif"
    write_geotiff(source, classes, UTM, nodata=255, descriptions=["class"])
    colours = {0: (0, 0, 0, 0), 1: (255, 0, 0, 255), 2: (0, 0, 255, 255)}
    to_cloud_optimized(source, path, category_names=["background", "pit", "dam"], colours=colours)
    with rasterio.open(path) as found:
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (found.read() == classes).all()
        assert found.nodata == 255
        assert found.colormap(1)[2] == (0, 0, 255, 255)
        assert found.crs == UTM.crs
        assert found.transform == UTM.transform
    names = (tmp_path / "cog.tif.aux.xml").read_text()
    assert names.index("background") < names.index("pit") < names.index("dam")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cog.tif", "cog.tif.aux.xml", "plain.tif"]


@pytest.mark.parametrize("limit", [4_000, 400])
def test_a_full_disk_leaves_the_older_map_and_its_names(tmp_path, capfd, file_limit, limit):
    classes = np.random.default_rng(0).integers(0, 3, (1, 300, 400)).astype(np.uint8)
    source, path = tmp_path / "plain.tif", tmp_path / "cog.tif"
    write_geotiff(source, classes, UTM, nodata=255, descriptions=["class"])
    to_cloud_optimized(source, path, category_names=["background", "pit", "dam"], colours={})
    before = {one: one.read_bytes() for one in tmp_path.iterdir()}
    with file_limit(limit), pytest.raises(MinsegError, match="cannot be written") as caught:
        to_cloud_optimized(
            source, path, category_names=["a", "b", "c"], colours={}, named=tmp_path / "mine.tif"
        )
    assert str(caught.value).startswith(f"{tmp_path / 'mine.tif'}: ")
    assert "partial" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert names(tmp_path) == ["cog.tif", "cog.tif.aux.xml", "plain.tif"]
    assert {one: one.read_bytes() for one in tmp_path.iterdir()} == before
