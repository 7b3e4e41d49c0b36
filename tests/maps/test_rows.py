import numpy as np
import pytest
import rasterio

from minseg import MinsegError
from minseg.data.raster import grid_of
from minseg.maps.rows import RowFile
from tests.conftest import grid_at


def test_rows_are_there_as_soon_as_they_are_kept_and_the_others_hold_no_data(tmp_path):
    rows, grid = RowFile(tmp_path / "rows.tif", tmp_path / "map.tif"), grid_at(0)
    rows.begin(grid, np.uint16, 65535, ("a", "b"), tags={"KEY": "value"}, scale=0.01)
    values = np.random.default_rng(0).integers(0, 9, (2, 5, 64)).astype(np.uint16)
    rows.keep(20, values)
    with rasterio.open(rows.path) as source:
        assert grid_of(source).matches(grid)
        assert source.descriptions == ("a", "b")
        assert source.scales == (0.01, 0.01)
        assert source.tags()["KEY"] == "value"
        found = source.read()
    assert np.array_equal(found[:, 20:25], values)
    found[:, 20:25] = 65535
    assert (found == source.nodata).all()


def test_a_full_disk_is_told_by_the_users_name(tmp_path, capfd, file_limit):
    rows, grid = RowFile(tmp_path / "rows.tif", tmp_path / "map.tif"), grid_at(0, 200)
    with file_limit(20_000), pytest.raises(MinsegError) as begun:
        rows.begin(grid, np.uint8, 255, ("class",))
    rows.begin(grid, np.uint8, 255, ("class",))
    with file_limit(20_000), pytest.raises(MinsegError) as kept:
        rows.keep(150, np.ones((1, 50, 200), np.uint8))
    for caught in (begun, kept):
        assert str(caught.value).startswith(f"{tmp_path / 'map.tif'}: cannot be written")
        assert "rows.tif" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
