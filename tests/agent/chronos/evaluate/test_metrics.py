"""Metrics and held-out windows, against values computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows, hold_out
from agent.chronos.batching.histories import Array
from agent.chronos.evaluate.metrics import by_horizon, errors, scores, series_mase, undefined
from agent.chronos.evaluate.seasonal_naive import naive_forecasts
from tests.agent.chronos.builders import a_panel

NAN = np.nan


def windows(truth: Any, scale: Any = 1.0, season: int = 1) -> HeldOutWindows:
    """Held-out windows of n series with one target: truth (n, h) of one window or (k, n, h), scale (k, n)."""
    block = np.asarray(truth, dtype=np.float64)
    block = block.reshape(-1, *block.shape[-2:])[:, :, None, :]
    shape = block.shape[:2]
    scales = np.broadcast_to(np.asarray(scale, dtype=np.float64), shape)[:, :, None]
    origins = np.broadcast_to(np.arange(shape[0])[:, None], shape)
    return HeldOutWindows(np.arange(shape[1]), np.zeros(shape, dtype=np.int64), block, scales, origins, season)


def forecasts(points: Any) -> Any:
    """(k, n, 1, h, q): point forecasts (n, h) or (k, n, h) at every quantile level."""
    block = np.asarray(points, dtype=np.float64)
    return np.repeat(block.reshape(-1, *block.shape[-2:])[:, :, None, :, None], len(QUANTILES), axis=-1)


def test_mase_is_the_error_over_the_scale() -> None:
    found = scores(errors(windows([[10.0, 12.0]], scale=4.0), forecasts([[11.0, 9.0]])))
    assert found["mase"] == pytest.approx(2.0 / 4.0)


def test_a_series_without_a_scale_has_no_mase_and_does_not_count() -> None:
    truth = windows([[1.0], [3.0]], scale=[0.0, 2.0])
    found = errors(truth, forecasts([[9.0], [2.0]]))
    assert scores(found)["mase"] == pytest.approx(0.5)
    assert np.isnan(series_mase(found)[0])


def test_wql_of_a_point_forecast_is_the_absolute_error_over_the_truth() -> None:
    # The pinball losses of one error at levels t and 1-t add up to that error.
    found = scores(errors(windows([[10.0, 20.0]]), forecasts([[12.0, 17.0]])))
    assert found["wql"] == pytest.approx((2 + 3) / 30)
    assert found["sql"] == pytest.approx((2 + 3) / 2)


def test_wql_by_hand_at_two_levels() -> None:
    quantiles = forecasts([[10.0]])
    quantiles[..., 0], quantiles[..., 8] = 8.0, 15.0
    # 0.1 * (10 - 8) + (1 - 0.9) * (15 - 10); the other seven levels are exact.
    assert scores(errors(windows([[10.0]]), quantiles))["wql"] == pytest.approx(2 * (0.2 + 0.5) / 9 / 10)


def test_smape_is_in_percent_of_the_mean_of_truth_and_forecast() -> None:
    assert scores(errors(windows([[10.0, 0.0]]), forecasts([[30.0, 0.0]])))["smape"] == pytest.approx(
        100 * (1.0 + 0.0) / 2
    )


def test_a_missing_observation_does_not_count() -> None:
    found = scores(errors(windows([[10.0, NAN]]), forecasts([[12.0, 1000.0]])))
    assert found["wql"] == pytest.approx(0.2)
    assert found["mase"] == pytest.approx(2.0)
    assert found["coverage_80"] == 0.0


def test_coverage_is_the_share_inside_the_band() -> None:
    quantiles = forecasts([[2.0, 2.0, 2.0, 2.0]])
    quantiles[..., -1] = 3.0
    assert scores(errors(windows([[1.0, 2.0, 3.0, 4.0]]), quantiles))["coverage_80"] == 0.5


def test_rolling_windows_are_consecutive_up_to_the_end_of_each_series(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, length=40)
    found = hold_out(panel, horizon=5, windows=2, season=3)
    assert found.cutoffs.tolist() == [[30, 31, 32], [35, 36, 37]]
    assert np.array_equal(found.truth[1, 2, 0], panel.series(2)[0, -5:])
    before = hold_out(panel, horizon=5, windows=1, season=3, before=2)
    assert before.cutoffs.tolist() == [[25, 26, 27]]
    assert np.array_equal(before.truth[0, 0, 0], panel.series(0)[0, 25:30])


def test_the_scale_is_that_of_all_points_before_each_window(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, length=20)
    found = hold_out(panel, horizon=5, windows=2, season=2)
    for window, index in np.ndindex(2, 3):
        history = panel.series(index)[0, : found.cutoffs[window, index]].astype(float)
        assert found.scales[window, index, 0] == pytest.approx(np.abs(history[2:] - history[:-2]).mean(), rel=1e-12)


def test_each_window_is_scaled_by_its_own_past() -> None:
    truth = windows([[[10.0, 12.0]], [[5.0, 6.0]]], scale=[[4.0], [0.5]])
    found = errors(truth, forecasts([[[11.0, 9.0]], [[6.0, 6.0]]]))
    assert scores(found)["mase"] == pytest.approx((2.0 / 4.0 + 0.5 / 0.5) / 2)


def test_a_window_with_fewer_observations_weighs_as_much_as_another() -> None:
    truth = windows([[[10.0, 12.0]], [[5.0, NAN]]])
    assert scores(errors(truth, forecasts([[[11.0, 9.0]], [[6.0, 6.0]]])))["mase"] == pytest.approx((2.0 + 1.0) / 2)


def test_scores_without_a_value_are_undefined_for_a_reason() -> None:
    assert undefined(windows([[1.0]])) == {}
    assert undefined(windows([[0.0, NAN]])) == {"wql": "every held-out observation is 0: there is nothing to divide by"}
    constant = undefined(windows([[1.0], [2.0]], scale=[0.0, NAN], season=7))
    assert constant["mase"] == constant["sql"]
    assert constant["mase"].startswith("every history has equal observations 7 points apart")
    short = undefined(windows([[1.0]], scale=NAN, season=7))
    assert short["mase"].startswith("every history has no two observations 7 points apart")
    # Only what is compared counts.
    assert undefined(windows([[1.0], [NAN]], scale=[0.0, 3.0])).keys() == {"mase", "sql"}
    assert len(undefined(windows([[NAN]]))) == 5


def test_points_without_an_observation_before_them_are_not_judged(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, length=20)
    late = panel.values.copy()
    # The second series begins within the first window, the third has no history at all.
    late[0, 20:32] = NAN
    late[0, 41:61] = NAN
    panel = replace(panel, values=late)
    found = hold_out(panel, horizon=5, windows=2, season=2)
    assert np.isfinite(found.truth[:, :, 0]).sum(axis=-1).tolist() == [[5, 0, 0], [5, 5, 0]]
    assert found.observed.tolist() == [True, True, False]


def test_held_out_windows_of_some_series_are_those_of_all(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=5, length=30)
    some, every = hold_out(panel, 4, 2, 3, series=np.array([1, 4])), hold_out(panel, 4, 2, 3)
    picked = every.select([1, 4])
    for name in ("series", "cutoffs", "truth", "scales", "origins"):
        assert np.array_equal(getattr(some, name), getattr(picked, name))
    starts = panel.offsets[[1, 4]] + some.cutoffs[1]
    assert some.origins[1].tolist() == panel.ticks[starts].tolist()


def test_seasonal_naive_repeats_the_season_before_each_window(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=2, length=30)
    found = hold_out(panel, horizon=4, windows=2, season=4)
    naive = naive_forecasts(panel, found)
    assert naive.shape == (2, 2, 1, 4, len(QUANTILES))
    assert np.allclose(naive[1, 0, 0, :, 4], panel.series(0)[0, 22:26])


def test_by_horizon_scores_each_step_by_itself() -> None:
    found = by_horizon(windows([[10.0, 20.0]]), forecasts([[11.0, 25.0]]))
    assert [one["mase"] for one in found] == pytest.approx([1, 5])


series = st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=12).map(np.array)


@given(truth=series, factor=st.floats(0.1, 100))
def test_scores_do_not_depend_on_the_unit(truth: Array, factor: float) -> None:
    unscaled = scores(errors(windows([truth], scale=2.0), forecasts([truth + 1])))
    scaled = scores(errors(windows([truth * factor], scale=2.0 * factor), forecasts([(truth + 1) * factor])))
    assert np.allclose([*unscaled.values()], [*scaled.values()], rtol=1e-6, equal_nan=True)


@given(truth=series)
def test_the_truth_has_perfect_scores(truth: Array) -> None:
    found = scores(errors(windows([truth]), forecasts([truth])))
    assert found["mase"] == 0.0
    assert found["coverage_80"] == 1.0
    assert found["wql"] == 0.0 or not np.abs(truth).sum()
