"""The tags that launch writes are those that the rights ask for, and no right reaches further than it must."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from chronos_ec2.domain.instance import HOLD, MANAGED_BY, owner_tags
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import incident_key, run_key
from verification.template.scans import policies
from verification.template.synthesis import synthesised

Template = dict[str, Any]
RUN_ID = "20260131T120000Z-1a2b3c"
PROFILE = "arn:aws:iam::123456789012:instance-profile/chronos-ec2-dev-instanceprofile"


def statements_of(stack: Template, who: str) -> list[dict[str, Any]]:
    properties = stack[who]["Properties"]
    document = (
        properties["PolicyDocument"] if "PolicyDocument" in properties else properties["Policies"][0]["PolicyDocument"]
    )
    return list(document["Statement"])


def of(stack: Template, who: str, action: str) -> dict[str, Any]:
    (found,) = [one for one in statements_of(stack, who) if action in one["Action"]]
    return dict(found)


def statement(template: Template, role: str, action: str) -> dict[str, Any]:
    statements = template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (found,) = [one for one in statements if action in one["Action"]]
    return dict(found)


def test_the_watchdog_may_end_what_launch_tags(template: Template) -> None:
    stands_for = {"Project": {"Ref": "ProjectTag"}, "Environment": {"Ref": "Environment"}, "ManagedBy": MANAGED_BY}
    condition = statement(template, "WatchdogRole", "ec2:TerminateInstances")["Condition"]["StringEquals"]
    assert condition == {f"aws:ResourceTag/{name}": stands_for[name] for name in owner_tags("p", "e")}


def test_launch_and_watchdog_use_the_same_project(template: Template) -> None:
    given = template["Globals"]["Function"]["Environment"]["Variables"]
    assert given["PROJECT"] == template["Outputs"]["Project"]["Value"] == {"Ref": "ProjectTag"}
    assert given["ENVIRONMENT"] == template["Outputs"]["Environment"]["Value"] == {"Ref": "Environment"}


def test_looking_at_ec2_has_no_condition_because_ec2_knows_none(template: Template) -> None:
    look = statement(template, "WatchdogRole", "ec2:DescribeInstances")
    assert set(look) == {"Sid", "Effect", "Action", "Resource"}


def test_the_image_has_the_driver_and_torch(template: Template) -> None:
    image = template["Parameters"]["ImageIdParameter"]["Default"]
    assert "deeplearning" in image
    assert "nvidia-driver" in image
    assert "pytorch" in image


def test_an_agent_writes_in_the_runs_of_its_environment_alone(stack: Template) -> None:
    bucket = stack["BucketPolicy"]["Properties"]["Bucket"]
    statements = (one for one in statements_of(stack, "InstanceRole") if one["Effect"] == "Allow")
    writes = [one for one in statements if "s3:PutObject" in one["Action"]]
    assert len(writes) == 2
    for one in writes:
        for resource in one["Resource"]:
            assert resource.startswith(f"arn:aws:s3:::{bucket}/dev/????????T??????Z-??????/")


def test_the_watchdog_deletes_locks_and_markers_and_nothing_that_a_run_made(stack: Template) -> None:
    allowed = of(stack, "WatchdogRole", "s3:DeleteObject")["Resource"]
    bucket = stack["BucketPolicy"]["Properties"]["Bucket"]

    def deletes(key: str) -> bool:
        return any(fnmatchcase(f"arn:aws:s3:::{bucket}/{key}", pattern) for pattern in allowed)

    assert deletes(Lane("dev").state_key)
    assert deletes(Lane("dev", "x").state_key)
    assert deletes(incident_key("dev", RUN_ID, "failed", 1))
    assert deletes(incident_key("dev", "i-0123456789abcdef0", "orphan", None))
    assert not deletes(run_key("dev", RUN_ID, "state.json"))
    assert not deletes(run_key("dev", RUN_ID, "models/model.safetensors"))
    assert not deletes(incident_key("prod", RUN_ID, "failed", 1))


def test_the_deadline_ends_our_instances_even_without_their_tags(stack: Template) -> None:
    (terminate,) = stack["DeadlineRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert terminate["Action"] == "ec2:TerminateInstances"
    assert terminate["Condition"] == {"ArnEquals": {"ec2:InstanceProfile": PROFILE}}
    assert (
        terminate["Condition"]["ArnEquals"]
        == of(stack, "WatchdogRole", "ec2:TerminateInstances")["Condition"]["ArnEquals"]
    )


@pytest.mark.parametrize(
    ("role", "group"),
    [
        ("DeadlineRole", "DeadlineGroup"),
        ("SweepScheduleRole", "ScheduleGroup"),
        ("RunScheduleRole", "RunScheduleGroup"),
    ],
)
def test_a_scheduler_role_serves_the_schedules_of_its_group_alone(stack: Template, role: str, group: str) -> None:
    (trust,) = stack[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    name = stack[group]["Properties"]["Name"]
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "123456789012",
        "aws:SourceArn": f"arn:aws:scheduler:us-east-1:123456789012:schedule-group/{name}",
    }


def test_roles_trust_one_service_each(stack: Template) -> None:
    trusted = {
        name: body["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"]
        for name, body in stack.items()
        if body["Type"] == "AWS::IAM::Role"
    }
    assert trusted == {
        "InstanceRole": "ec2.amazonaws.com",
        "WatchdogRole": "lambda.amazonaws.com",
        "LauncherRole": "lambda.amazonaws.com",
        "DeadlineRole": "scheduler.amazonaws.com",
        "SweepScheduleRole": "scheduler.amazonaws.com",
        "RunScheduleRole": "scheduler.amazonaws.com",
    }


@pytest.mark.parametrize("who", ["LauncherRole", "LaunchPolicy"])
def test_nothing_starts_that_the_watchdog_could_not_end(stack: Template, who: str) -> None:
    launches = [one for one in statements_of(stack, who) if one["Action"] == "ec2:RunInstances"]
    (instance,) = [one for one in launches if str(one["Resource"]).endswith(":instance/*")]
    ours = {f"aws:RequestTag/{key}": value for key, value in owner_tags("Chronos-Training", "dev").items()}
    assert instance["Condition"]["StringEquals"] == ours | {"ec2:MetadataHttpTokens": "required"}
    assert instance["Condition"]["ArnEquals"]["ec2:InstanceProfile"] == PROFILE
    (others,) = [one for one in launches if "volume" in str(one["Resource"])]
    assert others["Condition"]["StringEquals"] == ours
    for one in launches:
        for resource in [one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"]:
            kind = resource.rpartition(":")[2]
            assert one.get("Condition") or "*" not in kind, "what has no condition is named"


@pytest.mark.parametrize("who", ["LauncherRole", "LaunchPolicy"])
def test_nobody_tags_anything_but_at_its_launch_except_that_people_hold_it(stack: Template, who: str) -> None:
    tags = [one for one in statements_of(stack, who) if "Tags" in json.dumps(one["Action"])]
    assert tags[0]["Condition"] == {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
    assert "ec2:DeleteTags" not in tags[0]["Action"]
    assert {one["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"] for one in tags[1:]} == (
        {HOLD} if who == "LaunchPolicy" else set()
    )


def test_only_the_launcher_and_people_start_instances(stack: Template) -> None:
    may = {
        place.partition(".")[0] for place, policy in policies(stack).items() if "ec2:RunInstances" in json.dumps(policy)
    }
    assert may == {"LauncherRole", "LaunchPolicy"}


def test_each_role_is_passed_to_its_own_service(stack: Template) -> None:
    passed = {
        (one["Resource"].rpartition("/")[2], one["Condition"]["StringEquals"]["iam:PassedToService"])
        for policy in policies(stack).values()
        for one in policy["Statement"]
        if one["Action"] == "iam:PassRole"
    }
    assert passed == {
        ("chronos-ec2-dev-instancerole", "ec2.amazonaws.com"),
        ("chronos-ec2-dev-deadlinerole", "scheduler.amazonaws.com"),
        ("chronos-ec2-dev-runschedulerole", "scheduler.amazonaws.com"),
    }


def test_deadlines_are_kept_in_their_group_alone(stack: Template) -> None:
    both = ["scheduler:CreateSchedule", "scheduler:DeleteSchedule"]
    for who, may in (("WatchdogRole", both), ("OperatorPolicy", both), ("LauncherRole", both[0])):
        keep = of(stack, who, "scheduler:CreateSchedule")
        assert keep["Action"] == may
        group = stack["DeadlineGroup"]["Properties"]["Name"]
        assert keep["Resource"] == f"arn:aws:scheduler:us-east-1:123456789012:schedule/{group}/*"


def test_an_operator_only_looks_at_the_stack(stack: Template) -> None:
    actions = [one for one in statements_of(stack, "OperatorPolicy") if "cloudformation" in json.dumps(one)]
    assert [one["Action"] for one in actions] == ["cloudformation:DescribeStacks"]


def test_policies_stay_below_the_size_that_iam_takes() -> None:
    key = f"arn:aws:kms:us-east-1:123456789012:key/mrk-{'0' * 32}"
    chosen = {"Environment": "e" * 31, "BucketName": "b" * 63, "ProjectTag": "p" * 64, "VolumeKeyArn": key}
    longest = synthesised(parameters=chosen | {"ZoneCount": "6", "AgentLogs": "cloudwatch"}, zones="abcdef")
    for place, policy in policies(longest).items():
        text = json.dumps(policy, separators=(",", ":"))
        # The stack's name, which is in most others, is 28 characters longer than here; to those of roles and profiles
        # AWS adds 13. The longest region is ap-southeast-1.
        text = re.sub(r"(?<=chronos-ec2-dev-)(instanceprofile|\w+role)", r"\1-0123456789ab", text)
        text = text.replace("chronos-ec2-dev", f"chronos-ec2-{'e' * 31}").replace("us-east-1", "ap-southeast-1")
        size = len(text)
        assert size < (6144 if place in ("OperatorPolicy", "LaunchPolicy", "SchedulePolicy") else 10240), place
