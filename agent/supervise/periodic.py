"""What people learn of a run while its trainer works, written beside the work."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.background import Background
from chronos_ec2.domain.errors import Fenced
from chronos_ec2.worker.control import Control

_log = logging.getLogger(__name__)


class PeriodicTask(Background):
    """Writes a note every so many seconds. A bucket that does not answer keeps nobody waiting but this."""

    def __init__(self, write: Callable[[], None], control: Control, seconds: float) -> None:
        super().__init__("notes", seconds_to_end=1)
        self._write = write
        self._control = control
        self._seconds = seconds

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                self._write()
            except Fenced as error:
                self._control.fence(str(error))
                return
            except Exception as error:  # noqa: BLE001 - a note that cannot be written is no reason to end a run
                _log.warning("not noted: %s", error)
