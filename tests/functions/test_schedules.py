"""The launcher function and the schedules, on AWS as moto plays it, with the rights of its role."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.champion import Champion, How
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import champion_key, followed_key, run_key, shared_key, success_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Job, Outcome, Verdict
from chronos_ec2.services.schedules.store import ScheduleStore
from chronos_ec2.testing.aws_server import store
from chronos_ec2.testing.builders import NOW, a_schedule, launching
from tests.functions.test_launcher import running

EVENTS = Path(__file__).parents[2] / "events"
DATA = "training-data/sales/"


def now() -> str:
    return format_time(module_clock())


def module_clock() -> Any:
    return importlib.import_module("functions.launcher").schedules().clock.now()


@pytest.fixture
def orders(deployed: str) -> ScheduleStore:
    """The orders of the environment, whose data set is whole."""
    objects = store().objects
    objects.write(shared_key("dev", f"{DATA}a.parquet"), b"PAR1")
    objects.write(success_key("dev", DATA), b"")
    return ScheduleStore("dev", objects)


def of(name: str = "nightly") -> dict[str, str]:
    return {"schedule": name, "at": now()}


def test_a_schedule_starts_one_run_however_often_it_is_invoked(run_launcher: Any, orders: ScheduleStore) -> None:
    orders.create(a_schedule())
    event = of()
    run_launcher(event)
    run_launcher(event)
    assert len(running()) == 1
    lock = store().read_lock(Lane("dev"))
    assert isinstance(lock, LockHeld)
    assert [one.run_id for one in orders.ledger("nightly").ledger.entries] == [lock.run.run_id]


def test_new_data_start_the_run_of_the_schedule_that_waits_for_them(run_launcher: Any, orders: ScheduleStore) -> None:
    orders.create(a_schedule(data_set="sales", lane=Lane("dev", "nights")))
    event = json.loads((EVENTS / "s3-object-created-data.json").read_bytes()) | {"time": now()}
    run_launcher(event)
    assert len(running()) == 1
    assert isinstance(store().read_lock(Lane("dev", "nights")), LockHeld)


def test_of_a_busy_lane_people_are_told_and_of_the_next_holder_again(run_launcher: Any, orders: ScheduleStore) -> None:
    orders.create(a_schedule())
    store().create_lock(launching())
    for _ in range(2):
        run_launcher(of())
    assert running() == []
    assert [key for key, _ in store().objects.keys("dev/incidents/")] == ["dev/incidents/schedule-nightly/skipped"]


def test_after_a_run_comes_a_forecast_with_the_champion_in_another_lane(
    run_launcher: Any, orders: ScheduleStore
) -> None:
    schedule = a_schedule(then=Job.FORECAST)
    assert schedule.then
    config = {**schedule.then.request.config, "model": "champion"}
    then = replace(schedule.then, request=replace(schedule.then.request, config=config))
    orders.create(replace(schedule, then=then))
    champion = Champion("default", 1, "20260130T110000Z-00000a", (("config.json", "0" * 64),), How.PROMOTED, "", NOW)
    store().objects.write(champion_key("dev", "default"), champion.to_json())
    run_launcher(of())
    (entry,) = orders.ledger("nightly").ledger.entries
    lock = store().read_lock(Lane("dev"))
    assert isinstance(lock, LockHeld)
    verdict = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)
    final = replace(lock.run.end(verdict, module_clock()), ended_at=module_clock() - timedelta(seconds=1))
    store().objects.write(run_key("dev", entry.run_id, "state.json"), final.to_json())
    for _ in range(2):
        run_launcher({"schedule": "nightly", "after": entry.run_id})
    assert len(running()) == 2
    follower = store().read_lock(Lane("dev", "nightly-then"))
    assert isinstance(follower, LockHeld)
    request = store().read_request("dev", follower.run.run_id)
    assert request
    assert [one.uri.rpartition("/dev/")[2] for one in request.models] == ["20260130T110000Z-00000a/models/"]
    assert store().objects.read(followed_key("dev", entry.run_id))


@pytest.mark.parametrize("event", [{"schedule": "nightly"}, {"schedule": "none", "at": "2026-11-23T03:00:00Z"}])
def test_what_is_no_invocation_and_a_schedule_that_is_not_there_start_nothing(
    run_launcher: Any, orders: ScheduleStore, event: Any
) -> None:
    run_launcher(event)
    assert running() == []
    assert client("s3").list_objects_v2(Bucket="chronos-ec2-dev-bucket", Prefix="dev/")["KeyCount"] == 0
