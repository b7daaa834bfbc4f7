"""The seasonal naive forecast, the reference of every comparison. Pure numpy."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows
from agent.chronos.batching.histories import Array, Histories, histories
from agent.data.panel import Floats, Panel


def naive_forecasts(panel: Panel, held_out: HeldOutWindows) -> Floats:
    """(k, n, V, h, q) seasonal naive forecasts of held-out windows."""
    found = np.empty((*held_out.truth.shape, len(QUANTILES)), dtype=np.float32)
    for block, rows in histories(panel, held_out.series, held_out.cutoffs):
        for target, row in enumerate(rows):
            found[:, block, target] = seasonal_naive(row, held_out.truth.shape[-1], held_out.season)
    return found


def seasonal_naive(history: Histories, horizon: int, season: int) -> Array:
    """(k, m, h, q): repeat the last season, with normal prediction intervals that widen with each season ahead.

    sigma is the root mean square of the in-sample seasonal differences, times sqrt(k + 1) in the k-th season ahead
    (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", section 5.5). A missing observation is that
    before it. A history of at most one season, counted from its first observation, repeats its last value; one without
    any is forecast as 0.
    """
    filled = _forward_filled(history)
    seasonal = filled.cutoffs - filled.firsts > season
    known = filled.cutoffs > filled.firsts
    lag = np.where(seasonal, season, 1)
    last_season = np.where(known, filled.cutoffs - lag, 0)[..., None]
    lag, steps = lag[..., None], np.arange(horizon)
    point = filled.values[last_season + steps % lag]
    sigma = np.where(seasonal, _root_mean_square(filled, season), _root_mean_square(filled, 1))[..., None]
    width = sigma * np.sqrt(steps // lag + 1)
    levels = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
    return np.where(known[..., None, None], point[..., None] + width[..., None] * levels, 0.0)


def _root_mean_square(filled: Histories, lag: int) -> Array:
    """(k, m) of the differences `lag` points apart; 0 without any."""
    begins = np.minimum(filled.firsts + lag, filled.ends)
    total = filled.sums(np.nan_to_num(filled.differences(lag)) ** 2, begins)
    count = np.maximum(filled.cutoffs - begins, 0)
    return np.sqrt(np.divide(total, count, out=np.zeros_like(total), where=count > 0))


def _forward_filled(history: Histories) -> Histories:
    """Each missing observation replaced by the one before it; values before the first observation are not used."""
    own = np.where(np.isfinite(history.values), np.arange(len(history.values)), 0)
    own[history.starts] = np.maximum(own[history.starts], history.starts)
    return replace(history, values=history.values[np.maximum.accumulate(own)])
