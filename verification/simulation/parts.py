"""What a history is composed of: the code under test, and AWS in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from chronos_ec2.domain.decide import decide
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch import Launcher
from chronos_ec2.services.watchdog.reconcile import Decide, Reconciler
from chronos_ec2.testing import MemoryAws, MemoryNotifier, VirtualTime
from chronos_ec2.testing.virtual.ec2 import Delays, VirtualDeadlines, VirtualFleet
from chronos_ec2.worker.run_session import RunSession
from verification.simulation.bucket import SimulatedObjects
from verification.simulation.faulty_aws import Noise
from verification.simulation.scenario import Layer, Scenario


@dataclass(frozen=True, slots=True)
class Parts:
    """What a history is composed of. A test puts a defective part in, and the oracles must find the defect."""

    decide: Decide = decide
    store: type[RunStore] = RunStore
    watchdog: type[Reconciler] = Reconciler
    launcher: type[Launcher] = Launcher
    agent_session: type[RunSession] = RunSession
    objects: type[SimulatedObjects] = SimulatedObjects
    deadlines: type[VirtualDeadlines] = VirtualDeadlines
    notifier: type[MemoryNotifier] = MemoryNotifier


REAL_PARTS = Parts()


class SimulatedAws(MemoryAws):
    """AWS in virtual time, with noise."""

    objects: SimulatedObjects
    fleet: VirtualFleet
    deadlines: VirtualDeadlines

    def __init__(self, scenario: Scenario, random: Random, parts: Parts) -> None:
        self.time = VirtualTime()
        self.noise = Noise(scenario, random, self.time)
        super().__init__(self.noise, self.time, parts.notifier(self.noise))
        self.objects = parts.objects(self.time, self.noise)
        delays = Delays(scenario.shutting_down, scenario.by_force, scenario.list_lag)
        self.fleet = VirtualFleet(self.time, self.noise, delays, random)
        self.deadlines = parts.deadlines(self.time, self.noise, self.fleet, Random(scenario.seed ^ 0xDEAD))
        self.deadlines.off = Layer.DEADLINE in scenario.layers_off
