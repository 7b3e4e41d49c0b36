"""A mine of one's own: an image and a run in, a map, polygons and areas out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from minseg.data.bands import BANDS
from minseg.data.dataset import Dataset
from minseg.data.images import ImageReading
from minseg.data.labels import IGNORE
from minseg.data.raster import Grid
from minseg.data.stack import ImageFile, open_stack
from minseg.errors import MinsegError, filled
from minseg.maps.class_map import ClassMap
from minseg.maps.cleaning import Cleaning
from minseg.report import scenes, style
from minseg.report.style import DASH, made, markdown_text, signed, span, text_table
from minseg.study.errors import best_median_worst
from minseg.study.runs import Run

if TYPE_CHECKING:  # brings torch
    from minseg.maps.prediction import Products

SHOWN_SIDE = 2000
"""Longest side of an image as it is shown, pixels: more than a figure or a map makes use of."""

_LEGEND_COLUMNS = 3


@dataclass(frozen=True)
class OwnImage:
    """An image to be mapped, and how it is shown."""

    files: tuple[ImageFile, ...]
    reading: ImageReading
    picture: np.ndarray
    """float32 (bands, height, width): red, green and blue, or one band; NaN without data."""
    grid: Grid
    """Of the picture."""
    title: str
    synthetic: bool


def own_image(
    dataset: Dataset, run: Run, images: Sequence[str] = (), reading: Mapping[str, Any] | None = None
) -> OwnImage:
    """Open a user's image, or by default a test mine of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Gives a test scene if no image is named: of the mine on which the run has the median IoU.
    run : Run
        Its bands are needed.
    images : sequence of str
        Paths, or ``BANDS=PATH`` for files that do not name their bands.
    reading : mapping of str to value, optional
        Fields of `minseg.data.images.ImageReading`; an unknown one is refused.
    """
    how = filled(ImageReading, reading or {})
    bands = run.statistics.bands
    files = tuple(ImageFile.parse(text) for text in images)
    title = ", ".join(Path(file.path).name for file in files)
    if not files:
        tested = dataset.scenes_of("test")
        median = tested["mine"] == best_median_worst(run.scores_by_mine()).get("median")
        scene = tested.iloc[median.argmax()]  # the first if the run was tested elsewhere
        if not scene["radar"] and any(BANDS[band].is_radar for band in bands):
            raise MinsegError(
                f"{dataset.path}: scene {scene['scene']!r} has no radar file, and the run needs "
                f"{', '.join(bands)}; name images that have them"
            )
        files = tuple(map(ImageFile, dataset.files_with(scene, bands)))
        title = scenes.scene_title(dataset, scene)
    shown = scenes.display_bands(bands)
    with open_stack(files, bands, how) as image:  # all bands, since they decide on the grid
        grid = image.grid.thinned(SHOWN_SIDE)
        values, valid = image.only(shown).read(shape=(grid.height, grid.width))
    picture = np.where(valid, values, np.float32(math.nan))
    return OwnImage(files, how, picture, grid, title, dataset.synthetic and not images)


def map_image(
    run: Run, image: OwnImage, folder: Path, cleaning: Mapping[str, Any] | None = None
) -> "Products":
    """Map an image with a run's network: ``classes.tif`` and ``polygons.gpkg`` in a folder.

    Cleaning are fields of `minseg.maps.cleaning.Cleaning`; an unknown one is refused.
    """
    from minseg.maps.prediction import predict_raster
    from minseg.study.execution import open_segmenter

    how = filled(Cleaning, cleaning or {})
    mapped = predict_raster(
        open_segmenter(run),
        image.files,
        folder / "classes.tif",
        polygons=folder / "polygons.gpkg",
        cleaning=how,
        reading=image.reading,
    )
    assert mapped is not None  # polygons are asked for
    return mapped


def shown_map(image: OwnImage, mapped: "Products") -> ClassMap:
    """Return the class map on the grid of its image's picture."""
    classes, shown = mapped.class_map.classes, (image.grid.height, image.grid.width)
    # As GDAL thins an image: the pixel at the centre of each new one's ground.
    centres = (
        (np.arange(n) + 0.5) * side / n for n, side in zip(shown, classes.shape, strict=True)
    )
    rows, columns = (centre.astype(int) for centre in centres)
    return replace(mapped.class_map, classes=classes[np.ix_(rows, columns)], grid=image.grid)


@style.in_style()
def map_figure(image: OwnImage, mapped: "Products") -> Figure:
    """Show an image and its class map side by side."""
    found = shown_map(image, mapped).uppermost()
    present = scenes.classes_present(found.task, found.classes)
    present |= {"no data": "#FFFFFF"} if np.any(found.classes == IGNORE) else {}
    below_in = style.legend_height_in(len(present), _LEGEND_COLUMNS)
    figure, panels = scenes.picture_row(
        2, found.grid, image.title, image.synthetic, scale=1.3, below_in=below_in
    )
    picture = scenes.stretch(image.picture)
    painted = scenes.paint(picture, found.classes, scenes.class_colours(found.task))
    scenes.show(panels[0], picture, "image")
    scenes.show(panels[1], painted, "predicted")
    style.legend_below(figure, panels[0], present, _LEGEND_COLUMNS)
    return figure


def answer(image: OwnImage, mapped: "Products", cleaned: pd.DataFrame) -> str:
    """Say in two lines of Markdown what a network sees, and whether cleaning helps (`effects`)."""
    polygons = mapped.polygons
    seen = [
        f"{polygons.loc[polygons['class'] == name, 'area_ha'].sum():.1f} ha of {name}"
        for name in mapped.class_map.task.target_names[1:]
    ]
    helped = [
        f"{name} {signed(rule['difference'])} ({span(rule['low'], rule['high'], signed)})"
        for name, rule in cleaned[cleaned["told"]].iterrows()
    ]
    return (
        f"- **In {markdown_text(image.title)}{' (synthetic)' * image.synthetic}** the network sees "
        f"{', '.join(seen)}.\n"
        f"- **Of {len(cleaned)} ways of cleaning{made()}** these change the IoU of test mines by a "
        f"difference told from zero: {'; '.join(helped) or 'none'}."
    )


def area_table(mapped: "Products") -> Styler:
    """Sum up the polygons of each class: number, hectares, and mean probability by area."""
    polygons = mapped.polygons
    weighed = polygons.assign(weight=polygons["mean_probability"] * polygons["area_ha"])
    groups = weighed.groupby("class")
    area_ha = groups["area_ha"].sum()
    columns = {"objects": groups.size(), "area, ha": area_ha}
    columns |= {"largest, ha": groups["area_ha"].max()}
    columns |= {"mean probability": groups["weight"].sum() / area_ha}
    table = pd.DataFrame(columns).reindex(list(mapped.class_map.task.target_names[1:]))
    table = table.fillna({"objects": 0, "area, ha": 0}).astype({"objects": int})
    hectares = text_table(table).format("{:.1f}", subset=["area, ha", "largest, ha"], na_rep=DASH)
    return hectares.format("{:.2f}", subset=["mean probability"], na_rep=DASH)
