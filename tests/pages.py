"""Pages of the book, run for a test."""

import json

import nbformat

from minseg.report.rerun import find_notebooks, rerun
from tests.study.test_execution import SMALL


def run_page(number, folder, **parameters):
    """Run a page into ``out.ipynb`` of a folder, and return what a reader sees as one text."""
    (notebook,) = find_notebooks([number])
    rerun(notebook, parameters, folder / "out.ipynb")
    return texts(folder / "out.ipynb")


def study_page(number, folder, dataset, **parameters):
    """Run a page on a dataset, with the runs of the folder and as little training as can be."""
    given = {"dataset": str(dataset.path), "runs": str(folder / "runs"), "settings": SMALL}
    return run_page(number, folder, **given | parameters)


def outputs(path):
    """All outputs of an executed notebook."""
    cells = nbformat.read(path, 4).cells
    return [output for cell in cells for output in cell.get("outputs", ())]


def texts(path):
    """All text a reader would see in an executed notebook."""
    return json.dumps(outputs(path), ensure_ascii=False)
