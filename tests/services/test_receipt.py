"""The end of a run: its cleanup receipt, its final record, its message, and last its lock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chronos_ec2.domain.errors import NotAllowed
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import MAX_RECEIPT_DELAY
from chronos_ec2.domain.records.reports import CleanedUp, CleanupReport
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, Outcome, Status
from chronos_ec2.ports import Resource
from chronos_ec2.services.run_queries import find_run
from chronos_ec2.services.watchdog.cleanup_receipt import RECEIPT, EndedRun, write_receipt
from chronos_ec2.testing import Crash, Environment, Faults, MemoryAws
from chronos_ec2.testing.builders import INSTANCE_ID, LIMITS, NOW, RUN_ID, a_run, an_instance, seconds

KEY = run_key("dev", RUN_ID, RECEIPT)
OTHER_RUN = "20200101T000000Z-000000"
FIRST = an_instance(instance_id="i-0000000000000001", state=InstanceState.TERMINATED, attempt=1)
SECOND = an_instance(attempt=2)
NEIGHBOUR = an_instance(instance_id="i-0000000000000002", run_id=OTHER_RUN)


def receipt(aws: MemoryAws, agent: CleanupReport | None = None) -> dict[str, Any]:
    """The receipt of a second attempt, with another run's instance in the list."""
    run = a_run(attempt=2)
    ended = EndedRun(run, (FIRST, SECOND, NEIGHBOUR), agent, NOW)
    write_receipt(aws.objects, aws.fleet, aws.deadlines, ended)
    document: dict[str, Any] = json.loads(aws.objects.body(KEY))
    return document


def states(document: dict[str, Any], kind: str) -> dict[str, str]:
    return {one["id"]: one["state"] for one in document["resources"] if one["kind"] == kind}


def test_it_names_the_instances_of_all_attempts_and_of_no_other_run() -> None:
    document = receipt(MemoryAws())
    assert states(document, "instance") == {FIRST.instance_id: "terminated", INSTANCE_ID: "running"}
    assert (document["run_id"], document["checked_at"]) == (RUN_ID, "2026-01-31T12:00:00.000Z")


def test_it_says_which_schedules_are_left() -> None:
    aws = MemoryAws()
    aws.deadlines.schedule(INSTANCE_ID, NOW)
    assert states(receipt(aws), "schedule") == {FIRST.instance_id: "deleted", INSTANCE_ID: "scheduled"}


def test_without_a_list_of_schedules_their_state_is_unknown() -> None:
    faults = Faults()
    faults.fail("deadlines.scheduled")
    assert states(receipt(MemoryAws(faults)), "schedule") == {FIRST.instance_id: "unknown", INSTANCE_ID: "unknown"}


def test_unused_leftovers_of_the_run_are_deleted_and_nothing_else() -> None:
    aws = MemoryAws()
    aws.fleet.left = {
        Resource("volume", "vol-unused", "available"): RUN_ID,
        Resource("volume", "vol-used", "in-use"): RUN_ID,
        Resource("volume", "vol-of-another", "available"): OTHER_RUN,
    }
    assert states(receipt(aws), "volume") == {"vol-unused": "deleted", "vol-used": "in-use"}
    assert {left.resource_id for left in aws.fleet.left} == {"vol-used", "vol-of-another"}


def test_unfinished_uploads_of_the_run_are_aborted_and_no_others() -> None:
    aws = MemoryAws()
    aws.objects.begin(run_key("dev", RUN_ID, "models/a"))
    other = aws.objects.begin(run_key("dev", OTHER_RUN, "models/a"))
    assert states(receipt(aws), "multipart-upload") == {run_key("dev", RUN_ID, "models/a"): "aborted"}
    assert list(aws.objects.begun) == [other]


@pytest.mark.parametrize("call", ["fleet.leftovers", "fleet.delete", "objects.uploads", "objects.abort"])
def test_what_is_not_allowed_is_recorded_and_ends_nothing(call: str) -> None:
    """Otherwise the lane would stay locked."""
    faults = Faults()
    aws = MemoryAws(faults)
    aws.fleet.left = {Resource("volume", "vol-1", "available"): RUN_ID}
    aws.objects.begin(run_key("dev", RUN_ID, "models/a"))
    faults.fail(call, NotAllowed("not allowed"))
    assert any("not allowed" in one["state"] for one in receipt(aws)["resources"])


def test_it_has_what_the_agent_reported_and_says_when_that_is_nothing() -> None:
    agent = CleanupReport((CleanedUp("folder", "data", "deleted"),), 3, 4096, 2, True)
    assert receipt(MemoryAws(), agent)["agent"] == {
        "instance": [{"kind": "folder", "id": "data", "state": "deleted"}],
        "uploads": {"objects": 3, "bytes": 4096, "checkpoints": 2, "complete": True},
    }
    assert receipt(MemoryAws())["agent"] is None


def test_what_an_instance_wrote_in_its_place_is_overwritten() -> None:
    aws = MemoryAws()
    aws.objects.write(KEY, b'{"agent": {"instance": "nothing is left"}}')
    assert receipt(aws)["agent"] is None


def a_run_that_is_over(env: Environment) -> str:
    """Its agent has written the verdict, and its instance is gone."""
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    return launched.run_id


def test_a_lane_is_free_only_once_everything_about_its_run_is_written(env: Environment) -> None:
    """Without a lock no later sweep would write what is missing."""
    run_id = a_run_that_is_over(env)
    held: dict[str, bool] = {}

    def note(key: str) -> None:
        held[key.rpartition("/")[2]] = env.run is not None

    env.faults.hook("objects.write", note, after=True)
    env.faults.hook("notifier.publish", note, after=True)
    env.watchdog.sweep()
    assert env.run is None
    assert held.keys() >= {"cleanup_status.json", "state.json", "completed"}
    assert all(held.values())
    assert find_run(env.store, "dev", run_id).run.status is Status.CLEANUP


@pytest.mark.parametrize("written", ["cleanup_status.json", "state.json"])
def test_a_watchdog_that_dies_at_the_end_of_a_run_leaves_its_lock_to_the_next(env: Environment, written: str) -> None:
    run_id = a_run_that_is_over(env)
    env.faults.crash_before("objects.write", on=f"*/{written}")
    with pytest.raises(Crash):
        env.watchdog.sweep()
    assert env.lock().run.run_id == run_id
    env.watchdog.sweep()
    assert env.run is None
    assert find_run(env.store, "dev", run_id).run.verdict is not None
    assert env.kinds()[-1] == "completed"


HOSTILE = (
    b'{"agent": NaN}',
    b'{"agent": 1e999}',
    b'{"agent": "\\ud800"}',
    b"[" * 60_000,
    b'{"agent": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    b"\xff\xfe" * 1000,
    b'{"schema_version": 1, "run_id": "\\udfff"}',
)


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_an_instance_has_written_its_run_is_concluded(env: Environment, body: bytes) -> None:
    run_id = a_run_that_is_over(env)
    for name in (RECEIPT, "heartbeat.json", "run.json", "metrics.jsonl", "logs/trainer.log", "logs/exit-report-1.txt"):
        env.objects.write(run_key("dev", run_id, name), body)
    env.objects.begin(run_key("dev", run_id, "models/\x01\x1b[2J\n\ud800"))
    env.watchdog.sweep()
    assert env.run is None
    assert env.kinds()[-1] == "completed"
    assert find_run(env.store, "dev", run_id).run.verdict is not None


def test_of_thousands_of_uploads_so_many_are_aborted_as_there_is_time_for(env: Environment) -> None:
    run_id = a_run_that_is_over(env)
    for number in range(3000):
        env.objects.begin(run_key("dev", run_id, f"models/{number:04}"))
    env.watchdog.sweep()
    assert env.run is None
    assert len([call for call in env.faults.calls if call[0] == "objects.abort"]) == 200
    assert len(env.objects.body(run_key("dev", run_id, RECEIPT))) < 64 * 1024


@pytest.mark.parametrize("call", ["fleet.leftovers", "fleet.delete", "objects.uploads", "objects.abort"])
def test_a_question_that_is_never_answered_holds_the_lane_for_half_an_hour(env: Environment, call: str) -> None:
    run_id = a_run_that_is_over(env)
    env.fleet.left = {Resource("volume", "vol-1", "available"): run_id}
    env.objects.begin(run_key("dev", run_id, "models/a"))
    env.faults.fail(call)
    env.sweeps(MAX_RECEIPT_DELAY - LIMITS.sweep)
    assert env.lock().run.run_id == run_id
    env.sweeps(2 * LIMITS.sweep)
    assert env.run is None
    assert "is refused" in env.objects.body(run_key("dev", run_id, RECEIPT)).decode()
    assert env.kinds() == ["completed"]


def test_a_heartbeat_that_nobody_may_read_holds_the_lane_until_the_deadline_and_no_longer(env: Environment) -> None:
    env.defaults |= {"crashes_left": 1}
    launched = env.launch()
    env.claim(launched)
    deadline = env.lock().run.deadline
    env.faults.fail("objects.read", NotAllowed("it is encrypted with a key of the instance"), on="*/heartbeat.json")
    env.power_off(launched)
    env.sweeps(seconds(3600))
    env.fleet.forget(launched.instance_id)  # as EC2 does
    env.clock.advance(deadline - env.clock.now())
    env.sweeps(5 * LIMITS.sweep)
    assert env.run is None
    assert env.kinds()[-1] == "failed"
