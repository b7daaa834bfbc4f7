"""Forecast metrics: MASE, WQL, SQL, sMAPE and coverage. Pure numpy.

Shapes: n series, k windows, V targets, h points, q quantile levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from agent.data.panel import Floats
from agent.training.batching.held_out import QUANTILES, Array, HeldOutWindows


@dataclass(frozen=True, slots=True)
class Errors:
    """A model's errors per series, as sums (n,) over k, V and h from which every metric is computed or resampled.

    `scaled_error`: absolute error of the median over the seasonal error; `scaled_count`: its number of terms.
    `quantile_loss`: twice the pinball loss, averaged over q; `scaled_quantile_loss`: the same over the seasonal error.
    `target`: absolute observations; `smape`: terms of sMAPE; `covered`: observations within the 0.1 and 0.9 quantiles;
    `count`: observations.
    """

    scaled_error: Array
    scaled_count: Array
    quantile_loss: Array
    target: Array
    scaled_quantile_loss: Array
    smape: Array
    covered: Array
    count: Array

    def select(self, positions: Any) -> Errors:
        """The errors of some of the series, by position."""
        return Errors(*(getattr(self, one.name)[positions] for one in fields(self)))


def errors(held_out: HeldOutWindows, forecasts: Floats) -> Errors:
    """The errors of forecasts (k, n, V, h, q) at QUANTILES. Missing observations do not count."""
    truth, median = held_out.truth.astype(np.float64), forecasts[..., QUANTILES.index(0.5)].astype(np.float64)
    observed = np.isfinite(truth)
    absolute = np.where(observed, np.abs(truth - median), 0.0)
    loss = np.zeros_like(truth)
    for rank, level in enumerate(QUANTILES):
        error = truth - forecasts[..., rank]
        loss += np.maximum(level * error, (level - 1) * error)
    loss = np.where(observed, 2 * loss / len(QUANTILES), 0.0)
    scales = held_out.scales
    has_scale = (scales > 0)[None, :, :, None]
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0)[None, :, :, None]
    total = np.abs(truth) + np.abs(median)
    smape = np.divide(2 * absolute, total, out=np.zeros_like(total), where=observed & (total > 0))
    covered = observed & (truth >= forecasts[..., 0]) & (truth <= forecasts[..., -1])
    return Errors(
        scaled_error=_per_series(absolute * inverse),
        scaled_count=_per_series(observed & has_scale),
        quantile_loss=_per_series(loss),
        target=_per_series(np.where(observed, np.abs(truth), 0.0)),
        scaled_quantile_loss=_per_series(loss * inverse),
        smape=_per_series(smape),
        covered=_per_series(covered),
        count=_per_series(observed),
    )


def scores(found: Errors) -> dict[str, float]:
    """MASE and SQL are means over series; WQL, sMAPE in percent, and coverage are over all points.

    MASE: Hyndman and Koehler 2006. WQL: summed quantile loss over summed absolute observations, as gluonts'
    `mean_weighted_sum_quantile_loss` and fev's WQL. SQL: quantile loss over the seasonal error, as in fev.
    """
    return {
        "mase": _mean_over_series(found.scaled_error, found.scaled_count),
        "wql": _ratio(found.quantile_loss, found.target),
        "sql": _mean_over_series(found.scaled_quantile_loss, found.scaled_count),
        "smape": 100 * _ratio(found.smape, found.count),
        "coverage_80": _ratio(found.covered, found.count),
    }


def by_horizon(held_out: HeldOutWindows, forecasts: Floats) -> list[dict[str, float]]:
    """MASE and WQL of each of the h forecast steps."""
    steps = []
    for step in range(held_out.truth.shape[-1]):
        window = replace(held_out, truth=held_out.truth[..., step : step + 1])
        found = scores(errors(window, forecasts[..., step : step + 1, :]))
        steps.append({"mase": found["mase"], "wql": found["wql"]})
    return steps


def table(models: Mapping[str, Errors]) -> dict[str, dict[str, float]]:
    """The scores of every model."""
    return {name: scores(found) for name, found in models.items()}


def series_mase(found: Errors) -> Array:
    """(n,) MASE of each series; NaN where the seasonal error is zero or unknown."""
    ratios: Array = np.divide(
        found.scaled_error, found.scaled_count, out=np.full(len(found.count), np.nan), where=found.scaled_count > 0
    )
    return ratios


def series_wql(found: Errors) -> Array:
    """(n,) WQL of each series; NaN where all observations are zero or missing."""
    ratios: Array = np.divide(
        found.quantile_loss, found.target, out=np.full(len(found.count), np.nan), where=found.target > 0
    )
    return ratios


def _per_series(terms: Any) -> Array:
    """(k, n, V, h) to (n,)."""
    total: Array = terms.sum(axis=(0, 2, 3), dtype=np.float64)
    return total


def _mean_over_series(total: Array, count: Array) -> float:
    usable = count > 0
    return float((total[usable] / count[usable]).mean()) if usable.any() else float("nan")


def _ratio(numerator: Array, denominator: Array) -> float:
    total = float(denominator.sum())
    return float(numerator.sum()) / total if total > 0 else float("nan")
