"""The implementations of each port that must behave alike: memory, moto, and the embedded AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
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
    endpoint = request.getfixturevalue("moto_endpoint" if request.param == "moto" else "embedded_endpoint")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return _on_aws(request.param)


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


def _on_aws(name: str) -> Ports:
    s3, ec2, sns, sqs, scheduler = (client(service) for service in ("s3", "ec2", "sns", "sqs", "scheduler"))
    _empty_bucket(s3)
    unique = f"contract-{uuid.uuid4().hex[:8]}"
    topic = sns.create_topic(Name=unique)["TopicArn"]
    queue = sqs.create_queue(QueueName=unique)["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = tuple(
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{index}.0/24")["Subnet"]["SubnetId"] for index in (1, 2)
    )
    image = "ami-12c6146b"  # one that moto knows
    template = ec2.create_launch_template(
        LaunchTemplateName=unique,
        LaunchTemplateData={"ImageId": image},
    )["LaunchTemplate"]["LaunchTemplateId"]

    profile = client("iam").create_instance_profile(InstanceProfileName=unique)["InstanceProfile"]["Arn"]

    def published() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
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
            ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro", SubnetId=subnets[0],
            IamInstanceProfile={"Arn": profile},
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )  # fmt: skip
        return str(response["Instances"][0]["InstanceId"])

    logs = client("logs")
    logs.create_log_group(logGroupName=unique)

    def logged(stream: str) -> list[tuple[datetime, str]]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=unique, logStreamNames=[stream])
        return [
            (datetime.fromtimestamp(event["timestamp"] / 1000, UTC), event["message"])
            for page in pages
            for event in page["events"]
        ]

    scheduler.create_schedule_group(Name=unique)
    fleet = Ec2Fleet(ec2, PROJECT, COST_CENTER, template, profile)
    deadlines = SchedulerDeadlines(scheduler, unique, "arn:aws:iam::123456789012:role/deadlines")
    scheduler.create_schedule_group(Name=f"{unique}-runs")
    function = "arn:aws:lambda:us-east-1:123456789012:function:launcher"
    timetable = SchedulerTimetable(scheduler, f"{unique}-runs", "arn:aws:iam::123456789012:role/runs", function)
    return Ports(
        name, S3Objects(s3, BUCKET), S3Transfer(s3, BUCKET), fleet, deadlines, timetable, SnsNotifier(sns, topic),
        subnets, published, add_instance, CloudWatchStreams(logs, unique), logged,
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
