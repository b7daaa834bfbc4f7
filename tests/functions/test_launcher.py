"""The launcher function, on AWS as moto plays it."""

from __future__ import annotations

import importlib
import io
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.capacity import Market
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import REQUEST, Budget, DataObject, Request
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.testing.aws_answers import no_room_but_in
from chronos_ec2.testing.aws_server import DEADLINE_GROUP, store
from chronos_ec2.testing.builders import NOW, RUN_ID, launching
from verification.template.synthesis import synthesised

LANE = Lane("dev")
ORDER = {"lane": "main", "run_id": RUN_ID}


def waits(lane: Lane, market: Market = "on-demand", deadline: datetime | None = None, **order: Any) -> None:
    """A run whose second attempt waits for its instance."""
    run = replace(launching(lane=lane), attempt=2)
    request = Request(
        RUN_ID, lane, {}, ("g4dn.2xlarge",), "0" * 64, (DataObject("a.parquet", 1, "e"),), Limits(), allow_cpu=False,
        market=market, budget=Budget(deadline or run.deadline, price_per_hour_usd=0.752, crashes=1),
    )  # fmt: skip
    store().objects.create(run_key("dev", RUN_ID, REQUEST), replace(request, **order).to_json())
    store().create_lock(run)


@pytest.fixture
def waiting(deployed: str) -> None:
    """Such a run in the main lane."""
    waits(LANE)


def running() -> list[str]:
    pages = client("ec2").get_paginator("describe_instances").paginate()
    return [
        instance["InstanceId"] for page in pages for group in page["Reservations"] for instance in group["Instances"]
    ]


def test_it_starts_the_instance_names_it_in_the_record_and_schedules_its_end(run_launcher: Any, waiting: None) -> None:
    run_launcher(ORDER)
    (instance_id,) = running()
    state = store().read_lock(LANE)
    assert isinstance(state, LockHeld)
    assert state.run.instance_id == instance_id
    schedules = client("scheduler").list_schedules(GroupName=DEADLINE_GROUP)["Schedules"]
    assert [schedule["Name"] for schedule in schedules] == [instance_id]


@pytest.fixture
def said(run_launcher: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], dict[str, Any]]:
    """Call the handler; the one line that it logs."""

    stream = io.StringIO()
    logger = Logger(service=uuid.uuid4().hex, stream=stream)  # Logger keeps the stream of the first of a name
    monkeypatch.setattr(importlib.import_module("functions.launcher"), "logger", logger)

    def said(event: Any) -> dict[str, Any]:
        before = len(stream.getvalue())
        run_launcher(event)
        (line,) = stream.getvalue()[before:].splitlines()
        return dict(json.loads(line))

    return said


def test_each_decision_is_one_json_line_with_run_attempt_instance_and_reason(
    said: Callable[[Any], dict[str, Any]], waiting: None
) -> None:
    line = said(ORDER)
    assert (line["message"], line["reason"]) == ("started", "the run is waiting for its instance")
    assert (line["environment"], line["lane"], line["run_id"], line["attempt"]) == ("dev", "main", RUN_ID, 2)
    assert [line["instance"]] == running()
    assert (line["instance_type"], line["market"]) == ("g4dn.2xlarge", "on-demand")
    again = said(ORDER)
    assert (again["message"], again["reason"]) == ("nothing to start", "the run is not waiting for an instance now")
    # What the metric of relaunches counts.
    pattern = synthesised(parameters={"CustomMetrics": "true"})["Relaunches"]["Properties"]["FilterPattern"]
    assert pattern == f'{{ $.message = "{line["message"]}" }}'


@pytest.mark.usefixtures("asked_once")
def test_where_there_is_no_room_the_line_says_so(said: Callable[[Any], dict[str, Any]], waiting: None) -> None:
    with no_room_but_in("nowhere"):
        line = said(ORDER)
    assert (line["message"], line["level"], line["run_id"]) == ("no capacity", "WARNING", RUN_ID)
    assert line["tries"] == 1
    assert line["reason"].count("(on-demand): InsufficientInstanceCapacity: ") == 3
    again = said(ORDER)
    assert again["message"] == "nothing to start"


def test_another_lanes_run_gets_its_instance_too(run_launcher: Any, deployed: str) -> None:
    second = Lane("dev", "second")
    waits(second)
    run_launcher({"lane": second.name, "run_id": RUN_ID})
    state = store().read_lock(second)
    assert isinstance(state, LockHeld)
    assert [state.run.instance_id] == running()


def test_a_run_on_spare_capacity_goes_on_there(run_launcher: Any, deployed: str) -> None:
    waits(LANE, "spot")
    run_launcher(ORDER)
    instances = client("ec2").describe_instances(InstanceIds=running())["Reservations"][0]["Instances"]
    assert [instance["InstanceLifecycle"] for instance in instances] == ["spot"]


@pytest.mark.usefixtures("asked_once")
def test_it_tries_every_subnet(run_launcher: Any, waiting: None) -> None:
    last = client("ec2").describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.0.3.0/24"]}])["Subnets"][0]
    with no_room_but_in(last["SubnetId"]):
        run_launcher(ORDER)
    assert len(running()) == 1


def test_asked_twice_it_starts_one(run_launcher: Any, waiting: None) -> None:
    run_launcher(ORDER)
    run_launcher(ORDER)
    assert len(running()) == 1


def test_a_run_that_was_stopped_meanwhile_gets_none(run_launcher: Any, waiting: None) -> None:
    state = store().read_lock(LANE)
    assert isinstance(state, LockHeld)
    store().replace_lock(replace(state.run, stop=Stop(Cause.REQUESTED, "by hand", NOW)), state)
    run_launcher(ORDER)
    assert running() == []


@pytest.mark.parametrize(
    "event",
    [
        None, [], {}, {"lane": "main"}, {"lane": "Main!", "run_id": RUN_ID}, {"lane": "main", "run_id": "i-1"},
        {"lane": "main", "run_id": "20200101T000000Z-ffffff"}, {"lane": "other", "run_id": RUN_ID},
    ],
)  # fmt: skip
def test_what_no_lane_waits_for_starts_nothing(run_launcher: Any, waiting: None, event: Any) -> None:
    run_launcher(event)
    assert running() == []


@pytest.mark.parametrize(
    "beyond",
    [
        {"instance_types": ("p5.48xlarge",)},
        {"instance_types": ("g4dn.2xlarge", "p5.48xlarge")},
        {"instance_types": tuple(f"g5.{n}xlarge" for n in range(11))},
        {"limits": Limits(max_runtime=timedelta(days=366))},
        {"deadline": datetime(9999, 12, 31, tzinfo=UTC)},
    ],
)
def test_an_order_beyond_what_the_stack_allows_starts_nothing_and_ends_its_run(
    run_launcher: Any, deployed: str, beyond: dict[str, Any]
) -> None:
    waits(LANE, **beyond)
    run_launcher(ORDER)
    assert running() == []
    state = store().read_lock(LANE)
    assert isinstance(state, LockHeld)
    assert state.run.verdict is not None
    assert "beyond what the stack allows" in state.run.verdict.message


@pytest.mark.parametrize(
    ("forged", "words"), [({"attempt": 3}, "beyond the budget of its order"), ({"budget": None}, "has no budget")]
)
def test_an_attempt_beyond_its_order_starts_nothing_and_ends_its_run(
    run_launcher: Any, deployed: str, forged: dict[str, Any], words: str
) -> None:
    waits(LANE, **{name: value for name, value in forged.items() if name == "budget"})
    if "attempt" in forged:
        run = replace(launching(), attempt=forged["attempt"], preemptions_left=1000, crashes_left=1000)
        store().objects.write(LANE.state_key, run.to_json())
    run_launcher(ORDER)
    assert running() == []
    state = store().read_lock(LANE)
    assert isinstance(state, LockHeld)
    assert state.run.verdict is not None
    assert words in state.run.verdict.message


def test_deadline_cap_and_prices_come_from_the_order_whatever_the_lock_says(run_launcher: Any, deployed: str) -> None:
    waits(LANE)
    ordered = launching().deadline
    forged = replace(
        launching(), attempt=2, deadline=ordered + timedelta(days=300), max_cost_usd=1e6, prices=(("x", 0.0),)
    )
    store().objects.write(LANE.state_key, forged.to_json())
    run_launcher(ORDER)
    (instance_id,) = running()
    tags = client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags}["Deadline"] == format_time(ordered)
    state = store().read_lock(LANE)
    assert isinstance(state, LockHeld)
    assert (state.run.deadline, state.run.max_cost_usd, state.run.prices) == (ordered, None, ())
