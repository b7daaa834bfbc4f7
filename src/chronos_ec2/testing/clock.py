"""Clocks that move only when a test moves them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

ORIGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""When every clock here starts."""


class MemoryClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = ORIGIN) -> None:
        self._now = start

    def now(self) -> datetime:
        """The virtual time, aware UTC."""
        return self._now

    def advance(self, span: timedelta) -> None:
        """Move the virtual time forward."""
        self._now += span


class VirtualTime(MemoryClock):
    """A clock in seconds since the origin, with a queue of calls in the order of their times."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._cached = (0.0, ORIGIN)

    def now(self) -> datetime:
        """The virtual time, aware UTC."""
        seconds, now = self._cached
        if seconds != self.seconds:
            now = ORIGIN + timedelta(seconds=self.seconds)
            self._cached = (self.seconds, now)
        return now

    def advance(self, span: timedelta) -> None:
        """Move the virtual time forward, past whatever is queued."""
        self.seconds += span.total_seconds()

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        """Call at a time, at once if it is past."""
        heapq.heappush(self._queue, (max(seconds, self.seconds), next(self._order), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after a while."""
        self.at(self.seconds + seconds, call)

    def run(self, until: Callable[[], bool], horizon: float) -> None:
        """Let time pass until the condition, checked after every call, holds or the horizon is reached."""
        while self._queue and self._queue[0][0] <= horizon and not until():
            self.seconds, _, call = heapq.heappop(self._queue)
            call()
