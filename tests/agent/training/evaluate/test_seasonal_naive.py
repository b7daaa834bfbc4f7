"""The seasonal naive forecast and its error, against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.training.batching.held_out import QUANTILES, Array, seasonal_error
from agent.training.evaluate.seasonal_naive import seasonal_naive

NAN = np.nan


def test_the_scale_is_the_mean_absolute_seasonal_difference() -> None:
    assert seasonal_error(np.array([1.0, 2.0, 4.0, 8.0]), 1) == pytest.approx((1 + 2 + 4) / 3)
    assert seasonal_error(np.array([1.0, 2.0, 4.0, 8.0]), 2) == pytest.approx((3 + 6) / 2)


def test_the_scale_ignores_missing_observations() -> None:
    assert seasonal_error(np.array([1.0, NAN, 4.0, 8.0]), 1) == pytest.approx(4)


def test_a_history_of_one_season_has_no_scale() -> None:
    assert np.isnan(seasonal_error(np.array([1.0, 2.0]), 2))


def test_seasonal_naive_repeats_the_last_season() -> None:
    median = seasonal_naive(np.array([9.0, 9.0, 1.0, 2.0, 3.0]), 7, 3)[:, 4]
    assert median.tolist() == pytest.approx([1, 2, 3, 1, 2, 3, 1])


def test_the_prediction_interval_widens_with_each_season_ahead() -> None:
    # Seasonal differences 2 and -2: sigma is 2.
    forecast = seasonal_naive(np.array([1.0, 5.0, 3.0, 3.0]), 4, 2)
    half_width = (forecast[:, 8] - forecast[:, 4]) / 1.2815515655446004
    assert half_width.tolist() == pytest.approx([2, 2, 2 * np.sqrt(2), 2 * np.sqrt(2)])


def test_seasonal_naive_of_a_short_history_or_one_with_gaps_is_finite() -> None:
    assert seasonal_naive(np.array([4.0]), 3, 12)[:, 4].tolist() == [4, 4, 4]
    assert seasonal_naive(np.array([NAN, 4.0, NAN]), 2, 1)[:, 4].tolist() == [4, 4]
    assert np.isfinite(seasonal_naive(np.array([NAN, NAN]), 2, 1)).all()


values = st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=12).map(np.array)


@given(history=values, season=st.integers(1, 14), horizon=st.integers(1, 20))
def test_seasonal_naive_quantiles_never_cross(history: Array, season: int, horizon: int) -> None:
    forecast = seasonal_naive(history, horizon, season)
    assert forecast.shape == (horizon, len(QUANTILES))
    assert (np.diff(forecast, axis=1) >= -1e-9).all()
