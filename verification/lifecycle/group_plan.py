"""The plan of a history with a group, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random

from chronos_ec2.domain.groups.order import Purpose
from chronos_ec2.testing.virtual.ec2 import Drought
from verification.simulation.scenario import FaultKind, InjectedFault, Scenario

_FAULTS = (
    FaultKind.USER_CODE, FaultKind.CRASH, FaultKind.KILL, FaultKind.KILL_NOW, FaultKind.TERMINATED, FaultKind.HANG,
    FaultKind.PANIC, FaultKind.SPOT,
)  # fmt: skip
WAIT = timedelta(hours=2)
"""How long a member waits for capacity."""


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


def draw(seed: int) -> GroupPlan:
    """The plan of a seed: half of them with failing calls, crashing functions and pauses."""
    random = Random(seed ^ 0x6209)
    noisy = random.random() < 0.5
    members, parallel = random.randint(2, 6), random.randint(1, 4)
    long = random.random() < 0.15
    faults = tuple(
        InjectedFault(random.choice(_FAULTS), random.uniform(100, 2500), lane=random.randrange(members))
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
