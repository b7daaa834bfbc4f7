"""Layer four: somebody hears when the watchdog itself is silent, failing or overtaken."""

from __future__ import annotations

import io
import json
import re
import uuid
from fnmatch import fnmatchcase
from typing import Any

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


def test_a_sweep_that_stays_away_for_five_minutes_is_an_alarm_even_without_any_figure(stack: Template) -> None:
    silent = alarms(stack)["SweepSilent"]
    assert (silent["Namespace"], silent["MetricName"], silent["Statistic"]) == ("AWS/Lambda", "Invocations", "Sum")
    assert silent["Dimensions"] == [{"Name": "FunctionName", "Value": stack["Sweep"]["Properties"]["FunctionName"]}]
    assert silent["Period"] * silent["EvaluationPeriods"] == 300
    assert (silent["ComparisonOperator"], silent["Threshold"]) == ("LessThanThreshold", 1)
    assert silent["TreatMissingData"] == "breaching"


def test_each_function_and_each_queue_has_its_alarm(stack: Template) -> None:
    watched = {(a["MetricName"], a["Dimensions"][0]["Value"]) for a in alarms(stack).values() if "Dimensions" in a}
    for body in stack.values():
        if body["Type"] == "AWS::Lambda::Function":
            assert ("Errors", body["Properties"]["FunctionName"]) in watched
    queues = {value for metric, value in watched if metric == "ApproximateNumberOfMessagesVisible"}
    assert len(queues) == len([body for body in stack.values() if body["Type"] == "AWS::SQS::Queue"])


def test_a_failure_that_heals_by_itself_wakes_nobody(stack: Template) -> None:
    for alarm in alarms(stack).values():
        if alarm["MetricName"] == "Errors":
            assert (alarm["Threshold"], alarm["Period"]) == (3, 300)
            assert alarm["TreatMissingData"] == "notBreaching"


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


def test_a_leak_is_an_alarm_where_its_metric_is_made(stack: Template) -> None:
    leak = stack["InstanceDoesNotEnd"]["Properties"]
    (made,) = stack["LeaksSeenBySweep"]["Properties"]["MetricTransformations"]
    assert (leak["Namespace"], leak["MetricName"]) == (made["MetricNamespace"], made["MetricName"])
    assert (leak["ComparisonOperator"], leak["Threshold"], leak["Statistic"]) == ("GreaterThanThreshold", 0, "Sum")
    assert leak["TreatMissingData"] == "notBreaching"


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
    topic = "arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev-alarms"
    (allowed,) = [
        statement
        for statement in stack["AlarmTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert (allowed["Action"], allowed["Resource"]) == ("sns:Publish", topic)
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    # CloudWatch cannot publish to a topic that is encrypted with AWS's own key.
    assert "KmsMasterKeyId" not in stack["AlarmTopic"]["Properties"]
    for alarm in alarms(stack).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic]
        assert len(alarm["AlarmDescription"].split()) > 15
        arn = f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{alarm['AlarmName']}"
        assert fnmatchcase(arn, allowed["Condition"]["ArnLike"]["aws:SourceArn"])


def test_who_is_told_of_runs_is_told_of_alarms(stack: Template) -> None:
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
