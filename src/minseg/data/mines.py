"""The mine, scene and split tables: what they hold, the split by mine, subsets, and leakage."""

import datetime
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pandera.pandas as pa
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from minseg.errors import MinsegError

RAW_MATERIALS: dict[str, str] = {
    "RR": "rock raw materials",
    "MO": "metallic ores",
    "CL": "coal and lignite",
}
"""Raw-material groups of section 2.2."""

MINE_TYPES: dict[str, str] = {"OC": "opencast", "OP": "open-pit", "MT": "mountain-top"}
"""Surface-mine types of section 2.2."""

PARTS: tuple[str, ...] = ("train", "validation", "test")
"""The parts of a split."""

SPLIT_RATIOS: dict[str, float] = {"train": 0.70, "validation": 0.15, "test": 0.15}
"""Shares of mines per part (section 2.3)."""

_IDENTIFIER = pa.Check.str_matches(
    r"^(?!\.{1,2}\Z)[\w.-]+\Z", error="letters, digits, _ . and - only, but no dots alone"
)

_PATH = r"(?![/\\~]|[A-Za-z]:)(?!(.*[/\\])?\.\.([/\\]|\Z)).+"
_INSIDE, _INSIDE_OR_NONE = (
    pa.Check.str_matches(pattern, error=f"a path from the dataset's folder that stays in it{more}")
    for pattern, more in ((rf"^{_PATH}\Z", ""), (rf"^({_PATH})?\Z", ", or nothing"))
)


def _is_date(text: str) -> bool:
    """Whether a text is a day of the calendar, or nothing."""
    try:
        return text == "" or datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_DATE = pa.Check(_is_date, element_wise=True, error="a date such as 2019-07-31, or nothing")

MINE_TABLE = pa.DataFrameSchema(
    {
        "mine": pa.Column(str, _IDENTIFIER, unique=True),
        "name": pa.Column(str),
        "country": pa.Column(str),
        "continent": pa.Column(str),
        "longitude": pa.Column(float, pa.Check.in_range(-180, 180), nullable=False),
        "latitude": pa.Column(float, pa.Check.in_range(-90, 90), nullable=False),
        "raw_material": pa.Column(str, pa.Check.isin(["", *RAW_MATERIALS])),
        "mine_type": pa.Column(str, pa.Check.isin(["", *MINE_TYPES])),
        "case": pa.Column(str, pa.Check.str_length(max_value=60), required=False),
    },
    coerce=True,
)
"""Columns of ``mines.csv``; `mine` names folders, so it holds letters, digits and ``_.-`` only.

`case` may be left out: it names in a few words what sets a mine apart, and is empty for most.
"""

SCENE_TABLE = pa.DataFrameSchema(
    {
        "scene": pa.Column(str, _IDENTIFIER, unique=True),
        "mine": pa.Column(str),
        "year": pa.Column("Int64", pa.Check.in_range(1972, 2100), nullable=True),
        "date": pa.Column(str, _DATE),
        "optical": pa.Column(str, _INSIDE),
        "radar": pa.Column(str, _INSIDE_OR_NONE),
        "labels": pa.Column(str, _INSIDE),
    },
    coerce=True,
)
"""Columns of ``scenes.csv``; an empty year or date is unknown, an empty radar path is none."""

SPLIT_TABLE = pa.DataFrameSchema(
    {"mine": pa.Column(str), "part": pa.Column(str, pa.Check.isin(PARTS))}, coerce=True
)
"""Columns of ``split.csv``."""

LONGEST_NAME_BYTES = 100
"""Of a mine, in UTF-8: file systems take 255, and files beside it add to the name."""

_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {
    f"{port}{k}" for port in ("COM", "LPT") for k in "123456789"
}


def folder_problems(folders: Mapping[str, str], where: str) -> list[str]:
    """Tell which mines (as spelled → folder) cannot have a folder of their own on every system."""
    faults = {mine: _name_fault(folder) for mine, folder in folders.items()}
    problems = [
        f"{where}: mine {mine!r} cannot name a folder{fault}"
        for mine, fault in faults.items()
        if fault
    ]
    sharing: dict[str, list[str]] = {}
    for mine, folder in folders.items():
        sharing.setdefault(folder.casefold(), []).append(mine)
    return problems + [
        f"{where}: mines {' and '.join(map(repr, mines))} would share the folder "
        f"{folders[mines[0]]!r}, for case does not count everywhere; spell one mine in one way, "
        "or rename the other"
        for mines in sharing.values()
        if len(mines) > 1
    ]


def _name_fault(name: str) -> str:
    """Tell what keeps a name from being a folder's on some system, and how to mend it."""
    if not name[:1].isalnum():
        return "; begin it with a letter or digit"
    if name.endswith("."):
        return " on Windows; end it with a letter or digit"
    if name.partition(".")[0].upper() in _RESERVED:
        return " on Windows, which keeps this name for itself; rename it"
    if len(name.encode()) > LONGEST_NAME_BYTES:
        return f": it takes more than {LONGEST_NAME_BYTES} bytes; shorten it"
    return ""


def date_problems(scenes: pd.DataFrame, where: str) -> list[str]:
    """Tell which scenes have a date of another year than they say."""
    dated = scenes[(scenes["date"] != "") & scenes["year"].notna()]
    wrong = dated[dated["date"].str[:4] != dated["year"].astype(str)]
    return [
        f"{where}: scene {row['scene']!r} is of {row['year']} and its date is {row['date']}; "
        "correct one of them"
        for row in wrong.to_dict("records")
    ]


def require_seed(seed: int) -> None:
    """Refuse a seed that no generator of random numbers takes."""
    if seed < 0:
        raise MinsegError(f"seed {seed}: give a whole number from 0")


def split_mines(
    mines: pd.DataFrame, seed: int, footprints: Mapping[str, BaseGeometry] | None = None
) -> pd.DataFrame:
    """Split mines 70:15:15 into train, validation and test (section 2.3), alike for one seed.

    Whole mines go to a part, and mines whose footprints overlap go together. The parts are
    stratified by raw material and mine type: mines are put in an order in which equal metadata
    stand together (shuffled inside), and each part takes every so-manieth of that order.
    """
    require_seed(seed)
    group = _overlap_groups(list(mines["mine"]), footprints or {})
    heads = mines.assign(group=mines["mine"].map(group)).drop_duplicates("group")
    require_enough(len(heads))
    random = np.random.default_rng(seed)
    shuffled = heads.sample(frac=1, random_state=random)
    ordered = shuffled.sort_values(["raw_material", "mine_type"], kind="stable")
    remaining = list(ordered["group"])
    part_of = dict.fromkeys(remaining, "train")
    for part in ("test", "validation"):
        wanted = max(1, round(SPLIT_RATIOS[part] * len(heads)))
        offset = random.random()
        positions = {int((k + offset) * len(remaining) / wanted) for k in range(wanted)}
        part_of.update({remaining[position]: part for position in positions})
        remaining = [name for name in remaining if part_of[name] == "train"]
    parts = [part_of[group[mine]] for mine in mines["mine"]]
    return pd.DataFrame({"mine": list(mines["mine"]), "part": parts})


def require_enough(num_mines: int) -> None:
    """Refuse fewer separate mines than a split has parts."""
    if num_mines < len(PARTS):
        raise MinsegError(
            f"{num_mines} separate mine(s): a split by mine needs at least {len(PARTS)}, "
            "one for each of train, validation and test; add mines"
        )


def _overlap_groups(mines: list[str], footprints: Mapping[str, BaseGeometry]) -> dict[str, str]:
    """Name for each mine the first mine of the chain of overlapping mines it belongs to."""
    group = {mine: mine for mine in mines}
    for one, other in overlapping_mines(footprints):
        old, new = group[other], group[one]
        group = {mine: new if head == old else head for mine, head in group.items()}
    return group


def overlapping_mines(footprints: Mapping[str, BaseGeometry]) -> list[tuple[str, str]]:
    """List the pairs of mines whose footprints (degrees) share ground."""
    names = list(footprints)
    shapes = np.array(list(footprints.values()), dtype=object)  # an empty list is float otherwise
    first, second = STRtree(shapes).query(shapes, predicate="intersects")
    return [
        (names[i], names[j])
        for i, j in zip(first, second, strict=True)
        if i < j and shapes[i].intersection(shapes[j]).area > 0
    ]


def split_problems(split: pd.DataFrame, mines: pd.DataFrame) -> list[str]:
    """Check that each mine stands in exactly one part, and that no part is empty."""
    problems = [
        f"split.csv: mine {mine!r} is in {' and '.join(sorted(set(rows)))}; keep it in one part"
        for mine, rows in split.groupby("mine")["part"]
        if len(set(rows)) > 1
    ]
    known, listed = set(mines["mine"]), set(split["mine"])
    problems += [f"split.csv: mine {mine!r} is not in mines.csv" for mine in sorted(listed - known)]
    problems += [f"split.csv: mine {mine!r} has no part" for mine in sorted(known - listed)]
    missing = [part for part in PARTS if part not in set(split["part"])]
    return problems + [f"split.csv: no mine is in part {part!r}" for part in missing]


def leakage_problems(split: pd.DataFrame, footprints: Mapping[str, BaseGeometry]) -> list[str]:
    """Find mines of different parts whose scenes show the same ground (degrees)."""
    part = dict(zip(split["mine"], split["part"], strict=True))
    return [
        f"split.csv: scenes of mines {one!r} ({part[one]}) and {other!r} ({part[other]}) "
        "show the same ground; put both in one part"
        for one, other in overlapping_mines(footprints)
        if part.get(one) != part.get(other)
    ]


def subset(mines: pd.DataFrame, code: str) -> pd.DataFrame:
    """Select the mines of one raw material or mine type (section 2.2): RR, MO, CL, OC, OP or MT."""
    if code not in RAW_MATERIALS and code not in MINE_TYPES:
        raise MinsegError(
            f"unknown subset {code!r}; use {', '.join([*RAW_MATERIALS, *MINE_TYPES])}"
        )
    column = "raw_material" if code in RAW_MATERIALS else "mine_type"
    chosen = mines[mines[column] == code]
    if chosen.empty:
        raise MinsegError(f"subset {code!r}: no mine has {column} {code}; fill it in mines.csv")
    return chosen
