"""What a synthetic mine looks like in one year: its materials, and all that nobody labels.

Old dumps that are green again and flooded old pits are drawn, and stay unlabelled (Table 1).
"""

import numpy as np
from scipy import ndimage

from minseg.synthetic.landscape import buildings, turned
from minseg.synthetic.layout import Plan
from minseg.synthetic.sensing import MATERIALS, Material, Surface
from minseg.synthetic.site import MineState


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
