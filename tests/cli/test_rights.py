"""What an operator is allowed to do, beyond what the other tests of the command use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.testing.aws_answers import answered, before_call, no_room_but_in, refused, upload_until_it_breaks
from chronos_ec2.testing.aws_server import BUCKET, leave_behind, left_behind, store, unfinished_uploads
from chronos_ec2.testing.builders import a_run
from tests.cli.conftest import Command
from tests.template.calls import Recorder

pytestmark = pytest.mark.usefixtures("data")


@pytest.mark.usefixtures("asked_once")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_launch_uses_the_subnet_that_has_capacity(run: Command, config: Path, number: int) -> None:
    subnets = client("ec2").describe_subnets(Filters=[{"Name": "cidr-block", "Values": [f"10.0.{number + 1}.0/24"]}])
    subnet_id = subnets["Subnets"][0]["SubnetId"]
    with no_room_but_in(subnet_id):
        launched = run("launch", "--config", str(config), "--json").json
    assert launched["option"]["subnet_id"] == subnet_id


def test_a_quota_that_is_too_small_is_the_users_error_before_anything_is_uploaded(run: Command, config: Path) -> None:
    before = {key for key, _ in store().objects.keys("")}
    with answered("service-quotas", "GetServiceQuota", json.dumps({"Quota": {"Value": 0.0}})):
        refused_launch = run("launch", "--config", str(config))
    assert refused_launch.code == 2
    assert "L-DB2E81BA" in refused_launch.err
    assert {key for key, _ in store().objects.keys("")} == before


@pytest.mark.parametrize(
    ("operation", "answer", "words"),
    [
        ("DescribeImages", "<imagesSet/>", "of the stack does not exist any more"),
        ("DescribeInstanceTypeOfferings", "<instanceTypeOfferingSet/>", "is offered in none of the stack's zones"),
    ],
)
def test_what_no_instance_can_start_from_is_the_users_error_before_anything_is_uploaded(
    run: Command, config: Path, operation: str, answer: str, words: str
) -> None:
    before = {key for key, _ in store().objects.keys("")}
    with answered("ec2", operation, f"<{operation}Response>{answer}</{operation}Response>"):
        refused_launch = run("launch", "--config", str(config))
    assert refused_launch.code == 2
    assert words in refused_launch.err
    assert {key for key, _ in store().objects.keys("")} == before


@pytest.mark.usefixtures("asked_once")
def test_who_may_not_read_the_quota_is_warned_and_launches(run: Command, config: Path) -> None:
    refusal = json.dumps({"__type": "AccessDeniedException", "message": "no"})
    with answered("service-quotas", "GetServiceQuota", refusal, 400):
        launched = run("launch", "--config", str(config), "--json")
    assert launched.code == 0
    assert "quota was not checked" in launched.err


def test_of_a_denied_launch_the_record_keeps_every_word(run: Command, config: Path) -> None:
    denial = (
        "with an explicit deny in a service control policy. Encoded authorization failure message: " + "a1B2-" * 300
    )
    error = f"<Code>UnauthorizedOperation</Code><Message>You are not authorized {denial}</Message>"
    with answered("ec2", "RunInstances", f"<Response><Errors><Error>{error}</Error></Errors></Response>", 403):
        denied = run("launch", "--config", str(config))
    assert denied.code not in (0, 1)
    assert "explicit deny in a service control policy" in denied.err
    (record,) = [key for key, _ in store().objects.keys("dev/") if key.endswith("/state.json")]
    found = store().objects.read(record)
    assert found is not None
    message = json.loads(found.body)["verdict"]["message"]
    assert denial in message
    assert "aws sts decode-authorization-message" in message


def test_a_spot_instance_is_launched(run: Command, config: Path) -> None:
    launched = run("launch", "--config", str(config), "--spot", "--json").json
    assert launched["option"]["market"] == "spot"
    instances = client("ec2").describe_instances(InstanceIds=[launched["instance_id"]])["Reservations"][0]["Instances"]
    assert [instance["InstanceLifecycle"] for instance in instances] == ["spot"]


def test_a_run_in_another_lane_is_cleaned_up(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--lane", "second", "--json").json["run_id"]
    assert run("kill", run_id, "--now").code == 0
    assert run("cleanup", "--json").json["left"] == []


def test_leftovers_of_a_run_are_deleted(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    leave_behind(a_run(run_id=run_id))
    run("kill", "--now")
    run("cleanup")
    assert left_behind() == []


def test_an_orphaned_upload_is_found_and_aborted(run: Command) -> None:
    key = run_key("dev", "20200101T000000Z-000000", "models/model.safetensors")
    client("s3").create_multipart_upload(Bucket=BUCKET, Key=key)
    found = run("verify", "--json")
    assert (found.code, [(left["kind"], left["name"]) for left in found.json["left"]]) == (
        1, [("multipart-upload", key)]
    )  # fmt: skip
    assert run("cleanup", "--json").json["left"] == []


@pytest.mark.usefixtures("asked_once")
def test_a_marker_is_withdrawn_when_its_message_cannot_be_sent(run: Command, config: Path) -> None:
    with refused("sns", "Publish", "InternalError", status=500):
        run("launch", "--config", str(config))
        run("kill", "--now")
        store().objects.create("dev/lanes/second/system-state.json", b"not json")
        assert run("cleanup").code == 3
    keys = [key for key, _ in store().objects.keys("dev/")]
    markers = [key for key in keys if "/notified/" in key or "/incidents/" in key]
    assert [key for key in markers if "/notified/hours/" not in key] == []


def test_a_launch_that_loses_its_race_withdraws_its_request(run: Command, config: Path) -> None:
    with before_call("s3", "PutObject", f"{BUCKET}/dev/system-state.json", lambda: store().create_lock(a_run())):
        assert a_run().run_id in run("launch", "--config", str(config)).err
    assert [key for key, _ in store().objects.keys("dev/") if key.endswith("request.json")] == []


def test_a_failed_upload_leaves_no_parts(tmp_path: Path, calls: Recorder) -> None:
    with calls.acting("OperatorPolicy"):
        upload_until_it_breaks("cached-datasets/dev/training-data/sales/large.parquet", tmp_path)
    assert ("OperatorPolicy", "s3.AbortMultipartUpload") in calls.heard
    assert unfinished_uploads() == []
