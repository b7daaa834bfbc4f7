"""Which windows a batch has: a pure function of seed, step and rank, so that a run goes on as if never interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from agent.data.panel import Floats, Indices, Panel

Weights = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a panel: `context_length` points or fewer before a cut, `horizon` points after it.

    `ends` (S,) says up to where each series may be looked at: what lies after that is held out. A series that is too
    short for `min_past` points and a horizon before its end has no windows.
    """

    panel: Panel
    ends: Indices
    context_length: int
    horizon: int
    min_past: int

    @property
    def usable(self) -> Indices:
        """The series that have windows."""
        return np.flatnonzero(self.ends >= self.min_past + self.horizon)


@dataclass(frozen=True, slots=True)
class Draw:
    """`n` windows: series (n,) and cuts (n,), the number of points before the horizon."""

    series: Indices
    cuts: Indices

    def part(self, number: int, parts: int) -> Draw:
        """One of `parts` parts that are as equal as can be."""
        first, last = (len(self.series) * edge // parts for edge in (number, number + 1))
        return Draw(self.series[first:last], self.cuts[first:last])


class Sampler:
    """Draws batches of `count` windows with replacement.

    `weights` (S,), none of them negative, are how often a series, or by length a window of it, is drawn beside others.
    """

    def __init__(
        self,
        windows: Windows,
        count: int,
        by: Literal["series", "length"],
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        self._windows = windows
        self._count = count
        self._seed = seed
        self._usable = windows.usable
        # Cuts from min_past to end - horizon, both included.
        self._choices = windows.ends[self._usable] - windows.horizon - windows.min_past + 1
        self._last = np.cumsum(self._choices) if by == "length" else None
        self._shares = None
        if weights is not None:
            self._shares = np.cumsum(weights[self._usable] * (self._choices if by == "length" else 1))

    def draw(self, step: int, rank: int = 0) -> Draw:
        """The windows of a step; ranks draw from streams of their own."""
        random = np.random.default_rng([self._seed, rank, step])
        if self._shares is not None:
            picks = np.searchsorted(self._shares, random.random(self._count) * self._shares[-1], side="right")
            into = random.integers(self._choices[picks])
        elif self._last is None:
            picks = random.integers(len(self._usable), size=self._count)
            into = random.integers(self._choices[picks])
        else:
            flat = random.integers(self._last[-1], size=self._count)
            picks = np.searchsorted(self._last, flat, side="right")
            into = flat - (self._last[picks] - self._choices[picks])
        return Draw(self._usable[picks], self._windows.min_past + into)


def contexts(panel: Panel, draw: Draw, length: int) -> Floats:
    """(n, V, L) the points before each cut, padded with NaN on the left to the longest, at most `length`."""
    spans = np.minimum(draw.cuts, length)
    widest = int(spans.max())
    block = np.empty((len(spans), panel.columns.all, widest), dtype=np.float32)
    stops = panel.offsets[draw.series] + draw.cuts
    values = panel.values
    for window, stop, span in zip(block, stops.tolist(), spans.tolist(), strict=True):
        if span < widest:
            window[:, : widest - span] = np.nan
        window[:, widest - span :] = values[:, stop - span : stop]
    return block


def futures(panel: Panel, draw: Draw, horizon: int) -> Floats:
    """(n, V, h) the points after each cut."""
    starts = panel.offsets[draw.series] + draw.cuts
    places: Any = starts[:, None] + np.arange(horizon)
    return panel.values[:, places].transpose(1, 0, 2)
