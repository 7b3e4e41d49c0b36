"""What is wrong with a table, in words: what a cell holds, where, and what to write there."""

from collections.abc import Mapping

import pandas as pd
import pandera.pandas as pa

KINDS = {"float64": "a number", "int64": "a whole number", "Int64": "a whole number"}
"""Types of columns in words; the others hold text."""


def table_problems(table: pd.DataFrame, schema: pa.DataFrameSchema, where: str) -> list[str]:
    """Hold a table against a schema and tell each fault in a line a person can act on.

    Parameters
    ----------
    table : pandas.DataFrame
    schema : pandera.DataFrameSchema
    where : str
        What to call the table.

    Returns
    -------
    list of str
        From the first row to the last, where the header is row 1; empty for a valid table.
    """
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
    return (
        f"{where}: row {row} column {case['column']!r}: {shown} cannot stand here; "
        f"give {_wanted_in(column)}"
    )


def _wanted_in(column: pa.Column) -> str:
    """Say in words what a column takes; a check by a pattern says it itself, as its error."""
    kind = KINDS.get(str(column.dtype), "text")
    for check in column.checks:
        limits = check.statistics
        if check.name == "in_range":
            return f"{kind} from {limits['min_value']} to {limits['max_value']}"
        if check.name == "isin":
            values = ", ".join(value for value in limits["allowed_values"] if value)
            return f"one of {values}" + (", or nothing" if "" in limits["allowed_values"] else "")
        if check.name == "str_length" and limits["max_value"] is not None:
            return f"{kind} of at most {limits['max_value']} characters"
        if check.name == "str_matches":
            return str(check.error)
    return kind
