"""What a run costs: every instance of every attempt, from its launch to its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.facts import Absent, ReadFailed
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.planning.cost import cost_of, cost_until, price_in, settled, time_left, with_volume_and_address
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.testing.builders import INSTANCE_ID, LIMITS, NOW, a_beat, a_run, an_instance, launching

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
OTHER_ID = "i-0fedcba9876543210"
COMPLETED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
LOST = Verdict(Outcome.FAILED, Cause.INFRA, "the instance disappeared", DecidedBy.WATCHDOG)
OF_TWO: dict[str, Any] = {"prices": (("g4dn.xlarge", 1.0), ("g5.4xlarge", 3.0)), "price_per_hour_usd": 5.0}


def a_second_attempt(**changes: Any) -> Run:
    """A run created ten hours ago whose first attempt cost $5; its second instance was launched an hour ago."""
    began = NOW - 2 * HOUR
    second: dict[str, Any] = {
        "created_at": NOW - 10 * HOUR, "attempt": 2, "spent_usd": 5.0, "price_per_hour_usd": 2.0,
        "launched_at": NOW - HOUR,
        "phases": (
            (Status.INITIALIZATION, NOW - 10 * HOUR), (Status.TRAINING, NOW - 9 * HOUR), (Status.INITIALIZATION, began),
            (Status.TRAINING, NOW - 50 * MINUTE),
        ),
    }  # fmt: skip
    return a_run(**second | changes)


def second_instance(**changes: Any) -> Any:
    return an_instance(**{"attempt": 2} | changes)


def gone(**changes: Any) -> Any:
    return second_instance(**{"state": InstanceState.TERMINATED} | changes)


@pytest.mark.parametrize("ahead", [timedelta(0), MINUTE])
def test_an_instance_that_was_only_just_launched_has_cost_nothing(ahead: timedelta) -> None:
    assert cost_of(an_instance(launched_at=NOW + ahead), 1.0, NOW) == 0.0
    assert cost_until(NOW, a_second_attempt(), LIMITS, [second_instance(launched_at=NOW + ahead)]) == 5.0


def test_an_instance_without_a_run_costs_until_its_end() -> None:
    assert cost_of(an_instance(ended_at=NOW - 30 * MINUTE), 2.0, NOW) == 1.0
    assert cost_of(an_instance(), None, NOW) is None


@pytest.mark.parametrize("state", [InstanceState.PENDING, InstanceState.RUNNING, InstanceState.STOPPED])
def test_a_living_instance_costs_since_its_launch_and_earlier_attempts_are_added(state: InstanceState) -> None:
    assert cost_until(NOW, a_second_attempt(), LIMITS, [second_instance(state=state)]) == pytest.approx(7.0)


def test_the_launch_counts_by_ec2_or_else_by_the_record_and_never_the_creation_of_the_run() -> None:
    run = a_second_attempt(launched_at=NOW - 90 * MINUTE)
    assert cost_until(NOW, run, LIMITS, [second_instance(launched_at=NOW - HOUR)]) == pytest.approx(7.0)
    assert cost_until(NOW, run, LIMITS) == pytest.approx(8.0)
    assert cost_until(NOW, replace(run, launched_at=None), LIMITS) == pytest.approx(9.0)


def test_an_attempt_without_an_instance_costs_nothing_however_long_it_waits() -> None:
    waiting = launching(attempt=2, spent_usd=5.0, price_per_hour_usd=2.0, created_at=NOW - 10 * HOUR)
    later = NOW + 5 * HOUR
    assert cost_until(later, waiting, LIMITS) == cost_until(later, waiting, LIMITS, []) == 5.0
    assert settled(later, waiting, LIMITS, (), Absent()).spent_usd == 5.0


def test_every_instance_of_the_attempt_counts_claimed_or_not_and_no_other() -> None:
    others = [
        second_instance(instance_id=OTHER_ID, launched_at=NOW - 30 * MINUTE),
        an_instance(instance_id="i-1", attempt=1),
        second_instance(instance_id="i-2", run_id="20260131T110000Z-ffffff"),
    ]
    assert cost_until(NOW, a_second_attempt(), LIMITS, [second_instance(), *others]) == pytest.approx(8.0)
    unclaimed = a_second_attempt(status=Status.INITIALIZATION, current_step="launching", instance_id=None)
    assert cost_until(NOW, unclaimed, LIMITS, [second_instance()]) == pytest.approx(7.0)


@pytest.mark.parametrize("state", [InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED])
@pytest.mark.parametrize("late", [timedelta(0), MINUTE, 110 * MINUTE])
def test_an_instance_that_a_call_has_ended_costs_until_then_whenever_it_is_asked(
    state: InstanceState, late: timedelta
) -> None:
    ended = gone(state=state, ended_at=NOW - 30 * MINUTE)
    assert cost_until(NOW + late, a_second_attempt(), LIMITS, [ended]) == pytest.approx(6.0)


def test_an_instance_that_ended_by_itself_costs_until_the_look_at_it_if_somebody_looks_each_minute() -> None:
    heard = a_beat(MINUTE, attempt=2)
    assert cost_until(NOW, a_second_attempt(), LIMITS, [gone()], heard) == pytest.approx(7.0)


@pytest.mark.parametrize("late", [10 * MINUTE, 110 * MINUTE])
@pytest.mark.parametrize("listed", [True, False])
def test_after_an_outage_of_the_watchdog_its_agents_last_sign_of_life_counts(late: timedelta, listed: bool) -> None:
    heard = a_beat(timedelta(seconds=30), attempt=2)
    instances = [gone()] if listed else []
    assert cost_until(NOW + late, a_second_attempt(), LIMITS, instances, heard) == pytest.approx(7.0)


@pytest.mark.parametrize("cause", [Cause.OVER_DEADLINE, Cause.OVER_BUDGET])
def test_an_instance_that_the_watchdog_has_asked_to_stop_at_a_limit_was_there_until_then(cause: Cause) -> None:
    """It is cut off from S3, and powers itself off at its deadline, whose time EC2 does not name."""
    heard = a_beat(50 * MINUTE, attempt=2)
    asked = a_second_attempt(stop=Stop(cause, "the deadline is near", NOW - timedelta(seconds=30)))
    assert cost_until(NOW + 2 * HOUR, asked, LIMITS, [gone()], heard) == pytest.approx(7.0)
    by_a_person = replace(asked, stop=Stop(Cause.REQUESTED, "by hand", NOW - timedelta(seconds=30)))
    assert cost_until(NOW + 2 * HOUR, by_a_person, LIMITS, [gone()], heard) == pytest.approx(5.0 + 2 * 10.5 / 60)


def test_what_was_kept_on_hold_may_have_lived_until_somebody_found_it_gone() -> None:
    """It is silent for as long as somebody looks at it, and its end has no time."""
    heard = a_beat(50 * MINUTE, attempt=2)
    assert cost_until(NOW, a_second_attempt(), LIMITS, [gone(hold=True)], heard) == pytest.approx(7.0)
    named = gone(hold=True, ended_at=NOW - 30 * MINUTE)
    assert cost_until(NOW, a_second_attempt(), LIMITS, [named], heard) == pytest.approx(6.0)


@pytest.mark.parametrize("listed", [None, ()])
def test_an_agents_verdict_is_a_sign_of_life_and_the_watchdogs_is_none(listed: tuple[()] | None) -> None:
    heard = a_beat(30 * MINUTE + timedelta(seconds=30), attempt=2)
    run = a_second_attempt()
    by_agent = run.end(COMPLETED, NOW - timedelta(seconds=30))
    assert cost_until(NOW + 2 * HOUR, by_agent, LIMITS, listed, heard) == pytest.approx(7.0)
    assert cost_until(NOW + 2 * HOUR, run.end(LOST, NOW + HOUR), LIMITS, listed, heard) == pytest.approx(6.0)


def test_the_heartbeat_of_another_instance_is_no_sign_of_life() -> None:
    heard = a_beat(timedelta(0), attempt=2, instance_id=OTHER_ID)
    assert cost_until(NOW, a_second_attempt(), LIMITS, [], heard) == pytest.approx(5.0 + 2.0 * 10.5 / 60)


def test_an_agent_whose_heartbeat_cannot_be_read_may_have_worked_until_now() -> None:
    run = a_second_attempt()
    assert cost_until(NOW + HOUR, run, LIMITS, [gone()], ReadFailed("503")) == pytest.approx(5.0 + 2.0 * 2.0)
    assert cost_until(NOW + HOUR, run.end(LOST, NOW), LIMITS, [], ReadFailed("503")) == pytest.approx(5.0 + 2.0 * 2.0)


def test_an_instance_that_ec2_no_longer_lists_and_that_sent_no_heartbeat_lasted_as_long_as_a_boot() -> None:
    never_claimed = launching(attempt=2, instance_id=INSTANCE_ID, launched_at=NOW - 3 * HOUR, price_per_hour_usd=2.0)
    boot = Limits().boot / HOUR
    assert cost_until(NOW, never_claimed, LIMITS, [], ReadFailed("503")) == pytest.approx(2.0 * boot)
    assert cost_until(NOW - 3 * HOUR + MINUTE, never_claimed, LIMITS, []) == pytest.approx(2.0 / 60)


@pytest.mark.parametrize("later", [timedelta(0), MINUTE, 110 * MINUTE, timedelta(days=2)])
@pytest.mark.parametrize("listed", [None, (), "terminated"])
def test_what_was_settled_once_stands(later: timedelta, listed: Any) -> None:
    ended = settled(NOW, a_second_attempt().end(LOST, NOW), LIMITS, [gone(ended_at=NOW - 30 * MINUTE)], Absent())
    assert (ended.spent_usd, ended.ended_at) == (pytest.approx(6.0), NOW - 30 * MINUTE)
    again = (gone(),) if listed == "terminated" else listed
    assert cost_until(NOW + later, ended, LIMITS, again) == pytest.approx(6.0)
    assert settled(NOW + later, ended, LIMITS, again or (), a_beat()) == ended


def test_the_next_attempt_begins_with_what_was_settled_and_costs_nothing_yet() -> None:
    ended = settled(NOW, a_second_attempt().end(LOST, NOW), LIMITS, [gone(ended_at=NOW - 30 * MINUTE)], Absent())
    third = ended.next_attempt(Cause.INFRA, ended.spent_usd, NOW)
    assert (third.launched_at, third.ended_at) == (None, None)
    assert cost_until(NOW + 5 * HOUR, third, LIMITS, [gone()]) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("instance_type", "price"), [("g4dn.xlarge", 1.0), ("g5.4xlarge", 3.0), ("t2.nano", 5.0), ("", 5.0)]
)
def test_the_price_is_that_of_the_type_that_ec2_names(instance_type: str, price: float) -> None:
    run = a_second_attempt(instance_type="g4dn.xlarge", **OF_TWO)
    assert price_in(run, instance_type) == price
    assert cost_until(NOW, run, LIMITS, [second_instance(instance_type=instance_type)]) == pytest.approx(5.0 + price)
    assert cost_until(NOW, run, LIMITS) == pytest.approx(5.0 + price_in(run))


def test_attempts_on_different_types_add_up() -> None:
    first = a_run(instance_type="g5.4xlarge", **OF_TWO)
    lost = an_instance(instance_type="g5.4xlarge", state=InstanceState.TERMINATED, ended_at=NOW)
    ended = settled(NOW, first.end(LOST, NOW), LIMITS, [lost], Absent())
    second = replace(ended.next_attempt(Cause.INFRA, ended.spent_usd, NOW), instance_id=OTHER_ID)
    running = second_instance(instance_id=OTHER_ID, instance_type="g4dn.xlarge", launched_at=NOW + HOUR)
    assert cost_until(NOW + 3 * HOUR, second, LIMITS, [lost, running]) == pytest.approx(3.0 + 2.0)


@pytest.mark.parametrize("listed", [None, (), (second_instance(),)])
def test_without_a_price_cost_is_unknown(listed: Any) -> None:
    run = a_second_attempt(price_per_hour_usd=None)
    assert cost_until(NOW, run, LIMITS, listed) is None
    assert cost_until(NOW, settled(NOW, run, LIMITS, listed or (), Absent()), LIMITS) is None
    known = replace(run, prices=(("g4dn.2xlarge", 1.0),))
    assert cost_until(NOW, known, LIMITS, [second_instance(instance_type="t2.nano")]) is None


def test_the_time_left_is_that_of_the_deadline_or_of_the_cap_over_all_attempts() -> None:
    run = a_second_attempt(max_cost_usd=9.0, deadline=NOW + 3 * HOUR)
    assert time_left(run, LIMITS, NOW) == HOUR
    assert time_left(replace(run, max_cost_usd=None), LIMITS, NOW) == 3 * HOUR
    assert time_left(run, LIMITS, NOW + 9 * HOUR) == timedelta(0)


def test_the_time_left_depends_on_the_type_in_the_record() -> None:
    run = a_second_attempt(launched_at=NOW, max_cost_usd=11.0, **OF_TWO)
    assert time_left(replace(run, instance_type="g4dn.xlarge"), LIMITS, NOW) == 6 * HOUR
    assert time_left(replace(run, instance_type="g5.4xlarge"), LIMITS, NOW) == 2 * HOUR


def test_volume_and_address_are_part_of_an_instance_hour() -> None:
    assert with_volume_and_address(0.752, 100, 0.08) == pytest.approx(0.752 + 8 / 730 + 0.005)


def test_an_instance_whose_end_nobody_names_lasts_as_long_as_the_limits_of_its_stack_allow() -> None:
    """A stack with LimitOverrides boots, and is silent, for as long as it says there."""
    patient = Limits.from_overrides({"boot": 3600, "lease": 1800, "grace": 1200})
    never_claimed = launching(attempt=2, instance_id=INSTANCE_ID, launched_at=NOW - 3 * HOUR, price_per_hour_usd=2.0)
    assert cost_until(NOW, never_claimed, patient, []) == pytest.approx(2.0)
    assert settled(NOW, never_claimed, patient, [], Absent()).spent_usd == pytest.approx(2.0)
    # Silent for 20 minutes: by default the watchdog has not looked, here it has not begun to wonder.
    heard = a_beat(20 * MINUTE, attempt=2)
    assert cost_until(NOW, a_second_attempt(), patient, [gone()], heard) == pytest.approx(7.0)
    assert cost_until(NOW, a_second_attempt(), LIMITS, [gone()], heard) == pytest.approx(5.0 + 2.0 * 40.5 / 60)
    ended = a_second_attempt().end(COMPLETED, NOW - 15 * MINUTE)
    assert cost_until(NOW, ended, patient, [gone()]) == pytest.approx(7.0)
    assert cost_until(NOW, ended, LIMITS, [gone()]) == pytest.approx(5.0 + 2.0 * 45.5 / 60)


def test_a_run_without_an_instance_is_settled_now() -> None:
    run = settled(NOW, a_run(instance_id=None, launched_at=None), LIMITS, (), Absent())
    assert (run.ended_at, run.spent_usd) == (NOW, 0.0)


def test_a_run_is_settled_at_the_last_sign_of_life_of_an_instance_whose_end_ec2_does_not_name() -> None:
    run = settled(NOW, a_second_attempt(), LIMITS, [gone()], a_beat(40 * MINUTE))
    assert run.ended_at == NOW - 40 * MINUTE + timedelta(seconds=30)


def test_an_instance_that_was_never_heard_of_ended_when_its_time_for_booting_was_over() -> None:
    run = a_run(phases=(), launched_at=NOW - HOUR)
    assert settled(NOW, run, LIMITS, [an_instance(state=InstanceState.TERMINATED)], Absent()).ended_at == (
        NOW - HOUR + LIMITS.boot
    )


@pytest.mark.parametrize("verdict", [COMPLETED, LOST, None])
def test_an_instance_that_has_just_fallen_silent_may_have_ended_now(verdict: Verdict | None) -> None:
    silence = LIMITS.grace if verdict is COMPLETED else LIMITS.dead_agent_bound
    run = a_run(verdict=verdict, phases=())
    for late, ended in ((timedelta(0), NOW), (timedelta(seconds=1), NOW - silence - timedelta(seconds=1))):
        heartbeat = a_beat(silence + timedelta(seconds=30) + late)
        found = settled(NOW, run, LIMITS, [an_instance(state=InstanceState.TERMINATED)], heartbeat)
        assert found.ended_at == ended


def test_the_watchdogs_verdict_is_no_sign_of_life_but_every_phase_before_it_is() -> None:
    run = a_second_attempt(
        verdict=LOST,
        phases=(
            (Status.INITIALIZATION, NOW - HOUR),
            (Status.DATA_SYNC, NOW - 55 * MINUTE),
            (Status.TRAINING, NOW - 50 * MINUTE),
            (Status.FAILED, NOW),
        ),
    )
    assert settled(NOW, run, LIMITS, [gone()], Absent()).ended_at == NOW - 50 * MINUTE + timedelta(seconds=30)
