"""The synthetic mines as a table: where they lie, what is mined, and which are special cases."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from minseg.data.mines import PARTS

_SPACING_DEGREES = 0.2

# Twenty mines of a dataset hold every combination of raw material and mine type: coal mostly in
# opencast, ore and rock mostly in open-pit mines.
_COMBINATIONS = (
    [("CL", "OC")] * 5
    + [("CL", "OP"), ("CL", "MT")]
    + [("MO", "OP")] * 4
    + [("MO", "OC"), ("MO", "MT")]
    + [("RR", "OP")] * 4
    + [("RR", "MT")] * 2
    + [("RR", "OC")]
)


@dataclass(frozen=True)
class Belt:
    """A region where mines are."""

    longitude: float
    latitude: float
    biome: str
    """Name in `minseg.synthetic.landscape.BIOMES`."""


BELTS: tuple[Belt, ...] = (
    Belt(16.5, 51.2, "temperate"),
    Belt(9.5, 51.2, "temperate"),
    Belt(21.5, 44.3, "temperate"),
    Belt(35.5, 48.2, "steppe"),
    Belt(-5.8, 38.3, "savanna"),
    Belt(31.5, 67.3, "boreal"),
    Belt(59.5, 54.0, "boreal"),
    Belt(87.0, 54.0, "boreal"),
    Belt(111.5, 39.5, "steppe"),
    Belt(83.0, 23.0, "savanna"),
    Belt(114.5, -0.8, "tropical"),
    Belt(29.5, -25.8, "steppe"),
    Belt(26.8, -12.2, "savanna"),
    Belt(-110.5, 33.0, "arid"),
    Belt(-105.8, 43.8, "steppe"),
    Belt(-81.5, 38.2, "temperate"),
    Belt(-67.0, 52.8, "boreal"),
    Belt(-50.5, -6.2, "tropical"),
    Belt(-44.0, -19.5, "tropical"),
    Belt(-68.8, -23.5, "arid"),
    Belt(118.8, -22.8, "arid"),
    Belt(148.0, -23.2, "savanna"),
)
"""Mining regions of five continents, about their middle."""


def synthetic_mines(num_mines: int, seed: int) -> pd.DataFrame:
    """Make a mine table."""
    rng = np.random.default_rng(seed)
    positions: list[tuple[float, float]] = []
    spread = 1.2
    while len(positions) < num_mines:
        belt = BELTS[rng.integers(len(BELTS))]
        spread *= 1.001  # so that room is found for any number of mines
        longitude, latitude = (
            round(middle + rng.uniform(-spread, spread), 4)
            for middle in (belt.longitude, belt.latitude)
        )
        east = np.cos(np.radians(latitude))
        if all(
            np.hypot((longitude - x) * east, latitude - y) >= _SPACING_DEGREES for x, y in positions
        ):
            positions.append((longitude, latitude))
    kinds: list[tuple[str, str]] = []
    while len(kinds) < num_mines:
        kinds += [_COMBINATIONS[index] for index in rng.permutation(len(_COMBINATIONS))]
    return pd.DataFrame(
        {
            "mine": [f"synthetic-{number:03d}" for number in range(1, num_mines + 1)],
            "name": [f"Synthetic mine {number}" for number in range(1, num_mines + 1)],
            "country": "",
            "continent": "",
            "longitude": [longitude for longitude, _ in positions],
            "latitude": [latitude for _, latitude in positions],
            "raw_material": [raw_material for raw_material, _ in kinds[:num_mines]],
            "mine_type": [mine_type for _, mine_type in kinds[:num_mines]],
        }
    )


def nearest_belt(mine: pd.Series) -> Belt:
    """Return the region that a mine of the table lies in."""
    return min(
        BELTS,
        key=lambda belt: np.hypot(
            belt.longitude - mine["longitude"], belt.latitude - mine["latitude"]
        ),
    )


@dataclass(frozen=True)
class Case:
    """A kind of scene that section 4 of the paper found hard, or worth a look."""

    name: str
    """Value of the column `case` in the mine table."""
    description: str
    raw_material: str | None = None
    """Raw material that such a mine yields; None for any."""
    latitudes: tuple[float, float] = (0.0, 90.0)
    """Degrees from the equator where such a mine is looked for first."""
    in_train: bool = True
    """Whether training shows such mines too."""


CASES: tuple[Case, ...] = (
    Case(
        "patchwork",
        "many small, shallow, reddish diggings in green country, as of bauxite (section 4.1)",
        raw_material="MO",
        latitudes=(0, 21),
    ),
    Case(
        "wet dam",
        "slurry up to and over the dam of the tailings, so that one hides the other (section 4.3)",
        raw_material="MO",
    ),
    Case(
        "multi-pit",
        "a quarry of several pits, some of them flooded or green again (section 4.1)",
        raw_material="RR",
    ),
    Case(
        "snow",
        "patchy snow in the last year's scene, and in no scene for training (section 4.1)",
        latitudes=(44, 90),
        in_train=False,
    ),
    Case("flooded pit", "a large old pit full of water beside the mine, unlabelled (Table 1)"),
)
"""Special cases that echo section 4. They are drawn like the rest, after no mine that exists."""

_TRAIN_MINES_PER_CASE = 15


def assign_cases(mines: pd.DataFrame, split: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Make special cases of some mines, after the split and without a change to it.

    Of each case, one mine stands in the test and one in the validation part, and about one in 15
    in the training part, which has none under snow, as the paper's had none (section 4.1). A case
    is left out of a part that has no mine of its raw material left, or where a third of the mines
    are special already.
    """
    rng = np.random.default_rng([seed, 1])
    part_of = mines["mine"].map(split.set_index("mine")["part"])
    names = pd.Series("", index=mines.index)
    for part in PARTS:
        members = mines[part_of == part]
        room = len(members) // 3
        for case in CASES:
            ordinary = members[names[members.index] == ""]
            wanted = min(_num_wanted(case, part, len(members)), room)
            chosen = _candidates(ordinary, case, rng).index[:wanted]
            names[chosen] = case.name
            room -= len(chosen)
    return mines.assign(case=names)


def _num_wanted(case: Case, part: str, num_mines: int) -> int:
    if part != "train":
        return 1
    return round(num_mines / _TRAIN_MINES_PER_CASE) if case.in_train else 0


def _candidates(mines: pd.DataFrame, case: Case, rng: np.random.Generator) -> pd.DataFrame:
    """Return the mines that a case could be made of in random order, the best suited first."""
    fitting = mines[(mines["raw_material"] == case.raw_material) | (case.raw_material is None)]
    shuffled = fitting.sample(frac=1, random_state=rng)
    elsewhere = ~shuffled["latitude"].abs().between(*case.latitudes)
    return shuffled.loc[elsewhere.sort_values(kind="stable").index]
