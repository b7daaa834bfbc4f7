"""The metrics, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.evaluate import (
    QUANTILES,
    Array,
    coverage,
    score,
    seasonal_naive,
    seasonal_scale,
    series_mase,
    wql,
)

NAN = np.nan


def same_at_every_level(point: Array) -> Array:
    return np.repeat(point[..., None], len(QUANTILES), axis=-1)


def test_the_scale_is_the_mean_absolute_seasonal_difference() -> None:
    assert seasonal_scale(np.array([1.0, 2.0, 4.0, 8.0]), 1) == pytest.approx((1 + 2 + 4) / 3)
    assert seasonal_scale(np.array([1.0, 2.0, 4.0, 8.0]), 2) == pytest.approx((3 + 6) / 2)


def test_the_scale_leaves_missing_observations_out() -> None:
    assert seasonal_scale(np.array([1.0, NAN, 4.0, 8.0]), 1) == pytest.approx(4)


def test_a_history_of_one_season_has_no_scale() -> None:
    assert np.isnan(seasonal_scale(np.array([1.0, 2.0]), 2))


def test_mase_is_the_error_over_the_scale() -> None:
    truth, forecast = np.array([[10.0, 12.0]]), np.array([[11.0, 9.0]])
    assert series_mase(truth, forecast, [np.array([0.0, 4.0, 0.0])], 1) == pytest.approx([2.0 / 4.0])


def test_a_constant_history_has_no_mase_and_is_not_counted() -> None:
    truth = np.array([[1.0], [3.0]])
    histories = [np.array([1.0, 1.0, 1.0]), np.array([0.0, 2.0, 0.0])]
    found = score(truth, same_at_every_level(np.array([[1.0], [2.0]])), histories, 1)
    assert found.mase == pytest.approx(0.5)
    assert found.scored == 1


def test_wql_of_a_point_forecast_is_the_absolute_error_over_the_truth() -> None:
    # The pinball losses of one error at levels t and 1-t add up to that error.
    truth = np.array([[10.0, 20.0]])
    quantiles = same_at_every_level(np.array([[12.0, 17.0]]))
    assert wql(truth, quantiles) == pytest.approx((2 + 3) / 30)


def test_wql_by_hand_at_two_levels() -> None:
    truth = np.array([[10.0]])
    quantiles = same_at_every_level(np.array([[10.0]]))
    quantiles[..., 0], quantiles[..., 8] = 8.0, 15.0
    # 0.1 * (10 - 8) + (1 - 0.9) * (15 - 10), the other seven are exact.
    assert wql(truth, quantiles) == pytest.approx(2 * (0.2 + 0.5) / 9 / 10)


def test_a_missing_truth_counts_nowhere() -> None:
    truth = np.array([[10.0, NAN]])
    quantiles = same_at_every_level(np.array([[12.0, 1000.0]]))
    assert wql(truth, quantiles) == pytest.approx(0.2)
    assert coverage(truth, quantiles[..., 0], quantiles[..., 0]) == 0.0
    assert series_mase(truth, quantiles[..., 4], [np.array([0.0, 1.0])], 1) == pytest.approx([2.0])


def test_coverage_is_the_share_inside_the_band() -> None:
    truth = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert coverage(truth, np.full((1, 4), 2.0), np.full((1, 4), 3.0)) == 0.5


def test_seasonal_naive_repeats_the_last_season() -> None:
    median = seasonal_naive(np.array([9.0, 9.0, 1.0, 2.0, 3.0]), 7, 3)[:, 4]
    assert median.tolist() == pytest.approx([1, 2, 3, 1, 2, 3, 1])


def test_the_seasonal_naive_band_widens_with_each_season_ahead() -> None:
    # Seasonal differences 2 and -2: sigma is 2.
    forecast = seasonal_naive(np.array([1.0, 5.0, 3.0, 3.0]), 4, 2)
    half_width = (forecast[:, 8] - forecast[:, 4]) / 1.2815515655446004
    assert half_width.tolist() == pytest.approx([2, 2, 2 * np.sqrt(2), 2 * np.sqrt(2)])


def test_seasonal_naive_of_a_short_or_gappy_history_is_finite() -> None:
    assert seasonal_naive(np.array([4.0]), 3, 12)[:, 4].tolist() == [4, 4, 4]
    assert seasonal_naive(np.array([NAN, 4.0, NAN]), 2, 1)[:, 4].tolist() == [4, 4]
    assert np.isfinite(seasonal_naive(np.array([NAN, NAN]), 2, 1)).all()


values = st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=12).map(np.array)


@given(history=values, factor=st.floats(0.1, 100))
def test_mase_does_not_depend_on_the_unit(history: Array, factor: float) -> None:
    truth, forecast = np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]])
    plain = series_mase(truth, forecast, [history], 1)
    scaled = series_mase(truth * factor, forecast * factor, [history * factor], 1)
    assert np.allclose(plain, scaled, rtol=1e-6, equal_nan=True)


@given(truth=values)
def test_nothing_beats_the_truth(truth: Array) -> None:
    exact = same_at_every_level(truth[None])
    assert wql(truth[None], exact) in (0.0,) or not np.abs(truth).sum()
    assert coverage(truth[None], exact[..., 0], exact[..., 8]) == 1.0


@given(history=values, season=st.integers(1, 14), horizon=st.integers(1, 20))
def test_seasonal_naive_quantiles_never_cross(history: Array, season: int, horizon: int) -> None:
    forecast = seasonal_naive(history, horizon, season)
    assert forecast.shape == (horizon, len(QUANTILES))
    assert (np.diff(forecast, axis=1) >= -1e-9).all()
