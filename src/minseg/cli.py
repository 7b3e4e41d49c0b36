"""The command line: the same functions, from a shell."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minseg.errors import MinsegError

if TYPE_CHECKING:  # each command imports what it needs, so that --help stays quick
    import pandas as pd

    from minseg.data.dataset import Dataset
    from minseg.learning.metrics import Scores
    from minseg.report.rerun import Execution, Outcome

app = typer.Typer(
    help="Mine segmentation in Sentinel images: the MineCam study, runnable by anyone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
dataset_app = typer.Typer(help="Make and check dataset folders.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")

DatasetFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Dataset folder.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit status 1."""
    try:
        app()
    except MinsegError as error:
        print(f"minseg: {error}", file=sys.stderr)
        sys.exit(1)


@dataset_app.command("synth")
def synth(
    folder: DatasetFolder,
    # An option of typer takes one value; the others of `--years 2019 2021` arrive here.
    more_years: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    mines: Annotated[int, typer.Option(help="Number of mines.")] = 100,
    years: Annotated[
        str, typer.Option(metavar="Y...", help="Years, separated by commas or spaces.")
    ] = "2019,2021",
    size: Annotated[int, typer.Option(help="Side of a scene, pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Start of all randomness.")] = 0,
) -> None:
    """Make the synthetic default dataset, or one like it."""
    from minseg.data.synthetic import write_synthetic

    chosen = _whole_numbers(",".join([years, *(more_years or [])]), "--years")
    dataset = write_synthetic(folder, mines, chosen, size, seed)
    print(f"{folder}: {len(dataset.mines)} synthetic mines, {len(dataset.scenes)} scenes")


@dataset_app.command("import")
def import_images(
    folder: DatasetFolder,
    images: Annotated[str, typer.Option(help="Pattern of images; * stands for the scene's key.")],
    masks: Annotated[str, typer.Option(help="Pattern of masks; * stands for the same key.")],
    table: Annotated[
        Path, typer.Option(help="CSV: first column the key; mine or site; year and more if known.")
    ],
    classes: Annotated[
        list[str], typer.Option(help='Mask value and class, e.g. 1="dam"; also =ignore.')
    ],
    bands: Annotated[
        str | None, typer.Option(help="Bands to import, e.g. B02,B03,B04; default: all named.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Reflectance of one digital number.")] = None,
    offset: Annotated[float | None, typer.Option(help="Reflectance at number zero.")] = None,
    nodata: Annotated[float | None, typer.Option(help="Number of missing pixels.")] = None,
    radar: Annotated[str | None, typer.Option(help="Pattern of radar images (VV, VH).")] = None,
    radar_unit: Annotated[str, typer.Option(help="db, power or amplitude.")] = "db",
    licence: Annotated[str, typer.Option(help="Recorded in the dataset.")] = "not stated",
    seed: Annotated[int, typer.Option(help="Seed of the split by mine.")] = 0,
) -> None:
    """Turn folders of images and masks into a dataset."""
    from minseg.data.bands import parse_bands
    from minseg.data.importing import ImageFolders, import_dataset

    folders = ImageFolders(
        images=images,
        masks=masks,
        classes=_class_mapping(classes),
        bands=parse_bands(bands) if bands else None,
        scale=scale,
        offset=offset,
        nodata=nodata,
        radar=radar,
        radar_unit=radar_unit,
    )
    dataset = import_dataset(folder, folders, table, licence=licence, split_seed=seed)
    _print_parts(dataset)


@dataset_app.command("fetch")
def fetch(
    folder: DatasetFolder,
    mines: Annotated[Path, typer.Option(metavar="CSV", help="Mine list; data/mines.csv is one.")],
    polygons: Annotated[Path, typer.Option(metavar="FILE", help="Polygons, any format of GDAL.")],
    years: Annotated[str, typer.Option(help="Years, e.g. 2016-2022 or 2016,2019.")],
    api: Annotated[
        str,
        typer.Option(help="planetary-computer, earth-search, copernicus, or a table, PATH.toml."),
    ] = "planetary-computer",
    layer: Annotated[str | None, typer.Option(help="Layer of the polygon file.")] = None,
    class_field: Annotated[str, typer.Option(help="Field with the class.")] = "class",
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Value of it and class, e.g. pit=excavation; * is any; also =ignore."),
    ] = None,
    year_field: Annotated[
        str | None, typer.Option(help="Field with the year polygons show; default: all years.")
    ] = None,
    mine_field: Annotated[
        str | None, typer.Option(help="Field with the mine; default: the nearest within 10 km.")
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(help="Item to take: MINE:YEAR=ITEM, or MINE:YEAR:radar=ITEM."),
    ] = None,
    pins: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Items to take: mine, year, item; --pin comes first."),
    ] = None,
    margin_m: Annotated[float, typer.Option(help="Ground shown round the polygons, m.")] = 1000.0,
    smallest_m: Annotated[float, typer.Option(help="Least side of a scene, m.")] = 5160.0,
    largest_m: Annotated[float, typer.Option(help="Most side of a scene, m.")] = 30_000.0,
    workers: Annotated[int, typer.Option(help="Scenes in work at once.")] = 4,
    licence: Annotated[str, typer.Option(help="Of the polygons; recorded.")] = "not stated",
    seed: Annotated[int, typer.Option(help="Seed of the split by mine.")] = 0,
) -> None:
    """Make a dataset from a mine list, polygons and a catalogue; again after a kill, it goes on."""
    from minseg.data.annotations import PolygonFields, read_annotations
    from minseg.data.boxes import BoxRule
    from minseg.data.fetch_choices import parse_pins, read_pins
    from minseg.data.fetch_plan import FetchRequest, read_mines
    from minseg.data.fetching import fetch_dataset
    from minseg.data.providers import provider_for

    fields = PolygonFields(
        class_field, _value_mapping(classes or []), year_field, mine_field, layer
    )
    chosen_years, provider, table = _year_range(years), provider_for(api), read_mines(mines)
    request = FetchRequest(
        table,
        read_annotations(polygons, table, fields),
        chosen_years,
        provider,
        BoxRule(margin_m, smallest_m, largest_m),
    )
    fetched = fetch_dataset(
        folder,
        request,
        pins=(read_pins(pins) if pins else {}) | parse_pins(pin or []),
        workers=workers,
        licence=licence,
        split_seed=seed,
    )
    for note in fetched.notes:
        print(f"note: {note}", file=sys.stderr)
    for failure in fetched.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if fetched.dataset:
        _print_parts(fetched.dataset)
    if fetched.failures:
        print(f"{len(fetched.failures)} failed; the same command tries again", file=sys.stderr)
        raise typer.Exit(1)


@dataset_app.command("recipe")
def recipe(
    name: Annotated[str, typer.Argument(help="jasansky, maus, tang or cheng.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="What was downloaded; without, where to get it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write; without, only tell what it gives."),
    ] = None,
    icmm: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Points of the ICMM data set: raw materials, mines."),
    ] = None,
    limit_km: Annotated[float, typer.Option(help="How far from an outline points count.")] = 10.0,
    count: Annotated[int | None, typer.Option(help="At most so many mines, at random.")] = None,
    year: Annotated[int | None, typer.Option(help="Year of the images, if files lack it.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option(help="Value and class, e.g. 'Open pit=excavation'.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of the outlines.")] = None,
) -> None:
    """Turn public outlines of mines into the inputs of fetch; tell first what they give."""
    from minseg.data.recipe_sources import source_lines, source_named

    source = source_named(name)
    if not files:
        print(*source_lines(source), sep="\n")
        return
    from minseg.data.icmm import read_icmm
    from minseg.data.recipe_outlines import area_recipe, tile_recipe
    from minseg.data.recipes import recipe_lines, write_recipe

    points = read_icmm(icmm) if icmm else None
    if source.has_scenes:
        if len(files) > 1 or year or classes:
            raise MinsegError(f"recipe {name}: takes one FILE, and neither --year nor --classes")
        made = tile_recipe(source, files[0], points, limit_km, layer=layer, count=count)
    else:
        if points is None:
            raise MinsegError(f"recipe {name}: needs listed mines to name its areas: give --icmm")
        mapping = _value_mapping(classes or [])
        made = area_recipe(
            source, files, points, limit_km, year=year, classes=mapping, layer=layer, count=count
        )
    print(*(write_recipe(made, output) if output else recipe_lines(made)), sep="\n")


@dataset_app.command("check")
def check(folder: DatasetFolder) -> None:
    """Name every problem of a dataset, one line each; exit status 1 if there is one."""
    from minseg.data.checking import check_dataset

    problems = check_dataset(folder)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{folder}: no problem found")


@dataset_app.command("split")
def split(
    folder: DatasetFolder,
    seed: Annotated[int, typer.Option(help="Seed of the split by mine.")] = 0,
) -> None:
    """Draw the 70:15:15 split by mine anew."""
    from minseg.data.dataset import open_dataset
    from minseg.data.writing import resplit

    _print_parts(resplit(open_dataset(folder), seed))


@app.command("train")
def train(
    folder: DatasetFolder,
    task: Annotated[str, typer.Option(help="model1 … model4, or class names.")],
    bands: Annotated[str, typer.Option(help="RGB, R+N, R+N+S, M, M+S, or band names.")] = "RGB",
    profile: Annotated[str, typer.Option(help="demo or paper.")] = "demo",
    seed: Annotated[int, typer.Option(help="Start of all randomness.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of RunConfig, e.g. epochs=5.")
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Fit the per-pixel baseline instead.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Graphics cards that share the run.")] = 1,
    runs: Annotated[Path | None, typer.Option(help="Folder of the run store.")] = None,
) -> None:
    """Train a model, or find the run that is there; print its folder and test scores."""
    from minseg.study.study import open_study

    study = open_study(profile, folder, (seed,), runs)
    config = study.config(task=task, bands=bands, **_settings(settings or []))
    run = study.run(config.baseline() if baseline else config, devices)
    print(run.path)
    _print_scores(run.scores(), "test", "standard")


@app.command("evaluate")
def evaluate(
    run_folder: RunFolder,
    folder: DatasetFolder,
    part: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    convention: Annotated[str, typer.Option(help="standard or paper.")] = "standard",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run's model on a part of a dataset."""
    from minseg.data.dataset import open_dataset
    from minseg.learning.metrics import scores
    from minseg.study import execution
    from minseg.study.runs import counts_array, open_run

    run = open_run(run_folder)
    table = execution.evaluate(run, open_dataset(folder), part)
    found = scores(counts_array(table, run.task), convention, run.task.target_names)
    _print_scores(found, part, convention, as_json)


@app.command("predict")
def predict(
    run_folder: RunFolder,
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
        str | None, typer.Option(help="Bands in the order of one file that does not name them.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Reflectance of one digital number.")] = None,
    offset: Annotated[float | None, typer.Option(help="Reflectance at number zero.")] = None,
    nodata: Annotated[float | None, typer.Option(help="Number of missing pixels.")] = None,
    radar_unit: Annotated[str, typer.Option(help="db, power or amplitude.")] = "db",
    radar_scale: Annotated[
        float | None, typer.Option(help="Decibels, power or amplitude of one digital number.")
    ] = None,
    gsd_m: Annotated[
        float | None,
        typer.Option(
            help="Side of the pixels, metres; by default those of images on one grid, else those "
            "of the finest optical image if they are 10 m within 20 %, else 10."
        ),
    ] = None,
) -> None:
    """Map the classes of an image to a Cloud-Optimized GeoTIFF; again after a kill, it goes on."""
    from minseg.data.bands import parse_bands
    from minseg.data.images import ImageReading
    from minseg.data.stack import ImageFile
    from minseg.maps.cleaning import Cleaning
    from minseg.maps.polygons import require_geopackage
    from minseg.maps.products import write_map, write_products
    from minseg.study.execution import open_segmenter
    from minseg.study.runs import open_run

    files = [ImageFile.parse(image) for image in images]
    how: dict[str, Any] = {
        "probabilities": probabilities,
        "cleaning": Cleaning(smooth, minimum_ha, adjacency),
        "reading": ImageReading(
            parse_bands(bands) if bands else None,
            scale,
            offset,
            nodata,
            radar_unit,
            radar_scale,
            gsd_m,
        ),
    }
    if polygons:  # before the model is loaded
        require_geopackage(polygons, output, probabilities, *(file.path for file in files))
    segmenter = open_segmenter(open_run(run_folder))
    if polygons is None:
        write_map(segmenter, files, output, **how)
        print(output)
        return
    found = write_products(segmenter, files, output, polygons, **how).polygons
    print(output, polygons, sep="\n")
    if found.empty:
        print(f"{polygons}: no polygon; the map is all background", file=sys.stderr)


@app.command("change")
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
    changes, areas = change.change(*maps), change.change_areas(*maps)
    change.write_change(changes, output)
    print(output)
    _print_change(areas)


@app.command("rerun", context_settings={"ignore_unknown_options": True})
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
        typer.Option(help="Folder of the executed copies and outcomes.csv; notebooks/executed."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler for the notebooks' runs.")
    ] = None,
) -> None:
    """Execute notebooks with other parameters, all of them by default; exit 1 if one fails."""
    from minseg.report.rerun import execute, find_notebooks, plan_executions

    names, parameters, each = _notebooks_and_parameters(arguments or [])
    executions = plan_executions(find_notebooks(names), parameters, each, output)
    outcomes, interrupted = [], False
    try:
        for outcome in execute(executions, scheduler):
            outcomes.append(outcome)
    except KeyboardInterrupt:
        interrupted = True
    _print_summary(executions, outcomes, interrupted)
    if interrupted or any(outcome.error for outcome in outcomes):
        raise typer.Exit(130 if interrupted else 1)


def _print_summary(
    executions: "list[Execution]", outcomes: "list[Outcome]", interrupted: bool
) -> None:
    """Print how many notebooks ran through, and one line for each that did not."""
    failed = [outcome for outcome in outcomes if outcome.error]
    folders = dict.fromkeys(str(execution.output.parent) for execution in executions)
    print(
        f"{'interrupted: ' if interrupted else ''}{len(outcomes) - len(failed)} of "
        f"{len(executions)} executions succeeded; outcomes.csv is in {', '.join(folders)}"
    )
    for outcome in failed:
        print(f"failed: {outcome.execution.output}: {outcome.error}")


def _notebooks_and_parameters(
    arguments: list[str],
) -> tuple[list[str], dict[str, object], dict[str, list[object]]]:
    """Tell notebooks from ``-p`` and ``--each`` (typer has no repeated option of two values)."""
    from minseg.report.rerun import parse_value

    names: list[str] = []
    parameters: dict[str, object] = {}
    each: dict[str, list[object]] = {}
    waiting = iter(arguments)
    for argument in waiting:
        if argument not in ("-p", "--each"):
            names.append(argument)
            continue
        name, value = next(waiting, None), next(waiting, None)
        if name is None or value is None:
            example = "-p profile demo" if argument == "-p" else "--each task model1,model2"
            raise MinsegError(f"rerun: {argument} takes a name and a value, e.g. {example}")
        if name in parameters or name in each:
            raise MinsegError(f"rerun: parameter {name} is given twice; give it once")
        if argument == "-p":
            parameters[name] = parse_value(value)
        else:
            each[name] = _several_values(name, value)
    return names, parameters, each


def _several_values(name: str, text: str) -> list[object]:
    """Read ``model1,model2`` or a Python list; ``[0],[1]`` are two lists."""
    from minseg.report.rerun import parse_value

    values = parse_value(text)
    if isinstance(values, list | tuple):
        return list(values)
    if not isinstance(values, str):
        return [values]
    parts = [part.strip() for part in values.split(",") if values]
    if not all(parts) or values.startswith(("[", "(", "{")):
        raise MinsegError(
            f"rerun: --each {name} {text!r}: separate values by commas, or write a Python list "
            "with text in quotes, e.g. \"['dam,excavation', 'model1']\""
        )
    return [parse_value(part) for part in parts]


def _print_change(areas: "pd.DataFrame") -> None:
    """Print the areas of `minseg.maps.change.change_areas` and what they rest on."""
    compared_ha, left_out_ha = areas[["compared_ha", "left_out_ha"]].iloc[0]
    classes = areas.drop(columns=["compared_ha", "left_out_ha"])
    print(classes.round(2).to_string())
    print(f"compared: {compared_ha:.2f} ha; without data in one of the years: {left_out_ha:.2f} ha")
    if not classes.to_numpy().any():
        print("neither map holds a class: the layer is empty")
    elif not classes[["gained_ha", "lost_ha"]].to_numpy().any():
        print("no change between the two maps")


def _whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read ``2019,2021``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise MinsegError(f"{option} {text!r}: give whole numbers separated by commas") from None


def _class_mapping(pairs: list[str]) -> dict[int, str]:
    """Read ``1=tailing storage facility``, several of them with commas between."""
    mapping = {}
    for pair in (part for given in pairs for part in given.split(",")):
        value, _, name = pair.partition("=")
        if not value.strip().isdigit() or not name:
            raise MinsegError(f'--classes {pair!r}: write value=class name, e.g. 1="dam"')
        mapping[int(value)] = name.strip().strip("\"'").lower()
    return mapping


def _value_mapping(pairs: list[str]) -> dict[str, str] | None:
    """Read ``pit=excavation``, several of them with commas between; None for nothing."""
    mapping = {}
    for pair in (part for given in pairs for part in given.split(",")):
        value, equals, name = pair.rpartition("=")
        if not equals or not value.strip() or not name.strip():
            raise MinsegError(f"--classes {pair!r}: write value=class name, e.g. pit=excavation")
        mapping[value.strip()] = name.strip().strip("\"'").lower()
    return mapping or None


def _year_range(text: str) -> tuple[int, ...]:
    """Read ``2016-2022``, ``2016,2019`` or a mix of both."""
    years: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise MinsegError(f"--years {text!r}: write years such as 2016-2022 or 2016,2019")
        if dash and int(last) < int(first):
            raise MinsegError(f"--years {text!r}: {last} comes before {first}; swap them")
        years.update(range(int(first), min(int(last or first), 9999) + 1))
    return tuple(sorted(years))


def _settings(pairs: list[str]) -> dict[str, str]:
    """Read ``epochs=5``."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise MinsegError(f"--set {pair!r}: write name=value, e.g. --set epochs=5")
        settings[name] = value
    return settings


def _print_parts(dataset: "Dataset") -> None:
    """Print how many mines and scenes each part has."""
    from minseg.data.mines import PARTS

    sizes = dataset.split["part"].value_counts()
    parts = ", ".join(
        f"{part} {sizes.get(part, 0)} mines ({len(dataset.scenes_of(part))} scenes)"
        for part in PARTS
    )
    print(f"{dataset.path}: {parts}")


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
