"""What became of a mine between two years: polygons and areas gained, lost and unchanged."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from minseg.atomic import require_writable
from minseg.data.labels import IGNORE, Task
from minseg.data.raster import Grid
from minseg.errors import MinsegError
from minseg.maps.class_map import GEOTIFF_SUFFIXES, ClassMap, write_style
from minseg.maps.polygons import require_geopackage, vectorise, write_geopackage
from minseg.maps.regions import find_runs

CHANGES: dict[str, str] = {"gained": "#D50000", "lost": "#0044CC", "unchanged": "#FFE680"}
"""Kinds of change, numbered from 1, to colours that are told apart without colour vision too."""

ABSENT, GAINED, LOST, UNCHANGED = range(4)
"""What became of a class at a pixel; absent in both years is 0, no data in either is 255."""


def change(before: ClassMap, after: ClassMap) -> gpd.GeoDataFrame:
    """Outline what each class gained, lost and kept.

    A pixel that goes from one class to another is lost for the first and gained for the second,
    so polygons of different classes overlap there.

    Parameters
    ----------
    before, after : ClassMap
        Of one task, on one grid.

    Returns
    -------
    geopandas.GeoDataFrame
        Columns class, change (gained, lost or unchanged), area_ha (on the ellipsoid) and geometry,
        in the maps' coordinate reference system. Pixels without data in either map are left out.

    Raises
    ------
    MinsegError
        If the maps are of different tasks or on different grids.
    """
    require_comparable(before, after)
    kinds = Task("change", tuple(CHANGES))
    layers = []
    for name in before.task.target_names[1:]:
        states = class_change(before, after, name)
        outlines = vectorise(ClassMap(states, before.grid, kinds))
        layers.append(outlines.rename(columns={"class": "change"}).assign(**{"class": name}))
    columns = ["class", "change", "area_ha", "geometry"]
    found = [layer[columns] for layer in layers if len(layer)] or [layers[0][columns]]
    return gpd.GeoDataFrame(pd.concat(found, ignore_index=True), crs=before.grid.crs)


def change_areas(before: ClassMap, after: ClassMap) -> pd.DataFrame:
    """Measure what each class gained, lost and kept.

    Parameters
    ----------
    before, after : ClassMap
        Of one task, on one grid.

    Returns
    -------
    pandas.DataFrame
        Indexed by class: gained_ha, lost_ha, unchanged_ha, before_ha, after_ha, and for all
        classes alike compared_ha (ground with data in both maps) and left_out_ha (without).
        Hectares on the ellipsoid, whatever the maps' projection.

    Raises
    ------
    MinsegError
        If the maps are of different tasks or on different grids.
    """
    require_comparable(before, after)
    names = before.task.target_names[1:]
    rows = [_areas_ha(class_change(before, after, name), before.grid) for name in names]
    return pd.DataFrame(rows, pd.Index(names, name="class"))


def class_change(before: ClassMap, after: ClassMap, name: str) -> np.ndarray:
    """Tell what became of one class at each pixel, uint8; 255 without data in either map."""
    was, became = (one.task.mask(one.classes, name) for one in (before, after))
    states = np.full(was.shape, ABSENT, np.uint8)
    states[became & ~was] = GAINED
    states[was & ~became] = LOST
    states[was & became] = UNCHANGED
    states[before.missing | after.missing] = IGNORE
    return states


def write_change(changes: gpd.GeoDataFrame, path: Path) -> None:
    """Write the polygons of `change` as a GeoPackage, and a QGIS style (``.qml``) beside it."""
    write_geopackage(changes, path)
    legend = {kind: (kind, colour) for kind, colour in CHANGES.items()}
    write_style(path.with_suffix(".qml"), "change", legend)


def require_comparable(before: ClassMap, after: ClassMap) -> None:
    """Refuse two maps that are of different tasks or on different grids."""
    if before.task != after.task:
        raise MinsegError(
            f"the earlier map is of task {before.task.name} and the later of {after.task.name}; "
            "predict both years with one run"
        )
    if difference := before.grid.difference(after.grid):
        raise MinsegError(
            f"the two maps differ in {difference}; predict both years on one grid, e.g. after "
            "`rio warp LATER.tif MOVED.tif --like EARLIER.tif` of the images"
        )


def require_common_ground(before: ClassMap, after: ClassMap) -> None:
    """Refuse two maps between which there is nothing to compare."""
    require_comparable(before, after)
    if (before.missing | after.missing).all():
        raise MinsegError(
            "no ground has data in both maps, so there is nothing to compare; "
            "predict both years from images that show the same ground"
        )


def require_apart(before: Path, after: Path, output: Path) -> None:
    """Refuse a map compared with itself, and an output that would replace a map or its style."""
    if before.resolve() == after.resolve():
        raise MinsegError(f"{after}: is given twice; name the maps of two years")
    require_geopackage(output)
    style = output.with_suffix(".qml")
    require_writable(style)
    for other in output.parent.glob("*"):
        if other.stem == output.stem and other.suffix.lower() in GEOTIFF_SUFFIXES:
            raise MinsegError(
                f"{output}: its style {style.name} would be that of {other.name} too, whose "
                f"colours it lacks; name it e.g. {output.with_name(f'{output.stem}_change.gpkg')}"
            )


def _areas_ha(states: np.ndarray, grid: Grid) -> dict[str, float]:
    """Measure the states of `class_change`: a row of `change_areas`."""
    runs = find_runs(states)
    totals = np.bincount(runs.values, runs.areas_ha(grid), IGNORE + 1)
    gained, lost, unchanged = totals[[GAINED, LOST, UNCHANGED]]
    return {
        "gained_ha": gained,
        "lost_ha": lost,
        "unchanged_ha": unchanged,
        "before_ha": lost + unchanged,
        "after_ha": gained + unchanged,
        "compared_ha": totals[:IGNORE].sum(),
        "left_out_ha": totals[IGNORE],
    }
