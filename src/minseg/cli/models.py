"""`minseg train` and `minseg evaluate`: make a model and score it."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minseg.cli.values import DatasetFolder, RunFolder, Seed, settings_of
from minseg.errors import require_word

if TYPE_CHECKING:
    from minseg.scoring.metrics import Scores


def train(
    folder: DatasetFolder,
    task: Annotated[str, typer.Option(help="model1 … model4, or class names.")],
    bands: Annotated[str, typer.Option(help="RGB, R+N, R+N+S, M, M+S, or band names.")] = "RGB",
    profile: Annotated[str, typer.Option(help="demo or paper.")] = "demo",
    seed: Seed = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of RunConfig, e.g. epochs=5.")
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Fit the per-pixel baseline instead.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Graphics cards that share the run.")] = 1,
    runs: Annotated[Path | None, typer.Option(help="Folder of the run store.")] = None,
) -> None:
    """Train a model, or find the run that is there; print its folder and test scores."""
    from minseg.data.labels import parse_task
    from minseg.study.study import open_study

    study = open_study(profile, folder, (seed,), runs)
    study.dataset.require(parse_task(task), ())  # a page answers a part of it, and tells
    config = study.config(task=task, bands=bands, **settings_of(settings or []))
    run = study.run(config.baseline() if baseline else config, devices)
    print(run.path)
    _print_scores(run.scores(), "test", "standard")


def evaluate(
    run_folder: RunFolder,
    folder: DatasetFolder,
    part: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    convention: Annotated[str, typer.Option(help="standard or paper.")] = "standard",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run's model on a part of a dataset."""
    from minseg.data.dataset import open_dataset
    from minseg.data.mines import PARTS
    from minseg.scoring.metrics import CONVENTIONS, scores

    require_word("part", part, PARTS)
    require_word("convention", convention, CONVENTIONS)
    from minseg.study import execution
    from minseg.study.runs import counts_array, open_run

    run = open_run(run_folder)
    table = execution.evaluate(run, open_dataset(folder), part)
    found = scores(counts_array(table, run.task), convention, run.task.target_names)
    _print_scores(found, part, convention, as_json)


def _print_scores(found: "Scores", part: str, convention: str, as_json: bool = False) -> None:
    """Print mean and per-class scores."""
    means = {
        "iou": found["iou"],
        "recall": found["recall"],
        "precision": found["precision"],
        "accuracy": found["accuracy"],
    }
    if as_json:
        finite = {k: None if math.isnan(v) else v for k, v in means.items()}  # JSON has no NaN
        per_class = json.loads(found["per_class"].to_json(orient="index"))
        print(
            json.dumps({"part": part, "convention": convention, **finite, "per_class": per_class})
        )
        return
    print(f"{part}, {convention}: " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
    print(found["per_class"].round(3).to_string())
