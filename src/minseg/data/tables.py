"""Tables that people bring: one guarded reader, and what is wrong with a table in words."""

import csv
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from minseg.errors import MinsegError

KINDS = {"float64": "a number", "int64": "a whole number", "Int64": "a whole number"}
"""Types of columns in words; the others hold text."""

_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods are zip archives; .xls


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
    table = pd.DataFrame(list(rows.values()), list(rows), range(len(names)), dtype=str)
    table = table[[number for number, name in enumerate(names) if name]]
    return table.set_axis(list(filter(None, names)), axis=1)


def _rows_of(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Take a file apart: its header, and its rows with a cell in them by their index."""
    text = _text_of(path)
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


def _text_of(path: Path) -> str:
    """Read a text file, told from a spreadsheet and from text in another encoding."""
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
    except pa.errors.SchemaErrors:
        return table, table_problems(table, schema, where)


def table_problems(table: pd.DataFrame, schema: pa.DataFrameSchema, where: str) -> list[str]:
    """Tell each fault of a table, from the first row on, in a line a person can act on."""
    cases = _failure_cases(table, schema)
    if cases.empty:
        return []
    lacking = cases["check"] == "column_in_dataframe"
    lines = [(1, f"{where}: column {name!r} is missing") for name in cases[lacking]["failure_case"]]
    twice = cases["check"] == "field_uniqueness"
    for (column, value), same in cases[twice].groupby(["column", "failure_case"], sort=False):
        first, *others = (int(index) + 2 for index in same["index"])
        lines += [
            (
                row,
                f"{where}: row {row} column {column!r}: {value!r} stands in row {first} already; "
                "each value may stand once, so rename or remove one",
            )
            for row in others
        ]
    # A cell of another type fails the column's other checks too, as a whole or by its type.
    again = cases["index"].isna() | cases["check"].str.startswith("dtype(")
    for case in cases[~lacking & ~twice & ~again].to_dict("records"):
        row = int(case["index"]) + 2
        lines.append((row, _cell_problem(case, row, schema.columns[case["column"]], where)))
    return [line for _, line in sorted(lines)]


def _failure_cases(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Return pandera's failure cases, those beside cells of another type among them."""
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return pd.DataFrame(columns=["column", "check", "failure_case", "index"])
    cases["check"] = cases["check"].astype(str)
    unread = cases.loc[cases["check"].str.startswith("coerce_dtype"), "index"]
    rest = table[~table.index.isin(unread)]
    if len(unread) and len(rest):
        cases = pd.concat([cases, _failure_cases(rest, schema)], ignore_index=True)
    return cases.drop_duplicates(["column", "check", "failure_case", "index"])


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
