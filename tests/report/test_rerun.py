import os
import sys

import nbformat
import pandas as pd
import pytest

from minseg import MinsegError
from minseg.report import rerun
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
    each = {"task": ",".join(tasks), "seeds": str(seeds)}
    executions = rerun.plan_executions([notebook], {"share": "2"}, each)
    assert [dict(execution.parameters) for execution in executions] == [
        {"share": 2, "task": task, "seeds": seed} for task in tasks for seed in seeds
    ]
    assert executions[-1].output == notebook.parent / "executed/page-task=model2-seeds=0_1.ipynb"
    (single,) = rerun.plan_executions([notebook], {"task": "model4"}, {}, notebook.parent / "out")
    assert single.output == notebook.parent / "out" / "page.ipynb"


def test_names_of_copies_are_safe_and_unique(notebook):
    tasks = ["../up", ".._up", ".._UP", "a b\n", "a:b*?", "é", "ü", {"k" * 300: 1}, {"k" * 300: 2}]
    executions = rerun.plan_executions([notebook], {}, {"task": str(tasks)})
    copies = [execution.output.name for execution in executions]
    assert len({copy.lower() for copy in copies}) == len(tasks)
    assert all(len(copy) < 200 and not set(copy) & set('/\\:*?"<>|{} \n') for copy in copies)
    assert {execution.output.parent.name for execution in executions} == {"executed"}


@pytest.mark.parametrize(
    ("parameters", "each", "message"),
    [
        ({"tsk": "model1"}, {}, r"page\.ipynb: unknown parameter tsk; it has task, seeds, share"),
        ({}, {"tsk": "model1"}, "unknown parameter tsk"),
        ({}, {"task": "[]"}, "task: no values"),
        ({}, {"seeds": "[[0],[1],[0]]"}, r"seeds: value \[0\] given twice"),
        ({}, {"task": "[model1"}, "task .*separate values by commas"),
        ({}, {"task": "model1,,model2"}, "task .*separate values by commas"),
    ],
)
def test_mistakes_in_parameters(notebook, parameters, each, message):
    other = write_notebook(notebook.with_name("other.ipynb"), "tsk = task = seeds = 0")
    with pytest.raises(MinsegError, match=message):
        rerun.plan_executions([other, notebook], parameters, each)
    assert names(notebook.parent) == ["other.ipynb", "page.ipynb"]


def test_mistakes_in_notebooks(notebook, tmp_path):
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{}")
    column = write_notebook(tmp_path / "column.ipynb", "status = 1")
    namesake = write_notebook(tmp_path / "elsewhere" / "page.ipynb", "task = 1")
    for notebooks, parameters, folder, message in [
        ([], {}, None, "no notebook"),
        ([broken], {}, None, "broken.ipynb: not a notebook"),
        ([column], {"status": "2"}, None, "parameter status: a column of outcomes.csv"),
        ([notebook, notebook], {}, None, "more than one notebook would be kept here"),
        ([notebook, namesake], {}, tmp_path / "out", "more than one notebook would be kept here"),
        ([notebook], {}, tmp_path, "more than one notebook would be kept here"),
    ]:
        with pytest.raises(MinsegError, match=message):
            rerun.plan_executions(notebooks, parameters, {}, folder)
    with pytest.raises(MinsegError, match="no executed copy lies here; move it away, or give"):
        rerun.plan_executions([notebook], {}, {}, namesake.parent)
    assert len(rerun.plan_executions([notebook, namesake], {}, {})) == 2
    with pytest.raises(MinsegError, match="0 found"):
        rerun.find_notebooks([str(tmp_path / "missing.ipynb")])


TYPED = """dataset: str = "synthetic"
seeds: list[int] = [0]
mines: list[str] = []
share: float = 0.5
bands: dict[str, str] = {}
own: Odd = None
free = 1"""


@pytest.mark.parametrize(
    ("name", "text", "value", "values"),
    [
        ("dataset", "2021", "2021", ["2021"]),
        ("dataset", "1e3", "1e3", ["1e3"]),
        ("dataset", "'[0]'", "[0]", None),
        ("dataset", "None", "None", ["None"]),
        ("dataset", "007, 7", "007, 7", ["007", "7"]),
        ("dataset", "['a,b', '2021']", "['a,b', '2021']", ["a,b", "2021"]),
        ("seeds", "[0, 1]", [0, 1], None),
        ("seeds", "[[0],[1]]", None, [[0], [1]]),
        ("seeds", "[0, 1],[2]", None, [[0, 1], [2]]),
        ("mines", "['9']", ["9"], None),
        ("share", "1", 1, [1]),
        ("bands", "{'model1': 'M'}", {"model1": "M"}, [{"model1": "M"}]),
        ("own", "[9]", [9], [9]),
        ("free", "RGB, R+N", "RGB, R+N", ["RGB", "R+N"]),
        ("free", "model1,3", "model1,3", ["model1", 3]),
        ("free", "0,1", (0, 1), [0, 1]),
        ("free", "['a,b', 'model1']", ["a,b", "model1"], ["a,b", "model1"]),
    ],
)
def test_a_value_is_read_as_its_notebook_declares(tmp_path, name, text, value, values):
    notebook = write_notebook(tmp_path / "page.ipynb", TYPED)
    if value is not None:
        (execution,) = rerun.plan_executions([notebook], {name: text}, {})
        assert execution.parameters == {name: value}
    if values is not None:
        executions = rerun.plan_executions([notebook], {}, {name: text})
        assert [execution.parameters[name] for execution in executions] == values


@pytest.mark.parametrize(
    ("name", "text"),
    [("mines", "[9]"), ("mines", "mine"), ("seeds", "0"), ("seeds", "[True]"), ("seeds", "0, 1"),
     ("share", "half"), ("bands", "['RGB']"), ("bands", "{'model1': 1}")],
)  # fmt: skip
def test_a_value_that_is_not_what_the_notebook_declares_is_refused(tmp_path, name, text):
    notebook = write_notebook(tmp_path / "page.ipynb", TYPED)
    for given in (({name: text}, {}), ({}, {"seeds": "0,1"})):
        with pytest.raises(
            MinsegError, match=r"parameter \w+ is .*, not .*; write it as in Python"
        ):
            rerun.plan_executions([notebook], *given)
    assert names(tmp_path) == ["page.ipynb"]


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_kernel_that_does_not_start_is_started_once_more(tmp_path, monkeypatch, refusals):
    left = ["Kernel died before replying to kernel_info"] * refusals
    real = rerun.papermill.execute_notebook

    def execute(*given, **options):
        if left:
            raise RuntimeError(left.pop())
        return real(*given, **options)

    monkeypatch.setattr(rerun.papermill, "execute_notebook", execute)
    notebook = write_notebook(tmp_path / "page.ipynb", "seed = 0", "seed")
    executions = rerun.plan_executions([notebook], {}, {})
    (outcome,) = rerun.execute(executions)
    assert ("before replying" in outcome.error) == (refusals == 2)


def test_failures_do_not_stop_the_others_and_a_batch_has_its_table(tmp_path, monkeypatch):
    monkeypatch.setenv("MINSEG_SCHEDULER", "before")
    notebook = write_notebook(
        tmp_path / "page.ipynb",
        "mode = ''\nseed = 0",
        "import os\nprint(os.environ['MINSEG_SCHEDULER'], os.environ['MINSEG_PROGRESS'])",
        "if mode == 'die':\n    os._exit(3)\nassert mode != 'fail', 'two\\nlines'",
    )
    results = tmp_path / "results"
    executions = rerun.plan_executions([notebook], {}, {"mode": "die,fail"}, results)
    outcomes = list(rerun.execute(executions, "tcp://cluster:8786"))
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

    # The next batch has a table of its own; a copy of an earlier one is none of its outcomes.
    notebook.write_text("{")
    (outcome,) = rerun.execute([executions[1]])
    assert outcome.error
    assert read_outcomes(results)[["mode", "status", "executed"]].values.tolist() == [
        ["fail", "failed", ""]
    ]
    assert not executions[1].output.exists()


def test_the_kernel_is_this_python_and_braces_are_plain(tmp_path, monkeypatch):
    """Whatever the machine lists as python3, and whatever papermill would fill in."""
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["/bin/false"], "display_name": "other", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook = write_notebook(
        tmp_path / "{task}" / "page.ipynb", "task = 0", "import sys\nprint(sys.executable)"
    )
    (execution,) = rerun.plan_executions([notebook], {"task": "5"}, {}, tmp_path / "{task}{x}")
    (outcome,) = rerun.execute([execution])
    assert outcome.error == ""
    assert names(tmp_path / "{task}{x}") == ["outcomes.csv", "page.ipynb"]
    assert sys.executable in execution.output.read_text()
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_notebooks_are_those_of_the_study_wherever_it_is_asked_for(tmp_path, monkeypatch):
    """Another project has notebooks too; a checkout of minseg has its own."""
    for folder, project in ((tmp_path / "thesis", "thesis"), (tmp_path / "clone", "minseg")):
        write_notebook(folder / "notebooks" / "01_mine.ipynb", "x = 1")
        (folder / "pyproject.toml").write_text(f'[project]\nname = "{project}"\n')
    monkeypatch.chdir(tmp_path / "thesis" / "notebooks")
    (found,) = rerun.find_notebooks(["01"])
    assert found.name == "01_dataset.ipynb"
    (execution,) = rerun.plan_executions([found], {}, {})
    assert execution.output == tmp_path / "thesis" / "notebooks" / "executed" / found.name
    monkeypatch.chdir(tmp_path / "clone")
    (found,) = rerun.find_notebooks(["01"])
    assert found == tmp_path / "clone" / "notebooks" / "01_mine.ipynb"
    assert rerun.plan_executions([found], {}, {})[0].output.parent == found.parent / "executed"


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'notebook\n"'])
def test_a_foreign_table_stops_the_batch_before_it_starts(notebook, text):
    table = notebook.parent / "executed" / "outcomes.csv"
    table.parent.mkdir()
    table.write_text(text)
    other = write_notebook(notebook.parent / "other" / "page.ipynb", "task = 1")
    earlier = other.parent / "executed" / "outcomes.csv"
    earlier.parent.mkdir()
    earlier.write_text("notebook,status,seconds,error,executed\npage.ipynb,succeeded,1,,\n")
    executions = rerun.plan_executions([other, notebook], {}, {})
    with pytest.raises(MinsegError, match=r"outcomes\.csv: .*move"):
        list(rerun.execute(executions))
    assert table.read_text() == text
    assert len(read_outcomes(earlier.parent)) == 1  # nor are those of an earlier batch lost
    assert not any(execution.output.exists() for execution in executions)


def test_results_folder_that_cannot_be(notebook):
    (execution,) = rerun.plan_executions([notebook], {}, {}, notebook)
    with pytest.raises(MinsegError, match=r"page\.ipynb: cannot write here .*exist"):
        list(rerun.execute([execution]))
