"""The system of one history as it truly is: AWS, agents, time, and which instances are healthy."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from random import Random

from chronos_ec2.domain.errors import ChronosError, ServiceUnavailable
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.planning.plan import worst_case
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import outcome_key
from chronos_ec2.services.launch import Launched, WaitsForCapacity
from chronos_ec2.services.watchdog.reconcile import Reconciler, Report
from chronos_ec2.testing import Crash, Environment
from chronos_ec2.testing.builders import BOUNDS
from chronos_ec2.testing.environment import BUCKET
from chronos_ec2.testing.virtual.agent import AgentRun
from chronos_ec2.testing.virtual.faulty_agent import FaultyAgent
from verification.simulation.faulty_aws import Caller
from verification.simulation.guarantees import BOOT, GRACE, LATE, LEASE, PRICED, PROGRESS, Verdicts
from verification.simulation.ledger import USD_PER_HOUR, Ledger, Record, parse_record
from verification.simulation.parts import REAL_PARTS, Parts, SimulatedAws
from verification.simulation.scenario import FaultKind, Layer, Scenario

SUBNETS = ("subnet-a", "subnet-b")
Traces = tuple[int, int, int, int]
LAUNCHER_TIMEOUT, LAMBDA_RETRIES = 300.0, (60.0, 120.0)
"""As the template and Lambda have them: after so many seconds an invocation is killed, and a failed one repeated."""
_TO_ASK_SECONDS = 300.0
"""Whoever has worked for so long when a limit comes was asked to stop before: the grace, and some ticks."""


@dataclass(slots=True)
class Failure:
    """What is wrong with an instance, and since when."""

    name: str
    since: float


class _Environment(Environment):
    """An environment whose launchers are processes of their own."""

    system: System
    relaunchers_die: dict[Lane, int]
    on_follow: Callable[[Run, str], None]
    """Whoever invokes the launcher function with a run that a schedule goes on after."""
    on_advance: Callable[[Run, str], None]
    """The same for a group."""

    def follow(self, run: Run, schedule: str) -> None:
        """The launcher function is asked for what follows a run."""
        self.on_follow(run, schedule)

    def advance(self, run: Run, group: str) -> None:
        """The launcher function is asked to go on with a group."""
        self.on_advance(run, group)

    def begin_launch(self, lane: Lane, dies_after: int | None) -> None:
        """Somebody launches in a lane, and crashes after so many fault points."""
        caller = Caller(in_launch=True, calls_to_crash=dies_after)
        self.system.noise.run_as(caller, partial(self._told, lambda: self.try_launch(lane)))

    def relaunch(self, run: Run) -> None:
        """The launcher function is invoked asynchronously: a moment later, and now and then twice."""
        system, random = self.system, self.system.random
        for _ in range(1 + (random.random() < system.scenario.doubled_requests)):
            system.time.after(random.uniform(0.1, 3.0), partial(self._invoke_launcher, run, LAMBDA_RETRIES))

    def _invoke_launcher(self, run: Run, retries: Sequence[float]) -> None:
        system = self.system
        system.tell(f"relaunch of {run.run_id}, attempt {run.attempt}")
        launcher = system.parts.launcher(BUCKET, SUBNETS, self.store, self.fleet, self.deadlines, self.clock, BOUNDS)
        dies = self.relaunchers_die.pop(run.lane, None)

        def start() -> None:
            if not self._told(partial(launcher.start, run.lane, run.run_id)) and retries:
                system.time.after(retries[0], partial(self._invoke_launcher, run, retries[1:]))

        caller = Caller(in_function=True, in_launch=True, calls_to_crash=dies)
        system.noise.run_as(caller, start, timeout=LAUNCHER_TIMEOUT)

    def _told(self, start: Callable[[], Launched | WaitsForCapacity | None]) -> bool:
        """Start an instance, and tell what came of it. Returns whether Lambda would call it a success."""
        try:
            launched = start()
            started = launched.instance_id if isinstance(launched, Launched) else launched or "nothing"
            self.system.tell(f"launched as {started}")
        except Crash:
            self.system.tell("the launcher crashed")
            raise
        except ChronosError as error:
            self.system.tell(f"launch failed: {error}")
            return not isinstance(error, ServiceUnavailable)
        return True


@dataclass(eq=False)
class System:
    """Everything that one history is made of. `log` is called with each thing that happens, for people."""

    scenario: Scenario
    limits: Limits
    log: Callable[[str], None] | None = None
    parts: Parts = REAL_PARTS
    agents: dict[str, FaultyAgent] = field(default_factory=dict)
    failing: dict[str, Failure] = field(default_factory=dict)
    """Instances that should end."""
    asked: set[str] = field(default_factory=set)
    """Instances that somebody asked to end."""
    out_of_reach: set[str] = field(default_factory=set)
    """Instances without our tags: only the instance itself or its schedule ends them."""
    on_hold: set[str] = field(default_factory=set)
    """Instances tagged Hold: only deadline and cap end them."""
    spoiled: set[Lane] = field(default_factory=set)
    """Lanes whose lock somebody made unreadable, or worse."""
    robbed: set[Lane] = field(default_factory=set)
    """Lanes whose lock was deleted, or names another instance: nobody can know that their run is healthy."""
    _idle: list[Reconciler] = field(default_factory=list)
    """Those of sweeps that have ended."""

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.limits = replace(self.limits, max_runtime=timedelta(seconds=scenario.max_runtime))
        self.random = Random(scenario.seed ^ 0x5EED)
        aws = SimulatedAws(scenario, self.random, self.parts)
        self.time, self.noise, self.objects, self.fleet = aws.time, aws.noise, aws.objects, aws.fleet
        self.deadlines, self.notifier = aws.deadlines, aws.notifier
        self.noise.muted = True
        self.environment = _Environment(
            aws=aws, limits=self.limits, decide=self.parts.decide, store_type=self.parts.store,
            watchdog_type=self.parts.watchdog, subnet_ids=SUBNETS, max_cost_usd=scenario.max_cost,
            crashes_left=scenario.crashes_left, preemptions_left=scenario.preemptions_left,
            instance_types=tuple(USD_PER_HOUR)[: scenario.types], market=scenario.market,
            price_per_hour_usd=None, prices=USD_PER_HOUR,
            wait_for_capacity=_span(scenario.wait_for_capacity), on_demand_after=_span(scenario.on_demand_after),
        )  # fmt: skip
        self.environment.system = self
        self.noise.muted = False
        self.store = self.environment.store
        self.lanes = [self.environment.lane, Lane(self.environment.name, "second")][: scenario.lanes]
        dies = scenario.calls_to_crash(FaultKind.RELAUNCHER_DIES)
        self.environment.relaunchers_die = {self.lanes[lane]: calls for lane, calls in dies.items()}
        self.foreign = self.fleet.add({"Project": "another"})
        self.verdicts = Verdicts()
        self.ledger = Ledger(scenario, self.time, self.fleet, self.noise, self.verdicts)

    def sweep(self) -> list[Report]:
        """A sweep as Lambda runs it: where none is under way, because what it remembers serves one at a time."""
        watchdog = self._idle.pop() if self._idle else self.environment.watchdog
        reports = watchdog.sweep()
        self._idle.append(watchdog)
        return reports

    def tell(self, text: str) -> None:
        """Log that something happened."""
        if self.log:
            self.log(f"{self.time.seconds:9.1f}  {text}")

    @property
    def traces(self) -> Traces:
        """What has an effect that lasts: messages, locks, terminations, instances."""
        locks = sum(self.objects.holds(lane.state_key) for lane in self.lanes)
        return len(self.notifier.messages), locks, len(self.fleet.terminate_calls), len(self.fleet.ours)

    def lives(self, instance_id: str) -> bool:
        """Whether an instance is not terminated, whatever EC2's list says."""
        return self.fleet.state(instance_id) is not InstanceState.TERMINATED

    def run_in(self, lane: Lane) -> Run | None:
        """The run that holds a lane, for whoever forges its record. Not for oracles: the code under test reads it."""
        self.noise.muted, before = True, self.noise.muted
        try:
            state = self.store.read_lock(lane)
        finally:
            self.noise.muted = before
        return state.run if isinstance(state, LockHeld) else None

    def record_in(self, lane: Lane | None) -> Record | None:
        """What the lock of a lane says by its JSON, if it can be read."""
        if lane is None or not self.objects.holds(lane.state_key):
            return None
        return parse_record(self.objects.body(lane.state_key))

    def lane_of(self, instance_id: str) -> Lane | None:
        """The lane that an instance was launched in."""
        tags = self.fleet.bill[instance_id].tags
        return next((lane for lane in self.lanes if tags.get("Lane") == lane.name), None)

    def ask_to_end(self, run_id: str) -> None:
        """Somebody ends a run: each of its instances may end from now on."""
        self.asked |= {one.instance_id for one in self.fleet.bill.values() if one.run_id == run_id}

    def own_record(self, instance_id: str) -> Record | None:
        """The record that holds an instance's lane, if the instance belongs to it."""
        one, record = self.fleet.bill[instance_id], self.record_in(self.lane_of(instance_id)) or {}
        of_its_attempt = (record.get("run_id"), record.get("attempt")) == (one.run_id, one.attempt)
        return record if of_its_attempt and record["instance_id"] in (None, instance_id) else None

    def healthy(self, instance_id: str) -> bool:
        """Whether nothing may end an instance now."""
        agent = self.agents.get(instance_id)
        if instance_id in self.asked or instance_id in self.failing:
            return False
        if self.lane_of(instance_id) in self.robbed or self.reported_end(instance_id):
            return False
        if agent is None:
            return self._boots_in_time(instance_id) and not self.near_a_limit(instance_id)
        if not agent.claimed or agent.last_beat is None or agent.run is AgentRun.GONE:
            return False
        now = self.time.seconds
        # S3 gives the time of a heartbeat in whole seconds: a lease can seem to be over so much too early.
        silent = now - self.noise.excuse(agent.last_beat) > LEASE - 1.0
        stalled = agent.stalled_since is not None and now - agent.stalled_since > PROGRESS
        return not (silent or stalled or self.near_a_limit(instance_id))

    def reported_end(self, instance_id: str) -> str | None:
        """The outcome that an instance has reported, whether or not it knows that its report has arrived."""
        one = self.fleet.bill[instance_id]
        key = outcome_key("dev", one.run_id, one.attempt)
        report = json.loads(self.objects.body(key)) if self.objects.holds(key) else {}
        return str(report["outcome"]) if report.get("decided_by") == "agent" else None

    def was_not_asked(self, instance_id: str) -> bool:
        """Whether an instance is ended for a near limit alone, and its agent was not asked to stop before."""
        agent = self.agents.get(instance_id)
        lane, since = self.lane_of(instance_id), self.time.seconds - _TO_ASK_SECONDS
        record = self.record_in(lane)
        if record is None or record["stop"] or agent is None or agent.claimed_at is None or agent.claimed_at > since:
            return False
        if Layer.SWEEP in self.scenario.layers_off:
            return False  # nobody looks before the limit
        excused = instance_id in self.asked | self.on_hold or lane in self.spoiled or self.scenario.list_lag
        failure = self.failing.get(instance_id)
        if excused or (failure is not None and failure.name not in (LATE, PRICED)):
            return False
        return agent.alive and not agent.cut_off and agent.stalled_since is None and self.near_a_limit(instance_id)

    def _boots_in_time(self, instance_id: str) -> bool:
        """Whether the lock names, or may yet name, a fresh instance whose agent still has time to claim."""
        record, launched = self.own_record(instance_id), self.fleet.bill[instance_id].launched
        awaited = record is not None and not (record["verdict"] or record["stop"])
        return awaited and self.time.seconds - launched < BOOT

    def planned_usd(self) -> float:
        """What the plan of a launch says that a run costs at most."""
        highest = max(USD_PER_HOUR[kind] for kind in tuple(USD_PER_HOUR)[: self.scenario.types])
        planned = worst_case(self.time.now(), highest, self.scenario.max_cost, self.limits).usd
        assert planned is not None
        return planned

    def near_a_limit(self, instance_id: str) -> bool:
        """Whether deadline or cap allow to end an instance now."""
        soon, one = self.time.seconds + GRACE, self.fleet.bill[instance_id]
        deadlines, cap = self.ledger.deadlines(one.run_id), self.ledger.cap(one.run_id)
        late = deadlines is not None and soon >= deadlines[0]
        if late or deadlines is None or cap is None:
            return late
        _, most = self.ledger.cost(one.run_id, one.launched, one.attempt)
        return most + USD_PER_HOUR[one.instance_type] * (soon - one.launched) / 3600 >= cap


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
