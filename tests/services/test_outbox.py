"""One incident, one message, also when an answer is lost."""

from __future__ import annotations

from datetime import datetime

import pytest

from chronos_ec2.domain.errors import LostRace, ServiceUnavailable
from chronos_ec2.domain.limits import MAX_MESSAGES_PER_HOUR, REPEAT_AFTER
from chronos_ec2.domain.messages import Kind, Message
from chronos_ec2.domain.records.s3_keys import log_key
from chronos_ec2.ports import StoredObject
from chronos_ec2.services.watchdog.outbox import MessageLimit, Outbox, last_lines
from chronos_ec2.testing import Crash, Faults, MemoryAws
from chronos_ec2.testing.builders import a_run, seconds

MESSAGE = Message("subject", "body", {}, {}, {})
MARKER = "dev/incidents/x/orphan"


def test_a_message_whose_note_got_no_answer_is_noted_again_and_not_sent_again() -> None:
    # The first write takes the marker, the second is the note that the message is out.
    faults = Faults()
    faults.lose_answer("s3:PutObject", skip=1, times=1)
    aws = MemoryAws(faults)
    outbox = Outbox(aws.objects, aws.notifier)
    assert outbox.send(MARKER, lambda: MESSAGE, aws.clock.now())
    aws.clock.advance(seconds(3600))
    assert outbox.send(MARKER, lambda: MESSAGE, aws.clock.now())
    assert aws.notifier.messages == [MESSAGE]


def test_a_message_that_was_sent_is_not_composed_again() -> None:
    aws = MemoryAws()
    outbox = Outbox(aws.objects, aws.notifier)
    outbox.send(MARKER, lambda: MESSAGE, aws.clock.now())

    def compose() -> Message:
        raise AssertionError("it is out already")

    assert outbox.send(MARKER, compose, aws.clock.now())


@pytest.mark.parametrize("operation", ["objects.keys", "objects.tail"])
def test_whatever_is_wrong_with_a_log_its_message_goes_out(operation: str) -> None:
    faults = Faults()
    aws, run = MemoryAws(faults), a_run()
    aws.objects.write(log_key("dev", run.run_id, "trainer.log", run.attempt), b"step 1\n")
    faults.fail(operation, RuntimeError("KMS.DisabledException"))
    assert last_lines(aws.objects, run) == ("(could not be read: KMS.DisabledException)",)


@pytest.mark.parametrize("taken", ["objects.replace", "notifier.publish"])
def test_of_two_that_take_over_one_stale_marker_one_publishes(taken: str) -> None:
    """The second has read the stale marker before the first takes it, and takes it after."""
    faults = Faults()
    aws = MemoryAws(faults)
    dead = Outbox(aws.objects, aws.notifier)
    faults.crash_before("notifier.publish")
    with pytest.raises(Crash):
        dead.send(MARKER, lambda: MESSAGE, aws.clock.now())
    aws.clock.advance(seconds(600))
    now, sent = aws.clock.now(), []
    first, second = (Outbox(aws.objects, aws.notifier) for _ in range(2))
    faults.hook("objects.read", lambda _key: sent.append(first.send(MARKER, lambda: MESSAGE, now)), after=True, times=1)
    if taken == "notifier.publish":
        # The first is still publishing when the second tries to take the marker.
        faults.clear()
        found = aws.objects.read(MARKER)
        assert found is not None
        faults.hook("notifier.publish", lambda _kind: sent.append(stale(aws, found, second, now)), times=1)
        assert first.send(MARKER, lambda: MESSAGE, now)
        assert sent == [False]
    else:
        assert not second.send(MARKER, lambda: MESSAGE, now)
        assert sent == [True]
    assert aws.notifier.messages == [MESSAGE]


def stale(aws: MemoryAws, found: StoredObject, outbox: Outbox, now: datetime) -> bool:
    """What `outbox` does if it still sees the stale marker."""
    try:
        aws.objects.replace(MARKER, found.body, found.etag)
    except LostRace:
        return outbox.send(MARKER, lambda: MESSAGE, now)
    raise AssertionError("the stale marker is still there")


def test_two_pending_markers_are_never_alike() -> None:
    seen = set()
    for _ in range(3):
        faults = Faults()
        aws = MemoryAws(faults)
        faults.hook("notifier.publish", lambda _kind, aws=aws: seen.add(aws.objects.body(MARKER)))
        Outbox(aws.objects, aws.notifier).send(MARKER, lambda: MESSAGE, aws.clock.now())
    assert len(seen) == 3


def test_a_publisher_that_fails_late_leaves_the_marker_to_whoever_took_it_over() -> None:
    faults = Faults()
    aws = MemoryAws(faults)
    slow, other = (Outbox(aws.objects, aws.notifier) for _ in range(2))

    def held_up(_kind: str) -> None:
        aws.clock.advance(seconds(600))
        assert other.send(MARKER, lambda: MESSAGE, aws.clock.now())

    faults.hook("notifier.publish", held_up, times=1)
    faults.fail("notifier.publish", times=1)
    with pytest.raises(ServiceUnavailable):
        slow.send(MARKER, lambda: MESSAGE, aws.clock.now())
    aws.clock.advance(seconds(600))
    assert slow.send(MARKER, lambda: MESSAGE, aws.clock.now())
    assert aws.notifier.messages == [MESSAGE]


def test_a_marker_whose_answer_was_lost_and_was_retried_is_its_writers() -> None:
    faults = Faults()
    faults.lose_answer("objects.create", LostRace("412"), times=1)
    aws = MemoryAws(faults)
    assert Outbox(aws.objects, aws.notifier).send(MARKER, lambda: MESSAGE, aws.clock.now())
    assert aws.notifier.messages == [MESSAGE]


def test_a_recurring_incident_is_published_again_when_it_has_changed_and_an_hour_is_over() -> None:
    aws = MemoryAws()
    outbox = Outbox(aws.objects, aws.notifier)

    def published(about: str) -> int:
        assert outbox.send(MARKER, lambda: MESSAGE, aws.clock.now(), about=about)
        return len(aws.notifier.messages)

    assert (published("a"), published("a"), published("b")) == (1, 1, 1)
    aws.clock.advance(REPEAT_AFTER - seconds(1))
    assert published("b") == 1
    aws.clock.advance(seconds(1))
    assert (published("a"), published("b"), published("b"), published("a")) == (1, 2, 2, 2)


def test_of_two_that_repeat_a_recurring_incident_one_publishes() -> None:
    """Both have read the old marker; a settled marker that is always the same would let both of them replace it."""
    faults = Faults()
    aws = MemoryAws(faults)
    first, second = (Outbox(aws.objects, aws.notifier) for _ in range(2))
    first.send(MARKER, lambda: MESSAGE, aws.clock.now(), about="a")
    aws.clock.advance(REPEAT_AFTER)
    now = aws.clock.now()
    faults.hook("objects.read", lambda _key: first.send(MARKER, lambda: MESSAGE, now, about="b"), after=True, times=1)
    second.send(MARKER, lambda: MESSAGE, now, about="b")
    assert aws.notifier.messages == [MESSAGE, MESSAGE]


def test_an_overdue_message_waits_for_no_marker() -> None:
    aws = MemoryAws()
    outbox = Outbox(aws.objects, aws.notifier)
    aws.objects.write(MARKER, b'{"message": "pending"}')
    assert not outbox.send(MARKER, lambda: MESSAGE, aws.clock.now())
    assert outbox.send(MARKER, lambda: MESSAGE, aws.clock.now(), overdue=True)
    assert outbox.send(MARKER, lambda: MESSAGE, aws.clock.now(), overdue=True)
    assert aws.notifier.messages == [MESSAGE]


def test_the_limit_admits_so_many_messages_an_hour_and_a_retry_of_each() -> None:
    aws = MemoryAws()
    limit = MessageLimit("dev", aws.objects)
    keys = [f"dev/incidents/unreadable-{number}/stuck" for number in range(MAX_MESSAGES_PER_HOUR + 2)]
    for key in keys[:MAX_MESSAGES_PER_HOUR]:
        assert limit.admits(Kind.STUCK, key, aws.clock.now())
    # Another process finds the same.
    for found in (MessageLimit("dev", aws.objects), limit):
        assert found.admits(Kind.STUCK, keys[0], aws.clock.now())
        assert not found.admits(Kind.STUCK, keys[-1], aws.clock.now())
    assert limit.withheld == {Kind.STUCK: 1}
    aws.clock.advance(seconds(3600))
    assert limit.admits(Kind.STUCK, keys[-1], aws.clock.now())


def test_a_reached_limit_costs_no_more_calls() -> None:
    faults = Faults()
    aws = MemoryAws(faults)
    limit = MessageLimit("dev", aws.objects)
    for number in range(MAX_MESSAGES_PER_HOUR + 1):
        limit.admits(Kind.STARTED, f"dev/notified/{number}/started-1", aws.clock.now())
    before = len(faults.calls)
    assert not limit.admits(Kind.STARTED, "dev/notified/x/started-1", aws.clock.now())
    assert len(faults.calls) == before
