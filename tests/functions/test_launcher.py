"""The launcher function, on AWS as moto plays it."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.facts import Held
from chronos_ec2.domain.lane import Lane, run_key
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.request import REQUEST, Market, Request
from chronos_ec2.domain.run import Cause, Stop
from tests.aws_server import DEADLINE_GROUP, no_room_but_in, store
from tests.builders import NOW, RUN_ID, launching
from tests.functions.conftest import CONTEXT
from tests.template.calls import Recorder

LANE = Lane("dev")
ORDER = {"lane": "main", "run_id": RUN_ID}


@pytest.fixture
def handle(told: None, calls: Recorder) -> Any:
    """The handler, with its stack's settings."""
    module = importlib.import_module("functions.launcher")
    module.launcher.cache_clear()

    def handle(event: Any) -> None:
        with calls.acting("LauncherRole"):
            module.handler(event, CONTEXT)

    return handle


def waits(lane: Lane, market: Market = "on-demand") -> None:
    """A run whose second attempt waits for its instance."""
    request = Request(
        RUN_ID, lane, {}, ("g4dn.2xlarge",), "0" * 64, (("a.parquet", 1),), Limits(), allow_cpu=False, market=market
    )
    store().objects.create(run_key("dev", RUN_ID, REQUEST), request.to_json())
    store().create_lock(replace(launching(lane=lane), attempt=2))


@pytest.fixture
def waiting(deployed: str) -> None:
    """Such a run in the main lane."""
    waits(LANE)


def running() -> list[str]:
    pages = client("ec2").get_paginator("describe_instances").paginate()
    return [box["InstanceId"] for page in pages for group in page["Reservations"] for box in group["Instances"]]


def test_it_starts_the_instance_names_it_in_the_record_and_schedules_its_end(handle: Any, waiting: None) -> None:
    handle(ORDER)
    (instance_id,) = running()
    state = store().read_lock(LANE)
    assert isinstance(state, Held)
    assert state.run.instance_id == instance_id
    schedules = client("scheduler").list_schedules(GroupName=DEADLINE_GROUP)["Schedules"]
    assert [schedule["Name"] for schedule in schedules] == [instance_id]


def test_another_lanes_run_gets_its_instance_too(handle: Any, deployed: str) -> None:
    second = Lane("dev", "second")
    waits(second)
    handle({"lane": second.name, "run_id": RUN_ID})
    state = store().read_lock(second)
    assert isinstance(state, Held)
    assert [state.run.instance_id] == running()


def test_a_run_on_spare_capacity_goes_on_there(handle: Any, deployed: str) -> None:
    waits(LANE, "spot")
    handle(ORDER)
    boxes = client("ec2").describe_instances(InstanceIds=running())["Reservations"][0]["Instances"]
    assert [box["InstanceLifecycle"] for box in boxes] == ["spot"]


@pytest.mark.usefixtures("asked_once")
def test_it_tries_every_subnet(handle: Any, waiting: None) -> None:
    last = client("ec2").describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.0.3.0/24"]}])["Subnets"][0]
    with no_room_but_in(last["SubnetId"]):
        handle(ORDER)
    assert len(running()) == 1


def test_asked_twice_it_starts_one(handle: Any, waiting: None) -> None:
    handle(ORDER)
    handle(ORDER)
    assert len(running()) == 1


def test_a_run_that_was_stopped_meanwhile_gets_none(handle: Any, waiting: None) -> None:
    state = store().read_lock(LANE)
    assert isinstance(state, Held)
    store().replace_lock(replace(state.run, stop=Stop(Cause.REQUESTED, "by hand", NOW)), state)
    handle(ORDER)
    assert running() == []


@pytest.mark.parametrize(
    "event",
    [
        None, [], {}, {"lane": "main"}, {"lane": "Main!", "run_id": RUN_ID}, {"lane": "main", "run_id": "i-1"},
        {"lane": "main", "run_id": "20200101T000000Z-ffffff"}, {"lane": "other", "run_id": RUN_ID},
    ],
)  # fmt: skip
def test_what_no_lane_waits_for_starts_nothing(handle: Any, waiting: None, event: Any) -> None:
    handle(event)
    assert running() == []
