"""The command line: the same functions, from a shell.

Each command imports what it needs when it runs, so that --help stays quick.
"""

import sys

import typer

from minseg.cli import datasets, maps, models, notebooks
from minseg.errors import MinsegError

dataset_app = typer.Typer(help="Make and check dataset folders.", no_args_is_help=True)
dataset_app.command("synth")(datasets.synth)
dataset_app.command("import")(datasets.import_images)
dataset_app.command("fetch")(datasets.fetch)
dataset_app.command("recipe")(datasets.recipe)
dataset_app.command("check")(datasets.check)
dataset_app.command("split")(datasets.split)

app = typer.Typer(
    help="Mine segmentation in Sentinel images: the MineCam study, runnable by anyone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(dataset_app, name="dataset")
app.command("train")(models.train)
app.command("evaluate")(models.evaluate)
app.command("predict")(maps.predict)
app.command("change")(maps.change)
app.command("rerun", context_settings={"ignore_unknown_options": True})(notebooks.rerun)


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 1."""
    try:
        app()
    except MinsegError as error:
        print(f"minseg: {error}", file=sys.stderr)
        sys.exit(1)
