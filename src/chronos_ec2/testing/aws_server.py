"""moto as an AWS on this machine over real HTTP, with what an environment's stack makes. Needs moto."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.instance import run_tags
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import python_env_key, run_key
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.services.publish.wheels import read_python_env
from chronos_ec2.testing.builders import BOUNDS

ENVIRONMENT = "dev"
BUCKET = "chronos-ec2-dev-bucket"
DEADLINE_GROUP = "chronos-ec2-dev-deadlines"
SCHEDULE_GROUP = "chronos-ec2-dev-runs"
DEADLINE_ROLE_ARN = "arn:aws:iam::123456789012:role/chronos-ec2-dev-deadlinerole"
LAUNCHER = "chronos-ec2-dev-launcher"
LAUNCH_TEMPLATE = "instances"


@contextmanager
def moto_server() -> Iterator[str]:
    """An AWS over real HTTP; its endpoint. All servers of one process share what they hold."""
    # As AWS does, it keeps connections: one for each call, with a thread of its own, takes an eighth of the time.
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    WSGIRequestHandler.disable_nagle_algorithm = True  # head and body are sent apart, and the second waits otherwise
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def s3_server(bucket: str) -> Iterator[str]:
    """A server with an empty bucket; its endpoint. The environment of this process points to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.2)
        client("s3").create_bucket(Bucket=bucket)
        yield endpoint
    finally:
        server.kill()
        server.wait()


def forget_everything(endpoint: str) -> None:
    """Make the AWS behind `endpoint` a new one."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()  # noqa: S310 - our own server


@dataclass(frozen=True)
class Network:
    """What the stack has of EC2, by the ids that EC2 chose."""

    vpc: str
    subnets: tuple[str, ...]
    security_group: str
    launch_template: str
    profile_arn: str


def deploy_outputs() -> Network:
    """A stack with the real one's outputs, over what they name.

    The bucket has the agent's packages, as from the second launch on: nobody reads them, so they are not the real ones.
    """
    client("s3").create_bucket(Bucket=BUCKET)
    env = read_python_env(CHECKOUT)
    for sha256 in (env.claim_sha256, env.sha256):
        client("s3").put_object(Bucket=BUCKET, Key=python_env_key(sha256), Body=b"wheels")
    topic_arn, alarm_topic_arn = (
        client("sns").create_topic(Name=name)["TopicArn"] for name in ("chronos-ec2-dev", "chronos-ec2-dev-alarms")
    )
    for group in (DEADLINE_GROUP, SCHEDULE_GROUP):
        client("scheduler").create_schedule_group(Name=group)
    schedule_sweep(f"chronos-ec2-{ENVIRONMENT}")
    network = _network()
    outputs = {
        "Environment": ENVIRONMENT,
        "Bucket": BUCKET,
        "Project": "Chronos-Training",
        "CostCenter": "train",
        "InstanceType": "g4dn.2xlarge",
        "VolumeSize": "100",
        "InstanceTypes": ",".join(BOUNDS.instance_types),
        "MaxTypesPerRun": str(BOUNDS.max_types),
        "MaxRunHours": "168",
        "AgentPackages": "uploaded",
        "SubnetIds": ",".join(network.subnets),
        "LaunchTemplateId": network.launch_template,
        "InstanceProfileArn": network.profile_arn,
        "TopicArn": topic_arn,
        "AlarmTopicArn": alarm_topic_arn,
        "DeadlineGroup": DEADLINE_GROUP,
        "DeadlineRoleArn": DEADLINE_ROLE_ARN,
        "RunScheduleGroup": SCHEDULE_GROUP,
        "RunScheduleRoleArn": "arn:aws:iam::123456789012:role/chronos-ec2-dev-runschedulerole",
        "LauncherFunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{LAUNCHER}",
        "LauncherFunction": LAUNCHER,
        "LimitOverrides": "{}",
        "Version": version("chronos-ec2"),
    }
    template: dict[str, Any] = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    client("cloudformation").create_stack(StackName=f"chronos-ec2-{ENVIRONMENT}", TemplateBody=json.dumps(template))
    return network


def schedule_sweep(stack: str) -> None:
    """The schedule group and the schedule of a stack's sweep."""
    client("scheduler").create_schedule_group(Name=stack)
    client("scheduler").create_schedule(
        GroupName=stack,
        Name=f"{stack}-sweep",
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": f"arn:aws:lambda:us-east-1:123456789012:function:{stack}-sweep",
            "RoleArn": "arn:aws:iam::123456789012:role/chronos-ec2-dev-sweepschedulerole",
        },
    )


def switch_sweep(state: str, stack: str = f"chronos-ec2-{ENVIRONMENT}") -> None:
    """Switch the schedule of the sweep ENABLED or DISABLED, as somebody may do in the console."""
    found = client("scheduler").get_schedule(GroupName=stack, Name=f"{stack}-sweep")
    kept = {name: found[name] for name in ("GroupName", "Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    client("scheduler").update_schedule(**kept, State=state)


def _network() -> Network:
    ec2, iam = client("ec2"), client("iam")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2, 3)]
    group = ec2.create_security_group(GroupName="instances", Description="instances", VpcId=vpc)["GroupId"]
    iam.create_role(RoleName="chronos-ec2-dev-instancerole", AssumeRolePolicyDocument="{}")
    profile = iam.create_instance_profile(InstanceProfileName="chronos-ec2-dev-instanceprofile")["InstanceProfile"]
    iam.add_role_to_instance_profile(
        InstanceProfileName=profile["InstanceProfileName"], RoleName="chronos-ec2-dev-instancerole"
    )
    image = ec2.register_image(
        Name="Deep Learning OSS Nvidia Driver AMI GPU PyTorch", RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}}],
    )  # fmt: skip
    launch = {
        "ImageId": image["ImageId"], "SecurityGroupIds": [group], "IamInstanceProfile": {"Arn": profile["Arn"]},
    }  # fmt: skip
    template = ec2.create_launch_template(LaunchTemplateName=LAUNCH_TEMPLATE, LaunchTemplateData=launch)
    return Network(vpc, tuple(subnets), group, template["LaunchTemplate"]["LaunchTemplateId"], profile["Arn"])


def _tagged(kind: str, run: Run) -> list[dict[str, Any]]:
    tags = run_tags(run, "Chronos-Training", "train")
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def _profile_arn() -> str:
    profile = client("iam").get_instance_profile(InstanceProfileName="chronos-ec2-dev-instanceprofile")
    return str(profile["InstanceProfile"]["Arn"])


def start_instance(run: Run) -> str:
    """An instance of a run as a launch makes it; its id."""
    response = client("ec2").run_instances(
        MinCount=1,
        MaxCount=1,
        LaunchTemplate={"LaunchTemplateName": LAUNCH_TEMPLATE},
        # Of a template's, moto says nothing.
        IamInstanceProfile={"Arn": _profile_arn()},
        TagSpecifications=_tagged("instance", run),
    )
    return str(response["Instances"][0]["InstanceId"])


def leave_behind(run: Run) -> None:
    """A volume and a network interface of the run that nothing uses, and an upload that nobody ends."""
    ec2 = client("ec2")
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=_tagged("volume", run))
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_network_interface(SubnetId=subnet, TagSpecifications=_tagged("network-interface", run))
    client("s3").create_multipart_upload(Bucket=BUCKET, Key=run_key("dev", run.run_id, "models/model.safetensors"))


def left_behind() -> list[str]:
    """What a run has left and nothing uses."""
    fleet = Ec2Fleet(client("ec2"), "Chronos-Training", "train")
    unused = [left.resource_id for left in fleet.leftovers("dev") if left.unused]
    return [*unused, *(upload.key for upload in store().objects.uploads("dev/"))]


def store() -> RunStore:
    """The runs in the stack's bucket."""
    return RunStore(S3Objects(client("s3"), BUCKET))


def unfinished_uploads() -> list[str]:
    """The keys of uploads in parts that were begun, and neither completed nor given up."""
    found = client("s3").list_multipart_uploads(Bucket=BUCKET)
    return [upload["Key"] for upload in found.get("Uploads", ())]
