"""How good a forecast is: MASE and WQL on held-out points, beside the seasonal naive forecast. Pure numpy.

Shapes: n series, h held-out points, q quantile levels. A missing observation (NaN) counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True, slots=True)
class Score:
    """`mase` is the mean over the `scored` series, those whose history has a seasonal difference other than zero."""

    mase: float
    wql: float
    coverage_80: float
    scored: int


def score(truth: Array, quantiles: Array, histories: Sequence[Array], season: int) -> Score:
    """Judge forecasts. `truth` is (n, h), `quantiles` (n, h, q) at QUANTILES, `histories` n vectors."""
    errors = series_mase(truth, quantiles[..., _MEDIAN], histories, season)
    usable = np.isfinite(errors)
    return Score(
        mase=float(errors[usable].mean()) if usable.any() else float("nan"),
        wql=wql(truth, quantiles),
        coverage_80=coverage(truth, quantiles[..., 0], quantiles[..., -1]),
        scored=int(usable.sum()),
    )


def series_mase(truth: Array, forecast: Array, histories: Sequence[Array], season: int) -> Array:
    """(n,): mean absolute error over the in-sample error of the seasonal naive forecast; NaN where that is zero."""
    scales = np.array([seasonal_scale(history, season) for history in histories])
    errors = _nanmean(np.abs(truth - forecast), axis=1)
    ratios: Array = np.divide(errors, scales, out=np.full(len(scales), np.nan), where=scales > 0)
    return ratios


def seasonal_scale(history: Array, season: int) -> float:
    """Mean absolute difference of observations one season apart; NaN when there is no such pair."""
    differences = np.abs(history[season:] - history[:-season])
    return float(_nanmean(differences, axis=0))


def wql(truth: Array, quantiles: Array) -> float:
    """Weighted quantile loss: twice the pinball loss over the sum of |truth|, averaged over QUANTILES."""
    levels = np.array(QUANTILES)
    error = truth[..., None] - quantiles
    pinball = np.maximum(levels * error, (levels - 1) * error)
    total = float(np.nansum(np.abs(truth)))
    return float(2 * np.nansum(pinball) / len(levels) / total) if total > 0 else float("nan")


def coverage(truth: Array, low: Array, high: Array) -> float:
    """Share of the observed points inside the band."""
    observed = np.isfinite(truth)
    inside = (truth >= low) & (truth <= high) & observed
    return float(inside.sum() / observed.sum()) if observed.any() else float("nan")


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
