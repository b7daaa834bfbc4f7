"""The common step of the times of a data set: a fixed number of ticks, or calendar months."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agent.data.panel import Indices, Panel

Mask = np.ndarray[Any, np.dtype[np.bool_]]
_SAMPLE = 100_000
_DAY_SECONDS = 86_400
_TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


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

    def jumps(self, ticks: Indices, steps: Indices) -> Indices | None:
        """(n - 1,) how many of its steps each of `steps` is; None when one is no multiple, or two times share a place.

        `steps` are those from each of the times to the next, 0 where another series begins.
        """
        if self.months:
            months = np.where(steps > 0, np.diff(_months(ticks, self.ticks_per_day)), 0)
            if ((steps > 0) & (months == 0)).any():
                return None
            steps = months
        return multiples(steps, self.step)

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

    def name(self, ticks_per_second: int | None, times: int = 1) -> str:
        """So many steps as an ISO 8601 duration like PT30M, P1D or P1M; times without a unit have a number."""
        step = self.step * times
        return f"P{step}M" if self.months else name_of(step, ticks_per_second)


def multiples(steps: Indices, step: int) -> Indices | None:
    """(n,) how many times a step goes into each; None when it does not into one."""
    found = steps // step
    # Not by the remainder, which takes numpy several times as long; in parts, for the memory.
    parts = (slice(start, start + _SAMPLE) for start in range(0, len(steps), _SAMPLE))
    return found if all(np.array_equal(found[part] * step, steps[part]) for part in parts) else None


def name_of(ticks: int, ticks_per_second: int | None) -> str:
    """A time of so many ticks as an ISO 8601 duration; without a unit it is a number."""
    if ticks_per_second is None:
        return str(ticks)
    for unit, seconds in (("P{}D", _DAY_SECONDS), ("PT{}H", 3600), ("PT{}M", 60)):
        if ticks % (seconds * ticks_per_second) == 0:
            return unit.format(ticks // (seconds * ticks_per_second))
    return f"PT{ticks / ticks_per_second:g}S"


@dataclass(frozen=True, slots=True)
class Grid:
    """The common step of a data set, the times by which it is one, and how many steps lie between neighbours.

    `usual` says that most steps are this step; else it is the smallest, which all others are multiples of. `local` says
    that `ticks` are what the clocks of the times' zone show.
    """

    spacing: Spacing
    ticks: Indices
    jumps: Indices
    usual: bool
    local: bool


def find_grid(ticks: Indices, inside: Mask, time_type: pa.DataType) -> Grid | None:
    """The step that all steps within a series are multiples of, None when there is no such.

    `inside` (n - 1,) is whether a time and the next one are of the same series.
    """
    per_second = ticks_per_second(time_type)
    per_day = (per_second or 0) * _DAY_SECONDS
    for pick in (usual_step, _smallest):
        for local, reading in enumerate(_readings(ticks, time_type)):
            steps = np.diff(reading)
            steps[~inside] = 0
            step = pick(steps)
            candidates = [Spacing(step)]
            if per_day and step >= 28 * per_day:
                candidates += _monthly(reading, step, per_day)
            for spacing in candidates:
                jumps = spacing.jumps(reading, steps)
                if jumps is not None:
                    return Grid(spacing, reading, jumps, usual=pick is usual_step, local=bool(local))
    return None


def frequency_of(panel: Panel) -> str | None:
    """The step of the longest series as an ISO 8601 duration like PT30M, P1D or P1M; None when it has none.

    Times that are plain integers have no unit: their step is a number.
    """
    longest = int(np.argmax(panel.lengths))
    ticks = panel.ticks[panel.offsets[longest] : panel.offsets[longest + 1]]
    grid = find_grid(ticks, np.ones(len(ticks) - 1, dtype=bool), panel.time_type)
    return None if grid is None else grid.spacing.name(ticks_per_second(panel.time_type))


def ticks_per_second(time_type: pa.DataType) -> int | None:
    """None for times that are plain integers: those have no months either."""
    return _TICKS_PER_SECOND[time_type.unit] if pa.types.is_timestamp(time_type) else None


def usual_step(steps: Indices) -> int:
    """The most frequent of a sample; 1 when there is none."""
    some = steps[:: max(1, len(steps) // _SAMPLE)]
    some = some[some > 0]
    if len(some) == 0:
        return _smallest(steps)
    values, counts = np.unique(some, return_counts=True)
    return int(values[np.argmax(counts)])


def instants_of(local: Indices, time_type: pa.DataType) -> Indices:
    """What clocks of the zone show, as instants; where they are set back the first, where forward the next there is."""
    shown = pa.array(local).cast(pa.timestamp(time_type.unit))
    found = pc.assume_timezone(shown, time_type.tz, ambiguous="earliest", nonexistent="latest")
    ticks: Indices = found.cast(pa.int64()).to_numpy()
    return ticks


def days_of_month(ticks: Indices, per_second: int) -> Indices:
    """(n,) where in its month each time lies, in ticks; month ends count as one day, before the first."""
    per_day = per_second * _DAY_SECONDS
    months = _months(ticks, per_day)
    last = ticks - _month_start(months + 1, per_day)
    return np.where(last >= -per_day, last, ticks - _month_start(months, per_day))


def _readings(ticks: Indices, time_type: pa.DataType) -> Iterator[Indices]:
    """The ticks, and for times with a zone what its clocks show: days are not all of one length."""
    yield ticks
    if pa.types.is_timestamp(time_type) and time_type.tz:
        local = pc.local_timestamp(pa.array(ticks).cast(time_type))
        yield local.cast(pa.int64()).to_numpy()


def _smallest(steps: Indices) -> int:
    return int(np.min(steps, where=steps > 0, initial=np.iinfo(np.int64).max)) if (steps > 0).any() else 1


def _monthly(ticks: Indices, step: int, per_day: int) -> list[Spacing]:
    """By the day of the month, or by month ends, if all times are such."""
    months = max(1, round(step / (30.44 * per_day)))
    into = ticks - _month_start(_months(ticks, per_day), per_day)
    if (into == into[0]).all():
        return [Spacing(months, months=True, day=int(into[0]), ticks_per_day=per_day)]
    last = _month_start(_months(ticks, per_day) + 1, per_day) - per_day
    return [Spacing(months, months=True, ticks_per_day=per_day)] if (ticks == last).all() else []


def _months(ticks: Indices, per_day: int) -> Indices:
    months: Indices = (ticks // per_day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months


def _month_start(months: Any, per_day: int) -> Indices:
    days: Indices = np.asarray(months).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return days * per_day
