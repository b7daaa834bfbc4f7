"""Make EC2 and the records agree: observe, decide, execute, report. Every trigger ends here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from chronos_ec2.domain.decide import decide, decide_unlisted, unlisted
from chronos_ec2.domain.decision import Decision, Terminate
from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.facts import Absent, Failed, Held, LaneFacts
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Place
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.ports import Clock, Deadlines, Fleet, Notifier, Relauncher
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.execute import Executor
from chronos_ec2.services.watchdog.observe import Listing, Observer

Decide = Callable[[LaneFacts, datetime, Limits], Decision]

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
    decide: Decide = decide
    _observer: Observer = field(init=False)
    _executor: Executor = field(init=False)

    def __post_init__(self) -> None:
        """Observer and executor see the same AWS."""
        self._observer = Observer(self.environment, self.store, self.fleet, self.deadlines, self.clock)
        self._executor = Executor(
            self.environment, self.store, self.fleet, self.deadlines, self.notifier, self.relauncher, self.clock,
            self.place,
        )  # fmt: skip

    def sweep(self) -> list[Report]:
        """Reconcile every lane that has a lock or an instance. One list of EC2 serves all of them."""
        by_lane: dict[Lane, list[Instance]] = defaultdict(list)
        listing = self._observer.list_all()
        for instance in listing.instances:
            by_lane[self._observer.lane_of(instance)].append(instance)
        locked, remarks = self._list_locks()
        lanes = sorted({*locked, *by_lane})
        others = [*self._schedules_of_unlisted(listing), *remarks]
        listings = [Listing(listing.at, tuple(by_lane.get(lane, ())), listing.armed) for lane in lanes]
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

    def _schedules_of_unlisted(self, listing: Listing) -> list[Report]:
        """Look after the schedules of instances that EC2 does not list as ours; their trouble is theirs alone."""
        if isinstance(listing.armed, Failed):
            return []
        missing = unlisted(listing.armed, listing.instances, self.clock.now(), self.limits)
        if not missing:
            return []
        lane = Lane(self.environment)
        decision = Decision("schedules of instances that EC2 does not list")
        try:
            decision = decide_unlisted(missing, self.fleet.look_up(self.environment, missing))
            self._executor.apply(decision, LaneFacts(lane, (), listing.at, Absent()))
        except Exception as error:  # noqa: BLE001 - no schedule keeps a lane from its sweep; the report tells of it
            return [Report(lane, decision, error=one_line(f"{type(error).__name__}: {error}"))]
        return [Report(lane, decision)] if decision.actions else []

    def _isolated(self, lane: Lane, listing: Listing) -> Report:
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
        return self._reconcile(lane, self._observer.list_lane(lane))

    def instance(self, instance_id: str) -> Report | None:
        """Reconcile the lane of an instance; None if the instance is not ours."""
        found = self.fleet.find(self.environment, instance_id)
        return None if found is None else self.lane(self._observer.lane_of(found))

    def facts(self, lane: Lane) -> LaneFacts:
        """What is known about a lane now."""
        return self._observer.gather(lane, self._observer.list_lane(lane))

    def _reconcile(self, lane: Lane, listing: Listing) -> Report:
        for lost_races in range(_RETRIES_OF_A_LOST_RACE):
            facts = self._observer.gather(lane, listing)
            decision = self.decide(facts, self.clock.now(), self.limits)
            try:
                self._executor.apply(decision, facts)
            except LostRace:
                listing = self._observer.list_lane(lane)
                continue
            run = facts.state.run if isinstance(facts.state, Held) else None
            alive = tuple(box.instance_id for box in facts.instances if box.alive)
            return Report(lane, decision, lost_races, run=run, instances=alive)
        return self._overtaken(lane, listing)

    def _overtaken(self, lane: Lane, listing: Listing) -> Report:
        """Whoever keeps winning is alive and writing: the next trigger looks again. No writing lifts a hard limit."""
        facts = self._observer.gather(lane, listing)
        decision = self.decide(facts, self.clock.now(), self.limits)
        hard = tuple(action for action in decision.actions if isinstance(action, Terminate) and action.hard)
        decision = Decision(f"others kept writing; hard limits alone count: {decision.reason}", hard, decision.evidence)
        self._executor.apply(decision, facts)
        alive = tuple(box.instance_id for box in facts.instances if box.alive)
        error = f"others kept writing {lane.state_key}, nothing could be recorded"
        return Report(lane, decision, _RETRIES_OF_A_LOST_RACE, error, instances=alive)
