from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from affine import Affine
from pyproj import Geod
from rasterio.crs import CRS
from rasterio.features import rasterize

from minseg.data.labels import IGNORE, TASKS, parse_task
from minseg.data.raster import Grid
from minseg.maps.change import (
    ABSENT,
    CHANGES,
    GAINED,
    LOST,
    UNCHANGED,
    change,
    change_areas,
    class_change,
)
from minseg.maps.class_map import ClassMap
from tests.conftest import grid_at
from tests.maps.conftest import overlapping, speckled
from tests.report.test_scenes import VISION, cielab

MODEL_1 = TASKS["model1"]
DEGREES = Grid(90, 120, Affine(1e-4, 0, 24.9, 0, -1e-4, 60.1), CRS.from_epsg(4326))
TURNED = Grid(
    80, 60, Affine.translation(5e5, 5e6) @ Affine.rotation(20) @ Affine.scale(10, -10),
    CRS.from_epsg(32633),
)  # fmt: skip


def class_map(classes, grid=None, task=MODEL_1):
    classes = np.asarray(classes, np.uint8)
    return ClassMap(classes, grid or grid_at(0, classes.shape[0]), task)


def random_maps(grid):
    return [class_map(speckled(grid.height, grid.width, seed), grid) for seed in range(2)]


def test_every_pair_of_values():
    before = class_map([[0, 0, 1, 1, 2], [IGNORE, 0, 1, 2, 2]], grid_at(0, 2))
    after = class_map([[0, 1, 1, 2, 0], [1, IGNORE, 0, 1, 2]], grid_at(0, 2))
    excavation = [[ABSENT, GAINED, UNCHANGED, LOST, ABSENT], [IGNORE, IGNORE, LOST, GAINED, ABSENT]]
    strip = [[ABSENT, ABSENT, ABSENT, GAINED, LOST], [IGNORE, IGNORE, ABSENT, LOST, UNCHANGED]]
    assert class_change(before, after, "excavation").tolist() == excavation
    assert class_change(before, after, "preparatory work area").tolist() == strip


@pytest.mark.parametrize("grid", [grid_at(0), DEGREES, TURNED], ids=["utm", "degrees", "turned"])
def test_polygons_cover_what_changed_and_their_areas_add_up(grid):
    before, after = random_maps(grid)
    polygons, areas = change(before, after), change_areas(before, after)
    assert list(polygons.columns) == ["class", "change", "area_ha", "geometry"]
    assert polygons.crs == grid.crs
    assert polygons.is_valid.all()
    for name in MODEL_1.class_names:
        states = class_change(before, after, name)
        for number, kind in enumerate(CHANGES, start=1):
            chosen = polygons[(polygons["class"] == name) & (polygons["change"] == kind)]
            drawn = rasterize(chosen.geometry, states.shape, transform=grid.transform)
            assert np.array_equal(drawn == 1, states == number)
            assert chosen["area_ha"].sum() == pytest.approx(areas.loc[name, f"{kind}_ha"], rel=1e-6)
    if grid is DEGREES:
        geod = Geod(ellps="WGS84")
        for (name, kind), rows in polygons.groupby(["class", "change"]):
            expected = sum(abs(geod.geometry_area_perimeter(one)[0]) for one in rows.geometry)
            assert areas.loc[name, f"{kind}_ha"] == pytest.approx(expected / 1e4, rel=1e-4)
    assert np.allclose(areas["gained_ha"] + areas["unchanged_ha"], areas["after_ha"])
    assert np.allclose(areas["lost_ha"] + areas["unchanged_ha"], areas["before_ha"])


def test_overlapping_classes_change_each_by_itself():
    task = parse_task("excavation+dam")
    before, after = overlapping(task, 60), overlapping(task, 60)
    after = replace(after, classes=np.fliplr(after.classes))
    polygons, areas = change(before, after), change_areas(before, after)
    for name in task.class_names:
        alone = [
            class_map(np.where(one.missing, 255, task.mask(one.classes, name)), one.grid, lone)
            for one in (before, after)
            for lone in [parse_task(name)]
        ]
        expected = change_areas(*alone).loc[name]
        assert areas.loc[name].to_list() == pytest.approx(expected.to_list())
        own = polygons[polygons["class"] == name].reset_index(drop=True)
        assert change(*alone).drop(columns="class").equals(own.drop(columns="class"))


def test_ground_without_data_is_left_out_and_counted():
    before, after = random_maps(grid_at(0))
    areas = change_areas(before, after)
    without = np.mean((before.classes == IGNORE) | (after.classes == IGNORE))
    whole_ha = areas["compared_ha"] + areas["left_out_ha"]
    assert 0.03 < without < 0.05
    assert np.allclose(areas["left_out_ha"] / whole_ha, without)
    assert np.allclose(whole_ha, 64 * 64 / 100, rtol=1e-3)  # 10 m pixels, up to the projection
    assert not class_change(before, after, "excavation")[before.classes == IGNORE].min() < IGNORE


@pytest.mark.parametrize("vision", VISION)
def test_kinds_of_change_are_told_apart_without_colour_vision(vision):
    seen = [cielab(colour, vision) for colour in CHANGES.values()]
    assert all(np.linalg.norm(one - other) > 35 for one, other in combinations(seen, 2))
