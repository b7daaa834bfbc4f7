"""The agent's side of the lock: what it may claim, and what it does when S3 fails."""

from __future__ import annotations

from collections.abc import Callable
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


def a_lock(world: World, slept: list[float] | None = None, **identity: Any) -> RunLock:
    sleep = (slept if slept is not None else []).append
    return RunLock(world.store, world.clock, LANE, an_identity(**identity), sleep=sleep)


def test_a_claim_takes_the_run_for_this_instance(world: World) -> None:
    a_lock(world).claim()
    run = the_run(world)
    assert (run.status, run.current_step, run.instance_id) == (Status.INITIALIZATION, CLAIMED, INSTANCE)
    assert run.claimed
    assert run.seq == 2


def test_a_claim_clears_the_suspicion_that_the_instance_is_missing(world: World) -> None:
    suspect = Suspect(Cause.INFRA, "no instance of the run in EC2's list", NOW)
    rewrite(world, lambda run: replace(run, suspect=suspect))
    assert a_lock(world).claim().suspect is None


def test_a_run_that_names_this_instance_is_claimed(world: World) -> None:
    rewrite(world, lambda run: replace(run, instance_id=INSTANCE))
    assert a_lock(world).claim().instance_id == INSTANCE


def test_a_claim_survives_the_launcher_naming_the_instance_meanwhile(world: World) -> None:
    world.objects.before_replace = lambda: rewrite(world, lambda run: replace(run, instance_id=INSTANCE))
    a_lock(world).claim()
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
        a_lock(world).claim()
    assert the_run(world) == before


def test_a_late_instance_of_an_earlier_attempt_does_not_claim_the_next(world: World) -> None:
    rewrite(world, lambda run: replace(run, attempt=2))
    with pytest.raises(Fenced, match="attempt 2, this is attempt 1"):
        a_lock(world, attempt=1).claim()


def test_of_two_agents_only_one_claims(world: World) -> None:
    second = a_lock(world, instance_id="i-0ffffffffffffffff")
    world.objects.before_replace = lambda: a_lock(world).claim() and None
    with pytest.raises(Fenced):
        second.claim()
    assert the_run(world).instance_id == INSTANCE


def test_without_a_lock_there_is_no_claim() -> None:
    with pytest.raises(Fenced):
        a_lock(World()).claim()


def test_an_unreadable_lock_is_not_overwritten(world: World) -> None:
    world.memory.objects.write(LANE.state_key, b"{not json")
    with pytest.raises(Fenced, match="unreadable"):
        a_lock(world).claim()
    assert world.memory.objects.body(LANE.state_key) == b"{not json"


def garbage(world: World) -> bytes:
    """Overwrite the lock with garbage, and return its content."""
    before = world.memory.objects.body(LANE.state_key)
    world.memory.objects.write(LANE.state_key, b"{not json")
    return before


def test_phases_are_recorded_once_an_unreadable_lock_is_readable_again(
    world: World,
) -> None:
    lock = a_lock(world)
    lock.claim()
    before = garbage(world)
    assert lock.advance(Status.DATA_SYNC, "downloading").status is Status.DATA_SYNC
    lock.advance(Status.TRAINING, "training")
    lock.record_step("step_1")
    assert world.memory.objects.body(LANE.state_key) == b"{not json"
    assert lock.run.status is Status.TRAINING

    world.memory.objects.write(LANE.state_key, before)
    lock.record_step("step_2")
    run = the_run(world)
    assert (run.status, run.current_step) == (Status.TRAINING, "step_2")
    assert [status for status, _ in run.phases] == ["initialization", "data_sync", "training"]


def test_a_verdict_is_retried_for_ten_minutes_and_never_overwrites_an_unreadable_lock(world: World) -> None:
    slept: list[float] = []
    lock = a_lock(world, slept)
    lock.claim()
    garbage(world)
    with pytest.raises(ServiceUnavailable, match="unreadable"):
        lock.finish(DONE)
    assert timedelta(seconds=sum(slept)) == timedelta(minutes=10)
    assert world.memory.objects.body(LANE.state_key) == b"{not json"


@pytest.mark.parametrize("taken", ["released", "another run"])
def test_an_unreadable_lock_that_is_then_released_or_taken_fences(world: World, taken: str) -> None:
    lock = a_lock(world)
    lock.claim()
    garbage(world)
    lock.advance(Status.DATA_SYNC, "downloading")
    world.memory.objects.remove(LANE.state_key)
    if taken == "another run":
        world.store.create_lock(a_run(run_id=OTHER_RUN))
    with pytest.raises(Fenced):
        lock.advance(Status.TRAINING, "training")


@pytest.mark.parametrize("fault", [{"refused": 3}, {"lost": 1}, {"reads_refused": 3}])
def test_a_claim_is_retried_when_s3_does_not_answer(world: World, fault: dict[str, int]) -> None:
    for name, value in fault.items():
        setattr(world.objects, name, value)
    slept: list[float] = []
    a_lock(world, slept).claim()
    assert the_run(world).current_step == CLAIMED
    assert slept[0] == 1


def test_a_claim_gives_up_after_ten_minutes(world: World) -> None:
    world.objects.refused = 1000
    slept: list[float] = []
    with pytest.raises(ServiceUnavailable):
        a_lock(world, slept).claim()
    assert timedelta(seconds=sum(slept)) == timedelta(minutes=10)


def test_phases_are_recorded_in_order(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    for status in (Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC):
        lock.advance(status, "step")
    lock.finish(DONE)
    run = the_run(world)
    assert run.status is Status.CLEANUP
    assert [status for status, _ in run.phases][1:] == ["data_sync", "training", "results_sync", "cleanup"]


def test_concurrent_writes_of_the_watchdog_are_kept(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    stop = Stop(Cause.REQUESTED, "a person", NOW)
    suspect = Suspect(Cause.HUNG, "stalled", NOW)
    world.objects.before_replace = lambda: rewrite(world, lambda run: replace(run, stop=stop, suspect=suspect))
    lock.advance(Status.DATA_SYNC, "downloading")
    run = the_run(world)
    assert (run.status, run.stop, run.suspect) == (Status.DATA_SYNC, stop, suspect)


def test_a_lost_response_does_not_record_a_phase_twice(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    world.objects.lost = 1
    lock.advance(Status.DATA_SYNC, "downloading")
    assert [status for status, _ in the_run(world).phases] == ["initialization", "data_sync"]


def test_of_two_threads_writes_the_newer_is_remembered_in_whatever_order_they_return() -> None:
    class Overtaken(FlakyObjects):
        """Lets another thread write before the response to a write arrives."""

        def replace(self, key: str, body: bytes, etag: str) -> str:
            written = super().replace(key, body, etag)
            if meanwhile:
                meanwhile.pop()()
            return written

    meanwhile: list[Callable[[], None]] = []
    world = World()
    world.objects = Overtaken(world.memory.objects)
    world.store.create_lock(a_run())
    lock = a_lock(world)
    lock.claim()
    lock.advance(Status.DATA_SYNC, "downloading")
    meanwhile.append(lambda: lock.record_step("second"))
    lock.record_step("first")
    assert the_run(world).current_step == "second"
    assert (lock.run.current_step, lock.run.seq) == ("second", the_run(world).seq)


def test_a_step_that_is_late_for_its_phase_is_dropped(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    world.objects.before_replace = lambda: lock.advance(Status.DATA_SYNC, "downloading")
    lock.record_step("late")
    run = the_run(world)
    assert (run.status, run.current_step) == (Status.DATA_SYNC, "downloading")


def test_work_does_not_wait_for_an_unreadable_lock(world: World) -> None:
    slept: list[float] = []
    lock = a_lock(world, slept)
    lock.claim()
    world.memory.objects.write(LANE.state_key, b"junk")
    assert lock.advance(Status.DATA_SYNC, "downloading").status is Status.DATA_SYNC
    assert slept == []


def other_attempt(run: Run) -> Run:
    return replace(run, attempt=2, status=Status.INITIALIZATION, current_step=LAUNCHING, instance_id=None)


def test_another_attempt_fences(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    rewrite(world, other_attempt)
    with pytest.raises(Fenced, match="another attempt"):
        lock.read()
    with pytest.raises(Fenced, match="another attempt"):
        lock.advance(Status.DATA_SYNC, "downloading")


def test_a_verdict_of_the_watchdog_is_not_overruled(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    rewrite(world, lambda run: run.end(HUNG, NOW))
    with pytest.raises(EndedByWatchdog, match="no progress"):
        lock.finish(DONE)
    assert the_run(world).verdict == HUNG


def test_a_released_lock_fences(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    world.memory.objects.remove(LANE.state_key)
    with pytest.raises(Fenced):
        lock.read()


def test_a_lock_that_cannot_be_read_returns_none(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    world.objects.reads_refused = 1
    assert lock.read() is None
    world.memory.objects.write(LANE.state_key, b"junk")
    assert lock.read() is None


def test_a_step_is_written_without_retries(world: World) -> None:
    lock = a_lock(world)
    lock.claim()
    world.objects.refused = 1
    lock.record_step("step_1")
    assert the_run(world).current_step == CLAIMED
    lock.record_step("step_2")
    assert the_run(world).current_step == "step_2"
