import pytest

from minseg import MinsegError
from minseg.report import gallery
from minseg.study.mine_scores import best_median_worst


def test_overlay_shows_the_crop_that_was_scored(perfect_run, dataset):
    by_mine = perfect_run.scores_by_mine()
    mine = by_mine.index[0]
    assert by_mine.loc[mine, "iou"] == 1
    figure = gallery.overlay(perfect_run, dataset, mine)
    assert figure.axes[0].images[0].get_array().shape[:2] == (48, 48)
    titles = " ".join(axes.get_title(loc="left") for axes in figure.axes)
    assert "IoU 1.00" in titles


def test_overlay_of_an_empty_prediction(perfect_run, dataset):
    worst = best_median_worst(perfect_run.scores_by_mine())["worst"]
    assert perfect_run.scores_by_mine().loc[worst, "iou"] == 0
    assert gallery.overlay(perfect_run, dataset, worst).axes


def test_mine_without_prediction(perfect_run, dataset):
    train = dataset.scenes_of("train")["mine"][0]
    with pytest.raises(MinsegError, match="no prediction of mine"):
        gallery.overlay(perfect_run, dataset, train)


def test_example_is_the_scene_with_the_most_classes(dataset):
    scene = gallery.example_scene(dataset)
    assert scene in set(dataset.scenes_of("train")["scene"])
    assert gallery.annotated_scene(dataset, scene).axes


def test_unknown_scene(dataset):
    with pytest.raises(MinsegError, match="has no scene"):
        gallery.annotated_scene(dataset, "nowhere")
