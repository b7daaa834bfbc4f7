"""The seasonal naive forecast, which every model has to beat, and the error by which MASE measures. Pure numpy."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def seasonal_scale(history: Array, season: int) -> float:
    """Mean absolute difference of observations one season apart; NaN when there is no such pair."""
    differences = np.abs(history[season:] - history[:-season])
    return float(_nanmean(differences, axis=0))


def seasonal_naive(history: Array, horizon: int, season: int) -> Array:
    """(h, q): the last season repeated; quantiles are normal, their width grows with each season ahead.

    The usual interval of this forecast: sigma is the root mean square of the in-sample seasonal differences, times
    sqrt(k + 1) in the k-th season ahead. A history shorter than one season repeats its last value.
    """
    filled = _filled(history)
    lag = season if len(filled) > season else 1
    point = filled[-lag:][np.arange(horizon) % lag]
    differences = filled[lag:] - filled[:-lag]
    sigma = float(np.sqrt(np.mean(differences**2))) if len(differences) else 0.0
    width = sigma * np.sqrt(np.arange(horizon) // lag + 1)
    levels = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
    forecast: Array = point[:, None] + width[:, None] * levels
    return forecast


def _filled(history: Array) -> Array:
    """Without gaps: each missing observation is the one before it; those at the front are the first one."""
    seen = np.isfinite(history)
    if seen.all() or not seen.any():
        return np.nan_to_num(history.astype(np.float64))
    last = np.maximum.accumulate(np.where(seen, np.arange(len(history)), int(np.argmax(seen))))
    return history[last].astype(np.float64)


def _nanmean(values: Array, axis: int) -> Any:
    """`np.nanmean` that is quietly NaN where there is nothing to average."""
    seen = np.isfinite(values)
    count = seen.sum(axis=axis)
    total = np.where(seen, values, 0.0).sum(axis=axis, dtype=np.float64)
    return np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)
