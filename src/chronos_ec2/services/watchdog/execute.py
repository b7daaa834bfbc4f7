"""Executes decisions, and checks again before it does what cannot be undone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import assert_never

from chronos_ec2.domain.decision import (
    Action,
    CancelDeadline,
    Decision,
    Effect,
    FinishRun,
    MarkOrphan,
    MarkUnreadable,
    Notify,
    Relaunch,
    ReleaseUnreadable,
    ScheduleDeadline,
    Terminate,
    WriteLock,
)
from chronos_ec2.domain.errors import LostRace, NotAllowed, ServiceUnavailable, TerminationProtected
from chronos_ec2.domain.facts import (
    Found,
    LaneFacts,
    LockHeld,
    ReadFailed,
)
from chronos_ec2.domain.limits import MAX_NOTIFICATION_DELAY, MAX_RECEIPT_DELAY, Limits
from chronos_ec2.domain.messages import WITH_LOG, WITHHELD, Incident, Kind, Message, StackLocation, compose, kind_of_end
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.planning.cost import cost_of, cost_until, settled
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import OutcomeReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import idle_unreadable_key, incident_key, run_key, set_aside_key, suspect_key
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.model_registry import Concluded, Registry
from chronos_ec2.ports import Clock, Deadlines, Fleet, Notifier, Prices, Relauncher
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.prices import hourly_price
from chronos_ec2.services.watchdog.cleanup_receipt import EndedRun, write_receipt
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors
from chronos_ec2.services.watchdog.follow import is_followed
from chronos_ec2.services.watchdog.outbox import MessageLimit, Outbox, last_lines
from chronos_ec2.services.watchdog.recheck import check_heartbeat, check_lock


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes the decisions of one environment. Every action may be repeated."""

    environment: str
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    notifier: Notifier
    relauncher: Relauncher
    clock: Clock
    limits: Limits
    place: StackLocation
    prices: Prices
    limit: MessageLimit

    def record(self, observed: LaneFacts, reported: LaneFacts) -> tuple[LaneFacts, Exception | None]:
        """Write the run as reported into the lock if it differs from the one observed; the facts to decide on.

        An error other than LostRace is returned: what is reported counts also when it cannot be written.
        """
        before, after = observed.lock, reported.lock
        if before == after or not isinstance(before, LockHeld) or not isinstance(after, LockHeld):
            return reported, None
        try:
            return replace(reported, lock=self.store.replace_lock(after.run, before)), None
        except LostRace:
            raise
        except Exception as error:  # noqa: BLE001 - deadlines hold although S3 does not answer; raised after that
            return reported, error

    def apply(self, decision: Decision, facts: LaneFacts) -> None:
        """Execute the actions in order. An error of one does not stop the next, and is raised after the last.

        So an instance is terminated although a record cannot be written or EC2 refuses to terminate another. Only a
        lost race stops the rest, and an unsent notification the terminations that wait for it.

        Raises:
            LostRace: what the decision is based on has changed.
            Exception: the first that an action raised.
        """
        for action in decision.actions:
            self._check_heartbeat(action, facts)
        failed: Exception | None = None
        notified = True
        for action in decision.actions:
            if isinstance(action, Terminate) and action.after_notification and not notified:
                continue
            try:
                if isinstance(action, Notify):
                    notified = False
                    notified = self._notify(action, facts)
                else:
                    facts = self._execute(action, facts)
            except LostRace:
                raise
            except Exception as error:  # noqa: BLE001 - an item of a batch; the first error is raised at the end
                failed = failed or error
        if failed:
            raise failed

    def _check_heartbeat(self, action: Action, facts: LaneFacts) -> None:
        check_heartbeat(self.store, action, facts)

    def _execute(self, action: Effect, facts: LaneFacts) -> LaneFacts:
        match action:
            case WriteLock(run):
                if not isinstance(facts.lock, LockHeld):
                    raise LostRace(f"{facts.lane.state_key} is not held")
                return replace(facts, lock=self.store.replace_lock(run, facts.lock))
            case Terminate():
                self._terminate(action, facts)
            case Relaunch(run):
                self.relauncher.relaunch(run)
            case MarkOrphan() | MarkUnreadable():
                self._mark(action, facts)
            case FinishRun(run):
                self._finish(run, facts)
            case ReleaseUnreadable(etag):
                self._release_unreadable(facts.lane, etag)
            case ScheduleDeadline(instance_id, at):
                with scheduler_errors():
                    self.deadlines.schedule(instance_id, at)
            case CancelDeadline(instance_id):
                with scheduler_errors():
                    self.deadlines.cancel(instance_id)
            case _:
                assert_never(action)
        return facts

    def _mark(self, action: MarkOrphan | MarkUnreadable, facts: LaneFacts) -> None:
        """Write the mark of a first observation. S3's time of the object counts; its content is for people."""
        if isinstance(action, MarkOrphan):
            name, key = action.instance_id, suspect_key(self.environment, action.instance_id)
            content = {"instance_id": action.instance_id}
        else:
            name, key = action.etag, idle_unreadable_key(facts.lane, action.etag)
            content = {"lock": facts.lane.state_key}
        mark = dump_json(content | {"first_seen": format_time(self.clock.now())})
        if name in facts.suspects:  # expired
            self.store.objects.write(key, mark)
            return
        with suppress(LostRace):  # one exists that could not be read: it stays the first
            self.store.objects.create(key, mark)

    def _terminate(self, action: Terminate, facts: LaneFacts) -> None:
        """The only place that terminates an instance. The lock must not have changed since the decision.

        A hard limit needs EC2's list only; otherwise an agent could escape it by writing the lock again and again.
        """
        instance_id = action.instance_id
        if instance_id not in {instance.instance_id for instance in facts.instances if instance.alive}:
            raise LostRace(f"{instance_id} is not in EC2's list of our instances")
        if not action.unconditional:
            check_lock(self.store, facts)
        try:
            self.fleet.terminate(instance_id, force=action.force)
        except TerminationProtected:
            # Whoever launches may set it, and the schedule of the deadline cannot end such an instance.
            self.fleet.lift_protection(instance_id)
            self.fleet.terminate(instance_id, force=action.force)

    def _finish(self, run: Run, facts: LaneFacts) -> None:
        """Write receipt and final record, notify, release the lock. In this order, a crash anywhere repeats it all."""
        held = facts.lock
        if not isinstance(held, LockHeld):
            raise LostRace(f"{facts.lane.state_key} is not held")
        now = self.clock.now()
        if held.run.ended_at is None:
            # What comes next may fail for hours, and EC2 forgets the instance meanwhile.
            held = self.store.replace_lock(settled(now, run, self.limits, facts.instances, facts.heartbeat), held)
        run = held.run
        since = held.since(run.phases[-1][1]) if run.phases else held.written_at
        tolerated = Exception if now - since >= MAX_RECEIPT_DELAY else NotAllowed
        outcome = self._outcome_of(run, tolerated)
        cleanup, models = (outcome.cleanup, outcome.models) if outcome else (None, ())
        ended = EndedRun(run, facts.instances, cleanup, now)
        write_receipt(self.store.objects, self.fleet, self.deadlines, ended, tolerated)
        final = replace(run, models=models)
        self.store.objects.write(run_key(self.environment, run.run_id, "state.json"), final.to_json())
        told = [
            *self._promotion(final, outcome, tolerated),
            (kind_of_end(run), run.verdict.message if run.verdict else ""),
        ]
        cost_usd, overdue = cost_until(now, run, self.limits), now - since >= MAX_NOTIFICATION_DELAY
        # The lock is released after the notifications: without a lock no later reconcile would send them.
        refused: Exception | None = None
        try:
            incidents = [Incident(kind, facts.lane, run.run_id, text, run, cost_usd) for kind, text in told]
            notified = all(self._send(incident, overdue=overdue) for incident in incidents)
        except ServiceUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - raised below
            notified, refused = overdue, error
        # Without the lock nobody would ask again. What follows does not wait for people to be told.
        if is_followed(final, self.store, self.relauncher, overdue=overdue) and notified:
            self.store.release_lock(held)
        if refused:
            raise refused

    def _promotion(self, run: Run, outcome: OutcomeReport | None, tolerated: type[Exception]) -> list[tuple[Kind, str]]:
        """Let the run's model become the champion if it is to; what to tell people about it."""
        if run.verdict is None or run.verdict.outcome is not Outcome.SUCCEEDED:
            return []
        try:
            request = self.store.read_request(self.environment, run.run_id)
            if request is None or request.promotion is None:
                return []
            registry = Registry(self.environment, self.store.objects)
            comparison = outcome.comparison if outcome else None
            concluded = registry.conclude(run, request.promotion, comparison, self.clock.now())
        except LostRace:
            raise
        except tolerated as error:
            concluded = Concluded(False, f"it could not be decided: {error}")
        return [(Kind.PROMOTED if concluded.promoted else Kind.KEPT, concluded.reason)]

    def _outcome_of(self, run: Run, tolerated: type[Exception]) -> OutcomeReport | None:
        """What the last attempt has reported at its end. Raises ServiceUnavailable, unless that is tolerated."""
        found = self.store.read_outcome(run)
        if isinstance(found, ReadFailed) and not issubclass(ServiceUnavailable, tolerated):
            raise ServiceUnavailable(found.problem)
        return found.document if isinstance(found, Found) else None

    def _release_unreadable(self, lane: Lane, etag: str) -> None:
        found = self.store.objects.read(lane.state_key)
        if found and found.etag == etag:
            self.store.objects.write(set_aside_key(lane, etag), found.body, "application/octet-stream")
        self.store.remove_lock(lane, etag)

    def _notify(self, notify: Notify, facts: LaneFacts) -> bool:
        """Send a notification; whether nothing has to wait for it any more."""
        now = self.clock.now()
        # An incident without a run may be named after its instance.
        instance = next((each for each in facts.instances if each.instance_id == notify.incident), None)
        price = hourly_price(self.prices, self.place.region, instance.instance_type) if instance else None
        if notify.run:
            cost = cost_until(now, notify.run, self.limits, facts.instances, facts.heartbeat)
        else:
            cost = cost_of(instance, price, now) if instance else None
        incident = Incident(notify.kind, facts.lane, notify.incident, notify.text, notify.run, cost)
        return self._send(replace(incident, instance=instance, price_usd=price), about=notify.about or "")

    def _send(self, incident: Incident, *, about: str = "", overdue: bool = False) -> bool:
        now, run = self.clock.now(), incident.run
        if about and incident.kind in WITHHELD and self.limit.withholds(incident.kind, now):
            return True  # without a look at the marker, of which there may be thousands
        marker = incident_key(self.environment, incident.name, incident.kind, run.attempt if run else None)

        def message() -> Message:
            log = last_lines(self.store.objects, run) if run and incident.kind in WITH_LOG else None
            return compose(replace(incident, log=log), self.place, now)

        def admitted() -> bool:
            ends = run is not None and run.verdict is not None
            return ends or incident.kind not in WITHHELD or self.limit.admits(incident.kind, marker, now)

        outbox = Outbox(self.store.objects, self.notifier)
        return outbox.send(marker, message, now, about=about, admitted=admitted, overdue=overdue)
