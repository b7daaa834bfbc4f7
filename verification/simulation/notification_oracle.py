"""What people have to be told while a history runs and at its end, and what they were told twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.messages import Kind, kind_of_end
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import incident_key, run_key
from chronos_ec2.domain.records.status import DecidedBy
from verification.simulation.guarantees import Promise
from verification.simulation.system import ENVIRONMENT, System
from verification.simulation.virtual_time import ORIGIN

_ENDS = frozenset({Kind.COMPLETED, Kind.FAILED, Kind.KILLED, Kind.STUCK, Kind.OVER_BUDGET})
_OF_AN_ATTEMPT = frozenset({Kind.STARTED, Kind.RESUMED, Kind.LEAK})
_ON_ITS_WAY_OUT = frozenset({InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED})
_PATIENCE_SECONDS = 120.0
"""A marker that is pending for less may still have an owner."""
_PUT_OFF_SWEEPS = 5
"""Telling people puts an end off by no more than three sweeps; one before and one after for the two looks."""


class NotificationOracle:
    """Holds the messages against what is true. `lost` and `duplicates` are what it found."""

    def __init__(self, scene: System, healthy: Callable[[str], bool]) -> None:
        self._scene = scene
        self._healthy = healthy
        self._runs: dict[str, Lane] = {}
        self._written: set[Lane] = set()
        self._leaving_since: dict[str, float] = {}
        self._missed: set[tuple[Kind, str, int | None]] = set()

    @property
    def lost(self) -> list[str]:
        """What people should have been told, and were not."""
        return [f"nobody was told: {kind} of {name}" for kind, name, _ in sorted(self._missed, key=str)]

    # --- while it runs -----------------------------------------------------------------------------------------

    def lock_was_written(self, lane: Lane, run: Run | None) -> None:
        """A run that has a record ends with a message."""
        self._written.add(lane)
        if self._scene.noise.in_launch:
            self.somebody_wrote(lane)
        if run is not None:
            self._runs[run.run_id] = lane

    def leaves(self, instance_id: str) -> None:
        """The instance begins to shut down."""
        self._leaving_since.setdefault(instance_id, self._scene.clockwork.seconds)

    def somebody_wrote(self, lane: Lane) -> None:
        """How long an instance has been shutting down is told by when its record was written."""
        for instance_id in self._leaving_since:
            if self._scene.instance(instance_id).lane == lane:
                self._leaving_since[instance_id] = self._scene.clockwork.seconds

    def tick_begins(self) -> None:
        """From here on it counts which locks are written."""
        self._written.clear()

    def tick_ended(self) -> None:
        """A tick in which nothing failed has told whatever there was to tell."""
        for lane in self._scene.lanes:
            run = self._scene.run_in(lane)
            if lane in self._written:
                continue
            if run is None:
                self._must_know_of_unreadable(lane)
            elif lane not in self._scene.robbed:
                self._must_know_of_attempt(run)
        for instance_id in self._leaving_since.keys() - self._scene.out_of_reach:
            self._must_know_of_leak(instance_id)

    def _must_know_of_unreadable(self, lane: Lane) -> None:
        if etag := self._scene.objects.etag_of(lane.state_key):
            self._expect(Kind.STUCK, f"unreadable-{''.join(filter(str.isalnum, etag))}", None)

    def _must_know_of_attempt(self, run: Run) -> None:
        scene, kind = self._scene, Kind.STARTED if run.attempt == 1 else Kind.RESUMED
        if run.verdict or run.stop or run.suspect:
            return
        instance_id = str(run.instance_id)
        if run.claimed and instance_id in scene.fleet.ours - scene.on_hold:
            age = scene.clockwork.seconds - (scene.instance(instance_id).launched_at - ORIGIN).total_seconds()
            if age > scene.plan.list_lag and scene.lives(instance_id) and self._healthy(instance_id):
                self._expect(kind, run.run_id, run.attempt)

    def _must_know_of_leak(self, instance_id: str) -> None:
        scene, since, box = self._scene, self._leaving_since[instance_id], self._scene.instance(instance_id)
        sweep = scene.limits.sweep.total_seconds()
        promise = Promise(scene.limits.alarm.total_seconds() + 2 * sweep + scene.plan.list_lag, looks=20)
        late = scene.clockwork.seconds - since > promise.allowed(since, scene.noise.disturbed, sweep)
        if box.state is not InstanceState.SHUTTING_DOWN or box.lane in scene.spoiled or not late:
            return
        run = scene.run_in(box.lane) if box.lane else None
        if run is not None and box.belongs_to(run):
            self._expect(Kind.LEAK, run.run_id, run.attempt)
        else:
            self._expect(Kind.LEAK, instance_id, None)

    def watchdog_ends(self, instance_id: str) -> None:
        """Of an instance without a record people hear before it is ended, unless telling was tried for long."""
        scene, box = self._scene, self._scene.instance(instance_id)
        run = scene.run_in(box.lane) if box.lane else None
        if (run is not None and box.belongs_to(run)) or box.state in _ON_ITS_WAY_OUT:
            return
        now, sweep = scene.clockwork.seconds, scene.limits.sweep.total_seconds()
        # Also a verdict that was written just now, and made the record unreadable, tells of it.
        if box.lane in self._written and box.lane in scene.spoiled:
            return
        late = box.deadline is not None and box.deadline <= scene.clockwork.now()
        tried = any(at > now - _PUT_OFF_SWEEPS * sweep for at in scene.noise.disturbed)
        if not (late or tried):
            self._expect(Kind.ORPHAN, instance_id, None)

    def _expect(self, kind: Kind, name: str, attempt: int | None) -> None:
        if (kind, name, attempt) not in self._told() and not self._is_being_told(kind, name, attempt):
            self._missed.add((kind, name, attempt))

    def _is_being_told(self, kind: Kind, name: str, attempt: int | None) -> bool:
        """Whether a function that is dead by now took it upon itself a moment ago."""
        objects, key = self._scene.objects, incident_key(ENVIRONMENT, name, kind, attempt)
        if self._scene.plan.clean or not objects.holds(key):
            return False
        age = (self._scene.clockwork.now() - objects.written_at(key)).total_seconds()
        return b"pending" in objects.body(key) and age < _PATIENCE_SECONDS

    def _told(self) -> Counter[tuple[Kind, str, int | None]]:
        return Counter(self._identities())

    def _identities(self) -> Iterator[tuple[Kind, str, int | None]]:
        for message in self._scene.notifier.messages:
            kind, told = Kind(message.document["kind"]), message.document
            yield kind, told["incident"], told["attempt"] if kind in _OF_AN_ATTEMPT else None

    # --- at its end --------------------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Each run that had a record has a final one, and people were told of that end, and of no other."""
        told = self._told()
        for run_id, lane in self._runs.items():
            if lane in self._scene.spoiled:
                continue
            key = run_key(ENVIRONMENT, run_id, "state.json")
            final = Run.from_json(self._scene.objects.body(key), lane) if self._scene.objects.holds(key) else None
            if final is None or final.verdict is None:
                self._missed.add((Kind.FAILED, f"{run_id}, which has no final record", None))
            elif final.instance_id is None and final.verdict.decided_by is DecidedBy.AGENT:
                continue  # whoever launched it was told that EC2 has no room
            elif {kind for kind, name, _ in told if name == run_id and kind in _ENDS} != {kind_of_end(final)}:
                self._missed.add((kind_of_end(final), run_id, None))

    @property
    def duplicates(self) -> int:
        """How many messages went out a second time."""
        return sum(count - 1 for count in self._told().values())
