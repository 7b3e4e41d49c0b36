"""The synthetic mines as a table: where they lie, what is mined, and which are special cases."""

from dataclasses import dataclass
from pathlib import Path

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

BELTS = pd.read_csv(Path(__file__).with_name("belts.csv"))
"""Mining regions of five continents, about their middle, with the biome of each."""


def synthetic_mines(num_mines: int, seed: int) -> pd.DataFrame:
    """Make a mine table."""
    rng = np.random.default_rng(seed)
    positions: list[tuple[float, float]] = []
    spread = 1.2
    while len(positions) < num_mines:
        belt = BELTS.iloc[rng.integers(len(BELTS))]
        spread *= 1.001  # so that room is found for any number of mines
        longitude, latitude = (
            round(middle + rng.uniform(-spread, spread), 4)
            for middle in belt[["longitude", "latitude"]]
        )
        east = np.cos(np.radians(latitude))
        if all(
            np.hypot((longitude - x) * east, latitude - y) >= _SPACING_DEGREES for x, y in positions
        ):
            positions.append((longitude, latitude))
    kinds: list[tuple[str, str]] = []
    while len(kinds) < num_mines:
        kinds += [_COMBINATIONS[index] for index in rng.permutation(len(_COMBINATIONS))]
    numbers = range(1, num_mines + 1)
    table = pd.DataFrame({"mine": [f"synthetic-{number:03d}" for number in numbers]})
    table["name"] = [f"Synthetic mine {number}" for number in numbers]
    table[["country", "continent"]] = ""
    table[["longitude", "latitude"]] = positions
    table[["raw_material", "mine_type"]] = kinds[:num_mines]
    return table


def biome_of(mine: pd.Series) -> str:
    """Return the biome of the region that a mine of the table lies in."""
    offsets = BELTS[["longitude", "latitude"]] - mine[["longitude", "latitude"]].astype(float)
    nearest = np.argmin(np.hypot(offsets["longitude"], offsets["latitude"]))
    return str(BELTS["biome"].iloc[nearest])


@dataclass(frozen=True)
class Case:
    """A kind of scene that section 4 of the paper found hard, or worth a look."""

    name: str
    """Value of the column `case` in the mine table."""
    raw_material: str | None = None
    """Raw material that such a mine yields; None for any."""
    latitudes: tuple[float, float] = (0.0, 90.0)
    """Degrees from the equator where such a mine is looked for first."""
    in_train: bool = True
    """Whether training shows such mines too."""


CASES = (
    # Many small, shallow, reddish diggings in green country, as of bauxite (section 4.1).
    Case("patchwork", raw_material="MO", latitudes=(0, 21)),
    # Slurry up to and over the dam of the tailings, so that one hides the other (section 4.3).
    Case("wet dam", raw_material="MO"),
    # A quarry of several pits, some of them flooded or green again (section 4.1).
    Case("multi-pit", raw_material="RR"),
    # Patchy snow in the last year's scene, and in no scene for training (section 4.1).
    Case("snow", latitudes=(44, 90), in_train=False),
    # A large old pit full of water beside the mine, unlabelled (Table 1).
    Case("flooded pit"),
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
        several = round(len(members) / _TRAIN_MINES_PER_CASE) if part == "train" else 1
        for case in CASES:
            ordinary = members[names[members.index] == ""]
            wanted = min(several, room) if case.in_train or part != "train" else 0
            chosen = _candidates(ordinary, case, rng).index[:wanted]
            names[chosen] = case.name
            room -= len(chosen)
    return mines.assign(case=names)


def _candidates(mines: pd.DataFrame, case: Case, rng: np.random.Generator) -> pd.DataFrame:
    """Return the mines that a case could be made of in random order, the best suited first."""
    fitting = mines[(mines["raw_material"] == case.raw_material) | (case.raw_material is None)]
    shuffled = fitting.sample(frac=1, random_state=rng)
    elsewhere = ~shuffled["latitude"].abs().between(*case.latitudes)
    return shuffled.loc[elsewhere.sort_values(kind="stable").index]
