"""All that one history is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from random import Random

from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing import MemoryNotifier
from verification.simulation.agent_model import Box
from verification.simulation.faulty_aws import Noise, SimulatedDeadlines, SimulatedFleet, SimulatedObjects
from verification.simulation.scenario import Scenario
from verification.simulation.virtual_time import ORIGIN, VirtualTime

ENVIRONMENT = "dev"
Traces = tuple[int, int, int, int]


@dataclass(eq=False)
class System:
    """AWS, the boxes and the time of one history. `told` hears of everything that happens, for people."""

    plan: Scenario
    limits: Limits
    told: Callable[[str], None] | None = None
    boxes: dict[str, Box] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """Instances whose end somebody asked for."""
    out_of_reach: set[str] = field(default_factory=set)
    """Instances that are ours no more, as far as tags tell: the box itself ends them, or their schedule."""
    on_hold: set[str] = field(default_factory=set)
    """Instances that somebody wants to debug: until deadline or cap nothing else ends them."""
    spoiled: set[Lane] = field(default_factory=set)
    """Lanes of which somebody made the lock unreadable, or worse."""
    robbed: set[Lane] = field(default_factory=set)
    """Lanes whose lock was deleted, or names another instance: nobody can know that their run is healthy."""

    def __post_init__(self) -> None:
        self.limits = replace(self.limits, max_runtime=timedelta(seconds=self.plan.max_runtime))
        self.random = Random(self.plan.seed ^ 0x5EED)
        self.clockwork = VirtualTime()
        self.noise = Noise(self.plan, self.random, self.clockwork)
        self.objects = SimulatedObjects(self.clockwork, self.noise)
        self.fleet = SimulatedFleet(self.clockwork, self.noise, self.plan, self.random)
        self.deadlines = SimulatedDeadlines(self.clockwork, self.noise, self.plan, self.fleet)
        self.notifier = MemoryNotifier(self.noise)
        nonce = count()
        self.store = RunStore(self.objects, lambda: f"{next(nonce):x}")
        self.lanes = [Lane(ENVIRONMENT), Lane(ENVIRONMENT, "second")][: self.plan.lanes]
        self.foreign = self.fleet.add({"Project": "another"})

    def tell(self, text: str) -> None:
        """Something happened."""
        if self.told:
            self.told(f"{self.clockwork.seconds:9.1f}  {text}")

    @property
    def traces(self) -> Traces:
        """What whoever acts leaves behind: messages, locks, calls, instances."""
        locks = sum(self.objects.holds(lane.state_key) for lane in self.lanes)
        return len(self.notifier.messages), locks, len(self.fleet.terminate_calls), len(self.fleet.ours)

    def lives(self, instance_id: str) -> bool:
        """Whether an instance is not terminated, whatever EC2's list says."""
        return self.fleet.state(instance_id) is not InstanceState.TERMINATED

    def unreadable(self, lane: Lane | None) -> bool:
        """Whether there is something at the place of a lock that is none."""
        return lane is not None and self.objects.holds(lane.state_key) and self.run_in(lane) is None

    def instance(self, instance_id: str) -> Instance:
        """An instance as it truly is."""
        return self.fleet.truth(instance_id)

    def spent_at(self, instance_id: str) -> float | None:
        """When the run that holds an instance's lane has spent its cap with it; None if there is no cap, or no run."""
        box = self.instance(instance_id)
        run = self.run_in(box.lane) if box.lane else None
        if run is None or not box.belongs_to(run):
            return None
        if run.max_cost_usd is None or not run.price_per_hour_usd:
            return None
        launched = (box.launched_at - ORIGIN).total_seconds()
        return launched + (run.max_cost_usd - run.spent_usd) / run.price_per_hour_usd * 3600

    def run_in(self, lane: Lane) -> Run | None:
        """The run that truly holds a lane, read without noise."""
        if not self.objects.holds(lane.state_key):
            return None
        self.noise.muted, before = True, self.noise.muted
        try:
            state = self.store.read_lock(lane)
        finally:
            self.noise.muted = before
        return state.run if isinstance(state, LockHeld) else None
