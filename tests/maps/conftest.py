"""Made-up maps of classes, and what polygons cover of them."""

import numpy as np
from rasterio.features import rasterize
from scipy import ndimage


def speckled(height, width, seed=0, levels=2):
    """Single pixels, large objects, holes and corners of classes; 255 has no data."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=(height, width)), 3)
    classes = np.digitize(field, np.quantile(field, np.linspace(0.6, 0.9, levels)))
    dots = random.random((height, width)) < 0.05
    classes[dots] = random.integers(0, levels + 1, dots.sum())
    classes[random.random((height, width)) < 0.02] = 255
    return classes.astype(np.uint8)


def require_agreement(frame, class_map):
    """Polygons cover what the map holds, class by class."""
    values = frame["class"].map(class_map.task.target_names.index)
    burnt = rasterize(
        zip(frame.geometry, values, strict=True),
        class_map.classes.shape,
        transform=class_map.grid.transform,
    )
    assert np.array_equal(burnt, np.where(class_map.classes == 255, 0, class_map.classes))
