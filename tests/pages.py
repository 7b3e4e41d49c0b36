"""Pages of the book, run for a test: here, in a moment, or as `minseg rerun` runs them."""

import base64
import json
import sys
from dataclasses import replace

import nbformat
import pytest
from IPython.core.displayhook import CapturingDisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill.engines import Engine, papermill_engines
from traitlets.config import Config

from minseg import MinsegError
from minseg.report import style
from minseg.report.rerun import execute, find_notebooks, format_value, plan_executions
from minseg.study.study import SCHEDULER_VARIABLE
from tests.conftest import SMALL
from tests.study.cluster import cluster_here


class Here(Engine):
    """What a kernel does with the cells of a page, without the seconds that its start takes."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, **_):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
            patch.setattr(sys, "excepthook", sys.excepthook)
            patch.setattr(style, "_page", {})  # nothing was said before
            config = Config({"HistoryManager": {"enabled": False}})
            shell = InteractiveShell.instance(config=config)
            try:
                for number, cell in enumerate(nb_man.nb.cells):
                    if cell.cell_type == "code" and not run_cell(shell, cell, number):
                        break
            finally:
                InteractiveShell.clear_instance()


def run_cell(shell, cell, number):
    """Run one cell and keep its outputs; whether it went well."""
    with shell.display_trap, capture_output() as seen:
        sys.displayhook = CapturingDisplayHook(shell, seen._outputs)
        result = shell.run_cell(cell.source)
    shown = [nbformat.v4.new_output("display_data", in_text(one.data)) for one in seen.outputs]
    error = result.error_before_exec or result.error_in_exec
    if error:
        about = {"ename": type(error).__name__, "evalue": str(error), "traceback": []}
        shown.append(nbformat.v4.new_output("error", **about))
    elif seen.stdout or seen.stderr:
        shown.append(nbformat.v4.new_output("stream", text=seen.stdout + seen.stderr))
    cell.outputs, cell.execution_count = shown, number
    return not error


def in_text(data):
    """Pictures in the letters that a notebook keeps them in."""
    return {
        kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for kind, value in data.items()
    }


def run_page(number, folder, **parameters):
    """Run a page into ``out.ipynb`` of a folder, and return what a reader sees as one text."""
    (notebook,) = find_notebooks([number])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(papermill_engines._engines, None, Here)
        patch.setenv(SCHEDULER_VARIABLE, cluster_here().scheduler_address)
        rerun(notebook, parameters, folder / "out.ipynb")
    return texts(folder / "out.ipynb")


def rerun(notebook, parameters, output):
    """Execute a notebook as the command does, and fail as it fails."""
    given = {name: format_value(value) for name, value in parameters.items()}
    (execution,) = plan_executions([notebook], given, {}, output.parent)
    (outcome,) = execute([replace(execution, output=output)])
    if outcome.error:
        raise MinsegError(outcome.error)


def study_page(number, folder, dataset, **parameters):
    """Run a page on a dataset, with the runs of the folder and as little training as can be."""
    given = {"dataset": str(dataset.path), "runs": str(folder / "runs"), "seeds": [0]}
    given["settings"] = SMALL
    return run_page(number, folder, **given | parameters)


def outputs(path):
    """All outputs of an executed notebook."""
    cells = nbformat.read(path, 4).cells
    return [output for cell in cells for output in cell.get("outputs", ())]


def texts(path):
    """All text a reader would see in an executed notebook."""
    return json.dumps(outputs(path), ensure_ascii=False)
