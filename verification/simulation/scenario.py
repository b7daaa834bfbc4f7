"""What happens in one history: drawn from a seed, printed when it fails, shrunk by leaving things out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT, Market
from chronos_ec2.testing.virtual.ec2 import Drought


class FaultKind(StrEnum):
    """What can happen to a run."""

    CRASH = "the agent crashes, the instance powers off"
    PANIC = "the kernel panics, the instance stays up"
    FREEZE = "the agent freezes"
    HANG = "training hangs, heartbeats continue, GPU at 100 %"
    SLOW = "a slow evaluation, within the limit"
    PARTITION = "the instance cannot reach S3"
    SKEW = "the instance's clock is wrong"
    SPOT = "EC2 reclaims the spot instance"
    STOPPED = "somebody stops the instance"
    TERMINATED = "somebody terminates the instance"
    UNTAGGED = "somebody removes the tags"
    HOLD = "somebody tags the instance Hold"
    KILL = "somebody kills the run"
    KILL_NOW = "somebody kills the run at once"
    DEAF = "the agent ignores a requested stop"
    NO_BOOT = "the agent never starts"
    SECOND_LAUNCH = "somebody else launches too"
    SECOND_LAUNCHER_DIES = "somebody else launches too and dies between two calls"
    LAUNCHER_DIES = "the launcher dies between two calls"
    RELAUNCHER_DIES = "the launcher of a later attempt dies between two calls"
    USER_CODE = "the trainer fails"
    FORGED_STOP = "the state is forged: a stop requested yesterday"
    FORGED_SUSPECT = "the state is forged: suspected since yesterday"
    FORGED_SEQ = "the state is forged: the highest sequence number"
    GARBAGE = "the state is overwritten with garbage"
    NEWER_SCHEMA = "the state is overwritten by a later release"
    OVERSIZED = "the state is overwritten with a megabyte"
    FOREIGN_ID = "the state is forged: it names a foreign instance"
    LATE_DEADLINE = "the state is forged: a far deadline"
    LOCK_DELETED = "somebody deletes the lock"
    NO_RECORD = "an instance with our tags and no record"
    CLEANUP = "somebody runs a pass of the watchdog"


class Layer(StrEnum):
    """The kill layers that a history can do without."""

    INSTANCE = "L0 instance"
    DEADLINE = "L1 deadline schedule"
    EVENTS = "L2 events"
    SWEEP = "L3 sweep"


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """Something that happens `after` so many seconds, for `seconds` if it has an end, to the lane with this index."""

    kind: FaultKind
    after: float
    seconds: float = 0.0
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """An AWS service, by its prefix, that does not answer, or refuses the functions, for a while."""

    service: str
    after: float
    seconds: float
    refuses: bool = False

    @property
    def until(self) -> float:
        """When it is over."""
        return self.after + self.seconds

    def covers(self, seconds: float) -> bool:
        """Whether the service is out at a time."""
        return self.after <= seconds < self.until


@dataclass(frozen=True, slots=True)
class Scenario:
    """One history. Rates are probabilities per call, tick or event; times are seconds."""

    seed: int
    lanes: int = 1
    boot: float = 90.0
    training: float = 600.0
    shutting_down: float = 30.0
    by_force: float = 30.0
    list_lag: float = 0.0
    max_runtime: float = 43_200.0
    max_cost: float | None = None
    crashes_left: int = 0
    preemptions_left: int = 0
    checkpoint_after: float | None = None
    call_errors: float = 0.0
    function_crashes: float = 0.0
    lost_ticks: float = 0.0
    pauses: float = 0.0
    """Of functions and launchers between two calls, while everything else continues."""
    lost_events: float = 0.0
    doubled_events: float = 0.0
    forged_events: int = 0
    full_subnets: int = 0
    outages: tuple[Outage, ...] = ()
    types: int = 1
    """How many instance types the order names."""
    market: Market = ON_DEMAND
    droughts: tuple[Drought, ...] = ()
    wait_for_capacity: float | None = None
    on_demand_after: float | None = None
    option_seconds: float = 0.0
    """RunInstances takes up to so long, before and after its effect."""
    doubled_requests: float = 0.0
    """How often the launcher function is invoked twice."""
    layers_off: frozenset[Layer] = frozenset()
    faults: tuple[InjectedFault, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether EC2 and S3 answer and every tick comes: then the guaranteed bounds hold without an allowance."""
        return not (self.call_errors or self.function_crashes or self.lost_ticks or self.outages or self.pauses)

    def calls_to_crash(self, kind: FaultKind) -> dict[int, int]:
        """By lane, after how many calls the launcher of this kind of fault dies."""
        return {at.lane: int(at.seconds) for at in reversed(self.faults) if at.kind is kind}


_LIMITED = (FaultKind.DEAF, FaultKind.HOLD)
"""What makes an instance reach its deadline or price cap; otherwise its agent leaves before."""
_WEIGHTS: dict[FaultKind, int] = dict.fromkeys((kind for kind in FaultKind if kind not in _LIMITED), 2) | {
    FaultKind.RELAUNCHER_DIES: 0,
    FaultKind.CLEANUP: 0,
    FaultKind.PANIC: 4,
    FaultKind.FREEZE: 3,
    FaultKind.HANG: 5,
    FaultKind.SLOW: 4,
    FaultKind.DEAF: 1,
}
_SHORT_SHARE, _CROWDED_SHARE = 0.08, 0.002
_LOSSES = (FaultKind.SPOT, FaultKind.SPOT, FaultKind.CRASH, FaultKind.TERMINATED)
_PLACES = ("", "", "g4dn.2xlarge", "subnet-a", "spot")


def draw(seed: int) -> Scenario:
    """The scenario of a seed: half of them quiet, half noisy, most with one or two faults, some short of capacity."""
    scenario, random = _draw(seed), Random(seed ^ 0xD2A)
    if random.random() < _CROWDED_SHARE:
        return crowded(seed)
    return _short_of_capacity(scenario, random) if random.random() < _SHORT_SHARE else scenario


def crowded(seed: int) -> Scenario:
    """A run that dies while functions are held up and crash, and somebody runs pass after pass of the watchdog."""
    passes = (InjectedFault(FaultKind.CLEANUP, 500.0 + 15 * number) for number in range(40))
    faults = (InjectedFault(FaultKind.PANIC, 300.0), *passes)
    return Scenario(seed, training=400.0, pauses=0.5, function_crashes=0.1, lost_events=1.0, faults=faults)


def _short_of_capacity(scenario: Scenario, random: Random) -> Scenario:
    """The same where instances are lost, and EC2 has no other for minutes or hours; launchers take their time."""
    lost = random.choices((0, 1, 2, 3), (1, 3, 3, 1))[0]
    times = [random.uniform(200, 700)]
    for _ in range(2):
        times.append(times[-1] + random.uniform(300, 1500))
    faults = [InjectedFault(random.choice(_LOSSES), at) for at in times[:lost]]
    longest = random.choice((600.0, 600.0, 1800.0, 1800.0, 12_000.0))
    droughts = tuple(
        Drought(random.choice(times[:lost] or (60.0,)) - 60, random.uniform(60, longest), random.choice(_PLACES))
        for _ in range(random.choice((1, 1, 2)))
    )
    if random.random() < 0.3:
        dry = random.choice(droughts)
        faults.append(InjectedFault(FaultKind.KILL, max(dry.after, 30.0) + random.uniform(0.0, dry.seconds)))
    if random.random() < 0.3:
        faults.append(InjectedFault(FaultKind.RELAUNCHER_DIES, 0.0, float(random.randrange(1, 20))))
    types, market = random.choice((1, 2)), random.choice((ON_DEMAND, SPOT))
    falls_back = types == 1 and market == SPOT and random.random() < 0.5
    return replace(
        scenario,
        droughts=droughts,
        faults=tuple(faults) if random.random() < 0.8 else scenario.faults,
        types=types,
        market=market,
        on_demand_after=random.uniform(120, 1200) if falls_back else None,
        wait_for_capacity=random.choice((None, None, random.uniform(300, 8000))),
        option_seconds=random.choice((0.0, random.uniform(1, 10), random.uniform(20, 90), random.uniform(20, 90))),
        doubled_requests=random.choice((0.0, 0.3)),
        crashes_left=random.choice((0, 1, 3)),
        preemptions_left=random.choice((1, 5)),
        checkpoint_after=random.uniform(20, 60),
        max_runtime=random.choice((43_200.0, 43_200.0, random.uniform(2500, 9000))),
    )


def _draw(seed: int) -> Scenario:
    random = Random(seed)
    noisy = random.random() < 0.5
    lanes = 2 if random.random() < 0.05 else 1
    count = random.choices((0, 1, 2, 3), (1, 6, 2, 1))[0]
    kinds = random.choices([*_WEIGHTS], [*_WEIGHTS.values()], k=count)
    limited = random.choices((None, "time", "money"), (92, 4, 4))[0]
    training = random.uniform(1500, 2500) if limited else random.uniform(30, 420)
    alone = limited is not None and random.random() < 0.5
    if limited and random.random() < 0.7:
        kinds.append(random.choice(_LIMITED))
    return Scenario(
        seed=seed,
        lanes=lanes,
        boot=random.uniform(30, 240),
        training=training,
        shutting_down=random.uniform(5, 60) if random.random() < 0.97 else 1e9,
        by_force=random.choice((30.0, random.uniform(120, 900))),
        list_lag=random.choices((0.0, random.uniform(0, 40), random.uniform(60, 300)), (68, 30, 2))[0],
        max_runtime=random.uniform(1140, 1500) if limited == "time" or FaultKind.UNTAGGED in kinds else 43_200.0,
        max_cost=random.uniform(0.1, 0.25) if limited == "money" else None,
        crashes_left=random.choice((0, 0, 1)),
        preemptions_left=random.choice((0, 5)),
        pauses=random.choice((0.01, 0.1)) if random.random() < 0.05 else 0.0,
        checkpoint_after=random.uniform(30, 300) if random.random() < 0.5 else None,
        call_errors=random.choice((0.02, 0.1, 0.3)) if noisy else 0.0,
        function_crashes=0.02 if noisy and random.random() < 0.5 else 0.0,
        lost_ticks=0.1 if noisy and random.random() < 0.3 else 0.0,
        lost_events=random.choice((0.0, 0.5, 1.0, 1.0)),
        doubled_events=0.3 if random.random() < 0.2 else 0.0,
        forged_events=random.randrange(1, 6) if random.random() < 0.1 else 0,
        full_subnets=random.choices((0, 1, 2), (94, 4, 2))[0],
        outages=_outages(random) if random.random() < 0.04 else (),
        # The watchdog must keep a limit also without the schedule and the instance's own timers.
        layers_off=frozenset({Layer.INSTANCE, Layer.DEADLINE}) if alone else frozenset(),
        faults=tuple(_fault(random, kind, min(training, 800.0), lanes) for kind in kinds),
    )


def _outages(random: Random) -> tuple[Outage, ...]:
    service = random.choice(("s3", "ec2", "sns", "scheduler"))
    seconds = random.choice((random.uniform(60, 600), random.uniform(600, 3600)))
    return (Outage(service, random.uniform(0, 1200), seconds, refuses=random.random() < 0.5),)


def _fault(random: Random, kind: FaultKind, training: float, lanes: int) -> InjectedFault:
    if kind in (FaultKind.LAUNCHER_DIES, FaultKind.NO_BOOT, FaultKind.DEAF):
        after = 0.0
    elif kind in (FaultKind.SECOND_LAUNCH, FaultKind.SECOND_LAUNCHER_DIES) and random.random() < 0.5:
        after = random.uniform(0, 5)
    elif random.random() < 0.2:
        after = random.uniform(0, 300)  # around boot, claim and data sync
    else:
        after = random.uniform(120, 330 + training)
    seconds = {
        FaultKind.SLOW: random.uniform(200, 800),
        FaultKind.FREEZE: random.choice((random.uniform(10, 110), 1e9)),
        FaultKind.PARTITION: random.choice((random.uniform(10, 110), random.uniform(200, 1200))),
        FaultKind.SKEW: random.uniform(-900, 900),
        FaultKind.LAUNCHER_DIES: float(random.randrange(1, 12)),
        FaultKind.SECOND_LAUNCHER_DIES: float(random.randrange(1, 12)),
    }.get(kind, 0.0)
    return InjectedFault(kind, after, seconds, random.randrange(lanes))
