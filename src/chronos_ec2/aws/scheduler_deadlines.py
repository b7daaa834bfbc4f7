"""EventBridge Scheduler as Deadlines and as Timetable: each a group, with a schedule per instance, or per name.

And as SweepSchedule, which is one schedule.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import code_of, translated
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line

_WRITTEN = (
    "Description", "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target", "KmsKeyArn",
    "StartDate", "EndDate", "ActionAfterCompletion",
)  # fmt: skip
"""What an update of a schedule takes; what it leaves out would be lost."""


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


class SchedulerSweep:
    """The schedule of a stack's sweep, in the group with the name of the stack."""

    def __init__(self, client: Any, stack: str) -> None:
        self._scheduler = client
        self._stack = stack

    def switch(self, *, on: bool) -> None:
        """Switch it on or off; all else stays. Needs the rights of whoever deploys the stack."""
        state, name = "ENABLED" if on else "DISABLED", f"{self._stack}-sweep"
        with translated(f"switch schedule {name} {'on' if on else 'off'}"):
            found = self._scheduler.get_schedule(GroupName=self._stack, Name=name)
            kept = {key: found[key] for key in _WRITTEN if found.get(key) is not None}
            self._scheduler.update_schedule(**kept, GroupName=self._stack, Name=name, State=state)


class SchedulerTimetable:
    """One schedule group, the role with which its schedules invoke the launcher, and the launcher."""

    def __init__(self, client: Any, group: str, role_arn: str, launcher_arn: str) -> None:
        self._scheduler = client
        self._group = group
        self._role_arn = role_arn
        self._launcher_arn = launcher_arn

    def put(self, name: str, expression: str, *, enabled: bool = True) -> None:
        """Create or replace the times of a schedule. Raises InvalidInput if Scheduler refuses the expression."""
        wanted = {
            "GroupName": self._group,
            "Name": name,
            "Description": "Starts a run of chronos-ec2; `chronos-ec2 schedule` changes it",
            "ScheduleExpression": expression,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "State": "ENABLED" if enabled else "DISABLED",
            "Target": {
                "Arn": self._launcher_arn,
                "RoleArn": self._role_arn,
                # Scheduler puts in the time that the invocation is for: the same when it is delivered twice.
                "Input": json.dumps({"schedule": name, "at": "<aws.scheduler.scheduled-time>"}),
                "RetryPolicy": {"MaximumEventAgeInSeconds": 900, "MaximumRetryAttempts": 10},
            },
        }
        with translated(f"write the times of schedule {name}"):
            try:
                self._scheduler.create_schedule(**wanted)
            except ClientError as error:
                if code_of(error) == "ValidationException":
                    raise _refused(expression, error) from error
                if code_of(error) != "ConflictException":
                    raise
                self._scheduler.update_schedule(**wanted)

    def remove(self, name: str) -> None:
        """Remove the times of a schedule. A missing one is no error."""
        with translated(f"remove the times of schedule {name}"):
            try:
                self._scheduler.delete_schedule(GroupName=self._group, Name=name)
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise

    def listed(self) -> dict[str, bool]:
        """By name of each schedule that has times, whether they are switched on."""
        with translated(f"list the times of {self._group}"):
            pages = self._scheduler.get_paginator("list_schedules").paginate(GroupName=self._group)
            try:
                return {each["Name"]: each["State"] == "ENABLED" for page in pages for each in page["Schedules"]}
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
                return {}


def _refused(expression: str, error: ClientError) -> InvalidInput:
    words = one_line(str(error.response.get("Error", {}).get("Message", "")), 200)
    problem = f"EventBridge Scheduler refuses {one_line(expression, 80)}: {words}"
    return InvalidInput("--cron", problem, 'six fields in UTC, such as "0 3 * * ? *", each night at three')
