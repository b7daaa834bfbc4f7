"""AWS in memory: every port, over one clock and one set of faults."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime

from chronos_ec2.bundled.instance_types import bundled_types
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.planning.instance_type import InstanceType, unknown_type
from chronos_ec2.domain.planning.quota import VcpuQuota, quota_of
from chronos_ec2.domain.planning.zones import Zones
from chronos_ec2.domain.records.capacity import Market
from chronos_ec2.ports import Alarm, AlarmState, Image, Price, Subscription, VolumeEncryption
from chronos_ec2.testing.clock import MemoryClock
from chronos_ec2.testing.deadlines import MemoryDeadlines, MemoryTimetable
from chronos_ec2.testing.faults import Faults, Interceptor
from chronos_ec2.testing.fleet import MemoryFleet
from chronos_ec2.testing.objects import MemoryObjects, MemoryTransfer


class MemoryNotifier:
    """A topic that keeps what was published."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.messages: list[Message] = []

    def publish(self, message: Message) -> None:
        """Keep a message."""
        kind = message.attributes.get("kind", "")
        self._faults.before("notifier.publish", kind)
        self.messages.append(message)
        self._faults.after("notifier.publish", kind)


class MemoryStreams:
    """A log group that keeps its lines."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.lines: dict[str, list[tuple[datetime, str]]] = {}

    def append(self, stream: str, lines: Sequence[str], at: datetime) -> None:
        """Add lines to a stream."""
        self._faults.before("streams.append", stream)
        self.lines.setdefault(stream, []).extend((at, line) for line in lines)
        self._faults.after("streams.append", stream)


class MemorySetupChecks:
    """A complete setup, until a test changes an attribute."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.tells = True
        self.region: str | None = None
        self.sweeps = True
        self.subscribed: list[Subscription] = []
        self.quotas: dict[str, float] = {}
        """vCPUs by the code of the quota. Of any other, AWS tells nothing."""
        self.vcpus_in_use: dict[str, int] = {}
        """By the code of the quota."""
        self.alarmed: list[Alarm] = [Alarm("chronos-ec2-dev-sweep-silent", AlarmState.OK)]

    def bucket_sends_events(self) -> bool:
        """Whether the bucket tells EventBridge of its objects."""
        self._faults.before("setup_checks.bucket_sends_events", "")
        return self.tells

    def bucket_region(self) -> str | None:
        """The region that the bucket lies in; None when S3 does not say."""
        self._faults.before("setup_checks.bucket_region", "")
        return self.region

    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions to the stack's topics."""
        self._faults.before("setup_checks.subscriptions", "")
        return tuple(self.subscribed)

    def vcpu_quotas(self, instance_types: Collection[str], market: Market) -> tuple[VcpuQuota, ...]:
        """What each instance type, of 8 vCPUs, needs of the account's quota."""
        self._faults.before("setup_checks.vcpu_quotas", "")
        return tuple(
            VcpuQuota(kind, 8, quota, self.quotas[quota.code], self.vcpus_in_use.get(quota.code, 0))
            for kind in instance_types
            if (quota := quota_of(kind, market)) and quota.code in self.quotas
        )

    def sweep_is_scheduled(self) -> bool:
        """Whether the sweep runs."""
        self._faults.before("setup_checks.sweep_is_scheduled", "")
        return self.sweeps

    def alarms(self) -> tuple[Alarm, ...]:
        """The stack's alarms."""
        self._faults.before("setup_checks.alarms", "")
        return tuple(self.alarmed)


class MemoryLaunchChecks:
    """A launch template from which an instance of any type starts in any zone, until a test changes an attribute."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.template_image = Image(
            "ami-0123456789abcdef0", "available", "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.9 (Ubuntu 24.04)",
            datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        self.stack_zones = ("us-east-1a", "us-east-1b", "us-east-1c")
        self.missing: dict[str, set[str]] = {}
        """The zones that do not offer a type."""
        self.encryption = VolumeEncryption(by_default=True, key="alias/aws/ebs")

    def image(self) -> Image:
        """The AMI of the launch template."""
        self._faults.before("launch_checks.image", "")
        return self.template_image

    def zones(self, instance_types: Collection[str]) -> Zones:
        """The zones, and those that offer each type."""
        self._faults.before("launch_checks.zones", "")
        offering = {
            kind: tuple(zone for zone in self.stack_zones if zone not in self.missing.get(kind, ()))
            for kind in instance_types
        }
        return Zones(self.stack_zones, offering)

    def volume_encryption(self) -> VolumeEncryption:
        """How volumes are encrypted."""
        self._faults.before("launch_checks.volume_encryption", "")
        return self.encryption


class MemoryPrices:
    """Prices that a test chooses, the same in each region of `regions`."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.regions = {"us-east-1"}
        self.instances = {"g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g5.4xlarge": 1.624}
        self.zones: dict[str, dict[str, float]] = {"g4dn.2xlarge": {"us-east-1a": 0.24, "us-east-1b": 0.25}}
        """Of spot capacity, by instance type and zone."""
        self.volume = 0.08
        self.address = 0.005
        self.as_of = date(2026, 1, 31)

    def on_demand(self, region: str, instance_type: str) -> Price | None:
        """An hour of an instance."""
        self._faults.before("prices.on_demand", instance_type)
        return self._price(region, self.instances.get(instance_type))

    def spot(self, region: str, instance_type: str) -> dict[str, Price]:
        """An hour of an instance with spot capacity, by zone."""
        self._faults.before("prices.spot", instance_type)
        zones = self.zones.get(instance_type, {}) if region in self.regions else {}
        return {zone: Price(usd, self.as_of, live=True) for zone, usd in zones.items()}

    def gib_month(self, region: str) -> Price | None:
        """A GiB-month of a volume."""
        self._faults.before("prices.gib_month", region)
        return self._price(region, self.volume)

    def public_ipv4(self, region: str) -> Price | None:
        """An hour of a public address."""
        self._faults.before("prices.public_ipv4", region)
        return self._price(region, self.address)

    def _price(self, region: str, usd: float | None) -> Price | None:
        return None if usd is None or region not in self.regions else Price(usd, self.as_of, live=True)


class MemoryCatalogue:
    """The instance types of this release, until a test changes them."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.types = dict(bundled_types())

    def find(self, instance_types: Collection[str]) -> dict[str, InstanceType]:
        """What each type is."""
        self._faults.before("catalogue.find", "")
        if missing := [name for name in instance_types if name not in self.types]:
            raise unknown_type(missing[0], self.types)
        return {name: self.types[name] for name in instance_types}


class MemoryAws:
    """Every adapter over one clock and the same faults; `notifier` may be one of your own."""

    def __init__(
        self,
        faults: Interceptor | None = None,
        clock: MemoryClock | None = None,
        notifier: MemoryNotifier | None = None,
    ) -> None:
        faults = faults or Faults()
        self.clock = clock or MemoryClock()
        self.objects = MemoryObjects(self.clock, faults)
        self.transfer = MemoryTransfer(self.objects)
        self.fleet = MemoryFleet(self.clock, faults)
        self.deadlines = MemoryDeadlines(self.clock, faults)
        self.timetable = MemoryTimetable(faults)
        self.notifier = notifier or MemoryNotifier(faults)
        self.prices = MemoryPrices()  # the watchdog has a list, which cannot fail
        self.catalogue = MemoryCatalogue(faults)
        self.streams = MemoryStreams(faults)
        self.setup_checks = MemorySetupChecks(faults)
        self.launch_checks = MemoryLaunchChecks(faults)
