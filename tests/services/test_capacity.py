"""Waiting for capacity: droughts of hours, launchers that overlap or crash, and kills of what has no instance yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidInput,
    LaunchRefused,
    NotAllowed,
    ServiceUnavailable,
    Superseded,
)
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.limits import LAUNCH_SLOT, TAKE_OVER_AFTER
from chronos_ec2.domain.records.capacity import SPOT, LaunchOption
from chronos_ec2.domain.records.request import REQUEST
from chronos_ec2.domain.records.run import WAITING, Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.services.launch import Launched, WaitsForCapacity
from chronos_ec2.services.run_queries import find_run
from chronos_ec2.testing import Crash, Environment, Faults
from chronos_ec2.testing.builders import LIMITS, SUBNETS, seconds

HOUR = timedelta(hours=1)
NOTHING = {"g4dn.2xlarge"}
"""What EC2 has none of in a drought."""
KILLED_WITHIN = LIMITS.grace + 3 * LIMITS.sweep


def preempted(env: Environment, **order: Any) -> Run:
    """A spot run that EC2 has reclaimed after half an hour, in a drought."""
    env.defaults |= {"market": SPOT, "preemptions_left": 2, "crashes_left": 1} | order
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.heartbeat(launched, checkpoint_age=seconds(30))
    env.clock.advance(HOUR / 2)
    env.fleet.no_capacity = set(NOTHING)
    env.end(Outcome.FAILED, Cause.PREEMPTED)
    env.power_off(launched)
    env.watchdog.sweep()  # writes the next attempt
    env.watchdog.sweep()  # asks for its instance
    return env.lock().run


def until_it_runs(env: Environment) -> None:
    for _ in range(16):
        if not env.alive:
            env.sweeps(LIMITS.sweep)


def waiting_run(env: Environment, **order: Any) -> WaitsForCapacity:
    env.fleet.no_capacity = set(NOTHING)
    found = env.try_launch(**{"wait_for_capacity": 2 * HOUR} | order)
    assert isinstance(found, WaitsForCapacity)
    return found


def end_of(env: Environment, run_id: str) -> Run:
    return find_run(env.store, "dev", run_id).run


# --- a drought ----------------------------------------------------------------------------------------------------


def test_a_preempted_run_waits_through_a_drought_of_hours_and_goes_on(env: Environment) -> None:
    before = preempted(env)
    env.sweeps(4 * HOUR)
    run = env.lock().run
    assert (run.attempt, run.current_step, run.claimed) == (2, WAITING, False)
    assert (run.preemptions_left, run.crashes_left, run.spent_usd) == (1, 1, before.spent_usd)
    assert env.kinds() == ["resumed", "waiting"]
    env.fleet.no_capacity = set()
    until_it_runs(env)
    (instance,) = env.alive
    run = env.lock().run
    assert (run.instance_id, run.current_step, run.waiting) == (instance.instance_id, "launching", None)
    assert instance.attempt == 2
    assert env.kinds() == ["resumed", "waiting"]


def test_what_an_attempt_costs_begins_with_its_instance_and_not_with_its_wait(env: Environment) -> None:
    spent = preempted(env).spent_usd
    env.sweeps(4 * HOUR)
    env.fleet.no_capacity = set()
    until_it_runs(env)
    (one,) = env.alive
    option = LaunchOption("g4dn.2xlarge", "subnet-a")
    launched = Launched(env.lock().run.run_id, 2, one.instance_id, one.launched_at, option)
    env.claim(launched)
    env.train()
    env.heartbeat(launched, attempt=2, checkpoint_age=seconds(30))
    env.clock.advance(HOUR)
    env.heartbeat(launched, attempt=2, checkpoint_age=seconds(30))
    env.power_off(launched)
    env.sweeps(timedelta(minutes=2))
    run = env.lock().run
    assert run.attempt == 3
    assert run.spent_usd == pytest.approx(spent + 0.752, rel=0.1)


def test_the_record_says_what_ec2_said_last_of_each_option_and_when_it_is_asked_again(env: Environment) -> None:
    preempted(env)
    waiting = env.lock().run.waiting
    assert waiting is not None
    assert [refusal.option for refusal in waiting.refusals] == [
        LaunchOption("g4dn.2xlarge", subnet, SPOT) for subnet in SUBNETS
    ]
    assert waiting.refusals[0].code == "InsufficientInstanceCapacity"
    assert waiting.refusals[0].message == "no g4dn.2xlarge in subnet-a"
    assert (waiting.tries, waiting.next_try_at) == (1, env.clock.now() + timedelta(minutes=1))
    assert waiting.until == env.lock().run.deadline - LIMITS.boot


def test_ec2_is_asked_less_and_less_often_down_to_every_quarter_of_an_hour(env: Environment, faults: Faults) -> None:
    preempted(env)
    start, asked = env.clock.now(), list[float]()
    faults.hook("fleet.launch", lambda _run: asked.append((env.clock.now() - start) / timedelta(minutes=1)))
    env.sweeps(HOUR)
    assert sorted(set(asked)) == [1, 3, 7, 15, 30, 45, 60]
    assert len(asked) == 7 * len(SUBNETS)


def test_a_run_that_waits_gives_up_before_its_deadline_with_every_last_word(env: Environment) -> None:
    run_id = preempted(env).run_id
    env.sweeps(LIMITS.max_runtime)
    assert env.left() == []
    run = end_of(env, run_id)
    assert run.verdict is not None
    assert (run.verdict.outcome, run.verdict.cause) == (Outcome.FAILED, Cause.NO_CAPACITY)
    assert env.kinds() == ["resumed", "waiting", "failed"]
    body = env.notifier.messages[-1].body
    assert body.count("InsufficientInstanceCapacity: no g4dn.2xlarge in subnet-") >= len(SUBNETS)
    assert run.spent_usd == pytest.approx(0.376, rel=0.01)


@pytest.mark.parametrize("wait", [timedelta(minutes=30), 3 * HOUR])
def test_a_limit_ends_the_wait_of_a_later_attempt_too(env: Environment, wait: timedelta) -> None:
    run_id = preempted(env, wait_for_capacity=wait).run_id
    env.sweeps(wait - 2 * LIMITS.sweep)
    assert env.left() == ["lock"]
    env.sweeps(3 * LIMITS.sweep)
    assert env.left() == []
    verdict = end_of(env, run_id).verdict
    assert verdict is not None
    assert verdict.cause is Cause.NO_CAPACITY


# --- the first launch ---------------------------------------------------------------------------------------------


def test_a_launch_that_may_not_wait_fails_at_once_and_names_the_flag(env: Environment) -> None:
    env.fleet.no_capacity = set(NOTHING)
    with pytest.raises(CapacityUnavailable, match="--wait-for-capacity") as refused:
        env.launch()
    for subnet in SUBNETS:
        assert f"g4dn.2xlarge in {subnet} (on-demand): InsufficientInstanceCapacity" in str(refused.value)
    assert env.left() == []


def test_a_launch_that_may_wait_goes_on_without_its_laptop(env: Environment) -> None:
    found = waiting_run(env)
    assert (found.attempt, found.instance_id, found.waiting.tries) == (1, None, 1)
    env.sweeps(HOUR)
    assert env.kinds() == ["waiting"]
    env.fleet.no_capacity = set()
    until_it_runs(env)
    assert [instance.run_id for instance in env.alive] == [found.run_id]
    env.agent.claim()
    env.sweeps(LIMITS.sweep)
    assert env.kinds() == ["waiting", "started"]


def test_a_launch_gives_up_at_its_limit_and_costs_nothing(env: Environment) -> None:
    found = waiting_run(env)
    env.sweeps(2 * HOUR + LIMITS.sweep)
    assert env.left() == []
    run = end_of(env, found.run_id)
    assert run.verdict is not None
    assert (run.verdict.cause, run.spent_usd) == (Cause.NO_CAPACITY, 0.0)
    assert env.kinds() == ["waiting", "failed"]


def test_a_launch_whose_laptop_closes_at_once_is_taken_over_if_it_may_wait(env: Environment, faults: Faults) -> None:
    faults.crash_before("fleet.launch")
    with pytest.raises(Crash):
        env.try_launch(wait_for_capacity=2 * HOUR)
    env.sweeps(TAKE_OVER_AFTER + 2 * LIMITS.sweep)
    assert len(env.alive) == 1


def test_a_launch_whose_laptop_closes_at_once_is_over_if_it_may_not_wait(env: Environment, faults: Faults) -> None:
    faults.crash_before("fleet.launch")
    with pytest.raises(Crash):
        env.launch()
    env.sweeps(TAKE_OVER_AFTER + 4 * LIMITS.sweep)
    assert env.left() == []
    assert env.kinds() == ["failed"]


def test_a_launch_that_may_wait_also_waits_for_an_answer(env: Environment, faults: Faults) -> None:
    faults.lose_answer("fleet.launch", times=1)
    found = env.try_launch(wait_for_capacity=2 * HOUR)
    assert isinstance(found, WaitsForCapacity)
    for _ in range(10):
        env.tick()
    assert len(env.fleet.instances("dev")) == 1
    assert env.kinds()[0] == "started"
    assert "waiting" not in env.kinds()


# --- from spot to on-demand ---------------------------------------------------------------------------------------


def test_spot_capacity_is_preferred_until_the_wait_for_it_is_over(env: Environment) -> None:
    env.fleet.no_capacity = {SPOT}
    env.try_launch(market=SPOT, wait_for_capacity=2 * HOUR, on_demand_after=HOUR / 2)
    env.sweeps(HOUR / 2 - LIMITS.sweep)
    assert env.alive == []
    env.sweeps(2 * LIMITS.sweep)
    assert len(env.alive) == 1
    launching = env.lock().run.launching
    assert launching is not None
    assert launching.option == LaunchOption("g4dn.2xlarge", "subnet-a")


@pytest.mark.parametrize(
    ("order", "flag"),
    [
        ({"price_per_hour_usd": None, "instance_types": ("t2.nano",)}, "--on-demand-after"),
        ({"price_per_hour_usd": 0.3}, "--price"),
    ],
)
def test_a_fall_back_needs_a_price_that_holds_for_it(env: Environment, order: dict[str, Any], flag: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{flag}: "):
        env.launch(market=SPOT, on_demand_after=HOUR, **order)
    assert env.left() == []


# --- one launcher at a time ---------------------------------------------------------------------------------------


def test_launchers_that_overlap_start_one_instance(env: Environment, faults: Faults) -> None:
    run = preempted(env)
    env.clock.advance(timedelta(minutes=1))
    env.fleet.no_capacity = {"subnet-a"}
    faults.hook("fleet.launch", lambda _run: env.relaunch(run), times=2)
    env.relaunch(run)
    assert len(env.alive) == 1


def test_the_option_is_in_the_record_before_ec2_is_asked_for_it(env: Environment, faults: Faults) -> None:
    asked: list[object] = []
    faults.hook("fleet.launch", lambda _run: asked.append(env.lock().run.launching))
    env.fleet.no_capacity = {"subnet-a"}
    env.launch()
    assert [launching.option.subnet_id for launching in asked] == ["subnet-a", "subnet-b"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("lost", ["launcher", "answer"])
def test_who_takes_over_gets_the_instance_that_the_last_launcher_may_have_started(
    env: Environment, faults: Faults, lost: str
) -> None:
    run = preempted(env)
    env.clock.advance(timedelta(minutes=1))
    env.fleet.no_capacity = {"subnet-a"}
    if lost == "launcher":
        faults.crash_after("fleet.launch", skip=1)
    else:
        faults.lose_answer("fleet.launch", skip=1, times=1)
    with pytest.raises((Crash, ServiceUnavailable)):
        env.relaunch(run)
    (instance,) = env.alive
    env.fleet.no_capacity = set()
    env.clock.advance(TAKE_OVER_AFTER)
    env.relaunch(run)
    assert [each.instance_id for each in env.alive] == [env.lock().run.instance_id] == [instance.instance_id]


def test_nobody_takes_over_before_the_launcher_function_must_have_ended(env: Environment, faults: Faults) -> None:
    run = preempted(env)
    env.clock.advance(timedelta(minutes=1))
    env.fleet.no_capacity = set()
    faults.crash_before("fleet.launch")
    with pytest.raises(Crash):
        env.relaunch(run)
    env.clock.advance(TAKE_OVER_AFTER - seconds(1))
    env.relaunch(run)
    env.watchdog.sweep()
    assert env.alive == []
    env.clock.advance(seconds(1))
    env.watchdog.sweep()
    assert len(env.alive) == 1


def test_ec2_is_not_asked_again_for_a_run_that_has_its_instance(env: Environment, faults: Faults) -> None:
    run = preempted(env)
    env.fleet.no_capacity = set()
    until_it_runs(env)
    asked = env.alive, [operation for operation, _ in faults.calls].count("fleet.launch")
    env.clock.advance(HOUR)
    env.relaunch(run)
    assert asked == (env.alive, [operation for operation, _ in faults.calls].count("fleet.launch"))


def test_a_launcher_that_comes_too_early_does_not_ask_ec2(env: Environment, faults: Faults) -> None:
    run = preempted(env)
    before = [operation for operation, _ in faults.calls].count("fleet.launch")
    env.relaunch(run)
    assert [operation for operation, _ in faults.calls].count("fleet.launch") == before


def test_a_launcher_that_meets_no_capacity_succeeds_if_the_run_may_wait(env: Environment) -> None:
    run = preempted(env)
    env.clock.advance(timedelta(minutes=1))
    env.relaunch(run)
    waiting = env.lock().run.waiting
    assert waiting is not None
    assert waiting.tries == 2


def test_a_launcher_that_was_held_up_past_its_slot_does_not_ask_ec2(env: Environment, faults: Faults) -> None:
    env.fleet.no_capacity = {"subnet-a"}
    key = env.lane.state_key
    faults.hook("objects.replace", lambda _key: env.clock.advance(LAUNCH_SLOT), after=True, on=key, times=1)
    with pytest.raises(Superseded, match="held up"):
        env.launch()
    assert [operation for operation, _ in faults.calls].count("fleet.launch") == 1
    env.sweeps(timedelta(minutes=10))
    assert env.left() == []


def test_a_launch_of_a_run_that_was_killed_meanwhile_reports_no_success(env: Environment, faults: Faults) -> None:
    faults.hook("fleet.launch", lambda _run: env.kill(at_once=True), times=1)
    with pytest.raises(Superseded, match="has ended"):
        env.launch()
    env.sweeps(LIMITS.orphan_bound + LIMITS.sweep)
    assert env.left() == []


def test_a_launch_of_a_run_that_was_stopped_meanwhile_reports_no_success(env: Environment, faults: Faults) -> None:
    faults.hook("fleet.launch", lambda _run: env.kill(), times=1)
    with pytest.raises(Superseded, match="was asked to stop"):
        env.launch()
    assert env.lock().run.instance_id == env.alive[0].instance_id


def test_a_launch_of_a_run_that_was_stopped_between_two_options_asks_for_no_more(
    env: Environment, faults: Faults
) -> None:
    env.fleet.no_capacity = {"subnet-a"}
    faults.hook("fleet.launch", lambda _run: env.kill(), times=1)
    with pytest.raises(Superseded, match="was asked to stop"):
        env.launch()
    assert env.alive == []
    env.sweeps(KILLED_WITHIN)
    assert env.left() == []
    assert env.kinds() == ["killed"]


# --- no droughts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [LaunchRefused("VcpuLimitExceeded: the quota L-3819A6DF is 0"), NotAllowed("not allowed to launch")]
)
def test_what_ec2_refuses_for_good_ends_the_run_with_its_words(
    env: Environment, faults: Faults, error: Exception
) -> None:
    faults.fail("fleet.launch", error, skip=1)
    run_id = preempted(env, crashes_left=3).run_id
    env.sweeps(3 * LIMITS.sweep)
    assert env.left() == []
    verdict = end_of(env, run_id).verdict
    assert verdict is not None
    assert verdict.message == str(error)
    assert env.kinds() == ["resumed", "failed"]


def test_a_run_whose_request_is_gone_ends_and_says_so(env: Environment) -> None:
    run = preempted(env)
    env.objects.remove(run_key("dev", run.run_id, REQUEST))
    env.sweeps(timedelta(minutes=4))
    assert env.left() == []
    verdict = end_of(env, run.run_id).verdict
    assert verdict is not None
    assert "request.json" in verdict.message


def test_launchers_that_never_answer_end_the_run_and_charge_no_budget(env: Environment, faults: Faults) -> None:
    faults.fail("objects.read", on=f"*/{REQUEST}")
    run_id = preempted(env).run_id
    env.sweeps(LIMITS.boot + 4 * LIMITS.sweep)
    faults.clear()
    assert env.left() == []
    run = end_of(env, run_id)
    assert (run.attempt, run.crashes_left) == (2, 1)
    assert run.verdict is not None
    assert (run.verdict.cause, run.verdict.message) == (
        Cause.INFRA,
        "no instance was started: no launcher has finished its work",
    )


# --- kills --------------------------------------------------------------------------------------------------------


def launching_never_finished(env: Environment) -> None:
    env.faults.crash_before("fleet.launch")
    with pytest.raises(Crash):
        env.launch()


def relaunch_is_pending(env: Environment) -> None:
    env.faults.fail("objects.read", on=f"*/{REQUEST}")
    preempted(env)


def a_launcher_crashed(env: Environment) -> None:
    env.faults.crash_before("fleet.launch", skip=1)
    with pytest.raises(Crash):
        preempted(env)


def waits(env: Environment) -> None:
    waiting_run(env)
    env.sweeps(HOUR)


WITHOUT_INSTANCE = (launching_never_finished, relaunch_is_pending, a_launcher_crashed, waits)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("later", [seconds(0), seconds(59), timedelta(minutes=4)])
@pytest.mark.parametrize("situation", WITHOUT_INSTANCE)
def test_a_kill_of_a_run_without_an_instance_frees_its_lane_in_time(
    env: Environment, situation: Any, later: timedelta, at_once: bool
) -> None:
    situation(env)
    env.clock.advance(later)
    run_id = env.kill(at_once=at_once).run_id
    env.sweeps(KILLED_WITHIN)
    env.faults.clear()
    assert isinstance(env.store.read_lock(env.lane), Absent)
    assert env.alive == []
    verdict = end_of(env, run_id).verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.cause) == (Outcome.KILLED, Cause.REQUESTED)
    assert env.kinds()[-1] == "killed"


def test_a_write_of_the_lock_does_not_extend_a_launch(env: Environment) -> None:
    launching_never_finished(env)
    env.clock.advance(TAKE_OVER_AFTER)
    held = env.lock()
    env.store.replace_lock(replace(held.run, updated_at=env.clock.now()), held)
    env.sweeps(3 * LIMITS.sweep)
    assert env.left() == []
