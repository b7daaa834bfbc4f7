"""AutoETS and AutoTheta on a sample of the series: what classical statistics make of the same held-out windows.

They are fitted anew to each series and window, on one core, while the GPU waits and is paid for. So there is a bound
for the series, one for the time, and one for the history that they look at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from agent.data.panel import Floats, Panel
from agent.training.evaluate.metrics import Errors, Held, compare, differences, errors, table
from agent.training.evaluate.seasonal_naive import QUANTILES, Array, seasonal_naive
from chronos_ec2.training_config.schema import Evaluation

LONGEST_SECONDS = 300.0
_SHARE_OF_TIME = 0.1
_POINTS = 2_000
_SEASONS = 2
_LONGEST_SEASON = {"auto_ets": 60}
"""AutoETS's time grows steeply with the season: 11 s for 500 points with a season of 336, minutes for more."""
_BANDS = {level: round(100 * abs(1 - 2 * level)) for level in QUANTILES}


def seconds_to_keep(panel: Panel, held: Held, settings: Evaluation, left: float) -> float:
    """How long the baselines will take, by one series of middle length; no more than a tenth of the seconds left."""
    middle = held.of(np.argsort(held.cuts[0], kind="stable")[[len(held.series) // 2]])
    middle = replace(middle, cuts=middle.cuts[-1:], truth=middle.truth[-1:])
    seconds = 0.0
    # The first call compiles.
    for _ in range(2):
        began = time.monotonic()
        _forecasts(panel, middle, settings.baselines, lambda: True)
        seconds = (time.monotonic() - began) * len(held.cuts)
    count = min(settings.baseline_series, len(held.series))
    return min(seconds * count, LONGEST_SECONDS, _SHARE_OF_TIME * left)


def beside(
    panel: Panel,
    held: Held,
    found: Mapping[str, Errors],
    settings: Evaluation,
    go_on: Callable[[int, int], bool],
) -> dict[str, Any]:
    """The baselines' scores on a random sample, the same each time, and those of `found` on that sample beside them.

    `go_on` is asked before each fit, and told how many series are done and of how many; what is done when it says no
    counts, and what it raises is not caught. `fell_back` counts forecasts that are seasonal naive because the history
    was no food for the baseline.
    """
    picks = np.random.default_rng(0).permutation(len(held.series))[: settings.baseline_series]
    blocks: dict[str, list[Floats]] = {str(name): [] for name in settings.baselines}
    fell_back = {str(name): 0 for name in settings.baselines}
    began, done = time.monotonic(), 0
    while done < len(picks):
        one = _forecasts(panel, held.of(picks[[done]]), settings.baselines, partial(go_on, done, len(picks)))
        if one is None:
            break
        for name, (block, missed) in one.items():
            blocks[name].append(block)
            fell_back[name] += missed
        done += 1
    picks = picks[:done]
    sampled = {name: one.of(picks) for name, one in found.items()} if done else {}
    references = {name: errors(held.of(picks), np.stack(some, axis=1)) for name, some in blocks.items() if some}
    compared = {name: compare(sampled["trained"], theirs) for name, theirs in references.items()}
    return {
        "series": done,
        "of": len(held.series),
        "seconds": round(time.monotonic() - began, 1),
        "models": table(sampled | references),
        "trained_less": differences(compared),
        "fell_back": fell_back,
    }


def _forecasts(
    panel: Panel, one: Held, names: Sequence[str], go_on: Callable[[], bool]
) -> dict[str, tuple[Floats, int]] | None:
    """By name, of one series: (k, V, h, q), and how many of the k x V forecasts are seasonal naive.

    None when `go_on`, which is asked before each of them, says no.
    """
    windows, _, targets, horizon = one.truth.shape
    found = {}
    for name in names:
        block, missed = np.empty((windows, targets, horizon, len(QUANTILES)), dtype=np.float32), 0
        for window, target in np.ndindex(windows, targets):
            if not go_on():
                return None
            history = panel.series(int(one.series[0]), int(one.cuts[window, 0]))[target]
            quantiles = _fitted(name, history[-_POINTS:], horizon, one.season)
            if quantiles is None:
                missed += 1
                quantiles = seasonal_naive(history, horizon, one.season)
            block[window, target] = quantiles
        found[name] = block, missed
    return found


def _fitted(name: str, history: Array, horizon: int, season: int) -> Array | None:
    """(h, q); None for a history that is constant, has gaps or less than two seasons, and for too long a season."""
    if season > _LONGEST_SEASON.get(name, season):
        return None
    seen = np.flatnonzero(np.isfinite(history))
    if len(seen) == 0:
        return None
    past = history[seen[0] :].astype(np.float64)
    if not np.isfinite(past).all() or past.min() == past.max() or len(past) < _SEASONS * season:
        return None
    from statsforecast.models import AutoETS, AutoTheta  # noqa: PLC0415 - a second of each start, also without baselines

    models: dict[str, Any] = {"auto_ets": AutoETS, "auto_theta": AutoTheta}
    try:
        with np.errstate(all="ignore"):
            found = models[name](season_length=season).forecast(past, horizon, level=sorted({*_BANDS.values()} - {0}))
    except Exception:  # noqa: BLE001 - statsforecast raises bare Exceptions for series that it cannot fit
        return None
    # The point forecast is taken for the median; the other levels are edges of bands.
    edges = [
        found["mean"] if band == 0 else found[f"{'lo' if level < 0.5 else 'hi'}-{band}"]
        for level, band in _BANDS.items()
    ]
    quantiles: Array = np.stack(edges, axis=1)
    return quantiles if np.isfinite(quantiles).all() else None
