"""Months and their weekdays, in ticks."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.data.panel import Indices

DAY_SECONDS = 86_400
FIRST_MONDAY = 4
"""Days from the epoch, a Thursday, to the first Monday after it."""


def days_of_month(ticks: Indices, per_second: int) -> Indices:
    """(n,) offset of each time from the start of its month, in ticks; negative on the last day, from the end."""
    per_day = per_second * DAY_SECONDS
    months = months_of(ticks, per_day)
    last = ticks - month_start(months + 1, per_day)
    return np.where(last >= -per_day, last, ticks - month_start(months, per_day))


def first_weekday(months: Indices, per_day: int) -> Indices:
    """(n,) the first weekday of each month."""
    days = month_start(months, per_day) // per_day
    weekday = (days - FIRST_MONDAY) % 7
    return (days + np.where(weekday > 4, 7 - weekday, 0)) * per_day


def last_weekday(months: Indices, per_day: int) -> Indices:
    """(n,) the last weekday of each month."""
    days = month_start(months + 1, per_day) // per_day - 1
    return (days - np.maximum((days - FIRST_MONDAY) % 7 - 4, 0)) * per_day


def months_of(ticks: Indices, per_day: int) -> Indices:
    """(n,) months from the epoch to each time."""
    months: Indices = (ticks // per_day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months


def month_start(months: Any, per_day: int) -> Indices:
    """(n,) the first moment of each month."""
    days: Indices = np.asarray(months).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return days * per_day
