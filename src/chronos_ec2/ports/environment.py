"""What an environment has beside its runs: messages, prices, setup, the stack."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from chronos_ec2.domain.limits import StackBounds
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.planning.instance_type import InstanceType
from chronos_ec2.domain.planning.quota import VcpuQuota
from chronos_ec2.domain.planning.zones import Zones
from chronos_ec2.domain.records.capacity import Market


@dataclass(frozen=True, slots=True)
class Price:
    """A price in USD as of a day. `live`: AWS was asked just now; else it is from the list of a release."""

    usd: float
    as_of: date
    live: bool = False


class Prices(Protocol):
    """Prices by region, None where they are not known.

    Every method raises ServiceUnavailable, NotAllowed and NoCredentials.
    """

    def on_demand(self, region: str, instance_type: str) -> Price | None:
        """An hour of an instance on demand, with Linux and without its volume."""

    def spot(self, region: str, instance_type: str) -> Mapping[str, Price]:
        """An hour of an instance with spot capacity now, by availability zone; empty where it is not known."""

    def gib_month(self, region: str) -> Price | None:
        """A GiB-month of a gp3 volume."""

    def public_ipv4(self, region: str) -> Price | None:
        """An hour of a public IPv4 address in use."""


class Catalogue(Protocol):
    """The instance types of a region."""

    def find(self, instance_types: Collection[str]) -> Mapping[str, InstanceType]:
        """What each type is, by name.

        Raises:
            InvalidInput: EC2 has no such type in the region.
            ServiceUnavailable, NotAllowed: EC2 does not say.
        """
        ...


class Notifier(Protocol):
    """One SNS topic."""

    def publish(self, message: Message) -> None:
        """Send a message. Raises ServiceUnavailable, NotAllowed."""
        ...


class SubscriptionState(StrEnum):
    """Whether SNS sends a subscription anything."""

    CONFIRMED = "confirmed"
    PENDING = "pending"
    """Nothing until its owner confirms it; SNS deletes it after two days without."""
    GONE = "gone"
    """The stack was deployed with its address, and SNS has no subscription of it, or not any more."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription to one of the stack's topics."""

    topic_arn: str
    protocol: str
    endpoint: str
    state: SubscriptionState


class AlarmState(StrEnum):
    """What CloudWatch says of an alarm."""

    OK = "OK"
    ALARM = "ALARM"
    NO_DATA = "INSUFFICIENT_DATA"


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of the stack. `tells`: it has an action, and its actions are switched on."""

    name: str
    state: AlarmState
    tells: bool = True


class SetupChecks(Protocol):
    """What may be wrong with a setup although its stack is deployed: the sweep, events, alarms, subscriptions, quotas.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def bucket_sends_events(self) -> bool:
        """Whether the bucket sends its events to EventBridge."""
        ...

    def bucket_region(self) -> str | None:
        """The region of the bucket, or None if S3 does not say."""
        ...

    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions to the stack's topics, also that of the address it was deployed with if it is gone."""
        ...

    def vcpu_quotas(self, instance_types: Collection[str], market: Market) -> tuple[VcpuQuota, ...]:
        """What each instance type needs of the account's quota, for those whose quota AWS tells.

        Raises:
            InvalidInput: EC2 has no such type in the region.
        """
        ...

    def sweep_is_scheduled(self) -> bool:
        """Whether the sweep runs: its schedule exists and is not switched off."""
        ...

    def alarms(self) -> tuple[Alarm, ...]:
        """The stack's alarms, by name."""
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """An AMI, as EC2 describes it. `state` is empty if there is none of this id, or none that the account may use."""

    image_id: str
    state: str = ""
    words: str = ""
    created: datetime | None = None

    @property
    def available(self) -> bool:
        """Whether an instance can be launched from it."""
        return self.state == "available"

    @property
    def names_driver(self) -> bool:
        """Whether name or description say that it has NVIDIA's driver."""
        return "nvidia" in self.words.lower()


@dataclass(frozen=True, slots=True)
class VolumeEncryption:
    """How EC2 encrypts the volumes of a launch.

    Attributes:
        by_default: whether the account encrypts new volumes in any case; None if AWS does not say.
        key: of the launch template; None for the account's default.
        key_state: KMS's word for a key of the account; of AWS's own keys nothing is asked.
    """

    by_default: bool | None
    key: str | None = None
    key_state: str = "Enabled"


class LaunchChecks(Protocol):
    """What a launch of the stack needs of EC2 beside capacity and quota.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def image(self) -> Image:
        """The AMI of the launch template."""
        ...

    def zones(self, instance_types: Collection[str]) -> Zones:
        """The zones of the stack's subnets, and those that offer each type."""
        ...

    def volume_encryption(self) -> VolumeEncryption:
        """Whether the account encrypts by default, and the key of the launch template's volume."""
        ...


class Timetable(Protocol):
    """EventBridge Scheduler: what invokes the launcher when a schedule's time has come.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def put(self, name: str, expression: str, *, enabled: bool = True) -> None:
        """Create or replace the times of a schedule. Raises InvalidInput if Scheduler refuses the expression."""
        ...

    def remove(self, name: str) -> None:
        """Remove the times of a schedule. A missing one is no error."""
        ...

    def listed(self) -> Mapping[str, bool]:
        """By name of each schedule that has times, whether they are switched on."""
        ...


class SweepSchedule(Protocol):
    """What runs the sweep of one environment each minute."""

    def switch(self, *, on: bool) -> None:
        """Switch it on or off. Raises ServiceUnavailable, NotAllowed."""
        ...


class Deployment(Protocol):
    """The CloudFormation stack of one environment."""

    def delete(self) -> None:
        """Delete the stack, except its bucket, and wait for the end.

        Raises:
            NotAllowed, UserError: nothing was deleted, for example because these credentials may not.
            ServiceUnavailable: the deletion failed or took too long; the message has CloudFormation's reason.
        """
        ...

    def unfinished(self) -> str | None:
        """The status of a stack that has no outputs and can only be deleted; None for any other, or none."""
        ...


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack: its status, as CloudFormation names it, and its outputs.

    `stack_id` differs from those of all earlier stacks of the same name.
    """

    name: str
    status: str
    stack_id: str
    region: str
    environment: str
    bucket: str
    project: str
    cost_center: str
    instance_type: str
    volume_gib: int
    bounds: StackBounds
    packages_in_image: bool
    agent_log_group: str | None
    subnet_ids: tuple[str, ...]
    launch_template_id: str
    instance_profile_arn: str
    topic_arn: str
    alarm_topic_arn: str
    deadline_group: str
    deadline_role_arn: str
    schedule_group: str
    schedule_role_arn: str
    launcher_function_arn: str
    limit_overrides: Mapping[str, float]
    version: str
    notification_email: str = ""
