import dataclasses
import json
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point, shape

from minseg.data.bands import BANDS
from minseg.data.dataset import open_dataset
from minseg.data.labels import CLASS_NAMES, decode_bits
from minseg.data.raster import Grid
from minseg.data.writing import write_dataset
from minseg.errors import MinsegError
from minseg.report.dataset import SOURCES, WORLD, fusion_figure, mine_map_figure
from minseg.synthetic.dataset import write_synthetic
from tests.conftest import mine_rows, scene_of
from tests.report.test_training import overlapping_texts


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """All 15 channels."""
    return write_synthetic(tmp_path_factory.mktemp("fusion") / "full", 3, (2021,), 64)


def narrowed(dataset, bands):
    description = dataset.description.model_copy(update={"bands": bands, "synthetic": False})
    return dataclasses.replace(dataset, description=description)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def titles(figure):
    return [text for text in texts(figure) if text.startswith("Sentinel")]


def first(dataset):
    return dataset.scenes["scene"].iloc[0]


def test_every_channel_has_one_source():
    assert sorted(band for source in SOURCES for band in source.bands) == sorted(BANDS)
    assert all(set(bands) <= set(s.bands) for s in SOURCES for bands in s.pictures)


def test_a_full_scene_has_a_row_per_resolution_and_all_channels_in_the_stack(full):
    figure = fusion_figure(full, first(full))
    assert titles(figure) == [
        "Sentinel-2, 10 m: B02, B03, B04, B08",
        "Sentinel-2, 20 m: B05, B06, B07, B8A, B11, B12",
        "Sentinel-2, 60 m: B01, B09",
        "Sentinel-1, 10 m: VV, VH, VV/(10·VH)",
    ]
    assert "15 channels on one 10 m grid" in texts(figure)
    assert any("coarse pixels repeated" in text for text in texts(figure))
    assert len(figure.axes[0].images) == 9 + 15 + 1
    assert figure.get_suptitle() == "SYNTHETIC"
    assert overlapping_texts(figure) == []


def test_the_legend_names_the_classes_of_the_scene(full):
    row = full.scenes.iloc[0]
    labels = full.read_labels(row)
    there = [name for name in CLASS_NAMES if decode_bits(labels, name).any()]
    figure = fusion_figure(full, row["scene"])
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    # A class that others cover whole is not to be seen.
    assert set(entries) - {"not annotated"} <= set(there)
    assert len(entries) >= 2


def test_pictures_of_coarse_bands_show_their_blocks(full):
    figure = fusion_figure(full, first(full))
    pictures = [image.get_array() for image in figure.axes[0].images]
    blocks = pictures[4][:60, :60].reshape(10, 6, 10, 6, -1)  # B01, the first of 60 m
    assert np.ptp(blocks, axis=(1, 3)).max() == 0
    assert np.ptp(blocks) > 0


@pytest.mark.parametrize(
    ("bands", "rows", "captions"),
    [
        (("B02", "B03", "B04"), 1, ["B04/B03/B02"]),
        (("B03", "B04"), 1, ["B03"]),
        (("B04",), 1, ["B04"]),
        (("B11", "VH"), 2, ["B11", "VH"]),
    ],
)
def test_rows_of_bands_that_are_not_there_are_left_out(full, bands, rows, captions):
    figure = fusion_figure(narrowed(full, bands), first(full))
    assert len(titles(figure)) == rows
    assert set(captions) <= set(texts(figure))
    number = f"{len(bands)} channel" + ("s" if len(bands) > 1 else "")
    assert f"{number} on one 10 m grid" in texts(figure)
    assert figure.get_suptitle() == ""
    assert overlapping_texts(figure) == []


def test_a_scene_without_radar_has_no_row_of_it(tmp_path):
    scenes = [scene_of(k, 2020, radar=k != 0) for k in range(3)]
    path = tmp_path / "mixed"
    written = write_dataset(
        path,
        name="mixed",
        mines=mine_rows(3),
        scenes=iter(scenes),
        class_names=("excavation", "preparatory work area"),
        provenance="made by a test",
        licence="none needed",
        synthetic=True,
    )
    dataset = open_dataset(written.path)
    with_radar = dataclasses.replace(
        dataset,
        description=dataset.description.model_copy(
            update={"bands": ("B02", "B03", "B04", "B08", "VV", "VH", "VV/(10·VH)")}
        ),
    )
    assert len(titles(fusion_figure(with_radar, "mine-0-2020"))) == 1
    assert len(titles(fusion_figure(with_radar, "mine-1-2020"))) == 2


def test_the_middle_of_a_large_scene_is_shown_if_it_has_coarse_bands(tmp_path):
    large = write_synthetic(tmp_path / "large", 3, (2021,), 192)
    figure = fusion_figure(large, first(large))
    assert any(text.startswith("128 × 128 pixels\n") for text in texts(figure))
    shown = figure.axes[0].images[-1].get_array()
    assert shown.shape[:2] == (128, 128)


def test_an_oblong_scene_without_coarse_bands_is_shown_whole_and_true_to_shape(tmp_path):
    scene = scene_of(0, 2020, side=160, radar=False)
    grid = Grid(96, 160, scene.grid.transform, scene.grid.crs)
    oblong = dataclasses.replace(
        scene, grid=grid, optical=scene.optical[:, :96], labels=scene.labels[:96]
    )
    others = [scene_of(k, radar=False) for k in (1, 2)]
    dataset = write_dataset(
        tmp_path / "oblong",
        name="oblong",
        mines=mine_rows(3),
        scenes=iter([oblong, *others]),
        class_names=("excavation", "preparatory work area"),
        provenance="made by a test",
        licence="none needed",
        synthetic=True,
    )
    figure = fusion_figure(dataset, oblong.scene)
    assert "4 channels on one 10 m grid" in texts(figure)
    assert "96 × 160 pixels" in texts(figure)
    for image in figure.axes[0].images:
        left, right, bottom, top = image.get_extent()
        assert image.get_array().shape[:2] == (96, 160)
        assert (bottom - top) / (right - left) == pytest.approx(96 / 160)


def test_an_unknown_scene_is_refused(full):
    with pytest.raises(MinsegError, match="has no scene 'nowhere'"):
        fusion_figure(full, "nowhere")


CHILE = pd.DataFrame(
    {
        "longitude": [-70.5, -69.1, -68.9],
        "latitude": [-33.1, -24.3, -22.3],
        "part": ["train", "test", "train"],
    }
)


def draw(figure):
    """Draw and give the figure back: some mistakes show only then."""
    assert figure._repr_png_().startswith(b"\x89PNG")
    return figure


def extent(figure):
    (axes,) = figure.axes
    return (*axes.get_xlim(), *axes.get_ylim())


def entries(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_parts_have_counts_and_shapes_of_their_own():
    mines = pd.concat([CHILE, CHILE.assign(part="validation")])
    figure = draw(mine_map_figure(mines))
    assert entries(figure) == ["train (2)", "validation (3)", "test (1)"]
    markers = figure.axes[0].collections
    assert [len(marker.get_offsets()) for marker in markers] == [2, 3, 1]
    assert len({marker.get_paths()[0].vertices.tobytes() for marker in markers}) == 3
    assert len({tuple(marker.get_facecolor()[0]) for marker in markers}) == 3


def test_near_mines_get_a_map_of_their_region():
    west, east, south, north = extent(draw(mine_map_figure(CHILE)))
    assert west < -71
    assert east > -68
    assert south < -34
    assert north > -22
    assert east - west < 60
    assert north - south < 60


@pytest.mark.parametrize("far", [(30.0, -25.0), (-60.0, 50.0)])
def test_mines_60_degrees_apart_get_the_world(far):
    mines = CHILE.copy()
    mines.loc[0, ["longitude", "latitude"]] = far
    assert extent(draw(mine_map_figure(mines))) == WORLD


@pytest.mark.parametrize(
    ("longitude", "latitude"), [(15.0, 52.0), (179.9, -17.0), (-179.9, 66.0), (20.0, 78.0)]
)
def test_one_mine_is_on_its_map(longitude, latitude):
    mine = pd.DataFrame({"longitude": [longitude], "latitude": [latitude], "part": ["test"]})
    west, east, south, north = extent(draw(mine_map_figure(mine)))
    assert -180 <= west < longitude < east <= 180
    assert -90 <= south < latitude < north <= 90
    assert entries(mine_map_figure(mine)) == ["test (1)"]


def test_a_mine_without_coordinates_or_part_is_counted():
    mines = CHILE.copy()
    mines.loc[0, "latitude"] = np.nan
    mines.loc[1, "part"] = np.nan
    figure = draw(mine_map_figure(mines))
    assert figure.axes[0].get_title(loc="left") == "3 mines\n1 without coordinates not shown"
    assert entries(figure) == ["train (1)", "no part (1)"]


def test_no_mines_at_all_leave_an_empty_world():
    figure = draw(mine_map_figure(CHILE.head(0)))
    assert extent(figure) == WORLD
    assert entries(figure) == []


def test_raw_materials_are_counted_in_the_title():
    figure = draw(mine_map_figure(CHILE.assign(raw_material=["MO", "", "MO"])))
    expected = "3 mines: 2 metallic ores, 1 unknown material"
    assert figure.axes[0].get_title(loc="left") == expected


def test_synthetic_mines_say_so_on_the_map():
    assert draw(mine_map_figure(CHILE, synthetic=True)).get_suptitle() == "SYNTHETIC"
    assert mine_map_figure(CHILE).get_suptitle() == ""


def test_land_is_small_sourced_and_where_land_is():
    text = files("minseg.report").joinpath("land.geojson").read_text(encoding="utf-8")
    document = json.loads(text)
    land = shape(document["features"][0]["geometry"])
    assert len(text) <= 80_000
    assert "Natural Earth" in document["source"]
    assert document["licence"] == "Public domain"
    assert land.is_valid
    assert land.contains_properly(Point(21.0, 52.2))  # Warsaw
    assert land.contains_properly(Point(133.9, -23.7))  # Alice Springs
    assert not land.contains(Point(-30, 30))  # the Atlantic
    assert not land.contains(Point(50.5, 42))  # the Caspian Sea, a hole
