"""UTC timestamps and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache


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
