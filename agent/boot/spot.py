"""EC2's two warnings to a spot instance: that it may be taken back soon, and that it is, in two minutes.

The first asks the trainer for a checkpoint now. The second is an order to stop: the trainer saves, the checkpoint goes
to S3, and the run ends as preempted, for which the watchdog has a next attempt if the budget allows. Both are mere
speed: an instance that goes without a warning is noticed by its silence, and its run goes on from the last checkpoint.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from agent.background import Background
from agent.boot.imds import Metadata
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.worker.control import Control

_log = logging.getLogger(__name__)
POLL_SECONDS = 5.0
"""What AWS recommends."""
_NOTICE_LEAVES = timedelta(seconds=100)
"""Of the two minutes before which EC2 gives its notice, after a poll that may have come late."""
_NOTICE, _REBALANCE = "spot/instance-action", "events/recommendations/rebalance"
_LONGEST_SILENCE = 20.0
"""Of the two minutes. Somewhere else than on EC2 nobody ever answers, and this is how often nobody is asked."""


class InterruptionWatch(Background):
    """Polls for both warnings until the notice has come, as a context manager."""

    def __init__(
        self,
        metadata: Metadata | None,
        control: Control,
        now: Callable[[], datetime],
        seconds: float = POLL_SECONDS,
    ) -> None:
        super().__init__("interruption", seconds_to_end=1)
        self._metadata = metadata
        self._control = control
        self._now = now
        self._seconds = seconds
        self._recommended: str | None = None

    def _run(self) -> None:
        if self._metadata is None:
            return
        silent = 0
        while True:
            try:
                if self._look(self._metadata):
                    return
                silent = 0
            except Exception as error:  # noqa: BLE001 - whatever it answers, a notice may come with the next
                silent += 1
                if silent == 1:
                    _log.warning("the metadata service does not answer, and is asked again: %s", error)
            if self._over.wait(min(self._seconds * max(1, silent), _LONGEST_SILENCE)):
                return

    def _look(self, metadata: Metadata) -> bool:
        """Pass on what is new; whether that was the last word."""
        if (notice := _field(metadata.get(_NOTICE), "action")) is not None:
            action, when = notice
            reason = f"EC2 takes the spot instance back ({action} at {when})"
            self._control.request_stop(Stop(Cause.PREEMPTED, reason, self._now()), within=_NOTICE_LEAVES)
            return True
        if (advice := _field(metadata.get(_REBALANCE), "noticeTime")) is not None and advice[0] != self._recommended:
            self._recommended = advice[0]
            self._control.request_checkpoint("EC2 recommends to leave this spot instance")
        return False


def _field(body: str | None, name: str) -> tuple[str, str] | None:
    """The named field of a warning, and its time. What is not a warning is none: it would end a healthy run."""
    if body is None:
        return None
    try:
        warning = json.loads(body)
        return one_line(str(warning[name]), 40), one_line(str(warning.get("time", "")), 40)
    except (ValueError, TypeError, KeyError, AttributeError):
        _log.warning("not a warning of EC2: %s", one_line(body, 120))
        return None
