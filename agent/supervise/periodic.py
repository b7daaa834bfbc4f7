"""Periodic tasks in background threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from agent.background import Background
from chronos_ec2.domain.errors import Fenced
from chronos_ec2.worker.control import Control

_log = logging.getLogger(__name__)


class HeartbeatThread(Background):
    """Calls `tick`, which returns the seconds until the next call, until the context ends.

    Setting `wake` calls it at once.
    """

    def __init__(self, tick: Callable[[], float], join_seconds: float, wake: threading.Event | None = None) -> None:
        super().__init__("heartbeat", join_seconds)
        self._tick = tick
        self._wake = threading.Event() if wake is None else wake

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._wake.set()
        super().__exit__(kind, error, trace)

    def _run(self) -> None:
        while not self._over.is_set():
            self._wake.wait(self._tick())
            self._wake.clear()


class PeriodicTask(Background):
    """Calls `task` at an interval, in a thread so that an unresponsive S3 does not block the supervisor."""

    def __init__(self, name: str, task: Callable[[], None], control: Control, seconds: float) -> None:
        super().__init__(name, join_seconds=1)
        self._task = task
        self._control = control
        self._seconds = seconds

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                self._task()
            except Fenced as error:
                self._control.fence(str(error))
                return
            except Exception as error:  # noqa: BLE001 - a task that fails is no reason to end a run
                _log.warning("%s failed: %s", self._name, error)
