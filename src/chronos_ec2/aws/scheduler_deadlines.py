"""EventBridge Scheduler as Deadlines: a group with a one-time schedule per instance, named by its id."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import code_of, translated


class SchedulerDeadlines:
    """One schedule group, and the role with which its schedules call EC2."""

    def __init__(self, client: Any, group: str, role_arn: str) -> None:
        self._scheduler = client
        self._group = group
        self._role_arn = role_arn

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Schedule the termination of an instance within two minutes after `at`. An existing schedule is kept."""
        partition = self._role_arn.split(":")[1]
        with translated(f"schedule the termination of {instance_id}"):
            try:
                self._scheduler.create_schedule(
                    GroupName=self._group,
                    Name=instance_id,
                    Description="Terminates this instance at its hard deadline, independently of the watchdog",
                    ScheduleExpression=f"at({_next_minute(at):%Y-%m-%dT%H:%M:%S})",
                    FlexibleTimeWindow={"Mode": "OFF"},
                    ActionAfterCompletion="DELETE",
                    Target={
                        "Arn": f"arn:{partition}:scheduler:::aws-sdk:ec2:terminateInstances",
                        "RoleArn": self._role_arn,
                        "Input": json.dumps({"InstanceIds": [instance_id]}),
                    },
                )
            except ClientError as error:
                if code_of(error) != "ConflictException":
                    raise

    def scheduled(self) -> dict[str, datetime]:
        """The ids of the instances that have a schedule, and when each was created, aware UTC.

        A group that is gone, as in a stack whose deletion has failed, has no schedules.
        """
        with translated(f"list the schedules of {self._group}"):
            pages = self._scheduler.get_paginator("list_schedules").paginate(GroupName=self._group)
            try:
                found = [each for page in pages for each in page["Schedules"]]
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
                found = []
            return {each["Name"]: each["CreationDate"].astimezone(UTC) for each in found}

    def cancel(self, instance_id: str) -> None:
        """Delete the schedule of an instance. A missing one is no error."""
        with translated(f"delete the schedule of {instance_id}"):
            try:
                self._scheduler.delete_schedule(GroupName=self._group, Name=instance_id)
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise


def _next_minute(at: datetime) -> datetime:
    """The first whole minute at or after `at`: Scheduler fires at any second of the minute that it is given."""
    whole = at.astimezone(UTC).replace(second=0, microsecond=0)
    return whole if whole == at else whole + timedelta(minutes=1)
