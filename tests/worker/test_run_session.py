"""The agent's side of a run: what it may claim, what it reports, and what it does when S3 fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.errors import Fenced, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import Found
from chronos_ec2.domain.parsing.times import parse_time
from chronos_ec2.domain.records.reports import Claim, CleanedUp, CleanupReport, OutcomeReport
from chronos_ec2.domain.records.run import CLAIMED, Run
from chronos_ec2.domain.records.s3_keys import claim_key, outcome_key, status_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.testing import MemoryObjects
from chronos_ec2.worker.errors import EndedByWatchdog
from chronos_ec2.worker.run_session import RunSession
from tests.agent.builders import INSTANCE, LANE, NOW, RUN_ID, FlakyObjects, World, a_run, an_identity, rewrite, the_run

HUNG = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
DONE = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)
OTHER_RUN, OTHER_INSTANCE = "20260131T130000Z-ffffff", "i-0ffffffffffffffff"
CLAIM, STATUS, OUTCOME = claim_key("dev", RUN_ID, 1), status_key("dev", RUN_ID), outcome_key("dev", RUN_ID, 1)


@pytest.fixture
def world() -> World:
    made = World()
    made.objects = FlakyObjects(made.memory.objects)
    made.store.create_lock(a_run(crashes_left=1))
    return made


def a_session(world: World, slept: list[float] | None = None, **identity: Any) -> RunSession:
    sleep = (slept if slept is not None else []).append
    return RunSession(world.store, world.clock, LANE, an_identity(**identity), sleep=sleep)


def claimed(world: World, slept: list[float] | None = None) -> RunSession:
    session = a_session(world, slept)
    session.claim()
    return session


def holds(world: World, key: str) -> bool:
    return world.memory.objects.read(key) is not None


# --- the claim


def test_a_claim_takes_the_attempt_for_this_instance_and_writes_no_lock(world: World) -> None:
    before = world.memory.objects.body(LANE.state_key)
    a_session(world).claim()
    run = the_run(world)
    assert (run.status, run.current_step, run.instance_id) == (Status.INITIALIZATION, CLAIMED, INSTANCE)
    assert run.claimed
    assert world.memory.objects.body(LANE.state_key) == before


def test_a_run_that_names_this_instance_is_claimed(world: World) -> None:
    rewrite(world, lambda run: replace(run, instance_id=INSTANCE))
    assert a_session(world).claim().instance_id == INSTANCE


def test_the_instance_knows_its_own_type(world: World) -> None:
    assert a_session(world, instance_type="g5.xlarge").claim().instance_type == "g5.xlarge"


@pytest.mark.parametrize(
    "taken",
    [
        {"instance_id": OTHER_INSTANCE},
        {"run_id": OTHER_RUN},
        {"status": Status.FAILED, "verdict": HUNG},
        {"status": Status.CLEANUP, "verdict": DONE},
        {"attempt": 2},
    ],
)
def test_a_run_that_is_not_ours_to_take_is_not_claimed(taken: dict[str, Any]) -> None:
    world = World()
    world.store.create_lock(a_run(**taken))
    with pytest.raises(Fenced):
        a_session(world).claim()
    assert not holds(world, CLAIM)


def test_a_late_instance_of_an_earlier_attempt_claims_neither_its_own_nor_the_next(world: World) -> None:
    rewrite(world, lambda run: run.end(replace(HUNG, cause=Cause.INFRA), NOW))
    rewrite(world, lambda run: run.next_attempt(Cause.INFRA, 0.0, NOW))
    with pytest.raises(Fenced, match="attempt 2, this is attempt 1"):
        a_session(world).claim()
    assert not holds(world, claim_key("dev", RUN_ID, 2))


def test_an_instance_that_read_the_lock_before_its_attempt_was_given_up_finds_it_void(world: World) -> None:
    world.objects.before_create = lambda: world.store.void(a_run())
    with pytest.raises(Fenced, match="void"):
        a_session(world).claim()


def test_of_two_instances_of_an_attempt_only_one_claims(world: World) -> None:
    world.objects.before_create = lambda: a_session(world).claim() and None
    with pytest.raises(Fenced, match="claimed by another instance"):
        a_session(world, instance_id=OTHER_INSTANCE).claim()
    assert the_run(world).instance_id == INSTANCE


def test_a_rebooted_instance_does_not_take_its_own_claim_for_a_new_one(world: World) -> None:
    a_session(world).claim()
    with pytest.raises(Fenced):
        a_session(world).claim()


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff", b"{}", Claim.of_nobody(RUN_ID, 2).to_json()])
def test_an_unreadable_claim_is_somebody_elses(world: World, garbage: bytes) -> None:
    world.memory.objects.write(CLAIM, garbage)
    with pytest.raises(Fenced):
        a_session(world).claim()


def test_without_a_lock_there_is_no_claim() -> None:
    world = World()
    with pytest.raises(Fenced):
        a_session(world).claim()
    assert not holds(world, CLAIM)


def test_beside_an_unreadable_lock_there_is_no_claim(world: World) -> None:
    world.memory.objects.write(LANE.state_key, b"{not json")
    with pytest.raises(Fenced, match="unreadable"):
        a_session(world).claim()
    assert not holds(world, CLAIM)


@pytest.mark.parametrize("fault", [{"refused": 3}, {"lost": 1}, {"reads_refused": 3}])
def test_a_claim_is_retried_when_s3_does_not_answer(world: World, fault: dict[str, int]) -> None:
    for name, value in fault.items():
        setattr(world.objects, name, value)
    slept: list[float] = []
    a_session(world, slept).claim()
    assert the_run(world).claimed
    assert slept[0] == 1


def test_a_claim_gives_up_after_ten_minutes(world: World) -> None:
    world.objects.refused = 1000
    slept: list[float] = []
    with pytest.raises(ServiceUnavailable):
        a_session(world, slept).claim()
    assert timedelta(seconds=sum(slept)) == timedelta(minutes=10)


# --- phases and steps


def test_phases_are_reported_in_order_with_their_times(world: World) -> None:
    session = claimed(world)
    for status in (Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC):
        world.memory.clock.advance(timedelta(seconds=10))
        session.advance(status, "step")
    session.finish(DONE)
    run = the_run(world)
    assert run.status is Status.CLEANUP
    assert [status for status, _ in run.phases][1:] == ["data_sync", "training", "results_sync", "cleanup"]
    began = [parse_time(phase["at"]) for phase in world.document("status.json")["phases"]]
    assert began == [NOW + timedelta(seconds=10 * number) for number in range(4)]


def test_the_status_of_a_later_attempt_begins_anew(world: World) -> None:
    rewrite(world, lambda run: run.end(replace(HUNG, cause=Cause.INFRA), NOW))
    rewrite(world, lambda run: replace(run.next_attempt(Cause.INFRA, 0.0, NOW), launching=a_run().launching))
    session = a_session(world, attempt=2)
    session.claim()
    session.advance(Status.DATA_SYNC, "downloading")
    assert [phase["status"] for phase in world.document("status.json")["phases"]] == ["initialization", "data_sync"]
    assert the_run(world).status is Status.DATA_SYNC


def test_a_phase_that_s3_does_not_take_is_reported_with_the_next_step(world: World) -> None:
    slept: list[float] = []
    session = claimed(world, slept)
    world.objects.refused = 2
    session.advance(Status.DATA_SYNC, "downloading")
    assert session.advance(Status.TRAINING, "training").status is Status.TRAINING
    assert not holds(world, STATUS)
    session.record_step("step_2")
    run = the_run(world)
    assert (run.status, run.current_step) == (Status.TRAINING, "step_2")
    assert [status for status, _ in run.phases] == ["initialization", "data_sync", "training"]
    assert slept == []


def test_a_phase_that_s3_did_not_take_is_reported_before_the_outcome(world: World) -> None:
    session = claimed(world)
    world.objects.refused = 1
    session.advance(Status.DATA_SYNC, "downloading")
    session.finish(DONE)
    assert [status for status, _ in the_run(world).phases] == ["initialization", "data_sync", "cleanup"]


def test_a_report_that_is_not_allowed_costs_no_run(world: World) -> None:
    class Refusing(FlakyObjects):
        def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
            del key, body, content_type
            raise NotAllowed("not allowed")

    world.objects = Refusing(world.memory.objects)
    assert claimed(world).advance(Status.DATA_SYNC, "downloading").status is Status.DATA_SYNC


def test_work_goes_on_beside_an_unreadable_lock(world: World) -> None:
    session = claimed(world)
    world.memory.objects.write(LANE.state_key, b"{not json")
    assert session.advance(Status.DATA_SYNC, "downloading").status is Status.DATA_SYNC
    session.finish(DONE)
    assert holds(world, OUTCOME)
    assert world.memory.objects.body(LANE.state_key) == b"{not json"


class Overtaken(FlakyObjects):
    """Lets another thread report while the first write of a status is on its way, and arrive before it."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__(objects)
        self.meanwhile: list[Any] = []

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        if key == STATUS and self.meanwhile:
            self.meanwhile.pop()()
        super().write(key, body, content_type)


def test_a_report_that_arrives_late_is_followed_by_what_is_true_now(world: World) -> None:
    world.objects = late = Overtaken(world.memory.objects)
    session = claimed(world)
    late.meanwhile.append(lambda: session.advance(Status.DATA_SYNC, "downloading"))
    session.record_step("late")
    run = the_run(world)
    assert (run.status, run.current_step) == (Status.DATA_SYNC, "downloading")


# --- the end


def test_the_outcome_has_the_verdict_the_cleanup_and_the_hashes_of_the_model(world: World) -> None:
    cleanup = CleanupReport((CleanedUp("folder", "data", "deleted"),), 3, 4096, 2, True)
    models = (("config.json", "a" * 64), ("model.safetensors", "b" * 64))
    claimed(world).finish(DONE, cleanup, models)
    outcome = world.store.read_outcome(a_run())
    assert isinstance(outcome, Found)
    assert (outcome.document.verdict, outcome.document.cleanup, outcome.document.models) == (DONE, cleanup, models)


@pytest.mark.parametrize("fault", [{"refused": 3}, {"lost": 1}])
def test_an_outcome_is_retried_when_s3_does_not_answer_and_recognised_when_its_answer_was_lost(
    world: World, fault: dict[str, int]
) -> None:
    slept: list[float] = []
    session = claimed(world, slept)
    for name, value in fault.items():
        setattr(world.objects, name, value)
    session.finish(DONE)
    assert the_run(world).verdict == DONE
    assert slept[0] == 1


def test_an_outcome_gives_up_after_ten_minutes(world: World) -> None:
    slept: list[float] = []
    session = claimed(world, slept)
    world.objects.refused = 1000
    with pytest.raises(ServiceUnavailable):
        session.finish(DONE)
    assert timedelta(seconds=sum(slept)) == timedelta(minutes=10)


def test_a_verdict_of_the_watchdog_in_the_lock_is_not_overruled(world: World) -> None:
    session = claimed(world)
    rewrite(world, lambda run: run.end(HUNG, NOW))
    with pytest.raises(EndedByWatchdog, match="no progress"):
        session.finish(DONE)
    assert the_run(world).verdict == HUNG


def test_an_outcome_of_the_watchdog_that_its_lock_does_not_have_yet_is_not_overruled(world: World) -> None:
    session = claimed(world)
    world.store.end("dev", OutcomeReport(RUN_ID, 1, "ff", HUNG))
    with pytest.raises(EndedByWatchdog, match="already has an outcome"):
        session.finish(DONE)
    assert the_run(world).verdict == HUNG


# --- what the lock says


def test_a_stop_in_the_lock_is_read(world: World) -> None:
    session, stop = claimed(world), Stop(Cause.REQUESTED, "a person", NOW)
    rewrite(world, lambda run: replace(run, stop=stop))
    found = session.read()
    assert found is not None
    assert found.stop == stop


def other_attempt(run: Run) -> Run:
    return run.next_attempt(Cause.INFRA, 0.0, NOW)


def test_another_attempt_fences(world: World) -> None:
    session = claimed(world)
    rewrite(world, lambda run: run.end(replace(HUNG, cause=Cause.INFRA), NOW))
    rewrite(world, other_attempt)
    for act in (session.read, lambda: session.advance(Status.DATA_SYNC, "x"), lambda: session.finish(DONE)):
        with pytest.raises(Fenced, match="at attempt 2, this is attempt 1"):
            act()


@pytest.mark.parametrize("taken", ["released", "another run", "another instance"])
def test_a_run_that_is_not_ours_any_more_fences(world: World, taken: str) -> None:
    session = claimed(world)
    world.memory.objects.remove(LANE.state_key)
    if taken == "another run":
        world.store.create_lock(a_run(run_id=OTHER_RUN))
    if taken == "another instance":
        world.store.create_lock(a_run(instance_id=OTHER_INSTANCE))
    with pytest.raises(Fenced):
        session.read()
    with pytest.raises(Fenced):
        session.advance(Status.TRAINING, "training")


def test_a_lock_that_cannot_be_read_returns_none(world: World) -> None:
    session = claimed(world)
    world.objects.reads_refused = 1
    assert session.read() is None
    world.memory.objects.write(LANE.state_key, b"junk")
    assert session.read() is None
