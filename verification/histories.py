"""The whole system in virtual time: histories with everything going wrong, and with kill layers switched off."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from chronos_ec2.domain.limits import Limits
from verification.simulation.campaign import shown, study, whole
from verification.simulation.guarantees import NO_RECORD, SCHEDULE_SECONDS
from verification.simulation.scenario import Layer

TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"
_LAYERS = tuple(Layer)


def histories(count: int) -> dict[str, Any]:
    """The figures of `count` histories, and the seeds that failed."""
    result = whole(study(count, 0, Limits()))
    return result.as_document() | {"seeds": f"0 to {count - 1}", "failed_seeds": result.failed}


def layers(count: int) -> dict[str, Any]:
    """What holds without each layer, and without each pair: the longest time to an instance's end, and violations."""
    off = [frozenset(some) for size in (1, 2) for some in combinations(_LAYERS, size)]
    return {" and ".join(sorted(layer.value for layer in some)): _without(some, count) for some in off}


def _without(off: frozenset[Layer], count: int) -> dict[str, Any]:
    result = whole(study(count, 0, Limits(), off))
    timed = {(failure, bound): max(seconds) for (failure, _, bound), seconds in sorted(result.times.items()) if seconds}
    worst: dict[str, float] = {}
    for (failure, _), longest in timed.items():
        worst[failure] = max(shown(longest), worst.get(failure, 0.0))
    # What somebody else started has no schedule, so that nothing but the sweep promises its end.
    timely = [longest for name, longest in worst.items() if Layer.SWEEP not in off or not name.startswith(NO_RECORD)]
    return {
        "histories": result.counts["histories"],
        "promised": _promised(off, [bound for _, bound in timed]),
        "max": max(timely, default=0.0),
        "wrong_terminations": result.counts["wrong_terminations"],
        "leaks_past_bound": result.counts["leaks_past_bound"],
        "stuck_locks": result.counts["stuck_locks"],
        "longest_seconds": worst,
    }


def _promised(off: frozenset[Layer], bounds: list[float]) -> float | None:
    """The longest of the sweep's promises; without it what the schedule promises; without both there is none."""
    if Layer.SWEEP not in off:
        return max(bounds, default=None)
    return None if Layer.DEADLINE in off else Limits().max_runtime.total_seconds() + SCHEDULE_SECONDS


def silent_sweep_seconds() -> int:
    """After how many seconds without a sweep the alarm of L4 sounds, as the template has it."""
    alarm = yaml_parse(TEMPLATE.read_text())["Resources"]["SweepSilent"]["Properties"]
    return int(alarm["Period"]) * int(alarm["EvaluationPeriods"])
