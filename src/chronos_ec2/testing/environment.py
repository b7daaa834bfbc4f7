"""One environment in memory: its runs, watchdog, launcher, agents and time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.events import parse_event
from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Claim, OutcomeReport, StatusReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.domain.rules.as_reported import as_reported
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.groups.service import Groups
from chronos_ec2.services.kill import kill
from chronos_ec2.services.launch import Launched, Launcher, LaunchSpec, WaitsForCapacity, launch
from chronos_ec2.services.schedules import Schedules
from chronos_ec2.services.verify import Finding, verify
from chronos_ec2.services.watchdog.reconcile import Decide, Reconciler
from chronos_ec2.testing.agent import Agent, AgentBehaviour
from chronos_ec2.testing.aws import MemoryAws
from chronos_ec2.testing.builders import BOUNDS, SUBNETS
from chronos_ec2.testing.faults import Faults

BUCKET, DATA, REGION = "a-bucket", "training-data/sales/", "us-east-1"


class Environment:
    """An environment named `dev`, with a data set to train on.

    `aws` may be adapters of your own, then `faults` is not used. `decide` and the two types may be defective ones, for
    a test that must find the defect. `order` holds what each launch asks for, as fields of `LaunchSpec`.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        aws: MemoryAws | None = None,
        limits: Limits | None = None,
        decide: Decide = decide,
        store_type: type[RunStore] = RunStore,
        watchdog_type: type[Reconciler] = Reconciler,
        **order: Any,
    ) -> None:
        self.name = "dev"
        self.lane = Lane(self.name)
        self.limits = limits or Limits()
        self.faults = faults or Faults()
        self.aws = aws or MemoryAws(self.faults)
        self.clock, self.objects, self.fleet = self.aws.clock, self.aws.objects, self.aws.fleet
        self.deadlines, self.notifier = self.aws.deadlines, self.aws.notifier
        self.agents: dict[str, Agent] = {}
        self.behaviour = AgentBehaviour.HEALTHY
        """How the next agents behave."""
        self.bounds = BOUNDS
        """What the stack allows any run."""
        self.defaults: dict[str, Any] = {"subnet_ids": SUBNETS, "price_per_hour_usd": 0.752} | order
        self._decide, self._store_type, self._watchdog_type = decide, store_type, watchdog_type
        self._nonces = count()
        with self.faults.suspended():
            self.objects.write(shared_key(self.name, f"{DATA}part-0.parquet"), b"PAR1")

    # Store and watchdog are made anew for each use: like a function's, they remember nothing between two calls.

    @property
    def store(self) -> RunStore:
        """The runs in the bucket."""
        return self._store_type(self.objects, lambda: f"{next(self._nonces):016x}")

    @property
    def watchdog(self) -> Reconciler:
        """The watchdog, whose relauncher is this environment."""
        return self._watchdog_type(
            self.name, self.store, self.fleet, self.deadlines, self.notifier, self, self.clock, self.limits,
            StackLocation("aws", REGION, BUCKET), self.aws.prices, decide=self._decide,
        )  # fmt: skip

    # --- what people and functions do

    def launch(self, lane: Lane | None = None, **changes: Any) -> Launched:
        """Launch a run that gets its instance; `changes` are fields of `LaunchSpec`. Raises what `launch` raises."""
        launched = self.try_launch(lane, **changes)
        assert isinstance(launched, Launched), launched
        return launched

    def try_launch(self, lane: Lane | None = None, **changes: Any) -> Launched | WaitsForCapacity:
        """Launch a run, which may have to wait for capacity. Raises what `launch` raises."""
        fields: dict[str, Any] = {
            "lane": lane or self.lane, "config": {}, "data_path": DATA, "instance_types": ("g4dn.2xlarge",),
            "bucket": BUCKET, "bundle_sha256": "0" * 64, "limits": self.limits, "prices": self.aws.prices.instances,
        }  # fmt: skip
        spec = LaunchSpec(**fields | self.defaults | changes)
        return launch(spec, self.store, self.fleet, self.deadlines, self.clock)

    def relaunch(self, run: Run) -> None:
        """Start the next attempt of a run, as the launcher function does."""
        self.launcher.relaunch(run)

    def follow(self, run: Run, schedule: str) -> None:
        """Start what a schedule does after a run, as the launcher function does."""
        self.groups.follow(run, schedule)

    def advance(self, run: Run, group: str) -> None:
        """Let a group go on after one of its members, as the launcher function does."""
        self.groups.advance(run, group)

    @property
    def launcher(self) -> Launcher:
        """The launcher of the launcher function."""
        subnets = self.defaults["subnet_ids"]
        return Launcher(BUCKET, subnets, self.store, self.fleet, self.deadlines, self.clock, self.bounds)

    @property
    def schedules(self) -> Schedules:
        """The schedules, as the launcher function sees them."""
        place = StackLocation("aws", REGION, BUCKET)
        return Schedules(self.name, self.store, self.launcher, self.notifier, self.clock, place, "a-stack")

    @property
    def groups(self) -> Groups:
        """The groups, as the launcher function sees them."""
        return Groups(self.schedules)

    def kill(self, run_id: str | None = None, *, at_once: bool = False, reason: str = "by hand") -> Run:
        """Ask a run to stop, or end it at once. Raises what `kill` raises."""
        return kill(run_id, self.store, self.watchdog, self.clock, reason, at_once=at_once)

    def handle(self, event: object) -> None:
        """Handle an event as the functions do."""
        self.watchdog.handle(parse_event(event))

    # --- time

    def sweeps(self, span: timedelta) -> None:
        """Let time pass, with a sweep each minute and without agents."""
        end = self.clock.now() + span
        while self.clock.now() < end:
            self.clock.advance(self.limits.sweep)
            self.watchdog.sweep()

    def first_look(self) -> None:
        """Sweep, and let the time pass until a second look may follow."""
        self.watchdog.sweep()
        self.clock.advance(self.limits.confirmation)

    def live(self) -> None:
        """Let every agent work for a minute, without a sweep."""
        self.clock.advance(self.limits.sweep)
        for instance in self.alive:
            if instance.state is InstanceState.RUNNING and instance.run_id:
                self.agent_of(instance).live()

    def tick(self) -> None:
        """Let every agent work for a minute, then sweep."""
        self.live()
        self.watchdog.sweep()

    def pass_time(self, span: timedelta) -> None:
        """Let time pass in which agents do nothing but send a heartbeat at its end."""
        self.clock.advance(span)
        for instance in self.alive:
            if (agent := self.agent_of(instance)).sends_heartbeats:
                agent.heartbeat()

    def work_until(self, status: Status) -> None:
        """Let the agent of the main lane come to a phase."""
        while (run := self.run) and run.status is not status:
            self.live()
            self.copy_reports()

    def copy_reports(self, lane: Lane | None = None) -> None:
        """Let the record of a lane say what its agent has reported, as the watchdog does before it decides."""
        observed = self.watchdog.facts(lane or self.lane)
        reported = as_reported(observed, self.clock.now())
        if isinstance(observed.lock, LockHeld) and isinstance(reported.lock, LockHeld) and observed != reported:
            self.store.replace_lock(reported.lock.run, observed.lock)

    # --- what exists

    def lock(self, lane: Lane | None = None) -> LockHeld:
        """The lock of a lane, by default the main one. Raises LookupError when no run holds it."""
        state = self.store.read_lock(lane or self.lane)
        if isinstance(state, LockHeld):
            return state
        raise LookupError(f"{lane or self.lane} is not held: {state}")

    @property
    def run(self) -> Run | None:
        """The run that holds the main lane, by its record."""
        state = self.store.read_lock(self.lane)
        return state.run if isinstance(state, LockHeld) else None

    @property
    def reported(self) -> Run | None:
        """The run that holds the main lane, as reported by its agent."""
        lock = as_reported(self.watchdog.facts(self.lane), self.clock.now()).lock
        return lock.run if isinstance(lock, LockHeld) else None

    @property
    def alive(self) -> list[Instance]:
        """Our instances that cost money."""
        return [instance for instance in self.fleet.instances(self.name) if instance.alive]

    @property
    def agent(self) -> Agent:
        """The agent of the only instance that is alive."""
        (instance,) = self.alive
        return self.agent_of(instance)

    def agent_of(self, instance: Instance) -> Agent:
        """The agent of an instance."""
        if instance.instance_id not in self.agents:
            self.agents[instance.instance_id] = Agent(self.aws, self.store, instance, self.behaviour)
        return self.agents[instance.instance_id]

    @property
    def settled(self) -> bool:
        """Whether no instance, deadline, upload, unused resource of a run, lock or time without an order is left."""
        left = [*self.alive, *self.deadlines.schedules, *self.objects.begun]
        left += [resource for resource, run_id in self.fleet.left.items() if resource.unused and run_id]
        left += self.aws.timetable.times.keys() - set(self.schedules.orders.names())
        states = (self.store.read_lock(lane) for lane in self.store.lanes(self.name))
        return not left and all(isinstance(state, Absent) for state in states)

    def findings(self) -> tuple[Finding, ...]:
        """What `verify` finds."""
        return verify(self.name, self.store, self.fleet, self.deadlines)

    def left(self) -> list[str]:
        """The kinds of what `verify` finds."""
        return [finding.kind for finding in self.findings()]

    def kinds(self) -> list[str]:
        """The kinds of the messages that were published, in order."""
        return [message.attributes["kind"] for message in self.notifier.messages]

    # --- an agent step by step, for tests that say themselves what it does

    def claim(self, launched: Launched) -> None:
        """An agent claims, and sends a heartbeat."""
        run = self.lock().run
        self.store.claim(self.name, Claim(run.run_id, run.attempt, launched.instance_id, "boot", "c1a1"))
        self.copy_reports()
        self.heartbeat(launched, attempt=run.attempt)

    def train(self) -> None:
        """The run comes to its training."""
        run, now = self.lock().run, self.clock.now()
        phases = tuple((status, now) for status in (Status.INITIALIZATION, Status.DATA_SYNC, Status.TRAINING))
        self.store.report(self.name, StatusReport(run.run_id, run.attempt, phases, "training"))
        self.copy_reports()

    def heartbeat(
        self,
        launched: Launched,
        counter: int = 1,
        stalled_for: timedelta = timedelta(0),
        checkpoint_age: timedelta | None = None,
        attempt: int = 1,
    ) -> None:
        """The agent sends a heartbeat."""
        heartbeat = Heartbeat(
            launched.run_id, attempt, launched.instance_id, "boot", Status.TRAINING, counter, stalled_for
        )
        self.store.write_heartbeat(self.name, replace(heartbeat, checkpoint_age=checkpoint_age))

    def end(self, outcome: Outcome, cause: Cause) -> None:
        """The agent writes its outcome."""
        run, verdict = self.lock().run, Verdict(outcome, cause, "said by the agent", DecidedBy.AGENT)
        self.store.end(self.name, OutcomeReport(run.run_id, run.attempt, "e4d5", verdict))
        self.copy_reports()

    def power_off(self, launched: Launched) -> None:
        """The instance is gone."""
        self.fleet.move(launched.instance_id, InstanceState.TERMINATED)
