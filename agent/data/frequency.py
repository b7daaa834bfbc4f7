"""The common time step of a data set: a fixed number of ticks, or one of the calendar's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agent.data.ingest.months import DAY_SECONDS, FIRST_MONDAY, first_weekday, last_weekday, month_start, months_of
from agent.data.panel import Indices, Panel

Mask = np.ndarray[Any, np.dtype[np.bool_]]
_SAMPLE = 100_000
_CLOCK_CHANGES = (3, 4, 9, 10, 11)
"""Months with changes, on both hemispheres."""
_ALIASES = {"business days": "B", "business month starts": "BMS", "business month ends": "BME"}
_TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


Calendar = Literal["months", "business month starts", "business month ends", "business days"]


@dataclass(frozen=True, slots=True)
class Spacing:
    """A step of `step` ticks, or on a calendar of `step` months, business days, or first or last ones of a month.

    On a calendar, `into` is the offset in ticks from the start of the month or day, for months the negative offset from
    the start of the next month if that is what all times share, and `ticks_per_day` is set.
    """

    step: int
    calendar: Calendar | None = None
    into: int = 0
    ticks_per_day: int = 0

    def positions(self, ticks: Indices) -> Indices:
        """(n,) step numbers: consecutive integers for times one step apart."""
        return self._count(ticks) // self.step

    def jumps(self, ticks: Indices, steps: Indices) -> Indices | None:
        """(n - 1,) `steps` in multiples of this step; None if one is not a multiple, or two times share a month.

        `steps`: differences between consecutive times, 0 where another series begins.
        """
        if self.calendar is not None:
            counts = np.where(steps > 0, np.diff(self._count(ticks)), 0)
            if ((steps > 0) & (counts == 0)).any():
                return None
            steps = counts
        return multiples(steps, self.step)

    def ticks(self, positions: Indices, phase: Indices) -> Indices:
        """(n,) times at positions. `phase`: the remainder of the series' times modulo the step."""
        raw = positions * self.step + phase
        match self.calendar:
            case None:
                return raw
            case "months":
                return month_start(raw + (self.into < 0), self.ticks_per_day) + self.into
            case "business month starts":
                return first_weekday(raw, self.ticks_per_day) + self.into
            case "business month ends":
                return last_weekday(raw, self.ticks_per_day) + self.into
            case "business days":
                return (raw // 5 * 7 + raw % 5 + FIRST_MONDAY) * self.ticks_per_day + self.into
            case _:
                assert_never(self.calendar)

    def phase(self, ticks: Indices) -> Indices:
        """(n,) remainder of each time modulo the step."""
        return self._count(ticks) % self.step

    def name(self, ticks_per_second: int | None, times: int = 1) -> str:
        """`times` steps as an ISO 8601 duration such as PT30M, P1D or P1M; pandas's B, BMS and BME have none.

        A plain number for integer times.
        """
        step = self.step * times
        if self.calendar is None:
            return name_of(step, ticks_per_second)
        alias = _ALIASES.get(self.calendar)
        if alias is None:
            return f"P{step}M"
        return alias if step == 1 else f"{step}{alias}"

    def _count(self, ticks: Indices) -> Indices:
        """(n,) the months or business days up to each time; ticks without a calendar."""
        match self.calendar:
            case None:
                return ticks
            case "months" | "business month starts" | "business month ends":
                return months_of(ticks, self.ticks_per_day)
            case "business days":
                days = ticks // self.ticks_per_day - FIRST_MONDAY
                return days // 7 * 5 + np.minimum(days % 7, 4)
            case _:
                assert_never(self.calendar)


def multiples(steps: Indices, step: int) -> Indices | None:
    """(n,) `steps` divided by `step`; None if one is not a multiple."""
    found = steps // step
    # Not by the remainder, which takes numpy several times as long. In parts, to save memory.
    parts = (slice(start, start + _SAMPLE) for start in range(0, len(steps), _SAMPLE))
    return found if all(np.array_equal(found[part] * step, steps[part]) for part in parts) else None


def name_of(ticks: int, ticks_per_second: int | None) -> str:
    """A number of ticks as an ISO 8601 duration; a plain number for integer times."""
    if ticks_per_second is None:
        return str(ticks)
    for unit, seconds in (("P{}D", DAY_SECONDS), ("PT{}H", 3600), ("PT{}M", 60)):
        if ticks % (seconds * ticks_per_second) == 0:
            return unit.format(ticks // (seconds * ticks_per_second))
    return f"PT{Decimal(ticks) / ticks_per_second:f}S"


@dataclass(frozen=True, slots=True)
class Grid:
    """The common step of a data set; `jumps` (n - 1,) are the steps between consecutive times `ticks` (n,).

    `usual`: the step is the most frequent one; otherwise it is the smallest, and all others are multiples of it.
    `local`: `ticks` are local times of the times' zone.
    """

    spacing: Spacing
    ticks: Indices
    jumps: Indices
    usual: bool
    local: bool


def find_grid(ticks: Indices, inside: Mask, time_type: pa.DataType, *, business: bool = True) -> Grid | None:
    """The step of which all steps within series are multiples; None if there is none.

    `inside` (n - 1,): whether a time and the next one are of the same series. `business`: whether days without weekends
    are business days, not days with gaps.
    """
    per_day = ticks_per_day(time_type)
    for pick in (usual_step, _smallest):
        for local, reading in enumerate(_readings(ticks, time_type)):
            steps = np.diff(reading)
            steps[~inside] = 0
            step = pick(steps)
            regular = steps == step
            if np.array_equal(regular, steps != 0):
                # Without gaps, as most data are, this is all that has to be computed.
                return Grid(Spacing(step), reading, regular.view(np.int8), usual=pick is usual_step, local=bool(local))
            candidates = [Spacing(step)]
            if per_day and step >= 28 * per_day:
                candidates += _monthly(reading, step, per_day)
            elif business and step == per_day:
                candidates = [*_business_days(reading, steps, per_day), *candidates]
            for spacing in candidates:
                jumps = spacing.jumps(reading, steps)
                if jumps is not None:
                    return Grid(spacing, reading, jumps, usual=pick is usual_step, local=bool(local))
    return None


def frequency_of(panel: Panel) -> str | None:
    """The step of the longest series as an ISO 8601 duration such as PT30M, P1D or P1M; None if it has none.

    Business days have no such name: theirs are B, BMS and BME. Integer times have no unit: their step is a number.
    """
    longest = int(np.argmax(panel.lengths))
    ticks = panel.ticks[panel.offsets[longest] : panel.offsets[longest + 1]]
    grid = find_grid(ticks, np.ones(len(ticks) - 1, dtype=bool), panel.time_type)
    return None if grid is None else grid.spacing.name(ticks_per_second(panel.time_type))


def ticks_per_second(time_type: pa.DataType) -> int | None:
    """None for integer times, which have no months either."""
    return _TICKS_PER_SECOND[time_type.unit] if pa.types.is_timestamp(time_type) else None


def ticks_per_day(time_type: pa.DataType) -> int:
    """0 for integer times, which have no days."""
    return (ticks_per_second(time_type) or 0) * DAY_SECONDS


def usual_step(steps: Indices) -> int:
    """The most frequent positive step in a sample; the smallest if the sample has none, 1 if there is none at all."""
    sample = steps[:: max(1, len(steps) // _SAMPLE)]
    sample = sample[sample > 0]
    if len(sample) == 0:
        return _smallest(steps)
    values, counts = np.unique(sample, return_counts=True)
    return int(values[np.argmax(counts)])


def instants_of(local: Indices, time_type: pa.DataType) -> Indices:
    """Local times as instants: the earlier one of an ambiguous time, the next existing one of a skipped time."""
    times = pa.array(local).cast(pa.timestamp(time_type.unit))
    found = pc.assume_timezone(times, time_type.tz, ambiguous="earliest", nonexistent="latest")
    ticks: Indices = found.cast(pa.int64()).to_numpy()
    return ticks


def local_ticks(ticks: Indices, time_type: pa.DataType) -> Indices:
    """Instants as local times of their zone."""
    local: Indices = pc.local_timestamp(pa.array(ticks).cast(time_type)).cast(pa.int64()).to_numpy()
    return local


def local_readings(ticks: Indices, time_type: pa.DataType) -> Iterator[Indices]:
    """Instants as local times; then as those that they stand for on a day on which that time of day does not exist.

    In Santiago clocks change at midnight: a day then begins at one o'clock.
    """
    local = local_ticks(ticks, time_type)
    yield local
    per_day = ticks_per_day(time_type)
    usual = usual_step(local % per_day + 1) - 1
    moved = np.flatnonzero(local % per_day != usual)
    meant = local[moved] // per_day * per_day + usual
    named = local.copy()
    named[moved] = np.where(instants_of(meant, time_type) == ticks[moved], meant, local[moved])
    yield named


def clock_change(ticks: Indices, time_type: pa.DataType) -> bool:
    """Whether all these times, without a zone or in UTC, are around a night in which clocks change somewhere.

    That is the night to a Sunday in spring or autumn: from noon of the Saturday on, because in UTC it may begin then.
    """
    per_second = ticks_per_second(time_type)
    if per_second is None or time_type.tz not in {None, "UTC"}:
        return False
    per_day = DAY_SECONDS * per_second
    half_days = (2 * ticks // per_day - 2 * FIRST_MONDAY) % 14
    months = months_of(ticks, per_day) % 12 + 1
    return bool((np.isin(half_days, (11, 12)) & np.isin(months, _CLOCK_CHANGES)).all())


def _readings(ticks: Indices, time_type: pa.DataType) -> Iterator[Indices]:
    """The ticks, and for times with a zone also local times, in which days have equal length despite DST."""
    yield ticks
    if pa.types.is_timestamp(time_type) and time_type.tz:
        yield from local_readings(ticks, time_type)


def _smallest(steps: Indices) -> int:
    return int(np.min(steps, where=steps > 0, initial=np.iinfo(np.int64).max)) if (steps > 0).any() else 1


def _monthly(ticks: Indices, step: int, per_day: int) -> list[Spacing]:
    """A monthly step, if all times are equally long after the start of their month, or before its end.

    Or on its first or last weekday at one time of day. Holidays are not known.
    """
    months = max(1, round(step / (30.44 * per_day)))
    numbers = months_of(ticks, per_day)
    for into in (ticks - month_start(numbers, per_day), ticks - month_start(numbers + 1, per_day)):
        if (into == into[0]).all():
            return [Spacing(months, "months", int(into[0]), per_day)]
    into = ticks % per_day
    if not (into == into[0]).all():
        return []
    weekdays: dict[Calendar, Indices] = {
        "business month starts": first_weekday(numbers, per_day),
        "business month ends": last_weekday(numbers, per_day),
    }
    return [
        Spacing(months, calendar, int(into[0]), per_day)
        for calendar, expected in weekdays.items()
        if np.array_equal(expected, ticks - into)
    ]


def _business_days(ticks: Indices, steps: Indices, per_day: int) -> list[Spacing]:
    """A step of business days, if no time is on a weekend and most weeks are crossed from Friday to Monday."""
    weekdays = (ticks // per_day - FIRST_MONDAY) % 7
    into = ticks % per_day
    if (weekdays > 4).any() or (into != into[0]).any():
        return []
    over_weekends = (weekdays[:-1] == 4) & (steps > 0)
    if not over_weekends.any() or (steps[over_weekends] == 3 * per_day).mean() < 0.5:
        return []
    return [Spacing(1, "business days", int(into[0]), per_day)]
