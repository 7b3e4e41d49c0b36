import numpy as np
import pytest

from minseg.report.explanation_figures import (
    CONDITION_COLOURS,
    condition_figure,
    object_figure,
    why_figure,
)
from minseg.study.error_shares import UNEXPLAINED, condition_shares
from minseg.study.explanations import CONDITIONS, explain
from tests.report.conftest import draw, entries, notes, row_names
from tests.study.predicted import rectangle, write_mines, write_predictions

PIT, DUMP, PONDS = rectangle(4, 4, 12, 12), rectangle(20, 4, 8, 8), rectangle(26, 26, 2, 2)


@pytest.fixture
def make(tmp_path):
    def make(predictions, task="model1", **dataset):
        labels = {"excavation": PIT | PONDS, "dumping ground": DUMP}
        mines = write_mines(tmp_path / "d", [labels] * len(predictions), **dataset)
        return explain(write_predictions(tmp_path / "run", mines, task, predictions), mines)

    return make


SHIFTED = {"excavation": rectangle(5, 4, 12, 12) | rectangle(20, 4, 8, 4)}


def test_why_on_one_mine(make):
    figure = draw(why_figure(make([SHIFTED]), "mine-4", "A mine", synthetic=True))
    ground, boundary, sizes = figure.axes
    assert row_names(ground) == ["excavation"]
    columns = [label.get_text() for label in ground.get_xticklabels()]
    assert columns == ["dumping ground", "no annotated class"]
    assert ground.images[0].get_array().tolist() == [pytest.approx([32 / 44, 12 / 44])]
    widths = [bars[0].get_width() for bars in boundary.containers]
    # 24 of 60 errors at the pit's edge and the 2 × 2 object within 1 px of its own; the dump far.
    assert widths == pytest.approx([28 / 60, 0, 32 / 60])
    places = sizes.collections[0].get_offsets()
    assert sorted(map(tuple, places.round(2).tolist())) == [(0.04, 0.0), (1.44, 0.92)]
    assert any(text.get_text() == "SYNTHETIC" for text in figure.texts)


def test_why_without_errors_and_without_false_positives(make):
    found = make([{"excavation": PIT | PONDS}, {"excavation": PIT}])
    ground, boundary, _ = draw(why_figure(found, "mine-4", "")).axes
    assert notes(boundary) == ["no errors"]
    assert "no false positives" in notes(ground)
    ground, boundary, _ = draw(why_figure(found, "mine-5", "")).axes
    assert notes(boundary) == []
    assert "no false positives" in notes(ground)


def test_conditions_over_all_mines(make):
    shares = condition_shares(make([SHIFTED, {"excavation": PIT}]))
    left, right = draw(condition_figure(shares)).axes
    assert row_names(left) == list(CONDITIONS)
    assert row_names(right) == ["all classes", "excavation", "preparatory work area"]
    assert notes(right) == ["no errors"]
    assert entries(right) == [*CONDITIONS[:-1], UNEXPLAINED]
    ends = [sum(bars[row].get_width() for bars in right.containers) for row in range(3)]
    assert ends == pytest.approx([1, 1, 0])
    dots = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "o"]
    of_all = shares[shares["class"] == "all classes"].set_index("condition")["value"]
    assert dots == pytest.approx(of_all[list(CONDITIONS)].tolist())


def test_what_the_dataset_cannot_tell_is_said_in_the_figure(make):
    found = make([SHIFTED], bands=("B02", "B03", "B04"))
    left = draw(condition_figure(condition_shares(found))).axes[0]
    assert notes(left) == ["cannot be told here"] * 2  # snow and water
    assert set(CONDITION_COLOURS) == {*CONDITIONS, UNEXPLAINED}


def test_objects_by_size(make):
    found = make([SHIFTED] * 5)
    axes = draw(object_figure(found.objects, synthetic=True)).axes[0]
    assert axes.get_xscale() == "log"
    assert len(axes.collections[0].get_offsets()) == 10
    steps = [
        line for line in axes.lines if np.ptp(line.get_xdata()) > 0 and len(line.get_xdata()) == 2
    ]
    shares = {round(line.get_ydata()[0], 3) for line in steps if line.get_linewidth() > 2}
    assert shares == {0.0, 1.0}  # five small ones missed, five large ones found


def test_no_objects_at_all(make):
    found = make([{}], task="stockpile")
    assert found.objects.empty
    axes = draw(object_figure(found.objects)).axes[0]
    assert "none there" in notes(axes)
    draw(condition_figure(condition_shares(found)))
