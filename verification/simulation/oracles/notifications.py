"""Which notifications a history must send, and which it sent twice."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Status
from chronos_ec2.testing.clock import ORIGIN
from verification.simulation.faulty_aws import Caller
from verification.simulation.guarantees import ALARM, SWEEP, Guarantee
from verification.simulation.ledger import Account, Record, parse_record
from verification.simulation.scenario import FaultKind
from verification.simulation.system import System

_ENDS = {"completed", "failed", "killed", "stuck", "over-budget"}
_OF_AN_ATTEMPT = {"started", "resumed", "leak", "waiting", "held"}
_ENDS_OF = {
    FaultKind.HANG: "stuck",
    FaultKind.KILL: "killed",
    FaultKind.KILL_NOW: "killed",
    FaultKind.FORGED_STOP: "killed",
}
"""How a run ends when this happens to its last instance; as `failed` otherwise."""
Expected = tuple[str, str, int | None]
"""The kind of a message, what it is about, and the attempt if it is about one."""
_ON_ITS_WAY_OUT = frozenset({InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED})
_PENDING_SECONDS = 120.0
"""A message that is pending for less may still be published by whoever reserved it."""
_REPEAT_AFTER_SECONDS = 3600.0
_LEAKS = Guarantee(ALARM + 2 * SWEEP, looks=20)
"""Until an instance that does not go is announced."""
_PUT_OFF_SWEEPS = 5
"""Publishing delays a termination by no more than three sweeps; one before and one after for the two looks."""


class NotificationOracle:
    """Compares the published messages with the truth."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._with_record: dict[str, Lane] = {}
        self._written: set[Lane] = set()
        self._leaving_since: dict[str, float] = {}
        self._missed: set[Expected] = set()
        self._takers: dict[str, Caller] = {}
        self._taken_twice: set[str] = set()
        self._unreadable: dict[str, tuple[str, float]] = {}
        """By lane: the lock that was last published as unreadable, and when."""
        self._repeated = 0
        """How many messages about unreadable locks were rightly repeated."""

    def lock_was_written(self, lane: Lane, record: Record | None) -> None:
        """A run that has a record ends with a message."""
        self._written.add(lane)
        if self._system.noise.caller.in_launch:
            self.somebody_wrote(lane)
        if record is not None:
            self._with_record[record["run_id"]] = lane

    def marker_changes(self, key: str, pending: bool) -> None:
        """Somebody reserves a message, or settles or withdraws that. Nobody may reserve what another is publishing."""
        caller = self._system.noise.caller
        holder = self._takers.pop(key, None)
        if pending:
            self._takers[key] = caller
            if holder is not None and holder is not caller and holder.alive:
                self._taken_twice.add(key)

    def was_published(self) -> None:
        """A message about a run says what it has cost; one about a lock is due again once the lock has changed."""
        document = self._system.notifier.messages[-1].document
        if document["kind"] == "stuck" and document["run_id"] is None:
            self._unreadable_was_published(document["lane"])
        lane = self._with_record.get(document["incident"])
        if lane is not None and lane not in self._system.spoiled:
            where = f"the message {document['kind']}"
            self._system.ledger.check_money(document["incident"], document["cost_usd"], where)

    def _unreadable_was_published(self, name: str) -> None:
        objects, key, now = self._system.objects, Lane("dev", name).state_key, self._system.time.seconds
        if name in self._unreadable:  # S3's times are whole seconds
            self._repeated += now - self._unreadable[name][1] >= _REPEAT_AFTER_SECONDS - 1
        self._unreadable[name] = (objects.stored(key).etag if objects.holds(key) else "", now)

    def leaves(self, instance_id: str) -> None:
        """The instance begins to shut down."""
        self._leaving_since.setdefault(instance_id, self._system.time.seconds)

    def somebody_wrote(self, lane: Lane) -> None:
        """How long an instance has been shutting down is read from when its record was written."""
        for instance_id in self._leaving_since:
            if self._system.lane_of(instance_id) == lane:
                self._leaving_since[instance_id] = self._system.time.seconds

    def tick_begins(self) -> None:
        """From here on, count which locks are written."""
        self._written.clear()

    def tick_ended(self) -> None:
        """A tick in which nothing failed has published whatever was due."""
        for lane in self._system.lanes:
            if lane in self._written:
                continue
            if (record := self._system.record_in(lane)) is None:
                self._must_know_of_unreadable(lane)
            elif lane not in self._system.robbed:
                self._must_know_of_attempt(record)
        for instance_id in self._leaving_since.keys() - self._system.out_of_reach:
            self._must_know_of_leak(instance_id)

    def _must_know_of_unreadable(self, lane: Lane) -> None:
        if not self._system.objects.holds(lane.state_key):
            return
        etag, now = self._system.objects.stored(lane.state_key).etag, self._system.time.seconds
        told_etag, told_at = self._unreadable.get(lane.name, (None, now))
        if told_etag is None:
            self._expect("stuck", f"unreadable-{lane.name}")
        elif told_etag != etag and now - told_at > _REPEAT_AFTER_SECONDS + SWEEP:
            self._missed.add(("stuck", f"unreadable-{lane.name}, once more", None))

    def _must_know_of_attempt(self, record: Record) -> None:
        system, kind = self._system, "started" if record["attempt"] == 1 else "resumed"
        if record["verdict"] or record["stop"] or record["suspect"] or record["current_step"] == "launching":
            return
        if record["current_step"] == "waiting-for-capacity":
            waiting, bill = record["waiting"], system.fleet.bill.values()
            started = any((one.run_id, one.attempt) == (record["run_id"], record["attempt"]) for one in bill)
            waits = waiting and waiting["tries"] and system.time.now() < datetime.fromisoformat(waiting["until"])
            if waits and not started:  # its launcher may not have been able to record that it has an instance
                self._expect("waiting", record["run_id"], record["attempt"])
            return
        instance_id = str(record["instance_id"])
        if instance_id in system.fleet.ours - system.on_hold:
            age = system.time.seconds - system.fleet.bill[instance_id].launched
            if age > system.scenario.list_lag and system.lives(instance_id) and system.healthy(instance_id):
                self._expect(kind, record["run_id"], record["attempt"])

    def _must_know_of_leak(self, instance_id: str) -> None:
        system, since = self._system, self._leaving_since[instance_id]
        allowed = _LEAKS.later(system.scenario.list_lag).allowed(since, system.noise.disturbed)
        leaving = system.fleet.state(instance_id) is InstanceState.SHUTTING_DOWN
        if leaving and system.lane_of(instance_id) not in system.spoiled and system.time.seconds - since > allowed:
            record = system.own_record(instance_id) or {"run_id": instance_id, "attempt": None}
            self._expect("leak", record["run_id"], record["attempt"])

    def watchdog_ends(self, instance_id: str) -> None:
        """An orphan is announced before it is terminated, unless publishing was tried for long."""
        system, lane = self._system, self._system.lane_of(instance_id)
        if system.own_record(instance_id) or system.fleet.state(instance_id) in _ON_ITS_WAY_OUT:
            return
        # A verdict that was written just now, and made the record unreadable, announces it too. Of what was suspected
        # before its lock became unreadable, one call that fails is enough: nothing else waits for as long.
        if lane in system.spoiled and (lane in self._written or not system.scenario.clean):
            return
        now, deadlines = system.time.seconds, system.ledger.deadlines(system.fleet.bill[instance_id].run_id)
        late = deadlines is not None and deadlines[0] <= now
        tried = any(at > now - _PUT_OFF_SWEEPS * SWEEP for at in system.noise.disturbed)
        if not (late or tried):
            self._expect("orphan", instance_id)

    def _expect(self, kind: str, name: str, attempt: int | None = None) -> None:
        if (kind, name, attempt) not in self._published() and not self._is_pending(kind, name, attempt):
            self._missed.add((kind, name, attempt))

    def _is_pending(self, kind: str, name: str, attempt: int | None) -> bool:
        """Whether a function that has crashed since reserved the message a moment ago."""
        objects, key = self._system.objects, _marker(kind, name, attempt)
        if self._system.scenario.clean or not objects.holds(key):
            return False
        age = (self._system.time.now() - objects.stored(key).written_at).total_seconds()
        return b"pending" in objects.body(key) and age < _PENDING_SECONDS

    def _published(self) -> Counter[Expected]:
        documents = (message.document for message in self._system.notifier.messages)
        return Counter(
            (each["kind"], each["incident"], each["attempt"] if each["kind"] in _OF_AN_ATTEMPT else None)
            for each in documents
        )

    def at_the_end(self) -> None:
        """Each run that had a record has a final one, whose outcome was published, and no other; nothing twice."""
        published, verdicts = self._published(), self._system.verdicts
        for run_id, lane in self._with_record.items():
            if lane not in self._system.spoiled:
                self._must_have_an_end(run_id, {kind for kind, name, _ in published if name == run_id})
        verdicts.lost = [f"missed notification: {kind} of {name}" for kind, name, _ in sorted(self._missed, key=str)]
        documents = (message.document for message in self._system.notifier.messages)
        sent = Counter(_marker(each["kind"], each["incident"], each["attempt"]) for each in documents)
        twice = sorted(key for key in self._taken_twice if sent[key] > 1)
        verdicts.doubled_markers = [f"{key} was reserved twice and published twice" for key in twice]
        verdicts.duplicates = sum(published.values()) - len(published) - self._repeated

    def _must_have_an_end(self, run_id: str, told: set[str]) -> None:
        objects, ledger, key = self._system.objects, self._system.ledger, f"dev/{run_id}/state.json"
        final = parse_record(objects.body(key)) if objects.holds(key) else None
        if final is None or not final["verdict"]:
            self._missed.add(("failed", f"{run_id}, which has no final record", None))
            return
        written = (objects.stored(key).written_at - ORIGIN).total_seconds()
        ledger.check_money(run_id, final["spent_usd"], "its final record", at=written)
        if final["instance_id"] is None and final["verdict"]["decided_by"] == "agent":
            return  # the launcher reported that EC2 has no capacity
        possible = self._possible_ends(ledger.accounts[run_id])
        if len(told & _ENDS) != 1 or not told & _ENDS <= possible:
            self._missed.add((" or ".join(sorted(possible)), run_id, None))

    def _possible_ends(self, account: Account) -> set[str]:
        """How a run can have ended, by what was done to its last instance."""
        system, scenario = self._system, self._system.scenario
        last = max(account.instances, key=lambda one: one.attempt, default=None)
        agent = system.agents.get(last.instance_id) if last else None
        if last is not None and last.attempt == account.attempt:
            # A report that arrives completes the run, also if its agent never learns of it.
            reported = system.reported_end(last.instance_id) == "succeeded"
            if reported or (agent and agent.status is Status.CLEANUP):
                return {"completed"}
        happened = system.ledger.disturbances[last.instance_id] if last else set()
        kinds = {_ENDS_OF.get(kind, "failed") for kind in happened}
        if account.killed is not None:
            kinds.add("killed")
        if system.ledger.cap(account.run_id) is not None:
            kinds.add("over-budget")
        limited = system.ledger.deadline_is_near(account) or scenario.layers_off or scenario.list_lag
        if agent is None or not agent.claimed or limited or not scenario.clean:
            kinds.add("failed")
        return kinds or {"completed"}


def _marker(kind: str, name: str, attempt: int | None) -> str:
    """Where a reservation of a message lies, as ARCHITECTURE.md has it."""
    if attempt is None:
        return f"dev/incidents/{name}/{kind}"
    return f"dev/notified/{name}/{kind}-{attempt}"
