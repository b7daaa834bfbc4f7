"""The whole system in virtual time: histories with everything going wrong, and with kill layers switched off."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from chronos_ec2.domain.limits import Limits
from verification.checkout import ROOT
from verification.simulation.campaign import shown, study, whole
from verification.simulation.guarantees import NO_RECORD, SCHEDULE_SECONDS
from verification.simulation.scenario import Layer


def histories(count: int) -> dict[str, Any]:
    """The figures of `count` histories, and the seeds that failed."""
    result = whole(study(count, 0, Limits()))
    return result.as_document() | {"seeds": f"0 to {count - 1}", "failed_seeds": result.failed}


def layers(count: int) -> dict[str, Any]:
    """What holds without each layer, and without each pair: the longest time to an instance's end, and violations."""
    off = [frozenset(some) for size in (1, 2) for some in combinations(Layer, size)]
    return {" and ".join(sorted(layer.value for layer in some)): _without(some, count) for some in off}


def _without(off: frozenset[Layer], count: int) -> dict[str, Any]:
    result, swept = whole(study(count, 0, Limits(), off)), Layer.SWEEP not in off
    # What somebody else started has no schedule, so that nothing but the sweep promises its end.
    timely = [max(times) for (name, _, _), times in result.times.items() if swept or not name.startswith(NO_RECORD)]
    if swept:
        promised = max((bound for _, _, bound in result.times), default=None)
    else:
        promised = None if Layer.DEADLINE in off else Limits().max_runtime.total_seconds() + SCHEDULE_SECONDS
    return {
        "histories": result.counts["histories"],
        "promised": promised,
        "max": shown(max(timely, default=0.0)),
        "wrong_terminations": result.counts["wrong_terminations"],
        "leaks_past_bound": result.counts["leaks_past_bound"],
    }


def silent_sweep_seconds() -> int:
    """After how many seconds without a sweep the alarm of L4 sounds, as the template has it."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    alarm = template["Resources"]["SweepSilent"]["Properties"]
    return int(alarm["Period"]) * int(alarm["EvaluationPeriods"])
