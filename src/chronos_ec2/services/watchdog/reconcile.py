"""Make EC2 and the records agree: observe, decide, execute, report. All triggers lead here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import Decision, Notify, Terminate
from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.events import (
    Event,
    Ignored,
    InstanceStateChanged,
    RebalanceRecommendation,
    RunReported,
    SpotInterruption,
    StateWritten,
)
from chronos_ec2.domain.facts import Absent, LaneFacts, LockHeld, ReadFailed
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import MAX_IDLE_LANES, MAX_MESSAGES_PER_HOUR, MAX_SWEEP, Limits
from chronos_ec2.domain.messages import Kind, StackLocation
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time, human_span
from chronos_ec2.domain.records.lane import Lane, lanes_prefix
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.rules.as_reported import as_reported
from chronos_ec2.domain.rules.schedules import decide_unlisted, unlisted
from chronos_ec2.ports import Clock, Deadlines, Fleet, Notifier, Prices, Relauncher
from chronos_ec2.run_store import LaneList, RunStore
from chronos_ec2.services.watchdog.execute import Executor
from chronos_ec2.services.watchdog.lane_turn import LaneTurn
from chronos_ec2.services.watchdog.observe import Listing, Observer
from chronos_ec2.services.watchdog.outbox import MessageLimit

Decide = Callable[[LaneFacts, datetime, Limits], Decision]

_MAX_LOST_RACES = 3


@dataclass(frozen=True, slots=True)
class Report:
    """The decision of one reconcile of one lane.

    `lost_races` counts the decisions that a concurrent write made void, `instances` are the ids of living instances.
    """

    lane: Lane
    decision: Decision
    lost_races: int = 0
    error: str = ""
    run: Run | None = None
    instances: tuple[str, ...] = ()


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
    place: StackLocation
    prices: Prices
    parallel_lanes: int = 1
    decide: Decide = decide
    _observer: Observer = field(init=False)
    _executor: Executor = field(init=False)
    _turn: LaneTurn = field(init=False)

    def __post_init__(self) -> None:
        """Make observer and executor from the same ports."""
        self._observer = Observer(self.environment, self.store, self.fleet, self.deadlines, self.clock, self.limits)
        self._executor = Executor(
            self.environment, self.store, self.fleet, self.deadlines, self.notifier, self.relauncher, self.clock,
            self.limits, self.place, self.prices, MessageLimit(self.environment, self.store.objects),
        )  # fmt: skip
        self._turn = LaneTurn(self.environment, self.store)

    def sweep(self) -> list[Report]:
        """Reconcile every lane that has a lock or an instance. EC2 is listed once for all of them."""
        self._executor.limit.withheld.clear()
        reports = self._sweep()
        return [*reports, *self._check_messages()]

    def _sweep(self) -> list[Report]:
        """The main lane and those with living instances come first, then those whose instances have just ended."""
        main, begun = Lane(self.environment), self.clock.now()
        by_lane: dict[Lane, list[Instance]] = defaultdict(list, {main: []})
        listing = self._observer.list_all()
        for instance in listing.instances:
            by_lane[self._observer.lane_of(instance)].append(instance)
        alive = {main, *(self._observer.lane_of(instance) for instance in listing.instances if instance.alive)}
        found, warnings = self._list_locks()
        lanes = sorted(by_lane, key=lambda lane: (lane != main, lane not in alive, lane))
        lanes += [lane for lane in found.lanes if lane not in by_lane]
        others = [*self._check_schedules(listing), *warnings]

        def visit(lane: Lane) -> Report | None:
            if lane not in alive and self.clock.now() - begun >= MAX_SWEEP:
                return None
            return self._isolated(lane, Listing(listing.at, tuple(by_lane.get(lane, ())), listing.scheduled))

        if self.parallel_lanes == 1 or len(lanes) == 1:
            reports = list(map(visit, lanes))
        else:
            with ThreadPoolExecutor(self.parallel_lanes) as pool:
                reports = list(pool.map(visit, lanes))
        skipped = [lane for lane, report in zip(lanes, reports, strict=True) if report is None]
        return [*others, *filter(None, reports), *self._end_turn(found, skipped)]

    def _list_locks(self) -> tuple[LaneList, list[Report]]:
        """The lanes that may have a lock, and a report if something is wrong with their list.

        Without a list the sweep covers the lanes of the instances: deadlines also hold when S3 does not answer.
        """
        main = Lane(self.environment)
        try:
            found = self._turn.next()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with S3 is reported
            detail = one_line(f"{type(error).__name__}: {error}")
            report = Report(main, Decision("the locks could not be listed"), error=detail)
            return LaneList(self.environment, ()), [report]
        return found, [Report(main, Decision(found.warning))] if found.unknown else []

    def _end_turn(self, found: LaneList, skipped: list[Lane]) -> list[Report]:
        """Note where the next sweep goes on, and tell once an hour that there are more lanes than one looks at."""
        if not (found.more or skipped):
            self._turn.ended_with(None, more=False)
            return []
        looked_at = list(found.names)
        if names := {lane.name for lane in skipped} & set(looked_at):
            looked_at = looked_at[: min(map(looked_at.index, names))]
        text = (
            f"a sweep looks at {MAX_IDLE_LANES} lanes without an instance, for {human_span(MAX_SWEEP)} at most; the "
            f"others follow in turn. Move what is no lock of yours below {lanes_prefix(self.environment)} elsewhere"
        )
        report = self._tell_limit("sweep-limit", text)
        try:
            if looked_at:
                self._turn.ended_with(looked_at[-1], more=found.more)
        except Exception as error:  # noqa: BLE001 - reported; the next sweep begins where this one did
            return [report, replace(report, error=one_line(f"{type(error).__name__}: {error}"))]
        return [report]

    def _check_schedules(self, listing: Listing) -> list[Report]:
        """Handle schedules whose instances EC2 does not list as ours. An error here stops nothing else."""
        if isinstance(listing.scheduled, ReadFailed):
            return []
        missing = unlisted(listing.scheduled, listing.instances, self.clock.now(), self.limits)
        if not missing:
            return []
        lane = Lane(self.environment)
        decision = Decision("schedules of instances that EC2 does not list")
        try:
            decision = decide_unlisted(missing, self.fleet.look_up(self.environment, missing))
            self._executor.apply(decision, LaneFacts(lane, (), listing.at, Absent()))
        except Exception as error:  # noqa: BLE001 - reported; the lanes are still swept
            return [Report(lane, decision, error=one_line(f"{type(error).__name__}: {error}"))]
        return [Report(lane, decision)] if decision.actions else []

    def _check_messages(self) -> list[Report]:
        """Tell once an hour that messages wait, because the limit of messages is reached."""
        if not (withheld := self._executor.limit.withheld):
            return []
        waiting = ", ".join(f"{count} {kind}" for kind, count in sorted(withheld.items()))
        text = (
            f"{MAX_MESSAGES_PER_HOUR} messages in this hour are the limit; waiting for the next: {waiting}. "
            "The ends of runs and instances that cost money for nothing are published at once as ever"
        )
        return [self._tell_limit("message-limit", text)]

    def _tell_limit(self, name: str, text: str) -> Report:
        """Notify people, once an hour, that a limit of the watchdog itself is reached."""
        lane, now = Lane(self.environment), self.clock.now()
        decision = Decision(text, (Notify(Kind.LIMIT, name, text, about=format_time(now)),))
        try:
            self._executor.apply(decision, LaneFacts(lane, (), now, Absent()))
        except Exception as error:  # noqa: BLE001 - reported; the lanes are still swept
            return Report(lane, decision, error=one_line(f"{type(error).__name__}: {error}"))
        return Report(lane, decision)

    def _isolated(self, lane: Lane, listing: Listing) -> Report:
        """Reconcile one lane. An error is reported and does not keep the sweep from the other lanes."""
        try:
            return self._reconcile(lane, listing)
        except Exception as error:  # noqa: BLE001 - an item of a batch; the function fails after the last
            detail = one_line(f"{type(error).__name__}: {error}")
            return Report(lane, Decision("reconcile failed, the next sweep tries again"), error=detail)

    def handle(self, event: Event) -> Report | Ignored:
        """Reconcile the lane that an event is about. An event only says where to look.

        Raises:
            ServiceUnavailable: EC2 or S3 did not answer; the next trigger tries again.
        """
        match event:
            case StateWritten(lane=lane):
                return self.lane(lane)
            case RunReported(environment=environment, run_id=run_id):
                return self.run(environment, run_id) or Ignored(f"no instance of run {run_id} is ours")
            case (
                InstanceStateChanged(instance_id) | SpotInterruption(instance_id) | RebalanceRecommendation(instance_id)
            ):
                return self.instance(instance_id) or Ignored(f"{instance_id} is not ours")
            case Ignored():
                return event
            case _:
                assert_never(event)

    def lane(self, lane: Lane) -> Report:
        """Reconcile one lane of this environment.

        Raises:
            ServiceUnavailable: EC2 or S3 did not answer; the next trigger tries again.
        """
        if lane.environment != self.environment:
            return Report(lane, Decision("this lane is in another environment"))
        return self._reconcile(lane, self._observer.list_lane(lane))

    def instance(self, instance_id: str) -> Report | None:
        """Reconcile the lane of an instance; None if the instance is not ours."""
        found = self.fleet.find(self.environment, instance_id)
        return None if found is None else self.lane(self._observer.lane_of(found))

    def run(self, environment: str, run_id: str) -> Report | None:
        """Reconcile the lane of a run, which the tags of its instances name; None if it has none here."""
        if environment != self.environment:
            return None
        found = (instance for instance in self.fleet.instances(environment) if instance.run_id == run_id)
        lane = next(map(self._observer.lane_of, found), None)
        return None if lane is None else self.lane(lane)

    def facts(self, lane: Lane) -> LaneFacts:
        """What is known about a lane now."""
        return self._observer.gather(lane, self._observer.list_lane(lane))

    def _reconcile(self, lane: Lane, listing: Listing) -> Report:
        for lost_races in range(_MAX_LOST_RACES):
            observed = self._observer.gather(lane, listing)
            facts = as_reported(observed, self.clock.now())
            try:
                facts, unrecorded = self._executor.record(observed, facts)
                decision = self.decide(facts, self.clock.now(), self.limits)
                self._executor.apply(decision, facts)
            except LostRace:
                listing = self._observer.list_lane(lane)
                continue
            if unrecorded:
                raise unrecorded
            run = facts.lock.run if isinstance(facts.lock, LockHeld) else None
            return Report(lane, decision, lost_races, run=run, instances=_living(facts))
        return self._apply_hard_limits(lane, listing)

    def _apply_hard_limits(self, lane: Lane, listing: Listing) -> Report:
        """Do only what no write can prevent. Whoever wins every race is alive; the next trigger looks again."""
        facts = as_reported(self._observer.gather(lane, listing), self.clock.now())
        decision = self.decide(facts, self.clock.now(), self.limits)
        hard = tuple(action for action in decision.actions if isinstance(action, Terminate) and action.unconditional)
        reason = f"every race for the lock was lost, only hard limits count: {decision.reason}"
        decision = Decision(reason, hard, decision.evidence)
        self._executor.apply(decision, facts)
        error = f"{lane.state_key} kept changing, nothing could be recorded"
        return Report(lane, decision, _MAX_LOST_RACES, error, instances=_living(facts))


def _living(facts: LaneFacts) -> tuple[str, ...]:
    return tuple(instance.instance_id for instance in facts.instances if instance.alive)
