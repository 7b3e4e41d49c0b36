"""Digital numbers to reflectance, radar to decibels, and per-channel statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minseg.data.bands import BANDS
from minseg.errors import MinsegError
from minseg.progress import progress

if TYPE_CHECKING:
    from minseg.data.dataset import Dataset

REFLECTANCE_SCALE = 1e-4
"""Reflectance of one unit of ``optical.tif``."""

LARGEST_REFLECTANCE = 6.5534
"""What the uint16 of ``optical.tif`` can hold; glint and cloud exceed 1."""


def possible(values: np.ndarray, band: str) -> np.ndarray:
    """Tell which values, reflectance or decibels, a pixel of a band can have; NaN is none."""
    low, high = BANDS[band].limits
    return (values > np.float32(low)) & (values < np.float32(high))


def encode_reflectance(reflectance: np.ndarray, valid: np.ndarray, where: str) -> np.ndarray:
    """Turn reflectance into the stored form: × 10 000 as uint16, 0 = missing.

    A reflectance of zero or less becomes 1 (0.0001), because 0 means missing.
    """
    require_reflectance(reflectance[:, valid], where)
    stored = clip_reflectance(np.nan_to_num(reflectance)) / REFLECTANCE_SCALE
    return np.where(valid, np.rint(stored), 0).astype(np.uint16)


def clip_reflectance(reflectance: np.ndarray) -> np.ndarray:
    """Bring reflectance, in place, to what a dataset can store of it; return it."""
    return np.clip(reflectance, REFLECTANCE_SCALE, LARGEST_REFLECTANCE, out=reflectance)


def require_reflectance(values: np.ndarray, where: str) -> None:
    """Refuse valid values that are none or too large or small for reflectance: a wrong scale."""
    if not values.size:
        raise MinsegError(f"{where}: no valid pixel (all nodata or NaN); leave this image out")
    bright = float(np.percentile(values, 90))
    if not 1e-3 < bright < 2:
        raise MinsegError(
            f"{where}: the 90th percentile of reflectance would be {bright:.3g}, not between "
            "0.001 and 2; give the right --scale (reflectance of one digital number) and --offset "
            "(at number zero), or --nodata where missing pixels have a number without a tag"
        )


def power_to_db(power: np.ndarray) -> np.ndarray:
    """Turn linear backscatter power into decibels: 10·log10; NaN where it is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan).astype(np.float32)


def amplitude_to_db(amplitude: np.ndarray) -> np.ndarray:
    """Turn backscatter amplitude into decibels: 20·log10, since power is amplitude squared.

    The paper applies 10·log10 to ground-range-detected scenes (section 2.1), which hold
    amplitude, and does not say whether it squared them first.
    """
    return (2 * power_to_db(amplitude)).astype(np.float32)


RADAR_TO_DB: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "db": lambda values: values,
    "power": power_to_db,
    "amplitude": amplitude_to_db,
}
"""What radar pixels may hold, and how decibels come of it."""


def require_backscatter(decibels: np.ndarray, bands: Sequence[str], where: str) -> dict[str, float]:
    """Return the medians of decibels (bands, pixels) of VV and VH; refuse those of no ground."""
    how = "give the right --radar-unit (db, power or amplitude), or --radar-scale"
    if not decibels.size:
        raise MinsegError(f"{where}: no pixel has decibels, or a value that could be any; {how}")
    medians = dict(zip(bands, np.median(decibels, axis=1), strict=True))
    for band, median in medians.items():
        if not -45 < median < 0:
            raise MinsegError(
                f"{where}: the median of {band} would be {median:.3g} dB, not between -45 and 0 "
                f"as on any ground; {how}"
            )
    require_brighter_vv(medians, where, f"`rio edit-info --bidx 1 --description VH {where}`")
    return medians


def require_brighter_vv(medians: Mapping[str, float], where: str, how: str) -> None:
    """Refuse medians, decibels, of VV and VH that are swapped, and say how to name a band."""
    if medians.get("VH", -np.inf) > medians.get("VV", np.inf) + 3:
        raise MinsegError(
            f"{where}: VH would be {medians['VH'] - medians['VV']:.1f} dB brighter than VV, as on "
            f"no ground; are they swapped? Name each band, e.g. {how}"
        )


def radar_channels(vv_db: np.ndarray, vh_db: np.ndarray) -> np.ndarray:
    """Stack VV, VH and VV/(10·VH) of section 2.1 in dB: float32, NaN where either is missing."""
    ratio_db = vv_db - vh_db - 10
    channels = np.stack([vv_db, vh_db, ratio_db]).astype(np.float32)
    channels[:, ~np.isfinite(ratio_db)] = np.nan
    return channels


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and spread of each input channel over the training scenes."""

    bands: tuple[str, ...]
    """Channels, in the order of the model's input."""
    mean: tuple[float, ...]
    """Reflectance or dB."""
    deviation: tuple[float, ...]
    """Standard deviation, reflectance or dB."""

    def standardise(self, inputs: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Bring channels (bands, height, width) to mean 0 and spread 1; missing pixels become 0."""
        mean = np.array(self.mean, np.float32)[:, None, None]
        deviation = np.array(self.deviation, np.float32)[:, None, None]
        standard = inputs - mean
        standard /= deviation
        standard[:, ~valid] = 0
        return standard


def training_statistics(dataset: "Dataset", bands: Sequence[str]) -> ChannelStatistics:
    """Measure each channel over the valid pixels of the train scenes, and of no others.

    The paper normalises (section 2.4) without saying by what; standardising each band by the
    training scenes is our choice.
    """
    count = 0
    total = np.zeros(len(bands))
    squares = np.zeros(len(bands))
    scenes = dataset.scenes_of("train")
    for _, scene in progress(scenes.iterrows(), "measuring bands", len(scenes)):
        inputs, valid = dataset.read_inputs(scene, bands)
        pixels = inputs[:, valid].astype(np.float64)  # (bands, pixels)
        count += pixels.shape[1]
        total += pixels.sum(axis=1)
        squares += (pixels**2).sum(axis=1)
    if count == 0:
        raise MinsegError(
            f"{dataset.path}: no train pixel has a value in every band of {', '.join(bands)}"
        )
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return ChannelStatistics(tuple(bands), tuple(mean.tolist()), tuple(deviation.tolist()))
