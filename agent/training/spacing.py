"""The common step of the times of a data set: a fixed number of ticks, or calendar months."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from agent.training.panel import Indices, Panel

_SAMPLE = 100_000
_DAY_SECONDS = 86_400
TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class Spacing:
    """`step` is in ticks, or in months where `months` says how a month is named: by its first day or its last.

    `day` is the number of ticks from the start of the month, None for month ends; `ticks_per_day` goes with it.
    """

    step: int
    months: bool = False
    day: int | None = None
    ticks_per_day: int = 0

    def positions(self, ticks: Indices) -> Indices:
        """(n,) integers that grow by one from one point of a series to the next one that is due."""
        raw = _months(ticks, self.ticks_per_day) if self.months else ticks
        return raw // self.step

    def ticks(self, positions: Indices, phase: Indices) -> Indices:
        """(n,) the times at positions; `phase` is what integer division by the step took from the series' times."""
        raw = positions * self.step + phase
        if not self.months:
            return raw
        if self.day is None:
            return _month_start(raw + 1, self.ticks_per_day) - self.ticks_per_day
        return _month_start(raw, self.ticks_per_day) + self.day

    def phase(self, ticks: Indices) -> Indices:
        """(n,) where within a step each time lies."""
        raw = _months(ticks, self.ticks_per_day) if self.months else ticks
        return raw % self.step


def find_spacing(steps: Indices, ticks: Indices, ticks_per_second: int | None) -> Spacing | None:
    """The step that all `steps` between neighbours are multiples of, None when there is no such.

    `ticks_per_second` is None for times that are plain integers: those have no months.
    """
    if len(steps) == 0:
        return Spacing(1)
    usual = _usual(steps)
    if not (steps % usual).any():
        return Spacing(usual)
    per_day = (ticks_per_second or 0) * _DAY_SECONDS
    return _monthly(ticks, usual, per_day) if per_day and usual >= 28 * per_day else None


def frequency_of(panel: Panel) -> str | None:
    """The step of the longest series as an ISO 8601 duration like PT30M, P1D or P1M; None when it has none.

    Times that are plain integers have no unit: their step is a number.
    """
    longest = int(np.argmax(panel.lengths))
    ticks = panel.ticks[panel.offsets[longest] : panel.offsets[longest + 1]]
    per_second = TICKS_PER_SECOND[panel.time_type.unit] if pa.types.is_timestamp(panel.time_type) else None
    spacing = find_spacing(np.diff(ticks), ticks, per_second)
    if spacing is None or per_second is None:
        return None if spacing is None else str(spacing.step)
    if spacing.months:
        return f"P{spacing.step}M"
    for unit, seconds in (("P{}D", _DAY_SECONDS), ("PT{}H", 3600), ("PT{}M", 60)):
        if spacing.step % (seconds * per_second) == 0:
            return unit.format(spacing.step // (seconds * per_second))
    return f"PT{spacing.step / per_second:g}S"


def _monthly(ticks: Indices, usual: int, per_day: int) -> Spacing | None:
    step = max(1, round(usual / (30.44 * per_day)))
    start = _month_start(_months(ticks, per_day), per_day)
    into = ticks - start
    if (into == into[0]).all():
        return Spacing(step, months=True, day=int(into[0]), ticks_per_day=per_day)
    last = _month_start(_months(ticks, per_day) + 1, per_day) - per_day
    return Spacing(step, months=True, ticks_per_day=per_day) if (ticks == last).all() else None


def _usual(steps: Indices) -> int:
    """The most frequent step of a sample."""
    values, counts = np.unique(steps[:: max(1, len(steps) // _SAMPLE)], return_counts=True)
    return int(values[np.argmax(counts)])


def _months(ticks: Indices, per_day: int) -> Indices:
    months: Indices = (ticks // per_day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months


def _month_start(months: Any, per_day: int) -> Indices:
    days: Indices = np.asarray(months).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return days * per_day
