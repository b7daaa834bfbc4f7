"""One incident, one message, also when an answer is lost."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.s3_keys import log_key
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


@pytest.mark.parametrize("operation", ["objects.keys", "objects.tail"])
def test_whatever_is_wrong_with_a_log_its_message_goes_out(operation: str) -> None:
    faults = Faults()
    aws, run = MemoryAws(faults), a_run()
    aws.objects.write(log_key("dev", run.run_id, "trainer.log", run.attempt), b"step 1\n")
    faults.fail(operation, RuntimeError("KMS.DisabledException"))
    assert last_lines(aws.objects, run) == ("(could not be read: KMS.DisabledException)",)
