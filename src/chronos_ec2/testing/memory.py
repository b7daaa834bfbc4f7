"""A small AWS in memory: one bucket, one EC2, one topic, one clock that only moves when told to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chronos_ec2.domain.messages import Message
from chronos_ec2.testing.faults import Faults, NoFaults
from chronos_ec2.testing.memory_clock import MemoryClock
from chronos_ec2.testing.memory_fleet import MemoryDeadlines, MemoryFleet
from chronos_ec2.testing.memory_objects import MemoryObjects, MemoryTransfer


class MemoryNotifier:
    """A topic that keeps what was published."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.messages: list[Message] = []

    def publish(self, message: Message) -> None:
        """Keep a message."""
        self._faults.before("sns:Publish")
        self.messages.append(message)
        self._faults.after("sns:Publish")


class MemoryStreams:
    """A log group that keeps its lines."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.lines: dict[str, list[tuple[datetime, str]]] = {}

    def append(self, stream: str, lines: Sequence[str], at: datetime) -> None:
        """Add lines to a stream."""
        self._faults.before("logs:PutLogEvents")
        self.lines.setdefault(stream, []).extend((at, line) for line in lines)
        self._faults.after("logs:PutLogEvents")


class MemorySetupChecks:
    """A bucket that tells, and subscriptions that are as a test makes them."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.tells = True
        self.region: str | None = None
        self.pending: list[str] = []

    def bucket_sends_events(self) -> bool:
        """Whether the bucket tells EventBridge of its objects."""
        self._faults.before("s3:GetBucketNotification")
        return self.tells

    def bucket_region(self) -> str | None:
        """The region that the bucket lies in; None when S3 does not say."""
        self._faults.before("s3:HeadBucket")
        return self.region

    def unconfirmed_subscriptions(self) -> tuple[str, ...]:
        """The subscriptions to which SNS sends nothing yet: protocol, endpoint and topic of each."""
        self._faults.before("sns:ListSubscriptionsByTopic")
        return tuple(self.pending)


class MemoryWorld:
    """All of it together."""

    def __init__(self, faults: Faults | None = None, clock: MemoryClock | None = None) -> None:
        faults = faults or NoFaults()
        self.clock = clock or MemoryClock()
        self.objects = MemoryObjects(self.clock, faults)
        self.transfer = MemoryTransfer(self.objects)
        self.fleet = MemoryFleet(self.clock, faults)
        self.deadlines = MemoryDeadlines(self.clock, faults)
        self.notifier = MemoryNotifier(faults)
        self.streams = MemoryStreams(faults)
        self.setup_checks = MemorySetupChecks(faults)
