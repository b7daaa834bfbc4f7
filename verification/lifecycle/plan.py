"""What happens in one history of schedules: drawn from a seed, printed when it fails."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from verification.simulation.scenario import FaultKind, InjectedFault, Scenario

BY_TIME, BY_DATA = 0, 1
"""The lanes of the two schedules: one starts runs at times, one when data arrive. Both retrain one model."""
_NEAR_MIDNIGHT = 41_000.0
"""Forty minutes before the month ends, where clocks start half a day before."""
_FAULTS = (FaultKind.USER_CODE, FaultKind.CRASH, FaultKind.KILL, FaultKind.KILL_NOW, FaultKind.TERMINATED)


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


CAP = 0.3


def draw(seed: int) -> Plan:
    """The plan of a seed: half of them with failing calls, crashing functions and pauses."""
    random = Random(seed ^ 0x11FE)
    noisy = random.random() < 0.5
    begins = random.choice((0.0, 0.0, _NEAR_MIDNIGHT))

    def moments(most: int, until: float = 6000.0) -> tuple[float, ...]:
        return tuple(sorted(round(random.uniform(0, until)) for _ in range(random.randrange(most + 1))))

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
