"""One incident, one message: a marker in the bucket is written before each publish and settled after it.

The marker is `pending` during the publish, with a nonce: content that recurs would have an ETag that recurs, and two
processes that take over one stale marker would both succeed. If a crash leaves it pending, the next reconcile after
`_STALE_AFTER` publishes again, so no message is lost. A message is sent twice only if SNS's answer or both attempts to
settle the marker are lost. A failed publish removes the marker.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from threading import Lock

from chronos_ec2.domain.errors import InvalidDocument, LostRace, ServiceUnavailable
from chronos_ec2.domain.limits import MAX_MESSAGES_PER_HOUR, REPEAT_AFTER
from chronos_ec2.domain.messages import Kind, Message
from chronos_ec2.domain.parsing.codec import dump_json, load_json
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import exit_report_key, log_key, log_parts, sent_in_hour_prefix
from chronos_ec2.ports import Notifier, ObjectStore, StoredObject

TRAINER_LOG = "trainer.log"
_TAIL_BYTES, _TAIL_LINES = 4096, 15
_REPORT_BYTES = 500
_MAX_PARTS = 1000
"""Parts of a log that are listed, in one call. An agent writes at most a quarter of them."""
_STALE_AFTER = timedelta(minutes=2)
"""Longer than any of our functions runs: a pending marker this old has no owner."""


class MessageLimit:
    """The limit of messages an environment and hour, for the kinds that may wait.

    A message that counts leaves a mark below the prefix of its hour, named after its marker: a retry counts once.
    """

    def __init__(self, environment: str, objects: ObjectStore) -> None:
        self._environment = environment
        self._objects = objects
        self._reached_in = ""
        self._lock = Lock()
        self.withheld: Counter[Kind] = Counter()
        """How many messages of each kind were withheld so far."""

    def admits(self, kind: Kind, marker_key: str, now: datetime) -> bool:
        """Whether the message may be sent in this hour; if not, it is counted as withheld.

        Raises:
            ServiceUnavailable, NotAllowed: unknown.
        """
        prefix = sent_in_hour_prefix(self._environment, now)
        with self._lock:
            if self._reached_in != prefix:
                sent = {key for key, _ in self._objects.keys(prefix)}
                mark = prefix + marker_key.removeprefix(f"{self._environment}/").replace("/", "-")
                if mark in sent:
                    return True
                if len(sent) < MAX_MESSAGES_PER_HOUR:
                    self._objects.write(mark, b"{}")
                    return True
                self._reached_in = prefix
        return not self.withholds(kind, now)

    def withholds(self, kind: Kind, now: datetime) -> bool:
        """Whether the limit of this hour is known to be reached; if so, the message is counted as withheld."""
        with self._lock:
            if reached := self._reached_in == sent_in_hour_prefix(self._environment, now):
                self.withheld[kind] += 1
            return reached


class Outbox:
    """Publishes the message of each incident once."""

    def __init__(
        self, objects: ObjectStore, notifier: Notifier, new_nonce: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        self._objects = objects
        self._notifier = notifier
        self._new_nonce = new_nonce

    def send(
        self,
        marker_key: str,
        compose: Callable[[], Message],
        now: datetime,
        *,
        about: str = "",
        admitted: Callable[[], bool] = lambda: True,
        overdue: bool = False,
    ) -> bool:
        """Publish unless the marker says that it was done, and return whether nothing has to wait for it any more.

        `compose` is called only if the message is about to be published. False means that another process is publishing
        it, or crashed while doing so: try again later. `about` is what a recurring incident is about now; if that has
        changed, it is published again, at most once in `REPEAT_AFTER`. A message that is not `admitted` now stays
        unsent. An `overdue` one is published even if another process seems to be doing it.

        Raises:
            ServiceUnavailable, NotAllowed: not published; the next reconcile tries again.
        """
        found = self._objects.read(marker_key)
        if (found and _settled(found, about, now)) or not admitted():
            return True
        settled = dump_json({"message": "sent", "about": about, "nonce": self._new_nonce()})
        if overdue:
            self._notifier.publish(compose())
            self._objects.write(marker_key, settled)
            return True
        taken = self._take(marker_key, found, about, now)
        if taken is None:
            return False
        try:
            self._notifier.publish(compose())
        except Exception:
            with suppress(LostRace):  # this took so long that another process has taken it over
                self._objects.remove(marker_key, taken)
            raise
        with suppress(ServiceUnavailable):
            self._objects.write(marker_key, settled)
            return True
        # Once more: a marker that stays pending causes a second message.
        self._objects.write(marker_key, settled)
        return True

    def _take(self, key: str, found: StoredObject | None, about: str, now: datetime) -> str | None:
        """The ETag of the marker that is now ours; None if it is another's."""
        if found is not None and _state(found)[0] != "sent" and now - found.written_at < _STALE_AFTER:
            return None
        pending = dump_json({"message": "pending", "about": about, "nonce": self._new_nonce()})
        try:
            if found is None:
                return self._objects.create(key, pending)
            return self._objects.replace(key, pending, found.etag)
        except LostRace:
            # A retry after a lost answer finds its own write.
            current = self._objects.read(key)
            return current.etag if current is not None and current.body == pending else None


def _settled(marker: StoredObject, about: str, now: datetime) -> bool:
    """Whether the message was sent, or one about the same recurring incident so recently that it has to wait."""
    message, last = _state(marker)
    return message == "sent" and (last == about or now - marker.written_at < REPEAT_AFTER)


def _state(marker: StoredObject) -> tuple[object, object]:
    """What a marker says: `pending` or `sent`, and what about."""
    try:
        document = load_json(marker.body, "marker")
    except InvalidDocument:
        return None, None
    return document.get("message"), document.get("about", "")


def last_lines(objects: ObjectStore, run: Run) -> tuple[str, ...]:
    """The last lines of the trainer's log that are in the bucket. Never raises: the message goes out without them."""
    try:
        log = log_key(run.lane.environment, run.run_id, TRAINER_LOG, run.attempt)
        # A part may have just begun, so the one before it counts too.
        parts = log_parts((key for key, _ in islice(objects.keys(log), _MAX_PARTS)), log)[-2:]
        tail = b"".join(objects.tail(key, _TAIL_BYTES) or b"" for key in parts)
    except Exception as error:  # noqa: BLE001 - see the docstring
        return (f"(could not be read: {error})",)
    if not tail:
        return ("(not in the bucket)",)
    return tuple(tail.decode(errors="replace").splitlines()[-_TAIL_LINES:])


def exit_report(objects: ObjectStore, run: Run) -> str:
    """What the instance of the current attempt reported about its end, empty if it cannot be read. Never raises.

    Anyone who may write below the run's prefix can write it, so it is only shown to people.
    """
    try:
        found = objects.tail(exit_report_key(run.lane.environment, run.run_id, run.attempt), _REPORT_BYTES)
    except Exception:  # noqa: BLE001 - see the docstring
        return ""
    return (found or b"").decode(errors="replace")
