import os

import nbformat
import pandas as pd
import pytest

from minseg import MinsegError
from minseg.report.rerun import (
    Execution,
    execute,
    find_notebooks,
    format_value,
    parse_value,
    plan_executions,
)
from tests.conftest import names


def write_notebook(path, parameters, *code):
    cells = [nbformat.v4.new_code_cell(source) for source in (parameters, *code)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "page.ipynb", "task = 'model1'\nseeds = [0]\nshare = 1")


def read_outcomes(folder):
    return pd.read_csv(folder / "outcomes.csv", dtype=str, keep_default_na=False)


def test_grid_of_values(notebook):
    tasks, seeds = ["model1", "model2"], [[0], [1], [0, 1]]
    executions = plan_executions([notebook], {"share": 2}, {"task": tasks, "seeds": seeds})
    assert [dict(execution.parameters) for execution in executions] == [
        {"share": 2, "task": task, "seeds": seed} for task in tasks for seed in seeds
    ]
    assert executions[-1].output == notebook.parent / "executed/page-task=model2-seeds=0_1.ipynb"
    (single,) = plan_executions([notebook], {"task": "model4"}, {}, notebook.parent / "out")
    assert single.output == notebook.parent / "out" / "page.ipynb"


def test_names_of_copies_are_safe_and_unique(notebook):
    tasks = ["../up", ".._up", ".._UP", "a b\n", "a:b*?", "é", "ü", {"k" * 300: 1}, {"k" * 300: 2}]
    executions = plan_executions([notebook], {}, {"task": tasks})
    copies = [execution.output.name for execution in executions]
    assert len({copy.lower() for copy in copies}) == len(tasks)
    assert all(len(copy) < 200 and not set(copy) & set('/\\:*?"<>|{} \n') for copy in copies)
    assert {execution.output.parent.name for execution in executions} == {"executed"}


@pytest.mark.parametrize(
    ("parameters", "each", "message"),
    [
        ({"tsk": "model1"}, {}, r"page\.ipynb: unknown parameter tsk; it has task, seeds, share"),
        ({}, {"tsk": ["model1"]}, "unknown parameter tsk"),
        ({}, {"task": []}, "task: no values"),
        ({}, {"seeds": [[0], [1], [0]]}, r"seeds: value \[0\] given twice"),
    ],
)
def test_mistakes_in_parameters(notebook, parameters, each, message):
    other = write_notebook(notebook.with_name("other.ipynb"), "tsk = task = seeds = 0")
    with pytest.raises(MinsegError, match=message):
        plan_executions([other, notebook], parameters, each)
    assert names(notebook.parent) == ["other.ipynb", "page.ipynb"]


def test_mistakes_in_notebooks(notebook, tmp_path):
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{}")
    column = write_notebook(tmp_path / "column.ipynb", "status = 1")
    namesake = write_notebook(tmp_path / "elsewhere" / "page.ipynb", "task = 1")
    for notebooks, parameters, folder, message in [
        ([], {}, None, "no notebook"),
        ([broken], {}, None, "broken.ipynb: not a notebook"),
        ([column], {"status": 2}, None, "parameter status: a column of outcomes.csv"),
        ([notebook, notebook], {}, None, "more than one notebook would be kept here"),
        ([notebook, namesake], {}, tmp_path / "out", "more than one notebook would be kept here"),
        ([notebook], {}, tmp_path, "more than one notebook would be kept here"),
    ]:
        with pytest.raises(MinsegError, match=message):
            plan_executions(notebooks, parameters, {}, folder)
    assert len(plan_executions([notebook, namesake], {}, {})) == 2
    with pytest.raises(MinsegError, match="0 found"):
        find_notebooks([str(tmp_path / "missing.ipynb")])


@pytest.mark.parametrize("value", ["model1", "", "3", 3, "[0]", [0], " x ", "a\nb", {"e": 5}, None])
def test_values_are_told_apart_in_the_table(value):
    text = format_value(value)
    assert parse_value(text) == value
    assert text
    assert "\n" not in text


def test_failures_do_not_stop_the_others_and_rows_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("MINSEG_SCHEDULER", "before")
    notebook = write_notebook(
        tmp_path / "page.ipynb",
        "mode = ''\nseed = 0",
        "import os\nprint(os.environ['MINSEG_SCHEDULER'], os.environ['MINSEG_PROGRESS'])",
        "if mode == 'die':\n    os._exit(3)\nassert mode != 'fail', 'two\\nlines'",
    )
    results = tmp_path / "results"
    executions = plan_executions([notebook], {}, {"mode": ["die", "fail"]}, results)
    outcomes = list(execute(executions, "tcp://cluster:8786"))
    assert os.environ["MINSEG_SCHEDULER"] == "before"
    assert "MINSEG_PROGRESS" not in os.environ
    errors = ["DeadKernelError: Kernel died", "cell 4: AssertionError: two lines"]
    assert [outcome.error for outcome in outcomes] == errors
    table = read_outcomes(results)
    assert list(table) == ["notebook", "mode", "status", "seconds", "error", "executed"]
    assert table[["notebook", "mode", "status", "error", "executed"]].values.tolist() == [
        ["page.ipynb", "die", "failed", errors[0], "page-mode=die.ipynb"],
        ["page.ipynb", "fail", "failed", errors[1], "page-mode=fail.ipynb"],
    ]
    assert all(0 < float(seconds) < 60 for seconds in table["seconds"])
    assert all((results / copy).is_file() for copy in table["executed"])
    assert "tcp://cluster:8786 off" in (results / "page-mode=fail.ipynb").read_text()

    # Mended and run again, the row is replaced; then another execution takes its copy from it.
    write_notebook(notebook, "mode = ''\nseed = 0")
    copy = executions[1].output
    again = [executions[1], Execution(notebook, {"mode": "fail", "seed": 1}, copy)]
    assert [outcome.error for outcome in execute(again)] == ["", ""]
    table = read_outcomes(results)
    assert table[["mode", "seed", "status", "executed"]].values.tolist() == [
        ["die", "", "failed", "page-mode=die.ipynb"],
        ["fail", "", "succeeded", ""],
        ["fail", "1", "succeeded", copy.name],
    ]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'notebook\n"'])
def test_a_foreign_table_stops_the_batch_before_it_starts(notebook, text):
    executions = plan_executions([notebook], {}, {})
    table = notebook.parent / "executed" / "outcomes.csv"
    table.parent.mkdir()
    table.write_text(text)
    with pytest.raises(MinsegError, match=r"outcomes\.csv: .*move"):
        list(execute(executions))
    assert table.read_text() == text
    assert not executions[0].output.exists()


def test_results_folder_that_cannot_be(notebook):
    (execution,) = plan_executions([notebook], {}, {}, notebook)
    with pytest.raises(MinsegError, match=r"page\.ipynb: cannot write here .*exist"):
        list(execute([execution]))
