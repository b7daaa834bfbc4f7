"""The rights of an operator, where the other tests of the command have no use for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.domain.errors import LostRace, ServiceUnavailable
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.aws_server import (
    BUCKET,
    leave_behind,
    left_behind,
    no_room_but_in,
    store,
    unfinished_uploads,
    upload_until_it_breaks,
)
from chronos_ec2.testing.builders import a_run
from tests.cli.conftest import Command
from tests.template.calls import Recorder

pytestmark = pytest.mark.usefixtures("data")


@pytest.mark.usefixtures("asked_once")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_launch_goes_where_there_is_room(run: Command, config: Path, number: int) -> None:
    subnets = client("ec2").describe_subnets(Filters=[{"Name": "cidr-block", "Values": [f"10.0.{number + 1}.0/24"]}])
    subnet_id = subnets["Subnets"][0]["SubnetId"]
    with no_room_but_in(subnet_id):
        launched = run("launch", "--config", str(config), "--json").json
    assert launched["option"]["subnet_id"] == subnet_id


def test_spare_capacity_is_launched_too(run: Command, config: Path) -> None:
    launched = run("launch", "--config", str(config), "--spot", "--json").json
    assert launched["option"]["market"] == "spot"
    boxes = client("ec2").describe_instances(InstanceIds=[launched["instance_id"]])["Reservations"][0]["Instances"]
    assert [box["InstanceLifecycle"] for box in boxes] == ["spot"]


def test_the_run_of_another_lane_is_cleaned_up_too(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--lane", "second", "--json").json["run_id"]
    assert run("kill", run_id, "--now").code == 0
    assert run("cleanup", "--json").json["left"] == []


def test_what_a_run_has_left_is_deleted(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    leave_behind(a_run(run_id=run_id))
    run("kill", "--now")
    run("cleanup")
    assert left_behind() == []


def test_an_upload_that_no_run_is_left_to_end_is_told_and_aborted(run: Command) -> None:
    key = run_key("dev", "20200101T000000Z-000000", "models/model.safetensors")
    client("s3").create_multipart_upload(Bucket=BUCKET, Key=key)
    found = run("verify", "--json")
    assert (found.code, [(left["kind"], left["name"]) for left in found.json["left"]]) == (
        1, [("multipart-upload", key)]
    )  # fmt: skip
    assert run("cleanup", "--json").json["left"] == []


def test_a_marker_is_withdrawn_when_its_message_does_not_go_out(
    run: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_notifier: SnsNotifier, _message: Message) -> None:
        raise ServiceUnavailable("SNS does not answer")

    monkeypatch.setattr(SnsNotifier, "publish", refuse)
    run("launch", "--config", str(config))
    run("kill", "--now")
    store().objects.create("dev/lanes/second/system-state.json", b"not json")
    assert run("cleanup").code == 3
    keys = [key for key, _ in store().objects.keys("dev/")]
    assert [key for key in keys if "/notified/" in key or "/incidents/" in key] == []


def test_the_order_of_a_launch_that_lost_its_race_is_withdrawn(
    run: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_lock = RunStore.create_lock

    def after_somebody_else(runs: RunStore, run: Run) -> None:
        create_lock(runs, a_run())
        raise LostRace("somebody was faster")

    monkeypatch.setattr(RunStore, "create_lock", after_somebody_else)
    assert a_run().run_id in run("launch", "--config", str(config)).err
    assert [key for key, _ in store().objects.keys("dev/") if key.endswith("request.json")] == []


def test_an_upload_that_breaks_leaves_no_parts_that_cost(tmp_path: Path, calls: Recorder) -> None:
    with calls.acting("OperatorPolicy"):
        upload_until_it_breaks("cached-datasets/training-data/sales/large.parquet", tmp_path)
    assert ("OperatorPolicy", "s3.AbortMultipartUpload") in calls.heard
    assert unfinished_uploads() == []
