"""Text that users bring stays text on a page: never markup, a formula, or a template.

Names of mines, countries and datasets, licences and messages come from other people's files. They
reach tables through `text_table`, Markdown through `markdown_text` and web maps through
`html_text`; figures take all text as it stands by ``text.parse_math`` of ``minseg.mplstyle``.
"""

import re
from collections.abc import Callable, Iterable
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler


def html_text(text: str) -> str:
    """Write text for HTML, and for scripts that are compiled as a Jinja template once more."""
    return escape(text).replace("{", "&#123;")


def markdown_text(text: str) -> str:
    """Write text for one line of Markdown: whatever could be markup has a backslash before it."""
    return re.sub(r"(?![,;:'\"?/%(])([!-/:-@[-`{-~])", r"\\\1", " ".join(text.split()))


def markdown_list(texts: Iterable[str]) -> str:
    """Write texts as a Markdown list; empty without any."""
    return "\n".join(f"- {markdown_text(text)}" for text in texts)


def spans(low: pd.Series, high: pd.Series, write: Callable[[float], str]) -> pd.Series:
    """Write ranges, ``0.51 to 0.70``, as a single number where they have no width."""
    first, last = low.map(write), high.map(write)
    return (first + " to " + last).where(first != last, first)


def text_table(table: pd.DataFrame) -> Styler:
    """Return a table for a page: its cells, labels and names are text, and no mathematics.

    Parameters
    ----------
    table : pandas.DataFrame

    Returns
    -------
    pandas Styler
        What is formatted or hidden afterwards finds the text of cells and labels as HTML.
    """
    safe = table.map(_cell).rename(index=_cell, columns=_cell)
    safe = safe.rename_axis(index=_cell, columns=_cell)
    return safe.style.set_table_attributes('class="tex2jax_ignore mathjax_ignore"')


def note_table(note: str) -> Styler:
    """Return a table of nothing but a sentence, in place of one that has no lines."""
    return text_table(pd.DataFrame([note])).hide(axis="index").hide(axis="columns")


def _cell(value: object) -> object:
    """Write a text for HTML; leave numbers and what is missing to the table."""
    return html_text(value) if isinstance(value, str) else value
