"""The schedule that ends an instance at its deadline, as it stands in EventBridge Scheduler."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.scheduler_deadlines import SchedulerDeadlines, SchedulerSweep
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.testing.aws_server import DEADLINE_GROUP, DEADLINE_ROLE_ARN

INSTANCE_ID = "i-0123456789abcdef0"
AT = datetime(2099, 1, 31, 11, 59, 30, tzinfo=UTC)


def scheduled(at: datetime = AT, role_arn: str = DEADLINE_ROLE_ARN) -> Any:
    """The schedule that EventBridge Scheduler keeps."""
    scheduler = client("scheduler")
    SchedulerDeadlines(scheduler, DEADLINE_GROUP, role_arn).schedule(INSTANCE_ID, at)
    return scheduler.get_schedule(GroupName=DEADLINE_GROUP, Name=INSTANCE_ID)


def test_it_calls_ec2_itself_with_this_instance_alone(deployed: str) -> None:
    target = scheduled()["Target"]
    assert target["Arn"] == "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"
    assert target["RoleArn"] == DEADLINE_ROLE_ARN
    assert json.loads(target["Input"]) == {"InstanceIds": [INSTANCE_ID]}


def test_it_fires_once_and_is_gone(deployed: str) -> None:
    schedule = scheduled()
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["ActionAfterCompletion"] == "DELETE"


@pytest.mark.parametrize(
    ("at", "expression"),
    [
        (AT, "at(2099-01-31T12:00:00)"),
        (AT.replace(second=0), "at(2099-01-31T11:59:00)"),
        (AT.replace(second=0, microsecond=1), "at(2099-01-31T12:00:00)"),
    ],
)
def test_it_never_fires_before_the_deadline(deployed: str, at: datetime, expression: str) -> None:
    assert scheduled(at)["ScheduleExpression"] == expression


def test_it_stays_in_the_partition_of_its_role(deployed: str) -> None:
    role_arn = "arn:aws-cn:iam::123456789012:role/deadlines"
    assert scheduled(role_arn=role_arn)["Target"]["Arn"] == "arn:aws-cn:scheduler:::aws-sdk:ec2:terminateInstances"


@pytest.mark.usefixtures("asked_once")
def test_no_answer_is_one_of_our_errors(deployed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    client.cache_clear()
    deadlines = SchedulerDeadlines(client("scheduler"), DEADLINE_GROUP, DEADLINE_ROLE_ARN)
    with pytest.raises(ServiceUnavailable, match=f"schedule the termination of {INSTANCE_ID}"):
        deadlines.schedule(INSTANCE_ID, AT)


def test_the_sweep_is_switched_off_and_on_and_nothing_else_of_its_schedule_changes(deployed: str) -> None:
    scheduler = client("scheduler")
    where = {"GroupName": "chronos-ec2-dev", "Name": "chronos-ec2-dev-sweep"}

    def found() -> Any:
        kept = scheduler.get_schedule(**where)
        return kept.pop("State"), {key: kept[key] for key in kept.keys() - {"LastModificationDate", "ResponseMetadata"}}

    state, before = found()
    assert state == "ENABLED"
    for on in (False, True):
        SchedulerSweep(scheduler, "chronos-ec2-dev").switch(on=on)
        assert found() == ("ENABLED" if on else "DISABLED", before)
