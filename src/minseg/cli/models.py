"""`minseg train`, `evaluate`, `export`, `predict`, `change`, `runs`: make, use and keep models."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minseg.cli import values
from minseg.errors import MinsegError, require_word

if TYPE_CHECKING:
    from minseg.scoring.metrics import Scores


def train(
    folder: values.DatasetFolder,
    task: Annotated[
        str | None,
        typer.Option(help="model1 … model4, all, or class names: a,b or a+b; or in --settings."),
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="RGB (default), R+N, R+N+S, M, M+S, or band names.")
    ] = None,
    profile: Annotated[str, typer.Option(help="demo, laptop or paper.")] = "demo",
    seed: Annotated[int | None, typer.Option(help="Start of all randomness, 0 by default.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--settings", help="Settings in TOML, or a run's config.json; options win."),
    ] = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of RunConfig, e.g. epochs=5.")
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Fit the per-pixel baseline instead.")] = False,
    device: values.Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Graphics cards that share the run.")] = 1,
    runs: values.RunFolders = None,
) -> None:
    """Train a model, or find the run that is there; print its folder and test scores."""
    from minseg.data.labels import ALL, parse_task
    from minseg.progress import show_log
    from minseg.study.config import profile_config
    from minseg.study.study import open_study

    settings = values.settings_in(file) if file else {}
    settings |= values.settings_of(pairs or [])
    given = {"task": task, "bands": bands, "seed": seed}
    settings |= {name: value for name, value in given.items() if value is not None}
    if "task" not in settings:
        raise MinsegError("no task is named; give --task, e.g. --task model1")
    asked = profile_config(profile, **settings)
    study = open_study(profile, folder, (asked.seed,), runs)
    if parse_task(asked.task) != ALL:  # which is all that was looked for
        # A page answers a part of it, and tells.
        study.dataset.require(parse_task(asked.task), ())
    config = study.config(**settings)
    show_log()
    run = study.run(config.baseline() if baseline else config, devices, device)
    print(run.path)
    mines = run.counts_of("test")["mine"].nunique()
    _print_scores(run.scores(), "test", mines, "standard")


def evaluate(
    run_folder: values.RunFolder,
    folder: values.DatasetFolder,
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
    _print_scores(found, part, table["mine"].nunique(), convention, as_json)


def _print_scores(
    found: "Scores", part: str, num_mines: int, convention: str, as_json: bool = False
) -> None:
    """Print mean and per-class scores, and on how many mines: `train` may have taken a subset."""
    from minseg.scoring.metrics import METRICS

    means: dict[str, float] = {name: found[name] for name in METRICS}  # type: ignore[literal-required]
    if as_json:
        finite = {k: None if math.isnan(v) else v for k, v in means.items()}  # JSON has no NaN
        per_class = json.loads(found["per_class"].to_json(orient="index"))
        scored = {"part": part, "mines": num_mines, "convention": convention}
        print(json.dumps(scored | finite | {"per_class": per_class}))
        return
    told = ", ".join(f"{k} {v:.3f}" for k, v in means.items())
    print(f"{part}, {num_mines} mines, {convention}: {told}")
    print(found["per_class"].round(3).to_string())


def export(
    run_folder: values.RunFolder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder.")],
) -> None:
    """Write a run's network as ONNX, with a model card and STAC metadata, into a new folder."""
    from minseg.study.export import export_run
    from minseg.study.runs import open_run

    export_run(open_run(run_folder), folder)
    print(folder)


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a finished run, or the model.onnx of an exported one."
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Rasters with the run's bands, on any grids; BANDS=PATH, e.g. B02=blue.tif or "
            "VV,VH=s1.tif, for one that does not name its bands.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="GeoTIFF of classes to write.")],
    probabilities: Annotated[
        Path | None, typer.Option(help="GeoTIFF of class probabilities to write.")
    ] = None,
    polygons: Annotated[
        Path | None,
        typer.Option(help="GeoPackage to write: class, area in hectares, mean probability."),
    ] = None,
    smooth: Annotated[
        int, typer.Option(help="Majority smoothing of map and polygons: radius, pixels.")
    ] = 0,
    minimum_ha: Annotated[
        float, typer.Option(help="Objects and holes below this go to their largest neighbour.")
    ] = 0.0,
    adjacency: Annotated[
        bool,
        typer.Option(
            "--adjacency",
            help="Keep preparatory areas only next to excavation, dams only next to tailings.",
        ),
    ] = False,
    bands: Annotated[
        str | None,
        typer.Option(help="Bands in the order of one file that does not name them; - skips one."),
    ] = None,
    scale: values.Scale = None,
    offset: values.Offset = None,
    nodata: values.NoData = None,
    radar_unit: values.RadarUnit = "db",
    radar_scale: values.RadarScale = None,
    gsd_m: Annotated[
        float | None,
        typer.Option(
            help="Side of the pixels, metres; by default those of images on one grid, else those "
            "of the finest optical image if they are 10 m within 20 %, else 10."
        ),
    ] = None,
    device: values.Device = "auto",
    tile: Annotated[int, typer.Option(help="Side of what the network sees at once, pixels.")] = 512,
    batch_size: Annotated[
        int, typer.Option(help="Tiles at once: 1 for a processor, more fill a graphics card.")
    ] = 1,
) -> None:
    """Map the classes of an image to a Cloud-Optimized GeoTIFF; again after a kill, it goes on."""
    from minseg.data.bands import parse_file_bands
    from minseg.data.images import ImageReading
    from minseg.data.stack import ImageFile
    from minseg.learning.tiling import Tiling
    from minseg.maps.cleaning import Cleaning
    from minseg.maps.prediction import predict_raster
    from minseg.study.export import open_predictor

    files = [ImageFile.parse(image) for image in images]
    cleaning = Cleaning(smooth, minimum_ha, adjacency)
    listed = parse_file_bands(bands) if bands else None
    reading = ImageReading(listed, scale, offset, nodata, radar_unit, radar_scale, gsd_m)
    tiling = Tiling(tile, batch_size=batch_size)
    found = predict_raster(
        open_predictor(model, device),
        files,
        output,
        polygons=polygons,
        probabilities=probabilities,
        cleaning=cleaning,
        reading=reading,
        tiling=tiling,
        tell=lambda line: print(line, file=sys.stderr),
    )
    print(output, *filter(None, [polygons]), sep="\n")
    if found and found.polygons.empty:
        print(f"{polygons}: no polygon; the map is all background", file=sys.stderr)


def change(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.tif", help="Class map of one year.")],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER.tif", help="Class map of a later year, on its grid.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="GeoPackage to write.")],
) -> None:
    """Outline what each class gained, lost and kept between two years; print areas in hectares."""
    from minseg.maps import change
    from minseg.maps.class_map import read_class_map

    change.require_apart(before, after, output)
    maps = read_class_map(before), read_class_map(after)
    change.require_common_ground(*maps)
    changes, areas = change.change(*maps), change.change_areas(*maps)
    change.write_change(changes, output)
    print(output)
    compared_ha, left_out_ha = areas[["compared_ha", "left_out_ha"]].iloc[0]
    classes = areas.drop(columns=["compared_ha", "left_out_ha"])
    print(classes.round(2).to_string())
    print(f"compared: {compared_ha:.2f} ha; without data in one of the years: {left_out_ha:.2f} ha")
    if not classes.to_numpy().any():
        print("neither map holds a class: the layer is empty")
    elif not classes[["gained_ha", "lost_ha"]].to_numpy().any():
        print("no change between the two maps")


def pack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
    runs: values.RunFolders = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="RUN,...",
            help="Keys of the runs that keep weights and maps, all or none; by default those that "
            "the pages predict with.",
        ),
    ] = None,
) -> None:
    """Write all runs and searches of a run store to one file with checksums."""
    from minseg.study.pack import pack_runs
    from minseg.study.runs import RunStore
    from minseg.study.study import default_store
    from minseg.study.tables import predicting_runs

    store = RunStore(runs or default_store())
    if weights in (None, "all"):
        keys = predicting_runs(store, weights == "all")
    else:
        keys = [] if weights == "none" else str(weights).split(",")
    found = pack_runs(store, file, keys)
    print(
        f"{file}: {len(found.runs)} runs, {len(keys)} of them with weights; "
        f"{file.stat().st_size / 2**20:.1f} MiB"
    )


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File that `pack` wrote.")],
    runs: values.RunFolders = None,
) -> None:
    """Put the runs of a pack into a run store, after all of it was checked."""
    from minseg.study.pack import unpack_runs
    from minseg.study.runs import RunStore
    from minseg.study.study import default_store

    store = RunStore(runs or default_store())
    new, there = unpack_runs(file, store)
    print(f"{store.path}: {new} runs unpacked, {there} were there")
