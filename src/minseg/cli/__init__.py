"""The command line: the same functions, from a shell.

Each command imports what it needs when it runs, so that --help stays quick.
"""

import io
import shlex
import sys
import tempfile
import traceback
from textwrap import shorten

import typer

from minseg.atomic import is_about_the_disk
from minseg.cli import datasets, models, notebooks
from minseg.errors import MinsegError

FAULT = 70
"""Exit status of a fault of ours; that of a mistake in the input is 1."""

dataset_app = typer.Typer(help="Make and check dataset folders.", no_args_is_help=True)
dataset_app.command("synth")(datasets.synth)
dataset_app.command("import")(datasets.import_images)
dataset_app.command("fetch")(datasets.fetch)
dataset_app.command("recipe")(datasets.recipe)
dataset_app.command("check")(datasets.check)
dataset_app.command("split")(datasets.split)

runs_app = typer.Typer(help="Write runs to one file, and read them.", no_args_is_help=True)
runs_app.command("pack")(models.pack)
runs_app.command("unpack")(models.unpack)

app = typer.Typer(
    help="Mine segmentation in Sentinel images: the MineCam study, runnable by anyone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(dataset_app, name="dataset")
app.add_typer(runs_app, name="runs")
app.command("train")(models.train)
app.command("evaluate")(models.evaluate)
app.command("export")(models.export)
app.command("predict")(models.predict)
app.command("change")(models.change)
app.command("rerun", context_settings={"ignore_unknown_options": True})(notebooks.rerun)


def main() -> None:
    """Run the command line; what goes wrong is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where a terminal lacks a letter
    try:
        app()
    except MinsegError as error:
        _stop(str(error), 1)
    except OSError as error:
        if not is_about_the_disk(error):
            _stop(_fault(error), FAULT)
        place = f"{error.filename}: " if error.filename else ""
        _stop(f"{place}{error.strerror}; check its rights and the free space on its disk", 1)
    except Exception as error:
        _stop(_fault(error), FAULT)


def _stop(line: str, status: int) -> None:
    """Print why the program ends, and end it."""
    print(f"minseg: {' '.join(line.splitlines())}", file=sys.stderr)
    sys.exit(status)


def _fault(error: Exception) -> str:
    """Keep the traceback of a fault of ours in a file and say so."""
    reason = shorten(f"{type(error).__name__}: {error}", 200)
    report = "this is a fault of minseg, please report it at the project's issue tracker"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="minseg-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write(f"{shlex.join(sys.argv)}\n{traceback.format_exc()}")
    except OSError:  # no room even for this
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{reason} ({last.filename}, line {last.lineno}); {report}"
    return f"{reason}; {report} with {file.name}, which holds the details"
