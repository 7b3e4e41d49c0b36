"""`minseg rerun`: execute the study's notebooks with other parameters."""

from pathlib import Path
from typing import Annotated

import typer

from minseg.errors import MinsegError


def rerun(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NOTEBOOK]... [-p NAME VALUE]... [--each NAME VALUES]...",
            help="Paths or numbers (02); -p sets a parameter of theirs, as papermill does; "
            "--each executes them once for each of its values, e.g. model1,model2 or [[0],[1]]; "
            "several --each give all combinations.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the copies and of outcomes.csv (this batch's); executed/."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler for the notebooks' runs.")
    ] = None,
) -> None:
    """Execute notebooks with other parameters, all of them by default; exit 1 if one fails."""
    from minseg.report.rerun import execute, find_notebooks, plan_executions

    names, parameters, each = notebooks_and_parameters(arguments or [])
    executions = plan_executions(find_notebooks(names), parameters, each, output)
    outcomes, interrupted = [], False
    try:
        for outcome in execute(executions, scheduler):
            outcomes.append(outcome)
    except KeyboardInterrupt:
        interrupted = True
    failed = [outcome for outcome in outcomes if outcome.error]
    folders = dict.fromkeys(str(execution.output.parent) for execution in executions)
    print(
        f"{'interrupted: ' if interrupted else ''}{len(outcomes) - len(failed)} of "
        f"{len(executions)} executions succeeded; outcomes.csv is in {', '.join(folders)}"
    )
    for outcome in failed:
        print(f"failed: {outcome.execution.output}: {outcome.error}")
    if interrupted or failed:
        raise typer.Exit(130 if interrupted else 1)


def notebooks_and_parameters(
    arguments: list[str],
) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Tell notebooks from ``-p`` and ``--each`` (typer has no repeated option of two values)."""
    names: list[str] = []
    texts: dict[str, dict[str, str]] = {"-p": {}, "--each": {}}
    waiting = iter(arguments)
    for argument in waiting:
        if argument not in texts:
            names.append(argument)
            continue
        name, value = next(waiting, None), next(waiting, None)
        if name is None or value is None:
            example = "-p profile demo" if argument == "-p" else "--each task model1,model2"
            raise MinsegError(f"rerun: {argument} takes a name and a value, e.g. {example}")
        if name in texts["-p"] or name in texts["--each"]:
            raise MinsegError(f"rerun: parameter {name} is given twice; give it once")
        texts[argument][name] = value
    return names, texts["-p"], texts["--each"]
