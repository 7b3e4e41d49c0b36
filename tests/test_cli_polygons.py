import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from minseg.maps import prediction
from minseg.maps.class_map import read_class_map
from minseg.maps.cleaning import Cleaning, clean
from minseg.study import execution
from minseg.study.runs import RunStore
from tests.conftest import TINY, names
from tests.maps.conftest import require_agreement


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A model of pits and strips that has learnt something."""
    config = TINY.replace(epochs=12, bands="B02,B04")
    return execution.run(config, dataset, RunStore(tmp_path_factory.mktemp("runs"))).path


@pytest.fixture
def image(dataset):
    return dataset.path / dataset.scenes["optical"][0]


def agreeing(polygons, output):
    """Polygons that are those of a map."""
    layer = geopandas.read_file(polygons)
    assert len(layer)
    require_agreement(layer, read_class_map(output))
    return layer


def test_polygons_agree_with_the_map_and_nothing_else_is_left(minseg, run, image, tmp_path):
    output, polygons = tmp_path / "out" / "map.tif", tmp_path / "gis" / "mine.gpkg"
    status, out, _ = minseg("predict", run, image, "-o", output, "--polygons", polygons)
    assert (status, out.splitlines()) == (0, [str(output), str(polygons)])
    layer = agreeing(polygons, output)
    assert layer["mean_probability"].between(1 / 3, 1).all()
    assert layer["area_ha"].sum() == pytest.approx(layer.geometry.area.sum() / 1e4, rel=2e-3)
    assert names(output.parent) == ["map.qml", "map.tif", "map.tif.aux.xml"]
    assert names(polygons.parent) == ["mine.gpkg", "mine.qml"]


def test_cleaning_changes_map_and_polygons_alike(minseg, run, image, tmp_path):
    raw, output, polygons = (tmp_path / name for name in ("raw.tif", "map.tif", "map.gpkg"))
    probabilities = tmp_path / "p.tif"
    minseg("predict", run, image, "-o", raw)
    cleaning = ["--smooth", "1", "--minimum-ha", "0.2", "--adjacency"]
    given = ["--polygons", polygons, "--probabilities", probabilities]
    status, *_ = minseg("predict", run, image, "-o", output, *given, *cleaning)
    assert status == 0
    expected = clean(read_class_map(raw), Cleaning(1, 0.2, True)).classes
    assert not np.array_equal(expected, read_class_map(raw).classes)
    assert np.array_equal(read_class_map(output).classes, expected)
    layer = agreeing(polygons, output)
    assert layer["area_ha"].min() >= 0.2 * 0.999
    with rasterio.open(probabilities) as source:  # the user's own file stays
        assert source.count == 3


def test_interrupted_work_says_where_it_goes_on(minseg, run, image, tmp_path, monkeypatch):
    given = "predict", run, image, "-o", tmp_path / "map.tif", "--polygons", tmp_path / "map.gpkg"

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prediction, "clean", interrupt)
        status, *_ = minseg(*given, "--smooth", "2")
    assert status != 0
    assert names(tmp_path) == [".map.tif.partial"]
    status, _, err = minseg(*given, "--smooth", "1")
    assert status == 0
    assert "goes on at row 64 of 64, where it was interrupted\n" in err
    assert names(tmp_path) == ["map.gpkg", "map.qml", "map.tif", "map.tif.aux.xml"]
    agreeing(tmp_path / "map.gpkg", tmp_path / "map.tif")


def test_a_map_of_background_says_so_in_one_line(minseg, run, image, tmp_path):
    polygons = tmp_path / "map.gpkg"
    given = ["-o", tmp_path / "map.tif", "--polygons", polygons, "--minimum-ha", "1000"]
    status, out, err = minseg("predict", run, image, *given)
    assert (status, out.splitlines()[-1]) == (0, str(polygons))
    assert err.splitlines()[-1] == f"{polygons}: no polygon; the map is all background"
    assert len(geopandas.read_file(polygons)) == 0


def test_mistakes_are_told_before_the_work(refused, run, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = "folder.gpkg", "folder.tif", "other.tif.aux.xml", "styled.qml"
    for name in folders:
        Path(name).mkdir()
    Path("file").write_text("in the way")
    copies = "copy.tif", "image.gpkg", "lost.tif"  # a raster may be in a GeoPackage too
    for name in copies:
        shutil.copy(image, name)
    with rasterio.open("lost.tif", "r+") as target:
        target.crs, target.transform = CRS.from_epsg(4326), Affine(10, 0, 4e5, 0, -10, 5e6)
    before = {name: Path(name).read_bytes() for name in copies}
    cases = {
        (image, "--polygons", "map.geojson"): "name it",
        (image, "--polygons", "out/map.tif"): "name it",
        (image, "--polygons", "folder.gpkg"): "is a folder",
        (image, "--polygons", "file/map.gpkg"): "cannot write here",
        (image, "--polygons", "styled.gpkg"): "styled.qml: is a folder",
        ("image.gpkg", "--polygons", "image.gpkg"): "another file of this work",
        (image, "--probabilities", "p.jpg"): "p.jpg: is written as a GeoTIFF; name it",
        (image, "--probabilities", "file/p.tif"): "cannot write here",
        (image, "--probabilities", "folder.tif"): "is a folder",
        (image, "--probabilities", "out/map.tif"): "need a file each",
        ("copy.tif", "--probabilities", "copy.tif"): "need a file each",
        ("copy.tif", "-o", "copy.tif"): "need a file each",
        (image, "-o", "map.gpkg"): "map.gpkg: is written as a GeoTIFF; name it",
        (image, "-o", "file/map.tif"): "cannot write here",
        (image, "-o", "folder.tif"): "is a folder",
        (image, "-o", "other.tif"): "other.tif.aux.xml: is a folder",
        (image, "-o", "styled.tif"): "styled.qml: is a folder",
        (image, "--gsd-m", "1e-9"): "pixels of 1e-09 m would make an image of",
        (image, "--smooth", "-1"): "give numbers from 0",
        (image, "--minimum-ha", "-1"): "give numbers from 0",
        (image, "--minimum-ha", "nan"): "give numbers from 0",
        ("lost.tif",): "its coordinates lie nowhere on the earth",
    }
    for given, message in cases.items():
        assert message in refused("predict", run, "-o", "out/map.tif", *given)
    assert {name: Path(name).read_bytes() for name in copies} == before
    assert names(tmp_path) == sorted((*copies, *folders, "file"))
