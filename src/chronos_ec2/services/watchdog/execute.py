"""Carries a decision out, and looks once more before it does what cannot be undone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from chronos_ec2.domain.cost import cost_of, cost_so_far
from chronos_ec2.domain.decision import (
    Action,
    CancelDeadline,
    Decision,
    Deed,
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
from chronos_ec2.domain.errors import LostRace, ServiceUnavailable
from chronos_ec2.domain.facts import (
    HeartbeatRead,
    HeartbeatReceived,
    LaneFacts,
    LockHeld,
    LockRead,
    ReadFailed,
    Unreadable,
    last_heard,
)
from chronos_ec2.domain.limits import MAX_NOTIFICATION_DELAY
from chronos_ec2.domain.messages import WITH_LOG, Incident, Message, StackLocation, compose, kind_of_end
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import idle_unreadable_key, incident_key, run_key, set_aside_key, suspect_key
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.ports import Clock, Deadlines, Fleet, Notifier, Relauncher
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.outbox import Outbox, last_lines
from chronos_ec2.services.watchdog.cleanup_receipt import write_receipt
from chronos_ec2.services.watchdog.deadline_schedules import asking_scheduler


@dataclass(frozen=True, slots=True)
class Executor:
    """Does in one environment what was decided upon. Each of its actions may be done again."""

    environment: str
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    notifier: Notifier
    relauncher: Relauncher
    clock: Clock
    place: StackLocation

    def apply(self, decision: Decision, facts: LaneFacts) -> None:
        """Carry out the actions in order; whatever one of them raises is its own trouble, and told after the last.

        So a record that cannot be written does not keep a condemned instance alive, nor one that EC2 refuses to end the
        next. A lost race does, and for a few sweeps a message that is not out.

        Raises:
            LostRace: somebody else has changed what the decision rests on.
            Exception: the first that an action raised.
        """
        for action in decision.actions:
            self._last_look(action, facts)
        failed: Exception | None = None
        told = True
        for action in decision.actions:
            if isinstance(action, Terminate) and action.after_notification and not told:
                continue
            try:
                if isinstance(action, Notify):
                    told = False
                    told = self._notify(action, facts)
                else:
                    facts = self._carry_out(action, facts)
            except LostRace:
                raise
            except Exception as error:  # noqa: BLE001 - an item of a batch; the first is raised after the last
                failed = failed or error
        if failed:
            raise failed

    def _last_look(self, action: Action, facts: LaneFacts) -> None:
        """Before anything is written: a beat that came, or moved, since the facts were gathered overturns them."""
        if (silent := _rests_on_the_beat_of(action, facts)) is None:
            return
        instance_id, run_id = silent
        known = facts.heartbeats.get(run_id, facts.heartbeat)
        beat = self.store.read_heartbeat(self.environment, run_id)
        if isinstance(beat, ReadFailed):
            raise LostRace(f"the last look at {instance_id} failed: {beat.problem}")
        last, before = last_heard(beat, instance_id), last_heard(known, instance_id)
        if last is None:
            return
        came = before is None or last > before
        moved = _counter(beat) > _counter(known)
        hung = isinstance(action, Terminate) and action.cause is Cause.HUNG
        if moved or (came and not hung):
            raise LostRace(f"{instance_id} has shown life since")

    def _carry_out(self, action: Deed, facts: LaneFacts) -> LaneFacts:
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
                self._note(action, facts)
            case FinishRun(run):
                self._conclude(run, facts)
            case ReleaseUnreadable(etag):
                self._release_broken(facts.lane, etag)
            case ScheduleDeadline(instance_id, at):
                with asking_scheduler():
                    self.deadlines.schedule(instance_id, at)
            case CancelDeadline(instance_id):
                with asking_scheduler():
                    self.deadlines.cancel(instance_id)
            case _:
                assert_never(action)
        return facts

    def _note(self, mark: MarkOrphan | MarkUnreadable, facts: LaneFacts) -> None:
        """The time of a first look is S3's of this note; what it says is for people."""
        if isinstance(mark, MarkOrphan):
            name, key = mark.instance_id, suspect_key(self.environment, mark.instance_id)
            what = {"instance_id": mark.instance_id}
        else:
            name, key, what = mark.etag, idle_unreadable_key(facts.lane, mark.etag), {"lock": facts.lane.state_key}
        note = dump_json(what | {"first_seen": format_time(self.clock.now())})
        if name in facts.suspects:  # one of so long ago that it counts no more
            self.store.objects.write(key, note)
            return
        with suppress(LostRace):  # it was there, and could not be read: the first look stays the first
            self.store.objects.create(key, note)

    def _terminate(self, action: Terminate, facts: LaneFacts) -> None:
        """The one place that ends an instance. What was decided upon must still be what is there.

        A hard limit asks for EC2's list alone: who writes the lock again and again would escape it otherwise.
        """
        instance_id = action.instance_id
        if instance_id not in {box.instance_id for box in facts.instances if box.alive}:
            raise LostRace(f"{instance_id} is not in EC2's list of ours")
        if not action.hard:
            state = self.store.read_lock(facts.lane)
            if _version(state) != _version(facts.lock):
                raise LostRace(f"{facts.lane.state_key} changed")
        self.fleet.terminate(instance_id, force=action.force)

    def _conclude(self, run: Run, facts: LaneFacts) -> None:
        """Receipt, final record, message, release: in this order, so that a crash anywhere is repeated whole."""
        held = facts.lock
        if not isinstance(held, LockHeld):
            raise LostRace(f"{facts.lane.state_key} is not held")
        if held.run.verdict is None:
            held = self.store.replace_lock(run, held)
        now = self.clock.now()
        run, cost = held.run, _cost(held.run, facts, now)
        run = replace(run, spent_usd=run.spent_usd if cost is None else cost)
        write_receipt(self.store.objects, self.fleet, self.deadlines, run, facts.instances, now)
        self.store.objects.write(run_key(self.environment, run.run_id, "state.json"), run.to_json())
        text = run.verdict.message if run.verdict else ""
        # The lock outlives its message: without it nobody would come by to send one that is still on its way.
        try:
            told = self._tell(Incident(kind_of_end(run), facts.lane, run.run_id, text, run, cost))
        except ServiceUnavailable:
            raise
        except Exception:
            if now - held.written_at >= MAX_NOTIFICATION_DELAY:
                self.store.release_lock(facts.lane, held.etag)
            raise  # the report is what is left to tell of this end
        if told:
            self.store.release_lock(facts.lane, held.etag)

    def _release_broken(self, lane: Lane, etag: str) -> None:
        found = self.store.objects.read(lane.state_key)
        if found and found.etag == etag:
            self.store.objects.write(set_aside_key(lane, etag), found.body, "application/octet-stream")
        self.store.release_lock(lane, etag)

    def _notify(self, notify: Notify, facts: LaneFacts) -> bool:
        """Whether the message is known to be out."""
        now = self.clock.now()
        # Where no run is, the incident is called by the instance that it is about.
        box = next((each for each in facts.instances if each.instance_id == notify.incident), None)
        cost = _cost(notify.run, facts, now) if notify.run else cost_of(box, now) if box else None
        return self._tell(Incident(notify.kind, facts.lane, notify.incident, notify.text, notify.run, cost, box=box))

    def _tell(self, incident: Incident) -> bool:
        now, run = self.clock.now(), incident.run
        marker = incident_key(self.environment, incident.name, incident.kind, run.attempt if run else None)

        def message() -> Message:
            log = last_lines(self.store.objects, run) if run and incident.kind in WITH_LOG else None
            return compose(replace(incident, log=log), self.place, now)

        return Outbox(self.store.objects, self.notifier).send(marker, message, now)


def _counter(beat: HeartbeatRead) -> int:
    return beat.heartbeat.counter if isinstance(beat, HeartbeatReceived) else -1


def _rests_on_the_beat_of(action: Action, facts: LaneFacts) -> tuple[str, str] | None:
    """The instance, and its run, whose beat, old or missing, is a reason for this, if one is."""
    match action, facts.lock:
        case Terminate(instance_id, Cause.INFRA | Cause.HUNG), LockHeld(run):
            return instance_id, run.run_id
        case Terminate(instance_id, Cause.ORPHAN | Cause.HUNG), Unreadable():
            run_id = next((box.run_id for box in facts.instances if box.instance_id == instance_id), None)
            return (instance_id, run_id) if run_id else None
        case FinishRun(after) | WriteLock(after), LockHeld(run) if run.instance_id and run.instance_id not in _ids(
            facts
        ):
            over = isinstance(action, FinishRun) or after.attempt != run.attempt
            return (run.instance_id, run.run_id) if over else None
        case _:
            return None


def _ids(facts: LaneFacts) -> set[str]:
    return {box.instance_id for box in facts.instances}


def _version(state: LockRead) -> object:
    """What makes two reads of a lock the same: sequence and nonce, because an ETag can recur."""
    match state:
        case LockHeld(run):
            return (run.run_id, run.seq, run.nonce)
        case ReadFailed():
            return ReadFailed  # every failure reads differently, and they all say the same
        case _:
            return state


def _cost(run: Run, facts: LaneFacts, now: datetime) -> float | None:
    mine = [box for box in facts.instances if (box.run_id, box.attempt) == (run.run_id, run.attempt)]
    if not mine:
        return cost_so_far(run, None, now)
    first = min(mine, key=lambda box: box.launched_at)
    return cost_so_far(run, first.launched_at, now, first.instance_type)
