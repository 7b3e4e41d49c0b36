"""Running notebooks again with other parameters: papermill, with unknown parameters refused."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError

from minseg.errors import MinsegError
from minseg.study.study import project_folder


def find_notebooks(names: Sequence[str]) -> list[Path]:
    """Find notebooks by path, or by the beginning of their name (``02``) in ``notebooks/``.

    Parameters
    ----------
    names : sequence of str
        Empty for all of them.

    Returns
    -------
    list of Path

    Raises
    ------
    MinsegError
        If one is not found.
    """
    known = sorted((project_folder() / "notebooks").glob("[0-9]*.ipynb"))
    if not names:
        return known
    found = []
    for name in names:
        path = Path(name)
        matches = [path] if path.is_file() else [k for k in known if k.name.startswith(name)]
        if len(matches) != 1:
            raise MinsegError(
                f"notebook {name!r}: {len(matches)} found; known are "
                f"{', '.join(k.stem for k in known) or 'none (not in a checkout of minseg)'}"
            )
        found += matches
    return found


def rerun(notebook: Path, parameters: Mapping[str, object], output: Path) -> None:
    """Execute a notebook with parameters and keep the executed copy.

    Parameters
    ----------
    notebook : Path
    parameters : mapping of str to object
        Values in place of those of the notebook's ``parameters`` cell; paths are relative to
        the working directory.
    output : Path
        Where the executed copy goes; after a failing cell too, for a look.

    Raises
    ------
    MinsegError
        If a parameter is unknown (papermill alone only warns), or a cell fails.
    """
    known = papermill.inspect_notebook(str(notebook))
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise MinsegError(
            f"{notebook.name}: unknown parameter {', '.join(unknown)}; "
            f"it has {', '.join(known) or 'none'}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with _no_progress_in_logs():
        try:
            papermill.execute_notebook(
                str(notebook),
                str(output),
                dict(parameters),
                kernel_name="python3",
                progress_bar=sys.stderr.isatty(),
            )
        except PapermillExecutionError as error:
            raise MinsegError(
                f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}; "
                f"the executed copy is {output}"
            ) from None


@contextmanager
def _no_progress_in_logs() -> Iterator[None]:
    """Keep progress bars out of the executed copy."""
    before = os.environ.get("MINSEG_PROGRESS")
    os.environ["MINSEG_PROGRESS"] = "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINSEG_PROGRESS"]
        else:
            os.environ["MINSEG_PROGRESS"] = before
