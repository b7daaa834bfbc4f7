"""What people read. Each kind of message is kept as a whole in golden/, and read there before it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.domain.lane import Lane
from chronos_ec2.domain.messages import Kind, Message, compose, kind_of_end
from chronos_ec2.domain.run import Cause, Judge, Outcome, Run, Verdict
from tests.builders import INSTANCE_ID, LANE, RUN_ID, a_run, launching

GOLDEN = Path(__file__).with_name("golden")
WITHOUT_RUN = {Kind.ORPHAN, Kind.LEAK}


def a_message(kind: Kind) -> Message:
    if kind in WITHOUT_RUN:
        return compose(kind, LANE, INSTANCE_ID, "what was seen", None, None)
    return compose(kind, LANE, RUN_ID, "what was seen", a_run(), 0.752)


def spelled(message: Message) -> str:
    attributes = "".join(f"{name}={value}\n" for name, value in message.attributes.items())
    return f"Subject: {message.subject}\n{attributes}\n{message.body}"


@pytest.mark.parametrize("kind", Kind)
def test_a_message_reads_as_its_golden_file(kind: Kind) -> None:
    assert spelled(a_message(kind)) == (GOLDEN / f"message-{kind}.txt").read_text()


def test_there_is_no_golden_message_of_a_kind_that_is_not_sent() -> None:
    assert {path.name for path in GOLDEN.glob("message-*")} == {f"message-{kind}.txt" for kind in Kind}


def test_what_a_message_tells_is_one_line() -> None:
    body = compose(Kind.FAILED, LANE, RUN_ID, "first\nsecond\x1b", a_run(), None).body
    assert "first second\n" in body


def test_a_cost_that_is_not_known_is_said_to_be_unknown() -> None:
    assert "cost      unknown\n" in compose(Kind.FAILED, LANE, RUN_ID, "text", a_run(), None).body


def test_a_cost_of_nothing_is_known() -> None:
    assert "cost      about $0.00 so far\n" in compose(Kind.FAILED, LANE, RUN_ID, "text", a_run(), 0.0).body


def test_a_run_without_instance_says_so() -> None:
    assert "instance  none (g4dn.2xlarge)\n" in compose(Kind.FAILED, LANE, RUN_ID, "text", launching(), None).body


def test_another_lane_is_named() -> None:
    message = compose(Kind.FAILED, Lane("dev", "second"), RUN_ID, "text", a_run(), None)
    assert message.body.startswith(f"run {RUN_ID} (environment dev, lane second): failed\n")
    assert message.attributes["lane"] == "second"


def test_a_subject_has_the_100_characters_that_sns_allows() -> None:
    subject = compose(Kind.ORPHAN, LANE, "x" * 200, "text", None, None).subject
    assert len(subject) == 100


@pytest.mark.parametrize(
    ("outcome", "cause", "kind"),
    [
        (Outcome.SUCCEEDED, Cause.COMPLETED, Kind.COMPLETED),
        (Outcome.KILLED, Cause.REQUESTED, Kind.KILLED),
        (Outcome.KILLED, Cause.HUNG, Kind.KILLED),
        (Outcome.FAILED, Cause.HUNG, Kind.STUCK),
        (Outcome.FAILED, Cause.OVER_BUDGET, Kind.OVER_BUDGET),
        (Outcome.FAILED, Cause.OVER_DEADLINE, Kind.FAILED),
        (Outcome.FAILED, Cause.INFRA, Kind.FAILED),
        (Outcome.FAILED, Cause.USER_CODE, Kind.FAILED),
    ],
)
def test_the_end_of_a_run_is_told_by_its_kind(outcome: Outcome, cause: Cause, kind: Kind) -> None:
    assert kind_of_end(ended(outcome, cause)) is kind


def ended(outcome: Outcome, cause: Cause) -> Run:
    return a_run(verdict=Verdict(outcome, cause, "why", Judge.WATCHDOG))


def test_a_run_without_a_verdict_has_no_end_to_tell() -> None:
    with pytest.raises(ValueError, match=r"^the run has not ended$"):
        kind_of_end(a_run())
