"""What is on hold outlives a hang and silence, never its deadline or cap."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import InvalidInput, RunNotFound
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.services.kill import Kept, hold, release
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import RUN_ID

HOUR = timedelta(hours=1)


def kept(env: Environment, run_id: str | None = None, span: timedelta | None = None) -> Kept:
    return hold(run_id, "dev", env.store, env.fleet, env.limits, env.clock.now(), span)


def silent_for(env: Environment, span: timedelta) -> None:
    end = env.clock.now() + span
    while env.clock.now() < end and not env.fleet.terminate_calls:
        env.clock.advance(timedelta(minutes=1))
        env.watchdog.sweep()


def test_a_silent_run_lives_while_it_is_held_and_ends_once_that_is_over(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    found = kept(env, span=HOUR)
    assert [one.instance_id for one in found.instances] == [launched.instance_id]
    assert (found.until, found.usd_per_hour) == (env.clock.now() + HOUR, 0.752)
    silent_for(env, HOUR - timedelta(minutes=1))
    assert env.fleet.terminate_calls == []
    silent_for(env, 2 * env.limits.lease)
    assert env.fleet.terminate_calls == [launched.instance_id]


def test_released_it_is_ended_like_any_other(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    kept(env)
    silent_for(env, HOUR)
    assert env.fleet.terminate_calls == []
    release(launched.run_id, "dev", env.store, env.fleet)
    silent_for(env, 2 * env.limits.lease)
    assert env.fleet.terminate_calls == [launched.instance_id]


@pytest.mark.parametrize("cap", [None, 0.376])
def test_deadline_and_cap_end_what_is_held_when_the_command_says_so(env: Environment, cap: float | None) -> None:
    env.defaults["max_cost_usd"] = cap
    launched = env.launch()
    env.claim(launched)
    found = kept(env, launched.run_id)
    assert found.gone_by == (found.run.deadline if cap is None else env.clock.now() + timedelta(minutes=30))
    silent_for(env, found.gone_by - env.clock.now() - timedelta(minutes=2))
    assert env.fleet.terminate_calls == []
    silent_for(env, timedelta(minutes=3))
    assert env.fleet.terminate_calls == [launched.instance_id]


def test_a_kill_at_once_ends_what_is_held(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    kept(env)
    env.kill(launched.run_id, at_once=True)
    assert env.fleet.terminate_calls == [launched.instance_id]


def test_the_instance_is_the_one_that_ec2_lists_whatever_the_record_says(env: Environment) -> None:
    launched = env.launch()
    foreign = env.fleet.add({"Project": "another", "RunId": launched.run_id})
    env.fleet.add(owner_tags(env.fleet.project, "dev") | {"RunId": RUN_ID.replace("1", "2")})
    lock = env.lock()
    env.store.replace_lock(replace(lock.run, instance_id=foreign), lock)
    assert [one.instance_id for one in kept(env).instances] == [launched.instance_id]
    assert [target for name, target in env.faults.calls if name == "fleet.hold"] == [launched.instance_id]


def test_a_run_without_an_instance_cannot_be_held(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    with pytest.raises(InvalidInput, match="has no instance now"):
        kept(env)
    with pytest.raises(RunNotFound):
        kept(env, RUN_ID)
