"""A synthetic mine in one year: the classes of Table 1 on the ground, its relief, and its looks.

How the classes lie to each other is that of Table 1 and section 2.2. Old dumps that are green again
and flooded old pits are drawn, and stay unlabelled (Table 1).
"""

import numpy as np
from scipy import ndimage

from minseg.synthetic.landscape import buildings, turned
from minseg.synthetic.layout import Growth, Plan
from minseg.synthetic.sensing import MATERIALS, PIXEL_M, Material, Surface

_DAM_PX = 3.2
_RAMP_HALF_WIDTH_PX = 1.5


class MineState:
    """A mine in one year."""

    def __init__(self, plan: Plan, stage: float):
        """Let a mine grow to a stage."""
        self.plan = plan
        pit, dumped = plan.pit, _dumping_stage(stage)
        excavation = pit.reached(stage)
        # 0 at the pit's rim and outside, 1 on its floor.
        depth = self.depth = np.clip((stage - pit.stage) / (stage * plan.wall), 0, 1)
        plants = _union(plan, plan.plants, 1.0)
        stockpiles = _union(plan, plan.stockpiles, 1.0) & ~plants
        ponds = _union(plan, plan.ponds, 1.0)
        dumps = _union(plan, plan.dumps, dumped)
        dam, slurry = _tailings(plan, dumped)
        if plan.tailings_in_dump:
            dumps |= dam | slurry
        internal_dump = self.internal_dump = _internal_dump(plan, stage)
        front = np.abs(pit.bearing) < plan.front
        walls = excavation & (depth > 0.02) & (depth < 0.98)
        visible = walls & ~internal_dump & ~plants & ~stockpiles & plan.has_slopes
        ramp = visible & _ramp(plan, stage)
        strip_px = plan.preparation_px + plan.patches  # ragged
        prepared = front & ~excavation & (pit.distance_px(stage) <= strip_px)
        elsewhere = dumps | dam | slurry | plants | stockpiles | ponds
        # Class name of Table 1 to bool mask (height, width): what is really there.
        self.classes = {
            "excavation": excavation,
            "dumping ground": dumps | internal_dump,
            "stockpile": stockpiles,
            "settling pond": ponds,
            "infrastructure": plants,
            "preparatory work area": prepared & ~elsewhere & (plan.preparation_px > 0),
            "exploitation slope": visible & front & ~ramp,
            "transportation slope": ramp,
            "dam": dam,
            "tailing storage facility": slurry,
        }
        # What digging and dumping did to the elevation.
        self.relief_m = _relief_m(plan, stage, depth, internal_dump)
        self.relief_m += 2.5 * ndimage.distance_transform_edt(stockpiles) + 2.0 * dam


def _dumping_stage(stage: float) -> float:
    """Return how far dumps and tailings are when the pit is at a stage: they began before it."""
    return 0.5 + 0.5 * stage


def _union(plan: Plan, shapes: list[Growth], stage: float) -> np.ndarray:
    none = np.zeros(plan.patches.shape, bool)
    return np.logical_or.reduce([none, *(shape.reached(stage) for shape in shapes)])


def _tailings(plan: Plan, stage: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the dam on the rim of the tailings facility, and the slurry behind it."""
    if plan.tailings is None:
        return _union(plan, [], stage), _union(plan, [], stage)
    impoundment = plan.tailings.reached(stage)
    rim = plan.tailings.distance_px(stage) > -_DAM_PX
    dam = impoundment & rim & (np.abs(plan.tailings.bearing) < plan.dam_sector)
    return dam, impoundment & ~dam


def _internal_dump(plan: Plan, stage: float) -> np.ndarray:
    """Return the back of the pit, which is filled again as the front advances."""
    pit = plan.pit
    edge_px = plan.internal_dump * stage * pit.advance_px[pit.reached(1.0)].max()
    filled = pit.advance_px + 2 * plan.patches < edge_px
    return filled & pit.reached(0.93 * stage) & (plan.internal_dump > 0)


def _ramp(plan: Plan, stage: float) -> np.ndarray:
    """Return the haul road that winds down the pit's wall."""
    if plan.ramp_bearing is None:
        return _union(plan, [], stage)
    span = 1.4 * np.pi * plan.wall  # deep pits have long ramps
    turn = np.sign(plan.ramp_bearing) * (plan.ramp_bearing - plan.pit.bearing) % (2 * np.pi)
    course = stage * (1 - plan.wall * np.clip(turn / span, 0, 1))
    return (np.abs(plan.pit.distance_px(course)) < _RAMP_HALF_WIDTH_PX) & (turn < span)


def _terraces(height: np.ndarray, count: int) -> np.ndarray:
    """Turn a slope from 0 to 1 into steps."""
    step = height * count
    return (np.floor(step) + np.clip(2 * (step % 1), 0, 1)) / count


def _relief_m(plan: Plan, stage: float, depth: np.ndarray, internal_dump: np.ndarray) -> np.ndarray:
    """Return the change of elevation by pit, dumps and tailings, metres."""
    relief_m = -plan.depth_m * _terraces(depth, plan.num_benches)
    ridges_m = 2.6 * np.sin(plan.pit.advance_px * 2 * np.pi / 5.5)
    relief_m = np.where(internal_dump, 0.5 * relief_m + ridges_m, relief_m)
    dumped = _dumping_stage(stage)
    heaps = [(dump, dumped) for dump in plan.dumps]
    heaps += [(plan.old_dump, 1.0)] if plan.old_dump else []
    for heap, reached in heaps:
        inside_px = np.where(heap.reached(reached), -heap.distance_px(reached), 0)
        half_px = max(inside_px.max() / 2, 1.0)  # slopes outside, a plateau in the middle
        relief_m += 0.35 * half_px * PIXEL_M * _terraces(np.clip(inside_px / half_px, 0, 1), 3)
    if plan.tailings is not None:  # a plateau behind its dam
        inside_px = np.where(plan.tailings.reached(1), -plan.tailings.distance_px(dumped), 0)
        relief_m += np.clip(4.0 * inside_px, 0, 10)
    return relief_m


def paint_mine(surface: Surface, state: MineState, year_rng: np.random.Generator) -> None:
    """Paint the mine over the country."""
    plan = state.plan
    waste = plan.host.mixed(plan.biome.soil, 0.4)
    _paint_old_workings(surface, plan)
    _paint_surroundings(surface, state, waste)
    _paint_dumps(surface, state, waste)
    _paint_pit(surface, state, waste)
    _paint_tracks(surface, state, waste)
    _paint_water_works(surface, state, year_rng)
    _paint_plants(surface, state)
    stockpiles = state.classes["stockpile"]
    surface.cover(stockpiles, plan.mineral, brightness=year_rng.uniform(0.9, 1.1))


def _paint_old_workings(surface: Surface, plan: Plan) -> None:
    """Paint what stays unlabelled (Table 1): ground that is green again, and flooded pits."""
    green = MATERIALS["grass"].mixed(MATERIALS["shrub"], 0.5)
    green = green.mixed(MATERIALS["dry grass"], plan.biome.dryness)
    opacity = np.clip(0.75 * plan.biome.plants + 0.2 * plan.patches, 0.15, 1)
    for old in [*plan.reclaimed, *([plan.old_dump] if plan.old_dump else [])]:
        surface.cover(old.reached(1.0), plan.host)
        surface.cover(old.reached(1.0), green, opacity=opacity)
    for pit in plan.old_pits:
        surface.cover(pit.reached(1.0), plan.host, opacity=0.5)
        flooded = pit.reached(1.0) & (pit.distance_px(1.0) < -1.2)
        surface.cover(flooded, MATERIALS["pit water"])


def _paint_surroundings(surface: Surface, state: MineState, waste: Material) -> None:
    """Paint what nobody labels: haul roads outside, and trampled ground along the borders."""
    plan = state.plan
    outside = ~np.logical_or.reduce(list(state.classes.values()))
    trampled = ndimage.distance_transform_edt(outside) < 1.2 + 1.3 * plan.patches
    surface.cover(outside & trampled, waste, opacity=0.6)
    for one, other in plan.haul_roads:
        down, right = other[0] - one[0], other[1] - one[1]
        along, across = turned(outside.shape, one, float(np.arctan2(down, right)))
        length = np.hypot(down, right)
        bend = 0.12 * length * np.sin(np.pi * np.clip(along / length, 0, 1))
        road = (np.abs(across + bend + plan.zones) < 0.8) & (along > 0) & (along < length)
        surface.cover(outside & road, waste.shaded(1.2), opacity=0.8)


def _paint_dumps(surface: Surface, state: MineState, waste: Material) -> None:
    """Paint external dumps, with weeds on what lies still, and the prepared strip."""
    plan = state.plan
    dumps = state.classes["dumping ground"] & ~state.internal_dump
    lobes = 1 + 0.10 * plan.patches + 0.08 * plan.zones
    surface.cover(dumps, waste.shaded(1.05), brightness=lobes, tint=-0.08 * plan.zones)
    weeds = np.clip(0.3 * (surface.hue + plan.patches), 0, 0.6) * plan.biome.plants
    surface.cover(dumps, MATERIALS["shrub"], opacity=weeds)
    if plan.raw_material == "CL":  # carbonaceous rock
        surface.cover(dumps & (plan.patches > 0.9), plan.mineral, opacity=0.45)
    prepared = state.classes["preparatory work area"]
    surface.cover(prepared, plan.biome.soil, opacity=0.85, brightness=0.95)


def _paint_pit(surface: Surface, state: MineState, waste: Material) -> None:
    """Paint walls in layers, the mineral on the floor, the internal dump and the ramp."""
    plan, excavation = state.plan, state.classes["excavation"]
    layer = 2 * np.pi * plan.num_benches * state.depth + 9 * plan.wall
    strata = 0.97 + 0.07 * np.sin(layer) + 0.08 * plan.patches
    surface.cover(excavation, plan.host, brightness=strata, tint=0.10 * plan.zones)
    floor = excavation & (state.depth > 0.75)
    # Seams show as strips along the front, cut into by whatever else goes on there.
    seams = plan.patches + 0.9 * np.sin(plan.pit.advance_px * 2 * np.pi / 17) > -0.2
    surface.cover(floor & seams, plan.mineral, opacity=0.85, brightness=1 + 0.1 * plan.patches)
    lobes = 1 + 0.08 * plan.patches + 0.08 * plan.zones
    surface.cover(state.internal_dump, waste, brightness=lobes, tint=-0.05 * plan.zones)
    surface.cover(floor & plan.sump & ~state.internal_dump, MATERIALS["slurry"], brightness=0.7)
    surface.cover(state.classes["transportation slope"], plan.host.shaded(1.12), opacity=0.85)


def _paint_tracks(surface: Surface, state: MineState, waste: Material) -> None:
    """Paint the tracks of trucks, which wind over bare ground."""
    zones = state.plan.zones
    line = np.abs(zones) < 0.6 * np.hypot(*np.gradient(zones))  # about a pixel wide
    ground = state.classes["excavation"] & ((state.depth > 0.9) | state.internal_dump)
    ground |= state.classes["dumping ground"] & ~state.classes["tailing storage facility"]
    surface.cover(ground & line, waste.shaded(1.25), opacity=0.6)


def _paint_water_works(surface: Surface, state: MineState, year_rng: np.random.Generator) -> None:
    """Paint settling ponds, tailings of slurry and dry beach, and their dam."""
    plan = state.plan
    slurry = MATERIALS["slurry"].mixed(plan.host, 0.1)
    if plan.tailings is not None:
        tailings, dam = state.classes["tailing storage facility"], state.classes["dam"]
        surface.cover(tailings, MATERIALS["tailings"].mixed(plan.host, 0.35))
        # The pond lies away from the dam; how far it spreads changes from year to year.
        away = 0.25 * plan.patches - np.where(
            tailings, plan.tailings.stage * np.cos(plan.tailings.bearing), 0
        )
        level = 1.5 if plan.wet_dam else year_rng.uniform(0.0, 0.4)
        surface.cover(tailings, slurry, opacity=np.clip(2.5 * (away + level), 0, 1))
        surface.cover(dam, plan.host.mixed(plan.biome.soil, 0.3), brightness=1.08)
        if plan.wet_dam:  # the slurry spills over, in places down to the foot
            surface.cover(dam, slurry, opacity=np.clip(0.95 + 0.2 * plan.patches, 0.6, 1))
    for pond in plan.ponds:
        water = MATERIALS["water"].mixed(slurry, year_rng.uniform(0.25, 1.0))
        surface.cover(pond.reached(1.0), water)


def _paint_plants(surface: Surface, state: MineState) -> None:
    """Paint dusty paved ground, and halls in rows."""
    plan = state.plan
    dusty = MATERIALS["paving"].mixed(plan.host, 0.6)
    surface.cover(state.classes["infrastructure"], dusty)
    halls = np.random.default_rng(plan.hall_seed)  # the same ones every year
    roofs, shade = buildings(halls, state.classes["infrastructure"], 3.6, plan.hall_angle)
    surface.cover(roofs, MATERIALS["metal roof"], brightness=np.exp(0.4 * shade - 0.25))
