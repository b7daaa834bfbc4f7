"""Many histories on all cores, what they showed together, and the smallest scenario that still fails."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from chronos_ec2.domain.limits import Limits
from verification.simulation.guarantees import VIOLATIONS, Verdicts
from verification.simulation.parts import REAL_PARTS, Parts
from verification.simulation.runner import run_history
from verification.simulation.scenario import Layer, Scenario, draw

_T = TypeVar("_T")
_BATCH = 500
_SHOWN = 20
COUNTED = ("histories", *VIOLATIONS, "doubled_without_cause", "duplicate_messages")


@dataclass
class Campaign:
    """What a set of histories showed.

    `counts` has the names of COUNTED; `doubled_without_cause` are messages sent twice although nothing failed or
    crashed. `times` holds the seconds from a failure to the end of its instance, per (failure, events lost, bound), of
    the histories in which EC2 and S3 answered and every tick came: only to those the guarantees apply.
    """

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    failed: list[int] = field(default_factory=list)
    times: dict[tuple[str, bool, float], list[float]] = field(default_factory=lambda: defaultdict(list))
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The seconds of each wait for capacity, by how it ended."""
    wasted: float = 0.0
    """The most USD that a run was charged while it waited."""

    def add(self, seed: int, scenario: Scenario, found: Verdicts, seconds: float) -> None:
        """Include what a history showed, which took so many seconds."""
        self.seconds += seconds
        self.counts.update({name: len(getattr(found, each)) for name, each in VIOLATIONS.items()})
        self.counts["histories"] += 1
        self.counts["duplicate_messages"] += found.duplicates
        self.counts["doubled_without_cause"] += found.duplicates if scenario.clean else 0
        self.wasted = max(self.wasted, found.wasted)
        for outcome, waited in found.waits:
            self.waits[outcome].append(waited)
        if len(self.failed) < _SHOWN and problems(scenario, found):
            self.failed.append(seed)
        for failure, took, bound in found.times if scenario.clean and not scenario.list_lag else ():
            self.times[(failure, scenario.lost_events == 1.0, bound)].append(took)

    @property
    def violations(self) -> int:
        """How often an invariant was violated."""
        return sum(self.counts[name] for name in (*VIOLATIONS, "doubled_without_cause"))

    def as_document(self) -> dict[str, Any]:
        """The figures, by the names of docs/evidence.md; seconds are of one core."""
        document: dict[str, Any] = {name: self.counts[name] for name in COUNTED}
        histories = self.counts["histories"]
        document["histories_per_second"] = math.floor(10 * histories / self.seconds) / 10 if self.seconds else 0.0
        document["time_to_terminate"] = {
            f"{failure}, {'no events' if silent else 'with events'}": _distribution(seconds, bound)
            for (failure, silent, bound), seconds in sorted(self.times.items())
        }
        document["droughts"] = {
            outcome: {"n": len(seconds), "hours": shown(sum(seconds) / 3600), "longest": shown(max(seconds) / 3600)}
            for outcome, seconds in sorted(self.waits.items())
        }
        document["cost_while_waiting_usd"] = math.ceil(100 * self.wasted) / 100
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
    """In tenths of a second, rounded up: a bound that was missed by a little shows it."""
    return math.ceil(10 * seconds) / 10


def study(
    histories: int, first_seed: int, limits: Limits, layers_off: frozenset[Layer] = frozenset()
) -> Iterator[Campaign]:
    """Run histories of consecutive seeds; yields the campaign so far after each few hundred and after the last."""
    so_far, seeds = Campaign(), range(first_seed, first_seed + histories)
    for seed, result in on_all_cores(partial(_timed, limits=limits, layers_off=layers_off), seeds, _BATCH):
        so_far.add(seed, *result)
        if so_far.counts["histories"] % _BATCH == 0 or seed == seeds[-1]:
            yield so_far


def on_all_cores(run: Callable[[int], _T], seeds: Sequence[int], batch: int) -> Iterator[tuple[int, _T]]:
    """Each seed with what it gave; up to one batch is run in this process."""
    with ProcessPoolExecutor(initializer=_begin_worker) if len(seeds) > batch else without_log() as pool:
        yield from zip(seeds, pool.map(run, seeds, chunksize=batch) if pool else map(run, seeds), strict=True)


def _timed(seed: int, limits: Limits, layers_off: frozenset[Layer]) -> tuple[Scenario, Verdicts, float]:
    begin = time.process_time()
    scenario = scenario_of(seed, layers_off)
    return scenario, run_history(scenario, limits), time.process_time() - begin


def _begin_worker() -> None:
    """Set up a worker process: no log, and rare garbage collection that leaves out what is imported."""
    logging.disable()
    gc.freeze()
    gc.set_threshold(50_000)


@contextmanager
def without_log() -> Iterator[None]:
    """Log nothing: every survived fault is a warning, and there are thousands."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def whole(campaigns: Iterator[Campaign]) -> Campaign:
    """The last of the campaigns that `study` yields."""
    return deque(campaigns, maxlen=1)[-1]


def scenario_of(seed: int, layers_off: frozenset[Layer] = frozenset()) -> Scenario:
    """The scenario of a seed, with exactly these layers off if any are given."""
    scenario = draw(seed)
    return replace(scenario, layers_off=layers_off) if layers_off else scenario


def problems(scenario: Scenario, found: Verdicts) -> list[str]:
    """Everything that went wrong: also a message that was sent twice although nothing failed."""
    doubled = scenario.clean and found.duplicates
    return [*found.failed, *([f"{found.duplicates} messages were sent twice without a cause"] if doubled else [])]


_NOISE = (
    "call_errors", "function_crashes", "lost_ticks", "pauses", "outages", "list_lag", "doubled_events", "forged_events",
    "layers_off", "full_subnets", "crashes_left", "preemptions_left", "checkpoint_after", "by_force", "max_cost",
    "max_runtime",
)  # fmt: skip
"""What a scenario may not need to fail: without it a field has its default."""


def shrink(scenario: Scenario, limits: Limits, parts: Parts = REAL_PARTS) -> Scenario:
    """The smallest scenario that still fails: without each fault and each kind of noise that is not needed."""
    faults, plain = scenario.faults, Scenario(scenario.seed)
    changes: list[dict[str, Any]] = [{"faults": faults[:at] + faults[at + 1 :]} for at in range(len(faults))]
    changes += [{name: getattr(plain, name)} for name in _NOISE] + [{"lost_events": 1.0}]
    if not any(fault.lane for fault in faults):
        changes.append({"lanes": 1})
    for candidate in (replace(scenario, **change) for change in changes):
        if candidate != scenario and problems(candidate, run_history(candidate, limits, parts=parts)):
            return shrink(candidate, limits, parts)
    return scenario
