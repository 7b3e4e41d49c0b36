import dataclasses

import numpy as np
import pandas as pd
import pytest

from minseg.data.bands import BANDS
from minseg.data.labels import CLASS_NAMES, decode_bits
from minseg.data.raster import Grid
from minseg.report import dataset as pages
from minseg.synthetic.dataset import write_synthetic
from tests.conftest import mine_rows, scene_of, write_scenes
from tests.report.conftest import draw, legend, overlapping_texts, row_names, texts


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """All 15 channels."""
    return write_synthetic(tmp_path_factory.mktemp("fusion") / "full", 3, (2021,), 64)


def narrowed(dataset, bands):
    description = dataset.description.model_copy(update={"bands": bands, "synthetic": False})
    return dataclasses.replace(dataset, description=description)


def sources(figure):
    return [text for text in texts(figure.axes[0]) if text.startswith("Sentinel")]


def first(dataset):
    return dataset.scenes["scene"].iloc[0]


def test_every_channel_has_one_source():
    assert sorted(band for source in pages.SOURCES for band in source.bands) == sorted(BANDS)
    assert all(set(bands) <= set(s.bands) for s in pages.SOURCES for bands in s.pictures)


def test_a_full_scene_has_a_row_per_resolution_and_all_channels_in_the_stack(full):
    figure = pages.fusion_figure(full, first(full))
    assert sources(figure) == [
        "Sentinel-2, 10 m: B02, B03, B04, B08",
        "Sentinel-2, 20 m: B05, B06, B07, B8A, B11, B12",
        "Sentinel-2, 60 m: B01, B09",
        "Sentinel-1, 10 m: VV, VH, VV/(10·VH)",
    ]
    assert "15 channels on one 10 m grid" in texts(figure.axes[0])
    assert any("coarse pixels repeated" in text for text in texts(figure.axes[0]))
    assert len(figure.axes[0].images) == 9 + 15 + 1
    assert figure.get_suptitle() == "SYNTHETIC"
    assert overlapping_texts(figure) == []

    row = full.scenes.iloc[0]
    there = [name for name in CLASS_NAMES if decode_bits(full.read_labels(row), name).any()]
    # A class that others cover whole is not to be seen.
    assert set(legend(figure)) - {"not annotated"} <= set(there)
    assert len(legend(figure)) >= 2
    pictures = [image.get_array() for image in figure.axes[0].images]
    blocks = pictures[4][:60, :60].reshape(10, 6, 10, 6, -1)  # B01, the first of 60 m
    assert np.ptp(blocks, axis=(1, 3)).max() == 0
    assert np.ptp(blocks) > 0


def test_the_middle_of_a_large_scene_is_shown_if_it_has_coarse_bands(tmp_path):
    large = write_synthetic(tmp_path / "large", 3, (2021,), 192)
    figure = pages.fusion_figure(large, first(large))
    assert any(text.startswith("128 × 128 pixels\n") for text in texts(figure.axes[0]))
    assert figure.axes[0].images[-1].get_array().shape[:2] == (128, 128)


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
    figure = pages.fusion_figure(narrowed(full, bands), first(full))
    assert len(sources(figure)) == rows
    assert set(captions) <= set(texts(figure.axes[0]))
    number = f"{len(bands)} channel" + ("s" if len(bands) > 1 else "")
    assert f"{number} on one 10 m grid" in texts(figure.axes[0])
    assert figure.get_suptitle() == ""
    assert overlapping_texts(figure) == []


def test_an_oblong_scene_without_coarse_bands_or_radar_is_shown_whole_and_true_to_shape(tmp_path):
    scene = scene_of(0, side=160, radar=False)
    grid = Grid(96, 160, scene.grid.transform, scene.grid.crs)
    oblong = dataclasses.replace(
        scene, grid=grid, optical=scene.optical[:, :96], labels=scene.labels[:96]
    )
    written = write_scenes(tmp_path / "written", mine_rows(3), [oblong, scene_of(1), scene_of(2)])
    dataset = narrowed(written, ("B02", "B03", "B04", "B08", "VV", "VH", "VV/(10·VH)"))
    assert len(sources(pages.fusion_figure(dataset, "mine-1-2020"))) == 2
    figure = pages.fusion_figure(dataset, oblong.scene)
    assert len(sources(figure)) == 1
    assert "4 channels on one 10 m grid" in texts(figure.axes[0])
    assert "96 × 160 pixels" in texts(figure.axes[0])
    for image in figure.axes[0].images:
        left, right, bottom, top = image.get_extent()
        assert image.get_array().shape[:2] == (96, 160)
        assert (bottom - top) / (right - left) == pytest.approx(96 / 160)


def shares(smallest):
    table = pd.DataFrame(0.1, index=CLASS_NAMES, columns=["train", "validation", "test"])
    table.loc["dam"] = smallest
    return table


@pytest.mark.parametrize(("smallest", "scale"), [(0.002, "linear"), (0.0009, "log")])
def test_shares_use_a_logarithmic_axis_beyond_two_decades(smallest, scale):
    axes = draw(pages.class_share_figure(shares(smallest))).axes[0]
    assert axes.get_xscale() == scale
    assert row_names(axes) == list(CLASS_NAMES)
    assert axes.yaxis_inverted()  # the first class on top
    assert legend(axes) == ["train", "validation", "test"]
    for bars in axes.containers:
        widths = [bar.get_width() for bar in bars]
        assert widths == pytest.approx([smallest if name == "dam" else 0.1 for name in CLASS_NAMES])


def test_shares_that_are_none_or_unknown_say_so():
    table = shares(0.001)
    table.loc["stockpile", "test"] = 0
    table.loc["excavation", "validation"] = np.nan
    axes = draw(pages.class_share_figure(table)).axes[0]
    assert sorted(texts(axes)) == ["none", "unknown"]
    axes = draw(pages.class_share_figure(table * 0)).axes[0]
    assert axes.get_xscale() == "linear"


def test_overlap_figure_writes_every_share_that_is_not_zero():
    names = ["excavation", "exploitation slope", "dam"]
    overlaps = pd.DataFrame(
        [[1, 0.25, 0], [1, 1, 0], [0, 0.001, 1]], index=names, columns=names, dtype=float
    )
    figure = pages.overlap_figure(overlaps)
    assert sorted(texts(figure.axes[0])) == ["0.25", *["1.00"] * 4, "< .01"]


def test_facts_parts_and_overlaps_as_tables(dataset):
    facts = pages.dataset_table(dataset)[""]
    assert facts[["mines", "years"]].tolist() == ["14", "2019 to 2020"]
    assert "synthetic" in facts["kind"]
    said = pages.answer(dataset, [])
    assert said.startswith("**Answer.** 14 synthetic mines (10 train, 2 validation, 2 test) in ")
    assert facts["content hash"] == dataset.digest
    parts = pages.part_table(dataset)
    assert parts["mines"].sum() == 14
    assert parts.loc["train", "scenes used"] == 2 * parts.loc["train", "mines"]
    found = pages.overlap_table(dataset)
    assert list(found.index) == ["excavation", "preparatory work area"]
    assert np.diag(found).tolist() == [1, 1]
    assert found.loc["excavation", "preparatory work area"] == 0  # pit and strip lie apart
