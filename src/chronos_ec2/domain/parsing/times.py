"""UTC timestamps and durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from chronos_ec2.domain.errors import InvalidInput

_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smh])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


@lru_cache(maxsize=1024)
def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with Z, to the millisecond. Raises ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError("naive datetime")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(value: str) -> datetime:
    """An aware UTC datetime from RFC 3339. Raises ValueError, also for a missing time zone."""
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {value!r} has no time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:  # the time zone leads out of the range of years
        raise ValueError(f"timestamp {value!r} is out of range") from error


def human_span(span: timedelta) -> str:
    """A duration for people, in seconds, minutes or hours."""
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def brief_span(span: timedelta) -> str:
    """A duration for a column of a table: 45s, 55m, 3.2h, 12d."""
    seconds = max(span.total_seconds(), 0.0)
    for size, unit, most in ((1, "s", 120), (60, "m", 120)):
        if seconds < size * most:
            return f"{int(seconds / size)}{unit}"
    return f"{seconds / 3600:.1f}h" if seconds < 48 * 3600 else f"{int(seconds / 86400)}d"


def check_span(value: str, where: str, least: timedelta, most: timedelta) -> timedelta:
    """The duration in `value`, such as 90s, 30m or 2h. Raises InvalidInput for `where`."""
    remedy = f"between {short_span(least)} and {short_span(most)}, such as 90s, 30m or 2h"
    if (match := _SPAN.fullmatch(value)) is None:
        raise InvalidInput(where, f"{value[:40]!r} is not a duration", remedy)
    span = timedelta(**{_UNITS[match[2]]: float(match[1])})
    if not least <= span <= most:
        raise InvalidInput(where, f"{value} is out of range", remedy)
    return span


def short_span(span: timedelta) -> str:
    """A duration as `check_span` reads it."""
    seconds = span.total_seconds()
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
