import geopandas as gpd
import numpy as np
import pytest

from minseg.data.labels import TASKS
from minseg.maps.change import CHANGES
from minseg.maps.class_map import write_class_map
from tests.conftest import grid_at, names


@pytest.fixture
def write_map(tmp_path):
    """Write a map of Model 1, 20 by 20 pixels: excavation in the columns given, or another."""

    def write(name, columns, side=20, task="model1", value=1):
        classes = np.zeros((side, side), np.uint8)
        classes[:, columns] = value
        write_class_map(tmp_path / name, classes, grid_at(0, side), TASKS[task])
        return tmp_path / name

    return write


def test_change_writes_polygons_with_a_style_and_prints_areas(minseg, write_map, tmp_path):
    before, after = write_map("2019.tif", slice(0, 10)), write_map("2021.tif", slice(2, 15))
    output = tmp_path / "new" / "change.gpkg"
    status, out, err = minseg("change", before, after, "-o", output)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == str(output)
    gained, lost, unchanged = (float(part) for part in out.splitlines()[3].split()[1:4])
    assert (gained, lost, unchanged) == pytest.approx((1.0, 0.4, 1.6), rel=0.01)  # 20 × n × 0.01 ha
    assert "compared: 4.0" in out
    assert names(output.parent) == ["change.gpkg", "change.qml"]
    layer = gpd.read_file(output)
    areas = layer.set_index("change")["area_ha"]
    assert areas[["gained", "lost", "unchanged"]].tolist() == pytest.approx(
        [gained, lost, unchanged], abs=0.006
    )
    assert set(layer["class"]) == {"excavation"}
    assert layer.crs.to_epsg() == 32633
    style = (output.parent / "change.qml").read_text()
    assert all(kind in style for kind in CHANGES)


@pytest.mark.parametrize(
    ("columns", "said", "number"),
    [(slice(0, 5), "no change between", 1), (slice(0, 0), "the layer is empty", 0)],
)
def test_nothing_changed(minseg, write_map, tmp_path, columns, said, number):
    before, after = write_map("2019.tif", columns), write_map("2021.tif", columns)
    status, out, _ = minseg("change", before, after, "-o", tmp_path / "change.gpkg")
    assert (status, said in out.splitlines()[-1]) == (0, True)
    layer = gpd.read_file(tmp_path / "change.gpkg")
    assert len(layer) == number
    assert {"class", "change", "area_ha"} <= set(layer.columns)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("2019.tif ./2019.tif -o out.gpkg", "given twice"),
        ("2019.tif 2021.tif -o 2021.tif", "GeoPackage"),
        ("2019.tif 2021.tif -o .", "folder"),
        ("2019.tif missing.tif -o new/out.gpkg", "no such file"),
        ("2019.tif large.tif -o out.gpkg", "size (20×20 and 30×30 pixels); predict both"),
        ("2019.tif total.tif -o out.gpkg", "model1 and the later of model4"),
        ("2019.tif notes.txt -o out.gpkg", "cannot be read as a raster"),
        ("2019.tif clouds.tif -o out.gpkg", "no ground has data in both maps"),
        ("2019.tif 2021.tif -o 2021.gpkg", "name it e.g. 2021_change.gpkg"),
        ("2019.tif 2021.tif -o old.gpkg", "would be that of old.TIFF too"),
        ("2019.tif 2021.tif -o folder.gpkg", "folder.qml: is a folder"),
        ("2019.tif odd.tif -o out.gpkg", "odd.tif: holds 9, which is no class"),
    ],
)
def test_mistakes_are_one_line(refused, write_map, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_map("2019.tif", slice(0, 10))
    write_map("2021.tif", slice(2, 15))
    write_map("large.tif", slice(2, 15), side=30)
    write_map("total.tif", slice(2, 15), task="model4")
    write_map("clouds.tif", slice(None), value=255)
    write_map("odd.tif", slice(2, 3), value=9)
    (tmp_path / "notes.txt").write_text("no raster")
    (tmp_path / "old.TIFF").write_text("a map")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    (tmp_path / "folder.qml").mkdir()
    assert said in refused("change", *arguments.split())
    (tmp_path / "folder.qml").rmdir()
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
