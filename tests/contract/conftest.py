"""The implementations of each port that must behave alike: memory, moto, and the embedded AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.cloudwatch_streams import CloudWatchStreams
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.aws.scheduler_deadlines import SchedulerDeadlines, SchedulerTimetable
from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.ports import Deadlines, Fleet, LogStreams, Notifier, ObjectStore, ObjectTransfer, Timetable
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.aws_snapshot import bring_back, keep

PROJECT, COST_CENTER, BUCKET = "Chronos-Training", "train", "chronos-ec2-contract"


@dataclass(frozen=True)
class Ports:
    """One implementation of all ports, and how a test sees what it did."""

    name: str
    objects: ObjectStore
    transfer: ObjectTransfer
    fleet: Fleet
    deadlines: Deadlines
    timetable: Timetable
    notifier: Notifier
    subnet_ids: tuple[str, ...]
    published: Callable[[], list[dict[str, Any]]]
    add_instance: Callable[[dict[str, str]], str]
    streams: LogStreams
    logged: Callable[[str], list[tuple[datetime, str]]]
    begin_upload: Callable[[str], object]
    protect: Callable[[str], object]
    """Switch on the termination protection of an instance."""
    withhold: Callable[[str, bytes], object]
    """Put an object that nobody else can read."""


@pytest.fixture(params=["memory", "moto", pytest.param("embedded", marks=pytest.mark.embedded_aws)])
def ports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ports:
    if request.param == "memory":
        return _memory()
    if request.param == "moto":
        request.getfixturevalue("aws")
        resources, kept = _in_moto()
        bring_back(kept)
        return _on_aws("moto", resources)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("embedded_endpoint"))
    return _on_aws("embedded", _made())


@cache
def _in_moto() -> tuple[Resources, bytes]:
    """What the ports need, and all that AWS holds then. Made once, in an AWS with nothing in it."""
    return _made(), keep()


def _memory() -> Ports:
    world = MemoryAws()

    def published() -> list[dict[str, Any]]:
        return [
            {"subject": message.subject, "document": dict(message.document), "attributes": dict(message.attributes)}
            for message in world.notifier.messages
        ]

    return Ports(
        "memory", world.objects, world.transfer, world.fleet, world.deadlines, world.timetable, world.notifier,
        ("subnet-a", "subnet-b"), published, world.fleet.add, world.streams, world.streams.lines.__getitem__,
        world.objects.begin, world.fleet.protected.add, world.objects.withhold,
    )  # fmt: skip


@dataclass(frozen=True)
class Resources:
    """What the ports need of AWS. `name` is that of the log group, and begins those of the schedule groups."""

    name: str
    topic: str
    queue: str
    subnets: tuple[str, ...]
    template: str
    profile: str


_IMAGE = "ami-12c6146b"  # one that moto knows


def _made() -> Resources:
    sns, sqs, ec2 = client("sns"), client("sqs"), client("ec2")
    _empty_bucket(client("s3"))
    unique = f"contract-{uuid.uuid4().hex[:8]}"
    topic = sns.create_topic(Name=unique)["TopicArn"]
    queue = sqs.create_queue(QueueName=unique)["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = tuple(
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{index}.0/24")["Subnet"]["SubnetId"] for index in (1, 2)
    )
    template = ec2.create_launch_template(LaunchTemplateName=unique, LaunchTemplateData={"ImageId": _IMAGE})
    profile = client("iam").create_instance_profile(InstanceProfileName=unique)["InstanceProfile"]["Arn"]
    client("logs").create_log_group(logGroupName=unique)
    for group in (unique, f"{unique}-runs"):
        client("scheduler").create_schedule_group(Name=group)
    return Resources(unique, topic, queue, subnets, template["LaunchTemplate"]["LaunchTemplateId"], profile)


def _on_aws(name: str, made: Resources) -> Ports:
    s3, ec2, sqs, logs = (client(service) for service in ("s3", "ec2", "sqs", "logs"))

    def published() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=made.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        bodies = [json.loads(message["Body"]) for message in found]
        return [
            {
                "subject": body["Subject"],
                "document": json.loads(body["Message"]),
                "attributes": {key: value["Value"] for key, value in body["MessageAttributes"].items()},
            }
            for body in bodies
        ]

    def add_instance(tags: dict[str, str]) -> str:
        response = ec2.run_instances(
            ImageId=_IMAGE, MinCount=1, MaxCount=1, InstanceType="t3.micro", SubnetId=made.subnets[0],
            IamInstanceProfile={"Arn": made.profile},
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )  # fmt: skip
        return str(response["Instances"][0]["InstanceId"])

    def logged(stream: str) -> list[tuple[datetime, str]]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=made.name, logStreamNames=[stream])
        return [
            (datetime.fromtimestamp(event["timestamp"] / 1000, UTC), event["message"])
            for page in pages
            for event in page["events"]
        ]

    scheduler, role = client("scheduler"), "arn:aws:iam::123456789012:role"
    fleet = Ec2Fleet(ec2, PROJECT, COST_CENTER, made.template, made.profile)
    deadlines = SchedulerDeadlines(scheduler, made.name, f"{role}/deadlines")
    function = "arn:aws:lambda:us-east-1:123456789012:function:launcher"
    timetable = SchedulerTimetable(scheduler, f"{made.name}-runs", f"{role}/runs", function)
    return Ports(
        name, S3Objects(s3, BUCKET), S3Transfer(s3, BUCKET), fleet, deadlines, timetable,
        SnsNotifier(client("sns"), made.topic), made.subnets,
        published, add_instance, CloudWatchStreams(logs, made.name), logged,
        lambda key: s3.create_multipart_upload(Bucket=BUCKET, Key=key),
        lambda instance_id: ec2.modify_instance_attribute(
            InstanceId=instance_id, DisableApiTermination={"Value": True}
        ),
        lambda key, body: s3.put_object(Bucket=BUCKET, Key=key, Body=body, StorageClass="DEEP_ARCHIVE"),
    )  # fmt: skip


def _empty_bucket(s3: Any) -> None:
    if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", ()):
            s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
