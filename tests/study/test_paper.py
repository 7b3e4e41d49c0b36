import shutil

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
    paper_split_scores,
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
        (4, 3, "RR,model1,recall,-0.1", "row 3 column 'value': '?-0.1'? .* from 0 to 1"),
        (4, 3, "RR,model1,recall,nan", "row 3 column 'value': .* from 0 to 1"),
        (6, 4, "Cordero Rojo,excavation,precision,O.681", "row 4 column 'value': 'O.681' cannot"),
        (7, 2, "Novotroitsk,dumping ground,f1,0.337", "row 2 is Novotroitsk, dumping ground, f1; "),
        (8, 2, "Globe-Miami,excavation,iou,0.464", "row 2 is Globe-Miami, excavation, iou; the p"),
        (3, 3, "RGB,model1,iou,0.694", "row 3 is RGB, model1, iou; the paper has RGB, model1, rec"),
        (3, 3, None, "row 3 is RGB, model1, precision; the paper has RGB, model1, recall"),
        (3, 81, None, r"row 81 is nothing; the paper has M\+S, model4, accuracy"),
        (3, 81, "M+S,model4,accuracy,0.9\nRGB,model1,iou,1", "row 82 is RGB, .* has nothing"),
        (2, 2, "All,model1,test,38.5", "row 2 column 'images': '38.5' cannot .* a whole number"),
        (2, 5, "All,model5,test,38", "row 5 is All, model5, test; the paper has All, model2, test"),
        (5, 1, "model,hyperparameter,value", "row 2 has 5 cells and the header 3"),
        (3, 1, "bands,model,metric,score", "column 'value' is missing"),
        (3, 2, "RGB,model1,iou", "row 2 has 3 cells and the header 4"),
        (5, 2, "Model 1,model1,dropout,0.1,0.1", "row 2 is dropout, model1; the paper has learnin"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_line(folder, number, line, text, message):
    edit(folder / f"table{number}.csv", line, text)
    with pytest.raises(MinsegError, match=rf"table{number}\.csv: {message}"):
        paper_table(number, folder)


def test_an_empty_file(folder):
    (folder / "table3.csv").write_text("")
    with pytest.raises(MinsegError, match=r"table3\.csv: .*the file is empty"):
        paper_table(3, folder)
    (folder / "table3.csv").write_text("bands,model,metric,value\n")
    with pytest.raises(MinsegError, match=r"table3\.csv: the table is empty"):
        paper_table(3, folder)


def test_statements_are_numbers_with_a_name_each(folder):
    assert paper_statements(folder)["name"].is_unique
    path = folder / "statements.csv"
    edit(path, 2, "images_more_than,abstract,many,images")
    with pytest.raises(MinsegError, match=r"statements\.csv: row 2 column 'value': 'many'"):
        paper_statements(folder)
    edit(path, 2, "mines_more_than,abstract,400,mines")
    with pytest.raises(MinsegError, match="row 3 column 'name': 'mines_more_than' stands in row 2"):
        paper_statements(folder)


def test_a_table_that_was_changed_is_read_again_and_belongs_to_the_caller(folder):
    table = paper_table(3, folder)
    table["value"] = 0.0
    assert paper_table(3, folder)["value"].max() > 0
    edit(folder / "table3.csv", 2, "RGB,model1,iou,0.6941")
    assert paper_table(3, folder)["value"].iloc[0] == 0.6941


AVERAGES = {
    "AVG RR+MO+CL": ["RR", "MO", "CL"],
    "AVG GM": ["GRR", "GMO", "GCL"],
    "AVG MT+OC+OP": ["MT", "OC", "OP"],
    "AVG GS": ["GMT", "GOC", "GOP"],
}

SUMS_OF_TABLE_4 = {
    "RR": 11826,
    "GRR": 11931,
    "MO": 12246,
    "GMO": 13289,
    "CL": 12389,
    "GCL": 12937,
    "AVG RR+MO+CL": 12150,
    "AVG GM": 12719,
    "MT": 12186,
    "GMT": 12699,
    "OC": 11382,
    "GOC": 12299,
    "OP": 12084,
    "GOP": 12388,
    "AVG MT+OC+OP": 11883,
    "AVG GS": 12461,
}


def test_table_3_is_whole():
    table = paper_table(3)
    assert len(table) == 5 * 4 * 4
    assert set(table["bands"]) == set(BAND_CONFIGURATIONS)
    # Sums of the printed columns, added up by hand from the paper.
    sums = table.groupby(["model", "metric"])["value"].sum().round(3).unstack()
    names = ["iou", "recall", "precision", "accuracy"]
    assert sums.loc["model1", names].to_list() == [3.408, 2.868, 2.854, 4.868]
    assert sums.loc["model2", names].to_list() == [3.179, 3.446, 3.749, 4.827]
    assert sums.loc["model3", names].to_list() == [3.583, 1.498, 2.430, 4.933]
    assert sums.loc["model4", names].to_list() == [4.112, 4.633, 4.378, 4.808]


def test_rows_of_table_3():
    assert paper_scores("model3", "RGB") == {
        "iou": 0.720,
        "recall": 0.311,
        "precision": 0.489,
        "accuracy": 0.987,
    }
    assert paper_scores("dam", "RGB") is None
    assert paper_scores("model1", "B04") is None


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


def test_images_in_the_papers_layout():
    images = paper_images()
    assert images.loc["OC"].to_list() == [7, 6, 162, 7, 5, 162, 5, 5, 156, 7, 7, 168]
    assert images.loc["RR", ("model3", "validation")] == 33
    # The print's own contradiction: splits of Model 3 by material against all of its images.
    surplus = images.loc[["RR", "MO", "CL"]].sum() - images.loc["All"]
    assert surplus["model3"].to_dict() == {"test": 12, "validation": 16, "train": -183}


def test_table_4_is_whole():
    table = paper_table(4)
    assert len(table) == 16 * 4 * 4
    # Sums of the printed columns and rows in thousandths, added up apart from the table.
    thousandths = table.assign(value=(table["value"] * 1000).round().astype(int))
    sums = thousandths.groupby(["model", "metric"])["value"].sum().unstack()
    names = ["iou", "recall", "precision", "accuracy"]
    assert sums.loc["model1", names].to_list() == [10845, 9847, 10020, 15535]
    assert sums.loc["model2", names].to_list() == [10573, 11646, 12304, 15489]
    assert sums.loc["model3", names].to_list() == [11556, 7005, 8950, 15788]
    assert sums.loc["model4", names].to_list() == [13118, 14956, 13894, 15343]
    assert thousandths.groupby("split")["value"].sum().to_dict() == SUMS_OF_TABLE_4


def test_averages_of_table_4_follow_from_their_rows():
    table = paper_table(4)
    table["value"] = (table["value"] * 1000).round()
    wide = table.pivot(index="split", columns=["model", "metric"], values="value")
    odd = {
        (average, *column)
        for average, rows in AVERAGES.items()
        for column in wide
        # Means of three whole numbers are never a half away from one.
        if abs(wide.loc[average, column] - wide.loc[rows, column].mean()) > 0.5
    }
    # 0.6817 and 0.5617: cut off, or means of rows that were rounded afterwards.
    assert odd == {
        ("AVG RR+MO+CL", "model2", "iou"),
        ("AVG RR+MO+CL", "model3", "precision"),
    }


def test_rows_of_table_4():
    assert paper_split_scores("model2", "GMT") == {
        "iou": 0.605,
        "recall": 0.646,
        "precision": 0.638,
        "accuracy": 0.989,
    }
    assert paper_split_scores("model4", "AVG GS") == {
        "iou": 0.817,
        "recall": 0.932,
        "precision": 0.866,
        "accuracy": 0.962,
    }
    assert paper_split_scores("dam", "RR") is None
    assert paper_split_scores("model1", "All") is None


def test_table_5_is_whole():
    table = paper_table(5)
    assert len(table) == 8 * 4
    headings = table.groupby("model")["printed_model"].unique().map(list).to_dict()
    assert headings == {
        "model1": ["Model 1"],
        "model2": ["Model 2"],
        "model3": ["Model 3"],
        "model4": ["Model 1"],
    }
    # Spelt otherwise than printed: the learning rates, and Unet++.
    assert (table["printed"] != table["value"]).sum() == 5
    assert set(table["hyperparameter"]) <= set(RunConfig.model_fields)


def test_hyperparameters_make_a_run():
    for task in ("model1", "model2", "model3", "model4"):
        best = paper_hyperparameters(task)
        assert len(best) == 8
        config = RunConfig().replace(**best, task=task)
        assert {name: getattr(config, name) for name in best} == best
        assert config.encoder in ENCODERS
        assert can_build(config.architecture, config.encoder)
    assert paper_hyperparameters("model4") == {
        "learning_rate": 6e-4,
        "batch_size": 16,
        "epochs": 200,
        "crop": 512,
        "optimiser": "adam",
        "encoder": "vgg16",
        "architecture": "linknet",
        "loss": "crossentropy",
    }
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
    names = ["iou", "recall", "precision", "accuracy"]
    assert list(table.columns) == ["location", "class", *names]
    assert len(table) == rows
    assert set(table["class"]) <= set(parse_task(task).class_names)
    assert (table[names].sum() * 10_000).round().astype(int).to_list() == sums
    # By definition IoU = 1 / (1 / precision + 1 / recall - 1), and the accuracy printed is IoU.
    iou = 1 / (1 / table["precision"] + 1 / table["recall"] - 1)
    odd = table[(iou - table["iou"]).abs() > 0.0015]
    assert odd["location"].to_list() == (["Buenavista"] if task == "model3" else [])  # prints .610
    assert (table["accuracy"] - table["iou"]).abs().max() < 0.0015


def test_rows_of_tables_6_to_8():
    table = paper_mine_scores("model1").set_index(["location", "class"])
    assert table.loc[("Agarak", "excavation")].to_list() == [0.674, 0.92, 0.7161, 0.674]
    assert table.loc[("Cerovo", "excavation"), "accuracy"] == 0.02
    dams = paper_mine_scores("dam")
    assert dams["location"].to_list() == ["Bor Mine", "Buenavista"]
    assert dams["precision"].to_list() == [0.999, 0.029]
    assert paper_mine_scores("model4").empty
    assert paper_mine_scores("stockpile").empty


def test_missing_table():
    with pytest.raises(MinsegError, match=r"table99\.csv"):
        paper_table(99)
