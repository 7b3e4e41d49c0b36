"""The ledger at a glance: a tile for each claim, by section and verdict."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from minseg.audit.claims import SECTIONS
from minseg.audit.claims_ledger import Ledger
from minseg.audit.claims_verdicts import PAPER_VERDICTS, RUN_VERDICTS
from minseg.report.claims import SYMBOLS
from minseg.report.style import ReportFigure, in_style, mark_synthetic

_COLOURS = {"true": "#00629B", "false": "#B34700", "open": "#B5B5B5", "none": "#FFFFFF"}
"""Kind of verdict to its colour: blue and orange differ to every eye, and in grey."""

_SIGN_COLOURS = {"true": "white", "false": "white", "open": "#222222", "none": "#777777"}


@in_style()
def verdict_figure(ledger: Ledger) -> Figure:
    """Show all verdicts, a tile for each claim: left on the paper's tables, right on our runs.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    matplotlib.figure.Figure
        Rows are the sections of the paper, by the first place of each claim. Verdicts on synthetic
        data are hollow tiles.
    """
    sections = [
        (name, [one for one in ledger.judged if one.claim.place[0] == place])
        for place, name in SECTIONS.items()
    ]
    sections = [(name, judged) for name, judged in sections if judged]
    longest = max(len(judged) for _, judged in sections)
    figure = ReportFigure(figsize=(8.2, 1.35 + 0.25 * len(sections)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    sides: Sequence[tuple[Axes, str, Sequence[str], str, bool]] = (
        (left, "paper", PAPER_VERDICTS, "Against the paper's own tables", False),
        (right, "runs", RUN_VERDICTS, "Against our runs", ledger.synthetic),
    )
    for axes, side, verdicts, heading, hollow in sides:
        for row, (_, judged) in enumerate(sections):
            found = sorted((getattr(one, side).verdict for one in judged), key=verdicts.index)
            for column, verdict in enumerate(found):
                _tile(axes, column, row, verdict, hollow)
        counts = ledger.counts(side).sum()
        axes.legend(
            handles=[_entry(name, int(counts.get(name, 0)), hollow) for name in verdicts],
            loc="upper center",
            bbox_to_anchor=(0.45, -0.01),
            ncols=2,
        )
        axes.set_title(heading, fontweight="bold")
        axes.set_xlim(-0.1, longest)
        axes.set_ylim(len(sections) - 0.1, -0.1)
        axes.set_yticks(
            [row + 0.45 for row in range(len(sections))], [name for name, _ in sections]
        )
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    mark_synthetic(figure, ledger.synthetic)
    return figure


def _tile(axes: Axes, column: int, row: int, verdict: str, hollow: bool) -> None:
    """Draw one claim's verdict."""
    kind, sign = SYMBOLS[verdict]
    face, edge, ink = _look(kind, hollow)
    axes.add_patch(
        Rectangle((column, row), 0.88, 0.88, facecolor=face, edgecolor=edge, linewidth=1.1)
    )
    axes.text(
        column + 0.44,
        row + 0.46,
        sign,
        ha="center",
        va="center",
        color=ink,
        fontsize=8,
        weight="bold",
    )


def _entry(verdict: str, number: int, hollow: bool) -> Patch:
    """Return a verdict's entry in the legend, with its sign and count."""
    kind, sign = SYMBOLS[verdict]
    face, edge, _ = _look(kind, hollow)
    return Patch(facecolor=face, edgecolor=edge, label=f"{sign} {verdict}: {number}")


def _look(kind: str, hollow: bool) -> tuple[str, str, str]:
    """Return face, edge and ink of a tile."""
    colour = _COLOURS[kind]
    if kind == "none":
        return colour, "#BBBBBB", _SIGN_COLOURS[kind]
    if hollow:
        ink = _SIGN_COLOURS[kind] if kind == "open" else colour
        return "white", colour, ink
    return colour, colour, _SIGN_COLOURS[kind]
