"""What a run has cost, as record, messages and queries tell it: outages, attempts, waits, second instances."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.instance import run_tags
from chronos_ec2.domain.records.capacity import SPOT
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.prices import at_price, hourly_price, list_prices
from chronos_ec2.services.run_queries import RunView, find_run, list_instances, list_runs
from chronos_ec2.testing import AgentBehaviour, Crash, Environment
from chronos_ec2.testing.builders import LIMITS, seconds

PRICE = 0.752
SWEEP_USD = PRICE * LIMITS.sweep.total_seconds() / 3600 + 1e-9
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def shown(env: Environment, run_id: str) -> list[float | None]:
    """What `monitor` and `runs` show, with EC2's list and without it."""
    views = [find_run(env.store, "dev", run_id)]
    views += [view for view in list_runs(env.store, "dev") if isinstance(view, RunView) and view.run.run_id == run_id]
    listed = list_instances(env.fleet, "dev")
    return [view.cost_usd(env.clock.now(), env.limits, instances) for view in views for instances in (listed, None)]


def final(env: Environment, run_id: str) -> Run:
    return find_run(env.store, "dev", run_id).run


def told(env: Environment) -> float:
    """The cost in the latest message."""
    return float(env.notifier.messages[-1].document["cost_usd"])


def in_training(env: Environment, **order: Any) -> Launched:
    launched = env.launch(**order)
    env.claim(launched)
    env.train()
    return launched


def complete(env: Environment, launched: Launched) -> datetime:
    """The agent ends its run after an hour and powers off; when."""
    for minute in range(60):
        env.clock.advance(MINUTE)
        env.heartbeat(launched, minute + 2)
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    return env.clock.now()


@pytest.mark.parametrize("minutes", [1, 110, 300])
def test_an_outage_of_sns_adds_no_cost(env: Environment, minutes: int) -> None:
    launched = in_training(env)
    complete(env, launched)
    env.faults.fail("notifier.publish")
    for _ in range(minutes):
        env.sweeps(MINUTE)
        assert shown(env, launched.run_id) == [pytest.approx(PRICE, abs=SWEEP_USD)] * 4
    env.fleet.forget(launched.instance_id)
    env.faults.clear()
    env.sweeps(LIMITS.vanished_bound)
    assert env.settled
    assert final(env, launched.run_id).spent_usd == pytest.approx(PRICE, abs=SWEEP_USD)
    assert told(env) == pytest.approx(PRICE, abs=SWEEP_USD)
    assert shown(env, launched.run_id) == [pytest.approx(PRICE, abs=SWEEP_USD)] * 4


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("minutes", [5, 110])
def test_an_outage_of_the_watchdog_adds_no_cost_whether_ec2_still_lists_the_instance(
    env: Environment, minutes: int, listed: bool
) -> None:
    launched = in_training(env)
    complete(env, launched)
    env.clock.advance(minutes * MINUTE)
    if not listed:
        env.fleet.forget(launched.instance_id)
    assert shown(env, launched.run_id) == [pytest.approx(PRICE, abs=SWEEP_USD)] * 4
    env.sweeps(LIMITS.vanished_bound + LIMITS.sweep)
    assert env.settled
    assert final(env, launched.run_id).spent_usd == pytest.approx(PRICE, abs=SWEEP_USD)
    assert told(env) == pytest.approx(PRICE, abs=SWEEP_USD)


def test_a_crash_between_the_cost_and_the_message_changes_no_cost(env: Environment) -> None:
    launched = in_training(env)
    complete(env, launched)
    env.faults.fail("objects.write", on="*/state.json", times=1)
    env.sweeps(MINUTE)
    known = env.lock().run.spent_usd
    env.fleet.forget(launched.instance_id)
    env.clock.advance(HOUR)
    env.sweeps(LIMITS.vanished_bound)
    assert final(env, launched.run_id).spent_usd == known == pytest.approx(PRICE, abs=SWEEP_USD)


def test_attempts_add_up_and_the_time_between_them_is_free(env: Environment) -> None:
    env.defaults |= {"crashes_left": 1, "market": SPOT}
    first = in_training(env)
    env.clock.advance(HOUR)
    env.heartbeat(first, 2, checkpoint_age=seconds(30))
    env.power_off(first)
    env.fleet.no_capacity = {"g4dn.2xlarge"}
    env.watchdog.sweep()
    assert env.lock().run.spent_usd == pytest.approx(PRICE)
    for _ in range(10):
        env.clock.advance(MINUTE)
        env.watchdog.sweep()
        assert shown(env, first.run_id) == [pytest.approx(PRICE)] * 4
    env.fleet.no_capacity = set()
    while not env.alive:
        env.sweeps(MINUTE)
    (second,) = env.alive
    assert (env.lock().run.attempt, env.lock().run.instance_id) == (2, second.instance_id)
    again = Launched(first.run_id, 2, second.instance_id, second.launched_at, first.option)
    env.claim(again)
    env.train()
    for minute in range(30):
        env.clock.advance(MINUTE)
        env.heartbeat(again, minute + 2, attempt=2)
    by_now = PRICE * (1 + (env.clock.now() - second.launched_at) / HOUR)
    assert shown(env, first.run_id) == [pytest.approx(by_now, abs=10 * SWEEP_USD)] * 4
    assert shown(env, first.run_id)[0] == pytest.approx(by_now)
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(again)
    env.sweeps(MINUTE)
    assert final(env, first.run_id).spent_usd == pytest.approx(by_now, abs=SWEEP_USD)
    assert told(env) == pytest.approx(by_now, abs=SWEEP_USD)


def test_a_fresh_launch_and_a_claim_know_when_their_instance_was_launched(env: Environment) -> None:
    launched = env.launch()
    (instance,) = env.alive
    assert env.lock().run.launched_at == instance.launched_at
    env.clock.advance(MINUTE)
    env.agent.claim()
    env.copy_reports()
    assert env.lock().run.launched_at == instance.launched_at
    assert env.lock().run.instance_id == launched.instance_id


@pytest.mark.parametrize("claimed_first", [False, True])
def test_what_holds_up_a_launcher_before_ec2_starts_its_instance_costs_nothing(
    env: Environment, claimed_first: bool
) -> None:
    def claim(_instance_id: str) -> None:
        env.agent.claim()
        env.copy_reports()

    env.faults.hook("fleet.launch", lambda _run_id: env.clock.advance(4 * MINUTE), times=1)
    if claimed_first:
        env.faults.hook("deadlines.schedule", claim, times=1)
    launched = env.launch()
    (instance,) = env.alive
    assert env.lock().run.launched_at == instance.launched_at == env.clock.now()
    assert env.lock().run.claimed == claimed_first
    assert shown(env, launched.run_id) == [0.0] * 4


def test_a_claim_knows_the_launch_although_the_launcher_died_before_it_could_say(env: Environment) -> None:
    env.faults.crash_before("deadlines.schedule")
    with pytest.raises(Crash):
        env.launch()
    (instance,) = env.alive
    assert env.lock().run.launched_at is None
    env.clock.advance(5 * MINUTE)
    env.agent.claim()
    env.copy_reports()
    assert env.lock().run.launched_at == instance.launched_at


@pytest.mark.parametrize("listed", [True, False])
def test_an_attempt_that_nobody_claimed_costs_its_boot(env: Environment, listed: bool) -> None:
    env.behaviour = AgentBehaviour.SILENT
    launched = env.launch()
    if listed:
        env.sweeps(LIMITS.boot_bound + LIMITS.sweep)
    else:  # it powered itself off, and nobody looked until EC2 forgot it
        env.clock.advance(5 * HOUR)
        env.fleet.forget(launched.instance_id)
        env.sweeps(LIMITS.boot_bound + LIMITS.sweep)
    boot = PRICE * (LIMITS.boot / HOUR)
    assert final(env, launched.run_id).spent_usd == pytest.approx(boot, abs=SWEEP_USD)
    assert told(env) == pytest.approx(boot, abs=SWEEP_USD)


def test_a_second_instance_of_an_attempt_is_paid_for_too(env: Environment) -> None:
    launched = in_training(env)
    env.fleet.add(run_tags(env.lock().run, env.fleet.project, "train"))
    env.clock.advance(HOUR)
    env.heartbeat(launched, 2)
    assert shown(env, launched.run_id)[0] == pytest.approx(2 * PRICE)


@pytest.mark.parametrize("market", ["on-demand", SPOT])
def test_types_have_prices_of_their_own_and_spot_counts_as_on_demand(env: Environment, market: str) -> None:
    env.fleet.no_capacity = {"g4dn.xlarge"}
    order = {"instance_types": ("g4dn.xlarge", "g5.4xlarge"), "price_per_hour_usd": None, "market": market}
    launched = in_training(env, **order)
    complete(env, launched)
    env.sweeps(MINUTE)
    assert final(env, launched.run_id).spent_usd == pytest.approx(1.624, abs=1.624 / 60)


@pytest.mark.parametrize("types", [("t2.nano",), ("g4dn.xlarge", "t2.nano")])
def test_an_unknown_price_is_unknown_everywhere_and_no_cap_is_taken_for_it(
    env: Environment, types: tuple[str, ...]
) -> None:
    env.defaults |= {"instance_types": types, "price_per_hour_usd": None}
    with pytest.raises(InvalidInput, match=r"--max-cost: the price of t2\.nano .* \(give --price\)"):
        env.launch(max_cost_usd=3.0)
    launched = in_training(env)
    assert shown(env, launched.run_id) == [None] * 4
    complete(env, launched)
    env.sweeps(MINUTE)
    assert shown(env, launched.run_id) == [None] * 4
    assert env.notifier.messages[-1].document["cost_usd"] is None


def test_without_ec2s_list_the_record_answers(env: Environment) -> None:
    launched = in_training(env)
    env.clock.advance(HOUR)
    env.faults.fail("fleet.instances")
    assert list_instances(env.fleet, "dev") is None
    assert shown(env, launched.run_id) == [pytest.approx(PRICE)] * 4


def test_an_instance_hour_has_its_volume_and_address_at_the_regions_price(env: Environment) -> None:
    prices = env.aws.prices
    prices.volume = 0.0952
    expected = 0.752 + 200 * 0.0952 / 730 + 0.005
    assert hourly_price(prices, "us-east-1", "g4dn.2xlarge", 200) == pytest.approx(expected)
    assert list_prices(prices, "us-east-1", ("g4dn.2xlarge", "t2.nano"), 200) == {
        "g4dn.2xlarge": pytest.approx(expected)
    }
    assert list_prices(prices, "eu-north-1", ("g4dn.2xlarge",), 200) == {}
    assert at_price(0.5, prices, "eu-north-1", 100) == pytest.approx(0.5 + 16 / 730 + 0.005)
