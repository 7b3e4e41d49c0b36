import numpy as np
import pandas as pd
import pytest

from minseg.data.labels import CLASS_NAMES
from minseg.report.figures import (
    class_share_figure,
    learning_curve_figure,
    overlap_figure,
    score_figure,
)
from tests.report.conftest import draw, entries, notes, row_names

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


def shares(smallest):
    table = pd.DataFrame(0.1, index=CLASS_NAMES, columns=["train", "validation", "test"])
    table.loc["dam"] = smallest
    return table


@pytest.mark.parametrize(("smallest", "scale"), [(0.002, "linear"), (0.0009, "log")])
def test_shares_use_a_logarithmic_axis_beyond_two_decades(smallest, scale):
    axes = draw(class_share_figure(shares(smallest))).axes[0]
    assert axes.get_xscale() == scale
    assert row_names(axes) == list(CLASS_NAMES)
    assert axes.yaxis_inverted()  # the first class on top
    assert entries(axes) == ["train", "validation", "test"]


def test_bars_are_as_long_as_the_shares():
    table = shares(0.05)
    axes = draw(class_share_figure(table)).axes[0]
    for bars, part in zip(axes.containers, table.columns, strict=True):
        assert [bar.get_width() for bar in bars] == pytest.approx(table[part].tolist())


def test_shares_that_are_none_or_unknown_say_so():
    table = shares(0.001)
    table.loc["stockpile", "test"] = 0
    table.loc["excavation", "validation"] = np.nan
    axes = draw(class_share_figure(table)).axes[0]
    assert sorted(notes(axes)) == ["none", "unknown"]


def test_shares_of_nothing_at_all():
    axes = draw(class_share_figure(shares(0.0) * 0)).axes[0]
    assert axes.get_xscale() == "linear"
    assert set(notes(axes)) == {"none"}


def test_learning_curve_marks_the_best_validated_epoch():
    above, below = draw(learning_curve_figure(HISTORY)).axes
    assert notes(below) == ["best: epoch 3, IoU 0.60"]
    assert below.get_ylabel() == "validation IoU"
    assert below.get_xlabel() == "epoch"
    assert entries(above) == ["train"]


def test_learning_curve_bridges_epochs_without_a_value():
    _, below = draw(learning_curve_figure(HISTORY)).axes
    curve = next(line for line in below.lines if line.get_label() == "validation")
    assert curve.get_xdata().tolist() == [1, 3, 4]


def test_learning_curve_shows_validation_loss_where_it_is_known():
    above, _ = draw(learning_curve_figure(HISTORY.assign(validation_loss=0.5))).axes
    assert entries(above) == ["train", "validation"]


def test_learning_curve_of_a_run_never_validated_marks_nothing():
    _, below = draw(learning_curve_figure(HISTORY.assign(validation_iou=np.nan))).axes
    assert notes(below) == []


def test_learning_curve_of_one_epoch():
    _, below = draw(learning_curve_figure(HISTORY.head(1))).axes
    assert notes(below) == ["best: epoch 1, IoU 0.10"]


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
    [(class_share_figure, shares(0.1)), (learning_curve_figure, HISTORY), (score_figure, SCORES)],
)
def test_synthetic_results_say_so_on_the_figure(figure_of, table):
    assert draw(figure_of(table, synthetic=True)).get_suptitle() == "SYNTHETIC"
    assert figure_of(table).get_suptitle() == ""


def test_overlap_figure_writes_every_share_that_is_not_zero():
    names = ["excavation", "exploitation slope", "dam"]
    overlaps = pd.DataFrame(
        [[1, 0.25, 0], [1, 1, 0], [0, 0.001, 1]], index=names, columns=names, dtype=float
    )
    figure = overlap_figure(overlaps, synthetic=True)
    texts = sorted(text.get_text() for text in figure.axes[0].texts)
    assert texts == ["0.25", "1.00", "1.00", "1.00", "1.00", "< .01"]
