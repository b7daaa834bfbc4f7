"""Layer four: somebody hears when the watchdog itself is silent, failing or overtaken."""

from __future__ import annotations

import io
import json
import re
import statistics
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import ge, gt, le, lt
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from chronos_ec2.domain.decision import Action, Decision, Notify, Terminate
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.observability import log_report
from chronos_ec2.services.watchdog.reconcile import Report
from verification.template.synthesis import synthesised

Template = dict[str, Any]


def alarms(stack: Template) -> dict[str, Any]:
    return {name: body["Properties"] for name, body in stack.items() if body["Type"] == "AWS::CloudWatch::Alarm"}


@dataclass(frozen=True)
class Watched:
    """A metric, and when it is an alarm: `statistic` over one period of five minutes `operator` `threshold`."""

    namespace: str
    metric: str
    dimensions: tuple[str, str] | None
    statistic: str
    operator: str
    threshold: int
    missing: str = "notBreaching"


def _failing(function: str) -> Watched:
    dimensions = ("FunctionName", f"chronos-ec2-dev-{function}")
    return Watched("AWS/Lambda", "Errors", dimensions, "Sum", "GreaterThanOrEqualToThreshold", 3)


def _waiting(queue: str) -> Watched:
    dimensions = ("QueueName", f"chronos-ec2-dev-{queue}")
    metric = "ApproximateNumberOfMessagesVisible"
    return Watched("AWS/SQS", metric, dimensions, "Maximum", "GreaterThanThreshold", 0)


ALARMS = {
    "sweep-silent": Watched(
        "AWS/Lambda", "Invocations", ("FunctionName", "chronos-ec2-dev-sweep"), "Sum", "LessThanThreshold", 1,
        missing="breaching",
    ),
    "sweep-failing": _failing("sweep"),
    "state-written-failing": _failing("state-written"),
    "instance-changed-failing": _failing("instance-changed"),
    "launcher-failing": _failing("launcher"),
    "undelivered-events": _waiting("undeliveredevents"),
    "failed-invocations": _waiting("failedinvocations"),
    "leak": Watched("chronos-ec2-dev", "Leaks", None, "Sum", "GreaterThanThreshold", 0),
}  # fmt: skip
TOPIC = "arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev-alarms"


def test_every_alarm_by_its_metric_threshold_and_actions(stack: Template) -> None:
    found = {}
    for alarm in alarms(stack).values():
        known = {name: value for name, value in alarm.items() if name not in ("AlarmDescription", "Tags")}
        found[known.pop("AlarmName").removeprefix("chronos-ec2-dev-")] = known
    assert found == {
        name: {
            "Namespace": one.namespace,
            "MetricName": one.metric,
            **({"Dimensions": [dict(zip(("Name", "Value"), one.dimensions, strict=True))]} if one.dimensions else {}),
            "Statistic": one.statistic,
            "Period": 300,
            "EvaluationPeriods": 1,
            "ComparisonOperator": one.operator,
            "Threshold": one.threshold,
            "TreatMissingData": one.missing,
            "AlarmActions": [TOPIC],
            "OKActions": [TOPIC],
        }
        for name, one in ALARMS.items()
    }


# --- the same, asked of what an alarm does -------------------------------------------------------------------------

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": gt,
    "GreaterThanOrEqualToThreshold": ge,
    "LessThanThreshold": lt,
    "LessThanOrEqualToThreshold": le,
}
STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Average": statistics.fmean,
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
}
Minutes = Sequence[Sequence[float]]
"""The values that a metric gets in each minute."""


def minutes_to_alarm(alarm: Template, minutes: Minutes) -> int | None:
    """After how many minutes CloudWatch is in ALARM. None if it is never.

    Each minute it looks at the last EvaluationPeriods periods. A period without values is what TreatMissingData says.
    """
    period, periods = alarm["Period"] // 60, alarm["EvaluationPeriods"]
    needed = alarm.get("DatapointsToAlarm", periods)
    holds = OPERATORS[alarm["ComparisonOperator"]]

    def breaches(values: list[float]) -> bool:
        if not values:
            return bool(alarm["TreatMissingData"] == "breaching")
        return holds(STATISTICS[alarm["Statistic"]](values), alarm["Threshold"])

    for now in range(period * periods, len(minutes) + 1):
        windows = [minutes[now - period * (n + 1) : now - period * n] for n in range(periods)]
        breaching = [breaches([value for minute in window for value in minute]) for window in windows]
        if sum(breaching) >= needed:
            return now
    return None


def alarm_of(stack: Template, name: str) -> Template:
    (alarm,) = (one for one in alarms(stack).values() if one["AlarmName"] == f"chronos-ec2-dev-{name}")
    return dict(alarm)


RUNS = [[1.0]] * 60
FAILS_ONCE = [[0.0]] * 30 + [[1.0]] + [[0.0]] * 29
FAILS_EACH_TIME = [[1.0]] * 60
FAILS_THREE_IN_EIGHT = [[0.0, 1.0]] * 3 + [[0.0, 0.0]] + [[]] * 56
MOSTLY_SUCCEEDS = [[0.0] * 20 + [1.0]] * 60
NOTHING: Minutes = [[]] * 60
FUNCTIONS = ("sweep", "state-written", "instance-changed", "launcher")


@pytest.mark.parametrize(
    ("name", "minutes", "expected"),
    [
        ("sweep-silent", RUNS, None),
        ("sweep-silent", NOTHING, 5),
        ("sweep-silent", [*RUNS, *NOTHING], 65),
        # A throttled or late sweep is no silence.
        ("sweep-silent", [[1.0], [], [], [], [1.0], [], [1.0], [], [], []], None),
        *[(f"{name}-failing", minutes, expected) for name in FUNCTIONS for minutes, expected in (
            (NOTHING, None), ([[0.0]] * 60, None), (FAILS_ONCE, None), (FAILS_EACH_TIME, 5),
            (FAILS_THREE_IN_EIGHT, 5), (MOSTLY_SUCCEEDS, 5), ([[1.0]] * 2 + [[0.0]] * 58, None),
        )],
        *[(name, minutes, expected) for name in ("undelivered-events", "failed-invocations") for minutes, expected in (
            (NOTHING, None), ([[0.0]] * 60, None), ([[0.0]] * 9 + [[1.0]] * 20, 10), ([[1.0]] * 5, 5),
        )],
        ("leak", NOTHING, None),
        ("leak", [[1.0]] * 5, 5),
        ("leak", [[]] * 9 + [[1.0]], 10),
    ],
)  # fmt: skip
def test_an_alarm_is_raised_in_time_and_not_without_need(
    stack: Template, name: str, minutes: Minutes, expected: int | None
) -> None:
    assert minutes_to_alarm(alarm_of(stack, name), minutes) == expected


def test_each_function_and_each_queue_has_its_alarm(stack: Template) -> None:
    watched = {(a["MetricName"], a["Dimensions"][0]["Value"]) for a in alarms(stack).values() if "Dimensions" in a}
    for body in stack.values():
        if body["Type"] == "AWS::Lambda::Function":
            assert ("Errors", body["Properties"]["FunctionName"]) in watched
    queues = {value for metric, value in watched if metric == "ApproximateNumberOfMessagesVisible"}
    # What fails in a queue with a redrive policy goes to one of the others.
    last = [body for body in stack.values() if body["Type"] == "AWS::SQS::Queue"]
    assert len(queues) == len([body for body in last if "RedrivePolicy" not in body["Properties"]])


def test_alarms_stay_within_the_free_ten_and_on_metrics_that_aws_makes(stack: Template) -> None:
    assert len(alarms(stack)) <= 10
    own = alarms(stack).keys() - alarms(synthesised()).keys()
    assert own == {"InstanceDoesNotEnd"}
    assert {a["Namespace"] for name, a in alarms(stack).items() if name not in own} == {"AWS/Lambda", "AWS/SQS"}


def metric_filters(stack: Template) -> dict[str, Any]:
    return {name: body["Properties"] for name, body in stack.items() if body["Type"] == "AWS::Logs::MetricFilter"}


def test_metrics_of_our_own_are_made_only_where_they_are_asked_for_and_idle_cost_nothing(stack: Template) -> None:
    assert metric_filters(synthesised()) == {}
    made = [each for one in metric_filters(stack).values() for each in one["MetricTransformations"]]
    assert {(each["MetricNamespace"], each["MetricName"]) for each in made} == {
        ("chronos-ec2-dev", "Terminations"), ("chronos-ec2-dev", "Relaunches"), ("chronos-ec2-dev", "Leaks"),
    }  # fmt: skip
    # One with a default has a value, and a price, in every hour in which anything at all is logged.
    assert not [each for each in made if "DefaultValue" in each or "Dimensions" in each]


def counted(properties: Template, line: str) -> float | None:
    """What a metric filter counts of a line of log: None when it does not fit."""
    (made,) = properties["MetricTransformations"]
    said = json.loads(line)
    field, operator, operand = re.fullmatch(r"\{ \$\.(\w+) (=|>) (.+) \}", properties["FilterPattern"]).groups()  # type: ignore[union-attr]
    fits = said[field] > float(operand) if operator == ">" else said[field] == operand.strip('"')
    value = made["MetricValue"]
    return float(said[value.removeprefix("$.")] if value.startswith("$.") else value) if fits else None


def test_the_metrics_count_what_the_functions_log(stack: Template) -> None:
    def logged(*actions: Action) -> str:
        stream = io.StringIO()
        logger = Logger(service=uuid.uuid4().hex, stream=stream)  # Logger keeps the stream of the first of a name
        log_report(logger, Report(Lane("dev"), Decision("because", actions)))
        return stream.getvalue()

    ended = [Terminate("i-1", Cause.ORPHAN), Terminate("i-2", Cause.ORPHAN, force=True)]
    notified = [Notify(Kind.LEAK, "i-2", "does not end"), Notify(Kind.ORPHAN, "i-1", "it belongs to no run")]
    for name, properties in metric_filters(stack).items():
        if name == "Relaunches":
            continue  # tests/functions/test_launcher.py
        of_leaks = name == "LeaksSeenBySweep"
        assert counted(properties, logged(*ended, *notified)) == (1 if of_leaks else 2), name
        assert counted(properties, logged(notified[1])) is None, name
    watched = {one["LogGroupName"].rpartition("/")[2] for name, one in metric_filters(stack).items() if name[0] == "T"}
    assert watched == {"chronos-ec2-dev-state-written", "chronos-ec2-dev-instance-changed", "chronos-ec2-dev-sweep"}


def test_every_alarm_reaches_its_topic_and_says_what_to_do(stack: Template) -> None:
    (allowed,) = [
        statement
        for statement in stack["AlarmTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert (allowed["Action"], allowed["Resource"]) == ("sns:Publish", TOPIC)
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    # CloudWatch cannot publish to a topic that is encrypted with AWS's own key.
    assert "KmsMasterKeyId" not in stack["AlarmTopic"]["Properties"]
    for alarm in alarms(stack).values():
        assert len(alarm["AlarmDescription"].split()) > 15
        arn = f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{alarm['AlarmName']}"
        assert fnmatchcase(arn, allowed["Condition"]["ArnLike"]["aws:SourceArn"])


def test_who_gets_messages_about_runs_gets_alarms(stack: Template) -> None:
    subscriptions = [body["Properties"] for body in stack.values() if body["Type"] == "AWS::SNS::Subscription"]
    assert {one["Endpoint"] for one in subscriptions} == {"team@example.com"}
    assert len({one["TopicArn"] for one in subscriptions}) == 2


def test_the_dashboard_costs_nothing_unless_it_is_asked_for(stack: Template) -> None:
    assert "WatchdogDashboard" not in synthesised()
    body = json.loads(stack["WatchdogDashboard"]["Properties"]["DashboardBody"])
    shown = [tuple(metric[:4]) for widget in body["widgets"] for metric in widget["properties"].get("metrics", ())]
    functions = {one["Properties"]["FunctionName"] for one in stack.values() if one["Type"] == "AWS::Lambda::Function"}
    ours = {metric[:2] for metric in shown if metric[0] == "chronos-ec2-dev"}
    assert ours == {("chronos-ec2-dev", name) for name in ("Terminations", "Relaunches", "Leaks")}
    assert {metric[0] for metric in shown} - {"chronos-ec2-dev"} == {"AWS/Lambda"}
    assert {metric[3] for metric in shown if metric[0] == "AWS/Lambda"} == functions
    boards = [widget["properties"] for widget in body["widgets"] if widget["type"] == "alarm"]
    names = {arn.rpartition(":")[2] for board in boards for arn in board["alarms"]}
    assert names == {alarm["AlarmName"] for alarm in alarms(stack).values()}


def test_a_dashboard_without_metrics_of_our_own_shows_none() -> None:
    stack = synthesised(parameters={"Dashboard": "true"})
    body = stack["WatchdogDashboard"]["Properties"]["DashboardBody"]
    assert "Leaks" not in body
    assert len(json.loads(body)["widgets"]) == 3
