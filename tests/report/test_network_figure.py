import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.text import Text

from minseg.errors import MinsegError
from minseg.learning.anatomy import network_anatomy
from minseg.learning.models import ARCHITECTURES, build_model
from minseg.report.network_figure import network_figure

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
