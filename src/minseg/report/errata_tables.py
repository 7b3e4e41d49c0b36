"""The errata as a page shows them: a summary to scan, and each with its arithmetic to unfold."""

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler
from pandas.io.formats.style_render import CSSDict

from minseg.audit.erratum import (
    CONSISTENT,
    CONTRADICTION,
    IMPRECISE,
    NOT_STATED,
    ODD,
    VERDICTS,
    Erratum,
)
from minseg.report.text import html_text, text_table

_MARK = "◂"
_ODD_ROW = "font-weight: bold; background-color: rgba(230, 159, 0, 0.18)"
_COLOURS = {  # show on light pages and on dark ones
    CONTRADICTION: "rgba(213, 94, 0, 0.30)",
    IMPRECISE: "rgba(230, 159, 0, 0.28)",
    NOT_STATED: "rgba(86, 180, 233, 0.28)",
    CONSISTENT: "rgba(0, 158, 115, 0.22)",
}
_LEFT = "text-align: left; vertical-align: top; padding: 0.2em 0.7em"
_WORDS = [CSSDict(selector="td, th", props=_LEFT)]
_NUMBERS = [*_WORDS, CSSDict(selector="td", props="white-space: nowrap")]


def verdict_table(errata: Mapping[str, Sequence[Erratum]]) -> pd.DataFrame:
    """Count the verdicts.

    Parameters
    ----------
    errata : mapping of group to sequence of Erratum
        See `minseg.audit.errata.errata`.

    Returns
    -------
    pandas.DataFrame
        Row: verdict; columns: what it means, and a number for each group.
    """
    counts = {
        group: [sum(one.verdict == verdict for one in found) for verdict in VERDICTS]
        for group, found in errata.items()
    }
    table = pd.DataFrame(counts, index=list(VERDICTS))
    table.insert(0, "meaning", list(VERDICTS.values()))
    return table


def summary_table(errata: Mapping[str, Sequence[Erratum]]) -> Styler:
    """List all errata with their verdicts, each with a link to its arithmetic.

    Parameters
    ----------
    errata : mapping of group to sequence of Erratum
        See `minseg.audit.errata.errata`.

    Returns
    -------
    pandas Styler
        A row an erratum, in the order of the page.
    """
    rows = [
        {
            "group": group if k == 0 else "",
            "what is checked": one.title,
            "where": one.place,
            "verdict": one.verdict,
        }
        for group, found in errata.items()
        for k, one in enumerate(found)
    ]
    table = pd.DataFrame(rows, columns=["group", "what is checked", "where", "verdict"])
    links = {
        html_text(one.title): f'<a href="#{escape(one.name)}">{html_text(one.title)}</a>'
        for found in errata.values()
        for one in found
    }
    styler = text_table(table).hide(axis="index").set_table_styles(_WORDS)
    styler = styler.format(lambda title: links[str(title)], subset=["what is checked"])
    return styler.map(lambda name: f"background-color: {_COLOURS[name]}", subset=["verdict"])


def errata_html(errata: Sequence[Erratum]) -> str:
    """Write errata one below the other, each to unfold.

    Parameters
    ----------
    errata : sequence of Erratum

    Returns
    -------
    str
        HTML, for `IPython.display.HTML`.
    """
    return "\n".join(_details(one) for one in errata)


def open_table(points: pd.DataFrame) -> Styler:
    """List what the paper leaves open.

    Parameters
    ----------
    points : pandas.DataFrame
        See `minseg.study.paper.open_points`.

    Returns
    -------
    pandas Styler
    """
    titles = {"place": "where", "point": "left open", "consequence": "what follows"}
    styler = text_table(points.rename(columns=titles)).hide(axis="index")
    return styler.set_table_styles(_WORDS)


def _details(one: Erratum) -> str:
    """Write one erratum."""
    colour = f"background-color: {_COLOURS[one.verdict]}; padding: 0 0.4em; border-radius: 0.3em"
    return (
        f'<details id="{escape(one.name)}" style="margin: 0.5em 0">'
        f"<summary><strong>{escape(one.title)}</strong> "
        f'<span style="{colour}">{escape(one.verdict)}</span></summary>'
        f'<div style="margin: 0.4em 0 1em 1.2em">'
        f"<p><em>{escape(one.place)}</em></p>"
        f"<p><strong>Printed.</strong> {escape(one.printed)}</p>"
        f"<p><strong>Arithmetic.</strong> {escape(one.found)}</p>"
        f"{_cells(one.cells)}"
        f"<p><strong>What hangs on it.</strong> {escape(one.matters)}</p>"
        "</div></details>"
    )


def _cells(cells: pd.DataFrame) -> str:
    """Write the numbers concerned; rows that do not fit are marked."""
    if cells.empty:
        return ""
    odd = cells[ODD].astype(bool) if ODD in cells else pd.Series(False, index=cells.index)
    table = cells.drop(columns=ODD, errors="ignore")
    if odd.any():
        table = table.assign(**{"": odd.map({True: _MARK, False: ""})})
    styler = text_table(table).hide(axis="index").format(_text).set_table_styles(_NUMBERS)
    styles = pd.DataFrame("", index=table.index, columns=table.columns)
    styles.loc[odd] = _ODD_ROW
    return (
        f'<div style="overflow-x: auto">{styler.apply(lambda _: styles, axis=None).to_html()}</div>'
    )


def _text(value: object) -> str:
    """Write a cell; a score has three decimals, or four where the paper prints four."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.3f}"
    return short if abs(value) < 1 and float(short) == value else f"{value:g}"
