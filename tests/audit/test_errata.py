import csv
import math
import shutil

import pytest

from minseg import MinsegError
from minseg.audit.errata import errata
from minseg.audit.erratum import (
    CONSISTENT,
    CONTRADICTION,
    IMPRECISE,
    NOT_STATED,
    VERDICTS,
    read_printed,
)
from minseg.study.paper import PAPER_FOLDER, open_points
from minseg.study.search import SearchSpace

AS_PRINTED = {
    CONTRADICTION: {
        *("total-images", "total-mines", "split-ratio-of-subsets", "subsets-against-all"),
        *("headings", "captions", "iou-bound", "mine-iou"),
        *("near-infrared-best", "more-channels-degrade", "single-superior", "exceptions"),
        *("larger-samples", "mine-type-models", "iou-range", "lower-learning-rate"),
    },
    IMPRECISE: {
        *("images-a-mine", "third-decimal", "multispectral-best", "resolution"),
        *("third-radar-channel", "best-accuracy", "nearly-all-cases", "both-smaller-better"),
        *("largest-in-recall", "negligible-for-model4", "labels"),
        *("search-share", "best-mine", "figure-order"),
        "small-quarries",
    },
    NOT_STATED: {
        *("union-against-components", "average-weights", "whole-between-subsets"),
        *("mine-accuracy", "binary-iou", "recall-and-precision-up", "transformed-share"),
        "two-general-models",
    },
    CONSISTENT: {
        *("split-ratio", "test-areas", "averages", "most-channels-best", "channels"),
        *("most-epochs", "high-recall"),
    },
}


@pytest.fixture
def folder(tmp_path):
    """A copy of the transcribed paper that a test may change."""
    return shutil.copytree(PAPER_FOLDER, tmp_path / "paper")


def change(folder, name, values):
    """Give rows of a file, named by their first cells, another value or number of images."""
    path = folder / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    column = header.index("images" if "images" in header else "value")
    for start, value in values.items():
        key = start.split(",")
        (row,) = (row for row in rows if row[: len(key)] == key)
        row[column] = value
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def found(folder=None):
    """All errata by name."""
    return {one.name: one for group in errata(read_printed(folder)).values() for one in group}


def test_verdicts_on_the_paper_as_printed():
    errors = found()
    for verdict in VERDICTS:
        names = {name for name, one in errors.items() if one.verdict == verdict}
        assert names == AS_PRINTED[verdict], verdict
    groups = errata(read_printed())
    assert sum(map(len, groups.values())) == len(errors)  # every name once
    for one in errors.values():
        for text in (one.title, one.place, one.printed, one.found, one.matters):
            assert text.strip() == text != ""


def test_numbers_that_were_worked_out_by_hand():
    errors = found()
    assert "1,207" in errors["total-images"].found
    assert "62 of 64" in errors["averages"].found
    assert "32 of 68" in errors["iou-bound"].found
    assert "4 of 32" in errors["single-superior"].found
    assert "26 of 96" in errors["nearly-all-cases"].found
    assert "32 of 48" in errors["iou-range"].found
    assert "14,580" in errors["search-share"].found
    assert "Buenavista, tailing storage facility" in errors["mine-iou"].found
    union = errors["union-against-components"].cells
    assert union[["split", "part", "images", "images of Model 4"]].to_numpy().tolist() == [
        ["RR", "test", 33, 21],
        ["RR", "validation", 33, 22],
        ["MO", "test", 12, 11],
        ["OP", "train", 639, 638],
    ]
    sums = errors["subsets-against-all"].cells
    assert sums.loc[sums["model"] == "Model 3", "test: sum − All"].to_list() == [12, 1]


@pytest.mark.parametrize(
    ("name", "verdict", "file", "values"),
    [
        ("total-images", CONSISTENT, "table2", {"All,model4,train": "2127"}),
        ("total-images", NOT_STATED, "table2", {"All,model4,train": "1527"}),
        ("test-areas", CONTRADICTION, "table2", {"All,model1,test": "39"}),
        ("split-ratio", CONTRADICTION, "table2", {"All,model1,test": "98"}),
        ("union-against-components", CONTRADICTION, "table2", {"OP,model1,train": "649"}),
        ("averages", CONTRADICTION, "table4", {"AVG GS,model1,iou": "0.719"}),
        ("mine-iou", CONSISTENT, "table8", {"Buenavista,tailing storage facility,iou": "0.612"}),
        ("captions", CONSISTENT, "statements", {"caption_locations_table7": "4"}),
        (
            *("near-infrared-best", IMPRECISE, "table3"),
            {"R+N,model2,iou": "0.645", "R+N,model4,iou": "0.849"},
        ),
        ("multispectral-best", CONTRADICTION, "table3", {"M,model1,iou": "0.610"}),
        ("most-channels-best", IMPRECISE, "table3", {"M+S,model3,recall": "0.308"}),
        ("best-accuracy", CONSISTENT, "table3", {"RGB,model4,accuracy": "0.958"}),
        (
            *("both-smaller-better", CONSISTENT, "table4"),
            {"RR,model1,precision": "0.718", "OP,model1,recall": "0.565"},
        ),
        ("exceptions", CONSISTENT, "table4", {"OC,model1,iou": "0.629"}),
        ("iou-range", IMPRECISE, "statements", {"iou_to": "0.85"}),
        ("lower-learning-rate", CONSISTENT, "table5", {"Model 1,model4,learning_rate": "0.0001"}),
        ("search-share", CONSISTENT, "statements", {"trials": "20000"}),
        ("best-mine", CONSISTENT, "table7", {"Rudnichny,dumping ground,precision": "0.948"}),
        ("high-recall", IMPRECISE, "table6", {"Cerovo,excavation,recall": "0.489"}),
        ("labels", CONSISTENT, "statements", {"model1_classes": "2", "model3_classes": "7"}),
    ],
)
def test_a_changed_number_changes_the_verdict_it_should(folder, name, verdict, file, values):
    before = found(folder)[name].verdict
    change(folder, file, values)
    assert found(folder)[name].verdict == verdict != before
    assert before in [one for one, names in AS_PRINTED.items() if name in names]


def test_a_change_leaves_the_other_verdicts_alone(folder):
    change(folder, "statements", {"caption_locations_table7": "4"})
    before, after = found(), found(folder)
    assert {name for name in before if before[name].verdict != after[name].verdict} == {"captions"}


def test_a_mended_heading(folder):
    path = folder / "table5.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Model 1,model4", "Model 4,model4"), encoding="utf-8")
    assert found(folder)["headings"].verdict == CONSISTENT


def one_class_scores(tp, fp, fn, tn):
    """Scores of one class from its counts, as printed."""
    values = {
        "iou": tp / (tp + fp + fn),
        "recall": tp / (tp + fn),
        "precision": tp / (tp + fp),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
    }
    return {name: f"{value:.3f}" for name, value in values.items()}


def test_scores_counted_over_all_pixels_pass_every_identity(folder):
    """Five predictions of the same 200,000 of a million pixels, written as Model 4 of Table 3."""
    rows = {}
    for bands, (tp, fp) in {
        "RGB": (182_000, 20_000),
        "R+N": (185_000, 21_000),
        "R+N+S": (187_000, 35_000),
        "M": (188_000, 32_000),
        "M+S": (186_000, 24_000),
    }.items():
        rows[bands] = one_class_scores(tp, fp, 200_000 - tp, 800_000 - fp)
    values = {
        f"{bands},model4,{metric}": text
        for bands, scores in rows.items()
        for metric, text in scores.items()
    }
    change(folder, "table3", values)
    errors = found(folder)
    assert errors["transformed-share"].verdict == CONSISTENT
    spans = errors["transformed-share"].cells["share of transformed pixels"]
    for span in spans:
        low, high = map(float, span.split(" to "))
        assert low <= 0.2 <= high
    pairs = errors["recall-and-precision-up"].cells
    assert set(pairs["model"]) == {"Model 2"}
    binary = errors["binary-iou"].cells
    model4 = binary[(binary["model"] == "Model 4") & binary["row"].isin(list(rows))]
    assert len(model4) == 5 and not model4["odd"].any()


def test_the_search_space_is_that_of_the_search():
    tried = {
        name.removeprefix("tried_"): value
        for name, value in read_printed().statements.items()
        if name.startswith("tried_")
    }
    assert tried == {name: len(values) for name, values in SearchSpace()}
    assert math.prod(tried.values()) == 14_580
    space = SearchSpace()
    assert read_printed().said("largest_learning_rate") == max(space.learning_rate)
    assert read_printed().said("smallest_learning_rate") == min(space.learning_rate)
    assert read_printed().said("largest_epochs") == max(space.epochs)


def test_a_missing_statement(folder):
    path = folder / "statements.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("trials,section 3.3,200,trials\n", ""), encoding="utf-8")
    with pytest.raises(MinsegError, match=r"statements\.csv: trials is missing"):
        found(folder)


def test_open_points_say_what_follows(folder):
    points = open_points()
    assert len(points) >= 20
    assert points["place"].str.contains("section|Table").all()
    path = folder / "open_points.csv"
    path.write_text("place,point,consequence\nsection 2.4,Loss,\n")
    with pytest.raises(MinsegError, match=r"open_points\.csv: line 2: consequence is empty"):
        open_points(folder)
