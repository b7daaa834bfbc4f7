"""One incident, one message: the stories of all kinds, with events that come ten times each and in any order.

The handlers and all behind them are the real ones; AWS is the one in memory, because the stories take hours.
"""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chronos_ec2.domain.groups.order import Purpose
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.limits import HOLD_NOTICE, MAX_MESSAGES_PER_HOUR
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.champion import Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Comparison, OutcomeReport
from chronos_ec2.domain.records.s3_keys import success_key
from chronos_ec2.domain.records.status import Cause, Outcome, Status
from chronos_ec2.services.launch import Launched
from chronos_ec2.testing import Environment
from chronos_ec2.testing.agent import COMPLETED
from chronos_ec2.testing.builders import LIMITS, a_group, a_schedule, seconds
from chronos_ec2.testing.environment import DATA
from tests.functions.conftest import CONTEXT

EVENTS = Path(__file__).parents[2] / "events"
OF_LOCKS = ("s3-object-created-state", "s3-object-deleted-state", "s3-object-created-lane", "s3-object-deleted-lane")
OF_INSTANCES = ("ec2-pending", "ec2-running", "spot-interruption", "ec2-shutting-down", "ec2-terminated")
COPIES = 10
Story = Callable[[Environment], Iterator[None]]


def in_training(env: Environment) -> Launched:
    launched = env.launch()
    env.claim(launched)
    env.train()
    return launched


def minutes(env: Environment, count: int) -> Iterator[None]:
    for _ in range(count):
        env.clock.advance(seconds(60))
        yield


def a_run_that_works(env: Environment) -> Iterator[None]:
    launched = env.launch()
    yield
    env.claim(launched)
    env.train()
    for minute, _ in enumerate(minutes(env, 5)):
        env.heartbeat(launched, counter=minute + 2)
        yield


def one_that_ends(outcome: Outcome, cause: Cause) -> Story:
    def story(env: Environment) -> Iterator[None]:
        launched = in_training(env)
        yield
        env.end(outcome, cause)
        yield
        env.power_off(launched)
        yield from minutes(env, 5)

    return story


def one_that_is_killed(env: Environment) -> Iterator[None]:
    launched = in_training(env)
    yield
    env.kill()
    yield
    env.end(Outcome.KILLED, Cause.REQUESTED)
    env.power_off(launched)
    yield from minutes(env, 5)


def one_that_hangs(env: Environment) -> Iterator[None]:
    launched = in_training(env)
    yield
    for _ in minutes(env, 5):
        env.heartbeat(launched, stalled_for=LIMITS.progress + seconds(1))
        yield
    yield from minutes(env, 3)


def one_whose_money_is_spent(env: Environment) -> Iterator[None]:
    env.defaults |= {"crashes_left": 0, "max_cost_usd": 0.1}
    launched = in_training(env)
    for minute, _ in enumerate(minutes(env, 20)):
        env.heartbeat(launched, counter=minute + 2)
        yield


def one_whose_instance_does_not_end(env: Environment) -> Iterator[None]:
    launched = in_training(env)
    yield
    env.fleet.slow_to_terminate = True
    env.kill(at_once=True)
    env.faults.hook(
        "fleet.terminate", lambda instance_id: env.fleet.move(instance_id, InstanceState.SHUTTING_DOWN), after=True
    )  # not by force either
    yield from minutes(env, int(LIMITS.alarm / seconds(60)) + 5)
    env.power_off(launched)
    yield from minutes(env, 3)


def one_that_goes_on_elsewhere(env: Environment) -> Iterator[None]:
    env.defaults |= {"crashes_left": 1}
    launched = in_training(env)
    yield
    env.heartbeat(launched, checkpoint_age=seconds(30))
    env.clock.advance(seconds(240))
    env.power_off(launched)
    yield from minutes(env, 5)


def one_that_waits_for_capacity(env: Environment) -> Iterator[None]:
    env.fleet.no_capacity = {"g4dn.2xlarge"}
    env.try_launch(wait_for_capacity=timedelta(hours=2))
    yield from minutes(env, 20)
    env.fleet.no_capacity = set()
    yield from minutes(env, 16)


def an_instance_of_nobody(env: Environment) -> Iterator[None]:
    env.fleet.add(owner_tags(env.fleet.project, "dev"))
    yield from minutes(env, 8)


def more_unreadable_locks_than_messages(env: Environment) -> Iterator[None]:
    for number in range(MAX_MESSAGES_PER_HOUR + 3):
        env.objects.write(Lane("dev", f"a{number}").state_key, b"not a lock")
    yield from minutes(env, 2)


def one_on_hold(env: Environment) -> Iterator[None]:
    env.fleet.add(owner_tags(env.fleet.project, "dev") | {"Hold": "true"})
    env.clock.advance(HOLD_NOTICE)
    yield from minutes(env, 3)


def one_whose_model(comparison: Comparison) -> Story:
    def story(env: Environment) -> Iterator[None]:
        launched = env.launch(promotion=Promotion("default", Promote.BETTER, 0))
        env.work_until(Status.TRAINING)
        report = OutcomeReport(launched.run_id, 1, "ff", COMPLETED, models=(("a", "0" * 64),), comparison=comparison)
        env.store.end("dev", report)
        env.power_off(launched)
        yield from minutes(env, 4)

    return story


def a_schedule_whose_lane_is_busy(env: Environment) -> Iterator[None]:
    env.objects.write(success_key(env.name, DATA), b"")
    env.schedules.orders.create(a_schedule())
    for _ in a_run_that_works(env):
        env.schedules.invoke("nightly", env.clock.now())
        env.schedules.invoke("nightly", env.clock.now())
        yield


def a_group_that_is_killed(env: Environment) -> Iterator[None]:
    group = a_group(members=3, purpose=Purpose.SWEEP)
    env.groups.orders.create(group)
    env.groups.go_on(group.name)
    yield
    env.groups.kill(group.name, env.watchdog, "not needed", at_once=True)
    yield from minutes(env, 4)


STORIES: dict[Kind, tuple[Story, list[Kind]]] = {
    Kind.STARTED: (a_run_that_works, [Kind.STARTED]),
    Kind.COMPLETED: (one_that_ends(Outcome.SUCCEEDED, Cause.COMPLETED), [Kind.STARTED, Kind.COMPLETED]),
    Kind.PROMOTED: (
        one_whose_model(Comparison("trained", ("base",), ("base",))), [Kind.PROMOTED, Kind.COMPLETED],
    ),
    Kind.KEPT: (one_whose_model(Comparison("trained", ("base",), ())), [Kind.KEPT, Kind.COMPLETED]),
    Kind.FAILED: (one_that_ends(Outcome.FAILED, Cause.USER_CODE), [Kind.STARTED, Kind.FAILED]),
    Kind.KILLED: (one_that_is_killed, [Kind.STARTED, Kind.KILLED]),
    Kind.STUCK: (one_that_hangs, [Kind.STARTED, Kind.STUCK]),
    Kind.OVER_BUDGET: (one_whose_money_is_spent, [Kind.STARTED, Kind.OVER_BUDGET]),
    Kind.LEAK: (one_whose_instance_does_not_end, [Kind.STARTED, Kind.LEAK, Kind.KILLED]),
    Kind.RESUMED: (one_that_goes_on_elsewhere, [Kind.STARTED, Kind.RESUMED]),
    Kind.ORPHAN: (an_instance_of_nobody, [Kind.ORPHAN]),
    Kind.WAITING: (one_that_waits_for_capacity, [Kind.WAITING]),
    Kind.HELD: (one_on_hold, [Kind.HELD]),
    Kind.SKIPPED: (a_schedule_whose_lane_is_busy, [Kind.STARTED, Kind.SKIPPED]),
    Kind.ENDED: (a_group_that_is_killed, [Kind.KILLED, Kind.KILLED, Kind.ENDED]),
    Kind.LIMIT: (more_unreadable_locks_than_messages, [*[Kind.STUCK] * MAX_MESSAGES_PER_HOUR, Kind.LIMIT]),
}  # fmt: skip


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A lane in memory, watched by the real handlers."""
    env = Environment()
    for function in ("state_written", "instance_changed", "sweep"):
        monkeypatch.setattr(importlib.import_module(f"functions.{function}"), "reconciler", lambda: env.watchdog)
    return env


def golden(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def deliveries(env: Environment) -> list[tuple[str, Any]]:
    """(function, event): a tick, and all that S3 and EC2 may say of the locks and instances, old or new."""
    found: list[tuple[str, Any]] = [
        ("sweep", golden("sweep-tick")),
        *(("state_written", golden(name)) for name in OF_LOCKS),
    ]
    for instance in env.fleet.instances("dev"):
        for name in OF_INSTANCES:
            event = golden(name)
            event["detail"]["instance-id"] = instance.instance_id
            found.append(("instance_changed", event))
    return found


def test_there_is_a_story_of_each_kind() -> None:
    assert set(STORIES) == set(Kind)


@pytest.mark.parametrize("kind", STORIES)
def test_each_incident_is_published_once_however_often_and_late_its_events_come(env: Environment, kind: Kind) -> None:
    story, expected = STORIES[kind]
    random = Random(kind)
    for _ in story(env):
        events = COPIES * deliveries(env)
        random.shuffle(events)
        for function, event in events:
            importlib.import_module(f"functions.{function}").handler(event, CONTEXT)
    sent = Counter(message.attributes["kind"] for message in env.notifier.messages)
    assert sent == Counter(map(str, expected))
    if kind is Kind.RESUMED:
        assert env.lock(Lane("dev")).run.attempt == 2
    if kind is Kind.WAITING:
        assert len(env.alive) == 1
