"""Tests of claims against our runs: small functions, known by name."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from minseg.audit.claims_contrasts import CONTRASTS, Contrast, Rows, signature_of
from minseg.audit.claims_effects import (
    class_difference,
    evaluate,
    gain_of_class,
    gain_of_epochs,
    gain_of_tuning,
    measured_claim,
    near_zero_share,
    volume_correlation,
)
from minseg.audit.claims_evidence import Evidence
from minseg.audit.claims_verdicts import (
    ABOVE_ZERO,
    BELOW_ZERO,
    RunFinding,
    decide,
)

RunTest = Callable[..., RunFinding]
"""From a claim's rows, the evidence and parameters to what our runs say."""


def _of_contrasts(build: Callable[..., Iterable[Contrast]]) -> RunTest:
    """Make a test of our runs from comparisons."""

    def test(
        rows: Rows, evidence: Evidence, *, share: float = 1.0, **parameters: object
    ) -> RunFinding:
        return decide([evaluate(one, evidence) for one in build(rows, **parameters)], share)

    test.__signature__ = signature_of(build, "rows", "evidence")  # type: ignore[attr-defined]
    return test


def class_metric_above(
    rows: Rows, evidence: Evidence, *, model: str, name: str, metric: str, other: str
) -> RunFinding:
    """Test that over all test mines a class has more of one metric than of another."""
    return decide([class_difference(evidence, model, name, metric, other)])


def class_gain(
    rows: Rows, evidence: Evidence, *, model: str, names: Sequence[str], row: str, reference: str
) -> RunFinding:
    """Test that single classes have a higher IoU with some bands than with others."""
    return decide([gain_of_class(evidence, model, name, row, reference) for name in names])


def near_zero(
    rows: Rows, evidence: Evidence, *, model: str, name: str, at_most: float
) -> RunFinding:
    """Test that few test mines have an IoU of a class close to 0."""
    return decide([near_zero_share(evidence, model, name, at_most)])


def mine_claim(
    rows: Rows, evidence: Evidence, *, model: str, measure: str, side: Literal["above", "below"]
) -> RunFinding:
    """Test a statement of section 4 as the mine pages measure it, against what it stands beside."""
    claimed = ABOVE_ZERO if side == "above" else BELOW_ZERO
    return decide([measured_claim(evidence, model, measure, claimed)])


def longer_training(rows: Rows, evidence: Evidence, *, models: Sequence[str]) -> RunFinding:
    """Test that trials of the search score higher at their last epoch count than at their first.

    One training scored at several lengths differs in nothing else. The trials that the search
    stopped early have no later scores and are not among them.
    """
    return decide([gain_of_epochs(evidence, model) for model in models])


def tuning_gain(rows: Rows, evidence: Evidence, *, models: Sequence[str]) -> RunFinding:
    """Test that the trial the validation part chooses beats the untuned model on the test part."""
    return decide([gain_of_tuning(evidence, model) for model in models])


def volume_helps(rows: Rows, evidence: Evidence, *, share: float = 1.0) -> RunFinding:
    """Test that a targeted model leads the general one by more, the more images it had."""
    models = dict.fromkeys(model for table in rows for model in table["model"])
    return decide([volume_correlation(evidence, model) for model in models], share)


RUN_TESTS: dict[str, RunTest] = {
    **{name: _of_contrasts(build) for name, build in CONTRASTS.items()},
    "class_metric_above": class_metric_above,
    "class_gain": class_gain,
    "near_zero": near_zero,
    "mine_claim": mine_claim,
    "longer_training": longer_training,
    "tuning_gain": tuning_gain,
    "volume_helps": volume_helps,
}
"""Tests by the names that the ledger calls them."""
