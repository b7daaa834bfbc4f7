"""One incident, one message: the stories of all kinds, told by events that come ten times each and in any order.

The handlers and all behind them are the real ones; AWS is the one in memory, because the stories take hours.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.services.launch import Launched
from chronos_ec2.testing.builders import seconds
from tests.functions.conftest import CONTEXT
from tests.services.scenario import LIMITS, Scenario

EVENTS = Path(__file__).parents[2] / "events"
OF_LOCKS = ("s3-object-created-state", "s3-object-deleted-state", "s3-object-created-lane", "s3-object-deleted-lane")
OF_INSTANCES = ("ec2-pending", "ec2-running", "spot-interruption", "ec2-shutting-down", "ec2-terminated")
COPIES = 10
Story = Callable[[Scenario], Iterator[None]]


def in_training(scene: Scenario) -> Launched:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    return launched


def minutes(scene: Scenario, count: int) -> Iterator[None]:
    for _ in range(count):
        scene.world.clock.advance(seconds(60))
        yield


def a_run_that_works(scene: Scenario) -> Iterator[None]:
    launched = scene.launch()
    yield
    scene.claim(launched)
    scene.train()
    for minute, _ in enumerate(minutes(scene, 5)):
        scene.beat(launched, counter=minute + 2)
        yield


def one_that_ends(outcome: Outcome, cause: Cause) -> Story:
    def story(scene: Scenario) -> Iterator[None]:
        launched = in_training(scene)
        yield
        scene.end(outcome, cause)
        yield
        scene.power_off(launched)
        yield from minutes(scene, 5)

    return story


def one_that_is_killed(scene: Scenario) -> Iterator[None]:
    launched = in_training(scene)
    yield
    scene.kill()
    yield
    scene.end(Outcome.KILLED, Cause.REQUESTED)
    scene.power_off(launched)
    yield from minutes(scene, 5)


def one_that_hangs(scene: Scenario) -> Iterator[None]:
    launched = in_training(scene)
    yield
    for _ in minutes(scene, 5):
        scene.beat(launched, stalled_for=LIMITS.progress + seconds(1))
        yield
    yield from minutes(scene, 3)


def one_whose_money_is_spent(scene: Scenario) -> Iterator[None]:
    scene.budget(crashes=0, cap=0.1)
    launched = in_training(scene)
    for minute, _ in enumerate(minutes(scene, 20)):
        scene.beat(launched, counter=minute + 2)
        yield


def one_whose_instance_does_not_end(scene: Scenario) -> Iterator[None]:
    launched = in_training(scene)
    yield
    scene.world.fleet.slow_to_terminate = True
    scene.kill(at_once=True)
    scene.world.fleet.terminate = lambda *_, **__: None  # type: ignore[method-assign]  # not by force either
    yield from minutes(scene, int(LIMITS.alarm / seconds(60)) + 5)
    scene.power_off(launched)
    yield from minutes(scene, 3)


def one_that_goes_on_elsewhere(scene: Scenario) -> Iterator[None]:
    scene.budget(crashes=1)
    launched = in_training(scene)
    yield
    scene.beat(launched, checkpoint_age=seconds(30))
    scene.world.clock.advance(seconds(240))
    scene.power_off(launched)
    yield from minutes(scene, 5)


def an_instance_of_nobody(scene: Scenario) -> Iterator[None]:
    scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))
    yield from minutes(scene, 8)


STORIES: dict[Kind, tuple[Story, list[Kind]]] = {
    Kind.STARTED: (a_run_that_works, [Kind.STARTED]),
    Kind.COMPLETED: (one_that_ends(Outcome.SUCCEEDED, Cause.COMPLETED), [Kind.STARTED, Kind.COMPLETED]),
    Kind.FAILED: (one_that_ends(Outcome.FAILED, Cause.USER_CODE), [Kind.STARTED, Kind.FAILED]),
    Kind.KILLED: (one_that_is_killed, [Kind.STARTED, Kind.KILLED]),
    Kind.STUCK: (one_that_hangs, [Kind.STARTED, Kind.STUCK]),
    Kind.OVER_BUDGET: (one_whose_money_is_spent, [Kind.STARTED, Kind.OVER_BUDGET]),
    Kind.LEAK: (one_whose_instance_does_not_end, [Kind.STARTED, Kind.LEAK, Kind.KILLED]),
    Kind.RESUMED: (one_that_goes_on_elsewhere, [Kind.STARTED, Kind.RESUMED]),
    Kind.ORPHAN: (an_instance_of_nobody, [Kind.ORPHAN]),
}  # fmt: skip


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """A lane in memory, watched by the real handlers."""
    scene = Scenario()
    for function in ("state_written", "instance_changed", "sweep"):
        monkeypatch.setattr(importlib.import_module(f"functions.{function}"), "reconciler", lambda: scene.reconciler)
    return scene


def golden(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def deliveries(scene: Scenario) -> list[tuple[str, Any]]:
    """(function, event): a tick, and all that S3 and EC2 may say of the locks and instances, old or new."""
    found: list[tuple[str, Any]] = [
        ("sweep", golden("sweep-tick")),
        *(("state_written", golden(name)) for name in OF_LOCKS),
    ]
    for box in scene.world.fleet.instances("dev"):
        for name in OF_INSTANCES:
            event = golden(name)
            event["detail"]["instance-id"] = box.instance_id
            found.append(("instance_changed", event))
    return found


def test_there_is_a_story_of_each_kind() -> None:
    assert set(STORIES) == set(Kind)


@pytest.mark.parametrize("kind", STORIES)
def test_each_incident_is_told_once_however_often_and_late_its_events_come(scene: Scenario, kind: Kind) -> None:
    story, expected = STORIES[kind]
    random = Random(kind)
    for _ in story(scene):
        events = COPIES * deliveries(scene)
        random.shuffle(events)
        for function, event in events:
            importlib.import_module(f"functions.{function}").handler(event, CONTEXT)
    told = Counter(message.attributes["kind"] for message in scene.world.notifier.messages)
    assert told == Counter(map(str, expected))
    if kind is Kind.RESUMED:
        assert scene.lock(Lane("dev")).run.attempt == 2
