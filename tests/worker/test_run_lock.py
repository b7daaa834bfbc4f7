"""The agent's hand on the lock: what it takes, what it may not take, and what it does when S3 misbehaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.errors import Fenced, ServiceUnavailable
from chronos_ec2.domain.records.run import LAUNCHING, Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.worker.errors import EndedByWatchdog
from chronos_ec2.worker.run_lock import CLAIMED, RunLock
from tests.agent.builders import INSTANCE, LANE, NOW, FlakyObjects, World, a_run, an_identity, rewrite, the_run

HUNG = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
DONE = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)
OTHER_RUN = "20260131T130000Z-ffffff"


@pytest.fixture
def world() -> World:
    made = World()
    made.objects = FlakyObjects(made.memory.objects)
    made.store.create_lock(a_run())
    return made


def a_record(world: World, slept: list[float] | None = None, **identity: Any) -> RunLock:
    sleep = (slept if slept is not None else []).append
    return RunLock(world.store, world.clock, LANE, an_identity(**identity), sleep=sleep)


def test_a_claim_takes_the_run_for_this_instance(world: World) -> None:
    a_record(world).claim()
    run = the_run(world)
    assert (run.status, run.current_step, run.instance_id) == (Status.INITIALIZATION, CLAIMED, INSTANCE)
    assert run.claimed
    assert run.seq == 2


def test_a_claim_clears_the_suspicion_that_the_instance_was_missing(world: World) -> None:
    suspect = Suspect(Cause.INFRA, "no instance of the run in EC2's list", NOW)
    rewrite(world, lambda run: replace(run, suspect=suspect))
    assert a_record(world).claim().suspect is None


def test_a_claim_takes_the_run_that_names_this_instance(world: World) -> None:
    rewrite(world, lambda run: replace(run, instance_id=INSTANCE))
    assert a_record(world).claim().instance_id == INSTANCE


def test_a_claim_survives_the_launcher_naming_the_instance_meanwhile(world: World) -> None:
    world.objects.before_replace = lambda: rewrite(world, lambda run: replace(run, instance_id=INSTANCE))
    a_record(world).claim()
    assert the_run(world).current_step == CLAIMED


@pytest.mark.parametrize(
    "taken",
    [
        {"instance_id": "i-0ffffffffffffffff"},
        {"run_id": OTHER_RUN},
        {"current_step": CLAIMED, "instance_id": INSTANCE},
        {"status": Status.TRAINING, "current_step": "training", "instance_id": INSTANCE},
        {"status": Status.FAILED, "verdict": HUNG},
        {"status": Status.CLEANUP, "verdict": DONE},
    ],
)
def test_a_run_that_is_not_ours_to_take_is_not_claimed(taken: dict[str, Any]) -> None:
    world = World()
    world.store.create_lock(a_run(**taken))
    before = the_run(world)
    with pytest.raises(Fenced):
        a_record(world).claim()
    assert the_run(world) == before


def test_a_late_instance_of_an_earlier_attempt_does_not_claim_the_next(world: World) -> None:
    rewrite(world, lambda run: replace(run, attempt=2))
    with pytest.raises(Fenced, match="attempt 2, this is attempt 1"):
        a_record(world, attempt=1).claim()


def test_of_two_agents_one_claims(world: World) -> None:
    second = a_record(world, instance_id="i-0ffffffffffffffff")
    world.objects.before_replace = lambda: a_record(world).claim() and None
    with pytest.raises(Fenced):
        second.claim()
    assert the_run(world).instance_id == INSTANCE


def test_no_lock_no_claim() -> None:
    with pytest.raises(Fenced):
        a_record(World()).claim()


def test_an_unreadable_lock_is_not_overwritten(world: World) -> None:
    world.memory.objects.write(LANE.state_key, b"{not json")
    with pytest.raises(Fenced, match="unreadable"):
        a_record(world).claim()
    assert world.memory.objects.body(LANE.state_key) == b"{not json"


def garbage(world: World) -> bytes:
    """Somebody writes over the lock; what was there is returned, and can be brought back."""
    before = world.memory.objects.body(LANE.state_key)
    world.memory.objects.write(LANE.state_key, b"{not json")
    return before


def test_a_claimed_run_goes_on_beside_an_unreadable_lock_and_records_its_phases_when_it_is_readable_again(
    world: World,
) -> None:
    record = a_record(world)
    record.claim()
    before = garbage(world)
    assert record.advance(Status.DATA_SYNC, "downloading").status is Status.DATA_SYNC
    record.advance(Status.TRAINING, "training")
    record.record_step("step_1")
    assert world.memory.objects.body(LANE.state_key) == b"{not json"
    assert record.run.status is Status.TRAINING

    world.memory.objects.write(LANE.state_key, before)
    record.record_step("step_2")
    run = the_run(world)
    assert (run.status, run.current_step) == (Status.TRAINING, "step_2")
    assert [status for status, _ in run.phases] == ["initialization", "data_sync", "training"]


def test_a_verdict_waits_ten_minutes_for_a_readable_lock_and_overwrites_nothing(world: World) -> None:
    slept: list[float] = []
    record = a_record(world, slept)
    record.claim()
    garbage(world)
    with pytest.raises(ServiceUnavailable, match="unreadable"):
        record.finish(DONE)
    assert timedelta(seconds=sum(slept)) == timedelta(minutes=10)
    assert world.memory.objects.body(LANE.state_key) == b"{not json"


@pytest.mark.parametrize("taken", ["released", "another run"])
def test_a_lock_that_was_unreadable_and_is_gone_or_another_runs_fences(world: World, taken: str) -> None:
    record = a_record(world)
    record.claim()
    garbage(world)
    record.advance(Status.DATA_SYNC, "downloading")
    world.memory.objects.remove(LANE.state_key)
    if taken == "another run":
        world.store.create_lock(a_run(run_id=OTHER_RUN))
    with pytest.raises(Fenced):
        record.advance(Status.TRAINING, "training")


@pytest.mark.parametrize("fault", [{"refused": 3}, {"lost": 1}, {"reads_refused": 3}])
def test_a_claim_is_tried_again_when_s3_does_not_answer(world: World, fault: dict[str, int]) -> None:
    for name, value in fault.items():
        setattr(world.objects, name, value)
    slept: list[float] = []
    a_record(world, slept).claim()
    assert the_run(world).current_step == CLAIMED
    assert slept[0] == 1


def test_a_claim_gives_up_after_ten_minutes(world: World) -> None:
    world.objects.refused = 1000
    slept: list[float] = []
    with pytest.raises(ServiceUnavailable):
        a_record(world, slept).claim()
    assert timedelta(seconds=sum(slept)) == timedelta(minutes=10)


def test_phases_are_recorded_in_order(world: World) -> None:
    record = a_record(world)
    record.claim()
    for status in (Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC):
        record.advance(status, "step")
    record.finish(DONE)
    run = the_run(world)
    assert run.status is Status.CLEANUP
    assert [status for status, _ in run.phases][1:] == ["data_sync", "training", "results_sync", "cleanup"]


def test_what_the_watchdog_wrote_meanwhile_is_kept(world: World) -> None:
    record = a_record(world)
    record.claim()
    stop = Stop(Cause.REQUESTED, "a person", NOW)
    suspect = Suspect(Cause.HUNG, "stalled", NOW)
    world.objects.before_replace = lambda: rewrite(world, lambda run: replace(run, stop=stop, suspect=suspect))
    record.advance(Status.DATA_SYNC, "downloading")
    run = the_run(world)
    assert (run.status, run.stop, run.suspect) == (Status.DATA_SYNC, stop, suspect)


def test_a_lost_answer_does_not_write_a_phase_twice(world: World) -> None:
    record = a_record(world)
    record.claim()
    world.objects.lost = 1
    record.advance(Status.DATA_SYNC, "downloading")
    assert [status for status, _ in the_run(world).phases] == ["initialization", "data_sync"]


def other_attempt(run: Run) -> Run:
    return replace(run, attempt=2, status=Status.INITIALIZATION, current_step=LAUNCHING, instance_id=None)


def test_a_claimed_run_can_be_taken_away(world: World) -> None:
    record = a_record(world)
    record.claim()
    rewrite(world, other_attempt)
    with pytest.raises(Fenced, match="another attempt"):
        record.read()
    with pytest.raises(Fenced, match="another attempt"):
        record.advance(Status.DATA_SYNC, "downloading")


def test_a_verdict_of_the_watchdog_is_not_overruled(world: World) -> None:
    record = a_record(world)
    record.claim()
    rewrite(world, lambda run: run.end(HUNG, NOW))
    with pytest.raises(EndedByWatchdog, match="no progress"):
        record.finish(DONE)
    assert the_run(world).verdict == HUNG


def test_a_released_lock_fences(world: World) -> None:
    record = a_record(world)
    record.claim()
    world.memory.objects.remove(LANE.state_key)
    with pytest.raises(Fenced):
        record.read()


def test_a_lock_that_cannot_be_read_is_no_news(world: World) -> None:
    record = a_record(world)
    record.claim()
    world.objects.reads_refused = 1
    assert record.read() is None
    world.memory.objects.write(LANE.state_key, b"junk")
    assert record.read() is None


def test_a_finer_step_is_tried_once(world: World) -> None:
    record = a_record(world)
    record.claim()
    world.objects.refused = 1
    record.record_step("step_1")
    assert the_run(world).current_step == CLAIMED
    record.record_step("step_2")
    assert the_run(world).current_step == "step_2"
