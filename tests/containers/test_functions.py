"""Each function as Lambda runs it, bundle, runtime and handler, in a container; and its effect on the embedded AWS.

The functions get an environment of their own, which no deployed function watches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import Budget, Request
from chronos_ec2.domain.records.s3_keys import run_key, suspect_key
from chronos_ec2.local.sam_invoke import BuiltFunctions, Invocation, functions
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.builders import launching

pytestmark = [pytest.mark.embedded_aws, pytest.mark.containers, pytest.mark.thorough]

EVENTS = Path(__file__).parents[2] / "events"
ENVIRONMENT = "containers"
NO_GRACE = '{"grace": 0.001}'


@pytest.fixture(autouse=True)
def _on_the_embedded_aws(containers: BuiltFunctions) -> Iterator[None]:
    with containers.aws.exported():
        yield


@pytest.fixture
def orphan(containers: BuiltFunctions) -> Iterator[str]:
    """An instance with our tags and without the record of a run."""
    tags = owner_tags(containers.variables["Sweep"]["PROJECT"], ENVIRONMENT)
    ec2 = client("ec2")
    instance_id = ec2.run_instances(
        MinCount=1, MaxCount=1, ImageId="ami-12c6146b", InstanceType="t3.micro",
        IamInstanceProfile={"Arn": containers.variables["Sweep"]["INSTANCE_PROFILE_ARN"]},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    yield instance_id
    ec2.terminate_instances(InstanceIds=[instance_id])


def invoke(containers: BuiltFunctions, function: str, event: Path) -> Invocation:
    done = containers.invoke(function, event, ENVIRONMENT=ENVIRONMENT, LIMIT_OVERRIDES=NO_GRACE)
    assert done.error is None, done.log
    return done


def golden_event(folder: Path, name: str, was: str, becomes: str) -> Path:
    """A golden event with another instance or environment in it."""
    changed = folder / name
    changed.write_text((EVENTS / name).read_text().replace(was, becomes))
    return changed


def is_suspect(containers: BuiltFunctions, instance_id: str) -> bool:
    listed = client("s3").list_objects_v2(
        Bucket=containers.variables["Sweep"]["BUCKET"], Prefix=suspect_key(ENVIRONMENT, instance_id)
    )
    return bool(listed["KeyCount"])


def decision(done: Invocation) -> dict[str, Any]:
    """The fields of the only log line that are the same each time."""
    (line,) = done.lines
    line["message"] = re.sub(r"up for \d+ \w+", "up for a while", line["message"])
    return {name: line[name] for name in ("level", "message", "environment", "lane", "actions", "cold_start")}


def first_look_at(instance_id: str) -> dict[str, Any]:
    return {
        "level": "INFO",
        "message": f"no run holds the lane; suspected: {instance_id} (t3.micro) has been up for a while and belongs to "
        "no run",
        "environment": ENVIRONMENT,
        "lane": "main",
        "actions": ["MarkOrphan"],
        "cold_start": True,
    }


def test_the_sweep_marks_an_instance_without_a_record(containers: BuiltFunctions, orphan: str) -> None:
    done = invoke(containers, "Sweep", EVENTS / "sweep-tick.json")
    assert decision(done) == first_look_at(orphan)
    assert is_suspect(containers, orphan)


def test_a_state_change_of_an_instance_reconciles_its_lane(
    containers: BuiltFunctions, orphan: str, tmp_path: Path
) -> None:
    event = golden_event(tmp_path, "ec2-running.json", "i-0abcd1234ef567890", orphan)
    assert decision(invoke(containers, "InstanceChanged", event)) == first_look_at(orphan)
    assert is_suspect(containers, orphan)


def test_a_write_of_the_lock_reconciles_its_lane(containers: BuiltFunctions, orphan: str, tmp_path: Path) -> None:
    event = golden_event(tmp_path, "s3-object-created-state.json", "dev/", f"{ENVIRONMENT}/")
    assert decision(invoke(containers, "StateWritten", event)) == first_look_at(orphan)
    assert is_suspect(containers, orphan)


def test_the_launcher_starts_the_instance_of_the_next_attempt(containers: BuiltFunctions) -> None:
    lane = Lane(ENVIRONMENT)
    run = launching(run_id="20261123T115900Z-1a2b3c", lane=lane, attempt=2, instance_type="t3.micro")
    request = Request(
        run.run_id, lane, {}, ("t3.micro",), "0" * 64, (), Limits(), budget=Budget(run.deadline, crashes=1)
    )
    store = RunStore(S3Objects(client("s3"), containers.variables["Launcher"]["BUCKET"]))
    store.objects.write(run_key(ENVIRONMENT, run.run_id, "request.json"), request.to_json())
    lock = store.create_lock(run)
    try:
        done = invoke(containers, "Launcher", EVENTS / "relaunch.json")
        held = store.read_lock(lane)
        assert isinstance(held, LockHeld)
        lock = held
        assert [line["message"] for line in done.lines] == ["started"]
        found = client("ec2").describe_instances(InstanceIds=[held.run.instance_id])
        tags = {tag["Key"]: tag["Value"] for tag in found["Reservations"][0]["Instances"][0]["Tags"]}
        assert (tags["RunId"], tags["Attempt"], tags["Environment"]) == (run.run_id, "2", ENVIRONMENT)
    finally:
        store.remove_lock(lane, lock.etag)
        if lock.run.instance_id:
            client("ec2").terminate_instances(InstanceIds=[lock.run.instance_id])


@pytest.mark.parametrize("function", functions())
def test_a_malformed_event_is_ignored(containers: BuiltFunctions, function: str) -> None:
    done = invoke(containers, function, EVENTS / "malformed-types.json")
    assert done.answer in (None, {"batchItemFailures": []})
    assert [line["level"] for line in done.lines] in ([], ["INFO"])


def test_a_failing_function_returns_its_error(containers: BuiltFunctions) -> None:
    done = containers.invoke("Sweep", EVENTS / "sweep-tick.json", BUCKET="a-bucket-that-nobody-has")
    assert done.error is not None
    assert "the first error: InvalidInput: bucket" in done.error
