"""The ledger as pages show it: a table to scan, each claim unfolding to its evidence; charts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import FileSystemLoader
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter
from pandas.io.formats.style import Styler
from pandas.io.formats.style_render import CSSDict

from minseg.audit import measured, paper_tests, printed
from minseg.audit.ledger import SECTIONS, Claim, Judged, Ledger, NamedTest
from minseg.maps.class_map import TEMPLATES
from minseg.report import style
from minseg.report.style import SHORT_METRIC_TITLES, markdown_text, number, signed, text_table
from minseg.scoring.metrics import METRICS
from minseg.study.paper import paper_table
from minseg.study.tables import AVERAGES, GENERAL_OF, GROUPS, MODELS

SYMBOLS: dict[str, tuple[str, str]] = {
    printed.HOLDS: ("true", "✓"),
    printed.IN_PART: ("part", "◐"),
    printed.FAILS: ("false", "✗"),
    printed.NOT_STATED: ("part", "…"),
    printed.UNDECIDABLE: ("open", "?"),
    measured.SUPPORTED: ("true", "✓"),
    measured.CONTRADICTED: ("false", "✗"),
    measured.INCONCLUSIVE: ("open", "?"),
    measured.UNTESTABLE: ("none", "–"),
}
"""Kind and sign of each verdict; the same on both sides, so that the pages read alike."""

_PAGE = TEMPLATES.overlay(loader=FileSystemLoader(Path(__file__).parent))


def ledger_html(ledger: Ledger) -> str:
    """Write a ledger as one piece of HTML, without scripts, a line for each claim.

    ``#claim-ID`` is its address. Verdicts on synthetic data bear the word, and are drawn hollow.
    """
    return _PAGE.get_template("ledger.html").render(
        ledger=ledger,
        asked=ledger.dataset is not None,
        sections=_sections(ledger),
        badge=_badge,
        call=_call,
        claimed=_claimed,
        ledger_line=_ledger_line,
        number=number,
        signed=signed,
        paper_strips=_paper_strips,
        run_strips=_run_strips,
        sources=_sources,
        titles=SECTIONS,
    )


def _sections(ledger: Ledger) -> dict[str, list[Judged]]:
    """Sort claims under the section of the paper that states them first."""
    found = {
        name: [one for one in ledger.judged if one.claim.place[0] == place]
        for place, name in SECTIONS.items()
    }
    return {name: judged for name, judged in found.items() if judged}


def ledger_summary(ledger: Ledger) -> str:
    """Say in Markdown how many verdicts there are of each kind, and what they count for.

    Verdicts on synthetic data are counted apart, and as no evidence about real mines.
    """
    lines = [
        f"- **{len(ledger.contradictions.judged)} of {len(ledger.judged)} claims** are not borne "
        f"out by the paper's own tables as they are worded. Of all: {_counted(ledger, 'paper')}."
    ]
    if ledger.dataset is not None:
        made = " (**synthetic**)" * ledger.synthetic
        lines += [
            f"- Against our runs on {markdown_text(ledger.dataset)}{made}: "
            f"{_counted(ledger, 'runs')}.",
            "- Claims that these runs support or contradict on real imagery: "
            f"**{ledger.evidence_about_real_mines}**.",
        ]
    return "\n".join(lines)


def _counted(ledger: Ledger, side: str) -> str:
    """Write how many verdicts of each kind a side has."""
    counts = ledger.counts(side)
    return ", ".join(f"{counts[name]} {name}" for name in SYMBOLS if counts[name])


def verdict_table(ledger: Ledger) -> pd.DataFrame:
    """Count what the paper's own numbers say: verdict, its meaning, and how many claims have it."""
    counts, meanings = ledger.counts("paper"), printed.PAPER_VERDICTS
    lines = [[meaning, counts[name]] for name, meaning in meanings.items()]
    return pd.DataFrame(lines, columns=["meaning", "statements"], index=list(meanings))


def open_table(points: pd.DataFrame) -> Styler:
    """List what the paper leaves open (`minseg.study.paper.open_points`)."""
    titles = {"place": "where", "point": "left open", "consequence": "what follows"}
    left = "text-align: left; vertical-align: top; padding: 0.2em 0.7em"
    styler = text_table(points.rename(columns=titles)).hide(axis="index")
    return styler.set_table_styles([CSSDict(selector="td, th", props=left)])


def _badge(verdict: str, synthetic: bool = False) -> Markup:
    """Return a verdict as a label, with the word where its data are made."""
    kind, sign = SYMBOLS[verdict]
    made = synthetic and verdict != measured.UNTESTABLE
    label = Markup('<span class="badge {}{}">{} {}</span>').format(
        kind, " made" * made, sign, verdict
    )
    return label + Markup('<span class="word">synthetic</span>') * made


def _call(named: NamedTest) -> str:
    """Write a test as it is called."""
    parameters = named.parameters | ({"share": named.share} if named.share < 1 else {})
    given = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    return f"{named.test}({given})"


def _claimed(numbers: Sequence[printed.Comparison | measured.Effect]) -> str:
    """Say where a claim puts its numbers."""
    texts = (getattr(one, "expected", "") or one.claimed.text for one in numbers)
    return "; ".join(dict.fromkeys(texts))


def _ledger_line(claim: Claim) -> str:
    """Return the claim's line in the ledger, from the checkout's folder."""
    path, line = claim.where.rsplit(":", 1)
    return f"data/{Path(path).name}, line {line}"


def _sources(one: Judged) -> str:
    """Name the files and lines that a claim rests on."""
    tables = [(str(table["table"].iloc[0]), _ranges(sorted(table["line"]))) for table in one.rows]
    return "; ".join(
        f"data/paper/{'table' * name.isdigit()}{name}.csv, lines {lines}" for name, lines in tables
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Write sorted numbers with runs of them joined: 2–5, 9."""
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    return ", ".join(
        f"{start}–{end}" if end > start else f"{start}"
        for start, end in zip(starts, ends, strict=True)
    )


def _paper_strips(finding: printed.PaperFinding) -> list[Markup]:
    """Draw the printed differences; nothing where they are no numbers on one scale."""
    if len(finding.comparisons) < 2 or not all(one.drawable for one in finding.comparisons):
        return [Markup("")] * len(finding.comparisons)
    return strips([Span(*3 * (one.value,), one.claimed, exact=True) for one in finding.comparisons])


def _run_strips(finding: measured.RunFinding) -> list[Markup]:
    """Draw our effects with their intervals."""
    return strips(
        [Span(one.ends[0], one.value, one.ends[1], one.claimed) for one in finding.effects]
    )


WIDTH = 130
"""Of a strip, CSS pixels."""

_INSIDE, _OUTSIDE, _ACROSS = "#00629b", "#b34700", "#777777"


@dataclass(frozen=True)
class Span:
    """A value, its interval (equal ends where there is none), and where it is claimed."""

    low: float
    value: float
    high: float
    claimed: printed.Region
    exact: bool = False
    """Whether it is a printed value: on the edge it is not as claimed."""


def strips(spans: Sequence[Span]) -> list[Markup]:
    """Draw values on one scale, a strip of inline SVG for each.

    The claimed side is shaded, its edge a dark line; the interval is blue where it lies on the
    claimed side, orange where it lies on the other, grey across the edge.
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

    claimed = span.claimed
    value = f"{span.low:.3f} to {span.high:.3f}" if span.low < span.high else f"{span.value:.3f}"
    drawn = _PAGE.get_template("strip.html").render(
        at=at,
        span=span,
        width=WIDTH,
        edges=[edge for edge in (claimed.low, claimed.high) if math.isfinite(edge)],
        text=f"{value}, claimed {claimed.text}",
        colour=_colour(span),
    )
    return Markup(drawn)


def _colour(span: Span) -> str:
    """Colour an interval by the side that it lies on."""
    if span.claimed.low < span.low and span.high < span.claimed.high:
        return _INSIDE
    beyond = span.high < span.claimed.low or span.low > span.claimed.high
    return _OUTSIDE if span.exact or beyond else _ACROSS


_COLOURS = {
    "true": ("#00629B", "white"),
    "part": ("#E69F00", "#222222"),
    "false": ("#B34700", "white"),
    "open": ("#B5B5B5", "#222222"),
    "none": ("#FFFFFF", "#777777"),
}
"""Kind of verdict to its colour and that of its sign: told apart by every eye, and in grey."""


@style.in_style()
def verdict_figure(ledger: Ledger) -> Figure:
    """Show all verdicts, a tile for each claim: left on the paper's tables, right on our runs.

    Rows are the sections of the paper, by the first place of each claim. Verdicts on synthetic
    data are hollow tiles.
    """
    sections = _sections(ledger)
    longest = max(map(len, sections.values()))
    figure = style.ReportFigure(figsize=(8.2, 1.35 + 0.25 * len(sections)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    sides: Sequence[tuple[Axes, str, Sequence[str], str, bool]] = (
        (left, "paper", tuple(printed.PAPER_VERDICTS), "Against the paper's own tables", False),
        (right, "runs", measured.RUN_VERDICTS, "Against our runs", ledger.synthetic),
    )
    for axes, side, verdicts, heading, hollow in sides:
        for row, judged in enumerate(sections.values()):
            found = sorted((getattr(one, side).verdict for one in judged), key=verdicts.index)
            for column, verdict in enumerate(found):
                _tile(axes, column, row, verdict, hollow)
        counts = ledger.counts(side)
        axes.legend(
            handles=[_entry(name, counts[name], hollow) for name in verdicts],
            loc="upper center",
            bbox_to_anchor=(0.45, -0.01),
            ncols=2,
        )
        axes.set_title(heading, fontweight="bold")
        axes.set(xlim=(-0.1, longest), ylim=(len(sections) - 0.1, -0.1), xticks=[])
        axes.set_yticks(np.arange(len(sections)) + 0.45, list(sections))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    style.mark_synthetic(figure, ledger.synthetic)
    return figure


def _tile(axes: Axes, column: int, row: int, verdict: str, hollow: bool) -> None:
    """Draw one claim's verdict."""
    kind, sign = SYMBOLS[verdict]
    face, edge, ink = _tile_colours(kind, hollow)
    tile = Rectangle((column, row), 0.88, 0.88, facecolor=face, edgecolor=edge, linewidth=1.1)
    axes.add_patch(tile)
    middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "weight": "bold"}
    axes.text(column + 0.44, row + 0.46, sign, color=ink, **middle)


def _entry(verdict: str, number: int, hollow: bool) -> Patch:
    """Return a verdict's entry in the legend, with its sign and count."""
    kind, sign = SYMBOLS[verdict]
    face, edge, _ = _tile_colours(kind, hollow)
    return Patch(facecolor=face, edgecolor=edge, label=f"{sign} {verdict}: {number}")


def _tile_colours(kind: str, hollow: bool) -> tuple[str, str, str]:
    """Return face, edge and ink of a tile."""
    colour, ink = _COLOURS[kind]
    if kind == "none":
        return colour, "#BBBBBB", ink
    if hollow:
        return "white", colour, ink if kind in ("open", "part") else colour
    return colour, colour, ink


@style.in_style()
def subset_figure(folder: Path | None = None) -> Figure:
    """Show by how much the subsets of a group exceed all images (Table 2), in percent of All.

    The printed numbers are those of the checkout or of a folder; one row a group and model.
    """
    counts = printed.values_of(paper_table(2, folder), ["split", "model", "part"])
    cases = [(codes, model) for codes in GROUPS.values() for model in MODELS]
    figure = style.ReportFigure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    for row, (codes, model) in enumerate(cases):
        for part, step in (("train", -0.27), ("validation", 0.0), ("test", 0.27)):
            colour, marker = style.PART_STYLES[part]
            surplus = round(paper_tests.subset_surplus(counts, codes, model, part))
            share = surplus / counts["All", model, part]
            axes.plot([0, share], [row + step] * 2, color=colour, linewidth=1.2)
            axes.scatter(share, row + step, 26, color=colour, marker=marker, zorder=3)
            place, aside = (share, row + step), 6 if share >= 0 else -6
            style.note(axes, _surplus(surplus), place, aside, fontsize=7, color=colour)
    axes.axvline(0, color="#555555", linewidth=1, zorder=1)
    left, right = axes.get_xlim()
    reach = 1.12 * max(-left, right, 0.01)
    axes.axvspan(0, reach, color="#F3EDE3", linewidth=0, zorder=0)
    axes.set_xlim(-reach, reach)
    style.name_rows(axes, [f"{'+'.join(codes)}, {printed.title(name)}" for codes, name in cases])
    axes.axhline(len(MODELS) - 0.5, color="#999999", linewidth=0.7)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("sum of the subsets − All, in percent of All (numbers: images)")
    axes.set_title("shaded: more images than there are")
    parts = style.PART_STYLES.items()
    entries = [style.legend_marker(part, *looks, width=1.2) for part, looks in parts]
    style.legend_at_foot(figure, entries)
    return figure


@style.in_style()
def gain_figure(folder: Path | None = None) -> Figure:
    """Show where targeted models are ahead of the general one (Table 4), in thousandths, framed.

    The printed numbers are those of the checkout or of a folder; one row a subset.
    """
    rows = list(GENERAL_OF)
    columns = [(model, metric) for model in MODELS for metric in METRICS]
    scores = printed.values_of(paper_table(4, folder), ["split", "model", "metric"])
    values = np.array(
        [[scores[row, *of] - scores[GENERAL_OF[row], *of] for of in columns] for row in rows]
    ).round(4)
    figure = style.ReportFigure(figsize=(7.4, 3.5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="PuOr_r", vmin=-0.2, vmax=0.2, aspect="auto")
    middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if abs(value) > 0.12 else "#222222"
        axes.text(column, row, _surplus(round(1000 * value)), color=ink, **middle)
        if value > 0:
            frame = Rectangle((column - 0.43, row - 0.43), 0.86, 0.86)
            frame.set(fill=False, edgecolor="#222222", linewidth=1.3, zorder=3)
            axes.add_patch(frame)
    for edge in range(len(METRICS), len(columns), len(METRICS)):
        axes.axvline(edge - 0.5, color="white", linewidth=4, zorder=1)
    for row, name in enumerate(rows[:-1]):
        if name in AVERAGES:  # Table 4 closes a group of subsets with its mean
            axes.axhline(row + 0.5, color="white", linewidth=4, zorder=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(
        range(len(columns)), [SHORT_METRIC_TITLES[metric] for _, metric in columns], fontsize=7.5
    )
    axes.tick_params(length=0)
    above = axes.secondary_xaxis("top")
    first = (len(METRICS) - 1) / 2
    above.set_xticks(
        [first + k * len(METRICS) for k in range(len(MODELS))], [printed.title(m) for m in MODELS]
    )
    above.tick_params(length=0)
    for sides in (axes.spines, above.spines):
        sides[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="both", pad=0.02)
    bar.set_label("targeted − general")
    bar.outline.set_visible(False)
    figure.supxlabel("in thousandths; framed: the targeted model is ahead", fontsize=8.5)
    return figure


def _surplus(count: int) -> str:
    """Write a number with its sign, zero without."""
    return signed(count, 0) if count else "0"
