"""The whole system in virtual time: histories with everything going wrong, and with kill layers switched off."""

from __future__ import annotations

import logging
from itertools import combinations
from typing import Any

from chronos_ec2.domain.limits import Limits
from chronos_ec2.simulation.plan import Layer
from chronos_ec2.simulation.study import study, whole

_LAYERS = tuple(Layer)


def histories(count: int) -> dict[str, Any]:
    """The figures of `count` histories, and the seeds that failed."""
    logging.disable()
    result = whole(study(count, 0, Limits()))
    return result.as_document() | {"seeds": f"0 to {count - 1}", "failed_seeds": result.failed}


def layers(count: int) -> dict[str, Any]:
    """What holds without each layer, and without each pair: the longest time to an instance's end, and violations."""
    logging.disable()
    off = [frozenset(some) for size in (1, 2) for some in combinations(_LAYERS, size)]
    return {" and ".join(sorted(layer.value for layer in some)): _without(some, count) for some in off}


def _without(off: frozenset[Layer], count: int) -> dict[str, Any]:
    result = whole(study(count, 0, Limits(), off))
    worst = {
        failure: max(seconds) for (failure, _, bound), seconds in sorted(result.times.items()) if seconds and bound
    }
    return {
        "histories": result.histories,
        "wrong_terminations": result.wrong_terminations,
        "leaks_past_bound": result.leaks_past_bound,
        "stuck_locks": result.stuck_locks,
        "longest_seconds": {failure: round(seconds, 1) for failure, seconds in worst.items()},
    }
