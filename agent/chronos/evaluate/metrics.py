"""Forecast metrics: MASE, WQL, SQL, sMAPE and coverage. Pure numpy. docs/training.md has their formulas and sources.

Shapes: n series, k windows, V targets, h points, q quantile levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows
from agent.chronos.batching.histories import Array
from agent.data.panel import Floats


@dataclass(frozen=True, slots=True)
class Errors:
    """A model's errors by window and series, as sums (k, n) over V and h. Each score is a ratio of two of their totals.

    `scaled_error`, `scaled_quantile_loss`: means over h of the absolute error of the median, and of the quantile loss,
    over the seasonal error; `scaled_count`: of how many targets. `quantile_loss`: twice the pinball loss, averaged over
    q; `target`: absolute observations; `smape`: terms of sMAPE; `covered`: observations within the 0.1 and 0.9
    quantiles; `count`: observations.
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
        return Errors(*(getattr(self, one.name)[:, positions] for one in fields(self)))


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
    points = observed.sum(axis=-1)
    has_scale = (held_out.scales > 0) & (points > 0)
    scale = np.where(has_scale, held_out.scales * points, np.inf)
    total = np.abs(truth) + np.abs(median)
    # A forecast of 0 for an observation of 0 is exact.
    smape = np.divide(2 * absolute, total, out=np.zeros_like(total), where=observed & (total > 0))
    covered = observed & (truth >= forecasts[..., 0]) & (truth <= forecasts[..., -1])
    return Errors(
        scaled_error=_sums(absolute.sum(axis=-1) / scale),
        scaled_count=_sums(has_scale),
        quantile_loss=_sums(loss),
        target=_sums(np.where(observed, np.abs(truth), 0.0)),
        scaled_quantile_loss=_sums(loss.sum(axis=-1) / scale),
        smape=_sums(smape),
        covered=_sums(covered),
        count=_sums(observed),
    )


def scores(found: Errors) -> dict[str, float]:
    """The scores of all series, sMAPE in percent; NaN if undefined."""
    return {
        "mase": _ratio(found.scaled_error, found.scaled_count),
        "wql": _ratio(found.quantile_loss, found.target),
        "sql": _ratio(found.scaled_quantile_loss, found.scaled_count),
        "smape": 100 * _ratio(found.smape, found.count),
        "coverage_80": _ratio(found.covered, found.count),
    }


def undefined(held_out: HeldOutWindows) -> dict[str, str]:
    """The scores that no model can have on these windows, and why."""
    truth, scales = held_out.truth, held_out.scales
    judged = np.isfinite(truth).any(axis=-1)
    if not judged.any():
        return dict.fromkeys(("mase", "wql", "sql", "smape", "coverage_80"), "no observation is held out")
    found = {}
    if not (scales[judged] > 0).any():
        apart = f"{held_out.season} points apart" if held_out.season > 1 else "one after the other"
        pairs = np.isfinite(scales[judged]).any()
        reason = f"equal observations {apart}" if pairs else f"no two observations {apart}"
        found = dict.fromkeys(("mase", "sql"), f"every history has {reason}: there is no seasonal error to divide by")
    if not np.nan_to_num(truth).any():
        found["wql"] = "every held-out observation is 0: there is nothing to divide by"
    return found


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
    return _ratios(found.scaled_error, found.scaled_count)


def series_wql(found: Errors) -> Array:
    """(n,) WQL of each series; NaN where all observations are zero or missing."""
    return _ratios(found.quantile_loss, found.target)


def _sums(terms: Any) -> Array:
    """(k, n, V) or (k, n, V, h) to (k, n)."""
    total: Array = terms.sum(axis=tuple(range(2, terms.ndim)), dtype=np.float64)
    return total


def _ratio(numerator: Array, denominator: Array) -> float:
    total = float(denominator.sum())
    return float(numerator.sum()) / total if total > 0 else float("nan")


def _ratios(numerator: Array, denominator: Array) -> Array:
    total = denominator.sum(axis=0)
    ratios: Array = np.divide(numerator.sum(axis=0), total, out=np.full(len(total), np.nan), where=total > 0)
    return ratios
