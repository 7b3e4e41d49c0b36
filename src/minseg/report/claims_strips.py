"""Small drawings in a table's cells: a value with its interval, and where it is claimed to lie."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from minseg.audit.claims_verdicts import Region

WIDTH, HEIGHT = 130, 14
"""Size of a strip, CSS pixels."""

_CLAIMED, _EDGE = "#d5e6f2", "#555555"
_INSIDE, _OUTSIDE, _ACROSS = "#00629b", "#b34700", "#777777"


@dataclass(frozen=True)
class Span:
    """A value, its interval (equal ends where there is none), and where it is claimed."""

    low: float
    value: float
    high: float
    claimed: Region
    exact: bool = False
    """Whether it is a printed value: on the edge it is not as claimed."""


def strips(spans: Sequence[Span]) -> list[Markup]:
    """Draw values on one scale, a strip for each.

    Parameters
    ----------
    spans : sequence of Span

    Returns
    -------
    list of Markup
        Inline SVG: the claimed side is shaded, its edge a dark line; the interval is blue where it
        lies on the claimed side, orange where it lies on the other, grey across the edge.
    """
    edges = [e for one in spans for e in (one.claimed.low, one.claimed.high) if math.isfinite(e)]
    ends = [end for one in spans for end in (one.low, one.value, one.high)] + edges
    if not spans or not all(map(math.isfinite, ends)):
        return [Markup("")] * len(spans)
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    left, right = min(ends) - margin, max(ends) + margin
    return [_strip(one, left, right) for one in spans]


def _strip(span: Span, left: float, right: float) -> Markup:
    """Draw one value on a given scale."""

    def at(value: float) -> float:
        return round((min(max(value, left), right) - left) / (right - left) * WIDTH, 1)

    start, end, middle = at(span.claimed.low), at(span.claimed.high), HEIGHT / 2
    edges = Markup("").join(
        Markup('<line x1="{0}" x2="{0}" y1="0" y2="{1}" stroke="{2}"/>').format(
            at(edge), HEIGHT, _EDGE
        )
        for edge in (span.claimed.low, span.claimed.high)
        if math.isfinite(edge)
    )
    colour = _colour(span)
    text = f"{span.value:.3f}, claimed {span.claimed.text}"
    if span.low < span.high:
        text = f"{span.low:.3f} to {span.high:.3f}, claimed {span.claimed.text}"
    return Markup(
        '<svg width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img"><title>{text}</title>'
        '<rect x="{start}" width="{length}" height="{h}" fill="{shade}"/>{edges}'
        '<line x1="{low}" x2="{high}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2.2"/>'
        '<circle cx="{value}" cy="{y}" r="3.4" fill="{colour}"/></svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        text=text,
        start=start,
        length=round(end - start, 1),
        shade=_CLAIMED,
        edges=edges,
        low=at(span.low),
        high=at(span.high),
        value=at(span.value),
        y=middle,
        colour=colour,
    )


def _colour(span: Span) -> str:
    """Colour an interval by the side that it lies on."""
    if span.claimed.low < span.low and span.high < span.claimed.high:
        return _INSIDE
    beyond = span.high < span.claimed.low or span.low > span.claimed.high
    return _OUTSIDE if span.exact or beyond else _ACROSS
