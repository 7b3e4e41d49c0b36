"""The parts of a synthetic mine: where they lie, how they grow, what they look like.

The relations are those of Table 1 and section 2.2: slopes lie inside the excavation, an internal
dump overlaps it, stockpiles and plants stand inside or outside, preparatory work runs ahead of
the front, a dumping ground may hold a whole tailings facility, whose slurry a dam holds back.
Old dumps that are green again and flooded old pits are drawn, and stay unlabelled.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from minseg.data.labels import CLASS_NAMES
from minseg.data.landscape import Biome, buildings, noise, turned
from minseg.data.sensing import MATERIALS, PIXEL_M, Material, Surface


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
        """Return the shape at a stage; later shapes contain the earlier ones."""
        return self.stage <= stage

    def distance_px(self, stage: float | np.ndarray) -> np.ndarray:
        """Return the distance from the outline at a stage, along the ray; positive outside."""
        return self.radius_px * (1 - stage / np.maximum(self.stage, 1e-3))


def grow(
    rng: np.random.Generator,
    shape: tuple[int, int],
    centre: tuple[float, float],
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
    bearing = np.arctan2(across, along)
    # Length of each ray from the starting point to the final outline, by stepping outwards.
    angles = np.linspace(-np.pi, np.pi, 181)
    steps = np.linspace(0, 2.2 * max(semi_axes_px), 500)
    x = (steps * np.cos(angles)[:, None] + start * semi_axes_px[0]) / semi_axes_px[0]
    y = steps * np.sin(angles)[:, None] / semi_axes_px[1]
    reach = steps[(np.abs(x) ** power + np.abs(y) ** power <= 1).sum(axis=1) - 1]
    radius = np.hypot(along, across)
    return Growth(radius / np.interp(bearing, angles, reach), radius, bearing)


@dataclass
class Plan:
    """Layout of one mine, the same in all years; shapes are at full extent at stage 1."""

    raw_material: str
    biome: Biome
    pit: Growth
    pit_axes_px: tuple[float, float]
    wall: float
    """Share of the pit's radius that its walls take."""
    depth_m: float
    num_benches: int
    front: float
    """Half-angle of the sector in which the pit advances, radians."""
    has_slopes: bool
    ramp_bearing: float | None
    """Where the haul road enters the pit; None where no ramp can be told from the walls."""
    preparation_px: float
    """Width of the strip prepared ahead of the front, 0 for none."""
    internal_dump: float
    """Share of the pit, from its back, that is filled again."""
    sump: np.ndarray
    host: Material
    mineral: Material
    texture: np.ndarray
    """Noise that patches of ground and ragged borders are cut from."""
    dumps: list[Growth] = field(default_factory=list)
    old_dump: Growth | None = None
    old_pit: Growth | None = None
    tailings: Growth | None = None
    tailings_in_dump: bool = False
    dam_sector: float = np.pi
    """Half-angle of the dam around the tailings; the rest leans on natural ground."""
    plants: list[Growth] = field(default_factory=list)
    stockpiles: list[Growth] = field(default_factory=list)
    ponds: list[Growth] = field(default_factory=list)
    haul_roads: list[tuple[tuple[float, float], tuple[float, float]]] = field(default_factory=list)


# Per mine type: semi-axes along and across the advance (share of the scene), start of digging on
# that axis, boxiness, raggedness, wall share, steepness of the walls, half-angle of the front.
_PIT_FORMS = {
    "OC": ((0.28, 0.36), (0.18, 0.27), -0.85, 3.2, 0.12, 0.20, 0.32, 0.65),
    "OP": ((0.17, 0.25), (0.14, 0.21), -0.25, 2.2, 0.14, 0.55, 0.50, 1.60),
    "MT": ((0.17, 0.26), (0.11, 0.18), -0.45, 2.0, 0.30, 0.45, 0.35, 1.30),
}

# Chances of parts, by mine type or by raw material.
_INTERNAL_DUMP = {"OC": 0.8, "OP": 0.2, "MT": 0.15}
_EXTERNAL_DUMP = {"OC": 0.75, "OP": 0.8, "MT": 0.65}
_PREPARATION = {"OC": 0.8, "OP": 0.5, "MT": 0.5}
_TAILINGS = {"MO": 0.75, "CL": 0.12, "RR": 0.08}
_PONDS = {"MO": 0.45, "CL": 0.45, "RR": 0.40}
_INNER_PLANT = {"MO": 0.10, "CL": 0.10, "RR": 0.40}


def plan_mine(
    rng: np.random.Generator,
    mine_type: str,
    raw_material: str,
    biome: Biome,
    elevation_m: np.ndarray,
    size: int,
) -> Plan:
    """Lay out a mine.

    Parameters
    ----------
    rng : numpy.random.Generator
    mine_type : {"OC", "OP", "MT"}
    raw_material : {"RR", "MO", "CL"}
    biome : Biome
    elevation_m : float32 ndarray (height, width)
        A mountain-top mine is put on the highest ground.
    size : int
        Height and width of the scene in pixels; the parts scale with it.

    Returns
    -------
    Plan
    """
    shape = elevation_m.shape
    along, across, start, power, ragged, wall, steepness, front = _PIT_FORMS[mine_type]
    axes = rng.uniform(*along) * size, rng.uniform(*across) * size
    middle = np.array(shape) / 2 + rng.uniform(-0.08, 0.08, 2) * size
    if mine_type == "MT":
        central = np.hypot(*turned(shape, tuple(middle), 0.0)) < 0.2 * size
        middle = np.array(np.unravel_index(np.argmax(np.where(central, elevation_m, -1e9)), shape))
    angle = rng.uniform(-np.pi, np.pi)
    pit = grow(
        rng, shape, tuple(middle), axes, angle=angle, start=start, power=power, ragged=ragged
    )
    # Overburden is what the country's soil lies on, so the two look alike.
    base = {"CL": "overburden", "MO": "ore", "RR": "rock"}[raw_material]
    host = MATERIALS["overburden"].mixed(MATERIALS[base], rng.uniform(0.2, 0.7))
    host = host.mixed(biome.soil, rng.uniform(0.35, 0.75))
    mineral = MATERIALS[{"CL": "coal", "MO": "ore", "RR": "rock"}[raw_material]]
    texture = noise(rng, shape, 14, 2.4)
    plan = Plan(
        raw_material=raw_material,
        biome=biome,
        pit=pit,
        pit_axes_px=axes,
        wall=wall * rng.uniform(0.8, 1.2),
        depth_m=steepness * wall * min(axes) * PIXEL_M,
        num_benches=int(rng.integers(3, 5) if mine_type == "OC" else rng.integers(3, 6)),
        front=front,
        has_slopes=rng.random() < 0.65,
        ramp_bearing=rng.uniform(1.1, 2.4) * rng.choice([-1, 1]) if rng.random() < 0.6 else None,
        preparation_px=rng.uniform(2.0, 6.0) if rng.random() < _PREPARATION[mine_type] else 0.0,
        internal_dump=rng.uniform(0.35, 0.6) if rng.random() < _INTERNAL_DUMP[mine_type] else 0.0,
        sump=(texture > 1.3) & (rng.random() < 0.45),
        host=host.shaded(rng.uniform(0.85, 1.15), rng.normal(0, 0.06)),
        mineral=mineral.mixed(host, rng.uniform(0.05, 0.3)).shaded(rng.uniform(0.85, 1.15)),
        texture=texture,
    )
    _place_parts(rng, plan, mine_type, shape, size)
    return plan


def _place_parts(
    rng: np.random.Generator, plan: Plan, mine_type: str, shape: tuple[int, int], size: int
) -> None:
    """Find room around the pit for the other parts, the large ones first."""
    raw_material, pit = plan.raw_material, plan.pit
    start = np.unravel_index(np.argmin(pit.radius_px), shape)
    small = np.sqrt(size / 128)  # small things do not grow in proportion with the scene
    taken = ndimage.binary_dilation(pit.reached(1.0), iterations=2)

    def place(
        low: float, high: float, near: tuple, power: float = 2.0, ragged: float = 0.12
    ) -> tuple[Growth, tuple] | None:
        """Put a shape of a random size on free ground; nothing where there is no room."""
        nonlocal taken
        axes = rng.uniform(low, high), rng.uniform(low, high)
        centre = _free_place(rng, taken, min(axes), near, size)
        if centre is None:
            return None
        angle = rng.uniform(-np.pi, np.pi)
        shape_ = grow(rng, shape, centre, axes, angle=angle, power=power, ragged=ragged)
        free = Growth(np.where(taken, np.inf, shape_.stage), shape_.radius_px, shape_.bearing)
        taken = taken | ndimage.binary_dilation(free.reached(1.0), iterations=1)
        return free, centre

    if rng.random() < _TAILINGS[raw_material] and (put := place(0.12 * size, 0.18 * size, start)):
        plan.tailings = put[0]
        plan.tailings_in_dump = rng.random() < 0.65
        plan.dam_sector = rng.uniform(0.35, 1.0) * np.pi
        plan.haul_roads.append((start, put[1]))
    for chance in (_EXTERNAL_DUMP[mine_type], 0.3):
        if rng.random() < chance and (put := place(0.10 * size, 0.19 * size, start, ragged=0.3)):
            plan.dumps.append(put[0])
            plan.haul_roads.append((start, put[1]))
    yard = start
    if rng.random() < 0.85 and (put := place(0.045 * size, 0.08 * size, start, 4.0, 0.08)):
        plan.plants.append(put[0])
        plan.haul_roads.append((start, put[1]))
        yard = put[1]
    if rng.random() < 0.6:
        for _ in range(rng.integers(1, 5)):
            if put := place(2.2 * small, 4.5 * small, yard):
                plan.stockpiles.append(put[0])
    if rng.random() < _PONDS[raw_material]:
        for _ in range(rng.integers(1, 4)):
            if put := place(2.0 * small, 4.5 * small, yard, 4.0, 0.06):
                plan.ponds.append(put[0])
    if rng.random() < 0.4 and (put := place(0.09 * size, 0.16 * size, start, ragged=0.25)):
        plan.old_dump = put[0]
    if rng.random() < 0.3 and (put := place(0.05 * size, 0.10 * size, start, ragged=0.25)):
        plan.old_pit = put[0]
    # On the pit's floor, close to where digging began, so that it is there from the first year.
    floor = [np.array(start) + rng.uniform(-0.3, 0.3, 2) * min(plan.pit_axes_px) for _ in range(3)]
    turn = rng.uniform(0, np.pi)
    if rng.random() < _INNER_PLANT[raw_material]:
        axes = rng.uniform(2.5, 4.0, 2) * small
        plan.plants.append(grow(rng, shape, tuple(floor[0]), tuple(axes), angle=turn, power=4))
    if rng.random() < 0.4:
        for centre in floor[1:]:
            axes = rng.uniform(2.0, 3.5, 2) * small
            plan.stockpiles.append(grow(rng, shape, tuple(centre), tuple(axes), angle=turn))


def _free_place(
    rng: np.random.Generator, taken: np.ndarray, radius_px: float, near: tuple, size: int
) -> tuple[int, int] | None:
    """Find free ground for a circle, rather close to a place; None where there is no room."""
    pad = (np.array(taken.shape) - size) // 2
    inside = np.zeros_like(taken)
    inside[pad[0] : -pad[0], pad[1] : -pad[1]] = True
    fits = inside & (ndimage.distance_transform_edt(~taken) > radius_px)
    if not fits.any():
        return None
    distance = np.hypot(*turned(taken.shape, near, 0.0))
    cost = distance + 0.12 * size * noise(rng, taken.shape, 0.3 * size, 4)
    row, column = np.unravel_index(np.argmin(np.where(fits, cost, np.inf)), taken.shape)
    return int(row), int(column)


@dataclass(frozen=True)
class MineState:
    """A mine in one year."""

    plan: Plan
    classes: dict[str, np.ndarray]
    """Class name of Table 1 to bool mask (height, width): what is really there."""
    relief_m: np.ndarray
    """What digging and dumping did to the elevation, metres."""
    depth: np.ndarray
    """0 at the pit's rim and outside, 1 on its floor."""
    internal_dump: np.ndarray


def mine_at(plan: Plan, stage: float) -> MineState:
    """Let a mine grow to a stage.

    Parameters
    ----------
    plan : Plan
    stage : float
        Share of the final extent, 0 to 1. Excavation, dumps and tailings only ever grow.

    Returns
    -------
    MineState
    """
    pit = plan.pit
    none = np.zeros(pit.stage.shape, bool)
    excavation = pit.reached(stage)
    depth = np.clip((stage - pit.stage) / (stage * plan.wall), 0, 1)
    advance_px = pit.radius_px * np.cos(pit.bearing)
    reach_px = stage * advance_px[pit.reached(1.0)].max()
    internal_dump = (
        excavation & (advance_px + 2 * plan.texture < plan.internal_dump * reach_px)
        if plan.internal_dump
        else none
    ) & (pit.stage < 0.93 * stage)
    started = 0.5 + 0.5 * stage
    dumps = _union([dump.reached(started) for dump in plan.dumps], none)
    slurry = dam = none
    if plan.tailings is not None:
        impoundment = plan.tailings.reached(started)
        rim = plan.tailings.distance_px(started) > -3.2
        dam = impoundment & rim & (np.abs(plan.tailings.bearing) < plan.dam_sector)
        slurry = impoundment & ~dam
        dumps = dumps | impoundment if plan.tailings_in_dump else dumps
    plants = _union([plant.reached(1.0) for plant in plan.plants], none)
    stockpiles = _union([pile.reached(1.0) for pile in plan.stockpiles], none) & ~plants
    upon = plants | stockpiles
    ramp = _ramp(plan, stage, depth) & ~upon & ~internal_dump if plan.has_slopes else none
    walls = excavation & (depth > 0.02) & (depth < 0.98) & (np.abs(pit.bearing) < plan.front)
    ahead = (pit.distance_px(stage) <= plan.preparation_px + plan.texture) & ~excavation
    ponds = _union([pond.reached(1.0) for pond in plan.ponds], none)
    rest = dumps | dam | slurry | upon | ponds
    masks = {
        "excavation": excavation,
        "dumping ground": dumps | internal_dump,
        "stockpile": stockpiles,
        "settling pond": ponds,
        "infrastructure": plants,
        "preparatory work area": ahead
        & (np.abs(pit.bearing) < plan.front)
        & ~rest
        & (plan.preparation_px > 0),
        "exploitation slope": walls & ~ramp & ~upon & ~internal_dump & plan.has_slopes,
        "transportation slope": ramp,
        "dam": dam,
        "tailing storage facility": slurry,
    }
    relief = _relief(plan, stage, started, depth, internal_dump, stockpiles, dam)
    return MineState(
        plan, {name: masks[name] for name in CLASS_NAMES}, relief, depth, internal_dump
    )


def _union(masks: list[np.ndarray], none: np.ndarray) -> np.ndarray:
    return np.logical_or.reduce(masks) if masks else none


def _ramp(plan: Plan, stage: float, depth: np.ndarray) -> np.ndarray:
    """Return the haul road that winds down the pit's wall."""
    if plan.ramp_bearing is None:
        return np.zeros(depth.shape, bool)
    span = 1.4 * np.pi * plan.wall  # deep pits have long ramps
    turn = ((plan.pit.bearing - plan.ramp_bearing) * -np.sign(plan.ramp_bearing)) % (2 * np.pi)
    on_ramp = stage * (1 - plan.wall * np.clip(turn / span, 0, 1))
    near = np.abs(plan.pit.distance_px(on_ramp)) < 1.5
    return near & (turn < span) & plan.pit.reached(stage)


def _terraces(height: np.ndarray, count: int) -> np.ndarray:
    """Turn a slope from 0 to 1 into steps."""
    step = height * count
    return (np.floor(step) + np.clip(2 * (step % 1), 0, 1)) / count


def _relief(
    plan: Plan,
    stage: float,
    started: float,
    depth: np.ndarray,
    internal_dump: np.ndarray,
    stockpiles: np.ndarray,
    dam: np.ndarray,
) -> np.ndarray:
    """Return the change of elevation, metres."""
    relief = -plan.depth_m * _terraces(depth, plan.num_benches)
    ridges = np.sin(plan.pit.radius_px * np.cos(plan.pit.bearing) * 2 * np.pi / 5.5)
    relief = np.where(internal_dump, 0.5 * relief + 2.6 * ridges, relief)
    heaps = [(dump, started, 0.35) for dump in plan.dumps]
    heaps += [(plan.old_dump, 1.0, 0.34)] if plan.old_dump else []
    for heap, now, steepness in heaps:
        inside = np.clip(-heap.distance_px(now), 0, None)
        inside = np.where(heap.reached(now), inside, 0)
        height = inside.max() * PIXEL_M * steepness * 0.5
        if height > 0:
            relief = relief + height * _terraces(np.clip(2 * inside / inside.max(), 0, 1), 3)
    if plan.tailings is not None:  # a plateau behind its dam
        relief = relief + np.clip(-4.0 * plan.tailings.distance_px(started), 0, 10)
    relief = relief + 2.5 * ndimage.distance_transform_edt(stockpiles) + 2.0 * dam
    return relief.astype(np.float32)


def paint_mine(surface: Surface, state: MineState, year_rng: np.random.Generator) -> None:
    """Paint the mine over the country.

    Parameters
    ----------
    surface : Surface
    state : MineState
    year_rng : numpy.random.Generator
        Random stream of the mine and the year.
    """
    plan, masks = state.plan, state.classes
    patches = plan.texture
    waste = plan.host.mixed(plan.biome.soil, 0.4)
    _paint_old_workings(surface, plan)
    _paint_surroundings(surface, state, waste)
    external = masks["dumping ground"] & ~state.internal_dump
    surface.cover(external, waste.shaded(1.05), brightness=1 + 0.10 * patches)
    # Weeds take hold on what lies still.
    weeds = np.clip(0.3 * (surface.hue + patches), 0, 0.6)
    surface.cover(external, MATERIALS["shrub"], opacity=weeds * plan.biome.plants)
    if plan.raw_material == "CL":
        surface.cover(external & (patches > 0.9), plan.mineral, opacity=0.45)
    surface.cover(
        masks["preparatory work area"], plan.biome.soil, opacity=0.85, brightness=0.95
    )
    layer = 2 * np.pi * plan.num_benches * state.depth
    strata = 0.97 + 0.10 * np.sin(layer + 9 * plan.wall) + 0.08 * patches
    surface.cover(masks["excavation"], plan.host, brightness=strata)
    floor = masks["excavation"] & (state.depth > 0.75)
    # Seams show as strips along the front, cut into by whatever else goes on there.
    strips = np.sin(plan.pit.radius_px * np.cos(plan.pit.bearing) * 2 * np.pi / 17)
    seam = patches + 0.9 * strips > -0.2
    surface.cover(floor & seam, plan.mineral, opacity=0.85, brightness=1 + 0.1 * patches)
    surface.cover(state.internal_dump, waste, brightness=1 + 0.08 * patches)
    surface.cover(floor & plan.sump & ~state.internal_dump, MATERIALS["slurry"], brightness=0.7)
    hauled = plan.host.shaded(1.12)
    surface.cover(masks["transportation slope"], hauled, opacity=0.85)
    _paint_water_works(surface, state, year_rng)
    _paint_plants(surface, state)
    surface.cover(masks["stockpile"], plan.mineral, brightness=year_rng.uniform(0.9, 1.1))


def _paint_surroundings(surface: Surface, state: MineState, waste: Material) -> None:
    """Paint what nobody labels: haul roads outside, and trampled ground along the borders."""
    plan = state.plan
    parts = np.logical_or.reduce(list(state.classes.values()))
    distance_px = ndimage.distance_transform_edt(~parts)
    trampled = ~parts & (distance_px < 1.2 + 1.3 * plan.texture)
    surface.cover(trampled, waste, opacity=0.6)
    for one, other in plan.haul_roads:
        angle = np.arctan2(other[0] - one[0], other[1] - one[1])
        along, across = turned(parts.shape, one, angle)
        length = np.hypot(other[0] - one[0], other[1] - one[1])
        on_road = (np.abs(across + plan.texture) < 0.8) & (along > 0) & (along < length)
        surface.cover(on_road & ~parts, waste.shaded(1.1), opacity=0.8)


def _paint_old_workings(surface: Surface, plan: Plan) -> None:
    """Paint the revegetated dump and the flooded pit, which stay unlabelled (Table 1)."""
    if plan.old_dump is not None:
        green = MATERIALS["grass"].mixed(MATERIALS["shrub"], 0.5)
        green = green.mixed(MATERIALS["dry grass"], plan.biome.dryness)
        cover = np.clip(0.75 * plan.biome.plants + 0.2 * plan.texture, 0.15, 1)
        surface.cover(plan.old_dump.reached(1.0), green, opacity=cover)
    if plan.old_pit is not None:
        shore = plan.old_pit.reached(1.0)
        surface.cover(shore, plan.host, opacity=0.5)
        water = MATERIALS["water"].mixed(MATERIALS["slurry"], 0.12)
        surface.cover(shore & (plan.old_pit.distance_px(1.0) < -1.2), water)


def _paint_water_works(
    surface: Surface, state: MineState, year_rng: np.random.Generator
) -> None:
    """Paint settling ponds, and tailings that are wet on one side and a dry beach on the other."""
    plan, masks = state.plan, state.classes
    tinted = MATERIALS["tailings"].mixed(plan.host, 0.35)
    slurry = MATERIALS["slurry"].mixed(plan.host, 0.1)
    if plan.tailings is not None:
        tailings = masks["tailing storage facility"]
        surface.cover(tailings, tinted)
        # The pond lies away from the dam; how far it spreads changes from year to year.
        away = -plan.tailings.stage * np.cos(plan.tailings.bearing) + 0.25 * plan.texture
        wetness = np.clip(2.5 * (away + year_rng.uniform(0.0, 0.4)), 0, 1)
        surface.cover(tailings, slurry, opacity=wetness)
        surface.cover(masks["dam"], plan.host.mixed(plan.biome.soil, 0.3), brightness=1.08)
    for pond in plan.ponds:
        water = MATERIALS["water"].mixed(slurry, year_rng.uniform(0.25, 1.0))
        surface.cover(pond.reached(1.0), water)


def _paint_plants(surface: Surface, state: MineState) -> None:
    """Paint paved ground, dust, and halls in rows."""
    plants = state.classes["infrastructure"]
    paving = MATERIALS["paving"].mixed(state.plan.host, 0.45)
    surface.cover(plants, paving)
    # The same halls every year: their places come from the layout, not from the year.
    fixed = np.random.default_rng(state.plan.num_benches)
    roofs, shade = buildings(fixed, plants, 3.6, float(state.plan.wall * 20))
    surface.cover(roofs, MATERIALS["metal roof"], brightness=np.exp(0.3 * shade - 0.1))
