"""Uploads that nobody is left to end are aborted, those of runs that go on are not."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.services.watchdog.orphan_uploads import abort_orphan_uploads
from chronos_ec2.testing import Environment

OVER = "20200101T000000Z-000000"


def key(run_id: str) -> str:
    return run_key("dev", run_id, "checkpoints/100/model.safetensors")


def begin(env: Environment, *run_ids: str) -> None:
    for run_id in run_ids:
        env.objects.begin(key(run_id))


def abort(env: Environment) -> tuple[str, ...]:
    return abort_orphan_uploads("dev", env.store, env.fleet)


def begun(env: Environment) -> list[str]:
    return [upload.key for upload in env.objects.begun]


def test_the_upload_of_a_run_that_is_over_is_aborted_and_that_of_one_that_goes_on_is_not(env: Environment) -> None:
    launched = env.launch()
    begin(env, OVER, launched.run_id)
    env.objects.begin(run_key("prod", OVER, "models/model.safetensors"))
    assert abort(env) == (key(OVER),)
    assert begun(env) == [key(launched.run_id), run_key("prod", OVER, "models/model.safetensors")]


@pytest.mark.parametrize("alive", [True, False])
def test_the_upload_of_a_run_that_lost_its_lock_stays_while_its_instance_lives(env: Environment, alive: bool) -> None:
    launched = env.launch()
    begin(env, launched.run_id)
    env.objects.remove(Lane("dev").state_key)
    if not alive:
        env.fleet.move(launched.instance_id, InstanceState.TERMINATED)
    assert abort(env) == (() if alive else (key(launched.run_id),))


def test_the_upload_of_a_run_between_two_attempts_stays(env: Environment) -> None:
    launched = env.launch()
    begin(env, launched.run_id)
    env.power_off(launched)
    assert abort(env) == ()


def test_beside_an_unreadable_lock_no_upload_is_aborted(env: Environment) -> None:
    begin(env, OVER)
    env.objects.write(Lane("dev", "second").state_key, b"not a record")
    assert abort(env) == ()
    assert begun(env) == [key(OVER)]


def test_without_uploads_nothing_else_is_asked(env: Environment) -> None:
    assert abort(env) == ()
    assert {operation for operation, _ in env.faults.calls} == {"objects.uploads"}


def test_the_upload_of_a_run_that_is_launched_meanwhile_stays(env: Environment) -> None:
    begin(env, OVER)
    env.faults.hook("objects.uploads", lambda _prefix: begin(env, env.launch().run_id))
    assert abort(env) == (key(OVER),)
    (left,) = env.objects.begun
    assert left.key == key(env.lock().run.run_id)
