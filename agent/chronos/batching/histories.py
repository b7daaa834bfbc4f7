"""What many series were before their held-out windows, without a loop over series. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.data.panel import Indices, Panel

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
_BLOCK_POINTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Histories:
    """One target of m series side by side: `values` (P,) in float64, of which series i begins at `starts[i]`.

    `cutoffs` (k, m), ascending: positions in `values` at which each series' windows begin. `firsts` (m,): positions of
    the first observations, or of the series' ends if there are none.
    """

    values: Array
    starts: Indices
    firsts: Indices
    ends: Indices
    cutoffs: Indices

    def sums(self, terms: Array, begins: Indices) -> Array:
        """(k, m) sums of `terms` (P,) from `begins` (m,) to before each cutoff."""
        begins = np.minimum(begins, self.ends)
        bounds = np.vstack([begins, np.maximum(self.cutoffs, begins)]).T
        sums: Array = np.add.reduceat(np.append(terms, 0.0), bounds.ravel()).reshape(bounds.shape)[:, :-1]
        # Of an empty range, reduceat returns the next term.
        return np.cumsum(np.where(np.diff(bounds) > 0, sums, 0.0), axis=1).T

    def seasonal_errors(self, season: int) -> Array:
        """(k, m) mean absolute difference of observations one season apart; NaN without such a pair.

        The in-sample mean absolute error of the seasonal naive forecast, the denominator of MASE.
        """
        differences = np.abs(self.differences(season))
        observed = np.isfinite(differences)
        count = self.sums(observed.astype(np.float64), self.starts + season)
        total = self.sums(np.where(observed, differences, 0.0), self.starts + season)
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

    def differences(self, lag: int) -> Array:
        """(P,) differences from the values `lag` points before, to be read from a series' point `lag` on."""
        found = np.full_like(self.values, np.nan)
        if lag < len(found):
            found[lag:] = self.values[lag:] - self.values[:-lag]
        return found


def histories(panel: Panel, series: Indices, cutoffs: Indices) -> Iterator[tuple[slice, list[Histories]]]:
    """Blocks of series, as positions in `series` (n,), with their histories by target. `cutoffs` (k, n) in points."""
    lengths = panel.lengths[series]
    ends = np.cumsum(lengths)
    first = 0
    while first < len(series):
        last = max(first + 1, int(np.searchsorted(ends, ends[first] - lengths[first] + _BLOCK_POINTS, side="right")))
        block = slice(first, last)
        yield block, _block(panel, series[block], cutoffs[:, block])
        first = last


def _block(panel: Panel, series: Indices, cutoffs: Indices) -> list[Histories]:
    lengths = panel.lengths[series]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    positions = np.arange(int(ends[-1])) + np.repeat(panel.offsets[series] - starts, lengths)
    found = []
    for row in panel.values[: panel.columns.targets]:
        values = row[positions].astype(np.float64)
        # The first observation is where the count of observations before it is still that at the series' start.
        count = np.concatenate([[0], np.cumsum(np.isfinite(values))])
        firsts = np.minimum(np.searchsorted(count, count[starts], side="right") - 1, ends)
        found.append(Histories(values, starts, firsts, ends, starts + cutoffs))
    return found
