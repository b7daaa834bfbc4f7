"""What is known about one lane when the watchdog decides. A read is a value, also when it failed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Claim, OutcomeReport, StatusReport
from chronos_ec2.domain.records.run import Run

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True)
class Absent:
    """The key does not exist. This is evidence, not a failure."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The object exists, but is not a valid document. Its content is never acted on."""

    problem: str
    etag: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The read failed. Absence of evidence: nothing may be terminated because of it.

    `refused`: AWS does not allow it, so that trying again does not help.
    """

    problem: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class LockHeld:
    """The lock, held by a run. `written_at` is S3's time."""

    run: Run
    etag: str
    written_at: datetime

    def since(self, claimed: datetime) -> datetime:
        """A past time that the record claims. A claim later than the record itself cannot be true."""
        return min(claimed, self.written_at)


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A heartbeat, and when S3 received it."""

    heartbeat: Heartbeat
    etag: str
    received_at: datetime

    def stalled_for(self, now: datetime) -> timedelta:
        """How long the work has made no progress."""
        return self.heartbeat.stalled_for + max(now - self.received_at, timedelta(0))


@dataclass(frozen=True, slots=True)
class Found(Generic[Document]):
    """A report of an instance, and when S3 received it."""

    document: Document
    written_at: datetime


LockRead = Absent | Unreadable | ReadFailed | LockHeld
HeartbeatRead = Absent | Unreadable | ReadFailed | HeartbeatReceived
ClaimRead = Absent | Unreadable | ReadFailed | Found[Claim]
StatusRead = Absent | Unreadable | ReadFailed | Found[StatusReport]
OutcomeRead = Absent | Unreadable | ReadFailed | Found[OutcomeReport]


@dataclass(frozen=True, slots=True)
class Reports:
    """What the instance of the current attempt has reported, as far as the record does not have it already."""

    claim: ClaimRead = field(default_factory=Absent)
    status: StatusRead = field(default_factory=Absent)
    outcome: OutcomeRead = field(default_factory=Absent)


def last_heard(heartbeat: HeartbeatRead, instance_id: str) -> datetime | None:
    """When an instance was last heard from. An unreadable heartbeat may be its own, so it counts too."""
    match heartbeat:
        case HeartbeatReceived(sender, _, received_at) if sender.instance_id == instance_id:
            return received_at
        case Unreadable(written_at=written_at):
            return written_at
        case _:
            return None


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """One lane: its instances by tag (listed first), its lock, then reports and heartbeat of the run that holds it.

    Attributes:
        listed_at: The time just before EC2 was asked. An instance that the list lacks is missing since then.
        scheduled: Ids of the instances, of this and other lanes, that have a deadline schedule.
        suspects: When the first observation was made, by instance id for an instance without a record, and by ETag for
            an unreadable lock without a living instance.
        heartbeats: Only for an unreadable lock, which names no run: the heartbeats of the runs in the tags of living
            instances, by run id.
        exit_report: What a lost instance reported about its end. Shown to people, never a reason.
    """

    lane: Lane
    instances: tuple[Instance, ...]
    listed_at: datetime
    lock: LockRead
    heartbeat: HeartbeatRead = field(default_factory=Absent)
    reports: Reports = field(default_factory=Reports)
    scheduled: Set[str] | ReadFailed = frozenset()
    suspects: Mapping[str, datetime] = field(default_factory=dict)
    heartbeats: Mapping[str, HeartbeatRead] = field(default_factory=dict)
    exit_report: str = ""

    def suspect_since(self, name: str, now: datetime, limits: Limits) -> datetime | None:
        """When the first observation was made; None if there is none, or if it is too old to count."""
        first_seen = self.suspects.get(name)
        return first_seen if first_seen is not None and now - first_seen <= limits.suspicion else None
