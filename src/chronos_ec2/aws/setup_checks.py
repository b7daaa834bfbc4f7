"""The settings of S3 and SNS as SetupChecks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chronos_ec2.aws.errors import translated

_PENDING = "PendingConfirmation"
"""What SNS returns instead of the ARN of an unconfirmed subscription."""


class StackSetupChecks:
    """The bucket and the topics of one stack."""

    def __init__(self, s3: Any, sns: Any, bucket: str, topic_arns: Sequence[str]) -> None:
        self._s3 = s3
        self._sns = sns
        self._bucket = bucket
        self._topic_arns = topic_arns

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
