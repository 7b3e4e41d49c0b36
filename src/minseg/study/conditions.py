"""Conditions under which a pixel may be hard to classify: at a boundary, snowy, wet, in something
small; and how far a scene looks from the training scenes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from minseg.data.dataset import Dataset
from minseg.data.radiometry import ChannelStatistics

SNOW_BANDS = ("B03", "B04", "B11")
WATER_BANDS = ("B03", "B08")

SNOW_NDSI = 0.4
"""Snow-bright pixels have at least this normalised difference of green and short-wave infrared."""

SNOW_RED = 0.2
"""And at least this red reflectance, which water with its equally high index has not."""

WATER_NDWI = 0.0
"""Water pixels have more than this normalised difference of green and near infrared."""


def boundary_distance_px(truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Measure how far each pixel is from the true boundary of a class.

    Parameters
    ----------
    truth : bool ndarray (height, width)
        Where the class is.
    known : bool ndarray (height, width)
        Where anybody looked: no boundary runs between a class and ground nobody annotated.

    Returns
    -------
    float ndarray (height, width)
        Distance between pixel centres to the nearest pixel on the other side, pixels: 1 for the
        pixels that touch the boundary with an edge, on either side. Infinite where there is none.
    """
    inside, outside = truth & known, known & ~truth
    return np.where(inside, _distance_to(outside), _distance_to(inside))


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest pixel of a mask, infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(~mask)


def snow_bright(green: np.ndarray, red: np.ndarray, short_wave: np.ndarray) -> np.ndarray:
    """Find pixels that look like snow: the rule of Sentinel-2 snow maps, without their elevation.

    Parameters
    ----------
    green, red, short_wave : float ndarray (height, width)
        Reflectance of B03, B04 and B11.

    Returns
    -------
    bool ndarray (height, width)
    """
    return (normalised_difference(green, short_wave) >= SNOW_NDSI) & (red >= SNOW_RED)


def water(green: np.ndarray, near_infrared: np.ndarray) -> np.ndarray:
    """Find pixels that look like water; snow does too, and is to be taken out.

    Parameters
    ----------
    green, near_infrared : float ndarray (height, width)
        Reflectance of B03 and B08.

    Returns
    -------
    bool ndarray (height, width)
    """
    return normalised_difference(green, near_infrared) > WATER_NDWI


def normalised_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return (one - other) / (one + other), -1 where both are 0."""
    total = one + other
    return np.divide(one - other, total, out=np.full(total.shape, -1.0), where=total > 0)


@dataclass(frozen=True)
class Objects:
    """The objects of a class in a scene: pixels of the truth that are joined by their sides.

    They are counted as in the polygons of a map (`minseg.maps.regions`, 4-connected): two pixels
    that meet at a corner only belong to two objects.
    """

    number: np.ndarray
    """int32 (height, width): 0 outside of objects, else the row of `table` plus 1."""
    table: pd.DataFrame
    """Rows area_ha, detected (share of the pixels that are predicted as the class), cut (whether
    the object goes on beyond the tested part or into ground nobody annotated)."""


def find_objects(
    truth: np.ndarray, predicted: np.ndarray, known: np.ndarray, pixel_ha: float
) -> Objects:
    """Find the objects of a class (4-connected), and how much of each was detected.

    Parameters
    ----------
    truth, predicted : bool ndarray (height, width)
        Where the class is, and where it is predicted.
    known : bool ndarray (height, width)
        Where anybody looked.
    pixel_ha : float
        Area of a pixel, hectares.

    Returns
    -------
    Objects
    """
    number, count = ndimage.label(truth)
    pixels = np.bincount(number.ravel(), minlength=count + 1)[1:]
    detected = np.bincount(number[predicted], minlength=count + 1)[1:]
    # Known ground is eaten away from the sides of the scene and from unknown ground.
    rim = ~ndimage.binary_erosion(known)
    cut = np.isin(np.arange(1, count + 1), number[rim])
    table = pd.DataFrame(
        {"area_ha": pixels * pixel_ha, "detected": detected / np.maximum(pixels, 1), "cut": cut}
    )
    return Objects(number, table)


def spectral_distances(
    dataset: Dataset, scenes: pd.DataFrame, statistics: ChannelStatistics
) -> pd.DataFrame:
    """Measure how far scenes look from the training mines.

    Each mine stands for its latest scene, and each scene for its mean in every band, in standard
    deviations of the training pixels. The distance of two scenes is the root mean square of the
    differences over the bands.

    Parameters
    ----------
    dataset : Dataset
    scenes : pandas.DataFrame
        Rows of the scene table.
    statistics : ChannelStatistics
        Of the training scenes; names the bands.

    Returns
    -------
    pandas.DataFrame
        Indexed by scene: distance (to the nearest training mine, training standard deviations),
        nearest (that mine), percentile (share of the training mines that are as near or nearer to
        the nearest other one of them, 0 to 1). NaN where there is nothing to compare with.
    """
    train = dataset.scenes_of("train").drop_duplicates("mine", keep="last").reset_index(drop=True)
    known = np.array([_mean_look(dataset, row, statistics) for _, row in train.iterrows()])
    apart = _apart(known, known)
    np.fill_diagonal(apart, np.nan)
    own = np.array([np.nanmin(row) for row in apart if not np.isnan(row).all()])
    rows = {}
    for _, scene in scenes.iterrows():
        distances = _apart(_mean_look(dataset, scene, statistics)[np.newaxis], known)[0]
        found = not np.isnan(distances).all()
        distance = float(np.nanmin(distances)) if found else np.nan
        rows[scene["scene"]] = {
            "distance": distance,
            "nearest": train["mine"][int(np.nanargmin(distances))] if found else "",
            "percentile": float(np.mean(own <= distance)) if found and own.size else np.nan,
        }
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=["distance", "nearest", "percentile"]
    ).rename_axis("scene")


def _mean_look(dataset: Dataset, scene: pd.Series, statistics: ChannelStatistics) -> np.ndarray:
    """Return the standardised mean of a scene in each band (bands,), NaN without valid pixels."""
    inputs, valid = dataset.read_inputs(scene, statistics.bands)
    if not valid.any():
        return np.full(len(statistics.bands), np.nan)
    mean = inputs[:, valid].mean(axis=1, dtype=np.float64)
    return (mean - np.array(statistics.mean)) / np.array(statistics.deviation)


def _apart(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distances (ones, others) of looks (scenes, bands)."""
    return np.sqrt(((ones[:, np.newaxis] - others[np.newaxis]) ** 2).mean(axis=2))
