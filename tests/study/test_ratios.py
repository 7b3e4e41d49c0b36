import numpy as np
import pandas as pd

from minseg.study.ratios import ratio


def test_shares_of_numbers_arrays_and_series_and_of_nothing():
    assert ratio(1, 4) == 0.25
    assert isinstance(ratio(1, 4), float)
    assert np.isnan(ratio(0, 0))
    assert np.isnan(ratio(1, 0))
    assert np.isnan(ratio(np.nan, 2))
    assert np.isnan(ratio(1, np.nan))
    found = ratio(np.array([[1, 3], [0, 0]]), np.array([4, 0]))
    assert np.array_equal(found, [[0.25, np.nan], [0, np.nan]], equal_nan=True)
    assert ratio(pd.Series([1, 0]), pd.Series([2, 5])).tolist() == [0.5, 0]
