"""All errata: the paper held against its own numbers, group by group."""

from minseg.audit.errata_bands import BAND_ERRATA
from minseg.audit.errata_identities import IDENTITY_ERRATA
from minseg.audit.errata_images import IMAGE_ERRATA
from minseg.audit.errata_method import METHOD_ERRATA
from minseg.audit.errata_scores import SCORE_ERRATA
from minseg.audit.errata_splits import SPLIT_ERRATA
from minseg.audit.erratum import Check, Erratum, PrintedPaper

_GROUPS: dict[str, tuple[Check, ...]] = {
    "numbers of images": IMAGE_ERRATA,
    "the tables' arithmetic": SCORE_ERRATA + IDENTITY_ERRATA,
    "prose against tables": BAND_ERRATA + SPLIT_ERRATA + METHOD_ERRATA,
}


def errata(paper: PrintedPaper) -> dict[str, list[Erratum]]:
    """Hold every statement and table that arithmetic can decide against the paper's numbers.

    Parameters
    ----------
    paper : PrintedPaper
        See `minseg.audit.erratum.read_printed`.

    Returns
    -------
    dict of group to list of Erratum
        In the order of the paper within a group. What comes out consistent is there too.
    """
    return {group: [check(paper) for check in checks] for group, checks in _GROUPS.items()}
