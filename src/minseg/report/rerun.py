"""Running notebooks again with other parameters, once or over a grid of values, by papermill."""

import ast
import itertools
import os
import re
import sys
import textwrap
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import papermill
from papermill.exceptions import PapermillExecutionError

from minseg.atomic import hold, write_text
from minseg.errors import MinsegError, summarise
from minseg.progress import progress
from minseg.study.study import SCHEDULER_VARIABLE, project_folder

OUTCOMES = "outcomes.csv"
"""Table beside the executed copies: one row a notebook and parameters, the latest outcome."""

RESULT_COLUMNS = ("status", "seconds", "error", "executed")
"""Columns of the table of outcomes that stand after the notebook and its parameters."""


@dataclass(frozen=True)
class Execution:
    """One notebook to execute once."""

    notebook: Path
    parameters: Mapping[str, object]
    """Values in place of those of the notebook's ``parameters`` cell."""
    output: Path
    """Where the executed copy goes."""


@dataclass(frozen=True)
class Outcome:
    """What became of one execution."""

    execution: Execution
    seconds: float
    error: str
    """Why it failed, in one line; empty if it did not."""


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


def plan_executions(
    notebooks: Sequence[Path],
    parameters: Mapping[str, object],
    each: Mapping[str, Sequence[object]],
    folder: Path | None = None,
) -> list[Execution]:
    """List what to execute, after checking all that can be checked beforehand.

    Parameters
    ----------
    notebooks : sequence of Path
    parameters : mapping of str to object
        Values that all executions share; paths are relative to the working directory.
    each : mapping of str to sequence of object
        Values to go through: every notebook is executed for every combination.
    folder : Path, optional
        Folder of the executed copies; by default ``executed`` beside each notebook.

    Returns
    -------
    list of Execution
        The copies are named by the notebook and its values of `each`.

    Raises
    ------
    MinsegError
        If there is nothing to execute, a notebook cannot be read or lacks a parameter, a value is
        there twice, or a copy would take another notebook's place.
    """
    if not notebooks:
        raise MinsegError("no notebook to execute here; name one by its path")
    problems = _value_problems(each) + _place_problems(notebooks, folder)
    for notebook in notebooks:
        problems += _parameter_problems(notebook, [*parameters, *each])
    if problems:
        raise MinsegError(summarise(problems))
    executions: list[Execution] = []
    for notebook in notebooks:
        taken: set[str] = set()
        for values in itertools.product(*each.values()):
            varied = dict(zip(each, values, strict=True))
            name = notebook.stem + _name_of_values(varied)
            while name.lower() in taken:  # capitals do not tell files apart everywhere
                name += "_"
            taken.add(name.lower())
            output = _results_folder(notebook, folder) / f"{name}.ipynb"
            executions.append(Execution(notebook, {**parameters, **varied}, output))
    return executions


def execute(executions: Sequence[Execution], scheduler: str | None = None) -> Iterator[Outcome]:
    """Execute notebooks one after another; one that fails does not stop the others.

    The table of outcomes beside the executed copies is brought up to date after each, so that an
    interrupted batch leaves what is done.

    Parameters
    ----------
    executions : sequence of Execution
    scheduler : str, optional
        Address of a Dask scheduler, handed to the notebooks as ``$MINSEG_SCHEDULER``.

    Yields
    ------
    Outcome
        In the order of `executions`, as each is done.

    Raises
    ------
    MinsegError
        If the table of outcomes cannot be read or written.
    """
    for execution in progress(executions, "executing notebooks"):
        _update_outcomes(execution)
        start = time.perf_counter()
        error = _failure(execution, scheduler)
        outcome = Outcome(execution, time.perf_counter() - start, error)
        _update_outcomes(execution, outcome)
        yield outcome


def rerun(notebook: Path, parameters: Mapping[str, object], output: Path) -> None:
    """Execute one notebook with parameters and keep the executed copy.

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
    problems = _parameter_problems(notebook, parameters)
    if problems:
        raise MinsegError(summarise(problems))
    error = _failure(Execution(notebook, parameters, output))
    if error:
        raise MinsegError(f"{notebook.name}, {error}; the executed copy is {output}")


def parse_value(text: str) -> object:
    """Read a Python literal such as ``3``, ``[0, 1]`` or ``{"epochs": 5}``; else plain text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text


def format_value(value: object) -> str:
    """Write a value so that `parse_value` reads it again."""
    plain = isinstance(value, str) and value and value.isprintable()
    return str(value) if plain and parse_value(str(value)) == value else repr(value)


def _value_problems(each: Mapping[str, Sequence[object]]) -> list[str]:
    """Name parameters without a value, and values that are there twice."""
    problems = []
    for name, values in each.items():
        texts = [format_value(value) for value in values]
        if not texts:
            problems.append(f"{name}: no values to go through; give some, e.g. 0,1")
        twice = [text for text in dict.fromkeys(texts) if texts.count(text) > 1]
        if twice:
            problems.append(f"{name}: value {', '.join(twice)} given twice; give each once")
    return problems


def _place_problems(notebooks: Sequence[Path], folder: Path | None) -> list[str]:
    """Name notebooks whose executed copy would take the place of another, or of a notebook."""
    sources = [notebook.resolve() for notebook in notebooks]
    copies = [_results_folder(n, folder).resolve() / n.name for n in notebooks]
    return [
        f"{copy}: more than one notebook would be kept here; give each once, or another --output"
        for copy in dict.fromkeys(copies)
        if (copies + sources).count(copy) > 1
    ]


def _parameter_problems(notebook: Path, names: Collection[str]) -> list[str]:
    """Name what keeps parameters from a notebook."""
    try:
        known = papermill.inspect_notebook(str(notebook))
    except Exception as error:  # nbformat, jsonschema and papermill each have their own
        return [f"{notebook}: not a notebook that papermill can read ({_one_line(error)})"]
    unknown = ", ".join(name for name in names if name not in known)
    if unknown:
        has = ", ".join(known) or "none"
        return [f"{notebook.name}: unknown parameter {unknown}; it has {has}"]
    reserved = ", ".join(sorted({"notebook", *RESULT_COLUMNS} & {*names}))
    return [f"parameter {reserved}: a column of {OUTCOMES}; rename it"] if reserved else []


def _results_folder(notebook: Path, folder: Path | None) -> Path:
    """Return where the executed copies of a notebook go."""
    return folder or notebook.parent / "executed"


def _name_of_values(varied: Mapping[str, object]) -> str:
    """Return ``-task=model1``, safe in the name of a file and short enough for one."""
    pairs = (f"-{name}={format_value(value)}" for name, value in varied.items())
    safe = (re.sub(r"[^\w.=+-]+", "_", pair, flags=re.ASCII) for pair in pairs)
    return "".join(pair.replace("=_", "=").rstrip("_") for pair in safe)[:120]


def _failure(execution: Execution, scheduler: str | None = None) -> str:
    """Execute a notebook and return why it failed, in one line; empty if it did not."""
    execution.output.parent.mkdir(parents=True, exist_ok=True)
    bar = {"desc": execution.output.stem, "leave": False} if sys.stderr.isatty() else False
    changes = {"MINSEG_PROGRESS": "off"}  # keeps progress bars out of the executed copy
    if scheduler:
        changes[SCHEDULER_VARIABLE] = scheduler
    try:
        with _environment(changes):
            papermill.execute_notebook(
                str(execution.notebook),
                str(execution.output.resolve()),
                dict(execution.parameters),
                kernel_name="python3",
                progress_bar=bar,
                extra_arguments=["--log-level=CRITICAL"],  # no tracebacks of a stopped kernel
            )
    except PapermillExecutionError as error:
        return _one_line(f"cell {error.exec_count}: {error.ename}: {error.evalue}")
    except Exception as error:  # a kernel that dies or does not start, a full disk
        return _one_line(f"{type(error).__name__}: {error}")
    return ""


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which kernels inherit, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _one_line(message: object) -> str:
    """Put a message into one line of readable length."""
    return textwrap.shorten(str(message), 600, placeholder=" …")


def _update_outcomes(execution: Execution, outcome: Outcome | None = None) -> None:
    """Replace an execution's row in the table of outcomes; without an outcome, take it out.

    A row is taken out before its notebook starts, since the executed copy it names is about to
    be overwritten; for the same reason other rows that name this copy lose it.
    """
    path, copy = execution.output.parent / OUTCOMES, execution.output.name
    parameters = {name: format_value(value) for name, value in execution.parameters.items()}
    key = {"notebook": execution.notebook.name, **parameters}
    with _alone_in(path.parent):
        rows = [row for row in _read_outcomes(path) if _key(row) != key]
        rows = [row | {"executed": ""} if row["executed"] == copy else row for row in rows]
        if outcome:
            result = {
                "status": "failed" if outcome.error else "succeeded",
                "seconds": f"{outcome.seconds:.1f}",
                "error": outcome.error,
                "executed": copy,
            }
            rows.append(key | result)
        names = dict.fromkeys(name for row in rows for name in _key(row))
        columns = dict.fromkeys(["notebook", *names, *RESULT_COLUMNS])
        write_text(path, pd.DataFrame(rows, columns=list(columns)).to_csv(index=False))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make a folder and keep other batches from its table of outcomes."""
    try:
        with hold(folder / f".{OUTCOMES}.lock", f"{folder / OUTCOMES} is in use"):
            yield
    except OSError as error:
        reason = error.strerror or error
        raise MinsegError(
            f"{folder}: cannot write here ({reason}); choose another folder"
        ) from None


def _key(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row's notebook and the parameters it was given, which tell rows apart."""
    return {name: text for name, text in row.items() if text and name not in RESULT_COLUMNS}


def _read_outcomes(path: Path) -> list[dict[str, str]]:
    """Read the table of outcomes; no rows if there is none yet."""
    if not path.exists():
        return []
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # the errors of pandas are ValueErrors
        raise MinsegError(f"{path}: cannot be read ({_one_line(error)}); move it away") from None
    missing = [name for name in ("notebook", *RESULT_COLUMNS) if name not in table]
    if missing:
        raise MinsegError(f"{path}: no column {', '.join(missing)}; move this table away")
    return [{str(name): text for name, text in row.items()} for row in table.to_dict("records")]
