"""Histories of the whole system in virtual time: drawn ones, those that once failed, and some that must fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Self

import pytest
import typer

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import Decision, Terminate
from chronos_ec2.domain.errors import Fenced, LostRace
from chronos_ec2.domain.events import Ignored, InstanceStateChanged, SpotInterruption, StateWritten, parse_event
from chronos_ec2.domain.facts import Absent, LaneFacts, LockHeld, ReadFailed
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.domain.rules import active_run
from chronos_ec2.domain.rules.active_run import _near_a_limit, _over_budget, _past_deadline
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.execute import Executor
from chronos_ec2.services.watchdog.reconcile import Reconciler
from chronos_ec2.testing import MemoryNotifier, MemoryObjects
from chronos_ec2.worker.run_lock import RunLock
from verification.simulation.__main__ import simulate
from verification.simulation.campaign import plan_of, shrink, study, whole
from verification.simulation.faulty_aws import SimulatedDeadlines
from verification.simulation.forged_events import forged_event
from verification.simulation.idle_sweep_skipping import IdleSweeps
from verification.simulation.runner import run_history
from verification.simulation.scenario import HARMLESS, InjectedFault, Kind, Layer, Outage, Scenario, draw
from verification.simulation.virtual_time import ORIGIN

LIMITS = Limits()

ONCE_FAILED: dict[str, Scenario] = {
    "the lock was released while its message was still pending": Scenario(
        108, training=300, call_errors=0.3, function_crashes=0.02, lost_events=0.0
    ),
    "a launcher that died before RunInstances kept the lane for ever": Scenario(
        1365, lost_events=1.0, disturbances=(InjectedFault(Kind.LAUNCHER_DIES, 0, 7),)
    ),
    "an instance beside a forged instance id was suspected for ever": Scenario(
        825, lost_events=1.0, disturbances=(InjectedFault(Kind.FOREIGN_ID, 400), InjectedFault(Kind.PANIC, 420))
    ),
    "a hang beside an unreadable record was never seen": Scenario(
        1965, lost_events=1.0, disturbances=(InjectedFault(Kind.HANG, 300), InjectedFault(Kind.GARBAGE, 310))
    ),
    "an instance that would not shut down was forgotten beside an unreadable record": Scenario(
        1964, shutting_down=1e9, disturbances=(InjectedFault(Kind.GARBAGE, 300), InjectedFault(Kind.PANIC, 310))
    ),
    "an instance that powered off without a word and would not go was waited for for ever": Scenario(
        1977, shutting_down=1e9, disturbances=(InjectedFault(Kind.CRASH, 400),)
    ),
    "a partition ended between the verdict and the second try of the end that follows it": Scenario(
        124604,
        boot=167.16,
        training=217.1,
        call_errors=0.1,
        lost_events=1.0,
        disturbances=(InjectedFault(Kind.SLOW, 422.18, 640.72), InjectedFault(Kind.PARTITION, 288.71, 274.96)),
    ),
    "an agent that died just before its claim was held to the lease of one that had claimed": Scenario(
        663679,
        boot=220.39,
        training=65.27,
        call_errors=0.1,
        lost_events=1.0,
        disturbances=(InjectedFault(Kind.PANIC, 230.78),),
    ),
    "the watchdog deleted the schedule of an instance that lost its tags": Scenario(
        179,
        max_runtime=1247.9,
        lost_events=1.0,
        disturbances=(InjectedFault(Kind.PANIC, 272), InjectedFault(Kind.UNTAGGED, 245)),
    ),
    "an agent powered its box off beside a record that it could not read": Scenario(
        49, lost_events=1.0, disturbances=(InjectedFault(Kind.GARBAGE, 155.8),)
    ),
    "an instance that EC2 listed minutes late was missed although it beat": Scenario(
        24, boot=49.3, list_lag=267.8, lost_events=1.0
    ),
    "a sweep came between the end of an outage of S3 and the first beat after it": Scenario(
        6, training=2000, lost_events=1.0, outages=(Outage("s3", 300, 400.857),)
    ),
    "a deadline passed while S3 did not answer": Scenario(
        12741,
        training=2115,
        max_runtime=1476.4,
        lost_events=1.0,
        outages=(Outage("s3", 718.6, 2528.8),),
        layers_off=frozenset({Layer.BOX, Layer.DEADLINE}),
        disturbances=(InjectedFault(Kind.DEAF, 0),),
    ),
    "a kill hid that the agent was dead": Scenario(
        2763, lost_events=1.0, disturbances=(InjectedFault(Kind.PANIC, 300), InjectedFault(Kind.KILL, 440))
    ),
    "a kill gave an instance that never booted two minutes more": Scenario(
        902280,
        lost_events=1.0,
        layers_off=frozenset({Layer.BOX, Layer.DEADLINE}),
        disturbances=(InjectedFault(Kind.NO_BOOT, 0), InjectedFault(Kind.KILL, 899.85)),
    ),
    "a launcher that was held up for long wrote into the record of an instance that was shutting down": Scenario(
        938027,
        shutting_down=1e9,
        pauses=0.01,
        list_lag=36.62,
        lost_events=1.0,
        disturbances=(InjectedFault(Kind.NO_BOOT, 0), InjectedFault(Kind.KILL, 237.24)),
    ),
    "a sweep that was held up ended a stopped instance late": Scenario(
        703001,
        boot=129.56,
        call_errors=0.1,
        function_crashes=0.02,
        lost_ticks=0.1,
        pauses=0.1,
        lost_events=1.0,
        disturbances=(InjectedFault(Kind.STOPPED, 191.63),),
    ),
    "somebody overwrote the note of a first look at an agent that was dead": Scenario(
        707733,
        boot=97.98,
        lost_events=1.0,
        disturbances=(InjectedFault(Kind.PANIC, 156.59), InjectedFault(Kind.FORGED_SUSPECT, 358.74)),
    ),
}


@pytest.mark.parametrize("story", ONCE_FAILED)
def test_what_once_failed_holds(story: str) -> None:
    assert run_history(ONCE_FAILED[story], LIMITS).failed == []


@pytest.mark.parametrize(
    ("then", "begins", "limit"),
    [(None, 8000.0, 600.0), (Kind.HANG, 500.0, LIMITS.hung_bound.total_seconds()), (Kind.PANIC, 500.0, 270.0)],
)
def test_a_run_whose_instance_lost_its_tags_goes_on_as_long_as_it_works_and_no_longer(
    then: Kind | None, begins: float, limit: float
) -> None:
    disturbances = (InjectedFault(Kind.UNTAGGED, 400), *([InjectedFault(then, begins)] if then else []))
    told: list[str] = []
    assert run_history(Scenario(77, training=8000, disturbances=disturbances), LIMITS, told.append).failed == []
    (concluded,) = [float(line.split()[0]) for line in told if "Conclude" in line]
    assert begins < concluded <= begins + limit


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.thorough)])
def test_histories_without_a_violation(count: int) -> None:
    result = whole(study(count, 7_000_000, LIMITS))
    assert (result.histories, result.violations, result.failed) == (count, 0, [])


def test_a_history_is_the_same_each_time() -> None:
    first, second = (run_history(draw(4711), LIMITS) for _ in range(2))
    assert (first.times, first.duplicates) == (second.times, second.duplicates)


def test_a_sweep_that_is_left_out_would_have_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stories() -> list[list[str]]:
        """What happens to instances in some histories; in the first five something nearly came too early once."""
        told: list[list[str]] = []
        for plan in filter(lambda plan: plan.clean, map(draw, (6, 435, 554, 662, 1777, *range(100)))):
            story: list[str] = []
            run_history(plan, LIMITS, story.append)
            told.append([line for line in story if "sweep:" not in line and "launch" not in line])
        return told

    with_all_left_out = stories()
    monkeypatch.setattr(IdleSweeps, "holds", lambda _calm: False)
    assert with_all_left_out == stories()


@pytest.mark.parametrize("kind", sorted(HARMLESS))
def test_a_healthy_run_dies_of_nothing_that_is_harmless(kind: Kind) -> None:
    plan = Scenario(1, disturbances=(InjectedFault(kind, 300, 700),))
    told: list[str] = []
    assert run_history(plan, LIMITS, told.append).failed == []
    assert not any("TerminateInstances" in line for line in told)


def blind_to_beats(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    return decide(replace(facts, heartbeat=Absent()), now, limits)


def blind_to_time(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    return decide(facts, min(now, ORIGIN + timedelta(seconds=100)), limits)


def slow_to_believe(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    return decide(facts, now, replace(limits, lease=10 * limits.lease))


@pytest.mark.parametrize("call_errors", [0.02, 0.1, 0.3])
def test_calls_that_fail_do_not_hide_a_watchdog_that_waits_too_long(
    call_errors: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [
        Scenario(seed, call_errors=call_errors, lost_events=1.0, disturbances=(InjectedFault(Kind.PANIC, 300),))
        for seed in range(40)
    ]
    assert not any(run_history(plan, LIMITS).failed for plan in plans)
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", slow_to_believe)
    died = [found for found in (run_history(plan, LIMITS) for plan in plans) if found.times]
    assert len(died) > 15
    assert sum(bool(found.leaks) for found in died) > len(died) / 2


def ending_all(state: InstanceState, after: float) -> Callable[..., Decision]:
    """A watchdog that from some second on ends whatever is in a state, without a reason."""

    def defective(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
        boxes = (box for box in facts.instances if box.state is state and now > ORIGIN + timedelta(seconds=after))
        ends = tuple(Terminate(box.instance_id, Cause.REQUESTED) for box in boxes)
        return decide(facts, now, limits) + Decision("for no reason", ends)

    return defective


def test_a_kill_of_one_run_excuses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", ending_all(InstanceState.RUNNING, 230))
    plan = Scenario(1, lanes=2, disturbances=(InjectedFault(Kind.KILL, 200),))
    assert any("healthy" in line for line in run_history(plan, LIMITS).wrong)


def test_an_instance_that_is_still_pending_counts_as_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", ending_all(InstanceState.PENDING, 0))
    assert any(run_history(Scenario(seed), LIMITS).wrong for seed in range(5))


def limited(*, by_money: bool) -> list[Scenario]:
    """Plans in which an instance may reach its limit, and has nobody but the watchdog to end it."""
    plans = map(draw, range(3000))
    return [plan for plan in plans if plan.layers_off and (plan.max_cost is not None) is by_money][:50]


@pytest.mark.parametrize(
    ("rule", "by_money", "seen_as"),
    [
        (_past_deadline, False, "leaks"),
        (_over_budget, True, "over_cap"),
        (_near_a_limit, False, "wrong"),
        (_near_a_limit, True, "wrong"),
    ],
)
def test_a_watchdog_without_a_rule_about_limits_is_found_out(
    rule: object, by_money: bool, seen_as: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active_run, "_RULES", tuple(one for one in active_run._RULES if one is not rule))
    found = [getattr(run_history(plan, LIMITS), seen_as) for plan in limited(by_money=by_money)]
    assert sum(map(bool, found)) > 2


@pytest.mark.parametrize("kind", [Kind.GARBAGE, Kind.NEWER_SCHEMA, Kind.OVERSIZED])
def test_a_watchdog_that_ends_what_beats_beside_an_unreadable_record_is_found_out(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", ending_all(InstanceState.RUNNING, 330))
    plan = Scenario(1, training=600, disturbances=(InjectedFault(kind, 300),))
    assert any("healthy" in line for line in run_history(plan, LIMITS).wrong)


def test_an_agent_that_leaves_a_record_that_it_cannot_read_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def owned(record: RunLock) -> LockHeld:
        found = record._store.read_lock(record._lane)
        if not isinstance(found, LockHeld):
            raise Fenced("not a lock of mine")
        return found

    monkeypatch.setattr(RunLock, "_owned", owned)
    plan = Scenario(1, disturbances=(InjectedFault(Kind.GARBAGE, 300),))
    assert any("could not read" in line for line in run_history(plan, LIMITS).wrong)


def test_an_untagged_instance_that_its_schedule_does_not_end_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedDeadlines, "_fire", lambda _deadlines, _instance_id: None)
    plan = Scenario(
        1, max_runtime=1500, disturbances=(InjectedFault(Kind.PANIC, 300), InjectedFault(Kind.UNTAGGED, 295))
    )
    assert any("lives on" in line for line in run_history(plan, LIMITS).leaks)


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
def test_a_watchdog_with_a_defect_is_found_out(
    defect: Callable[..., Decision], seen_as: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", defect)
    found = [getattr(run_history(draw(seed), LIMITS), seen_as) for seed in range(40)]
    assert any(found)


def test_the_one_place_that_terminates_refuses_an_id_that_came_out_of_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", trusting_the_record)
    forged = (InjectedFault(Kind.FOREIGN_ID, 300), InjectedFault(Kind.PANIC, 310))
    assert run_history(Scenario(1, disturbances=forged), LIMITS).alien == []


@pytest.mark.parametrize("kind", [Kind.PANIC, Kind.NO_RECORD])
def test_without_a_sweep_and_without_events_an_instance_that_cannot_end_itself_lives_on(kind: Kind) -> None:
    off = frozenset({Layer.SWEEP, Layer.EVENTS, Layer.DEADLINE})
    plan = Scenario(1, layers_off=off, disturbances=(InjectedFault(kind, 300),))
    assert any("lives on" in leak for leak in run_history(plan, LIMITS).leaks)


def test_the_timer_of_a_box_that_lives_ends_it_at_its_deadline() -> None:
    off = frozenset({Layer.SWEEP, Layer.EVENTS, Layer.DEADLINE})
    plan = Scenario(1, training=1e9, max_runtime=3600, layers_off=off, disturbances=(InjectedFault(Kind.HANG, 300),))
    story: list[str] = []
    assert run_history(plan, LIMITS, story.append).leaks == []
    assert not any("TerminateInstances" in line for line in story)


@pytest.mark.parametrize("kind", [Kind.PANIC, Kind.HANG, Kind.UNTAGGED])
def test_the_schedule_alone_ends_an_instance_at_its_deadline(kind: Kind) -> None:
    off = frozenset({Layer.BOX, Layer.SWEEP, Layer.EVENTS})
    plan = Scenario(1, training=1e9, max_runtime=3600, layers_off=off, disturbances=(InjectedFault(kind, 300),))
    story: list[str] = []
    run_history(plan, LIMITS, story.append)
    ((at, _),) = [line.split(maxsplit=1) for line in story if "TerminateInstances" in line]
    assert 3600 <= float(at) <= 3600 + 125


def test_shrinking_keeps_what_is_needed_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_sees_death(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
        late = now > ORIGIN + timedelta(seconds=310)
        return decide(replace(facts, heartbeat=ReadFailed("no evidence")) if late else facts, now, limits)

    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", never_sees_death)
    plan = Scenario(
        1,
        call_errors=0.02,
        doubled_events=0.3,
        disturbances=(
            InjectedFault(Kind.SKEW, 100, 60),
            InjectedFault(Kind.PANIC, 300),
            InjectedFault(Kind.SLOW, 310, 50),
        ),
    )
    smallest = shrink(plan, LIMITS)
    assert [at.kind for at in smallest.disturbances] == [Kind.PANIC]
    assert smallest.call_errors == smallest.doubled_events == 0


def killing_what_it_cannot_read(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    blind = isinstance(facts.lock, ReadFailed) or isinstance(facts.heartbeat, ReadFailed)
    ends = tuple(Terminate(box.instance_id, Cause.INFRA) for box in facts.instances if blind and box.alive)
    return decide(facts, now, limits) + Decision("for no reason", ends)


def test_a_watchdog_that_takes_a_failed_read_for_death_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", killing_what_it_cannot_read)
    monkeypatch.setattr(Executor, "_last_look", lambda *_: None)
    assert any(run_history(Scenario(seed, call_errors=0.1, lost_events=1.0), LIMITS).wrong for seed in range(5))


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("service", ["s3", "ec2", "sns", "scheduler"])
def test_a_healthy_run_outlives_an_outage(service: str, refuses: bool) -> None:
    told: list[str] = []
    plan = Scenario(1, training=1500, lost_events=1.0, outages=(Outage(service, 300, 500, refuses),))
    assert run_history(plan, LIMITS, told.append).failed == []
    assert not any("TerminateInstances" in line for line in told)


def test_a_watchdog_that_leaves_an_upload_of_a_dead_box_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Scenario(1, training=1e9, disturbances=(InjectedFault(Kind.PANIC, 300),))
    assert not run_history(plan, LIMITS).stuck
    monkeypatch.setattr(MemoryObjects, "abort", lambda *_: None)
    (problem,) = run_history(plan, LIMITS).stuck
    assert "the upload of dev/" in problem


def test_an_event_that_does_something_after_the_end_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def acting(watchdog: Reconciler, lane: Lane) -> object:
        if not isinstance(watchdog.store.read_lock(lane), LockHeld):
            watchdog.fleet.terminate("i-00000000000000002")
        return None

    plans = [plan for plan in map(draw, range(1500)) if plan.clean and plan.lost_events == 0 and not plan.disturbances]
    assert not any(run_history(plan, LIMITS).wrong for plan in plans)
    monkeypatch.setattr(Reconciler, "lane", acting)
    assert any(run_history(plan, LIMITS).wrong for plan in plans)


def test_forged_events_are_of_every_kind() -> None:
    parsed = {
        type(parse_event(forged_event(Random(seed), [Lane("dev")], ["i-00000000000000002"]))) for seed in range(99)
    }
    assert parsed >= {Ignored, StateWritten, InstanceStateChanged, SpotInterruption}


def test_a_write_is_sometimes_refused_although_it_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    settle = RunStore._conditionally

    def watched(store: RunStore, run: Run, write: Callable[[bytes], str]) -> LockHeld:
        def noted(body: bytes) -> str:
            try:
                return write(body)
            except LostRace:
                if store.objects.body(run.lane.state_key) == body:  # type: ignore[attr-defined]
                    refused.append(run.run_id)
                raise

        return settle(store, run, noted)

    monkeypatch.setattr(RunStore, "_conditionally", watched)
    for seed in range(20):
        assert run_history(Scenario(seed, call_errors=0.3, full_subnets=1), LIMITS).failed == []
    assert refused


def test_launchers_that_are_held_up_do_not_share_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    second = (InjectedFault(Kind.SECOND_LAUNCH, 1.5), InjectedFault(Kind.SECOND_LAUNCHER_DIES, 2.0, 7))
    plans = [Scenario(seed, pauses=0.3, disturbances=second) for seed in range(60)]
    assert not any(run_history(plan, LIMITS).failed for plan in plans)

    def taking_what_is_taken(store: RunStore, run: Run) -> LockHeld:
        run = replace(run, seq=1, nonce=run.run_id)
        store.objects.write(run.lane.state_key, run.to_json())
        found = store.read_lock(run.lane)
        assert isinstance(found, LockHeld)
        return found

    monkeypatch.setattr(RunStore, "create_lock", taking_what_is_taken)
    assert any(run_history(plan, LIMITS).failed for plan in plans)


def test_a_spot_instance_that_is_taken_is_followed_by_another() -> None:
    told: list[str] = []
    plan = Scenario(1, preemptions_left=1, disturbances=(InjectedFault(Kind.SPOT, 300),))
    assert run_history(plan, LIMITS, told.append).failed == []
    assert any("relaunch of" in line and "attempt 2" in line for line in told)


def resuming_what_is_not_over(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    decision = decide(facts, now, limits)
    if isinstance(facts.lock, LockHeld) and facts.lock.run.attempt == 1 and now > ORIGIN + timedelta(seconds=300):
        return decision + Decision("again", (RunLock(facts.lock.run.next_attempt(Cause.PREEMPTED, 0.0, now)),))
    return decision


def test_an_attempt_that_begins_beside_a_healthy_one_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_ec2.services.watchdog.reconcile.decide", resuming_what_is_not_over)
    assert any("begins while" in line for line in run_history(Scenario(1, preemptions_left=1), LIMITS).wrong)


@pytest.mark.parametrize("seconds", [105, 200, 760])
def test_a_hang_in_every_phase_is_ended(seconds: float) -> None:
    told: list[str] = []
    off = frozenset({Layer.DEADLINE})
    plan = Scenario(1, boot=90, layers_off=off, disturbances=(InjectedFault(Kind.HANG, seconds),))
    found = run_history(plan, LIMITS, told.append)
    assert (found.failed, [name for name, _, _ in found.times]) == ([], ["training hung, box alive"])


@pytest.mark.parametrize("kind", [Kind.USER_CODE, Kind.FORGED_STOP, Kind.FORGED_SEQ, Kind.FORGED_SUSPECT])
def test_what_the_record_is_made_to_say_leads_to_nothing_worse(kind: Kind) -> None:
    plan = Scenario(1, training=400, disturbances=(InjectedFault(kind, 300),))
    found = run_history(plan, LIMITS)
    assert [line for line in found.failed if "could not read" not in line] == []


def test_a_message_that_is_doubled_without_a_cause_is_shrunk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = MemoryNotifier.publish
    monkeypatch.setattr(MemoryNotifier, "publish", lambda topic, message: [publish(topic, message) for _ in range(2)])
    plan = Scenario(1, doubled_events=0.3, lost_events=0.5, disturbances=(InjectedFault(Kind.SKEW, 100, 60),))
    assert shrink(plan, LIMITS) == Scenario(1, lost_events=1.0)


def test_a_history_is_shrunk_without_the_layers_that_it_was_without() -> None:
    off = frozenset({Layer.SWEEP, Layer.EVENTS})
    assert plan_of(4, off).layers_off == draw(4).layers_off | off
    plan = Scenario(1, layers_off=off, disturbances=(InjectedFault(Kind.SKEW, 100, 60),))
    assert shrink(plan, LIMITS) == Scenario(1, lost_events=1.0, layers_off=off)


def test_the_first_history_that_fails_is_told_in_its_smallest_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Scenario(1, disturbances=(InjectedFault(Kind.SKEW, 100, 60),))
    monkeypatch.setattr("verification.simulation.campaign.draw", lambda _seed: plan)
    monkeypatch.setattr("verification.simulation.campaign.ProcessPoolExecutor", InThisProcess)
    with pytest.raises(typer.Exit):
        simulate(histories=2, seed=0, without="L2,L3", json=False)
    seeds, _, story = " ".join(capsys.readouterr().out.split()).partition("disturbances=())")
    assert "seed 0 fails as Plan(seed=1" in seeds
    assert "launched as i-00000000000000002" in story
    assert "environment dev is locked at the end" in story


class InThisProcess:
    """What a pool does, here."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, call: Callable[..., object], *items: Iterable[object]) -> Iterator[object]:
        return map(call, *items)
