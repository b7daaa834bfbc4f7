"""The recorder of calls: each kind of call is allowed on what is the stack's, and denied on what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.testing.aws_server import BUCKET, DEADLINE_GROUP, DEADLINE_ROLE_ARN, LAUNCH_TEMPLATE, LAUNCHER
from tests.template.calls import Recorder
from tests.template.test_policies import ADMIN, AGENT, OPERATOR, STARTER, TOPIC, WATCHDOG

pytestmark = pytest.mark.usefixtures("deployed")
OURS = owner_tags("Chronos-Training", "dev")
INSTANCE = "i-0123456789abcdef0"


@pytest.fixture
def denied(calls: Recorder) -> Callable[..., list[str]]:
    """What of a call its caller's policies do not allow: action and resource. Whether it succeeds does not matter.

    A right is not in use because it is asked for here.
    """
    used = set(calls.used)

    def denied(who: str, service: str, operation: str, **parameters: Any) -> list[str]:
        with calls.acting(who), suppress(ClientError):
            getattr(client(service), operation)(**parameters)
        found, calls.denied, calls.used = calls.denied, [], set(used)
        return [" ".join(line.split()[1:4:2]) for line in found]

    return denied


Denied = Callable[..., list[str]]


def tagged(kind: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_object", {"Key": "dev/system-state.json"}),
        ("put_object", {"Key": "dev/system-state.json", "IfMatch": "e"}),
        ("delete_object", {"Key": "dev/system-state.json", "IfMatch": "e"}),
        ("list_objects_v2", {"Prefix": "dev/"}),
    ],
)
def test_a_bucket(denied: Denied, operation: str, parameters: Mapping[str, str]) -> None:
    assert denied(WATCHDOG, "s3", operation, Bucket=BUCKET, **parameters) == []
    assert denied(WATCHDOG, "s3", operation, Bucket=f"{BUCKET}-of-others", **parameters) != []


def test_a_write_of_the_lock_without_its_condition(denied: Denied) -> None:
    (found,) = denied(AGENT, "s3", "put_object", Bucket=BUCKET, Key="dev/system-state.json")
    assert found.startswith("s3:PutObject")


def test_a_topic(denied: Denied) -> None:
    assert denied(WATCHDOG, "sns", "publish", TopicArn=TOPIC, Message="m") == []
    other = f"{TOPIC}-alarms"
    assert denied(WATCHDOG, "sns", "publish", TopicArn=other, Message="m") == [f"sns:Publish {other}"]


def test_a_schedules_role_and_group(denied: Denied) -> None:
    def schedule(role: str, group: str = DEADLINE_GROUP) -> list[str]:
        target = {"Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances", "RoleArn": role, "Input": "{}"}
        window = {"Mode": "OFF"}
        return denied(WATCHDOG, "scheduler", "create_schedule", GroupName=group, Name=INSTANCE, Target=target,
                      FlexibleTimeWindow=window, ScheduleExpression="at(2099-01-01T00:00:00)")  # fmt: skip

    assert schedule(DEADLINE_ROLE_ARN) == []
    assert schedule(ADMIN) == [f"iam:PassRole {ADMIN}"]
    # One that is there: to a missing one moto answers with a 500, which is tried again for seconds.
    client("scheduler").create_schedule_group(Name="chronos-ec2-dev")
    assert len(schedule(DEADLINE_ROLE_ARN, "chronos-ec2-dev")) == 1


def test_a_function(denied: Denied) -> None:
    assert denied(WATCHDOG, "lambda", "invoke", FunctionName=LAUNCHER) == []
    assert len(denied(WATCHDOG, "lambda", "invoke", FunctionName=LAUNCHER.replace("launcher", "sweep"))) == 1


def test_a_stack(denied: Denied) -> None:
    assert denied(OPERATOR, "cloudformation", "describe_stacks", StackName="chronos-ec2-dev") == []
    assert len(denied(OPERATOR, "cloudformation", "describe_stacks", StackName="chronos-ec2-prod")) == 1


def an_instance(tags: Mapping[str, str], **launched: Any) -> str:
    response = client("ec2").run_instances(
        MinCount=1, MaxCount=1, TagSpecifications=tagged("instance", tags), **launched
    )
    return str(response["Instances"][0]["InstanceId"])


def another_profile() -> str:
    client("iam").create_role(RoleName="web", AssumeRolePolicyDocument="{}")
    profile = client("iam").create_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    client("iam").add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
    return str(profile["Arn"])


def test_an_instance_to_end(denied: Denied) -> None:
    def end(instance_id: str) -> list[str]:
        return denied(WATCHDOG, "ec2", "terminate_instances", InstanceIds=[instance_id])

    by_template = {"LaunchTemplate": {"LaunchTemplateName": LAUNCH_TEMPLATE}}
    image, profile = {"ImageId": "ami-12c6146b"}, another_profile()
    assert end(an_instance(OURS, **by_template)) == []
    for tags, launched in [
        ({"Name": "web"}, by_template),
        (OURS | {"Environment": "prod"}, by_template),
        (OURS, image),
        (OURS, image | {"IamInstanceProfile": {"Arn": profile}}),
        (OURS, by_template | {"IamInstanceProfile": {"Arn": profile}}),
    ]:
        assert len(end(an_instance(tags, **launched))) == 1, (tags, launched)
    assert len(end("i-that-is-not-there")) == 1


def test_an_instance_among_others_to_end(denied: Denied) -> None:
    ours = an_instance(OURS, LaunchTemplate={"LaunchTemplateName": LAUNCH_TEMPLATE})
    foreign = an_instance({"Name": "web"}, ImageId="ami-12c6146b")
    (found,) = denied(WATCHDOG, "ec2", "terminate_instances", InstanceIds=[ours, foreign])
    assert found.endswith(foreign)


def test_a_volume_to_delete(denied: Denied) -> None:
    def volume(tags: Mapping[str, str]) -> str:
        where: dict[str, Any] = {"AvailabilityZone": "us-east-1a", "Size": 1}
        return str(client("ec2").create_volume(**where, TagSpecifications=tagged("volume", tags))["VolumeId"])

    assert denied(WATCHDOG, "ec2", "delete_volume", VolumeId=volume(OURS)) == []
    assert len(denied(WATCHDOG, "ec2", "delete_volume", VolumeId=volume({"Project": "Other"}))) == 1


def test_a_network_interface_to_delete(denied: Denied) -> None:
    def interface(tags: Mapping[str, str]) -> str:
        subnet = client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        specification = tagged("network-interface", tags)
        made = client("ec2").create_network_interface(SubnetId=subnet, TagSpecifications=specification)
        return str(made["NetworkInterface"]["NetworkInterfaceId"])

    def delete(interface_id: str) -> list[str]:
        return denied(WATCHDOG, "ec2", "delete_network_interface", NetworkInterfaceId=interface_id)

    assert delete(interface(OURS)) == []
    assert len(delete(interface({"Project": "Other"}))) == 1


class TestALaunch:
    """One thing of a launch after the other is not the stack's."""

    @pytest.fixture
    def launch(self, denied: Denied) -> Callable[..., list[str]]:
        outputs = client("cloudformation").describe_stacks(StackName="chronos-ec2-dev")["Stacks"][0]["Outputs"]
        stack = {output["OutputKey"]: output["OutputValue"] for output in outputs}
        due = OURS | {"Deadline": "2026-01-31T23:00:00.000Z"}
        ours: dict[str, Any] = {
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceType": "g4dn.2xlarge",
            "SubnetId": stack["SubnetIds"].split(",")[1],
            "LaunchTemplate": {"LaunchTemplateId": stack["LaunchTemplateId"]},
            "MetadataOptions": {"HttpTokens": "required"},
            "IamInstanceProfile": {"Arn": stack["InstanceProfileArn"]},
            "TagSpecifications": [
                *tagged("instance", due), *tagged("volume", OURS), *tagged("network-interface", OURS),
            ],
        }  # fmt: skip

        def launch(without: str = "", **changes: Any) -> list[str]:
            asked = {name: value for name, value in (ours | changes).items() if name != without}
            return denied(STARTER, "ec2", "run_instances", **asked)

        return launch

    def test_ours(self, launch: Callable[..., list[str]]) -> None:
        assert launch() == []

    def test_without_a_subnet_it_would_be_the_default_vpc(self, launch: Callable[..., list[str]]) -> None:
        (found,) = launch(without="SubnetId")
        assert "subnet/" in found

    def test_another_subnet(self, launch: Callable[..., list[str]]) -> None:
        vpc = client("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnet = client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24")["Subnet"]["SubnetId"]
        (found,) = launch(SubnetId=subnet)
        assert found.endswith(f"subnet/{subnet}")

    def test_another_security_group(self, launch: Callable[..., list[str]]) -> None:
        group = client("ec2").create_security_group(GroupName="open", Description="open")["GroupId"]
        (found,) = launch(SecurityGroupIds=[group])
        assert found.endswith(f"security-group/{group}")

    def test_another_launch_template(self, launch: Callable[..., list[str]]) -> None:
        template = client("ec2").describe_launch_template_versions(LaunchTemplateName=LAUNCH_TEMPLATE, Versions=["1"])
        data = template["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        other = client("ec2").create_launch_template(LaunchTemplateName="of-others", LaunchTemplateData=data)
        named = other["LaunchTemplate"]["LaunchTemplateId"]
        found = launch(LaunchTemplate={"LaunchTemplateId": named})
        assert f"ec2:RunInstances arn:aws:ec2:us-east-1:123456789012:launch-template/{named}" in found
        assert len(found) == 3  # and the instance, and the image

    def test_an_image_of_ones_own(self, launch: Callable[..., list[str]]) -> None:
        assert launch(ImageId="ami-12c6146b") == ["ec2:RunInstances arn:aws:ec2:us-east-1::image/ami-12c6146b"]

    def test_another_profile(self, launch: Callable[..., list[str]]) -> None:
        found = launch(IamInstanceProfile={"Arn": another_profile()})
        assert [line.split(":")[0] for line in found] == ["ec2", "iam"]

    def test_a_profile_that_only_the_template_names(self, launch: Callable[..., list[str]]) -> None:
        (found,) = launch(without="IamInstanceProfile")
        assert found == "ec2:RunInstances arn:aws:ec2:us-east-1:123456789012:instance/*"

    def test_the_old_metadata_service(self, launch: Callable[..., list[str]]) -> None:
        (optional,) = launch(MetadataOptions={"HttpTokens": "optional"})
        (unsaid,) = launch(without="MetadataOptions")
        assert optional == unsaid == "ec2:RunInstances arn:aws:ec2:us-east-1:123456789012:instance/*"

    def test_the_tags_of_another_environment(self, launch: Callable[..., list[str]]) -> None:
        (found,) = launch(
            TagSpecifications=[
                *tagged("instance", OURS | {"Environment": "prod"}),
                *tagged("volume", OURS),
                *tagged("network-interface", OURS),
            ]
        )
        assert "instance/*" in found

    def test_no_deadline(self, launch: Callable[..., list[str]]) -> None:
        tags = [tagged(kind, OURS)[0] for kind in ("instance", "volume", "network-interface")]
        assert launch(TagSpecifications=tags) == ["ec2:RunInstances arn:aws:ec2:us-east-1:123456789012:instance/*"]

    def test_a_type_that_the_stack_does_not_allow(self, launch: Callable[..., list[str]]) -> None:
        (found,) = launch(InstanceType="p5.48xlarge")
        assert found == "ec2:RunInstances arn:aws:ec2:us-east-1:123456789012:instance/*"

    def test_hardware_of_ones_own(self, launch: Callable[..., list[str]]) -> None:
        (found,) = launch(Placement={"Tenancy": "dedicated"})
        assert found == "ec2:RunInstances arn:aws:ec2:us-east-1:123456789012:instance/*"

    def test_no_tags(self, launch: Callable[..., list[str]]) -> None:
        assert len(launch(without="TagSpecifications")) == 3


def test_a_call_is_recorded_once_when_a_session_becomes_the_default_again(calls: Recorder) -> None:
    first, second = boto3.Session(region_name="us-east-1"), boto3.Session(region_name="us-east-1")
    try:
        for boto3.DEFAULT_SESSION in (first, second, first):
            calls.listen()
        before = calls.recorded
        with calls.acting(OPERATOR):
            client("s3").head_bucket(Bucket=BUCKET)
        assert calls.recorded == before + 1
    finally:
        boto3.DEFAULT_SESSION = None
