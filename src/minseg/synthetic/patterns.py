"""Random fields and tilings of the ground, which the synthetic mines are drawn from."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=8)
def _frequency(shape: tuple[int, int]) -> np.ndarray:
    """Return the frequencies of a real Fourier transform, cycles per pixel."""
    return np.hypot(
        *np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
    )


def noise(
    rng: np.random.Generator, shape: tuple[int, int], scale_px: float, roughness: float = 3.0
) -> np.ndarray:
    """Return a random field of zero mean and unit spread.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (height, width)
    scale_px : float
        Size of the largest features, pixels.
    roughness : float
        Exponent at which the power falls towards small features: 2 is rugged, 6 is smooth.

    Returns
    -------
    float ndarray (height, width)
    """
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    # An rfft spectrum is already Hermitian, so a real filter keeps the field real.
    spectrum *= (1 + (0.5 * np.pi * scale_px * _frequency(shape)) ** 2) ** (-roughness / 2)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, shape)
    return field / field.std()


def turned(
    shape: tuple[int, int], centre: tuple[float, float], angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates along and across a direction, in pixels from a centre (row, column).

    `angle` is that of the first coordinate, in radians from the columns towards the rows.
    """
    rows, columns = np.indices(shape, float)
    down, right = rows - centre[0], columns - centre[1]
    cosine, sine = np.cos(angle), np.sin(angle)
    return right * cosine + down * sine, down * cosine - right * sine


def parcels(
    rng: np.random.Generator, shape: tuple[int, int], width_px: float, angle: float
) -> np.ndarray:
    """Divide the country into strips of rectangular parcels.

    Returns
    -------
    int ndarray (height, width)
        Number of the parcel, from 0.
    """
    along, across = turned(shape, (shape[0] / 2, shape[1] / 2), angle)
    along = along + 1.5 * noise(rng, shape, 60, 5)
    across = across + 1.5 * noise(rng, shape, 60, 5)
    num_strips = int(3 * max(shape) / width_px)
    edges = np.cumsum(rng.uniform(0.5, 1.6, num_strips)) * width_px - 1.5 * max(shape)
    strip = np.searchsorted(edges, across)
    lengths = rng.uniform(1.2, 3.5, num_strips + 1) * width_px
    offsets = rng.uniform(0, 1, num_strips + 1) * lengths
    cell = np.floor((along + offsets[strip]) / lengths[strip]).astype(np.int64)
    return np.unique(strip * 100_000 + cell, return_inverse=True)[1].reshape(shape)


def buildings(
    rng: np.random.Generator, where: np.ndarray, spacing_px: float, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Set buildings in rows on a piece of ground.

    Returns
    -------
    roofs : bool ndarray (height, width)
    shade : float ndarray (height, width)
        One random number of unit spread per building.
    """
    along, across = turned(where.shape, (where.shape[0] / 2, where.shape[1] / 2), angle)
    u, v = along / (1.4 * spacing_px), across / spacing_px
    # A table of random plots, repeated over the country.
    plot = np.floor(u).astype(int) % 61, np.floor(v).astype(int) % 61
    length, width = rng.uniform(0.35, 0.85, (61, 61))[plot], rng.uniform(0.3, 0.75, (61, 61))[plot]
    built = rng.uniform(0, 1, (61, 61))[plot] < 0.75
    roofs = where & built & (u % 1 < length) & (v % 1 < width)
    return roofs, rng.standard_normal((61, 61))[plot]
