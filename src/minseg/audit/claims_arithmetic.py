"""Arithmetic on printed values, done and written out."""

from minseg.audit.claims_contrasts import Contrast
from minseg.audit.claims_verdicts import Comparison

EXACT = 9
"""Decimals that differences of printed numbers are rounded to: binary fractions are not exact."""


def printed(value: float, signed: bool = False) -> str:
    """Write a printed value: three decimals, more where the print has more, none for counts."""
    sign = "+" if signed else ""
    if float(value).is_integer() and abs(value) > 1:
        return f"{value:{sign},.0f}".replace("-", "−")
    short = f"{value:{sign}.3f}"
    text = short if abs(float(short) - value) < 1e-9 else f"{value:{sign}.4f}"
    return text.replace("-", "−")


def evaluate(contrast: Contrast) -> Comparison:
    """Do a contrast's arithmetic on the printed values.

    Parameters
    ----------
    contrast : Contrast

    Returns
    -------
    Comparison
    """
    value = round(sum(sign * cell.printed for sign, cell in contrast.cells), EXACT)
    terms = " ".join(
        f"{'+' if sign > 0 else '−'} {printed(cell.printed)}" for sign, cell in contrast.cells
    ).removeprefix("+ ")
    several = len(contrast.cells) > 1
    arithmetic = f"{terms} = {printed(value, signed=True)}" if several else terms
    return Comparison(contrast.name, arithmetic, value, contrast.claimed)
