"""The settings of S3, SNS and EventBridge Scheduler as SetupChecks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import code_of, translated

_PENDING = "PendingConfirmation"
"""What SNS returns instead of the ARN of an unconfirmed subscription."""


class StackSetupChecks:
    """The bucket, the topics and the sweep of one stack."""

    def __init__(self, s3: Any, sns: Any, scheduler: Any, bucket: str, topic_arns: Sequence[str], stack: str) -> None:
        self._s3 = s3
        self._sns = sns
        self._bucket = bucket
        self._topic_arns = topic_arns
        self._scheduler = scheduler
        self._stack = stack

    def bucket_sends_events(self) -> bool:
        """Whether the bucket sends its events to EventBridge."""
        with translated(f"read the notification configuration of s3://{self._bucket}"):
            found = self._s3.get_bucket_notification_configuration(Bucket=self._bucket)
        return "EventBridgeConfiguration" in found

    def bucket_region(self) -> str | None:
        """The region of the bucket, or None if S3 does not say."""
        with translated(f"access bucket {self._bucket}"):
            found = self._s3.head_bucket(Bucket=self._bucket).get("BucketRegion")
        return None if found is None else str(found)

    def unconfirmed_subscriptions(self) -> tuple[str, ...]:
        """Protocol, endpoint and topic of each subscription that is not confirmed."""
        found = []
        for arn in self._topic_arns:
            with translated(f"list the subscriptions of {arn}"):
                for page in self._sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn):
                    found += [each for each in page["Subscriptions"] if each["SubscriptionArn"] == _PENDING]
        return tuple(
            f"{each['Protocol']} {each['Endpoint']} to {each['TopicArn'].rpartition(':')[2]}" for each in found
        )

    def sweep_is_scheduled(self) -> bool:
        """Whether the sweep runs: its schedule exists and is not switched off."""
        with translated("read the schedule of the sweep"):
            try:
                found = self._scheduler.get_schedule(GroupName=self._stack, Name=sweep_schedule(self._stack))
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    return False
                raise
        return str(found["State"]) == "ENABLED"


def sweep_schedule(stack: str) -> str:
    """The name of the schedule that runs a stack's sweep, in the schedule group that has the stack's name."""
    return f"{stack}-sweep"
