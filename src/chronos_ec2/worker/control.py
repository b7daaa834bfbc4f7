"""Requests to the agent's main thread: stop, fence, write a checkpoint. The main thread polls them while it works."""

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
    """At most one stop and one fence, and the first of each is kept. Safe to call from threads and signal handlers.

    A checkpoint can also be requested, which ends nothing.
    """

    def __init__(
        self, on_fence: Callable[[], None] = lambda: None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_fence = on_fence
        self._monotonic = monotonic
        # Re-entrant: a signal handler interrupts the main thread, which may hold it.
        self._lock = threading.RLock()
        self._stop: Stop | None = None
        self._stop_requests: list[tuple[float, timedelta | None]] = []
        self._fenced: str | None = None
        self._checkpoint_requested = threading.Event()

    @property
    def stop(self) -> Stop | None:
        """The graceful stop that was requested."""
        return self._stop

    def request_stop(self, stop: Stop, within: timedelta | None = None) -> None:
        """Request a graceful stop, `within` the time after which the instance ends. Later calls can only shorten it."""
        with self._lock:
            first = self._stop is None
            if not first and within is None:
                return
            self._stop = self._stop or stop
            self._stop_requests.append((self._monotonic(), within))
        _log.warning("stop requested%s: %s", "" if first else " sooner", stop.reason)

    def stop_time_left(self, grace: timedelta, share: float = 1.0) -> timedelta:
        """What is left of a share of the grace, or of the time until the instance ends if that is shorter.

        The whole share before a stop was requested; negative once the time is over.
        """
        with self._lock:
            requests = list(self._stop_requests)
        if not requests:
            return grace * share
        now = self._monotonic()
        spans = [(at, grace if within is None else min(within, grace)) for at, within in requests]
        return min(span * share - timedelta(seconds=now - at) for at, span in spans)

    def request_checkpoint(self, reason: str) -> None:
        """Request a checkpoint before the next one is due."""
        _log.info("checkpoint requested: %s", reason)
        self._checkpoint_requested.set()

    def take_checkpoint_request(self) -> bool:
        """Whether a checkpoint was requested since the last call. The caller must pass the request on."""
        requested = self._checkpoint_requested.is_set()
        self._checkpoint_requested.clear()
        return requested

    @property
    def fenced(self) -> str | None:
        """Why the run no longer belongs to this agent, or None."""
        return self._fenced

    def fence(self, reason: str) -> None:
        """Abort: the run no longer belongs to this agent."""
        with self._lock:
            if self._fenced is not None:
                return
            self._fenced = reason
        _log.error("fenced: %s", reason)
        self._on_fence()

    def check(self) -> None:
        """Raise Fenced, or else Stopped, if either was requested."""
        self.check_fence()
        if self._stop is not None:
            raise Stopped(self._stop)

    def check_fence(self) -> None:
        """Raise Fenced if fenced. For work that a graceful stop must not interrupt."""
        if self._fenced is not None:
            raise Fenced(self._fenced)
