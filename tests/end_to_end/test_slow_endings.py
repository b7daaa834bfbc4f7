"""How the runs end whose end takes minutes. This runs last: until then there is other work to do."""

from __future__ import annotations

import json

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.records.status import Cause, Outcome
from tests.end_to_end.conftest import RUNS, Lab

pytestmark = pytest.mark.embedded_aws


def test_the_dead_and_the_frozen_are_ended(lab: Lab) -> None:
    for lane, words in (("dead", "without an exit report"), ("frozen", "no heartbeat")):
        verdict = lab.end_of(lane).verdict
        assert verdict is not None
        assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.INFRA)
        assert words in verdict.message


def test_the_next_attempt_ends_what_the_first_began(lab: Lab) -> None:
    run = lab.end_of("resumed")
    assert run.verdict is not None
    assert (run.verdict.outcome, run.attempt, run.crashes_left) == (Outcome.SUCCEEDED, 2, 0)
    found = lab.world.store.objects.read(f"local/{run.run_id}/training.json", 10**6)
    assert found is not None
    assert json.loads(found.body)["resumed_from_step"] >= 5


def test_an_instance_without_a_record_is_ended(lab: Lab) -> None:
    wait_for_the_orphan_to_end(lab)


def wait_for_the_orphan_to_end(lab: Lab) -> None:
    lab.wait_for("the orphan to end", lambda: not any(box.alive for box in lab.world.fleet.instances("local")))


def test_nothing_is_left_and_every_end_was_told_once(lab: Lab) -> None:
    for lane in RUNS:
        lab.end_of(lane)
    wait_for_the_orphan_to_end(lab)
    assert json.loads(lab.cli("verify", "--json").stdout) == {"environment": "local", "left": [], "warnings": []}
    told: list[tuple[str, str]] = []

    def ends() -> list[tuple[str, str]]:
        return sorted((lane, kind) for lane, kind in told if kind != "started")

    lab.wait_for("the messages of all ends", lambda: told.extend(messages(lab)) or len(ends()) > len(RUNS) + 1)
    assert ends() == [
        ("crash", "failed"), ("dead", "failed"), ("frozen", "failed"), ("hang", "stuck"), ("killed", "killed"),
        ("main", "completed"), ("orphan", "orphan"), ("resumed", "completed"), ("resumed", "resumed"),
    ]  # fmt: skip
    # A run that crashes or hangs in its first seconds may be suspect before the watchdog has seen it well.
    started = [lane for lane, kind in told if kind == "started" and lane not in ("crash", "hang")]
    assert sorted(started) == ["dead", "frozen", "killed", "main", "resumed"]


def messages(lab: Lab) -> list[tuple[str, str]]:
    """(lane, kind) of the messages that have arrived since."""
    sqs = client("sqs")
    found = sqs.receive_message(QueueUrl=lab.queue, MaxNumberOfMessages=10).get("Messages", [])
    for message in found:
        sqs.delete_message(QueueUrl=lab.queue, ReceiptHandle=message["ReceiptHandle"])
    attributes = [json.loads(message["Body"])["MessageAttributes"] for message in found]
    return [(told["lane"]["Value"], told["kind"]["Value"]) for told in attributes]
