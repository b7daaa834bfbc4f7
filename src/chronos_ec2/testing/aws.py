"""AWS in memory: every port, over one clock and one set of faults."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chronos_ec2.domain.messages import Message
from chronos_ec2.testing.clock import MemoryClock
from chronos_ec2.testing.deadlines import MemoryDeadlines
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
        self.pending: list[str] = []
        self.sweeps = True

    def bucket_sends_events(self) -> bool:
        """Whether the bucket tells EventBridge of its objects."""
        self._faults.before("setup_checks.bucket_sends_events", "")
        return self.tells

    def bucket_region(self) -> str | None:
        """The region that the bucket lies in; None when S3 does not say."""
        self._faults.before("setup_checks.bucket_region", "")
        return self.region

    def unconfirmed_subscriptions(self) -> tuple[str, ...]:
        """The subscriptions to which SNS sends nothing yet: protocol, endpoint and topic of each."""
        self._faults.before("setup_checks.unconfirmed_subscriptions", "")
        return tuple(self.pending)

    def sweep_is_scheduled(self) -> bool:
        """Whether the sweep runs."""
        self._faults.before("setup_checks.sweep_is_scheduled", "")
        return self.sweeps


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
        self.notifier = notifier or MemoryNotifier(faults)
        self.streams = MemoryStreams(faults)
        self.setup_checks = MemorySetupChecks(faults)
