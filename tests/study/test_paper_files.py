import shutil

import pytest

from minseg import MinsegError
from minseg.study.paper import PAPER_FOLDER, paper_statements, paper_table
from minseg.study.paper_files import TABLES


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
        (3, 2, "RGB,model1,iou,", "line 2: value is empty"),
        (3, 2, "RGB,model1,iou,1.694", r"line 2: value is 1.694, outside \[0, 1\]"),
        (4, 3, "RR,model1,recall,-0.1", r"line 3: value is -0.1, outside \[0, 1\]"),
        (4, 3, "RR,model1,recall,nan", r"line 3: value is nan, outside \[0, 1\]"),
        (6, 4, "Cordero Rojo,excavation,precision,O.681", "line 4: value is 'O.681'; give a num"),
        (7, 2, "Novotroitsk,dumping ground,f1,0.337", "line 2: the paper's table has no row Nov"),
        (8, 2, "Globe-Miami,excavation,iou,0.464", "line 2: the paper's table has no row Globe"),
        (3, 3, "RGB,model1,iou,0.694", "line 3: row RGB, model1, iou stands in line 2 already"),
        (3, 3, None, "row RGB, model1, recall is missing; add it near line"),
        (2, 2, "All,model1,test,38.5", "line 2: images is 38.5; give a whole number"),
        (2, 5, "All,model5,test,38", "line 5: the paper's table has no row All, model5, test"),
        (
            5,
            1,
            "model,hyperparameter,value",
            "line 1: columns are model, hyperparameter, value; th",
        ),
        (3, 1, "bands,model,metric,score", "line 1: columns are bands, model, metric, score; they"),
        (3, 2, "RGB,model1,iou", "line 2: 3 cells; give 4"),
        (5, 2, "Model 1,model1,dropout,0.1,0.1", "line 2: the paper's table has no row model1, dr"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_line(folder, number, line, text, message):
    edit(folder / f"table{number}.csv", line, text)
    with pytest.raises(MinsegError, match=rf"table{number}\.csv: {message}"):
        paper_table(number, folder)


def test_an_empty_file(folder):
    (folder / "table3.csv").write_text("")
    with pytest.raises(MinsegError, match=r"table3\.csv: line 1: columns are ; they must be bands"):
        paper_table(3, folder)
    (folder / "table3.csv").write_text("bands,model,metric,value\n")
    with pytest.raises(MinsegError, match="M, model1, accuracy is missing; add it near line 1"):
        paper_table(3, folder)


def test_statements_are_numbers_with_a_name_each(folder):
    assert paper_statements(folder)["name"].is_unique
    path = folder / "statements.csv"
    edit(path, 2, "images_more_than,abstract,many,images")
    with pytest.raises(MinsegError, match=r"statements\.csv: line 2: value is 'many'"):
        paper_statements(folder)
    edit(path, 2, "mines_more_than,abstract,400,mines")
    with pytest.raises(MinsegError, match="line 3: row mines_more_than stands in line 2 already"):
        paper_statements(folder)


def test_a_table_that_was_changed_is_read_again_and_belongs_to_the_caller(folder):
    table = paper_table(3, folder)
    table["value"] = 0.0
    assert paper_table(3, folder)["value"].max() > 0
    edit(folder / "table3.csv", 2, "RGB,model1,iou,0.6941")
    assert paper_table(3, folder)["value"].iloc[0] == 0.6941


def test_every_table_has_the_rows_of_its_layout():
    for number, layout in TABLES.items():
        assert len(paper_table(number)) == len(layout.rows)
