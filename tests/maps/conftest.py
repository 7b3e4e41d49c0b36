"""Made-up maps of classes, and what polygons cover of them."""

import numpy as np
from rasterio.features import rasterize
from scipy import ndimage

from minseg.data.labels import encode_bits
from minseg.maps.class_map import ClassMap
from tests.conftest import grid_at


def speckled(height, width, seed=0, levels=2):
    """Single pixels, large objects, holes and corners of classes; 255 has no data."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=(height, width)), 3)
    classes = np.digitize(field, np.quantile(field, np.linspace(0.6, 0.9, levels)))
    dots = random.random((height, width)) < 0.05
    classes[dots] = random.integers(0, levels + 1, dots.sum())
    classes[random.random((height, width)) < 0.02] = 255
    return classes.astype(np.uint8)


def overlapping(task, side):
    """A map of classes that overlap, each by itself a `speckled` one, on one grid."""
    layers = [speckled(side, side, seed, 1) for seed, _ in enumerate(task.class_names)]
    masks = {n: one == 1 for n, one in zip(task.class_names, layers, strict=True)}
    return ClassMap(
        np.where(layers[0] == 255, task.ignore, encode_bits(masks)).astype(np.uint16),
        grid_at(0, side),
        task,
    )


def require_agreement(frame, class_map):
    """Polygons cover what the map holds, class by class."""
    values = frame["class"].map(class_map.task.target_names.index)
    burnt = rasterize(
        zip(frame.geometry, values, strict=True),
        class_map.classes.shape,
        transform=class_map.grid.transform,
    )
    assert np.array_equal(burnt, np.where(class_map.classes == 255, 0, class_map.classes))
