"""The seasonal naive forecast and its error, against values computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.chronos.batching import histories as module
from agent.chronos.batching.held_out import QUANTILES, hold_out
from agent.chronos.batching.histories import Array, Histories
from agent.chronos.evaluate.seasonal_naive import naive_forecasts, seasonal_naive
from tests.agent.chronos.builders import a_panel

NAN = np.nan


def histories(*rows: Any, cutoffs: Any = None) -> Histories:
    """Histories of which the windows begin after the last point, or at `cutoffs` (k, m)."""
    lengths = [len(row) for row in rows]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    firsts = [
        start + next((at for at, one in enumerate(row) if np.isfinite(one)), len(row))
        for start, row in zip(starts, rows, strict=True)
    ]
    points = ends[None] if cutoffs is None else starts + np.asarray(cutoffs)
    return Histories(np.concatenate(rows).astype(float), starts, np.array(firsts), ends, points)


def seasonal_error(row: Any, season: int) -> float:
    return float(histories(np.asarray(row, float)).seasonal_errors(season)[0, 0])


def naive(row: Any, horizon: int, season: int) -> Any:
    return seasonal_naive(histories(np.asarray(row, float)), horizon, season)[0, 0]


def test_the_scale_is_the_mean_absolute_seasonal_difference() -> None:
    assert seasonal_error([1.0, 2.0, 4.0, 8.0], 1) == pytest.approx((1 + 2 + 4) / 3)
    assert seasonal_error([1.0, 2.0, 4.0, 8.0], 2) == pytest.approx((3 + 6) / 2)


def test_the_scale_ignores_missing_observations() -> None:
    assert seasonal_error([1.0, NAN, 4.0, 8.0], 1) == pytest.approx(4)


def test_a_history_of_one_season_has_no_scale() -> None:
    assert np.isnan(seasonal_error([1.0, 2.0], 2))
    assert np.isnan(seasonal_error([1.0, 2.0], 9))


def test_the_scale_of_a_series_is_its_own() -> None:
    found = histories([1.0, 2.0, 4.0], [9.0], [5.0, 5.0, 5.0], [7.0, 3.0], cutoffs=[[2, 1, 2, 1], [3, 1, 3, 2]])
    assert found.seasonal_errors(1) == pytest.approx(np.array([[1, NAN, 0, NAN], [1.5, NAN, 0, 4]]), nan_ok=True)


def test_seasonal_naive_repeats_the_last_season() -> None:
    assert naive([9.0, 9.0, 1.0, 2.0, 3.0], 7, 3)[:, 4].tolist() == pytest.approx([1, 2, 3, 1, 2, 3, 1])


def test_the_prediction_interval_widens_with_each_season_ahead() -> None:
    # Seasonal differences 2 and -2: sigma is 2.
    forecast = naive([1.0, 5.0, 3.0, 3.0], 4, 2)
    half_width = (forecast[:, 8] - forecast[:, 4]) / 1.2815515655446004
    assert half_width.tolist() == pytest.approx([2, 2, 2 * np.sqrt(2), 2 * np.sqrt(2)])


def test_seasonal_naive_of_a_short_history_or_one_with_gaps_is_finite() -> None:
    assert naive([4.0], 3, 12)[:, 4].tolist() == [4, 4, 4]
    assert naive([NAN, 4.0, NAN], 2, 1)[:, 4].tolist() == [4, 4]
    assert naive([NAN, NAN], 2, 1)[:, 4].tolist() == [0, 0]


def test_a_history_is_counted_from_its_first_observation() -> None:
    # Two observations are no more than a season: the last is repeated. Their difference is the only one.
    forecast = naive([NAN, NAN, NAN, 4.0, 6.0], 2, 2)
    assert forecast[:, 4].tolist() == pytest.approx([6, 6])
    assert ((forecast[:, 8] - forecast[:, 4]) / 1.2815515655446004).tolist() == pytest.approx([2, 2 * np.sqrt(2)])


values = st.lists(st.floats(-1e3, 1e3, width=32) | st.just(NAN), min_size=1, max_size=12)


@given(rows=st.lists(values, min_size=1, max_size=5), season=st.integers(1, 14), horizon=st.integers(1, 20))
def test_seasonal_naive_quantiles_never_cross(rows: list[list[float]], season: int, horizon: int) -> None:
    forecast = seasonal_naive(histories(*rows), horizon, season)
    assert forecast.shape == (1, len(rows), horizon, len(QUANTILES))
    assert (np.diff(forecast, axis=-1) >= -1e-9).all()


@given(rows=st.lists(values, min_size=1, max_size=5), season=st.integers(1, 14), data=st.data())
def test_many_series_and_windows_are_as_each_by_itself(rows: list[list[float]], season: int, data: Any) -> None:
    cutoffs = np.sort([[data.draw(st.integers(0, len(row))) for row in rows] for _ in range(2)], axis=0)
    together = histories(*rows, cutoffs=cutoffs)
    scales, forecasts = together.seasonal_errors(season), seasonal_naive(together, 3, season)
    for window, index in np.ndindex(cutoffs.shape):
        past: Array = np.array(rows[index][: cutoffs[window, index]])
        if not np.isfinite(past).any():
            assert np.isnan(scales[window, index])
            assert not forecasts[window, index].any()
            continue
        pairs = np.abs(past[season:] - past[:-season])
        pairs = pairs[np.isfinite(pairs)]
        assert scales[window, index] == pytest.approx(pairs.mean() if len(pairs) else NAN, nan_ok=True)
        assert forecasts[window, index] == pytest.approx(naive(past, 3, season))


def test_blocks_of_series_are_as_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = a_panel(tmp_path, count=7, length=30, target2=lambda times, random: random.normal(size=len(times)))
    panel = replace(panel, values=np.where(np.arange(panel.values.shape[1]) % 9 == 0, NAN, panel.values))
    whole = hold_out(panel, 4, 2, 5)
    naive_whole = naive_forecasts(panel, whole)
    monkeypatch.setattr(module, "_BLOCK_POINTS", 70)
    parts = hold_out(panel, 4, 2, 5)
    assert np.array_equal(whole.scales, parts.scales)
    assert np.array_equal(naive_whole, naive_forecasts(panel, parts))
