"""Reads what is known about a lane: EC2's list, then the lock, the instance's reports, its heartbeat and the marks.

The order matters: if the lock were read first, an instance launched in between would look like an orphan; if an outcome
were read before EC2's list, an instance that ends in between would seem to have said nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import (
    Absent,
    Found,
    HeartbeatRead,
    LaneFacts,
    LockHeld,
    LockRead,
    ReadFailed,
    Reports,
    Unreadable,
)
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane
from chronos_ec2.domain.records.s3_keys import idle_unreadable_key, suspect_key
from chronos_ec2.domain.rules.missing_instance import is_lost
from chronos_ec2.ports import Clock, Deadlines, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.deadline_schedules import list_schedules
from chronos_ec2.services.watchdog.outbox import exit_report


@dataclass(frozen=True, slots=True)
class Listing:
    """Instances, the time just before EC2 was asked for them, and the deadline schedules with their creation times."""

    at: datetime
    instances: tuple[Instance, ...]
    scheduled: Mapping[str, datetime] | ReadFailed


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads the facts of one environment."""

    environment: str
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    clock: Clock
    limits: Limits

    def lane_of(self, instance: Instance) -> Lane:
        """The lane of an instance; without a lane tag, the main lane."""
        return instance.lane or Lane(self.environment)

    def list_all(self) -> Listing:
        """All our instances in the environment. Raises ServiceUnavailable."""
        return self._list(None)

    def list_lane(self, lane: Lane) -> Listing:
        """All our instances in a lane. Raises ServiceUnavailable."""
        # Instances without a lane tag are only in the full list.
        listing = self._list(None if lane.name == MAIN_LANE else lane.name)
        of_lane = tuple(instance for instance in listing.instances if self.lane_of(instance) == lane)
        return Listing(listing.at, of_lane, listing.scheduled)

    def _list(self, lane: str | None) -> Listing:
        listed_at = self.clock.now()
        instances = self.fleet.instances(self.environment, lane)
        return Listing(listed_at, instances, list_schedules(self.deadlines))

    def gather(self, lane: Lane, listing: Listing) -> LaneFacts:
        """What is known about a lane whose instances were just listed. A read that fails is a ReadFailed."""
        instances = listing.instances
        lock = self.store.read_lock(lane)
        scheduled = listing.scheduled if isinstance(listing.scheduled, ReadFailed) else listing.scheduled.keys()
        if isinstance(lock, ReadFailed):
            # Only deadlines count now. Other reads would probably fail too, and take time.
            return LaneFacts(lane, instances, listing.at, lock, lock, scheduled=scheduled)
        reports = self._reports_of(lock)
        heartbeat = self._heartbeat_of(lock, reports)
        facts = LaneFacts(lane, instances, listing.at, lock, heartbeat, reports, scheduled)
        if isinstance(lock, LockHeld) and is_lost(lock.run, instances):
            facts = replace(facts, exit_report=exit_report(self.store.objects, lock.run))
        marks = {
            instance.instance_id: suspect_key(self.environment, instance.instance_id)
            for instance in instances
            if instance.alive and not (isinstance(lock, LockHeld) and instance.belongs_to(lock.run))
        }
        if isinstance(lock, Unreadable):
            facts = replace(facts, heartbeats=self._heartbeats_of(instances))
            # The lock is only suspected once no instance is alive, and older than a boot may take.
            old = listing.at - lock.written_at >= self.limits.boot
            marks = marks or ({lock.etag: idle_unreadable_key(lane, lock.etag)} if old else {})
        return replace(facts, suspects=self._first_seen(marks)) if marks else facts

    def _reports_of(self, lock: LockRead) -> Reports:
        """What the record may not have yet."""
        if not isinstance(lock, LockHeld) or lock.run.verdict is not None:
            return Reports()
        claim = Absent() if lock.run.claimed else self.store.read_claim(lock.run)
        if not (lock.run.claimed or isinstance(claim, Found)):
            return Reports(claim)
        return Reports(claim, self.store.read_status(lock.run), self.store.read_outcome(lock.run))

    def _heartbeat_of(self, lock: LockRead, reports: Reports) -> HeartbeatRead:
        if not isinstance(lock, LockHeld):
            return Absent()
        if lock.run.claimed or lock.run.attempt > 1 or isinstance(reports.claim, Found):
            return self.store.read_heartbeat(self.environment, lock.run.run_id)
        return Absent()

    def _heartbeats_of(self, instances: Iterable[Instance]) -> dict[str, HeartbeatRead]:
        run_ids = {instance.run_id for instance in instances if instance.alive and instance.run_id}
        return {run_id: self.store.read_heartbeat(self.environment, run_id) for run_id in sorted(run_ids)}

    def _first_seen(self, marks: Mapping[str, str]) -> dict[str, datetime]:
        """When each first observation was marked, by S3's time. A mark that cannot be read counts as none."""
        seen: dict[str, datetime] = {}
        for name, key in marks.items():
            with suppress(ServiceUnavailable, NotAllowed):
                if mark := self.store.objects.read(key):
                    seen[name] = mark.written_at
        return seen
