"""How a run ends: what is saved, in which order it is written, and what keeps no run from its verdict."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.boot.request import read_request
from agent.checkpoint.upload import CheckpointUploader
from agent.lifecycle import FAILED, FENCED, AgentRun, run_agent
from agent.protocol.workdir import Workdir
from agent.run_context import compose
from chronos_ec2.domain.errors import NotAllowed
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.testing import MemoryObjects
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.run_session import RunSession
from tests.agent.builders import (
    FAST,
    LANE,
    NOW,
    RUN_ID,
    FlakyObjects,
    World,
    a_config,
    a_workdir,
    an_identity,
    launch,
    put_toy_series,
    rewrite,
    the_run,
)

LOST = Verdict(Outcome.FAILED, Cause.INFRA, "the instance disappeared", DecidedBy.WATCHDOG)
INVALID = a_config(trainning={})
"""A configuration that fails the run at once."""


class WatchedObjects(FlakyObjects):
    """A bucket that tells of each document before it is written, and may refuse it."""

    def __init__(self, objects: MemoryObjects, on_write: Callable[[str, bytes], None]) -> None:
        super().__init__(objects)
        self._on_write = on_write

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        self._on_write(key.removeprefix(run_key("dev", RUN_ID, "")), body)
        super().write(key, body, content_type)

    def create(self, key: str, body: bytes) -> str:
        self._on_write(key.removeprefix(run_key("dev", RUN_ID, "")), body)
        return super().create(key, body)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World()
    put_toy_series(made, tmp_path)
    return made


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    return a_workdir(tmp_path)


def run_to_end(world: World, workdir: Workdir, control: Control | None = None) -> int:
    return run_agent(world, "bucket", an_identity(), workdir, control or Control())


def test_the_last_upload_has_three_quarters_of_the_grace(world: World, workdir: Workdir) -> None:
    """The rest is for the receipt and the verdict: after the grace the watchdog terminates the instance."""

    class Recorded(CheckpointUploader):
        """Records how long it is waited for."""

        def drain(self, seconds: float) -> bool:
            waited.append(seconds)
            return super().drain(seconds)

    waited: list[float] = []
    launch(world, INVALID, replace(FAST, grace=timedelta(seconds=100)))
    identity = an_identity()
    session = RunSession(world.store, world.clock, LANE, identity)
    session.claim()
    request = read_request(world.store, identity, time.sleep)
    context = compose(world, "bucket", request, session, identity, workdir, Control())
    checkpoints = Recorded(
        world.store.objects, world.transfer, context.results.key_of, workdir.checkpoints, context.progress
    )

    assert AgentRun(replace(context, checkpoints=checkpoints)).run() == FAILED

    assert waited[0] == 75


def test_a_run_is_never_said_to_have_succeeded_before_s3_has_all_results(world: World, workdir: Workdir) -> None:
    class Forgetful(WatchedObjects):
        """Accepts the metrics, but does not list them."""

        def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
            return ((key, size) for key, size in world.memory.objects.keys(prefix) if "metrics" not in key)

    written: list[str] = []

    def note(name: str, body: bytes) -> None:
        if name == "training.json":
            written.append(json.loads(body)["outcome"])

    launch(world, a_config())
    world.objects = Forgetful(world.memory.objects, note)
    assert run_to_end(world, workdir) == FAILED
    assert written == ["failed"]


@pytest.mark.parametrize("config", [a_config(), INVALID])
def test_the_verdict_is_written_after_everything_else(
    world: World, workdir: Workdir, config: dict[str, object]
) -> None:
    ended: dict[str, bool] = {}
    launch(world, config)
    world.objects = WatchedObjects(
        world.memory.objects, lambda name, _body: ended.update({name: the_run(world).verdict is not None})
    )
    run_to_end(world, workdir)
    assert ended.keys() >= {"run.json", "training.json", "outcomes/1.json"}
    assert not any(written_after for name, written_after in ended.items() if name != "heartbeat.json")
    assert world.document("outcomes/1.json")["cleanup"]["uploads"]["complete"] is True


def test_a_run_that_is_fenced_at_its_end_has_no_verdict(world: World, workdir: Workdir) -> None:
    """Cut off from S3 long enough, another attempt may have the run."""
    control = Control()
    launch(world, a_config())
    world.objects = WatchedObjects(
        world.memory.objects, lambda name, _body: control.fence("cut off") if name == "training.json" else None
    )
    assert run_to_end(world, workdir, control) == FENCED
    assert the_run(world).verdict is None


def test_an_agent_whose_run_another_instance_has_leaves_its_logs_alone_and_no_data(
    world: World, workdir: Workdir
) -> None:
    def take() -> None:
        deadline = time.monotonic() + 300
        while the_run(world).status is not Status.TRAINING and time.monotonic() < deadline:
            time.sleep(0.02)
        rewrite(world, lambda run: run.end(LOST, NOW))
        rewrite(world, lambda run: run.next_attempt(LOST.cause, 0.0, NOW))

    launch(world, a_config(probe={"ending": "hang", "steps": 1, "step_seconds": 0.01}), crashes_left=1)
    taker = threading.Thread(target=take)
    taker.start()
    assert run_to_end(world, workdir) == FENCED
    taker.join()
    assert not [name for name in world.names() if name.startswith("logs/")]
    assert [path.name for path in workdir.root.iterdir()] == ["logs"]


def test_a_run_that_is_killed_before_it_trains_leaves_its_documents(world: World, workdir: Workdir) -> None:
    control = Control()
    control.request_stop(Stop(Cause.REQUESTED, "a person", NOW))
    launch(world, a_config())
    assert run_to_end(world, workdir, control) == FAILED
    assert world.document("training.json")["outcome"] == "killed"
    assert "run.json" in world.names()


@pytest.mark.parametrize("refused", ["training.json", "run.json", "status.json"])
def test_a_document_that_s3_refuses_does_not_cost_the_verdict(world: World, workdir: Workdir, refused: str) -> None:
    def refuse(name: str, _body: bytes) -> None:
        if name == refused:
            raise NotAllowed(f"not allowed to write {name}")

    launch(world, INVALID)
    world.objects = WatchedObjects(world.memory.objects, refuse)
    assert run_to_end(world, workdir) == FAILED
    verdict = the_run(world).verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.USER_CODE)
