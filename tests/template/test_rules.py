"""Which events wake which function, decided as EventBridge decides, and what becomes of an event that is not taken."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from moto.events.models import EventPattern

from chronos_ec2.domain.records.lane import Lane
from tests.template.conftest import ROOT

Template = dict[str, Any]
EVENTS = ROOT / "events"
BUCKET = "chronos-ec2-dev-bucket"
ARN = "arn:aws:{service}:us-east-1:123456789012:{rest}"


def matches(pattern: Any, event: Any) -> bool:
    return bool(EventPattern.load(json.dumps(pattern)).matches_event(event))


# What AWS's guide has on each comparison: the pattern of `detail`, values that match, values that do not.
COMPARISONS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"a": ["x"]}, [{"a": "x"}, {"a": ["w", "x"]}, {"a": "x", "b": 1}], [{"a": "xy"}, {"a": "X"}, {"b": "x"}, {}]),
    ({"a": ["x", "y"]}, [{"a": "y"}], [{"a": "z"}]),
    ({"a": {"b": ["x"]}}, [{"a": {"b": "x"}}], [{"a": "x"}, {"b": "x"}, {"a": {"c": {"b": "x"}}}]),
    ({"a": [{"prefix": "dev/"}]}, [{"a": "dev/x"}], [{"a": "prod/dev/x"}, {}]),
    ({"a": [{"suffix": ".json"}]}, [{"a": "x.json"}], [{"a": "x.json.gz"}]),
    ({"a": [{"wildcard": "dev/*/s.json"}]}, [{"a": "dev/a/s.json"}, {"a": "dev//s.json"}, {"a": "dev/a/b/s.json"}],
     [{"a": "dev/s.json"}, {"a": "dev/a/s.jsonl"}, {"a": "dev/a/sxjson"}]),
    ({"a": [{"equals-ignore-case": "Dev"}]}, [{"a": "dEV"}], [{"a": "devs"}]),
    ({"a": [{"anything-but": ["x", "y"]}]}, [{"a": "z"}], [{"a": "x"}, {}]),
    ({"a": [{"anything-but": {"prefix": "x"}}]}, [{"a": "yx"}], [{"a": "xy"}]),
    ({"a": [{"exists": True}]}, [{"a": None}, {"a": 0}], [{}]),
    ({"a": [{"exists": False}]}, [{}, {"b": 1}], [{"a": 1}]),
    ({"a": [{"numeric": [">", 0, "<=", 5]}]}, [{"a": 5}, {"a": 0.1}], [{"a": 0}, {"a": 6}, {"a": "5"}]),
    ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, [{"a": "x"}, {"b": "y"}], [{"a": "y"}, {}]),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "taken", "left"), COMPARISONS, ids=lambda value: json.dumps(value)[:40])
def test_the_matcher_compares_as_eventbridge_does(pattern: Any, taken: list[Any], left: list[Any]) -> None:
    assert [matches({"detail": pattern}, {"detail": detail}) for detail in taken] == [True] * len(taken)
    assert [matches({"detail": pattern}, {"detail": detail}) for detail in left] == [False] * len(left)


def rules(stack: Template) -> dict[str, Any]:
    return {name: body["Properties"] for name, body in stack.items() if body["Type"] == "AWS::Events::Rule"}


def woken(stack: Template, event: Any) -> set[str]:
    """The rules that an event on the account's default bus matches."""
    return {name for name, rule in rules(stack).items() if matches(rule["EventPattern"], event)}


LOCK = "StateWrites"
STATE, SPOT, REBALANCE = (
    f"InstanceChanged{event}" for event in ("InstanceStateChanged", "SpotInterruption", "Rebalance")
)
DATA = "LauncherDataArrived"
GOLDEN = {
    "s3-object-created-state": LOCK,
    "s3-object-created-state-unversioned": LOCK,
    "s3-object-created-lane": LOCK,
    "s3-object-deleted-state": LOCK,
    "s3-object-deleted-state-unversioned": LOCK,
    "s3-object-deleted-state-lifecycle": LOCK,
    "s3-object-deleted-lane": LOCK,
    **{f"s3-object-created-{report}": LOCK for report in ("status", "claim", "outcome")},
    "s3-object-created-foreign": None,
    "s3-object-deleted-foreign": None,
    **{f"ec2-{state}": STATE for state in
       ("pending", "running", "shutting-down", "stopped", "stopping", "terminated")},
    "spot-interruption": SPOT,
    "rebalance": REBALANCE,
    # What Scheduler, Lambda and the watchdog give to a function themselves comes over no rule.
    "sweep-tick": None,
    "relaunch": None,
    "schedule-time": None,
    "schedule-after": None,
    "group-after": None,
    "s3-object-created-data": DATA,
    **{f"dlq-{name}": None for name in
       ("failed-instance-changed", "failed-instance-changed-twice", "failed-launcher", "failed-sweep")},
    **{f"sqs-{name}": None for name in ("state-event", "state-events")},
    "dlq-undelivered-state": LOCK,
    # No event of AWS is malformed. Those that a rule would still take are the functions' to refuse.
    **{f"malformed-{name}": None for name in
       ("batch", "detail-text", "dlq-payload", "empty", "key", "list", "no-detail", "source", "text",
        "types")},
    **{f"malformed-{name}": STATE for name in ("instance-id", "state")},
    "malformed-no-instance-id": SPOT,
}  # fmt: skip


def event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def test_every_golden_event_is_in_the_table() -> None:
    assert set(GOLDEN) == {path.stem for path in EVENTS.glob("*.json")}


@pytest.mark.parametrize("name", GOLDEN)
def test_an_example_event_matches_its_rule_and_no_other(stack: Template, name: str) -> None:
    assert woken(stack, event(name)) == ({GOLDEN[name]} - {None})


def changed(name: str, path: str, value: Any) -> Any:
    """A golden event with another value at a path like `detail/object/key`; without it if the value is None."""
    found = copy.deepcopy(event(name))
    *parents, last = path.split("|")
    place = found
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return found


KEY = "detail|object|key"
NEAR_MISSES = [
    *[("s3-object-created-state", KEY, key) for key in (
        "prod/system-state.json", "dev/system-state.json.bak", "dev/system-state.jso", "dev/System-State.json",
        "xdev/system-state.json", "/dev/system-state.json", "dev/x/system-state.json", "system-state.json",
        "dev/20260131T120000Z-1a2b3c/state.json", "dev/20260131T120000Z-1a2b3c/heartbeat.json",
        "dev/20260131T120000Z-1a2b3c/logs/trainer.log", "dev/unreadable/main-0123", "cached-datasets/system-state.json",
        "prod/lanes/nightly/system-state.json", "dev/lanes/system-state.json", "dev/lanes/nightly/system-state.json2",
        "dev/lane/nightly/system-state.json", "dev-2/lanes/nightly/system-state.json", "dev/status.json",
        "prod/20260131T120000Z-1a2b3c/status.json", "dev/20260131T120000Z-1a2b3c/status.json.bak",
        "dev/20260131T120000Z-1a2b3c/claims", "dev/20260131T120000Z-1a2b3c/run.json", "dev/claims/1.json",
    )],
    *[("s3-object-created-data", KEY, key) for key in (
        "cached-datasets/prod/training-data/sales/_SUCCESS", "cached-datasets/dev/training-data/sales/a.parquet",
        "cached-datasets/dev/training-data/_SUCCESS", "dev/training-data/sales/_SUCCESS",
        "cached-datasets/dev/training-data/sales/_SUCCESS.bak",
    )],
    *[(name, "detail|bucket|name", bucket) for name in ("s3-object-created-state", "s3-object-deleted-lane")
      for bucket in ("another-bucket", f"{BUCKET}-2", BUCKET[:-1])],
    *[("s3-object-created-state", "detail-type", kind) for kind in
      ("Object Restore Completed", "Object Tags Added", "Object Storage Class Changed", "Object Access Tier Changed",
       "object created", "Object ACL Updated")],
    *[(name, "source", source) for name in ("s3-object-created-state", "ec2-terminated", "spot-interruption")
      for source in ("my.app", "aws.ssm", "aws.s3.x", "aws")],
    *[(name, "source", None) for name in ("s3-object-created-state", "ec2-terminated", "spot-interruption")],
    *[(name, "detail-type", None) for name in ("s3-object-deleted-state", "ec2-terminated", "rebalance")],
    *[("ec2-terminated", "detail-type", kind) for kind in
      ("EC2 Instance Launch Successful", "EC2 Instance State-change Notifications", "EBS Volume Notification",
       "EC2 Spot Instance Request Fulfillment", "EC2 AMI State Change", "EC2 Capacity Reservation Underutilized")],
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "value"), NEAR_MISSES)
def test_a_near_miss_matches_no_rule(stack: Template, name: str, path: str, value: Any) -> None:
    assert woken(stack, event(name))
    assert woken(stack, changed(name, path, value)) == set()


@pytest.mark.parametrize("lane", ["a", "nightly", "a-2"])
@pytest.mark.parametrize("kind", ["created", "deleted"])
def test_the_lock_of_every_lane_matches_the_rule(stack: Template, lane: str, kind: str) -> None:
    key = Lane("dev", lane).state_key
    assert woken(stack, changed(f"s3-object-{kind}-state", KEY, key)) == {LOCK}


QUEUE = ARN.format(service="sqs", rest="chronos-ec2-dev-stateevents")
TARGETS = {
    LOCK: None, STATE: "instance-changed", SPOT: "instance-changed", REBALANCE: "instance-changed", DATA: "launcher",
}  # fmt: skip


def test_every_rule_has_one_target_with_few_retries_and_a_queue_for_what_it_cannot_deliver(stack: Template) -> None:
    assert rules(stack).keys() == TARGETS.keys()
    for name, function in TARGETS.items():
        rule = rules(stack)[name]
        assert rule.keys() == {"EventPattern", "Targets"}, "on the default bus, and on"
        to = ARN.format(service="lambda", rest=f"function:chronos-ec2-dev-{function}") if function else QUEUE
        (target,) = rule["Targets"]
        assert target.pop("Id")
        assert target == {
            "Arn": to,
            "RetryPolicy": {"MaximumEventAgeInSeconds": 300, "MaximumRetryAttempts": 10},
            "DeadLetterConfig": {"Arn": ARN.format(service="sqs", rest="chronos-ec2-dev-undeliveredevents")},
        }, name


def test_eventbridge_may_invoke_what_its_rules_name_and_nobody_else_may(stack: Template) -> None:
    permitted = [body["Properties"] for body in stack.values() if body["Type"] == "AWS::Lambda::Permission"]
    found = {one["SourceArn"]: (one["FunctionName"], one["Action"], one["Principal"]) for one in permitted}
    assert len(found) == len(permitted)
    assert found == {
        ARN.format(service="events", rest=f"rule/chronos-ec2-dev-{rule}".lower()): (
            f"chronos-ec2-dev-{function}", "lambda:InvokeFunction", "events.amazonaws.com",
        )
        for rule, function in TARGETS.items()
        if function
    }  # fmt: skip


def test_state_written_takes_its_events_from_a_queue_two_batches_at_a_time(stack: Template) -> None:
    (mapping,) = (body["Properties"] for body in stack.values() if body["Type"] == "AWS::Lambda::EventSourceMapping")
    assert mapping == {
        "EventSourceArn": QUEUE,
        "FunctionName": "chronos-ec2-dev-state-written",
        "BatchSize": 10,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 2},
    } | {name: value for name, value in mapping.items() if name == "Tags"}


def test_what_state_written_fails_on_three_times_goes_to_the_queue_with_the_alarm(stack: Template) -> None:
    queue = {name: value for name, value in stack["StateEvents"]["Properties"].items() if name != "Tags"}
    assert queue == {
        "SqsManagedSseEnabled": True,
        "MessageRetentionPeriod": 600,
        "VisibilityTimeout": 120,
        "RedrivePolicy": {
            "deadLetterTargetArn": ARN.format(service="sqs", rest="chronos-ec2-dev-failedinvocations"),
            "maxReceiveCount": 3,
        },
    }
    # Lambda refuses a queue that shows a message again while a function may still work on it. The last failure has to
    # come before SQS forgets the message.
    assert queue["VisibilityTimeout"] >= stack["StateWritten"]["Properties"]["Timeout"]
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] < queue["MessageRetentionPeriod"]


def test_the_only_schedule_is_the_sweep_each_minute_and_on_time(stack: Template) -> None:
    (schedule,) = (body["Properties"] for body in stack.values() if body["Type"] == "AWS::Scheduler::Schedule")
    target = schedule.pop("Target")
    assert schedule == {
        "Name": "chronos-ec2-dev-sweep",
        "GroupName": "chronos-ec2-dev",
        "Description": schedule["Description"],
        "ScheduleExpression": "rate(1 minute)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
    } | {name: "ENABLED" for name in ("State",) if name in schedule}
    assert target == {
        "Arn": ARN.format(service="lambda", rest="function:chronos-ec2-dev-sweep"),
        "RoleArn": "arn:aws:iam::123456789012:role/chronos-ec2-dev-sweepschedulerole",
        "RetryPolicy": {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0},
    }


ON_FAILURE = {"OnFailure": {"Destination": ARN.format(service="sqs", rest="chronos-ec2-dev-failedinvocations")}}
INVOCATIONS = {
    "instance-changed": (300, 2, ON_FAILURE),
    "launcher": (300, 2, ON_FAILURE),
    # One failure would otherwise hold an alarm up for as long as the queue keeps it.
    "sweep": (60, 0, {}),
}


def test_what_fails_with_all_its_retries_is_kept_but_of_the_sweep_which_comes_again(stack: Template) -> None:
    configs = [body["Properties"] for body in stack.values() if body["Type"] == "AWS::Lambda::EventInvokeConfig"]
    found = {
        config["FunctionName"].removeprefix("chronos-ec2-dev-"): (
            config["MaximumEventAgeInSeconds"], config["MaximumRetryAttempts"], config.get("DestinationConfig", {}),
        )
        for config in configs
    }  # fmt: skip
    assert found == INVOCATIONS


def test_eventbridge_alone_may_put_into_the_queues_of_its_events_and_nobody_into_the_other(stack: Template) -> None:
    allowed = {
        name: [each for each in body["Properties"]["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]
        for name, body in stack.items()
        if body["Type"] == "AWS::SQS::QueuePolicy"
    }
    # Lambda puts failed invocations into the other with the function's own role.
    assert allowed["FailedInvocationsPolicy"] == []
    (statement,) = allowed["StateEventsPolicy"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE,
        "Condition": {
            "ArnEquals": {"aws:SourceArn": ARN.format(service="events", rest="rule/chronos-ec2-dev-statewrites")}
        },
    }
    (statement,) = allowed["UndeliveredEventsPolicy"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": ARN.format(service="sqs", rest="chronos-ec2-dev-undeliveredevents"),
        "Condition": {"ArnLike": {"aws:SourceArn": ARN.format(service="events", rest="rule/chronos-ec2-dev-*")}},
    }


def test_queues_keep_what_failed_for_two_weeks_encrypted_and_hold_nothing_back(stack: Template) -> None:
    queues = {name: body["Properties"] for name, body in stack.items() if body["Type"] == "AWS::SQS::Queue"}
    assert queues.keys() == {"UndeliveredEvents", "FailedInvocations", "StateEvents"}
    for queue in (queues["UndeliveredEvents"], queues["FailedInvocations"]):
        assert {name: value for name, value in queue.items() if name != "Tags"} == {
            "SqsManagedSseEnabled": True,
            "MessageRetentionPeriod": 14 * 24 * 3600,
        }
