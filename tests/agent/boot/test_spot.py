"""EC2's warnings, from a metadata service over real HTTP to the trainer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.boot.imds import Metadata, MetadataUnavailable
from agent.boot.spot import InterruptionWatch
from agent.lifecycle import FAILED, SUCCEEDED, run_agent
from agent.logs.shipper import log_to
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.records.status import Cause, Outcome, Status
from chronos_ec2.testing import MemoryObjects
from chronos_ec2.worker.control import Control
from tests.agent.builders import (
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
from tests.agent.imds import SPOT, Imds, imds

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def service() -> Iterator[Imds]:
    with imds() as made:
        yield made


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Workdir]:
    made = a_workdir(tmp_path)
    undo = log_to(made.agent_log)
    yield made
    undo()


def watch(service: Imds, control: Control) -> InterruptionWatch:
    return InterruptionWatch(Metadata(service.endpoint), control, lambda: NOW, seconds=0.02)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_the_interruption_notice_requests_a_stop(service: Imds, action: str) -> None:
    control = Control()
    service.interrupt(action)
    with watch(service, control) as watching:
        wait_until(lambda: control.stop is not None)
        wait_until(lambda: not watching.alive)
    assert control.stop is not None
    assert (control.stop.cause, control.stop.outcome, control.stop.requested_at) == (
        Cause.PREEMPTED, Outcome.FAILED, NOW
    )  # fmt: skip
    # However long the grace is: EC2 waits two minutes.
    assert control.stop_time_left(timedelta(hours=1)) <= timedelta(seconds=100)
    assert control.stop.reason == f"EC2 interrupts the spot instance ({action} at 2026-01-31T12:02:00Z)"


def test_a_rebalance_recommendation_requests_one_checkpoint_and_no_stop(service: Imds) -> None:
    control = Control()
    service.recommend_rebalance()
    with watch(service, control):
        wait_until(lambda: control.take_checkpoint_request() or control.stop is not None)
        assert control.stop is None
        seen = len(service.requests)
        wait_until(lambda: len(service.requests) > seen + 6)
        assert not control.take_checkpoint_request()
        service.recommend_rebalance("2026-01-31T12:30:00Z")
        wait_until(control.take_checkpoint_request)
    assert control.stop is None


@pytest.mark.parametrize("body", ["", "<html>", "[]", "null", '{"action2": 1}'])
def test_invalid_warnings_are_ignored(service: Imds, body: str) -> None:
    control = Control()
    service.answers[SPOT] = body
    with watch(service, control):
        wait_until(lambda: len(service.requests) > 6)
    assert control.stop is None


def test_polling_continues_until_the_service_answers(service: Imds) -> None:
    control, down = Control(), 8

    class Late(Metadata):
        """Does not answer the first requests."""

        def get(self, path: str) -> str | None:
            nonlocal down
            if down:
                down -= 1
                raise MetadataUnavailable("no route to host")
            return super().get(path)

    service.interrupt()
    with InterruptionWatch(Late(service.endpoint), control, lambda: NOW, seconds=0.01) as watching:
        wait_until(lambda: control.stop is not None or not watching.alive)
    assert control.stop is not None


def test_invalid_http_does_not_end_the_watch(service: Imds) -> None:
    control = Control()
    with watch(service, control):
        service.invalid_responses = 3
        wait_until(lambda: service.invalid_responses == 0)
        service.interrupt()
        wait_until(lambda: control.stop is not None)


def test_without_a_metadata_service_nothing_is_polled() -> None:
    with InterruptionWatch(None, Control(), lambda: NOW) as watching:
        wait_until(lambda: not watching.alive)


def test_an_expired_token_is_renewed(service: Imds) -> None:
    metadata = Metadata(service.endpoint)
    assert metadata.get("instance-id") is None
    service.tokens.clear()
    service.answers["instance-id"] = "i-1"
    assert metadata.get("instance-id") == "i-1"
    assert service.tokens_issued == 2


def test_a_service_that_rejects_every_token_is_unavailable(service: Imds) -> None:
    service.rejects_tokens = True
    with pytest.raises(MetadataUnavailable, match="every token is rejected"):
        Metadata(service.endpoint).get("instance-id")


def test_the_endpoint_comes_from_the_variables_of_aws_clients(service: Imds) -> None:
    metadata = Metadata.of_environment({"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint + "/"})
    assert metadata is not None
    assert metadata.get("instance-id") is None
    assert Metadata.of_environment({"AWS_EC2_METADATA_DISABLED": "true"}) is None
    assert Metadata.of_environment({}) is not None


class StepRecorder(FlakyObjects):
    """Records each step that is reported, and the end."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__(objects)
        self.steps: list[str] = []

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        if key.endswith("/status.json"):
            self.steps.append(json.loads(body)["step"])
        super().write(key, body, content_type)

    def create(self, key: str, body: bytes) -> str:
        self.steps.append(json.loads(body).get("cause", "claimed"))
        return super().create(key, body)


def test_an_interrupted_run_resumes_from_its_last_step(service: Imds, workdir: Workdir, tmp_path: Path) -> None:
    world = World()
    world.objects = recorder = StepRecorder(world.memory.objects)
    put_toy_series(world, tmp_path)
    config = a_config(probe={"steps": 150, "step_seconds": 0.02, "checkpoint_steps": 1000})
    launch(world, config, preemptions_left=1)
    control = Control()

    class Late(Metadata):
        """The notice arrives once training has started."""

        def get(self, path: str) -> str | None:
            found = world.store.read_heartbeat("dev", RUN_ID)
            if isinstance(found, HeartbeatReceived) and found.heartbeat.step > 0:
                service.interrupt()
            return super().get(path)

    with InterruptionWatch(Late(service.endpoint), control, lambda: NOW, seconds=0.02):
        assert run_agent(world, "bucket", an_identity(), workdir, control) == FAILED

    run = the_run(world)
    assert (run.status, run.verdict and run.verdict.cause) == (Status.FAILED, Cause.PREEMPTED)
    assert recorder.steps[-2:] == ["interrupted", "preempted"]
    assert run.stop is None  # or the watchdog would not start another attempt
    done = world.document("training.json")["steps"]
    assert 0 < done < 150
    assert f"checkpoints/{done}/manifest.json" in world.names()

    rewrite(world, lambda run: run.next_attempt(Cause.PREEMPTED, 0.0, NOW))
    workdir.create()
    assert run_agent(world, "bucket", an_identity(attempt=2), workdir, Control()) == SUCCEEDED

    summary = world.document("training.json")
    assert (summary["attempt"], summary["resumed_from_step"], summary["steps"]) == (2, done, 150)


def test_after_a_rebalance_recommendation_a_checkpoint_is_uploaded_and_the_run_continues(
    service: Imds, workdir: Workdir, tmp_path: Path
) -> None:
    world = World()
    put_toy_series(world, tmp_path)
    launch(world, a_config(probe={"steps": 60, "step_seconds": 0.05, "checkpoint_steps": 10_000}))
    control = Control()
    service.recommend_rebalance()
    with watch(service, control):
        assert run_agent(world, "bucket", an_identity(), workdir, control) == SUCCEEDED
    manifests = [name for name in world.names() if name.endswith("manifest.json")]
    assert len(manifests) == 1
