"""Is the trained model better than what there was? Rolling forecasts of held-out points, and the odds of being wrong.

Shapes: n series, k windows, V targets, h points, q quantile levels. Everything here is numpy and pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from agent.data.panel import Floats, Indices, Panel
from agent.training.batching.sampler import Draw, futures
from agent.training.evaluate.seasonal_naive import QUANTILES, Array, seasonal_naive, seasonal_scale

RESAMPLES = 1_000
"""Of a comparison."""
_BAND = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Held:
    """The held-out points of `series` (n,): `cuts` (k, n) where each window begins, and `truth` (k, n, V, h).

    `scales` (n, V) are for MASE: the seasonal naive forecast's error before the first window.
    """

    series: Indices
    cuts: Any
    truth: Floats
    scales: Array
    season: int

    def parts(self, window: int, size: int) -> Iterator[Draw]:
        """The windows of one origin, every series once, `size` at a time."""
        cuts = self.cuts[window]
        for start in range(0, len(cuts), size):
            yield Draw(self.series[start : start + size], cuts[start : start + size])

    def of(self, picks: Any) -> Held:
        """Some of the series, by their places here."""
        return Held(self.series[picks], self.cuts[:, picks], self.truth[:, picks], self.scales[picks], self.season)


def hold_out(panel: Panel, horizon: int, windows: int, season: int, before: int = 0) -> Held:
    """The last `windows` x `horizon` points of each series, or those before the last `before` windows."""
    cuts = np.stack([panel.lengths - horizon * (before + windows - window) for window in range(windows)])
    targets = panel.columns.targets
    every = np.arange(len(panel))
    truth = np.stack([futures(panel, Draw(every, one), horizon)[:, :targets] for one in cuts])
    scales = np.array(
        [
            [seasonal_scale(row, season) for row in panel.series(index, end=int(end))[:targets]]
            for index, end in enumerate(cuts[0].tolist())
        ]
    )
    return Held(every, cuts, truth, scales, season)


def naive_forecasts(panel: Panel, held: Held) -> Floats:
    """(k, n, V, h, q) the last season again."""
    horizon = held.truth.shape[-1]
    return np.array(
        [
            [
                [
                    seasonal_naive(row, horizon, held.season)
                    for row in panel.series(index, end=end)[: held.truth.shape[2]]
                ]
                for index, end in zip(held.series.tolist(), cuts.tolist(), strict=True)
            ]
            for cuts in held.cuts
        ],
        dtype=np.float32,
    )


@dataclass(frozen=True, slots=True)
class Errors:
    """What a model's forecasts cost, by series, ready to be averaged and resampled. All are (n,) sums over k, V and h.

    `absolute`: |error| of the median over the scale, with `scaled` the number of terms; `pinball`: twice the mean over
    q, `size`: |truth|; `scaled_pinball`: pinball over the scale; `symmetric`: sMAPE's terms; `inside`: points in the
    80 % band; `seen`: points observed.
    """

    absolute: Array
    scaled: Array
    pinball: Array
    size: Array
    scaled_pinball: Array
    symmetric: Array
    inside: Array
    seen: Array

    def of(self, picks: Any) -> Errors:
        """Those of some of the series."""
        return Errors(*(getattr(self, one.name)[picks] for one in fields(self)))


def errors(held: Held, forecasts: Floats) -> Errors:
    """The errors of forecasts (k, n, V, h, q) at QUANTILES. A missing observation counts nowhere."""
    truth, median = held.truth.astype(np.float64), forecasts[..., QUANTILES.index(0.5)].astype(np.float64)
    seen = np.isfinite(truth)
    distance = np.where(seen, np.abs(truth - median), 0.0)
    pinball = np.zeros_like(truth)
    for rank, level in enumerate(QUANTILES):
        error = truth - forecasts[..., rank]
        pinball += np.maximum(level * error, (level - 1) * error)
    pinball = np.where(seen, 2 * pinball / len(QUANTILES), 0.0)
    usable = (held.scales > 0)[None, :, :, None]
    inverse = np.divide(1.0, held.scales, out=np.zeros_like(held.scales), where=held.scales > 0)[None, :, :, None]
    total = np.abs(truth) + np.abs(median)
    symmetric = np.divide(2 * distance, total, out=np.zeros_like(total), where=seen & (total > 0))
    inside = seen & (truth >= forecasts[..., 0]) & (truth <= forecasts[..., -1])
    return Errors(
        absolute=_by_series(distance * inverse),
        scaled=_by_series(seen & usable),
        pinball=_by_series(pinball),
        size=_by_series(np.where(seen, np.abs(truth), 0.0)),
        scaled_pinball=_by_series(pinball * inverse),
        symmetric=_by_series(symmetric),
        inside=_by_series(inside),
        seen=_by_series(seen),
    )


def scores(found: Errors) -> dict[str, float]:
    """MASE and SQL are means over series, as is usual; WQL, sMAPE (in percent) and coverage are over points."""
    return {
        "mase": _mean_of_series(found.absolute, found.scaled),
        "wql": _ratio(found.pinball, found.size),
        "sql": _mean_of_series(found.scaled_pinball, found.scaled),
        "smape": 100 * _ratio(found.symmetric, found.seen),
        "coverage_80": _ratio(found.inside, found.seen),
    }


def by_horizon(held: Held, forecasts: Floats) -> list[dict[str, float]]:
    """MASE and WQL of each point ahead, h of them."""
    found = []
    for ahead in range(held.truth.shape[-1]):
        one = replace(held, truth=held.truth[..., ahead : ahead + 1])
        both = scores(errors(one, forecasts[..., ahead : ahead + 1, :]))
        found.append({"mase": both["mase"], "wql": both["wql"]})
    return found


def compare(ours: Errors, theirs: Errors, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The difference of WQL and MASE, ours less theirs, with a 95 % interval from resampling the series in pairs.

    `improved` says that the whole interval of the WQL is below zero. One series alone has no interval: it is NaN.
    """
    random = np.random.default_rng(seed)
    count = len(ours.size)
    usable = (ours.scaled > 0) & (theirs.scaled > 0)
    ratios = [np.where(usable, series_mase(one), 0.0) for one in (ours, theirs)]
    wql, mase = [], []
    for _ in range(resamples):
        picks = random.integers(count, size=count)
        size = ours.size[picks].sum()
        wql.append((ours.pinball[picks].sum() - theirs.pinball[picks].sum()) / size if size > 0 else np.nan)
        counted = usable[picks].sum()
        mase.append((ratios[0][picks].sum() - ratios[1][picks].sum()) / counted if counted else np.nan)
    mine, other = scores(ours), scores(theirs)
    intervals = {
        name: [float(edge) for edge in np.quantile(drawn, _BAND)] if count > 1 else [np.nan, np.nan]
        for name, drawn in (("wql", wql), ("mase", mase))
    }
    return {
        "wql": {"difference": mine["wql"] - other["wql"], "interval": intervals["wql"]},
        "mase": {"difference": mine["mase"] - other["mase"], "interval": intervals["mase"]},
        "improved": intervals["wql"][1] < 0,
    }


def table(models: Mapping[str, Errors]) -> dict[str, dict[str, float]]:
    """Every model's scores."""
    return {name: scores(found) for name, found in models.items()}


def verdict(compared: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`improved` or `not improved`: the trained model against the one it started from, or against seasonal naive.

    `compared` is what `compare` found of the trained model and each other one.
    """
    against = "base" if "base" in compared else "seasonal_naive"
    improved = "improved" if compared[against]["improved"] else "not improved"
    return {"against": against, "verdict": improved, **differences(compared)[against]}


def differences(compared: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of comparisons, by the other's name: the differences of both scores with their intervals."""
    return {name: {score: one[score] for score in ("wql", "mase")} for name, one in compared.items()}


def series_mase(found: Errors) -> Array:
    """(n,) MASE of each series, NaN where it has none."""
    ratios: Array = np.divide(
        found.absolute, found.scaled, out=np.full(len(found.scaled), np.nan), where=found.scaled > 0
    )
    return ratios


def series_wql(found: Errors) -> Array:
    """(n,) WQL of each series, NaN where nothing but zeros was observed."""
    ratios: Array = np.divide(found.pinball, found.size, out=np.full(len(found.size), np.nan), where=found.size > 0)
    return ratios


def _by_series(terms: Any) -> Array:
    """(k, n, V, h) to (n,)."""
    total: Array = terms.sum(axis=(0, 2, 3), dtype=np.float64)
    return total


def _mean_of_series(total: Array, count: Array) -> float:
    usable = count > 0
    return float((total[usable] / count[usable]).mean()) if usable.any() else float("nan")


def _ratio(over: Array, under: Array) -> float:
    whole = float(under.sum())
    return float(over.sum()) / whole if whole > 0 else float("nan")
