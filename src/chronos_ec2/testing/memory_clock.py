"""A clock that moves only when told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class MemoryClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """The virtual time, aware UTC."""
        return self._now

    def advance(self, span: timedelta) -> None:
        """Move the virtual time forward."""
        self._now += span
