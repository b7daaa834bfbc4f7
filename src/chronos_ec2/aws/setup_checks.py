"""The settings of S3, SNS, CloudWatch and EventBridge Scheduler, and the account's quotas, as SetupChecks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.clients import PAGES
from chronos_ec2.aws.errors import code_of, text_of, translated
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.planning.quota import Quota, VcpuQuota, quota_of
from chronos_ec2.domain.records.capacity import SPOT, Market
from chronos_ec2.ports import Alarm, AlarmState, Subscription, SubscriptionState

# What SNS returns instead of the ARN of a subscription that is not confirmed, or not there any more.
_PENDING, _DELETED = "PendingConfirmation", "Deleted"
# The second is the answer of an emulator that does not have the service.
_NO_QUOTA = frozenset({"NoSuchResourceException", "400"})
_TYPES = 100
"""Maximum of one DescribeInstanceTypes."""


class StackSetupChecks:
    """The bucket, the topics and the sweep of one stack, and the e-mail address that it was deployed with, if any."""

    def __init__(
        self,
        client: Callable[[str], Any],
        bucket: str,
        topic_arns: Sequence[str] = (),
        address: str = "",
        stack: str = "",
    ) -> None:
        """`client` makes the client of a service."""
        self._client = client
        self._bucket = bucket
        self._topic_arns = topic_arns
        self._address = address
        self._stack = stack

    def bucket_sends_events(self) -> bool:
        """Whether the bucket sends its events to EventBridge."""
        with translated(f"read the notification configuration of s3://{self._bucket}"):
            found = self._client("s3").get_bucket_notification_configuration(Bucket=self._bucket)
        return "EventBridgeConfiguration" in found

    def bucket_region(self) -> str | None:
        """The region of the bucket, or None if S3 does not say."""
        with translated(f"access bucket {self._bucket}"):
            found = self._client("s3").head_bucket(Bucket=self._bucket).get("BucketRegion")
        return None if found is None else str(found)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions to the topics, also that of the stack's address if it is gone."""
        return tuple(found for arn in self._topic_arns for found in self._subscriptions(arn))

    def _subscriptions(self, arn: str) -> list[Subscription]:
        with translated(f"list the subscriptions of {arn}"):
            found = [
                Subscription(arn, each["Protocol"], each["Endpoint"], _state(each["SubscriptionArn"]))
                for page in self._client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
                for each in page["Subscriptions"]
                if each["SubscriptionArn"] != _DELETED
            ]
        wanted = ("email", self._address.lower())
        if self._address and wanted not in {(each.protocol, each.endpoint.lower()) for each in found}:
            found.append(Subscription(arn, "email", self._address, SubscriptionState.GONE))
        return found

    def vcpu_quotas(self, instance_types: Collection[str], market: Market) -> tuple[VcpuQuota, ...]:
        """What each instance type needs of the account's quota, for those whose quota AWS tells."""
        with translated("read the vCPU quotas of EC2"):
            vcpus = self._vcpus(instance_types)
            quotas = {kind: quota for kind in instance_types if (quota := quota_of(kind, market))}
            limits = {quota: limit for quota in {*quotas.values()} if (limit := self._limit(quota)) is not None}
            used = {quota: self._used(quota, market) for quota in limits}
        return tuple(
            VcpuQuota(kind, vcpus[kind], quota, limits[quota], used[quota])
            for kind, quota in quotas.items()
            if quota in limits
        )

    def sweep_is_scheduled(self) -> bool:
        """Whether the sweep runs: its schedule exists and is not switched off."""
        name = f"{self._stack}-sweep"
        with translated(f"read schedule {name}"):
            try:
                # The group has the name of the stack.
                found = self._client("scheduler").get_schedule(GroupName=self._stack, Name=name)
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    return False
                raise
            return str(found["State"]) == "ENABLED"

    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that are named after the stack."""
        with translated(f"list the alarms of {self._stack}"):
            pages = self._client("cloudwatch").get_paginator("describe_alarms")
            return tuple(
                Alarm(
                    alarm["AlarmName"],
                    AlarmState(alarm["StateValue"]),
                    bool(alarm.get("ActionsEnabled") and alarm.get("AlarmActions")),
                )
                for page in pages.paginate(AlarmNamePrefix=f"{self._stack}-", AlarmTypes=["MetricAlarm"])
                for alarm in page["MetricAlarms"]
            )

    def _vcpus(self, instance_types: Iterable[str]) -> dict[str, int]:
        kinds, found = sorted(instance_types), dict[str, int]()
        for start in range(0, len(kinds), _TYPES):
            try:
                answer = self._client("ec2").describe_instance_types(InstanceTypes=kinds[start : start + _TYPES])
            except ClientError as error:
                if code_of(error) == "InvalidInstanceType":
                    raise InvalidInput("instance type", text_of(error), "not every region has every type") from error
                raise
            found |= {each["InstanceType"]: int(each["VCpuInfo"]["DefaultVCpus"]) for each in answer["InstanceTypes"]}
        return found

    def _limit(self, quota: Quota) -> float | None:
        """The size of a quota, None if there is no such quota in the region."""
        try:
            found = self._client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=quota.code)
        except ClientError as error:
            if code_of(error) in _NO_QUOTA:
                return None
            raise
        return float(found["Quota"]["Value"])

    def _used(self, quota: Quota, market: Market) -> int:
        """The vCPUs of every instance in the account that counts, whoever owns it."""
        filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        pages = self._client("ec2").get_paginator("describe_instances")
        counting = Counter(
            instance["InstanceType"]
            for page in pages.paginate(Filters=filters, PaginationConfig=PAGES)
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
            if (instance.get("InstanceLifecycle") == SPOT) == (market == SPOT)
            and quota_of(instance["InstanceType"], market) == quota
        )
        vcpus = self._vcpus(counting)
        return sum(vcpus[kind] * count for kind, count in counting.items())


def _state(subscription_arn: str) -> SubscriptionState:
    return SubscriptionState.PENDING if subscription_arn == _PENDING else SubscriptionState.CONFIRMED
