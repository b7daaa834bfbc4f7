"""Histories of the whole system in virtual time: drawn ones, those that once failed, and some that must fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from random import Random

import pytest

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import Action, Decision, Terminate, WriteLock
from chronos_ec2.domain.errors import Fenced, LostRace
from chronos_ec2.domain.events import Ignored, InstanceStateChanged, SpotInterruption, StateWritten, parse_event
from chronos_ec2.domain.facts import Absent, LaneFacts, LockHeld, ReadFailed
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.capacity import SPOT
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.ports import Upload
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.execute import Executor
from chronos_ec2.services.watchdog.reconcile import Decide, Reconciler, Report
from chronos_ec2.testing import MemoryNotifier
from chronos_ec2.testing.builders import LIMITS
from chronos_ec2.testing.clock import ORIGIN
from chronos_ec2.testing.virtual.ec2 import Drought, VirtualDeadlines
from chronos_ec2.worker.run_session import RunSession
from verification.simulation.__main__ import main
from verification.simulation.bucket import SimulatedObjects
from verification.simulation.campaign import scenario_of, shrink, study, whole
from verification.simulation.fault_injection import forged_event
from verification.simulation.parts import Parts
from verification.simulation.runner import run_history
from verification.simulation.scenario import FaultKind, InjectedFault, Layer, Outage, Scenario, crowded, draw

ONCE_FAILED: dict[str, Scenario] = {
    "the lock was released while its message was still pending": Scenario(
        108, training=300, call_errors=0.3, function_crashes=0.02, lost_events=0.0
    ),
    "a launcher that died before RunInstances kept the lane for ever": Scenario(
        1365, lost_events=1.0, faults=(InjectedFault(FaultKind.LAUNCHER_DIES, 0, 7),)
    ),
    "an instance beside a forged instance id was suspected for ever": Scenario(
        825, lost_events=1.0, faults=(InjectedFault(FaultKind.FOREIGN_ID, 400), InjectedFault(FaultKind.PANIC, 420))
    ),
    "a hang beside an unreadable record was never seen": Scenario(
        1965, lost_events=1.0, faults=(InjectedFault(FaultKind.HANG, 300), InjectedFault(FaultKind.GARBAGE, 310))
    ),
    "an instance that would not shut down was forgotten beside an unreadable record": Scenario(
        1964, shutting_down=1e9, faults=(InjectedFault(FaultKind.GARBAGE, 300), InjectedFault(FaultKind.PANIC, 310))
    ),
    "an instance that powered off without an exit report and would not go was waited for for ever": Scenario(
        1977, shutting_down=1e9, faults=(InjectedFault(FaultKind.CRASH, 400),)
    ),
    "a partition ended between the verdict and the second try of the end that follows it": Scenario(
        124604,
        boot=167.16,
        training=217.1,
        call_errors=0.1,
        lost_events=1.0,
        faults=(InjectedFault(FaultKind.SLOW, 422.18, 640.72), InjectedFault(FaultKind.PARTITION, 288.71, 274.96)),
    ),
    "an agent that died just before its claim was held to the lease of one that had claimed": Scenario(
        663679,
        boot=220.39,
        training=65.27,
        call_errors=0.1,
        lost_events=1.0,
        faults=(InjectedFault(FaultKind.PANIC, 230.78),),
    ),
    "the watchdog deleted the schedule of an instance that lost its tags": Scenario(
        179,
        max_runtime=1247.9,
        lost_events=1.0,
        faults=(InjectedFault(FaultKind.PANIC, 272), InjectedFault(FaultKind.UNTAGGED, 245)),
    ),
    "an agent powered its instance off beside a record that it could not read": Scenario(
        49, lost_events=1.0, faults=(InjectedFault(FaultKind.GARBAGE, 155.8),)
    ),
    "an instance that EC2 listed minutes late was missed although it sent heartbeats": Scenario(
        24, boot=49.3, list_lag=267.8, lost_events=1.0
    ),
    "a sweep came between the end of an outage of S3 and the first heartbeat after it": Scenario(
        6, training=2000, lost_events=1.0, outages=(Outage("s3", 300, 400.857),)
    ),
    "a deadline passed while S3 did not answer": Scenario(
        12741,
        training=2115,
        max_runtime=1476.4,
        lost_events=1.0,
        outages=(Outage("s3", 718.6, 2528.8),),
        layers_off=frozenset({Layer.INSTANCE, Layer.DEADLINE}),
        faults=(InjectedFault(FaultKind.DEAF, 0),),
    ),
    "a kill hid that the agent was dead": Scenario(
        2763, lost_events=1.0, faults=(InjectedFault(FaultKind.PANIC, 300), InjectedFault(FaultKind.KILL, 440))
    ),
    "a kill gave an instance that never booted two minutes more": Scenario(
        902280,
        lost_events=1.0,
        layers_off=frozenset({Layer.INSTANCE, Layer.DEADLINE}),
        faults=(InjectedFault(FaultKind.NO_BOOT, 0), InjectedFault(FaultKind.KILL, 899.85)),
    ),
    "a launcher that was held up for long wrote into the record of an instance that was shutting down": Scenario(
        938027,
        shutting_down=1e9,
        pauses=0.01,
        list_lag=36.62,
        lost_events=1.0,
        faults=(InjectedFault(FaultKind.NO_BOOT, 0), InjectedFault(FaultKind.KILL, 237.24)),
    ),
    "a sweep that was held up ended a stopped instance late": Scenario(
        703001,
        boot=129.56,
        call_errors=0.1,
        function_crashes=0.02,
        lost_ticks=0.1,
        pauses=0.1,
        lost_events=1.0,
        faults=(InjectedFault(FaultKind.STOPPED, 191.63),),
    ),
    "somebody overwrote the note of a first look at an agent that was dead": Scenario(
        707733,
        boot=97.98,
        lost_events=1.0,
        faults=(InjectedFault(FaultKind.PANIC, 156.59), InjectedFault(FaultKind.FORGED_SUSPECT, 358.74)),
    ),
    "a trainer failed before S3 had let its agent claim the run": Scenario(
        1, lost_events=1.0, outages=(Outage("s3", 60, 120),), faults=(InjectedFault(FaultKind.USER_CODE, 120),)
    ),
    "a launcher could not record its instance, so its run waited for capacity by its record alone": Scenario(
        31644,
        boot=55.26909361164002,
        training=2215.9706280555693,
        shutting_down=1e9,
        call_errors=0.3,
        lost_events=1.0,
        forged_events=5,
        droughts=(Drought(419.3382951380586, 534.7733707391365, "g4dn.2xlarge"),),
        wait_for_capacity=5626.614645384883,
        option_seconds=37.18844959549688,
        doubled_requests=0.3,
    ),
    "a forged stop, older than the record, was taken for a sign of life": Scenario(
        63751,
        boot=31.63,
        training=338,
        lost_events=1.0,
        outages=(Outage("s3", 102.7, 444.6),),
        faults=(InjectedFault(FaultKind.TERMINATED, 507.6), InjectedFault(FaultKind.FORGED_STOP, 204.9)),
    ),
    "a launcher was held up before it asked for an instance that EC2 listed late": Scenario(
        67695,
        boot=147.00616686548136,
        training=90.42914675293353,
        shutting_down=45.39176021969058,
        list_lag=129.34015652012653,
        pauses=0.1,
        lost_events=1.0,
    ),
    "a run whose record was forged waited for capacity in its next attempt": Scenario(
        85086,
        boot=217.9892626397441,
        training=233.6196297732208,
        shutting_down=42.023502279696395,
        preemptions_left=0,
        checkpoint_after=23.17211108488706,
        lost_events=1.0,
        market="spot",
        droughts=(Drought(385.0812765193027, 1727.158665313851),),
        option_seconds=43.24839858779919,
        faults=(InjectedFault(FaultKind.FOREIGN_ID, 418.1688234322263),),
    ),
    "two sweeps overlapped, the first held up while it counted the messages of the hour": Scenario(
        106529,
        boot=46.907052941057955,
        training=396.6054968217585,
        shutting_down=44.53615073639646,
        preemptions_left=5,
        checkpoint_after=95.75131087164664,
        pauses=0.1,
        lost_events=1.0,
        faults=(
            InjectedFault(FaultKind.FORGED_SUSPECT, 499.79408086569987),
            InjectedFault(FaultKind.LATE_DEADLINE, 624.8797087643879),
            InjectedFault(FaultKind.USER_CODE, 704.416168733362),
        ),
    ),
    "the report of a run's end arrived although its agent never learned of it": Scenario(
        277035,
        boot=121.26197620599308,
        training=212.64555527870428,
        shutting_down=13.49879496370387,
        call_errors=0.3,
        function_crashes=0.02,
        faults=(InjectedFault(FaultKind.FREEZE, 291.9243732485681, 12.07869209976942),),
    ),
    "a run was killed whose instance had lost its tags and obeyed nobody": Scenario(
        342709,
        boot=201.16419620126962,
        training=2304.6482814325636,
        shutting_down=16.350671428592726,
        max_runtime=1366.0540774537687,
        lost_events=1.0,
        faults=(
            InjectedFault(FaultKind.KILL, 800.9574117958026),
            InjectedFault(FaultKind.UNTAGGED, 421.8567807889247),
            InjectedFault(FaultKind.DEAF, 0.0),
        ),
    ),
    "an instance on hold that S3 did not reach powered itself off": Scenario(
        367992,
        boot=122.77651484027616,
        training=2490.6327965161363,
        shutting_down=23.42124844274944,
        lost_events=1.0,
        faults=(
            InjectedFault(FaultKind.PARTITION, 189.09576461031423, 975.3777510548483),
            InjectedFault(FaultKind.HOLD, 392.3803057838643),
        ),
    ),
    "a run was killed while its launcher waited for EC2, which started its instance then": Scenario(
        530744,
        boot=144.16249069245214,
        training=286.0328738544334,
        shutting_down=39.14751447526369,
        call_errors=0.3,
        function_crashes=0.02,
        lost_events=1.0,
        types=2,
        market="spot",
        option_seconds=77.75714120246319,
        doubled_requests=0.3,
        droughts=(Drought(0.0, 340.20114008186096, "g4dn.2xlarge"),),
        faults=(InjectedFault(FaultKind.KILL, 138.2833851857378),),
    ),
    "an agent could not read that it was to stop, and read it at a later heartbeat": Scenario(
        110819,
        boot=86.05466116862523,
        training=297.79548629710024,
        shutting_down=54.40275505643536,
        call_errors=0.1,
        function_crashes=0.02,
        lost_events=1.0,
        faults=(
            InjectedFault(FaultKind.KILL, 183.9213124533282),
            InjectedFault(FaultKind.SECOND_LAUNCH, 429.71844905542076),
        ),
    ),
    "an orphan was suspected long before its lock became unreadable": Scenario(
        446211,
        boot=54.2847855556374,
        training=163.76964937197025,
        shutting_down=53.777262073339756,
        call_errors=0.1,
        lost_events=0.5,
        doubled_events=0.3,
        faults=(
            InjectedFault(FaultKind.NO_RECORD, 143.79666434793526),
            InjectedFault(FaultKind.OVERSIZED, 410.7455362966485),
        ),
    ),
    "launchers of one attempt overlapped, and each started an instance": Scenario(
        1,
        preemptions_left=5,
        checkpoint_after=30,
        lost_events=1.0,
        types=2,
        market=SPOT,
        option_seconds=60,
        droughts=(Drought(350, 400),),
        faults=(InjectedFault(FaultKind.SPOT, 300),),
    ),
    "a kill of a run that was being launched kept its lane": Scenario(
        1, lost_events=1.0, faults=(InjectedFault(FaultKind.LAUNCHER_DIES, 0, 8), InjectedFault(FaultKind.KILL, 100))
    ),
    "a kill of a run that found no capacity kept its lane": Scenario(
        2,
        preemptions_left=1,
        checkpoint_after=30,
        lost_events=1.0,
        droughts=(Drought(350, 3600),),
        faults=(InjectedFault(FaultKind.SPOT, 300), InjectedFault(FaultKind.KILL, 700)),
    ),
    "a drought of an hour ended a preempted run, and charged it a crash": Scenario(
        3,
        preemptions_left=1,
        crashes_left=1,
        checkpoint_after=30,
        lost_events=1.0,
        droughts=(Drought(350, 3600),),
        faults=(InjectedFault(FaultKind.SPOT, 300),),
    ),
    "waiting for an instance was charged as if there was one": Scenario(
        4,
        preemptions_left=2,
        checkpoint_after=30,
        lost_events=1.0,
        option_seconds=20,
        droughts=(Drought(350, 600),),
        faults=(InjectedFault(FaultKind.SPOT, 300), InjectedFault(FaultKind.SPOT, 1300)),
    ),
    "a message that SNS did not take for long said more than the instance had cost": Scenario(
        286, lost_events=1.0, outages=(Outage("sns", 489, 2428, refuses=True),)
    ),
    "an instance that EC2 listed late cost nothing": Scenario(130, boot=101, list_lag=288.2, lost_events=1.0),
    "an instance cut off from S3, which powers itself off at its deadline, cost nothing after its heartbeats": Scenario(
        468285,
        boot=87.23624822336015,
        training=1969.3073785697918,
        shutting_down=57.14695389041204,
        max_runtime=1296.3226024144349,
        call_errors=0.1,
        function_crashes=0.02,
        lost_ticks=0.1,
        pauses=0.1,
        lost_events=0.5,
        faults=(InjectedFault(FaultKind.PARTITION, 867.3746552482687, 495.09488746842715),),
    ),
    "two functions took one stale marker, and both published": crowded(34),
}


@pytest.mark.parametrize("story", ONCE_FAILED)
def test_what_once_failed_holds(story: str) -> None:
    assert run_history(ONCE_FAILED[story], LIMITS).failed == []


@pytest.mark.parametrize(
    ("then", "begins", "limit"),
    [
        (None, 8000.0, 600.0),
        (FaultKind.HANG, 500.0, LIMITS.hung_bound.total_seconds()),
        (FaultKind.PANIC, 500.0, 270.0),
    ],
)
def test_a_run_whose_instance_lost_its_tags_continues_while_it_works_and_no_longer(
    then: FaultKind | None, begins: float, limit: float
) -> None:
    faults = (InjectedFault(FaultKind.UNTAGGED, 400), *([InjectedFault(then, begins)] if then else []))
    log: list[str] = []
    assert run_history(Scenario(77, training=8000, faults=faults), LIMITS, log.append).failed == []
    (concluded,) = [float(line.split()[0]) for line in log if "FinishRun" in line]
    assert begins < concluded <= begins + limit


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [1_000, pytest.param(8_000, marks=pytest.mark.thorough)])
def test_histories_without_a_violation(count: int) -> None:
    result = whole(study(count, 7_000_000, LIMITS))
    assert (result.counts["histories"], result.violations, result.failed) == (count, 0, [])


def test_a_history_is_the_same_each_time() -> None:
    first, second = (run_history(draw(4711), LIMITS) for _ in range(2))
    assert (first.times, first.duplicates) == (second.times, second.duplicates)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.SLOW,
        FaultKind.SKEW,
        FaultKind.SECOND_LAUNCH,
        FaultKind.SECOND_LAUNCHER_DIES,
        FaultKind.FORGED_SUSPECT,
        FaultKind.LATE_DEADLINE,
        FaultKind.CLEANUP,
    ],
)
def test_a_healthy_run_dies_of_nothing_that_is_harmless(kind: FaultKind) -> None:
    plan = Scenario(1, faults=(InjectedFault(kind, 300, 700),))
    log: list[str] = []
    assert run_history(plan, LIMITS, log.append).failed == []
    assert not any("TerminateInstances" in line for line in log)


def blind_to_beats(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    return decide(replace(facts, heartbeat=Absent()), now, limits)


def blind_to_time(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    return decide(facts, min(now, ORIGIN + timedelta(seconds=100)), limits)


def slow_to_believe(times: int) -> Decide:
    def slow(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
        return decide(facts, now, replace(limits, lease=times * limits.lease, progress=times * limits.progress))

    return slow


@pytest.mark.parametrize(("call_errors", "times"), [(0.02, 10), (0.1, 10), (0.3, 60)])
def test_calls_that_fail_do_not_hide_a_watchdog_that_waits_too_long(call_errors: float, times: int) -> None:
    """With three calls of ten nearly every tick is disturbed, and each may take that much longer."""
    plans = [
        Scenario(seed, call_errors=call_errors, lost_events=1.0, faults=(InjectedFault(FaultKind.PANIC, 300),))
        for seed in range(80)
    ]
    assert not any(run_history(plan, LIMITS).failed for plan in plans)
    slow = Parts(decide=slow_to_believe(times))
    died = [found for found in (run_history(plan, LIMITS, parts=slow) for plan in plans) if found.times]
    assert len(died) > 15
    assert sum(bool(found.leaks) for found in died) > len(died) / 2


def ending_all(state: InstanceState, after: float) -> Callable[..., Decision]:
    """A watchdog that from some second on ends whatever is in a state, without a reason."""

    def defective(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
        instances = (
            instance
            for instance in facts.instances
            if instance.state is state and now > ORIGIN + timedelta(seconds=after)
        )
        ends = tuple(Terminate(instance.instance_id, Cause.REQUESTED) for instance in instances)
        return decide(facts, now, limits) + Decision("for no reason", ends)

    return defective


def test_a_kill_of_one_run_excuses_no_other() -> None:
    parts = Parts(decide=ending_all(InstanceState.RUNNING, 230))
    plan = Scenario(1, lanes=2, faults=(InjectedFault(FaultKind.KILL, 200),))
    assert any("healthy" in line for line in run_history(plan, LIMITS, parts=parts).wrong)


def test_an_instance_that_is_still_pending_counts_as_healthy() -> None:
    parts = Parts(decide=ending_all(InstanceState.PENDING, 0))
    assert any(run_history(Scenario(seed), LIMITS, parts=parts).wrong for seed in range(5))


def limited(*, by_money: bool) -> list[Scenario]:
    """Plans in which an instance may reach its limit, and has nobody but the watchdog to end it."""
    plans = map(draw, range(3000))
    return [plan for plan in plans if plan.layers_off and (plan.max_cost is not None) is by_money][:50]


def without(words: str) -> Decide:
    """A watchdog without the rule that gives this reason."""

    def defective(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
        decision = decide(facts, now, limits)
        return Decision("healthy") if words in decision.reason else decision

    return defective


@pytest.mark.parametrize(
    ("rule", "by_money", "seen_as"),
    [
        ("past the deadline", False, "leaks"),
        ("spent, the cap is", True, "over_cap"),
        ("is near", False, "wrong"),
        ("is near", True, "wrong"),
    ],
)
def test_a_watchdog_without_a_rule_about_limits_is_found_out(rule: str, by_money: bool, seen_as: str) -> None:
    parts = Parts(decide=without(rule))
    found = [getattr(run_history(plan, LIMITS, parts=parts), seen_as) for plan in limited(by_money=by_money)]
    assert sum(map(bool, found)) > 2


@pytest.mark.parametrize("kind", [FaultKind.GARBAGE, FaultKind.NEWER_SCHEMA, FaultKind.OVERSIZED])
def test_a_watchdog_that_ends_a_live_agent_beside_an_unreadable_record_is_found_out(kind: FaultKind) -> None:
    parts = Parts(decide=ending_all(InstanceState.RUNNING, 330))
    plan = Scenario(1, training=600, faults=(InjectedFault(kind, 300),))
    assert any("healthy" in line for line in run_history(plan, LIMITS, parts=parts).wrong)


class LeavingWhatItCannotRead(RunSession):
    def advance(self, status: Status, step: str) -> Run:
        if self.read() is None:
            raise Fenced("not a lock of mine")
        return super().advance(status, step)


def test_an_agent_that_leaves_a_record_that_it_cannot_read_is_found_out() -> None:
    plan = Scenario(1, faults=(InjectedFault(FaultKind.GARBAGE, 300),))
    found = run_history(plan, LIMITS, parts=Parts(agent_session=LeavingWhatItCannotRead))
    assert any("could not read" in line for line in found.wrong)


class NeverFiring(VirtualDeadlines):
    def _fire(self, _instance_id: str) -> None:
        pass


def test_an_untagged_instance_that_its_schedule_does_not_end_is_found_out() -> None:
    plan = Scenario(
        1, max_runtime=1500, faults=(InjectedFault(FaultKind.PANIC, 300), InjectedFault(FaultKind.UNTAGGED, 295))
    )
    found = run_history(plan, LIMITS, parts=Parts(deadlines=NeverFiring))
    assert any("lives on" in line for line in found.leaks)


def trusting_the_record(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    decision = decide(facts, now, limits)
    named = facts.lock.run.instance_id if isinstance(facts.lock, LockHeld) else None
    actions = (
        replace(one, instance_id=named) if isinstance(one, Terminate) and named else one for one in decision.actions
    )
    return replace(decision, actions=tuple(actions))


@pytest.mark.parametrize(
    ("defect", "seen_as"), [(blind_to_beats, "wrong"), (blind_to_time, "leaks"), (blind_to_time, "stuck")]
)
def test_a_watchdog_with_a_defect_is_found_out(defect: Decide, seen_as: str) -> None:
    parts = Parts(decide=defect)
    found = [getattr(run_history(draw(seed), LIMITS, parts=parts), seen_as) for seed in range(40)]
    assert any(found)


def test_the_one_place_that_terminates_refuses_an_id_that_came_out_of_a_record() -> None:
    forged = (InjectedFault(FaultKind.FOREIGN_ID, 300), InjectedFault(FaultKind.PANIC, 310))
    assert run_history(Scenario(1, faults=forged), LIMITS, parts=Parts(decide=trusting_the_record)).alien == []


@pytest.mark.parametrize("kind", [FaultKind.PANIC, FaultKind.NO_RECORD])
def test_without_a_sweep_and_without_events_an_instance_that_cannot_end_itself_lives_on(kind: FaultKind) -> None:
    off = frozenset({Layer.SWEEP, Layer.EVENTS, Layer.DEADLINE})
    plan = Scenario(1, layers_off=off, faults=(InjectedFault(kind, 300),))
    assert any("lives on" in leak for leak in run_history(plan, LIMITS).leaks)


def test_the_timer_of_a_instance_that_lives_ends_it_at_its_deadline() -> None:
    off = frozenset({Layer.SWEEP, Layer.EVENTS, Layer.DEADLINE})
    plan = Scenario(1, training=1e9, max_runtime=3600, layers_off=off, faults=(InjectedFault(FaultKind.HANG, 300),))
    story: list[str] = []
    assert run_history(plan, LIMITS, story.append).leaks == []
    assert not any("TerminateInstances" in line for line in story)


@pytest.mark.parametrize("kind", [FaultKind.PANIC, FaultKind.HANG, FaultKind.UNTAGGED])
def test_the_schedule_alone_ends_an_instance_at_its_deadline(kind: FaultKind) -> None:
    off = frozenset({Layer.INSTANCE, Layer.SWEEP, Layer.EVENTS})
    plan = Scenario(1, training=1e9, max_runtime=3600, layers_off=off, faults=(InjectedFault(kind, 300),))
    story: list[str] = []
    run_history(plan, LIMITS, story.append)
    ((at, _),) = [line.split(maxsplit=1) for line in story if "TerminateInstances" in line]
    assert 3600 <= float(at) <= 3600 + 125


def test_shrinking_keeps_what_is_needed_to_fail() -> None:
    def never_sees_death(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
        late = now > ORIGIN + timedelta(seconds=310)
        return decide(replace(facts, heartbeat=ReadFailed("no evidence")) if late else facts, now, limits)

    plan = Scenario(
        1,
        call_errors=0.02,
        doubled_events=0.3,
        faults=(
            InjectedFault(FaultKind.SKEW, 100, 60),
            InjectedFault(FaultKind.PANIC, 300),
            InjectedFault(FaultKind.SLOW, 310, 50),
        ),
    )
    smallest = shrink(plan, LIMITS, Parts(decide=never_sees_death))
    assert [at.kind for at in smallest.faults] == [FaultKind.PANIC]
    assert smallest.call_errors == smallest.doubled_events == 0


def killing_what_it_cannot_read(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    blind = isinstance(facts.lock, ReadFailed) or isinstance(facts.heartbeat, ReadFailed)
    ends = tuple(
        Terminate(instance.instance_id, Cause.INFRA) for instance in facts.instances if blind and instance.alive
    )
    return decide(facts, now, limits) + Decision("for no reason", ends)


class WithoutLastCheck(Executor):
    def _check_heartbeat(self, action: Action, facts: LaneFacts) -> None:
        pass


class Hasty(Reconciler):
    """A watchdog that does not check the heartbeat once more before it terminates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._executor = WithoutLastCheck(*(getattr(self._executor, one.name) for one in fields(Executor)))


def test_a_watchdog_that_takes_a_failed_read_for_death_is_found_out() -> None:
    parts = Parts(decide=killing_what_it_cannot_read, watchdog=Hasty)
    plans = [Scenario(seed, call_errors=0.1, lost_events=1.0) for seed in range(5)]
    assert any(run_history(plan, LIMITS, parts=parts).wrong for plan in plans)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("service", ["s3", "ec2", "sns", "scheduler"])
def test_a_healthy_run_outlives_an_outage(service: str, refuses: bool) -> None:
    log: list[str] = []
    plan = Scenario(1, training=1500, lost_events=1.0, outages=(Outage(service, 300, 500, refuses),))
    assert run_history(plan, LIMITS, log.append).failed == []
    assert not any("TerminateInstances" in line for line in log)


class NeverAborting(SimulatedObjects):
    def abort(self, upload: Upload) -> None:
        pass


def test_a_watchdog_that_leaves_an_upload_of_a_dead_instance_is_found_out() -> None:
    plan = Scenario(1, training=1e9, faults=(InjectedFault(FaultKind.PANIC, 300),))
    assert not run_history(plan, LIMITS).stuck
    (problem,) = run_history(plan, LIMITS, parts=Parts(objects=NeverAborting)).stuck
    assert "the upload of dev/" in problem


class ActingAfterTheEnd(Reconciler):
    def lane(self, lane: Lane) -> Report:
        if not isinstance(self.store.read_lock(lane), LockHeld):
            self.fleet.terminate("i-00000000000000002")
        return Report(lane, Decision("nothing"))


def test_an_event_that_does_something_after_the_end_is_found_out() -> None:
    plans = [plan for plan in map(draw, range(1500)) if plan.clean and not (plan.lost_events or plan.faults)]
    plans = [plan for plan in plans if not plan.droughts]
    assert not any(run_history(plan, LIMITS).wrong for plan in plans)
    assert any(run_history(plan, LIMITS, parts=Parts(watchdog=ActingAfterTheEnd)).wrong for plan in plans)


def test_forged_events_are_of_every_kind() -> None:
    parsed = {
        type(parse_event(forged_event(Random(seed), [Lane("dev")], ["i-00000000000000002"]))) for seed in range(99)
    }
    assert parsed >= {Ignored, StateWritten, InstanceStateChanged, SpotInterruption}


def test_a_write_is_sometimes_refused_although_it_happened() -> None:
    refused: list[str] = []

    class Watched(RunStore):
        def _conditionally(self, run: Run, write: Callable[[bytes], str]) -> LockHeld:
            def noted(body: bytes) -> str:
                try:
                    return write(body)
                except LostRace:
                    assert isinstance(self.objects, SimulatedObjects)
                    if self.objects.body(run.lane.state_key) == body:
                        refused.append(run.run_id)
                    raise

            return super()._conditionally(run, noted)

    for seed in range(20):
        scenario = Scenario(seed, call_errors=0.3, full_subnets=1)
        assert run_history(scenario, LIMITS, parts=Parts(store=Watched)).failed == []
    assert refused


class TakingWhatIsTaken(RunStore):
    def create_lock(self, run: Run) -> LockHeld:
        run = replace(run, seq=1, nonce=run.run_id)
        self.objects.write(run.lane.state_key, run.to_json())
        found = self.read_lock(run.lane)
        assert isinstance(found, LockHeld)
        return found


def test_launchers_that_are_held_up_do_not_share_a_lane() -> None:
    second = (InjectedFault(FaultKind.SECOND_LAUNCH, 1.5), InjectedFault(FaultKind.SECOND_LAUNCHER_DIES, 2.0, 7))
    plans = [Scenario(seed, pauses=0.3, faults=second) for seed in range(60)]
    assert not any(run_history(plan, LIMITS).failed for plan in plans)
    assert any(run_history(plan, LIMITS, parts=Parts(store=TakingWhatIsTaken)).failed for plan in plans)


def test_a_spot_instance_that_is_taken_is_followed_by_another() -> None:
    log: list[str] = []
    plan = Scenario(1, preemptions_left=1, faults=(InjectedFault(FaultKind.SPOT, 300),))
    assert run_history(plan, LIMITS, log.append).failed == []
    assert any("relaunch of" in line and "attempt 2" in line for line in log)


def resuming_what_is_not_over(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    decision = decide(facts, now, limits)
    if isinstance(facts.lock, LockHeld) and facts.lock.run.attempt == 1 and now > ORIGIN + timedelta(seconds=300):
        lost = Verdict(Outcome.FAILED, Cause.PREEMPTED, "as if it was lost", DecidedBy.WATCHDOG)
        ended = facts.lock.run.end(lost, now)
        return decision + Decision("again", (WriteLock(ended), WriteLock(ended.next_attempt(lost.cause, 0.0, now))))
    return decision


def test_an_attempt_that_begins_beside_a_healthy_one_is_found_out() -> None:
    parts = Parts(decide=resuming_what_is_not_over)
    found = run_history(Scenario(1, preemptions_left=1), LIMITS, parts=parts)
    assert any("begins while" in line for line in found.wrong)


@pytest.mark.parametrize("seconds", [105, 200, 760])
def test_a_hang_in_every_phase_is_ended(seconds: float) -> None:
    log: list[str] = []
    off = frozenset({Layer.DEADLINE})
    plan = Scenario(1, boot=90, layers_off=off, faults=(InjectedFault(FaultKind.HANG, seconds),))
    found = run_history(plan, LIMITS, log.append)
    assert (found.failed, [name for name, _, _ in found.times]) == ([], ["training hung, instance alive"])


@pytest.mark.parametrize(
    "kind", [FaultKind.USER_CODE, FaultKind.FORGED_STOP, FaultKind.FORGED_SEQ, FaultKind.FORGED_SUSPECT]
)
def test_what_the_record_is_made_to_say_leads_to_nothing_worse(kind: FaultKind) -> None:
    plan = Scenario(1, training=400, faults=(InjectedFault(kind, 300),))
    found = run_history(plan, LIMITS)
    assert [line for line in found.failed if "could not read" not in line] == []


class PublishingTwice(MemoryNotifier):
    def publish(self, message: Message) -> None:
        for _ in range(2):
            super().publish(message)


def test_a_message_that_is_sent_twice_without_a_cause_is_shrunk_too() -> None:
    plan = Scenario(1, doubled_events=0.3, lost_events=0.5, faults=(InjectedFault(FaultKind.SKEW, 100, 60),))
    assert shrink(plan, LIMITS, Parts(notifier=PublishingTwice)) == Scenario(1, lost_events=1.0)


def test_a_history_is_shrunk_without_the_layers_that_it_was_without() -> None:
    off = frozenset({Layer.SWEEP, Layer.EVENTS})
    assert scenario_of(4, off).layers_off == draw(4).layers_off | off
    plan = Scenario(1, layers_off=off, faults=(InjectedFault(FaultKind.SKEW, 100, 60),))
    assert shrink(plan, LIMITS) == Scenario(1, lost_events=1.0, layers_off=off)


def test_the_first_history_that_fails_is_printed_in_its_smallest_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--histories", "2", "--without", "L2,L3"]) == 1
    figures, _, rest = capsys.readouterr().out.partition("seed 0 fails as ")
    seeds, _, story = rest.partition("seed 1 fails as ")
    assert json.loads(figures)["stuck_locks"] == 3  # the second history has two lanes
    assert seeds.startswith("Scenario(seed=0, ")
    assert "faults=()" in seeds
    assert "launched as i-00000000000000002" in story
    assert "environment dev is locked at the end" in story


def test_a_layer_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--without", "L9"])
    assert "no layer L9; there are L0" in capsys.readouterr().err
