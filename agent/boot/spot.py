"""EC2's two warnings to a spot instance: the rebalance recommendation, and the interruption notice two minutes ahead.

The recommendation requests a checkpoint. The notice requests a stop: the trainer saves, the checkpoint is uploaded, and
the run ends as preempted, after which the watchdog starts another attempt if the budget allows. Both only save time: an
instance that disappears without a warning is missed by its heartbeats, and its run resumes from the last checkpoint.
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
"""The interval that AWS recommends."""
_TIME_AFTER_NOTICE = timedelta(seconds=100)
"""What is left of the two minutes when a poll finds the notice late."""
_NOTICE, _REBALANCE = "spot/instance-action", "events/recommendations/rebalance"
_MAX_BACKOFF_SECONDS = 20.0
"""Longest back-off: short against the two minutes, and rarely enough where there is no metadata service at all."""


class InterruptionWatch(Background):
    """Polls for both warnings until the notice arrives, as a context manager."""

    def __init__(
        self,
        metadata: Metadata | None,
        control: Control,
        now: Callable[[], datetime],
        seconds: float = POLL_SECONDS,
    ) -> None:
        super().__init__("interruption", join_seconds=1)
        self._metadata = metadata
        self._control = control
        self._now = now
        self._seconds = seconds
        self._recommended: str | None = None

    def _run(self) -> None:
        if self._metadata is None:
            return
        failures = 0
        while True:
            try:
                if self._poll(self._metadata):
                    return
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever the answer, the next one may be a notice
                failures += 1
                if failures == 1:
                    _log.warning("the metadata service does not answer, retrying: %s", error)
            if self._over.wait(min(self._seconds * max(1, failures), _MAX_BACKOFF_SECONDS)):
                return

    def _poll(self, metadata: Metadata) -> bool:
        """Pass on new warnings. Returns whether the notice has arrived."""
        if (notice := _field(metadata.get(_NOTICE), "action")) is not None:
            action, when = notice
            reason = f"EC2 interrupts the spot instance ({action} at {when})"
            self._control.request_stop(Stop(Cause.PREEMPTED, reason, self._now()), within=_TIME_AFTER_NOTICE)
            return True
        if (advice := _field(metadata.get(_REBALANCE), "noticeTime")) is not None and advice[0] != self._recommended:
            self._recommended = advice[0]
            self._control.request_checkpoint("EC2 recommends rebalancing this spot instance")
        return False


def _field(body: str | None, name: str) -> tuple[str, str] | None:
    """The named field of a warning, and its time. Invalid warnings are ignored: they would end a healthy run."""
    if body is None:
        return None
    try:
        warning = json.loads(body)
        return one_line(str(warning[name]), 40), one_line(str(warning.get("time", "")), 40)
    except (ValueError, TypeError, KeyError, AttributeError):
        _log.warning("not a warning from EC2: %s", one_line(body, 120))
        return None
