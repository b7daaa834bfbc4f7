"""Make EC2 and the records agree: gather the facts, decide, apply, report. Every trigger ends here.

The order of reading is part of the protocol: EC2 first, then the state, then the heartbeat. The opposite order would
see an instance that was launched after its state was read, and call it an orphan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from chronos_ec2.domain.cost import cost_of, cost_so_far
from chronos_ec2.domain.decision import (
    Action,
    Arm,
    Conclude,
    Decision,
    Deed,
    Disarm,
    MarkBroken,
    MarkStray,
    Notify,
    Record,
    Relaunch,
    ReleaseBroken,
    Terminate,
)
from chronos_ec2.domain.errors import LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, Beat, BeatRead, Broken, Failed, Held, LaneFacts, StateRead, heard_at
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.lane import (
    MAIN_LANE,
    Lane,
    forsaken_key,
    incident_key,
    run_key,
    set_aside_key,
    suspect_key,
)
from chronos_ec2.domain.limits import MESSAGE_MAY_HOLD, Limits
from chronos_ec2.domain.lost import belongs, is_lost
from chronos_ec2.domain.messages import WITH_LOG, Incident, Message, Place, compose, kind_of_end
from chronos_ec2.domain.policy import decide, judge_unlisted, unlisted
from chronos_ec2.domain.run import Cause, Run
from chronos_ec2.domain.text import dump_json, format_time, one_line
from chronos_ec2.ports import Clock, Deadlines, Fleet, Notifier, Relauncher
from chronos_ec2.services.layer_one import armed_schedules, asking_scheduler
from chronos_ec2.services.notify import Outbox, last_lines, last_words
from chronos_ec2.services.receipt import write_receipt
from chronos_ec2.services.run_store import RunStore

_RETRIES_OF_A_LOST_RACE = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What one reconcile of one lane decided and did, and about what.

    `lost_races` counts decisions that were overtaken; `instances` are the ids of those that live.
    """

    lane: Lane
    decision: Decision
    lost_races: int = 0
    error: str = ""
    run: Run | None = None
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Listing:
    """The instances of a lane, the time just before EC2 was asked for them, and which of them have a schedule."""

    at: datetime
    instances: tuple[Instance, ...]
    armed: Mapping[str, datetime] | Failed


@dataclass(eq=False, slots=True)
class Reconciler:
    """The watchdog of one environment."""

    environment: str
    store: RunStore
    fleet: Fleet
    deadlines: Deadlines
    notifier: Notifier
    relauncher: Relauncher
    clock: Clock
    limits: Limits
    place: Place
    parallel_lanes: int = 1

    def sweep(self) -> list[Report]:
        """Reconcile every lane that has a lock or an instance. One list of EC2 serves all of them."""
        by_lane: dict[Lane, list[Instance]] = defaultdict(list)
        listing = self._list()
        for instance in listing.instances:
            by_lane[self._lane_of(instance)].append(instance)
        locked, remarks = self._list_locks()
        lanes = sorted({*locked, *by_lane})
        others = [*self._schedules_of_unlisted(listing), *remarks]
        listings = [_Listing(listing.at, tuple(by_lane.get(lane, ())), listing.armed) for lane in lanes]
        if self.parallel_lanes == 1 or len(lanes) == 1:
            return [*others, *map(self._isolated, lanes, listings)]
        with ThreadPoolExecutor(self.parallel_lanes) as pool:
            return [*others, *pool.map(self._isolated, lanes, listings)]

    def _list_locks(self) -> tuple[tuple[Lane, ...], list[Report]]:
        """The lanes that may have a lock, and what is to be said of the list.

        Without a list the lanes of the instances are swept: their deadlines hold also when S3 does not answer.
        """
        main = Lane(self.environment)
        try:
            found = self.store.list_lanes(self.environment)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with S3, the report tells of it
            detail = one_line(f"{type(error).__name__}: {error}")
            return (main,), [Report(main, Decision("the locks could not be listed"), error=detail)]
        return found.lanes, [Report(main, Decision(found.remark))] if found.strange else []

    def _schedules_of_unlisted(self, listing: _Listing) -> list[Report]:
        """Look after the schedules of instances that EC2 does not list as ours; their trouble is theirs alone."""
        if isinstance(listing.armed, Failed):
            return []
        missing = unlisted(listing.armed, listing.instances, self.clock.now(), self.limits)
        if not missing:
            return []
        lane = Lane(self.environment)
        decision = Decision("schedules of instances that EC2 does not list")
        try:
            decision = judge_unlisted(missing, self.fleet.look_up(self.environment, missing))
            self._apply(decision, LaneFacts(lane, (), listing.at, Absent()))
        except Exception as error:  # noqa: BLE001 - no schedule keeps a lane from its sweep; the report tells of it
            return [Report(lane, decision, error=one_line(f"{type(error).__name__}: {error}"))]
        return [Report(lane, decision)] if decision.actions else []

    def _isolated(self, lane: Lane, listing: _Listing) -> Report:
        """One lane's trouble, of whatever kind, does not keep the sweep from the others; the report tells of it."""
        try:
            return self._reconcile(lane, listing)
        except Exception as error:  # noqa: BLE001 - an item of a batch; the function fails after the last one
            detail = one_line(f"{type(error).__name__}: {error}")
            return Report(lane, Decision("reconcile failed, the next tick tries again"), error=detail)

    def lane(self, lane: Lane) -> Report:
        """Reconcile one lane of this environment.

        Raises:
            ServiceUnavailable: EC2 or S3 did not answer; the next trigger tries again.
        """
        if lane.environment != self.environment:
            return Report(lane, Decision("the lane of another environment"))
        return self._reconcile(lane, self._list_lane(lane))

    def instance(self, instance_id: str) -> Report | None:
        """Reconcile the lane of an instance; None if the instance is not ours."""
        found = self.fleet.find(self.environment, instance_id)
        return None if found is None else self.lane(self._lane_of(found))

    def facts(self, lane: Lane) -> LaneFacts:
        """What is known about a lane now."""
        return self._gather(lane, self._list_lane(lane))

    def _lane_of(self, instance: Instance) -> Lane:
        return instance.lane or Lane(self.environment)

    def _list(self, lane: str | None = None) -> _Listing:
        listed_at = self.clock.now()
        instances = self.fleet.instances(self.environment, lane)
        return _Listing(listed_at, instances, armed_schedules(self.deadlines))

    def _list_lane(self, lane: Lane) -> _Listing:
        # What has no tag that names its lane belongs to the main one, so for that all are listed.
        listing = self._list(None if lane.name == MAIN_LANE else lane.name)
        of_lane = tuple(box for box in listing.instances if self._lane_of(box) == lane)
        return _Listing(listing.at, of_lane, listing.armed)

    def _reconcile(self, lane: Lane, listing: _Listing) -> Report:
        for lost_races in range(_RETRIES_OF_A_LOST_RACE):
            facts = self._gather(lane, listing)
            decision = decide(facts, self.clock.now(), self.limits)
            try:
                self._apply(decision, facts)
            except LostRace:
                listing = self._list_lane(lane)
                continue
            run = facts.state.run if isinstance(facts.state, Held) else None
            alive = tuple(box.instance_id for box in facts.instances if box.alive)
            return Report(lane, decision, lost_races, run=run, instances=alive)
        return self._overtaken(lane, listing)

    def _overtaken(self, lane: Lane, listing: _Listing) -> Report:
        """Whoever keeps winning is alive and writing: the next trigger looks again. No writing lifts a hard limit."""
        facts = self._gather(lane, listing)
        decision = decide(facts, self.clock.now(), self.limits)
        hard = tuple(action for action in decision.actions if isinstance(action, Terminate) and action.hard)
        decision = Decision(f"others kept writing; hard limits alone count: {decision.reason}", hard, decision.evidence)
        self._apply(decision, facts)
        alive = tuple(box.instance_id for box in facts.instances if box.alive)
        error = f"others kept writing {lane.state_key}, nothing could be recorded"
        return Report(lane, decision, _RETRIES_OF_A_LOST_RACE, error, instances=alive)

    # --- gather ------------------------------------------------------------------------------------------------

    def _gather(self, lane: Lane, listing: _Listing) -> LaneFacts:
        instances = listing.instances
        state = self.store.read_lock(lane)
        armed = listing.armed if isinstance(listing.armed, Failed) else listing.armed.keys()
        if isinstance(state, Failed):
            # Then deadlines alone count, and no time is lost on reads that would fail as well.
            return LaneFacts(lane, instances, listing.at, state, state, armed)
        facts = LaneFacts(lane, instances, listing.at, state, self._beat_of(state), armed)
        if isinstance(state, Held) and is_lost(state.run, instances):
            facts = replace(facts, last_words=last_words(self.store.objects, state.run))
        notes = {
            box.instance_id: suspect_key(self.environment, box.instance_id)
            for box in instances
            if box.alive and not (isinstance(state, Held) and belongs(box, state.run))
        }
        if isinstance(state, Broken):
            facts = replace(facts, beats=self._beats_of(instances))
            # As long as something is alive, its end is to be decided, and not the lock's.
            notes = notes or {state.etag: forsaken_key(lane, state.etag)}
        return replace(facts, suspects=self._first_seen(notes)) if notes else facts

    def _beat_of(self, state: StateRead) -> BeatRead:
        if isinstance(state, Held) and (state.run.claimed or state.run.attempt > 1):
            return self.store.read_beat(self.environment, state.run.run_id)
        return Absent()

    def _beats_of(self, instances: Iterable[Instance]) -> dict[str, BeatRead]:
        run_ids = {box.run_id for box in instances if box.alive and box.run_id}
        return {run_id: self.store.read_beat(self.environment, run_id) for run_id in sorted(run_ids)}

    def _first_seen(self, notes: Mapping[str, str]) -> dict[str, datetime]:
        """A note that cannot be read counts as none: the first look is yet to come."""
        seen: dict[str, datetime] = {}
        for name, key in notes.items():
            with suppress(ServiceUnavailable, NotAllowed):
                if note := self.store.objects.read(key):
                    seen[name] = note.written_at
        return seen

    # --- apply -------------------------------------------------------------------------------------------------

    def _apply(self, decision: Decision, facts: LaneFacts) -> None:
        """Carry out the actions in order; whatever one of them raises is its own trouble, and told after the last.

        So a record that cannot be written does not keep a condemned instance alive, nor one that EC2 refuses to end the
        next. A lost race does, and for a few sweeps a message that is not out.
        """
        for action in decision.actions:
            self._last_look(action, facts)
        failed: Exception | None = None
        told = True
        for action in decision.actions:
            if isinstance(action, Terminate) and action.once_told and not told:
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
        known = facts.beats.get(run_id, facts.beat)
        beat = self.store.read_beat(self.environment, run_id)
        if isinstance(beat, Failed):
            raise LostRace(f"the last look at {instance_id} failed: {beat.problem}")
        last, before = heard_at(beat, instance_id), heard_at(known, instance_id)
        if last is None:
            return
        came = before is None or last > before
        moved = _counter(beat) > _counter(known)
        hung = isinstance(action, Terminate) and action.cause is Cause.HUNG
        if moved or (came and not hung):
            raise LostRace(f"{instance_id} has shown life since")

    def _carry_out(self, action: Deed, facts: LaneFacts) -> LaneFacts:
        match action:
            case Record(run):
                if not isinstance(facts.state, Held):
                    raise LostRace(f"{facts.lane.state_key} is not held")
                return replace(facts, state=self.store.replace_lock(run, facts.state))
            case Terminate():
                self._terminate(action, facts)
            case Relaunch(run):
                self.relauncher.relaunch(run)
            case MarkStray() | MarkBroken():
                self._note(action, facts)
            case Conclude(run):
                self._conclude(run, facts)
            case ReleaseBroken(etag):
                self._release_broken(facts.lane, etag)
            case Arm(instance_id, at):
                with asking_scheduler():
                    self.deadlines.arm(instance_id, at)
            case Disarm(instance_id):
                self._disarm(instance_id)
            case _:
                assert_never(action)
        return facts

    def _note(self, mark: MarkStray | MarkBroken, facts: LaneFacts) -> None:
        """The time of a first look is S3's of this note; what it says is for people."""
        if isinstance(mark, MarkStray):
            name, key = mark.instance_id, suspect_key(self.environment, mark.instance_id)
            what = {"instance_id": mark.instance_id}
        else:
            name, key, what = mark.etag, forsaken_key(facts.lane, mark.etag), {"lock": facts.lane.state_key}
        note = dump_json(what | {"first_seen": format_time(self.clock.now())})
        if name in facts.suspects:  # one of so long ago that it counts no more
            self.store.objects.write(key, note)
            return
        with suppress(LostRace):  # it was there, and could not be read: the first look stays the first
            self.store.objects.create(key, note)

    def _disarm(self, instance_id: str) -> None:
        with asking_scheduler():
            self.deadlines.disarm(instance_id)

    def _terminate(self, action: Terminate, facts: LaneFacts) -> None:
        """The one place that ends an instance. What was decided upon must still be what is there.

        A hard limit asks for EC2's list alone: who writes the lock again and again would escape it otherwise.
        """
        instance_id = action.instance_id
        if instance_id not in {box.instance_id for box in facts.instances if box.alive}:
            raise LostRace(f"{instance_id} is not in EC2's list of ours")
        if not action.hard:
            state = self.store.read_lock(facts.lane)
            if _version(state) != _version(facts.state):
                raise LostRace(f"{facts.lane.state_key} changed")
        self.fleet.terminate(instance_id, force=action.force)

    def _conclude(self, run: Run, facts: LaneFacts) -> None:
        """Receipt, final record, message, release: in this order, so that a crash anywhere is repeated whole."""
        held = facts.state
        if not isinstance(held, Held):
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
            if now - held.written_at >= MESSAGE_MAY_HOLD:
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


def _counter(beat: BeatRead) -> int:
    return beat.heartbeat.counter if isinstance(beat, Beat) else -1


def _rests_on_the_beat_of(action: Action, facts: LaneFacts) -> tuple[str, str] | None:
    """The instance, and its run, whose beat, old or missing, is a reason for this, if one is."""
    match action, facts.state:
        case Terminate(instance_id, Cause.INFRA | Cause.HUNG), Held(run):
            return instance_id, run.run_id
        case Terminate(instance_id, Cause.ORPHAN | Cause.HUNG), Broken():
            run_id = next((box.run_id for box in facts.instances if box.instance_id == instance_id), None)
            return (instance_id, run_id) if run_id else None
        case Conclude(after) | Record(after), Held(run) if run.instance_id and run.instance_id not in _ids(facts):
            over = isinstance(action, Conclude) or after.attempt != run.attempt
            return (run.instance_id, run.run_id) if over else None
        case _:
            return None


def _ids(facts: LaneFacts) -> set[str]:
    return {box.instance_id for box in facts.instances}


def _version(state: StateRead) -> object:
    """What makes two reads of a lock the same: sequence and nonce, because an ETag can recur."""
    match state:
        case Held(run):
            return (run.run_id, run.seq, run.nonce)
        case Failed():
            return Failed  # every failure reads differently, and they all say the same
        case _:
            return state


def _cost(run: Run, facts: LaneFacts, now: datetime) -> float | None:
    mine = [box for box in facts.instances if (box.run_id, box.attempt) == (run.run_id, run.attempt)]
    if not mine:
        return cost_so_far(run, None, now)
    first = min(mine, key=lambda box: box.launched_at)
    return cost_so_far(run, first.launched_at, now, first.instance_type)
