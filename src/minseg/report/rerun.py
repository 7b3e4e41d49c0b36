"""Running notebooks again with other parameters, once or over a grid of values, by papermill."""

import ast
import itertools
import json
import os
import re
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Any

import pandas as pd
import papermill
from ipykernel.kernelspec import write_kernel_spec
from papermill.exceptions import PapermillExecutionError
from pydantic import TypeAdapter, ValidationError

from minseg.atomic import write_text
from minseg.errors import MinsegError, summarise
from minseg.progress import progress
from minseg.study.study import SCHEDULER_VARIABLE, is_checkout, project_folder

NOTEBOOKS = (Path(__file__).parents[1] / "notebooks").resolve()
"""The study's notebooks: those of the checkout that this package is in, or a copy inside it."""

OUTCOMES = "outcomes.csv"
"""Table beside the executed copies: one row an execution of the latest batch."""

RESULT_COLUMNS = ("status", "seconds", "error", "executed")
"""Columns of the table of outcomes that stand after the notebook and its parameters."""

KERNEL = "python3"
"""Name of the kernel, as in the notebooks."""


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
    """Find notebooks by path, or by the beginning of their name (``02``); all without names."""
    own = project_folder() / "notebooks"
    folder = own if is_checkout(own.parent) else NOTEBOOKS
    known = sorted(folder.glob("[0-9]*.ipynb"))
    if not names:
        return known
    found = []
    for name in names:
        path = Path(name)
        matches = [path] if path.is_file() else [k for k in known if k.name.startswith(name)]
        if len(matches) != 1:
            raise MinsegError(
                f"notebook {name!r}: {len(matches)} found; known are "
                f"{', '.join(k.stem for k in known)}"
            )
        found += matches
    return found


def plan_executions(
    notebooks: Sequence[Path],
    parameters: Mapping[str, str],
    each: Mapping[str, str],
    folder: Path | None = None,
) -> list[Execution]:
    """List what to execute, after checking all that can be checked beforehand.

    Values are as on a command line: text where the notebook declares text, else a Python literal.
    All executions share the parameters, and every combination of the values of `each`, separated
    by commas or a Python list, is executed. Copies are named by these values and lie in the folder,
    by default ``executed`` beside a notebook, or in the project for those of the package.
    """
    if not notebooks:
        raise MinsegError("no notebook to execute here; name one by its path")
    problems, executions = _place_problems(notebooks, folder), []
    for notebook in notebooks:
        try:
            declared = _declared(notebook, [*parameters, *each])
            shared = {name: declared[name].read(text) for name, text in parameters.items()}
            varied = {name: declared[name].read_several(text) for name, text in each.items()}
        except MinsegError as error:
            problems.append(str(error))
            continue
        taken: set[str] = set()
        for values in itertools.product(*varied.values()):
            chosen = dict(zip(varied, values, strict=True))
            name = notebook.stem + _name_of_values(chosen)
            while name.lower() in taken:  # capitals do not tell files apart everywhere
                name += "_"
            taken.add(name.lower())
            output = _results_folder(notebook, folder) / f"{name}.ipynb"
            if _is_foreign(output):
                problems.append(
                    f"{output}: a notebook that is no executed copy lies here; move it away, or "
                    "give another --output"
                )
            executions.append(Execution(notebook, {**shared, **chosen}, output))
    if problems:
        raise MinsegError(summarise(problems))
    return executions


def execute(executions: Sequence[Execution], scheduler: str | None = None) -> Iterator[Outcome]:
    """Execute notebooks one after another; one that fails does not stop the others.

    The batch's table of outcomes, beside the executed copies, is written anew after each, so that
    an interrupted batch leaves what is done. The address of a Dask scheduler reaches the notebooks
    as ``$MINSEG_SCHEDULER``.
    """
    done: list[Outcome] = []
    folders = dict.fromkeys(execution.output.parent for execution in executions)
    for folder in folders:
        _require_outcomes_folder(folder)
    for folder in folders:
        _write_outcomes(folder, [])
    for execution in progress(executions, "executing notebooks"):
        start = time.perf_counter()
        error = _failure(execution, scheduler)
        done.append(Outcome(execution, time.perf_counter() - start, error))
        _write_outcomes(execution.output.parent, done)
        yield done[-1]


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


@dataclass(frozen=True)
class _Declared:
    """A parameter as its notebook declares it."""

    notebook: str
    name: str
    annotation: str
    default: str

    @property
    def kind(self) -> Any:
        """The type; anything where none is declared, or one that only the notebook knows."""
        try:
            kind = eval(self.annotation)  # what the notebook itself would execute next
        except (NameError, SyntaxError, TypeError, AttributeError):
            return object
        return kind if isinstance(kind, type | GenericAlias | UnionType) else object

    def read(self, text: str) -> object:
        """Read a value: a Python literal, or text where text is declared or it is no literal."""
        value = parse_value(text)
        if self.kind is str and not isinstance(value, str):
            value = text  # 2021 may be the name of a folder
        return _require(value, self)

    def read_several(self, text: str) -> list[object]:
        """Read ``model1,model2`` or a Python list; ``[0],[1]`` are two lists."""
        whole = parse_value(text)
        if isinstance(whole, list) or (isinstance(whole, tuple) and self.kind is not str):
            values = [_require(value, self) for value in whole]
        elif not isinstance(whole, str | tuple):
            values = [self.read(text)]
        else:
            source = whole if isinstance(whole, str) else text
            parts = [part.strip() for part in source.split(",") if source]
            if not all(parts) or source.startswith(("[", "(", "{")):
                raise MinsegError(
                    f"rerun: --each {self.name} {text!r}: separate values by commas, or write a "
                    "Python list with text in quotes, e.g. \"['dam,excavation', 'model1']\""
                )
            values = [self.read(part) for part in parts]
        texts = [format_value(value) for value in values]
        twice = [value for value in dict.fromkeys(texts) if texts.count(value) > 1]
        if not values:
            raise MinsegError(f"{self.name}: no values to go through; give some, e.g. 0,1")
        if twice:
            raise MinsegError(f"{self.name}: value {', '.join(twice)} given twice; give each once")
        return values


def _require(value: object, declared: _Declared) -> object:
    """Return a value of a parameter's declared type, or refuse it."""
    try:
        TypeAdapter(declared.kind).validate_python(value, strict=declared.kind is not object)
    except ValidationError:
        raise MinsegError(
            f"{declared.notebook}: parameter {declared.name} is {declared.annotation}, not "
            f"{value!r}; write it as in Python, text in quotes (its default is {declared.default})"
        ) from None
    return value


def _place_problems(notebooks: Sequence[Path], folder: Path | None) -> list[str]:
    """Name notebooks whose executed copy would take the place of another, or of a notebook."""
    sources = [notebook.resolve() for notebook in notebooks]
    copies = [_results_folder(n, folder).resolve() / n.name for n in notebooks]
    return [
        f"{copy}: more than one notebook would be kept here; give each once, or another --output"
        for copy in dict.fromkeys(copies)
        if (copies + sources).count(copy) > 1
    ]


def _declared(notebook: Path, names: Iterable[str]) -> dict[str, _Declared]:
    """Return the parameters of a notebook; refuse names that it does not have."""
    try:
        known = papermill.inspect_notebook(_literally(notebook))
    except Exception as error:  # nbformat, jsonschema and papermill each have their own
        raise MinsegError(
            f"{notebook}: not a notebook that papermill can read ({_one_line(error)})"
        ) from None
    unknown = ", ".join(name for name in names if name not in known)
    if unknown:
        has = ", ".join(known) or "none"
        raise MinsegError(f"{notebook.name}: unknown parameter {unknown}; it has {has}")
    reserved = ", ".join(sorted({"notebook", *RESULT_COLUMNS} & {*names}))
    if reserved:
        raise MinsegError(f"parameter {reserved}: a column of {OUTCOMES}; rename it")
    return {
        name: _Declared(notebook.name, name, one["inferred_type_name"], one["default"])
        for name, one in known.items()
    }


def _is_foreign(path: Path) -> bool:
    """Tell whether a notebook that papermill did not write lies in the place of a copy."""
    try:
        return "papermill" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    except (OSError, ValueError, LookupError, TypeError):  # none, or half a copy
        return False


def _literally(path: Path) -> str:
    """Return a path as papermill takes it, which fills in what stands in braces."""
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")


def _results_folder(notebook: Path, folder: Path | None) -> Path:
    """Return where the executed copies of a notebook go."""
    here = project_folder()
    from_elsewhere = notebook.parent == NOTEBOOKS and here / "notebooks" != NOTEBOOKS
    return folder or (here if from_elsewhere else notebook.parent) / "executed"


def _name_of_values(varied: Mapping[str, object]) -> str:
    """Return ``-task=model1``, safe in the name of a file and short enough for one."""
    pairs = (f"-{name}={format_value(value)}" for name, value in varied.items())
    safe = (re.sub(r"[^\w.=+-]+", "_", pair, flags=re.ASCII) for pair in pairs)
    return "".join(pair.replace("=_", "=").rstrip("_") for pair in safe)[:120]


def _failure(execution: Execution, scheduler: str | None) -> str:
    """Execute a notebook and return why it failed, in one line; empty if it did not."""
    bar = {"desc": execution.output.stem, "leave": False} if sys.stderr.isatty() else False
    changes = {"MINSEG_PROGRESS": "off"}  # keeps progress bars out of the executed copy
    if scheduler:
        changes[SCHEDULER_VARIABLE] = scheduler
    try:
        execution.output.parent.mkdir(parents=True, exist_ok=True)
        execution.output.unlink(missing_ok=True)  # what is there afterwards is of this execution
        with _environment(changes), _kernel_of_this_python():
            _run_notebook(execution, bar)
    except PapermillExecutionError as error:
        return _one_line(f"cell {error.exec_count}: {error.ename}: {error.evalue}")
    except Exception as error:  # a kernel that dies or does not start, a full disk
        return _one_line(f"{type(error).__name__}: {error}")
    return ""


def _run_notebook(execution: Execution, bar: bool | dict[str, Any]) -> None:
    """Run a notebook; once more where its kernel did not start.

    A kernel is told its ports before it takes them, and another program may be quicker.
    """
    for is_last in (False, True):
        try:
            papermill.execute_notebook(
                _literally(execution.notebook),
                _literally(execution.output),
                dict(execution.parameters),
                kernel_name=KERNEL,
                progress_bar=bar,
                start_timeout=3600,  # a busy machine starts a kernel slowly
                extra_arguments=["--log-level=CRITICAL"],  # no tracebacks of a stopped kernel
            )
            return
        except RuntimeError as error:
            if is_last or "before replying" not in str(error):
                raise


@contextmanager
def _kernel_of_this_python() -> Iterator[None]:
    """Put the kernel of this very Python before those that the machine lists under its name."""
    with tempfile.TemporaryDirectory(prefix="minseg-") as folder:
        write_kernel_spec(Path(folder) / "kernels" / KERNEL)
        places = filter(None, (folder, os.environ.get("JUPYTER_PATH")))
        with _environment({"JUPYTER_PATH": os.pathsep.join(places)}):
            yield


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


def _require_outcomes_folder(folder: Path) -> None:
    """Make a folder for a table of outcomes; refuse to write over another table."""
    path = folder / OUTCOMES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        header = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    except OSError as error:
        raise MinsegError(
            f"{folder}: cannot write here ({error.strerror or error}); choose another folder"
        ) from None
    columns = (header or "").partition("\n")[0].split(",")
    if header is not None and not {"notebook", *RESULT_COLUMNS} <= {*columns}:
        raise MinsegError(f"{path}: not a table of outcomes; move it away")


def _write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes of those executions whose copies go to a folder."""
    rows = [
        {
            "notebook": outcome.execution.notebook.name,
            **{name: format_value(value) for name, value in outcome.execution.parameters.items()},
            "status": "failed" if outcome.error else "succeeded",
            "seconds": f"{outcome.seconds:.1f}",
            "error": outcome.error,
            "executed": outcome.execution.output.name * outcome.execution.output.is_file(),
        }
        for outcome in outcomes
        if outcome.execution.output.parent == folder
    ]
    names = dict.fromkeys(name for row in rows for name in row if name not in RESULT_COLUMNS)
    columns = dict.fromkeys(["notebook", *names, *RESULT_COLUMNS])
    write_text(folder / OUTCOMES, pd.DataFrame(rows, columns=list(columns)).to_csv(index=False))
