"""What reconcile knows about one lane when it decides. A read is a value, also when it failed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run


@dataclass(frozen=True, slots=True)
class Absent:
    """The key does not exist: evidence, not failure."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The object exists, but is not what its key promises. Its content is never acted on."""

    problem: str
    etag: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The read failed. Absence of evidence: nothing may be killed because of it."""

    problem: str


@dataclass(frozen=True, slots=True)
class LockHeld:
    """The lock, held by a run. `written_at` is S3's clock."""

    run: Run
    etag: str
    written_at: datetime

    def since(self, said: datetime) -> datetime:
        """A time of the past that the record names; one that is later than the record itself cannot be true."""
        return min(said, self.written_at)


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A beat and when S3 received it."""

    heartbeat: Heartbeat
    etag: str
    received_at: datetime

    def stalled_for(self, now: datetime) -> timedelta:
        """How long the work has not moved."""
        return self.heartbeat.stalled_for + max(now - self.received_at, timedelta(0))


LockRead = Absent | Unreadable | ReadFailed | LockHeld
HeartbeatRead = Absent | Unreadable | ReadFailed | HeartbeatReceived


def last_heard(beat: HeartbeatRead, instance_id: str) -> datetime | None:
    """When an instance was last heard of. A beat that cannot be read is a sign of life too: whose, nobody can say."""
    match beat:
        case HeartbeatReceived(heartbeat, _, received_at) if heartbeat.instance_id == instance_id:
            return received_at
        case Unreadable(written_at=written_at):
            return written_at
        case _:
            return None


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """One lane: its instances by tag (listed first), then its state, then the beat of the run that holds it.

    `listed_at` is the time just before the list was asked for: what the list lacks is missed since then, and not since
    whenever the decision is made. `scheduled` holds the ids of instances that a schedule ends at their deadline, of this
    lane and of others. `suspects` says since when an instance without a record is known as one, by its id, and since
    when nothing is alive beside an unreadable record, by its ETag. Only beside such a record there are `beats`, by run
    id: those of the runs that the tags of living instances name, because no record says which run it is. `exit_report`
    are what a box that is gone has said of its end: text to show, and no reason for anything.
    """

    lane: Lane
    instances: tuple[Instance, ...]
    listed_at: datetime
    lock: LockRead
    heartbeat: HeartbeatRead = field(default_factory=Absent)
    scheduled: Set[str] | ReadFailed = frozenset()
    suspects: Mapping[str, datetime] = field(default_factory=dict)
    heartbeats: Mapping[str, HeartbeatRead] = field(default_factory=dict)
    exit_report: str = ""

    def suspect_since(self, name: str, now: datetime, limits: Limits) -> datetime | None:
        """When the first of two looks was, None when it was not yet, or so long ago that it counts no more."""
        first_seen = self.suspects.get(name)
        return first_seen if first_seen is not None and now - first_seen <= limits.suspicion else None
