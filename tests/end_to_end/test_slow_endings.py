"""Runs that take minutes to end. This module runs last: other tests run meanwhile."""

from __future__ import annotations

import json

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.records.status import Cause, Outcome
from tests.end_to_end.conftest import CONFIGS, Runs

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]


def test_runs_with_a_dead_or_frozen_agent_are_ended(runs: Runs) -> None:
    for lane, words in (("dead", "without an exit report"), ("frozen", "no heartbeat")):
        verdict = runs.final_record(lane).verdict
        assert verdict is not None
        assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.INFRA)
        assert words in verdict.message


def test_the_next_attempt_resumes_the_run(runs: Runs) -> None:
    run = runs.final_record("resumed")
    assert run.verdict is not None
    assert (run.verdict.outcome, run.attempt, run.crashes_left) == (Outcome.SUCCEEDED, 2, 0)
    found = runs.world.store.objects.read(f"local/{run.run_id}/training.json", 10**6)
    assert found is not None
    assert json.loads(found.body)["resumed_from_step"] >= 5


def test_an_orphan_is_terminated(runs: Runs) -> None:
    wait_for_the_orphan_to_end(runs)


def wait_for_the_orphan_to_end(runs: Runs) -> None:
    runs.wait_for(
        "the orphan to end", lambda: not any(instance.alive for instance in runs.world.fleet.instances("local"))
    )


def test_nothing_is_left_and_every_ending_gave_one_message(runs: Runs) -> None:
    for lane in CONFIGS:
        runs.final_record(lane)
    wait_for_the_orphan_to_end(runs)
    assert json.loads(runs.cli("verify", "--json").stdout) == {"environment": "local", "left": [], "warnings": []}
    received: list[tuple[str, str]] = []

    def endings() -> list[tuple[str, str]]:
        # Other tests use other lanes of the same stack.
        return sorted((lane, kind) for lane, kind in received if kind != "started" and lane in {*CONFIGS, "orphan"})

    def all_received() -> bool:
        received.extend(messages(runs))
        return len(endings()) > len(CONFIGS) + 1

    runs.wait_for("the messages of all endings", all_received)
    assert endings() == [
        ("crash", "failed"), ("dead", "failed"), ("frozen", "failed"), ("hang", "stuck"), ("killed", "killed"),
        ("main", "completed"), ("orphan", "orphan"), ("resumed", "completed"), ("resumed", "resumed"),
    ]  # fmt: skip
    # A run that crashes or hangs at once may be suspect before the watchdog has seen it healthy.
    started = [lane for lane, kind in received if kind == "started" and lane in {*CONFIGS} - {"crash", "hang"}]
    assert sorted(started) == ["dead", "frozen", "killed", "main", "resumed"]


def messages(runs: Runs) -> list[tuple[str, str]]:
    """Receive waiting messages. Returns the (lane, kind) of each."""
    sqs = client("sqs")
    found = sqs.receive_message(QueueUrl=runs.queue, MaxNumberOfMessages=10).get("Messages", [])
    for message in found:
        sqs.delete_message(QueueUrl=runs.queue, ReceiptHandle=message["ReceiptHandle"])
    attributes = [json.loads(message["Body"])["MessageAttributes"] for message in found]
    return [(each["lane"]["Value"], each["kind"]["Value"]) for each in attributes]
