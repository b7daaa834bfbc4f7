"""Training windows and their sampling: batch contents are a pure function of seed, step and rank (exact resume)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from agent.data.panel import Floats, Indices, Panel

_REDRAWS = 50
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Weights = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class TrainingWindows:
    """All training windows of a panel: up to `context_length` points before a cutoff, `horizon` points after it.

    `ends` (S,): points of each series that training may use; the rest is held out. A series with fewer than
    `min_past` + `horizon` such points has no window.
    """

    panel: Panel
    ends: Indices
    context_length: int
    horizon: int
    min_past: int

    def observed(self, batch: WindowBatch) -> Mask:
        """(n,) whether windows have an observation both before and after the cutoff: others teach nothing."""
        if self.panel.complete:
            return np.ones(len(batch.series), dtype=bool)
        targets = self.panel.columns.targets
        parts = contexts(self.panel, batch, self.context_length), futures(self.panel, batch, self.horizon)
        before, after = (np.isfinite(part[:, :targets]).any(axis=(1, 2)) for part in parts)
        found: Mask = np.logical_and(before, after)
        return found

    @property
    def usable(self) -> Indices:
        """Series with at least one window."""
        return np.flatnonzero(self.ends >= self.min_past + self.horizon)


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """`n` windows: `series` (n,) and `cutoffs` (n,), the number of points before the horizon."""

    series: Indices
    cutoffs: Indices

    def part(self, number: int, parts: int) -> WindowBatch:
        """One of `parts` parts of nearly equal size."""
        first, last = (len(self.series) * edge // parts for edge in (number, number + 1))
        return WindowBatch(self.series[first:last], self.cutoffs[first:last])


class Sampler:
    """Draws batches of `count` windows with replacement.

    `by` samples uniformly over series, or over windows (`length`). `weights` (S,), non-negative, multiply the
    probability of each series, or of each of its windows.
    """

    def __init__(
        self,
        windows: TrainingWindows,
        count: int,
        by: Literal["series", "length"],
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        self._windows = windows
        self._count = count
        self._seed = seed
        self._usable = windows.usable
        # Cutoffs from min_past to end - horizon, both included.
        self._choices = windows.ends[self._usable] - windows.horizon - windows.min_past + 1
        self._last = np.cumsum(self._choices) if by == "length" else None
        self._cumulative = None
        if weights is not None:
            self._cumulative = np.cumsum(weights[self._usable] * (self._choices if by == "length" else 1))

    def draw(self, step: int, rank: int = 0) -> WindowBatch:
        """The windows of a step. Each rank has its own random stream.

        Windows in a long gap are drawn again, a few times.
        """
        random = np.random.default_rng([self._seed, rank, step])
        batch = self._pick(random, self._count)
        for _ in range(_REDRAWS):
            empty = np.flatnonzero(~self._windows.observed(batch))
            if not len(empty):
                break
            again = self._pick(random, len(empty))
            batch.series[empty], batch.cutoffs[empty] = again.series, again.cutoffs
        return batch

    def _pick(self, random: np.random.Generator, count: int) -> WindowBatch:
        if self._cumulative is not None:
            points = random.random(count) * self._cumulative[-1]
            picks = np.searchsorted(self._cumulative, points, side="right")
            offsets = random.integers(self._choices[picks])
        elif self._last is None:
            picks = random.integers(len(self._usable), size=count)
            offsets = random.integers(self._choices[picks])
        else:
            flat = random.integers(self._last[-1], size=count)
            picks = np.searchsorted(self._last, flat, side="right")
            offsets = flat - (self._last[picks] - self._choices[picks])
        return WindowBatch(self._usable[picks], self._windows.min_past + offsets)


def contexts(panel: Panel, batch: WindowBatch, length: int) -> Floats:
    """(n, V, L) points before each cutoff, at most `length`, left-padded with NaN to the longest."""
    spans = np.minimum(batch.cutoffs, length)
    widest = int(spans.max())
    block = np.empty((len(spans), panel.columns.all, widest), dtype=np.float32)
    stops = panel.offsets[batch.series] + batch.cutoffs
    values = panel.values
    for window, stop, span in zip(block, stops.tolist(), spans.tolist(), strict=True):
        if span < widest:
            window[:, : widest - span] = np.nan
        window[:, widest - span :] = values[:, stop - span : stop]
    return block


def futures(panel: Panel, batch: WindowBatch, horizon: int) -> Floats:
    """(n, V, h) points after each cutoff."""
    starts = panel.offsets[batch.series] + batch.cutoffs
    positions: Any = starts[:, None] + np.arange(horizon)
    return panel.values[:, positions].transpose(1, 0, 2)
