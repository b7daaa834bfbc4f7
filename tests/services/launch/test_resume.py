"""What of a run that has ended can be taken up, and what is said when nothing can be."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidInput, RunNotFound
from chronos_ec2.domain.records.checkpoint import Manifest, Part
from chronos_ec2.domain.records.request import DataObject, Parent, Request
from chronos_ec2.domain.records.s3_keys import code_key, run_key
from chronos_ec2.domain.records.status import Cause, Outcome, Status
from chronos_ec2.services.launch.resume import Resumed, find_resumable
from chronos_ec2.testing import Environment
from chronos_ec2.testing.environment import DATA

CONFIG = {"data": {"path": DATA}}
FILE = f"cached-datasets/dev/{DATA}part-0.parquet"
ETAG = f'"{hashlib.md5(b"PAR1").hexdigest()}"'
SHA256 = "ab" * 32


def a_run_that_ended(env: Environment, outcome: Outcome = Outcome.FAILED, *steps: int, **spec: Any) -> str:
    launched = env.launch(**{"config": CONFIG} | spec)
    env.work_until(Status.TRAINING)
    for step in steps:
        a_checkpoint(env, launched.run_id, step)
    env.objects.write(f"dev/{launched.run_id}/run.json", b'{"data": {"sha256": "%s"}}' % SHA256.encode())
    env.end(outcome, Cause.COMPLETED if outcome is Outcome.SUCCEEDED else Cause.INFRA)
    env.power_off(launched)
    env.watchdog.sweep()
    assert env.run is None
    return launched.run_id


def a_checkpoint(env: Environment, run_id: str, step: int, *, missing: bool = False) -> None:
    folder = f"dev/{run_id}/checkpoints/{step}/"
    if not missing:
        env.objects.write(f"{folder}weights", b"weights")
    env.objects.write(f"{folder}manifest.json", Manifest(step, (Part("weights", 7, SHA256),)).to_json())


def resumable(env: Environment, run_id: str) -> Resumed:
    return find_resumable(env.store, "dev", run_id)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.KILLED])
def test_a_run_that_ended_is_taken_up_from_its_latest_complete_checkpoint(env: Environment, outcome: Outcome) -> None:
    run_id = a_run_that_ended(env, outcome, 10, 20)
    a_checkpoint(env, run_id, 30, missing=True)
    found = resumable(env, run_id)
    assert (found.parent, found.step) == (Parent(run_id, run_id, SHA256), 20)
    assert found.request.dataset_keys == (DataObject(FILE, 4, ETAG),)


def test_the_new_run_names_its_parent_in_request_and_record(env: Environment) -> None:
    run_id = a_run_that_ended(env, Outcome.FAILED, 10)
    found = resumable(env, run_id)
    env.objects.write(FILE.replace("part-0", "part-1"), b"PAR1")  # is not trained on
    launched = env.launch(config=found.request.config, parent=found.parent, dataset=found.request.dataset_keys)
    request = Request.from_json(env.objects.body(run_key("dev", launched.run_id, "request.json")))
    assert (request.parent, request.dataset_keys) == (found.parent, (DataObject(FILE, 4, ETAG),))
    assert (env.lock().run.parent, launched.run_id != run_id) == (run_id, True)


def test_a_run_that_takes_up_another_and_leaves_no_checkpoint_hands_on_its_parents(env: Environment) -> None:
    run_id = a_run_that_ended(env, Outcome.FAILED, 10)
    second = a_run_that_ended(env, Outcome.FAILED, parent=resumable(env, run_id).parent)
    found = resumable(env, second)
    assert (found.parent, found.step) == (Parent(second, run_id, SHA256), 10)
    third = a_run_that_ended(env, Outcome.FAILED, 15, parent=found.parent)
    assert resumable(env, third).parent == Parent(third, third, SHA256)


def test_an_unknown_run_is_an_error(env: Environment) -> None:
    with pytest.raises(RunNotFound, match="20200101T000000Z-000000"):
        resumable(env, "20200101T000000Z-000000")
    with pytest.raises(InvalidInput, match="is not a run id"):
        resumable(env, "latest")


def test_an_active_run_is_refused_with_the_commands_that_follow_and_end_it(env: Environment) -> None:
    run_id = env.launch(config=CONFIG).run_id
    commands = rf"`chronos-ec2 monitor {run_id} --environment dev` .*`chronos-ec2 kill {run_id} --environment dev`"
    with pytest.raises(InvalidInput, match=rf"--resume: run {run_id} is active.*{commands}"):
        resumable(env, run_id)


def test_of_a_complete_run_nothing_is_left_to_resume(env: Environment) -> None:
    run_id = a_run_that_ended(env, Outcome.SUCCEEDED, 10)
    with pytest.raises(InvalidInput, match=rf"run {run_id} has completed its training, so nothing is left to resume"):
        resumable(env, run_id)


def test_without_a_complete_checkpoint_there_is_nothing_to_begin_with(env: Environment) -> None:
    run_id = a_run_that_ended(env)
    a_checkpoint(env, run_id, 10, missing=True)
    with pytest.raises(InvalidInput, match=rf"run {run_id} left no complete checkpoint .*two weeks"):
        resumable(env, run_id)


@pytest.mark.parametrize(
    ("body", "how"), [(None, "is gone"), (b"PAR1 and more", "was overwritten"), (b"PAR2", "was overwritten")]
)
def test_data_that_changed_since_are_named(env: Environment, body: bytes | None, how: str) -> None:
    env.objects.write(FILE.replace("part-0", "part-1"), b"PAR1")
    run_id = a_run_that_ended(env, Outcome.FAILED, 10)
    if body is None:
        env.objects.remove(FILE)
    else:
        env.objects.write(FILE, body)
    with pytest.raises(InvalidInput, match=rf"data set {DATA} has changed since run {run_id}: {FILE} {how}"):
        resumable(env, run_id)


def test_a_trainer_that_is_gone_is_named(env: Environment) -> None:
    run_id = a_run_that_ended(env, Outcome.FAILED, 10, code_sha256=SHA256)
    with pytest.raises(InvalidInput, match=f"{code_key(SHA256)}, the trainer of run {run_id}, is gone"):
        resumable(env, run_id)
    env.objects.write(code_key(SHA256), b"PK")
    assert resumable(env, run_id).step == 10


def test_a_request_that_is_gone_is_named(env: Environment) -> None:
    run_id = a_run_that_ended(env, Outcome.FAILED, 10)
    env.objects.remove(run_key("dev", run_id, "request.json"))
    with pytest.raises(InvalidInput, match=rf"run {run_id} has no request\.json any more"):
        resumable(env, run_id)


@pytest.mark.parametrize("body", [None, b"not json", b"{}", b'{"data": null}', b'{"data": 1}', b'{"data": {}}'])
def test_without_a_hash_of_the_data_their_etags_must_do(env: Environment, body: bytes | None) -> None:
    run_id = a_run_that_ended(env, Outcome.FAILED, 10)
    if body is None:
        env.objects.remove(f"dev/{run_id}/run.json")
    else:
        env.objects.write(f"dev/{run_id}/run.json", body)
    assert resumable(env, run_id).parent.data_sha256 is None
