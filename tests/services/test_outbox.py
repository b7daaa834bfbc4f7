"""One incident, one message, also when an answer is lost."""

from __future__ import annotations

from chronos_ec2.domain.messages import Message
from chronos_ec2.services.outbox import Outbox, last_lines
from chronos_ec2.testing import Faults, MemoryAws
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


def test_whatever_is_wrong_with_a_log_its_message_goes_out() -> None:
    faults = Faults()
    faults.fail("objects.tail", RuntimeError("KMS.DisabledException"))
    assert last_lines(MemoryAws(faults).objects, a_run()) == ("(could not be read: KMS.DisabledException)",)
