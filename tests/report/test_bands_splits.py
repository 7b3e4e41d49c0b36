import re
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib.colors import to_hex

from minseg.errors import MinsegError
from minseg.report import bands_splits
from minseg.scoring.metrics import METRICS
from minseg.study import tables
from minseg.study.config import RunConfig
from minseg.study.paper import paper_images, paper_table
from minseg.study.runs import run_key
from minseg.study.study import open_study
from tests.report.conftest import (
    counted_result,
    draw,
    legend,
    markers,
    overlapping_texts,
    row_names,
    segments,
    texts,
    titles,
)
from tests.study.made_runs import excavation, write_run

BANDS = ["RGB", "R+N", "M"]


def of_mines(*ious):
    return {f"mine-{k}": iou for k, iou in enumerate(ious)}


def missing(task, row, problem):
    return tables.Result(tables.Entry(task, row, RunConfig()), (), problem)


def cells(styler):
    """What each cell says: rows and columns as in the table behind."""
    lines = BeautifulSoup(styler.to_html(), "html.parser").tbody("tr")
    rows = [[cell.get_text() for cell in line("td")] for line in lines]
    return pd.DataFrame(rows, styler.index, styler.columns)


def bold(styler):
    """Row and column of the bold cells."""
    found = set()
    for places, properties in re.findall(r"^([^{}]*)\{([^}]*)\}", styler.to_html(), re.MULTILINE):
        if "bold" in properties:
            for row, column in re.findall(r"#T_\w+_row(\d+)_col(\d+)", places):
                found.add((styler.index[int(row)], styler.columns[int(column)]))
    return found


def table_of(scores, convention="standard", found=None):
    """Table 3 with scores made by hand."""
    places = scores[["task", "row"]].drop_duplicates().to_numpy()
    found = found or [missing(task, row, "") for task, row in places]
    table = bands_splits.Table(3, None, tuple(found), convention)
    vars(table)["scores"] = scores
    return table


def gaps(results, scores):
    """Notes without the line of how many rows have runs."""
    return table_of(scores, found=results).notes().partition("\n")[2]


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
    return tables.scored_rows(band_results, "standard")


@pytest.fixture(scope="module")
def band_scores(band_rows):
    return tables.score_table(band_rows, 3, product(["model1"], BANDS))


@pytest.fixture(scope="module")
def split_rows(tmp_path_factory):
    """Model 4: CL has one mine; the mean of the general rows is higher than any single row."""
    folder = tmp_path_factory.mktemp("splits")
    ious = {"RR": (0.5, 0.7), "GRR": (0.6, 0.9), "MO": (0.4, 0.5), "GMO": (0.5, 0.6)}
    ious |= {"CL": (0.3,), "GCL": (0.2,)}
    results = [
        counted_result(folder, "model4", row, [of_mines(*values)]) for row, values in ious.items()
    ]
    rows = tables.scored_rows(results, "standard")
    top = replace(rows[-1], by_seed=np.full((1, 4), 0.99))
    return [*rows[:-1], top]


def test_images_stand_beside_the_papers(dataset):
    table = cells(bands_splits.image_table(dataset))
    assert list(table.index) == ["All", "RR", "MO", "CL", "MT", "OC", "OP"]
    test, train = table["ours", "test"], table["ours", "train"]
    mines = dataset.split["part"].value_counts()
    assert test["All"] == test["RR"] == test["OP"] == str(mines["test"])
    assert train["RR"] == str(2 * mines["train"])  # two years of each
    assert test["MO"] == train["MT"] == "0"
    published = paper_images()
    assert table["paper, Model 3", "val."]["RR"] == str(published["model3", "validation"]["RR"])
    assert table.shape == (7, 3 + 12)
    unsorted = replace(dataset, mines=dataset.mines.assign(raw_material=""))
    ours = cells(bands_splits.image_table(unsorted))["ours"]
    assert set(ours.loc[["RR", "MO", "CL"]].to_numpy().ravel()) == {"not stated"}
    assert ours.loc["OP", "test"] == ours.loc["All", "test"] != "not stated"


def test_layout_holds_scores_interval_spread_and_paper(band_scores, band_rows):
    layout = table_of(band_scores, "standard").beside_paper("model1")
    texts = cells(layout)
    assert texts["IoU", "ours"].tolist() == ["0.520", "0.700", "–"]
    assert texts["IoU", "seed spread"].tolist() == ["0.040", "0.000", "–"]
    low, high = np.quantile(band_rows[1].resampled[:, 0], [0.025, 0.975])
    assert texts["IoU", "95 % interval"]["R+N"] == f"{low:.3f} to {high:.3f}"
    assert texts["IoU", "paper"].tolist() == ["0.694", "0.657", "0.710"]
    assert texts["IoU", "minus paper"].tolist() == ["−0.174", "+0.043", "–"]
    assert texts["recall"].columns.tolist() == ["ours", "paper"]
    assert {cell for cell in bold(layout) if cell[1][0] in ("IoU", "accuracy")} == {
        ("R+N", ("IoU", "ours")),
        ("M", ("IoU", "paper")),
        ("R+N", ("accuracy", "ours")),
        ("RGB", ("accuracy", "paper")),  # the paper prints .977 twice
        ("R+N", ("accuracy", "paper")),
    }
    nothing = tables.score_table([], 3, product(["model2"], BANDS))
    texts = cells(table_of(nothing, "standard").beside_paper("model2"))
    assert set(texts["IoU", "ours"]) == set(texts["IoU", "minus paper"]) == {"–"}
    assert texts["IoU", "paper"]["RGB"] == "0.644"


def test_layout_of_splits(split_rows):
    assert list(bands_splits.SPLIT_ROWS) == list(paper_table(4)["split"].unique())
    scores = tables.score_table(split_rows, 4)
    layout = table_of(scores, "standard").beside_paper("model4")
    assert ("IoU", "seed spread") not in layout.columns  # there is one seed
    highest = {row for row, _ in bold(layout)}
    assert "GRR" in highest
    assert not highest & set(tables.AVERAGES)
    interval = cells(layout)["IoU", "95 % interval"]
    # A single mine has no interval, and neither has a mean over it.
    without = {row for row, text in interval.items() if text == "–"}
    assert without == {"CL", "GCL", "AVG RR+MO+CL", "AVG GM"}
    assert re.fullmatch(r"0\.\d{3} to 0\.\d{3}", interval["RR"])


def test_a_table_minus_a_reference_answers_in_a_line(band_results, dataset, tmp_path, synthetic):
    study = open_study("demo", dataset.path, runs=tmp_path)
    table3 = bands_splits.Table(3, study, tuple(band_results), "standard")
    assert (table3.tasks, table3.row_names) == (["model1"], BANDS)
    assert table3.minus("RGB").table["row"].unique().tolist() == ["R+N"]
    assert table3.minus("RGB").answer() == (
        "- **Minus RGB**, on synthetic mines: "
        "none of 1 differences in IoU told from zero by the test mines."
    )
    assert table3.minus("M+S").answer() == (
        "- **Minus M+S**, on synthetic mines: no two rows could be compared."
    )
    assert table3.notes().splitlines() == [
        "- 2 of 3 rows of Table 3 have runs, on **synthetic** mines.",
        "- Model 1 (M): no run: the dataset has no band B01.",
    ]
    assert list(cells(table3.overview()).index) == BANDS
    assert table3.minus("RGB").figure().get_suptitle() == "SYNTHETIC"
    table = differences(M=(0.1, 0.05, 0.2, 0.1), S=(-0.1, -0.2, -0.05, 0.1), R=(0, -0.1, 0.1, 0))
    table["told"] = table["row"].isin(["M", "S"])
    answer = bands_splits.Differences(table, "minus RGB", ("M", "S", "R"), "standard").answer()
    assert answer.endswith(
        "2 of 3 differences in IoU told from zero by the test mines: above zero Model 1 (M); below "
        "zero Model 1 (S)."
    )


def test_what_is_given_in_two_spellings_is_one_row(dataset, tmp_path):
    study = open_study("demo", dataset.path, runs=tmp_path)
    for bands, hits in (("RGB", 5), ("R+N", 7)):
        config = study.config(task="model1", bands=bands)
        tested = {"mine-0": excavation(hits), "mine-1": excavation(hits + 1)}
        found = {config.epochs: {"validation": {"mine-2": excavation(hits)}, "test": tested}}
        write_run(tmp_path / run_key(config, dataset), config, found)
    table3 = bands_splits.table3(study, ["model1", "Model1"], ["RGB", "rgb", "R+N"])
    assert len(table3.results) == 2
    differences = table3.minus("RGB")
    assert differences.table["comparisons"].unique().tolist() == [1]
    assert titles(draw(differences.figure())) == ["Model 1"]
    for reference in ("rgb", "general"):
        with pytest.raises(MinsegError, match=f"unknown reference '{reference}'; use RGB, R.N, "):
            table3.minus(reference)


def test_a_task_of_ones_own_has_no_columns_of_the_paper(tmp_path, synthetic):
    task = "excavation,dam"
    rows = [tables.scored(counted_result(tmp_path, task, "RGB", [of_mines(0.5, 0.6)]), "paper")]
    layout = table_of(tables.score_table(rows, 3), "paper").beside_paper(task)
    assert {name for _, name in layout.columns} == {"ours", "95 % interval"}
    assert layout.columns.names == ["excavation, dam", "paper, synthetic"]


def test_overview_is_table_3_at_a_glance(band_scores, split_rows):
    texts = cells(table_of(band_scores).overview())
    assert list(texts.index) == BANDS
    assert list(texts) == [("Model 1", name) for name in ("IoU", "Rec", "Prec", "Acc")]
    assert texts["Model 1", "IoU"].tolist() == [".520", ".700", "–"]
    both = pd.concat([band_scores, tables.score_table(split_rows, 4)])
    assert cells(table_of(both).overview()).loc["M", ("Model 4", "Rec")] == "–"
    close = band_scores.assign(value=band_scores["value"].where(band_scores["row"] != "M", 0.6999))
    found = bold(table_of(close).overview())
    # Equal as printed.
    assert {row for row, column in found if column[1] == "IoU"} == {"R+N", "M"}


def test_notes_give_each_reason_once(tmp_path, band_results, band_rows):
    assert gaps(band_results[:2], tables.score_table(band_rows, 3)) == ""
    reason = "subset CL has no mine in test; add mines"
    results = [
        counted_result(tmp_path, "model1", "RR", [of_mines(0.5, 0.6)], absent=["excavation"]),
        counted_result(tmp_path, "model1", "MO", [of_mines(0.5)]),
        counted_result(tmp_path, "model2", "MO", [of_mines(0.5)]),
        *(missing(task, row, reason) for task in ("model1", "model2") for row in ("CL", "GCL")),
        missing("model2", "RR", "loss is not finite"),
    ]
    rows = tables.scored_rows(results, "paper")
    rows.append(tables.average(rows[:2], "AVG RR+MO+CL"))
    places = product(["model1", "model2"], bands_splits.SPLIT_ROWS)
    table = tables.score_table(rows, 4, places)
    assert gaps(results, table).splitlines() == [
        f"- Model 1, Model 2 (CL, GCL): no run: {reason}.",
        "- Model 2 (RR): no run: loss is not finite.",
        "- Model 1 (RR): no test scene holds excavation; the scores say nothing about that.",
        "- Model 1, Model 2 (MO): a single test mine, so there is no interval over mines.",
    ]


def test_seeds_that_differ_more_than_rows_are_told(band_results, band_scores):
    table, first = band_scores.copy(), band_scores["row"] == "RGB"
    table.loc[first, "spread"] = 0.17  # the rows are .52 and .70
    assert gaps(band_results[:2], table) == ""
    table.loc[first, "spread"] = 0.19
    assert gaps(band_results[:2], table) == (
        r"- Model 1 (RGB): IoU differs by 0\.190 from seed to seed, by 0\.180 from row to row."
    )
    alone = table[table["row"] == "RGB"]
    assert gaps(band_results[:1], alone) == ""  # nothing to differ from


TASKS = ["model1", "model2", "model3", "model4"]
CONFIGURATIONS = ["RGB", "R+N", "R+N+S", "M", "M+S"]
OURS, PALE, NONE, FOREST, TARGETED = "#0072b2", "#8fbbd9", "#8a8a8a", "#e69f00", "#d55e00"
PAPER, HOLLOW = "#444444", "#ffffff"


def score_lines(tasks, rows, seed=0):
    """A score table of random numbers."""
    random = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([tasks, rows, METRICS], names=["task", "row", "metric"])
    table = index.to_frame(index=False).assign(value=random.uniform(0.3, 0.9, len(index)))
    return table.assign(
        low=table["value"] - random.uniform(0.02, 0.1, len(table)),
        high=table["value"] + random.uniform(0.02, 0.1, len(table)),
        spread=0.0,
        mines=9,
        paper=random.uniform(0.5, 0.8, len(table)),
        absent="",
    )[tables.SCORE_COLUMNS]


def without_run(scores, task, *rows):
    table = scores.copy()
    gone = (table["task"] == task) & table["row"].isin(rows)
    table.loc[gone, ["value", "low", "high"]] = np.nan
    table.loc[gone, "mines"] = 0
    return table


def differences(task="model1", **rows):
    """A difference table of IoU: row to difference, low, high, paper; one mine where low = high."""
    lines = [
        (
            *(task, row, "RGB", "iou", value, low, high),
            *(low - 0.01, high + 0.01, 16, low > 0.01 or high < -0.01),
            *(1 + 9 * (low < high), paper),
        )
        for row, (value, low, high, paper) in rows.items()
    ]
    return pd.DataFrame(lines, columns=tables.DIFFERENCE_COLUMNS)


def iou(scores, task):
    return scores[(scores["task"] == task) & (scores["metric"] == "iou")].set_index("row")


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in draw(figure).axes}


def values(*found):
    return [x for x, _ in markers(*found)]


def test_bands_stand_in_order_with_their_intervals_and_the_paper():
    scores, forest = (score_lines(TASKS, CONFIGURATIONS, seed) for seed in (0, 1))
    forests = forest.assign(row=forest["row"] + tables.FOREST_SUFFIX)
    figure = bands_splits.band_figure(scores, forests, {}, "paper")
    axes = panels(figure)["Model 3"]
    expected = iou(scores, "model3")
    assert list(panels(figure)) == ["Model 1", "Model 2", "Model 3", "Model 4"]
    assert row_names(axes) == CONFIGURATIONS
    assert axes.yaxis_inverted()  # the first configuration on top
    assert values(axes, OURS) == expected["value"].tolist()
    assert values(axes, FOREST) == iou(forest, "model3")["value"].tolist()
    assert values(axes, HOLLOW, PAPER) == expected["paper"].tolist()
    assert segments(axes) == list(zip(expected["low"], expected["high"], strict=True))
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert list(axes.patches) == []
    ours = ["ours, 95 % interval over mines", "per-pixel forest"]
    assert legend(figure) == [*ours, "paper (its own mines)"]
    words = "IoU (paper convention)"
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", words, words]
    own = score_lines(["excavation,dam"], CONFIGURATIONS[:2]).assign(mines=1, paper=np.nan)
    figure = bands_splits.band_figure(own, own, {}, "paper")
    (axes,) = panels(figure).values()
    assert titles(figure) == ["excavation, dam"]
    assert segments(axes) == []  # one mine has no interval
    assert legend(figure) == ours


def test_choice_and_rows_without_a_run():
    scores = without_run(score_lines(TASKS, CONFIGURATIONS), "model1", "M", "M+S")
    scores.loc[(scores["task"] == "model1") & (scores["row"] == "M"), "paper"] = 0.1
    undefined = (scores["task"] == "model2") & (scores["row"] == "M")
    scores.loc[undefined, ["value", "low", "high"]] = np.nan
    worst = iou(scores, "model3")["value"].idxmin()
    chosen = {"model3": worst, "model4": "no such row"}
    figure = bands_splits.band_figure(scores, scores.iloc[:0], chosen, "standard")
    first, second, third, fourth = panels(figure).values()
    assert "chosen on validation" in legend(figure)
    (shade,) = third.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(
        tuple(iou(scores, "model3").loc[worst, ["low", "high"]])
    )
    assert list(fourth.patches) == []
    assert texts(first) == ["no run", "no run"]
    assert len(values(first, OURS)) == 3
    assert len(values(first, HOLLOW, PAPER)) == 5  # the paper's values stay
    lowest_px, _ = first.transData.transform((0.1, 3))
    assert first.texts[0].get_window_extent().x1 < lowest_px - 5
    assert (texts(second), texts(third)) == (["undefined"], [])


def test_differences_are_dark_only_where_they_are_told_from_zero():
    table = differences(
        above=(0.1, 0.02, 0.2, 0.05),
        below=(-0.1, -0.2, -0.02, np.nan),
        across=(0.03, -0.1, 0.1, 0.0),
        touching=(0.04, 0.0, 0.1, 0.0),
        single=(0.2, 0.2, 0.2, -0.02),
        zero=(0.0, 0.0, 0.0, np.nan),
    )
    rows = list(table["row"])
    figure = bands_splits.Differences(table, "configuration − RGB", rows, "paper").figure()
    (axes,) = panels(figure).values()
    assert values(axes, OURS) == [0.1, -0.1]
    assert values(axes, PALE) == [0.03, 0.04]
    assert values(axes, NONE) == [0.2, 0.0]  # not drawn as an interval that holds zero
    assert values(axes, HOLLOW, PAPER) == [0.05, 0.0, 0.0, -0.02]
    drawn = {to_hex(line.get_color()): line for line in axes.lines if len(line.get_xdata()) == 2}
    assert list(drawn[PALE].get_xdata()) == [0.0, 0.1]
    assert axes.get_xlabel() == "difference in IoU (paper convention)\nconfiguration − RGB"
    told = "told from zero (thin: widened for 16 comparisons)"
    assert legend(figure) == [told, "not told from zero", "a single mine", "paper (its own mines)"]
    below = (-0.1, -0.2, -0.01, 0.1)
    mean = {"AVG RR+MO+CL": (0.1, 0.05, 0.2, 0.1)}
    table = differences(RR=below, MO=below, CL=(0.3, 0.3, 0.3, 0.1), **mean)
    rows = [*table["row"], "MT"]
    figure = bands_splits.Differences(table, "targeted − general", rows, "standard").figure()
    (axes,) = panels(figure).values()
    assert row_names(axes) == rows
    assert values(axes, NONE) == [0.3, 0.1]  # a mean over a single mine has no interval either
    assert texts(axes) == ["no run"]


def test_splits_join_targeted_and_general():
    scores = score_lines(TASKS, bands_splits.SPLIT_ROWS)
    axes = panels(bands_splits.split_figure(scores, "standard"))["Model 3"]
    expected = iou(scores, "model3")
    targeted = ["RR", "MO", "CL", "AVG RR+MO+CL", "MT", "OC", "OP", "AVG MT+OC+OP"]
    general = ["GRR", "GMO", "GCL", "AVG GM", "GMT", "GOC", "GOP", "AVG GS"]
    assert row_names(axes) == targeted
    assert values(axes, TARGETED) == expected.loc[targeted, "value"].tolist()
    assert values(axes, OURS) == expected.loc[general, "value"].tolist()
    assert values(axes, HOLLOW, TARGETED) == expected.loc[targeted, "paper"].tolist()
    assert values(axes, HOLLOW, OURS) == expected.loc[general, "paper"].tolist()
    ends = zip(expected.loc[targeted, "value"], expected.loc[general, "value"], strict=True)
    assert segments(axes)[:8] == list(ends)

    scores = without_run(
        score_lines(["model1"], bands_splits.SPLIT_ROWS), "model1", "RR", "OC", "GOC", "GMT"
    )
    axes = panels(bands_splits.split_figure(scores, "standard"))["Model 1"]
    assert texts(axes) == ["no targeted run", "no general run", "no run"]
    places = [round(text.xy[1]) for text in axes.texts]
    assert [row_names(axes)[k] for k in places] == ["RR", "MT", "OC"]


def test_nothing_to_draw_is_said(synthetic):
    scores = pd.DataFrame(columns=tables.SCORE_COLUMNS)
    none = pd.DataFrame(columns=tables.DIFFERENCE_COLUMNS)
    for figure in (
        bands_splits.band_figure(scores, scores, {}, "standard"),
        bands_splits.Differences(none, "M − RGB", [], "standard").figure(),
        bands_splits.split_figure(scores, "standard"),
    ):
        assert texts(draw(figure)) == ["SYNTHETIC", "no runs to show"]


def test_nothing_written_overlaps_or_is_cut_off(synthetic):
    """Four tasks, gaps, and the longest words that are used."""
    bands, forest = (score_lines(TASKS, CONFIGURATIONS, seed) for seed in (0, 1))
    bands = without_run(bands, "model3", "RGB", "M+S")
    splits = score_lines(TASKS, bands_splits.SPLIT_ROWS)
    splits = without_run(splits, "model1", "RR", "OC", "GOC")
    rows = [row for row in bands_splits.SPLIT_ROWS if "G" not in row.removeprefix("AVG")]
    found = {row: (0.01 * k, -0.02, 0.1, 0.02) for k, row in enumerate(rows)}
    told = pd.concat(differences(task, **found) for task in TASKS).drop(index=[0, 3])
    for figure in (
        bands_splits.band_figure(bands, forest, {"model1": "M"}, "standard"),
        bands_splits.split_figure(splits, "standard"),
        bands_splits.Differences(told, "targeted − general", rows, "standard").figure(),
    ):
        assert figure.get_suptitle() == "SYNTHETIC"
        assert figure.get_size_inches()[0] <= 8
        assert overlapping_texts(draw(figure)) == []
