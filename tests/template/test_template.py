"""What the template promises about security and about the command line's contract."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from chronos_ec2.domain.lane import Lane
from chronos_ec2.domain.limits import Limits
from chronos_ec2.settings import parse_limits
from tests.template.conftest import ROOT

Template = dict[str, Any]


def of_type(template: Template, kind: str) -> dict[str, Any]:
    return {name: body for name, body in template["Resources"].items() if body["Type"] == kind}


def statements(template: Template, role: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in template["Resources"][role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def actions(template: Template, role: str) -> set[str]:
    found: set[str] = set()
    for statement in statements(template, role):
        action = statement["Action"]
        found |= {action} if isinstance(action, str) else set(action)
    return found


def test_nothing_gets_in_and_only_https_gets_out(template: Template) -> None:
    (group,) = of_type(template, "AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group["Properties"]
    (egress,) = group["Properties"]["SecurityGroupEgress"]
    assert (egress["IpProtocol"], egress["FromPort"], egress["ToPort"]) == ("tcp", 443, 443)
    assert not of_type(template, "AWS::EC2::SecurityGroupIngress")


def test_an_instance_that_shuts_down_is_gone_with_its_volume(template: Template) -> None:
    data = template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    (mapping,) = data["BlockDeviceMappings"]
    assert mapping["Ebs"] == {"VolumeType": "gp3", "VolumeSize": 100, "Encrypted": True, "DeleteOnTermination": True}


def test_instance_metadata_needs_a_token_and_stays_on_the_box(template: Template) -> None:
    options = template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["MetadataOptions"]
    assert options["HttpTokens"] == "required"
    assert options["HttpPutResponseHopLimit"] == 1


def test_the_bucket_is_closed_encrypted_versioned_and_outlives_the_stack(template: Template) -> None:
    bucket = template["Resources"]["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    properties = bucket["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["NotificationConfiguration"]["EventBridgeConfiguration"]["EventBridgeEnabled"] is True
    policy = template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in [statement["Condition"] for statement in policy]
    assert {statement["Effect"] for statement in policy} == {"Deny"}


def test_an_agent_has_no_right_on_ec2_or_sns_and_deletes_nothing(template: Template) -> None:
    assert actions(template, "InstanceRole") == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:ListBucket",
    }
    for statement in statements(template, "InstanceRole"):
        if "s3:PutObject" in statement["Action"]:
            assert "cached-datasets" not in json.dumps(statement["Resource"])


def test_the_watchdog_ends_only_what_has_our_tags_and_our_profile(template: Template) -> None:
    (terminate,) = [s for s in statements(template, "WatchdogRole") if "ec2:TerminateInstances" in s["Action"]]
    tags = {key.split("/")[1] for key in terminate["Condition"]["StringEquals"]}
    assert tags == {"Project", "Environment", "ManagedBy"}
    assert terminate["Condition"]["ArnEquals"] == {"ec2:InstanceProfile": {"Fn::GetAtt": ["InstanceProfile", "Arn"]}}
    wildcards = [s["Action"] for s in statements(template, "WatchdogRole") if s["Resource"] == "*"]
    assert wildcards == [["ec2:DescribeInstances", "ec2:DescribeVolumes", "ec2:DescribeNetworkInterfaces"]]


@pytest.mark.parametrize("role", ["InstanceRole", "WatchdogRole", "SweepScheduleRole"])
def test_no_role_may_do_everything_of_a_service(template: Template, role: str) -> None:
    assert not [action for action in actions(template, role) if action.endswith("*")]


def test_locks_alone_wake_the_state_function(template: Template) -> None:
    pattern = template["Resources"]["StateWritten"]["Properties"]["Events"]["LockWritten"]["Properties"]["Pattern"]
    exact, lanes = pattern["detail"]["object"]["key"]
    environment = {"${Environment}": "dev"}
    assert exact["Fn::Sub"].replace(*environment.popitem()) == Lane("dev").state_key
    assert lanes["wildcard"]["Fn::Sub"] == "${Environment}/lanes/*/system-state.json"
    assert Lane("dev", "x").state_key == "dev/lanes/x/system-state.json"


def test_every_queue_is_encrypted_and_every_log_ends_after_a_month(template: Template) -> None:
    for queue in of_type(template, "AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
    logs = of_type(template, "AWS::Logs::LogGroup")
    assert len(logs) == len(of_type(template, "AWS::Serverless::Function"))
    assert {log["Properties"]["RetentionInDays"] for log in logs.values()} == {30}


def test_subnets_lie_in_three_zones(template: Template) -> None:
    zones = [
        subnet["Properties"]["AvailabilityZone"]["Fn::Select"][0]
        for subnet in of_type(template, "AWS::EC2::Subnet").values()
    ]
    assert sorted(zones) == [0, 1, 2]


def test_everything_that_takes_tags_has_ours(template: Template) -> None:
    untaggable = {
        "AWS::EC2::VPCGatewayAttachment", "AWS::EC2::Route", "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::Subscription", "AWS::IAM::InstanceProfile",
    }  # fmt: skip
    for name, body in template["Resources"].items():
        if body["Type"] in untaggable:
            continue
        if body["Type"] == "AWS::Serverless::Function":
            assert set(template["Globals"]["Function"]["Tags"]) == {"Project", "Environment", "CostCenter"}
            continue
        properties = body["Properties"]
        tags = properties["Tags"] if "Tags" in properties else properties["TagSpecifications"][0]["Tags"]
        assert {"Project", "Environment", "CostCenter"} <= {tag["Key"] for tag in tags}, name


def test_the_outputs_that_the_command_line_reads(template: Template) -> None:
    assert set(template["Outputs"]) == {
        "Environment", "Bucket", "Project", "CostCenter", "InstanceType", "SubnetIds", "LaunchTemplateId",
        "InstanceProfileArn", "TopicArn", "LimitOverrides", "StateWrittenFunction", "InstanceChangedFunction",
        "SweepFunction",
    }  # fmt: skip


def test_each_function_is_handled_by_a_module_that_exists(template: Template) -> None:
    functions = of_type(template, "AWS::Serverless::Function")
    assert set(functions) == {"StateWritten", "InstanceChanged", "Sweep"}
    for body in functions.values():
        package, module, name = body["Properties"]["Handler"].split(".")
        assert f"def {name}(" in (ROOT / package / f"{module}.py").read_text()
        assert body["Metadata"] == {"BuildMethod": "makefile", "ContextPath": ".", "WorkingDirectory": "."}


@pytest.mark.parametrize("table", ["default", "stage", "prod", "local"])
def test_samconfig_deploys_each_environment_under_its_name(table: str) -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    environment = "dev" if table == "default" else table
    parameters = config[table]["deploy"]["parameters"]
    assert parameters["stack_name"] == f"chronos-ec2-{environment}"
    assert f"Environment={environment}" in parameters["parameter_overrides"]
    assert parameters["resolve_s3"] is True
    assert config["default"]["build"]["parameters"]["cached"] is False


def test_the_local_limits_are_limits_and_wait_for_less() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    (override,) = [
        entry for entry in config["local"]["deploy"]["parameters"]["parameter_overrides"] if "LimitOverrides" in entry
    ]
    limits = parse_limits(override.removeprefix("LimitOverrides=").strip('"').replace('\\"', '"'))
    assert limits.progress < Limits().progress
    assert limits.lease > 5 * limits.beat
