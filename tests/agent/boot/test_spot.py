"""EC2's warnings reach the trainer, against a metadata service over real HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.boot.imds import Metadata, NoMetadata
from agent.boot.spot import InterruptionWatch
from agent.lifecycle import FAILED, SUCCEEDED, live
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
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_the_notice_is_an_order_to_stop(service: Imds, action: str) -> None:
    control = Control()
    service.take_back(action)
    with watch(service, control) as watching:
        wait_until(lambda: control.stop is not None)
        wait_until(lambda: not watching.alive)
    assert control.stop is not None
    assert (control.stop.cause, control.stop.outcome, control.stop.requested_at) == (
        Cause.PREEMPTED, Outcome.FAILED, NOW
    )  # fmt: skip
    # Whatever the grace is: EC2 waits two minutes.
    assert control.time_to_leave(timedelta(hours=1)) <= timedelta(seconds=100)
    assert control.stop.reason == f"EC2 takes the spot instance back ({action} at 2026-01-31T12:02:00Z)"


def test_a_recommendation_asks_once_for_a_checkpoint_and_ends_nothing(service: Imds) -> None:
    control = Control()
    service.recommend_to_leave()
    with watch(service, control):
        wait_until(control.take_checkpoint_wish)
        seen = len(service.asked)
        wait_until(lambda: len(service.asked) > seen + 6)
        assert not control.take_checkpoint_wish()
        service.recommend_to_leave("2026-01-31T12:30:00Z")
        wait_until(control.take_checkpoint_wish)
    assert control.stop is None


@pytest.mark.parametrize("body", ["", "<html>", "[]", "null", '{"action2": 1}'])
def test_what_is_no_warning_ends_nothing(service: Imds, body: str) -> None:
    control = Control()
    service.answers[SPOT] = body
    with watch(service, control):
        wait_until(lambda: len(service.asked) > 6)
    assert control.stop is None


def test_a_service_that_does_not_answer_for_long_is_asked_until_it_does(service: Imds) -> None:
    control, down = Control(), 8

    class Late(Metadata):
        """Nothing answers its first questions."""

        def get(self, path: str) -> str | None:
            nonlocal down
            if down:
                down -= 1
                raise NoMetadata("no route to host")
            return super().get(path)

    service.take_back()
    with InterruptionWatch(Late(service.endpoint), control, lambda: NOW, seconds=0.01):
        wait_until(lambda: control.stop is not None)


def test_an_answer_that_is_no_answer_does_not_end_the_watch(service: Imds) -> None:
    control = Control()
    with watch(service, control):
        service.confused = 3
        wait_until(lambda: service.confused == 0)
        service.take_back()
        wait_until(lambda: control.stop is not None)


def test_where_there_is_no_metadata_service_nothing_is_polled() -> None:
    with InterruptionWatch(None, Control(), lambda: NOW) as watching:
        wait_until(lambda: not watching.alive)


def test_an_expired_token_is_renewed(service: Imds) -> None:
    metadata = Metadata(service.endpoint)
    assert metadata.get("instance-id") is None
    service.tokens.clear()
    service.answers["instance-id"] = "i-1"
    assert metadata.get("instance-id") == "i-1"
    assert service.given == 2


def test_a_service_that_takes_no_token_is_none(service: Imds) -> None:
    service.takes_no_token = True
    with pytest.raises(NoMetadata, match="no token is taken"):
        Metadata(service.endpoint).get("instance-id")


def test_the_variables_of_awss_own_clients_say_where_it_is(service: Imds) -> None:
    metadata = Metadata.of_environment({"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint + "/"})
    assert metadata is not None
    assert metadata.get("instance-id") is None
    assert Metadata.of_environment({"AWS_EC2_METADATA_DISABLED": "true"}) is None
    assert Metadata.of_environment({}) is not None


class Listening(FlakyObjects):
    """Keeps each step that the lock has named."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__(objects)
        self.steps: list[str] = []

    def replace(self, key: str, body: bytes, etag: str) -> str:
        self.steps.append(json.loads(body)["current_step"])
        return super().replace(key, body, etag)


def test_an_interrupted_run_goes_on_where_it_was(service: Imds, workdir: Workdir, tmp_path: Path) -> None:
    world = World()
    world.objects = listening = Listening(world.memory.objects)
    put_toy_series(world, tmp_path)
    config = a_config(probe={"steps": 150, "step_seconds": 0.02, "checkpoint_steps": 1000})
    launch(world, config, preemptions_left=1)
    control = Control()

    class Late(Metadata):
        """The notice comes once the training runs."""

        def get(self, path: str) -> str | None:
            beat = world.store.read_heartbeat("dev", RUN_ID)
            if isinstance(beat, HeartbeatReceived) and beat.heartbeat.step > 0:
                service.take_back()
            return super().get(path)

    with InterruptionWatch(Late(service.endpoint), control, lambda: NOW, seconds=0.02):
        assert live(world, "bucket", an_identity(), workdir, control) == FAILED

    run = the_run(world)
    assert (run.status, run.verdict and run.verdict.cause) == (Status.FAILED, Cause.PREEMPTED)
    assert listening.steps[-2:] == ["interrupted", "ended_preempted"]
    assert run.stop is None  # or the watchdog would not have a next attempt for it
    done = world.document("training.json")["steps"]
    assert 0 < done < 150
    assert f"checkpoints/{done}/manifest.json" in world.names()

    rewrite(world, lambda run: run.next_attempt(Cause.PREEMPTED, 0.0, NOW))
    workdir.create()
    assert live(world, "bucket", an_identity(), workdir, Control()) == SUCCEEDED

    summary = world.document("training.json")
    assert (summary["attempt"], summary["resumed_from_step"], summary["steps"]) == (2, done, 150)


def test_a_recommendation_brings_a_checkpoint_to_s3_and_the_run_goes_on(
    service: Imds, workdir: Workdir, tmp_path: Path
) -> None:
    world = World()
    put_toy_series(world, tmp_path)
    launch(world, a_config(probe={"steps": 60, "step_seconds": 0.05, "checkpoint_steps": 10_000}))
    control = Control()
    service.recommend_to_leave()
    with watch(service, control):
        assert live(world, "bucket", an_identity(), workdir, control) == SUCCEEDED
    manifests = [name for name in world.names() if name.endswith("manifest.json")]
    assert len(manifests) == 1
