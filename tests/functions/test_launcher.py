"""The launcher function, on AWS as moto plays it."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.domain.facts import Held
from chronos_ec2.domain.lane import Lane, run_key
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.request import REQUEST, Request
from chronos_ec2.domain.run import Cause, Stop
from chronos_ec2.services.run_store import RunStore
from tests.aws_server import BUCKET, DEADLINE_GROUP
from tests.builders import NOW, RUN_ID, launching
from tests.functions.test_handlers import CONTEXT
from tests.template.calls import Recorder

LANE = Lane("dev")
ORDER = {"lane": "main", "run_id": RUN_ID}


@pytest.fixture
def handle(deployed: str, monkeypatch: pytest.MonkeyPatch, calls: Recorder) -> Any:
    """The handler, with its stack's settings."""
    stack = read_stack(client("cloudformation"), "dev")
    settings = {
        "ENVIRONMENT": "dev", "BUCKET": BUCKET, "PROJECT": stack.project, "COST_CENTER": stack.cost_center,
        "SUBNET_IDS": ",".join(stack.subnet_ids), "LAUNCH_TEMPLATE_ID": stack.launch_template_id,
        "DEADLINE_GROUP": stack.deadline_group, "DEADLINE_ROLE_ARN": stack.deadline_role_arn,
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("functions.launcher")
    module.launcher.cache_clear()

    def handle(event: Any) -> None:
        with calls.acting("LauncherRole"):
            module.handler(event, CONTEXT)

    return handle


@pytest.fixture
def store(deployed: str) -> RunStore:
    """The bucket, with a run whose second attempt waits for its instance."""
    store = RunStore(S3Objects(client("s3"), BUCKET))
    request = Request(RUN_ID, LANE, {}, ("g4dn.2xlarge",), "0" * 64, (("a.parquet", 1),), Limits(), allow_cpu=False)
    store.objects.create(run_key("dev", RUN_ID, REQUEST), request.to_json())
    store.create_lock(replace(launching(), attempt=2))
    return store


def running() -> list[str]:
    pages = client("ec2").get_paginator("describe_instances").paginate()
    return [box["InstanceId"] for page in pages for group in page["Reservations"] for box in group["Instances"]]


def test_it_starts_the_instance_names_it_in_the_record_and_schedules_its_end(handle: Any, store: RunStore) -> None:
    handle(ORDER)
    (instance_id,) = running()
    state = store.read_lock(LANE)
    assert isinstance(state, Held)
    assert state.run.instance_id == instance_id
    schedules = client("scheduler").list_schedules(GroupName=DEADLINE_GROUP)["Schedules"]
    assert [schedule["Name"] for schedule in schedules] == [instance_id]


def test_asked_twice_it_starts_one(handle: Any, store: RunStore) -> None:
    handle(ORDER)
    handle(ORDER)
    assert len(running()) == 1


def test_a_run_that_was_stopped_meanwhile_gets_none(handle: Any, store: RunStore) -> None:
    state = store.read_lock(LANE)
    assert isinstance(state, Held)
    store.replace_lock(replace(state.run, stop=Stop(Cause.REQUESTED, "by hand", NOW)), state)
    handle(ORDER)
    assert running() == []


@pytest.mark.parametrize(
    "event",
    [
        None, [], {}, {"lane": "main"}, {"lane": "Main!", "run_id": RUN_ID}, {"lane": "main", "run_id": "i-1"},
        {"lane": "main", "run_id": "20200101T000000Z-ffffff"}, {"lane": "other", "run_id": RUN_ID},
    ],
)  # fmt: skip
def test_what_no_lane_waits_for_starts_nothing(handle: Any, store: RunStore, event: Any) -> None:
    handle(event)
    assert running() == []
