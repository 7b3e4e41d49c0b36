"""Mine, scene and split tables: reading any table that people bring, the split, and leakage."""

import csv
import datetime
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path

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

KINDS = {"float64": "a number", "int64": "a whole number", "Int64": "a whole number"}
"""Types of columns in words; the others hold text."""

_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods are zip archives; .xls

LONGEST_NAME_BYTES = 100
"""Of a mine, in UTF-8: file systems take 255, and files beside it add to the name."""

_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {
    f"{port}{k}" for port in ("COM", "LPT") for k in "123456789"
}


def read_cells(path: Path, columns: Collection[str] = ()) -> pd.DataFrame:
    """Read a CSV table, every cell as text without blanks around it; index k is row k + 2.

    Commas, semicolons, tabs or bars stand between cells, whichever the header has most. A column
    is found by its name in any case, with blanks or hyphens for underscores. Columns without a
    name and rows are left out where they are empty.
    """
    header, rows = _rows_of(path)
    names = [_known_name(cell, columns) for cell in header]
    for name in filter(None, names):
        if names.count(name) > 1:
            spelled = [cell for cell, same in zip(header, names, strict=True) if same == name]
            raise MinsegError(
                f"{path}: columns {' and '.join(map(repr, spelled))} have one name; keep one"
            )
    for number, name in enumerate(names):
        if not name and any(row[number] for row in rows.values()):
            raise MinsegError(
                f"{path}: column {number + 1} has no name (an index that a program wrote?); "
                "remove the column, or name it"
            )
    table = pd.DataFrame(list(rows.values()), list(rows), names, dtype=str)
    return table.loc[:, list(map(bool, names))]


def _rows_of(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Take a file apart: its header, and its rows with a cell in them by their index."""
    text = text_of(path)
    first = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    delimiter = max(",;\t|", key=first.count)
    header: list[str] = []
    rows: dict[int, list[str]] = {}
    number, reader = 0, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for number, cells in enumerate(reader, 1):
            row = [cell.strip() for cell in cells]
            if not any(row):
                continue
            if not header:
                header = row
                continue
            if any(row[len(header) :]) or len(row) < len(header):
                raise MinsegError(
                    f"{path}: row {number} has {len(row)} cells and the header {len(header)}; "
                    f"give each row as many, and put cells that hold {delimiter!r} in quotes"
                )
            rows[number - 2] = row[: len(header)]
    except csv.Error as error:
        raise MinsegError(
            f"{path}: not a CSV table (row {number + 1}: {error}); check its quotes, or save it "
            "again as CSV"
        ) from None
    return header, rows


def text_of(path: Path, or_else: str | None = None) -> str:
    """Read a table's text in UTF-8, `or_else` in another encoding; told from a spreadsheet."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise MinsegError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise MinsegError(f"{path}: cannot be read ({error.strerror}); name a CSV file") from None
    if content.startswith(_SPREADSHEETS):
        raise MinsegError(f"{path}: is a spreadsheet; save it as CSV in UTF-8 and name that file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if or_else:
            return content.decode(or_else)
        line = content.count(b"\n", 0, error.start) + 1
        raise MinsegError(
            f"{path}: line {line} is not UTF-8 text (byte 0x{content[error.start]:02x}); save the "
            "table as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise MinsegError(
            f"{path}: not a CSV table in UTF-8, but in UTF-16 or no text at all; save it as CSV "
            "in UTF-8"
        )
    if not text.strip():
        raise MinsegError(
            f"{path}: not a CSV table (the file is empty); it needs a header and rows"
        )
    return text


def _known_name(cell: str, columns: Collection[str]) -> str:
    """Return the known name that the header's cell spells, else what it says."""
    simple = re.sub(r"[\s_-]+", "_", cell).casefold()
    return next((name for name in columns if name.casefold() == simple), cell)


def read_table(path: Path, schema: pa.DataFrameSchema) -> tuple[pd.DataFrame, list[str]]:
    """Read a CSV table and hold it against its schema; return every problem, a line each."""
    try:
        cells = read_cells(path, list(schema.columns))
    except MinsegError as error:
        return pd.DataFrame(columns=list(schema.columns)), [str(error)]
    table, problems = validate_table(cells, schema, str(path))
    return table.reset_index(drop=True), problems


def validate_table(
    table: pd.DataFrame, schema: pa.DataFrameSchema, where: str
) -> tuple[pd.DataFrame, list[str]]:
    """Hold a table against a schema: the table in its types, and all its problems at once."""
    numbers = [n for n, column in schema.columns.items() if str(column.dtype) in KINDS]
    for name in table.columns.intersection(numbers):
        cells = table[name].replace("", pd.NA)
        whole = cells.replace(r"^(\d+)\.0+$", r"\1", regex=True)  # of a spreadsheet's 2019.0
        table = table.assign(**{name: whole})
    if table.empty:
        return table, [f"{where}: the table is empty; it needs at least one row"]
    try:
        return schema.validate(table, lazy=True), []
    except pa.errors.SchemaErrors as error:
        return table, [line for _, line in sorted(_told(error, table, schema, where).items())]


def _told(
    error: pa.errors.SchemaErrors, table: pd.DataFrame, schema: pa.DataFrameSchema, where: str
) -> dict[tuple[int, str], str]:
    """Tell each fault, by row and column, in a line that a person can act on."""
    told: dict[tuple[int, str], str] = {}
    cases = error.failure_cases.astype({"check": str})
    unread = cases.loc[cases["check"].str.startswith("coerce_dtype"), "index"]
    rest = table.drop(index=unread.dropna().unique())
    if 0 < len(rest) < len(table):  # the other cells of their columns were not looked at
        try:
            schema.validate(rest, lazy=True)
        except pa.errors.SchemaErrors as more:
            told = _told(more, rest, schema, where)
    # A cell of another type fails the column's other checks too, as a whole or by its type.
    again = cases["check"].str.startswith("dtype(")
    for case in cases[~again].to_dict("records"):
        if case["check"] == "column_in_dataframe":
            name = str(case["failure_case"])
            told[1, name] = f"{where}: column {name!r} is missing"
        elif pd.notna(case["index"]):
            row, name, value = int(case["index"]) + 2, case["column"], case["failure_case"]
            if case["check"] != "field_uniqueness":
                told[row, name] = _cell_problem(case, row, schema.columns[name], where)
            elif row > (first := table.index[table[name] == value][0] + 2):
                told[row, name] = (
                    f"{where}: row {row} column {name!r}: {value!r} stands in row {first} already; "
                    "each value may stand once, so rename or remove one"
                )
    return told


def _cell_problem(case: Mapping, row: int, column: pa.Column, where: str) -> str:
    """Tell what one cell holds and what it should."""
    value = case["failure_case"]
    shown = "an empty cell" if pd.isna(value) or value == "" else repr(value)
    comma = str(column.dtype) == "float64" and "," in str(value)
    return (
        f"{where}: row {row} column {case['column']!r}: {shown} cannot stand here; "
        f"give {_wanted_in(column)}{', with a decimal point' if comma else ''}"
    )


def _wanted_in(column: pa.Column) -> str:
    """Say in words what a column takes; a check of our own says it itself, as its error."""
    kind = KINDS.get(str(column.dtype), "text")
    for check in column.checks:
        limits = check.statistics
        if check.name == "in_range":
            return f"{kind} from {limits['min_value']} to {limits['max_value']}"
        if check.name == "isin":
            values = ", ".join(value for value in limits["allowed_values"] if value)
            return f"one of {values}" + (", or nothing" if "" in limits["allowed_values"] else "")
        if check.name != "str_length":
            return str(check.error)
        if limits["max_value"] is not None:
            return f"{kind} of at most {limits['max_value']} characters"
    return kind


def folder_problems(folders: Mapping[str, str], where: str) -> list[str]:
    """Tell which mines (as spelled → folder) cannot have a folder of their own on every system."""
    problems = [
        f"{where}: mine {mine!r} cannot name a folder{fault}"
        for mine, folder in folders.items()
        if (fault := _name_fault(folder))
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


def require_enough(num_mines: int, what: str = "separate mine(s)", more: str = "add mines") -> None:
    """Refuse fewer mines than a split has parts; say what they are, and how there may be more."""
    if num_mines < len(PARTS):
        raise MinsegError(
            f"{num_mines} {what}: a split by mine needs at least {len(PARTS)}, "
            f"one for each of train, validation and test; {more}"
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
