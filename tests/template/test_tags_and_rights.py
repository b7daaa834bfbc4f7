"""The tags that launch writes are those that the rights ask for, and no right reaches further than it must."""

from __future__ import annotations

from typing import Any

from chronos_ec2.domain.instance import MANAGED_BY, owner_tags

Template = dict[str, Any]


def statement(template: Template, role: str, action: str) -> dict[str, Any]:
    statements = template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (found,) = [one for one in statements if action in one["Action"]]
    return dict(found)


def test_the_watchdog_may_end_what_launch_tags(template: Template) -> None:
    stands_for = {"Project": {"Ref": "ProjectTag"}, "Environment": {"Ref": "Environment"}, "ManagedBy": MANAGED_BY}
    condition = statement(template, "WatchdogRole", "ec2:TerminateInstances")["Condition"]["StringEquals"]
    assert condition == {f"aws:ResourceTag/{name}": stands_for[name] for name in owner_tags("p", "e")}


def test_launch_and_watchdog_hear_of_one_project(template: Template) -> None:
    told = template["Globals"]["Function"]["Environment"]["Variables"]
    assert told["PROJECT"] == template["Outputs"]["Project"]["Value"] == {"Ref": "ProjectTag"}
    assert told["ENVIRONMENT"] == template["Outputs"]["Environment"]["Value"] == {"Ref": "Environment"}


def test_looking_at_ec2_has_no_condition_because_ec2_knows_none(template: Template) -> None:
    look = statement(template, "WatchdogRole", "ec2:DescribeInstances")
    assert set(look) == {"Sid", "Effect", "Action", "Resource"}


def test_the_image_has_the_driver(template: Template) -> None:
    image = template["Parameters"]["ImageIdParameter"]["Default"]
    assert "deeplearning" in image
    assert "nvidia-driver" in image


def test_an_agent_writes_in_its_environment_alone(template: Template) -> None:
    for resource in statement(template, "InstanceRole", "s3:PutObject")["Resource"]:
        assert resource["Fn::Sub"][0].startswith("arn:${AWS::Partition}:s3:::${Name}/${Environment}/")


def test_the_watchdog_keeps_records_of_its_environment_alone(template: Template) -> None:
    resource = statement(template, "WatchdogRole", "s3:DeleteObject")["Resource"]
    assert resource["Fn::Sub"][0] == "arn:${AWS::Partition}:s3:::${Name}/${Environment}/*"


def test_a_sweep_comes_every_minute_and_is_on(template: Template) -> None:
    schedules = [
        event["Properties"]
        for body in template["Resources"].values()
        for event in body["Properties"].get("Events", {}).values()
        if event["Type"].startswith("Schedule")
    ]
    schedules += [
        body["Properties"] for body in template["Resources"].values() if body["Type"] == "AWS::Scheduler::Schedule"
    ]
    (schedule,) = schedules
    assert "rate(1 minute)" in (schedule.get("ScheduleExpression"), schedule.get("Schedule"))
    assert schedule.get("State", "ENABLED") == "ENABLED"
