"""moto as an AWS on this machine, with what an environment's stack would have made."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import ThreadedMotoServer

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.lane import python_env_key
from chronos_ec2.services.bundle import CHECKOUT
from chronos_ec2.services.python_env import read_python_env

ENVIRONMENT = "dev"
BUCKET = "chronos-ec2-dev-bucket"
DEADLINE_GROUP = "chronos-ec2-dev-deadlines"
DEADLINE_ROLE_ARN = "arn:aws:iam::123456789012:role/deadlines"
LAUNCHER = "chronos-ec2-dev-launcher"


@contextmanager
def moto_server() -> Iterator[str]:
    """An AWS over real HTTP; its endpoint. All servers of one process share what they hold."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def forget_everything(endpoint: str) -> None:
    """Make the AWS behind `endpoint` a new one."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()


def deploy_outputs() -> None:
    """A stack with the real one's outputs, over a bucket, a topic, two subnets, a launch template, a schedule group.

    The bucket has the agent's packages, as from the second launch on: nobody reads them, so they are not the real ones.
    """
    ec2 = client("ec2")
    client("s3").create_bucket(Bucket=BUCKET)
    client("s3").put_object(Bucket=BUCKET, Key=python_env_key(read_python_env(CHECKOUT).sha256), Body=b"wheels")
    topic_arn = client("sns").create_topic(Name="notifications")["TopicArn"]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2)]
    launch_template = ec2.create_launch_template(
        LaunchTemplateName="instances", LaunchTemplateData={"ImageId": "ami-12c6146b"}
    )["LaunchTemplate"]["LaunchTemplateId"]
    client("scheduler").create_schedule_group(Name=DEADLINE_GROUP)
    outputs = {
        "Environment": ENVIRONMENT,
        "Bucket": BUCKET,
        "Project": "Chronos-Training",
        "CostCenter": "train",
        "InstanceType": "g4dn.2xlarge",
        "AgentPackages": "uploaded",
        "SubnetIds": ",".join(subnets),
        "LaunchTemplateId": launch_template,
        "TopicArn": topic_arn,
        "DeadlineGroup": DEADLINE_GROUP,
        "DeadlineRoleArn": DEADLINE_ROLE_ARN,
        "LauncherFunction": LAUNCHER,
        "LimitOverrides": "{}",
    }
    template: dict[str, Any] = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    client("cloudformation").create_stack(StackName=f"chronos-ec2-{ENVIRONMENT}", TemplateBody=json.dumps(template))
