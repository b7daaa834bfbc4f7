"""Updating a live stack replaces nothing that runs, records and people depend on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from verification.template.synthesis import synthesised

Template = dict[str, Any]

# With a new address its subscription is a new one: that is what was asked for.
MEANT = {("EmailSubscription", "Endpoint"), ("AlarmEmailSubscription", "Endpoint")}
# Zones are only appended. CloudFormation refuses to move a subnet to another zone, because its CIDR block is taken.
REFUSED = {(f"Subnet{letter}", "AvailabilityZone") for letter in "ABCDEF"}


def named(value: Any) -> Iterator[str]:
    """What an expression depends on: parameters, resources and conditions."""
    match value:
        case {"Ref": name}:
            yield name
        case {"Fn::GetAtt": [name, *_]}:
            yield name
        case {"Fn::If": [condition, *branches]}:
            yield condition
            yield from named(branches)
        case {"Fn::Sub": text} if isinstance(text, str):
            yield from (name.partition(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text))
        case {"Fn::Sub": [text, names]}:
            yield from (name for name in named({"Fn::Sub": text}) if name not in names)
            yield from named(names)
        case dict():
            for item in value.values():
                yield from named(item)
        case list():
            for item in value:
                yield from named(item)


def replacing(source: Template) -> Iterator[tuple[str, str, Any]]:
    """(resource, property, value) of every property whose change makes CloudFormation replace the resource."""
    for name, body in source["Resources"].items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", body["Type"]).schema
        for path in schema.get("createOnlyProperties", ()):
            property_name = path.removeprefix("/properties/").partition("/")[0]
            if property_name in body.get("Properties", {}):
                yield name, property_name, body["Properties"][property_name]


def test_the_schemas_know_what_would_be_replaced(source: Template) -> None:
    found = {(name, property_name) for name, property_name, _ in replacing(source)}
    assert {("Topic", "TopicName"), ("Vpc", "CidrBlock"), ("SubnetA", "AvailabilityZone")} <= found
    assert {("Sweep", "FunctionName"), ("DeadlineGroup", "Name"), ("SweepLogs", "LogGroupName")} <= found


def test_no_parameter_replaces_anything(source: Template) -> None:
    chosen = {*source["Parameters"], *source["Conditions"]}
    guilty = {(name, prop) for name, prop, value in replacing(source) if chosen & set(named(value))}
    assert guilty == MEANT | REFUSED


def test_more_zones_change_nothing_about_those_that_there_are() -> None:
    for names in ("", "us-east-1b,us-east-1d,us-east-1f"):
        before = synthesised(parameters={"ZoneCount": "3", "Zones": names}, zones="abcdef")
        appended = f"{names},us-east-1a" if names else ""
        after = synthesised(parameters={"ZoneCount": "4", "Zones": appended}, zones="abcdef")
        for name in ("SubnetA", "SubnetB", "SubnetC"):
            assert before[name] == after[name]
        assert after.keys() - before.keys() == {"SubnetD", "SubnetDRoutes"}


def test_what_a_live_stack_lives_on_has_no_condition_but_the_bucket_and_further_zones(source: Template) -> None:
    conditional = {name: body["Condition"] for name, body in source["Resources"].items() if "Condition" in body}
    assert conditional == {
        **{
            f"Subnet{letter}{part}": f"{count}Zones"
            for letter, count in zip("BCDEF", ("Two", "Three", "Four", "Five", "Six"), strict=True)
            for part in ("", "Routes")
        },
        "Bucket": "MakeBucket",
        "BucketPolicy": "MakeBucket",
        "EmailSubscription": "NotifyByEmail",
        "AlarmEmailSubscription": "NotifyByEmail",
        "WatchdogDashboard": "MakeDashboard",
        "InstanceDoesNotEnd": "MakeMetrics",
        **{name: "MakeMetrics" for name, body in source["Resources"].items() if body["Type"].endswith("MetricFilter")},
        "AgentCloudWatchLogs": "AgentLogsInCloudWatch",
    }


def test_runs_that_are_launched_next_take_the_newest_launch_template(source: Template) -> None:
    assert "LaunchTemplateName" not in source["Resources"]["LaunchTemplate"]["Properties"]


def test_what_aws_names_by_itself_can_be_replaced_beside_the_old_one(source: Template) -> None:
    names = {"RoleName", "ManagedPolicyName", "InstanceProfileName", "QueueName", "BucketName", "GroupName"}
    for name, body in source["Resources"].items():
        if body["Type"] != "AWS::Scheduler::Schedule":
            assert not names & set(body.get("Properties", {})), name
