"""What the working thread must obey: given by heartbeat and signals, looked at between two pieces of work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.records.status import Stop
from chronos_ec2.worker.errors import Stopped

_log = logging.getLogger(__name__)


class Control:
    """At most one stop and one fence; the first of each stands. For any thread, and for signal handlers.

    Beside them a wish that ends nothing: a checkpoint, now.
    """

    def __init__(self, on_fence: Callable[[], None] = lambda: None) -> None:
        self._on_fence = on_fence
        # Re-entrant, because a signal handler interrupts the very thread that may hold it.
        self._lock = threading.RLock()
        self._stop: Stop | None = None
        self._told: list[tuple[float, timedelta | None]] = []
        self._fenced: str | None = None
        self._checkpoint_wanted = threading.Event()

    @property
    def stop(self) -> Stop | None:
        """The graceful end that was asked for."""
        return self._stop

    def time_to_leave(self, grace: timedelta, share: float = 1.0) -> timedelta:
        """What is left of a share of the time to leave in: of the grace, or of less where the box goes sooner.

        All of it as long as no stop was asked for. Below zero when it is over.
        """
        with self._lock:
            told = list(self._told)
        if not told:
            return grace * share
        now = time.monotonic()
        spans = [(at, grace if within is None else min(within, grace)) for at, within in told]
        return min(span * share - timedelta(seconds=now - at) for at, span in spans)

    @property
    def fenced(self) -> str | None:
        """Why this agent does not own the run any more."""
        return self._fenced

    def give_stop(self, stop: Stop, within: timedelta | None = None) -> None:
        """Ask for a graceful end, with `within` in a box that goes so soon. Asked again, only the time can get less."""
        with self._lock:
            first = self._stop is None
            if not first and within is None:
                return
            self._stop = self._stop or stop
            self._told.append((time.monotonic(), within))
        _log.warning("asked to stop%s: %s", "" if first else " sooner", stop.reason)

    def ask_for_checkpoint(self, reason: str) -> None:
        """Wish for a checkpoint before the next one is due."""
        _log.info("a checkpoint is wanted: %s", reason)
        self._checkpoint_wanted.set()

    def take_checkpoint_wish(self) -> bool:
        """Whether a checkpoint is wanted; whoever learns it has to see to it."""
        wanted = self._checkpoint_wanted.is_set()
        self._checkpoint_wanted.clear()
        return wanted

    def fence(self, reason: str) -> None:
        """Order to drop everything: the run is not ours."""
        with self._lock:
            if self._fenced is not None:
                return
            self._fenced = reason
        _log.error("fenced: %s", reason)
        self._on_fence()

    def check(self) -> None:
        """Obey. Raises Fenced, or else Stopped, when there is an order."""
        self.check_fence()
        if self._stop is not None:
            raise Stopped(self._stop)

    def check_fence(self) -> None:
        """Obey a fence alone, in work that a graceful stop shall not cut short. Raises Fenced."""
        if self._fenced is not None:
            raise Fenced(self._fenced)
