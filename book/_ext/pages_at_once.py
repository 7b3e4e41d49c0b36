"""Sphinx extension: pages are read, and so executed, on all cores, also by `jupyter-book build`."""

import os

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Ask for as many processes as there are cores."""
    app.connect("config-inited", _allow)
    app.connect("env-before-read-docs", _deal)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _allow(app: Sphinx, _: object) -> None:
    app.parallel = max(app.parallel, os.cpu_count() or 1)
    # A page that trains with the threads of all cores beside the others takes ten times as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # These say nothing of themselves, at which Sphinx falls back to one process. One numbers the
    # sections, after the reading and in one process; the other is about LaTeX alone.
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        app.extensions[name].parallel_read_safe = True


def _deal(app: Sphinx, _: object, pages: list[str]) -> None:
    """Deal the pages out in turn: neighbours, which take about as long, go to different hands."""
    pages[:] = [page for first in range(app.parallel) for page in pages[first :: app.parallel]]
