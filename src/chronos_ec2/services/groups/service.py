"""Go on with a group: when it is created, after each of its members, and when it is killed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from chronos_ec2.domain.errors import (
    InvalidDocument,
    InvalidInput,
    LostRace,
    NotAllowed,
    RunNotFound,
    ServiceUnavailable,
)
from chronos_ec2.domain.facts import Absent, LockHeld, ReadFailed
from chronos_ec2.domain.groups.decide import Over, Situation, Start, Wait, decide
from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.domain.groups.result import Result, result_of
from chronos_ec2.domain.limits import LAUNCH_SLOT, MAX_NOTIFICATION_DELAY
from chronos_ec2.domain.message_kinds import Kind
from chronos_ec2.domain.messages import Incident, compose
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import followed_key, incident_key
from chronos_ec2.domain.schedules.ledger import Entry, Ledger
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.services.kill import kill
from chronos_ec2.services.run_queries import final_record
from chronos_ec2.services.schedules.begin import begin, write_once
from chronos_ec2.services.schedules.service import Schedules
from chronos_ec2.services.watchdog.outbox import Outbox
from chronos_ec2.services.watchdog.reconcile import Reconciler

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of an environment, as whoever may start runs sees them: then it is the Relauncher too.

    Every method may be repeated, and raises ServiceUnavailable, NotAllowed.
    """

    schedules: Schedules

    @property
    def orders(self) -> GroupStore:
        """Their orders, ledgers and results."""
        return GroupStore(self.schedules.environment, self.schedules.store.objects)

    def relaunch(self, run: Run) -> None:
        """Start an instance for the current attempt of a run."""
        self.schedules.launcher.relaunch(run)

    def follow(self, run: Run, schedule: str) -> None:
        """Start the job after a run of a schedule."""
        self.schedules.after(schedule, run.run_id)

    def advance(self, run: Run, group: str) -> None:
        """Go on with a group after one of its members."""
        self.after(group, run.run_id)

    def after(self, name: str, run_id: str) -> Wait | Over:
        """Go on with a group after one of its members, and note for the watchdog that this is done."""
        environment, objects = self.schedules.environment, self.schedules.store.objects
        if objects.read(followed_key(environment, run_id)) is not None:
            return Wait(f"the group has gone on after run {run_id} already")
        if final_record(self.schedules.store, environment, run_id) is None:
            return Wait(f"run {run_id} has not ended")
        try:
            done = self.go_on(name)
        except InvalidDocument as error:  # nobody can go on with it
            done = Over(one_line(str(error)))
        with suppress(LostRace):
            objects.create(followed_key(environment, run_id), dump_json({"group": name, "reason": done.reason}))
        return done

    def go_on(self, name: str) -> Wait | Over:
        """Start what may start; if nothing is at work after that, the group has ended, and people are told.

        Raises:
            ServiceUnavailable: it has to be called again.
            InvalidDocument: order or ledger cannot be read, or is of another group.
        """
        group = self.orders.order(name)
        if group is None:
            return Over(f"there is no group {name}")
        for _ in range(len(group.members) + _TRIES):
            looked_at, read = self.schedules.clock.now(), self.orders.ledger(name)
            _check_ledger(read.ledger, group)
            held = frozenset(self._held(group, read.ledger))
            ledger = self.schedules.with_ends(read.ledger)
            match decide(Situation(group, ledger, held, self.schedules.clock.now())):
                case Start(entry, enter):
                    with suppress(LostRace):
                        if enter:
                            self.orders.replace_ledger(name, ledger.with_entry(entry), read)
                        self._start(group, entry, looked_at)
                case Over(reason) if ledger.stopped is None:
                    # Whoever was held up since it read the ledger enters nobody after the end.
                    with suppress(LostRace):
                        self.orders.replace_ledger(name, replace(ledger, seq=ledger.seq + 1, stopped=reason), read)
                case Over(reason) as over:
                    self._end(group, ledger, reason)
                    return over
                case wait:
                    return wait
        raise ServiceUnavailable(f"the ledger of group {name} kept changing")

    def kill(self, name: str, reconciler: Reconciler, reason: str, *, at_once: bool = False) -> Ledger:
        """Let no further member start, and end those at work as `kill` does. Returns the ledger with all of them.

        Raises:
            InvalidDocument: the ledger cannot be read.
            LostRace: it changes too fast; kill again.
        """
        ledger = self._stop(name, one_line(f"killed: {reason}", 200))
        store, clock, failed = self.schedules.store, self.schedules.clock, None
        for entry in ledger.entries:
            if entry.succeeded is None:
                try:
                    kill(entry.run_id, store, reconciler, clock, reason, at_once=at_once)
                except (RunNotFound, InvalidInput):
                    pass  # it has ended, or holds no lane yet and gets no instance
                except (ServiceUnavailable, LostRace) as error:
                    failed = error  # the others cost money meanwhile
        if failed:
            raise failed
        self.go_on(name)
        return ledger

    def _stop(self, name: str, reason: str) -> Ledger:
        for _ in range(_TRIES):
            read = self.orders.ledger(name)
            ledger = self.schedules.with_ends(read.ledger)
            if ledger.stopped is not None:
                return ledger
            ledger = replace(ledger, seq=ledger.seq + 1, stopped=reason)
            with suppress(LostRace):
                self.orders.replace_ledger(name, ledger, read)
                return ledger
        raise LostRace(f"the ledger of group {name} kept changing; kill again")

    def _start(self, group: Group, entry: Entry, looked_at: datetime) -> None:
        """Begin the run of a member that is entered."""
        store, now = self.schedules.store, self.schedules.clock.now()
        if now - looked_at >= LAUNCH_SLOT:
            raise ServiceUnavailable(f"the start of run {entry.run_id} was held up for too long")
        request = write_once(store, group.request_of(entry))
        if holder := begin(request, store, self.schedules.launcher, now):
            raise ServiceUnavailable(f"run {holder} holds {request.lane}, which is for run {entry.run_id}")

    def _held(self, group: Group, ledger: Ledger) -> list[str]:
        """The members that hold their lanes, among those whose end the ledger does not have."""
        lanes, held = dict(zip(group.run_ids, group.lanes, strict=True)), []
        for entry in ledger.entries:
            if entry.succeeded is not None:
                continue
            lock = self.schedules.store.read_lock(lanes[entry.run_id])
            if isinstance(lock, ReadFailed):
                raise ServiceUnavailable(lock.problem)
            if not isinstance(lock, Absent) and not (isinstance(lock, LockHeld) and lock.run.run_id != entry.run_id):
                held.append(entry.run_id)
        return held

    def _end(self, group: Group, ledger: Ledger, reason: str) -> None:
        """Write the result, then tell people."""
        now = self.schedules.clock.now()
        result = self.orders.result(group.name)
        if result is None:
            result = self._put_together(group, result_of(group, ledger, reason, now))
            with suppress(LostRace):
                self.orders.end(result)
        self._tell(group, result, now)

    def _put_together(self, group: Group, result: Result) -> Result:
        """The result, once one manifest names the forecasts of all members."""
        if group.purpose is not Purpose.SHARDS or not result.whole:
            return result
        try:
            self.orders.put_together(group)
        except (InvalidDocument, LostRace) as error:
            return replace(result, problem=one_line(str(error), 200))
        return result

    def _tell(self, group: Group, result: Result, now: datetime) -> None:
        environment, name = group.environment, f"group {group.name}"
        incident = Incident(Kind.ENDED, Lane(environment), name, result.sentence, cost_usd=result.spent_usd)
        marker = incident_key(environment, f"group-{group.name}", Kind.ENDED, None)
        outbox = Outbox(self.schedules.store.objects, self.schedules.notifier)
        overdue = now - result.ended_at >= MAX_NOTIFICATION_DELAY
        try:
            sent = outbox.send(marker, lambda: compose(incident, self.schedules.place, now), now, overdue=overdue)
        except NotAllowed:
            if not overdue:
                raise
            return  # as the watchdog gives up the message about a run
        if not sent:
            raise ServiceUnavailable("people are being told by another invocation, or it has died in doing so")


def _check_ledger(ledger: Ledger, group: Group) -> None:
    known = group.run_ids
    if foreign := next((one.run_id for one in ledger.entries if one.run_id not in known), None):
        raise InvalidDocument(f"the ledger of group {group.name} has run {foreign}, so it is of another group")
