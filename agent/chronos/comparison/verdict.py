"""What a comparison of models says in one sentence: is the first of them, the base, good enough already?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agent.chronos.evaluate.significance import Comparison

_CLOSE = 0.01
"""A base whose score is no further from the best one's leaves little for fine-tuning to gain."""
NAIVE = "seasonal_naive"


def ranking(scores: Mapping[str, Mapping[str, float]]) -> tuple[str | None, list[str]]:
    """The score that decides, WQL or else MASE, and the models from the best on; None if neither is defined."""
    for score in ("wql", "mase"):
        if all(not math.isnan(found[score]) for found in scores.values()):
            return score, sorted(scores, key=lambda name: scores[name][score])
    return None, list(scores)


def verdict(
    base: str, scores: Mapping[str, Mapping[str, float]], best_minus: Mapping[str, Comparison]
) -> dict[str, Any]:
    """The best model, and the sentence. `scores` are those of the models and of seasonal naive.

    `best_minus` compares the best model with each other one; `base` is the first model of the configuration.
    """
    models = {name: found for name, found in scores.items() if name != NAIVE}
    by, order = ranking(models)
    best = order[0]
    if by is None:
        return {"best": None, "by": None, "sentence": "undefined: no score can be computed on these windows"}
    gap = _relative(scores[base][by], scores[best][by])
    return {"best": best, "by": by, "sentence": _sentence(base, best, order, by, gap, scores, best_minus)}


def _sentence(
    base: str,
    best: str,
    order: list[str],
    by: str,
    gap: float,
    scores: Mapping[str, Mapping[str, float]],
    best_minus: Mapping[str, Comparison],
) -> str:
    name, naive = by.upper(), best_minus[NAIVE][by]
    if not naive.below_zero:
        return (
            f"no model is shown to be better than seasonal naive: {name} {scores[best][by]:.4f} of {best} against "
            f"{scores[NAIVE][by]:.4f}"
        )
    over_naive = f"{-_relative(scores[best][by], scores[NAIVE][by]):.0%} better than seasonal naive in {name}"
    if len(order) == 1:
        return f"{best} is {over_naive}"
    if best == base:
        behind = _relative(scores[order[1]][by], scores[best][by])
        return f"{base} is the best, {over_naive}; the next, {order[1]}, is {behind:.1%} behind"
    if gap <= _CLOSE:
        return f"{base} is already within {max(gap, 0.001):.1%} of the best, {best}: fine-tuning is not the lever"
    shown = best_minus[base][by].below_zero
    return f"{best} is {gap / (1 + gap):.1%} better than {base} in {name}" + (
        "" if shown else f", which {best_minus[base][by].series} series do not prove"
    )


def _relative(score: float, reference: float) -> float:
    """How far a score is above another, as a share of it; 0 if both are 0."""
    if reference == 0:
        return 0.0 if score == 0 else math.inf
    return score / reference - 1
