"""`minseg dataset …`: make, fetch, check and split dataset folders."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minseg.cli import values
from minseg.errors import MinsegError, require_word

if TYPE_CHECKING:
    from minseg.data.dataset import Dataset


def synth(
    folder: values.DatasetFolder,
    # An option of typer takes one value; the others of `--years 2019 2021` arrive here.
    more_years: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    mines: Annotated[int, typer.Option(help="Number of mines.")] = 260,
    years: Annotated[
        str, typer.Option(metavar="Y...", help="Years, separated by commas or spaces.")
    ] = "2019,2021",
    size: Annotated[int, typer.Option(help="Side of a scene, pixels.")] = 128,
    seed: values.Seed = 0,
) -> None:
    """Make the synthetic default dataset, or one like it."""
    from minseg.synthetic.dataset import write_synthetic

    chosen = values.year_range(",".join([years, *(more_years or [])]))
    dataset = write_synthetic(folder, mines, chosen, size, seed)
    print(f"{folder}: {len(dataset.mines)} synthetic mines, {len(dataset.scenes)} scenes")


def import_images(
    folder: values.DatasetFolder,
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
    scale: values.Scale = None,
    offset: values.Offset = None,
    nodata: values.NoData = None,
    radar: Annotated[str | None, typer.Option(help="Pattern of radar images (VV, VH).")] = None,
    radar_unit: values.RadarUnit = "db",
    radar_scale: values.RadarScale = None,
    licence: Annotated[str, typer.Option(help="Recorded in the dataset.")] = "not stated",
    seed: values.SplitSeed = 0,
) -> None:
    """Turn folders of images and masks into a dataset."""
    from minseg.data.bands import parse_file_bands
    from minseg.data.images import ImageReading
    from minseg.data.importing import ImageFolders, import_dataset

    mapping, listed = values.class_mapping(classes), parse_file_bands(bands) if bands else None
    reading = ImageReading(listed, scale, offset, nodata, radar_unit, radar_scale)
    folders = ImageFolders(images, masks, mapping, radar, reading)
    _print_parts(import_dataset(folder, folders, table, licence=licence, split_seed=seed))


def fetch(
    folder: values.DatasetFolder,
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
        str | None, typer.Option(help="Field with the mine's id; default: the nearest mine, 10 km.")
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
    no_radar: Annotated[bool, typer.Option("--no-radar", help="Sentinel-2 only.")] = False,
    licence: Annotated[str, typer.Option(help="Of the polygons; recorded.")] = "not stated",
    seed: values.SplitSeed = 0,
) -> None:
    """Make a dataset from a mine list, polygons and a catalogue; again after a kill, it goes on."""
    from dataclasses import replace

    from minseg.fetching.annotations import PolygonFields, read_annotations
    from minseg.fetching.choice import parse_pins, read_pins
    from minseg.fetching.dataset import fetch_dataset
    from minseg.fetching.plan import BoxRule, FetchRequest, plan_mines, read_mines
    from minseg.fetching.providers import provider_for

    fields = PolygonFields(
        class_field, values.value_mapping(classes or []), year_field, mine_field, layer
    )
    chosen_years, provider, table = values.year_range(years), provider_for(api), read_mines(mines)
    if provider.radar is None and not no_radar:
        raise MinsegError(
            f"--api {api}: has no terrain-corrected radar; add --no-radar to go without, or take "
            "planetary-computer"
        )
    request = FetchRequest(
        table,
        read_annotations(polygons, table, fields),
        chosen_years,
        replace(provider, radar=None) if no_radar else provider,
        BoxRule(margin_m, smallest_m, largest_m),
    )
    told = [*request.annotations.notes, *plan_mines(request)[1]]  # before hours of work
    for note in told:
        print(f"note: {note}", file=sys.stderr)
    fetched = fetch_dataset(
        folder,
        request,
        pins=(read_pins(pins) if pins else {}) | parse_pins(pin or []),
        workers=workers,
        licence=licence,
        split_seed=seed,
    )
    for note in fetched.notes[len(told) :]:
        print(f"note: {note}", file=sys.stderr)
    for failure in fetched.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if fetched.dataset:
        _print_parts(fetched.dataset)
    if fetched.failures:
        print(f"{len(fetched.failures)} failed; the same command tries again", file=sys.stderr)
        raise typer.Exit(1)


def recipe(
    name: Annotated[str, typer.Argument(help="jasansky, lames, maus, tang or cheng.")],
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
    from minseg.fetching import lames, recipes

    require_word("recipe", name, recipes.SOURCES)
    source = recipes.SOURCES[name]
    if not files:
        print(*recipes.source_lines(source), sep="\n")
        return
    points = recipes.read_icmm(icmm) if icmm else None
    mapping = values.value_mapping(classes or [])
    if source.has_sites:
        if len(files) != 2 or icmm or year or layer:
            raise MinsegError(
                f"recipe {name}: takes two FILEs, {source.files}, and neither --icmm, --year nor "
                "--layer"
            )
        made = lames.site_recipe(source, files, classes=mapping, count=count)
    elif source.has_scenes:
        if len(files) > 1 or year or classes:
            raise MinsegError(f"recipe {name}: takes one FILE, and neither --year nor --classes")
        made = recipes.tile_recipe(source, files[0], points, limit_km, layer=layer, count=count)
    else:
        if points is None:
            raise MinsegError(f"recipe {name}: needs listed mines to name its areas: give --icmm")
        made = recipes.area_recipe(
            source, files, points, limit_km, year=year, classes=mapping, layer=layer, count=count
        )
    lines = recipes.write_recipe(made, output) if output else recipes.recipe_lines(made)
    print(*lines, sep="\n")


def check(folder: values.DatasetFolder) -> None:
    """Name every problem of a dataset, one line each; exit status 1 if there is one."""
    from minseg.data.dataset import check_dataset

    problems = check_dataset(folder)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{folder}: no problem found")


def split(folder: values.DatasetFolder, seed: values.SplitSeed = 0) -> None:
    """Draw the 70:15:15 split by mine anew."""
    from minseg.data.dataset import open_dataset
    from minseg.data.writing import resplit

    _print_parts(resplit(open_dataset(folder), seed))


def _print_parts(dataset: "Dataset") -> None:
    """Print how many mines and scenes each part has."""
    from minseg.data.mines import PARTS

    sizes = dataset.split["part"].value_counts()
    parts = ", ".join(
        f"{part} {sizes.get(part, 0)} mines ({len(dataset.scenes_of(part))} scenes)"
        for part in PARTS
    )
    print(f"{dataset.path}: {parts}")
