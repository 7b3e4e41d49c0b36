"""The ledger judged: each claim with its two verdicts, and how many there are of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from minseg.audit.claims import SECTIONS, Claim, select
from minseg.audit.claims_contrasts import Rows
from minseg.audit.claims_evidence import Evidence
from minseg.audit.claims_paper import PAPER_TESTS
from minseg.audit.claims_runs import RUN_TESTS
from minseg.audit.claims_verdicts import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDABLE,
    UNTESTABLE,
    PaperFinding,
    RunFinding,
)
from minseg.errors import MinsegError


@dataclass(frozen=True)
class Judged:
    """A claim, the printed rows that it rests on, and what tables and runs say of it."""

    claim: Claim
    rows: Rows
    paper: PaperFinding
    runs: RunFinding


@dataclass(frozen=True)
class Ledger:
    """All claims with their verdicts on one dataset."""

    judged: tuple[Judged, ...]
    dataset: str
    """Name of the dataset of the runs."""
    synthetic: bool
    """Whether that dataset was made, not observed."""
    convention: str
    seeds: tuple[int, ...]

    def table(self) -> pd.DataFrame:
        """Return one row a claim: id, place, claim, paper, runs (verdicts), synthetic."""
        return pd.DataFrame(
            [
                {
                    "id": one.claim.id,
                    "place": ", ".join(one.claim.place),
                    "claim": one.claim.says,
                    "paper": one.paper.verdict,
                    "runs": one.runs.verdict,
                    "synthetic": self.synthetic,
                }
                for one in self.judged
            ]
        )

    def counts(self, side: str) -> pd.DataFrame:
        """Count verdicts by section.

        Parameters
        ----------
        side : {"paper", "runs"}

        Returns
        -------
        pandas.DataFrame
            Row: section, by its first place; column: verdict; int.
        """
        verdicts = [getattr(one, side).verdict for one in self.judged]
        sections = [SECTIONS[one.claim.place[0]] for one in self.judged]
        found = pd.crosstab(pd.Series(sections), pd.Series(verdicts))
        return found.reindex([name for name in SECTIONS.values() if name in found.index])

    @property
    def evidence_about_real_mines(self) -> int:
        """Number of claims that our runs support or contradict on real imagery: 0 if synthetic."""
        if self.synthetic:
            return 0
        return sum(one.runs.verdict in (SUPPORTED, CONTRADICTED) for one in self.judged)


def against_paper(claim: Claim) -> PaperFinding:
    """Hold a claim against the paper's own tables.

    Raises
    ------
    MinsegError
        With the ledger's line, if the test cannot use the rows.
    """
    if claim.test_paper is None:
        return PaperFinding(UNDECIDABLE, str(claim.paper_cannot))
    test = PAPER_TESTS[claim.test_paper.test]
    try:
        return test(select(claim), **claim.test_paper.parameters)
    except MinsegError as error:
        raise MinsegError(_placed(claim, str(error))) from None


def against_runs(claim: Claim, evidence: Evidence) -> RunFinding:
    """Hold a claim against our runs.

    Raises
    ------
    MinsegError
        With the ledger's line, if the test cannot use the rows.
    """
    if claim.test_runs is None:
        return RunFinding(UNTESTABLE, str(claim.runs_cannot))
    test = RUN_TESTS[claim.test_runs.test]
    try:
        return test(select(claim), evidence, **claim.test_runs.parameters)
    except MinsegError as error:
        raise MinsegError(_placed(claim, str(error))) from None


def judge(claims: Sequence[Claim], evidence: Evidence) -> Ledger:
    """Reach both verdicts on each claim.

    Parameters
    ----------
    claims : sequence of Claim
    evidence : Evidence

    Returns
    -------
    Ledger
    """
    study = evidence.study
    return Ledger(
        tuple(
            Judged(claim, select(claim), against_paper(claim), against_runs(claim, evidence))
            for claim in claims
        ),
        study.dataset.description.name,
        study.dataset.synthetic,
        evidence.convention,
        study.seeds,
    )


def _placed(claim: Claim, problem: str) -> str:
    """Say in which line of the ledger a problem is, once."""
    return problem if claim.where.split(":")[0] in problem else f"{claim.where}: {problem}"
