import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.text import Text

from minseg.errors import MinsegError
from minseg.learning.models import ARCHITECTURES, build_model, network_anatomy
from minseg.report import training as tables
from minseg.report.training import (
    learning_curve_figure,
    network_figure,
    score_figure,
)
from minseg.study.paper import paper_scores
from tests.report.conftest import counted_result, draw, entries, notes, row_names

SEVEN_BANDS = ("B04", "B03", "B02", "B08", "VV", "VH", "VV/(10·VH)")
STRAIGHT = [
    {"name": "input", "part": "input", "channels": 3, "height": 64, "width": 32, "sources": []},
    {
        "name": "encoder 1",
        "part": "encoder",
        "channels": 2048,
        "height": 32,
        "width": 16,
        "sources": ["input"],
    },
    {
        "name": "output",
        "part": "output",
        "channels": 2,
        "height": 64,
        "width": 32,
        "sources": ["encoder 1"],
    },
]


def anatomy(architecture, encoder="resnet18"):
    return network_anatomy(build_model(architecture, encoder, SEVEN_BANDS, 8), 7, 128)


def overlapping_texts(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of drawn texts that lie on each other, and texts that leave the figure."""
    drawn: list[Text] = []
    draw_text = Text.draw

    def draw_and_note(text: Text, renderer: object) -> None:
        drawn.append(text)
        draw_text(text, renderer)

    canvas = FigureCanvasAgg(figure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw_and_note)
        canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in drawn
        if text.get_text().strip() and text.get_visible()
    ]
    outside = [
        (text, "the border")
        for text, box in boxes
        if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1
    ]
    pairs = itertools.combinations(boxes, 2)
    return outside + [
        (one, other) for (one, first), (other, second) in pairs if first.overlaps(second)
    ]


def boxes(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def arrows(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


def test_a_stage_is_a_box_on_the_row_of_its_size():
    figure = network_figure(STRAIGHT, "a title")
    first, deep, last = boxes(figure)
    assert first.get_y() == last.get_y() < deep.get_y()
    assert first.get_height() == last.get_height() > deep.get_height()
    assert deep.get_width() > first.get_width() > last.get_width()  # 2048, 3 and 2 channels
    assert first.get_x() < deep.get_x() < last.get_x()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["a title", "64 × 32", "32 × 16", "3", "input", "2048", "2", "output"]


@pytest.mark.parametrize(
    ("architecture", "number"),
    [("unet", 4), ("linknet", 4), ("fpn", 3), ("deeplabv3+", 1), ("unet++", 10)],
)
def test_skip_connections_are_told_from_other_links(architecture, number):
    stages = anatomy(architecture)
    drawn = arrows(network_figure(stages, architecture))
    assert len(drawn) == sum(len(stage["sources"]) for stage in stages)
    assert sum(arrow.get_linestyle() != "-" for arrow in drawn) == number


@pytest.mark.parametrize(
    ("architecture", "encoder"), [*((name, "resnet18") for name in ARCHITECTURES), ("fpn", "vgg11")]
)
def test_nothing_lies_on_anything_else(architecture, encoder):
    figure = network_figure(anatomy(architecture, encoder), f"{architecture}, {encoder}")
    assert overlapping_texts(figure) == []
    extents = [box.get_window_extent() for box in boxes(figure)]
    pairs = itertools.combinations(extents, 2)
    assert not any(first.overlaps(second) for first, second in pairs)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in extents)


def test_the_check_for_overlaps_finds_one():
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    figure.text(0.99, 0.2, "over the edge")
    assert overlapping_texts(figure) == [("over the edge", "the border"), ("one", "two")]


def test_a_run_without_a_network_is_refused():
    with pytest.raises(MinsegError, match="pixel forest: no network is described"):
        network_figure([], "pixel forest")


HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4],
        "train_loss": [0.9, 0.5, 0.4, 0.3],
        "validation_iou": [0.1, np.nan, 0.6, 0.4],
    }
)

SCORES = pd.DataFrame(
    [
        ("a", "network", 0.4),
        ("a", "per-pixel forest", 0.2),
        ("b", "network", 0.8),
        ("b", "per-pixel forest", 0.9),
        ("c", "network", 0.6),
        ("c", "per-pixel forest", np.nan),
        ("d", "network", np.nan),
        ("d", "per-pixel forest", np.nan),
    ],
    columns=["mine", "model", "iou"],
)


@pytest.mark.parametrize(
    ("history", "losses", "marked"),
    [
        (HISTORY, ["train"], ["best: epoch 3, IoU 0.60"]),
        (HISTORY.head(1), ["train"], ["best: epoch 1, IoU 0.10"]),
        (HISTORY.assign(validation_iou=np.nan), ["train"], []),
        (HISTORY.assign(validation_loss=0.5), ["train", "validation"], ["best: epoch 3, IoU 0.60"]),
    ],
)
def test_learning_curve_marks_the_best_validated_epoch(history, losses, marked):
    above, below = draw(learning_curve_figure(history)).axes
    assert entries(above) == losses
    assert notes(below) == marked
    assert (below.get_xlabel(), below.get_ylabel()) == ("epoch", "validation IoU")


def test_learning_curve_bridges_epochs_without_a_value():
    _, below = draw(learning_curve_figure(HISTORY)).axes
    curve = next(line for line in below.lines if line.get_label() == "validation")
    assert curve.get_xdata().tolist() == [1, 3, 4]


def test_scores_are_sorted_by_the_network_and_averaged_over_shared_mines():
    axes = draw(score_figure(SCORES)).axes[0]
    assert row_names(axes) == ["b", "c", "a", "d"]
    assert axes.yaxis_inverted()  # the best on top
    assert entries(axes) == ["network (mean 0.60)", "per-pixel forest (mean 0.55)"]
    assert axes.get_xlabel() == "IoU (means without 2 of 4 mines)"
    assert notes(axes) == ["undefined"]


def test_scores_of_several_seeds_are_averaged():
    rows = [("a", "network", 0.2), ("a", "network", 0.6), ("a", "per-pixel forest", 0.1)]
    axes = draw(score_figure(pd.DataFrame(rows, columns=SCORES.columns))).axes[0]
    network = axes.collections[1]
    assert network.get_label() == "network (mean 0.40)"
    np.testing.assert_allclose(network.get_offsets(), [[0.4, 0]])


@pytest.mark.parametrize(
    ("figure_of", "table"),
    [(learning_curve_figure, HISTORY), (score_figure, SCORES)],
)
def test_synthetic_results_say_so_on_the_figure(figure_of, table):
    assert draw(figure_of(table, synthetic=True)).get_suptitle() == "SYNTHETIC"
    assert figure_of(table).get_suptitle() == ""


def test_scores_stand_beside_the_papers(perfect_run):
    table = tables.score_table({"network": [perfect_run]}, "standard")
    expected = perfect_run.scores()
    assert table.loc["network", "IoU"] == f"{expected['iou']:.3f}"
    assert table.loc["network", "precision"] == "1.000"
    assert table.loc["network", "IoU, spread over seeds"] == "one seed"
    low, high = (
        float(x) for x in table.loc["network", "IoU, 95 % interval over mines"].split(" to ")
    )
    assert low <= expected["iou"] <= high
    published = table.loc["paper, Table 3 (its own mines)"]
    assert published["IoU"] == f"{paper_scores('model1', 'RGB')['iou']:.3f}"
    assert published["IoU, spread over seeds"] == "not given"


def test_the_interval_is_that_of_the_mean_over_seeds(tmp_path):
    seeds = [{"a": 0.2, "b": 0.8, "c": 0.5}, {"a": 0.8, "b": 0.2, "c": 0.5}]
    result = counted_result(tmp_path, "model1", "RGB", seeds)
    table = tables.score_table({"network": result.runs}, "paper")
    value, between, spread = table.loc[
        "network", ["IoU", "IoU, 95 % interval over mines", "IoU, spread over seeds"]
    ]
    # What one seed finds more the other finds less: whatever the mines, the mean is the same.
    assert between == f"{value} to {value}"
    assert spread == "0.000"


def test_mine_scores_name_every_model_and_mine(perfect_run):
    rows = tables.mine_scores({"a": perfect_run, "b": perfect_run})
    assert len(rows) == 2 * perfect_run.counts.query("part == 'test'")["mine"].nunique()
    assert set(rows["model"]) == {"a", "b"}


def test_per_class_scores(perfect_run):
    table = tables.per_class_table({"network": perfect_run})
    expected = perfect_run.scores()["per_class"]["iou"]
    assert table["network", "IoU"].tolist() == pytest.approx(expected.round(3).tolist())


def test_provenance(perfect_run):
    row = tables.provenance_table([perfect_run]).loc["abc"]
    assert row["code"] == "01234567 (changed since)"
    assert row["minutes"] == "1.5"
