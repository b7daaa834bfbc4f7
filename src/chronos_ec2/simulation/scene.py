"""All that one history is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from random import Random

from chronos_ec2.domain.facts import Held
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.lane import Lane
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.run import Run
from chronos_ec2.memory.world import MemoryNotifier
from chronos_ec2.services.run_store import RunStore
from chronos_ec2.simulation.box import Box
from chronos_ec2.simulation.clockwork import Clockwork
from chronos_ec2.simulation.plan import Plan
from chronos_ec2.simulation.world import Noise, SimulatedDeadlines, SimulatedFleet, SimulatedObjects

ENVIRONMENT = "dev"


@dataclass(eq=False)
class Scene:
    """AWS, the boxes and the time of one history. `told` hears of everything that happens, for people."""

    plan: Plan
    limits: Limits
    told: Callable[[str], None] | None = None
    boxes: dict[str, Box] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """Instances whose end somebody asked for."""
    out_of_reach: set[str] = field(default_factory=set)
    """Instances that are ours no more, as far as tags tell: only what is on the box ends them."""
    spoiled: set[Lane] = field(default_factory=set)
    """Lanes into whose lock a human or an intruder wrote: their runs are not healthy any more."""

    def __post_init__(self) -> None:
        self.limits = replace(self.limits, max_runtime=timedelta(seconds=self.plan.max_runtime))
        self.random = Random(self.plan.seed ^ 0x5EED)
        self.clockwork = Clockwork()
        self.noise = Noise(self.plan, self.random)
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

    def lives(self, instance_id: str) -> bool:
        """Whether an instance is not terminated, whatever EC2's list says."""
        return self.fleet.state(instance_id) is not InstanceState.TERMINATED

    def instance(self, instance_id: str) -> Instance:
        """An instance as it truly is."""
        return self.fleet.truth(instance_id)

    def run_in(self, lane: Lane) -> Run | None:
        """The run that truly holds a lane, read without noise."""
        if not self.objects.holds(lane.state_key):
            return None
        self.noise.muted, before = True, self.noise.muted
        try:
            state = self.store.read_lock(lane)
        finally:
            self.noise.muted = before
        return state.run if isinstance(state, Held) else None
