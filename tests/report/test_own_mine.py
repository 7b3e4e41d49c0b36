import math
from dataclasses import replace
from types import SimpleNamespace

import geopandas
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from minseg import MinsegError
from minseg.data.labels import TASKS
from minseg.maps.class_map import ClassMap, read_class_map
from minseg.maps.polygons import vectorise
from minseg.maps.prediction import Products
from minseg.report import own_mine, style
from minseg.study import execution
from minseg.study.runs import RunStore
from tests.conftest import TINY, grid_at, names

MODEL1 = TASKS["model1"]


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return execution.run(TINY, dataset, RunStore(tmp_path_factory.mktemp("runs")))


def squares():
    """Two pits of 1 and 4 ha, and no preparatory area."""
    classes = np.zeros((64, 64), np.uint8)
    classes[2:12, 2:12] = classes[20:40, 20:40] = 1
    class_map = ClassMap(classes, grid_at(0), MODEL1)
    return Products(class_map, vectorise(class_map).assign(mean_probability=[0.5, 1.0]))


def test_areas_by_class():
    table = own_mine.area_table(squares()).data
    assert list(table.index) == ["excavation", "preparatory work area"]
    pits = table.loc["excavation"]
    assert pits["objects"] == 2
    assert pits["area, ha"] == pytest.approx(5, rel=2e-3)  # UTM is up to a thousandth off
    assert pits["largest, ha"] == pytest.approx(4, rel=2e-3)
    assert pits["mean probability"] == pytest.approx((0.5 * 1 + 1.0 * 4) / 5)
    none = table.loc["preparatory work area"]
    assert (none["objects"], none["area, ha"]) == (0, 0)
    assert none[["largest, ha", "mean probability"]].isna().all()


def test_the_answer_tells_what_is_seen_and_which_cleaning_helps_or_harms():
    rows = {
        "smoothing": (0.02, 0.01, 0.03, True),
        "minimum size": (0.0, -0.01, 0.01, False),
        "all together": (-0.3, -0.4, -0.2, True),
    }
    columns = ["difference", "low", "high", "told"]
    cleaned = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    image = SimpleNamespace(title="Mine 1", synthetic=True)
    seen, helped = own_mine.answer(image, squares(), cleaned).splitlines()
    assert "**In Mine 1 (synthetic)** the network sees 5.0 ha of excavation, 0.0 ha of" in seen
    assert helped.startswith("- **Of 3 ways of cleaning")
    expected = "smoothing +0.020 (+0.010 to +0.030); all together −0.300 (−0.400 to −0.200)."
    assert helped.endswith(expected)
    none = own_mine.answer(image, squares(), cleaned[~cleaned["told"]].assign(told=False))
    assert none.endswith("told from zero: none.")


def test_a_test_mine_stands_in_where_no_image_is_named(dataset, run, tmp_path):
    image = own_mine.own_image(dataset, run)
    by_mine = run.scores_by_mine()["iou"].dropna().sort_values()
    worse, better = (len(by_mine) - 1) // 2, len(by_mine) // 2
    assert image.files[0].path.parent.parent.name in by_mine.index[[worse, better]]
    assert [file.path.name for file in image.files] == ["optical.tif", "radar.tif"]
    assert image.synthetic
    mapped = own_mine.map_image(run, image, tmp_path / "out", {"minimum_ha": 0.2})
    assert names(tmp_path / "out") == [
        "classes.qml", "classes.tif", "classes.tif.aux.xml", "polygons.gpkg", "polygons.qml",
    ]  # fmt: skip
    kept = read_class_map(tmp_path / "out" / "classes.tif")
    assert np.array_equal(kept.classes, mapped.class_map.classes)
    layer = geopandas.read_file(tmp_path / "out" / "polygons.gpkg")
    in_classes = np.count_nonzero((kept.classes > 0) & (kept.classes < 255))
    assert layer["area_ha"].sum() == pytest.approx(in_classes / 100, rel=2e-3)
    figure = own_mine.map_figure(image, mapped)
    assert len(figure.axes) == 2
    assert "SYNTHETIC" in [text.get_text() for text in figure.findobj(Text)]


def test_a_test_mine_without_radar_does_not_serve_a_run_that_needs_it(dataset, run):
    optical = replace(dataset, scenes=dataset.scenes.assign(radar=""))
    with pytest.raises(MinsegError, match="has no radar file, and the run needs B02, B04, VV; na"):
        own_mine.own_image(optical, run)


def test_named_images_are_read_as_told(dataset, run):
    scene = dataset.scenes.iloc[0]
    files = [str(dataset.path / scene[kind]) for kind in ("optical", "radar")]
    image = own_mine.own_image(dataset, run, files, {"nodata": 0})
    assert image.title == "optical.tif, radar.tif"
    assert not image.synthetic  # nobody said so
    assert image.picture.shape == (1, 64, 64)  # the model has no green band
    values, valid = dataset.read_inputs(scene, ("B02",))
    assert image.picture[0][valid] == pytest.approx(values[0][valid])


def test_a_large_image_is_thinned_as_its_map_is(dataset, run, tmp_path, monkeypatch):
    monkeypatch.setattr(own_mine, "SHOWN_SIDE", 20)
    whole, thin = 64, 16
    image = own_mine.own_image(dataset, run)
    assert image.picture.shape == (1, thin, thin)
    mine = image.files[0].path.parent.parent.name
    scenes = dataset.scenes_of("test").set_index("mine")
    values, valid = dataset.read_inputs(scenes.loc[mine], ["B02"])
    expected = np.where(valid, values, np.nan)[:, 2::4, 2::4]  # beside the centre of 4 × 4
    assert np.array_equal(image.picture, expected.astype(np.float32), equal_nan=True)
    mapped = own_mine.map_image(run, image, tmp_path / "out")
    assert mapped.class_map.classes.shape == (whole, whole)
    shown = own_mine.shown_map(image, mapped)
    assert np.array_equal(shown.classes, mapped.class_map.classes[2::4, 2::4])
    assert shown.grid.bounds == mapped.class_map.grid.bounds
    panels = own_mine.map_figure(image, mapped).axes
    assert [panel.images[0].get_array().shape[:2] for panel in panels] == [(thin, thin)] * 2
    bar = style.scale_bar_length_m(640)
    assert style.format_length(bar) in [text.get_text() for text in panels[0].texts]


def test_unfit_fields_are_one_line(dataset, run, tmp_path):
    with pytest.raises(MinsegError, match=r"scale = '1e-4 m': .*gsd_m = \[10\]: .*number"):
        own_mine.own_image(dataset, run, (), {"scale": "1e-4 m", "gsd_m": [10]})
    with pytest.raises(MinsegError, match="offset nan: give a number"):
        own_mine.own_image(dataset, run, (), {"offset": math.nan})
    with pytest.raises(MinsegError, match=r"unknown ImageReading field 'scales'; use .*scale"):
        own_mine.own_image(dataset, run, (), {"scales": 1})
    image = own_mine.own_image(dataset, run)
    with pytest.raises(MinsegError, match="unknown Cleaning field 'smooth'; use smooth_radius_px"):
        own_mine.map_image(run, image, tmp_path / "out", {"smooth": 1})
    with pytest.raises(MinsegError, match=r"Cleaning smooth_radius_px = 1\.5: .*integer"):
        own_mine.map_image(run, image, tmp_path / "out", {"smooth_radius_px": 1.5})
    assert not (tmp_path / "out").exists()
