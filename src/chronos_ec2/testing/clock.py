"""Clocks that move only when a test moves them, and processes that wait in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock, Thread

from chronos_ec2.testing.faults import Crash

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


class VirtualProcess:
    """A call that can sleep in virtual time and be killed while it sleeps.

    It has a thread of its own, but only one runs at a time: whoever starts or resumes it waits until it sleeps or ends.
    So histories stay the same each time. What the call raises, except Crash, is raised by whoever resumed it last.
    """

    def __init__(self, time: VirtualTime, call: Callable[[], None]) -> None:
        self._time = time
        self._call = call
        self._turn, self._back = Lock(), Lock()
        self._turn.acquire()
        self._back.acquire()
        self._killed = False
        self._sleeps = 0
        self._error: BaseException | None = None
        self.ended = False

    def start(self) -> None:
        """Run the call until it sleeps or ends."""
        Thread(target=self._run, daemon=True).start()
        self._wait()

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass, within the call. Raises Crash if the process is killed meanwhile."""
        self._sleeps += 1
        this = self._sleeps
        self._time.after(seconds, lambda: self._resume(this))
        if not self._killed:
            self._back.release()
            self._turn.acquire()
        if self._killed:
            raise Crash

    def kill(self) -> None:
        """Let the process crash where it sleeps."""
        self._killed = True
        self._resume(self._sleeps)

    def _resume(self, sleep: int) -> None:
        if sleep == self._sleeps and not self.ended:
            self._turn.release()
            self._wait()

    def _wait(self) -> None:
        self._back.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            self._call()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            self._error = error
        finally:
            self.ended = True
            self._back.release()
