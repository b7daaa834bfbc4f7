"""Statistical baselines, AutoETS and AutoTheta of statsforecast, on a sample of the series.

They are fitted to each series and window on one core while the GPU idles and is paid for. So the number of series, the
time, and the history they use are limited.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from agent.data.panel import Floats, Panel
from agent.training.batching.held_out import QUANTILES, Array, HeldOutWindows
from agent.training.evaluate.metrics import Errors, errors, table
from agent.training.evaluate.seasonal_naive import seasonal_naive
from agent.training.evaluate.significance import compare, differences
from chronos_ec2.training_config.schema import Evaluation

MAX_SECONDS = 300.0
_MAX_TIME_SHARE = 0.1
_MAX_POINTS = 2_000
_MIN_SEASONS = 2
_MAX_SEASON = {"auto_ets": 60}
"""AutoETS's time grows steeply with the season: 11 s for 500 points with a season of 336, minutes for more."""
_BANDS = {level: round(100 * abs(1 - 2 * level)) for level in QUANTILES}


def estimate_seconds(panel: Panel, held_out: HeldOutWindows, settings: Evaluation, left: float) -> float:
    """Estimated time of the baselines, from the series of median length; at most a tenth of the `left` seconds."""
    median = held_out.select(np.argsort(held_out.cutoffs[0], kind="stable")[[len(held_out.series) // 2]])
    median = replace(median, cutoffs=median.cutoffs[-1:], truth=median.truth[-1:])
    seconds = 0.0
    # Twice, because the first call compiles.
    for _ in range(2):
        began = time.monotonic()
        _forecast_series(panel, median, settings.baselines, lambda: True)
        seconds = (time.monotonic() - began) * len(held_out.cutoffs)
    count = min(settings.baseline_series, len(held_out.series))
    return min(seconds * count, MAX_SECONDS, _MAX_TIME_SHARE * left)


def compare_baselines(
    panel: Panel,
    held_out: HeldOutWindows,
    models: Mapping[str, Errors],
    settings: Evaluation,
    may_continue: Callable[[int, int], bool],
) -> dict[str, Any]:
    """Scores of the baselines and of `models` on the same random sample of series, which has a fixed seed.

    `may_continue(done, total)` is called before each fit with numbers of series. When it returns False, the series
    done so far count; its exceptions propagate. `fell_back` counts the forecasts that are seasonal naive because the
    history could not be fitted.
    """
    sample = np.random.default_rng(0).permutation(len(held_out.series))[: settings.baseline_series]
    blocks: dict[str, list[Floats]] = {str(name): [] for name in settings.baselines}
    fell_back = {str(name): 0 for name in settings.baselines}
    began, done = time.monotonic(), 0
    while done < len(sample):
        series = held_out.select(sample[[done]])
        forecasts = _forecast_series(panel, series, settings.baselines, partial(may_continue, done, len(sample)))
        if forecasts is None:
            break
        for name, (block, fallbacks) in forecasts.items():
            blocks[name].append(block)
            fell_back[name] += fallbacks
        done += 1
    sample = sample[:done]
    sampled = {name: found.select(sample) for name, found in models.items()} if done else {}
    truth = held_out.select(sample)
    baselines = {name: errors(truth, np.stack(found, axis=1)) for name, found in blocks.items() if found}
    comparisons = {name: compare(sampled["trained"], baseline) for name, baseline in baselines.items()}
    return {
        "series": done,
        "of": len(held_out.series),
        "seconds": round(time.monotonic() - began, 1),
        "models": table(sampled | baselines),
        "trained_minus": differences(comparisons),
        "fell_back": fell_back,
    }


def _forecast_series(
    panel: Panel, series: HeldOutWindows, names: Sequence[str], may_continue: Callable[[], bool]
) -> dict[str, tuple[Floats, int]] | None:
    """For a single series and each baseline: forecasts (k, V, h, q), and how many of the k x V are seasonal naive.

    None once `may_continue`, which is called before each fit, returns False.
    """
    windows, _, targets, horizon = series.truth.shape
    found = {}
    for name in names:
        block, fallbacks = np.empty((windows, targets, horizon, len(QUANTILES)), dtype=np.float32), 0
        for window, target in np.ndindex(windows, targets):
            if not may_continue():
                return None
            history = panel.series(int(series.series[0]), int(series.cutoffs[window, 0]))[target]
            quantiles = _fit_forecast(name, history[-_MAX_POINTS:], horizon, series.season)
            if quantiles is None:
                fallbacks += 1
                quantiles = seasonal_naive(history, horizon, series.season)
            block[window, target] = quantiles
        found[name] = block, fallbacks
    return found


def _fit_forecast(name: str, history: Array, horizon: int, season: int) -> Array | None:
    """(h, q); None for a history that is constant, has gaps or under two seasons, and for a season too long to fit."""
    if season > _MAX_SEASON.get(name, season):
        return None
    observed = np.flatnonzero(np.isfinite(history))
    if len(observed) == 0:
        return None
    past = history[observed[0] :].astype(np.float64)
    if not np.isfinite(past).all() or past.min() == past.max() or len(past) < _MIN_SEASONS * season:
        return None
    from statsforecast.models import AutoETS, AutoTheta  # noqa: PLC0415 - takes a second, also without baselines

    models: dict[str, Any] = {"auto_ets": AutoETS, "auto_theta": AutoTheta}
    try:
        with np.errstate(all="ignore"):
            found = models[name](season_length=season).forecast(past, horizon, level=sorted({*_BANDS.values()} - {0}))
    except Exception:  # noqa: BLE001 - statsforecast raises bare Exceptions for series that it cannot fit
        return None
    # The point forecast counts as the median; the other quantiles are edges of prediction intervals.
    edges = [
        found["mean"] if band == 0 else found[f"{'lo' if level < 0.5 else 'hi'}-{band}"]
        for level, band in _BANDS.items()
    ]
    quantiles: Array = np.stack(edges, axis=1)
    return quantiles if np.isfinite(quantiles).all() else None
