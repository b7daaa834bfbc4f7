"""Held-out windows at the end of each series, and the seasonal errors that scale MASE. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agent.chronos.batching.histories import Array, histories
from agent.chronos.batching.sampler import WindowBatch, futures
from agent.data.panel import Floats, Indices, Panel

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Quantile levels of all evaluations, those of the Chronos papers."""
MEDIAN = 0.5


@dataclass(frozen=True, slots=True)
class HeldOutWindows:
    """k windows of the n series `series` (n,): `cutoffs` (k, n) are the points before each, `truth` (k, n, V, h).

    `truth` is NaN where it is missing, and where there is no observation before the window to forecast from. `scales`
    (k, n, V): the seasonal error of the points before each window, the denominator of MASE. `origins` (k, n): the
    times of the first points of the windows, as the panel's ticks.
    """

    series: Indices
    cutoffs: Any
    truth: Floats
    scales: Array
    origins: Indices
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
            self.scales[:, positions],
            self.origins[:, positions],
            self.season,
        )

    def window(self, window: int) -> HeldOutWindows:
        """One window of every series."""
        names = ("cutoffs", "truth", "scales", "origins")
        return replace(self, **{name: getattr(self, name)[window : window + 1] for name in names})

    @property
    def observed(self) -> Any:
        """(n,) whether there is anything to compare forecasts with."""
        return np.isfinite(self.truth).any(axis=(0, 2, 3))


def hold_out(
    panel: Panel, horizon: int, windows: int, season: int, before: int = 0, series: Indices | None = None
) -> HeldOutWindows:
    """The last `windows` x `horizon` points of the series, not counting the last `before` x `horizon` points."""
    series = np.arange(len(panel)) if series is None else series
    lengths = panel.lengths[series]
    cutoffs = np.stack([lengths - horizon * (before + windows - window) for window in range(windows)])
    targets = panel.columns.targets
    truth = np.stack([futures(panel, WindowBatch(series, row), horizon)[:, :targets] for row in cutoffs])
    scales = np.empty((windows, len(series), targets))
    for block, rows in histories(panel, series, cutoffs):
        for target, row in enumerate(rows):
            scales[:, block, target] = row.seasonal_errors(season)
            truth[:, block, target][row.cutoffs <= row.firsts] = np.nan
    origins = panel.ticks[panel.offsets[series] + cutoffs]
    return HeldOutWindows(series, cutoffs, truth, scales, origins, season)
