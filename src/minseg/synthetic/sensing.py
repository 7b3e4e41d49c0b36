"""How Sentinel-1 and Sentinel-2 would see a made-up surface: materials, light, native resolutions.

Part of the synthetic mines. A surface is painted material by material (`Surface.cover`), then
observed once (`observe_optical`, `observe_radar`). Numbers are typical values, not measurements.
All is computed in double precision and rounded at the end, so that another processor, whose
sines differ in the last digit, makes the same scenes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from minseg.data.bands import OPTICAL_BANDS, OPTICAL_NAMES
from minseg.data.radiometry import radar_channels

PIXEL_M = 10
"""Ground sample distance of a scene, metres."""

BLOCK_PX = 6
"""Pixels a side that share one value in the 60 m bands; scenes are laid out in such blocks."""

RADAR_LOOKS = 6
"""Equivalent number of looks: speckle is gamma-distributed with variance 1 / looks."""

_WAVELENGTHS_NM = np.array([band.wavelength_nm for band in OPTICAL_BANDS], float)

# Runs from -1 in the blue to 1 in the short-wave infrared: a tint tilts a spectrum along it.
_TILT = np.interp(np.log(_WAVELENGTHS_NM), np.log([442.7, 700.0, 2202.4]), [-1.0, 0.4, 1.0])


@dataclass(frozen=True)
class Material:
    """What one kind of ground looks like from above."""

    reflectance: np.ndarray
    """Surface reflectance of the bands of `OPTICAL_BANDS`, float (12,)."""
    vv_db: float
    """Mean backscatter VV, dB."""
    vh_db: float
    """Mean backscatter VH, dB."""
    contrast: float
    """Relative spread of the brightness from pixel to pixel."""

    def mixed(self, other: "Material", share: float) -> "Material":
        """Return this material with a share (0-1) of another one in it."""
        return Material(
            *(
                (1 - share) * getattr(self, name) + share * getattr(other, name)
                for name in ("reflectance", "vv_db", "vh_db", "contrast")
            )
        )

    def shaded(self, brightness: float = 1.0, tint: float = 0.0) -> "Material":
        """Return this material brighter or darker, and redder (tint > 0) or bluer."""
        reflectance = self.reflectance * brightness * (1 + tint * _TILT)
        return Material(reflectance, self.vv_db, self.vh_db, self.contrast)


def _read_materials() -> dict[str, Material]:
    """Read reflectance (percent, a column a band), backscatter and contrast of each material."""
    path = Path(__file__).with_name("materials.csv")
    table = pd.read_csv(path, index_col="material").astype(float)
    curves = table[list(OPTICAL_NAMES)].to_numpy() / 100
    others = table[["vv_db", "vh_db", "contrast"]].to_numpy().tolist()
    return {
        name: Material(curve, *numbers)
        for name, curve, numbers in zip(table.index, curves, others, strict=True)
    }


MATERIALS = _read_materials()
"""Typical materials of a mine and its surroundings."""


class Surface:
    """Reflectance and backscatter of the ground, painted one material over the other."""

    def __init__(self, fine: np.ndarray, patchy: np.ndarray, hue: np.ndarray):
        self.fine, self.patchy, self.hue = fine, patchy, hue
        self.reflectance = np.zeros((len(OPTICAL_BANDS), *fine.shape))
        self.vv_db = np.zeros(fine.shape)
        self.vh_db = np.zeros(fine.shape)

    def cover(
        self,
        where: np.ndarray,
        material: Material,
        *,
        opacity: float | np.ndarray = 1.0,
        brightness: float | np.ndarray = 1.0,
        tint: float | np.ndarray = 0.0,
    ) -> None:
        """Paint a material where a mask is True."""
        index = np.flatnonzero(where)

        def at(value: float | np.ndarray) -> float | np.ndarray:
            return np.take(value, index) if np.ndim(value) else value  # (pixels,)

        texture = material.contrast * (0.75 * at(self.fine) + 0.65 * at(self.patchy))
        light = np.clip(1 + texture, 0.4, 1.8) * at(brightness)
        tilt = at(tint) + 0.5 * material.contrast * at(self.hue)
        colour = material.reflectance[:, None] * (1 + tilt * _TILT[:, None])  # (12, pixels)
        rough_db = 5 * material.contrast * at(self.patchy)
        for channels, new in (
            (self.reflectance.reshape(len(OPTICAL_BANDS), -1), colour * light),
            (self.vv_db.reshape(1, -1), material.vv_db + rough_db),
            (self.vh_db.reshape(1, -1), material.vh_db + rough_db),
        ):
            old = channels.take(index, axis=1)
            channels[:, index] = old + at(opacity) * (new - old)


def sun_position(latitude: float, day_of_year: int) -> tuple[float, float]:
    """Return elevation and azimuth of the sun in radians at 10:30 local solar time."""
    phi = np.radians(latitude)
    declination = np.radians(23.44) * np.sin(2 * np.pi * (day_of_year - 81) / 365)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(np.pi / 8)
    elevation = np.arcsin(sine)
    cosine = (np.sin(declination) - sine * np.sin(phi)) / (np.cos(elevation) * np.cos(phi))
    return float(elevation), float(np.arccos(np.clip(cosine, -1, 1)))


def illumination(elevation_m: np.ndarray, sun: tuple[float, float]) -> np.ndarray:
    """Return the light on sloping ground relative to level ground: a hillshade."""
    height, azimuth = sun
    to_south, to_east = np.gradient(elevation_m, PIXEL_M)
    towards_sun = np.sin(azimuth) * to_east - np.cos(azimuth) * to_south
    cosine = (np.sin(height) - np.cos(height) * towards_sun) / np.hypot(
        1, np.hypot(to_east, to_south)
    )
    direct = np.clip(cosine / np.sin(height), 0.1, 1.9)
    return 0.3 + 0.7 * direct


def observe_optical(surface: Surface, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sense a surface in the 12 optical bands.

    Every band is averaged to its native 10, 20 or 60 m and brought back to 10 m by nearest
    neighbour (section 2.1), so that coarse bands come in blocks.
    """
    haze = rng.uniform(0, 0.006) * (_WAVELENGTHS_NM / 490.0) ** -2.5
    gain = rng.normal(1, 0.03)
    height, width = light.shape
    # A band's pixel also receives light from its neighbours.
    seen = ndimage.gaussian_filter(surface.reflectance * light, (0, 0.55, 0.55))
    numbers = np.empty((len(OPTICAL_BANDS), height, width), np.uint16)
    for index, band in enumerate(OPTICAL_BANDS):
        side = band.native_gsd_m // PIXEL_M
        blocks = seen[index].reshape(height // side, side, width // side, side).mean(axis=(1, 3))
        noisy = (gain * blocks + haze[index]) * rng.normal(1, 0.01, blocks.shape)
        values = np.clip(np.round(noisy * 10_000), 1, 15_000).astype(np.uint16)
        numbers[index] = values.repeat(side, axis=0).repeat(side, axis=1)
    return numbers


def observe_radar(
    surface: Surface, elevation_m: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Sense a surface in the three radar channels."""
    # The radar looks east: slopes that rise away from it are turned towards it and shine.
    facing_db = np.clip(9 * np.gradient(elevation_m, PIXEL_M, axis=1), -5, 5)
    channels = []
    for mean_db in (surface.vv_db, surface.vh_db):
        power = ndimage.gaussian_filter(10 ** ((mean_db + facing_db) / 10), 0.6)
        speckle = rng.gamma(RADAR_LOOKS, 1 / RADAR_LOOKS, power.shape)
        decibels = np.clip(10 * np.log10(power * speckle), -40, 15)
        channels.append(np.round(decibels, 2).astype(np.float32))
    return radar_channels(*channels)
