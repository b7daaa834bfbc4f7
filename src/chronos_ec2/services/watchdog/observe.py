"""What is known about a lane: EC2's list, the lock, the beat and the notes, read in the order of the protocol.

EC2 first, then the lock, then the heartbeat. The opposite order would see an instance that was launched after its lock
was read, and call it an orphan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, HeartbeatRead, LaneFacts, LockHeld, LockRead, ReadFailed, Unreadable
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane
from chronos_ec2.domain.records.s3_keys import idle_unreadable_key, suspect_key
from chronos_ec2.domain.rules.missing_instance import belongs, is_lost
from chronos_ec2.ports import Clock, Deadlines, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.outbox import exit_report
from chronos_ec2.services.watchdog.deadline_schedules import list_schedules


@dataclass(frozen=True, slots=True)
class Listing:
    """The instances of a lane, the time just before EC2 was asked for them, and which of them have a schedule."""

    at: datetime
    instances: tuple[Instance, ...]
    scheduled: Mapping[str, datetime] | ReadFailed


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads what there is in one environment."""

    environment: str
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    clock: Clock

    def lane_of(self, instance: Instance) -> Lane:
        """What has no tag that names its lane belongs to the main one."""
        return instance.lane or Lane(self.environment)

    def list_all(self) -> Listing:
        """Everything of ours in the environment. Raises ServiceUnavailable."""
        return self._list(None)

    def list_lane(self, lane: Lane) -> Listing:
        """Everything of ours in a lane. Raises ServiceUnavailable."""
        # What has no tag that names its lane is asked for with all.
        listing = self._list(None if lane.name == MAIN_LANE else lane.name)
        of_lane = tuple(box for box in listing.instances if self.lane_of(box) == lane)
        return Listing(listing.at, of_lane, listing.scheduled)

    def _list(self, lane: str | None) -> Listing:
        listed_at = self.clock.now()
        instances = self.fleet.instances(self.environment, lane)
        return Listing(listed_at, instances, list_schedules(self.deadlines))

    def gather(self, lane: Lane, listing: Listing) -> LaneFacts:
        """What is known of a lane whose instances were just listed. What cannot be read is told as ReadFailed."""
        instances = listing.instances
        state = self.store.read_lock(lane)
        scheduled = listing.scheduled if isinstance(listing.scheduled, ReadFailed) else listing.scheduled.keys()
        if isinstance(state, ReadFailed):
            # Then deadlines alone count, and no time is lost on reads that would fail as well.
            return LaneFacts(lane, instances, listing.at, state, state, scheduled)
        facts = LaneFacts(lane, instances, listing.at, state, self._beat_of(state), scheduled)
        if isinstance(state, LockHeld) and is_lost(state.run, instances):
            facts = replace(facts, exit_report=exit_report(self.store.objects, state.run))
        notes = {
            box.instance_id: suspect_key(self.environment, box.instance_id)
            for box in instances
            if box.alive and not (isinstance(state, LockHeld) and belongs(box, state.run))
        }
        if isinstance(state, Unreadable):
            facts = replace(facts, heartbeats=self._beats_of(instances))
            # As long as something is alive, its end is to be decided, and not the lock's.
            notes = notes or {state.etag: idle_unreadable_key(lane, state.etag)}
        return replace(facts, suspects=self._first_seen(notes)) if notes else facts

    def _beat_of(self, state: LockRead) -> HeartbeatRead:
        if isinstance(state, LockHeld) and (state.run.claimed or state.run.attempt > 1):
            return self.store.read_heartbeat(self.environment, state.run.run_id)
        return Absent()

    def _beats_of(self, instances: Iterable[Instance]) -> dict[str, HeartbeatRead]:
        run_ids = {box.run_id for box in instances if box.alive and box.run_id}
        return {run_id: self.store.read_heartbeat(self.environment, run_id) for run_id in sorted(run_ids)}

    def _first_seen(self, notes: Mapping[str, str]) -> dict[str, datetime]:
        """A note that cannot be read counts as none: the first look is yet to come."""
        seen: dict[str, datetime] = {}
        for name, key in notes.items():
            with suppress(ServiceUnavailable, NotAllowed):
                if note := self.store.objects.read(key):
                    seen[name] = note.written_at
        return seen
