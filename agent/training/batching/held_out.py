"""Held-out windows at the end of each series, and the seasonal error that scales MASE. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.data.panel import Floats, Indices, Panel
from agent.training.batching.sampler import WindowBatch, futures

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Quantile levels of all forecasts, those of the Chronos papers."""


@dataclass(frozen=True, slots=True)
class HeldOutWindows:
    """k windows of the n series `series` (n,): `cutoffs` (k, n) are the points before each, `truth` (k, n, V, h).

    `scales` (n, V): the seasonal error of the points before the first window, the denominator of MASE.
    """

    series: Indices
    cutoffs: Any
    truth: Floats
    scales: Array
    season: int

    def batches(self, window: int, size: int) -> Iterator[WindowBatch]:
        """One window of every series, `size` series at a time."""
        cutoffs = self.cutoffs[window]
        for start in range(0, len(cutoffs), size):
            yield WindowBatch(self.series[start : start + size], cutoffs[start : start + size])

    def select(self, positions: Any) -> HeldOutWindows:
        """The windows of some of the series, by position."""
        return HeldOutWindows(
            self.series[positions],
            self.cutoffs[:, positions],
            self.truth[:, positions],
            self.scales[positions],
            self.season,
        )


def hold_out(panel: Panel, horizon: int, windows: int, season: int, before: int = 0) -> HeldOutWindows:
    """The last `windows` x `horizon` points of each series, not counting the last `before` x `horizon` points."""
    cutoffs = np.stack([panel.lengths - horizon * (before + windows - window) for window in range(windows)])
    targets = panel.columns.targets
    every = np.arange(len(panel))
    truth = np.stack([futures(panel, WindowBatch(every, row), horizon)[:, :targets] for row in cutoffs])
    scales = np.array(
        [
            [seasonal_error(row, season) for row in panel.series(index, end=int(end))[:targets]]
            for index, end in enumerate(cutoffs[0].tolist())
        ]
    )
    return HeldOutWindows(every, cutoffs, truth, scales, season)


def seasonal_error(history: Array, season: int) -> float:
    """Mean absolute difference of observations one season apart: the in-sample MAE of the seasonal naive forecast.

    The denominator of MASE (Hyndman and Koehler 2006, "Another look at measures of forecast accuracy"), with the
    seasonal lag of gluonts. NaN without a pair of observations.
    """
    differences = np.abs(history[season:] - history[:-season])
    observed = np.isfinite(differences)
    return float(np.mean(differences[observed], dtype=np.float64)) if observed.any() else float("nan")
