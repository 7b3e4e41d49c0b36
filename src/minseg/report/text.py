"""How a page writes models, metrics and numbers; and text of users, which stays text.

Names of mines, countries and datasets, licences and messages come from other people's files. They
reach tables through `text_table`, Markdown through `markdown_text` and web maps through
`html_text`, never as markup, a formula or a template; figures take all text as it stands by
``text.parse_math`` of ``minseg.mplstyle``.
"""

import math
import re
from collections.abc import Callable, Iterable
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from minseg.data.dataset import Dataset
from minseg.data.labels import parse_task, partial_answers

DASH = "–"
"""Where there is no number."""

METRIC_TITLES = {
    "iou": "IoU",
    "recall": "recall",
    "precision": "precision",
    "accuracy": "accuracy",
}
SHORT_METRIC_TITLES = {"iou": "IoU", "recall": "Rec", "precision": "Prec", "accuracy": "Acc"}


def model_title(task: str) -> str:
    """Return a task's name for a reader: ``Model 1``, or its classes."""
    return parse_task(task).title


def partial_labels(dataset: Dataset) -> str:
    """Tell in a paragraph what partial labels answer of Models 1-4; empty where they are whole."""
    answers = partial_answers(dataset.description.class_names)
    if not answers:
        return ""
    return (
        f"\n\n**Partial labels.** They answer {'; '.join(answers)}. What nobody looked for is "
        "background here, or part of what it was drawn into, and no score tells of it."
    )


def number(value: float, decimals: int = 3) -> str:
    """Write a number; a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def signed(value: float, decimals: int = 3) -> str:
    """Write a difference with its sign; a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:+.{decimals}f}".replace("-", "−")


def span(low: float, high: float, write: Callable[[float], str] = number) -> str:
    """Write an interval, ``0.512 to 0.701``; a dash where there is none."""
    return DASH if math.isnan(low) else f"{write(low)} to {write(high)}"


def spans(table: pd.DataFrame, of: str = "", write: Callable[[float], str] = number) -> pd.Series:
    """Write the intervals between a table's columns low and high, whose names begin with `of`."""
    ends = zip(table[f"{of}low"], table[f"{of}high"], strict=True)
    return pd.Series([span(low, high, write) for low, high in ends], table.index, dtype=object)


def html_text(text: str) -> str:
    """Write text for HTML, and for scripts that are compiled as a Jinja template once more."""
    return escape(text).replace("{", "&#123;")


def markdown_text(text: str) -> str:
    """Write text for one line of Markdown: whatever could be markup has a backslash before it."""
    return re.sub(r"(?![,;:'\"?/%(])([!-/:-@[-`{-~])", r"\\\1", " ".join(text.split()))


def markdown_list(texts: Iterable[str]) -> str:
    """Write texts as a Markdown list; empty without any."""
    return "\n".join(f"- {markdown_text(text)}" for text in texts)


def ranges(low: pd.Series, high: pd.Series, write: Callable[[float], str]) -> pd.Series:
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
