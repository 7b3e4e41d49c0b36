import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from minseg.report import comparisons
from minseg.report.comparisons import SPLIT_ROWS, with_missing
from minseg.study.comparison import average, difference_table, score_table, scored, scored_rows
from minseg.study.config import RunConfig
from minseg.study.experiments import AVERAGES, Entry, Result
from minseg.study.paper import paper_images, paper_scores, paper_split_scores, paper_table
from tests.report.conftest import counted_result

BANDS = ["RGB", "R+N", "M"]


def of_mines(*ious):
    return {f"mine-{k}": iou for k, iou in enumerate(ious)}


def missing(task, row, problem):
    return Result(Entry(task, row, RunConfig()), (), problem)


def cells(styler):
    """What each cell says: rows and columns as in the table behind."""
    html = styler.to_html()
    texts = {
        (int(row), int(column)): text
        for row, column, text in re.findall(r'<td id="\w+_row(\d+)_col(\d+)"[^>]*>(.*?)</td>', html)
    }
    rows, columns = styler.index, styler.columns
    return pd.DataFrame(
        [[texts[i, k] for k in range(len(columns))] for i in range(len(rows))], rows, columns
    )


def bold(styler):
    """Row and column of the bold cells."""
    found = set()
    for places, properties in re.findall(r"^([^{}]*)\{([^}]*)\}", styler.to_html(), re.MULTILINE):
        if "bold" in properties:
            for row, column in re.findall(r"#T_\w+_row(\d+)_col(\d+)", places):
                found.add((styler.index[int(row)], styler.columns[int(column)]))
    return found


@pytest.fixture(scope="module")
def band_results(tmp_path_factory):
    """Model 1 with two seeds and without M; R+N is best."""
    folder = tmp_path_factory.mktemp("bands")
    seeds = {
        "RGB": [of_mines(0.5, 0.5, 0.5), of_mines(0.54, 0.54, 0.54)],
        "R+N": [of_mines(0.6, 0.7, 0.8), of_mines(0.6, 0.7, 0.8)],
    }
    return [
        *(counted_result(folder, "model1", row, ious, row) for row, ious in seeds.items()),
        missing("model1", "M", "the dataset has no band B01"),
    ]


@pytest.fixture(scope="module")
def band_rows(band_results):
    return scored_rows(band_results, "standard")


@pytest.fixture(scope="module")
def band_scores(band_rows):
    return with_missing(score_table(band_rows, paper_scores), ["model1"], BANDS, paper_scores)


@pytest.fixture(scope="module")
def split_rows(tmp_path_factory):
    """Model 4: CL has one mine; the mean of the general rows is higher than any single row."""
    folder = tmp_path_factory.mktemp("splits")
    ious = {"RR": (0.5, 0.7), "GRR": (0.6, 0.9), "MO": (0.4, 0.5), "GMO": (0.5, 0.6)}
    ious |= {"CL": (0.3,), "GCL": (0.2,)}
    results = [
        counted_result(folder, "model4", row, [of_mines(*values)]) for row, values in ious.items()
    ]
    rows = scored_rows(results, "standard")
    top = replace(rows[-1], values=np.full(4, 0.99))
    return [*rows[:-1], top]


def test_split_rows_are_those_of_the_print():
    assert list(SPLIT_ROWS) == list(paper_table(4)["split"].unique())


def test_images_stand_beside_the_papers(dataset):
    table = cells(comparisons.image_table(dataset))
    assert list(table.index) == ["All", "RR", "MO", "CL", "MT", "OC", "OP"]
    test, train = table["ours", "test"], table["ours", "train"]
    mines = dataset.split["part"].value_counts()
    assert test["All"] == test["RR"] == test["OP"] == str(mines["test"])
    assert train["RR"] == str(2 * mines["train"])  # two years of each
    assert test["MO"] == train["MT"] == "0"
    published = paper_images()
    assert table["paper, Model 3", "val."]["RR"] == str(published["model3", "validation"]["RR"])
    assert table.shape == (7, 3 + 12)


def test_images_of_mines_that_nobody_sorted(dataset):
    unsorted = replace(dataset, mines=dataset.mines.assign(raw_material=""))
    ours = cells(comparisons.image_table(unsorted))["ours"]
    assert set(ours.loc[["RR", "MO", "CL"]].to_numpy().ravel()) == {"not stated"}
    assert ours.loc["OP", "test"] == ours.loc["All", "test"] != "not stated"


def test_missing_rows_are_filled_in_with_the_papers_numbers(band_scores):
    lines = band_scores.set_index(["task", "row", "metric"])
    assert list(lines.index.unique("row")) == BANDS
    line = lines.loc["model1", "M", "iou"]
    assert np.isnan(line["value"])
    assert line["mines"] == 0
    assert line["paper"] == paper_scores("model1", "M")["iou"]
    assert lines.loc[("model1", "R+N", "recall"), "mines"] == 3


def test_missing_rows_of_a_dataset_without_any_run():
    table = with_missing(score_table([], paper_scores), ["model2"], BANDS, paper_scores)
    texts = cells(comparisons.paper_layout(table, "model2"))
    assert set(texts["IoU", "ours"]) == set(texts["IoU", "minus paper"]) == {"–"}
    assert texts["IoU", "paper"]["RGB"] == "0.644"


def test_layout_holds_scores_interval_spread_and_paper(band_scores, band_rows):
    texts = cells(comparisons.paper_layout(band_scores, "model1"))
    assert texts["IoU", "ours"].tolist() == ["0.520", "0.700", "–"]
    assert texts["IoU", "seed spread"].tolist() == ["0.040", "0.000", "–"]
    low, high = np.quantile(band_rows[1].resampled[:, 0], [0.025, 0.975])
    assert texts["IoU", "95 % interval"]["R+N"] == f"{low:.3f} to {high:.3f}"
    assert texts["IoU", "paper"].tolist() == ["0.694", "0.657", "0.710"]
    assert texts["IoU", "minus paper"].tolist() == ["−0.174", "+0.043", "–"]
    assert [column for column in texts if column[0] == "recall"] == [
        ("recall", "ours"),
        ("recall", "paper"),
    ]


def test_layout_emboldens_the_best_of_ours_and_of_the_paper(band_scores):
    found = bold(comparisons.paper_layout(band_scores, "model1", metrics=["iou", "accuracy"]))
    assert found == {
        ("R+N", ("IoU", "ours")),
        ("M", ("IoU", "paper")),
        ("R+N", ("accuracy", "ours")),
        ("RGB", ("accuracy", "paper")),  # the paper prints .977 twice
        ("R+N", ("accuracy", "paper")),
    }


def test_equal_as_printed_is_equally_bold(band_scores):
    close = band_scores.assign(value=band_scores["value"].where(band_scores["row"] != "M", 0.6999))
    rows = {row for row, column in bold(comparisons.overview(close)) if column[1] == "IoU"}
    assert rows == {"R+N", "M"}


def test_spread_needs_several_seeds(split_rows):
    table = score_table(split_rows, paper_split_scores)
    assert ("IoU", "seed spread") not in comparisons.paper_layout(table, "model4").columns


def test_means_are_never_bold(split_rows):
    table = score_table(split_rows, paper_split_scores)
    rows = {row for row, _ in bold(comparisons.paper_layout(table, "model4"))}
    assert "GRR" in rows
    assert not rows & set(AVERAGES)


def test_a_single_mine_has_no_interval_and_neither_has_its_mean(split_rows):
    table = score_table(split_rows, paper_split_scores)
    interval = cells(comparisons.paper_layout(table, "model4"))["IoU", "95 % interval"]
    without = {row for row, text in interval.items() if text == "–"}
    assert without == {"CL", "GCL", "AVG RR+MO+CL", "AVG GM"}
    assert re.fullmatch(r"0\.\d{3} to 0\.\d{3}", interval["RR"])


def test_differences_have_a_column_with_their_intervals(split_rows, band_rows, band_scores):
    table = score_table(split_rows, paper_split_scores)
    references = {"RR": "GRR", "MO": "GMO", "CL": "GCL"}
    differences = difference_table(split_rows, references, paper_split_scores)
    texts = cells(comparisons.paper_layout(table, "model4", differences))
    column = texts["IoU", "minus counterpart"]
    assert column["CL"] == "+0.100"  # of a single mine
    assert column["GRR"] == "–"
    line = differences.query("row == 'RR' and metric == 'iou'").iloc[0]
    expected = [f"{line[name]:+.3f}".replace("-", "−") for name in ("difference", "low", "high")]
    assert column["RR"] == "{} ({} to {})".format(*expected)

    to_rgb = difference_table(band_rows, {"R+N": "RGB", "M": "RGB"}, paper_scores)
    texts = cells(comparisons.paper_layout(band_scores, "model1", to_rgb))
    assert texts["IoU", "minus RGB"]["R+N"].startswith("+0.180 (+0.")


def test_a_task_of_ones_own_has_no_columns_of_the_paper(tmp_path):
    task = "excavation,dam"
    rows = [scored(counted_result(tmp_path, task, "RGB", [of_mines(0.5, 0.6)]), "paper")]
    layout = comparisons.paper_layout(
        score_table(rows, paper_scores), task, convention="paper", synthetic=True
    )
    assert {name for _, name in layout.columns} == {"ours", "95 % interval"}
    assert layout.columns.names == ["excavation, dam", "paper, synthetic"]


def test_overview_is_table_3_at_a_glance(band_scores, split_rows):
    texts = cells(comparisons.overview(band_scores))
    assert list(texts.index) == BANDS
    assert list(texts) == [("Model 1", name) for name in ("IoU", "Rec", "Prec", "Acc")]
    assert texts["Model 1", "IoU"].tolist() == [".520", ".700", "–"]
    both = pd.concat([band_scores, score_table(split_rows, paper_split_scores)])
    assert cells(comparisons.overview(both)).loc["M", ("Model 4", "Rec")] == "–"


def test_notes_give_each_reason_once(tmp_path):
    reason = "subset CL has no mine in test; add mines"
    results = [
        counted_result(tmp_path, "model1", "RR", [of_mines(0.5, 0.6)], absent=["excavation"]),
        counted_result(tmp_path, "model1", "MO", [of_mines(0.5)]),
        counted_result(tmp_path, "model2", "MO", [of_mines(0.5)]),
        *(missing(task, row, reason) for task in ("model1", "model2") for row in ("CL", "GCL")),
        missing("model2", "RR", "loss is not finite"),
    ]
    rows = scored_rows(results, "paper")
    rows.append(average(rows[:2], "AVG RR+MO+CL"))
    tasks = ["model1", "model2"]
    table = with_missing(
        score_table(rows, paper_split_scores), tasks, SPLIT_ROWS, paper_split_scores
    )
    assert comparisons.notes(results, table).splitlines() == [
        f"- Model 1, Model 2 (CL, GCL): no run: {reason}.",
        "- Model 2 (RR): no run: loss is not finite.",
        "- Model 1 (RR): no test scene holds excavation; the scores say nothing about that.",
        "- Model 1, Model 2 (MO): a single test mine, so there is no interval over mines.",
    ]


def test_no_notes_where_nothing_is_missing(band_results, band_rows):
    assert comparisons.notes(band_results[:2], score_table(band_rows, paper_scores)) == ""
