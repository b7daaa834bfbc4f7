"""What the template promises about security and about the command line's contract."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlencode

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import EXPIRES
from chronos_ec2.domain.limits import LAUNCH_SLOT, LAUNCHER_TIMEOUT, TAKE_OVER_AFTER, Limits
from chronos_ec2.domain.records.lane import CACHED, Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.local.sam_cli import sam
from chronos_ec2.settings import parse_limits
from chronos_ec2.testing.builders import a_heartbeat
from tests.template.conftest import ROOT
from tools.cost_table import CHECKPOINT_DAYS
from verification.template.scans import policies
from verification.template.synthesis import synthesised

Template = dict[str, Any]
RUN_ID = "20260131T120000Z-1a2b3c"
OWN_KEY = "arn:aws:kms:us-east-1:123456789012:key/1a2b3c4d-0000-0000-0000-000000000000"


def of_type(template: Template, kind: str) -> dict[str, Any]:
    return {name: body for name, body in template["Resources"].items() if body["Type"] == kind}


def functions_of(stack: Template) -> dict[str, Any]:
    return {name: body for name, body in stack.items() if body["Type"] == "AWS::Lambda::Function"}


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


def test_a_launcher_has_ended_before_another_takes_over(template: Template) -> None:
    timeout = template["Resources"]["Launcher"]["Properties"]["Timeout"]
    assert timeout == LAUNCHER_TIMEOUT.total_seconds() == LAUNCH_SLOT.total_seconds()
    assert TAKE_OVER_AFTER.total_seconds() >= timeout + 60


def test_nothing_gets_in_and_only_https_gets_out(template: Template) -> None:
    (group,) = of_type(template, "AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group["Properties"]
    (egress,) = group["Properties"]["SecurityGroupEgress"]
    assert (egress["IpProtocol"], egress["FromPort"], egress["ToPort"]) == ("tcp", 443, 443)
    assert not of_type(template, "AWS::EC2::SecurityGroupIngress")


def root_volume(stack: Template) -> dict[str, Any]:
    (mapping,) = stack["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"]
    return dict(mapping["Ebs"])


def test_an_instance_that_shuts_down_is_gone_with_its_volume(stack: Template) -> None:
    data = stack["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert root_volume(stack)["DeleteOnTermination"] is True


def test_the_root_volume_has_a_named_key_whatever_the_accounts_default_is() -> None:
    by_default = {"VolumeType": "gp3", "VolumeSize": 100, "Encrypted": True, "DeleteOnTermination": True,
                  "KmsKeyId": "alias/aws/ebs"}  # fmt: skip
    assert root_volume(synthesised()) == by_default
    chosen = {"VolumeSize": "500", "VolumeInitializationRate": "200", "VolumeKeyArn": OWN_KEY}
    assert root_volume(synthesised(parameters=chosen)) == by_default | {
        "VolumeSize": "500", "VolumeInitializationRate": "200", "KmsKeyId": OWN_KEY,
    }  # fmt: skip


def test_roles_may_use_a_key_only_where_one_is_given() -> None:
    own = synthesised(parameters={"VolumeKeyArn": OWN_KEY})
    assert {place.partition(".")[0] for place, policy in policies(own).items() if OWN_KEY in json.dumps(policy)} == {
        "LauncherRole", "LaunchPolicy",
    }  # fmt: skip
    assert "kms:" not in json.dumps(policies(synthesised()))


def test_instance_metadata_needs_a_token_and_stays_on_the_instance(template: Template) -> None:
    options = template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["MetadataOptions"]
    assert options["HttpTokens"] == "required"
    assert options["HttpPutResponseHopLimit"] == 1


def test_the_bucket_is_closed_encrypted_versioned_and_outlives_the_stack(template: Template) -> None:
    bucket = template["Resources"]["Bucket"]
    # A first deployment that fails takes its bucket with it, and can be tried again under the same name.
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    properties = bucket["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["NotificationConfiguration"]["EventBridgeConfiguration"]["EventBridgeEnabled"] is True
    policy = template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in [statement["Condition"] for statement in policy]
    assert {statement["Effect"] for statement in policy} == {"Deny"}


def test_a_lock_is_never_written_or_deleted_without_a_condition(stack: Template) -> None:
    refused = {
        statement["Action"]: statement
        for statement in stack["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if statement["Sid"].startswith("Locks")
    }
    assert refused["s3:PutObject"]["Condition"] == {"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}}
    assert refused["s3:DeleteObject"]["Condition"] == {"Null": {"s3:if-match": "true"}}
    bucket = stack["BucketPolicy"]["Properties"]["Bucket"]
    for statement in refused.values():
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        for lane in (Lane("dev"), Lane("prod", "x")):
            assert fnmatchcase(f"arn:aws:s3:::{bucket}/{lane.state_key}", statement["Resource"])
        assert not fnmatchcase(f"arn:aws:s3:::{bucket}/{run_key('dev', RUN_ID, 'state.json')}", statement["Resource"])


def test_the_bucket_forgets_what_is_tagged_so_and_the_uploads_of_checkpoints_are(stack: Template) -> None:
    rules = stack["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    (rule,) = (rule for rule in rules if "ExpirationInDays" in rule)
    tags = {tag["Key"]: tag["Value"] for tag in rule["TagFilters"]}
    assert urlencode(tags) == EXPIRES
    # In a bucket with versions what expires becomes an old version, and its bytes stay until that goes.
    assert rule["ExpirationInDays"] + rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == CHECKPOINT_DAYS


def test_unfinished_uploads_are_dropped_after_two_days(stack: Template) -> None:
    rules = stack["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    found = [rule["AbortIncompleteMultipartUpload"] for rule in rules if "AbortIncompleteMultipartUpload" in rule]
    assert found == [{"DaysAfterInitiation": 2}]


def test_the_bucket_keeps_old_versions_for_a_month_old_heartbeats_for_a_week_and_no_expired_markers(
    stack: Template,
) -> None:
    rules = stack["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    of_all, of_beats = (rule for rule in rules if "NoncurrentVersionExpiration" in rule and "TagFilters" not in rule)
    assert of_all["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert of_all["ExpiredObjectDeleteMarker"] is True
    assert of_beats["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7, "NewerNoncurrentVersions": 20}
    assert int(of_beats["ObjectSizeLessThan"]) >= 4 * len(a_heartbeat().to_json())


def test_s3_takes_no_two_rules_for_the_same_action_on_the_same_objects(stack: Template) -> None:
    actions = ("NoncurrentVersionExpiration", "ExpirationInDays", "AbortIncompleteMultipartUpload")
    rules = stack["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    for action in actions:
        of = [(str(rule.get("TagFilters")), rule.get("ObjectSizeLessThan")) for rule in rules if action in rule]
        assert len(of) == len(set(of)), action


def test_an_agent_has_no_right_on_ec2_or_sns_and_deletes_nothing(stack: Template) -> None:
    as_it_comes, with_everything = {"Resources": synthesised()}, {"Resources": stack}
    assert actions(as_it_comes, "InstanceRole") == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:PutObjectTagging",
        "s3:AbortMultipartUpload",
        "s3:ListBucket",
    }
    copying = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert actions(with_everything, "InstanceRole") - actions(as_it_comes, "InstanceRole") == copying
    for statement in statements(with_everything, "InstanceRole"):
        if "s3:PutObject" in statement["Action"]:
            assert "cached-datasets" not in json.dumps(statement["Resource"])


def test_the_watchdog_ends_only_what_has_our_tags_and_our_profile(template: Template) -> None:
    (terminate,) = [s for s in statements(template, "WatchdogRole") if "ec2:TerminateInstances" in s["Action"]]
    tags = {key.split("/")[1] for key in terminate["Condition"]["StringEquals"]}
    assert tags == {"Project", "Environment", "ManagedBy"}
    assert terminate["Condition"]["ArnEquals"] == {"ec2:InstanceProfile": {"Fn::GetAtt": ["InstanceProfile", "Arn"]}}


def test_only_lists_that_know_no_narrower_right_reach_everything(stack: Template) -> None:
    wide = {
        action
        for policy in policies(stack).values()
        for statement in policy["Statement"]
        if statement.get("Resource") == "*"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert wide == {
        "ec2:DescribeInstances", "ec2:DescribeVolumes", "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSpotInstanceRequests", "scheduler:ListSchedules", "ec2:DescribeInstanceTypes",
        "servicequotas:GetServiceQuota", "ec2:DescribeSpotPriceHistory", "pricing:GetProducts", "ec2:DescribeImages",
        "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeSubnets",
        "ec2:GetEbsEncryptionByDefault", "cloudwatch:DescribeAlarms",
    }  # fmt: skip


def test_nobody_is_allowed_everything_of_a_service(stack: Template) -> None:
    for place, policy in policies(stack).items():
        for statement in policy["Statement"]:
            if statement["Effect"] == "Allow":
                assert "*" not in json.dumps(statement["Action"]), place


def test_messages_rest_encrypted_and_travel_encrypted(template: Template, stack: Template) -> None:
    for queue in of_type(template, "AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
    assert template["Resources"]["Topic"]["Properties"]["KmsMasterKeyId"] == "alias/aws/sns"
    kinds = ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    guarded = [body["Properties"] for body in stack.values() if body["Type"] in kinds]
    assert len(guarded) == len(
        [body for body in stack.values() if body["Type"] in ("AWS::SQS::Queue", "AWS::SNS::Topic")]
    )
    for properties in guarded:
        refusals = [s for s in properties["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
        assert [s["Condition"] for s in refusals] == [{"Bool": {"aws:SecureTransport": "false"}}]


def test_logs_stay_for_a_month_where_nothing_stays_after_the_stack(template: Template, stack: Template) -> None:
    logs = of_type(template, "AWS::Logs::LogGroup")
    functions = of_type(template, "AWS::Serverless::Function")
    written = {body["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] for body in functions.values()}
    assert written | {"AgentCloudWatchLogs"} == set(logs)
    for log in logs.values():
        assert log["Properties"]["RetentionInDays"] == 30
        assert log["DeletionPolicy"] == "Delete"
    for role in ("WatchdogRole", "LauncherRole"):
        # Otherwise a function that ends after its log group would make it again, and for good.
        assert "logs:CreateLogGroup" not in actions({"Resources": stack}, role)


def test_the_stack_leaves_nothing_but_its_bucket(source: Template) -> None:
    kept = {name for name, body in source["Resources"].items() if body.get("DeletionPolicy", "").startswith("Retain")}
    assert kept == {"Bucket", "BucketPolicy"}


NAMED = ["us-east-1b", "us-east-1d", "us-east-1f", "us-east-1a", "us-east-1c", "us-east-1e"]


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("names", [None, NAMED])
def test_each_zone_has_a_subnet_with_a_route_and_launches_know_all_of_them(count: int, names: list[str] | None) -> None:
    parameters = {"ZoneCount": str(count)} | ({"Zones": ",".join(names[:count])} if names else {})
    stack = synthesised(parameters=parameters, zones="abcdef"[:count])
    subnets = [body["Properties"] for body in stack.values() if body["Type"] == "AWS::EC2::Subnet"]
    regions_own = [f"us-east-1{letter}" for letter in "abcdef"]
    assert [subnet["AvailabilityZone"] for subnet in subnets] == (names or regions_own)[:count]
    assert len({subnet["CidrBlock"] for subnet in subnets}) == count
    known = stack["Launcher"]["Properties"]["Environment"]["Variables"]["SUBNET_IDS"].split(",")
    assert known == [f"subnet-chronos-ec2-dev-subnet{letter}" for letter in "abcdef"[:count]]
    routed = [b["Properties"] for b in stack.values() if b["Type"] == "AWS::EC2::SubnetRouteTableAssociation"]
    assert [route["SubnetId"] for route in routed] == known


def test_a_zone_that_is_not_named_is_an_error_and_no_subnet_elsewhere() -> None:
    with pytest.raises(IndexError):
        synthesised(parameters={"ZoneCount": "3", "Zones": "us-west-1a,us-west-1c"})


def test_zones_are_given_by_name(template: Template) -> None:
    pattern = template["Parameters"]["Zones"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, zone) for zone in ("us-east-1a", "ap-southeast-2c", "us-gov-west-1b"))
    assert not any(
        re.fullmatch(pattern, zone) for zone in ("us-east-1", "use1-az1", "us-east-1a b", "us-east-1-bos-1a")
    )


MADE_WITHOUT_TAGS = ("AWS::Events::Rule", "AWS::Lambda::EventSourceMapping")
"""SAM makes them, and its events have no property for tags; CloudFormation's documentation has those of a rule for ECS
targets alone. The tags of the stack, which samconfig.toml has, reach them."""


def test_everything_that_takes_tags_has_ours(stack: Template) -> None:
    for name, body in stack.items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", body["Type"]).schema
        if body["Type"] == "AWS::EC2::LaunchTemplate":
            tags = body["Properties"]["TagSpecifications"][0]["Tags"]
        elif not schema["tagging"]["taggable"] or body["Type"] in MADE_WITHOUT_TAGS:
            continue
        else:
            tags = body["Properties"].get("Tags", [])
        assert {"Project", "Environment", "CostCenter"} <= {tag["Key"] for tag in tags}, name


def test_what_a_launch_makes_is_tagged_even_by_the_template_alone(template: Template) -> None:
    data = template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    assert [one["ResourceType"] for one in data["TagSpecifications"]] == ["instance", "volume", "network-interface"]
    for one in data["TagSpecifications"]:
        assert {tag["Key"] for tag in one["Tags"]} == {"Project", "Environment", "CostCenter"}


def test_the_outputs_that_the_command_line_reads(template: Template) -> None:
    assert set(template["Outputs"]) == {
        "Environment", "Bucket", "Project", "CostCenter", "InstanceType", "InstanceTypes", "MaxTypesPerRun",
        "MaxRunHours", "VolumeSize", "AgentPackages", "AgentLogGroup", "SubnetIds", "LaunchTemplateId",
        "InstanceProfileArn", "TopicArn", "AlarmTopicArn",
        "DeadlineGroup", "DeadlineRoleArn", "OperatorPolicyArn", "LaunchPolicyArn", "LimitOverrides",
        "Version", "StateWrittenFunction", "InstanceChangedFunction", "SweepFunction", "LauncherFunction",
        "RunScheduleGroup", "RunScheduleRoleArn", "LauncherFunctionArn", "SchedulePolicyArn",
    }  # fmt: skip


def test_the_stack_has_the_version_of_the_package(template: Template) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert template["Outputs"]["Version"]["Value"] == project["version"]


def test_each_function_has_the_variables_that_it_needs(stack: Template) -> None:
    given = {name: body["Properties"]["Environment"]["Variables"] for name, body in functions_of(stack).items()}
    common = {"ENVIRONMENT", "BUCKET", "PROJECT", "COST_CENTER", "TOPIC_ARN", "DEADLINE_GROUP", "DEADLINE_ROLE_ARN",
              "LIMIT_OVERRIDES", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL", "INSTANCE_PROFILE_ARN",
              "MAX_RUN_HOURS"}  # fmt: skip
    for name, variables in given.items():
        launching = {"SUBNET_IDS", "LAUNCH_TEMPLATE_ID", "ALLOWED_INSTANCE_TYPES", "MAX_TYPES_PER_RUN", "STACK_ID"}
        own = launching if name == "Launcher" else {"LAUNCHER_FUNCTION"}
        assert set(variables) == common | own, name
    assert given["Sweep"]["LAUNCHER_FUNCTION"] == stack["Launcher"]["Properties"]["FunctionName"]
    assert len(given["Launcher"]["SUBNET_IDS"].split(",")) == 3
    assert given["Launcher"]["ALLOWED_INSTANCE_TYPES"].split(",") == allowed_types(stack)


def allowed_types(stack: Template) -> list[str]:
    """The instance types in the permission to launch."""
    statements = stack["LauncherRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (types,) = (
        one["Condition"]["StringLike"]["ec2:InstanceType"] for one in statements if one["Sid"] == "LaunchInstance"
    )
    return list(types)


def test_the_default_type_is_an_allowed_one_and_those_of_many_gpus_are_not(stack: Template) -> None:
    default = stack["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["InstanceType"]
    assert any(fnmatchcase(default, pattern) for pattern in allowed_types(stack))
    for kind in ("p4d.24xlarge", "p5.48xlarge", "p6-b200.48xlarge"):
        assert not any(fnmatchcase(kind, pattern) for pattern in allowed_types(stack))


def test_concurrency_is_reserved_only_where_it_is_asked_for() -> None:
    reserved = functions_of(synthesised(parameters={"ReservedConcurrency": "2"}))
    assert {body["Properties"]["ReservedConcurrentExecutions"] for body in reserved.values()} == {"2"}
    for body in functions_of(synthesised()).values():
        # A new account has 10 invocations at a time, and Lambda wants 100 that are nobody's.
        assert "ReservedConcurrentExecutions" not in body["Properties"]


@pytest.mark.parametrize("function", ["StateWritten", "InstanceChanged", "Sweep", "Launcher"])
def test_each_function_is_handled_by_a_module_that_exists(template: Template, function: str) -> None:
    package, module, name = template["Resources"][function]["Properties"]["Handler"].split(".")
    assert f"def {name}(" in (ROOT / package / f"{module}.py").read_text()


def test_each_function_is_built_by_the_makefile(template: Template) -> None:
    functions = of_type(template, "AWS::Serverless::Function")
    assert set(functions) == {"StateWritten", "InstanceChanged", "Sweep", "Launcher"}
    for body in functions.values():
        build = {key: value for key, value in body["Metadata"].items() if key != "checkov"}
        assert build == {"BuildMethod": "makefile", "ContextPath": ".", "WorkingDirectory": "."}


def test_every_parameter_is_described_checked_and_in_a_group(template: Template) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert parameter["Description"], name
        if parameter["Type"] == "Number":
            assert parameter["MinValue"] <= parameter["Default"] <= parameter["MaxValue"], name
        else:
            # CloudFormation compares each item of a list.
            default = str(parameter["Default"])
            items = default.split(",") if parameter["Type"] == "CommaDelimitedList" else [default]
            allowed = "AllowedValues" in parameter or all(
                re.fullmatch(parameter["AllowedPattern"], each) for each in items
            )
            assert allowed, name


def test_an_environment_is_not_named_like_what_all_of_them_share(template: Template) -> None:
    pattern = template["Parameters"]["Environment"]["AllowedPattern"]
    assert not re.fullmatch(pattern, CACHED)
    assert re.fullmatch(pattern, f"{CACHED}-2")


def test_an_exception_from_a_scan_has_its_reason_beside_it(template: Template) -> None:
    for body in template["Resources"].values():
        for scanner in ("checkov", "cloudsplaining"):
            for skip in body.get("Metadata", {}).get(scanner, {}).get("skip", ()):
                assert len(skip["comment"].split()) > 5


@pytest.mark.parametrize("table", ["default", "stage", "prod", "local"])
def test_samconfig_deploys_each_environment_under_its_name(table: str) -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    environment = "dev" if table == "default" else table
    parameters = config[table]["deploy"]["parameters"]
    assert parameters["stack_name"] == f"chronos-ec2-{environment}"
    assert f"Environment={environment}" in parameters["parameter_overrides"]
    tags = dict(tag.split("=") for tag in parameters["tags"])
    assert tags == {"Project": "Chronos-Training", "Environment": environment, "CostCenter": "train"}
    assert parameters["resolve_s3"] is True
    assert config["default"]["build"]["parameters"]["cached"] is False


def parsed_by_sam(overrides: list[str]) -> dict[str, str]:
    """What `sam deploy` makes of `parameter_overrides`."""
    code = (
        "import json, sys; from samcli.cli.types import CfnParameterOverridesType as Type; "
        "print(json.dumps(Type().convert(tuple(sys.argv[1:]), None, None)))"
    )
    python = str(sam().with_name("python"))
    done = subprocess.run([python, "-c", code, *overrides], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.thorough
def test_prod_is_deployed_the_same_each_time_because_it_names_every_parameter(template: Template) -> None:
    parameters = tomllib.loads((ROOT / "samconfig.toml").read_text())["prod"]["deploy"]["parameters"]
    named = parsed_by_sam(parameters["parameter_overrides"])
    defaults = {name: str(body["Default"]) for name, body in template["Parameters"].items()}
    assert named == defaults | {"Environment": "prod"}
    assert parameters["confirm_changeset"] is True


def test_the_local_limits_are_limits_and_wait_for_less() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    (override,) = [
        entry for entry in config["local"]["deploy"]["parameters"]["parameter_overrides"] if "LimitOverrides" in entry
    ]
    limits = parse_limits(override.removeprefix("LimitOverrides=").strip('"').replace('\\"', '"'))
    assert limits.progress < Limits().progress
    assert limits.lease > 5 * limits.heartbeat


def test_a_function_of_the_watchdog_outlives_a_call_that_nobody_answers(source: dict[str, Any]) -> None:
    config = client("ec2", brief=True).meta.config
    attempts = config.retries["total_max_attempts"]
    pauses = sum(2**number for number in range(attempts - 1))
    one_call = attempts * max(config.connect_timeout, config.read_timeout) + pauses
    for name in ("Sweep", "StateWritten", "InstanceChanged"):
        assert 2 * one_call < source["Resources"][name]["Properties"]["Timeout"], name


def test_an_ami_can_be_pinned_as_the_guide_to_deploying_says(template: Template) -> None:
    guide = (ROOT / "docs" / "deploying.md").read_text()
    parameter = template["Parameters"]["ImageIdParameter"]
    (own,) = set(re.findall(r"ImageIdParameter=(/[\w/-]+)", guide))
    assert re.fullmatch(parameter["AllowedPattern"], own)
    assert f"--name {own} " in guide
    assert f"LATEST={parameter['Default']}\n" in guide
