"""One incident, one message: a marker in the bucket is taken before, and settled after, each publish.

A marker is `pending` from before the publish until after it. A crash in between leaves it pending, and whoever finds
it so after a while publishes again: no message is lost. One can double if a crash falls exactly between SNS's answer
and the second write, if that answer is lost, or if both tries of the second write are. A publish that failed withdraws
the marker at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import LostRace, ServiceUnavailable
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import exit_report_key, log_key
from chronos_ec2.ports import Notifier, ObjectStore, StoredObject

_PENDING, _SENT = b'{"message": "pending"}', b'{"message": "sent"}'
TRAINER_LOG = "trainer.log"
_TAIL_BYTES, _TAIL_LINES = 4096, 15
_WORDS_BYTES = 500
_PATIENCE = timedelta(minutes=2)
"""Longer than any function of ours runs, so that a pending marker of this age has no owner."""


class Outbox:
    """Publishes each incident's message once."""

    def __init__(self, objects: ObjectStore, notifier: Notifier) -> None:
        self._objects = objects
        self._notifier = notifier

    def send(self, marker_key: str, compose: Callable[[], Message], now: datetime) -> bool:
        """Publish, unless the marker says that it was done; whether the message is known to have been sent.

        `compose` is only called for a message that is about to go out.

        False means that somebody is about to send it, or died while doing so: ask again later.

        Raises:
            ServiceUnavailable, NotAllowed: not published; the next reconcile tries again.
        """
        found = self._objects.read(marker_key)
        if found and found.body == _SENT:
            return True
        if not self._take(marker_key, found, now):
            return False
        try:
            self._notifier.publish(compose())
        except Exception:
            self._objects.remove(marker_key)
            raise
        with suppress(ServiceUnavailable):
            self._objects.write(marker_key, _SENT)
            return True
        # Once more, because who finds it pending publishes again.
        self._objects.write(marker_key, _SENT)
        return True

    def _take(self, key: str, found: StoredObject | None, now: datetime) -> bool:
        try:
            if found is None:
                self._objects.create(key, _PENDING)
            elif now - found.written_at < _PATIENCE:
                return False
            else:
                # The same content keeps the ETag, so this only fails if somebody settled it meanwhile.
                self._objects.replace(key, _PENDING, found.etag)
        except LostRace:
            return False
        return True


def last_lines(objects: ObjectStore, run: Run) -> tuple[str, ...]:
    """The last lines of the trainer's log, as far as it is in the bucket. No log keeps a message from going out."""
    try:
        tail = objects.tail(log_key(run.lane.environment, run.run_id, TRAINER_LOG, run.attempt), _TAIL_BYTES)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a log, its message goes out
        return (f"it could not be read: {error}",)
    if not tail:
        return ("it is not in the bucket",)
    return tuple(tail.decode(errors="replace").splitlines()[-_TAIL_LINES:])


def exit_report(objects: ObjectStore, run: Run) -> str:
    """What the box of the run's attempt said of its end, empty if nothing is to be had; no run is kept for want of it.

    Whoever may write below the run may write it: it is for people to read.
    """
    try:
        found = objects.tail(exit_report_key(run.lane.environment, run.run_id, run.attempt), _WORDS_BYTES)
    except Exception:  # noqa: BLE001 - see above
        return ""
    return (found or b"").decode(errors="replace")
