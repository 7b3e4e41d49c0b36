import shutil

import pandas as pd
import pytest

from minseg import MinsegError
from minseg.data.bands import BAND_CONFIGURATIONS
from minseg.data.labels import parse_task
from minseg.data.mines import MINE_TYPES, PARTS, RAW_MATERIALS
from minseg.learning.models import ENCODERS, can_build
from minseg.study.config import RunConfig
from minseg.study.paper import (
    PAPER_FOLDER,
    paper_hyperparameters,
    paper_images,
    paper_mine_scores,
    paper_scores,
    paper_statements,
    paper_table,
)


@pytest.fixture
def folder(tmp_path):
    """A copy of the transcribed paper that a test may break."""
    return shutil.copytree(PAPER_FOLDER, tmp_path / "paper")


def edit(path, line, text):
    """Write another line; None takes it out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "line", "text", "message"),
    [
        (3, 2, "RGB,model1,iou,", "row 2 column 'value': an empty cell cannot stand here"),
        (3, 2, "RGB,model1,iou,1.694", "row 2 column 'value': '?1.694'? .* from 0 to 1"),
        (6, 4, "Cordero Rojo,excavation,precision,O.681", "row 4 column 'value': 'O.681' cannot"),
        (7, 2, "Novotroitsk,dumping ground,f1,0.337", "row 2 is Novotroitsk, dumping ground, f1; "),
        (3, 3, None, "row 3 is RGB, model1, precision; the paper has RGB, model1, recall"),
        (3, 81, None, r"row 81 is nothing; the paper has M\+S, model4, accuracy"),
        (3, 81, "M+S,model4,accuracy,0.9\nRGB,model1,iou,1", "row 82 is RGB, .* has nothing"),
        (2, 2, "All,model1,test,38.5", "row 2 column 'images': '38.5' cannot .* a whole number"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_line(folder, number, line, text, message):
    edit(folder / f"table{number}.csv", line, text)
    with pytest.raises(MinsegError, match=rf"table{number}\.csv: {message}"):
        paper_table(number, folder)


def test_a_table_that_is_not_there_is_named():
    with pytest.raises(MinsegError, match=r"table99\.csv: no such table"):
        paper_table(99)


def test_statements_are_numbers_with_a_name_each(folder):
    assert paper_statements(folder)["name"].is_unique
    edit(folder / "statements.csv", 2, "mines_more_than,abstract,400,mines")
    with pytest.raises(MinsegError, match="row 3 column 'name': 'mines_more_than' stands in row 2"):
        paper_statements(folder)


def test_a_table_that_was_changed_is_read_again_and_belongs_to_the_caller(folder):
    table = paper_table(3, folder)
    table["value"] = 0.0
    assert paper_table(3, folder)["value"].max() > 0
    edit(folder / "table3.csv", 2, "RGB,model1,iou,0.6941")
    assert paper_table(3, folder)["value"].iloc[0] == 0.6941


COLUMNS = ["iou", "recall", "precision", "accuracy"]


def thousandths(table, *by):
    """Sums of printed scores, in thousandths."""
    whole = table.assign(value=(table["value"] * 1000).round().astype(int))
    return whole.groupby(list(by), sort=False)["value"].sum()


def test_table_2_is_whole():
    table = paper_table(2)
    assert len(table) == 7 * 4 * 3
    assert set(table["split"]) == {"All", *RAW_MATERIALS, *MINE_TYPES}
    assert set(table["part"]) == set(PARTS)
    # Sums of the printed columns, Model 1 test to Model 4 train, added up apart from the table.
    sums = table.groupby(["model", "part"], sort=False)["images"].sum()
    assert list(sums) == [123, 126, 3131, 118, 112, 2918, 130, 130, 2774, 124, 130, 3195]
    # And of the rows, All to OP.
    sums = table.groupby("split", sort=False)["images"].sum()
    assert list(sums) == [4570, 2250, 1334, 741, 755, 697, 2664]
    images = paper_images()
    assert images.loc["OC"].to_list() == [7, 6, 162, 7, 5, 162, 5, 5, 156, 7, 7, 168]
    assert images.loc["RR", ("model3", "validation")] == 33


def test_tables_3_and_4_are_whole_and_read_row_by_row():
    assert set(paper_table(3)["bands"]) == set(BAND_CONFIGURATIONS)
    # Sums of the printed columns and rows, added up apart from the tables.
    of_model = [thousandths(paper_table(k), "model", "metric").unstack()[COLUMNS] for k in (3, 4)]
    assert pd.concat(of_model, axis=1).to_numpy().tolist() == [
        [3408, 2868, 2854, 4868, 10845, 9847, 10020, 15535],
        [3179, 3446, 3749, 4827, 10573, 11646, 12304, 15489],
        [3583, 1498, 2430, 4933, 11556, 7005, 8950, 15788],
        [4112, 4633, 4378, 4808, 13118, 14956, 13894, 15343],
    ]
    by_row = thousandths(paper_table(4), "split")
    assert " ".join(by_row.index) == (
        "RR GRR MO GMO CL GCL AVG RR+MO+CL AVG GM MT GMT OC GOC OP GOP AVG MT+OC+OP AVG GS"
    )
    assert list(by_row[:8]) == [11826, 11931, 12246, 13289, 12389, 12937, 12150, 12719]
    assert list(by_row[8:]) == [12186, 12699, 11382, 12299, 12084, 12388, 11883, 12461]
    assert (len(paper_table(3)), len(paper_table(4))) == (5 * 4 * 4, 16 * 4 * 4)
    found = dict(zip(COLUMNS, [0.720, 0.311, 0.489, 0.987], strict=True))
    assert paper_scores(3, "model3", "RGB") == found
    assert paper_scores(3, "dam", "RGB") == paper_scores(3, "model1", "B04") == {}
    found = dict(zip(COLUMNS, [0.817, 0.932, 0.866, 0.962], strict=True))
    assert paper_scores(4, "model4", "AVG GS") == found
    assert paper_scores(4, "dam", "RR") == paper_scores(4, "model1", "All") == {}


def test_table_5_is_whole_and_its_hyperparameters_make_a_run():
    table = paper_table(5)
    assert len(table) == 8 * 4
    headings = table.groupby("model")["printed_model"].unique().map(list)
    assert headings.to_list() == [["Model 1"], ["Model 2"], ["Model 3"], ["Model 1"]]
    # Spelt otherwise than printed: the learning rates, and Unet++.
    assert (table["printed"] != table["value"]).sum() == 5
    assert set(table["hyperparameter"]) <= set(RunConfig.model_fields)
    for task in ("model1", "model2", "model3", "model4"):
        best = paper_hyperparameters(task)
        assert len(best) == 8
        config = RunConfig().replace(**best, task=task)
        assert {name: getattr(config, name) for name in best} == best
        assert config.encoder in ENCODERS
        assert can_build(config.architecture, config.encoder)
    network = {"architecture": "linknet", "encoder": "vgg16", "loss": "crossentropy"}
    numbers = {"learning_rate": 6e-4, "batch_size": 16, "epochs": 200, "crop": 512}
    assert paper_hyperparameters("model4") == network | numbers | {"optimiser": "adam"}
    with pytest.raises(MinsegError, match="no 'dam'; use model1, model2, model3, model4"):
        paper_hyperparameters("dam")


@pytest.mark.parametrize(
    ("task", "rows", "sums"),
    [
        # Sums of the printed columns, in ten-thousandths, added up apart from the table.
        ("model1", 6, [22520, 37500, 32291, 22530]),
        ("model2", 4, [19920, 24870, 29200, 19920]),
        ("model3", 8, [39540, 47140, 57320, 39540]),
    ],
)
def test_tables_6_to_8_are_whole(task, rows, sums):
    table = paper_mine_scores(task)
    assert list(table.columns) == ["location", "class", *COLUMNS]
    assert len(table) == rows
    assert set(table["class"]) <= set(parse_task(task).class_names)
    assert (table[COLUMNS].sum() * 10_000).round().astype(int).to_list() == sums


def test_rows_of_tables_6_to_8():
    table = paper_mine_scores("model1").set_index(["location", "class"])
    assert table.loc[("Agarak", "excavation")].to_list() == [0.674, 0.92, 0.7161, 0.674]
    assert table.loc[("Cerovo", "excavation"), "accuracy"] == 0.02
    dams = paper_mine_scores("dam")
    assert dams["location"].to_list() == ["Bor Mine", "Buenavista"]
    assert dams["precision"].to_list() == [0.999, 0.029]
    assert paper_mine_scores("model4").empty
    assert paper_mine_scores("stockpile").empty
