"""Tables of change between two years: the account of one mine, and the check on all of them."""

import pandas as pd
from pandas.io.formats.style import Styler

from minseg.report.comparisons import model_title
from minseg.report.text import text_table


def account_table(account: pd.DataFrame, synthetic: bool = False) -> Styler:
    """Show mapped, adjusted and annotated hectares beside the floor of false change.

    Parameters
    ----------
    account : pandas.DataFrame
        See `minseg.study.change_accuracy.accounts`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas Styler
        A row a class and change. Above the floor: whether the mapped area is larger than the upper
        end of the floor's interval.
    """
    adjusted = _with_interval(account, "adjusted_ha", "low_ha", "high_ha")
    floor = _with_interval(account, "floor_ha", "floor_low_ha", "floor_high_ha")
    above = (account["mapped_ha"] > account["floor_high_ha"]).map({True: "yes", False: "no"})
    table = pd.DataFrame(
        {
            "mapped, ha": account["mapped_ha"],
            "adjusted, ha (range over other mines)": adjusted,
            "annotated, ha": account["true_ha"],
            "floor of false change, ha (95 % interval)": floor,
            "above the floor": above.where(account["floor_high_ha"].notna()),
            "other mines": account["mines"],
        }
    )
    return _styled(table, account, synthetic, "no mine with scenes of two years")


def check_table(checks: pd.DataFrame, synthetic: bool = False) -> Styler:
    """Show how well mapped and adjusted areas met the annotated ones, each mine in turn.

    Parameters
    ----------
    checks : pandas.DataFrame
        See `minseg.study.change_accuracy.account_checks`.
    synthetic : bool
        Marks the table as made from synthetic data.

    Returns
    -------
    pandas Styler
    """
    pairs = zip(checks["inside"], checks["mines"], strict=True)
    inside = [f"{inside} of {mines} mines" for inside, mines in pairs]
    table = pd.DataFrame(
        {
            "annotated area in the range": inside,
            "mean error as mapped, ha": checks["mapped_error_ha"].astype(float),
            "mean error as adjusted, ha": checks["adjusted_error_ha"].astype(float),
        }
    )
    return _styled(table, checks, synthetic, "it takes three test mines with scenes of two years")


def _styled(table: pd.DataFrame, rows: pd.DataFrame, synthetic: bool, empty: str) -> Styler:
    """Name the rows and set numbers; say why there are no rows."""
    names = [rows["task"].map(model_title), rows["class"], rows["change"]]
    numbers = [name for name in table if pd.api.types.is_float_dtype(table[name])]
    table.index = pd.MultiIndex.from_arrays(names, names=["synthetic" * synthetic, "class", ""])
    styler = text_table(table).format(dict.fromkeys(numbers, "{:.2f}".format), na_rep="–")
    return styler if len(table) else styler.set_caption(f"Nothing to show: {empty}.")


def _with_interval(rows: pd.DataFrame, value: str, low: str, high: str) -> pd.Series:
    """Write ``13.09 (4.41 to 19.18)``."""
    texts = []
    for number, *ends in zip(rows[value], rows[low], rows[high], strict=True):
        interval = "" if pd.isna(ends).any() else " ({:.2f} to {:.2f})".format(*ends)
        texts.append(None if pd.isna(number) else f"{number:.2f}{interval}")
    return pd.Series(texts, rows.index, dtype=object)
