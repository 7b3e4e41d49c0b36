import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import FancyArrowPatch, Rectangle

from minseg.errors import MinsegError
from minseg.learning.models import ARCHITECTURES, build_model, network_anatomy
from minseg.report import training as pages
from minseg.study.paper import paper_scores
from tests.report.conftest import counted_result, draw, legend, overlapping_texts, row_names, texts

SEVEN_BANDS = ("B04", "B03", "B02", "B08", "VV", "VH", "VV/(10·VH)")
STAGE = ("name", "part", "channels", "height", "width", "sources")
STRAIGHT = [
    dict(zip(STAGE, values, strict=True))
    for values in (
        ("input", "input", 3, 64, 32, []),
        ("encoder 1", "encoder", 2048, 32, 16, ["input"]),
        ("output", "output", 2, 64, 32, ["encoder 1"]),
    )
]


def anatomy(architecture, encoder="resnet18"):
    with torch.device("meta"):
        network = build_model(architecture, encoder, SEVEN_BANDS, 8)
    return network_anatomy(network, 7, 128)


def drawn(figure, kind):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, kind)]


def test_a_stage_is_a_box_on_the_row_of_its_size():
    figure = pages.network_figure(STRAIGHT, "a title")
    first, deep, last = drawn(figure, Rectangle)
    assert first.get_y() == last.get_y() < deep.get_y()
    assert first.get_height() == last.get_height() > deep.get_height()
    assert deep.get_width() > first.get_width() > last.get_width()  # 2048, 3 and 2 channels
    assert first.get_x() < deep.get_x() < last.get_x()
    written = ["a title", "64 × 32", "32 × 16", "3", "input", "2048", "2", "output"]
    assert texts(figure.axes[0]) == written
    with pytest.raises(MinsegError, match="pixel forest: no network is described"):
        pages.network_figure([], "pixel forest")


@pytest.mark.parametrize(
    ("architecture", "number"),
    [("unet", 4), ("linknet", 4), ("fpn", 3), ("deeplabv3+", 1), ("unet++", 10)],
)
def test_skip_connections_are_told_from_other_links(architecture, number):
    stages = anatomy(architecture)
    arrows = drawn(pages.network_figure(stages, architecture), FancyArrowPatch)
    assert len(arrows) == sum(len(stage["sources"]) for stage in stages)
    assert sum(arrow.get_linestyle() != "-" for arrow in arrows) == number


@pytest.mark.parametrize(
    ("architecture", "encoder"), [*((name, "resnet18") for name in ARCHITECTURES), ("fpn", "vgg11")]
)
def test_nothing_lies_on_anything_else(architecture, encoder):
    figure = pages.network_figure(anatomy(architecture, encoder), f"{architecture}, {encoder}")
    assert overlapping_texts(figure) == []
    extents = [box.get_window_extent() for box in drawn(figure, Rectangle)]
    pairs = itertools.combinations(extents, 2)
    assert not any(first.overlaps(second) for first, second in pairs)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in extents)


HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4],
        "train_loss": [0.9, 0.5, 0.4, 0.3],
        "validation_iou": [0.1, np.nan, 0.6, 0.4],
    }
)


@pytest.mark.parametrize(
    ("history", "marked"),
    [
        (HISTORY, ["best: epoch 3, IoU 0.60"]),
        (HISTORY.head(1), ["best: epoch 1, IoU 0.10"]),
        (HISTORY.assign(validation_iou=np.nan), []),
    ],
)
def test_learning_curve_marks_the_best_validated_epoch(history, marked):
    above, below = draw(pages.learning_curve_figure(history)).axes
    assert legend(above) == ["train"]
    assert texts(below) == marked
    assert (below.get_xlabel(), below.get_ylabel()) == ("epoch", "validation IoU")
    curve = next(line for line in below.lines if line.get_label() == "validation")
    known = history.dropna(subset=["validation_iou"])["epoch"]
    assert curve.get_xdata().tolist() == known.tolist()


def test_scores_are_sorted_by_the_network_and_averaged_over_shared_mines():
    scores = {"network": [0.4, 0.8, 0.6, np.nan], "per-pixel forest": [0.2, 0.9, np.nan, np.nan]}
    axes = draw(pages.score_figure(pd.DataFrame(scores, list("abcd")))).axes[0]
    assert row_names(axes) == ["b", "c", "a", "d"]
    assert axes.yaxis_inverted()  # the best on top
    assert legend(axes) == ["network (mean 0.60)", "per-pixel forest (mean 0.55)"]
    assert axes.get_xlabel() == "IoU (means without 2 of 4 mines)"
    assert texts(axes) == ["undefined"]


def test_scores_stand_beside_the_papers_and_by_mine_and_class_with_their_origin(
    perfect_run, synthetic
):
    assert pages.answer(perfect_run, perfect_run).startswith("**Answer on synthetic mines.** On")
    table = pages.score_table({"network": [perfect_run]}, "standard")
    assert table.index.name == "test, standard, synthetic"
    expected, ours = perfect_run.scores(), table.loc["network"]
    assert ours["IoU"] == f"{expected['iou']:.3f}"
    assert ours["precision"] == "1.000"
    assert ours["IoU, spread over seeds"] == "one seed"
    low, high = map(float, ours["IoU, 95 % interval over mines"].split(" to "))
    assert low <= expected["iou"] <= high
    published = table.loc["paper, Table 3 (its own mines)"]
    assert published["IoU"] == f"{paper_scores(3, 'model1', 'RGB')['iou']:.3f}"
    assert published["IoU, spread over seeds"] == "not given"
    by_mine = pages.mine_scores({"a": perfect_run, "b": perfect_run})
    assert by_mine["a"].tolist() == perfect_run.scores_by_mine()["iou"].tolist()
    by_class = pages.per_class_table({"network": perfect_run})["network", "IoU"]
    assert by_class.tolist() == pytest.approx(expected["per_class"]["iou"].round(3).tolist())
    row = pages.provenance_table([perfect_run]).data.loc["abc"]
    assert row["code"] == "01234567 (changed since)"
    assert row["minutes"] == "1.5"


def test_the_interval_is_that_of_the_mean_over_seeds(tmp_path):
    seeds = [{"a": 0.2, "b": 0.8, "c": 0.5}, {"a": 0.8, "b": 0.2, "c": 0.5}]
    result = counted_result(tmp_path, "model1", "RGB", seeds)
    table = pages.score_table({"network": result.runs}, "paper")
    value, between, spread = table.loc[
        "network", ["IoU", "IoU, 95 % interval over mines", "IoU, spread over seeds"]
    ]
    # What one seed finds more the other finds less: whatever the mines, the mean is the same.
    assert between == value
    assert spread == "0.000"
