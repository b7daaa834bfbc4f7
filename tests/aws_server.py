"""moto as an AWS on this machine, with what an environment's stack would have made."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import ThreadedMotoServer

from chronos_ec2.aws.clients import client

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
    """A stack with the real one's outputs, over a bucket, a topic, two subnets, a launch template, a schedule group."""
    ec2 = client("ec2")
    client("s3").create_bucket(Bucket=BUCKET)
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
