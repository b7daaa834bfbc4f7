"""Groups: each member is started once, within one budget, whatever crashes when; and a killed group ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cached_property

import pytest

from chronos_ec2.domain.errors import InvalidDocument, LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.domain.groups.decide import Over, Wait
from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.domain.records.request import REQUEST
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import followed_key, group_key, run_key
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.services.run_queries import final_record
from chronos_ec2.testing import Crash, Environment
from chronos_ec2.testing.agent import AgentBehaviour
from chronos_ec2.testing.builders import a_group


def ordered(env: Environment, group: Group | None = None) -> Group:
    """A group whose order is written."""
    made = group or a_group(purpose=Purpose.SWEEP)
    env.groups.orders.create(made)
    return made


def begun(env: Environment, group: Group | None = None) -> Group:
    """A group whose first members have started."""
    made = ordered(env, group)
    assert isinstance(env.groups.go_on(made.name), Wait)
    return made


def to_its_end(env: Environment, ticks: int = 80) -> None:
    for _ in range(ticks):
        env.tick()
        if env.settled:
            return
    raise AssertionError(env.findings())


def ends(env: Environment, group: Group) -> list[Run]:
    """The final records of the members that have one."""
    return [run for one in group.run_ids if (run := final_record(env.store, env.name, one))]


def launches(env: Environment) -> int:
    """How many instances there ever were."""
    return len(env.fleet.instances(env.name))


def test_all_members_run_two_at_a_time_and_people_are_told_once_that_the_group_has_ended(env: Environment) -> None:
    group = begun(env, a_group(members=5, purpose=Purpose.SWEEP))
    at_work = [len(env.alive)]
    for _ in range(80):
        env.tick()
        at_work.append(len(env.alive))
        if env.settled:
            break
    assert max(at_work) == 2
    assert [run.verdict.outcome for run in ends(env, group) if run.verdict] == [Outcome.SUCCEEDED] * 5
    assert launches(env) == 5
    assert env.kinds().count("ended") == 1
    assert env.kinds().count("completed") == 5
    message = next(one for one in env.notifier.messages if one.attributes["kind"] == "ended")
    assert message.subject == "[chronos-ec2 dev] group sales has ended"
    assert "5 of 5 runs have succeeded, for $" in message.body
    assert "chronos-ec2 runs show sales --environment dev" in message.body
    result = env.groups.orders.result("sales")
    assert result
    assert result.whole
    assert 0 < result.spent_usd < 9.0


def test_each_member_has_its_configuration_its_cap_and_a_lane_of_its_own(env: Environment) -> None:
    group = begun(env)
    for index in (0, 1):
        request = env.store.read_request(env.name, group.run_ids[index])
        assert request
        assert (request.config["number"], request.group) == (index, "sales")
        lock = env.lock(group.lanes[index])
        assert (lock.run.run_id, lock.run.max_cost_usd) == (group.run_ids[index], 4.5)
    assert isinstance(env.store.read_lock(group.lanes[2]), Absent)


def test_whoever_goes_on_with_it_again_starts_nothing_twice(env: Environment) -> None:
    begun(env)
    for _ in range(3):
        assert env.groups.go_on("sales") == Wait("2 at work (2 at a time)")
    assert launches(env) == 2


def test_the_lane_of_a_member_is_held_until_the_next_one_has_started() -> None:
    env = Deaf()
    group = begun(env, a_group(parallel=1, purpose=Purpose.SWEEP))
    for _ in range(600):  # also long after people would have been told
        env.tick()
    assert len(env.asked) > 1
    assert isinstance(env.store.read_lock(group.lanes[0]), LockHeld)
    assert env.objects.read(followed_key(env.name, group.run_ids[0])) is None
    env.groups.after("sales", group.run_ids[0])
    assert isinstance(env.store.read_lock(group.lanes[1]), LockHeld)
    assert env.objects.read(followed_key(env.name, group.run_ids[0]))


class Deaf(Environment):
    """Its launcher function is told to go on with a group, and dies of it."""

    @cached_property
    def asked(self) -> list[str]:
        """The runs after which."""
        return []

    def advance(self, run: Run, group: str) -> None:
        self.asked.append(run.run_id)


def test_a_member_that_fails_is_followed_too(env: Environment) -> None:
    group = begun(env, a_group(parallel=1, purpose=Purpose.SWEEP))
    env.kill(group.run_ids[0], at_once=True)
    to_its_end(env)
    assert [run.verdict.cause for run in ends(env, group) if run.verdict] == [
        Cause.REQUESTED, Cause.COMPLETED, Cause.COMPLETED
    ]  # fmt: skip
    result = env.groups.orders.result("sales")
    assert result
    assert result.sentence.startswith("2 of 3 runs have succeeded")


def test_after_a_failed_part_of_a_forecast_nothing_more_starts(env: Environment) -> None:
    group = begun(env, a_group(members=5))
    env.kill(group.run_ids[0], at_once=True)
    to_its_end(env)
    assert launches(env) == 2
    result = env.groups.orders.result("sales")
    assert result
    assert result.reason == f"run {group.run_ids[0]} has not succeeded, so the forecast will not be whole"


def test_a_killed_group_ends_and_starts_nothing_more(env: Environment) -> None:
    group = begun(env)
    ledger = env.groups.kill("sales", env.watchdog, "by hand", at_once=True)
    assert ledger.stopped == "killed: by hand"
    to_its_end(env)
    assert {run.verdict.outcome for run in ends(env, group) if run.verdict} == {Outcome.KILLED}
    assert launches(env) == 2
    assert env.kinds().count("ended") == 1
    assert env.groups.kill("sales", env.watchdog, "again").stopped == "killed: by hand"


def test_a_group_that_nobody_has_begun_is_ended_by_a_kill(env: Environment) -> None:
    ordered(env)
    assert env.groups.orders.open() == ("sales",)
    env.groups.kill("sales", env.watchdog, "by hand")
    assert env.groups.orders.open() == ()
    assert env.kinds() == ["ended"]


def test_a_member_whose_lane_is_taken_after_the_kill_gets_no_instance(env: Environment) -> None:
    group = ordered(env)
    env.faults.hook(
        "objects.create", lambda _: env.groups.kill("sales", env.watchdog, "by hand"), on="*/system-state.json", times=1
    )
    with suppress(ServiceUnavailable):
        env.groups.go_on("sales")
    to_its_end(env)
    assert launches(env) == 0
    assert [run.verdict.outcome for run in ends(env, group) if run.verdict] == [Outcome.KILLED]


def test_two_that_go_on_at_once_enter_no_more_than_there_is_money_for(env: Environment) -> None:
    group = ordered(env, a_group(members=6, parallel=6, max_cost_usd=6.0, purpose=Purpose.SWEEP))
    env.faults.hook("objects.create", lambda _: env.groups.go_on("sales"), on="*/ledger.json", times=1)
    env.groups.go_on("sales")
    entries = env.groups.orders.ledger("sales").ledger.entries
    assert len(entries) == len({one.run_id for one in entries}) == 6
    assert sum(one.cap_usd or 0 for one in entries) <= 6.0
    caps = [env.lock(lane).run.max_cost_usd for lane in group.lanes]
    assert caps == [one.cap_usd for one in sorted(entries, key=lambda one: one.run_id)]
    assert launches(env) == 6


def test_a_lane_that_another_run_holds_is_waited_for(env: Environment) -> None:
    group = ordered(env, a_group(parallel=1, purpose=Purpose.SWEEP))
    other = env.launch(group.lanes[0])
    with pytest.raises(ServiceUnavailable, match=f"run {other.run_id} holds"):
        env.groups.go_on("sales")
    to_its_end(env)
    env.groups.go_on("sales")
    to_its_end(env)
    assert len(ends(env, group)) == 3


def test_a_launcher_that_slept_before_it_took_a_lane_does_not_take_it(env: Environment) -> None:
    ordered(env)
    env.faults.hook("objects.create", lambda _: env.clock.advance(timedelta(hours=3)), on="*/ledger.json", times=1)
    with pytest.raises(ServiceUnavailable, match="held up for too long"):
        env.groups.go_on("sales")
    assert launches(env) == 0
    env.groups.go_on("sales")
    assert launches(env) == 2


def test_whoever_was_held_up_since_before_the_end_enters_no_member_after_it(env: Environment) -> None:
    group = begun(env, a_group(members=3))
    read = env.groups.orders.ledger("sales")
    env.kill(group.run_ids[0], at_once=True)
    to_its_end(env)
    late = read.ledger.with_entry(group.entry(2, None, env.clock.now()))
    with pytest.raises(LostRace):
        env.groups.orders.replace_ledger("sales", late, read)


def test_a_delivery_that_pauses_until_its_member_is_over_starts_no_second_instance(env: Environment) -> None:
    group = ordered(env, a_group(members=1, parallel=1, purpose=Purpose.SWEEP))

    def meanwhile(_: object) -> None:
        env.groups.go_on("sales")
        for _ in range(40):
            env.sweeps(timedelta(seconds=1))
            for agent in [env.agent_of(one) for one in env.alive]:
                agent.live()
            if not env.alive:
                break

    env.faults.hook("objects.create", meanwhile, on=group.lanes[0].state_key, times=1)
    with suppress(ServiceUnavailable, LostRace):
        env.groups.go_on("sales")
    to_its_end(env)
    assert launches(env) == 1


@pytest.mark.parametrize("after", [False, True])
def test_whatever_call_crashes_the_group_is_whole_in_the_end(after: bool) -> None:
    """The process that begins the group and the launcher after its first member die at each of their calls."""
    for skip in range(200):
        env = Environment()
        group = ordered(env, a_group(members=2, parallel=1, purpose=Purpose.SWEEP))
        (env.faults.crash_after if after else env.faults.crash_before)("*", skip=skip)
        try:
            env.groups.go_on("sales")
            for _ in range(9):
                env.tick()
        except Crash:
            pass
        struck = env.faults.struck
        with env.faults.suspended():
            env.groups.go_on("sales")
            to_its_end(env)
            assert launches(env) == 2, skip
            assert len(ends(env, group)) == 2, skip
            assert env.groups.orders.result("sales"), skip
            told = env.kinds().count("ended")
            assert told == 1 or (told == 2 and struck), skip
        if not struck:
            assert skip > 20
            return
    raise AssertionError("the calls do not end")


def test_an_order_that_cannot_be_read_keeps_no_lane(env: Environment) -> None:
    group = begun(env, a_group(members=1, parallel=1, purpose=Purpose.SWEEP))
    env.objects.write(group_key(env.name, "sales", "order.json"), b"{}")
    to_its_end(env)
    assert env.groups.after("sales", group.run_ids[0]) == Wait(
        f"the group has gone on after run {group.run_ids[0]} already"
    )
    assert isinstance(env.groups.go_on("others"), Over)


def test_a_group_is_created_once(env: Environment) -> None:
    group = ordered(env)
    env.groups.orders.create(group)
    with pytest.raises(LostRace):
        env.groups.orders.create(replace(group, parallel=1))


@pytest.mark.parametrize("operation", ["objects.read", "objects.create", "notifier.publish"])
def test_what_aws_refuses_is_asked_for_again(env: Environment, operation: str) -> None:
    group = begun(env, a_group(members=2, parallel=1, purpose=Purpose.SWEEP))
    env.faults.fail(operation, times=3, error=lambda _: NotAllowed("refused"))
    with suppress(NotAllowed, ServiceUnavailable):
        env.groups.go_on("sales")
    to_its_end(env)
    assert len(ends(env, group)) == 2
    assert env.objects.read(run_key(env.name, group.run_ids[1], REQUEST))


def test_a_silent_member_is_ended_and_followed(env: Environment) -> None:
    env.behaviour = AgentBehaviour.SILENT
    group = begun(env, a_group(members=2, parallel=1, purpose=Purpose.SWEEP))
    for _ in range(30):
        env.tick()
    env.behaviour = AgentBehaviour.HEALTHY
    to_its_end(env)
    assert len(ends(env, group)) == 2


def test_a_member_that_ends_while_the_group_is_killed_keeps_no_other_one_alive(env: Environment) -> None:
    group = begun(env, a_group(members=2, purpose=Purpose.SWEEP))
    first = group.run_ids[0]

    def meanwhile(_: object) -> None:
        env.kill(first, at_once=True)
        for _ in range(20):
            env.tick()
            if isinstance(env.store.read_lock(group.lanes[0]), Absent):
                return
        raise AssertionError("the first run holds its lane")

    env.faults.hook("objects.replace", meanwhile, on="*/ledger.json", times=1)
    env.behaviour = AgentBehaviour.HEALTHY
    env.groups.kill("sales", env.watchdog, "by hand", at_once=True)
    assert [run.verdict.outcome for run in ends(env, group) if run.verdict][:1] == [Outcome.KILLED]
    assert isinstance(env.store.read_lock(group.lanes[1]), Absent) or env.lock(group.lanes[1]).run.verdict


def test_people_who_cannot_be_told_for_hours_hold_up_no_member(env: Environment) -> None:
    group = begun(env, a_group(members=3, parallel=1, purpose=Purpose.SWEEP))
    env.faults.fail("notifier.publish", times=100_000, error=lambda _: NotAllowed("the topic is gone"))
    for _ in range(40):
        env.tick()
    assert [run.verdict.outcome for run in ends(env, group) if run.verdict] == [Outcome.SUCCEEDED] * 3
    for _ in range(200):
        env.tick()
    assert env.settled, env.findings()
    assert env.groups.orders.result("sales")


def test_a_ledger_of_another_group_of_the_same_name_starts_nothing(env: Environment) -> None:
    begun(env, a_group(members=1, parallel=1, purpose=Purpose.SWEEP))
    env.objects.remove(group_key(env.name, "sales", "order.json"))
    to_its_end(env)
    later = replace(a_group(members=2, purpose=Purpose.SWEEP), created_at=env.clock.now())
    env.objects.write(group_key(env.name, "sales", "order.json"), later.to_json())
    with pytest.raises(InvalidDocument, match="another group"):
        env.groups.go_on("sales")
    assert launches(env) == 1


def test_a_group_that_takes_months_forgets_no_member_and_no_cost(env: Environment) -> None:
    group = ordered(env, a_group(members=3, parallel=1, purpose=Purpose.SWEEP))
    ledger = Ledger()
    for index in range(3):
        entry = group.entry(index, 3.0, group.created_at + timedelta(days=40 * index))
        ledger = ledger.with_entry(replace(entry, spent_usd=2.5, succeeded=False))
    assert [one.run_id for one in ledger.entries] == list(group.run_ids)
