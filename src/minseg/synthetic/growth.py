"""Shapes that spread over the years: the pits, dumps and ponds of the synthetic mines.

A later stage of a shape always contains an earlier one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from minseg.synthetic.patterns import noise, turned

Place = tuple[float, float]
"""Row and column."""


def lowest(field: np.ndarray) -> Place:
    """Return the place where a field (height, width) takes its lowest value."""
    row, column = np.unravel_index(np.argmin(field), field.shape)
    return float(row), float(column)


@dataclass(frozen=True)
class Growth:
    """A shape that spreads from a starting point; all fields are (height, width)."""

    stage: np.ndarray
    """When the shape reaches a pixel: up to 1 inside the final outline, more outside."""
    radius_px: np.ndarray
    """Distance from the starting point."""
    bearing: np.ndarray
    """Angle from the direction in which the shape spreads farthest, -pi to pi."""

    def reached(self, stage: float) -> np.ndarray:
        """Return the shape at a stage."""
        return self.stage <= stage

    def distance_px(self, stage: float | np.ndarray) -> np.ndarray:
        """Return the distance from the outline at a stage along the ray, positive outside."""
        return self.radius_px * (1 - stage / np.maximum(self.stage, 1e-3))

    @property
    def start(self) -> Place:
        """A starting point."""
        return lowest(self.radius_px)

    @property
    def advance_px(self) -> np.ndarray:
        """Distance from the starting point in the direction of growth."""
        return self.radius_px * np.cos(self.bearing)


def grow(
    rng: np.random.Generator,
    shape: tuple[int, int],
    centre: Place,
    semi_axes_px: tuple[float, float],
    *,
    angle: float,
    start: float = 0.0,
    power: float = 2.0,
    ragged: float = 0.12,
) -> Growth:
    """Make a growing shape with an irregular outline.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (height, width)
    centre : (row, column)
        Of the final outline.
    semi_axes_px : (along, across)
        Of the final outline, a superellipse before it is made ragged.
    angle : float
        Direction of growth, radians from the columns towards the rows.
    start : float
        Starting point on the axis of growth: 0 in the centre, -0.9 near the back end.
    power : float
        2 for an ellipse, more for a boxy outline.
    ragged : float
        Size of the irregularities relative to the shape.

    Returns
    -------
    Growth
    """
    along, across = turned(shape, centre, angle)
    size = float(np.mean(semi_axes_px))
    for coordinate in (along, across):
        coordinate += ragged * size * noise(rng, shape, 1.6 * size, 3.0)
        coordinate += 0.25 * ragged * size * noise(rng, shape, 0.4 * size, 2.5)
    along -= start * semi_axes_px[0]
    radius, bearing = np.hypot(along, across), np.arctan2(across, along)
    # Length of each ray from the starting point to the final outline, by stepping outwards.
    angles = np.linspace(-np.pi, np.pi, 181)
    steps = np.linspace(0, 2.2 * max(semi_axes_px), 500)
    x = (steps * np.cos(angles)[:, None] + start * semi_axes_px[0]) / semi_axes_px[0]
    y = steps * np.sin(angles)[:, None] / semi_axes_px[1]
    reach = steps[(np.abs(x) ** power + np.abs(y) ** power <= 1).sum(axis=1) - 1]
    stage = radius / np.interp(bearing, angles, reach)
    return Growth(np.where(_stray_pieces(stage <= 1), 1.5, stage), radius, bearing)


def _stray_pieces(mask: np.ndarray) -> np.ndarray:
    """Return the pieces of a mask that do not hang together with the largest one."""
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return mask & (pieces != sizes.argmax())


def together(shapes: Sequence[Growth]) -> Growth:
    """Join shapes into one that spreads from several starting points at once.

    Parameters
    ----------
    shapes : sequence of Growth

    Returns
    -------
    Growth
        Each pixel belongs to the shape that reaches it first.
    """
    first = np.argmin([shape.stage for shape in shapes], axis=0)[np.newaxis]

    def of_first(name: str) -> np.ndarray:
        fields = np.stack([getattr(shape, name) for shape in shapes])
        return np.take_along_axis(fields, first, axis=0)[0]

    return Growth(of_first("stage"), of_first("radius_px"), of_first("bearing"))


class FreeGround:
    """The ground around the first pit, given out piece by piece."""

    def __init__(self, rng: np.random.Generator, taken: np.ndarray, size: int):
        self.rng, self.taken, self.size = rng, taken, size

    def place(
        self,
        axes_px: tuple[float, float],
        near: Place,
        power: float = 2.0,
        ragged: float = 0.12,
        gap_px: int = 1,
    ) -> tuple[Growth, Place] | None:
        """Put a shape with axes in a range near a place; None where there is no room."""
        axes = self.rng.uniform(*axes_px), self.rng.uniform(*axes_px)
        shape = self.taken.shape
        pad = (shape[0] - self.size) // 2
        fits = np.zeros(shape, bool)
        fits[pad:-pad, pad:-pad] = True
        fits &= ndimage.distance_transform_edt(~self.taken) > min(axes)
        if not fits.any():
            return None
        stray = min(0.12 * self.size, 2 * min(axes)) * noise(self.rng, shape, 0.3 * self.size, 4)
        cost = np.hypot(*turned(shape, near, 0.0)) + stray
        centre = lowest(np.where(fits, cost, np.inf))
        angle = self.rng.uniform(-np.pi, np.pi)
        whole = grow(self.rng, shape, centre, axes, angle=angle, power=power, ragged=ragged)
        part = Growth(np.where(self.taken, np.inf, whole.stage), whole.radius_px, whole.bearing)
        self.taken = self.taken | ndimage.binary_dilation(part.reached(1.0), iterations=gap_px)
        return part, centre
