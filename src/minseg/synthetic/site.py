"""A synthetic mine in one year: the classes of Table 1 on the ground, and its relief.

How the classes lie to each other is that of Table 1 and section 2.2.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from minseg.synthetic.layout import Growth, Plan
from minseg.synthetic.sensing import PIXEL_M

_DAM_PX = 3.2
_RAMP_HALF_WIDTH_PX = 1.5


@dataclass(frozen=True)
class MineState:
    """A mine in one year."""

    plan: Plan
    classes: dict[str, np.ndarray]
    """Class name of Table 1 to bool mask (height, width): what is really there."""
    depth: np.ndarray
    """0 at the pit's rim and outside, 1 on its floor."""
    internal_dump: np.ndarray
    """Bool (height, width)."""
    relief_m: np.ndarray
    """What digging and dumping did to the elevation, metres."""


def mine_at(plan: Plan, stage: float) -> MineState:
    """Let a mine grow to a stage."""
    pit, dumped = plan.pit, _dumping_stage(stage)
    excavation = pit.reached(stage)
    depth = np.clip((stage - pit.stage) / (stage * plan.wall), 0, 1)
    plants = _union(plan, plan.plants, 1.0)
    stockpiles = _union(plan, plan.stockpiles, 1.0) & ~plants
    ponds = _union(plan, plan.ponds, 1.0)
    dumps = _union(plan, plan.dumps, dumped)
    dam, slurry = _tailings(plan, dumped)
    if plan.tailings_in_dump:
        dumps |= dam | slurry
    internal_dump = _internal_dump(plan, stage)
    front = np.abs(pit.bearing) < plan.front
    walls = excavation & (depth > 0.02) & (depth < 0.98)
    visible = walls & ~internal_dump & ~plants & ~stockpiles & plan.has_slopes
    ramp = visible & _ramp(plan, stage)
    strip_px = plan.preparation_px + plan.patches  # ragged
    prepared = front & ~excavation & (pit.distance_px(stage) <= strip_px)
    elsewhere = dumps | dam | slurry | plants | stockpiles | ponds
    classes = {
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
    relief_m = _relief_m(plan, stage, depth, internal_dump)
    relief_m += 2.5 * ndimage.distance_transform_edt(stockpiles) + 2.0 * dam
    return MineState(plan, classes, depth, internal_dump, relief_m)


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
