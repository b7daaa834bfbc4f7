"""Many histories on all cores, what they showed together, and the smallest form of each that failed."""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from chronos_ec2.domain.limits import Limits
from verification.simulation.oracle import Verdicts
from verification.simulation.runner import run_history
from verification.simulation.scenario import Layer, Scenario, draw

_BATCH = 500
_SHOWN = 20
COUNTED = (
    "histories",
    "wrong_terminations",
    "alien_terminations",
    "leaks_past_bound",
    "stuck_locks",
    "lost_messages",
    "duplicate_messages",
    "doubled_without_cause",
    "two_agents",
    "over_cap",
)


@dataclass
class Campaign:
    """What a set of histories showed.

    `times` holds the seconds from a failure to the end of its instance, per (failure, events lost, bound). Only
    histories in which EC2 and S3 answered and every tick came count there: to those the promises speak.
    """

    histories: int = 0
    seconds: float = 0.0
    wrong_terminations: int = 0
    alien_terminations: int = 0
    leaks_past_bound: int = 0
    stuck_locks: int = 0
    lost_messages: int = 0
    duplicate_messages: int = 0
    two_agents: int = 0
    over_cap: int = 0
    failed: list[int] = field(default_factory=list)
    doubled_without_cause: int = 0
    """Messages sent twice although nothing failed and nobody died: part of the violations."""
    times: dict[tuple[str, bool, float], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: Campaign) -> None:
        """Take in another study."""
        self.seconds += other.seconds
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed += other.failed[: _SHOWN - len(self.failed)]
        for key, seconds in other.times.items():
            self.times[key] += seconds

    @property
    def violations(self) -> int:
        """How often something happened that may not."""
        return (
            self.wrong_terminations + self.alien_terminations + self.leaks_past_bound + self.stuck_locks
            + self.lost_messages + self.two_agents + self.over_cap + self.doubled_without_cause
        )  # fmt: skip

    def as_document(self) -> dict[str, Any]:
        """The figures, by the names of docs/evidence.md; seconds are of one core."""
        document: dict[str, Any] = {name: getattr(self, name) for name in COUNTED}
        document["histories_per_second"] = math.floor(10 * self.histories / self.seconds) / 10 if self.seconds else 0.0
        document["time_to_terminate"] = {
            f"{failure}, {'no events' if silent else 'with events'}": _distribution(seconds, bound)
            for (failure, silent, bound), seconds in sorted(self.times.items())
        }
        return document


def _distribution(seconds: list[float], bound: float) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "n": len(ordered),
        "p50": shown(ordered[len(ordered) // 2]),
        "p99": shown(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]),
        "max": shown(ordered[-1]),
        "promised": bound,
    }


def shown(seconds: float) -> float:
    """In tenths of a second, never fewer than they were: a bound that was missed by a little shows it."""
    return math.ceil(10 * seconds) / 10


def study(
    histories: int, first_seed: int, limits: Limits, layers_off: frozenset[Layer] = frozenset(), jobs: int | None = None
) -> Iterator[Campaign]:
    """Run histories of consecutive seeds; yields the study so far after each batch."""
    whole = Campaign()
    starts = range(first_seed, first_seed + histories, _BATCH)
    sizes = [min(_BATCH, first_seed + histories - start) for start in starts]
    run = partial(_batch, limits=limits, layers_off=layers_off)
    with ProcessPoolExecutor(jobs or os.cpu_count(), initializer=_begin) as pool:
        for part in pool.map(run, starts, sizes):
            whole.add(part)
            yield whole


def _begin() -> None:
    """A process that does nothing else: it logs nothing, and looks for garbage seldom and not in what is imported."""
    logging.disable()
    gc.freeze()
    gc.set_threshold(50_000)


@contextmanager
def without_log() -> Iterator[None]:
    """Nothing is logged: every fault that is survived is a warning, and thousands of them say nothing."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def whole(studies: Iterator[Campaign]) -> Campaign:
    """The last of the studies that `study` yields."""
    return deque(studies, maxlen=1)[-1]


def plan_of(seed: int, layers_off: frozenset[Layer] = frozenset()) -> Scenario:
    """The plan of a seed, with these layers off and no others, or with those that the plan draws."""
    plan = draw(seed)
    return replace(plan, layers_off=layers_off) if layers_off else plan


def problems(plan: Scenario, found: Verdicts) -> list[str]:
    """Everything that may not be: also a message that went out twice although nothing failed."""
    doubled = (
        [f"{found.duplicates} messages were sent twice without a cause"] if plan.clean and found.duplicates else []
    )
    return [*found.failed, *doubled]


def _batch(start: int, size: int, limits: Limits, layers_off: frozenset[Layer]) -> Campaign:
    part = Campaign(histories=size)
    begin = time.process_time()
    for seed in range(start, start + size):
        plan = plan_of(seed, layers_off)
        found = run_history(plan, limits)
        part.wrong_terminations += len(found.wrong)
        part.alien_terminations += len(found.alien)
        part.leaks_past_bound += len(found.leaks)
        part.stuck_locks += len(found.stuck)
        part.lost_messages += len(found.lost)
        part.two_agents += len(found.two_agents)
        part.over_cap += len(found.over_cap)
        part.duplicate_messages += found.duplicates
        part.doubled_without_cause += found.duplicates if plan.clean else 0
        if problems(plan, found):
            part.failed.append(seed)
        if plan.clean and not plan.list_lag:
            for failure, seconds, bound in found.times:
                part.times[(failure, plan.lost_events == 1.0, bound)].append(seconds)
    part.seconds = time.process_time() - begin
    return part


_SIMPLER: tuple[dict[str, Any], ...] = (
    {"call_errors": 0.0},
    {"function_crashes": 0.0},
    {"lost_ticks": 0.0},
    {"pauses": 0.0},
    {"outages": ()},
    {"list_lag": 0.0},
    {"doubled_events": 0.0},
    {"forged_events": 0},
    {"lost_events": 1.0},
    {"layers_off": frozenset()},
    {"full_subnets": 0},
    {"crashes_left": 0},
    {"preemptions_left": 0},
    {"checkpoint_after": None},
    {"by_force": 30.0},
    {"max_cost": None},
    {"max_runtime": 43_200.0},
)


def shrink(plan: Scenario, limits: Limits) -> Scenario:
    """The smallest plan that still fails: without each disturbance and each kind of noise that is not needed."""
    simpler = [plan.without(index) for index in range(len(plan.disturbances))]
    simpler += [candidate for change in _SIMPLER if (candidate := replace(plan, **change)) != plan]
    if plan.lanes > 1 and not any(at.lane for at in plan.disturbances):
        simpler.append(replace(plan, lanes=1))
    for candidate in simpler:
        if problems(candidate, run_history(candidate, limits)):
            return shrink(candidate, limits)
    return plan
