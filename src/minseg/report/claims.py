"""The claims ledger as a page shows it: a table to scan, each claim unfolding to its evidence."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from minseg.audit.claims import SECTIONS, Claim, NamedTest
from minseg.audit.claims_ledger import Judged, Ledger
from minseg.audit.claims_verdicts import (
    CONTRADICTED,
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    SUPPORTED,
    UNDECIDABLE,
    UNTESTABLE,
    Comparison,
    Effect,
    PaperFinding,
    RunFinding,
)
from minseg.report.claims_strips import Span, strips
from minseg.report.text import markdown_text

SYMBOLS: dict[str, tuple[str, str]] = {
    HOLDS: ("true", "✓"),
    FAILS: ("false", "✗"),
    UNDECIDABLE: ("open", "?"),
    SUPPORTED: ("true", "✓"),
    CONTRADICTED: ("false", "✗"),
    INCONCLUSIVE: ("open", "?"),
    UNTESTABLE: ("none", "–"),
}
"""Kind and sign of each verdict; the same on both sides, so that the pages read alike."""

_PAGE = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def ledger_html(ledger: Ledger) -> str:
    """Write a ledger as one piece of HTML, without scripts.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    str
        A line for each claim, which opens on a click; ``#claim-ID`` is its address. Verdicts on
        synthetic data bear the word, and are drawn hollow.
    """
    sections: dict[str, list[Judged]] = {}
    for one in ledger.judged:
        sections.setdefault(SECTIONS[one.claim.place[0]], []).append(one)
    in_order = {name: sections[name] for name in SECTIONS.values() if name in sections}
    return _PAGE.get_template("claims.html").render(
        ledger=ledger,
        sections=in_order,
        badge=_badge,
        call=_call,
        claimed=_claimed,
        ledger_line=_ledger_line,
        number=_number,
        paper_strips=_paper_strips,
        places=_places,
        run_strips=_run_strips,
        seeds=_seeds,
        sources=_sources,
    )


def ledger_summary(ledger: Ledger) -> str:
    """Say in Markdown how many verdicts there are of each kind, and what they count for.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    str
        Verdicts on synthetic data are counted apart, and as no evidence about real mines.
    """
    sides = {
        side: [getattr(one, side).verdict for one in ledger.judged] for side in ("paper", "runs")
    }
    counted = {
        side: ", ".join(f"{verdicts.count(name)} {name}" for name in SYMBOLS if name in verdicts)
        for side, verdicts in sides.items()
    }
    word = " (**synthetic**)" if ledger.synthetic else ""
    return (
        f"- {len(ledger.judged)} claims.\n"
        f"- Against the paper's own tables: {counted['paper']}.\n"
        f"- Against our runs on {markdown_text(ledger.dataset)}{word}: {counted['runs']}.\n"
        "- Claims that these runs support or contradict on real imagery: "
        f"**{ledger.evidence_about_real_mines}**."
    )


def _badge(verdict: str, synthetic: bool = False) -> Markup:
    """Return a verdict as a label, with the word where its data are made."""
    kind, sign = SYMBOLS[verdict]
    made = synthetic and verdict != UNTESTABLE
    label = Markup('<span class="badge {}{}">{} {}</span>').format(
        kind, " made" * made, sign, verdict
    )
    return label + Markup('<span class="word">synthetic</span>') * made


def _places(claim: Claim) -> str:
    """Name the sections that state a claim."""
    return ", ".join(SECTIONS[place] for place in claim.place)


def _call(named: NamedTest) -> str:
    """Write a test as it is called."""
    given = ", ".join(f"{name}={value!r}" for name, value in named.parameters.items())
    return f"{named.test}({given})"


def _claimed(numbers: Sequence[Comparison | Effect]) -> str:
    """Say where a claim puts its numbers."""
    texts = (getattr(one, "expected", "") or one.claimed.text for one in numbers)
    return "; ".join(dict.fromkeys(texts))


def _ledger_line(claim: Claim) -> str:
    """Return the claim's line in the ledger, from the checkout's folder."""
    path, line = claim.where.rsplit(":", 1)
    return f"data/{Path(path).name}, line {line}"


def _sources(one: Judged) -> str:
    """Name the files and lines that a claim rests on."""
    return "; ".join(
        f"data/paper/table{table['table'].iloc[0]}.csv, lines {_ranges(sorted(table['line']))}"
        for table in one.rows
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Write sorted numbers with runs of them joined: 2–5, 9."""
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    return ", ".join(
        f"{start}–{end}" if end > start else f"{start}"
        for start, end in zip(starts, ends, strict=True)
    )


def _number(value: float, signed: bool) -> str:
    """Write an effect with three decimals."""
    return (f"{value:+.3f}" if signed else f"{value:.3f}").replace("-", "−")


def _seeds(effect: Effect) -> str:
    """Say how many seeds there are, and how far they lie apart."""
    if math.isnan(effect.spread):
        return "one"
    return f"{len(effect.by_seed)}, spread {effect.spread:.3f}"


def _paper_strips(finding: PaperFinding) -> list[Markup]:
    """Draw the printed differences; nothing where they are no numbers on one scale."""
    if len(finding.comparisons) < 2 or not all(one.drawable for one in finding.comparisons):
        return [Markup("")] * len(finding.comparisons)
    return strips([Span(*3 * (one.value,), one.claimed, exact=True) for one in finding.comparisons])


def _run_strips(finding: RunFinding) -> list[Markup]:
    """Draw our effects with their intervals."""
    return strips(
        [Span(one.ends[0], one.value, one.ends[1], one.claimed) for one in finding.effects]
    )
