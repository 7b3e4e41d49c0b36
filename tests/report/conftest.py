"""Run folders made by hand: no model, known predictions or known counts."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from rasterio.windows import Window

from minseg.data.labels import parse_task
from minseg.report import style
from minseg.study.config import RunConfig
from tests.study.made_runs import made_result
from tests.study.predicted import write_predicting_run


@pytest.fixture(autouse=True)
def page(monkeypatch):
    """A page of real mines."""
    monkeypatch.setitem(style._page, "synthetic", False)


@pytest.fixture
def synthetic(page):
    """A page of synthetic mines."""
    style.open_page(SimpleNamespace(synthetic=True))


@pytest.fixture(scope="session")
def dataset(many):
    return many


@pytest.fixture(scope="session")
def perfect_run(dataset, tmp_path_factory):
    """Predicts the truth, but nothing at all for the last test mine."""
    origin = {"git_commit": "0123456789abcdef", "git_dirty": True, "dataset_hash": dataset.digest}
    origin |= {"device": "cpu", "cpu_cores": 2, "wall_time_s": 90}
    config, last = RunConfig(task="model1", test_crop=48), len(dataset.scenes_of("test")) - 1
    return write_predicting_run(
        tmp_path_factory.mktemp("runs") / "abc",
        dataset,
        config,
        lambda truth, k: truth * (k < last),
        Window(8, 8, 48, 48),
        **origin,
    )


def counted_result(folder, task, row, ious_of_mine, bands="RGB", absent=()):
    """The result of a row, with a run of nothing but counts for each seed.

    Each class of a mine has the IoU given, with as many false positives as negatives; absent ones
    have no truth.
    """
    names = parse_task(task).target_names

    def counts(iou):
        tp = round(2000 * iou)
        found = (tp, (2000 - tp) // 2, (2000 - tp) // 2, 100_000)
        return [(0, 0, 0, 100_000) if name in absent else found for name in names]

    tested = [{mine: counts(iou) for mine, iou in ious.items()} for ious in ious_of_mine]
    return made_result(folder, row, RunConfig(task=task, bands=bands), *tested)


def draw(figure):
    """Draw and give the figure back: some mistakes show only then."""
    assert figure._repr_png_().startswith(b"\x89PNG")
    return figure


def overlapping_texts(figure):
    """Pairs of drawn texts that lie on each other, and texts that leave the figure."""
    drawn = []
    draw_text = Text.draw

    def draw_and_note(text, renderer):
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


def legend(of, number=0):
    """Entries of the legend of a panel, or of one of a figure."""
    found = of.get_legend() if hasattr(of, "get_legend") else of.legends[number]
    return [text.get_text() for text in found.get_texts()]


def markers(axes, face, edge=None):
    """Places of the markers of a colour, from the top row to the lowest."""
    found = [
        (float(x), float(y))
        for dots in axes.collections
        if isinstance(dots, PathCollection) and len(dots.get_facecolor())
        if to_hex(dots.get_facecolor()[0]) == face
        if to_hex(dots.get_edgecolor()[0]) == (edge or face)
        for x, y in np.ma.filled(dots.get_offsets(), np.nan)
        if not np.isnan(x)
    ]
    return sorted(found, key=lambda place: place[1])


def segments(axes):
    """The ends of horizontal lines, in the order of the rows."""
    return [
        tuple(segment[:, 0])
        for collection in axes.collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
        if len(segment)
    ]


def texts(of):
    """What is written in a figure, outside of its panels, or in a panel."""
    return [text.get_text() for text in of.texts]


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def row_names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]
