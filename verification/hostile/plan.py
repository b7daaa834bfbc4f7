"""What happens in one hostile history: drawn from a seed, printed when it fails."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from verification.simulation.scenario import FaultKind, InjectedFault, Layer, Scenario

HOSTILE_LANE, OTHER_LANE = 0, 1


@dataclass(frozen=True, slots=True)
class Plan:
    """A history with two lanes, of which the first has the hostile instance. Times are seconds.

    Attributes:
        turns: How long after its boot the instance turns; until then it is an agent of ours.
        again: The probability that each later instance of the run turns too.
        rhythm: The mean time between two acts.
        acts: How many there are.
        meanwhile: The probability of an act between two calls of whoever writes a lock or reads a heartbeat.
        attacks: Whether it also writes about the runs of others.
        beats: Whether its heartbeats never end; otherwise it may be dead for all that anybody sees.
    """

    scenario: Scenario
    turns: float
    again: float
    rhythm: float
    acts: int
    meanwhile: float
    attacks: bool
    beats: bool


def draw(seed: int) -> Plan:
    """The plan of a seed: a third of them with failing calls, a third of them against others."""
    random = Random(seed ^ 0x4057)
    noisy = random.random() < 0.33
    happens = random.choices(
        (None, FaultKind.KILL, FaultKind.KILL_NOW, FaultKind.PANIC, FaultKind.SPOT, FaultKind.HANG),
        (60, 8, 4, 12, 8, 8),
    )[0]
    of_hostile = happens in (FaultKind.KILL, FaultKind.KILL_NOW, FaultKind.SPOT)
    lane = HOSTILE_LANE if of_hostile else OTHER_LANE
    at = random.uniform(100, 700)
    scenario = Scenario(
        seed=seed,
        lanes=2,
        boot=random.uniform(30, 120),
        training=random.uniform(30, 300),
        shutting_down=random.uniform(5, 60),
        list_lag=random.choice((0.0, 0.0, random.uniform(0, 40))),
        # An attempt is only lost for another while there is the time to boot.
        max_runtime=random.choice((random.uniform(1140, 1300), random.uniform(1140, 1300), random.uniform(1800, 3000))),
        max_cost=random.uniform(0.15, 0.25) if random.random() < 0.3 else None,
        crashes_left=random.choice((0, 1, 2)),
        preemptions_left=random.choice((0, 2)),
        checkpoint_after=random.choice((None, 30.0)),
        call_errors=random.choice((0.02, 0.1)) if noisy else 0.0,
        function_crashes=0.02 if noisy and random.random() < 0.5 else 0.0,
        lost_events=random.choice((0.0, 0.5, 1.0, 1.0)),
        doubled_events=random.choice((0.0, 0.0, 0.3)),
        market=random.choice((ON_DEMAND, SPOT)),
        # The watchdog must keep every limit also without the schedule. The instance's own timers end no hostile one.
        layers_off=frozenset({Layer.DEADLINE}) if random.random() < 0.7 else frozenset(),
        faults=() if happens is None else (InjectedFault(happens, at, lane=lane),),
    )
    return Plan(
        scenario,
        turns=random.choice((0.0, random.uniform(0, 20), random.uniform(0, 200), random.uniform(0, 500))),
        again=random.choice((0.0, 0.5, 1.0)),
        rhythm=random.choice((1.0, 10.0, 40.0, 40.0)),
        acts=random.randrange(1, 40),
        meanwhile=random.choice((0.0, 0.0, 0.05, 0.5)),
        attacks=random.random() < 0.33,
        beats=random.random() < 0.8,
    )
