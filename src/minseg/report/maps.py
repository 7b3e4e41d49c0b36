"""Interactive maps for notebooks and static pages: mines, predictions, change, and one's own."""

from textwrap import shorten

import folium
import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from minseg.data.dataset import Dataset
from minseg.data.labels import IGNORE, Task
from minseg.data.mines import MINE_TYPES, RAW_MATERIALS
from minseg.maps.change import CHANGES, class_change, require_comparable
from minseg.maps.class_map import ClassMap
from minseg.report.gallery import display_bands, scene_title, task_title
from minseg.report.map_frame import EmbeddedMap, LegendGroup
from minseg.report.map_layers import (
    Overlay,
    central_meridian,
    class_pixels,
    image_pixels,
    lay_on_mercator,
    polygon_features,
)
from minseg.report.overlays import AGREEMENT_COLOURS, NOT_ANNOTATED, Agreement, agreement
from minseg.report.style import PART_STYLES
from minseg.study.predictions import scene_prediction
from minseg.study.runs import Run

MOST_POLYGONS = 2000
"""Outlines on a map; of more only the largest are drawn, so that a browser can open the page."""


def mine_locations_map(dataset: Dataset) -> EmbeddedMap:
    """Show the mines of a dataset, one layer and colour a part (Figure 2).

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    EmbeddedMap
        Each mine opens a popup of its name, country, raw material, type, part and years.
    """
    mines = dataset.mines.merge(dataset.split, on="mine")
    colours = {part: colour for part, (colour, _) in PART_STYLES.items()}
    counts = mines["part"].value_counts()
    legend = {f"{part} ({counts[part]})": colours[part] for part in colours if part in counts}
    shown = EmbeddedMap(
        f"Map of the {len(mines)} mines of {dataset.description.name}",
        [LegendGroup("mines by part", legend)],
        synthetic=dataset.synthetic,
        attribution=_attribution(dataset),
    )
    years = dataset.scenes.groupby("mine")["year"].apply(_years)
    for part in (part for part in colours if part in counts):
        points = mines[mines["part"] == part]
        frame = gpd.GeoDataFrame(
            [_mine_facts(mine, years[mine["mine"]]) for _, mine in points.iterrows()],
            geometry=gpd.points_from_xy(points["longitude"], points["latitude"]),
            crs="EPSG:4326",
        )
        shown.add_features(part, polygon_features(frame, 0.0), "part", colours)
    west, south = mines[["longitude", "latitude"]].min()
    east, north = mines[["longitude", "latitude"]].max()
    return shown.finish(((south, west), (north, east)))


def prediction_map(run: Run, dataset: Dataset, mine: str) -> EmbeddedMap:
    """Show image, truth, a run's prediction and their agreement for one test mine (Figures 5-16).

    Parameters
    ----------
    run : Run
    dataset : Dataset
        The one it was tested on.
    mine : str

    Returns
    -------
    EmbeddedMap
        Image below; truth, prediction and agreement to choose from.

    Raises
    ------
    MinsegError
        If the run has no prediction of that mine, or its scene is nowhere.
    """
    scene = scene_prediction(run, dataset, mine)
    picture, _ = dataset.read_inputs(
        scene.scene, display_bands(dataset.description.bands), scene.window
    )
    verdict = agreement(scene.prediction, scene.target)
    unknown = {IGNORE: NOT_ANNOTATED["not annotated"]}
    classes = _class_colours(run.task)
    verdicts = {int(kind): colour for kind, colour in AGREEMENT_COLOURS.items()}
    seen = set(np.unique(verdict))
    names = {
        kind.name.replace("_", " ").lower(): colour
        for kind, colour in AGREEMENT_COLOURS.items()
        if kind in seen
    } | (NOT_ANNOTATED if Agreement.IGNORED in seen else {})
    shown = EmbeddedMap(
        f"Map of {scene_title(dataset, scene.scene)}: {task_title(run.task)}, "
        "image, truth, prediction and agreement",
        [_class_legend(run.task, scene.target, scene.prediction), LegendGroup("agreement", names)],
        synthetic=dataset.synthetic,
        attribution=_attribution(dataset),
    )
    layers = {
        "truth": (scene.target, classes | unknown),
        "prediction": (scene.prediction, classes),
        "agreement": (verdict, verdicts | unknown),
    }
    image = lay_on_mercator(image_pixels(picture), scene.grid, photograph=True)
    shown.add_overlay("image", image, below=True, show=True)
    for name, (values, colours) in layers.items():
        overlay = lay_on_mercator(class_pixels(values, colours), scene.grid)
        shown.add_overlay(name, overlay, choice=True, show=name == "prediction")
    return _finish_choice(shown, image)


def change_map(
    before: ClassMap,
    after: ClassMap,
    images: tuple[np.ndarray, np.ndarray] | None = None,
    synthetic: bool = False,
) -> EmbeddedMap:
    """Show the class maps of two years of a mine and, class by class, what was gained and lost.

    Parameters
    ----------
    before, after : ClassMap
        Of one task, on one grid.
    images : pair of float ndarray (bands, height, width), optional
        Of the two years, on the same grid, as in `minseg.report.overlays.overlay_figure`.
    synthetic : bool
        Marks the map as made from synthetic data.

    Returns
    -------
    EmbeddedMap
        Images below; both class maps and a map of change for every class to choose from.

    Raises
    ------
    MinsegError
        If the two are of different tasks or grids, or lie nowhere.
    """
    require_comparable(before, after)
    task, grid = before.task, before.grid
    legend = _class_legend(task, before.classes, after.classes)
    shown = EmbeddedMap(
        f"Map of change between two years: {task_title(task)}",
        [legend, LegendGroup("change", CHANGES)],
        synthetic=synthetic,
    )
    for name, image in zip(("before", "after"), images or (), strict=bool(images)):
        overlay = lay_on_mercator(image_pixels(image), grid, photograph=True)
        shown.add_overlay(f"image {name}", overlay, below=True, show=True)
    kinds = dict(enumerate(CHANGES.values(), start=1))
    present = list(legend.colours)
    for name in present:
        change = lay_on_mercator(class_pixels(class_change(before, after, name), kinds), grid)
        shown.add_overlay(f"change: {name}", change, choice=True, show=name == present[0])
    for name, class_map in (("before", before), ("after", after)):
        overlay = lay_on_mercator(class_pixels(class_map.classes, _class_colours(task)), grid)
        shown.add_overlay(name, overlay, choice=True, show=name == "after" and not present)
    return _finish_choice(shown, overlay)


def raster_map(
    class_map: ClassMap,
    image: np.ndarray | None = None,
    polygons: gpd.GeoDataFrame | None = None,
    synthetic: bool = False,
) -> EmbeddedMap:
    """Show a class map over its image, with the polygons made of it.

    Parameters
    ----------
    class_map : ClassMap
    image : float ndarray (bands, height, width), optional
        On the same grid, as in `minseg.report.overlays.overlay_figure`.
    polygons : geopandas.GeoDataFrame, optional
        With a column `class`, and perhaps `area_ha` and `mean_probability`, for the popups. Of
        more than `MOST_POLYGONS` the largest.
    synthetic : bool
        Marks the map as made from synthetic data.

    Returns
    -------
    EmbeddedMap

    Raises
    ------
    MinsegError
        If the class map or the polygons are nowhere.
    """
    task, grid = class_map.task, class_map.grid
    shown = EmbeddedMap(
        f"Map of the predicted classes: {task_title(task)}",
        [_class_legend(task, class_map.classes)],
        synthetic=synthetic,
    )
    if image is not None:
        overlay = lay_on_mercator(image_pixels(image), grid, photograph=True)
        shown.add_overlay("image", overlay, below=True, show=True)
    classes = lay_on_mercator(class_pixels(class_map.classes, _class_colours(task)), grid)
    shown.add_overlay("class map", classes, show=True)
    if polygons is not None and len(polygons):
        colours = dict(zip(task.target_names, task.target_colours, strict=True))
        largest = _largest(polygons)
        several = len(largest) < len(polygons)
        name = f"{len(largest)} largest of {len(polygons)} polygons" if several else "polygons"
        features = polygon_features(_popup_facts(largest), central_meridian(grid))
        shown.add_features(name, features, "class", colours)
    return shown.finish(classes.bounds)


def _largest(polygons: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the polygons that a map has room for, in their order."""
    by_size = np.argsort(-shapely.area(polygons.geometry.array), kind="stable")
    return polygons.iloc[np.sort(by_size[:MOST_POLYGONS])]


def _finish_choice(shown: EmbeddedMap, overlay: Overlay) -> EmbeddedMap:
    """Add the choice of none of the layers, so that the image can be seen bare."""
    folium.FeatureGroup(name="image only", overlay=False, show=False).add_to(shown)
    return shown.finish(overlay.bounds)


def _class_colours(task: Task) -> dict[int, str]:
    """Return the colours of a task's values but the background's."""
    return dict(list(enumerate(task.target_colours))[1:])


def _class_legend(task: Task, *rasters: np.ndarray) -> LegendGroup:
    """Return the legend of those of a task's classes that are in any of the rasters."""
    present = set(np.concatenate([np.unique(raster) for raster in rasters]))
    named = zip(task.target_names, task.target_colours, strict=True)
    return LegendGroup(
        "classes", {name: colour for k, (name, colour) in enumerate(named) if k and k in present}
    )


def _attribution(dataset: Dataset) -> str:
    """Name a dataset and its licence, shortly."""
    return shorten(f"{dataset.description.name}, {dataset.description.licence}", 90)


def _mine_facts(mine: pd.Series, years: str) -> dict[str, str]:
    """Say what is known of a mine; what is not is empty."""
    return {
        "mine": mine["name"] or mine["mine"],
        "country": mine["country"],
        "raw material": RAW_MATERIALS.get(mine["raw_material"], ""),
        "mine type": MINE_TYPES.get(mine["mine_type"], ""),
        "part": mine["part"],
        "years": years,
    }


def _years(years: pd.Series) -> str:
    """Write the years of a mine's scenes."""
    return ", ".join(str(year) for year in sorted(years.dropna().unique()))


def _popup_facts(polygons: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Keep what a reader wants to know of a polygon, in few digits."""
    decimals = {"area_ha": 2, "mean_probability": 3}
    columns = ["class", *(name for name in decimals if name in polygons)]
    facts = polygons[columns].round(decimals).astype(object)
    facts = facts.where(facts.notna(), "")  # no probabilities were kept
    return gpd.GeoDataFrame(facts, geometry=polygons.geometry)
