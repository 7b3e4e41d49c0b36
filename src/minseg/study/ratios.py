"""Shares of a whole that may be nothing."""

from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


@overload
def ratio(part: float, whole: float) -> float: ...
@overload
def ratio(part: np.ndarray | pd.Series, whole: np.ndarray | pd.Series) -> np.ndarray: ...
def ratio(part: ArrayLike, whole: ArrayLike) -> float | np.ndarray:
    """Divide, with NaN where there is nothing to take a share of.

    Parameters
    ----------
    part, whole : float, or ndarray or pandas.Series
        Of shapes that go together.

    Returns
    -------
    float, or float64 ndarray
        NaN where `whole` is not above 0, or either is NaN.
    """
    parts, wholes = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    shares = np.full(parts.shape, np.nan)
    return np.divide(parts, wholes, out=shares, where=wholes > 0)[()]
