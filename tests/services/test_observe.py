"""What the watchdog reads of a lane before it decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, HeartbeatReceived, LaneFacts, ReadFailed
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import suspect_key
from chronos_ec2.services.watchdog.observe import Observer
from chronos_ec2.testing import Environment

SECOND = Lane("dev", "second")


def observer(env: Environment) -> Observer:
    return Observer("dev", env.store, env.fleet, env.deadlines, env.clock, env.limits)


def look(env: Environment, lane: Lane | None = None) -> LaneFacts:
    lane = lane or env.lane
    return observer(env).gather(lane, observer(env).list_lane(lane))


def ids(facts: LaneFacts) -> list[str]:
    return [instance.instance_id for instance in facts.instances]


def test_each_lane_has_its_own_instances_and_the_main_lane_those_without_a_lane(env: Environment) -> None:
    main, second = env.launch(), env.launch(lane=SECOND)
    untagged = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    assert ids(look(env)) == [main.instance_id, untagged]
    assert ids(look(env, SECOND)) == [second.instance_id]


def test_an_attempt_that_has_not_claimed_yet_has_the_heartbeat_of_the_one_before(env: Environment) -> None:
    """It says whether the run has a checkpoint; the heartbeat of a first attempt can only be a forgery."""
    launched = env.launch()
    env.heartbeat(launched)
    assert isinstance(look(env).heartbeat, Absent)
    env.objects.write(env.lane.state_key, replace(env.lock().run, attempt=2, instance_id=None).to_json())
    assert isinstance(look(env).heartbeat, HeartbeatReceived)


def test_the_list_is_as_old_as_its_request(env: Environment) -> None:
    """An instance that is launched while EC2 answers may be missing from it."""
    env.faults.hook("fleet.instances", lambda _lane: env.clock.advance(timedelta(minutes=3)))
    asked_at = env.clock.now()
    assert look(env).listed_at == asked_at
    assert observer(env).list_all().at == asked_at + timedelta(minutes=3)


def test_beside_a_lock_that_s3_does_not_return_nothing_else_is_asked(env: Environment) -> None:
    env.launch()
    env.faults.fail("objects.read", on=env.lane.state_key)
    env.faults.calls.clear()
    facts = look(env)
    assert isinstance(facts.lock, ReadFailed)
    assert [key for operation, key in env.faults.calls if operation == "objects.read"] == [env.lane.state_key]


def test_beside_an_unreadable_lock_each_living_instance_has_its_heartbeat(env: Environment) -> None:
    launched = env.launch()
    env.heartbeat(launched)
    env.objects.write(env.lane.state_key, b"not a record")
    assert look(env).heartbeats.keys() == {launched.run_id}


def test_a_first_look_counts_from_s3s_time_of_its_mark(env: Environment) -> None:
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    marked_at = env.clock.now()
    env.objects.write(suspect_key("dev", orphan), b"{}")
    env.clock.advance(timedelta(minutes=5))
    assert look(env).suspects == {orphan: marked_at}


@pytest.mark.parametrize("error", [ServiceUnavailable, NotAllowed])
def test_a_mark_that_cannot_be_read_counts_as_none(env: Environment, error: type[Exception]) -> None:
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    env.objects.write(suspect_key("dev", orphan), b"{}")
    env.faults.fail("objects.read", error, on=suspect_key("dev", orphan))
    assert look(env).suspects == {}


def test_nobody_asks_whether_the_instance_of_the_run_was_marked(env: Environment) -> None:
    launched = env.launch()
    env.objects.write(suspect_key("dev", launched.instance_id), b"{}")
    assert look(env).suspects == {}
