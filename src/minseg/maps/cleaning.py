"""Cleaning a class map: majority smoothing, minimum size, and the rules of section 5.5."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from rasterio.features import sieve
from scipy.ndimage import maximum_filter1d

from minseg.data.labels import IGNORE, Task
from minseg.errors import MinsegError
from minseg.maps.class_map import ClassMap
from minseg.maps.regions import HECTARE_M2, Components, central_pixel_area_m2, find_components

ADJACENCY: Mapping[str, str] = {
    "preparatory work area": "excavation",
    "dam": "tailing storage facility",
}
"""Class to the class that it only occurs beside (section 5.5)."""

ADJACENT_PX = 3
"""Pixels up to this many rows and columns apart count as adjacent: 30 m at 10 m, since outlines
are off by tens of metres (section 4.1). The paper gives no number."""

_STRIP_ROWS = 1024
"""Rows smoothed at once."""


@dataclass(frozen=True)
class Cleaning:
    """What is done to a class map, in this order; by default nothing."""

    smooth_radius_px: int = 0
    """Each pixel takes the majority class of the square that reaches this far to each side."""
    minimum_ha: float = 0.0
    """Smaller objects and holes go to their largest neighbour."""
    adjacency: bool = False
    """Objects that are not beside what they belong to (`ADJACENCY`) become background."""

    def __post_init__(self) -> None:
        if self.smooth_radius_px < 0 or not 0 <= self.minimum_ha < math.inf:
            raise MinsegError(
                f"cleaning: smoothing {self.smooth_radius_px} px, minimum {self.minimum_ha} ha; "
                "give numbers from 0 (0 = leave as it is)"
            )


def clean(class_map: ClassMap, cleaning: Cleaning) -> ClassMap:
    """Clean a class map into a new one; pixels without data stay and never vote.

    Classes that may overlap are smoothed and sieved each by itself. It takes some four bytes a
    pixel more than the map.
    """
    minimum_px = 0
    if cleaning.minimum_ha:
        pixel_ha = central_pixel_area_m2(class_map.grid) / HECTARE_M2
        minimum_px = math.ceil(cleaning.minimum_ha / pixel_ha)

    def cleaned(classes: np.ndarray) -> np.ndarray:
        if cleaning.smooth_radius_px:
            classes = smooth(classes, cleaning.smooth_radius_px)
        return drop_small(classes, minimum_px) if minimum_px else classes

    class_map = class_map.with_layers(cleaned(layer.classes) for layer in class_map.layers())
    # Last: what it must be beside may have been too small.
    return apply_adjacency(class_map) if cleaning.adjacency else class_map


def smooth(classes: np.ndarray, radius_px: int) -> np.ndarray:
    """Give each pixel the most frequent class of the square of 2 radius_px + 1 pixels around it.

    Beyond the edge nothing votes. Of equally frequent classes a pixel keeps its own, or else takes
    the lowest number.
    """
    smoothed = np.empty_like(classes)
    for top in range(0, len(classes), _STRIP_ROWS):
        above = max(top - radius_px, 0)
        halo = classes[above : top + _STRIP_ROWS + radius_px]
        strip = _majority(halo, radius_px)[top - above :]
        smoothed[top : top + _STRIP_ROWS] = strip[:_STRIP_ROWS]
    return smoothed


def _majority(classes: np.ndarray, radius_px: int) -> np.ndarray:
    """Smooth rows that are all there."""
    most_votes = 2 * (2 * radius_px + 1) ** 2 + 1
    votes_type = np.min_scalar_type(most_votes)  # small numbers add up several times faster
    best, most = classes.copy(), np.zeros(classes.shape, votes_type)
    for value in np.unique(classes[classes != IGNORE]):
        own = classes == value
        # A tie goes to the pixel's own class.
        votes = 2 * _box_sums(own.astype(votes_type), radius_px) + own
        best[votes > most] = value
        np.maximum(most, votes, out=most)
    best[classes == IGNORE] = IGNORE
    return best


def _box_sums(values: np.ndarray, radius_px: int) -> np.ndarray:
    """Add up the values in the square around each pixel, in their own type."""
    for axis in (0, 1):
        margins = [(0, 0), (0, 0)]
        margins[axis] = (radius_px, radius_px)
        padded = np.moveaxis(np.pad(values, margins), axis, 0)
        shifted = (padded[k : k + values.shape[axis]] for k in range(2 * radius_px + 1))
        values = np.moveaxis(reduce(np.add, shifted), 0, axis)
    return values


def drop_small(classes: np.ndarray, minimum_px: int) -> np.ndarray:
    """Remove objects, and holes in them, of fewer pixels than a minimum.

    Pixels joined by their sides form a patch, the background's too. A patch that is too small
    takes the class of its largest neighbour, as `gdal_sieve` does; where all its neighbours are
    too small as well, of the largest neighbour's largest neighbour, and so on. An object from
    which nothing large enough is reached, between pixels without data, becomes background.
    """
    valid, sieved = classes != IGNORE, classes
    size = min(minimum_px, classes.size - 1)  # GDAL takes no more
    if size > 1:
        sieved = np.where(valid, sieve(classes, size, mask=valid, connectivity=4), classes)
    left = find_components(sieved)
    return _keep(left, left.total(left.lengths) >= minimum_px)


def apply_adjacency(class_map: ClassMap, distance_px: int = ADJACENT_PX) -> ClassMap:
    """Turn objects into background that are not adjacent to what they belong to (section 5.5).

    The nearest pixels may be `distance_px` rows and columns apart; at 1 they touch.
    """
    task, classes = class_map.task, class_map.classes.copy()
    for name, beside in adjacency_rules(task).items():
        own = task.mask(class_map.classes, name).astype(np.uint8)
        components = find_components(own)
        near = task.mask(class_map.classes, beside).astype(np.uint8)
        for axis in (0, 1):
            near = maximum_filter1d(near, 2 * distance_px + 1, axis, mode="constant")
        near_run = np.maximum.reduceat(near.ravel(), components.starts)
        kept = _keep(components, components.total(near_run) > 0)
        classes[own > kept] ^= task.value(name)
    return replace(class_map, classes=classes)


def adjacency_rules(task: Task) -> dict[str, str]:
    """Return the rules of `ADJACENCY` that a task has both classes of."""
    names = task.target_names
    return {kept: beside for kept, beside in ADJACENCY.items() if {kept, beside} <= {*names}}


def _keep(components: Components, keep: np.ndarray) -> np.ndarray:
    """Return the classes (height, width) with the components that are not kept as background."""
    values = components.values.copy()
    inside = components.inside
    values[inside] = np.where(keep[components.component[inside]], values[inside], 0)
    return components.paint(values)
