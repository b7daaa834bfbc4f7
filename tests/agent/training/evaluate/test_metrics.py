"""Scores against numbers worked out by hand, and the odds of being wrong against those that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.training.evaluate import metrics as scoring
from agent.training.evaluate.metrics import Held, compare, errors, hold_out, naive_forecasts, scores
from agent.training.evaluate.seasonal_naive import QUANTILES, Array
from tests.agent.training.builders import a_panel

NAN = np.nan


def held(truth: Any, scale: float = 1.0) -> Held:
    """Held-out points of n series, one window, one target: truth (n, h)."""
    block = np.asarray(truth, dtype=np.float64)[None, :, None, :]
    count = block.shape[1]
    return Held(np.arange(count), np.zeros((1, count), dtype=np.int64), block, np.full((count, 1), scale), 1)


def forecasts(points: Any) -> Any:
    """(1, n, 1, h, q): the same at every level."""
    return np.repeat(np.asarray(points, dtype=np.float64)[None, :, None, :, None], len(QUANTILES), axis=-1)


def test_mase_is_the_error_over_the_scale() -> None:
    found = scores(errors(held([[10.0, 12.0]], scale=4.0), forecasts([[11.0, 9.0]])))
    assert found["mase"] == pytest.approx(2.0 / 4.0)


def test_a_series_without_a_scale_has_no_mase_and_is_not_counted() -> None:
    truth = held([[1.0], [3.0]])
    truth = replace(truth, scales=np.array([[0.0], [2.0]]))
    found = errors(truth, forecasts([[9.0], [2.0]]))
    assert scores(found)["mase"] == pytest.approx(0.5)
    assert np.isnan(scoring.series_mase(found)[0])


def test_wql_of_a_point_forecast_is_the_absolute_error_over_the_truth() -> None:
    # The pinball losses of one error at levels t and 1-t add up to that error.
    found = scores(errors(held([[10.0, 20.0]]), forecasts([[12.0, 17.0]])))
    assert found["wql"] == pytest.approx((2 + 3) / 30)
    assert found["sql"] == pytest.approx((2 + 3) / 2)


def test_wql_by_hand_at_two_levels() -> None:
    quantiles = forecasts([[10.0]])
    quantiles[..., 0], quantiles[..., 8] = 8.0, 15.0
    # 0.1 * (10 - 8) + (1 - 0.9) * (15 - 10), the other seven are exact.
    assert scores(errors(held([[10.0]]), quantiles))["wql"] == pytest.approx(2 * (0.2 + 0.5) / 9 / 10)


def test_smape_is_in_percent_of_the_mean_of_both() -> None:
    assert scores(errors(held([[10.0, 0.0]]), forecasts([[30.0, 0.0]])))["smape"] == pytest.approx(
        100 * (1.0 + 0.0) / 2
    )


def test_a_missing_truth_counts_nowhere() -> None:
    found = scores(errors(held([[10.0, NAN]]), forecasts([[12.0, 1000.0]])))
    assert found["wql"] == pytest.approx(0.2)
    assert found["mase"] == pytest.approx(2.0)
    assert found["coverage_80"] == 0.0


def test_coverage_is_the_share_inside_the_band() -> None:
    quantiles = forecasts([[2.0, 2.0, 2.0, 2.0]])
    quantiles[..., -1] = 3.0
    assert scores(errors(held([[1.0, 2.0, 3.0, 4.0]]), quantiles))["coverage_80"] == 0.5


def test_rolling_windows_follow_each_other_to_the_end_of_each_series(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, length=40)
    found = hold_out(panel, horizon=5, windows=2, season=3)
    assert found.cuts.tolist() == [[30, 31, 32], [35, 36, 37]]
    assert np.array_equal(found.truth[1, 2, 0], panel.series(2)[0, -5:])
    before = hold_out(panel, horizon=5, windows=1, season=3, before=2)
    assert before.cuts.tolist() == [[25, 26, 27]]
    assert np.array_equal(before.truth[0, 0, 0], panel.series(0)[0, 25:30])


def test_the_scale_is_of_the_points_before_the_first_window_alone(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=1, length=20)
    history = panel.series(0)[0, :10].astype(float)
    found = hold_out(panel, horizon=5, windows=2, season=2)
    assert found.scales[0, 0] == pytest.approx(np.abs(history[2:] - history[:-2]).mean(), rel=1e-6)


def test_seasonal_naive_repeats_the_season_before_each_window(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=2, length=30)
    found = hold_out(panel, horizon=4, windows=2, season=4)
    naive = naive_forecasts(panel, found)
    assert naive.shape == (2, 2, 1, 4, len(QUANTILES))
    assert np.allclose(naive[1, 0, 0, :, 4], panel.series(0)[0, 22:26])


def test_by_horizon_is_each_point_by_itself() -> None:
    found = scoring.by_horizon(held([[10.0, 20.0]]), forecasts([[11.0, 25.0]]))
    assert [one["mase"] for one in found] == pytest.approx([1, 5])


def noisy(count: int, by: float, seed: int) -> tuple[Held, Any, Any]:
    random = np.random.default_rng(seed)
    truth = random.normal(10, 1, (count, 6))
    noise = random.normal(size=(2, count, 6))
    return held(truth), forecasts(truth + noise[0]), forecasts(truth + noise[1] * by)


def test_a_model_that_is_better_beyond_doubt_is_improved() -> None:
    truth, good, bad = noisy(200, 2.0, 0)
    found = compare(errors(truth, good), errors(truth, bad))
    assert found["improved"]
    assert found["wql"]["difference"] < found["wql"]["interval"][1] < 0
    assert not compare(errors(truth, bad), errors(truth, good))["improved"]


def test_a_model_that_is_no_better_is_seldom_improved() -> None:
    wrong = 0
    for seed in range(60):
        truth, one, other = noisy(60, 1.0, seed)
        wrong += compare(errors(truth, one), errors(truth, other))["improved"]
    # One tail of a 95 % interval: 1.5 of 60 expected.
    assert wrong <= 6


def test_one_series_alone_is_never_beyond_doubt() -> None:
    truth, good, bad = noisy(1, 9.0, 0)
    found = compare(errors(truth, good), errors(truth, bad))
    assert found["wql"]["difference"] < 0
    assert np.isnan(found["wql"]["interval"]).all()
    assert np.isnan(found["mase"]["interval"]).all()
    assert not found["improved"]


def test_a_model_is_no_better_than_itself() -> None:
    truth, one, _ = noisy(20, 1.0, 0)
    found = compare(errors(truth, one), errors(truth, one))
    assert found["wql"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert not found["improved"]


values = st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=12).map(np.array)


@given(truth=values, factor=st.floats(0.1, 100))
def test_no_score_depends_on_the_unit(truth: Array, factor: float) -> None:
    plain = scores(errors(held([truth], scale=2.0), forecasts([truth + 1])))
    scaled = scores(errors(held([truth * factor], scale=2.0 * factor), forecasts([(truth + 1) * factor])))
    assert np.allclose([*plain.values()], [*scaled.values()], rtol=1e-6, equal_nan=True)


@given(truth=values)
def test_nothing_beats_the_truth(truth: Array) -> None:
    found = scores(errors(held([truth]), forecasts([truth])))
    assert found["mase"] == 0.0
    assert found["coverage_80"] == 1.0
    assert found["wql"] == 0.0 or not np.abs(truth).sum()
