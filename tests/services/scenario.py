"""A lane in memory, with an agent that does what a test tells it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import CACHED, Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.kill import kill
from chronos_ec2.services.launch import Launched, Launcher, Order, launch
from chronos_ec2.services.verify import verify
from chronos_ec2.testing import Faults, MemoryWorld
from chronos_ec2.testing.watchdog import BUCKET, watchdog_over
from tests.builders import SUBNETS, seconds

LIMITS = Limits()
DATA = "training-data/sales/"


class Scenario:
    """One environment, its services, and the moves of agent, time and people."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.world = MemoryWorld(faults)
        self.store = RunStore(self.world.objects)
        self.reconciler = watchdog_over(self.world, self.store, self, LIMITS)
        self.changes: dict[str, Any] = {}
        self.world.objects.write(f"{CACHED}/{DATA}part-0.parquet", b"PAR1")

    def order(self, **changes: Any) -> Order:
        order = Order(
            lane=Lane("dev"),
            config={},
            data_path=DATA,
            instance_types=("g4dn.2xlarge",),
            subnet_ids=SUBNETS,
            bucket=BUCKET,
            bundle_sha256="0" * 64,
            limits=LIMITS,
            price_per_hour_usd=0.752,
        )
        return replace(order, **changes)

    def budget(self, crashes: int, cap: float | None = None) -> None:
        self.changes = {"crashes_left": crashes, "max_cost_usd": cap}

    def launch(self, **changes: Any) -> Launched:
        order, world = self.order(**self.changes | changes), self.world
        return launch(order, self.store, world.fleet, world.deadlines, world.clock)

    def relaunch(self, run: Run) -> None:
        Launcher(BUCKET, SUBNETS, self.store, self.world.fleet, self.world.deadlines).relaunch(run)

    def lock(self, lane: Lane = Lane("dev")) -> LockHeld:
        state = self.store.read_lock(lane)
        assert isinstance(state, LockHeld), state
        return state

    def claim(self, launched: Launched) -> None:
        held = self.lock()
        self.store.replace_lock(replace(held.run, current_step="claimed", instance_id=launched.instance_id), held)
        self.beat(launched, attempt=held.run.attempt)

    def train(self) -> None:
        for status in (Status.DATA_SYNC, Status.TRAINING):
            held = self.lock()
            self.store.replace_lock(held.run.advance(status, str(status), self.world.clock.now()), held)

    def beat(
        self,
        launched: Launched,
        counter: int = 1,
        stalled_for: timedelta = seconds(0),
        checkpoint_age: timedelta | None = None,
        attempt: int = 1,
    ) -> None:
        heartbeat = Heartbeat(
            launched.run_id, attempt, launched.instance_id, "boot", Status.TRAINING, counter, stalled_for
        )
        self.store.write_heartbeat("dev", replace(heartbeat, checkpoint_age=checkpoint_age))

    def end(self, outcome: Outcome, cause: Cause) -> None:
        held = self.lock()
        verdict = Verdict(outcome, cause, "said by the agent", DecidedBy.AGENT)
        self.store.replace_lock(held.run.end(verdict, self.world.clock.now()), held)

    def power_off(self, launched: Launched) -> None:
        self.world.fleet.move(launched.instance_id, InstanceState.TERMINATED)

    def kill(self, run_id: str | None = None, *, at_once: bool = False) -> Run:
        return kill(run_id, self.store, self.reconciler, self.world.clock, "by hand", at_once=at_once)

    def sweeps(self, span: timedelta) -> None:
        """Let the time pass, with a sweep each minute."""
        end = self.world.clock.now() + span
        while self.world.clock.now() < end:
            self.world.clock.advance(LIMITS.sweep)
            self.reconciler.sweep()

    def first_look(self) -> None:
        """A sweep that finds an agent silent, and the time until the second may follow."""
        self.reconciler.sweep()
        self.world.clock.advance(LIMITS.confirmation)

    def kinds(self) -> list[str]:
        return [message.attributes["kind"] for message in self.world.notifier.messages]

    def left(self) -> list[str]:
        return [finding.kind for finding in verify("dev", self.store, self.world.fleet, self.world.deadlines)]
