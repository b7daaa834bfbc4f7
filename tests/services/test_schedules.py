"""Schedules: each time and each new state of the data starts one run, within the month's limit."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property

import pytest

from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.domain.records.champion import Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import followed_key, run_key, schedule_key, shared_key, success_key
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.schedules.decide import Nothing
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.services.schedules import Started
from chronos_ec2.services.schedules.ordering import create_schedule
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import a_schedule
from chronos_ec2.testing.environment import DATA


@pytest.fixture
def env() -> Environment:
    made = Environment()
    finish_data(made, "1")
    return made


def finish_data(env: Environment, content: str) -> None:
    """The data set has this content, and is whole."""
    env.objects.write(shared_key(env.name, f"{DATA}part-0.parquet"), f"PAR1{content}".encode())
    env.objects.write(success_key(env.name, DATA), b"")


def ordered(env: Environment, schedule: Schedule | None = None) -> Schedule:
    """A schedule that is ordered."""
    made = schedule or a_schedule()
    env.schedules.orders.create(made)
    return made


def invoke(env: Environment, at: datetime | None = None, *, asked: bool = False) -> Started | Nothing:
    return env.schedules.invoke("nightly", at or env.clock.now(), asked=asked)


def run_to_its_end(env: Environment, ticks: int = 40) -> None:
    for _ in range(ticks):
        env.tick()
        if env.settled:
            return
    raise AssertionError(env.findings())


def started(done: Started | Nothing) -> str:
    assert isinstance(done, Started), done
    return done.run_id


def test_its_time_starts_a_run_that_ends_as_any_other(env: Environment) -> None:
    ordered(env)
    run_id = started(invoke(env))
    assert env.run
    assert env.run.run_id == run_id
    assert len(env.alive) == 1
    run_to_its_end(env)
    assert env.kinds() == ["started", "completed"]
    assert env.objects.read(run_key(env.name, run_id, "state.json"))


def test_an_invocation_that_comes_twice_starts_one_run_also_after_its_end(env: Environment) -> None:
    ordered(env)
    at = env.clock.now()
    first = started(invoke(env, at))
    assert started(invoke(env, at)) == first
    run_to_its_end(env)
    assert invoke(env, at) == Nothing(f"run {first} is over")
    assert len(env.fleet.instances(env.name)) == 1


def test_unchanged_data_start_nothing_and_new_data_do(env: Environment) -> None:
    ordered(env)
    first = started(invoke(env))
    run_to_its_end(env)
    env.clock.advance(timedelta(days=1))
    assert invoke(env) == Nothing(f"the data have not changed since run {first}")
    finish_data(env, "2")
    assert started(invoke(env)) != first
    assert env.kinds() == ["started", "completed"]


def test_data_whose_run_has_failed_are_tried_again(env: Environment) -> None:
    ordered(env)
    first = started(invoke(env))
    env.kill(at_once=True)
    run_to_its_end(env)
    env.clock.advance(timedelta(days=1))
    assert started(invoke(env)) != first


def test_an_operator_may_start_it_also_with_unchanged_data_and_while_it_is_paused(env: Environment) -> None:
    ordered(env)
    first = started(invoke(env))
    run_to_its_end(env)
    env.schedules.orders.enable("nightly", enabled=False)
    env.clock.advance(timedelta(hours=1))
    assert invoke(env) == Nothing("the schedule is paused")
    assert started(invoke(env, asked=True)) != first


def test_of_a_busy_lane_people_are_told_once(env: Environment) -> None:
    ordered(env)
    holder = env.launch().run_id
    for _ in range(3):
        done = invoke(env)
        assert isinstance(done, Nothing)
        assert done.about == f"busy {holder}"
        env.clock.advance(timedelta(hours=2))
    assert env.kinds() == ["skipped"]
    (message,) = env.notifier.messages
    assert message.subject == "[chronos-ec2 dev] schedule nightly has started nothing"
    assert f"run {holder} holds the main lane" in message.body or f"run {holder} holds" in message.body
    assert "chronos-ec2 schedule show nightly --environment dev" in message.body


def test_a_month_that_is_spent_starts_nothing_until_the_next(env: Environment) -> None:
    ordered(env, a_schedule(max_cost_usd=5.0, max_cost_per_month_usd=9.0))
    started(invoke(env))
    finish_data(env, "2")
    env.clock.advance(timedelta(minutes=1))
    run_to_its_end(env)
    started(invoke(env))  # the first has cost cents of its five dollars
    run_to_its_end(env)
    ledger = env.schedules.orders.ledger("nightly")
    dear = replace(ledger.ledger.entries[-1], spent_usd=5.0, succeeded=False)
    env.schedules.orders.replace_ledger("nightly", ledger.ledger.with_entry(dear), ledger)
    env.clock.advance(timedelta(hours=1))
    done = invoke(env)
    assert isinstance(done, Nothing)
    assert done.reason.startswith("$5.")
    assert done.about == f"spent {env.clock.now():%Y-%m}"
    env.clock.advance(timedelta(days=40))
    started(invoke(env))


def test_data_without_their_mark_start_nothing(env: Environment) -> None:
    ordered(env)
    env.objects.remove(success_key(env.name, DATA))
    done = invoke(env)
    assert isinstance(done, Nothing)
    assert "_SUCCESS" in done.reason
    assert env.kinds() == ["skipped"]


def test_an_invocation_that_somebody_sends_again_much_later_starts_nothing(env: Environment) -> None:
    ordered(env)
    done = invoke(env, env.clock.now() - timedelta(hours=2))
    assert isinstance(done, Nothing)
    assert "too long ago" in done.reason


def test_new_data_start_the_schedules_that_wait_for_them(env: Environment) -> None:
    ordered(env, a_schedule("on-sales", data_set="sales"))
    ordered(env, a_schedule("on-others", data_set="others"))
    ordered(env)
    found = env.schedules.data_arrived("sales", env.clock.now())
    assert list(found) == ["on-sales"]
    started(found["on-sales"])


def test_a_run_that_waits_for_capacity_gets_its_instance_later(env: Environment) -> None:
    ordered(env)
    env.fleet.no_capacity.add("g4dn.2xlarge")
    started(invoke(env))
    assert env.alive == []
    env.fleet.no_capacity.clear()
    run_to_its_end(env)
    assert env.kinds()[-1] == "completed"


def test_after_a_run_that_has_succeeded_comes_the_next_job_in_a_lane_of_its_own(env: Environment) -> None:
    ordered(env, a_schedule(then=Job.FORECAST))
    first = started(invoke(env))
    run_to_its_end(env, 80)
    forecast = env.schedules.orders.ledger("nightly").ledger.entries[-1]
    assert forecast.job is Job.FORECAST
    assert forecast.run_id != first
    assert env.objects.read(run_key(env.name, forecast.run_id, "state.json"))
    assert env.objects.read(followed_key(env.name, first))
    assert env.kinds().count("completed") == 2


def test_nothing_follows_a_run_that_has_failed(env: Environment) -> None:
    ordered(env, a_schedule(then=Job.FORECAST))
    first = started(invoke(env))
    env.kill(at_once=True)
    run_to_its_end(env)
    assert env.objects.read(followed_key(env.name, first)) is None
    assert len(env.schedules.orders.ledger("nightly").ledger.entries) == 1


def test_a_run_is_compared_with_the_champion_of_its_own_time(env: Environment) -> None:
    promotion = Promotion("default", Promote.BETTER, 7)
    schedule = a_schedule()
    request = replace(schedule.run.request, promotion=promotion)
    ordered(env, replace(schedule, run=replace(schedule.run, request=request)))
    run_id = started(invoke(env))
    written = env.store.read_request(env.name, run_id)
    assert written
    assert written.promotion == Promotion("default", Promote.BETTER, 0)
    assert written.config["evaluation"]["champion"] is None


def test_the_lane_of_a_schedule_may_be_one_of_its_own(env: Environment) -> None:
    ordered(env, a_schedule(lane=Lane("dev", "nights")))
    env.launch()
    started(invoke(env))
    assert len(env.alive) == 2


def test_a_delivery_that_pauses_until_its_run_is_over_starts_no_second_instance(env: Environment) -> None:
    ordered(env)
    at = env.clock.now()
    first = started(invoke(env, at))
    env.faults.hook("objects.create", lambda _: run_to_its_end(env), on=env.lane.state_key, times=1)
    assert started(invoke(env, at)) == first
    assert [operation for operation, _ in env.faults.calls].count("fleet.launch") == 1
    run_to_its_end(env)
    assert len(env.fleet.instances(env.name)) == 1
    assert env.kinds() == ["started", "completed"]


def test_a_lane_stays_held_until_what_follows_its_run_is_done() -> None:
    env = Deaf()
    finish_data(env, "1")
    ordered(env, a_schedule(then=Job.FORECAST))
    first = started(invoke(env))
    for _ in range(40):
        env.tick()
    assert len(env.asked) > 1
    assert set(env.asked) == {(first, "nightly")}
    assert isinstance(env.store.read_lock(env.lane), LockHeld)
    started(env.schedules.after("nightly", first))
    run_to_its_end(env, 80)
    assert isinstance(env.store.read_lock(env.lane), Absent)
    assert env.kinds().count("completed") == 2


class Deaf(Environment):
    """Its launcher function is told what to start after a run, and dies of it."""

    @cached_property
    def asked(self) -> list[tuple[str, str]]:
        """The runs, and their schedules."""
        return []

    def follow(self, run: Run, schedule: str) -> None:
        self.asked.append((run.run_id, schedule))


def test_two_times_at_once_cannot_both_spend_the_rest_of_a_month(env: Environment) -> None:
    ordered(env, a_schedule(max_cost_usd=5.0, max_cost_per_month_usd=8.0))
    now = env.clock.now()
    env.faults.hook("objects.create", lambda _: invoke(env, now), on="*/ledger.json", times=1)
    done = invoke(env, now - timedelta(minutes=1))
    assert isinstance(done, Nothing)
    assert len(env.alive) == 1
    assert len(env.schedules.orders.ledger("nightly").ledger.entries) == 1


def test_of_two_that_order_one_name_at_once_the_winner_keeps_its_times(env: Environment) -> None:
    orders, timetable = env.schedules.orders, env.aws.timetable
    winner = replace(a_schedule(), expression="rate(1 day)")
    timetable.put(winner.name, "rate(1 day)")
    order_key = schedule_key(env.name, winner.name)
    env.faults.hook("objects.create", lambda _: orders.create(winner), on=order_key, times=1)
    with pytest.raises(LostRace):
        create_schedule(a_schedule(), orders, timetable)
    assert orders.order(winner.name) == winner
    assert timetable.times == {winner.name: ("rate(1 day)", True)}


@pytest.mark.parametrize("whole_before", [True, False])
def test_data_that_are_uploaded_while_they_are_listed_start_nothing_until_they_are_whole(
    env: Environment, whole_before: bool
) -> None:
    """A listing then has files of both uploads."""
    ordered(env)
    if not whole_before:
        env.objects.remove(success_key(env.name, DATA))

    listed: list[str] = []

    def finish(_: str) -> None:
        if len(listed) == 1:
            listed.append("it is whole now")
            env.clock.advance(timedelta(seconds=5))
            finish_data(env, "2")

    env.faults.hook("objects.listed", listed.append, on=f"*{DATA}*")
    env.faults.hook("objects.read", finish, on=success_key(env.name, DATA))
    done = invoke(env)
    assert isinstance(done, Nothing)
    assert done.about == "incomplete"
    started(invoke(env))
