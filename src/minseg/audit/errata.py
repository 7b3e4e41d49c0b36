"""All errata: the paper held against its own numbers, group by group."""

from collections.abc import Callable

from minseg.audit.errata_bands import band_errata
from minseg.audit.errata_identities import identity_errata
from minseg.audit.errata_images import image_errata
from minseg.audit.errata_method import method_errata
from minseg.audit.errata_scores import score_errata
from minseg.audit.errata_splits import split_errata
from minseg.audit.erratum import Erratum, PrintedPaper

_GROUPS: dict[str, tuple[Callable[[PrintedPaper], list[Erratum]], ...]] = {
    "numbers of images": (image_errata,),
    "the tables' arithmetic": (score_errata, identity_errata),
    "prose against tables": (band_errata, split_errata, method_errata),
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
    return {
        group: [one for tests in collections for one in tests(paper)]
        for group, collections in _GROUPS.items()
    }
