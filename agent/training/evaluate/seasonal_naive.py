"""The seasonal naive forecast, the reference of every comparison. Pure numpy."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from agent.data.panel import Floats, Panel
from agent.training.batching.held_out import QUANTILES, Array, HeldOutWindows


def seasonal_naive(history: Array, horizon: int, season: int) -> Array:
    """(h, q): repeat the last season, with normal prediction intervals that widen with each season ahead.

    sigma is the root mean square of the in-sample seasonal differences, times sqrt(k + 1) in the k-th season ahead
    (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", section 5.5). A history of at most one season
    repeats its last value.
    """
    filled = _forward_filled(history)
    lag = season if len(filled) > season else 1
    point = filled[-lag:][np.arange(horizon) % lag]
    differences = filled[lag:] - filled[:-lag]
    sigma = float(np.sqrt(np.mean(differences**2))) if len(differences) else 0.0
    width = sigma * np.sqrt(np.arange(horizon) // lag + 1)
    levels = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
    forecast: Array = point[:, None] + width[:, None] * levels
    return forecast


def naive_forecasts(panel: Panel, held_out: HeldOutWindows) -> Floats:
    """(k, n, V, h, q) seasonal naive forecasts of held-out windows."""
    targets, horizon = held_out.truth.shape[2:]
    return np.array(
        [
            [
                [seasonal_naive(row, horizon, held_out.season) for row in panel.series(index, end=end)[:targets]]
                for index, end in zip(held_out.series.tolist(), cutoffs.tolist(), strict=True)
            ]
            for cutoffs in held_out.cutoffs
        ],
        dtype=np.float32,
    )


def _forward_filled(history: Array) -> Array:
    """Fill gaps with the observation before them, a leading gap with the first observation."""
    observed = np.isfinite(history)
    if observed.all() or not observed.any():
        return np.nan_to_num(history.astype(np.float64))
    last = np.maximum.accumulate(np.where(observed, np.arange(len(history)), int(np.argmax(observed))))
    return history[last].astype(np.float64)
