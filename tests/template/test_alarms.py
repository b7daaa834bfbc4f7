"""Layer four: somebody hears when the watchdog itself is silent, failing or overtaken."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

from evidence.stack.synthesis import synthesised

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
    watched = {(a["MetricName"], a["Dimensions"][0]["Value"]) for a in alarms(stack).values()}
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
    assert {alarm["Namespace"] for alarm in alarms(stack).values()} == {"AWS/Lambda", "AWS/SQS"}


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
    assert {metric[0] for metric in shown} == {"AWS/Lambda"}
    assert {metric[3] for metric in shown} == functions
    (board,) = [widget for widget in body["widgets"] if widget["type"] == "alarm"]
    names = {arn.rpartition(":")[2] for arn in board["properties"]["alarms"]}
    assert names == {alarm["AlarmName"] for alarm in alarms(stack).values()}
