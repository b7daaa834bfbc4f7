"""The stage of the crash points: an environment in memory in which one call goes wrong, and its boxes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from itertools import count

from chronos_ec2.domain.errors import ChronosError, Fenced, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.domain.instance import Instance, InstanceState, owner_tags
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import CACHED, Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.ports import Resource
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch import Launched, Launcher, Order, launch
from chronos_ec2.services.watchdog.reconcile import Reconciler
from chronos_ec2.testing import Crash, MemoryWorld
from chronos_ec2.testing.watchdog import BUCKET, watchdog_over
from chronos_ec2.worker.claim import Identity, Record

ENVIRONMENT = "dev"
LANE = Lane(ENVIRONMENT)
NEIGHBOUR = Lane(ENVIRONMENT, "neighbour")
LIMITS = Limits()
SUBNETS = ("subnet-a", "subnet-b")
DATA = "training-data/sales/"
COMPLETED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
_WORKING_TICKS = 5
"""How long a healthy agent trains on after the call."""


class FaultMode(StrEnum):
    """How one AWS call goes wrong."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    LOST_ANSWER = "answer lost"
    REFUSED = "refused"


class OneFault:
    """Faults for the memory adapters: the call with number `at`, counted while armed, goes wrong once."""

    def __init__(self, at: int | None = None, ruin: FaultMode = FaultMode.REFUSED) -> None:
        self.at = at
        self.ruin = ruin
        self.armed = False
        self.struck = False
        self.calls: list[str] = []

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What the enumeration itself wants to know is no call of the code under test."""
        was, self.armed = self.armed, False
        try:
            yield
        finally:
            self.armed = was

    def before(self, call: str) -> None:
        """Count the call, and keep it from having its effect."""
        if not self.armed:
            return
        self.calls.append(call)
        if self._is_next(FaultMode.CRASH_BEFORE, FaultMode.REFUSED):
            self._strike(call)

    def after(self, call: str) -> None:
        """Keep the answer from the caller."""
        if self.armed and self._is_next(FaultMode.CRASH_AFTER, FaultMode.LOST_ANSWER):
            self._strike(call)

    def _is_next(self, *ruins: FaultMode) -> bool:
        return not self.struck and self.ruin in ruins and len(self.calls) - 1 == self.at

    def _strike(self, call: str) -> None:
        self.struck = True
        if self.ruin in (FaultMode.CRASH_BEFORE, FaultMode.CRASH_AFTER):
            raise Crash(call)
        raise ServiceUnavailable(f"{call}: {self.ruin}")


class AgentBehaviour(StrEnum):
    """What an agent and its box do when left alone."""

    HEALTHY = "claims, beats, works, obeys, ends, powers off"
    SILENT = "the box is up, and nothing is heard from it"
    HUNG = "beats, and does not move"
    DEAF = "beats and moves, and obeys nobody"
    LINGERING = "says its last word, and does not power off"
    CRASHED = "its process is gone, and systemd powers the box off"


_PHASES = (
    Status.DATA_SYNC, Status.TRAINING, *[Status.TRAINING] * _WORKING_TICKS, Status.RESULTS_SYNC,
)  # fmt: skip


class Agent:
    """The agent of one instance, over the real record of a run."""

    def __init__(self, stage: Stage, box: Instance, temper: AgentBehaviour) -> None:
        self._stage = stage
        self._box = box
        self._phase = 0
        self._moved_at = stage.world.clock.now()
        self._counter = 0
        self.temper = temper
        self.claimed = False
        self.checkpoint: timedelta | None = None
        identity = Identity(ENVIRONMENT, box.run_id or "", box.instance_id, "boot", box.attempt)
        clock = stage.world.clock
        self.record = Record(
            stage.store, clock, box.lane or LANE, identity, lambda span: clock.advance(timedelta(seconds=span))
        )

    def live(self) -> None:
        """A minute of its life."""
        if self.temper is AgentBehaviour.CRASHED:
            self._power_off()
        elif self.temper is not AgentBehaviour.SILENT:
            try:
                self._work()
            except ChronosError:
                self._power_off()

    def _work(self) -> None:
        if not self.claimed:
            self.claim()
        self.beat()
        stop = self._look()
        if self.temper in (AgentBehaviour.HUNG, AgentBehaviour.DEAF):
            return
        if self.record.run.verdict is not None:
            pass
        elif stop is not None:
            self.finish(Verdict(stop.outcome, stop.cause, stop.reason, DecidedBy.AGENT))
        elif self._phase < len(_PHASES):
            self.advance()
            return
        else:
            self.finish(COMPLETED)
        if self.temper is not AgentBehaviour.LINGERING:
            self._power_off()

    def claim(self) -> None:
        """Take the run."""
        self.record.claim()
        self.claimed = True

    def advance(self) -> None:
        """Go on by one phase, or by some work in the same."""
        status = _PHASES[self._phase]
        if status is not self.record.run.status:
            self.record.advance(status, status)
        self._phase += 1

    def upload(self) -> None:
        """Leave the training for the results."""
        self._phase = len(_PHASES) - 1
        self.advance()

    def finish(self, verdict: Verdict) -> None:
        """Say the last word."""
        self.record.finish(verdict)

    def beat(self) -> None:
        """Send a heartbeat."""
        now = self._stage.world.clock.now()
        if self.temper is not AgentBehaviour.HUNG:
            self._moved_at, self._counter = now, self._counter + 1
        run, stalled = self.record.run, now - self._moved_at
        beat = Heartbeat(run.run_id, run.attempt, self._box.instance_id, "boot", run.status, self._counter, stalled)
        self._stage.store.write_heartbeat(ENVIRONMENT, replace(beat, checkpoint_age=self.checkpoint))

    def _look(self) -> Stop | None:
        try:
            run = self.record.look()
        except Fenced:
            if self.temper is AgentBehaviour.DEAF:
                return None
            raise
        return run.stop if run else None

    def _power_off(self) -> None:
        self._stage.world.fleet.move(self._box.instance_id, InstanceState.TERMINATED)


class Stage:
    """One environment in memory, its boxes, and a stranger's instance beside them."""

    def __init__(self, faults: OneFault) -> None:
        self.faults = faults
        self.world = MemoryWorld(faults)
        self.agents: dict[str, Agent] = {}
        self.temper = AgentBehaviour.HEALTHY
        self.crashed = False
        self.prices: dict[str, float | int] = {}
        self._nonces = count()
        self.stranger = self.world.fleet.add(owner_tags("Somebody-Else", ENVIRONMENT) | {"Lane": LANE.name})
        self.strangers_volume = Resource("volume", "vol-of-somebody-else", "available")
        self.world.fleet.left[self.strangers_volume] = None
        self.world.objects.write(f"{CACHED}/{DATA}part-0.parquet", b"PAR1")

    # Every object is made anew: nothing is remembered from one call to the next.

    @property
    def store(self) -> RunStore:
        """The runs of the bucket."""
        return RunStore(self.world.objects, lambda: f"{next(self._nonces):016x}")

    @property
    def reconciler(self) -> Reconciler:
        """A watchdog."""
        return watchdog_over(self.world, self.store, self, LIMITS)

    def relaunch(self, run: Run) -> None:
        """Be the Relauncher."""
        Launcher(BUCKET, SUBNETS, self.store, self.world.fleet, self.world.deadlines).relaunch(run)

    def launch(self, lane: Lane = LANE) -> Launched:
        """Start a run."""
        order = Order(
            lane, {}, DATA, ("g4dn.2xlarge",), SUBNETS, BUCKET, "0" * 64, LIMITS,
            price_per_hour_usd=1.0,
            max_cost_usd=self.prices.get("cap"),
            preemptions_left=int(self.prices.get("preemptions", 0)),
            crashes_left=int(self.prices.get("crashes", 0)),
        )  # fmt: skip
        return launch(order, self.store, self.world.fleet, self.world.deadlines, self.world.clock)

    # --- what there is

    @property
    def run(self) -> Run | None:
        """The run that holds the lane."""
        state = self.store.read_lock(LANE)
        return state.run if isinstance(state, LockHeld) else None

    @property
    def held(self) -> LockHeld:
        """The lock of the lane. Raises LookupError when no run holds it."""
        state = self.store.read_lock(LANE)
        if isinstance(state, LockHeld):
            return state
        raise LookupError(f"{LANE} is not held")

    @property
    def alive(self) -> list[Instance]:
        """Our instances that cost."""
        return [box for box in self.world.fleet.instances(ENVIRONMENT) if box.alive]

    @property
    def agent(self) -> Agent:
        """The agent of the only instance that is alive."""
        (box,) = self.alive
        return self.agent_of(box)

    def agent_of(self, box: Instance) -> Agent:
        """The agent of an instance."""
        if box.instance_id not in self.agents:
            self.agents[box.instance_id] = Agent(self, box, self.temper)
        return self.agents[box.instance_id]

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to be done."""
        states = (self.store.read_lock(lane) for lane in self.store.lanes(ENVIRONMENT))
        left = [*self.world.deadlines.schedules, *self.world.objects.begun]
        left += [one for one in self.world.fleet.left if one.unused and one != self.strangers_volume]
        return not self.alive and not left and all(isinstance(state, Absent) for state in states)

    # --- time

    def pass_time(self, span: timedelta) -> None:
        """Let time go by; who is heard from is heard from at its end."""
        self.world.clock.advance(span)
        for box in self.alive:
            agent = self.agent_of(box)
            if agent.claimed and agent.temper in (AgentBehaviour.HEALTHY, AgentBehaviour.HUNG, AgentBehaviour.DEAF):
                agent.beat()

    def tick(self) -> None:
        """A minute: boxes live, then a sweep looks at them."""
        self.live()
        self.reconciler.sweep()

    def live(self) -> None:
        """A minute of every box's life, without a sweep."""
        self.world.clock.advance(LIMITS.sweep)
        for box in self.alive:
            if box.state is InstanceState.RUNNING and box.run_id:
                self.agent_of(box).live()

    def work_until(self, status: Status) -> None:
        """Let the agent of the lane come to a phase."""
        while (run := self.run) and run.status is not status:
            self.live()
