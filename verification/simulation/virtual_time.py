"""Virtual time: a clock, and what is to happen when."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

ORIGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


class VirtualTime:
    """Seconds since the origin, and a queue of calls in the order of their times."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now = (0.0, ORIGIN)

    def now(self) -> datetime:
        """The virtual time, aware UTC."""
        seconds, now = self._now
        if seconds != self.seconds:
            now = ORIGIN + timedelta(seconds=self.seconds)
            self._now = (self.seconds, now)
        return now

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        """Call at a time, at once if it is past."""
        heapq.heappush(self._queue, (max(seconds, self.seconds), next(self._order), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after a while."""
        self.at(self.seconds + seconds, call)

    def run(self, until: Callable[[], bool], horizon: float) -> None:
        """Let time pass until the condition holds or the horizon is reached; it is asked after every call."""
        while self._queue and self._queue[0][0] <= horizon and not until():
            self.seconds, _, call = heapq.heappop(self._queue)
            call()
