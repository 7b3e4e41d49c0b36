"""Shapes that spread over the years: the pits, dumps and ponds of the synthetic mines.

A later stage of a shape always contains an earlier one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from minseg.synthetic.landscape import Biome, noise, turned
from minseg.synthetic.sensing import MATERIALS, PIXEL_M, Material

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
    """Make a growing shape, a superellipse of some power with a ragged outline.

    It spreads along `angle`, radians from the columns towards the rows, from `start` on that axis:
    0 in the centre, -0.9 near the back end.
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
    """Join shapes; each pixel belongs to the one that reaches it first."""
    fields = np.array([(shape.stage, shape.radius_px, shape.bearing) for shape in shapes])
    first = fields[:, 0].argmin(axis=0)  # (height, width)
    return Growth(*np.take_along_axis(fields, first[np.newaxis, np.newaxis], axis=0)[0])


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


@dataclass(frozen=True)
class _PitForm:
    """What the pits of one mine type have in common (section 2.2)."""

    along: tuple[float, float]
    """Semi-axis in the direction of growth, share of the scene: smallest and largest."""
    across: tuple[float, float]
    start: float
    power: float
    ragged: float
    wall: float
    steepness: float
    """Depth over the width of the walls."""
    front: float
    """Half-angle of the sector in which the pit advances, radians."""


_PIT_FORMS = {
    # Extensive and shallow, advancing on a broad front.
    "OC": _PitForm((0.28, 0.36), (0.18, 0.27), -0.85, 3.2, 0.12, 0.20, 0.32, 0.65),
    # Compact and deep, with benches all around.
    "OP": _PitForm((0.17, 0.25), (0.14, 0.21), -0.25, 2.2, 0.14, 0.55, 0.50, 1.60),
    # Follows the mountain's shape.
    "MT": _PitForm((0.17, 0.26), (0.11, 0.18), -0.45, 2.0, 0.30, 0.45, 0.35, 1.30),
}
_GAP_PX = 4  # between the pits of one mine
# One of the many diggings of a patchwork.
_PATCH_FORM = _PitForm((0.05, 0.08), (0.04, 0.06), -0.3, 2.4, 0.30, 0.50, 0.08, 1.00)

# Chances that a mine has a part, by mine type or by raw material.
_INTERNAL_DUMP = {"OC": 0.8, "OP": 0.2, "MT": 0.15}
_EXTERNAL_DUMP = {"OC": 0.75, "OP": 0.8, "MT": 0.65}
_PREPARATION = {"OC": 0.8, "OP": 0.5, "MT": 0.5}
_TAILINGS = {"MO": 0.9, "CL": 0.12, "RR": 0.08}
_PONDS = {"MO": 0.45, "CL": 0.45, "RR": 0.40}
_INNER_PLANT = {"MO": 0.10, "CL": 0.10, "RR": 0.40}

_MINERALS = {"CL": "coal", "MO": "ore", "RR": "rock"}
_HOSTS = {"CL": "overburden", "MO": "ore", "RR": "rock"}


class Plan:
    """Layout of one mine, the same in all years; shapes have their full extent at stage 1."""

    def __init__(
        self,
        rng: np.random.Generator,
        mine_type: str,
        raw_material: str,
        case: str,
        biome: Biome,
        elevation_m: np.ndarray,
        size: int,
    ):
        """Lay out a mine in the inner `size` pixels of its ground; the parts scale with them."""
        shape = elevation_m.shape
        form = _PATCH_FORM if case == "patchwork" else _PIT_FORMS[mine_type]
        # Other pits need room beside the first.
        extent_px = 0.75 * size if case in ("multi-pit", "flooded pit") else size
        axes = rng.uniform(*form.along) * extent_px, rng.uniform(*form.across) * extent_px
        centre = tuple(np.array(shape) / 2 + rng.uniform(-0.08, 0.08, 2) * size)
        if mine_type == "MT":
            central = np.hypot(*turned(shape, centre, 0.0)) < 0.2 * size
            centre = lowest(np.where(central, -elevation_m, np.inf))
        self.raw_material, self.biome = raw_material, biome
        self.pit = grow(
            rng,
            shape,
            centre,
            axes,
            angle=rng.uniform(-np.pi, np.pi),
            start=form.start,
            power=form.power,
            ragged=form.ragged,
        )
        self.host, self.mineral = _ground(rng, raw_material, case, biome)
        # Noise that patches of ground and ragged borders are cut from, (height, width).
        self.patches = noise(rng, shape, 14, 2.4)
        self.wall = form.wall * rng.uniform(0.8, 1.2)  # share of the pit's radius
        self.depth_m = form.steepness * form.wall * min(axes) * PIXEL_M
        self.num_benches = int(rng.integers(3, 6))
        self.front = form.front
        self.has_slopes = rng.random() < 0.65  # that can be told apart
        # Where the haul road enters the pit; None where there is none to be seen.
        seen = rng.random() < 0.75
        self.ramp_bearing = rng.uniform(1.1, 2.4) * rng.choice([-1, 1]) if seen else None
        # Width of the strip prepared ahead of the front, and share of the pit, from its back, that
        # is filled again; 0 for none.
        prepares = rng.random() < _PREPARATION[mine_type]
        self.preparation_px = rng.uniform(3.0, 7.0) if prepares else 0.0
        fills = rng.random() < _INTERNAL_DUMP[mine_type]
        self.internal_dump = rng.uniform(0.35, 0.6) if fills else 0.0
        # Where water stands if the pit's floor is there, (height, width).
        self.sump = (self.patches > 1.3) & (rng.random() < 0.45)
        # Smooth noise: the rock's colour follows it, haul roads its contours, (height, width).
        self.zones = noise(rng, shape, 26, 4.5)
        self.hall_angle = rng.uniform(0, np.pi)
        self.hall_seed = int(rng.integers(2**31))
        self.dumps: list[Growth] = []
        self.old_dump: Growth | None = None
        self.old_pits: list[Growth] = []  # full of water, and unlabelled
        self.reclaimed: list[Growth] = []  # diggings that are green again, and unlabelled
        self.tailings: Growth | None = None
        self.tailings_in_dump = False
        self.dam_sector = np.pi  # half-angle of the dam; the rest leans on natural ground
        self.wet_dam = False  # slurry stands up to the dam and over it
        self.plants: list[Growth] = []
        self.stockpiles: list[Growth] = []
        self.ponds: list[Growth] = []
        self.haul_roads: list[tuple[Place, Place]] = []
        gap_px = _GAP_PX if case in ("patchwork", "multi-pit") else 2
        taken = ndimage.binary_dilation(self.pit.reached(1.0), iterations=gap_px)
        ground = FreeGround(rng, taken, size)
        if case == "patchwork":
            _scatter_patches(rng, self, ground, size)
        else:
            _place_case(rng, self, ground, case, size)
            _place_waste(rng, self, ground, mine_type, size)
        _place_works(rng, self, ground, size)
        _place_inside(rng, self, min(axes), size)


def _ground(
    rng: np.random.Generator, raw_material: str, case: str, biome: Biome
) -> tuple[Material, Material]:
    """Return the ground the mineral lies in, and the mineral."""
    if case == "patchwork":
        earth = MATERIALS["laterite"].mixed(biome.soil, rng.uniform(0.1, 0.3))
        return earth, MATERIALS["laterite"].shaded(rng.uniform(0.85, 1.15))
    # Overburden is what the country's soil lies on, so the two look alike.
    host = MATERIALS["overburden"].mixed(MATERIALS[_HOSTS[raw_material]], rng.uniform(0.2, 0.7))
    host = host.mixed(biome.soil, rng.uniform(0.35, 0.75))
    mineral = MATERIALS[_MINERALS[raw_material]].mixed(host, rng.uniform(0.05, 0.3))
    host = host.shaded(rng.uniform(0.85, 1.15), rng.normal(0, 0.06))
    return host, mineral.shaded(rng.uniform(0.85, 1.15))


def _small(size: int) -> float:
    """Return the scale of small parts: they grow with the scene, but less than the pit does."""
    return float(np.sqrt(size / 128))


def _scatter_patches(rng: np.random.Generator, plan: Plan, ground: FreeGround, size: int) -> None:
    """Make the pit one of many small ones, all over the country; the oldest are green again."""
    pad = (ground.taken.shape[0] - size) // 2
    patches, places = [plan.pit], [plan.pit.start]
    for number in range(rng.integers(16, 24)):
        row, column = rng.uniform(pad, pad + size, 2)
        put = ground.place((0.03 * size, 0.07 * size), (row, column), 2.4, 0.3, gap_px=_GAP_PX)
        if put and number < 4:
            plan.reclaimed.append(put[0])
        elif put:
            patches.append(put[0])
            distances_px = np.hypot(*(np.array(places) - put[1]).T)
            plan.haul_roads.append((places[distances_px.argmin()], put[1]))
            places.append(put[1])
    plan.pit = together(patches)
    plan.num_benches, plan.has_slopes, plan.internal_dump = 1, False, 0.0


def _place_case(
    rng: np.random.Generator, plan: Plan, ground: FreeGround, case: str, size: int
) -> None:
    """Find room for what makes a mine a special case."""
    pit = plan.pit.start
    if case == "wet dam":
        _place_tailings(rng, plan, ground, (0.14 * size, 0.19 * size))
        plan.wet_dam, plan.dam_sector = True, rng.uniform(0.6, 1.0) * np.pi
    elif case == "flooded pit":
        if put := ground.place((0.13 * size, 0.19 * size), pit, ragged=0.25):
            plan.old_pits.append(put[0])
    elif case == "multi-pit":
        pits, axes_px = [plan.pit], (0.07 * size, 0.13 * size)
        for _ in range(3):
            if put := ground.place(axes_px, pit, ragged=0.2, gap_px=_GAP_PX):
                pits.append(put[0])
                plan.haul_roads.append((pit, put[1]))
        for old in (plan.old_pits, plan.reclaimed):
            if put := ground.place(axes_px, pit, ragged=0.2):
                old.append(put[0])
        plan.pit = together(pits)
        plan.depth_m, plan.internal_dump = 0.6 * plan.depth_m, 0.3 * plan.internal_dump


def _place_tailings(
    rng: np.random.Generator, plan: Plan, ground: FreeGround, axes_px: tuple[float, float]
) -> None:
    pit = plan.pit.start
    if put := ground.place(axes_px, pit):
        plan.tailings = put[0]
        plan.tailings_in_dump = rng.random() < 0.65
        plan.dam_sector = rng.uniform(0.35, 1.0) * np.pi
        plan.haul_roads.append((pit, put[1]))


def _place_waste(
    rng: np.random.Generator, plan: Plan, ground: FreeGround, mine_type: str, size: int
) -> None:
    """Find room for tailings, dumps and what is left of older ones."""
    pit, chance = plan.pit.start, rng.random
    if plan.tailings is None and chance() < _TAILINGS[plan.raw_material]:
        _place_tailings(rng, plan, ground, (0.12 * size, 0.18 * size))
    for share in (_EXTERNAL_DUMP[mine_type], 0.3):
        if chance() < share and (put := ground.place((0.10 * size, 0.19 * size), pit, ragged=0.3)):
            plan.dumps.append(put[0])
            plan.haul_roads.append((pit, put[1]))
    if chance() < 0.4 and (put := ground.place((0.09 * size, 0.16 * size), pit, ragged=0.25)):
        plan.old_dump = put[0]
    if chance() < 0.3 and (put := ground.place((0.05 * size, 0.10 * size), pit, ragged=0.25)):
        plan.old_pits.append(put[0])


def _place_works(rng: np.random.Generator, plan: Plan, ground: FreeGround, size: int) -> None:
    """Find room for a plant, stockpiles and settling ponds."""
    pit = yard = plan.pit.start
    chance, small = rng.random, _small(size)
    if chance() < 0.85 and (put := ground.place((0.045 * size, 0.08 * size), pit, 4.0, 0.08)):
        plan.plants.append(put[0])
        plan.haul_roads.append((pit, put[1]))
        yard = put[1]
    for _ in range(rng.integers(1, 5) if chance() < 0.6 else 0):
        if put := ground.place((2.2 * small, 4.5 * small), yard):
            plan.stockpiles.append(put[0])
    for _ in range(rng.integers(1, 4) if chance() < _PONDS[plan.raw_material] else 0):
        if put := ground.place((2.0 * small, 4.5 * small), yard, 4.0, 0.06):
            plan.ponds.append(put[0])


def _place_inside(rng: np.random.Generator, plan: Plan, width_px: float, size: int) -> None:
    """Put a plant and stockpiles into the pit, where digging began: there from the first year."""
    shape = plan.pit.stage.shape
    start = np.array(plan.pit.start)
    turn = rng.uniform(0, np.pi)

    def on_floor(low: float, high: float, power: float) -> Growth:
        centre = tuple(start + rng.uniform(-0.3, 0.3, 2) * width_px)
        axes = rng.uniform(low, high, 2) * _small(size)
        whole = grow(rng, shape, centre, tuple(axes), angle=turn, power=power)
        inside = np.where(plan.pit.reached(1.0), whole.stage, np.inf)
        return Growth(inside, whole.radius_px, whole.bearing)

    if rng.random() < _INNER_PLANT[plan.raw_material]:
        plan.plants.append(on_floor(2.5, 4.0, 4.0))
    if rng.random() < 0.4:
        plan.stockpiles += [on_floor(2.0, 3.5, 2.0) for _ in range(2)]
