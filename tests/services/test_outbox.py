"""One incident, one message, also when an answer is lost."""

from __future__ import annotations

from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.messages import Message
from chronos_ec2.services.outbox import Outbox, last_lines
from chronos_ec2.testing import MemoryWorld
from chronos_ec2.testing.builders import a_run, seconds

MESSAGE = Message("subject", "body", {}, {}, {})
MARKER = "dev/incidents/x/orphan"


class Loses:
    """Faults that lose the answers to some of the writes, by their number."""

    def __init__(self, *writes: int) -> None:
        self.lost, self.writes = writes, 0

    def before(self, call: str) -> None:
        pass

    def after(self, call: str) -> None:
        if call == "s3:PutObject":
            self.writes += 1
            if self.writes in self.lost:
                raise ServiceUnavailable(f"{call}: no answer")


def test_a_message_whose_note_got_no_answer_is_noted_again_and_not_sent_again() -> None:
    # The first write takes the marker, the second is the note that the message is out.
    world = MemoryWorld(Loses(2))
    outbox = Outbox(world.objects, world.notifier)
    assert outbox.send(MARKER, lambda: MESSAGE, world.clock.now())
    world.clock.advance(seconds(3600))
    assert outbox.send(MARKER, lambda: MESSAGE, world.clock.now())
    assert world.notifier.messages == [MESSAGE]


def test_a_message_that_was_sent_is_not_composed_again() -> None:
    world = MemoryWorld()
    outbox = Outbox(world.objects, world.notifier)
    outbox.send(MARKER, lambda: MESSAGE, world.clock.now())

    def compose() -> Message:
        raise AssertionError("it is out already")

    assert outbox.send(MARKER, compose, world.clock.now())


def test_whatever_is_wrong_with_a_log_its_message_goes_out() -> None:
    world = MemoryWorld()

    def broken(_key: str, _limit: int) -> bytes:
        raise RuntimeError("KMS.DisabledException")

    world.objects.tail = broken  # type: ignore[method-assign]
    assert last_lines(world.objects, a_run()) == ("it could not be read: KMS.DisabledException",)
