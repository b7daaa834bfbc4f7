"""The watchdog's rules, one by one, and what must hold for all facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import (
    CancelDeadline,
    Decision,
    FinishRun,
    MarkOrphan,
    MarkUnreadable,
    Notify,
    Relaunch,
    ReleaseUnreadable,
    ScheduleDeadline,
    Terminate,
    WriteLock,
)
from chronos_ec2.domain.facts import (
    Absent,
    HeartbeatRead,
    HeartbeatReceived,
    LaneFacts,
    LockHeld,
    LockRead,
    ReadFailed,
    Reports,
    Unreadable,
)
from chronos_ec2.domain.instance import InstanceLookup, InstanceState, StateReason
from chronos_ec2.domain.limits import HOLD_NOTICE, TAKE_OVER_AFTER, Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.capacity import Launching, LaunchOption, Refusal, Waiting
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import ACTIVE, Cause, DecidedBy, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.domain.rules.missing_instance import is_lost
from chronos_ec2.domain.rules.not_launched import verdict_without_instance
from chronos_ec2.domain.rules.schedules import decide_unlisted, unlisted
from chronos_ec2.testing.builders import (
    INSTANCE_ID,
    NO_FACTS,
    NOW,
    RUN_ID,
    a_beat,
    a_run,
    an_instance,
    held,
    launching,
    seconds,
    some_facts,
)

LIMITS = Limits()
SAID_BY_AGENT = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)


def decided(facts: LaneFacts) -> Decision:
    return decide(facts, NOW, LIMITS)


def terminated(decision: Decision) -> list[tuple[str, Cause]]:
    return [(action.instance_id, action.cause) for action in decision.actions if isinstance(action, Terminate)]


def recorded(decision: Decision) -> Any:
    return next(action.run for action in decision.actions if isinstance(action, WriteLock))


def disarmed(decision: Decision) -> set[str]:
    return {action.instance_id for action in decision.actions if isinstance(action, CancelDeadline)}


def test_a_healthy_run_is_left_alone_and_announced_once() -> None:
    (notify,) = decided(some_facts()).actions
    assert isinstance(notify, Notify)
    assert notify.kind is Kind.STARTED


def silent(for_seconds: float, first_look: timedelta) -> Decision:
    """About an agent that is silent for so much longer than the lease, and was suspected so long ago."""
    suspected = a_run(suspect=Suspect(Cause.INFRA, "no heartbeat", NOW - first_look))
    return decided(
        some_facts(heartbeat=a_beat(LIMITS.lease + seconds(for_seconds)), lock=held(suspected, NOW - first_look))
    )


def test_an_old_heartbeat_ends_the_instance_at_the_second_observation_after_the_verdict_is_written() -> None:
    (suspected,) = decided(some_facts(heartbeat=a_beat(LIMITS.lease + seconds(1)))).actions
    assert isinstance(suspected, WriteLock)
    assert suspected.run.suspect == Suspect(
        Cause.INFRA, "no heartbeat for 2 min: the agent or its instance is dead", NOW
    )
    assert silent(60, LIMITS.confirmation - seconds(1)).actions == ()
    decision = silent(31, LIMITS.confirmation)
    record, terminate = decision.actions
    assert isinstance(record, WriteLock)
    assert record.run.verdict == Verdict(
        Outcome.FAILED, Cause.INFRA, "no heartbeat for 2 min: the agent or its instance is dead", DecidedBy.WATCHDOG
    )
    assert terminate == Terminate(INSTANCE_ID, Cause.INFRA)
    assert decision.evidence["run_id"] == RUN_ID


def test_a_suspicion_from_before_the_last_heartbeat_is_no_first_observation() -> None:
    """After an outage of S3 every heartbeat is old until the next one, whatever was suspected before."""
    for before in (LIMITS.confirmation, LIMITS.lease):
        (record,) = silent(before.total_seconds() - 1, before).actions
        assert isinstance(record, WriteLock)
        assert record.run.suspect
        assert record.run.suspect.first_seen == NOW


def test_a_heartbeat_at_the_second_observation_clears_the_suspicion() -> None:
    suspected = a_run(suspect=Suspect(Cause.INFRA, "no heartbeat", NOW - LIMITS.confirmation))
    (record,) = decided(some_facts(lock=held(suspected))).actions
    assert isinstance(record, WriteLock)
    assert record.run.suspect is None


def test_a_heartbeat_that_cannot_be_read_neither_ends_anything_nor_clears_a_suspicion() -> None:
    suspected = a_run(suspect=Suspect(Cause.INFRA, "no heartbeat", NOW - LIMITS.confirmation))
    assert decided(some_facts(heartbeat=ReadFailed("503"), lock=held(suspected, NOW))).actions == ()


def test_a_heartbeat_of_exactly_the_lease_is_fresh() -> None:
    assert terminated(decided(some_facts(heartbeat=a_beat(LIMITS.lease)))) == []


def test_no_heartbeat_at_all_counts_from_the_claim() -> None:
    """Not from the last write of the lock, which an instance renews with every report that is copied into it."""
    lease, written = LIMITS.lease, NOW - seconds(1)
    fresh = held(a_run(claimed_at=NOW - lease), written)
    assert decided(some_facts(heartbeat=Absent(), lock=fresh)).reason.endswith("healthy")
    old = held(a_run(claimed_at=NOW - lease - seconds(1)), written)
    assert recorded(decided(some_facts(heartbeat=Absent(), lock=old))).suspect.cause is Cause.INFRA
    suspect = Suspect(Cause.INFRA, "no heartbeat", NOW - LIMITS.confirmation)
    confirmed = held(a_run(claimed_at=NOW - timedelta(minutes=10), suspect=suspect), written)
    assert terminated(decided(some_facts(heartbeat=Absent(), lock=confirmed))) == [(INSTANCE_ID, Cause.INFRA)]


@pytest.mark.parametrize(
    "other", [{"attempt": 2}, {"instance_id": "i-00000000"}, {"run_id": "20250101T000000Z-000000"}]
)
def test_the_heartbeat_of_another_attempt_instance_or_run_is_no_sign_of_life(other: dict[str, Any]) -> None:
    suspect = Suspect(Cause.INFRA, "no heartbeat", NOW - LIMITS.confirmation)
    facts = some_facts(heartbeat=a_beat(**other), lock=held(a_run(suspect=suspect), NOW))
    assert terminated(decided(facts)) == [(INSTANCE_ID, Cause.INFRA)]


def test_a_heartbeat_that_cannot_be_read_never_kills() -> None:
    assert terminated(decided(some_facts(heartbeat=ReadFailed("503 SlowDown")))) == []


def test_a_lock_that_cannot_be_read_never_kills() -> None:
    facts = some_facts(lock=ReadFailed("503 SlowDown"), heartbeat=Absent())
    assert decided(facts).actions == ()


def test_a_lock_that_cannot_be_read_does_not_lift_the_deadline_in_the_tag() -> None:
    late = an_instance(deadline=NOW - seconds(1))
    facts = some_facts(lock=ReadFailed("503 SlowDown"), instances=(late,))
    assert terminated(decided(facts)) == [(INSTANCE_ID, Cause.OVER_DEADLINE)]


def test_a_hang_takes_two_observations() -> None:
    stalled = a_beat(stalled_for=LIMITS.progress + seconds(10))
    first = decided(some_facts(heartbeat=stalled))
    assert terminated(first) == []
    suspicious = recorded(first)
    assert suspicious.suspect.cause is Cause.HUNG

    soon = decided(some_facts(heartbeat=stalled, lock=held(suspicious, NOW)))
    assert soon.actions == ()

    later = a_run(suspect=Suspect(Cause.HUNG, "no progress", NOW - LIMITS.confirmation))
    assert terminated(decided(some_facts(heartbeat=stalled, lock=held(later)))) == [(INSTANCE_ID, Cause.HUNG)]


def test_a_hang_is_suspected_with_the_gpu_at_full_use() -> None:
    stalled = a_beat(stalled_for=LIMITS.progress + seconds(10), gpu_utilisation=100.0)
    assert recorded(decided(some_facts(heartbeat=stalled))).suspect is not None


def test_suspicion_is_cleared_when_work_progresses_again() -> None:
    suspicious = a_run(suspect=Suspect(Cause.HUNG, "no progress", NOW - timedelta(minutes=5)))
    assert recorded(decided(some_facts(lock=held(suspicious)))).suspect is None


def test_near_the_deadline_a_graceful_stop_is_asked_for() -> None:
    near = a_run(deadline=NOW + LIMITS.grace)
    stop = recorded(decided(some_facts(lock=held(near)))).stop
    assert stop.cause is Cause.OVER_DEADLINE


def test_past_the_deadline_the_instance_ends() -> None:
    assert terminated(decided(some_facts(lock=held(a_run(deadline=NOW))))) == [(INSTANCE_ID, Cause.OVER_DEADLINE)]


def test_a_later_deadline_in_the_record_does_not_override_the_tag() -> None:
    facts = some_facts(lock=held(a_run(deadline=NOW + timedelta(days=9))), instances=(an_instance(deadline=NOW),))
    assert terminated(decided(facts)) == [(INSTANCE_ID, Cause.OVER_DEADLINE)]


def test_near_the_price_cap_a_graceful_stop_is_asked_for_and_at_the_cap_the_instance_ends() -> None:
    near = a_run(max_cost_usd=0.76)
    assert recorded(decided(some_facts(lock=held(near)))).stop.cause is Cause.OVER_BUDGET
    over = a_run(max_cost_usd=0.752)
    assert terminated(decided(some_facts(lock=held(over)))) == [(INSTANCE_ID, Cause.OVER_BUDGET)]


def test_cost_is_counted_by_the_type_that_ec2_reports() -> None:
    run = a_run(prices=(("g4dn.2xlarge", 0.752), ("p4d.24xlarge", 20.0)), max_cost_usd=10.0, crashes_left=1)
    dear = an_instance(instance_type="p4d.24xlarge")
    assert terminated(decided(some_facts(instances=(dear,), lock=held(run)))) == [(INSTANCE_ID, Cause.OVER_BUDGET)]
    lost = replace(dear, state=InstanceState.TERMINATED)
    decision = decided(some_facts(instances=(lost,), lock=held(run), heartbeat=a_beat(checkpoint_age=seconds(60))))
    assert [type(action) for action in decision.actions] == [FinishRun]
    cheap = replace(lost, instance_type="g4dn.2xlarge")
    decision = decided(some_facts(instances=(cheap,), lock=held(run), heartbeat=a_beat(checkpoint_age=seconds(60))))
    ended, again = (action.run for action in decision.actions if isinstance(action, WriteLock))
    assert (ended.attempt, ended.verdict.cause) == (1, Cause.INFRA)
    assert (again.attempt, again.verdict) == (2, None)


def test_the_cap_counts_an_instance_that_has_ended_until_its_last_heartbeat() -> None:
    """An hour of the living one, and half an hour and the time to power off of the other: $1.134."""
    ended = an_instance(instance_id="i-0bbbbbbbbbbbbbbbb", state=InstanceState.TERMINATED)
    heard = a_beat(timedelta(minutes=30), instance_id=ended.instance_id)
    for cap, ends in ((1.134, [(INSTANCE_ID, Cause.OVER_BUDGET)]), (1.135, [])):
        facts = some_facts(instances=(an_instance(), ended), heartbeat=heard, lock=held(a_run(max_cost_usd=cap)))
        assert terminated(decided(facts)) == ends


def test_why_an_end_is_not_known_is_said() -> None:
    facts = some_facts(reports=Reports(outcome=ReadFailed("503 of S3")))
    assert decided(facts).reason.endswith("; whether it has ended could not be read (503 of S3)")


def test_a_stop_has_the_grace_and_no_more() -> None:
    asked = Stop(Cause.REQUESTED, "by hand", NOW - LIMITS.grace + seconds(1))
    assert decided(some_facts(lock=held(a_run(stop=asked), asked.requested_at))).actions == ()
    asked = Stop(Cause.REQUESTED, "by hand", NOW - LIMITS.grace)
    decision = decided(some_facts(lock=held(a_run(stop=asked))))
    assert terminated(decision) == [(INSTANCE_ID, Cause.REQUESTED)]
    assert recorded(decision).status is Status.KILLED


def test_the_grace_of_a_finished_agent_begins_with_its_verdict_and_not_with_the_last_write() -> None:
    ended = a_run().end(SAID_BY_AGENT, NOW - LIMITS.grace)
    assert terminated(decided(some_facts(lock=held(ended, NOW)))) == [(INSTANCE_ID, Cause.COMPLETED)]
    assert decided(some_facts(lock=held(replace(ended, phases=()), NOW))).actions == ()


@pytest.mark.parametrize("status", [Status.CLEANUP, Status.FAILED, Status.KILLED])
def test_a_finished_agent_has_the_grace_to_power_off(status: Status) -> None:
    ended = a_run(status=status, verdict=SAID_BY_AGENT)
    fresh = held(ended, NOW - LIMITS.grace + seconds(1))
    assert decided(some_facts(lock=fresh)).actions == ()
    assert terminated(decided(some_facts(lock=held(ended)))) == [(INSTANCE_ID, Cause.COMPLETED)]


def test_an_instance_ended_by_the_watchdog_gets_no_grace() -> None:
    verdict = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
    ended = held(a_run(status=Status.FAILED, verdict=verdict), NOW)
    assert terminated(decided(some_facts(lock=ended))) == [(INSTANCE_ID, Cause.HUNG)]


def test_a_boot_is_timed_by_ec2s_clock() -> None:
    young = an_instance(launched_at=NOW - LIMITS.boot + seconds(1))
    assert decided(some_facts(lock=held(launching()), instances=(young,), heartbeat=Absent())).actions == ()
    assert terminated(decided(some_facts(lock=held(launching()), heartbeat=Absent()))) == [(INSTANCE_ID, Cause.INFRA)]


@pytest.mark.parametrize("state", [InstanceState.STOPPING, InstanceState.STOPPED])
def test_a_stopped_instance_is_terminated_because_its_volume_costs(state: InstanceState) -> None:
    assert terminated(decided(some_facts(instances=(an_instance(state=state),)))) == [(INSTANCE_ID, Cause.INFRA)]


def test_hold_exempts_until_the_deadline() -> None:
    dead = a_beat(timedelta(hours=1))
    assert decided(some_facts(instances=(an_instance(hold=True),), heartbeat=dead)).actions == ()
    late = an_instance(hold=True, deadline=NOW)
    assert terminated(decided(some_facts(instances=(late,), heartbeat=dead))) == [(INSTANCE_ID, Cause.OVER_DEADLINE)]


def test_a_hold_with_an_end_exempts_until_then() -> None:
    dead = a_beat(timedelta(hours=1))
    kept = an_instance(hold=True, hold_until=NOW + seconds(1))
    over = an_instance(hold=True, hold_until=NOW)
    assert decided(some_facts(instances=(kept,), heartbeat=dead)).actions == ()
    assert recorded(decided(some_facts(instances=(over,), heartbeat=dead))).suspect.cause is Cause.INFRA
    nobody: dict[str, Any] = {"lock": Absent(), "heartbeat": Absent()}
    assert decided(some_facts(instances=(kept,), **nobody)).actions == ()
    assert MarkOrphan(INSTANCE_ID) in decided(some_facts(instances=(over,), **nobody)).actions


def test_a_terminated_instance_finishes_its_run() -> None:
    gone = an_instance(state=InstanceState.TERMINATED)
    (conclude,) = decided(some_facts(instances=(gone,), lock=held(a_run(verdict=SAID_BY_AGENT)))).actions
    assert isinstance(conclude, FinishRun)
    assert conclude.run.verdict == SAID_BY_AGENT


def test_an_instance_that_disappears_gives_its_run_a_verdict() -> None:
    gone = an_instance(state=InstanceState.TERMINATED)
    (conclude,) = decided(some_facts(instances=(gone,))).actions
    assert isinstance(conclude, FinishRun)
    assert conclude.run.verdict is not None
    assert conclude.run.verdict.cause is Cause.INFRA


def test_an_instance_that_is_not_listed_must_be_missing_twice() -> None:
    suspicious = recorded(decided(some_facts(instances=())))
    assert suspicious.suspect is not None
    silent = a_beat(LIMITS.lease + seconds(1))
    assert decided(some_facts(instances=(), lock=held(suspicious, NOW), heartbeat=silent)).actions == ()
    earlier = a_run(suspect=Suspect(Cause.INFRA, "not listed", NOW - LIMITS.absence))
    (conclude,) = decided(some_facts(instances=(), lock=held(earlier), heartbeat=silent)).actions
    assert isinstance(conclude, FinishRun)


@pytest.mark.parametrize("budget", [0, 1])
def test_a_run_that_is_not_listed_neither_ends_nor_restarts_while_its_agent_sends_heartbeats(budget: int) -> None:
    missed = a_run(suspect=Suspect(Cause.INFRA, "not listed", NOW - timedelta(hours=1)), crashes_left=budget)
    beats = some_facts(instances=(), lock=held(missed), heartbeat=a_beat(LIMITS.lease, checkpoint_age=seconds(60)))
    assert decided(beats).actions == ()


@pytest.mark.parametrize("years", [10, 7000])
def test_a_future_time_in_the_record_keeps_no_lane_and_hides_no_hang(years: int) -> None:
    forged = NOW + timedelta(days=365 * years)
    silent = a_beat(LIMITS.lease + seconds(1))
    missed = held(a_run(suspect=Suspect(Cause.INFRA, "forged", forged)), NOW - LIMITS.absence)
    (conclude,) = decided(some_facts(instances=(), lock=missed, heartbeat=silent)).actions
    assert isinstance(conclude, FinishRun)
    stopping = held(a_run(stop=Stop(Cause.REQUESTED, "forged", forged)), NOW - LIMITS.grace)
    assert terminated(decided(some_facts(lock=stopping))) == [(INSTANCE_ID, Cause.REQUESTED)]
    hanging = held(a_run(suspect=Suspect(Cause.HUNG, "forged", forged)), NOW - LIMITS.confirmation)
    stalled = a_beat(stalled_for=LIMITS.progress + seconds(1))
    assert terminated(decided(some_facts(lock=hanging, heartbeat=stalled))) == [(INSTANCE_ID, Cause.HUNG)]


def test_an_absence_counts_from_the_request_of_the_list_not_from_the_decision() -> None:
    earlier = a_run(suspect=Suspect(Cause.INFRA, "not listed", NOW - LIMITS.absence))
    silent = a_beat(LIMITS.lease + seconds(1))
    state = held(earlier, NOW - LIMITS.absence)
    slow = some_facts(instances=(), lock=state, listed_at=NOW - seconds(1), heartbeat=silent)
    assert decided(slow).actions == ()


def test_an_instance_that_is_listed_again_clears_the_suspicion_that_it_was_missing() -> None:
    before = NOW - timedelta(minutes=5)
    missed = launching(suspect=Suspect(Cause.INFRA, "not listed", before), updated_at=before)
    young = an_instance(launched_at=NOW - timedelta(minutes=6))
    found = recorded(decided(some_facts(lock=held(missed), instances=(young,), heartbeat=Absent())))
    assert (found.suspect, found.updated_at) == (None, NOW)


ON_HOLD: dict[str, dict[str, Any]] = {
    "of a run": {},
    "of nobody": {"lock": Absent(), "heartbeat": Absent()},
    "beside an unreadable lock": {"lock": Unreadable("not JSON", '"e-1"', NOW), "heartbeat": Absent()},
}


@pytest.mark.parametrize("facts", [ON_HOLD["of nobody"], ON_HOLD["beside an unreadable lock"]])
def test_hold_without_a_deadline_ends_with_the_longest_runtime_by_default(facts: dict[str, Any]) -> None:
    launched = NOW - LIMITS.max_runtime
    held_on = an_instance(hold=True, deadline=None, launched_at=launched + seconds(1))
    assert terminated(decided(some_facts(instances=(held_on,), **facts))) == []
    over = an_instance(hold=True, deadline=None, launched_at=launched)
    assert terminated(decided(some_facts(instances=(over,), **facts))) == [(over.instance_id, Cause.OVER_DEADLINE)]


def test_hold_without_a_deadline_has_a_schedule() -> None:
    instance = an_instance(hold=True, deadline=None)
    facts = some_facts(instances=(instance,), lock=Absent(), heartbeat=Absent(), scheduled=frozenset())
    due = instance.launched_at + LIMITS.max_runtime
    assert ScheduleDeadline(instance.instance_id, due) in decided(facts).actions


@pytest.mark.parametrize("facts", ON_HOLD.values(), ids=ON_HOLD)
def test_people_are_notified_of_an_instance_on_hold_after_hours(facts: dict[str, Any]) -> None:
    def notified(after: timedelta) -> list[Kind]:
        instance = an_instance(hold=True, launched_at=NOW - after)
        actions = decided(some_facts(instances=(instance,), **facts)).actions
        return [action.kind for action in actions if isinstance(action, Notify) and action.kind is Kind.HELD]

    assert notified(HOLD_NOTICE - seconds(1)) == []
    assert notified(HOLD_NOTICE) == [Kind.HELD]


def test_what_people_are_told_of_an_instance_on_hold_says_until_when() -> None:
    nobody: dict[str, Any] = {"lock": Absent(), "heartbeat": Absent()}
    old, until = {"launched_at": NOW - HOLD_NOTICE}, NOW + timedelta(hours=2)
    for hold, end in (
        ({"hold": True, "deadline": NOW + timedelta(hours=1)}, f"{NOW + timedelta(hours=1):%Y-%m-%d %H:%M:%SZ}"),
        ({"hold": True, "deadline": None}, f"{NOW - HOLD_NOTICE + LIMITS.max_runtime:%Y-%m-%d %H:%M:%SZ}"),
    ):
        decision = decided(some_facts(instances=(an_instance(**(old | hold)),), **nobody))
        (notice,) = (action for action in decision.actions if isinstance(action, Notify))
        text = f"{INSTANCE_ID} is on hold, so nothing but {end} ends it, and it costs money until then"
        assert notice.text == text
        assert decision.reason.endswith("is on hold; notified")
        ending = an_instance(**(old | hold | {"hold_until": until}))
        (notice,) = (a for a in decided(some_facts(instances=(ending,), **nobody)).actions if isinstance(a, Notify))
        assert notice.text == f"{text}; the hold is over at {until:%Y-%m-%d %H:%M:%SZ}"


def test_an_instance_on_hold_without_a_deadline_ends_at_the_default_and_the_reason_says_so() -> None:
    forever = an_instance(hold=True, deadline=None, launched_at=NOW - LIMITS.max_runtime)
    decision = decided(some_facts(instances=(forever,), lock=Absent(), heartbeat=Absent()))
    assert terminated(decision) == [(INSTANCE_ID, Cause.OVER_DEADLINE)]
    assert f"{INSTANCE_ID} is on hold without a deadline in its tags, and past the default" in decision.reason


def test_a_silent_instance_stays_suspected_beside_one_on_hold() -> None:
    seen = Suspect(Cause.INFRA, "no heartbeat", NOW - seconds(10))
    run = a_run(instance_id=None, suspect=seen)
    pair = (an_instance(), an_instance(instance_id="i-bbbbbbbb", hold=True))
    silent = a_beat(LIMITS.lease + seconds(15))
    decision = decided(some_facts(instances=pair, lock=held(run, NOW - seconds(10)), heartbeat=silent))
    assert decision.actions == ()
    assert "not confirmed yet" in decision.reason


def test_shutting_down_is_not_the_first_observation_of_an_absence() -> None:
    leaving = a_run(suspect=Suspect(Cause.PREEMPTED, "the instance is shutting down", NOW - timedelta(hours=1)))
    decision = decided(some_facts(instances=(), lock=held(leaving)))
    assert recorded(decision).suspect.first_seen == NOW


def test_a_missing_instance_is_waited_for_until_the_deadline_and_no_longer_than_its_claim_is_worth() -> None:
    missed = Suspect(Cause.INFRA, "EC2 lists no instance of the run", NOW - LIMITS.absence)

    def finished(run: Run, heartbeat: HeartbeatRead) -> bool:
        lock = held(replace(run, suspect=missed), NOW - LIMITS.absence)
        return any(
            isinstance(action, FinishRun)
            for action in decided(some_facts(instances=(), lock=lock, heartbeat=heartbeat)).actions
        )

    assert finished(a_run(deadline=NOW), ReadFailed("503"))
    assert not finished(a_run(deadline=NOW + seconds(1)), ReadFailed("503"))
    assert not finished(a_run(), a_beat())
    assert finished(a_run(claimed_at=None), a_beat())


def test_an_instance_that_the_record_does_not_name_yet_is_lost_like_any_other() -> None:
    gone = an_instance(state=InstanceState.TERMINATED)
    beat = a_beat(checkpoint_age=seconds(60))
    decision = decided(some_facts(instances=(gone,), lock=held(launching(crashes_left=1)), heartbeat=beat))
    assert [action.run.attempt for action in decision.actions if isinstance(action, WriteLock)] == [1, 2]


def test_a_lock_is_kept_while_an_instance_of_an_earlier_attempt_lives() -> None:
    old = an_instance(instance_id="i-aaaaaaaa", attempt=1)
    gone = an_instance(attempt=2, state=InstanceState.TERMINATED)
    decision = decided(some_facts(instances=(old, gone), lock=held(a_run(attempt=2)), heartbeat=Absent()))
    assert not any(isinstance(action, FinishRun) for action in decision.actions)


def test_a_launch_has_the_boot_time_to_name_its_instance() -> None:
    assert (
        decided(some_facts(instances=(), lock=held(launching(), NOW - seconds(60)), heartbeat=Absent())).actions == ()
    )


def test_a_second_attempt_whose_launcher_died_is_launched_again_within_the_time_to_boot() -> None:
    option = Launching(LaunchOption("g5.xlarge", "subnet-a"), NOW - TAKE_OVER_AFTER)
    for attempt, asks in ((2, True), (1, False)):
        run = replace(launching(), attempt=attempt, launching=option)
        decision = decided(LaneFacts(run.lane, (), NOW, held(run, NOW), Absent()))
        assert (Relaunch(run) in decision.actions) is asks


def test_the_verdict_on_a_run_without_an_instance_has_ec2s_last_words() -> None:
    refused = [Refusal(LaunchOption(kind, "subnet-a"), "Unsupported", "no") for kind in ("g5.xlarge", "p5.48xlarge")]
    waits = Waiting(NOW - timedelta(hours=1), NOW + seconds(1), 2, NOW, tuple(refused))
    for now, refusals, text in (
        (NOW, (), "no instance was started: no launcher has finished its work"),
        (NOW + seconds(1), (), "no capacity for 60 min: EC2 did not answer"),
        (NOW + seconds(1), tuple(refused), f"no capacity for 60 min: {refused[1]}; {refused[0]}"),
    ):
        run = replace(launching(), waiting=replace(waits, refusals=refusals), launching=None)
        assert verdict_without_instance(run, now).message == text


@pytest.mark.parametrize(("pause_is_over", "asks"), [(seconds(-1), False), (seconds(0), True)])
def test_a_launch_that_waits_is_asked_for_when_its_pause_is_over(pause_is_over: timedelta, asks: bool) -> None:
    waiting = Waiting(NOW - LIMITS.boot, NOW + LIMITS.boot, 3, NOW - pause_is_over)
    run = replace(launching(), attempt=2, waiting=waiting, launching=None)
    decision = decided(LaneFacts(run.lane, (), NOW, held(run), Absent()))
    assert any(isinstance(action, Relaunch) for action in decision.actions) is asks


def test_no_launch_is_asked_for_once_the_attempt_has_had_an_instance() -> None:
    wanted = replace(launching(), attempt=2, launching=None)
    for run, asks in ((wanted, True), (replace(wanted, instance_id=INSTANCE_ID), False)):
        decision = decided(LaneFacts(run.lane, (), NOW, held(run, NOW), Absent()))
        assert (Relaunch(run) in decision.actions) is asks


def test_an_orphan_has_a_grace_then_two_observations() -> None:
    young = an_instance(launched_at=NOW - LIMITS.grace + seconds(1))
    assert decided(some_facts(lock=Absent(), instances=(young,), heartbeat=Absent())).actions == ()
    orphan = some_facts(lock=Absent(), heartbeat=Absent())
    assert decided(orphan).actions == (MarkOrphan(INSTANCE_ID),)
    again = some_facts(lock=Absent(), heartbeat=Absent(), suspects={INSTANCE_ID: NOW - seconds(10)})
    assert decided(again).actions == ()
    later = some_facts(lock=Absent(), heartbeat=Absent(), suspects={INSTANCE_ID: NOW - LIMITS.confirmation})
    assert terminated(decided(later)) == [(INSTANCE_ID, Cause.ORPHAN)]


def test_an_instance_of_another_run_is_an_orphan_beside_a_healthy_one() -> None:
    orphan = an_instance(instance_id="i-bbbbbbbb", run_id="20260101T000000Z-ffffff")
    suspects = {"i-bbbbbbbb": NOW - LIMITS.confirmation}
    decision = decided(some_facts(instances=(an_instance(), orphan), suspects=suspects))
    assert terminated(decision) == [("i-bbbbbbbb", Cause.ORPHAN)]


def test_a_record_that_names_a_foreign_instance_moves_nothing_but_our_own() -> None:
    decision = decided(some_facts(lock=held(a_run(instance_id="i-ffffffffffffffff0")), heartbeat=Absent()))
    assert {action.instance_id for action in decision.actions if isinstance(action, (Terminate, MarkOrphan))} <= {
        INSTANCE_ID
    }


def test_an_unreadable_lock_freezes_the_lane_and_the_lease_decides() -> None:
    broken = Unreadable("not JSON", '"e"', NOW - timedelta(hours=1))
    alive = decided(some_facts(lock=broken, heartbeats={RUN_ID: a_beat()}))
    assert terminated(alive) == []
    assert [action.kind for action in alive.actions if isinstance(action, Notify)] == [Kind.STUCK]
    silent = some_facts(lock=broken, heartbeats={RUN_ID: a_beat(LIMITS.lease + seconds(1))})
    assert MarkOrphan(INSTANCE_ID) in decided(silent).actions
    dead = replace(silent, suspects={INSTANCE_ID: NOW - LIMITS.confirmation})
    assert terminated(decided(dead)) == [(INSTANCE_ID, Cause.ORPHAN)]


def test_an_unreadable_lock_is_released_when_nothing_is_alive_at_two_observations_a_lease_apart() -> None:
    broken = Unreadable("not JSON", '"e"', NOW - LIMITS.boot)
    first = some_facts(lock=broken, instances=(), heartbeat=Absent())
    assert decided(first).actions[-1] == MarkUnreadable('"e"')
    between = replace(first, suspects={'"e"': NOW - LIMITS.lease + seconds(1)})
    assert not any(isinstance(action, ReleaseUnreadable) for action in decided(between).actions)
    second = replace(first, suspects={'"e"': NOW - LIMITS.lease})
    assert ReleaseUnreadable('"e"') in decided(second).actions


@pytest.mark.parametrize("cause", Cause)
def test_time_money_and_people_end_an_instance_whatever_is_written_meanwhile(cause: Cause) -> None:
    hard = {"over-deadline", "over-budget", "requested"}
    assert Terminate(INSTANCE_ID, cause).unconditional == (str(cause) in hard)


IS_LOST = {
    "its instance is gone": (a_run(), (an_instance(state=InstanceState.TERMINATED),), True),
    "its instance is not listed": (a_run(), (), True),
    "its instance lives": (a_run(), (an_instance(),), False),
    "it lives beside one that is gone": (
        a_run(instance_id=None),
        (an_instance(instance_id="i-bbbbbbbb", state=InstanceState.TERMINATED), an_instance()), False,
    ),
    "another run's lives": (a_run(), (an_instance(run_id="20260101T000000Z-ffffff"),), True),
    "it was claimed, and names none": (a_run(instance_id=None), (), True),
    "it names one, and was not claimed": (launching(instance_id=INSTANCE_ID), (), True),
    "one was there, which it does not name": (launching(), (an_instance(state=InstanceState.TERMINATED),), True),
    "none was ever there": (launching(), (), False),
    "it has a verdict": (a_run(verdict=SAID_BY_AGENT), (), False),
    "it was told to stop": (a_run(stop=Stop(Cause.REQUESTED, "by hand", NOW)), (), False),
}  # fmt: skip


@pytest.mark.parametrize("name", IS_LOST)
def test_a_run_is_lost_when_its_instance_is_gone_without_an_explanation(name: str) -> None:
    run, instances, lost = IS_LOST[name]
    assert is_lost(run, instances) is lost


def test_a_reclaimed_instance_gets_its_verdict_from_the_watchdog() -> None:
    gone = an_instance(state=InstanceState.TERMINATED, reclaimed=True)
    (concluded,) = decided(some_facts(instances=(gone,), lock=held(a_run()))).actions
    assert isinstance(concluded, FinishRun)
    assert concluded.run.verdict is not None
    assert (concluded.run.verdict.cause, concluded.run.verdict.decided_by) == (Cause.PREEMPTED, DecidedBy.WATCHDOG)


@pytest.mark.parametrize(
    ("claimed", "words"), [(True, "the instance disappeared during training"), (False, "no agent ever claimed the run")]
)
def test_why_ec2_ended_an_instance_is_in_the_verdict_with_what_to_do(claimed: bool, words: str) -> None:
    reason = StateReason("Client.InternalError", "Client.InternalError: Client error on launch")
    gone = an_instance(state=InstanceState.TERMINATED, state_reason=reason)
    run = a_run() if claimed else launching(instance_id=INSTANCE_ID)
    for instances in ((gone,), (an_instance(attempt=2, state=InstanceState.TERMINATED), gone)):
        (concluded,) = decided(some_facts(instances=instances, lock=held(run))).actions
        assert isinstance(concluded, FinishRun)
        assert concluded.run.verdict is not None
        message = concluded.run.verdict.message
        assert message.startswith(words)
        assert "EC2 says Client.InternalError: Client error on launch (EC2 may not use the key" in message


def test_why_ec2_ended_the_instance_of_another_attempt_is_not_in_the_verdict() -> None:
    reason = StateReason("Client.VolumeLimitExceeded", "Volume limit exceeded")
    other = an_instance(state=InstanceState.TERMINATED, attempt=2, state_reason=reason)
    gone = an_instance(state=InstanceState.TERMINATED)
    (concluded,) = decided(some_facts(instances=(other, gone), lock=held(a_run()))).actions
    assert isinstance(concluded, FinishRun)
    assert concluded.run.verdict is not None
    assert "EC2 says" not in concluded.run.verdict.message


def test_a_termination_is_neither_forced_nor_delayed_by_default() -> None:
    end = Terminate(INSTANCE_ID, Cause.HUNG)
    assert (end.force, end.after_notification) == (False, False)


def test_an_empty_lane_needs_no_action() -> None:
    assert decided(NO_FACTS).actions == ()


LONG_AGO = LIMITS.alarm + LIMITS.confirmation
WATCHDOGS = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
ENDED_BY_WATCHDOG = {"status": Status.FAILED, "verdict": WATCHDOGS}
STILL_UP = {
    "ended by the watchdog": lambda since: some_facts(lock=held(a_run(**ENDED_BY_WATCHDOG), NOW - since)),
    "ended by the watchdog and stopped": lambda since: some_facts(
        lock=held(a_run(**ENDED_BY_WATCHDOG), NOW - since), instances=(an_instance(state=InstanceState.STOPPED),)
    ),
    "ended by the agent": lambda since: some_facts(lock=held(a_run(verdict=SAID_BY_AGENT), NOW - since)),
    "past the deadline": lambda since: some_facts(instances=(an_instance(deadline=NOW - since),)),
    "past its tag": lambda since: some_facts(lock=Absent(), instances=(an_instance(deadline=NOW - since),)),
    "without a record": lambda since: some_facts(
        lock=Absent(), heartbeat=Absent(), suspects={INSTANCE_ID: NOW - since}
    ),
    "without a readable record": lambda since: some_facts(
        lock=Unreadable("not JSON", '"e"', NOW), heartbeat=a_beat(since + LIMITS.lease),
        suspects={INSTANCE_ID: NOW - since},
    ),
    "hung without a readable record": lambda since: some_facts(
        lock=Unreadable("not JSON", '"e"', NOW), heartbeat=a_beat(stalled_for=LIMITS.progress),
        suspects={INSTANCE_ID: NOW - since},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STILL_UP)
def test_an_instance_that_is_up_long_after_its_end_is_notified(name: str) -> None:
    late, early = decided(STILL_UP[name](LONG_AGO)), decided(STILL_UP[name](LIMITS.alarm - seconds(1)))
    for decision in (late, early):
        assert [instance_id for instance_id, _ in terminated(decision)] == [INSTANCE_ID]
    leaks = [[a for a in d.actions if isinstance(a, Notify) and a.kind is Kind.LEAK] for d in (late, early)]
    assert [len(found) for found in leaks] == [1, 0]
    (leak,) = leaks[0]
    assert leak.text.startswith(f"{INSTANCE_ID} is ")
    state = STILL_UP[name](LONG_AGO).lock
    run = state.run if isinstance(state, LockHeld) else None
    assert (leak.incident, leak.run) == (RUN_ID if run else INSTANCE_ID, run)


def test_an_existing_verdict_is_not_written_again() -> None:
    for decision in (
        decided(STILL_UP["ended by the watchdog and stopped"](LONG_AGO)),
        decided(STILL_UP["ended by the agent"](LONG_AGO)),
    ):
        assert not any(isinstance(action, WriteLock) for action in decision.actions)


# --- for all facts ---------------------------------------------------------------------------------------------

spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=14))
instances = st.builds(
    an_instance,
    instance_id=st.sampled_from([INSTANCE_ID, "i-bbbbbbbb"]),
    state=st.sampled_from(InstanceState),
    launched_at=spans.map(lambda span: NOW - span),
    run_id=st.sampled_from([RUN_ID, "20260101T000000Z-ffffff", None]),
    attempt=st.integers(0, 2),
    deadline=st.one_of(st.none(), st.timedeltas(timedelta(hours=-1), timedelta(hours=12)).map(lambda span: NOW + span)),
    hold=st.booleans(),
)
stops = st.builds(Stop, st.sampled_from(Cause), st.just("why"), spans.map(lambda span: NOW - span))
verdicts = st.builds(
    Verdict, st.sampled_from(Outcome), st.sampled_from(Cause), st.just("why"), st.sampled_from(DecidedBy)
)
suspicions = st.builds(Suspect, st.sampled_from(Cause), st.just("why"), spans.map(lambda span: NOW - span))
some_runs = st.builds(
    a_run,
    status=st.sampled_from(Status),
    current_step=st.sampled_from(["launching", "training"]),
    claimed_at=st.sampled_from([None, NOW - timedelta(minutes=58)]),
    attempt=st.integers(1, 2),
    instance_id=st.sampled_from([None, INSTANCE_ID, "i-ffffffff"]),
    deadline=st.timedeltas(timedelta(hours=-1), timedelta(hours=12)).map(lambda span: NOW + span),
    max_cost_usd=st.sampled_from([None, 0.5, 50.0]),
    verdict=st.one_of(st.none(), verdicts),
    stop=st.one_of(st.none(), stops),
    suspect=st.one_of(st.none(), suspicions),
)
states: st.SearchStrategy[LockRead] = st.one_of(
    st.just(Absent()),
    st.just(ReadFailed("503")),
    st.builds(Unreadable, st.just("not JSON"), st.just('"e"'), spans.map(lambda span: NOW - span)),
    st.builds(LockHeld, some_runs, st.just('"e"'), spans.map(lambda span: NOW - span)),
)
beats: st.SearchStrategy[HeartbeatRead] = st.one_of(
    st.just(Absent()),
    st.just(ReadFailed("503")),
    st.builds(a_beat, spans, stalled_for=spans, instance_id=st.sampled_from([INSTANCE_ID, "i-bbbbbbbb"])),
)
all_facts = st.builds(
    some_facts,
    instances=st.lists(instances, max_size=3, unique_by=lambda each: each.instance_id).map(tuple),
    lock=states,
    heartbeat=beats,
    heartbeats=st.dictionaries(st.sampled_from([RUN_ID, "20260101T000000Z-ffffff"]), beats),
    suspects=st.dictionaries(st.sampled_from([INSTANCE_ID, "i-bbbbbbbb"]), spans.map(lambda span: NOW - span)),
)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (a_run(), "the instance disappeared during training: killed with\u2026"),
        (launching(instance_id=INSTANCE_ID), "no agent ever claimed the run: killed with\u2026"),
    ],
)
def test_the_exit_report_is_in_the_verdict(run: Run, says: str) -> None:
    gone = an_instance(state=InstanceState.TERMINATED)
    facts = some_facts(instances=(gone,), lock=held(run), exit_report=f"\nkilled\x1bwith{'x' * 500}\n")
    (conclude,) = decided(facts).actions
    assert isinstance(conclude, FinishRun)
    assert conclude.run.verdict is not None
    message = conclude.run.verdict.message
    assert message[: len(says) - 1] == says[:-1]
    assert len(message) == len(says) - len("killed with\u2026") + 300
    assert message.isprintable()


def test_the_exit_report_of_a_stopped_run_changes_nothing() -> None:
    stop = Stop(Cause.REQUESTED, "somebody asked", NOW)
    facts = some_facts(instances=(an_instance(state=InstanceState.TERMINATED),), lock=held(a_run(stop=stop)))
    assert decided(facts) == decided(replace(facts, exit_report="killed"))


@given(all_facts)
def test_every_set_of_facts_gets_a_decision_with_a_reason(facts: LaneFacts) -> None:
    assert decided(facts).reason


@given(all_facts)
def test_only_living_instances_from_ec2s_list_are_ever_terminated(facts: LaneFacts) -> None:
    listed = {instance.instance_id for instance in facts.instances if instance.state is not InstanceState.TERMINATED}
    assert {instance_id for instance_id, _ in terminated(decided(facts))} <= listed


@given(all_facts)
def test_a_lock_is_never_released_while_an_instance_of_its_run_lives(facts: LaneFacts) -> None:
    decision = decided(facts)
    if any(isinstance(action, FinishRun) for action in decision.actions):
        assert isinstance(facts.lock, LockHeld)
        run_id = facts.lock.run.run_id
        assert not any(instance.alive and instance.run_id == run_id for instance in facts.instances)


@given(all_facts)
def test_with_a_fresh_moving_heartbeat_only_limits_and_people_end_a_claimed_run(facts: LaneFacts) -> None:
    beat = facts.heartbeat
    if not isinstance(facts.lock, LockHeld) or not isinstance(beat, HeartbeatReceived):
        return
    run = facts.lock.run
    fresh = NOW - beat.received_at <= LIMITS.lease and beat.heartbeat.stalled_for + LIMITS.lease <= LIMITS.progress
    instance = next(
        (instance for instance in facts.instances if instance.instance_id == beat.heartbeat.instance_id), None
    )
    mine = instance and (instance.run_id, instance.attempt, instance.state) == (
        RUN_ID,
        run.attempt,
        InstanceState.RUNNING,
    )
    if (
        fresh
        and mine
        and instance
        and run.claimed
        and run.status in ACTIVE
        and run.verdict is None
        and run.stop is None
    ):
        if (beat.heartbeat.attempt, run.instance_id) != (run.attempt, instance.instance_id):
            return
        causes = {cause for instance_id, cause in terminated(decided(facts)) if instance_id == instance.instance_id}
        assert causes <= {Cause.OVER_DEADLINE, Cause.OVER_BUDGET}


@given(all_facts)
def test_with_a_fresh_moving_heartbeat_no_run_in_time_is_given_up_because_it_is_not_listed(facts: LaneFacts) -> None:
    beat = facts.heartbeat
    if not isinstance(facts.lock, LockHeld) or not isinstance(beat, HeartbeatReceived):
        return
    run = facts.lock.run
    fresh = NOW - beat.received_at <= LIMITS.lease and beat.heartbeat.stalled_for + LIMITS.lease <= LIMITS.progress
    listed = any(instance.run_id == run.run_id for instance in facts.instances)
    mine = run.claimed and beat.heartbeat.instance_id == run.instance_id
    if fresh and not listed and mine and run.deadline > NOW:
        actions = decided(facts).actions
        assert not any(isinstance(action, FinishRun) for action in actions)
        assert all(action.run.attempt == run.attempt for action in actions if isinstance(action, WriteLock))


@given(all_facts)
def test_an_instance_with_a_fresh_moving_heartbeat_beside_an_unreadable_lock_is_ended_by_its_deadline_alone(
    facts: LaneFacts,
) -> None:
    if not isinstance(facts.lock, Unreadable):
        return
    alive = {
        instance.instance_id
        for instance in facts.instances
        if instance.state is InstanceState.RUNNING
        and isinstance(beat := facts.heartbeats.get(instance.run_id or ""), HeartbeatReceived)
        if beat.heartbeat.instance_id == instance.instance_id and NOW - beat.received_at <= LIMITS.lease
        if beat.heartbeat.stalled_for + LIMITS.lease <= LIMITS.progress
    }
    ended = terminated(decided(facts))
    assert {cause for instance_id, cause in ended if instance_id in alive} <= {Cause.OVER_DEADLINE}
    assert not (alive and any(isinstance(action, ReleaseUnreadable) for action in decided(facts).actions))


@pytest.mark.parametrize(
    ("deadline", "stalled_for", "kept"),
    [
        (NOW + seconds(1), seconds(1), True),
        (NOW, seconds(1), False),
        (NOW - seconds(60), seconds(1), False),
        (NOW + seconds(1), LIMITS.progress + seconds(1), False),
    ],
)
def test_an_agent_whose_instance_lost_its_tags_keeps_its_run_while_it_works_and_has_time(
    deadline: datetime, stalled_for: timedelta, kept: bool
) -> None:
    """Nobody can terminate its instance: when its run is finished, it finds no lock and ends itself."""
    missed = NOW - LIMITS.absence
    run = a_run(deadline=deadline, suspect=Suspect(Cause.INFRA, "not listed", missed))
    decision = decided(some_facts(instances=(), lock=held(run, missed), heartbeat=a_beat(stalled_for=stalled_for)))
    assert [type(action) for action in decision.actions] == ([] if kept else [FinishRun])


def test_an_unlisted_instance_with_an_old_schedule_is_looked_up() -> None:
    old, new = NOW - LIMITS.boot, NOW - LIMITS.boot + seconds(1)
    scheduled = {"i-2": old, "i-1": old, "i-3": new, INSTANCE_ID: old}
    assert unlisted(scheduled, (an_instance(),), NOW, LIMITS) == ("i-1", "i-2")


def test_a_schedule_is_cancelled_once_a_lookup_says_that_the_instance_is_gone() -> None:
    states = {"i-1": InstanceState.TERMINATED, "i-2": InstanceState.RUNNING, "i-3": InstanceState.STOPPED}
    lookups = [InstanceLookup(instance_id, state, ours=False) for instance_id, state in states.items()]
    decision = decide_unlisted(("i-0", "i-1", "i-2", "i-3"), lookups)
    assert disarmed(decision) == {"i-0", "i-1"}
    told = {action.incident: action for action in decision.actions if isinstance(action, Notify)}
    assert told.keys() == {"i-2", "i-3"}
    assert {action.kind for action in told.values()} == {Kind.LEAK}
    assert "aws ec2 terminate-instances --instance-ids i-3" in told["i-3"].text
    assert decision.reason == "; ".join(
        ["schedules of instances that EC2 does not list", "i-0 is gone", "i-1 is gone", told["i-2"].text,
         told["i-3"].text]
    )  # fmt: skip


def test_an_instance_with_our_tags_that_is_not_listed_yet_needs_no_action() -> None:
    assert decide_unlisted(("i-1",), (InstanceLookup("i-1", InstanceState.RUNNING, ours=True),)).actions == ()


@pytest.mark.parametrize("verdict", [None, SAID_BY_AGENT])
def test_a_record_cancels_no_schedule_whatever_instance_it_names(verdict: Verdict | None) -> None:
    earlier = Suspect(Cause.INFRA, "not listed", NOW - LIMITS.absence)
    victim = a_run(instance_id="i-of-another-lane", suspect=earlier, verdict=verdict)
    decision = decided(some_facts(instances=(), lock=held(victim), scheduled={"i-of-another-lane"}))
    assert any(isinstance(action, FinishRun) for action in decision.actions)
    assert disarmed(decision) == set()
