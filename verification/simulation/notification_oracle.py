"""Which notifications a history must send, and which it sent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.messages import Kind, kind_of_end
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import incident_key, run_key
from chronos_ec2.domain.records.status import DecidedBy
from chronos_ec2.testing.clock import ORIGIN
from verification.simulation.guarantees import Guarantee
from verification.simulation.system import System

_ENDS = frozenset({Kind.COMPLETED, Kind.FAILED, Kind.KILLED, Kind.STUCK, Kind.OVER_BUDGET})
_OF_AN_ATTEMPT = frozenset({Kind.STARTED, Kind.RESUMED, Kind.LEAK})
_ON_ITS_WAY_OUT = frozenset({InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED})
_PENDING_SECONDS = 120.0
"""A message that is pending for less may still be published by whoever reserved it."""
_PUT_OFF_SWEEPS = 5
"""Publishing delays a termination by no more than three sweeps; one before and one after for the two looks."""


class NotificationOracle:
    """Compares the published messages with the truth. `lost` and `duplicates` are what it found."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._runs: dict[str, Lane] = {}
        self._written: set[Lane] = set()
        self._leaving_since: dict[str, float] = {}
        self._missed: set[tuple[Kind, str, int | None]] = set()

    @property
    def lost(self) -> list[str]:
        """The messages that should have been published, and were not."""
        return [f"missed notification: {kind} of {name}" for kind, name, _ in sorted(self._missed, key=str)]

    # --- while it runs -----------------------------------------------------------------------------------------

    def lock_was_written(self, lane: Lane, run: Run | None) -> None:
        """A run that has a record ends with a message."""
        self._written.add(lane)
        if self._system.noise.in_launch:
            self.somebody_wrote(lane)
        if run is not None:
            self._runs[run.run_id] = lane

    def leaves(self, instance_id: str) -> None:
        """The instance begins to shut down."""
        self._leaving_since.setdefault(instance_id, self._system.time.seconds)

    def somebody_wrote(self, lane: Lane) -> None:
        """How long an instance has been shutting down is read from when its record was written."""
        for instance_id in self._leaving_since:
            if self._system.instance(instance_id).lane == lane:
                self._leaving_since[instance_id] = self._system.time.seconds

    def tick_begins(self) -> None:
        """From here on, count which locks are written."""
        self._written.clear()

    def tick_ended(self) -> None:
        """A tick in which nothing failed has published whatever was due."""
        for lane in self._system.lanes:
            run = self._system.run_in(lane)
            if lane in self._written:
                continue
            if run is None:
                self._must_know_of_unreadable(lane)
            elif lane not in self._system.robbed:
                self._must_know_of_attempt(run)
        for instance_id in self._leaving_since.keys() - self._system.out_of_reach:
            self._must_know_of_leak(instance_id)

    def _must_know_of_unreadable(self, lane: Lane) -> None:
        if self._system.objects.holds(lane.state_key):
            etag = self._system.objects.stored(lane.state_key).etag
            self._expect(Kind.STUCK, f"unreadable-{''.join(filter(str.isalnum, etag))}", None)

    def _must_know_of_attempt(self, run: Run) -> None:
        system, kind = self._system, Kind.STARTED if run.attempt == 1 else Kind.RESUMED
        if run.verdict or run.stop or run.suspect:
            return
        instance_id = str(run.instance_id)
        if run.claimed and instance_id in system.fleet.ours - system.on_hold:
            age = system.time.seconds - (system.instance(instance_id).launched_at - ORIGIN).total_seconds()
            if age > system.scenario.list_lag and system.lives(instance_id) and system.healthy(instance_id):
                self._expect(kind, run.run_id, run.attempt)

    def _must_know_of_leak(self, instance_id: str) -> None:
        system, since, instance = self._system, self._leaving_since[instance_id], self._system.instance(instance_id)
        sweep = system.limits.sweep.total_seconds()
        guarantee = Guarantee(system.limits.alarm.total_seconds() + 2 * sweep + system.scenario.list_lag, looks=20)
        late = system.time.seconds - since > guarantee.allowed(since, system.noise.disturbed, sweep)
        if instance.state is not InstanceState.SHUTTING_DOWN or instance.lane in system.spoiled or not late:
            return
        if run := system.own_run(instance_id):
            self._expect(Kind.LEAK, run.run_id, run.attempt)
        else:
            self._expect(Kind.LEAK, instance_id, None)

    def watchdog_ends(self, instance_id: str) -> None:
        """An orphan is announced before it is terminated, unless publishing was tried for long."""
        system, instance = self._system, self._system.instance(instance_id)
        if system.own_run(instance_id) or instance.state in _ON_ITS_WAY_OUT:
            return
        now, sweep = system.time.seconds, system.limits.sweep.total_seconds()
        # A verdict that was written just now, and made the record unreadable, announces it too.
        if instance.lane in self._written and instance.lane in system.spoiled:
            return
        late = instance.deadline is not None and instance.deadline <= system.time.now()
        tried = any(at > now - _PUT_OFF_SWEEPS * sweep for at in system.noise.disturbed)
        if not (late or tried):
            self._expect(Kind.ORPHAN, instance_id, None)

    def _expect(self, kind: Kind, name: str, attempt: int | None) -> None:
        if (kind, name, attempt) not in self._published() and not self._is_pending(kind, name, attempt):
            self._missed.add((kind, name, attempt))

    def _is_pending(self, kind: Kind, name: str, attempt: int | None) -> bool:
        """Whether a function that has crashed since reserved the message a moment ago."""
        system = self._system
        objects, key = system.objects, incident_key(system.environment.name, name, kind, attempt)
        if system.scenario.clean or not objects.holds(key):
            return False
        age = (system.time.now() - objects.stored(key).written_at).total_seconds()
        return b"pending" in objects.body(key) and age < _PENDING_SECONDS

    def _published(self) -> Counter[tuple[Kind, str, int | None]]:
        return Counter(self._identities())

    def _identities(self) -> Iterator[tuple[Kind, str, int | None]]:
        for message in self._system.notifier.messages:
            kind, document = Kind(message.document["kind"]), message.document
            yield kind, document["incident"], document["attempt"] if kind in _OF_AN_ATTEMPT else None

    # --- at its end --------------------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Each run that had a record has a final one, and that outcome was published, and no other."""
        published = self._published()
        for run_id, lane in self._runs.items():
            if lane in self._system.spoiled:
                continue
            key = run_key(self._system.environment.name, run_id, "state.json")
            final = Run.from_json(self._system.objects.body(key), lane) if self._system.objects.holds(key) else None
            if final is None or final.verdict is None:
                self._missed.add((Kind.FAILED, f"{run_id}, which has no final record", None))
            elif final.instance_id is None and final.verdict.decided_by is DecidedBy.AGENT:
                continue  # the launcher reported that EC2 has no capacity
            elif {kind for kind, name, _ in published if name == run_id and kind in _ENDS} != {kind_of_end(final)}:
                self._missed.add((kind_of_end(final), run_id, None))

    @property
    def duplicates(self) -> int:
        """How many messages went out a second time."""
        return sum(count - 1 for count in self._published().values())
