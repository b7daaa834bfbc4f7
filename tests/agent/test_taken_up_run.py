"""A run that takes up another one, from the end of the first to the model of the second, with real training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file

from agent.lifecycle import FAILED, SUCCEEDED, run_agent
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.request import DataObject, Parent
from chronos_ec2.domain.records.status import Cause, Outcome, Stop
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.services.launch.resume import Resumed, find_resumable
from chronos_ec2.services.run_queries import find_run
from chronos_ec2.testing import Environment, MemoryAws, MemoryObjects, MemoryTransfer
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.run_session import Identity
from tests.agent.builders import FAST, NOW, World, a_config, a_workdir, put_toy_series, tiny_chronos
from tests.agent.chronos.runs import metrics_lines, toy_workdir, train

STEPS = 150


class StopsAfterAnUpload(MemoryTransfer):
    """Asks for a stop once a part of a checkpoint is uploaded."""

    def __init__(self, objects: MemoryObjects, control: Control) -> None:
        super().__init__(objects)
        self._control = control

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None], **options: Any) -> None:
        super().upload(path, key, on_bytes, **options)
        if "/checkpoints/" in key:
            self._control.request_stop(Stop(Cause.REQUESTED, "by hand", NOW))


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    memory = MemoryAws()
    put_toy_series(World(memory), tmp_path)
    return Environment(aws=memory, limits=FAST, data_path="training-data/toy/", allow_cpu=True)


def run(env: Environment, folder: Path, *, stopped: bool = False, **spec: Any) -> tuple[str, int]:
    """Launch a run, let the agent run it to its end, and let the watchdog conclude it: its id, the agent's exit."""
    launched, control = env.launch(**spec), Control()
    if stopped:
        env.aws.transfer = StopsAfterAnUpload(env.objects, control)
    folder.mkdir()
    identity = Identity("dev", launched.run_id, launched.instance_id, "boot", launched.attempt)
    code = run_agent(World(env.aws), "bucket", identity, a_workdir(folder), control)
    env.aws.transfer = MemoryTransfer(env.objects)
    env.fleet.move(launched.instance_id, InstanceState.TERMINATED)
    env.watchdog.sweep()
    assert env.run is None
    return launched.run_id, code


def taken_up(env: Environment, run_id: str) -> tuple[Resumed, dict[str, Any]]:
    """What can be taken up of a run, and the fields of the launch that does."""
    found = find_resumable(env.store, "dev", run_id)
    return found, {"config": found.request.config, "parent": found.parent, "dataset": found.request.dataset_keys}


def model(env: Environment, run_id: str) -> dict[str, torch.Tensor]:
    (key,) = (key for key, _ in env.objects.keys(f"dev/{run_id}/models/") if key.endswith(".safetensors"))
    return dict(load(env.objects.body(key)))


def document(env: Environment, run_id: str, name: str) -> dict[str, Any]:
    return dict(json.loads(env.objects.body(f"dev/{run_id}/{name}")))


@pytest.mark.thorough
def test_a_run_that_takes_up_another_has_the_model_of_one_that_was_never_interrupted(
    env: Environment, tmp_path: Path
) -> None:
    config = parse_config(tiny_chronos(steps=STEPS, checkpoint_steps=10), "test").model_dump(mode="json")
    (tmp_path / "straight").mkdir()
    straight = toy_workdir(tmp_path / "straight")
    train(straight, config)
    first, code = run(env, tmp_path / "first", config=config, stopped=True)
    assert (code, find_run(env.store, "dev", first).run.status) == (FAILED, "killed")

    found, spec = taken_up(env, first)
    assert 10 <= found.step < STEPS
    assert found.parent == Parent(first, first, document(env, first, "run.json")["data"]["sha256"])
    second, code = run(env, tmp_path / "second", **spec)
    assert code == SUCCEEDED

    training = document(env, second, "training.json")
    assert (training["resumed_from_step"], training["steps"]) == (found.step, STEPS)
    assert document(env, second, "run.json")["parent"] == first
    assert find_run(env.store, "dev", second).run.parent == first
    ours, theirs = model(env, second), load_file(straight.model / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    lines = [json.loads(line) for line in env.objects.body(f"dev/{second}/metrics.jsonl").decode().splitlines()]
    assert {"event": "attempt", "attempt": 1, "step": found.step} in lines
    losses = {line["step"]: line["loss"] for line in lines if line.get("loss") is not None}
    assert losses.items() <= {line["step"]: line["loss"] for line in metrics_lines(straight) if "loss" in line}.items()
    assert max(losses) == STEPS


def test_a_run_that_ended_before_its_own_checkpoint_hands_on_that_of_its_parent(
    env: Environment, tmp_path: Path
) -> None:
    config = parse_config(a_config(probe={"steps": 40, "step_seconds": 0.05, "checkpoint_steps": 10}), "test")
    first, _ = run(env, tmp_path / "first", config=config.model_dump(mode="json"), stopped=True)
    found, spec = taken_up(env, first)
    launched = env.launch(**spec)
    env.kill(launched.run_id, at_once=True)
    env.watchdog.sweep()
    again, spec = taken_up(env, launched.run_id)
    assert again.parent == replace(found.parent, run_id=launched.run_id)
    assert again.step == found.step
    third, code = run(env, tmp_path / "third", **spec)
    assert code == SUCCEEDED
    assert document(env, third, "training.json")["resumed_from_step"] == found.step


def test_data_that_changed_but_in_size_end_the_run_before_it_trains(env: Environment, tmp_path: Path) -> None:
    config = parse_config(a_config(probe={"steps": 40, "step_seconds": 0.05, "checkpoint_steps": 10}), "test")
    first, _ = run(env, tmp_path / "first", config=config.model_dump(mode="json"), stopped=True)
    _, spec = taken_up(env, first)
    ((key, _),) = env.objects.keys("cached-datasets/dev/training-data/toy/")
    body = env.objects.body(key)
    env.objects.write(key, body.replace(b"item-00", b"item-99"))
    # As if the ETag were the same: an ETag is no hash where S3 encrypts with KMS.
    (listed,) = env.objects.listed(key)
    spec |= {"dataset": (DataObject(listed.key, listed.size, listed.etag),)}
    second, code = run(env, tmp_path / "second", **spec)
    verdict = find_run(env.store, "dev", second).run.verdict
    assert verdict is not None
    assert (code, verdict.outcome, verdict.cause) == (FAILED, Outcome.FAILED, Cause.USER_CODE)
    assert f"have changed since run {first}" in verdict.message


def test_a_checkpoint_that_is_gone_meanwhile_ends_the_run_instead_of_starting_over(
    env: Environment, tmp_path: Path
) -> None:
    config = parse_config(a_config(probe={"steps": 40, "step_seconds": 0.05, "checkpoint_steps": 10}), "test")
    first, _ = run(env, tmp_path / "first", config=config.model_dump(mode="json"), stopped=True)
    _, spec = taken_up(env, first)
    for key, _ in list(env.objects.keys(f"dev/{first}/checkpoints/")):
        if not key.endswith("manifest.json"):  # parts expire, manifests stay
            env.objects.remove(key)
    second, code = run(env, tmp_path / "second", **spec)
    verdict = find_run(env.store, "dev", second).run.verdict
    assert verdict is not None
    assert (code, verdict.message) == (FAILED, f"no complete checkpoint of run {first} is left in S3")
