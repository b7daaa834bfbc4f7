"""The watchdog, with the rights of its role, in every situation in which it acts: a path without its right is found."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.instance import run_tags
from chronos_ec2.domain.lane import Lane
from chronos_ec2.domain.run import Run
from chronos_ec2.services.run_store import RunStore
from tests.aws_server import BUCKET, DEADLINE_GROUP, DEADLINE_ROLE_ARN, LAUNCHER
from tests.builders import a_run, launching
from tests.functions.test_handlers import CONTEXT
from tests.template.calls import Recorder
from tests.template.iam import Policies
from tests.template.test_policies import policies

AT_ONCE = dict.fromkeys(("lease", "boot", "grace", "second_look", "absence"), 0.001)
NOW = datetime.now(UTC)
Sweep = Callable[..., None]


@pytest.fixture
def sweep(deployed: str, monkeypatch: pytest.MonkeyPatch, calls: Recorder) -> Sweep:
    """Let the sweep run some times with no patience at all, in the watchdog's role."""
    topic = client("sns").list_topics()["Topics"][0]["TopicArn"]
    settings = {
        "ENVIRONMENT": "dev", "BUCKET": BUCKET, "PROJECT": "Chronos-Training", "COST_CENTER": "train",
        "TOPIC_ARN": topic, "DEADLINE_GROUP": DEADLINE_GROUP, "DEADLINE_ROLE_ARN": DEADLINE_ROLE_ARN,
        "LAUNCHER_FUNCTION": LAUNCHER, "LIMIT_OVERRIDES": json.dumps(AT_ONCE),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("functions.sweep")
    module.reconciler.cache_clear()

    def sweep(times: int = 4, of: Policies | None = None) -> None:
        for _ in range(times):
            with calls.acting("WatchdogRole", of), suppress(ServiceUnavailable):
                module.handler({}, CONTEXT)
            time.sleep(0.01)  # for S3, EC2 and the limits to tell before from after

    return sweep


def an_instance(run: Run) -> str:
    tags = [{"Key": key, "Value": value} for key, value in run_tags(run, "Chronos-Training", "train").items()]
    response = client("ec2").run_instances(
        ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="t3.micro",
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )  # fmt: skip
    return str(response["Instances"][0]["InstanceId"])


def state_of(instance_id: str) -> str:
    found: Mapping[str, Any] = client("ec2").describe_instances(InstanceIds=[instance_id])
    return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])


def store() -> RunStore:
    return RunStore(S3Objects(client("s3"), BUCKET))


def later(run: Run) -> Run:
    return replace(run, created_at=NOW, updated_at=NOW, deadline=NOW + timedelta(hours=9))


def a_dead_run() -> str:
    """A run whose agent has not been heard of; it left a volume."""
    run = later(a_run(instance_id=None))
    instance_id = an_instance(run)
    store().create_lock(replace(run, instance_id=instance_id))
    tags = [{"Key": key, "Value": value} for key, value in run_tags(run, "Chronos-Training", "train").items()]
    client("ec2").create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    return instance_id


def test_a_dead_run_is_ended_and_cleaned_up(sweep: Sweep) -> None:
    instance_id = a_dead_run()
    time.sleep(1.1)  # S3 keeps whole seconds
    sweep()
    assert state_of(instance_id) == "terminated"
    volumes = client("ec2").describe_volumes(Filters=[{"Name": "tag:ManagedBy", "Values": ["chronos-ec2"]}])["Volumes"]
    assert [volume for volume in volumes if volume["State"] == "available"] == []
    assert store().objects.read("dev/system-state.json") is None


def test_an_orphan_is_ended(sweep: Sweep) -> None:
    instance_id = an_instance(later(a_run(lane=Lane("dev", "second"))))
    time.sleep(1.1)
    sweep()
    assert state_of(instance_id) == "terminated"


def test_an_unreadable_lock_is_set_aside(sweep: Sweep) -> None:
    store().objects.create("dev/system-state.json", b"not json")
    time.sleep(1.1)
    sweep()
    assert store().objects.read("dev/system-state.json") is None
    assert list(store().objects.keys("dev/unreadable/"))


def test_another_attempt_is_asked_for(sweep: Sweep, calls: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_OVERRIDES", "{}")
    store().create_lock(later(replace(launching(), attempt=2)))
    calls.heard.clear()
    with suppress(Exception):  # moto has no function to invoke
        sweep(1)
    assert ("WatchdogRole", "lambda.Invoke") in calls.heard


def test_a_kill_path_without_its_right_is_found(sweep: Sweep, calls: Recorder) -> None:
    an_instance(later(a_run(lane=Lane("dev", "second"))))
    time.sleep(1.1)
    roles = json.loads(json.dumps(dict(policies().resources)))
    statements = roles["WatchdogRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    kept = [statement for statement in statements if "ec2:TerminateInstances" not in statement["Action"]]
    assert len(kept) == len(statements) - 1
    roles["WatchdogRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"] = kept
    sweep(of=Policies(roles))
    assert "WatchdogRole: ec2:TerminateInstances" in calls.denied[0]
    calls.denied.clear()
