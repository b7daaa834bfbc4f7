"""What happens in one history of schedules, or of a group: drawn from a seed, printed when it fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random

from chronos_ec2.domain.groups.order import Purpose
from chronos_ec2.testing.virtual.ec2 import Drought
from verification.simulation.scenario import FaultKind, InjectedFault, Scenario

BY_TIME, BY_DATA = 0, 1
"""The lanes of the two schedules: one starts runs at times, one when data arrive. Both retrain one model."""
_NEAR_MIDNIGHT = 41_000.0
"""Forty minutes before the month ends, where clocks start half a day before."""
CAP = 0.3
"""USD that a run of a schedule may cost."""
WAIT = timedelta(hours=2)
"""How long a member of a group waits for capacity."""
_FAULTS = (FaultKind.USER_CODE, FaultKind.CRASH, FaultKind.KILL, FaultKind.KILL_NOW, FaultKind.TERMINATED)
_OF_GROUPS = (*_FAULTS, FaultKind.HANG, FaultKind.PANIC, FaultKind.SPOT)


@dataclass(frozen=True, slots=True)
class Upload:
    """A data set is uploaded, with other content than before or with the same."""

    at: float
    changed: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A history with two schedules. Times are seconds after `begins`, rates are probabilities.

    Attributes:
        times: for which EventBridge Scheduler invokes the one schedule.
        asked: when an operator asks for its run, whatever the data.
        by_hand: when somebody launches a run in a lane of a schedule.
        rollbacks: when an operator takes the champion back.
        late: how often a trigger comes up to an hour and a half late.
        doubled: how often it comes twice, the second time up to twenty minutes later.
        dies: how often an invocation dies between two calls.
        skew: how wrong a function's clock may be.
        month: USD that the runs of a schedule may cost in a month; each may cost CAP.
    """

    scenario: Scenario
    begins: float
    times: tuple[float, ...]
    uploads: tuple[Upload, ...]
    asked: tuple[float, ...]
    by_hand: tuple[tuple[int, float], ...]
    rollbacks: tuple[float, ...]
    late: float
    doubled: float
    dies: float
    skew: float
    month: float | None


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A history with a group. Times are seconds after its begin, rates are probabilities.

    Attributes:
        cap: USD for all members.
        seconds: until the deadline of the group; None: late enough.
        killed_at: when an operator kills it; None: never.
        operator_dies: after how many calls the operator's process dies that begins it; None: it lives.
        late: how often the launcher comes up to an hour and a half late, once more.
        doubled: how often it comes twice.
        dies: how often an invocation dies between two calls.
        skew: how wrong a function's clock may be.
        deleted_at: when somebody deletes its order; None: never.
    """

    scenario: Scenario
    members: int
    parallel: int
    purpose: Purpose
    cap: float | None
    seconds: float | None
    killed_at: float | None
    at_once: bool
    operator_dies: int | None
    late: float
    doubled: float
    dies: float
    skew: float
    deleted_at: float | None


def draw(seed: int) -> Plan:
    """The plan of a seed: half of them with failing calls, crashing functions and pauses."""
    random = Random(seed ^ 0x11FE)
    noisy = random.random() < 0.5
    begins = random.choice((0.0, 0.0, _NEAR_MIDNIGHT))

    def moments(most: int) -> tuple[float, ...]:
        return tuple(sorted(round(random.uniform(0, 6000)) for _ in range(random.randrange(most + 1))))

    faults = tuple(
        InjectedFault(
            random.choice(_FAULTS), begins + random.uniform(200, 6000), lane=random.choice((BY_TIME, BY_DATA))
        )
        for _ in range(random.choice((0, 0, 1, 2)))
    )
    scenario = Scenario(
        seed=seed,
        lanes=2,
        boot=random.uniform(30, 120),
        training=random.uniform(30, 300),
        shutting_down=random.uniform(5, 60),
        call_errors=random.choice((0.0, 0.02, 0.1)) if noisy else 0.0,
        function_crashes=random.choice((0.0, 0.02, 0.05)) if noisy else 0.0,
        pauses=random.choice((0.0, 0.0, 0.05)) if noisy else 0.0,
        lost_events=random.choice((0.0, 0.5, 1.0, 1.0)),
        doubled_requests=random.choice((0.0, 0.3)),
        faults=faults,
    )
    return Plan(
        scenario,
        begins,
        times=(0.0, *moments(5)),
        uploads=tuple(
            Upload(at, random.random() < 0.6) for at in sorted({60.0 * (at // 60.0 + 1) for at in moments(5)})
        ),
        asked=moments(1),
        by_hand=tuple((random.choice((BY_TIME, BY_DATA)), at) for at in moments(2)),
        rollbacks=moments(2),
        late=random.choice((0.0, 0.2)),
        doubled=random.choice((0.0, 0.5)),
        dies=random.choice((0.0, 0.3)),
        skew=random.choice((0.0, 20.0)),
        month=random.choice((None, 0.5, 0.7)),
    )


def draw_group(seed: int) -> GroupPlan:
    """The plan of a seed: half of them with failing calls, crashing functions and pauses."""
    random = Random(seed ^ 0x6209)
    noisy = random.random() < 0.5
    members, parallel = random.randint(2, 6), random.randint(1, 4)
    long = random.random() < 0.15
    faults = tuple(
        InjectedFault(random.choice(_OF_GROUPS), random.uniform(100, 2500), lane=random.randrange(members))
        for _ in range(random.choice((0, 1, 1, 2, 3)))
    )
    scenario = Scenario(
        seed=seed,
        boot=random.uniform(30, 120),
        training=random.uniform(1000, 2000) if long else random.uniform(30, 300),
        shutting_down=random.uniform(5, 60),
        crashes_left=random.choice((0, 1)),
        preemptions_left=random.choice((0, 2)),
        checkpoint_after=random.choice((None, random.uniform(20, 60))),
        call_errors=random.choice((0.0, 0.02, 0.1)) if noisy else 0.0,
        function_crashes=random.choice((0.0, 0.02, 0.05)) if noisy else 0.0,
        pauses=random.choice((0.0, 0.0, 0.05)) if noisy else 0.0,
        lost_events=random.choice((0.0, 0.5, 1.0, 1.0)),
        doubled_requests=random.choice((0.0, 0.3)),
        droughts=(Drought(random.uniform(0, 1500), random.uniform(60, 1800)),) if random.random() < 0.1 else (),
        wait_for_capacity=WAIT.total_seconds(),
        faults=faults,
    )
    return GroupPlan(
        scenario, members, parallel,
        purpose=random.choice([*Purpose]),
        cap=random.choice((None, random.uniform(0.2, 0.5), random.uniform(0.5, 1.5), 9.0)),
        seconds=random.uniform(1500, 4000) if random.random() < 0.1 else None,
        killed_at=random.uniform(1, 3000) if random.random() < 0.25 else None,
        at_once=random.random() < 0.5,
        operator_dies=random.randrange(1, 60) if random.random() < 0.25 else None,
        late=random.choice((0.0, 0.3)),
        doubled=random.choice((0.0, 0.5)),
        dies=random.choice((0.0, 0.3)),
        skew=random.choice((0.0, 20.0)),
        deleted_at=random.uniform(1, 2000) if random.random() < 0.05 else None,
    )  # fmt: skip
