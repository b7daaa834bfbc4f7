"""Periodic tasks in background threads."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.background import Background
from chronos_ec2.domain.errors import Fenced
from chronos_ec2.worker.control import Control

_log = logging.getLogger(__name__)


class HeartbeatThread(Background):
    """Calls `tick`, which returns the seconds until the next call, until the context ends."""

    def __init__(self, tick: Callable[[], float], join_seconds: float) -> None:
        super().__init__("heartbeat", join_seconds)
        self._tick = tick

    def _run(self) -> None:
        while not self._over.wait(self._tick()):
            pass


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
