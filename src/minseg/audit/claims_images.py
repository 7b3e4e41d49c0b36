"""Tests of claims about how many images there are (Table 2)."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import spearmanr

from minseg.audit.claims_arithmetic import EXACT, printed
from minseg.audit.claims_contrasts import Cell, Rows, groups, title
from minseg.audit.claims_verdicts import (
    ABOVE_ZERO,
    FAILS,
    HOLDS,
    UNDECIDABLE,
    Comparison,
    PaperFinding,
    Region,
    weigh,
)
from minseg.errors import MinsegError
from minseg.study.experiments import GENERAL_OF


def images(rows: Rows, *, more_than: int) -> PaperFinding:
    """Test how many images there are, by the split of one model (Table 2).

    Of a validation or test mine one image is used (section 2.3); with one image a year from 2016 to
    2022 (section 2.1) there are at most seven. So a total with all of these counted is an upper
    bound of what the table can account for.
    """
    years = 7
    found = []
    for group in groups(rows, "part"):
        test, validation, train = _parts(group.cells)
        most = train + years * (test + validation)
        found.append(
            Comparison(
                f"{group.name}: images used, with all {years} years of the other mines",
                f"{printed(train)} + {years} × ({printed(test)} + {printed(validation)}) = "
                f"{printed(most)}, of which {printed(train + test + validation)} were used",
                most,
                Region(low=more_than),
            )
        )
    reached = max(found, key=lambda one: one.value)
    verdict = UNDECIDABLE if reached.as_claimed else FAILS
    used = [float(np.sum(_parts(group.cells))) for group in groups(rows, "part")]
    if max(used) > more_than:
        verdict = HOLDS
    return PaperFinding(
        verdict, f"Table 2 accounts for at most {printed(reached.value)} images.", tuple(found)
    )


def mines(rows: Rows, *, more_than: int, test_and_validation: float) -> PaperFinding:
    """Test how many mines there are, by the split of one model (Table 2).

    Test and validation hold one image a mine (section 2.3), and are a known share of all mines.
    """
    found = []
    for group in groups(rows, "part"):
        test, validation, train = _parts(group.cells)
        total = (test + validation) / test_and_validation
        each = train / max(more_than - test - validation, 1)
        found.append(
            Comparison(
                f"{group.name}: test and validation mines are {test_and_validation:.0%} of all",
                f"({printed(test)} + {printed(validation)}) / {test_and_validation:g} = "
                f"{total:.0f}; with {more_than} mines, a training mine had {each:.1f} images",
                total,
                Region(low=more_than),
            )
        )
    return weigh(found)


def volume_helps(rows: Rows, *, share: float = 1.0) -> PaperFinding:
    """Test that a targeted model stands the better against the general one the more images it had.

    Rows are train images (Table 2) and IoU of targeted and general models (Table 4). Comparing with
    the general model on the same mines takes out that subsets are not equally hard.
    """
    sizes = {
        cell.keys["model"] + name: cell
        for g in groups(rows[:1], "split")
        for name, cell in g.cells.items()
    }
    found = []
    for group in groups(rows[1:], "split"):
        pairs = [(a, b) for a, b in GENERAL_OF.items() if {a, b} <= set(group.cells)]
        model = next(iter(group.cells.values())).keys["model"]
        images_of = [sizes[model + row].printed for row, _ in pairs]
        gaps = [group.cells[a].printed - group.cells[b].printed for a, b in pairs]
        order = np.argsort(images_of)
        listed = ", ".join(
            f"{pairs[k][0]} {printed(images_of[k])}: {printed(round(gaps[k], EXACT), signed=True)}"
            for k in order
        )
        rank = round(float(spearmanr(images_of, np.round(gaps, EXACT)).statistic), EXACT)
        found.append(
            Comparison(
                f"{title(model)}: rank correlation of images with the lead over the general model",
                f"{listed}; Spearman {rank:+.2f}".replace("-", "−"),
                rank,
                ABOVE_ZERO,
            )
        )
    return weigh(found, share)


def _parts(cells: Mapping[str, Cell]) -> tuple[float, float, float]:
    """Return the images of test, validation and train."""
    try:
        test, validation, train = (cells[name].printed for name in ("test", "validation", "train"))
    except KeyError as missing:
        raise MinsegError(f"Table 2: rows of part {missing} are needed") from None
    return test, validation, train
